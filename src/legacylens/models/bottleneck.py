"""The pre-activation bottleneck block (He et al. 2016b) as the CMU DeepLens and shielded ResNets use it."""

from __future__ import annotations

from torch import Tensor, nn


class Bottleneck(nn.Module):
    """``[BN-ELU] - 1x1 - BN - ELU - 3x3 - BN - ELU - 1x1``, plus a shortcut.

    The shortcut is the input itself, or a 1x1 convolution of the *activated* input where the width or the size
    changes (`project`).

    Parameters
    ----------
    inputs, middle, outputs
        Number of channels.
    stride
        Of the first 1x1 convolution and of the shortcut.
    project
        Whether the shortcut is a convolution.
    activated
        Whether the input comes activated already, so that the leading BN-ELU is left out.
    bias
        Whether the two convolutions that a batch normalization follows carry a bias (Keras' default) or not
        (Lasagne's ``batch_norm``). The last convolution and the projection always do.
    """

    def __init__(
        self,
        inputs: int,
        middle: int,
        outputs: int,
        *,
        stride: int = 1,
        project: bool = False,
        activated: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.activate = nn.Identity() if activated else nn.Sequential(nn.BatchNorm2d(inputs), nn.ELU())
        self.reduce = nn.Sequential(
            nn.Conv2d(inputs, middle, 1, stride=stride, bias=bias), nn.BatchNorm2d(middle), nn.ELU()
        )
        self.convolve = nn.Sequential(
            nn.Conv2d(middle, middle, 3, padding=1, bias=bias), nn.BatchNorm2d(middle), nn.ELU()
        )
        self.expand = nn.Conv2d(middle, outputs, 1)
        self.project = nn.Conv2d(inputs, outputs, 1, stride=stride) if project else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, inputs, y, x)`` to ``(n, outputs, y / stride, x / stride)``."""
        activated = self.activate(x)
        shortcut = x if self.project is None else self.project(activated)
        residual: Tensor = self.expand(self.convolve(self.reduce(activated)))
        return shortcut + residual


def group(
    inputs: int,
    middle: int,
    outputs: int,
    *,
    stride: int,
    project: bool = True,
    activated: bool = False,
    bias: bool = True,
) -> nn.Module:
    """Return three blocks; the first changes width and size."""
    return nn.Sequential(
        Bottleneck(inputs, middle, outputs, stride=stride, project=project, activated=activated, bias=bias),
        Bottleneck(outputs, middle, outputs, bias=bias),
        Bottleneck(outputs, middle, outputs, bias=bias),
    )
