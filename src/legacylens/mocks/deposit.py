"""Light that falls between the pixels, put on the pixel grid without losing its position.

A PSF-convolved image is band-limited: what matters of a source is its Fourier transform inside the passband of the
PSF. Point-like elements of light are therefore spread on the pixel grid with a smooth kernel (a B-spline, 6 pixels
wide), and the known transform of the kernel is divided out again in Fourier space, where the image is multiplied by
the transform of the PSF anyway. What is left of the grid is the aliased part of the kernel, below 5e-4 of the peak
for PSFs wider than 4 pixels (tested). This is the gridding step of a non-uniform FFT (Dutt & Rokhlin 1993,
SIAM J. Sci. Comput. 14, 1368).
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

DEGREE = 5
"""Degree of the B-spline."""
REACH = 3
"""Half of its support [pixels]."""


def spline(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the quintic B-spline at a distance from its center [pixels]; it integrates to 1 and is 0 from 3 on."""
    u = np.abs(distance)
    return np.asarray(
        (np.maximum(3 - u, 0) ** 5 - 6 * np.maximum(2 - u, 0) ** 5 + 15 * np.maximum(1 - u, 0) ** 5) / 120
    )


def deposit(
    image: NDArray[np.float64], y: NDArray[np.float64], x: NDArray[np.float64], flux: NDArray[np.float64]
) -> None:
    """Add elements of light to an image, in place, spread with the B-spline.

    Parameters
    ----------
    image
        Shape ``(y, x)``; light that falls beyond its edge is dropped.
    y, x
        Positions [pixels], 0 at the center of the first pixel, shape ``(element,)``.
    flux
        Flux of each, shape ``(element,)``.
    """
    ny, nx = image.shape
    top, left = np.floor(y).astype(np.intp) - 2, np.floor(x).astype(np.intp) - 2
    inside = (top > -2 * REACH) & (top < ny) & (left > -2 * REACH) & (left < nx)
    if not inside.all():
        y, x, flux, top, left = y[inside], x[inside], flux[inside], top[inside], left[inside]
    if not len(flux):
        return
    weight_y = _weights(y - top - 2) * flux
    weight_x = _weights(x - left - 2)
    # Summed on the bounding box of the elements, which may stick out of the image.
    first_y, first_x = int(top.min()), int(left.min())
    box = (int(top.max()) - first_y + 2 * REACH, int(left.max()) - first_x + 2 * REACH)
    step = np.arange(2 * REACH)
    cell = ((top - first_y) * box[1] + left - first_x) + (step[:, None] * box[1] + step)[:, :, None]
    light = weight_y[:, None] * weight_x[None]
    total = np.bincount(cell.ravel(), light.ravel(), minlength=box[0] * box[1]).reshape(box)
    ys, xs = slice(max(first_y, 0), max(first_y + box[0], 0)), slice(max(first_x, 0), max(first_x + box[1], 0))
    target = image[ys, xs]
    target += total[max(-first_y, 0) :, max(-first_x, 0) :][: target.shape[0], : target.shape[1]]


def _weights(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the B-spline on the six pixels around elements that lie ``u`` in [0, 1) after the third of them."""
    return spline(np.arange(-2.0, 4.0)[:, None] - u)


@functools.lru_cache(maxsize=64)
def undo(shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return what the real FFT of a deposited image is multiplied by to undo the spreading, shape of that FFT."""
    kernel_y = np.sinc(np.fft.fftfreq(shape[0])) ** (DEGREE + 1)
    kernel_x = np.sinc(np.fft.rfftfreq(shape[1])) ** (DEGREE + 1)
    return np.asarray(1 / (kernel_y[:, None] * kernel_x))
