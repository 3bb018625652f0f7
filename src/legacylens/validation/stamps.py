"""What can be measured on a cutout without looking for a lens: its noise, its holes, where its light is centered.

None of it may tell the classes apart. A class that was resampled has noise that is correlated in another way; one that
was fetched by float32 positions is off center; one that was cut near edges has holes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from legacylens.cutouts.store import CutoutStore

_BATCH = 256
_CORE = 3
"""Half width of the box in which the center of light is measured [pixel]: within the seeing, inside of most arcs."""
_MAD_TO_SIGMA = 1.4826


def border_mask(size: int) -> NDArray[np.bool_]:
    """Return the pixels of a square cutout that are farther from its center than 0.8 of its half width."""
    offset = np.arange(size) - (size - 1) / 2.0
    return np.asarray(np.maximum(np.abs(offset[:, None]), np.abs(offset[None, :])) > 0.4 * size)


def stamp_features(
    images: NDArray[np.floating],
    invvars: NDArray[np.floating] | None,
    maskbits: NDArray[np.integer] | None,
    bands: Sequence[str],
) -> pd.DataFrame:
    """Measure a batch of cutouts.

    Parameters
    ----------
    images
        Shape (n, band, y, x) [nanomaggies].
    invvars
        The same shape [1/nanomaggies^2], or None.
    maskbits
        Shape (n, y, x), or None.
    bands
        Names of the planes.

    Returns
    -------
    features
        One row for each cutout. For each band ``stamp_noise_*`` (robust standard deviation of the border
        [nanomaggies]), ``stamp_lag_*`` (correlation of neighboring pixels there) and, with ``invvars``,
        ``stamp_chi_*`` (noise in units of what the inverse variance says). ``stamp_holes`` (fraction of pixels without
        data), ``stamp_masked`` (with a mask bit); ``centroid_x``, ``centroid_y`` (center of light in r, or the middle
        band, from the central pixel).
    """
    pixels: NDArray[np.float64] = np.asarray(images, dtype=np.float64)
    n, _, size, _ = pixels.shape
    border = border_mask(size)
    result: dict[str, NDArray[np.float64]] = {}
    holes = np.zeros(n)
    for place, band in enumerate(bands):
        plane = pixels[:, place]
        level = np.median(plane[:, border], axis=1)
        noise = _MAD_TO_SIGMA * np.median(np.abs(plane[:, border] - level[:, None]), axis=1)
        result[f"stamp_noise_{band}"] = noise
        result[f"stamp_lag_{band}"] = _lag_one(plane, border, level, noise)
        if invvars is not None:
            weight = np.asarray(invvars[:, place], dtype=np.float64)
            holes += (weight <= 0).mean(axis=(1, 2)) / len(bands)
            typical = np.sqrt(np.maximum(np.median(weight[:, border], axis=1), 0.0))
            result[f"stamp_chi_{band}"] = noise * typical
    if invvars is not None:
        result["stamp_holes"] = holes
    if maskbits is not None:
        result["stamp_masked"] = (np.asarray(maskbits) != 0).mean(axis=(1, 2))
    x, y = _centroid(pixels[:, list(bands).index("r") if "r" in bands else len(bands) // 2])
    return pd.DataFrame({**result, "centroid_x": x, "centroid_y": y})


def _lag_one(
    plane: NDArray[np.float64], border: NDArray[np.bool_], level: NDArray[np.float64], noise: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the correlation of horizontal neighbors in the border, pixels beyond 3 sigma left out."""
    scale = np.where(noise > 0, noise, 1.0)[:, None, None]
    standard = (plane - level[:, None, None]) / scale
    left, right = standard[:, :, :-1], standard[:, :, 1:]
    usable = (border[:, :-1] & border[:, 1:])[None] & (np.abs(left) < 3) & (np.abs(right) < 3)
    count = np.maximum(usable.sum(axis=(1, 2)), 1)
    product = np.where(usable, left * right, 0.0).sum(axis=(1, 2)) / count
    power = np.where(usable, 0.5 * (left**2 + right**2), 0.0).sum(axis=(1, 2)) / count
    return np.asarray(np.divide(product, power, out=np.zeros(len(plane)), where=power > 0))


def _centroid(plane: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the center of light in the central box, from the central pixel [pixel]; 0 where there is no light."""
    middle = plane.shape[-1] // 2
    box = plane[:, middle - _CORE : middle + _CORE + 1, middle - _CORE : middle + _CORE + 1]
    light = np.maximum(box - box.min(axis=(1, 2), keepdims=True), 0.0)
    offset = np.arange(-_CORE, _CORE + 1, dtype=np.float64)
    total = light.sum(axis=(1, 2))
    safe = np.where(total > 0, total, 1.0)
    return (light * offset).sum(axis=(1, 2)) / safe, (light * offset[:, None]).sum(axis=(1, 2)) / safe


def measure_stamps(store: CutoutStore, source_ids: Sequence[str]) -> pd.DataFrame:
    """Measure the cutouts of sources; those that the store lacks are absent from the result.

    Returns
    -------
    stamps
        ``source_id``, ``pixels`` (a hash of the image: the same pixels twice are one object) and the columns of
        `stamp_features`.
    """
    present = [name for name in dict.fromkeys(source_ids) if name in store]
    parts = []
    for start in range(0, len(present), _BATCH):
        names = present[start : start + _BATCH]
        rows = store.index_of(names)
        images = store.images(rows)
        features = stamp_features(
            images,
            store.invvars(rows) if store.has_invvar else None,
            store.maskbits(rows) if store.has_maskbits else None,
            store.bands,
        )
        features.insert(0, "source_id", names)
        features.insert(1, "pixels", [hashlib.sha256(image.tobytes()).hexdigest()[:32] for image in images])
        parts.append(features)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"source_id": pd.Series(dtype=str)})
