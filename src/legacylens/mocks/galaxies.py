"""Mock galaxies of all the kinds that a lens finder confuses: ellipticals with neighbors, spirals, rings, mergers..."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from legacylens.mocks.morphology import (
    Arms,
    Clumps,
    DustLane,
    EdgeOn,
    Light,
    Ring,
    Sersic,
    Shape,
    Shells,
    Tail,
    total_flux,
)
from legacylens.mocks.stellar_populations import bright_red_magnitude, color_of, fluxes


@dataclass(frozen=True, slots=True, kw_only=True)
class Galaxy:
    """A galaxy on the sky, with what a catalog's fit would find."""

    kind: str
    """Class label: ``elliptical``, ``disk``, ``spiral``, ``ring``, ``edge-on``, ``merger``..."""
    east: float
    """Place east of the patch's center [arcsec]."""
    north: float
    """Place north of the patch's center [arcsec]."""
    lights: tuple[Light, ...]
    """Its components."""
    dust: DustLane | None = None
    """Its dust lane."""
    redshift: float
    """Redshift."""
    radius: float
    """Half-light radius of the whole [arcsec]."""
    n: float
    """Sersic index of the whole."""
    q: float
    """Axis ratio of the whole."""
    pa: float
    """Position angle of the whole [radian]."""
    group: int = -1
    """Number of the galaxy that it accompanies, or -1; within a patch, lens hosts are numbered after the galaxies."""
    extra: dict[str, float] = field(default_factory=dict)
    """Further truth, by name."""

    @property
    def flux(self) -> NDArray[np.float64]:
        """Flux in g, r, z without Galactic extinction [nanomaggies]."""
        return np.asarray(total_flux(self.lights))

    @property
    def extent(self) -> float:
        """Radius of the stamp that holds it [arcsec]."""
        return float(min(max(light.shape.extent for light in self.lights), 45.0))


def _light(shape: Shape, r_mag: float, colors: tuple[float, float], share: float) -> Light:
    g, r, z = (float(flux) * share for flux in fluxes(r_mag, *colors))
    return Light(shape=shape, flux=(g, r, z))


def _angle(rng: np.random.Generator) -> float:
    return float(rng.uniform(0.0, np.pi))


def _disk_radius(r_mag: float, rng: np.random.Generator) -> float:
    """Half-light radius of a disk [arcsec]; shrinks with magnitude as distant galaxies do."""
    return float(np.clip(1.75 * 10.0 ** (-0.13 * (r_mag - 18.5)) * rng.lognormal(0.0, 0.28), 0.25, 12.0))


def _old_radius(r_mag: float, rng: np.random.Generator) -> float:
    """Half-light radius of an elliptical [arcsec] (hosts of lenses: 0.58, 0.88, 1.33 at 16, 50, 84 per cent)."""
    return float(np.clip(0.95 * 10.0 ** (-0.13 * (r_mag - 19.3)) * rng.lognormal(0.0, 0.30), 0.25, 9.0))


def _disk_redshift(r_mag: float, rng: np.random.Generator) -> float:
    return float(np.clip(0.14 + 0.055 * (r_mag - 18.0), 0.02, 0.5) * rng.lognormal(0.0, 0.35))


FROSTED = 0.25
"""Share of luminous red galaxies with a sprinkling of young stars."""


def red_galaxy(
    rng: np.random.Generator,
    redshift: float | None = None,
    *,
    mean_redshift: float = 0.47,
    brighter: float = 0.0,
) -> Galaxy:
    """Return a luminous red galaxy at the origin.

    Parameters
    ----------
    rng
        Random generator.
    redshift
        Its redshift; drawn if None.
    mean_redshift
        Mean of the redshifts that are drawn.
    brighter
        Magnitudes by which it exceeds the population.
    """
    z = float(np.clip(rng.normal(mean_redshift, 0.17), 0.10, 0.84)) if redshift is None else redshift
    r_mag = bright_red_magnitude(z) - brighter + 0.55 * rng.standard_normal()
    # Some red galaxies have formed a few stars lately; without them, the blue light of arcs alone would tell a lens.
    frosted = rng.uniform() < FROSTED
    young = rng.uniform(0.05, 0.32) if frosted else min(abs(0.05 * rng.standard_normal()), 0.2)
    colors = color_of(z, 1.0 - float(young), rng, 0.055)
    radius, q, pa = _old_radius(r_mag, rng), float(np.clip(rng.normal(0.76, 0.13), 0.35, 0.98)), _angle(rng)
    n = float(np.clip(rng.normal(4.2, 0.9), 2.2, 6.5))
    shape = Sersic(
        radius=radius,
        n=n,
        q=q,
        pa=pa,
        twist=float(rng.normal(0.0, 0.08)),
        boxiness=float(np.clip(rng.normal(2.0, 0.12), 1.7, 2.4)),
    )
    lights = [_light(shape, r_mag, colors, 1.0)]
    if rng.uniform() < 0.3:  # an envelope, rounder or flatter, a little bluer
        share = float(rng.uniform(0.1, 0.3))
        envelope = replace(shape, radius=2.6 * radius, n=1.2, q=min(1.0, q * float(rng.uniform(0.8, 1.15))))
        lights = [
            _light(shape, r_mag, colors, 1.0 - share),
            _light(envelope, r_mag, (colors[0] - 0.08, colors[1] - 0.04), share),
        ]
    return Galaxy(
        kind="elliptical",
        east=0.0,
        north=0.0,
        lights=tuple(lights),
        redshift=z,
        radius=radius,
        n=n,
        q=q,
        pa=pa,
        extra={"luminosity_offset_mag": r_mag - bright_red_magnitude(z)},
    )


def _disk(rng: np.random.Generator, r_mag: float) -> Galaxy:
    z, radius, q, pa = _disk_redshift(r_mag, rng), _disk_radius(r_mag, rng), float(rng.uniform(0.3, 0.97)), _angle(rng)
    old = float(np.clip(rng.normal(0.4, 0.25), 0.0, 1.0))
    bulge = float(np.clip(rng.beta(1.2, 4.0), 0.0, 0.7))
    twist = float(rng.normal(0.0, 0.25))
    lights = (
        _light(Sersic(radius=radius, n=1.0, q=q, pa=pa), r_mag, color_of(z, old, rng), 1.0 - bulge),
        _light(
            Sersic(radius=0.25 * radius, n=2.5, q=min(1.0, 0.5 + 0.5 * q), pa=pa + twist),
            r_mag,
            color_of(z, min(1.0, old + 0.5), rng),
            bulge,
        ),
    )
    return Galaxy(
        kind="disk", east=0, north=0, lights=lights, redshift=z, radius=radius, n=1.0 + 2.0 * bulge, q=q, pa=pa
    )


def _lenticular(rng: np.random.Generator, r_mag: float) -> Galaxy:
    z, radius, q, pa = _disk_redshift(r_mag, rng), _disk_radius(r_mag, rng), float(rng.uniform(0.35, 0.9)), _angle(rng)
    bulge, turn = float(rng.uniform(0.3, 0.65)), float(rng.normal(0.0, 0.5))
    colors = color_of(z, 0.95, rng)
    lights = [
        _light(Sersic(radius=radius, n=1.0, q=q, pa=pa), r_mag, (colors[0] - 0.1, colors[1] - 0.06), 1.0 - bulge),
        _light(
            Sersic(radius=0.28 * radius, n=3.0, q=float(rng.uniform(0.6, 0.95)), pa=pa + turn, twist=0.3 * turn),
            r_mag,
            colors,
            0.75 * bulge,
        ),
    ]
    bar = Sersic(radius=0.5 * radius, n=0.5, q=float(rng.uniform(0.2, 0.35)), pa=pa + turn, boxiness=2.6)
    lights.append(_light(bar, r_mag, colors, 0.25 * bulge))
    return Galaxy(
        kind="lenticular",
        east=0,
        north=0,
        lights=tuple(lights),
        redshift=z,
        radius=0.75 * radius,
        n=2.3,
        q=q,
        pa=pa,
    )


def _spiral(rng: np.random.Generator, r_mag: float) -> Galaxy:
    z, radius = _disk_redshift(r_mag, rng), 1.2 * _disk_radius(r_mag, rng)
    q, pa = float(rng.uniform(0.45, 0.98)), _angle(rng)
    bulge, arms = float(rng.uniform(0.08, 0.40)), float(rng.uniform(0.22, 0.45))
    scale = radius / 1.678
    knots = tuple(
        (float(rng.uniform(0.15, 0.5)), float(rng.uniform(2.0, 7.0)), float(rng.uniform(0, 2 * np.pi)))
        for _ in range(3)
    )
    shape = Arms(
        scale=scale,
        q=q,
        pa=pa,
        number=int(rng.choice([1, 2, 2, 2, 2, 3, 4])),
        pitch=float(np.radians(rng.uniform(9.0, 28.0)) * rng.choice([-1.0, 1.0])),
        phase=float(rng.uniform(0, 2 * np.pi)),
        sharpness=float(rng.uniform(2.0, 6.0)),
        inner=float(rng.uniform(0.5, 1.4)) * scale,
        knots=knots,
    )
    old = float(rng.uniform(0.35, 0.75))
    lights = [
        _light(Sersic(radius=radius, n=1.0, q=q, pa=pa), r_mag, color_of(z, old, rng), 1.0 - bulge - arms),
        _light(shape, r_mag, color_of(z, float(rng.uniform(-0.1, 0.25)), rng), arms),
        _light(
            Sersic(radius=0.22 * radius, n=2.8, q=min(1.0, 0.6 + 0.4 * q), pa=pa),
            r_mag,
            color_of(z, 1.0, rng),
            bulge,
        ),
    ]
    if rng.uniform() < 0.35:
        bar = Sersic(radius=0.4 * radius, n=0.5, q=0.28, pa=_angle(rng), boxiness=2.5)
        lights.append(_light(bar, r_mag, color_of(z, 0.9, rng), 0.1))
    return Galaxy(
        kind="spiral",
        east=0,
        north=0,
        lights=tuple(lights),
        redshift=z,
        radius=radius,
        n=1.0 + 1.5 * bulge,
        q=q,
        pa=pa,
    )


def _ring(rng: np.random.Generator, r_mag: float) -> Galaxy:
    z = _disk_redshift(r_mag, rng)
    ring_radius = float(2.7 * 10.0 ** (-0.09 * (r_mag - 19.0)) * rng.lognormal(0.0, 0.3))
    q, pa = float(rng.uniform(0.6, 0.98)), _angle(rng)
    share = float(rng.uniform(0.15, 0.5))
    modulation = tuple(
        (float(rng.uniform(0.1, 0.6)), int(rng.integers(1, 6)), float(rng.uniform(0, 2 * np.pi))) for _ in range(3)
    )
    core = float(np.clip(0.33 * ring_radius, 0.35, 2.0))
    lights = (
        _light(
            Sersic(radius=core, n=float(rng.uniform(2, 4)), q=min(1.0, q + 0.1), pa=pa),
            r_mag,
            color_of(z, 1.0, rng),
            1.0 - share,
        ),
        _light(
            Ring(
                radius=ring_radius,
                width=float(rng.uniform(0.12, 0.22)) * ring_radius,
                q=q,
                pa=pa,
                modulation=modulation,
            ),
            r_mag,
            color_of(z, float(rng.uniform(-0.1, 0.35)), rng),
            share,
        ),
    )
    return Galaxy(
        kind="ring",
        east=0,
        north=0,
        lights=lights,
        redshift=z,
        radius=core * (1.0 - share) + ring_radius * share,
        n=3.0,
        q=q,
        pa=pa,
        extra={"ring_radius_arcsec": ring_radius},
    )


def _edge_on(rng: np.random.Generator, r_mag: float) -> Galaxy:
    z, radius, pa = _disk_redshift(r_mag, rng), 1.7 * _disk_radius(r_mag, rng), _angle(rng)
    scale = radius / 1.9
    height = scale * float(rng.uniform(0.09, 0.2))
    bulge = float(rng.uniform(0.0, 0.35))
    lights = (
        _light(
            EdgeOn(scale=scale, height=height, pa=pa, warp=float(rng.normal(0, 0.08)) * scale),
            r_mag,
            color_of(z, float(rng.uniform(0.3, 0.9)), rng),
            1.0 - bulge,
        ),
        _light(Sersic(radius=0.35 * scale, n=2.0, q=0.75, pa=pa), r_mag, color_of(z, 1.0, rng), bulge),
    )
    dust = None
    if rng.uniform() < 0.5:
        dust = DustLane(depth=float(rng.uniform(0.5, 2.0)), height=0.6 * height, length=2.5 * scale, pa=pa, bend=0.0)
    return Galaxy(
        kind="edge-on", east=0, north=0, lights=lights, dust=dust, redshift=z, radius=radius, n=1.1, q=0.18, pa=pa
    )


def _merger(rng: np.random.Generator, r_mag: float) -> Galaxy:
    z, radius = _disk_redshift(r_mag, rng), 0.9 * _disk_radius(r_mag, rng)
    separation, direction = float(rng.uniform(1.2, 3.5)), float(rng.uniform(0, 2 * np.pi))
    old = float(rng.uniform(0.1, 0.9))
    second = float(rng.uniform(0.15, 0.4))
    dx, dy = separation * np.cos(direction), separation * np.sin(direction)
    lights = [
        _light(
            Sersic(radius=radius, n=float(rng.uniform(1.5, 4)), q=float(rng.uniform(0.5, 0.9)), pa=_angle(rng)),
            r_mag,
            color_of(z, old, rng),
            0.85 - second,
        ),
        _light(
            Sersic(
                radius=0.6 * radius,
                n=float(rng.uniform(1, 3)),
                q=float(rng.uniform(0.4, 0.9)),
                pa=_angle(rng),
                dx=float(dx),
                dy=float(dy),
            ),
            r_mag,
            color_of(z, float(rng.uniform(0.1, 0.9)), rng),
            second,
        ),
    ]
    for k in range(int(rng.integers(1, 3))):
        tail = Tail(
            start=float(rng.uniform(0.8, 1.6)) * radius,
            growth=float(rng.uniform(0.8, 2.2)) * radius,
            length=float(rng.uniform(1.2, 2.6) * rng.choice([-1.0, 1.0])),
            width=float(rng.uniform(0.25, 0.6)),
            pa=direction + k * np.pi + float(rng.normal(0, 0.4)),
        )
        lights.append(_light(tail, r_mag, color_of(z, float(rng.uniform(0.0, 0.6)), rng), 0.15 / (k + 1)))
    return Galaxy(
        kind="merger",
        east=0,
        north=0,
        lights=tuple(lights),
        redshift=z,
        radius=1.2 * radius,
        n=2.0,
        q=float(rng.uniform(0.5, 0.9)),
        pa=_angle(rng),
    )


def _shells(rng: np.random.Generator, r_mag: float) -> Galaxy:
    base = red_galaxy(rng, redshift=float(rng.uniform(0.05, 0.25)))
    number, axis = int(rng.integers(2, 5)), float(rng.uniform(0, np.pi))
    radii = tuple(base.radius * float(r) for r in np.sort(rng.uniform(1.8, 5.0, number)))
    shape = Shells(
        radii=radii,
        sides=tuple(axis + np.pi * (k % 2) for k in range(number)),
        opening=float(rng.uniform(0.5, 1.0)),
        depth=0.6 * base.radius,
    )
    shift = r_mag - (22.5 - 2.5 * np.log10(base.flux[1]))
    lights = tuple(light.scaled(0.92 * 10.0 ** (-0.4 * shift)) for light in base.lights)
    lights = (*lights, _light(shape, r_mag, color_of(base.redshift, 0.85, rng), 0.08))
    return replace(base, kind="shells", lights=lights)


def _dust_lane(rng: np.random.Generator, r_mag: float) -> Galaxy:
    base = _lenticular(rng, r_mag) if rng.uniform() < 0.5 else _shells(rng, r_mag)
    lane = DustLane(
        depth=float(rng.uniform(0.8, 2.5)),
        height=float(rng.uniform(0.15, 0.35)) * base.radius,
        length=1.8 * base.radius,
        pa=base.pa + float(rng.choice([0.0, 0.5 * np.pi])) + float(rng.normal(0, 0.2)),
        bend=float(rng.normal(0, 0.3)) * base.radius,
    )
    return replace(base, kind="dust-lane", dust=lane)


def _irregular(rng: np.random.Generator, r_mag: float) -> Galaxy:
    z, radius = 0.6 * _disk_redshift(r_mag, rng), 1.1 * _disk_radius(r_mag, rng)
    q, pa, number = float(rng.uniform(0.35, 0.9)), _angle(rng), int(rng.integers(3, 8))
    share = float(rng.uniform(0.2, 0.5))
    along, across = rng.normal(0, 0.9 * radius, number), rng.normal(0, 0.9 * radius * q, number)
    clumps = Clumps(
        x=tuple(float(v) for v in -along * np.sin(pa) - across * np.cos(pa)),
        y=tuple(float(v) for v in along * np.cos(pa) - across * np.sin(pa)),
        size=tuple(float(v) for v in rng.uniform(0.12, 0.35, number)),
        weight=tuple(float(v) for v in rng.uniform(0.3, 1.0, number)),
    )
    lights = (
        _light(Sersic(radius=radius, n=0.8, q=q, pa=pa), r_mag, color_of(z, 0.25, rng), 1.0 - share),
        _light(clumps, r_mag, color_of(z, -0.25, rng), share),
    )
    return Galaxy(kind="irregular", east=0, north=0, lights=lights, redshift=z, radius=radius, n=0.9, q=q, pa=pa)


Maker = Callable[[np.random.Generator, float], Galaxy]

FIELD_KINDS: dict[str, tuple[float, Maker]] = {
    "disk": (0.30, _disk),
    "lenticular": (0.14, _lenticular),
    "spiral": (0.27, _spiral),
    "ring": (0.04, _ring),
    "edge-on": (0.09, _edge_on),
    "merger": (0.05, _merger),
    "shells": (0.025, _shells),
    "dust-lane": (0.025, _dust_lane),
    "irregular": (0.06, _irregular),
}
"""Share of each kind among the galaxies that are not luminous red ones."""


def field_galaxy(rng: np.random.Generator, z_mag: float) -> Galaxy:
    """Return a galaxy at the origin that is not a luminous red one, of a given z magnitude."""
    names = list(FIELD_KINDS)
    weights = np.array([FIELD_KINDS[name][0] for name in names])
    _, make = FIELD_KINDS[str(rng.choice(names, p=weights / weights.sum()))]
    galaxy = make(rng, z_mag + 0.45)
    # Colors decide r - z only once it is made: one more scaling puts its z magnitude where it was asked.
    scale = 10.0 ** (-0.4 * (z_mag - 22.5)) / galaxy.flux[2]
    return replace(galaxy, lights=tuple(light.scaled(float(scale)) for light in galaxy.lights))


def companion(
    rng: np.random.Generator, host: Galaxy, number: int, *, blue: bool, separation: tuple[float, float] = (1.6, 8.0)
) -> Galaxy:
    """Return a smaller galaxy beside a red one: a red satellite, or a blue galaxy in front or behind."""
    near, far = separation
    # Half of them uniform in distance, half uniform in area: neighbors are mostly far, but the close ones are hard.
    distance = rng.uniform(near, far) if rng.uniform() < 0.5 else np.sqrt(rng.uniform(near**2, far**2))
    direction = float(rng.uniform(0, 2 * np.pi))
    host_r = 22.5 - 2.5 * np.log10(host.flux[1])
    if blue:
        r_mag = host_r + float(rng.uniform(0.8, 3.6))
        z, n = float(np.clip(0.12 + 0.11 * (r_mag - 18.0), 0.05, 0.9) * rng.lognormal(0.0, 0.3)), 1.0
        colors = color_of(z, float(rng.uniform(-0.3, 0.3)), rng, 0.08)
        radius = float(rng.uniform(0.2, 0.9))
        # Some are stretched along the tangent, as an arc would be.
        tangent = np.pi - direction + (0.0 if rng.uniform() < 0.5 else float(rng.uniform(0, np.pi)))
        q = float(rng.uniform(0.25, 0.9))
        pa = tangent + float(rng.normal(0, 0.3))
    else:
        r_mag = host_r + float(rng.uniform(0.7, 3.8))
        z, n = host.redshift, float(rng.uniform(2.0, 4.5))
        colors = color_of(z, 0.95, rng)
        radius, q, pa = float(rng.uniform(0.25, 0.8)), float(rng.uniform(0.5, 0.95)), _angle(rng)
    shape = Sersic(radius=radius, n=n, q=q, pa=pa)
    return Galaxy(
        kind="blue companion" if blue else "red companion",
        east=host.east + float(distance * np.cos(direction)),
        north=host.north + float(distance * np.sin(direction)),
        lights=(_light(shape, r_mag, colors, 1.0),),
        redshift=z,
        radius=radius,
        n=n,
        q=q,
        pa=pa % np.pi,
        group=number,
    )
