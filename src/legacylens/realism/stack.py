"""A batch of cutouts made ready: sky taken off, noise known, all bands blurred to one PSF."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.special import gamma, kv

from legacylens.realism.measure_config import MeasureConfig

Array = NDArray[np.float32]

LOG_STEP = 0.01
"""Step of the table of the PSF's transform, in k times FWHM."""
FWHM_STEP = 1.09
"""PSFs are blurred to the next FWHM on a ladder of this factor, so that templates can be kept."""
SMALLEST_FWHM = 0.7
"""First step of the ladder [arcsec]."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stack:
    """Cutouts of one size, cropped, with their noise."""

    image: Array
    """Sky-subtracted, PSF-matched, shape ``(object, band, y, x)`` [nanomaggies]."""
    sigma: Array
    """Noise of a template of the size of the PSF, per pixel, shape ``(object, band, y, x)`` [nanomaggies]: the sum of
    n pixels of such a template scatters by sigma sqrt(n), correlation of the pixels included. Zero weight is inf."""
    fwhm: Array
    """FWHM of the common PSF, shape ``(object,)`` [arcsec], a step of the ladder."""
    step: NDArray[np.int64]
    """Number of that step."""
    sky: Array
    """Level that was taken off, shape ``(object, band)`` [nanomaggies/pixel]."""
    pixel_noise: Array
    """Standard deviation of a sky pixel before matching, shape ``(object, band)`` [nanomaggies]."""
    noise_ratio: Array
    """``pixel_noise`` times sqrt(invvar), shape ``(object, band)``; NaN without invvar."""
    lag: Array
    """Correlation of neighboring sky pixels, shape ``(object, band)``."""
    block: Array
    """Noise of sums over 4 x 4 pixels over that of independent ones, shape ``(object, band)``."""
    pixscale: float
    """Pixel [arcsec]."""

    @property
    def half(self) -> int:
        """Half width of the images [pixels]."""
        return int(self.image.shape[-1] // 2)


def ladder(step: int) -> float:
    """Return the FWHM [arcsec] of a step of the ladder."""
    return float(SMALLEST_FWHM * FWHM_STEP**step)


@functools.lru_cache(maxsize=8)
def _log_transfer(beta: float) -> NDArray[np.float64]:
    """Return the logarithm of the Fourier transform of a Moffat profile of FWHM 1, on a grid of k."""
    x = np.maximum(np.arange(0.0, 60.0, LOG_STEP) / (2.0 * np.sqrt(2.0 ** (1.0 / beta) - 1.0)), 1e-6)
    return np.asarray(np.log(2.0 * (0.5 * x) ** (beta - 1.0) * kv(beta - 1.0, x) / gamma(beta - 1.0)))


def log_transfer(k: NDArray[np.floating], beta: float) -> NDArray[np.float64]:
    """Return the logarithm of the transform of a Moffat PSF.

    Parameters
    ----------
    k
        Angular spatial frequency times FWHM.
    beta
        Slope of the wings.

    Notes
    -----
    ``2 (x/2)^(beta-1) K_(beta-1)(x) / Gamma(beta-1)`` with ``x = alpha k``: the Hankel transform of the profile.
    """
    table = _log_transfer(beta)
    return np.asarray(np.interp(k, np.arange(len(table)) * LOG_STEP, table))


@functools.lru_cache(maxsize=8)
def frequencies(n: int, pixscale: float) -> NDArray[np.float64]:
    """Return the length of the angular spatial frequency of a real FFT of n x n pixels [radian/arcsec]."""
    ky, kx = 2.0 * np.pi * fft.fftfreq(n) / pixscale, 2.0 * np.pi * fft.rfftfreq(n) / pixscale
    return np.asarray(np.hypot(ky[:, None], kx))


@functools.lru_cache(maxsize=16)
def radius_map(n: int, pixscale: float) -> NDArray[np.float64]:
    """Return the distance of each pixel from the middle of an n x n image [arcsec]."""
    offset = (np.arange(n) - (n - 1) / 2.0) * pixscale
    return np.asarray(np.hypot(offset[:, None], offset))


def _median(values: Array) -> Array:
    """Return the median of the finite values along the last axis (the lower of two middle ones)."""
    finite = np.isfinite(values).sum(axis=-1)
    return np.take_along_axis(np.sort(values, axis=-1), np.maximum((finite - 1) // 2, 0)[..., None], -1)[..., 0]


def _clipped(values: Array) -> tuple[Array, Array]:
    """Return middle and standard deviation along the last axis, clipped at 2.5 sigma; NaN are left out."""
    values = values.copy()
    middle = _median(values)
    sigma = 1.4826 * _median(np.abs(values - middle[..., None]))
    for _ in range(3):
        values[np.abs(values - middle[..., None]) > 2.5 * sigma[..., None]] = np.nan
        middle = _median(values)
        # A normal distribution cut at 2.5 sigma has a median deviation 0.9811 of that of a whole one.
        sigma = 1.4826 / 0.9811 * _median(np.abs(values - middle[..., None]))
    return middle.astype(np.float32), sigma.astype(np.float32)


def sky_of(
    images: Array, invvars: Array | None, pixscale: float, config: MeasureConfig
) -> tuple[Array, Array, Array, Array, Array]:
    """Return level, pixel noise, its ratio to the stated one, lag-1 correlation and block factor of each sky.

    Parameters
    ----------
    images, invvars
        Shape ``(object, band, y, x)``.
    pixscale
        Pixel [arcsec].
    config
        Where sky begins.
    """
    n, n_band, height, _ = images.shape
    radius = radius_map(height, pixscale)
    limit = min(config.sky_radius, 0.8 * float(radius[height // 2, 0]))
    far = radius > limit
    seen = images != 0
    if invvars is not None:
        seen = seen & (invvars > 0)
    masked = np.where(seen & far, images, np.nan).astype(np.float32)
    flat = masked.reshape(n, n_band, -1)[:, :, far.ravel()]
    level, sigma = _clipped(flat)
    rest = masked - level[..., None, None]
    rest[np.abs(rest) > 3.0 * sigma[..., None, None]] = np.nan
    variance = np.nanmean(rest**2, axis=(-2, -1))
    along = np.nanmean(rest[..., 1:] * rest[..., :-1], axis=(-2, -1))
    across = np.nanmean(rest[..., 1:, :] * rest[..., :-1, :], axis=(-2, -1))
    lag = 0.5 * (along + across) / variance
    m = 4 * (height // 4)
    blocks = rest[..., :m, :m].reshape(n, n_band, m // 4, 4, m // 4, 4).sum((-3, -1)).reshape(n, n_band, -1)
    usable = np.isfinite(blocks).sum(-1) >= 30
    blocks[~usable] = 0.0
    block = _clipped(blocks)[1] / (4.0 * np.sqrt(variance))
    block = np.where(usable, np.clip(block, 0.9, 2.2), 1.3)
    if invvars is None:
        ratio = np.full((n, n_band), np.nan)
    else:
        stated = np.where(seen & far, invvars, np.nan).reshape(n, n_band, -1)[:, :, far.ravel()]
        ratio = sigma * np.sqrt(_median(np.asarray(stated, np.float32)))
    return level, sigma, np.asarray(ratio, np.float32), lag.astype(np.float32), block.astype(np.float32)


def prepare(
    images: Array, invvars: Array | None, fwhm: NDArray[np.floating], pixscale: float, config: MeasureConfig
) -> Stack:
    """Return cutouts ready to be measured.

    Parameters
    ----------
    images
        Shape ``(object, band, y, x)`` [nanomaggies], square, finite.
    invvars
        Same shape [1/nanomaggies^2]; None: the noise is measured on the sky alone.
    fwhm
        FWHM of the PSF, shape ``(object, band)`` [arcsec].
    pixscale
        Pixel [arcsec].
    config
        Settings.

    Notes
    -----
    A band is blurred by the ratio of the transforms of two Moffat profiles, which is between 0 and 1 because the
    common PSF is the wider. Noise of a template of the PSF's size is that of white noise times the transfer of the
    blur averaged over the PSF's spectrum, times the block factor that the sky shows.
    """
    images = np.asarray(images, dtype=np.float32)
    level, noise, ratio, lag, block = sky_of(images, invvars, pixscale, config)
    step = np.ceil(np.log(fwhm.max(axis=1) / SMALLEST_FWHM) / np.log(FWHM_STEP) - 1e-6).astype(np.int64)
    step = np.maximum(step, 0)
    common = SMALLEST_FWHM * FWHM_STEP**step
    size, margin = images.shape[-1], 6
    half = min(round(config.half_width / pixscale), (size - 1) // 2)
    start = (size - (2 * half + 1)) // 2
    low = max(start - margin, 0)
    high = min(start + 2 * half + 1 + margin, size)
    cut = images[..., low:high, low:high] - level[..., None, None]
    n_fft = int(fft.next_fast_len(cut.shape[-1] + 4, real=True))
    k = frequencies(n_fft, pixscale)
    wide = np.stack([log_transfer(k * value, config.moffat_beta) for value in common])
    narrow = np.stack([[log_transfer(k * value, config.moffat_beta) for value in row] for row in fwhm])
    transfer = np.exp(np.minimum(wide[:, None] - narrow, 0.0)).astype(np.float32)
    pad = n_fft - cut.shape[-1]
    spectrum = fft.rfft2(np.pad(cut, ((0, 0), (0, 0), (0, pad), (0, pad)), mode="edge"))
    matched = fft.irfft2(spectrum * transfer, (n_fft, n_fft))
    first = start - low
    image = matched[..., first : first + 2 * half + 1, first : first + 2 * half + 1]
    weight = np.exp(2.0 * wide)[:, None]
    through = (weight * transfer**2).sum((-2, -1)) / weight.sum((-2, -1))
    scale = (block * np.sqrt(through)).astype(np.float32)
    inside = slice(start, start + 2 * half + 1)
    if invvars is None:
        sigma = np.broadcast_to(noise[..., None, None], image.shape).copy()
    else:
        here = invvars[..., inside, inside]
        good = np.where(np.isfinite(ratio) & (ratio > 0.3) & (ratio < 3.0), ratio, 1.0)
        sigma = np.full(image.shape, np.inf, dtype=np.float32)
        np.divide(good[..., None, None], np.sqrt(here), out=sigma, where=here > 0)
    return Stack(
        image=np.ascontiguousarray(image, dtype=np.float32),
        sigma=sigma * scale[..., None, None],
        fwhm=common.astype(np.float32),
        step=step,
        sky=level,
        pixel_noise=noise,
        noise_ratio=ratio,
        lag=lag,
        block=block,
        pixscale=pixscale,
    )
