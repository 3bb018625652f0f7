"""Where bright stars and large galaxies spoil the images: mask radii, saturation, diffraction spikes, halos."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from legacylens.mocks.galaxies import Galaxy
from legacylens.mocks.sky import Points
from legacylens.survey.bands import BANDS, PIXSCALE
from legacylens.survey.maskbits import mask_value

BRIGHT_LIMIT, MEDIUM_LIMIT = 13.0, 16.0
"""Gaia G magnitudes of the BRIGHT and MEDIUM masks."""
SATURATION = {"g": 10.0, "r": 12.0, "z": 20.0}
"""Surface brightness at which a pixel saturates in every exposure [nanomaggies/pixel]."""
LARGE_GALAXY = 870.0
"""r flux of galaxies that the survey treats as large ones, r < 15.15 [nanomaggies]."""
SPIKE_ANGLE = 0.0
"""Direction of the diffraction spikes [radian]."""


def mask_radius(gaia_g: ArrayLike) -> NDArray[np.float64]:
    """Return the radius [arcsec] of a star's mask, 0 for stars that have none.

    Notes
    -----
    1630 * 1.396^-G arcsec, as legacypipe masks Gaia stars (an exponential through measured halo sizes).
    """
    g = np.asarray(gaia_g, dtype=np.float64)
    return np.asarray(np.where(g < MEDIUM_LIMIT, 1630.0 * 1.396**-g, 0.0))


def _disk(shape: tuple[int, int], x: float, y: float, radius: float) -> tuple[slice, slice, NDArray[np.bool_]]:
    """Return the box of a disk within an image and which of its pixels are inside; radius in pixels."""
    x0, x1 = int(np.clip(x - radius, 0, shape[1])), int(np.clip(x + radius + 2, 0, shape[1]))
    y0, y1 = int(np.clip(y - radius, 0, shape[0])), int(np.clip(y + radius + 2, 0, shape[0]))
    inside = (np.arange(y0, y1)[:, None] - y) ** 2 + (np.arange(x0, x1)[None, :] - x) ** 2 <= radius**2
    return slice(y0, y1), slice(x0, x1), inside


def mask_stars(maskbits: NDArray[np.int32], stars: Points, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    """Set BRIGHT and MEDIUM around the bright stars at pixels (x, y)."""
    for g, px, py in zip(stars.gaia_g, x, y, strict=True):
        if g >= MEDIUM_LIMIT:
            continue
        names = ("BRIGHT", "MEDIUM") if g < BRIGHT_LIMIT else ("MEDIUM",)
        rows, columns, inside = _disk(maskbits.shape, px, py, float(mask_radius(g)) / PIXSCALE)
        maskbits[rows, columns] |= np.where(inside, np.int32(mask_value(*names)), np.int32(0))


def mask_galaxy(maskbits: NDArray[np.int32], galaxy: Galaxy, x: float, y: float) -> None:
    """Set GALAXY around a large galaxy at pixel (x, y)."""
    if galaxy.flux[1] < LARGE_GALAXY:
        return
    rows, columns, inside = _disk(maskbits.shape, x, y, 3.0 * galaxy.radius / PIXSCALE)
    maskbits[rows, columns] |= np.where(inside, np.int32(mask_value("GALAXY")), np.int32(0))


def add_halos_and_spikes(
    image: NDArray[np.float32], band: int, flux: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> None:
    """Add what the PSF model of bright stars lacks: the aureole and the four spikes of the telescope's vanes.

    Parameters
    ----------
    image
        (y, x) [nanomaggies/pixel]; changed.
    band
        Band number.
    flux
        Flux of each star in this band [nanomaggies].
    x, y
        Their pixels.

    Notes
    -----
    Aureole: 3.3e-4 r^-2 of the flux per arcsec^2 (DECam r; 4.5e-4 in g), flat inside 5 arcsec.
    """
    aureole = (4.5e-4, 3.3e-4, 4.0e-4)[band]
    for f, px, py in zip(flux, x, y, strict=True):
        if f < 250.0:
            continue
        reach = float(np.clip(6.0 * np.sqrt(f / 250.0), 6.0, 90.0)) / PIXSCALE
        rows, columns, _ = _disk(image.shape, px, py, reach)
        dy = (np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(py)) * np.float32(PIXSCALE)
        dx = (np.arange(columns.start, columns.stop, dtype=np.float32)[None, :] - np.float32(px)) * np.float32(PIXSCALE)
        radius = np.hypot(dx, dy)
        fade = np.clip(1.0 - radius / np.float32(reach * PIXSCALE), 0.0, 1.0)
        glow = np.float32(aureole * f) / np.maximum(radius, 5.0) ** 2
        spikes = np.zeros_like(radius)
        for angle in (SPIKE_ANGLE + 0.25 * np.pi, SPIKE_ANGLE + 0.75 * np.pi):
            across = -dx * np.float32(np.sin(angle)) + dy * np.float32(np.cos(angle))
            spikes += np.exp(-0.5 * (across / 0.35) ** 2)
        spikes *= np.float32(2.5e-3 * f) / (1.0 + radius) ** 1.6
        image[rows, columns] += np.float32(PIXSCALE**2) * fade * (glow + spikes)


def saturate(
    images: dict[str, NDArray[np.float32]],
    invvars: dict[str, NDArray[np.float32]],
    maskbits: NDArray[np.int32],
    fluxes: NDArray[np.float64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
) -> None:
    """Cut saturated cores, let them bleed along the columns, and mask them; the arrays are changed.

    Parameters
    ----------
    images, invvars
        Band -> (y, x).
    maskbits
        (y, x).
    fluxes
        Flux of each star in g, r, z as it arrives, (n, 3) [nanomaggies].
    x, y
        Their pixels.
    """
    for band in images:
        limit = SATURATION[band]
        image, invvar = images[band], invvars[band]
        core = image > limit
        flux = fluxes[:, BANDS.index(band)]
        for f, px, py in zip(flux, x, y, strict=True):
            column = round(px)
            if f < 6000.0 or not 1 <= column < image.shape[1] - 1:
                continue
            half = int(np.clip(0.5 * np.sqrt(f), 10, 500))
            y0, y1 = max(int(py) - half, 0), max(min(int(py) + half, image.shape[0]), 0)
            core[y0:y1, column - 1 : column + 2] = True
            image[y0:y1, column - 1 : column + 2] = limit
        image[core] = np.minimum(image[core], np.float32(limit))
        invvar[core] = 0.0
        maskbits[core] |= np.int32(mask_value(f"SATUR_{band.upper()}", f"ALLMASK_{band.upper()}"))
