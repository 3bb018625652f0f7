"""The eight symmetries of the square: what the sky cannot prefer."""

from __future__ import annotations

import torch
from torch import Tensor

ORDER = 8
"""Number of symmetries of the square."""


def transform(x: Tensor, element: int) -> Tensor:
    """Apply one of the eight symmetries to the last two axes: ``element // 4`` flips, then ``element % 4`` turns."""
    if element >= 4:
        x = x.flip(-1)
    return torch.rot90(x, element % 4, (-2, -1))
