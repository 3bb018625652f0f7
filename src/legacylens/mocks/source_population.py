"""Field galaxies behind a mass, before selection: magnitudes, redshifts, colors, sizes and places, drawn together."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtri

from legacylens.lensing.cosmology import ARCSEC, distances
from legacylens.mocks.population_sets import SourceConfig
from legacylens.mocks.source_colors import colors

Columns = dict[str, NDArray[np.float64]]

N_UNIFORMS = 15
"""Uniform numbers that one source takes."""
KEEP = 12
"""Which of them decides whether the source is kept."""
Z_RANGE = (0.15, 6.0)
"""Redshifts of sources."""
SMAIL_POWER = 1.5
"""Redshifts follow ``z^2 exp(-(z/z0)^1.5)`` (Smail, Ellis & Fitchett 1994, MNRAS 270, 245)."""


@functools.cache
def _smail_table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    u = np.concatenate([np.linspace(0.0, 0.99, 1000), 1.0 - np.geomspace(0.01, 1e-9, 300)])
    # (z/z0)^1.5 has a gamma distribution of shape (2 + 1) / 1.5.
    return u, np.asarray(gammaincinv(3.0 / SMAIL_POWER, u) ** (1.0 / SMAIL_POWER))


def redshifts(config: SourceConfig, mag_r: NDArray[np.float64], u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return redshifts of field galaxies of magnitudes ``mag_r`` at quantiles ``u``."""
    table_u, table_z = _smail_table()
    median = np.maximum(config.redshift_median + config.redshift_slope * (mag_r - 24.0), 0.2)
    return np.clip(median * np.interp(u, table_u, table_z) / np.interp(0.5, table_u, table_z), *Z_RANGE)


def magnitudes(config: SourceConfig, u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return r magnitudes whose counts rise as ``10^(slope m)`` at quantiles ``u``."""
    span = config.r_faint - config.r_bright
    if config.counts_slope < 1e-6:
        return np.asarray(config.r_bright + u * span)
    rise = np.expm1(config.counts_slope * span * np.log(10.0))
    return np.asarray(config.r_bright + np.log1p(u * rise) / (config.counts_slope * np.log(10.0)))


def absolute_magnitude(mag_r: NDArray[np.float64], z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the absolute magnitude at the wavelength that is seen as r, 6400 / (1 + z) Angstrom.

    Notes
    -----
    ``m - DM + 2.5 log10(1 + z)``: AB magnitudes of a source at its own redshift need no template for this.
    """
    luminosity_distance = distances().comoving(z) * (1.0 + z)
    return mag_r - 5.0 * np.log10(luminosity_distance) - 25.0 + 2.5 * np.log10(1.0 + z)


def median_radius(config: SourceConfig, mag_r: NDArray[np.float64], z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median half-light radius [arcsec] of galaxies of a magnitude and redshift."""
    kpc = (
        config.radius_kpc
        * 10.0 ** (-config.radius_slope * (absolute_magnitude(mag_r, z) + 20.0))
        * ((1.0 + z) / 2.0) ** -config.radius_evolution
    )
    return np.asarray(kpc / 1e3 / distances().angular_diameter(z) * ARCSEC)


def magnitudes_and_redshifts(
    config: SourceConfig, host_mag_r: NDArray[np.float64], u: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return r magnitude and redshift of the sources that `draw_sources` draws from the same numbers."""
    if config.recipe == "below-lens":
        steps = np.asarray(config.below_lens)
        return host_mag_r + steps[np.minimum((u[:, 0] * len(steps)).astype(int), len(steps) - 1)], 1.3 + u[:, 1]
    mag_r = magnitudes(config, u[:, 0])
    return mag_r, redshifts(config, mag_r, u[:, 1])


def draw_sources(config: SourceConfig, host_mag_r: NDArray[np.float64], u: NDArray[np.float64]) -> Columns:
    """Draw sources, not yet placed behind anything.

    Parameters
    ----------
    config
        Parameters.
    host_mag_r
        r magnitude of the host in front of each source (for the faulty recipe only).
    u
        Uniform numbers in (0, 1), shape ``(source, N_UNIFORMS)``.

    Returns
    -------
    columns
        ``source_mag_g``, ``source_mag_r``, ``source_mag_z`` (unlensed, without Galactic extinction), ``z_s``,
        ``source_r_e`` [arcsec], ``source_n``, ``source_q``, ``source_phi`` [rad], ``beta`` [theta_E], ``azimuth``
        [rad], and ``u``, the number that decides whether it is kept (`KEEP` of the uniform ones).
    """
    normal = ndtri(np.clip(u, 1e-12, 1.0 - 1e-12))
    mag_r, z_s = magnitudes_and_redshifts(config, host_mag_r, u)
    columns = {
        "source_q": np.clip(1.0 - 0.3 * np.sqrt(-2.0 * np.log1p(-np.minimum(u[:, 8], 1.0 - 1e-12))), 0.2, 1.0),
        "source_phi": np.pi * u[:, 9],
        "beta": config.beta_max * np.sqrt(u[:, 10]),
        "azimuth": 2.0 * np.pi * u[:, 11],
        "u": u[:, KEEP],
    }
    if config.recipe == "below-lens":
        return {
            **columns,
            **{f"source_mag_{band}": mag_r for band in ("g", "r", "z")},
            "z_s": z_s,
            "source_r_e": 0.15 + 0.35 * u[:, 6],
            "source_n": 0.5 + 1.5 * u[:, 7],
            "beta": np.zeros(len(u)),
        }
    evolved = u[:, 2] < config.evolved_fraction
    older = config.age_gradient * np.maximum(1.5 - z_s, 0.0)
    age = np.where(evolved, 0.3 + 0.7 * u[:, 3], 0.35 * u[:, 3]) + older
    dust = np.where(evolved, 0.6, 0.2) * -np.log1p(-np.minimum(u[:, 4], 0.999))
    g_r, r_z = colors(z_s, age, dust, uv_slope_shift=config.uv_slope_shift)
    if config.g_r is not None:
        g_r = np.full(len(u), config.g_r)
    # Neighboring colors share the r band: half of the variance of their scatter has opposite signs.
    g_r = g_r + config.color_scatter * normal[:, 5]
    r_z = r_z + config.color_scatter * (normal[:, 13] - normal[:, 5]) / np.sqrt(2.0)
    radius = median_radius(config, mag_r, z_s) * 10.0 ** (config.radius_scatter * normal[:, 6])
    if config.centered:
        columns["beta"] = np.zeros(len(u))
    return {
        **columns,
        "source_mag_g": mag_r + g_r,
        "source_mag_r": mag_r,
        "source_mag_z": mag_r - r_z,
        "z_s": z_s,
        "source_r_e": np.clip(radius, config.radius_min, config.radius_max),
        # Rounded, because the constants of a profile are kept by index.
        "source_n": np.round(np.clip(np.exp(0.35 * normal[:, 7]), 0.5, 2.5), 2),
    }
