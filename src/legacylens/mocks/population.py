"""Lenses of a population: a mass for each host, field galaxies drawn behind it, and the one of them that is found.

Magnitude and magnification of a lensed source are tied by selection: a faint one is found only where it is highly
magnified. So sources are drawn as field galaxies are, uniformly in area, and the first that passes the selection is the
lens; drawing magnitudes and magnifications each from the distribution of found lenses would lose what ties them.

Each lens has its own stream of random numbers: it depends on the configuration, its host and its seed, on nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from legacylens.errors import InputError
from legacylens.lensing.cosmology import einstein_radius, velocity_dispersion
from legacylens.mocks import deflectors, source_population
from legacylens.mocks.population_sets import InjectionConfig, MockSetConfig
from legacylens.mocks.selection import arc_snr, chance, snr_bound
from legacylens.mocks.source_population import Columns
from legacylens.photometry import mw_transmission
from legacylens.survey.bands import BANDS

BATCH = 48
"""Sources tried behind a host at a time."""
NATURAL_ATTEMPTS = 4
"""Batches behind a host whose Einstein radius is not prescribed: massive hosts shall be found more often."""
BEHIND = 0.05
"""Least difference between the redshifts of source and lens."""

LENS_UNITS: dict[str, str] = {
    "theta_E": "arcsec",
    "mass_q": "",
    "mass_phi": "rad",
    "mass_x": "arcsec",
    "mass_y": "arcsec",
    "gamma1": "",
    "gamma2": "",
    "sigma_v": "km/s",
    "z_l": "",
    "z_s": "",
    **{f"source_mag_{band}": "AB mag" for band in BANDS},
    "source_r_e": "arcsec",
    "source_n": "",
    "source_q": "",
    "source_phi": "rad",
    "source_x": "arcsec",
    "source_y": "arcsec",
    "beta": "theta_E",
    "expected_magnification": "",
    **{f"expected_snr_{band}": "" for band in BANDS},
}
"""Columns of a drawn lens and their units: angles in the image plane (x along columns, y along rows) from the host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LensDraws:
    """The lenses that were drawn."""

    table: pd.DataFrame
    """Columns of `LENS_UNITS`, one row for each host given; NaN where no lens was found."""
    reason: NDArray[np.str_]
    """Why there is none: empty where there is one, else ``no-visible-source`` or ``host-too-light``."""

    @property
    def found(self) -> NDArray[np.bool_]:
        """Which hosts have a lens."""
        return np.asarray(self.reason == "")


def lens_seed(seed: int, number: int) -> int:
    """Return the seed of one mock from the seed of its set and its number; it fits a signed 64-bit integer."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(seed: int, stream: str) -> np.random.Generator:
    """Return one of the random streams of a mock: ``lens``, ``texture`` or ``noise``."""
    return np.random.default_rng(np.random.SeedSequence([seed, ("lens", "texture", "noise").index(stream)]))


def conditions_of(hosts: pd.DataFrame, injection: InjectionConfig) -> Columns:
    """Return what selection asks of each host and its image, as columns; see `selection.arc_snr`."""
    ebv = hosts["ebv"].to_numpy(np.float64)
    columns = {
        name: hosts[name].to_numpy(np.float64)
        for name in ("radius", *(f"{part}_{b}" for part in ("mag", "sigma", "psfsize") for b in BANDS))
    }
    for band in BANDS:
        columns[f"transmission_{band}"] = mw_transmission(ebv, band)
        columns[f"sky_{band}"] = np.full(len(hosts), injection.sky[band])
    return columns


def draw_lenses(config: MockSetConfig, hosts: pd.DataFrame, seeds: NDArray[np.int64]) -> LensDraws:
    """Draw a lens for each host.

    Parameters
    ----------
    config
        The set.
    hosts
        Rows of a host table (`hosts.HOST_UNITS`), with ``sigma_*`` filled; a host may come more than once.
    seeds
        Seed of each lens, shape ``(host,)``.

    Returns
    -------
    draws
        One row for each host, in order.

    Raises
    ------
    InputError
        If there is not one seed for each host.
    """
    if len(hosts) != len(seeds):
        raise InputError(f"{len(seeds)} seeds for {len(hosts)} hosts: each lens has its own seed")
    hosts = hosts.reset_index(drop=True)
    streams = [generator(int(seed), "lens") for seed in seeds]
    n = len(hosts)
    first = np.array([stream.random(deflectors.N_UNIFORMS) for stream in streams]).reshape(n, deflectors.N_UNIFORMS)
    masses = deflectors.draw_deflectors(config.deflectors, hosts, first)
    conditions = conditions_of(hosts, config.injection)
    table = {name: np.full(n, np.nan) for name in LENS_UNITS}
    reason = np.full(n, "host-too-light", dtype="<U20")
    active = np.arange(n)
    attempts = NATURAL_ATTEMPTS if config.deflectors.theta_E == "natural" else config.attempts
    for _ in range(attempts):
        if not len(active):
            break
        u = np.concatenate([streams[k].random((BATCH, source_population.N_UNIFORMS)) for k in active])
        kept, lenses, possible = _one_round(config, hosts, masses, conditions, np.repeat(active, BATCH), u)
        reason[active[possible]] = "no-visible-source"
        found, place = np.unique(kept, return_index=True)  # the first of each host
        for name, column in table.items():
            column[found] = lenses[name][place]
        reason[found] = ""
        active = np.setdiff1d(active, found)
    return LensDraws(table=pd.DataFrame(table), reason=reason)


def _one_round(
    config: MockSetConfig,
    hosts: pd.DataFrame,
    masses: pd.DataFrame,
    conditions: Columns,
    host: NDArray[np.int64],
    u: NDArray[np.float64],
) -> tuple[NDArray[np.int64], Columns, NDArray[np.bool_]]:
    """Try one batch of sources behind each of some hosts.

    Returns
    -------
    kept
        Number of the host of each lens that is found, in the order in which they were drawn.
    lenses
        Their columns.
    possible
        For each host, whether its Einstein radius agreed with its velocity dispersion for any source.
    """
    mag_r = hosts["mag_r"].to_numpy(np.float64)[host]
    # What is behind the host is decided first: colors and shapes of the others need not be drawn.
    _, z_s = source_population.magnitudes_and_redshifts(config.sources, mag_r, u)
    mass, chances = _agreement(config, mag_r, masses, host, z_s)
    possible = np.asarray((chances > 1e-6).reshape(-1, BATCH).any(axis=1))
    place = np.flatnonzero(u[:, source_population.KEEP] < chances)
    host, chances, mass = host[place], chances[place], _at(mass, place)
    drawn = mass | source_population.draw_sources(config.sources, mag_r[place], u[place])
    beta = drawn["beta"] * drawn["theta_E"]
    drawn["source_x"] = drawn["mass_x"] + beta * np.cos(drawn["azimuth"])
    drawn["source_y"] = drawn["mass_y"] + beta * np.sin(drawn["azimuth"])
    if config.selection.apply:
        least = config.selection.snr * np.exp(-4.0 * config.selection.snr_width)
        place = np.flatnonzero(snr_bound(drawn, _at(conditions, host)) > least)
    else:
        place = np.unique(host, return_index=True)[1]
    lenses, host = _at(drawn, place), host[place]
    here = _at(conditions, host)
    snr, magnification = arc_snr(lenses, here)
    lenses["expected_magnification"] = magnification
    lenses |= {f"expected_snr_{band}": snr[:, number] for number, band in enumerate(BANDS)}
    sharpest = np.min([here[f"psfsize_{band}"] for band in BANDS], axis=0)
    chances = chances[place] * chance(
        config.selection, snr.max(axis=1, initial=0.0), magnification, lenses["theta_E"], sharpest
    )
    keep = np.flatnonzero(lenses["u"] < chances)
    return host[keep], _at(lenses, keep), possible


def _agreement(
    config: MockSetConfig,
    mag_r: NDArray[np.float64],
    masses: pd.DataFrame,
    host: NDArray[np.int64],
    z_s: NDArray[np.float64],
) -> tuple[Columns, NDArray[np.float64]]:
    """Return the mass in front of each source, completed by its redshift, and how well both agree, in [0, 1]."""
    mass = {str(name): masses[name].to_numpy(np.float64)[host] for name in masses}
    behind = z_s > mass["z_l"] + BEHIND
    z_s = np.where(behind, z_s, mass["z_l"] + 1.0)
    weight = behind.astype(np.float64)
    limits = config.deflectors
    if limits.theta_E == "natural":
        mass["theta_E"] = einstein_radius(mass["sigma_v"], mass["z_l"], z_s)
        weight *= (mass["theta_E"] > limits.theta_E_min) & (mass["theta_E"] < limits.theta_E_max)
        # Equal numbers of sources fall on every square arcsec, and the disk of sources grows with theta_E.
        weight *= np.minimum(mass["theta_E"] / limits.theta_E_max, 1.0) ** 2
    else:
        mass["sigma_v"] = velocity_dispersion(mass["theta_E"], mass["z_l"], z_s)
        if limits.theta_E == "prescribed":
            away = np.log10(mass["sigma_v"]) - deflectors.median_log_sigma(limits, mag_r, mass["z_l"])
            away /= limits.sigma_scatter
            weight *= np.where(np.abs(away) < 4.0, np.exp(-0.5 * away**2), 0.0)
    return mass, weight


def _at(columns: Columns, index: NDArray[np.int64]) -> Columns:
    return {name: values[index] for name, values in columns.items()}
