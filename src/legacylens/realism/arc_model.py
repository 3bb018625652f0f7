"""The shape of an arc, and how much brighter in g it is than the galaxy's color allows: an average over lenses.

The galaxy in g is nearly its picture in r times a color, whatever its profile. So r itself (arc and all) is fitted to
g beside every lens, with small terms for gradients of color and for pictures that are not registered alike. That holds
the galaxy far better than a model of its light does, which takes up arcs near the core. Lenses are compared with what
is left when those terms are projected out. The best lens alone would be the one with the least light where nothing can
be seen; an average has as much there as lenses have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage
from scipy.special import logsumexp

from legacylens.realism.arc_search import ArcSearch
from legacylens.realism.chromatic import ChromaticMap
from legacylens.realism.host_light import HostLight, smooth
from legacylens.realism.lens_templates import (
    GEOMETRIES,
    HALF,
    ORIENTATIONS,
    SOURCE_SIZES,
    THETA_E,
    ArcBank,
    arc_bank,
    block_sums,
)
from legacylens.realism.measure_config import MeasureConfig
from legacylens.realism.stack import Stack, frequencies, log_transfer, radius_map

Array = NDArray[np.float32]

INNER = 0.3
"""Nothing is looked at inside of this radius [arcsec]."""
HOST_COLOR = (0.25, 0.05)
"""Flux in g over that in r of galaxies that are lenses, and its scatter: old ones at z = 0.1 to 0.8 have g - r from
1.3 to 1.7. It decides where arcs outshine their galaxy; elsewhere pixels know better."""
LEFTOVER_SPREAD = (0.03, 0.015, 0.03, 0.03, 0.04)
"""How large other terms may be, in parts of the galaxy: a color that changes by this part of itself for each factor
e in radius, and for its square; shifts between the bands and another blur, in pixels."""
MODEL_ERROR = 0.015
"""Part of the galaxy's light by which pixels may be off in a way that no term describes."""
TEMPLATE_ERROR = 1.0
"""Part of an arc's own light by which a template is off in a pixel. Neighbors are off alike, so it is more than one
pixel would show; without it the brightest arcs are fitted with the galaxy's term, r, which has the right shape."""
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArcModel:
    """What the pixels say about each arc."""

    shape: Array
    """Its shape per unit of flux, shape ``(object, y, x)``."""
    wider: Array
    """Logarithm of the likelihood behind a PSF wider by `WIDER` over that behind its own, shape ``(object,)``."""
    gaussian: Array
    """The same of a Gaussian PSF of equal FWHM."""
    ring: Array
    """The same of sources right behind the center over sources elsewhere behind the lens, their own PSF."""
    evidence: Array
    """Logarithm of the likelihood of an arc, averaged over lenses, over that of none."""
    blue_flux: Array
    """Flux of the arc in g less ``alpha`` times that in r, averaged over lenses [nanomaggies]."""
    blue_error: Array
    """Its error from noise and the spread of the lenses [nanomaggies]."""
    alpha: Array
    """Color of the galaxy without the arc as a ratio of fluxes, g over r."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Seen:
    """The pixels of g in the box of the templates, galaxies projected out; the last axis is pixels."""

    data: Array
    """What is left of g times the inverse covariance, shape ``(object, pixel)``."""
    inverse: Array
    """Inverse variance, same shape."""
    projector: Array
    """What takes the galaxy out of a template, shape ``(object, term, pixel)``."""
    color: Array
    """What gives by how much the galaxy's color is off `HOST_COLOR`, shape ``(object, pixel)``."""

    def blocks(self) -> _Seen:
        """Return sums over blocks: they tell lenses apart as well as pixels do, in a quarter of the time."""
        return _Seen(
            data=block_sums(self.data),
            inverse=block_sums(self.inverse),
            projector=block_sums(self.projector),
            color=self.color,
        )

    def amounts(self, rows: NDArray[np.int64], bank: ArcBank, some: slice) -> tuple[Array, Array]:
        """Return amount and inverse variance of each of some templates in some objects, shape ``(row, template)``."""
        coarse = bank.coarse[some]
        hidden = (self.projector[rows].reshape(-1, coarse.shape[1]) @ coarse.T).reshape(len(rows), -1, len(coarse))
        norm = self.inverse[rows] @ bank.square[some].T - np.einsum("nkt,nkt->nt", hidden, hidden)
        norm = np.maximum(norm, 1e-20)
        return np.maximum(self.data[rows] @ coarse.T, 0.0) / norm, norm


def believed_color(alpha: Array) -> Array:
    """Return colors (g over r) of galaxies, those that are not a lens's taken for one: an arc may be in them."""
    middle, spread = HOST_COLOR
    return np.clip(alpha, middle - 4.0 * spread, middle + 4.0 * spread)


def arc_model(
    stack: Stack,
    host: HostLight,
    chromatic: ChromaticMap,
    search: ArcSearch,
    config: MeasureConfig,
    *,
    alpha: Array,
    only_shape: bool = False,
) -> ArcModel:
    """Return the shape of each arc, and whether another PSF or a source behind the center suits it better.

    Parameters
    ----------
    stack
        Cutouts.
    host
        Model of their galaxies, the arc not in it.
    chromatic
        The galaxies' colors, with which the noise of r counts.
    search
        What was found in the chromatic maps: where to look.
    config
        Slope of the PSF's wings.
    alpha
        The galaxies' colors as they are known, g over r, shape ``(object,)``: what is bluer is the arc.
    only_shape
        Leave the likelihoods out (zero), where only the shape is needed.

    Notes
    -----
    With the terms G of the galaxy, their spread S and the pixels' inverse variance V, the inverse covariance C is
    ``V - V G (S^-2 + G' V G)^-1 G' V``. A lens T of flux a has the log likelihood ratio ``(T'Cy)^2 / (2 T'CT)`` at
    ``a = T'Cy / T'CT``, with y the image in g less r times the color of `HOST_COLOR`. As r holds the arc, too, a is the
    arc's flux in g less alpha times that in r.
    """
    n, size = len(stack.image), stack.image.shape[-1]
    left = max(size // 2 - HALF, 0)
    side = min(2 * HALF + 1, size)
    box = (slice(left, left + side), slice(left, left + side))
    inside = (np.arange(size)[box[0]], np.arange(size)[box[1]])
    rough = _projected(stack, host, chromatic, search, box, TEMPLATE_ERROR * _excess(stack, search, alpha))
    # Which PSF an arc has been through shows where it is brightest: there templates count as they are.
    exact = None if only_shape else _projected(stack, host, chromatic, search, box, np.zeros_like(chromatic.image))
    rough_blocks, exact_blocks = rough.blocks(), None if exact is None else exact.blocks()
    nearest = np.abs(np.log(np.array(THETA_E)[None] / np.maximum(search.theta_E, 0.1)[:, None])).argmin(axis=1)
    result = np.zeros((n, size, size), np.float32)
    likelihoods, evidence = np.zeros((3, n), np.float32), np.zeros(n, np.float32)
    blue, error = np.zeros(n, np.float32), np.zeros(n, np.float32)
    for step, theta in sorted(set(zip(stack.step.tolist(), nearest.tolist(), strict=True))):
        # Objects with the same templates together: the bank is read once for all of them.
        group = np.flatnonzero((stack.step == step) & (nearest == theta))
        bank = arc_bank(step, config.moffat_beta, round(stack.pixscale, 3))
        low, high = max(theta - WINDOW, 0), min(theta + WINDOW, len(THETA_E) - 1)
        some = slice(bank.first[low], bank.first[high + 1])
        flat, total = bank.flat[some], bank.total[some]
        amount, norm = rough_blocks.amounts(group, bank, some)
        chance = 0.5 * amount**2 * norm / TEMPERATURE
        weight = np.exp(chance - chance.max(axis=1, keepdims=True)) * amount
        flux = weight @ total
        each = amount * total
        chances = np.exp(chance - logsumexp(chance, axis=1, keepdims=True))
        blue[group] = (chances * each).sum(axis=1)
        error[group] = np.sqrt((chances * (total**2 / norm + (each - blue[group][:, None]) ** 2)).sum(axis=1))
        shape = (weight / np.maximum(flux, 1e-30)[:, None]) @ flat
        result[np.ix_(group, *inside)] = shape.reshape(-1, side, side)
        result[group[flux <= 0.0]] = search.template[group[flux <= 0.0]]
        if exact is None or exact_blocks is None:
            continue
        amount, norm = exact_blocks.amounts(group, bank, some)
        chance = 0.5 * amount**2 * norm
        evidence[group] = logsumexp(chance / TEMPERATURE, axis=1) - np.log(chance.shape[1])
        for row, number in enumerate(group):
            likelihoods[:, number] = _preferences(
                chance[row],
                flat,
                (exact.data[number], exact.inverse[number], exact.projector[number]),
                fwhm=float(stack.fwhm[number]),
                pixscale=stack.pixscale,
                beta=config.moffat_beta,
            )
    bare = _off_color(stack)[:, *box].reshape(n, -1) - blue[:, None] * result[:, *box].reshape(n, -1)
    wider, gaussian, ring = likelihoods
    return ArcModel(
        shape=result,
        wider=wider,
        gaussian=gaussian,
        ring=ring,
        evidence=evidence,
        blue_flux=blue,
        blue_error=error,
        alpha=np.clip(HOST_COLOR[0] + (rough.color * bare).sum(axis=1), 0.02, 3.0),
    )


def _off_color(stack: Stack) -> Array:
    """Return g less what a usual lens galaxy of this r would have in it."""
    return stack.image[:, 0] - np.float32(HOST_COLOR[0]) * stack.image[:, 1]


def _excess(stack: Stack, search: ArcSearch, alpha: Array) -> Array:
    """Return the light in g above a color of the galaxy, somewhat blurred, without neighbors [nanomaggies]."""
    kernel = 0.5 * float(np.median(stack.fwhm)) / 2.355 / stack.pixscale
    blue = smooth(stack.image[:, 0] - alpha[:, None, None] * stack.image[:, 1], kernel)
    return np.asarray(np.maximum(blue - search.neighbors, 0.0))


def _preferences(
    chance: Array,
    flat: Array,
    seen: tuple[Array, Array, Array],
    *,
    fwhm: float,
    pixscale: float,
    beta: float,
) -> tuple[float, float, float]:
    """Return by how much (in log likelihood) a wider PSF, a Gaussian one, and sources behind the center are better."""
    side = round(np.sqrt(flat.shape[1]))
    blur = fwhm / 2.355 / pixscale * np.sqrt(WIDER**2 - 1.0)
    best = _best_geometries(chance)
    pictures = flat[best].reshape(-1, side, side)
    wide = ndimage.gaussian_filter(pictures, (0.0, blur, blur), mode="constant")
    bare = _without_wings(pictures, fwhm, pixscale, beta)
    likelihood = _log_likelihood(pictures, *seen)
    # The first direction of each orientation is the source nearest to the center.
    centered = np.arange(len(chance)) % (GEOMETRIES // ORIENTATIONS) == 0
    ring = logsumexp(chance[centered]) - np.log(centered.sum())
    ring -= logsumexp(chance[~centered]) - np.log((~centered).sum())
    return (
        _log_likelihood(wide, *seen) - likelihood,
        _log_likelihood(bare, *seen) - likelihood,
        float(ring),
    )


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
    stack: Stack, host: HostLight, chromatic: ChromaticMap, search: ArcSearch, box: tuple[slice, slice], floor: Array
) -> _Seen:
    """Return the pixels of g without the galaxy, ``floor`` being a further error of each."""
    n, size = len(stack.image), stack.image.shape[-1]
    model = host.model[:, 1]
    alpha = np.maximum(chromatic.alpha, 0.05)[:, None, None]
    variance = stack.sigma[:, 0] ** 2 + (alpha * stack.sigma[:, 1]) ** 2
    variance += (MODEL_ERROR * alpha * np.maximum(model, 0.0)) ** 2 + floor**2
    level = search.neighbors.max(axis=(1, 2))[:, None, None]
    blue = search.snr_map > BLUE
    usable = np.isfinite(variance) & (~host.excluded | blue) & (radius_map(size, stack.pixscale) > INNER)
    usable &= ~((level > 0) & (search.neighbors > 0.1 * level))
    inverse = np.where(usable, 1.0 / variance, 0.0).astype(np.float32)[:, *box].reshape(n, -1)
    data = _off_color(stack)[:, *box].reshape(n, -1)
    log = np.log(np.maximum(host.radius, INNER))
    dy, dx = np.gradient(model, axis=(-2, -1))
    laplace = np.gradient(dy, axis=-2) + np.gradient(dx, axis=-1)
    terms = np.stack([stack.image[:, 1], model * log, model * log**2, dx, dy, laplace], axis=1)
    spread = np.array([0.0, *LEFTOVER_SPREAD], np.float32) * alpha
    spread[..., 0] = HOST_COLOR[1]
    scaled = (terms * spread.transpose(0, 2, 1)[..., None])[:, :, *box].reshape(n, terms.shape[1], -1)
    scaled = scaled.astype(np.float32)
    weighted = scaled * inverse[:, None]
    matrix = np.matmul(weighted, scaled.transpose(0, 2, 1)).astype(np.float64) + np.eye(scaled.shape[1])
    root = np.linalg.inv(np.linalg.cholesky(matrix))
    projector = np.matmul(root.astype(np.float32), weighted)
    seen = np.matmul(projector, data[:, :, None])
    # `projector` holds L^-1 G' V; V G K^-1 G' V y is its transpose times L^-1 G' V y.
    rest = inverse * data - np.matmul(projector.transpose(0, 2, 1), seen)[..., 0]
    # The first row of K^-1 G' V, times its spread, gives the factor of r.
    color = np.matmul(np.linalg.inv(matrix)[:, :1], weighted)[:, 0] * spread[:, 0, :1]
    return _Seen(data=rest, inverse=inverse, projector=projector, color=np.asarray(color, np.float32))
