"""Noise of a coadd: Gaussian, correlated between pixels as the survey's resampling leaves it.

The lags were measured on brick pixels of DR9 south (r: 0.12, -0.06, 0.04 at 1, 2, 3 pixels, 0.02 on the diagonal;
standard deviation 0.91 / sqrt(invvar)) and on DR10 cutouts (0.10 to 0.31, -0.05 to -0.19, 0.05). One Lanczos-3
resampling makes such a pattern: separable, with a negative second lag.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

LAGS = (1.0, 0.16, -0.09, 0.04)
"""Autocorrelation along a row or column at 0, 1, 2, 3 pixels."""

PIXEL_SIGMA = 0.91
"""Standard deviation of a pixel in units of 1/sqrt(invvar)."""


@functools.cache
def kernel(lags: tuple[float, ...] = LAGS, half: int = 8) -> NDArray[np.float64]:
    """Return the symmetric 1-D filter that gives white noise these autocorrelations, of unit sum of squares.

    Notes
    -----
    The filter's spectrum is the square root of the wanted power spectrum 1 + 2 sum rho_j cos(j k).
    """
    k = 2.0 * np.pi * np.fft.fftfreq(256)
    power = lags[0] + 2.0 * sum(rho * np.cos(j * k) for j, rho in enumerate(lags) if j)
    full = np.fft.fftshift(np.fft.ifft(np.sqrt(power)).real)
    taps = full[128 - half : 128 + half + 1]
    return np.asarray(taps / np.sqrt(np.sum(taps**2)))


def correlate(white: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return white noise (y, x) filtered to the coadd's correlation; the variance is kept."""
    taps = kernel().astype(np.float32)
    return np.asarray(
        correlate1d(correlate1d(white, taps, axis=0, mode="wrap"), taps, axis=1, mode="wrap"), dtype=np.float32
    )


def aperture_factor() -> float:
    """Return the factor by which the noise of a wide aperture exceeds sqrt(n) / sqrt(invvar)."""
    return float(PIXEL_SIGMA * np.sum(kernel()) ** 2)


def coadd_noise(
    white: NDArray[np.float32], invvar: NDArray[np.float32], model: NDArray[np.float32], sky: float
) -> NDArray[np.float32]:
    """Return the noise of an image.

    Parameters
    ----------
    white
        Unit white noise (y, x).
    invvar
        Inverse variance of the sky noise [1/nanomaggies^2]; 0 where nothing was observed.
    model
        Noise-free image [nanomaggies].
    sky
        Sky brightness that made ``invvar`` [nanomaggies/pixel]. A source of that brightness doubles the variance:
        the effective gain is sky * invvar, pixel by pixel, never a constant.

    Returns
    -------
    noise
        [nanomaggies], 0 where invvar is 0.
    """
    seen = invvar > 0
    variance = np.divide(1.0 + np.maximum(model, 0.0) / np.float32(sky), invvar, out=np.zeros_like(invvar), where=seen)
    noise = correlate(white * np.sqrt(variance)) * np.float32(PIXEL_SIGMA)
    noise[~seen] = 0.0
    return noise
