"""The sky of a patch: every galaxy, star and artifact in it, drawn once and seen by all of its bricks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from legacylens.mocks.galaxies import Galaxy, companion, field_galaxy, red_galaxy
from legacylens.mocks.release_config import MockReleaseConfig
from legacylens.mocks.stellar_populations import color_of
from legacylens.photometry import flux_of_magnitude

MARGIN = 20.0
"""Width of the sky around the images from which light still falls into them [arcsec]."""
RED_SHARE = 0.42
"""Share of luminous red galaxies among the galaxies with z < 20."""
PARENT_SLOPE = 0.42
"""Slope of the counts of the others, d log N / d mag, between z = 15.2 and 20.5."""
FAINT_SLOPE = 0.34
"""Slope of the counts of faint galaxies in r."""
STAR_SLOPE = 0.20
"""Slope of the counts of stars in r."""
COSMIC_RAYS, SATELLITES = 0.10, 0.005
"""Artifacts that survive the rejection of outliers [1/arcmin^2 in all bands]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The area of a patch in its own plane [arcsec from the patch's center]."""

    east: tuple[float, float]
    """Limits, lower first."""
    north: tuple[float, float]
    """Limits, lower first."""

    @property
    def area(self) -> float:
        """Area [arcmin^2]."""
        return (self.east[1] - self.east[0]) * (self.north[1] - self.north[0]) / 3600.0

    def positions(self, rng: np.random.Generator, n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Draw ``n`` positions (east, north)."""
        return rng.uniform(*self.east, n), rng.uniform(*self.north, n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Many small sources, one entry of each array for each."""

    east: NDArray[np.float64]
    """Place [arcsec]."""
    north: NDArray[np.float64]
    """Place [arcsec]."""
    flux: NDArray[np.float64]
    """Flux in g, r, z, shape (n, 3), without Galactic extinction [nanomaggies]."""
    radius: NDArray[np.float64]
    """Half-light radius [arcsec]; 0 for stars."""
    n: NDArray[np.float64]
    """Sersic index."""
    q: NDArray[np.float64]
    """Axis ratio."""
    pa: NDArray[np.float64]
    """Position angle [radian]."""

    def __len__(self) -> int:
        return len(self.east)

    @property
    def gaia_g(self) -> NDArray[np.float64]:
        """Magnitude in Gaia's G, near enough to r."""
        return np.asarray(22.5 - 2.5 * np.log10(self.flux[:, 1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Streak:
    """A straight artifact in one band: what is left of a cosmic ray or a satellite."""

    kind: str
    """``cosmic-ray`` or ``satellite``."""
    band: int
    """Band number."""
    east: float
    """A point on it [arcsec]."""
    north: float
    """A point on it [arcsec]."""
    angle: float
    """Direction [radian]."""
    half_length: float
    """Half length [arcsec]."""
    width: float
    """Standard deviation across [arcsec]."""
    height: float
    """Brightness on its line in units of the sky's sigma."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sky:
    """Everything in a patch except its lenses."""

    galaxies: tuple[Galaxy, ...]
    """Galaxies with structure, and their companions."""
    faint: Points
    """Faint galaxies."""
    stars: Points
    """Stars."""
    streaks: tuple[Streak, ...]
    """Artifacts."""


def _power_law(rng: np.random.Generator, n: int, slope: float, bright: float, faint: float) -> NDArray[np.float64]:
    """Draw magnitudes whose counts grow as 10^(slope m)."""
    low, high = 10.0 ** (slope * bright), 10.0 ** (slope * faint)
    return np.asarray(np.log10(low + rng.uniform(size=n) * (high - low)) / slope)


def companions_of(rng: np.random.Generator, host: Galaxy, number: int) -> list[Galaxy]:
    """Draw what stands around a luminous red galaxy, lens or not: nothing, satellites, neighbors, sometimes a group."""
    chance = rng.uniform()
    if chance < 0.45:
        return []
    if chance < 0.69:
        return [companion(rng, host, number, blue=False) for _ in range(int(rng.integers(1, 3)))]
    if chance < 0.94:
        return [companion(rng, host, number, blue=True) for _ in range(int(rng.integers(1, 4)))]
    return [
        companion(rng, host, number, blue=bool(rng.uniform() < 0.35), separation=(2.0, 11.0))
        for _ in range(int(rng.integers(3, 7)))
    ]


def draw_galaxies(rng: np.random.Generator, frame: Frame, density: float) -> list[Galaxy]:
    """Draw the galaxies brighter than about z = 20.5.

    Parameters
    ----------
    rng
        Random generator.
    frame
        Area.
    density
        Mean number with z < 20 [1/arcmin^2].
    """
    n_red = int(rng.poisson(density * RED_SHARE * frame.area))
    # Of the field galaxies drawn to z = 20.5, this many are brighter than 20.
    brighter = 10.0 ** (-PARENT_SLOPE * 0.5)
    n_field = int(rng.poisson(density * (1.0 - RED_SHARE) / brighter * frame.area))
    galaxies: list[Galaxy] = []
    for east, north in zip(*frame.positions(rng, n_red), strict=True):
        host = replace(red_galaxy(rng), east=float(east), north=float(north))
        number = len(galaxies)
        galaxies.append(host)
        galaxies.extend(companions_of(rng, host, number))
    magnitudes = _power_law(rng, n_field, PARENT_SLOPE, 15.2, 20.5)
    for east, north, z_mag in zip(*frame.positions(rng, n_field), magnitudes, strict=True):
        galaxies.append(replace(field_galaxy(rng, float(z_mag)), east=float(east), north=float(north)))
    return galaxies


def draw_faint(rng: np.random.Generator, frame: Frame, density: float) -> Points:
    """Draw galaxies between the parents' limit and below the detection limit; ``density`` is in 1/arcmin^2."""
    n = int(rng.poisson(density * frame.area))
    east, north = frame.positions(rng, n)
    r_mag = _power_law(rng, n, FAINT_SLOPE, 20.6, 24.3)
    redshift = np.clip(rng.gamma(3.0, 0.22, n), 0.05, 2.0)
    old = np.where(rng.uniform(size=n) < 0.25, rng.uniform(0.7, 1.0, n), rng.uniform(-0.2, 0.5, n))
    colors = np.array([color_of(float(z), float(f), rng, 0.08) for z, f in zip(redshift, old, strict=True)]).reshape(
        n, 2
    )
    z_mag = np.maximum(r_mag - colors[:, 1], 20.1)
    flux = flux_of_magnitude(np.stack([r_mag + colors[:, 0], r_mag, z_mag], axis=1))
    return Points(
        east=east,
        north=north,
        flux=np.asarray(flux, dtype=np.float64),
        radius=np.clip(0.42 * 10.0 ** (-0.06 * (r_mag - 22.5)) * rng.lognormal(0.0, 0.4, n), 0.08, 0.95),
        n=np.where(old > 0.6, 2.5, 1.0),
        q=rng.uniform(0.3, 1.0, n),
        pa=rng.uniform(0.0, np.pi, n),
    )


def draw_stars(rng: np.random.Generator, frame: Frame, density: float) -> Points:
    """Draw stars; ``density`` is for r < 22.5 [1/arcmin^2]."""
    n = int(rng.poisson(density * frame.area))
    east, north = frame.positions(rng, n)
    r_mag = np.maximum(_power_law(rng, n, STAR_SLOPE, 6.0, 22.5), 9.5)
    late = rng.uniform(size=n) < np.clip(0.2 + 0.12 * (r_mag - 16.0), 0.2, 0.75)
    g_r = np.where(late, rng.normal(1.35, 0.12, n), np.clip(rng.normal(0.55, 0.22, n), 0.1, 1.1))
    r_z = np.where(late, rng.uniform(0.7, 2.6, n), 0.62 * g_r + rng.normal(-0.02, 0.04, n))
    flux = flux_of_magnitude(np.stack([r_mag + g_r, r_mag, r_mag - r_z], axis=1))
    zero = np.zeros(n)
    return Points(
        east=east, north=north, flux=np.asarray(flux, dtype=np.float64), radius=zero, n=zero, q=zero + 1.0, pa=zero
    )


def draw_streaks(rng: np.random.Generator, frame: Frame) -> list[Streak]:
    """Draw what outlier rejection left of cosmic rays and satellites."""
    streaks = []
    for _ in range(int(rng.poisson(COSMIC_RAYS * frame.area))):
        east, north = frame.positions(rng, 1)
        streaks.append(
            Streak(
                kind="cosmic-ray",
                band=int(rng.integers(3)),
                east=float(east[0]),
                north=float(north[0]),
                angle=float(rng.uniform(0, np.pi)),
                half_length=float(rng.uniform(0.4, 5.0)),
                width=float(rng.uniform(0.12, 0.22)),
                height=float(rng.uniform(4.0, 25.0)),
            )
        )
    for _ in range(int(rng.poisson(SATELLITES * frame.area))):
        east, north = frame.positions(rng, 1)
        streaks.append(
            Streak(
                kind="satellite",
                band=int(rng.integers(3)),
                east=float(east[0]),
                north=float(north[0]),
                angle=float(rng.uniform(0, np.pi)),
                half_length=1e5,
                width=float(rng.uniform(0.5, 0.9)),
                height=float(rng.uniform(0.5, 2.5)),
            )
        )
    return streaks


def draw_sky(rng: np.random.Generator, frame: Frame, config: MockReleaseConfig, lenses: int) -> Sky:
    """Draw everything in a patch except its lenses, of which there will be ``lenses``."""
    bricks = frame.area / 36.0
    density = max(config.parents_per_brick - lenses / max(bricks, 1.0), 0.0) / 36.0
    return Sky(
        galaxies=tuple(draw_galaxies(rng, frame, density)),
        faint=draw_faint(rng, frame, config.faint_per_arcmin2),
        stars=draw_stars(rng, frame, config.stars_per_arcmin2),
        streaks=tuple(draw_streaks(rng, frame)),
    )
