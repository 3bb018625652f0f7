"""Where a network looks in one picture: how much its logit falls when a patch is replaced by the galaxy without it.

Patches are filled with the median profile of the galaxy and noise, not with zeros: a hole is something that no network
has seen. The map says what this picture's score rests on, and nothing about other pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from legacylens.errors import InputError
from legacylens.validation.shortcut_edits import profile_only, radius_map

Logits = Callable[[NDArray[np.float32]], NDArray[np.floating]]
_BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Saliency:
    """Where the score of a picture comes from."""

    fall: NDArray[np.float64]
    """By how much the logit falls without a patch, for each pixel the mean over the patches that hold it, (y, x)."""
    logit: float
    """Of the picture as it is."""
    patch: int
    """Side of a patch [pixels]."""

    def share_within(self, inner: float, outer: float, pixscale: float) -> float:
        """Return which part of all falls lies between two radii [arcsec]; 0 where nothing makes the logit fall."""
        radius = radius_map(self.fall.shape[-1], pixscale)
        positive = np.maximum(self.fall, 0.0)
        total = float(positive.sum())
        return float(positive[(radius >= inner) & (radius < outer)].sum()) / total if total > 0 else 0.0


def occlusion_saliency(
    logits: Logits, image: NDArray[np.float32], rng: np.random.Generator, *, patch: int = 9, step: int = 4
) -> Saliency:
    """Return the saliency of a picture.

    Parameters
    ----------
    logits
        The network with its preprocessing, e.g. `legacylens.scan.scorer.Scorer.logits`.
    image
        Shape ``(band, y, x)`` [nanomaggies].
    rng
        Draws the noise of the filling.
    patch, step
        Side of a patch, and by how much it is moved [pixels].

    Raises
    ------
    InputError
        If the patch does not fit, or the picture has no finite score.
    """
    size = image.shape[-1]
    if not 1 <= step <= patch <= size:
        raise InputError(f"patches of {patch} pixels in steps of {step} do not cover a picture of {size}")
    base = float(np.asarray(logits(image[None]))[0])
    if not np.isfinite(base):
        raise InputError("the picture has no finite score; look for NaN pixels")
    quiet = profile_only(image[None], rng, 0.5)[0]
    starts = sorted({*range(0, size - patch + 1, step), size - patch})
    corners = [(y, x) for y in starts for x in starts]
    total, count = np.zeros((size, size)), np.zeros((size, size))
    for first in range(0, len(corners), _BATCH):
        part = corners[first : first + _BATCH]
        pictures = np.repeat(image[None], len(part), axis=0)
        for picture, (y, x) in zip(pictures, part, strict=True):
            picture[:, y : y + patch, x : x + patch] = quiet[:, y : y + patch, x : x + patch]
        falls = base - np.asarray(logits(pictures), dtype=np.float64)
        for fall, (y, x) in zip(falls, part, strict=True):
            total[y : y + patch, x : x + patch] += fall
            count[y : y + patch, x : x + patch] += 1.0
    return Saliency(fall=total / count, logit=base, patch=patch)
