"""Many cutouts on disk: shards of plain ``.npy`` arrays, and a Parquet manifest beside each.

::

    STORE/
      store.json                  bands, stamp, pixel scale, which arrays
      shard-000000/               some 2,000 cutouts
        image.npy                 float32 (n, band, y, x) [nanomaggies]
        invvar.npy                float32 (n, band, y, x) [1/nanomaggies^2], optional
        maskbits.npy              int32 (n, y, x), optional
        manifest.parquet          one row for each cutout, in order: source_id, ra, dec, origin, ...
      shard-000001/ ...

A shard is written under a temporary name and renamed when it is whole, so a killed writer leaves whole shards and one
leftover that the next writer removes. A shard whose files have been cut short since is set aside when the store is
opened (`CutoutStore.damaged`) and replaced by the next writer. Why this container: docs/decisions/0002.
"""

from __future__ import annotations

import collections
import functools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from legacylens.cutouts.cutout import Cutout
from legacylens.errors import FileProblem, InputError
from legacylens.files import read_parquet, write_json
from legacylens.survey.bands import ALL_BANDS

FORMAT = "legacylens cutout store"
VERSION = 1
DESCRIPTION_NAME = "store.json"
MANIFEST_NAME = "manifest.parquet"
SHARD_PREFIX = "shard-"
DTYPES = {"image": np.dtype("<f4"), "invvar": np.dtype("<f4"), "maskbits": np.dtype("<i4")}
"""Element type of each array on disk."""
MAX_OPEN_FILES = 128
"""Files that a store keeps open at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreDescription:
    """What every cutout of a store has in common."""

    bands: tuple[str, ...]
    """Names of the image planes."""
    stamp: int
    """Side [pixel]."""
    pixscale: float
    """Pixel scale [arcsec/pixel]."""
    arrays: tuple[str, ...]
    """Arrays of each shard: "image", and "invvar", "maskbits" where stored."""

    def shape(self, array: str) -> tuple[int, ...]:
        """Return the shape of one cutout in an array."""
        plane = (self.stamp, self.stamp)
        return plane if array == "maskbits" else (len(self.bands), *plane)

    def row_bytes(self, array: str) -> int:
        """Return the bytes that one cutout takes in an array."""
        return int(np.prod(self.shape(array))) * DTYPES[array].itemsize

    def write(self, folder: Path) -> None:
        """Write ``store.json``."""
        write_json(
            folder / DESCRIPTION_NAME,
            {
                "format": FORMAT,
                "version": VERSION,
                "bands": list(self.bands),
                "stamp": self.stamp,
                "pixscale": self.pixscale,
                "arrays": list(self.arrays),
            },
        )

    @classmethod
    def read(cls, folder: Path) -> StoreDescription:
        """Read ``store.json``.

        Raises
        ------
        FileProblem
            If there is none, or it is none of ours.
        """
        path = folder / DESCRIPTION_NAME
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record.get("format") != FORMAT or record.get("version") != VERSION:
                raise FileProblem(
                    path,
                    f"format {record.get('format')!r} version {record.get('version')!r} is not {FORMAT!r} {VERSION}",
                    "Cut the store again with this version of legacylens.",
                    reason="other-format",
                )
            description = cls(
                bands=tuple(record["bands"]),
                stamp=int(record["stamp"]),
                pixscale=float(record["pixscale"]),
                arrays=tuple(record["arrays"]),
            )
        except FileNotFoundError:
            raise FileProblem(
                path,
                "not found, so this is no cutout store",
                "Write one with `legacylens cutouts cut`, or give another path.",
                reason="missing",
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FileProblem(
                path, f"broken description ({error!r})", "Cut the store again.", reason="truncated"
            ) from error
        if not set(description.bands) <= set(ALL_BANDS) or not set(description.arrays) <= set(DTYPES):
            raise FileProblem(
                path,
                f"unknown bands {description.bands} or arrays {description.arrays}",
                "Cut the store again.",
                reason="other-format",
            )
        return description


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A whole shard on disk."""

    folder: Path
    """Where it is."""
    length: int
    """Number of cutouts."""
    offsets: tuple[int, ...]
    """First byte of the data in each of the store's arrays."""


def _array_header(path: Path) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Return shape, dtype and data offset of an ``.npy`` file."""
    with path.open("rb") as handle:
        version = np.lib.format.read_magic(handle)
        if version != (1, 0):
            raise ValueError(f"npy version {version}")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(handle)
        if fortran_order:
            raise ValueError("Fortran order")
        return shape, dtype, handle.tell()


def inspect_shard(folder: Path, description: StoreDescription) -> Shard:
    """Return the shard in ``folder`` after checking that each of its files is whole.

    Raises
    ------
    FileProblem
        If a file is absent, cut short or of another shape.
    """
    remedy = "Run the step that writes the store again: it replaces this shard and keeps the others."
    lengths, offsets = [], []
    for array in description.arrays:
        path = folder / f"{array}.npy"
        try:
            shape, dtype, offset = _array_header(path)
            size = path.stat().st_size
        except (OSError, ValueError) as error:
            raise FileProblem(path, f"not a readable array ({error})", remedy, reason="truncated") from error
        if dtype != DTYPES[array] or shape[1:] != description.shape(array):
            raise FileProblem(
                path,
                f"{dtype} {shape} is not {DTYPES[array]} (n, {', '.join(map(str, description.shape(array)))})",
                remedy,
                reason="other-format",
            )
        expected = offset + shape[0] * description.row_bytes(array)
        if size != expected:
            raise FileProblem(path, f"{size} bytes where {expected} belong", remedy, reason="truncated")
        lengths.append(shape[0])
        offsets.append(offset)
    n_rows = _manifest_rows(folder / MANIFEST_NAME, remedy)
    if len({*lengths, n_rows}) != 1:
        raise FileProblem(
            folder, f"arrays of {lengths} cutouts with a manifest of {n_rows} rows", remedy, reason="truncated"
        )
    return Shard(folder=folder, length=n_rows, offsets=tuple(offsets))


def _manifest_rows(path: Path, remedy: str) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowException, OSError) as error:
        raise FileProblem(path, f"not a readable manifest ({error})", remedy, reason="truncated") from error


def shard_folders(folder: Path) -> list[Path]:
    """Return the shard folders of a store, in order."""
    return sorted(entry for entry in folder.glob(f"{SHARD_PREFIX}*") if entry.is_dir())


class CutoutStore:
    """A store of cutouts, open for reading.

    Reading is by position in the store (0 to ``len(store) - 1``, the order of `manifest`). A store may be pickled and
    sent to another process, which opens the files for itself.
    """

    def __init__(
        self, path: Path, description: StoreDescription, shards: Sequence[Shard], damaged: Sequence[FileProblem]
    ) -> None:
        self.path = path
        self.description = description
        self.shards = tuple(shards)
        self.damaged = tuple(damaged)
        """One problem for each shard that was set aside."""
        self._starts = np.concatenate([[0], np.cumsum([shard.length for shard in self.shards], dtype=np.int64)])
        self._handles: collections.OrderedDict[tuple[int, str], int] = collections.OrderedDict()

    @classmethod
    def open(cls, path: str | Path) -> CutoutStore:
        """Open a store.

        Raises
        ------
        FileProblem
            If ``path`` is no store. Damaged shards are no error: they are left out and listed in `damaged`.
        """
        path = Path(path)
        description = StoreDescription.read(path)
        shards, damaged = [], []
        for folder in shard_folders(path):
            try:
                shards.append(inspect_shard(folder, description))
            except FileProblem as problem:
                damaged.append(problem)
        return cls(path, description, shards, damaged)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the image planes."""
        return self.description.bands

    @property
    def stamp(self) -> int:
        """Side of a cutout [pixel]."""
        return self.description.stamp

    @property
    def has_invvar(self) -> bool:
        """Whether inverse variances are stored."""
        return "invvar" in self.description.arrays

    @property
    def has_maskbits(self) -> bool:
        """Whether mask bits are stored."""
        return "maskbits" in self.description.arrays

    @functools.cached_property
    def manifest(self) -> pd.DataFrame:
        """One row for each cutout in store order; ``source_id`` first, then ra, dec [deg] and what the writer added.

        Raises
        ------
        FileProblem
            If a source is in the store twice.
        """
        frames = [read_parquet(shard.folder / MANIFEST_NAME) for shard in self.shards]
        if not frames:
            return pd.DataFrame({"source_id": pd.Series(dtype=str), "ra": pd.Series(dtype=float)}).assign(
                dec=pd.Series(dtype=float), origin=pd.Series(dtype=str)
            )
        frame = pd.concat(frames, ignore_index=True)
        twice = frame["source_id"].duplicated()
        if twice.any():
            raise FileProblem(
                self.path,
                f"{int(twice.sum())} sources are in the store twice, the first is {frame['source_id'][twice].iloc[0]}",
                "Cut the store again into an empty folder.",
                reason="duplicates",
            )
        return frame

    @functools.cached_property
    def _index(self) -> pd.Index[str]:
        return pd.Index(self.manifest["source_id"].astype(str))

    def __contains__(self, source_id: object) -> bool:
        return source_id in self._index

    def index_of(self, source_ids: Sequence[str] | pd.Series | NDArray[Any]) -> NDArray[np.int64]:
        """Return the positions of sources in the store.

        Raises
        ------
        InputError
            If a source is not in the store.
        """
        found = np.asarray(self._index.get_indexer(pd.Index(source_ids)), dtype=np.int64)
        absent = np.flatnonzero(found < 0)
        if len(absent):
            names = ", ".join(str(list(source_ids)[row]) for row in absent[:3])
            raise InputError(
                f"{len(absent)} of {len(found)} sources are not in the store {self.path}: {names}"
                + ("..." if len(absent) > 3 else "")
                + ". See its quarantine table for the reasons."
            )
        return found

    def images(self, indices: ArrayLike) -> NDArray[np.float32]:
        """Return images, shape (n, band, y, x) [nanomaggies]."""
        return self._read("image", indices)

    def invvars(self, indices: ArrayLike) -> NDArray[np.float32]:
        """Return inverse variances, shape (n, band, y, x) [1/nanomaggies^2].

        Raises
        ------
        InputError
            If the store has none.
        """
        return self._read("invvar", indices)

    def maskbits(self, indices: ArrayLike) -> NDArray[np.int32]:
        """Return mask bits, shape (n, y, x).

        Raises
        ------
        InputError
            If the store has none.
        """
        return self._read("maskbits", indices)

    def cutout(self, index: int) -> Cutout:
        """Return one cutout with everything the store has of it."""
        row = self.manifest.iloc[index]
        return Cutout(
            source_id=str(row["source_id"]),
            ra=float(row["ra"]),
            dec=float(row["dec"]),
            bands=self.bands,
            image=self.images([index])[0],
            invvar=self.invvars([index])[0] if self.has_invvar else None,
            maskbits=self.maskbits([index])[0] if self.has_maskbits else None,
            pixscale=self.description.pixscale,
            origin=str(row["origin"]),
        )

    def batches(
        self, size: int, *, indices: ArrayLike | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Iterate over (positions, images) in batches of ``size``; only one batch is in memory at a time.

        Parameters
        ----------
        size
            Cutouts in a batch; the last may be smaller.
        indices
            Positions to visit, in this order; None: all, in store order, which is the fastest.
        """
        if size < 1:
            raise InputError(f"batch size {size} is not at least 1")
        order = np.arange(len(self)) if indices is None else np.asarray(indices, dtype=np.int64)
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            yield chosen, self.images(chosen)

    def size_on_disk(self) -> int:
        """Return the bytes of all files of the store."""
        return sum(entry.stat().st_size for entry in self.path.rglob("*") if entry.is_file())

    def close(self) -> None:
        """Close the open files; the store opens them again when it is read."""
        while self._handles:
            os.close(self._handles.popitem()[1])

    def __enter__(self) -> CutoutStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_handles"):
            self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return CutoutStore, (self.path, self.description, self.shards, self.damaged)

    def _handle(self, shard: int, array: str) -> int:
        key = (shard, array)
        if key in self._handles:
            self._handles.move_to_end(key)
            return self._handles[key]
        if len(self._handles) >= MAX_OPEN_FILES:
            os.close(self._handles.popitem(last=False)[1])
        path = self.shards[shard].folder / f"{array}.npy"
        try:
            self._handles[key] = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except FileNotFoundError:
            raise FileProblem(
                path, "gone since the store was opened", "Open the store again.", reason="missing"
            ) from None
        return self._handles[key]

    def _read(self, array: str, indices: ArrayLike) -> NDArray[Any]:
        """Read rows of an array, one system call for each run of consecutive rows.

        Positional reads and not memory maps: as fast when warm (150,000 cutouts/s either way), they leave no mapped
        pages behind in a long scan, and a file cut short while it is read is an error and not a crash of the process.
        """
        if array not in self.description.arrays:
            raise InputError(f"the store {self.path} holds {', '.join(self.description.arrays)}, but no {array}")
        positions = np.atleast_1d(np.asarray(indices))
        if positions.size and positions.dtype.kind not in "iu":
            raise InputError(f"positions in a store are integers, got {positions.dtype}")
        positions = positions.astype(np.int64)
        if positions.size and (positions.min() < 0 or positions.max() >= len(self)):
            raise InputError(
                f"positions {positions.min()}..{positions.max()} are outside the store's 0..{len(self) - 1}"
            )
        out = np.empty((len(positions), *self.description.shape(array)), dtype=DTYPES[array])
        if not len(positions):
            return out
        row_bytes = self.description.row_bytes(array)
        column = self.description.arrays.index(array)
        flat = out.reshape(-1).view(np.uint8).data
        shard_of = np.searchsorted(self._starts, positions, side="right") - 1
        breaks = np.flatnonzero((np.diff(positions) != 1) | (np.diff(shard_of) != 0)) + 1
        for first, last in zip(
            np.concatenate([[0], breaks]).tolist(), np.concatenate([breaks, [len(positions)]]).tolist(), strict=True
        ):
            number = int(shard_of[first])
            row = int(positions[first] - self._starts[number])
            offset = self.shards[number].offsets[column] + row * row_bytes
            _read_into(
                self._handle(number, array),
                flat[first * row_bytes : last * row_bytes],
                offset,
                self.shards[number].folder / f"{array}.npy",
            )
        return out


def _read_into(handle: int, target: memoryview, offset: int, path: Path) -> None:
    done = 0
    while done < len(target):
        block = os.pread(handle, min(len(target) - done, 1 << 22), offset + done)
        if not block:
            raise FileProblem(
                path,
                "cut short since the store was opened",
                "Run the step that writes the store again.",
                reason="truncated",
            )
        target[done : done + len(block)] = block
        done += len(block)
