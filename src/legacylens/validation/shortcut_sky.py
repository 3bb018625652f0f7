"""A small sky of galaxies with and without arcs, honest or with one shortcut planted: what controls are trained on.

It is a drawing, not a simulation: thin arcs and smooth galaxies on stamps of ten arcsec, so that a network learns them
in seconds. What is tested on it is whether the shortcut tests tell a network that looks at arcs from one that does not,
and for that the physics of lensing does not matter. Both classes are drawn in one way, and differ in the arc alone;
each plant then makes them differ in one thing more, as published samples did by accident.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from legacylens.survey.bands import PIXSCALE
from legacylens.validation.shortcut_edits import radial_mean

SIZE = 37
"""Side of a stamp [pixels]; odd at every stride of the compact network."""
SKY_NOISE = np.array([0.002, 0.003, 0.008])
"""Median noise of a pixel in g, r, z [nanomaggies]."""
SEEING = 0.55
"""Sigma of everything that should be a point [arcsec]."""
FAINT = 0.1
"""Factor on the arcs where a shortcut is planted: the network gets an easier way than looking for arcs."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallSky:
    """Stamps of both classes and what a catalog would say of them."""

    images: NDArray[np.float32]
    """Shape ``(n, 3, y, x)`` [nanomaggies]."""
    arcs: NDArray[np.float32]
    """The light of the arcs alone, without noise; zero for non-lenses. The same shape [nanomaggies]."""
    label: NDArray[np.int64]
    """1 lens, 0 non-lens, shape ``(n,)``."""
    depth: Array
    """What a catalog says of the depth, with its error: -2.5 log10 of noise over median noise [mag], shape (n,)."""

    @property
    def metadata(self) -> pd.DataFrame:
        """What a catalog would say, one row for each stamp."""
        return pd.DataFrame({"depth": self.depth})


def _radius() -> tuple[Array, Array]:
    offset = (np.arange(SIZE) - SIZE // 2) * PIXSCALE
    return np.meshgrid(offset, offset)


_X, _Y = _radius()


def _blob(x: Array, y: Array, q: Array, phi: Array, scale: Array, slope: float) -> Array:
    """Return exp(-(R / scale)^slope) with a core of the seeing, shape (n, y, x); all arguments have shape (n,)."""
    shape = (-1, 1, 1)
    dx, dy = _X[None] - x.reshape(shape), _Y[None] - y.reshape(shape)
    c, s = np.cos(phi).reshape(shape), np.sin(phi).reshape(shape)
    along, across = c * dx + s * dy, (-s * dx + c * dy) / q.reshape(shape)
    radius = np.sqrt(along**2 + across**2 + SEEING**2) / scale.reshape(shape)
    return np.asarray(np.exp(-(radius**slope)))


def _arc(theta_e: Array, phi: Array, extent: Array) -> Array:
    """Return an arc of peak 1 with a counter image, shape (n, y, x)."""
    shape = (-1, 1, 1)
    radius, angle = np.hypot(_X, _Y)[None], np.arctan2(_Y, _X)[None]
    away = np.angle(np.exp(1j * (angle - phi.reshape(shape))))
    main = np.exp(-0.5 * ((radius - 1.1 * theta_e.reshape(shape)) / SEEING) ** 2)
    main = main * np.exp(-0.5 * (away / extent.reshape(shape)) ** 2)
    opposite = np.angle(np.exp(1j * (angle - phi.reshape(shape) - np.pi)))
    counter = np.exp(-0.5 * ((radius - 0.85 * theta_e.reshape(shape)) / SEEING) ** 2)
    counter = counter * np.exp(-0.5 * (opposite * 0.85 * theta_e.reshape(shape) / SEEING) ** 2)
    return np.asarray(main + 0.5 * counter)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A sky before its noise: what a plant may change."""

    label: NDArray[np.int64]
    host: Array
    """Light of the galaxy, shape (n, 3, y, x)."""
    others: Array
    """Light of everything else that is no arc, the same shape."""
    arcs: Array
    """The same shape."""
    sigma: Array
    """Noise of each object over the median."""
    noise: Array
    """Noise of unit variance, shape (n, 3, y, x)."""

    @property
    def lens(self) -> NDArray[np.bool_]:
        return np.asarray(self.label == 1)

    def picture(self) -> Array:
        noise = self.noise * (SKY_NOISE[None] * self.sigma[:, None])[:, :, None, None]
        return self.host + self.others + self.arcs + noise


def _draft(n_lenses: int, n_others: int, rng: np.random.Generator) -> _Draft:
    n = n_lenses + n_others
    label = np.concatenate([np.ones(n_lenses, np.int64), np.zeros(n_others, np.int64)])
    zero = np.zeros(n)
    red = np.stack([10 ** (-0.4 * rng.normal(1.0, 0.15, n)), np.ones(n), 10 ** (0.4 * rng.normal(0.6, 0.1, n))], axis=1)
    blue = np.stack(
        [10 ** (-0.4 * rng.normal(0.2, 0.2, n)), np.ones(n), 10 ** (0.4 * rng.normal(0.2, 0.15, n))], axis=1
    )
    profile = _blob(
        zero, zero, rng.uniform(0.6, 1.0, n), rng.uniform(0, np.pi, n), 0.5 * np.exp(rng.normal(0, 0.2, n)), 0.8
    )
    brightness = 1.2 * 10 ** (0.4 * rng.normal(0, 0.5, n))
    host = (brightness[:, None] * red)[:, :, None, None] * profile[:, None]
    others = np.zeros_like(host)
    for _ in range(2):  # companions of either color, anywhere, round or not
        there = (rng.random(n) < 0.6) * 10 ** rng.uniform(-1.7, -0.7, n)
        r, angle = rng.uniform(1.2, 4.6, n), rng.uniform(0, 2 * np.pi, n)
        blob = _blob(
            r * np.cos(angle), r * np.sin(angle), rng.uniform(0.4, 1, n), rng.uniform(0, np.pi, n), np.full(n, 0.4), 1.2
        )
        color = np.where((rng.random(n) < 0.5)[:, None], red, blue)
        others += (6 * there[:, None] * color)[:, :, None, None] * blob[:, None]
    # Rings of light around some of both classes: a full ring is no arc.
    there = (rng.random(n) < 0.25) * 10 ** rng.uniform(-2.0, -1.2, n)
    ring = np.exp(-0.5 * ((np.hypot(_X, _Y)[None] - rng.uniform(1.0, 2.4, n)[:, None, None]) / SEEING) ** 2)
    others += (there[:, None] * blue)[:, :, None, None] * ring[:, None]
    peak = np.where(label == 1, 0.05 * 10 ** (0.4 * rng.normal(0, 0.4, n)), 0.0)
    shape = _arc(rng.uniform(1.3, 2.3, n), rng.uniform(0, 2 * np.pi, n), rng.uniform(0.3, 0.6, n))
    arcs = (peak[:, None] * blue)[:, :, None, None] * shape[:, None]
    return _Draft(
        label=label,
        host=host,
        others=others,
        arcs=arcs,
        sigma=np.exp(rng.normal(0, 0.25, n)),
        noise=rng.standard_normal(host.shape),
    )


def _per_object(values: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return values[:, None, None, None]


def _core(draft: _Draft, _rng: np.random.Generator) -> _Draft:
    """Give lens hosts a bright nucleus."""
    point = np.exp(-0.5 * (_X**2 + _Y**2) / (0.7 * SEEING) ** 2)
    middle = draft.host[:, :, SIZE // 2, SIZE // 2] * np.where(draft.lens, 0.6, 0.0)[:, None]
    return replace(draft, host=draft.host + middle[:, :, None, None] * point)


def _profile(draft: _Draft, _rng: np.random.Generator) -> _Draft:
    """Surround lens hosts with a halo."""
    halo = np.exp(-np.hypot(_X, _Y) / 1.6)
    middle = draft.host[:, :, SIZE // 2, SIZE // 2] * np.where(draft.lens, 0.15, 0.0)[:, None]
    return replace(draft, host=draft.host + middle[:, :, None, None] * halo)


def _surroundings(draft: _Draft, rng: np.random.Generator) -> _Draft:
    """Put lenses into groups: three red galaxies near the edge."""
    others = draft.others.copy()
    n = len(draft.label)
    for number in range(3):
        angle = rng.uniform(0, 2 * np.pi, n) + 2.1 * number
        r = rng.uniform(3.9, 4.5, n)
        blob = _blob(r * np.cos(angle), r * np.sin(angle), np.full(n, 0.8), angle, np.full(n, 0.4), 1.2)
        color = np.where(draft.lens, 0.5, 0.0)[:, None] * np.array([0.4, 1.0, 1.7])
        others += color[:, :, None, None] * blob[:, None]
    return replace(draft, others=others)


def _resampled(draft: _Draft, _rng: np.random.Generator) -> _Draft:
    """Take lenses from a service that resamples: the noise of neighbors is alike."""
    return replace(draft, noise=np.where(_per_object(draft.lens), smoothed(draft.noise), draft.noise))


def smoothed(noise: Array) -> Array:
    """Return noise as resampling by half a pixel leaves it, in both directions."""
    across = 0.5 * (noise + np.roll(noise, 1, axis=-1))
    return np.asarray(0.5 * (across + np.roll(across, 1, axis=-2)))


def _injected(draft: _Draft, rng: np.random.Generator) -> _Draft:
    """Inject the arcs with noise of their own that is far too strong."""
    return replace(
        draft, others=draft.others + np.where(_per_object(draft.lens), injection_noise(draft.host.shape, rng), 0.0)
    )


def injection_noise(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Return what a careless injection adds where there is no arc at all: noise within three arcsec."""
    inside = np.hypot(_X, _Y) < 3.0
    return np.asarray(1.5 * rng.standard_normal(shape) * SKY_NOISE[:, None, None] * inside)


def _extra_light(draft: _Draft, _rng: np.random.Generator) -> _Draft:
    """Lenses are all that has light around it: arcs are rounded off (and not faint), and nothing else has a ring."""
    return replace(draft, arcs=radial_mean(draft.arcs) / FAINT, others=draft.others * 0.0)


def _color(draft: _Draft, _rng: np.random.Generator) -> _Draft:
    """Take lens hosts that are redder."""
    factor = np.where(draft.lens[:, None], np.array([0.75, 1.0, 1.25]), 1.0)
    return replace(draft, host=draft.host * factor[:, :, None, None])


def _band(draft: _Draft, rng: np.random.Generator) -> _Draft:
    """Leave a ghost in z on every lens, somewhere near it."""
    n = len(draft.label)
    r, angle = rng.uniform(1.0, 3.0, n), rng.uniform(0, 2 * np.pi, n)
    ghost = _blob(r * np.cos(angle), r * np.sin(angle), np.ones(n), angle, np.full(n, 0.8), 2.0)
    others = draft.others.copy()
    others[:, 2] += np.where(draft.lens, 0.4, 0.0)[:, None, None] * ghost
    return replace(draft, others=others)


def _depth(draft: _Draft, _rng: np.random.Generator) -> _Draft:
    """Take lenses from fields that are half a magnitude deeper."""
    return replace(draft, sigma=draft.sigma * np.where(draft.lens, 0.6, 1.0))


def _centering(draft: _Draft, rng: np.random.Generator) -> _Draft:
    """Cut lenses at the positions of an older list: off by two pixels."""
    angle = rng.uniform(0, 2 * np.pi, len(draft.label))
    dx, dy = np.rint(2.0 * np.cos(angle)).astype(int), np.rint(2.0 * np.sin(angle)).astype(int)
    moved = {name: getattr(draft, name).copy() for name in ("host", "others", "arcs")}
    for row in np.flatnonzero(draft.lens):
        for light in moved.values():
            light[row] = np.roll(light[row], (dy[row], dx[row]), axis=(-2, -1))
    return replace(draft, **moved)


PLANTS: dict[str, tuple[str, Callable[[_Draft, np.random.Generator], _Draft]]] = {
    "nucleus": ("core only", _core),
    "halo": ("radial profile only", _profile),
    "company": ("arc masked", _surroundings),
    "resampled": ("arc suppressed", _resampled),
    "injection noise": ("null injection", _injected),
    "any light": ("ring counterfactual", _extra_light),
    "red hosts": ("color dropout", _color),
    "ghost in z": ("band dropout", _band),
    "deep fields": ("metadata only", _depth),
    "off center": ("centering", _centering),
}
"""Plant -> (the test that must catch a network trained on it, what is done)."""


def small_sky(n_lenses: int, n_others: int, rng: np.random.Generator, plant: str | None = None) -> SmallSky:
    """Draw a sky.

    Parameters
    ----------
    n_lenses, n_others
        Stamps of each class.
    rng
        Draws everything.
    plant
        One of `PLANTS`, or None for an honest sky. Arcs are then fainter: there is an easier way.
    """
    draft = _draft(n_lenses, n_others, rng)
    if plant is not None:
        draft = replace(draft, arcs=draft.arcs * FAINT)
        draft = PLANTS[plant][1](draft, rng)
    return SmallSky(
        images=draft.picture().astype(np.float32),
        arcs=draft.arcs.astype(np.float32),
        label=draft.label,
        depth=-2.5 * np.log10(draft.sigma) + rng.normal(0, 0.03, len(draft.label)),
    )
