"""The bricks of a mock release: a complete tiling of the sky in 0.1 degree steps, of which a few patches are imaged.

Real bricks are 0.25 degrees wide. The steps here are 0.1 degrees, the finest for which the survey's brick names stay
unique, because a small release should still spread over many sky cells. Everything else follows the survey: rows of
constant declination, a whole number of bricks in each, names from the truncated center.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from legacylens.mocks.release_config import MockReleaseConfig
from legacylens.survey.bands import PIXSCALE
from legacylens.survey.bricks import Brick, brickname_at

STEP = 0.1
"""Height of a brick's unique area [deg]."""

ROWS = round(180.0 / STEP)

MISSING_BAND_PATCH = 3
"""Number of the patch (a single brick) without z images."""
BAILED_OUT_PATCH = 7
"""Number of the patch (a single brick) whose fit was given up."""
EDGE_PATCH = 11
"""Number of the first patch at the edge of the survey; every 25th after it is one too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MockBrick:
    """A brick with its place in the tiling."""

    brick: Brick
    """Name, number, center and edges."""
    row: int
    """Row, counted from the south pole."""
    column: int
    """Column, counted from RA = 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """Adjacent bricks that share their sky and their exposures."""

    number: int
    """Number within the release; seeds the patch."""
    bricks: tuple[MockBrick, ...]
    """Its bricks, one, two or four."""
    missing_band: str | None
    """Band without images, or None."""
    bailed_out: bool
    """Whether the catalog's fit was given up."""
    at_edge: bool
    """Whether the survey ends within the patch."""

    @property
    def center(self) -> tuple[float, float]:
        """Center (ra, dec) [deg]."""
        first = self.bricks[0].brick.ra
        ra = np.mean([(b.brick.ra - first + 180.0) % 360.0 - 180.0 for b in self.bricks]) + first
        return float(ra % 360.0), float(np.mean([b.brick.dec for b in self.bricks]))


@functools.cache
def _columns() -> NDArray[np.int64]:
    """Return the number of bricks in each row."""
    dec = -90.0 + STEP * (np.arange(ROWS) + 0.5)
    return np.asarray(np.maximum(np.floor(360.0 * np.cos(np.radians(dec)) / STEP), 1), dtype=np.int64)


@functools.cache
def _before() -> NDArray[np.int64]:
    """Return the number of bricks in all rows before each row."""
    return np.concatenate([[0], np.cumsum(_columns())[:-1]])


def brick_of(row: int, column: int) -> MockBrick:
    """Return the brick in a row and column of the tiling; columns wrap around at RA = 360."""
    n = int(_columns()[row])
    column %= n
    dec1 = round(-90.0 + STEP * row, 6)
    dec2 = round(dec1 + STEP, 6)
    ra1, ra2 = 360.0 * column / n, 360.0 * (column + 1) / n
    ra, dec = 0.5 * (ra1 + ra2), round(0.5 * (dec1 + dec2), 6)
    brick = Brick(
        brickname=brickname_at(ra, dec),
        brickid=1 + int(_before()[row]) + column,
        ra=ra,
        dec=dec,
        ra1=ra1,
        ra2=ra2,
        dec1=dec1,
        dec2=dec2,
    )
    return MockBrick(brick=brick, row=row, column=column)


def brick_at(ra: float, dec: float) -> MockBrick:
    """Return the brick of the tiling that owns a position [deg]."""
    row = int(np.clip(np.floor((dec + 90.0) / STEP + 1e-9), 0, ROWS - 1))
    return brick_of(row, int(np.floor((ra % 360.0) / 360.0 * _columns()[row])))


def neighbors(brick: MockBrick) -> list[MockBrick]:
    """Return the bricks around a brick."""
    width = brick.brick.ra2 - brick.brick.ra1
    around = {}
    for row in range(max(brick.row - 1, 0), min(brick.row + 1, ROWS - 1) + 1):
        for step in (-1.0, 0.0, 1.0):
            other = brick_at(brick.brick.ra + step * width, -90.0 + STEP * (row + 0.5))
            around[other.brick.brickid] = other
    around.pop(brick.brick.brickid)
    return [around[number] for number in sorted(around)]


def _group(kind: str, ra: float, dec: float) -> tuple[MockBrick, ...]:
    first = brick_at(ra, dec)
    if kind == "single":
        return (first,)
    pair = (first, brick_of(first.row, first.column + 1))
    if kind == "pair":
        return pair
    above = brick_at(first.brick.ra + 1e-6, first.brick.dec + STEP)
    return (*pair, above, brick_of(above.row, above.column + 1))


def patches_of(config: MockReleaseConfig) -> list[Patch]:
    """Return the patches of a release.

    Notes
    -----
    Patches stand on a grid that is shaken by fixed irrational fractions, so that they fall on all parts of their
    sky cells. The first pair lies across RA = 0, where readers tend to break.
    """
    kinds = _spread({"single": config.singles, "pair": config.pairs, "quad": config.quads})
    n_columns = max(int(np.ceil(np.sqrt(len(kinds) * 1.25))), 1)
    patches = []
    wrapped = False
    for number, kind in enumerate(kinds):
        line, place = divmod(number, n_columns)
        shake_x, shake_y = (number * 0.6180339887) % 1.0 - 0.5, (number * 0.7548776662) % 1.0 - 0.5
        dec = -4.0 + config.spacing * (line + 0.3 * shake_y)
        ra = 141.0 + config.spacing * (place + 0.3 * shake_x) / np.cos(np.radians(dec))
        if kind == "pair" and not wrapped:
            wrapped, ra = True, 359.99
        plain = kind == "single" and config.defects
        patches.append(
            Patch(
                number=number,
                bricks=_group(kind, ra, dec),
                missing_band="z" if plain and number == MISSING_BAND_PATCH else None,
                bailed_out=plain and number == BAILED_OUT_PATCH,
                at_edge=plain and number % 25 == EDGE_PATCH,
            )
        )
    return patches


def _spread(counts: dict[str, int]) -> list[str]:
    """Return the kinds in an order that mixes them evenly."""
    places = [((i + 0.5) / n, kind) for kind, n in counts.items() for i in range(n)]
    return [kind for _, kind in sorted(places)]


def image_size(brick: Brick, border: int) -> tuple[int, int]:
    """Return width and height [pixel] of a brick's images: its unique area and a border on each side."""
    widest = np.cos(np.radians(min(abs(brick.dec1), abs(brick.dec2))))
    width = (brick.ra2 - brick.ra1) * widest * 3600.0 / PIXSCALE
    height = (brick.dec2 - brick.dec1) * 3600.0 / PIXSCALE
    return 2 * int(np.ceil(0.5 * width + border)), 2 * int(np.ceil(0.5 * height + border))


def lenses_per_brick(patches: list[Patch], lenses: int) -> dict[str, int]:
    """Return how many lenses each brick gets: an even share of those bricks whose images and catalog are whole."""
    able = [b.brick.brickname for p in patches if not (p.missing_band or p.bailed_out) for b in p.bricks]
    share = np.diff(np.round(np.linspace(0, lenses, len(able) + 1)).astype(int))
    return dict(zip(able, share.tolist(), strict=True))
