"""A small network for laptops and for the first pass over millions: equivariant under the symmetries of the square.

The sky has no preferred orientation, so a rotated or mirrored cutout must get the same score. Convolutions over the
group of the eight symmetries of the square (Cohen & Welling 2016, "Group equivariant convolutional networks") build
that in: every filter is used in its eight orientations, and the average over orientations and pixels before the last
layer makes the logit invariant up to rounding. Neither flips in training nor averaging over symmetries in the scan is
needed.

Exactness needs odd sizes at every stride of two: 101 -> 49 -> 25 -> 13 -> 7.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from legacylens.models.network import Network
from legacylens.models.symmetry import ORDER, transform


def left_division_table() -> Tensor:
    """Return ``table[g, h]``, the element ``g^-1 h``: int64, ``(8, 8)``.

    Found by acting on a square without symmetry, so that it holds for the convention of `transform`, whatever that is.
    """
    square = torch.arange(9).reshape(3, 3)
    pictures = [transform(square, element) for element in range(ORDER)]
    table = torch.zeros(ORDER, ORDER, dtype=torch.int64)
    for g in range(ORDER):
        for k in range(ORDER):
            product = transform(pictures[k], g)
            h = next(h for h in range(ORDER) if torch.equal(pictures[h], product))
            table[g, h] = k
    return table


class LiftingConvolution(nn.Module):
    """From an image to features that know their orientation.

    Maps ``(n, inputs, y, x)`` to ``(n, outputs * 8, y', x')``, orientation last.
    """

    def __init__(self, inputs: int, outputs: int, size: int, *, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        self.weight = nn.Parameter(torch.empty(outputs, inputs, size, size))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Convolve with each filter in its eight orientations."""
        filters = torch.stack([transform(self.weight, g) for g in range(ORDER)], dim=1).flatten(0, 1)
        return functional.conv2d(x, filters, stride=self.stride, padding=self.padding)


class GroupConvolution(nn.Module):
    """A convolution over position and orientation: ``(n, inputs * 8, y, x)`` to ``(n, outputs * 8, y', x')``."""

    table: Tensor

    def __init__(self, inputs: int, outputs: int, size: int, *, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        self.weight = nn.Parameter(torch.empty(outputs, inputs * ORDER, size, size))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.register_buffer("table", left_division_table(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve with each filter moved by each of the eight symmetries."""
        outputs, _, size, _ = self.weight.shape
        weight = self.weight.reshape(outputs, -1, ORDER, size, size)
        moved = [transform(weight[:, :, self.table[g]], g) for g in range(ORDER)]
        filters = torch.stack(moved, dim=1).reshape(outputs * ORDER, -1, size, size)
        return functional.conv2d(x, filters, stride=self.stride, padding=self.padding)


class OrientationNorm(nn.Module):
    """Batch normalization with one mean, variance, scale and offset for the eight orientations of a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm3d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize ``(n, channels * 8, y, x)``."""
        n, _, ny, nx = x.shape
        normalized: Tensor = self.norm(x.reshape(n, -1, ORDER, ny, nx))
        return normalized.reshape(x.shape)


class Stage(nn.Module):
    """Halve the size, then refine with a residual convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.down = GroupConvolution(inputs, outputs, 3, stride=2, padding=1)
        self.down_norm = OrientationNorm(outputs)
        self.refine = GroupConvolution(outputs, outputs, 3, padding=1)
        self.refine_norm = OrientationNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, inputs * 8, y, x)`` to ``(n, outputs * 8, (y + 1) / 2, (x + 1) / 2)``."""
        x = functional.relu(self.down_norm(self.down(x)))
        return functional.relu(x + self.refine_norm(self.refine(x)))


class CompactNet(Network):
    """See the module's docstring.

    Parameters
    ----------
    bands
        Number of input channels.
    widths
        Filters of the stem and of the three stages; each counts eightfold in the computation.
    """

    def __init__(self, bands: int = 3, widths: tuple[int, int, int, int] = (3, 6, 12, 16)) -> None:
        super().__init__()
        self.stem = LiftingConvolution(bands, widths[0], 5, stride=2)
        self.stem_norm = OrientationNorm(widths[0])
        self.stages = nn.Sequential(*(Stage(a, b) for a, b in pairwise(widths)))
        self.head = nn.Linear(widths[-1], 1)

    def features(self, x: Tensor) -> Tensor:
        """Return the pooled features, ``(n, widths[-1])``, of prepared images ``(n, band, y, x)``."""
        x = self.stages(functional.relu(self.stem_norm(self.stem(x))))
        n, _, ny, nx = x.shape
        return x.float().reshape(n, -1, ORDER, ny, nx).mean(dim=(2, 3, 4))
