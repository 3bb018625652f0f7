"""How bright, how red, how wide, how long: photometry and shape of what the search found.

All bands are measured through one aperture on images of one PSF, the galaxy and its neighbors taken off; what the
aperture misses is what it misses of the best lens template.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage
from scipy.optimize import nnls

from legacylens.photometry import magnitude
from legacylens.realism.arc_model import ArcModel
from legacylens.realism.arc_search import ArcSearch
from legacylens.realism.chromatic import ChromaticMap
from legacylens.realism.host_light import HostLight
from legacylens.realism.measure_config import MeasureConfig
from legacylens.realism.stack import Stack, frequencies, log_transfer, radius_map

Array = NDArray[np.float32]

FOOTPRINT = 0.1
"""The aperture is where the template is above this part of its highest value, and the segments that touch it."""
INNER = 0.6
"""Templates are suited to what is outside of this radius [arcsec]."""
WIDTH_STEPS = (0.0, 0.45, 0.7, 1.0, 1.4)
"""Blurs that are tried on the best template, FWHM added in quadrature over that of the PSF."""
SECTORS = 36
TYPICAL_COLOR = 1.2
"""Flux in r over flux in g of an arc that is not seen in g."""
COLORS = (0.5, 3.5)
"""Range of that ratio that is believed, g - r from -0.75 to 1.35."""
COLOR_ERROR = 0.2
"""Part of itself by which it is uncertain."""
HOST_ERROR = 0.6
"""Part of itself by which an arc's flux is uncertain if only a model of its galaxy is taken off."""
OLDEST = 0.8
"""Largest part of an arc in g that is taken for the galaxy's color."""
LARGEST_CHANGE = 4.0
"""Factor by which a flux is corrected at most."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArcShape:
    """Where the arc is."""

    aperture: NDArray[np.bool_]
    """Shape ``(object, y, x)``."""
    inside: Array
    """Part of the template's flux in the aperture, shape ``(object,)``."""
    residual: Array
    """Images without the galaxy, shape ``(object, band, y, x)`` [nanomaggies]."""


def suited_templates(stack: Stack, chromatic: ChromaticMap, search: ArcSearch) -> Array:
    """Return the shape of each arc per unit of flux: its best template, blurred as the chromatic map asks for.

    Notes
    -----
    The template's source is small. Non-negative parts of the template as it is and blurred by 0.7 and 1.4 PSFs are
    fitted to the chromatic map, in which there is no galaxy.
    """
    n, size, _ = search.template.shape
    inverse = np.where(np.isfinite(chromatic.variance), 1.0 / chromatic.variance, 0.0).astype(np.float32)
    inverse *= radius_map(size, stack.pixscale) > INNER
    data = (chromatic.image - search.neighbors) * inverse
    kernels = [0.0, 0.7, 1.4]
    shapes = [search.template]
    for width in kernels[1:]:
        sigma = width * float(np.median(stack.fwhm)) / 2.355 / stack.pixscale
        once = ndimage.gaussian_filter1d(search.template, sigma, axis=-1, mode="constant")
        shapes.append(ndimage.gaussian_filter1d(once, sigma, axis=-2, mode="constant"))
    stackd = np.stack(shapes, axis=1).reshape(n, len(kernels), -1)
    weighted = stackd * inverse.reshape(n, 1, -1)
    matrix = np.matmul(weighted, stackd.transpose(0, 2, 1)).astype(np.float64)
    right = np.matmul(stackd, data.reshape(n, -1, 1))[..., 0].astype(np.float64)
    result = np.empty_like(search.template)
    for number in range(n):
        scale = np.sqrt(np.maximum(np.diag(matrix[number]), 1e-30))
        factor = np.linalg.cholesky(matrix[number] / scale[:, None] / scale + 1e-3 * np.eye(len(kernels)))
        parts, _ = nnls(factor.T, np.linalg.solve(factor, right[number] / scale))
        parts = parts / scale
        if parts.sum() <= 0:
            parts = np.array([1.0, *np.zeros(len(kernels) - 1)])
        shape = (parts / parts.sum()).astype(np.float32) @ stackd[number]
        result[number] = shape.reshape(size, size)
    return result


def arc_shape(stack: Stack, host: HostLight, search: ArcSearch, template: Array, config: MeasureConfig) -> ArcShape:
    """Return aperture, correction and residual images of a batch."""
    size = stack.image.shape[-1]
    distance = radius_map(size, stack.pixscale)
    peak = template.max(axis=(1, 2))[:, None, None]
    footprint = template > FOOTPRINT * peak
    bright = (search.snr_map > config.segment_snr) & (distance < config.outer_radius + 0.5) & (distance > 0.5)
    aperture = footprint.copy()
    for number in range(len(aperture)):
        labels, _ = ndimage.label(bright[number])
        touched = np.unique(labels[footprint[number]])
        aperture[number] |= np.isin(labels, touched[touched > 0])
    level = search.neighbors.max(axis=(1, 2))[:, None, None]
    aperture &= ~((search.neighbors > 0.1 * level) & (level > 0))
    aperture &= np.isfinite(stack.sigma).all(axis=1) & (distance > 0.35)
    inside = (template * aperture).sum((1, 2))
    return ArcShape(aperture=aperture, inside=np.clip(inside, 0.25, 1.0), residual=stack.image - host.model)


def fluxes(stack: Stack, shape: ArcShape, model: ArcModel) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return total flux and its error in each band, shape ``(object, band)`` [nanomaggies].

    Notes
    -----
    Colors are those of the light in the aperture, the galaxy's model taken off. That model may take up a third of an
    arc, or leave a third too much, alike in all bands; what g has beyond the galaxy's color does not depend on it. So
    that sets the brightness, ``A_g = a / (1 - alpha A_r / A_g)``, the less the redder the arc.
    """
    mask = shape.aperture[:, None]
    sigma = np.where(np.isfinite(stack.sigma), stack.sigma, 0.0)
    inside = shape.inside[:, None].astype(np.float64)
    total = ((shape.residual * mask).sum((2, 3)) / inside).astype(np.float64)
    noise = np.sqrt(((sigma * mask) ** 2).sum((2, 3))) / inside
    g, r = total[:, 0], total[:, 1]
    color = np.clip(np.divide(r, g, out=np.full(len(g), TYPICAL_COLOR), where=g > 0), *COLORS)
    old = np.minimum(model.alpha * color, OLDEST)
    blue = model.blue_flux / (1.0 - old)
    size = np.maximum(np.maximum(blue, np.abs(g)), 1e-6)
    spread = (model.blue_error / (1.0 - old) / size) ** 2 + (COLOR_ERROR * old / (1.0 - old)) ** 2
    weight = HOST_ERROR**2 / (HOST_ERROR**2 + spread)
    bright = weight * blue + (1.0 - weight) * g
    factor = np.clip(np.divide(bright, g, out=np.ones(len(g)), where=g > 0), 1.0 / LARGEST_CHANGE, LARGEST_CHANGE)
    result = total * factor[:, None]
    result[:, 0] = bright
    relative = np.sqrt(spread * weight)
    return result, np.hypot(noise * factor[:, None], relative[:, None] * np.abs(result))


def integrated_snr(chromatic: ChromaticMap, annulus: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the largest S/N of the k brightest pixels of the annulus over all k (Collett 2015).

    Notes
    -----
    It is biased upward for noise, which a comparison with controls takes off.
    """
    values = chromatic.image[:, annulus].astype(np.float64)
    spread = chromatic.variance[:, annulus].astype(np.float64)
    values = np.where(np.isfinite(spread), values, 0.0)
    spread = np.where(np.isfinite(spread), spread, 1e6)
    order = np.argsort(-values / np.sqrt(spread), axis=1)
    top = np.cumsum(np.take_along_axis(values, order, 1), axis=1)
    bottom = np.sqrt(np.cumsum(np.take_along_axis(spread, order, 1), axis=1))
    return np.asarray((top / bottom).max(axis=1))


def geometry(search: ArcSearch, chromatic: ChromaticMap, pixscale: float, config: MeasureConfig) -> dict[str, Array]:
    """Return radius, azimuthal extent, number of segments, area and asymmetries of the arc.

    Returns
    -------
    columns
        ``arc_radius`` [arcsec], ``azimuthal_extent`` [deg], ``n_segments``, ``arc_area`` [arcsec^2], ``asymmetry_1``
        and ``asymmetry_2`` (amplitude of one and two maxima around the galaxy over the mean), ``arc_angle`` [deg].
    """
    n, size, _ = search.snr_map.shape
    distance = radius_map(size, pixscale)
    ring = (distance >= config.inner_radius) & (distance <= config.outer_radius)
    offset = np.arange(size) - size // 2
    azimuth = np.arctan2(offset[:, None], offset[None, :])
    sector = np.minimum(((azimuth + np.pi) / (2 * np.pi) * SECTORS).astype(int), SECTORS - 1)
    bright = (search.snr_map > config.segment_snr) & ring
    weight = np.where(bright, np.maximum(chromatic.image - search.neighbors, 0.0), 0.0)
    empty = weight.sum((1, 2)) <= 0
    weight[empty] = (search.template * ring)[empty]
    total = np.maximum(weight.sum((1, 2)), 1e-20)
    radius = (weight * distance).sum((1, 2)) / total
    m1 = np.abs((weight * np.exp(1j * azimuth)).sum((1, 2))) / total
    m2 = np.abs((weight * np.exp(2j * azimuth)).sum((1, 2))) / total
    angle = np.degrees(np.angle((weight * np.exp(1j * azimuth)).sum((1, 2))))
    segments, extent = np.zeros(n), np.zeros(n)
    structure = np.ones((3, 3))
    for number in range(n):
        labels, found = ndimage.label(bright[number], structure)
        sizes = np.bincount(labels.ravel(), minlength=found + 1)[1:]
        segments[number] = (sizes >= 4).sum()
        extent[number] = len(np.unique(sector[bright[number]])) * 360.0 / SECTORS
    return {
        "arc_radius": radius,
        "azimuthal_extent": extent,
        "n_segments": segments,
        "arc_area": bright.sum((1, 2)) * pixscale**2,
        "asymmetry_1": m1,
        "asymmetry_2": m2,
        "arc_angle": angle,
    }


def arc_width(stack: Stack, chromatic: ChromaticMap, search: ArcSearch, config: MeasureConfig) -> Array:
    """Return how blurred the arc is: the width that suits it best over that of the template behind the PSF.

    Notes
    -----
    The template is sharpened by a third of a PSF and blurred in steps; the S/N of a matched filter as a function of
    the logarithm of the width has its maximum at the width of the arc.
    """
    n, size, _ = chromatic.image.shape
    inverse = np.where(np.isfinite(chromatic.variance), 1.0 / chromatic.variance, 0.0).astype(np.float32)
    data = (chromatic.image - search.neighbors) * inverse
    n_fft = int(fft.next_fast_len(size + 12, real=True))
    spectrum = fft.rfft2(search.template, (n_fft, n_fft))
    k = frequencies(n_fft, stack.pixscale)
    factors = np.array([0.7, *(np.sqrt(1.0 + extra**2) for extra in WIDTH_STEPS)])
    snr = np.empty((len(factors), n))
    for number, factor in enumerate(factors):
        if factor < 1.0:
            log = np.stack([log_transfer(k * f * factor, config.moffat_beta) for f in stack.fwhm])
            log -= np.stack([log_transfer(k * f, config.moffat_beta) for f in stack.fwhm])
            # Beyond the PSF's own limit there is nothing to sharpen.
            change = np.exp(np.minimum(log, 1.5)) * np.exp(-0.5 * (k * 0.25) ** 2)
        else:
            width = stack.fwhm[:, None, None] / 2.355 * np.sqrt(factor**2 - 1.0)
            change = np.exp(-0.5 * (k * width) ** 2)
        shape = fft.irfft2(spectrum * change, (n_fft, n_fft))[:, :size, :size]
        bottom = np.sqrt(np.maximum((shape**2 * inverse).sum((1, 2)), 1e-20))
        snr[number] = (shape * data).sum((1, 2)) / bottom
    log_factors = np.log(factors)
    best = np.clip(snr.argmax(axis=0), 1, len(factors) - 2)
    rows = np.arange(n)
    x0, x1, x2 = log_factors[best - 1], log_factors[best], log_factors[best + 1]
    y0, y1, y2 = snr[best - 1, rows], snr[best, rows], snr[best + 1, rows]
    top = (x1 - x0) ** 2 * (y1 - y2) - (x1 - x2) ** 2 * (y1 - y0)
    bottom = (x1 - x0) * (y1 - y2) - (x1 - x2) * (y1 - y0)
    vertex = x1 - 0.5 * np.divide(top, bottom, out=np.zeros(n), where=np.abs(bottom) > 1e-12)
    return np.asarray(np.exp(np.clip(vertex, log_factors[0], log_factors[-1])), np.float32)


def roughness(images: Array, aperture: NDArray[np.bool_], pixscale: float, config: MeasureConfig) -> Array:
    """Return the pixel noise in the aperture over that of the sky, from fourth differences of g and r.

    Parameters
    ----------
    images
        Whole cutouts, before any blur, shape ``(object, band, y, x)``.
    aperture
        On the cropped pixels.
    pixscale
        Pixel [arcsec].
    config
        Where sky begins.

    Notes
    -----
    A fourth difference of light behind a PSF of four pixels is a tenth of its value, that of noise eight times the
    noise: what is left is the photon noise of the arc, or light that no PSF has blurred.
    """
    size = images.shape[-1]
    high = np.zeros((len(images), 2, size, size), np.float32)
    g_r = images[:, :2]
    taps = np.array([1.0, -4.0, 6.0, -4.0, 1.0], np.float32)
    for axis in (-1, -2):
        high += ndimage.correlate1d(g_r, taps, axis=axis, mode="nearest") ** 2
    far = radius_map(size, pixscale) > min(config.sky_radius, 0.4 * size * pixscale)
    level = np.median(high[:, :, far], axis=2)
    level = np.maximum(level, 1e-20)
    # The mean of the sum of two squares (equal normal variables) is 1.443 times its median.
    ratio = (high / (1.443 * level[..., None, None])).mean(axis=1)
    half = aperture.shape[-1] // 2
    middle = size // 2
    cut = ratio[:, middle - half : middle + half + 1, middle - half : middle + half + 1]
    count = np.maximum(aperture.sum((1, 2)), 1)
    return np.asarray(np.sqrt((cut * aperture).sum((1, 2)) / count), np.float32)


def surface_contrast(host: HostLight, shape: ArcShape) -> NDArray[np.float64]:
    """Return the surface brightness of the galaxy's core in r over that of the arc in g [mag/arcsec^2].

    Negative where the core is brighter; NaN without a positive residual.
    """
    core = host.model[:, 1].max(axis=(1, 2))
    arc = np.where(shape.aperture, shape.residual[:, 0], -np.inf)
    top = np.sort(arc.reshape(len(arc), -1), axis=1)[:, -3]
    return np.asarray(magnitude(core) - magnitude(np.where(np.isfinite(top), top, -1.0)))
