"""The locus of luminous red galaxies that are lenses: brightness and colors as functions of redshift.

Medians of 1,615 known lenses in bins of photometric redshift (Stein et al. 2022, ApJ 932, 107). Where the arcs make
those too blue (g-r beyond z = 0.5), the colors are those of red galaxies of the Dark Energy Survey; below z = 0.3,
where few lenses are known, the brightness is that of the same galaxy brought nearer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

REDSHIFT = (0.02, 0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.35, 0.40, 0.45, 0.50, 0.55, 0.65, 0.75, 0.85, 0.95, 1.10)
MAG_R = (11.3, 13.4, 15.0, 16.0, 16.75, 17.35, 17.85, 18.29, 18.7, 19.06, 19.34, 19.6, 20.05, 20.57, 20.97, 21.29, 21.8)
G_R = (0.76, 0.80, 0.93, 1.10, 1.27, 1.45, 1.58, 1.68, 1.75, 1.79, 1.82, 1.84, 1.87, 1.89, 1.91, 1.93, 1.95)
R_Z = (0.58, 0.62, 0.67, 0.72, 0.765, 0.81, 0.85, 0.90, 0.96, 1.03, 1.125, 1.23, 1.43, 1.61, 1.75, 1.85, 1.95)


def host_mag_r(z: ArrayLike) -> NDArray[np.float64]:
    """Return the r magnitude of the median lens host at a redshift, corrected for Galactic extinction."""
    return np.interp(np.asarray(z, dtype=np.float64), REDSHIFT, MAG_R)


def host_colors(z: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return g-r and r-z of lens hosts, without arcs, at a redshift."""
    z = np.asarray(z, dtype=np.float64)
    return np.interp(z, REDSHIFT, G_R), np.interp(z, REDSHIFT, R_Z)


def luminosity_offset(mag_r: ArrayLike, z: ArrayLike) -> NDArray[np.float64]:
    """Return by how many magnitudes a galaxy is fainter than the median lens host at its redshift.

    Parameters
    ----------
    mag_r
        Magnitude in r, corrected for Galactic extinction.
    z
        Redshift.
    """
    return np.asarray(np.asarray(mag_r, dtype=np.float64) - host_mag_r(z))
