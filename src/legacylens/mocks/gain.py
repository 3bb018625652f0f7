"""The effective gain of a coadd: electrons for a nanomaggy, which decides the photon noise of an arc.

A coadd has no gain of its own. But its inverse variance is that of the sky's photons, ``1/invvar = sky / gain``, so
``gain = sky * invvar``, pixel by pixel and band by band. For DECam that gives 8,000 (two short exposures) to 50,000
(the Dark Energy Survey), as the sum of the exposures' own gains does, within a factor of 1.5.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from legacylens.cutouts.cutout import Cutout
from legacylens.errors import PhysicalRangeError

GAIN_RANGE = (500.0, 1e6)
"""Gains that a survey's coadd can have [e-/nanomaggy]: from a tenth of a short DECam exposure to a deep field."""


def pixel_gain(invvar: NDArray[np.floating], sky: float) -> NDArray[np.float64]:
    """Return the gain of each pixel [e-/nanomaggy]; 0 where nothing was observed.

    Parameters
    ----------
    invvar
        Inverse variance of the sky noise [1/nanomaggies^2].
    sky
        Brightness of the sky that made it [nanomaggies/pixel], > 0.
    """
    if not sky > 0:
        raise PhysicalRangeError("sky", sky, "> 0 nanomaggies/pixel", "Dark sky in r has 0.30.")
    return np.asarray(invvar, dtype=np.float64) * sky


def sky_of(cutout: Cutout, sky: Mapping[str, float]) -> NDArray[np.float64]:
    """Return the sky of each band of a cutout on its own pixels [nanomaggies/pixel], shape ``(band,)``.

    Raises
    ------
    PhysicalRangeError
        If the sky of a band is not given.
    """
    missing = [band for band in cutout.bands if band not in sky]
    if missing:
        raise PhysicalRangeError(
            f"sky of band {', '.join(missing)}", None, "> 0 nanomaggies/pixel", "Give it in injection.sky."
        )
    return np.array([sky[band] for band in cutout.bands]) * (cutout.pixscale / 0.262) ** 2


def band_gains(cutout: Cutout, sky: Mapping[str, float]) -> NDArray[np.float64]:
    """Return the median gain of each band of a host [e-/nanomaggy], shape ``(band,)``.

    Parameters
    ----------
    cutout
        Has an invvar.
    sky
        Brightness of the sky by band [nanomaggies/pixel of 0.262 arcsec].

    Raises
    ------
    PhysicalRangeError
        If there is no invvar, or a gain is none that a survey can have.
    """
    if cutout.invvar is None:
        raise PhysicalRangeError(
            f"invvar of host {cutout.source_id}", None, "one for each pixel", "The gain follows from it."
        )
    gains = np.zeros(len(cutout.bands))
    for number, (band, level) in enumerate(zip(cutout.bands, sky_of(cutout, sky), strict=True)):
        good = cutout.invvar[number][cutout.invvar[number] > 0]
        gains[number] = float(np.median(pixel_gain(good, float(level)))) if good.size else 0.0
        if not GAIN_RANGE[0] <= gains[number] <= GAIN_RANGE[1]:
            raise PhysicalRangeError(
                f"effective gain of host {cutout.source_id} in {band}",
                f"{gains[number]:.4g}",
                f"[{GAIN_RANGE[0]:g}, {GAIN_RANGE[1]:g}] e-/nanomaggy",
                "It is invvar times sky: give invvar in 1/nanomaggies^2, and the sky of the survey in injection.sky.",
            )
    return gains
