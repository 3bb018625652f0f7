"""Observed colors of star-forming galaxies: a spectrum with a few knobs, redshifted through the filters.

The spectrum has a power law in the ultraviolet, a Balmer break, an optical continuum, dust (Calzetti et al. 2000,
ApJ 533, 682) and the absorption of the intergalactic medium (Madau 1995, ApJ 441, 18, first lines). Its colors depend
on redshift because its wavelengths do: no color is given in one frame and used in another.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import RegularGridInterpolator

FILTERS: dict[str, tuple[float, float]] = {"g": (4000.0, 5510.0), "r": (5660.0, 7160.0), "z": (8480.0, 9980.0)}
"""Edges of the DECam filters as boxes [Angstrom]; effective wavelengths 4,730, 6,400 and 9,220."""
LYMAN_LIMIT, LYMAN_ALPHA = 912.0, 1216.0
BREAK = (3600.0, 4050.0)
"""Where the Balmer break begins and ends [Angstrom]."""
Z_MAX = 6.0
"""End of the table of colors."""


def calzetti(wavelength: ArrayLike) -> NDArray[np.float64]:
    """Return the attenuation A(lambda) / A_V of a starburst's dust.

    Parameters
    ----------
    wavelength
        Rest-frame wavelength [Angstrom], 912 to 22,000; clipped to that.
    """
    micron = np.clip(np.asarray(wavelength, dtype=np.float64), 912.0, 22_000.0) / 1e4
    x = 1.0 / micron
    blue = 2.659 * (-2.156 + 1.509 * x - 0.198 * x**2 + 0.011 * x**3) + 4.05
    red = 2.659 * (-1.857 + 1.040 * x) + 4.05
    return np.asarray(np.where(micron < 0.63, blue, red) / 4.05)


def spectrum(wavelength: NDArray[np.float64], age: float, uv_slope_shift: float = 0.0) -> NDArray[np.float64]:
    """Return the flux density per frequency of a dust-free galaxy, in arbitrary units.

    Parameters
    ----------
    wavelength
        Rest-frame wavelength [Angstrom].
    age
        0: a burst that has just begun (slope -2.4, hardly a break); 1: a galaxy that has formed stars for gigayears
        (slope -1.4, a break of 1 mag).
    uv_slope_shift
        Added to the slope beta of ``f_lambda ~ lambda^beta`` in the ultraviolet.
    """
    beta = -2.4 + age + uv_slope_shift
    ultraviolet = np.where(wavelength < BREAK[0], (wavelength / BREAK[0]) ** (beta + 2.0), 1.0)
    step = np.clip((wavelength - BREAK[0]) / (BREAK[1] - BREAK[0]), 0.0, 1.0)
    rise = 10.0 ** (0.4 * (0.15 + 0.9 * age) * step)
    optical = np.maximum(wavelength / BREAK[1], 1.0) ** (0.1 + 1.5 * age)
    return np.asarray(np.where(wavelength < LYMAN_LIMIT, 0.0, ultraviolet * rise * optical))


def _forest(observed: NDArray[np.float64], z: float) -> NDArray[np.float64]:
    """Return the transmission of the Lyman-alpha and -beta forest."""
    optical_depth = np.zeros_like(observed)
    for line, strength in ((1216.0, 0.0036), (1026.0, 0.0017)):
        inside = observed < line * (1.0 + z)
        optical_depth += np.where(inside, strength * (observed / line) ** 3.46, 0.0)
    return np.asarray(np.exp(-optical_depth))


def synthetic_magnitudes(z: float, age: float, dust: float, uv_slope_shift: float = 0.0) -> NDArray[np.float64]:
    """Return the AB magnitudes in g, r, z of the spectrum at a redshift, up to a common constant.

    Parameters
    ----------
    z
        Redshift.
    age
        See `spectrum`.
    dust
        A_V [mag].
    uv_slope_shift
        See `spectrum`.

    Notes
    -----
    An AB magnitude is the mean of ``f_nu`` over ``d nu / nu``, which is ``d ln(lambda)``.
    """
    magnitudes = []
    for low, high in FILTERS.values():
        observed = np.exp(np.linspace(np.log(low), np.log(high), 64))
        rest = observed / (1.0 + z)
        light = spectrum(rest, age, uv_slope_shift) * 10.0 ** (-0.4 * dust * calzetti(rest)) * _forest(observed, z)
        magnitudes.append(-2.5 * np.log10(max(float(light.mean()), 1e-6)))
    return np.asarray(magnitudes)


@functools.cache
def _table(uv_slope_shift: float) -> RegularGridInterpolator:
    z, age, dust = np.linspace(0.0, Z_MAX, 121), np.linspace(0.0, 1.0, 6), np.array([0.0, 0.5, 1.5, 3.0])
    colors = np.empty((len(z), len(age), len(dust), 2))
    for i, redshift in enumerate(z):
        for j, one in enumerate(age):
            for k, a_v in enumerate(dust):
                g, r, red = synthetic_magnitudes(float(redshift), float(one), float(a_v), uv_slope_shift)
                colors[i, j, k] = g - r, r - red
    return RegularGridInterpolator((z, age, dust), colors)


def colors(
    z: ArrayLike, age: ArrayLike, dust: ArrayLike, *, uv_slope_shift: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the observed g-r and r-z of galaxies [AB mag], interpolated in a table.

    Parameters
    ----------
    z
        Redshifts, clipped to [0, 6].
    age, dust
        See `spectrum` and `synthetic_magnitudes`; clipped to [0, 1] and [0, 3].
    uv_slope_shift
        See `spectrum`; one number.
    """
    points = np.stack(
        np.broadcast_arrays(np.clip(z, 0.0, Z_MAX), np.clip(age, 0.0, 1.0), np.clip(dust, 0.0, 3.0)), axis=-1
    )
    both = _table(round(float(uv_slope_shift), 6))(points)
    return np.asarray(both[..., 0]), np.asarray(both[..., 1])
