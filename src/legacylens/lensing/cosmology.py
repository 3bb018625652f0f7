"""Distances that lensing needs, and the Einstein radius of a velocity dispersion.

In a flat universe ``D_ls / D_s = 1 - chi_l / chi_s`` with the comoving distance chi, so that one table of chi serves
every pair of redshifts. The table is made by astropy; evaluating it is a cubic interpolation.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

from legacylens.errors import PhysicalRangeError

HUBBLE = 70.0
"""Hubble constant of the package [km/s/Mpc]; it cancels in Einstein radii."""
OMEGA_M = 0.3
"""Matter density of the package, flat."""
Z_MAX = 12.0
"""End of the table."""
LIGHT_SPEED = 299_792.458
"""Speed of light [km/s]."""
ARCSEC = 180 * 3600 / np.pi
"""Arcsec in a radian."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Distances:
    """A table of distances in a flat universe."""

    chi: CubicSpline
    """Comoving distance [Mpc] as a function of redshift."""

    def comoving(self, z: ArrayLike) -> NDArray[np.float64]:
        """Return the comoving distance [Mpc] to redshift ``z``.

        Raises
        ------
        PhysicalRangeError
            If a redshift is negative, not finite or beyond the table.
        """
        z = np.asarray(z, dtype=np.float64)
        good = (z >= 0) & (z <= Z_MAX)
        if not good.all():
            raise PhysicalRangeError("redshift", float(z[~good].flat[0]), f"[0, {Z_MAX:g}]", "Drop such objects.")
        return np.asarray(self.chi(z))

    def angular_diameter(self, z: ArrayLike) -> NDArray[np.float64]:
        """Return the angular-diameter distance [Mpc] to redshift ``z``."""
        return np.asarray(self.comoving(z) / (1 + np.asarray(z, dtype=np.float64)))

    def ratio(self, z_l: ArrayLike, z_s: ArrayLike) -> NDArray[np.float64]:
        """Return ``D_ls / D_s`` for a lens at ``z_l`` and a source behind it at ``z_s``.

        Raises
        ------
        PhysicalRangeError
            If a source is not behind its lens, or a lens is at redshift 0.
        """
        z_l, z_s = np.broadcast_arrays(np.asarray(z_l, dtype=np.float64), np.asarray(z_s, dtype=np.float64))
        if not np.all(z_l > 0):
            raise PhysicalRangeError("z_l", float(z_l[~(z_l > 0)].flat[0]), "> 0", "Drop hosts without a redshift.")
        behind = z_s > z_l
        if not behind.all():
            raise PhysicalRangeError(
                "z_s",
                float(z_s[~behind].flat[0]),
                f"> z_l = {float(z_l[~behind].flat[0])}",
                "A source lies behind its lens.",
            )
        return np.asarray(1 - self.comoving(z_l) / self.comoving(z_s))


@functools.lru_cache(maxsize=8)
def distances(hubble: float = HUBBLE, omega_m: float = OMEGA_M) -> Distances:
    """Return the table for a flat Lambda-CDM universe; made once.

    Parameters
    ----------
    hubble
        Hubble constant [km/s/Mpc].
    omega_m
        Matter density today, in (0, 1].
    """
    if not 0 < omega_m <= 1 or not hubble > 0:
        raise PhysicalRangeError("cosmology", (hubble, omega_m), "H0 > 0, 0 < Omega_m <= 1")
    from astropy.cosmology import FlatLambdaCDM  # half a second that only mock makers pay

    # Steps that grow with redshift keep the interpolation error below 1e-8 everywhere (tested).
    z = np.expm1(np.linspace(0, np.log1p(Z_MAX), 1025))
    chi = FlatLambdaCDM(H0=hubble, Om0=omega_m, Tcmb0=0.0).comoving_distance(z).value
    return Distances(chi=CubicSpline(z, chi))


def einstein_radius(
    sigma_v: ArrayLike, z_l: ArrayLike, z_s: ArrayLike, *, table: Distances | None = None
) -> NDArray[np.float64]:
    """Return the Einstein radius of a singular isothermal sphere, ``4 pi (sigma_v / c)^2 D_ls / D_s`` [arcsec].

    Parameters
    ----------
    sigma_v
        Velocity dispersion [km/s], > 0.
    z_l, z_s
        Redshifts of lens and source.
    table
        Distances; the package's universe by default.

    Raises
    ------
    PhysicalRangeError
        If a dispersion is not positive or a source not behind its lens.
    """
    sigma_v = np.asarray(sigma_v, dtype=np.float64)
    if not np.all(sigma_v > 0):
        raise PhysicalRangeError("sigma_v", float(sigma_v[~(sigma_v > 0)].flat[0]), "> 0 km/s")
    ratio = (table or distances()).ratio(z_l, z_s)
    return np.asarray(4 * np.pi * (sigma_v / LIGHT_SPEED) ** 2 * ratio * ARCSEC)


def velocity_dispersion(
    theta_E: ArrayLike, z_l: ArrayLike, z_s: ArrayLike, *, table: Distances | None = None
) -> NDArray[np.float64]:
    """Return the velocity dispersion [km/s] of the isothermal sphere with Einstein radius ``theta_E`` [arcsec]."""
    theta_E = np.asarray(theta_E, dtype=np.float64)
    if not np.all(theta_E > 0):
        raise PhysicalRangeError("theta_E", float(theta_E[~(theta_E > 0)].flat[0]), "> 0 arcsec")
    ratio = (table or distances()).ratio(z_l, z_s)
    return np.asarray(LIGHT_SPEED * np.sqrt(theta_E / ARCSEC / (4 * np.pi * ratio)))
