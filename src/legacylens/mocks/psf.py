"""Point-spread functions on the pixels of the survey.

The survey's PSF models are *effective* PSFs: they already contain the response of the pixel, because they were fitted
to pixel values, and ``psfsize_*`` is the FWHM of such a model. So an image is the surface brightness times the pixel
area, convolved with the PSF and *sampled* at the pixel centers; averaging over the pixel as well would count the pixel
twice and lower the peak of an arc by 2 or 3 %. In GalSim's words: ``drawImage(method="no_pixel")``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from legacylens.errors import PhysicalRangeError
from legacylens.survey.bands import PIXSCALE

PSF_SIZE = 63
"""Width of a PSF image [pixels]; the size of the survey's PSFEx models."""
SUM_TOLERANCE = 1e-3
"""How far from 1 the sum of a PSF may be; the flux of every arc carries the difference."""
NEGATIVE_LIMIT = 0.01
"""Flux that may be negative in a PSF; noise of a measured model, not a ringing kernel."""


def moffat_psf(
    fwhm_arcsec: float, beta: float = 3.0, *, size: int = PSF_SIZE, pixscale: float = PIXSCALE
) -> NDArray[np.float64]:
    """Return a circular Moffat PSF as an effective PSF: pixel response included, sum 1.

    Parameters
    ----------
    fwhm_arcsec
        FWHM of the delivered image of a star, pixel included, such as ``psfsize_g`` [arcsec].
    beta
        Exponent of the wings, > 1; 2.5 to 4.5 on the ground.
    size
        Width of the image [pixels], odd.
    pixscale
        Pixel [arcsec].

    Returns
    -------
    psf
        Shape ``(size, size)``, centered on the middle pixel.

    Raises
    ------
    PhysicalRangeError
        If the FWHM is not above one pixel (then a sampled profile has no meaning), ``beta`` not above 1, or
        ``size`` even.
    """
    if not fwhm_arcsec > pixscale:
        raise PhysicalRangeError("fwhm_arcsec", fwhm_arcsec, f"> {pixscale} arcsec (one pixel)", "Check its unit.")
    if not beta > 1:
        raise PhysicalRangeError("beta", beta, "> 1", "A Moffat profile with beta <= 1 has infinite flux.")
    if size < 3 or size % 2 == 0:
        raise PhysicalRangeError("size", size, "the odd numbers from 3", "The PSF is centered on a pixel.")
    alpha = fwhm_arcsec / (2 * np.sqrt(2 ** (1 / beta) - 1))
    offset = (np.arange(size) - size // 2) * pixscale
    psf = (1 + (offset[:, None] ** 2 + offset**2) / alpha**2) ** -beta
    return np.asarray(psf / psf.sum())


def moffat_psfs(
    fwhm_arcsec: Sequence[float],
    beta: float | Sequence[float] = 3.0,
    *,
    size: int = PSF_SIZE,
    pixscale: float = PIXSCALE,
) -> NDArray[np.float64]:
    """Return one Moffat PSF for each band, shape ``(band, size, size)``; see `moffat_psf`."""
    betas = np.broadcast_to(np.asarray(beta, dtype=np.float64), (len(fwhm_arcsec),))
    return np.stack(
        [moffat_psf(float(f), float(b), size=size, pixscale=pixscale) for f, b in zip(fwhm_arcsec, betas, strict=True)]
    )


@dataclass(frozen=True, slots=True, eq=False)
class Psf:
    """The effective PSFs of an image, one for each band, checked at birth.

    Keep one for all the galaxies of an image: its transforms are remembered.
    """

    stamps: NDArray[np.float64]
    """Images of a star of unit flux, shape ``(band, k, k)`` with odd k, centered on the middle pixel."""
    _transforms: dict[tuple[int, int], NDArray[np.complex128]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        stamps = np.asarray(self.stamps, dtype=np.float64)
        if stamps.ndim == 2:
            stamps = stamps[None]
        object.__setattr__(self, "stamps", stamps)
        if stamps.ndim != 3 or stamps.shape[1] != stamps.shape[2] or stamps.shape[1] % 2 == 0:
            raise PhysicalRangeError(
                "shape of the psf",
                stamps.shape,
                "(band, k, k) with odd k",
                "Crop it to an odd square around the star.",
            )
        total = stamps.sum((1, 2))
        if not np.all(np.abs(total - 1) <= SUM_TOLERANCE):
            worst = float(total[np.argmax(np.where(np.isfinite(total), np.abs(total - 1), np.inf))])
            raise PhysicalRangeError(
                "sum of the psf", worst, f"1 +- {SUM_TOLERANCE}", "Divide it by its sum, after subtracting any sky."
            )
        negative = -np.minimum(stamps, 0).sum((1, 2))
        if not np.all(negative <= NEGATIVE_LIMIT):
            raise PhysicalRangeError(
                "negative flux of the psf",
                float(negative.max()),
                f"[0, {NEGATIVE_LIMIT}] of its sum",
                "Use the survey's PSF model or a Moffat profile; a sharpened PSF makes dark rings.",
            )

    @property
    def half(self) -> int:
        """Half width [pixels]: how far outside of an image its light can still come from."""
        return int(self.stamps.shape[1] // 2)

    def transform(self, shape: tuple[int, int]) -> NDArray[np.complex128]:
        """Return the real FFT of the PSFs on a grid, with the star on pixel (0, 0); remembered."""
        if shape not in self._transforms:
            k = self.stamps.shape[1]
            padded = np.zeros((len(self.stamps), *shape))
            padded[:, :k, :k] = self.stamps
            padded = np.roll(padded, (-self.half, -self.half), (1, 2))
            self._transforms[shape] = fft.rfft2(padded)
        return self._transforms[shape]


def as_psf(psf: Psf | ArrayLike) -> Psf:
    """Return a `Psf` of what may be one already."""
    return psf if isinstance(psf, Psf) else Psf(np.asarray(psf))


@functools.lru_cache(maxsize=64)
def good_size(n: int) -> int:
    """Return the next size for which an FFT is fast."""
    return int(fft.next_fast_len(n, real=True))
