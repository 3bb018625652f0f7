"""A few mocks to look at: hosts with and without their arc, in memory, from a store or from files of pixels alone.

With pictures of real galaxies as sources, a source keeps its own size, colors, magnitude and redshift; the mass, the
place of the source and the selection are those of the set. Galaxies whose redshift or magnitudes in the host's bands
are not known lend their shape alone: a lens is drawn as for a profile; the picture takes its size, colors and place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from legacylens.cutouts.cutout import Cutout
from legacylens.errors import InputError, PhysicalRangeError
from legacylens.lensing.cosmology import velocity_dispersion
from legacylens.mocks import deflectors
from legacylens.mocks.hosts import why_unusable
from legacylens.mocks.hst_sources import HstGalaxy, half_light_radius, lensable
from legacylens.mocks.injection import LOST, Injected, host_psf, inject_row, require_closure
from legacylens.mocks.injection_run import make_mock
from legacylens.mocks.injection_truth import truth_row
from legacylens.mocks.population import BEHIND, LENS_UNITS, draw_lenses, generator, lens_seed
from legacylens.mocks.population_sets import MockSetConfig
from legacylens.mocks.selection import chance
from legacylens.mocks.threads import one_thread
from legacylens.photometry import magnitude

TRIES = 120
"""Real sources and places of them that are tried behind a host."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DrawnMock:
    """A host with and without its arc."""

    host: Cutout
    """Without."""
    mock: Cutout
    """With."""
    injected: Injected
    """What was injected."""
    truth: dict[str, Any]
    """Row of the truth."""
    source: str
    """What was lensed."""

    @property
    def caption(self) -> str:
        """Magnification, magnitudes and S/N in three lines."""
        truth = self.truth
        arc = ", ".join(f"{band} {truth[f'arc_mag_{band}']:.2f}" for band in self.host.bands)
        snr = ", ".join(f"{band} {truth[f'snr_{band}']:.0f}" for band in self.host.bands)
        return (
            f'theta_E {truth["theta_E"]:.2f}"  mu {truth["magnification"]:.1f}  '
            f"unlensed r {truth['source_mag_r']:.2f}\narc {arc}\nS/N {snr}"
        )


def draw_mocks(
    hosts: Sequence[Cutout],
    table: pd.DataFrame,
    config: MockSetConfig,
    *,
    n: int,
    seed: int,
    sources: Sequence[HstGalaxy] = (),
) -> tuple[list[DrawnMock], dict[str, int]]:
    """Make some mocks.

    Parameters
    ----------
    hosts
        Galaxies with invvar; each is used once, in order.
    table
        Host table, one row for each of them, in order.
    config
        The set.
    n
        Number of mocks wanted.
    seed
        Seed of all of it.
    sources
        Pictures of real galaxies to lens, each at most once; without them sources are drawn from the set's population.

    Returns
    -------
    mocks, skipped
        At most ``n`` mocks; and reason -> number of hosts that gave none.

    Raises
    ------
    InputError
        If there is not one row for each host.
    """
    if len(hosts) != len(table):
        raise InputError(f"{len(table)} rows for {len(hosts)} hosts")
    mocks: list[DrawnMock] = []
    skipped: dict[str, int] = {}
    for number, host in enumerate(hosts):
        if len(mocks) == n:
            break
        row = table.iloc[number]
        reason = why_unusable(host, config.hosts.clear_radius)
        made: DrawnMock | str = reason
        with one_thread():
            if not reason and sources:
                unused = [source for source in sources if not any(_name(source) in mock.source for mock in mocks)]
                complete = [one for one in unused if np.isfinite(one.redshift) and _measured(one, host)]
                make = _with_real_source if complete else _with_real_shape
                made = make(config, host, row, lens_seed(seed, number), complete or unused)
            elif not reason:
                made = _with_drawn_source(config, host, row, lens_seed(seed, number))
        if isinstance(made, str):
            skipped[made] = skipped.get(made, 0) + 1
        else:
            mocks.append(made)
    return mocks, skipped


def _finished(host: Cutout, injected: Injected, truth: dict[str, Any], source: str) -> DrawnMock | str:
    if injected.lost > LOST:
        return "arc-masked"
    require_closure(f"mock {truth['source_id']}", host.bands, injected)
    mock = replace(host, source_id=str(truth["source_id"]), image=injected.image, invvar=injected.invvar)
    return DrawnMock(host=host, mock=mock, injected=injected, truth=truth, source=source)


def _with_drawn_source(config: MockSetConfig, host: Cutout, row: pd.Series, seed: int) -> DrawnMock | str:
    draws = draw_lenses(config, pd.DataFrame([row]), np.array([seed]))
    if not draws.found[0]:
        return str(draws.reason[0])
    injected, truth = make_mock(config, host, row, draws.table.iloc[0], seed)
    return _finished(host, injected, truth, f"Sersic n = {truth['source_n']:.1f}")


def _with_real_source(
    config: MockSetConfig, host: Cutout, row: pd.Series, seed: int, sources: Sequence[HstGalaxy]
) -> DrawnMock | str:
    """Try real galaxies behind a host until one makes arcs that the set would select."""
    rng = generator(seed, "lens")
    table = pd.DataFrame([row]).reset_index(drop=True)
    mass = deflectors.draw_deflectors(config.deflectors, table, rng.random((1, deflectors.N_UNIFORMS))).iloc[0]
    usable = [source for source in sources if source.redshift > mass["z_l"] + BEHIND and _measured(source, host)]
    if not usable:
        return "no-source-behind"
    psfsize = [float(row[f"psfsize_{band}"]) for band in host.bands]
    psf = host_psf(config.injection, psfsize, pixscale=host.pixscale)
    known = {str(name): value for name, value in row.items()}
    for _ in range(TRIES):
        galaxy = usable[int(rng.integers(len(usable)))]
        lens = _place(config, mass, galaxy, host, rng)
        if rng.random() > _agreement(config, lens, row):
            continue
        try:
            picture = lensable(galaxy, phi=lens["source_phi"], x=lens["source_x"], y=lens["source_y"])
        except PhysicalRangeError:
            continue  # a picture that is all noise, or too large a deconvolution: not a source
        injected = inject_row(
            host,
            lens,
            psf,
            sources=config.sources,
            config=config.injection,
            ebv=float(row["ebv"]),
            seed=seed,
            source=picture,
            check=False,
        )
        found = chance(
            config.selection,
            np.array([injected.snr.max()]),
            np.array([injected.magnification]),
            np.array([lens["theta_E"]]),
            np.array([min(psfsize)]),
        )[0]
        if rng.random() < found:
            truth = truth_row(config, known, lens, injected, seed=seed, psf="moffat", bands=host.bands)
            return _finished(host, injected, truth, _name(galaxy))
    return "no-visible-source"


def _with_real_shape(
    config: MockSetConfig, host: Cutout, row: pd.Series, seed: int, sources: Sequence[HstGalaxy]
) -> DrawnMock | str:
    """Draw a lens, and put one of some real galaxies, scaled, in the place of its source."""
    if not sources:
        return "no-source-behind"
    draws = draw_lenses(config, pd.DataFrame([row]), np.array([seed]))
    if not draws.found[0]:
        return str(draws.reason[0])
    lens = {str(name): float(value) for name, value in draws.table.iloc[0].items()}
    galaxy = sources[int(generator(seed, "texture").integers(len(sources)))]
    picture = lensable(
        galaxy,
        phi=lens["source_phi"],
        x=lens["source_x"],
        y=lens["source_y"],
        zoom=lens["source_r_e"] / half_light_radius(galaxy),
    )
    injected = inject_row(
        host,
        lens,
        host_psf(config.injection, [float(row[f"psfsize_{band}"]) for band in host.bands], pixscale=host.pixscale),
        sources=config.sources,
        config=config.injection,
        ebv=float(row["ebv"]),
        seed=seed,
        source=picture,
        check=False,
    )
    known = {str(name): value for name, value in row.items()}
    truth = truth_row(config, known, lens, injected, seed=seed, psf="moffat", bands=host.bands)
    return _finished(host, injected, truth, f"{_name(galaxy)}, scaled")


def _agreement(config: MockSetConfig, lens: dict[str, float], row: pd.Series) -> float:
    """Return how well the velocity dispersion that a source's redshift asks for agrees with the host's light, to 1."""
    if config.deflectors.theta_E != "prescribed":
        return 1.0
    median = float(deflectors.median_log_sigma(config.deflectors, float(row["mag_r"]), lens["z_l"]))
    return float(np.exp(-0.5 * ((np.log10(lens["sigma_v"]) - median) / config.deflectors.sigma_scatter) ** 2))


def _name(source: HstGalaxy) -> str:
    return f"HST {source.name}"


def _measured(source: HstGalaxy, host: Cutout) -> bool:
    return all(band in source.magnitudes for band in host.bands)


def _place(
    config: MockSetConfig, mass: pd.Series, galaxy: HstGalaxy, host: Cutout, rng: np.random.Generator
) -> dict[str, float]:
    """Return the columns of a lens with a real galaxy somewhere behind the mass."""
    lens = dict.fromkeys(LENS_UNITS, float("nan"))
    lens |= {str(name): float(value) for name, value in mass.items()}
    beta = float(config.sources.beta_max * np.sqrt(rng.random()))
    azimuth = float(2.0 * np.pi * rng.random())
    lens |= {
        "z_s": galaxy.redshift,
        "sigma_v": float(velocity_dispersion(lens["theta_E"], lens["z_l"], galaxy.redshift)),
        "beta": beta,
        "source_x": lens["mass_x"] + beta * lens["theta_E"] * np.cos(azimuth),
        "source_y": lens["mass_y"] + beta * lens["theta_E"] * np.sin(azimuth),
        "source_phi": float(2.0 * np.pi * rng.random()),
    }
    mags = magnitude(galaxy.fluxes(host.bands))
    return lens | {f"source_mag_{band}": float(mag) for band, mag in zip(host.bands, mags, strict=True)}
