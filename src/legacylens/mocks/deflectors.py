"""The masses of a population: what a host's light says about its lens, and how far the mass departs from it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from legacylens.lensing.cosmology import einstein_radius
from legacylens.mocks.host_locus import luminosity_offset
from legacylens.mocks.population_sets import DeflectorConfig

N_UNIFORMS = 10
"""Uniform numbers that one deflector takes."""
TYPICAL_SOURCE = 1.8
"""Redshift of a lensed source, where only an order is needed: D_ls / D_s hardly changes beyond."""
Q_RANGE = (0.25, 0.99)
"""Axis ratios of masses."""
Q_OF_ROUND = (0.78, 0.12)
"""Mean and scatter of the axis ratio where the host's fit has none (Tractor's REX)."""


def median_log_sigma(config: DeflectorConfig, mag_r: ArrayLike, z: ArrayLike) -> NDArray[np.float64]:
    """Return log10 of the median velocity dispersion [km/s] of red galaxies of a magnitude and redshift.

    Notes
    -----
    A Faber-Jackson relation against the locus of lens hosts, which contains the K-correction and passive fading. With
    the default parameters it agrees with the dispersions of 30 red galaxies of DES within 0.05 dex in the median, and
    their scatter around it is 0.07 dex (tested).
    """
    return np.asarray(np.log10(config.sigma_reference) - config.faber_jackson * luminosity_offset(mag_r, z))


def log_theta_of_hosts(
    config: DeflectorConfig, mag_r: ArrayLike, z: ArrayLike, z_error: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and scatter of the natural logarithm of the Einstein radius [arcsec] that hosts can have.

    Notes
    -----
    The scatter is that of the dispersion, doubled because theta_E goes as its square, that of the source redshifts
    (0.12), and that of the host's own redshift.
    """
    z = np.asarray(z, dtype=np.float64)
    sigma = 10.0 ** median_log_sigma(config, mag_r, z)
    mean = np.log(einstein_radius(sigma, z, np.maximum(TYPICAL_SOURCE, z + 0.5)))
    # Around z = 0.5 both the locus of hosts and D_ls / D_s make theta_E change by about 2.5 per unit of redshift.
    scatter = np.sqrt((2.0 * np.log(10.0) * config.sigma_scatter) ** 2 + 0.12**2 + (2.5 * np.asarray(z_error)) ** 2)
    return mean, scatter


def prescribed_theta_E(config: DeflectorConfig, u: ArrayLike) -> NDArray[np.float64]:
    """Return the Einstein radii [arcsec] at quantiles ``u`` of the prescribed (or, if so, uniform) distribution."""
    u = np.asarray(u, dtype=np.float64)
    if config.theta_E == "independent":
        return np.asarray(config.theta_E_min + u * (config.theta_E_max - config.theta_E_min))
    center, width = np.log(config.theta_E_median), config.theta_E_scatter
    low, high = (ndtr((np.log(edge) - center) / width) for edge in (config.theta_E_min, config.theta_E_max))
    return np.asarray(np.exp(center + width * ndtri(low + u * (high - low))))


def draw_deflectors(config: DeflectorConfig, hosts: pd.DataFrame, u: NDArray[np.float64]) -> pd.DataFrame:
    """Draw the mass of each host.

    Parameters
    ----------
    config
        Parameters.
    hosts
        Rows of a host table.
    u
        Uniform numbers, shape ``(host, N_UNIFORMS)``; the same numbers give the same masses.

    Returns
    -------
    deflectors
        ``theta_E`` [arcsec] (NaN if it is to follow from the source's redshift), ``sigma_v`` [km/s] (NaN if it is to
        follow from ``theta_E``), ``z_l``, ``mass_q``, ``mass_phi`` [rad], ``mass_x``, ``mass_y`` [arcsec], ``gamma1``,
        ``gamma2``.
    """
    normal = ndtri(np.clip(u, 1e-12, 1.0 - 1e-12))
    z_l = np.clip(hosts["z"].to_numpy() + hosts["z_error"].to_numpy() * np.clip(normal[:, 1], -2.5, 2.5), 0.04, 1.3)
    log_sigma = median_log_sigma(config, hosts["mag_r"].to_numpy(), z_l) + config.sigma_scatter * normal[:, 2]
    natural = config.theta_E == "natural"
    q_light, phi_light = hosts["q"].to_numpy(), hosts["phi"].to_numpy()
    round_ = ~(q_light < 0.995)
    q = np.where(round_, Q_OF_ROUND[0] + Q_OF_ROUND[1] * normal[:, 3], q_light + config.q_scatter * normal[:, 3])
    phi = np.where(round_, np.pi * u[:, 4], phi_light + np.radians(config.phi_scatter) * normal[:, 4])
    return pd.DataFrame(
        {
            "theta_E": np.full(len(u), np.nan) if natural else prescribed_theta_E(config, u[:, 0]),
            "sigma_v": 10.0**log_sigma if natural else np.full(len(u), np.nan),
            "z_l": z_l,
            "mass_q": np.clip(q, *Q_RANGE),
            "mass_phi": phi % np.pi,
            "mass_x": config.center_scatter * normal[:, 5],
            "mass_y": config.center_scatter * normal[:, 6],
            "gamma1": config.shear_scatter * np.clip(normal[:, 7], -4.0, 4.0),
            "gamma2": config.shear_scatter * np.clip(normal[:, 8], -4.0, 4.0),
        },
        index=hosts.index,
    )
