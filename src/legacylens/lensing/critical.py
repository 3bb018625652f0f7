"""Critical curves and caustics of one lens, traced on a grid and then put exactly on the curve."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from legacylens.lensing.lens import Deflector, inverse_magnification, source_position

BISECTIONS = 48
"""Halvings of a grid step: from 0.01 arcsec to rounding."""


def critical_curves(
    lens: Deflector, *, half_width: float, x: float = 0.0, y: float = 0.0, n_grid: int = 400
) -> list[NDArray[np.float64]]:
    """Return the critical curves of a lens, where images are infinitely magnified.

    Parameters
    ----------
    lens
        A lens whose parameters are plain numbers.
    half_width
        Half width of the searched square [arcsec]; twice theta_E holds a galaxy lens.
    x, y
        Middle of that square [arcsec].
    n_grid
        Cells along its side; curves smaller than a cell are not found.

    Returns
    -------
    curves
        Closed curves, each of shape ``(point, 2)`` with x and y [arcsec], without the first point again; the longest
        first. A curve that leaves the square is returned open. The singular center of an isothermal
        lens, where its radial critical curve has shrunk to a point, is none; see `cut`.

    Notes
    -----
    Signs of the inverse magnification at the grid's corners tell which sides a curve crosses; bisection along the
    side finds where, to rounding. So the points lie on the curve, and only the chords between them depend on the grid.
    """
    # An odd offset keeps the corners off the centers of deflectors, where the magnification is not defined.
    step = 2 * half_width / n_grid
    line = -half_width + step * (torch.arange(n_grid + 1, dtype=torch.float64) + 0.0317)
    gy, gx = torch.meshgrid(line + y, line + x, indexing="ij")
    sign = (inverse_magnification(lens, gx, gy) > 0).numpy()

    # Sides: horizontal ones between (i, j) and (i, j+1), vertical ones between (i, j) and (i+1, j).
    across_x, across_y = sign[:, 1:] != sign[:, :-1], sign[1:] != sign[:-1]
    hi, hj = np.nonzero(across_x)
    vi, vj = np.nonzero(across_y)
    start = torch.from_numpy(np.concatenate([np.stack([hi, hj]), np.stack([vi, vj])], axis=1))
    is_horizontal = torch.arange(start.shape[1]) < len(hi)
    low = torch.stack([gx[start[0], start[1]], gy[start[0], start[1]]])
    direction = torch.stack([is_horizontal, ~is_horizontal]).to(low) * step
    inner, outer = torch.zeros(low.shape[1], dtype=low.dtype), torch.ones(low.shape[1], dtype=low.dtype)
    low_sign = torch.from_numpy(sign)[start[0], start[1]]
    for _ in range(BISECTIONS):
        middle = (inner + outer) / 2
        same = (inverse_magnification(lens, *(low + direction * middle)) > 0) == low_sign
        inner, outer = torch.where(same, middle, inner), torch.where(same, outer, middle)
    crossing = (low + direction * inner).T.numpy()

    number_x, number_y = np.full(across_x.shape, -1), np.full(across_y.shape, -1)
    number_x[hi, hj] = np.arange(len(hi))
    number_y[vi, vj] = len(hi) + np.arange(len(vi))
    chains = _chains(_segments(number_x, number_y))
    # The magnification changes sign across the singular point of a lens as well; that is no curve.
    curves = [crossing[chain] for chain in chains]
    return sorted((c for c in curves if np.ptp(c, axis=0).max() > 3 * step), key=lambda c: -len(c))


def _segments(number_x: NDArray[np.int_], number_y: NDArray[np.int_]) -> list[tuple[int, int]]:
    """Return pairs of crossings that a curve joins inside a cell."""
    bottom, top, left, right = number_x[:-1], number_x[1:], number_y[:, :-1], number_y[:, 1:]
    n_crossed = np.sum([side >= 0 for side in (bottom, top, left, right)], axis=0)
    segments: list[tuple[int, int]] = []
    for i, j in zip(*np.nonzero(n_crossed == 2), strict=True):
        first, second = (int(s) for s in (bottom[i, j], top[i, j], left[i, j], right[i, j]) if s >= 0)
        segments.append((first, second))
    for i, j in zip(*np.nonzero(n_crossed == 4), strict=True):
        # A saddle: either pairing is as good as the other at this resolution.
        segments.append((int(bottom[i, j]), int(left[i, j])))
        segments.append((int(top[i, j]), int(right[i, j])))
    return segments


def _chains(segments: list[tuple[int, int]]) -> list[list[int]]:
    """Return the chains that segments form, open ones from an end to the other."""
    neighbors: dict[int, list[int]] = {}
    for first, second in segments:
        neighbors.setdefault(first, []).append(second)
        neighbors.setdefault(second, []).append(first)
    chains: list[list[int]] = []
    seen: set[int] = set()
    for start in sorted(neighbors, key=lambda node: len(neighbors[node])):  # ends of open chains first
        if start in seen:
            continue
        chain, node = [start], start
        seen.add(start)
        while following := [other for other in neighbors[node] if other not in seen]:
            node = following[0]
            seen.add(node)
            chain.append(node)
        chains.append(chain)
    return chains


def to_source_plane(lens: Deflector, curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an image-plane curve in the source plane, shape ``(point, 2)``: the caustic of a critical curve."""
    beta_x, beta_y = source_position(lens, torch.from_numpy(curve[:, 0]), torch.from_numpy(curve[:, 1]))
    return np.stack([beta_x.numpy(), beta_y.numpy()], axis=1)


def cut(lens: Deflector, *, x: float = 0.0, y: float = 0.0, n_point: int = 720) -> NDArray[np.float64]:
    """Return the source-plane curve across which an image of an isothermal lens vanishes into its center.

    Parameters
    ----------
    lens
        A lens with an isothermal deflector at ``(x, y)``.
    x, y
        Its center [arcsec].
    n_point
        Number of points.

    Returns
    -------
    curve
        Shape ``(n_point, 2)`` [arcsec]: where the directions around the center are mapped to.
    """
    angle = torch.arange(n_point, dtype=torch.float64) * (2 * torch.pi / n_point)
    near = 1e-9
    beta_x, beta_y = source_position(lens, x + near * torch.cos(angle), y + near * torch.sin(angle))
    return np.stack([beta_x.numpy(), beta_y.numpy()], axis=1)


def enclosed_area(curve: NDArray[np.float64]) -> float:
    """Return the area [arcsec^2] inside a closed curve of shape ``(point, 2)``, taken as a polygon."""
    x, y = curve[:, 0], curve[:, 1]
    return float(abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2)
