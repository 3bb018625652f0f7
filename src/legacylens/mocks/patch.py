"""One patch: where it lies, its conditions and its sky, all drawn from (configuration, seed, patch number)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from legacylens.mocks.conditions import Conditions, coverage, draw_conditions
from legacylens.mocks.layout import MockBrick, Patch, image_size
from legacylens.mocks.release_config import MockReleaseConfig
from legacylens.mocks.sky import MARGIN, Frame, Points, Sky, companions_of, draw_sky
from legacylens.mocks.star_masks import mask_radius
from legacylens.mocks.strong_lenses import StrongLens, draw_lens
from legacylens.survey.bands import PIXSCALE
from legacylens.survey.grid import brick_wcs, pixel_position, sky_position

STREAMS = {"conditions": 0, "sky": 1, "lenses": 2, "noise": 3, "catalog": 4, "list": 5}
"""Numbers of the independent random streams of a patch."""


def generator(seed: int, stream: str, *numbers: int) -> np.random.Generator:
    """Return the random generator of one stream; the same on every machine and for every number of workers."""
    return np.random.default_rng(np.random.SeedSequence([seed, STREAMS[stream], *numbers]))


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchContent:
    """Everything that decides what the images of a patch show, except the noise."""

    patch: Patch
    """Its bricks."""
    frame: Frame
    """Its area with a border, in its own plane."""
    wcs: WCS
    """Its own plane as a pixel grid of the survey's scale, pixel (0, 0) at its center."""
    conditions: Conditions
    """Depth and seeing."""
    sky: Sky
    """Galaxies, stars and artifacts."""
    lenses: tuple[StrongLens, ...]
    """Strong lenses, hosts at their places."""
    lens_bricks: tuple[str, ...]
    """Name of the brick that owns each lens."""

    def to_plane(self, ra: ArrayLike, dec: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (east, north) [arcsec] of positions [deg]."""
        x, y = pixel_position(self.wcs, ra, dec)
        return -x * PIXSCALE, y * PIXSCALE

    def to_sky(self, east: ArrayLike, north: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (ra, dec) [deg] of places in the plane [arcsec]."""
        return sky_position(self.wcs, -np.atleast_1d(east) / PIXSCALE, np.atleast_1d(north) / PIXSCALE)


def frame_of(patch: Patch, wcs: WCS, border: int) -> Frame:
    """Return the area that the images of a patch cover, with a border for the light that falls in."""
    east: list[float] = []
    north: list[float] = []
    for mock in patch.bricks:
        width, height = image_size(mock.brick, border)
        corners = np.array([[0.0, 0.0], [width, 0.0], [0.0, height], [width, height]])
        ra, dec = sky_position(brick_wcs(mock.brick.ra, mock.brick.dec, width, height), corners[:, 0], corners[:, 1])
        x, y = pixel_position(wcs, ra, dec)
        east.extend(-x * PIXSCALE)
        north.extend(y * PIXSCALE)
    return Frame(
        east=(float(min(east)) - MARGIN, float(max(east)) + MARGIN),
        north=(float(min(north)) - MARGIN, float(max(north)) + MARGIN),
    )


def build_patch(patch: Patch, config: MockReleaseConfig, seed: int, lenses: dict[str, int]) -> PatchContent:
    """Draw a patch.

    Parameters
    ----------
    patch
        Its bricks.
    config
        Contents of the release.
    seed
        Seed of the release.
    lenses
        Brick name -> number of lenses in its unique area.
    """
    wcs = brick_wcs(*patch.center, 1, 1)
    frame = frame_of(patch, wcs, config.border)
    conditions = draw_conditions(
        generator(seed, "conditions", patch.number), missing_band=patch.missing_band, at_edge=patch.at_edge
    )
    wanted = sum(lenses.get(mock.brick.brickname, 0) for mock in patch.bricks)
    sky = draw_sky(generator(seed, "sky", patch.number), frame, config, wanted)
    content = PatchContent(patch=patch, frame=frame, wcs=wcs, conditions=conditions, sky=sky, lenses=(), lens_bricks=())
    drawn: list[StrongLens] = []
    owners: list[str] = []
    rng = generator(seed, "lenses", patch.number)
    for mock in patch.bricks:
        for _ in range(lenses.get(mock.brick.brickname, 0)):
            lens = draw_lens(rng, conditions, config.population, config.contrast)
            if lens is None:
                continue
            place = _place(rng, content, mock, drawn)
            if place is None:
                continue
            drawn.append(replace(lens, host=replace(lens.host, east=place[0], north=place[1])))
            owners.append(mock.brick.brickname)
    # Hosts have the company that all red galaxies have; without it, loneliness would tell a lens.
    company = [(k, other) for k, lens in enumerate(drawn) for other in companions_of(rng, lens.host, k)]
    first_host = len(sky.galaxies) + len(company)
    others = tuple(replace(other, group=first_host + k) for k, other in company)
    return replace(
        content,
        sky=replace(sky, galaxies=(*sky.galaxies, *others)),
        lenses=tuple(drawn),
        lens_bricks=tuple(owners),
    )


def _place(
    rng: np.random.Generator, content: PatchContent, mock: MockBrick, others: list[StrongLens], tries: int = 500
) -> tuple[float, float] | None:
    """Find a place for a lens where it is observed, unmasked and not swallowed by a brighter object."""
    brick = mock.brick
    bright = [g for g in content.sky.galaxies if g.flux[2] > 6.0]
    stars: Points = content.sky.stars
    keep_off = np.maximum(mask_radius(stars.gaia_g), 2.5) + 3.0
    for _ in range(tries):
        ra = brick.ra1 + (0.01 + 0.98 * rng.uniform()) * (brick.ra2 - brick.ra1)
        dec = brick.dec1 + (0.01 + 0.98 * rng.uniform()) * (brick.dec2 - brick.dec1)
        (east,), (north,) = content.to_plane(ra, dec)
        if content.conditions.edge is not None and east > content.conditions.edge - 16.0:
            continue
        if np.any(np.hypot(stars.east - east, stars.north - north) < keep_off):
            continue
        if any(np.hypot(g.east - east, g.north - north) < 2.5 + g.radius for g in bright):
            continue
        if any(np.hypot(o.host.east - east, o.host.north - north) < 12.0 for o in others):
            continue
        if all(_observed(content.conditions, band, east, north) for band in content.conditions.bands):
            return float(east), float(north)
    return None


def _observed(conditions: Conditions, band: str, east: float, north: float) -> bool:
    """Return whether a place and its surroundings have three exposures: measured positions are not the true ones."""
    around = np.array([[0.0, 0.0], [1.5, 0.0], [-1.5, 0.0], [0.0, 1.5], [0.0, -1.5]])
    nexp, _ = coverage(conditions.bands[band], east + around[:, 0], north + around[:, 1], conditions.edge)
    return bool(nexp.min() >= 3)
