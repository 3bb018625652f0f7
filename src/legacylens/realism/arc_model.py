"""The shape of an arc, from g where the galaxy is faint: an average over lenses, each as likely as the pixels make it.

What a galaxy's model can imitate tells nothing about an arc, so every lens is compared with the pixels that are left
when all that the model could take up is projected out. The best lens alone would be the one with the least light where
nothing can be seen (next to the core, in the faint ends of the arc); an average has as much there as lenses have.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage
from scipy.special import logsumexp

from legacylens.realism.arc_search import ArcSearch
from legacylens.realism.host_light import FREE_TERMS, N_GAUSSIANS, HostLight, free_spread
from legacylens.realism.lens_templates import GEOMETRIES, HALF, SOURCE_SIZES, THETA_E, arc_bank
from legacylens.realism.measure_config import MeasureConfig
from legacylens.realism.stack import Stack, frequencies, log_transfer, radius_map

Array = NDArray[np.float32]

INNER = 0.3
"""Nothing is looked at inside of this radius [arcsec]."""
PROFILE_SPREAD = (0.3, 0.05)
"""By which part of itself, and of its neighbors, the weight of each Gaussian of the galaxy may change."""
MODEL_ERROR = 0.015
"""Part of the galaxy's light by which pixels may be off in a way that no term describes."""
TEMPERATURE = 2.0
"""Differences of chi^2 count for less by this factor: pixels of a coadd are correlated."""
BLUE = 2.0
"""S/N in the chromatic map above which a pixel counts although it was left out of the galaxy: it is the arc."""
WIDER = 1.25
"""Factor of the PSF's width that is tried."""
TRIED = 12
"""Lenses with which it is tried."""
WINDOW = 2
"""Einstein radii that are tried on either side of the one that the search found."""


def arc_model(stack: Stack, host: HostLight, search: ArcSearch, config: MeasureConfig) -> tuple[Array, Array, Array]:
    """Return the shape of each arc per unit of flux, and whether another PSF suits it better.

    Parameters
    ----------
    stack
        Cutouts.
    host
        Model of their galaxies, the arc not in it.
    search
        What was found in the chromatic maps: where to look.
    config
        Slope of the PSF's wings.

    Returns
    -------
    shape
        Shape ``(object, y, x)``.
    wider
        Logarithm of the likelihood behind a PSF wider by `WIDER` over that behind its own, shape ``(object,)``.
    gaussian
        The same of a Gaussian PSF of equal FWHM.

    Notes
    -----
    With the terms G of the galaxy's model, their spread S and the pixels' inverse variance V, the inverse covariance is
    ``V - V G (S^-2 + G' V G)^-1 G' V``. A lens T of flux a has the log likelihood ratio ``(T'Cy)^2 / (2 T'CT)`` at
    ``a = T'Cy / T'CT``.
    """
    n, size = len(stack.image), stack.image.shape[-1]
    left = max(size // 2 - HALF, 0)
    side = min(2 * HALF + 1, size)
    box = (slice(left, left + side), slice(left, left + side))
    data, inverse, projector = _projected(stack, host, search, box)
    nearest = np.abs(np.log(np.array(THETA_E)[None] / np.maximum(search.theta_E, 0.1)[:, None])).argmin(axis=1)
    result = np.zeros((n, size, size), np.float32)
    wider, gaussian = np.zeros(n, np.float32), np.zeros(n, np.float32)
    for number in range(n):
        bank = arc_bank(int(stack.step[number]), config.moffat_beta, round(stack.pixscale, 3))
        low, high = max(int(nearest[number]) - WINDOW, 0), min(int(nearest[number]) + WINDOW, len(THETA_E) - 1)
        some = slice(bank.first[low], bank.first[high + 1])
        flat = bank.flat[some]
        hidden = projector[number] @ flat.T
        norm = np.maximum(inverse[number] @ bank.square[some].T - (hidden**2).sum(axis=0), 1e-20)
        amount = np.maximum(data[number] @ flat.T, 0.0) / norm
        chance = 0.5 * amount**2 * norm / TEMPERATURE
        weight = np.exp(chance - chance.max()) * amount
        blur = float(stack.fwhm[number]) / 2.355 / stack.pixscale * np.sqrt(WIDER**2 - 1.0)
        best = _best_geometries(chance)
        pictures = flat[best].reshape(-1, side, side)
        wide = ndimage.gaussian_filter(pictures, (0.0, blur, blur), mode="constant")
        bare = _without_wings(pictures, float(stack.fwhm[number]), stack.pixscale, config.moffat_beta)
        seen = (data[number], inverse[number], projector[number])
        likelihood = logsumexp(chance[best] * TEMPERATURE)
        wider[number] = _log_likelihood(wide, *seen) - likelihood
        gaussian[number] = _log_likelihood(bare, *seen) - likelihood
        flux = float(weight @ bank.total[some])
        if flux > 0.0:
            result[number][box] = ((weight / flux) @ flat).reshape(side, side)
        else:
            result[number] = search.template[number]
    return result, wider, gaussian


def _best_geometries(chance: Array) -> NDArray[np.int64]:
    """Return the numbers of the likeliest lenses, each with sources of all sizes.

    Templates of one Einstein radius stand together, and among them those of one size.
    """
    n_sizes = len(SOURCE_SIZES)
    blocks = chance.reshape(-1, n_sizes, GEOMETRIES)
    top = np.argsort(blocks.max(axis=1).ravel())[-TRIED:]
    block, place = np.divmod(top, GEOMETRIES)
    numbers = (block[:, None] * n_sizes + np.arange(n_sizes)) * GEOMETRIES + place[:, None]
    return np.asarray(numbers.ravel(), np.int64)


def _without_wings(pictures: Array, fwhm: float, pixscale: float, beta: float) -> Array:
    """Return templates as they would be behind a Gaussian PSF instead of a Moffat one."""
    n = int(fft.next_fast_len(pictures.shape[-1] + 20, real=True))
    k = frequencies(n, pixscale) * fwhm
    ratio = np.exp(np.minimum(-0.5 * (k / 2.355) ** 2 - log_transfer(k, beta), 1.0)).astype(np.float32)
    side = pictures.shape[-1]
    return np.asarray(fft.irfft2(fft.rfft2(pictures, (n, n)) * ratio, (n, n))[:, :side, :side])


def _log_likelihood(pictures: Array, data: Array, inverse: Array, projector: Array) -> float:
    flat = pictures.reshape(len(pictures), -1)
    norm = np.maximum((flat**2) @ inverse - ((projector @ flat.T) ** 2).sum(axis=0), 1e-20)
    return float(logsumexp(0.5 * np.maximum(flat @ data, 0.0) ** 2 / norm))


def _projected(
    stack: Stack, host: HostLight, search: ArcSearch, box: tuple[slice, slice]
) -> tuple[Array, Array, Array]:
    """Return residuals times inverse covariance, inverse variance, and what projects the galaxy's terms out."""
    n, size = len(stack.image), stack.image.shape[-1]
    model = host.model[:, 0]
    variance = stack.sigma[:, 0] ** 2 + (MODEL_ERROR * np.maximum(model, 0.0)) ** 2
    level = search.neighbors.max(axis=(1, 2))[:, None, None]
    blue = search.snr_map > BLUE
    usable = np.isfinite(variance) & (~host.excluded | blue) & (radius_map(size, stack.pixscale) > INNER)
    usable &= ~((level > 0) & (search.neighbors > 0.1 * level))
    inverse = np.where(usable, 1.0 / variance, 0.0).astype(np.float32)[:, *box].reshape(n, -1)
    residual = (stack.image[:, 0] - model)[:, *box].reshape(n, -1)
    terms = host.terms.reshape(n, -1, size, size)[:, :, *box].reshape(n, N_GAUSSIANS + 1 + len(FREE_TERMS), -1)
    weights = np.maximum(host.weights[:, 0, :N_GAUSSIANS], 0.0)
    beside = np.pad(weights, ((0, 0), (1, 1)))
    beside = 0.5 * (beside[:, 2:] + beside[:, :-2]) + weights
    spread = np.concatenate(
        [
            PROFILE_SPREAD[0] * weights + PROFILE_SPREAD[1] * beside + 1e-6,
            free_spread(stack, host.terms, np.ones((n, size * size), dtype=bool), 0),
        ],
        axis=1,
    )
    scaled = (terms * spread[:, :, None]).astype(np.float32)
    weighted = scaled * inverse[:, None]
    matrix = np.matmul(weighted, scaled.transpose(0, 2, 1)).astype(np.float64) + np.eye(scaled.shape[1])
    projector = np.matmul(np.linalg.inv(np.linalg.cholesky(matrix)).astype(np.float32), weighted)
    seen = np.matmul(projector, residual[:, :, None])
    # `projector` holds L^-1 G' V; V G K^-1 G' V y is its transpose times L^-1 G' V y.
    data = inverse * residual - np.matmul(projector.transpose(0, 2, 1), seen)[..., 0]
    return data, inverse, projector
