"""Strong lenses of a mock sky: the population of `population`, behind luminous red galaxies that are painted for it.

A lens's Einstein radius comes from its seed alone. Several galaxies are offered to it as hosts; which one gets it is
decided by how well its velocity dispersion agrees with its luminosity, so that neither distribution bends the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr

from legacylens.lensing.lens import Lens
from legacylens.lensing.sersic import Sersic
from legacylens.lensing.sources import Source
from legacylens.mocks.conditions import Conditions
from legacylens.mocks.deflectors import median_log_sigma
from legacylens.mocks.galaxies import Galaxy, red_galaxy
from legacylens.mocks.injection import deflector_of_row, source_of_row
from legacylens.mocks.population import draw_lenses, generator
from legacylens.mocks.population_sets import MockSetConfig
from legacylens.mocks.psf import Psf, moffat_psf
from legacylens.mocks.render import render_arcs, render_profile
from legacylens.photometry import flux_of_magnitude, magnitude
from legacylens.survey.bands import BANDS

HOST_REDSHIFT = 0.48
"""Mean redshift of the galaxies that are offered as hosts."""
HOST_LIMIT = 19.75
"""Faintest z magnitude of a host, so that noise does not push it out of the parent sample."""
OFFERED = 4
"""Galaxies offered to a lens at a time."""
ROUNDS = 8
"""Times that other galaxies are offered before a lens is given up."""
TRIES = 40
"""Lenses that are drawn for one that is noticed."""
CONTRAST_WIDTH = 0.35
"""Width of the turn-on of contrast (natural logarithm, Gaussian)."""
CONTRAST_STAMP = 55
"""Side of the stamp on which contrast is measured [pixel]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StrongLens:
    """A lens galaxy with a source behind it."""

    host: Galaxy
    """The lens galaxy."""
    row: Mapping[str, Any]
    """Mass and source, columns of `population.LENS_UNITS`; angles in the image plane (x right, y up) from the host."""
    seed: int
    """Seed of the lens."""
    texture: str
    """``smooth``, ``clumpy`` or ``log-normal`` source."""
    contrast: float = 0.0
    """Largest brightness of the arcs over that of the host in g; see `contrast_of`."""

    @property
    def theta_E(self) -> float:
        """Einstein radius on the intermediate axis [arcsec]."""
        return float(self.row["theta_E"])

    @property
    def deflector(self) -> Lens:
        """The mass."""
        return deflector_of_row(self.row)

    @property
    def source(self) -> Source:
        """The source's light, of unit flux."""
        return source_of_row(self.row, self.texture, generator(self.seed, "texture"))

    @property
    def source_flux(self) -> NDArray[np.float64]:
        """Unlensed flux in g, r, z without Galactic extinction [nanomaggies]."""
        return flux_of_magnitude([self.row[f"source_mag_{band}"] for band in BANDS])


def host_row(host: Galaxy, conditions: Conditions) -> dict[str, float]:
    """Return a galaxy as a row of a host table, with the conditions under which it is seen; all bands are needed."""
    row = {
        # Radii of the population are on the intermediate axis, directions run from +x toward +y.
        "radius": host.radius * float(np.sqrt(host.q)),
        "q": host.q,
        "phi": (host.pa + 0.5 * np.pi) % np.pi,
        "z": host.redshift,
        "z_error": 0.0,
        "ebv": conditions.ebv,
    }
    for band, flux in zip(BANDS, host.flux, strict=True):
        seen = conditions.bands[band]
        row |= {f"mag_{band}": float(magnitude(flux)), f"psfsize_{band}": seen.fwhm, f"sigma_{band}": seen.sigma}
    return row


def _offered(rng: np.random.Generator) -> list[Galaxy]:
    hosts: list[Galaxy] = []
    while len(hosts) < OFFERED:
        host = red_galaxy(rng, mean_redshift=HOST_REDSHIFT)
        if magnitude(host.flux[2]) < HOST_LIMIT:
            hosts.append(replace(host, kind="lens host"))
    return hosts


def contrast_of(lens: StrongLens, conditions: Conditions) -> float:
    """Return the largest brightness of the arcs over that of the host in g, where the arcs exceed two sigma of the sky.

    Notes
    -----
    Signal-to-noise ratios know nothing of this: deep images have arcs of S/N 50 that drown in the light of their host.
    """
    seen = conditions.bands["g"]
    psf = Psf(moffat_psf(seen.fwhm, seen.beta, size=41)[None])
    shape = (CONTRAST_STAMP, CONTRAST_STAMP)
    arcs = render_arcs(lens.deflector, lens.source, lens.source_flux[:1], psf, shape=shape, tolerance=1e-4).image[0]
    host, row = lens.host, host_row(lens.host, conditions)
    profile = Sersic(r_e=row["radius"], n=host.n, q=host.q, phi=row["phi"])
    light = render_profile([profile], host.flux[:1], psf, shape=shape)[0]
    plain = arcs * conditions.transmission("g") > 2.0 * seen.sigma
    return float(np.max(arcs / light, where=plain, initial=0.0))


def draw_lens(
    rng: np.random.Generator, conditions: Conditions, population: MockSetConfig, contrast: float = 0.0
) -> StrongLens | None:
    """Draw a lens whose arcs are seen under these conditions, host at the origin.

    Parameters
    ----------
    rng
        Random generator.
    conditions
        Depth and seeing of the patch, in all bands.
    population
        The set of mocks that it belongs to.
    contrast
        Contrast at which half of the lenses are noticed; 0: all are.

    Returns
    -------
    lens
        A lens; None if no source was bright enough, or no galaxy massive enough, in all rounds.
    """
    for _ in range(TRIES):
        lens = _drawn(rng, conditions, population)
        if lens is None:
            continue
        lens = replace(lens, contrast=contrast_of(lens, conditions))
        if contrast == 0.0 or rng.uniform() < ndtr(np.log(max(lens.contrast, 1e-6) / contrast) / CONTRAST_WIDTH):
            return lens
    return None


def _drawn(rng: np.random.Generator, conditions: Conditions, population: MockSetConfig) -> StrongLens | None:
    """Draw a lens that the population's selection finds."""
    seed = int(rng.integers(1 << 62))
    for _ in range(ROUNDS):
        hosts = _offered(rng)
        table = pd.DataFrame([host_row(host, conditions) for host in hosts])
        draws = draw_lenses(population, table, np.full(OFFERED, seed))
        found = np.flatnonzero(draws.found)
        if len(found) == 0:
            continue
        lenses = draws.table.iloc[found]
        log_sigma = np.log10(lenses["sigma_v"].to_numpy(np.float64))
        median = median_log_sigma(population.deflectors, table["mag_r"].to_numpy()[found], lenses["z_l"].to_numpy())
        away = (log_sigma - median) / population.deflectors.sigma_scatter
        weight = np.exp(-0.5 * np.clip(away, -8.0, 8.0) ** 2)
        chosen = int(rng.choice(len(found), p=weight / weight.sum()))
        row = {str(name): float(value) for name, value in lenses.iloc[chosen].items()}
        return StrongLens(host=hosts[found[chosen]], row=row, seed=seed, texture=population.sources.texture)
    return None
