"""The seeing of cutouts in a store: columns of its manifest, or the PSF images that were fetched beside it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from legacylens.cutouts.service_products import product_path, read_psf
from legacylens.cutouts.store import CutoutStore
from legacylens.errors import PhysicalRangeError
from legacylens.survey.bands import BANDS

ANGLES = 48
"""Directions over which a profile is averaged."""


def fwhm_of_psf(plane: NDArray[np.floating], pixscale: float, center: tuple[float, float] = (0.0, 0.0)) -> float:
    """Return the full width at half maximum of the profile of a PSF [arcsec].

    Parameters
    ----------
    plane
        Image of the PSF, shape ``(y, x)``.
    pixscale
        Pixel [arcsec].
    center
        Place of the PSF's center from the middle of the image, column and row [pixel].

    Raises
    ------
    PhysicalRangeError
        If the profile does not fall to a half within the image.
    """
    middle_y, middle_x = (plane.shape[0] - 1) / 2.0 + center[1], (plane.shape[1] - 1) / 2.0 + center[0]
    radius = np.arange(0.0, 0.5 * min(plane.shape) - 1.0, 0.1)
    angle = 2.0 * np.pi * np.arange(ANGLES) / ANGLES
    rows = middle_y + radius[:, None] * np.sin(angle)
    columns = middle_x + radius[:, None] * np.cos(angle)
    profile = ndimage.map_coordinates(np.asarray(plane, np.float64), [rows, columns], order=3, mode="nearest").mean(1)
    half = 0.5 * profile[0]
    below = int(np.argmax(profile < half))
    if below == 0 or not half > 0.0:
        raise PhysicalRangeError("PSF", "no half maximum", "an image that is wider than the PSF", "Fetch it again.")
    fraction = (profile[below - 1] - half) / (profile[below - 1] - profile[below])
    return float(2.0 * pixscale * (radius[below - 1] + 0.1 * fraction))


def seeing_of_store(store: CutoutStore, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Return the FWHM of the PSF in g, r, z [arcsec] of some objects of a store, shape ``(object, 3)``.

    The manifest's ``psfsize_*`` where it has them, else PSFs that ``cutouts fetch --psf`` put beside the store; NaN for
    an object without one, None if no object has any.

    Raises
    ------
    FileProblem
        If an image of a PSF is damaged.
    """
    table: pd.DataFrame = store.manifest
    columns = [f"psfsize_{band}" for band in BANDS]
    if all(name in table for name in columns):
        return table[columns].iloc[np.asarray(rows)].to_numpy(np.float64)
    names = table["source_id"].iloc[np.asarray(rows)].astype(str).tolist()
    result = np.full((len(names), len(BANDS)), np.nan)
    for number, name in enumerate(names):
        if not product_path(store.path, "psf", name).is_file():
            continue
        psf = read_psf(store.path, name)
        for band, label in enumerate(BANDS):
            if label in psf.planes:
                result[number, band] = fwhm_of_psf(psf.planes[label], store.description.pixscale, psf.centroids[label])
    return result if np.isfinite(result).any() else None
