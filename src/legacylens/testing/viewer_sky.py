"""The sky of the stand-in viewer: a function of position alone, so that every pixel ever served can be checked.

Brightness, inverse variance and mask bits are sums of plane waves over the unit sphere, with wavelengths from two
pixels to an arcminute: rough as noise, with bright spots, and nowhere the same twice. Bricks tile it as the survey's
do; some have no exposures at all, some none in z.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from legacylens.survey.bands import ALL_BANDS, PIXSCALE
from legacylens.survey.bricks import brickname_at

BRICK_PIXELS = 3600
"""Side of a brick image [pixel]."""

NORTH_DEC = 32.375
"""From here on, and at positive galactic latitude, the layer ls-dr10 is the northern survey."""

_GALACTIC_POLE = np.array([-0.8676661356, -0.1980763896, 0.4559837950])
"""Unit vector of the north galactic pole (192.85948, 27.12825 deg, J2000)."""

_N_FINE, _N_COARSE = 4, 3


def vectors(ra: NDArray[np.float64] | float, dec: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Return unit vectors, shape (..., 3), of positions [deg]."""
    alpha, delta = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(delta) * np.cos(alpha), np.cos(delta) * np.sin(alpha), np.sin(delta)], axis=-1)


def _along(points: NDArray[np.float64], wave: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the phase of a wave at unit vectors, without a matrix product: its threads would fight for the cores."""
    return np.asarray(points[..., 0] * wave[0] + points[..., 1] * wave[1] + points[..., 2] * wave[2])


def fraction(*parts: object) -> float:
    """Return a number in [0, 1) that depends on the parts alone."""
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64


@dataclass(frozen=True, slots=True, kw_only=True)
class TanGrid:
    """Pixels of a gnomonic projection, north up, east to the left."""

    ra: float
    """Tangent point [deg]."""
    dec: float
    """Tangent point [deg]."""
    x: float
    """Column of the tangent point, 0-based."""
    y: float
    """Row of the tangent point, 0-based."""
    width: int
    """Columns."""
    height: int
    """Rows."""
    pixscale: float = PIXSCALE
    """Pixel scale [arcsec/pixel]."""

    def axes(self) -> NDArray[np.float64]:
        """Return unit vectors to east, north and the tangent point, shape (3, 3)."""
        alpha, delta = np.radians(self.ra), np.radians(self.dec)
        east = np.array([-np.sin(alpha), np.cos(alpha), 0.0])
        north = np.array([-np.sin(delta) * np.cos(alpha), -np.sin(delta) * np.sin(alpha), np.cos(delta)])
        return np.stack([east, north, np.cross(east, north)])

    def vectors(self) -> NDArray[np.float64]:
        """Return the unit vector of every pixel, shape (height, width, 3)."""
        step = np.radians(self.pixscale / 3600.0)
        east = (self.x - np.arange(self.width)) * step
        north = (np.arange(self.height) - self.y) * step
        axis_east, axis_north, axis_center = self.axes()
        plane = axis_center + east[None, :, None] * axis_east + north[:, None, None] * axis_north
        return np.asarray(plane / np.sqrt(1.0 + east[None, :] ** 2 + north[:, None] ** 2)[..., None])

    def pixels(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return 0-based columns and rows of unit vectors, NaN on the far side."""
        axis_east, axis_north, axis_center = self.axes()
        depth = _along(points, axis_center)
        with np.errstate(invalid="ignore", divide="ignore"):
            scale = np.where(depth > 0, 1.0 / depth, np.nan) / np.radians(self.pixscale / 3600.0)
        return self.x - _along(points, axis_east) * scale, self.y + _along(points, axis_north) * scale


@dataclass(frozen=True, slots=True, kw_only=True)
class SkyBrick:
    """A brick of the stand-in's tiling."""

    name: str
    """Name by its center."""
    ra: float
    """Center [deg]."""
    dec: float
    """Center [deg]."""

    def grid(self, x0: int = 0, y0: int = 0, width: int = BRICK_PIXELS, height: int = BRICK_PIXELS) -> TanGrid:
        """Return the grid of a window of the brick image."""
        middle = (BRICK_PIXELS - 1) / 2.0
        return TanGrid(ra=self.ra, dec=self.dec, x=middle - x0, y=middle - y0, width=width, height=height)


def _row(number: int) -> tuple[float, int]:
    dec = 0.25 * number
    # As many columns as make bricks at most 0.25 deg wide where the row is widest.
    widest = np.cos(np.radians(max(abs(dec) - 0.125, 0.0)))
    return dec, max(int(np.ceil(1440.0 * widest)), 1)


def _brick(number: int, column: int) -> SkyBrick:
    dec, columns = _row(number)
    ra = (column % columns + 0.5) * 360.0 / columns
    return SkyBrick(name=brickname_at(ra, dec), ra=ra, dec=dec)


def own_brick(ra: float, dec: float) -> SkyBrick:
    """Return the brick that owns a position [deg]."""
    number = int(np.floor(dec / 0.25 + 0.5))
    _, columns = _row(number)
    return _brick(number, int(np.floor(ra % 360.0 / 360.0 * columns)))


def bricks_near(ra: float, dec: float) -> list[SkyBrick]:
    """Return the bricks that may have pixels within a few arcminutes of a position [deg], the owner first."""
    number = int(np.floor(dec / 0.25 + 0.5))
    found: dict[tuple[float, float], SkyBrick] = {}
    for row in (number, number - 1, number + 1):
        center, columns = _row(row)
        if abs(center) > 90.0:
            continue
        column = int(np.floor(ra % 360.0 / 360.0 * columns))
        for each in (column, column - 1, column + 1):
            brick = _brick(row, each)
            found.setdefault((brick.ra, brick.dec), brick)
    return list(found.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """The part of a brick image that a request touches."""

    brick: SkyBrick
    """The brick."""
    x0: int
    """First column."""
    y0: int
    """First row."""
    width: int
    """Columns."""
    height: int
    """Rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sky:
    """A sky to be served."""

    seed: int = 1
    """Another seed is another sky."""
    off: float = 0.02
    """Fraction of bricks without exposures."""
    without_z: float = 0.01
    """Fraction of bricks without exposures in z."""
    noise: float = 0.008
    """Standard deviation of the fine waves [nanomaggies/pixel]."""
    _waves: tuple[NDArray[np.float64], ...] = field(init=False, repr=False, default=())

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)

        def directions(n: int, low: float, high: float) -> NDArray[np.float64]:
            normals = rng.normal(size=(n, 3))
            normals /= np.linalg.norm(normals, axis=1, keepdims=True)
            wavelength = np.radians(np.geomspace(low, high, n) / 3600.0)
            return np.asarray(normals * (2.0 * np.pi / wavelength)[:, None])

        fine = directions(_N_FINE, 0.55, 2.5)
        coarse = directions(_N_COARSE, 25.0, 60.0)
        mixing = rng.normal(size=(2, len(ALL_BANDS), 2 * _N_FINE))  # for either data release
        object.__setattr__(self, "_waves", (fine, coarse, mixing))

    def covers(self, brick: SkyBrick, band: str) -> bool:
        """Whether a brick has exposures in a band."""
        chance = fraction("coverage", self.seed, brick.name)
        if chance < self.off:
            return False
        if band == "z" and chance < self.off + self.without_z:
            return False
        return not (band == "i" and is_north(brick.ra, brick.dec))

    def brightness(
        self, points: NDArray[np.float64], bands: tuple[str, ...], *, release: int = 10
    ) -> NDArray[np.float32]:
        """Return what the sky holds.

        Parameters
        ----------
        points
            Unit vectors, shape (..., 3).
        bands
            Bands.
        release
            Data release; another processing gives other pixels.

        Returns
        -------
        image
            Shape (band, ...) [nanomaggies/pixel].
        """
        fine, coarse, mixing = self._waves
        rows = [ALL_BANDS.index(band) for band in bands]
        phases = [_along(points, wave) for wave in fine]
        waves = [np.sin(phase) for phase in phases] + [np.cos(phase) for phase in phases]
        spots = np.exp(8.0 * (sum(np.cos(_along(points, wave)) for wave in coarse) / len(coarse) - 1.0))
        image = np.empty((len(bands), *points.shape[:-1]), np.float32)
        for plane, row in enumerate(rows):
            weights = mixing[0 if release >= 10 else 1][row] * (self.noise / np.sqrt(_N_FINE))
            image[plane] = sum(weight * wave for weight, wave in zip(weights, waves, strict=True))
            image[plane] += (0.4, 1.0, 1.3, 1.6)[row] * spots
        return image

    def inverse_variance(self, points: NDArray[np.float64], bands: tuple[str, ...]) -> NDArray[np.float32]:
        """Return the inverse variance of each pixel [1/nanomaggies^2], shape (band, ...)."""
        _, coarse, _ = self._waves
        slow = 1.0 + 0.3 * np.sin(_along(points, coarse[0]))
        depth = np.array([1.0, 0.8, 0.5, 0.6])[[ALL_BANDS.index(band) for band in bands]]
        image = depth.reshape(-1, *[1] * (points.ndim - 1)) * slow / self.noise**2
        return np.asarray(image, dtype=np.float32)

    def mask_bits(self, points: NDArray[np.float64]) -> NDArray[np.int32]:
        """Return mask bits: BRIGHT (bit 1) at the brightest spots, GALAXY (bit 12) in stripes."""
        _, coarse, _ = self._waves
        heights = [np.cos(_along(points, wave)) for wave in coarse]
        bits = np.where(sum(heights) > 0.9 * len(heights), 1 << 1, 0)
        return np.asarray(bits | np.where(heights[1] > 0.95, 1 << 12, 0), dtype=np.int32)

    def pieces(self, ra: float, dec: float, width: int, height: int) -> list[Piece]:
        """Return the parts of brick images that a window around a position [deg] touches, covered or not."""
        found = []
        point = vectors(ra, dec)
        for brick in bricks_near(ra, dec):
            x, y = (float(value) for value in brick.grid().pixels(point))
            x0, y0 = round(x - width / 2.0), round(y - height / 2.0)
            x1, y1 = min(x0 + width, BRICK_PIXELS), min(y0 + height, BRICK_PIXELS)
            x0, y0 = max(x0, 0), max(y0, 0)
            if x1 > x0 and y1 > y0:
                found.append(Piece(brick=brick, x0=x0, y0=y0, width=x1 - x0, height=y1 - y0))
        return found


def is_north(ra: float, dec: float) -> bool:
    """Whether the layer ls-dr10 shows the northern survey at a position [deg]."""
    return dec >= NORTH_DEC and float(vectors(ra, dec) @ _GALACTIC_POLE) > 0.0
