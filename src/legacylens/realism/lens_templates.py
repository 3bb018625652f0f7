"""Pictures of what a lens makes of a small source, for every Einstein radius and place of the source: what to look for.

A neighbor is one compact galaxy anywhere; lensed images come together in ways that a mass allows. That difference, and
not brightness, tells arcs from neighbors.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from legacylens.realism.stack import frequencies, ladder, log_transfer

Array = NDArray[np.float32]

THETA_E = (0.7, 0.85, 1.02, 1.22, 1.45, 1.72, 2.05, 2.45)
"""Einstein radii [arcsec]."""
AXIS_RATIO = 0.75
"""Of the mass."""
ORIENTATIONS = 6
SOURCE_RADII = ((0.05, 1), (0.22, 6), (0.42, 12), (0.65, 16))
"""Distance of the source [theta_E] and how many directions."""
GEOMETRIES = ORIENTATIONS * sum(directions for _, directions in SOURCE_RADII)
"""Lenses of one Einstein radius."""
SOURCE_SIGMA = 0.2
"""Gaussian width of the source [arcsec]."""
SOURCE_SIZES = (0.1, 0.25, 0.5, 0.9)
"""Half-light radii of the exponential sources with which arcs are modeled [arcsec]."""
HALF = 20
"""Half width of a template [pixels]."""
FINER = 4
BLOCK = 2
"""Pixels of a block in which templates are compared: light behind a PSF of four pixels changes little within it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TemplateBank:
    """Templates behind one PSF."""

    flat: Array
    """Shape ``(template, pixel)``, each of sum of squares 1."""
    square: Array
    """Its square."""
    total: Array
    """Flux of each template, all images together and to infinity, shape ``(template,)``."""
    theta_E: Array
    """Einstein radius of each [arcsec]."""
    beta: Array
    """Distance of the source of each [theta_E]."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArcBank:
    """Templates with sources of several sizes behind one PSF, those of an Einstein radius together."""

    flat: Array
    """Shape ``(template, pixel)``, each of sum of squares 1."""
    coarse: Array
    """Means over blocks of `BLOCK` x `BLOCK` pixels, with which templates are compared."""
    square: Array
    """Their squares."""
    total: Array
    """Flux of each template, shape ``(template,)``."""
    first: tuple[int, ...]
    """Number of the first template of each of `THETA_E`, and of all."""


@functools.lru_cache(maxsize=8)
def _sharp(pixscale: float, source_size: float, exponential: bool = False) -> tuple[Array, Array, Array]:
    """Return templates without PSF on the pixels, their Einstein radii and source distances."""
    n = (2 * HALF + 1) * FINER
    offset = ((np.arange(n) - (n - 1) / 2.0) * pixscale / FINER).astype(np.float32)
    x, y = offset[None, :], offset[:, None]
    images, radii, distances = [], [], []
    f = float(np.sqrt(1.0 - AXIS_RATIO**2))
    factor = np.float32(np.sqrt(AXIS_RATIO) / f)
    for turn in range(ORIENTATIONS):
        angle = np.pi * turn / ORIENTATIONS
        c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        u, v = x * c + y * s, -x * s + y * c
        psi = np.sqrt(AXIS_RATIO**2 * u**2 + v**2) + 1e-6
        # Deflection of the singular isothermal ellipsoid (Kormann, Schneider & Bartelmann 1994) for theta_E = 1.
        au, av = factor * np.arctan(f * u / psi), factor * np.arctanh(f * v / psi)
        for theta in THETA_E:
            bu, bv = u - np.float32(theta) * au, v - np.float32(theta) * av
            for distance, directions in SOURCE_RADII:
                for direction in range(directions):
                    azimuth = 2.0 * np.pi * direction / directions
                    su = np.float32(theta * distance * np.cos(azimuth))
                    sv = np.float32(theta * distance * np.sin(azimuth))
                    square = (bu - su) ** 2 + (bv - sv) ** 2
                    if exponential:
                        light = np.exp(np.sqrt(square) * np.float32(-1.678 / source_size))
                    else:
                        light = np.exp(square * np.float32(-0.5 / source_size**2))
                    images.append(light.reshape(2 * HALF + 1, FINER, 2 * HALF + 1, FINER).sum((1, 3)))
                    radii.append(theta)
                    distances.append(distance)
    return np.stack(images).astype(np.float32), np.array(radii, np.float32), np.array(distances, np.float32)


@functools.lru_cache(maxsize=24)
def template_bank(step: int, beta: float, pixscale: float) -> TemplateBank:
    """Return the templates behind a Moffat PSF of a step of the ladder.

    Parameters
    ----------
    step
        Of `stack.ladder`.
    beta
        Slope of the PSF's wings.
    pixscale
        Pixel [arcsec], rounded to 0.001.
    """
    sharp, theta, distance = _sharp(pixscale, SOURCE_SIGMA)
    flat, norm = _blurred(sharp, step, beta, pixscale)
    return TemplateBank(flat=flat, square=flat**2, total=sharp.sum((1, 2)) / norm, theta_E=theta, beta=distance)


@functools.lru_cache(maxsize=10)
def arc_bank(step: int, beta: float, pixscale: float) -> ArcBank:
    """Return templates with sources of `SOURCE_SIZES`, sorted by Einstein radius; parameters as `template_bank`."""
    flats, totals, radii = [], [], []
    for source_size in SOURCE_SIZES:
        sharp, theta, _ = _sharp(pixscale, source_size, True)
        flat, norm = _blurred(sharp, step, beta, pixscale)
        flats.append(flat)
        totals.append(sharp.sum((1, 2)) / norm)
        radii.append(theta)
    theta = np.concatenate(radii)
    order = np.argsort(theta, kind="stable")
    flat = np.concatenate(flats)[order]
    coarse = block_sums(flat) / np.float32(BLOCK**2)
    first = np.searchsorted(theta[order], np.array(THETA_E, np.float32) - 1e-4)
    return ArcBank(
        flat=flat,
        coarse=coarse,
        square=coarse**2,
        total=np.concatenate(totals)[order],
        first=(*(int(number) for number in first), len(flat)),
    )


def block_sums(flat: Array) -> Array:
    """Return the sums over blocks of pixels of pictures as large as templates, the last axis being their pixels."""
    side, n = 2 * HALF + 1, -(-(2 * HALF + 1) // BLOCK)
    lead = flat.shape[:-1]
    padded = np.zeros((*lead, n * BLOCK, n * BLOCK), np.float32)
    padded[..., :side, :side] = flat.reshape(*lead, side, side)
    return np.asarray(padded.reshape(*lead, n, BLOCK, n, BLOCK).sum((-3, -1)).reshape(*lead, n * n))


def _blurred(sharp: Array, step: int, beta: float, pixscale: float) -> tuple[Array, Array]:
    """Return templates behind a PSF, shape ``(template, pixel)``, of sum of squares 1, and their norms before."""
    side = 2 * HALF + 1
    n = int(fft.next_fast_len(side + 2 * HALF, real=True))
    transfer = np.exp(log_transfer(frequencies(n, pixscale) * ladder(step), beta)).astype(np.float32)
    blurred = np.empty_like(sharp)
    for first in range(0, len(sharp), 256):
        some = slice(first, first + 256)
        blurred[some] = fft.irfft2(fft.rfft2(sharp[some], (n, n)) * transfer, (n, n))[:, :side, :side]
    flat = blurred.reshape(len(blurred), -1)
    norm = np.sqrt((flat**2).sum(axis=1))
    return flat / norm[:, None], norm
