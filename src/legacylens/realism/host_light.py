"""The light of the galaxy in the middle, without the arc: concentric ellipses that get fainter outward.

A sum of Gaussians with positive weights can only fall with radius, so it cannot take up a ring; terms of one and two
maxima around the ellipse take up lopsidedness and twists. What stands out is left out of the fit, and the fit repeated:
otherwise half of an arc would be subtracted with the galaxy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import nnls

from legacylens.realism.measure_config import MeasureConfig
from legacylens.realism.stack import Stack

Array = NDArray[np.float32]

N_GAUSSIANS = 8
RIDGE = 1e-5
FREE_TERMS = (*((place, 0.08) for place in (1, 1, 3, 3, 5, 5)), *((place, 0.02) for place in (1, 1, 4, 4)), (3, 0.03))
"""Of each term with maxima around the ellipse: the Gaussian that it belongs to, and which part of the light at that
radius it may be (one standard deviation)."""
SHAPES = (
    *((lambda u, v: u**2 - v**2, lambda u, v: 2.0 * u * v) * 3),
    *((lambda u, v: u + 0.0 * v, lambda u, v: v + 0.0 * u) * 2),
    lambda u, v: u**4 - 6.0 * u**2 * v**2 + v**4,
)
"""Their shapes: two maxima (a twist, another axis ratio), one (lopsided), four (boxy)."""
FIT_RADIUS = 7.0
"""Radius within which the galaxy is fitted [arcsec]."""
ARC_CUT = 0.04
"""An arc is where its template is above this part of its peak."""
ARC_ERROR = 0.25
"""Part of an arc by which its template may be wrong."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HostLight:
    """Model of the central galaxies of a batch."""

    model: Array
    """Shape ``(object, band, y, x)`` [nanomaggies]."""
    excluded: NDArray[np.bool_]
    """Pixels left out of the fit, shape ``(object, y, x)``."""
    x: Array
    """Place of the center from the middle, columns [arcsec]."""
    y: Array
    """The same, rows."""
    q: Array
    """Axis ratio, PSF not taken off."""
    phi: Array
    """Direction of the major axis from +x to +y [rad]."""
    radius: Array
    """Elliptical radius of each pixel (intermediate axis), shape ``(object, y, x)`` [arcsec]."""
    terms: Array
    """What the model is a sum of, shape ``(object, term, pixel)``."""
    weights: Array
    """How much of each there is, shape ``(object, band, term)``."""


def smooth(images: Array, sigma_pixel: float) -> Array:
    """Return images blurred by a Gaussian along the last two axes, as a weighted mean."""
    once = ndimage.gaussian_filter1d(images, sigma_pixel, axis=-1, mode="constant", truncate=3.0)
    return np.asarray(ndimage.gaussian_filter1d(once, sigma_pixel, axis=-2, mode="constant", truncate=3.0))


def _grid(stack: Stack) -> tuple[Array, Array]:
    offset = ((np.arange(2 * stack.half + 1) - stack.half) * stack.pixscale).astype(np.float32)
    return np.meshgrid(offset, offset, indexing="xy")


def shapes(stack: Stack, light: Array) -> tuple[Array, Array, Array, Array]:
    """Return center, axis ratio and direction of the central galaxies.

    Parameters
    ----------
    stack
        Cutouts.
    light
        Their light, shape ``(object, y, x)``.

    Notes
    -----
    Moments with a Gaussian weight, of the lesser of the image and the image turned by 180 degrees: a neighbor has no
    counterpart there. The weight is taken off in quadrature, as for a Gaussian galaxy.
    """
    x, y = _grid(stack)
    n = len(light)
    cx, cy = np.zeros(n, np.float32), np.zeros(n, np.float32)
    for _ in range(5):
        weight = np.exp(-0.5 * ((x - cx[:, None, None]) ** 2 + (y - cy[:, None, None]) ** 2) / 0.7**2)
        mass = np.maximum(light, 0.0) * weight
        total = np.maximum(mass.sum((1, 2)), 1e-12)
        cx += 1.5 * ((mass * (x - cx[:, None, None])).sum((1, 2)) / total)
        cy += 1.5 * ((mass * (y - cy[:, None, None])).sum((1, 2)) / total)
        cx, cy = np.clip(cx, -3, 3), np.clip(cy, -3, 3)
    turned = light[:, ::-1, ::-1]
    turned = np.stack(
        [
            ndimage.shift(plane, (2 * b / stack.pixscale, 2 * a / stack.pixscale), order=1, mode="nearest")
            for plane, a, b in zip(turned, cx, cy, strict=True)
        ]
    )
    least = np.maximum(np.minimum(light, turned), 0.0)
    width = 1.3
    dx, dy = x - cx[:, None, None], y - cy[:, None, None]
    mass = least * np.exp(-0.5 * (dx**2 + dy**2) / width**2)
    total = np.maximum(mass.sum((1, 2)), 1e-12)
    xx, yy, xy = ((mass * term).sum((1, 2)) / total for term in (dx * dx, dy * dy, dx * dy))
    moments = np.stack([np.stack([xx, xy], -1), np.stack([xy, yy], -1)], -2).astype(np.float64)
    values, vectors = np.linalg.eigh(moments)
    inverse = 1.0 / np.clip(values, 0.05, 0.9 * width**2) - 1.0 / width**2
    axes = 1.0 / np.maximum(inverse, 0.05)
    q = np.clip(np.sqrt(axes[:, 0] / axes[:, 1]), 0.35, 1.0)
    phi = np.arctan2(vectors[:, 1, 1], vectors[:, 0, 1])
    return cx, cy, q.astype(np.float32), phi.astype(np.float32)


def _basis(stack: Stack, x0: Array, y0: Array, q: Array, phi: Array) -> tuple[Array, Array, Array]:
    """Return the falling terms, the free terms and the elliptical radius, shapes (object, term, pixel) and (..)."""
    x, y = _grid(stack)
    dx, dy = x - x0[:, None, None], y - y0[:, None, None]
    c, s = np.cos(phi)[:, None, None], np.sin(phi)[:, None, None]
    along, across = dx * c + dy * s, -dx * s + dy * c
    root = np.sqrt(q)[:, None, None]
    u, v = along * root, across / root
    square = u**2 + v**2
    first = 0.40 * stack.fwhm
    widths = first[:, None] * (5.0 / first[:, None]) ** (np.arange(N_GAUSSIANS) / (N_GAUSSIANS - 1.0))
    falling = np.exp(-0.5 * square[:, None] / (widths[:, :, None, None] ** 2)).astype(np.float32)
    free = [np.ones_like(square)]
    for number, (place, _) in enumerate(FREE_TERMS):
        width = widths[:, place, None, None]
        s_u, s_v = u / width, v / width
        shape = SHAPES[number](s_u, s_v)
        free.append((falling[:, place] * shape).astype(np.float32))
    n = len(square)
    radius = np.asarray(np.sqrt(square), np.float32)
    return (
        falling.reshape(n, N_GAUSSIANS, -1),
        np.asarray(np.stack(free, 1), np.float32).reshape(n, len(free), -1),
        radius,
    )


def _solve(
    matrix: NDArray[np.float64], right: NDArray[np.float64], precision: NDArray[np.float64], n_falling: int
) -> NDArray[np.float64]:
    """Return the weights of least squares with a prior around 0, the first ``n_falling`` of which may not be negative.

    ``precision`` is the inverse variance of the prior of each weight.
    """
    matrix = matrix + np.diag(precision)
    scale = np.sqrt(np.maximum(np.diag(matrix), 1e-30))
    a = matrix / scale[:, None] / scale + RIDGE * np.eye(len(matrix))
    b = right / scale
    p = n_falling
    # The free terms are projected out, which leaves a small problem with signs.
    inner = np.linalg.solve(a[p:, p:], np.column_stack([a[p:, :p], b[p:]]))
    reduced, target = a[:p, :p] - a[:p, p:] @ inner[:, :p], b[:p] - a[:p, p:] @ inner[:, p]
    factor = np.linalg.cholesky(reduced + 1e-9 * np.eye(p))
    positive, _ = nnls(factor.T, np.linalg.solve(factor, target))
    rest = inner[:, p] - inner[:, :p] @ positive
    return np.asarray(np.concatenate([positive, rest]) / scale)


def fit_host_light(stack: Stack, config: MeasureConfig) -> HostLight:
    """Return the model of the central galaxies.

    Parameters
    ----------
    stack
        Cutouts that do have a galaxy in the middle.
    config
        Thresholds, iterations, floor of the error.
    """
    x0, y0, q, phi = shapes(stack, stack.image[:, 1:].mean(axis=1))
    falling, free, radius = _basis(stack, x0, y0, q, phi)
    terms = np.concatenate([falling, free], axis=1)
    kernel = float(np.median(stack.fwhm)) / 2.355 / stack.pixscale
    excluded = _stands_out(stack, _turned_excess(stack, x0, y0), np.zeros_like(stack.image), kernel, 5.0, config)
    model = np.zeros_like(stack.image)
    weights = np.zeros((*model.shape[:2], terms.shape[1]), np.float32)
    for _ in range(config.iterations):
        model, weights = _fit(stack, terms, _used(stack, excluded, radius), config)
        excluded = _stands_out(stack, stack.image - model, model, kernel, config.mask_snr, config)
    return HostLight(
        model=model, excluded=excluded, x=x0, y=y0, q=q, phi=phi, radius=radius, terms=terms, weights=weights
    )


def refit_host_light(stack: Stack, host: HostLight, arc: Array, config: MeasureConfig) -> HostLight:
    """Return the model of the galaxies once it is known where their arcs are.

    Parameters
    ----------
    stack
        Cutouts.
    host
        First model.
    arc
        Shape of the arc per unit of flux, ``(object, y, x)``. It is fitted along with the galaxy, with an error of
        `ARC_ERROR` of itself, and is not part of the model that is returned. Leaving its pixels out instead would
        leave nothing but the middle to say how bright the galaxy is behind a small arc.
    config
        Floor of the error.
    """
    n = len(arc)
    peak = np.maximum(arc.max(axis=(1, 2)), 1e-20)[:, None, None]
    covered = arc > ARC_CUT * peak
    others = host.excluded & ~covered
    residual = stack.image - host.model
    weight = arc * covered
    height = (residual * weight[:, None]).sum((2, 3)) / np.maximum((arc * weight).sum((1, 2)), 1e-20)[:, None]
    # An arc on one side makes the galaxy seem longer than it is.
    bare = stack.image - np.maximum(height, 0.0)[:, :, None, None] * arc[:, None]
    x0, y0, q, phi = shapes(stack, bare[:, 1:].mean(axis=1))
    falling, free, radius = _basis(stack, x0, y0, q, phi)
    own = np.concatenate([falling, free], axis=1)
    host = replace(host, x=x0, y=y0, q=q, phi=phi, radius=radius, terms=own)
    terms = np.concatenate([own, (arc / peak).reshape(n, 1, -1)], axis=1)
    model, weights = host.model, host.weights
    for _ in range(2):
        floor = ARC_ERROR * np.maximum(height, 0.0)[:, :, None, None] * arc[:, None]
        model, weights = _fit(stack, terms, _used(stack, others, host.radius), config, left_out=1, floor=floor)
        height = weights[:, :, -1] / peak[:, :, 0]
    return replace(host, model=model, excluded=others, weights=weights[:, :, :-1])


def _used(stack: Stack, excluded: NDArray[np.bool_], radius: Array) -> NDArray[np.bool_]:
    center = radius < 0.45 * stack.fwhm[:, None, None]
    return np.asarray(np.isfinite(stack.sigma).all(axis=1) & (radius <= FIT_RADIUS) & (~excluded | center))


def _fit(
    stack: Stack,
    terms: Array,
    use: NDArray[np.bool_],
    config: MeasureConfig,
    *,
    left_out: int = 0,
    floor: Array | None = None,
) -> tuple[Array, Array]:
    """Return the best sum of terms in each band, the last ``left_out`` of them fitted but not summed, and all weights.

    ``floor`` is a further error of each pixel.
    """
    n, n_band = stack.image.shape[:2]
    data = stack.image.reshape(n, n_band, -1)
    sigma = np.where(np.isfinite(stack.sigma), stack.sigma, 1.0).reshape(n, n_band, -1)
    use = use.reshape(n, -1)
    model = np.empty_like(data)
    weights = np.empty((n, n_band, terms.shape[1]), np.float32)
    kept = terms.shape[1] - left_out
    for band in range(n_band):
        error = sigma[:, band] ** 2 + (config.model_error * np.maximum(data[:, band], 0.0)) ** 2
        if floor is not None:
            error = error + floor[:, band].reshape(n, -1) ** 2
        weighted = terms * np.where(use, 1.0 / error, 0.0).astype(np.float32)[:, None]
        matrix = np.matmul(weighted, terms.transpose(0, 2, 1)).astype(np.float64)
        right = np.matmul(weighted, data[:, band, :, None])[..., 0].astype(np.float64)
        precision = _precision(stack, terms, use, band, left_out)
        solved = [_solve(m, r, p, N_GAUSSIANS) for m, r, p in zip(matrix, right, precision, strict=True)]
        weights[:, band] = np.stack(solved)
        model[:, band] = np.matmul(weights[:, band, None, :kept], terms[:, :kept])[:, 0]
    return model.reshape(stack.image.shape), weights


def _precision(stack: Stack, terms: Array, use: NDArray[np.bool_], band: int, left_out: int) -> NDArray[np.float64]:
    """Return the inverse variance of the prior of each weight, shape ``(object, term)``."""
    spread = np.full((len(terms), terms.shape[1]), np.inf)
    spread[:, N_GAUSSIANS : terms.shape[1] - left_out] = free_spread(stack, terms, use, band)
    return np.asarray(1.0 / spread**2)


def free_spread(stack: Stack, terms: Array, use: NDArray[np.bool_], band: int) -> NDArray[np.float64]:
    """Return the standard deviation of the prior of each weight but those of the Gaussians, shape ``(object, term)``.

    A galaxy is nearly an ellipse: its other terms are a small part of its light at their radius. Without that, they
    would take up whatever lies behind the mask of an arc.

    Parameters
    ----------
    stack
        Cutouts.
    terms
        What galaxies are sums of, shape ``(object, term, pixel)``.
    use
        Pixels that count, shape ``(object, pixel)``.
    band
        Number of the band.
    """
    n = len(terms)
    data = stack.image[:, band].reshape(n, -1)
    noise = np.where(np.isfinite(stack.sigma[:, band]), stack.sigma[:, band], 1.0).reshape(n, -1).mean(axis=1)
    spread = np.empty((n, 1 + len(FREE_TERMS)))
    spread[:, 0] = 0.3 * noise
    for number, (place, part) in enumerate(FREE_TERMS, start=1):
        ring = terms[:, place] * (1.0 - terms[:, place]) * use
        level = (ring * data).sum(axis=1) / np.maximum(ring.sum(axis=1), 1e-6)
        spread[:, number] = part * np.maximum(level, 0.1 * noise)
    return spread


def _turned_excess(stack: Stack, x0: Array, y0: Array) -> Array:
    """Return by how much each image exceeds itself turned by 180 degrees around its galaxy."""
    shift = np.stack([2 * y0, 2 * x0], -1) / stack.pixscale
    turned = np.empty_like(stack.image)
    for number, planes in enumerate(stack.image[:, :, ::-1, ::-1]):
        turned[number] = ndimage.shift(planes, (0.0, *shift[number]), order=1, mode="nearest")
    return np.asarray(stack.image - turned)


def _stands_out(
    stack: Stack, excess: Array, model: Array, kernel: float, threshold: float, config: MeasureConfig
) -> NDArray[np.bool_]:
    """Return the pixels where filtered excess is above a S/N in any band, and those beside them."""
    sigma = np.where(np.isfinite(stack.sigma), stack.sigma, 1e3)
    floor = 2.0 * config.model_error * np.maximum(model if model.any() else stack.image, 0.0)
    # A Gaussian mean of independent pixels scatters by 1 / (2 sqrt(pi) sigma).
    noise = np.sqrt((sigma / (2.0 * np.sqrt(np.pi) * kernel)) ** 2 + (0.5 * floor) ** 2)
    high = (smooth(excess, kernel) > threshold * noise).any(axis=1)
    structure = np.zeros((3, 3, 3), dtype=bool)
    structure[1] = True
    return np.asarray(ndimage.binary_dilation(high, structure, iterations=2))
