"""Nanomaggies, AB magnitudes and Galactic extinction. Pure functions on arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

ZERO_POINT = 22.5
"""AB magnitude of one nanomaggy."""

EXTINCTION_COEFFICIENT = {"g": 3.214, "r": 2.165, "i": 1.592, "z": 1.211}
"""A_band / E(B-V) for DECam, as used for ``mw_transmission_*`` (DR10 catalog description)."""


def magnitude(flux: ArrayLike) -> NDArray[np.float64]:
    """Return the AB magnitude of a flux.

    Parameters
    ----------
    flux
        Flux [nanomaggies], any shape.

    Returns
    -------
    mag
        AB magnitude; NaN where the flux is not positive, so that it never passes a cut.
    """
    flux = np.asarray(flux, dtype=np.float64)
    positive = flux > 0
    mag = np.full(flux.shape, np.nan)
    np.log10(flux, out=mag, where=positive)
    return ZERO_POINT - 2.5 * mag


def flux_of_magnitude(mag: ArrayLike) -> NDArray[np.float64]:
    """Return the flux [nanomaggies] of an AB magnitude."""
    return np.asarray(10.0 ** ((ZERO_POINT - np.asarray(mag, dtype=np.float64)) / 2.5))


def mw_transmission(ebv: ArrayLike, band: str) -> NDArray[np.float64]:
    """Return the fraction of light that the Galaxy lets through in ``band`` for reddening E(B-V) [mag]."""
    return np.asarray(10.0 ** (-0.4 * EXTINCTION_COEFFICIENT[band] * np.asarray(ebv, dtype=np.float64)))


def depth_magnitude(depth: ArrayLike) -> NDArray[np.float64]:
    """Return the 5-sigma AB magnitude of a catalog depth.

    Parameters
    ----------
    depth
        ``psfdepth_*`` or ``galdepth_*`` as in sweeps: inverse variance of a flux [1/nanomaggies^2].
        (The brick summary table has *magnitudes* under the same column names.)
    """
    depth = np.asarray(depth, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return magnitude(np.where(depth > 0, 5.0 / np.sqrt(depth), np.nan))
