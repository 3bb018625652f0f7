"""How parameters meet a grid, and how a grid is turned into the frame of an ellipse.

Positions are angles in arcsec from a common origin: x grows with the column of the image (toward decreasing right
ascension), y with the row (north). ``phi`` is the direction of the major axis in radians, from +x toward +y; the
position angle on the sky, north through east, is therefore ``phi - pi/2``.
A batch of lenses has parameters of shape ``(lens,)`` and positions of shape ``(lens, ...)``.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import torch

from legacylens.lensing.ranges import Real

Record = TypeVar("Record")


def beside(value: Real, grid: torch.Tensor) -> torch.Tensor:
    """Return a parameter with the axes that let it broadcast against a grid of positions.

    Parameters
    ----------
    value
        A number, or shape ``(lens,)``.
    grid
        Positions, shape ``(lens, ...)`` (any shape if ``value`` is one number).
    """
    tensor = torch.as_tensor(value, dtype=grid.dtype, device=grid.device)
    return tensor.reshape(tensor.shape + (1,) * (grid.ndim - tensor.ndim)) if tensor.ndim else tensor


def into(x: torch.Tensor, y: torch.Tensor, *, x0: Real, y0: Real, phi: Real) -> tuple[torch.Tensor, torch.Tensor]:
    """Return positions relative to ``(x0, y0)`` along the axes of an ellipse whose major axis points to ``phi``."""
    dx, dy = x - beside(x0, x), y - beside(y0, y)
    cos, sin = torch.cos(beside(phi, x)), torch.sin(beside(phi, x))
    return cos * dx + sin * dy, cos * dy - sin * dx


def out_of(a: torch.Tensor, b: torch.Tensor, *, phi: Real) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the (x, y) components of a vector given along the major (a) and minor (b) axis."""
    cos, sin = torch.cos(beside(phi, a)), torch.sin(beside(phi, a))
    return cos * a - sin * b, sin * a + cos * b


def select(record: Record, index: torch.Tensor) -> Record:
    """Return a record of the lenses ``index`` of a batch; parameters common to all of them stay as they are.

    Parameters
    ----------
    record
        A deflector, a source, or a record made of them.
    index
        Shape ``(n,)``; a lens may come more than once.
    """
    selected: Record = _select(record, index)
    return selected


def _select(value: Any, index: torch.Tensor) -> Any:
    if isinstance(value, torch.Tensor):
        return value[index.to(value.device)] if value.ndim else value
    if isinstance(value, tuple):
        return tuple(_select(item, index) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # Tables that all lenses share, such as pictures, carry a mark; which of them a lens uses is another field.
        fields = {
            f.name: _select(getattr(value, f.name), index)
            for f in dataclasses.fields(value)
            if not f.metadata.get("shared")
        }
        return dataclasses.replace(value, **fields)
    return value
