"""A sky for controls, made in memory: red galaxies in the survey's seeing and noise, and lenses injected in them.

The instrument has to be tried on sets whose faults are known, anywhere, without data. Galaxies, noise and lenses are
those of `legacylens.mocks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from legacylens.cutouts.cutout import Cutout
from legacylens.errors import ProcessError
from legacylens.mocks.conditions import BandConditions
from legacylens.mocks.galaxies import Galaxy, companion, field_galaxy, red_galaxy
from legacylens.mocks.host_locus import luminosity_offset
from legacylens.mocks.hosts import HOST_UNITS
from legacylens.mocks.injection import LOST
from legacylens.mocks.injection_run import make_mock
from legacylens.mocks.noise import coadd_noise
from legacylens.mocks.population import draw_lenses, lens_seed
from legacylens.mocks.population_sets import InjectionConfig, MockSetConfig
from legacylens.mocks.scene import Scene
from legacylens.photometry import magnitude
from legacylens.realism.measure import Stamps
from legacylens.survey.bands import BANDS, PIXSCALE, STAMP

FWHM = (1.50, 1.37, 1.30)
"""Median FWHM of the PSF in g, r, z [arcsec]."""
FWHM_SCATTER = 0.10
"""Scatter of its logarithm."""
SIGMA = (0.0025, 0.0036, 0.0110)
"""Median sky noise, 1/sqrt(invvar), in g, r, z [nanomaggies/pixel]."""
SIGMA_SCATTER = 0.18
"""Scatter of its logarithm."""
COMPANIONS = 0.25
"""Part of the galaxies that have one to three neighbors within 8 arcsec."""
MAG_R = (17.5, 20.8)
"""Range of the magnitudes of hosts in r."""
GROUP = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hosts:
    """Galaxies without arcs."""

    cutouts: list[Cutout]
    """Their pixels."""
    table: pd.DataFrame
    """Their rows of a host table (`mocks.hosts.HOST_UNITS`)."""

    def part(self, rows: Sequence[int] | NDArray[np.int64]) -> Hosts:
        """Return some of them."""
        return Hosts(
            cutouts=[self.cutouts[row] for row in rows], table=self.table.iloc[list(rows)].reset_index(drop=True)
        )

    @property
    def fwhm(self) -> NDArray[np.float64]:
        """FWHM of each band's PSF, shape ``(host, 3)`` [arcsec]."""
        return self.table[[f"psfsize_{band}" for band in BANDS]].to_numpy(np.float64)


def draw_hosts(n: int, rng: np.random.Generator, *, any_galaxy: bool = False, stamp: int = STAMP) -> Hosts:
    """Return galaxies as the survey would see them.

    Parameters
    ----------
    n
        How many.
    rng
        Decides everything.
    any_galaxy
        Galaxies of any kind, as they come, in place of luminous red ones.
    stamp
        Side of the cutouts [pixels].
    """
    sky = InjectionConfig().sky
    cutouts, rows = [], []
    for number in range(n):
        galaxy = _galaxy(rng, any_galaxy=any_galaxy)
        fwhm = np.array(FWHM) * np.exp(FWHM_SCATTER * (rng.standard_normal() + 0.4 * rng.standard_normal(3)))
        sigma = np.array(SIGMA) * np.exp(SIGMA_SCATTER * (rng.standard_normal() + 0.4 * rng.standard_normal(3)))
        scene = Scene(stamp, stamp)
        middle = (stamp - 1) / 2.0
        x, y = middle + rng.uniform(-0.5, 0.5, 2)
        light = np.ones(3)
        scene.add_galaxy(galaxy, x, y, light)
        if not any_galaxy and rng.random() < COMPANIONS:
            for _ in range(int(rng.integers(1, 4))):
                other = companion(rng, galaxy, 0, blue=rng.random() < 0.4)
                scene.add_galaxy(other, x - other.east / PIXSCALE, y + other.north / PIXSCALE, light)
        image = np.empty((3, stamp, stamp), np.float32)
        invvar = np.empty_like(image)
        for band, name in enumerate(BANDS):
            conditions = BandConditions(
                fwhm=float(fwhm[band]),
                beta=3.0,
                sigma=float(sigma[band]),
                sky=sky[name],
                pedestal=0.0,
                offsets=np.zeros((1, 2)),
                weights=np.ones(1),
            )
            clean = scene.observed(band, conditions)
            invvar[band] = 1.0 / sigma[band] ** 2
            white = rng.standard_normal((stamp, stamp)).astype(np.float32)
            image[band] = clean + coadd_noise(white, invvar[band], clean, sky[name])
        name = f"control_{rng.integers(1 << 48):012x}_{number}"
        cutouts.append(Cutout(source_id=name, ra=150.0, dec=2.0, bands=BANDS, image=image, invvar=invvar))
        rows.append(_row(name, galaxy, fwhm, sigma))
    return Hosts(cutouts=cutouts, table=pd.DataFrame(rows, columns=list(HOST_UNITS)))


def _galaxy(rng: np.random.Generator, *, any_galaxy: bool) -> Galaxy:
    while True:
        galaxy = field_galaxy(rng, float(rng.uniform(17.5, 20.0))) if any_galaxy else red_galaxy(rng)
        if MAG_R[0] < float(magnitude(galaxy.flux[1])) < MAG_R[1] + any_galaxy:
            return galaxy


def _row(name: str, galaxy: Galaxy, fwhm: NDArray[np.float64], sigma: NDArray[np.float64]) -> dict[str, object]:
    mags = magnitude(galaxy.flux)
    return {
        "source_id": name,
        "ra": 150.0,
        "dec": 2.0,
        **{f"mag_{band}": float(mag) for band, mag in zip(BANDS, mags, strict=True)},
        "ebv": 0.0,
        "radius": float(max(galaxy.radius * np.sqrt(galaxy.q), 0.1)),
        "q": float(galaxy.q),
        # Position angles run from north through east, columns toward the west.
        "phi": float((galaxy.pa + 0.5 * np.pi) % np.pi),
        "z": float(np.clip(galaxy.redshift, 0.1, 0.9)),
        "z_error": 0.02,
        "z_kind": "z_phot",
        "luminosity_offset": float(luminosity_offset(mags[1], galaxy.redshift)),
        **{f"psfsize_{band}": float(value) for band, value in zip(BANDS, fwhm, strict=True)},
        **{f"sigma_{band}": float(value) for band, value in zip(BANDS, sigma, strict=True)},
    }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InjectedSet:
    """A set of lenses in control galaxies."""

    stamps: Stamps
    """Pixels."""
    truth: pd.DataFrame
    """Truth, one row for each."""
    skipped: int
    """Hosts behind which no lens of the set was found."""


def inject_set(hosts: Hosts, config: MockSetConfig, seed: int) -> InjectedSet:
    """Return one lens in each host that can have one.

    Parameters
    ----------
    hosts
        Galaxies.
    config
        The set; its host selection is not used.
    seed
        Of the set.

    Raises
    ------
    ProcessError
        If no host has a lens.
    """
    seeds = np.array([lens_seed(seed, number) for number in range(len(hosts.cutouts))], dtype=np.int64)
    images, invvars, rows, fwhm, names = [], [], [], [], []
    for start in range(0, len(seeds), GROUP):
        part = slice(start, start + GROUP)
        table = hosts.table.iloc[part].reset_index(drop=True)
        draws = draw_lenses(config, table, seeds[part])
        for number in np.flatnonzero(draws.found):
            host = hosts.cutouts[start + number]
            injected, truth = make_mock(
                config, host, table.iloc[number], draws.table.iloc[number], int(seeds[start + number])
            )
            if injected.lost > LOST:
                continue
            images.append(injected.image)
            invvars.append(injected.invvar)
            rows.append(truth)
            names.append(truth["source_id"])
            fwhm.append(hosts.fwhm[start + number])
    if not images:
        raise ProcessError(f"no lens of the set {config.name!r} was found behind {len(seeds)} control galaxies")
    stamps = Stamps(
        names=names, images=np.stack(images), invvars=np.stack(invvars), fwhm=np.stack(fwhm), pixscale=PIXSCALE
    )
    return InjectedSet(stamps=stamps, truth=pd.DataFrame(rows), skipped=len(seeds) - len(images))


def stamps_of_hosts(hosts: Hosts) -> Stamps:
    """Return the hosts themselves, without arcs."""
    return Stamps(
        names=[cutout.source_id for cutout in hosts.cutouts],
        images=np.stack([cutout.image for cutout in hosts.cutouts]),
        invvars=np.stack([np.asarray(cutout.invvar) for cutout in hosts.cutouts]),
        fwhm=hosts.fwhm,
        pixscale=PIXSCALE,
    )
