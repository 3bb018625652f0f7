"""Tells lensed images in a chromatic map from mere neighbors.

Every lens template and every compact galaxy is compared with the map. A feature that one compact galaxy explains
clearly better than any lensed image is a neighbor: it is taken off, its place is trusted less, and the search goes on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from legacylens.realism.chromatic import ChromaticMap
from legacylens.realism.lens_templates import HALF, TemplateBank, template_bank
from legacylens.realism.measure_config import MeasureConfig
from legacylens.realism.stack import Stack, radius_map

Array = NDArray[np.float32]

NEIGHBOR_SNR = 4.0
"""A neighbor is at least this bright."""
NEIGHBOR_WIDTHS = (0.0, 0.35, 0.75)
"""Gaussian widths of compact galaxies before the PSF [arcsec]."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArcSearch:
    """What was found, for each object of a batch."""

    score: Array
    """The one number that says best whether there is an arc: ``capped_snr`` times exp(``elongation``)."""
    capped_snr: Array
    """S/N of the best lens template where bright light is trusted only to a part of itself: several images count for
    more than one bright neighbor."""
    elongation: Array
    """How much the brightest feature is stretched along the circle around the galaxy, -1 to 1."""
    lens_snr: Array
    """Signal-to-noise ratio of the best lens template, neighbors removed."""
    peak_snr: Array
    """Highest S/N of the PSF-filtered map in the annulus, nothing removed."""
    clean_peak_snr: Array
    """The same with neighbors removed."""
    blob_snr: Array
    """S/N of the best compact galaxy, with neighbors removed."""
    first_blob_snr: Array
    """The same before."""
    n_neighbors: NDArray[np.int64]
    """How many neighbors were removed."""
    theta_E: Array
    """Its Einstein radius [arcsec]."""
    beta: Array
    """Distance of its source [theta_E]."""
    template: Array
    """The best template, on the pixels of the stack, per unit of total flux, shape ``(object, y, x)``."""
    neighbors: Array
    """Model of the neighbors in the map, shape ``(object, y, x)`` [nanomaggies]."""
    snr_map: Array
    """PSF-filtered S/N of the map without its neighbors, same shape."""


def _gauss(image: Array, sigma: float) -> Array:
    once = ndimage.gaussian_filter1d(image, sigma, axis=-1, mode="constant", truncate=3.5)
    return np.asarray(ndimage.gaussian_filter1d(once, sigma, axis=-2, mode="constant", truncate=3.5))


def blob_snr(data: Array, inverse: Array, sigma: float) -> tuple[Array, Array]:
    """Return S/N and amplitude of a Gaussian of a width at every pixel.

    Parameters
    ----------
    data
        Map times inverse variance.
    inverse
        Inverse variance.
    sigma
        Width [pixels].
    """
    # The filter's taps sum to 1 over pixels: a Gaussian of flux 1. Its square is a Gaussian narrower by sqrt(2).
    top = _gauss(data, sigma)
    bottom = _gauss(inverse, sigma / np.sqrt(2.0)) / np.float32(4.0 * np.pi * sigma**2)
    bottom = np.maximum(bottom, 1e-12 * max(float(bottom.max()), 1e-30))
    return top / np.sqrt(bottom), top / bottom


def search_arcs(stack: Stack, chromatic: ChromaticMap, config: MeasureConfig) -> ArcSearch:
    """Return the best lens template of each object once its neighbors are removed.

    Parameters
    ----------
    stack
        Cutouts.
    chromatic
        Their chromatic maps.
    config
        Annulus, preference, number of neighbors.
    """
    n, size, _ = chromatic.image.shape
    distance = radius_map(size, stack.pixscale)
    annulus = (distance >= config.inner_radius) & (distance <= config.outer_radius)
    inner = distance >= 0.5 * config.inner_radius
    results: dict[str, NDArray[np.generic]] = {}
    for step in np.unique(stack.step):
        some = np.flatnonzero(stack.step == step)
        bank = template_bank(int(step), config.moffat_beta, round(stack.pixscale, 3))
        part = _search(
            chromatic.image[some],
            chromatic.variance[some],
            bank,
            fwhm=float(stack.fwhm[some[0]]) / stack.pixscale,
            pixscale=stack.pixscale,
            annulus=annulus,
            inner=inner,
            config=config,
        )
        for name, values in part.items():
            if name not in results:
                results[name] = np.zeros((n, *values.shape[1:]), dtype=values.dtype)
            results[name][some] = values
    return ArcSearch(**results)  # type: ignore[arg-type]


def _search(
    image: Array,
    variance: Array,
    bank: TemplateBank,
    *,
    fwhm: float,
    pixscale: float,
    annulus: NDArray[np.bool_],
    inner: NDArray[np.bool_],
    config: MeasureConfig,
) -> dict[str, NDArray[np.generic]]:
    n, size, _ = image.shape
    left = max(size // 2 - HALF, 0)
    box = (slice(None), slice(left, left + 2 * HALF + 1), slice(left, left + 2 * HALF + 1))
    width = fwhm / 2.355
    widths = [float(np.hypot(width, extra / pixscale)) for extra in NEIGHBOR_WIDTHS]
    rest, spread = image.copy(), variance.copy()
    removed = np.zeros_like(image)
    count = np.zeros(n, dtype=np.int64)
    active = np.arange(n)
    lens, blob, best = np.zeros(n, np.float32), np.zeros(n, np.float32), np.zeros(n, np.int64)
    first_peak, first_blob = np.zeros(n, np.float32), np.zeros(n, np.float32)
    for turn in range(config.neighbors + 1):
        data, inverse = _weighted(rest[active], spread[active], inner)
        snr = _lens_snr(data[box], inverse[box], bank)
        best[active], lens[active] = snr.argmax(axis=1), snr.max(axis=1)
        ratios, amounts = zip(*(blob_snr(data, inverse, sigma) for sigma in widths), strict=True)
        inside = np.where(annulus, np.stack(ratios), -np.inf).reshape(len(widths), len(active), -1)
        tops = inside.max(axis=2)
        which = tops.argmax(axis=0)
        blob[active] = tops.max(axis=0)
        if turn == 0:
            first_peak, first_blob = tops[0].astype(np.float32), blob.copy()
        # One compact galaxy explains it better: then it is one.
        single = (blob[active] > config.neighbor_preference * lens[active]) & (blob[active] > NEIGHBOR_SNR)
        if turn == config.neighbors or not single.any():
            break
        for row in np.flatnonzero(single):
            k = int(which[row])
            py, px = divmod(int(inside[k, row].argmax()), size)
            model = _gaussian(size, py, px, widths[k]) * amounts[k][row, py, px]
            target = active[row]
            removed[target] += model
            rest[target] -= model
            spread[target] += (config.neighbor_error * model) ** 2
            count[target] += 1
        active = active[single]
    data, inverse = _weighted(rest, spread, inner)
    snr_map = blob_snr(data, inverse, widths[0])[0]
    bright = 2.0 * np.maximum(_gauss(image, width), 0.0)
    trusted = _weighted(image, np.asarray(variance + (config.saturation * bright) ** 2, np.float32), inner)
    capped = _lens_snr(trusted[0][box], trusted[1][box], bank).max(axis=1)
    stretch = elongation(image, snr_map=blob_snr(*_weighted(image, variance, inner), widths[0])[0] * annulus, fwhm=fwhm)
    template = np.zeros_like(image)
    template[box] = (bank.flat[best] / bank.total[best][:, None]).reshape(n, 2 * HALF + 1, 2 * HALF + 1)
    return {
        "lens_snr": lens,
        "capped_snr": capped,
        "elongation": stretch,
        "score": np.maximum(capped, 0.0) * np.exp(stretch),
        "peak_snr": first_peak,
        "clean_peak_snr": np.where(annulus, snr_map, -np.inf).reshape(n, -1).max(axis=1),
        "blob_snr": blob,
        "first_blob_snr": first_blob,
        "n_neighbors": count,
        "theta_E": bank.theta_E[best],
        "beta": bank.beta[best],
        "template": template,
        "neighbors": removed,
        "snr_map": snr_map,
    }


def _weighted(image: Array, variance: Array, inner: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Return map times inverse variance, and inverse variance, both zero where nothing may count."""
    inverse = np.where(np.isfinite(variance), inner / variance, 0.0).astype(np.float32)
    return image * inverse, inverse


def _lens_snr(data: Array, inverse: Array, bank: TemplateBank) -> Array:
    """Return the S/N of each template in each object, shape ``(object, template)``."""
    n = len(data)
    bottom = np.maximum(inverse.reshape(n, -1) @ bank.square.T, 1e-20)
    return np.asarray((data.reshape(n, -1) @ bank.flat.T) / np.sqrt(bottom), dtype=np.float32)


def elongation(image: Array, *, snr_map: Array, fwhm: float) -> Array:
    """Return how much the brightest feature is stretched along the circle around the galaxy, from -1 to 1.

    Parameters
    ----------
    image
        Chromatic maps.
    snr_map
        Where the brightest feature is looked for.
    fwhm
        Of the PSF [pixels]; moments are taken under a Gaussian of this width.
    """
    n, size, _ = image.shape
    place = snr_map.reshape(n, -1).argmax(axis=1)
    offset = (np.arange(size) - size // 2).astype(np.float32)
    y, x = offset[:, None], offset[None, :]
    y0, x0 = offset[place // size][:, None, None], offset[place % size][:, None, None]
    mass = np.maximum(image, 0.0) * np.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2) / fwhm**2)
    total = np.maximum(mass.sum((1, 2)), 1e-20)
    length = np.maximum(np.hypot(x0, y0), 1e-6)
    radial = ((x - x0) * x0 + (y - y0) * y0) / length
    tangential = ((y - y0) * x0 - (x - x0) * y0) / length
    rr = (mass * radial**2).sum((1, 2)) / total - ((mass * radial).sum((1, 2)) / total) ** 2
    tt = (mass * tangential**2).sum((1, 2)) / total - ((mass * tangential).sum((1, 2)) / total) ** 2
    return np.asarray((tt - rr) / np.maximum(tt + rr, 1e-20), dtype=np.float32)


def _gaussian(size: int, y: int, x: int, sigma: float) -> Array:
    gy = np.exp(-0.5 * ((np.arange(size) - y) / sigma) ** 2)
    gx = np.exp(-0.5 * ((np.arange(size) - x) / sigma) ** 2)
    return np.asarray(np.outer(gy, gx) / (2.0 * np.pi * sigma**2), dtype=np.float32)
