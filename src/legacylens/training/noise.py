"""Noise that is correlated between pixels as that of a survey coadd, for many cutouts at a time."""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from legacylens.mocks.noise import kernel


def correlate(white: Tensor) -> Tensor:
    """Return white noise ``(n, band, y, x)`` filtered to the correlation of a coadd; its variance is kept.

    `legacylens.mocks.noise.correlate` in a batch, and its measured lags. Both filters are matrices: a product of
    matrices is twenty times faster than a convolution of single planes.
    """
    rows, columns = (torch.from_numpy(_filter(n)) for n in white.shape[2:])
    return rows @ white @ columns.T


@functools.cache
def _filter(n: int) -> NDArray[np.float32]:
    """Return the coadd's filter along one axis of ``n`` pixels as a circulant matrix, ``(n, n)``."""
    taps = kernel()
    matrix = np.zeros((n, n), dtype=np.float32)
    for offset, tap in zip(range(-(len(taps) // 2), len(taps) // 2 + 1), taps, strict=True):
        matrix[np.arange(n), (np.arange(n) + offset) % n] += tap
    return matrix
