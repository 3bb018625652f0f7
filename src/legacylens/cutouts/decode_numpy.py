"""NumPy cutouts (``.npz``, ``.npy``) as users have them, taken apart into the planes of each object.

Understood are arrays ``cutout``, ``image``, ``images`` or ``cutouts`` of shape (y, x, band) or (band, y, x), also with
a leading axis of objects; ``invvar`` and ``maskbits`` of the same layout; and what ``bands``, ``ra``, ``dec``,
``source_id`` and ``pixscale`` say about them, each also with ``meta_`` before it.
"""

from __future__ import annotations

import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from legacylens.cutouts.planes import Planes, known_bands
from legacylens.errors import FileProblem
from legacylens.survey.bands import ALL_BANDS, BANDS

IMAGE_KEYS = ("cutout", "image", "images", "cutouts")
BAND_KEYS = ("bands", "meta_bands", "meta_bands_requested")
NAME_KEYS = ("source_id", "meta_source_id", "meta_galaxy_id", "galaxy_id", "name", "names", "id", "ids")
SCALE_KEYS = ("pixscale", "pixel_scale", "meta_pixscale", "meta_pixel_scale")
_DAMAGE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    MemoryError,  # a damaged shape
    NotImplementedError,  # a damaged compression method
    RuntimeError,  # a damaged flag that says "encrypted"
    SyntaxError,  # NumPy parses its header as Python
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
_REMEDY = "Write it again with numpy.savez(path, cutout=..., bands='grz')."


def planes_of_numpy(path: Path) -> list[Planes]:
    """Read the objects of an ``.npz`` or ``.npy`` file.

    Raises
    ------
    FileProblem
        If it is damaged, has no image array, or the array's axes cannot be told.
    """
    values = _arrays(path)
    key = next((key for key in IMAGE_KEYS if key in values), None)
    if key is None:
        raise FileProblem(
            path,
            f"no array named {', '.join(IMAGE_KEYS)} (it has {', '.join(values) or 'none'})",
            _REMEDY,
            reason="no-image",
        )
    notes: tuple[str, ...] = ()
    bands = _bands(values)
    image = values[key]
    if not bands:
        bands = BANDS
        notes = ("the file does not name its bands: the planes were taken as g, r, z",)
    images, is_single = _objects_first(path, key, image, bands)
    invvars = None
    if "invvar" in values:
        invvars, _ = _objects_first(path, "invvar", values["invvar"], bands)
    masks = values.get("maskbits")
    if masks is not None and masks.ndim == 2:
        masks = masks[None]
    for name, array in (("invvar", invvars), ("maskbits", masks)):
        if array is not None and len(array) != len(images):
            raise FileProblem(path, f"{len(array)} {name} for {len(images)} images", _REMEDY, reason="wrong-size")
    names = _texts(values, NAME_KEYS, len(images))
    ra, dec = _numbers(values, ("ra", "meta_ra"), len(images)), _numbers(values, ("dec", "meta_dec"), len(images))
    scale = next((float(values[key]) for key in SCALE_KEYS if key in values and values[key].size == 1), None)
    stem = path.stem
    return [
        Planes(
            path=str(path),
            name=names[number] or (stem if is_single else f"{stem}_{number:03d}"),
            images=dict(zip(bands, images[number].astype(np.float64), strict=True)),
            invvars={} if invvars is None else dict(zip(bands, invvars[number].astype(np.float64), strict=True)),
            maskbits=None if masks is None else masks[number].astype(np.int32),
            ra=ra[number] % 360.0,
            dec=dec[number],
            pixscale=scale,
            notes=notes,
        )
        for number in range(len(images))
    ]


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as handle, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a damaged header is parsed as Python, which may warn before it fails
            loaded = np.load(handle, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"cutout": loaded}
            # Entries of Python objects need unpickling, which runs what is in the file: they are passed over.
            return {key: value for key in loaded.files if (value := _entry(loaded, key)) is not None}
    except _DAMAGE as error:
        raise FileProblem(
            path, f"truncated or damaged NumPy file ({error})", "Fetch or write the file again.", reason="truncated"
        ) from error


def _entry(loaded: Mapping[str, NDArray[Any]], key: str) -> NDArray[Any] | None:
    try:
        return loaded[key]
    except ValueError as error:
        if "Object arrays" in str(error):
            return None
        raise


def _bands(values: Mapping[str, NDArray[Any]]) -> tuple[str, ...]:
    for key in BAND_KEYS:
        if key in values and values[key].dtype.kind in "SU":
            words = [word.decode() if isinstance(word, bytes) else str(word) for word in np.atleast_1d(values[key])]
            return known_bands("".join(words))
    return ()


def _objects_first(path: Path, key: str, array: NDArray[Any], bands: tuple[str, ...]) -> tuple[NDArray[Any], bool]:
    """Return an array of shape (object, band, y, x), and whether the file had one object without an axis for it."""
    if array.dtype.kind not in "fiu" or array.ndim not in (3, 4):
        raise FileProblem(path, f"{key} is {array.dtype} of shape {array.shape}", _REMEDY, reason="wrong-size")
    is_single = array.ndim == 3
    stack = array[None] if is_single else array
    n = len(bands)
    # The band axis is short: (y, x, band) and (band, y, x) cannot both fit unless the image is 3 pixels wide.
    if stack.shape[1] == n and stack.shape[-1] != n:
        return stack, is_single
    if stack.shape[-1] == n:
        return np.moveaxis(stack, -1, 1), is_single
    planes = sorted(length for length in stack.shape[1:] if length <= len(ALL_BANDS) + 1)
    what = f"{key} of shape {array.shape} has no axis of {n} planes for the bands {''.join(bands)}"
    if planes and planes[0] < len(BANDS):
        raise FileProblem(path, what, "Give g, r and z.", reason="missing-band")
    raise FileProblem(path, what, "Name the bands in an array 'bands', e.g. 'grz'.", reason="bands")


def _texts(values: Mapping[str, NDArray[Any]], keys: tuple[str, ...], n: int) -> list[str]:
    for key in keys:
        if key in values and values[key].size == n:
            return [
                value.decode() if isinstance(value, bytes) else str(value) for value in values[key].reshape(-1).tolist()
            ]
    return [""] * n


def _numbers(values: Mapping[str, NDArray[Any]], keys: tuple[str, ...], n: int) -> list[float]:
    for key in keys:
        if key in values and values[key].size == n and values[key].dtype.kind in "fiu":
            return [float(value) for value in values[key].reshape(-1)]
    return [float("nan")] * n
