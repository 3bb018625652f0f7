"""The light of lensed Sersic sources in single precision, with as few rays as the picture allows.

It does for an SIE with shear and a Sersic source what `legacylens.mocks.quadrature` does for any lens and source.
Position, rotation, shear and the source's ellipse are folded into 16 numbers for each lens, so that a ray costs an
arctangent, a hyperbolic one and twenty multiplications. Gauss-Legendre nodes lie at fixed places in a pixel, so that
depositing their light is a matrix product. How far a cell must be resolved follows from what 3 x 3 nodes were measured
to miss: 0.02 of the brightest light in a cell that holds the cusp of the source, less than 0.001 elsewhere, and most of
it beside the center of the mass, where a pixel holds the whole demagnified image.

Shapes: P pixel or cell; 3 nodes along its side, or 12 in its 4 x 4 cells; 5 pixels on which light is spread.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import gammaincinv, gammaln

from legacylens.lensing.sersic import CORE_LIGHT
from legacylens.survey.bands import PIXSCALE

DEGREE = 4
"""Degree of the B-spline with which light is deposited; its support is 5 pixels."""
EDGE = 2
"""Pixels around the window on which light is deposited too."""
DEPTH = 5
"""How often a cell may be divided in 4 x 4: down to 1/1024 pixel, for images beside the center of the mass."""
SAFETY = 1.25
"""Footprints are enlarged by this, because the lens mapping is not linear inside a cell."""
CUSP_MISS = 0.02
"""What 3 x 3 nodes miss of the brightest light in a cell that holds the cusp (measured, root mean square 0.012)."""
BESIDE_MISS = 0.004
"""The same in a cell beside it, that its light reaches."""
TORN_MISS = 0.3
"""The same in a cell beside the center of the mass, where the source plane is torn and nothing is linear."""
TORN_REACH = 1.5
"""How far from the center of the mass such a cell is, along each axis [its own side]."""
CUSP_REACH = 1.5
"""How far from the middle of a cell the cusp may be for the cell to hold it [half sides]; 1 if lensing were linear."""
DAMPING = 0.01
"""Of the step to the cusp, in units of the squared sides of a cell in the source plane."""
SAMPLED = 4e-3
"""Light in a pixel, times its roughness, up to which its center stands for it [allowed scale of the source]. A smooth
source could be sampled anywhere, but where samples end and nodes begin a twelfth of this is lost along each pixel."""
MISSED = 1e-3
"""Light that the nodes of a cell may miss before it is divided [allowed scale of the source]."""
WIDE = 0.35
"""Half-light radius from which on the peak of the images, and with it the allowed error, falls [arcsec]."""
ROUNDEST = 1e-3
"""Smallest ``sqrt(1 - q^2)``; a rounder lens is computed with it, which moves no ray by more than 1e-6 arcsec."""
GAP = float(np.sqrt(0.6))
"""Distance of the outer Gauss-Legendre nodes from the middle one [half cells]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """An SIE with shear and a Sersic source for each lens of a batch, all of shape ``(lens,)``."""

    theta_E: NDArray[np.float64]
    """Einstein radius on the intermediate axis [arcsec]."""
    q: NDArray[np.float64]
    """Axis ratio of the mass."""
    phi: NDArray[np.float64]
    """Direction of its major axis [rad]."""
    x: NDArray[np.float64]
    """Center of the mass [arcsec], from the middle of the image."""
    y: NDArray[np.float64]
    """Center of the mass [arcsec]."""
    gamma1: NDArray[np.float64]
    """External shear."""
    gamma2: NDArray[np.float64]
    """External shear."""
    r_e: NDArray[np.float64]
    """Half-light radius of the source on the intermediate axis [arcsec]."""
    n: NDArray[np.float64]
    """Sersic index."""
    source_q: NDArray[np.float64]
    """Axis ratio of the source."""
    source_phi: NDArray[np.float64]
    """Direction of its major axis [rad]."""
    source_x: NDArray[np.float64]
    """Center of the source [arcsec]."""
    source_y: NDArray[np.float64]
    """Center of the source [arcsec]."""


def coefficients(p: Parameters) -> torch.Tensor:
    """Return what a ray needs to know of each lens, shape ``(lens, 22)``, float32.

    With (a, b) the position on the axes of the mass and u that in the source, in half-light radii on a circle,
    ``u = A theta + t - K alpha(a, b)``: the columns are (cos, sin, a0, b0, q, f, A11, A12, t1, A21, A22, t2, -K11,
    -K12, -K21, -K22), then ``1 / 2n``, ``-b_n``, the central light in a pixel, the core radius, and n.
    """
    q = np.minimum(p.q, np.sqrt(1 - ROUNDEST**2))
    f = np.sqrt((1 - q) * (1 + q))
    cos, sin = np.cos(p.phi), np.sin(p.phi)
    cos_s, sin_s, root = np.cos(p.source_phi), np.sin(p.source_phi), np.sqrt(p.source_q)
    t11, t12 = root * cos_s / p.r_e, root * sin_s / p.r_e
    t21, t22 = -sin_s / (root * p.r_e), cos_s / (root * p.r_e)
    scale = p.theta_E * np.sqrt(q) / f
    b_n, peak, core = _profiles(p)
    columns = [
        cos,
        sin,
        -(cos * p.x + sin * p.y),
        sin * p.x - cos * p.y,
        q,
        f,
        t11 * (1 - p.gamma1) - t12 * p.gamma2,
        t12 * (1 + p.gamma1) - t11 * p.gamma2,
        -(t11 * p.source_x + t12 * p.source_y),
        t21 * (1 - p.gamma1) - t22 * p.gamma2,
        t22 * (1 + p.gamma1) - t21 * p.gamma2,
        -(t21 * p.source_x + t22 * p.source_y),
        -scale * (t11 * cos + t12 * sin),
        -scale * (t12 * cos - t11 * sin),
        -scale * (t21 * cos + t22 * sin),
        -scale * (t22 * cos - t21 * sin),
        0.5 / p.n,
        -b_n,
        peak,
        core,
        p.n,
        1 / (1 + (p.r_e / WIDE) ** 2),
    ]
    return torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))


def _profiles(p: Parameters) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return b_n, the central light in a pixel and the core radius [r_e] of each source; see `lensing.sersic`."""
    b_n = np.asarray(gammaincinv(2 * p.n, 0.5), dtype=np.float64)
    peak = np.exp(2 * p.n * np.log(b_n) - gammaln(2 * p.n)) / (2 * np.pi * p.n)
    return b_n, peak / p.r_e**2 * PIXSCALE**2, (gammaincinv(2 * p.n, CORE_LIGHT) / b_n) ** p.n


def half_window(p: Parameters, *, faintest: float = 3e-5) -> NDArray[np.int64]:
    """Return how far from the middle the images reach [pixels]; a pixel beyond has less than ``faintest`` flux."""
    b_n, peak, _ = _profiles(p)
    source = p.r_e * (np.maximum(np.log(peak / faintest), 0) / b_n) ** p.n / np.sqrt(p.source_q)
    reach = p.theta_E / np.sqrt(p.q) + np.hypot(p.source_x, p.source_y) + source + np.hypot(p.x, p.y)
    shrink = 1 - np.hypot(p.gamma1, p.gamma2)
    return np.asarray(np.ceil(reach / shrink / PIXSCALE) + 2, dtype=np.int64)


def spline(distance: torch.Tensor) -> torch.Tensor:
    """Return the quartic B-spline at a distance from its center [pixels]."""
    u = distance.abs()
    return (_fourth_power(2.5 - u) - 5 * _fourth_power(1.5 - u) + 10 * _fourth_power(0.5 - u)) / 24


def _fourth_power(u: torch.Tensor) -> torch.Tensor:
    square = u.clamp(min=0).square()
    return square * square


@functools.lru_cache(maxsize=8)
def _nodes(device: torch.device) -> tuple[torch.Tensor, ...]:
    """Return places and weights along a side of a pixel: 3 nodes, the 12 nodes of its 4 cells, and their middles."""
    node, weight = (torch.from_numpy(values / 2) for values in np.polynomial.legendre.leggauss(3))
    middle = (torch.arange(4, dtype=torch.float64) - 1.5) / 4
    twelve = (middle[:, None] + node / 4).reshape(-1)
    values = (node, weight, twelve, (weight / 4).repeat(4), middle)
    return tuple(value.to(device, torch.float32) for value in values)


def _spread(place: torch.Tensor) -> torch.Tensor:
    """Return what nodes at a place in their pixel give to the 5 pixels around it, shape ``(*place, 5)``."""
    return spline(place[..., None] - torch.arange(-EDGE, EDGE + 1, dtype=place.dtype, device=place.device))


def trace(x: torch.Tensor, y: torch.Tensor, k: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return source positions in half-light radii, on axes in which the source is round."""
    cos, sin, a0, b0, q, f, a11, a12, t1, a21, a22, t2, k11, k12, k21, k22 = k[:16]
    a, b = torch.add(cos * x + a0, sin * y), torch.add(b0 - sin * x, cos * y)
    # The smallest float beside psi^2 keeps the very center finite; there a and b are zero, and so is the deflection.
    f_over_psi = torch.mul(a, q).square_().add_(1e-12).addcmul_(b, b).rsqrt_().mul_(f)
    a.mul_(f_over_psi).atan_()
    b.mul_(f_over_psi).atanh_()
    u1 = torch.add(a11 * x + t1, a12 * y).addcmul_(a, k11).addcmul_(b, k12)
    u2 = torch.add(a21 * x + t2, a22 * y).addcmul_(a, k21).addcmul_(b, k22)
    return u1, u2


def _light(r2: torch.Tensor, k: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the light of a pixel at squared source radius ``r2``, which is overwritten."""
    return r2.pow_(k[16]).mul_(k[17]).exp_().mul_(k[18])


def lensed_light(coefficient: torch.Tensor, half: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the images of sources of unit flux, before the PSF.

    Parameters
    ----------
    coefficient
        As `coefficients` returns them, shape ``(lens, 22)``.
    half
        Half width of the window [pixels].

    Returns
    -------
    smooth, core
        Light sampled at pixel centers, and light deposited with the B-spline; shape ``(lens, n, n)`` with
        ``n = 2 half + 1 + 2 EDGE``. Their sum is the magnification.
    """
    n_lens, width = len(coefficient), 2 * half + 1
    padded = width + 2 * EDGE
    grid = torch.arange(-half, half + 1, dtype=torch.float32, device=coefficient.device) * PIXSCALE
    k = [column.reshape(n_lens, 1, 1) for column in coefficient.unbind(1)]
    u1, u2 = trace(grid.reshape(1, 1, width), grid.reshape(1, width, 1), k)
    r2 = (u1 * u1).addcmul_(u2, u2)
    foot = _footprint(u1, u2)
    _widen_torn(foot, coefficient, half)
    bound, rough = _roughness(r2[:, 1:-1, 1:-1].sqrt(), foot, k)
    refined = rough.clamp(max=1.0).mul_(bound) > SAMPLED * k[21]
    lens, row, column = torch.nonzero(refined, as_tuple=True)
    missed = bound[lens, row, column] * rough[lens, row, column].clamp(max=1.0)
    within = r2[:, 1:-1, 1:-1][lens, row, column].sqrt() < foot[lens, row, column]

    smooth = u1.new_zeros(n_lens, padded, padded)
    light = _light(r2, k)
    light[:, 1:-1, 1:-1].masked_fill_(refined, 0.0)
    smooth[:, EDGE:-EDGE, EDGE:-EDGE] = light
    core = u1.new_zeros(n_lens * padded * padded)
    if len(lens):
        row, column = row + 1, column + 1
        torn = _torn(grid[column], grid[row], coefficient[lens].unbind(1), PIXSCALE)
        divided = within & (missed * torch.where(torn, TORN_MISS, CUSP_MISS) > MISSED * coefficient[lens, 21])
        some = torch.nonzero(divided)[:, 0]
        miss = _miss(torn[some], _near_cusp(u1, u2, lens[some], row[some], column[some]))
        divided[some] = missed[some] * miss > MISSED * coefficient[lens[some], 21]
        patches = _patches(coefficient, grid, lens, row, column, divided)
        step = torch.arange(-EDGE, EDGE + 1, device=grid.device)
        offset = (step[:, None] * padded + step).reshape(-1)
        for which, patch in patches:
            first = (lens[which] * padded + row[which] + EDGE) * padded + column[which] + EDGE
            core.index_add_(0, (first + offset[:, None]).reshape(-1), patch.reshape(-1))
    return smooth, core.reshape(n_lens, padded, padded)


def _footprint(u1: torch.Tensor, u2: torch.Tensor) -> torch.Tensor:
    """Return the half size of each inner pixel in the source plane, from the farther of its neighbors on each axis."""
    d1, d2 = u1[:, 1:-1].diff(dim=2), u2[:, 1:-1].diff(dim=2)
    d1.square_().addcmul_(d2, d2)
    half = torch.maximum(d1[:, :, 1:], d1[:, :, :-1]).sqrt_()
    d1, d2 = u1[:, :, 1:-1].diff(dim=1), u2[:, :, 1:-1].diff(dim=1)
    d1.square_().addcmul_(d2, d2)
    return half.add_(torch.maximum(d1[:, 1:], d1[:, :-1]).sqrt_()).mul_(SAFETY / 2)


def _roughness(r: torch.Tensor, half: torch.Tensor, k: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the most light that a pixel may have and the e-foldings across half of it, as `Sersic.roughness` does."""
    nearest = torch.maximum(r.sub_(half), k[19])
    exponent = nearest.pow(2 * k[16]).mul_(-k[17])
    bound = torch.exp(-exponent).mul_(k[18])
    rough = exponent * half / (nearest * k[20])
    if bool((k[20] < 1).any()):  # only such profiles are steeper on the far side of a cell
        across = (nearest + 2 * half).pow_(2 * k[16]).mul_(-k[17]).sub_(exponent)
        rough = torch.maximum(rough, across / 2)
    return bound, rough


def _patches(
    coefficient: torch.Tensor,
    grid: torch.Tensor,
    lens: torch.Tensor,
    row: torch.Tensor,
    column: torch.Tensor,
    divided: torch.Tensor,
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the light of refined pixels as pairs: which of them, shape (P,), and patches, shape (25, P).

    Pixels are the last axis everywhere: it is the long one, along which a processor works at once.
    """
    node, weight, cell_node, cell_weight, middle = _nodes(grid.device)
    columns = coefficient.t().contiguous()
    which = torch.nonzero(~divided)[:, 0]
    k = columns[:, lens[which]].unbind(0)
    x, y = grid[column[which]] + (node * PIXSCALE)[:, None], grid[row[which]] + (node * PIXSCALE)[:, None]
    u1, u2 = trace(x, y[:, None], k)
    light = _light(u1.square_().addcmul_(u2, u2), k)
    spread = weight[:, None] * _spread(node)
    patches = [(which, torch.kron(spread, spread).T @ light.reshape(9, -1))]

    which = torch.nonzero(divided)[:, 0]
    y0, x0 = grid.new_zeros(len(which)), grid.new_zeros(len(which))  # middle of the divided cell in its pixel
    size = 1.0
    for level in range(1, DEPTH + 1):
        if not len(which):
            break
        k = columns[:, lens[which]].unbind(0)
        node_y, node_x = y0 + (cell_node * size)[:, None], x0 + (cell_node * size)[:, None]
        x, y = grid[column[which]] + node_x * PIXSCALE, grid[row[which]] + node_y * PIXSCALE
        u1, u2 = trace(x, y[:, None], k)
        deeper = _holds_cusp(x, y, u1, u2, k, size / 4) if level < DEPTH else None
        light = _light(u1.square_().addcmul_(u2, u2), k)
        parent, i, j = which.new_zeros((3, 0))
        if deeper is not None:
            i, j, parent = torch.nonzero(deeper, as_tuple=True)
            light.view(4, 3, 4, 3, -1).transpose(1, 2)[i, j, :, :, parent] = 0.0
        weights = (cell_weight * size)[:, None]
        if level == 1:  # all pixels have their nodes at the same places
            spread = weights * _spread(cell_node)
            patch = torch.kron(spread, spread).T @ light.reshape(144, -1)
        else:
            rows, along = weights[:, None] * _spread(node_y), weights[:, None] * _spread(node_x)
            light = light.permute(2, 0, 1).contiguous()
            patch = rows.permute(1, 2, 0) @ light @ along.transpose(0, 1)
            patch = patch.permute(1, 2, 0).reshape(25, -1)
        patches.append((which, patch))
        y0, x0 = y0[parent] + middle[i] * size, x0[parent] + middle[j] * size
        which = which[parent]
        size /= 4
    return patches


def _center(k: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return x and y of the center of the mass [arcsec]."""
    # The origin on the axes of the mass, turned back.
    cos, sin, a0, b0 = k[:4]
    return sin * b0 - cos * a0, -sin * a0 - cos * b0


def _widen_torn(foot: torch.Tensor, coefficient: torch.Tensor, half: int) -> None:
    """Double the footprints around the center of the mass, in place: a tear lies in a pixel, not between two halves."""
    x, y = _center(coefficient.unbind(1))
    step = torch.arange(-1, 2, device=foot.device)
    limit = foot.shape[1] - 1
    row = ((y / PIXSCALE).round().long() + half - 1)[:, None] + step
    column = ((x / PIXSCALE).round().long() + half - 1)[:, None] + step
    lens = torch.arange(len(foot), device=foot.device)[:, None, None]
    foot[lens, row.clamp(0, limit)[:, :, None], column.clamp(0, limit)[:, None, :]] *= 2


def _torn(x: torch.Tensor, y: torch.Tensor, k: Sequence[torch.Tensor], side: float) -> torch.Tensor:
    """Return which cells around ``(x, y)``, of a side in arcsec, lie beside the center of the mass."""
    center_x, center_y = _center(k)
    return ((x - center_x).abs_() <= TORN_REACH * side) & ((y - center_y).abs_() <= TORN_REACH * side)


def _miss(torn: torch.Tensor, near: torch.Tensor) -> torch.Tensor:
    """Return what the nodes of cells miss, of their brightest light."""
    return torch.where(torn, TORN_MISS, torch.where(near, CUSP_MISS, BESIDE_MISS))


def _near_cusp(
    u1: torch.Tensor, u2: torch.Tensor, lens: torch.Tensor, row: torch.Tensor, column: torch.Tensor
) -> torch.Tensor:
    """Return which of some pixels may hold the cusp of the source."""
    left1, right1, below1, above1 = (u1[lens, row + i, column + j] for i, j in ((0, -1), (0, 1), (-1, 0), (1, 0)))
    left2, right2, below2, above2 = (u2[lens, row + i, column + j] for i, j in ((0, -1), (0, 1), (-1, 0), (1, 0)))
    along_x, along_y = (right1 - left1, right2 - left2), (above1 - below1, above2 - below2)
    return _cusp_distance(u1[lens, row, column], u2[lens, row, column], along_x, along_y, 0.25) <= CUSP_REACH


def _cusp_distance(
    m1: torch.Tensor,
    m2: torch.Tensor,
    along_x: tuple[torch.Tensor, torch.Tensor],
    along_y: tuple[torch.Tensor, torch.Tensor],
    half: float,
) -> torch.Tensor:
    """Return how far the cusp lies from the middle of a cell, along the farther axis [half sides].

    Parameters
    ----------
    m1, m2
        Where the middle of the cell is in the source.
    along_x, along_y
        Difference in the source between two points of the cell along each axis.
    half
        Half a side of the cell over the distance of those points.

    Notes
    -----
    A damped Newton step: near a critical curve, where the step along one axis has no meaning, it is short, so that a
    cell is divided rather than not.
    """
    (a1, a2), (b1, b2) = along_x, along_y
    aa, bb, ab = a1 * a1 + a2 * a2, b1 * b1 + b2 * b2, a1 * b1 + a2 * b2
    damping = DAMPING * (aa + bb)
    am, bm = a1 * m1 + a2 * m2, b1 * m1 + b2 * m2
    aa, bb = aa + damping, bb + damping
    determinant = (aa * bb).sub_(ab * ab).mul_(half)
    return torch.maximum((am * bb).sub_(bm * ab).abs_(), (bm * aa).sub_(am * ab).abs_()).div_(determinant)


def _holds_cusp(
    x: torch.Tensor, y: torch.Tensor, u1: torch.Tensor, u2: torch.Tensor, k: Sequence[torch.Tensor], size: float
) -> torch.Tensor:
    """Return which cells of ``size`` pixels hold so much of the cusp that they must be divided, shape (4, 4, P)."""
    v1, v2 = u1.view(4, 3, 4, 3, -1), u2.view(4, 3, 4, 3, -1)
    m1, m2 = v1[:, 1, :, 1], v2[:, 1, :, 1]
    below, above, left, right = (
        torch.hypot(v1[:, i, :, j] - m1, v2[:, i, :, j] - m2) for i, j in ((0, 1), (2, 1), (1, 0), (1, 2))
    )
    half = (torch.maximum(below, above) + torch.maximum(left, right)).mul_(SAFETY / GAP)
    along_x = (v1[:, 1, :, 2] - v1[:, 1, :, 0], v2[:, 1, :, 2] - v2[:, 1, :, 0])
    along_y = (v1[:, 2, :, 1] - v1[:, 0, :, 1], v2[:, 2, :, 1] - v2[:, 0, :, 1])
    r = torch.hypot(m1, m2)
    bound, rough = _roughness(r, half, k)
    torn = _torn(x[None, 1::3], y[1::3, None], k, size * PIXSCALE)
    near = _cusp_distance(m1, m2, along_x, along_y, 0.5 / GAP) <= CUSP_REACH
    missed = bound * rough.clamp(max=1.0) * _miss(torn, near) * size**2
    return (r < half) & (missed > MISSED * k[21])
