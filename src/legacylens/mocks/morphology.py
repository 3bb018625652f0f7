"""Light distributions of mock galaxies, before the atmosphere: disks, bulges, arms, rings, tails, shells, dust.

Every component is a shape on a plane of coordinates ``x`` (right, west) and ``y`` (up, north) [arcsec] from the
galaxy's center. Only relative values count: `paint` scales each to its flux. Position angles are measured from north
through east, as in the survey's catalogs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

SOFTENING = 0.04
"""Length by which cusps are softened so that sampling them is harmless [arcsec]; far below the seeing."""


class Shape(Protocol):
    """A light distribution."""

    def light(self, x: Plane, y: Plane) -> Plane:
        """Return relative surface brightness at positions [arcsec]."""

    @property
    def extent(self) -> float:
        """Radius beyond which there is practically no light [arcsec]."""


def rotated(x: Plane, y: Plane, pa: float) -> tuple[Plane, Plane]:
    """Return coordinates along the major axis (position angle ``pa`` [radian], north through east) and across it."""
    cos, sin = np.float32(np.cos(pa)), np.float32(np.sin(pa))
    return y * cos - x * sin, -x * cos - y * sin


def sersic_b(n: float) -> float:
    """Return b_n, with which the effective radius holds half of the light (Ciotti & Bertin 1999, eq. 18)."""
    return 2.0 * n - 1.0 / 3.0 + 4.0 / (405.0 * n) + 46.0 / (25515.0 * n**2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sersic:
    """An ellipse of a Sersic profile, whose isophotes may twist and be boxy or disky."""

    radius: float
    """Half-light radius along the major axis [arcsec]."""
    n: float
    """Sersic index."""
    q: float
    """Axis ratio."""
    pa: float
    """Position angle [radian] at the center."""
    twist: float = 0.0
    """Change of position angle per half-light radius [radian], constant beyond two of them."""
    boxiness: float = 2.0
    """Exponent of the isophotes: 2 ellipse, above 2 boxy, below 2 disky."""
    dx: float = 0.0
    """Offset to the right [arcsec]."""
    dy: float = 0.0
    """Offset up [arcsec]."""

    @property
    def extent(self) -> float:
        """See `Shape`."""
        return self.radius * min(4.0 + 1.4 * self.n, 9.0) + float(np.hypot(self.dx, self.dy))

    def light(self, x: Plane, y: Plane) -> Plane:
        """See `Shape`."""
        x, y = x - np.float32(self.dx), y - np.float32(self.dy)
        if self.twist:
            reach = np.minimum(np.hypot(x, y) / np.float32(self.radius), 2.0)
            angle = np.float32(self.pa) + np.float32(self.twist) * reach
            cos, sin = np.cos(angle), np.sin(angle)
            u, v = y * cos - x * sin, -x * cos - y * sin
        else:
            u, v = rotated(x, y, self.pa)
        v = v / np.float32(self.q)
        if self.boxiness == 2.0:
            square = u * u + v * v
        else:
            c = np.float32(self.boxiness)
            square = (np.abs(u) ** c + np.abs(v) ** c) ** np.float32(2.0 / self.boxiness)
        square = (square + np.float32(SOFTENING**2)) / np.float32(self.radius**2)
        profile = np.exp(-np.float32(sersic_b(self.n)) * square ** np.float32(0.5 / self.n))
        # The wings end softly at the extent instead of running on for ever.
        reach2 = (self.extent - float(np.hypot(self.dx, self.dy))) ** 2 / self.radius**2
        return np.asarray(profile * np.clip(1.0 - (square / np.float32(reach2)) ** 4, 0.0, 1.0), dtype=np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arms:
    """Logarithmic spiral arms in an inclined exponential disk, with knots of star formation along them."""

    scale: float
    """Scale length of the disk [arcsec]."""
    q: float
    """Axis ratio of the disk (its inclination)."""
    pa: float
    """Position angle of the disk [radian]."""
    number: int
    """Number of arms."""
    pitch: float
    """Pitch angle [radian]; its sign is the sense of winding."""
    phase: float
    """Azimuth of the first arm at one scale length [radian]."""
    sharpness: float
    """Exponent of the azimuthal profile; larger is narrower."""
    inner: float
    """Radius where the arms begin [arcsec]."""
    knots: tuple[tuple[float, float, float], ...] = ()
    """Log-normal modulation along the arms: (amplitude, waves per e-folding of radius, phase)."""

    @property
    def extent(self) -> float:
        """See `Shape`."""
        return 6.0 * self.scale

    def light(self, x: Plane, y: Plane) -> Plane:
        """See `Shape`."""
        u, v = rotated(x, y, self.pa)
        v = v / np.float32(self.q)
        radius = np.hypot(u, v) + np.float32(1e-3)
        log_radius = np.log(radius / np.float32(self.scale))
        winding = np.arctan2(v, u) - log_radius / np.float32(np.tan(self.pitch)) - np.float32(self.phase)
        crest = (0.5 + 0.5 * np.cos(self.number * winding)) ** np.float32(self.sharpness)
        texture = np.zeros_like(radius)
        azimuth = np.arctan2(v, u)
        for amplitude, waves, phase in self.knots:
            texture += np.float32(amplitude) * np.cos(
                np.float32(waves) * log_radius + np.float32(round(waves)) * azimuth + np.float32(phase)
            )
        start = 1.0 / (1.0 + np.exp(-(radius - np.float32(self.inner)) / np.float32(0.15 * self.scale)))
        fall = np.exp(-radius / np.float32(1.25 * self.scale))
        return np.asarray(crest * start * fall * np.exp(texture), dtype=np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """An inclined ring or part of one, uneven around."""

    radius: float
    """Radius along the major axis [arcsec]."""
    width: float
    """Standard deviation across [arcsec]."""
    q: float
    """Axis ratio."""
    pa: float
    """Position angle [radian]."""
    modulation: tuple[tuple[float, int, float], ...] = ()
    """Log-normal modulation around: (amplitude, waves, phase)."""

    @property
    def extent(self) -> float:
        """See `Shape`."""
        return self.radius + 4.0 * self.width

    def light(self, x: Plane, y: Plane) -> Plane:
        """See `Shape`."""
        u, v = rotated(x, y, self.pa)
        v = v / np.float32(self.q)
        away = (np.hypot(u, v) - np.float32(self.radius)) / np.float32(self.width)
        azimuth = np.arctan2(v, u)
        texture = np.zeros_like(away)
        for amplitude, waves, phase in self.modulation:
            texture += np.float32(amplitude) * np.cos(waves * azimuth + np.float32(phase))
        return np.asarray(np.exp(-0.5 * away**2 + texture), dtype=np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeOn:
    """A disk seen from its edge: exponential along, sech^2 across, bent at the ends if warped."""

    scale: float
    """Scale length [arcsec]."""
    height: float
    """Scale height [arcsec]."""
    pa: float
    """Position angle [radian]."""
    warp: float = 0.0
    """Height of the ends at four scale lengths [arcsec]."""

    @property
    def extent(self) -> float:
        """See `Shape`."""
        return 7.5 * self.scale

    def light(self, x: Plane, y: Plane) -> Plane:
        """See `Shape`."""
        u, v = rotated(x, y, self.pa)
        v = v - np.float32(self.warp) * (u / np.float32(4.0 * self.scale)) ** 3
        along = np.abs(u) / np.float32(self.scale)
        across = np.clip(np.abs(v) / np.float32(self.height), 0.0, 40.0)
        # (x + 0.1) K1(x) of a transparent disk is close to (1 + x) exp(-x) in this range.
        return np.asarray((1.0 + along) * np.exp(-along) / np.cosh(across) ** 2, dtype=np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """A tidal tail: an arc that unwinds from the galaxy while it widens and fades."""

    start: float
    """Radius where it begins [arcsec]."""
    growth: float
    """Growth of radius per radian [arcsec]."""
    length: float
    """Angle over which it runs [radian]; its sign is the sense."""
    width: float
    """Standard deviation across at its start [arcsec]."""
    pa: float
    """Azimuth of its start, counterclockwise from the right [radian]."""

    @property
    def extent(self) -> float:
        """See `Shape`."""
        return self.start + self.growth * abs(self.length) + 5.0 * self.width

    def light(self, x: Plane, y: Plane) -> Plane:
        """See `Shape`."""
        radius = np.hypot(x, y)
        sense = np.float32(np.sign(self.length))
        turn = np.mod(sense * (np.arctan2(y, x) - np.float32(self.pa)), np.float32(2.0 * np.pi))
        length = np.float32(abs(self.length))
        path = np.float32(self.start) + np.float32(self.growth) * turn
        width = np.float32(self.width) * (1.0 + 0.5 * turn)
        inside = np.clip(turn / 0.25, 0.0, 1.0) * np.clip((length - turn) / (0.4 * length), 0.0, 1.0)
        return np.asarray(inside * np.exp(-0.5 * ((radius - path) / width) ** 2) / (1.0 + turn), dtype=np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shells:
    """Sharp-edged arcs around an elliptical, left by something that it swallowed."""

    radii: tuple[float, ...]
    """Radii of the edges [arcsec]."""
    sides: tuple[float, ...]
    """Azimuth of each shell's middle [radian]."""
    opening: float
    """Half angle of the shells [radian]."""
    depth: float
    """Decay length inward from the edge [arcsec]."""

    @property
    def extent(self) -> float:
        """See `Shape`."""
        return max(self.radii) + 2.0

    def light(self, x: Plane, y: Plane) -> Plane:
        """See `Shape`."""
        radius, azimuth = np.hypot(x, y), np.arctan2(y, x)
        total = np.zeros_like(radius)
        for edge, side in zip(self.radii, self.sides, strict=True):
            angle = np.angle(np.exp(1j * (azimuth - np.float32(side)))).astype(np.float32)
            inward = (np.float32(edge) - radius) / np.float32(self.depth)
            step = 1.0 / (1.0 + np.exp(np.clip(-8.0 * inward, -60.0, 60.0)))
            total += (
                step
                * np.exp(-np.clip(inward, 0.0, 60.0))
                * np.exp(-0.5 * (angle / np.float32(self.opening)) ** 4)
                * np.float32(min(self.radii) / edge)
            )
        return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Clumps:
    """Round knots of star formation."""

    x: tuple[float, ...]
    """Places to the right [arcsec]."""
    y: tuple[float, ...]
    """Places up [arcsec]."""
    size: tuple[float, ...]
    """Standard deviations [arcsec]."""
    weight: tuple[float, ...]
    """Relative fluxes."""

    @property
    def extent(self) -> float:
        """See `Shape`."""
        return max(float(np.hypot(a, b)) + 4.0 * s for a, b, s in zip(self.x, self.y, self.size, strict=True))

    def light(self, x: Plane, y: Plane) -> Plane:
        """See `Shape`."""
        total = np.zeros_like(x)
        for x0, y0, size, weight in zip(self.x, self.y, self.size, self.weight, strict=True):
            square = ((x - np.float32(x0)) ** 2 + (y - np.float32(y0)) ** 2) / np.float32(size**2)
            total += np.float32(weight / size**2) * np.exp(-0.5 * square)
        return total


@dataclass(frozen=True, slots=True, kw_only=True)
class DustLane:
    """A band of dust across a galaxy. It takes more blue light than red; the total flux is declared after it."""

    depth: float
    """Optical depth in g on the lane's axis."""
    height: float
    """Standard deviation across [arcsec]."""
    length: float
    """Half length [arcsec]."""
    pa: float
    """Position angle [radian]."""
    bend: float = 0.0
    """Sag of the ends [arcsec]."""

    def transmission(self, x: Plane, y: Plane, ratio: float) -> Plane:
        """Return the fraction of light let through where the depth is ``ratio`` times that in g."""
        u, v = rotated(x, y, self.pa)
        along = u / np.float32(self.length)
        v = v - np.float32(self.bend) * along**2
        lane = np.exp(-0.5 * (v / np.float32(self.height)) ** 2) * np.exp(-np.clip(along**4, 0.0, 60.0))
        return np.asarray(np.exp(-np.float32(self.depth * ratio) * lane), dtype=np.float32)


DUST_RATIO = (1.0, 0.70, 0.40)
"""Depth of dust in g, r, z relative to g: A_band / A_g of a Milky Way law."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """A component with its flux."""

    shape: Shape
    """Where its light is."""
    flux: tuple[float, float, float]
    """Flux in g, r, z above the atmosphere of the Earth and the dust of the Galaxy [nanomaggies]."""

    def scaled(self, factor: float) -> Light:
        """Return the same light, brighter by a factor."""
        g, r, z = self.flux
        return Light(shape=self.shape, flux=(g * factor, r * factor, z * factor))


def total_flux(lights: tuple[Light, ...]) -> NDArray[np.float64]:
    """Return the flux in g, r, z [nanomaggies] of all components."""
    return np.asarray(np.sum([light.flux for light in lights], axis=0), dtype=np.float64)


def paint(lights: tuple[Light, ...], dust: DustLane | None, x: Plane, y: Plane) -> NDArray[np.float32]:
    """Return the images of a galaxy.

    Parameters
    ----------
    lights
        Its components.
    dust
        Its dust lane, if it has one.
    x, y
        Coordinates of the pixels [arcsec], broadcast to (y, x).

    Returns
    -------
    images
        Flux in each pixel, shape (3, y, x) [nanomaggies]; each band sums to the sum of the components' fluxes.
    """
    x, y = np.broadcast_arrays(x, y)
    images = np.zeros((3, *x.shape), dtype=np.float32)
    for light in lights:
        plane = light.shape.light(x, y)
        share = plane / np.sum(plane, dtype=np.float64)
        images += np.asarray(light.flux, dtype=np.float32)[:, None, None] * share[None].astype(np.float32)
    if dust is not None:
        before = images.sum(axis=(1, 2), dtype=np.float64)
        for band, ratio in enumerate(DUST_RATIO):
            images[band] *= dust.transmission(x, y, ratio)
        after = images.sum(axis=(1, 2), dtype=np.float64)
        images *= np.divide(before, after, out=np.ones(3), where=after > 0).astype(np.float32)[:, None, None]
    return images
