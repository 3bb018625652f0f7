"""The lens equation solved: where the images of a point source are, and how bright."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from legacylens.lensing.frames import select
from legacylens.lensing.lens import Deflector, inverse_magnification, source_position
from legacylens.lensing.ranges import Real

DIVISION = 4
"""A cell that may hold an image is divided in this many along each side."""
DEPTH = 4
"""How often."""
NEWTON_STEPS = 40
"""Most steps of the last refinement."""
CONVERGED = 1e-10
"""Largest distance from the source at which an image is one [arcsec]."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Images:
    """Images of a point source behind each lens of a batch, brightest first; NaN where there is none."""

    x: torch.Tensor
    """Position [arcsec], shape ``(lens, image)``."""
    y: torch.Tensor
    """Position [arcsec], shape ``(lens, image)``."""
    magnification: torch.Tensor
    """Signed magnification, shape ``(lens, image)``."""

    @property
    def count(self) -> torch.Tensor:
        """Number of images of each lens, shape ``(lens,)``."""
        return torch.isfinite(self.x).sum(1)

    @property
    def total_magnification(self) -> torch.Tensor:
        """Sum of the absolute magnifications of each lens, shape ``(lens,)``."""
        return torch.nansum(self.magnification.abs(), dim=1)


def find_images(
    lens: Deflector,
    source_x: Real,
    source_y: Real,
    *,
    half_width: float,
    n_lens: int = 1,
    n_grid: int = 60,
) -> Images:
    """Return the images of point sources.

    Parameters
    ----------
    lens
        Parameters are numbers or have shape ``(lens,)``.
    source_x, source_y
        Source-plane positions [arcsec], numbers or shape ``(lens,)``.
    half_width
        Half width of the searched square around the origin [arcsec]; it must hold all images: theta_E + beta,
        and more with shear.
    n_lens
        Number of lenses.
    n_grid
        Cells along the side of the first grid.

    Notes
    -----
    A cell is kept if the source lies in the bounding box of its mapped corners, enlarged by half; kept cells are
    divided, and what is left starts Newton's method with the analytic Jacobian. Pairs that have merged to within a
    cell of the last division (1/256 of the first) near a fold may be counted as one. The infinitely faint central
    image of a singular lens is not an image.
    """
    step = 2 * half_width / n_grid
    # The offset keeps corners off the singular centers of deflectors.
    line = -half_width + step * (torch.arange(n_grid, dtype=torch.float64) + 0.5173)
    batch = torch.arange(n_lens).repeat_interleave(n_grid * n_grid)
    y = line.repeat_interleave(n_grid).repeat(n_lens)
    x = line.repeat(n_grid * n_lens)
    target_x = torch.as_tensor(source_x, dtype=x.dtype).expand(n_lens)
    target_y = torch.as_tensor(source_y, dtype=x.dtype).expand(n_lens)
    size = step
    for level in range(DEPTH + 1):
        keep = _may_hold(lens, batch, x, y, size, target_x[batch], target_y[batch])
        batch, x, y = batch[keep], x[keep], y[keep]
        if level < DEPTH:
            size /= DIVISION
            offset = (torch.arange(DIVISION, dtype=x.dtype) - (DIVISION - 1) / 2) * size
            n = len(batch)
            batch = batch.repeat_interleave(DIVISION**2)
            y = y.repeat_interleave(DIVISION**2) + offset.repeat_interleave(DIVISION).repeat(n)
            x = x.repeat_interleave(DIVISION**2) + offset.repeat(DIVISION * n)
    x, y, good = _newton(lens, batch, x, y, target_x[batch], target_y[batch], reach=step)
    batch, x, y = batch[good], x[good], y[good]
    return _without_repeats(lens, batch, x, y, n_lens)


def _may_hold(
    lens: Deflector,
    batch: torch.Tensor,
    x: torch.Tensor,
    y: torch.Tensor,
    size: float,
    target_x: torch.Tensor,
    target_y: torch.Tensor,
) -> torch.Tensor:
    """Say which square cells, given by their centers, may contain an image."""
    corner = torch.tensor([-0.5, 0.5], dtype=x.dtype) * size
    corner_x = x[:, None] + corner.repeat(2)
    corner_y = y[:, None] + corner.repeat_interleave(2)
    beta_x, beta_y = source_position(select(lens, batch), corner_x, corner_y)
    good = torch.ones_like(batch, dtype=torch.bool)
    for beta, target in ((beta_x, target_x), (beta_y, target_y)):
        low, high = beta.amin(1), beta.amax(1)
        slack = (high - low) / 2
        good &= (target >= low - slack) & (target <= high + slack)
    return good


def _newton(
    lens: Deflector,
    batch: torch.Tensor,
    x: torch.Tensor,
    y: torch.Tensor,
    target_x: torch.Tensor,
    target_y: torch.Tensor,
    *,
    reach: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return positions refined by Newton's method, and which of them converged without wandering off."""
    lenses = select(lens, batch)
    start_x, start_y = x, y
    for _ in range(NEWTON_STEPS):
        beta_x, beta_y = source_position(lenses, x, y)
        miss_x, miss_y = target_x - beta_x, target_y - beta_y
        kappa = lenses.convergence(x, y)
        gamma1, gamma2 = lenses.shear(x, y)
        a11, a22, a12 = 1 - kappa - gamma1, 1 - kappa + gamma1, -gamma2
        determinant = a11 * a22 - a12 * a12
        step_x = (a22 * miss_x - a12 * miss_y) / determinant
        step_y = (a11 * miss_y - a12 * miss_x) / determinant
        # Near a fold the determinant vanishes and a full step would leave the neighborhood.
        shrink = torch.clamp(reach / 4 / torch.hypot(step_x, step_y), max=1.0)
        x, y = x + shrink * step_x, y + shrink * step_y
        if bool((torch.hypot(miss_x, miss_y) < CONVERGED / 10).all()):
            break
    beta_x, beta_y = source_position(lenses, x, y)
    good = torch.hypot(target_x - beta_x, target_y - beta_y) < CONVERGED
    return x, y, good & (torch.hypot(x - start_x, y - start_y) < reach)


def _without_repeats(lens: Deflector, batch: torch.Tensor, x: torch.Tensor, y: torch.Tensor, n_lens: int) -> Images:
    """Return each image once, brightest first."""
    found: list[list[tuple[float, float]]] = [[] for _ in range(n_lens)]
    for k, px, py in zip(batch.tolist(), x.tolist(), y.tolist(), strict=True):
        if all((px - qx) ** 2 + (py - qy) ** 2 > 1e-14 for qx, qy in found[k]):
            found[k].append((px, py))
    n_image = max((len(images) for images in found), default=0)
    place = torch.full((2, n_lens, n_image), torch.nan, dtype=torch.float64)
    for k, images in enumerate(found):
        for i, (px, py) in enumerate(images):
            place[0, k, i], place[1, k, i] = px, py
    mu = 1 / inverse_magnification(lens, place[0], place[1])
    order = torch.argsort(torch.nan_to_num(mu.abs(), nan=-1.0), dim=1, descending=True)
    return Images(x=place[0].gather(1, order), y=place[1].gather(1, order), magnification=mu.gather(1, order))
