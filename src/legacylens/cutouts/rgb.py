"""Color pictures of cutouts, with the look of the survey's own viewer.

The mapping is the arcsinh of Lupton et al. 2004 (PASP 116, 133) with the constants that the Legacy Surveys viewer
uses for g, r, z: the stretch acts on the mean of the scaled bands, so the color of a pixel does not change with its
brightness until it saturates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from legacylens.errors import PhysicalRangeError

CHANNELS: dict[str, tuple[int, float]] = {"g": (2, 6.0), "r": (1, 3.4), "z": (0, 2.2)}
"""Band -> (channel: 0 red, 1 green, 2 blue; factor [1/nanomaggies])."""

SOFTENING = 20.0
"""Q of Lupton et al.: how strongly bright pixels are compressed."""

PEDESTAL = 0.03
"""Added to the scaled bands, so that the sky is dark gray and its noise is seen."""


def rgb(image: NDArray[np.floating], bands: Sequence[str] = ("g", "r", "z")) -> NDArray[np.uint8]:
    """Return the color picture of one cutout or of many.

    Parameters
    ----------
    image
        Shape (band, y, x) or (n, band, y, x) [nanomaggies/pixel of 0.262 arcsec].
    bands
        Names of the planes; g, r and z must be among them, others are not used.

    Returns
    -------
    picture
        Shape (y, x, 3) or (n, y, x, 3). Row 0 is the southernmost, as in the image: draw it with the origin at the
        lower left, or flip it before writing a PNG, for north to be up.

    Raises
    ------
    PhysicalRangeError
        If the shape does not fit the bands, or one of g, r, z is missing.
    """
    image = np.asarray(image, dtype=np.float32)
    bands = tuple(bands)
    missing = [band for band in CHANNELS if band not in bands]
    if missing or image.ndim not in (3, 4) or image.shape[-3] != len(bands):
        raise PhysicalRangeError(
            "image of bands",
            f"{image.shape} of {bands}",
            "(g, r, z, y, x) or (n, bands, y, x) with g, r and z among the bands",
            "Give the planes with their names.",
        )
    scaled = {band: image[..., bands.index(band), :, :] * factor for band, (_, factor) in CHANNELS.items()}
    # Only the mean is kept from going negative; clipping each band there as well would color the noise.
    mean = sum(np.maximum(plane + PEDESTAL, 0.0) for plane in scaled.values()) / np.float32(len(scaled))
    gain = np.arcsinh(SOFTENING * mean) / math.sqrt(SOFTENING) / np.maximum(mean, 1e-6)
    picture = np.empty((*mean.shape, 3), dtype=np.uint8)
    for band, (channel, _) in CHANNELS.items():
        value = np.nan_to_num((scaled[band] + PEDESTAL) * gain, nan=0.0, posinf=1.0, neginf=0.0)
        picture[..., channel] = np.clip(value * 255.0 + 0.5, 0.0, 255.0).astype(np.uint8)
    return picture
