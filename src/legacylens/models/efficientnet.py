"""EfficientNetV2-S (Tan & Le 2021) on three bands, with the names and the padding of timm's ``tf_efficientnetv2_s``.

So weights that were trained there, on ImageNet or on Galaxy Zoo, load by name (`legacylens.models.pretrained`).

Inchausti et al. (2025) publish 20,542,883 trainable parameters and no layers. A bias in the stem and a head of 285
nodes on the 20,177,488 of the backbone give exactly that number (``head=285``); so might others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from legacylens.models.network import Network

STEM = 24
FEATURES = 1280
_EPSILON, _MOMENTUM = 1e-3, 0.01  # of TensorFlow's batch normalization, which the published weights expect


@dataclass(frozen=True, slots=True, kw_only=True)
class _StageSpec:
    kind: str
    blocks: int
    stride: int
    expansion: int
    outputs: int


STAGES = (
    _StageSpec(kind="plain", blocks=2, stride=1, expansion=1, outputs=24),
    _StageSpec(kind="fused", blocks=4, stride=2, expansion=4, outputs=48),
    _StageSpec(kind="fused", blocks=4, stride=2, expansion=4, outputs=64),
    _StageSpec(kind="inverted", blocks=6, stride=2, expansion=4, outputs=128),
    _StageSpec(kind="inverted", blocks=9, stride=1, expansion=6, outputs=160),
    _StageSpec(kind="inverted", blocks=15, stride=2, expansion=6, outputs=256),
)


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow does: the odd pixel goes to the right and the bottom."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve; the output has the input's size over the stride, rounded up."""
        size, stride = self.kernel_size[0], self.stride[0]
        missing = [max((-(-n // stride) - 1) * stride + size - n, 0) for n in x.shape[-2:]]
        top, left = missing[0] // 2, missing[1] // 2
        padded = functional.pad(x, (left, missing[1] - left, top, missing[0] - top))
        return functional.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def _conv(inputs: int, outputs: int, size: int, *, stride: int = 1, groups: int = 1, bias: bool = False) -> nn.Conv2d:
    return SameConv2d(inputs, outputs, size, stride=stride, groups=groups, bias=bias)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPSILON, momentum=_MOMENTUM)


class SqueezeExcite(nn.Module):
    """Scale each channel by a factor that the whole image decides (Hu et al. 2018)."""

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, reduced, 1)
        self.conv_expand = nn.Conv2d(reduced, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scale ``(n, channels, y, x)``."""
        factors = self.conv_expand(functional.silu(self.conv_reduce(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(factors)


class PlainBlock(nn.Module):
    """One convolution, with the input added."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        del expansion  # the same signature for all three kinds of block
        self.skip = stride == 1 and inputs == outputs
        self.conv = _conv(inputs, outputs, 3, stride=stride)
        self.bn1 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, inputs, y, x)`` to ``(n, outputs, y / stride, x / stride)``."""
        y = functional.silu(self.bn1(self.conv(x)))
        return x + y if self.skip else y


class FusedBlock(nn.Module):
    """A 3x3 convolution that widens and a 1x1 convolution that narrows."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        middle = inputs * expansion
        self.skip = stride == 1 and inputs == outputs
        self.conv_exp = _conv(inputs, middle, 3, stride=stride)
        self.bn1 = _norm(middle)
        self.conv_pwl = _conv(middle, outputs, 1)
        self.bn2 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, inputs, y, x)`` to ``(n, outputs, y / stride, x / stride)``."""
        y: Tensor = self.bn2(self.conv_pwl(functional.silu(self.bn1(self.conv_exp(x)))))
        return x + y if self.skip else y


class InvertedBlock(nn.Module):
    """1x1 to widen, 3x3 within each channel, squeeze and excite, 1x1 to narrow."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        middle = inputs * expansion
        self.skip = stride == 1 and inputs == outputs
        self.conv_pw = _conv(inputs, middle, 1)
        self.bn1 = _norm(middle)
        self.conv_dw = _conv(middle, middle, 3, stride=stride, groups=middle)
        self.bn2 = _norm(middle)
        self.se = SqueezeExcite(middle, inputs // 4)
        self.conv_pwl = _conv(middle, outputs, 1)
        self.bn3 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, inputs, y, x)`` to ``(n, outputs, y / stride, x / stride)``."""
        y: Tensor = functional.silu(self.bn1(self.conv_pw(x)))
        y = functional.silu(self.bn2(self.conv_dw(y)))
        y = self.bn3(self.conv_pwl(self.se(y)))
        return x + y if self.skip else y


_BLOCKS: dict[str, type[PlainBlock | FusedBlock | InvertedBlock]] = {
    "plain": PlainBlock,
    "fused": FusedBlock,
    "inverted": InvertedBlock,
}


class EfficientNetV2S(Network):
    """See the module's docstring.

    Parameters
    ----------
    bands
        Number of input channels.
    head
        Nodes between the features and the logit; 0: none, and no bias in the stem.
    """

    def __init__(self, bands: int = 3, *, head: int = 0) -> None:
        super().__init__()
        self.conv_stem = _conv(bands, STEM, 3, stride=2, bias=head > 0)
        self.bn1 = _norm(STEM)
        stages, inputs = [], STEM
        for spec in STAGES:
            blocks: list[nn.Module] = []
            for number in range(spec.blocks):
                stride = spec.stride if number == 0 else 1
                blocks.append(_BLOCKS[spec.kind](inputs, spec.outputs, stride=stride, expansion=spec.expansion))
                inputs = spec.outputs
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = _conv(inputs, FEATURES, 1)
        self.bn2 = _norm(FEATURES)
        self.head: nn.Module = (
            nn.Sequential(nn.Linear(FEATURES, head), nn.ReLU(), nn.Linear(head, 1)) if head else nn.Linear(FEATURES, 1)
        )
        self._initialize()

    def _initialize(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # He et al. 2015 with the channels that one output pixel feeds; torch's own function forgets the groups.
                fan_out = module.kernel_size[0] ** 2 * module.out_channels // module.groups
                nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def features(self, x: Tensor) -> Tensor:
        """Return the pooled features, ``(n, 1280)``, of prepared images ``(n, band, y, x)``."""
        x = functional.silu(self.bn1(self.conv_stem(x)))
        maps = functional.silu(self.bn2(self.conv_head(self.blocks(x))))
        return maps.float().mean(dim=(2, 3))


def published(bands: int = 3) -> EfficientNetV2S:
    """Return the network with the published number of parameters."""
    return EfficientNetV2S(bands, head=285)
