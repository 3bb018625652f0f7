"""A frozen picture of a cutout in a few dozen numbers that was made for nothing in particular: a scattering transform.

It knows nothing of arcs or of these simulations, so a classifier on top of it is an outsider's opinion.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Array = NDArray[np.float32]

SIDE = 64
"""Middle part of a cutout that is transformed [pixels]."""
SCALES = 3
"""Wavelets of 2, 4 and 8 pixels."""
ANGLES = 4
POOL = 12.0
"""Gaussian window around the middle over which moduli are averaged [pixels]."""
BATCH = 64


@functools.cache
def _wavelets() -> tuple[Array, Array]:
    """Return transforms of the Morlet wavelets, shape ``(scale, angle, SIDE, SIDE)``, and the window."""
    k = 2.0 * np.pi * np.fft.fftfreq(SIDE)
    ky, kx = k[:, None], k[None, :]
    bank = np.empty((SCALES, ANGLES, SIDE, SIDE))
    for scale in range(SCALES):
        center, width = 0.75 * np.pi / 2.0**scale, 0.8 * 2.0**scale
        for angle in range(ANGLES):
            theta = np.pi * angle / ANGLES
            along = kx * np.cos(theta) + ky * np.sin(theta)
            across = -kx * np.sin(theta) + ky * np.cos(theta)
            wave = np.exp(-0.5 * width**2 * ((along - center) ** 2 + (1.3 * across) ** 2))
            low = np.exp(-0.5 * width**2 * (along**2 + (1.3 * across) ** 2))
            bank[scale, angle] = wave - low * wave[0, 0] / low[0, 0]
    offset = np.arange(SIDE) - SIDE / 2.0 + 0.5
    window = np.exp(-0.5 * (offset[:, None] ** 2 + offset**2) / POOL**2)
    return bank.astype(np.float32), (window / window.sum()).astype(np.float32)


def embed(images: Array, noise: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return scattering coefficients of first and second order, averaged over orientation.

    Parameters
    ----------
    images
        Shape ``(object, 3, y, x)`` [nanomaggies], at least 64 pixels wide.
    noise
        Standard deviation of a sky pixel, shape ``(object, 3)``.

    Returns
    -------
    coefficients
        Shape ``(object, 33)``: of g, r and g - r in units of the noise behind an arsinh, logarithms.
    """
    start = (images.shape[-1] - SIDE) // 2
    parts = []
    for first in range(0, len(images), BATCH):
        some = slice(first, first + BATCH)
        cut = images[some, :, start : start + SIDE, start : start + SIDE] / noise[some, :, None, None].astype(
            np.float32
        )
        planes = np.arcsinh(np.stack([cut[:, 0], cut[:, 1], cut[:, 0] - cut[:, 1]], axis=1) / 3.0)
        parts.append(_scatter(planes))
    return np.concatenate(parts)


def _scatter(planes: NDArray[np.floating]) -> NDArray[np.float64]:
    bank, window = _wavelets()
    spectrum = fft.fft2(planes)
    columns = [(planes * window).sum((2, 3))]
    for scale in range(SCALES):
        modulus = np.abs(fft.ifft2(spectrum[:, :, None] * bank[scale]))
        first = (modulus * window).sum((3, 4))
        columns.append(np.log(first.mean(axis=2) + 1e-4))
        # How unequal orientations are: an arc is, noise is not.
        columns.append(first.std(axis=2) / (first.mean(axis=2) + 1e-4))
        inner = fft.fft2(modulus)
        for coarser in range(scale + 1, SCALES):
            total = np.zeros(planes.shape[:2], np.float32)
            for angle in range(ANGLES):
                total += (np.abs(fft.ifft2(inner * bank[coarser, angle])) * window).sum((3, 4)).mean(axis=2)
            columns.append(np.log(total / ANGLES + 1e-4))
    columns.append(np.log((planes**2 * window).sum((2, 3)) + 1e-4))
    return np.concatenate(columns, axis=1).astype(np.float64)


def thumbnails(images: Array, noise: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return what a small network looks at: g and g - r of the middle, averaged over 3 x 3 pixels, as rows.

    Parameters
    ----------
    images, noise
        As for `embed`.
    """
    side = 45
    start = (images.shape[-1] - side) // 2
    cut = images[:, :, start : start + side, start : start + side] / noise[:, :, None, None]
    small = cut.reshape(len(cut), 3, 15, 3, 15, 3).mean((3, 5))
    planes = np.arcsinh(np.stack([small[:, 0], small[:, 0] - 0.5 * small[:, 1]], axis=1))
    return np.asarray(planes.reshape(len(images), -1), dtype=np.float64)
