"""Physical ranges, refused at the birth of a record with the value, the limit and the remedy."""

from __future__ import annotations

from typing import TypeAlias

import torch

from legacylens.errors import PhysicalRangeError

Real: TypeAlias = float | torch.Tensor
"""A parameter: one number, or one for each lens of a batch, shape ``(lens,)``."""


def require(name: str, value: Real, good: bool | torch.Tensor, allowed: str, remedy: str = "") -> None:
    """Refuse a parameter of which any element is outside its range.

    Parameters
    ----------
    name
        Name of the parameter, with its record.
    value
        The parameter.
    good
        Whether each of its elements is allowed; NaN must compare as not allowed.
    allowed
        The allowed range with its unit.
    remedy
        What the user can do.

    Raises
    ------
    PhysicalRangeError
        With the first value that is outside.
    """
    if isinstance(good, torch.Tensor):
        if bool(good.all()):
            return
        values = torch.as_tensor(value).expand(good.shape)
        raise PhysicalRangeError(name, float(values[~good].reshape(-1)[0]), allowed, remedy)
    if not good:
        raise PhysicalRangeError(name, float(value), allowed, remedy)


def finite(value: Real) -> bool | torch.Tensor:
    """Say which elements are finite."""
    return torch.isfinite(torch.as_tensor(value))


def require_finite(record: str, **parameters: Real) -> None:
    """Refuse NaN and infinity in any of the named parameters."""
    for name, value in parameters.items():
        require(f"{record}.{name}", value, finite(value), "the finite numbers")
