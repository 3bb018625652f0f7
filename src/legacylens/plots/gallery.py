"""Color pictures of candidates, from the cutout store into a page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from legacylens.cutouts.rgb import rgb
from legacylens.cutouts.store import CutoutStore
from legacylens.plots.style import data_uri


def picture_uri(image: NDArray[np.floating], bands: Sequence[str]) -> str:
    """Return a cutout (band, y, x) [nanomaggies] as a PNG ``data:`` URI, north up and east to the left."""
    picture = Image.fromarray(np.ascontiguousarray(rgb(image, bands)[::-1]))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return data_uri(buffer.getvalue(), "image/png")


def pictures_from_store(store_path: str | Path, source_ids: Sequence[str]) -> dict[str, str]:
    """Return a picture for each source that the store has; the others are absent from the result."""
    with CutoutStore.open(store_path) as store:
        present = [name for name in dict.fromkeys(source_ids) if name in store]
        if not present:
            return {}
        images = store.images(store.index_of(present))
        return {name: picture_uri(image, store.bands) for name, image in zip(present, images, strict=True)}
