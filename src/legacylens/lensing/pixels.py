"""A real galaxy as a source: its picture, interpolated by cubic splines, with unit flux."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from legacylens.errors import PhysicalRangeError
from legacylens.lensing.frames import beside, into
from legacylens.lensing.ranges import Real, require, require_finite
from legacylens.lensing.sources import Footprint
from legacylens.lensing.splines import chosen, cubic

MARGIN = 4
"""Pixels of nothing around a picture, in which its spline fades."""
GRAIN = 1.5
"""Length on which a picture may change e-fold [its pixels]; the half width of an HST PSF."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """A pixelized source of unit flux; made by `picture` from an image."""

    coefficients: torch.Tensor = field(metadata={"shared": True})
    """Spline coefficients for unit flux per pixel sum, shape ``(image, y, x)``."""
    bounds: torch.Tensor = field(metadata={"shared": True})
    """Largest coefficient around each pixel, shape ``(image, y, x)``."""
    which: torch.Tensor
    """Number of the picture of each lens, a number or shape ``(lens,)``."""
    pixscale: Real
    """Pixel of the picture [arcsec], > 0; enlarge it to enlarge the galaxy."""
    phi: Real = 0.0
    """Direction to which the picture's x axis points [rad]."""
    x: Real = 0.0
    """Where the middle of the picture is [arcsec]."""
    y: Real = 0.0
    """Where the middle of the picture is [arcsec]."""

    def __post_init__(self) -> None:
        require("Picture.pixscale", self.pixscale, torch.as_tensor(self.pixscale) > 0, "> 0 arcsec")
        require_finite("Picture", phi=self.phi, x=self.x, y=self.y)

    @property
    def diameter(self) -> Real:
        """Side of the picture [arcsec]."""
        return (max(self.coefficients.shape[1:]) - 2 * MARGIN) * self.pixscale

    def _pixel(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        a, b = into(x, y, x0=self.x, y0=self.y, phi=self.phi)
        pixscale = beside(self.pixscale, x)
        height, width = self.coefficients.shape[1:]
        return b / pixscale + (height - 1) / 2, a / pixscale + (width - 1) / 2, chosen(self.which, a), pixscale

    def brightness(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the surface brightness for unit total flux [1/arcsec^2]; zero outside of the picture."""
        row, column, which, pixscale = self._pixel(x, y)
        return cubic(self.coefficients, which, row, column, periodic=False) / pixscale**2

    def roughness(self, x: torch.Tensor, y: torch.Tensor, footprint: Footprint) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the largest coefficient around ``(x, y)`` and the half size of the footprint in grains."""
        row, column, which, pixscale = self._pixel(x, y)
        ax, ay, bx, by = footprint
        half = (torch.hypot(ax, ay) + torch.hypot(bx, by)) / pixscale
        height, width = self.coefficients.shape[1:]
        row, column = row.round().long(), column.round().long()
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        near = self.bounds[which, row.clamp(0, height - 1), column.clamp(0, width - 1)]
        # The bounds hold for a few pixels around; a larger footprint may reach the brightest pixel of all.
        far = self.bounds.amax((1, 2))[which]
        bound = torch.where(half < MARGIN, torch.where(inside, near, 0.0), far)
        beyond = torch.maximum((row - height / 2).abs() - height / 2, (column - width / 2).abs() - width / 2) > half
        return torch.where(beyond, 0.0, bound) / pixscale**2, half / GRAIN


def picture(
    image: NDArray[np.float64],
    *,
    pixscale: Real,
    phi: Real = 0.0,
    x: Real = 0.0,
    y: Real = 0.0,
) -> Picture:
    """Return a source from the image of a galaxy.

    Parameters
    ----------
    image
        Surface brightness in any unit, sky subtracted, shape ``(y, x)``.
    pixscale
        Pixel of the image [arcsec].
    phi, x, y
        How it is turned [rad] and where its middle is put [arcsec].

    Raises
    ------
    PhysicalRangeError
        If the image is not finite or has no positive flux.
    """
    image = np.asarray(image, dtype=np.float64)
    if image.ndim != 2 or not np.isfinite(image).all():
        raise PhysicalRangeError("image of a source", image.shape, "a finite image (y, x)", "Fill in its bad pixels.")
    if not image.sum() > 0:
        raise PhysicalRangeError("flux of a source image", float(image.sum()), "> 0", "Subtract less sky.")
    coefficients = ndimage.spline_filter(np.pad(image, MARGIN), order=3, mode="grid-constant")
    coefficients /= coefficients.sum()
    bounds = ndimage.maximum_filter(np.abs(coefficients), size=2 * MARGIN + 3)
    return Picture(
        coefficients=torch.from_numpy(coefficients)[None],
        bounds=torch.from_numpy(bounds)[None],
        which=torch.tensor(0),
        pixscale=pixscale,
        phi=phi,
        x=x,
        y=y,
    )
