"""Pictures with a part of what they show taken away or added, for the shortcut tests. All keep the shape of the input.

Where light is taken away, sky of the object's own noise takes its place: a hole without noise is something that no
network has seen, and its answer would say nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]
"""Shape ``(n, band, y, x)`` [nanomaggies]."""

_BORDER = 0.8
"""Pixels farther from the center than this fraction of half the stamp tell level and noise of the sky."""
_MAD_TO_SIGMA = 1.4826


def radius_map(size: int, pixscale: float) -> NDArray[np.float64]:
    """Return the distance of each pixel from the central one, shape ``(size, size)`` [arcsec]."""
    offset = (np.arange(size) - size // 2) * pixscale
    return np.asarray(np.hypot(offset[:, None], offset[None, :]))


def sky_like(images: Images, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return empty sky of the level and the noise of each stamp's border, white, of the shape of the images."""
    size = images.shape[-1]
    radius = radius_map(size, 1.0)
    border = np.asarray(images, dtype=np.float64)[..., radius > _BORDER * (size // 2)]
    level = np.median(border, axis=-1)
    sigma = _MAD_TO_SIGMA * np.median(np.abs(border - level[..., None]), axis=-1)
    return np.asarray(level[..., None, None] + sigma[..., None, None] * rng.standard_normal(images.shape))


def radial_quantile(images: Images, quantile: float) -> NDArray[np.float64]:
    """Return the quantile at the radius of each pixel (rings of one pixel), without what stands out on few of them.

    Parameters
    ----------
    images
        Pictures.
    quantile
        0.5 removes what covers less than half of a ring; 0.25, an arc and its counter image together.
    """
    size = images.shape[-1]
    ring = np.rint(radius_map(size, 1.0)).astype(np.int64)
    result = np.empty(images.shape)
    for number in range(int(ring.max()) + 1):
        inside = ring == number
        result[..., inside] = np.quantile(images[..., inside], quantile, axis=-1)[..., None]
    return result


def radial_mean(light: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the mean at the radius of each pixel: the same light at every radius, without an arc."""
    size = light.shape[-1]
    ring = np.rint(radius_map(size, 1.0)).astype(np.int64).ravel()
    flat = np.asarray(light, dtype=np.float64).reshape(-1, size * size)
    sums = np.zeros((int(ring.max()) + 1, len(flat)))
    np.add.at(sums, ring, flat.T)
    return np.asarray((sums.T / np.bincount(ring))[:, ring].reshape(light.shape))


def typical_profile(images: Images, radius: float, pixscale: float) -> NDArray[np.float64]:
    """Return the median radial profile of objects, each in units of its mean within a radius [arcsec], (band, y, x)."""
    inside = radius_map(images.shape[-1], pixscale) < radius
    core = np.asarray(images, dtype=np.float64)[..., inside].mean(axis=-1)[..., None, None]
    profile = radial_quantile(images, 0.5)
    scaled = np.divide(profile, core, out=np.zeros_like(profile), where=core > 0)
    return np.asarray(np.median(scaled, axis=0))


def core_only(
    images: Images, radius: float, pixscale: float, rng: np.random.Generator, profile: NDArray[np.float64]
) -> Images:
    """Keep what is within a radius [arcsec]; around it a galaxy of a given profile, as bright as the core says.

    Parameters
    ----------
    images
        Pictures.
    radius, pixscale
        Radius of the core and size of a pixel [arcsec].
    rng
        Draws the noise around it.
    profile
        From `typical_profile`, the same for all objects.
    """
    inside = radius_map(images.shape[-1], pixscale) < radius
    core = np.asarray(images, dtype=np.float64)[..., inside].mean(axis=-1)[..., None, None]
    sky = sky_like(images, rng)
    noise = sky - np.median(sky, axis=(-2, -1), keepdims=True)
    return np.where(inside, images, np.maximum(core, 0.0) * profile + noise).astype(np.float32)


def profile_only(images: Images, rng: np.random.Generator, quantile: float = 0.1) -> Images:
    """Keep the radial profile in each band, with noise on it."""
    sky = sky_like(images, rng)
    noise = sky - np.median(sky, axis=(-2, -1), keepdims=True)
    return (radial_quantile(images, quantile) + noise).astype(np.float32)


def arcs_masked(images: Images, inner: float, outer: float, pixscale: float, rng: np.random.Generator) -> Images:
    """Replace everything between two radii [arcsec] by sky."""
    radius = radius_map(images.shape[-1], pixscale)
    return np.where((radius >= inner) & (radius < outer), sky_like(images, rng), images).astype(np.float32)


def arcs_suppressed(images: Images, inner: float, outer: float, pixscale: float, rng: np.random.Generator) -> Images:
    """Replace everything between two radii [arcsec] by the median profile with noise: the galaxy, without its arc."""
    radius = radius_map(images.shape[-1], pixscale)
    return np.where((radius >= inner) & (radius < outer), profile_only(images, rng, 0.5), images).astype(np.float32)


def without_color(images: Images, noise: NDArray[np.float64]) -> Images:
    """Give every band the same picture, the mean of all in units of their ``noise`` [nanomaggies], shape (band,).

    Each band gets back its own noise unit and, so that it stays as bright as it was on average over the given objects,
    its own mean brightness.
    """
    units = np.asarray(images, dtype=np.float64) / noise[:, None, None]
    gray = units.mean(axis=1, keepdims=True)
    middle = units.shape[-1] // 2
    center = units[..., middle - 1 : middle + 2, middle - 1 : middle + 2].mean(axis=(0, 2, 3))
    level = center / center.mean() if center.mean() > 0 and np.all(center > 0) else np.ones(len(noise))
    return np.asarray(gray * (level * noise)[:, None, None], dtype=np.float32)


def without_band(images: Images, band: int) -> Images:
    """Replace a band by the mean of the others, scaled to its mean brightness over the given objects."""
    middle = images.shape[-1] // 2
    core = np.asarray(images[..., middle - 1 : middle + 2, middle - 1 : middle + 2], dtype=np.float64)
    center = core.mean(axis=(0, 2, 3))
    rest = [number for number in range(images.shape[1]) if number != band]
    scale = np.where(center[rest] > 0, center[band] / np.where(center[rest] > 0, center[rest], 1.0), 1.0)
    result = np.array(images, dtype=np.float32)
    result[:, band] = (images[:, rest] * scale[:, None, None]).mean(axis=1)
    return result


def shifted(images: Images, dy: int, dx: int) -> Images:
    """Move pictures by whole pixels; what comes in at the edge is the nearest row or column."""
    size = images.shape[-1]
    rows = np.clip(np.arange(size) - dy, 0, size - 1)
    columns = np.clip(np.arange(size) - dx, 0, size - 1)
    return np.asarray(images[..., rows[:, None], columns[None, :]])
