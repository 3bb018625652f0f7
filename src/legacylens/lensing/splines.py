"""Cubic B-spline interpolation of images, on any device."""

from __future__ import annotations

import torch


def cubic_weights(u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the weights of four neighbors for a position ``u`` in [0, 1) after the second of them."""
    v = 1 - u
    return v**3 / 6, 2 / 3 - u * u * (1 - u / 2), 2 / 3 - v * v * (1 - v / 2), u**3 / 6


def chosen(which: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Return the number of the image for each position of a grid of shape ``(lens, ...)``."""
    if which.ndim:
        which = which.reshape(which.shape + (1,) * (grid.ndim - which.ndim))
    return which.expand(grid.shape)


def cubic(
    coefficients: torch.Tensor, which: torch.Tensor, row: torch.Tensor, column: torch.Tensor, *, periodic: bool
) -> torch.Tensor:
    """Return a cubic B-spline with given coefficients.

    Parameters
    ----------
    coefficients
        Shape ``(image, y, x)``.
    which
        Image of each position, broadcasting against ``row``.
    row, column
        Positions [pixels], 0 on the first pixel.
    periodic
        Whether the image repeats; otherwise it is zero outside.

    Returns
    -------
    value
        Shape of ``row``.
    """
    height, width = coefficients.shape[1:]
    floor_row, floor_column = torch.floor(row), torch.floor(column)
    weight_row, weight_column = cubic_weights(row - floor_row), cubic_weights(column - floor_column)
    top, left = floor_row.long() - 1, floor_column.long() - 1
    flat = coefficients.reshape(-1)
    value = torch.zeros_like(row)
    for i in range(4):
        y = top + i
        weight_y = weight_row[i]
        if periodic:
            y = y % height
        else:
            weight_y = torch.where((y >= 0) & (y < height), weight_y, 0.0)
            y = y.clamp(0, height - 1)
        base = (which * height + y) * width
        for j in range(4):
            x = left + j
            weight = weight_y * weight_column[j]
            if periodic:
                x = x % width
            else:
                weight = torch.where((x >= 0) & (x < width), weight, 0.0)
                x = x.clamp(0, width - 1)
            value = value + weight * flat[base + x]
    return value
