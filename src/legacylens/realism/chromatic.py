"""The chromatic map: g minus the galaxy's own color times r, in which an old galaxy vanishes and young arcs stay.

What a galaxy leaves behind there (a color gradient, bands that are registered or blurred not quite alike) has the shape
of its model, of the model's gradients and of its Laplacian; those shapes are fitted outside of the arc and taken off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from legacylens.realism.host_light import HostLight, smooth
from legacylens.realism.measure_config import MeasureConfig
from legacylens.realism.stack import Stack

Array = NDArray[np.float32]

FIT_RADIUS = 5.0
"""Radius within which the leftovers of the galaxy are fitted [arcsec]."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChromaticMap:
    """The chromatic map of each object of a batch."""

    image: Array
    """Shape ``(object, y, x)`` [nanomaggies]."""
    variance: Array
    """For templates of the PSF's size, same shape; inf where there is no data [nanomaggies^2]."""
    alpha: Array
    """Color of the galaxy as a ratio of fluxes, g over r, shape ``(object,)``."""


def chromatic_map(stack: Stack, host: HostLight, config: MeasureConfig) -> ChromaticMap:
    """Return g - alpha r with its variance.

    Parameters
    ----------
    stack
        Cutouts.
    host
        Model of their galaxies.
    config
        Floor of the model's error.
    """
    g, r = stack.image[:, 0], stack.image[:, 1]
    model_g, model_r = host.model[:, 0], host.model[:, 1]
    core = host.radius < 1.0
    alpha = (model_g * model_r * core).sum((1, 2)) / np.maximum((model_r**2 * core).sum((1, 2)), 1e-20)
    alpha = np.clip(alpha, 0.02, 3.0).astype(np.float32)
    a = alpha[:, None, None]
    variance = stack.sigma[:, 0] ** 2 + a**2 * stack.sigma[:, 1] ** 2 + (config.model_error * a * model_r) ** 2
    image = g - a * r
    kernel = float(np.median(stack.fwhm)) / 2.355 / stack.pixscale
    # A neighbor of nearly the galaxy's color leaves something, too: what stands out in r is trusted that much less.
    noise_r = np.where(np.isfinite(stack.sigma[:, 1]), stack.sigma[:, 1], 1e3) / (2.0 * np.sqrt(np.pi) * kernel)
    others = np.maximum(smooth(r - model_r, kernel) - 2.0 * noise_r, 0.0)
    variance = variance + (config.color_spread * a * others) ** 2
    templates = _leftovers(model_r, host)
    n, p = templates.shape[:2]
    flat = templates.reshape(n, p, -1)
    excluded = host.excluded
    center = host.radius < 0.45 * stack.fwhm[:, None, None]
    clean = image
    for _ in range(2):
        use = (host.radius < FIT_RADIUS) & (~excluded | center) & np.isfinite(variance)
        weight = np.where(use, 1.0 / variance, 0.0).astype(np.float32).reshape(n, -1)
        weighted = flat * weight[:, None]
        matrix = np.matmul(weighted, flat.transpose(0, 2, 1)).astype(np.float64)
        right = np.matmul(weighted, image.reshape(n, -1, 1)).astype(np.float64)
        scale = np.sqrt(np.maximum(np.einsum("npp->np", matrix), 1e-30))
        matrix = matrix / scale[:, :, None] / scale[:, None] + 1e-4 * np.eye(p)
        amount = (np.linalg.solve(matrix, right / scale[:, :, None]) / scale[:, :, None]).astype(np.float32)
        clean = image - np.matmul(amount.transpose(0, 2, 1), flat).reshape(image.shape)
        noise = np.sqrt(np.where(np.isfinite(variance), variance, 1e6)) / (2.0 * np.sqrt(np.pi) * kernel)
        high = smooth(clean, kernel) > config.mask_snr * noise
        excluded = host.excluded | ndimage.binary_dilation(high, np.ones((1, 3, 3), dtype=bool), iterations=2)
    return ChromaticMap(image=clean, variance=variance, alpha=alpha)


def _leftovers(model: Array, host: HostLight) -> Array:
    """Return the shapes of what a galaxy leaves in the chromatic map, shape ``(object, shape, y, x)``."""
    log = np.log(np.maximum(host.radius, 0.2))
    dy, dx = np.gradient(model, axis=(-2, -1))
    laplace = np.gradient(dy, axis=-2) + np.gradient(dx, axis=-1)
    return np.stack([model, model * log, model * log**2, dx, dy, laplace], axis=1)
