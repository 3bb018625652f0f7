"""Colors and magnitudes of mock galaxies: old and young stars at a redshift, red galaxies as lens hosts have them.

Old colors follow the measured hosts of known lenses (Stein et al. 2022: g-r 0.81 to 1.96, r-z 0.77 to 1.80 around
1.62 and 1.14 at photometric redshifts 0.26 to 0.83), young ones those of star-forming disks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from legacylens.photometry import flux_of_magnitude

REDSHIFT = (0.02, 0.10, 0.20, 0.30, 0.38, 0.45, 0.55, 0.65, 0.75, 0.85)
OLD_G_R = (0.78, 0.93, 1.18, 1.42, 1.58, 1.66, 1.72, 1.76, 1.80, 1.84)
OLD_R_Z = (0.62, 0.67, 0.74, 0.84, 0.92, 1.00, 1.20, 1.43, 1.65, 1.82)
YOUNG_G_R = (0.28, 0.33, 0.42, 0.52, 0.58, 0.58, 0.54, 0.48, 0.42, 0.38)
YOUNG_R_Z = (0.12, 0.18, 0.26, 0.32, 0.38, 0.42, 0.50, 0.58, 0.60, 0.58)
BRIGHT_RED_R = (13.7, 16.1, 17.45, 18.4, 19.0, 19.45, 20.0, 20.55, 21.0, 21.4)
"""r magnitude of a red galaxy of three characteristic luminosities, passively fading."""


def color_of(
    redshift: float, old_fraction: float, rng: np.random.Generator, scatter: float = 0.04
) -> tuple[float, float]:
    """Return g-r and r-z of a mixture of old and young stars.

    Parameters
    ----------
    redshift
        Redshift.
    old_fraction
        0 young, 1 old; between them colors are interpolated.
    rng
        Random generator.
    scatter
        Standard deviation added to each color [mag].
    """
    g_r = np.interp(redshift, REDSHIFT, OLD_G_R) * old_fraction + np.interp(redshift, REDSHIFT, YOUNG_G_R) * (
        1.0 - old_fraction
    )
    r_z = np.interp(redshift, REDSHIFT, OLD_R_Z) * old_fraction + np.interp(redshift, REDSHIFT, YOUNG_R_Z) * (
        1.0 - old_fraction
    )
    return float(g_r + scatter * rng.standard_normal()), float(r_z + scatter * rng.standard_normal())


def fluxes(r_mag: float, g_r: float, r_z: float) -> NDArray[np.float64]:
    """Return flux in g, r, z [nanomaggies] from the r magnitude and two colors."""
    return np.asarray(flux_of_magnitude([r_mag + g_r, r_mag, r_mag - r_z]), dtype=np.float64)


def bright_red_magnitude(redshift: float) -> float:
    """Return the r magnitude of a red galaxy of three characteristic luminosities."""
    return float(np.interp(redshift, REDSHIFT, BRIGHT_RED_R))
