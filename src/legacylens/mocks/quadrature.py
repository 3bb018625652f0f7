"""The light of lensed images on a pixel grid, sampled only as finely as the source is rough.

Every pixel starts as one cell. Its footprint in the source plane (from the finite-difference Jacobian) tells how
rough the source is inside: a smooth or faint cell is one sample at its center, a rougher one gets Gauss-Legendre
nodes, and one that holds a cusp is divided in 4 x 4 and asked again. So a source of 0.05 arcsec costs little more
than one of 0.5.
"""

from __future__ import annotations

import functools

import numpy as np
import torch

from legacylens.lensing.frames import select
from legacylens.lensing.lens import Deflector, source_position
from legacylens.lensing.sources import Footprint, Source
from legacylens.mocks.deposit import REACH

TOLERANCE = 3e-4
"""Error allowed in one cell, in units of the unlensed flux; a PSF-convolved image peaks above 0.02 of it."""
PAD = REACH + 1
"""Pixels around the grid that the light of its outermost cells reaches."""
NODES = 3
"""Gauss-Legendre nodes along a side of a cell."""
DIVISION = 4
"""Cells along a side of a divided cell."""
DEPTH = 4
"""How often a cell may be divided: down to 1/256 pixel."""
SAFETY = 1.25
"""Footprints are enlarged by this, because the lens mapping is not linear inside a cell."""


@functools.lru_cache(maxsize=8)
def _nodes(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return torch.from_numpy(nodes / 2), torch.from_numpy(weights / 2)


def _spline(distance: torch.Tensor) -> torch.Tensor:
    u = distance.abs()
    return (_fifth_power(3 - u) - 6 * _fifth_power(2 - u) + 15 * _fifth_power(1 - u)) / 120


def _fifth_power(u: torch.Tensor) -> torch.Tensor:
    u = u.clamp(min=0)
    square = u * u
    return square * square * u


def _footprint(beta_x: torch.Tensor, beta_y: torch.Tensor) -> Footprint:
    """Return the half sides of the footprint of each cell of a block, from the differences to its neighbors.

    Of the two neighbors along an axis the one that is farther in the source plane counts: across the singular center of
    a lens the source plane is torn, and a central difference would not see it.
    """
    by, ay = _wider_step(beta_y, beta_x, dim=-2)
    ax, bx = _wider_step(beta_x, beta_y, dim=-1)
    return SAFETY / 2 * ax, SAFETY / 2 * bx, SAFETY / 2 * ay, SAFETY / 2 * by


def _wider_step(first: torch.Tensor, second: torch.Tensor, *, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the step to the neighbor, before or after along an axis, that is the longer one."""
    steps = []
    for values in (first, second):
        step = values.diff(dim=dim)
        n = step.shape[dim]
        steps.append(
            (torch.cat([step.narrow(dim, 0, 1), step], dim), torch.cat([step, step.narrow(dim, n - 1, 1)], dim))
        )
    (first_before, first_after), (second_before, second_after) = steps
    after = torch.hypot(first_after, second_after) > torch.hypot(first_before, second_before)
    return torch.where(after, first_after, first_before), torch.where(after, second_after, second_before)


def lensed_light(
    lens: Deflector,
    source: Source,
    *,
    n_lens: int,
    shape: tuple[int, int],
    origin: tuple[float, float],
    pixscale: float,
    tolerance: float = TOLERANCE,
    device: torch.device | str = "cpu",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the images of a source of unit flux.

    Parameters
    ----------
    lens, source
        Parameters are numbers or have shape ``(lens,)``.
    n_lens
        Number of lenses of the batch.
    shape
        Shape (y, x) of the grid [pixels].
    origin
        Pixel (y, x) of the origin of coordinates.
    pixscale
        Pixel [arcsec].
    tolerance
        Error allowed in a cell, in units of the unlensed flux.
    device
        Where to compute.

    Returns
    -------
    smooth, core
        Flux in each pixel, shape ``(lens, y, x)``: samples, and light deposited with the B-spline of
        `legacylens.mocks.deposit`, to be undone in Fourier space. The sum of both is the magnification.
    """
    row = torch.arange(shape[0], dtype=torch.float64, device=device)
    column = torch.arange(shape[1], dtype=torch.float64, device=device)
    y = ((row - origin[0]) * pixscale)[:, None].expand(n_lens, *shape)
    x = ((column - origin[1]) * pixscale)[None, :].expand(n_lens, *shape)
    beta_x, beta_y = source_position(lens, x, y)
    area = pixscale**2
    bound, rough = source.roughness(beta_x, beta_y, _footprint(beta_x, beta_y))
    sampled = bound * area * rough.clamp(max=1.0) ** 2 < tolerance
    smooth = torch.where(sampled, source.brightness(beta_x, beta_y) * area, 0.0)
    core = row.new_zeros(n_lens, shape[0] + 2 * PAD, shape[1] + 2 * PAD)

    batch, i, j = torch.nonzero(~sampled, as_tuple=True)
    cell_y, cell_x, size = row[i], column[j], 1.0
    rough, bound = rough[batch, i, j], bound[batch, i, j]
    for level in range(DEPTH + 1):
        # Six nodes' worth of Gauss-Legendre error, (rough)^6 / 2000, against what the cell may err.
        good = bound * area * size**2 * rough.clamp(max=2.0) ** 6 / 200 < tolerance
        if level == DEPTH:
            good = torch.ones_like(good)
        leaf = torch.nonzero(good)[:, 0]
        if len(leaf):
            _add_leaves(
                core, lens, source, batch[leaf], cell_y[leaf], cell_x[leaf], size, origin=origin, pixscale=pixscale
            )
        rest = torch.nonzero(~good)[:, 0]
        if not len(rest):
            break
        size /= DIVISION
        step = (torch.arange(DIVISION, dtype=row.dtype, device=device) - (DIVISION - 1) / 2) * size
        children = rest.repeat_interleave(DIVISION**2)
        batch = batch[children]
        cell_y = cell_y[children] + step.repeat_interleave(DIVISION).repeat(len(rest))
        cell_x = cell_x[children] + step.repeat(DIVISION * len(rest))
        beta_x, beta_y = source_position(
            select(lens, batch), (cell_x - origin[1]) * pixscale, (cell_y - origin[0]) * pixscale
        )
        # Anew on every level: beside the singular center of a lens a footprint does not shrink with its cell.
        block = (len(rest), DIVISION, DIVISION)
        sides = _footprint(beta_x.reshape(block), beta_y.reshape(block))
        bound, rough = select(source, batch).roughness(
            beta_x, beta_y, (sides[0].reshape(-1), sides[1].reshape(-1), sides[2].reshape(-1), sides[3].reshape(-1))
        )
    return smooth, core[:, PAD:-PAD, PAD:-PAD]


def _add_leaves(
    core: torch.Tensor,
    lens: Deflector,
    source: Source,
    batch: torch.Tensor,
    cell_y: torch.Tensor,
    cell_x: torch.Tensor,
    size: float,
    *,
    origin: tuple[float, float],
    pixscale: float,
) -> None:
    """Trace the Gauss-Legendre nodes of cells and deposit their light on the grid, in place."""
    nodes, weights = (tensor.to(cell_y) for tensor in _nodes(NODES))
    y, x = cell_y[:, None] + nodes * size, cell_x[:, None] + nodes * size
    beta_x, beta_y = source_position(
        select(lens, batch),
        ((x - origin[1]) * pixscale)[:, None, :].expand(-1, NODES, -1),
        ((y - origin[0]) * pixscale)[:, :, None].expand(-1, -1, NODES),
    )
    light = select(source, batch).brightness(beta_x, beta_y)
    light = light * (weights[:, None] * weights) * (size * pixscale) ** 2
    # A cell may straddle two pixel rows; one row more than the reach of the spline holds it.
    step = torch.arange(-REACH, REACH + 1, device=core.device)
    rows, columns = torch.floor(cell_y).long()[:, None] + step, torch.floor(cell_x).long()[:, None] + step
    spread_y = _spline(rows[:, :, None] - y[:, None, :])
    spread_x = _spline(columns[:, :, None] - x[:, None, :])
    patch = spread_y @ light @ spread_x.transpose(1, 2)
    height, width = core.shape[1:]
    index = ((batch[:, None] * height + rows + PAD) * width)[:, :, None] + (columns + PAD)[:, None, :]
    core.view(-1).index_add_(0, index.reshape(-1), patch.reshape(-1))
