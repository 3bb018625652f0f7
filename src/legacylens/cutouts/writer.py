"""Writing a cutout store: appended shard by shard, each of them whole or not there."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from legacylens.cutouts.cutout import Cutout
from legacylens.cutouts.store import (
    DESCRIPTION_NAME,
    DTYPES,
    MANIFEST_NAME,
    SHARD_PREFIX,
    CutoutStore,
    StoreDescription,
    shard_folders,
)
from legacylens.errors import FileProblem, InputError, ProcessError
from legacylens.files import atomic_path, held, remove_leftovers, write_parquet
from legacylens.survey.bands import BANDS, PIXSCALE, STAMP

SHARD_SIZE = 2000
"""Cutouts in a shard: 245 MB of images in three bands, 570 MB with invvar and maskbits."""

LOCK_NAME = ".writer.lock"


class StoreWriter:
    """Appends cutouts to a store; use it as a context manager.

    Sources that are already stored can be asked for (``source_id in writer``) and are refused by `add`, so a run that
    is started again goes on where the last whole shard ended. Memory use does not grow with the shard.

    Parameters
    ----------
    path
        Folder of the store; created if it is not there.
    bands, stamp, pixscale
        What every cutout has in common; must agree with the store if it exists.
    invvar, maskbits
        Which arrays to store besides the image.
    shard_size
        Cutouts in a shard.

    Raises
    ------
    FileProblem
        If ``path`` is a folder of something else, or a store with other bands, stamp or arrays.
    ProcessError
        If another process is writing to the store, or the disk is full.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        bands: Sequence[str] = BANDS,
        stamp: int = STAMP,
        pixscale: float = PIXSCALE,
        invvar: bool = True,
        maskbits: bool = True,
        shard_size: int = SHARD_SIZE,
    ) -> None:
        if shard_size < 1:
            raise InputError(f"shard_size {shard_size} is not at least 1")
        self.path = Path(path)
        self.description = StoreDescription(
            bands=tuple(bands),
            stamp=stamp,
            pixscale=pixscale,
            arrays=("image", *(["invvar"] if invvar else []), *(["maskbits"] if maskbits else [])),
        )
        self.shard_size = shard_size
        self.replaced: tuple[FileProblem, ...] = ()
        """Damaged shards that were removed when the writer opened the store."""
        self._known: set[str] = set()
        self._next_number = 0
        self._shard: _OpenShard | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> StoreWriter:
        with contextlib.ExitStack() as stack:
            self._prepare_folder()
            refusal = ProcessError(
                f"{self.path}: another process is writing to this store. Wait for it, or give another folder."
            )
            stack.enter_context(held(self.path / LOCK_NAME, refusal))
            remove_leftovers(self.path)
            store = CutoutStore.open(self.path)
            if store.description != self.description:
                raise FileProblem(
                    self.path,
                    f"the store holds {store.description}, not {self.description}",
                    "Give another folder, or the same bands, stamp size and arrays.",
                    reason="other-format",
                )
            self.replaced = store.damaged
            whole = {shard.folder for shard in store.shards}
            folders = shard_folders(self.path)
            for folder in folders:
                if folder not in whole:
                    shutil.rmtree(folder)
            self._known = set(store.manifest["source_id"])
            self._next_number = 1 + max((int(f.name.removeprefix(SHARD_PREFIX)) for f in folders), default=-1)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            # What was added before an interruption is whole and worth keeping, unless writing itself failed.
            if self._shard is not None and not self._shard.failed:
                self._seal()
            elif self._shard is not None:
                self._shard.discard()

    def _prepare_folder(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise FileProblem(self.path, "is a file, not a folder", "Give the folder of the store.", reason="not-store")
        if (self.path / DESCRIPTION_NAME).exists():
            return
        if self.path.exists() and shard_folders(self.path):
            raise FileProblem(
                self.path / DESCRIPTION_NAME,
                "not found in a folder that has shards",
                "Put it back, or give an empty folder.",
                reason="missing",
            )
        with _full_disk_named(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self.description.write(self.path)

    def __contains__(self, source_id: object) -> bool:
        return source_id in self._known

    def __len__(self) -> int:
        return len(self._known)

    @property
    def source_ids(self) -> frozenset[str]:
        """All sources of the store."""
        return frozenset(self._known)

    def add(self, cutout: Cutout, extra: Mapping[str, Any] | None = None) -> None:
        """Append one cutout.

        Parameters
        ----------
        cutout
            Its bands, size and scale must be the store's.
        extra
            Further columns of the manifest, e.g. ``psfsize_g`` [arcsec].

        Raises
        ------
        InputError
            If the source is stored already, or the cutout does not fit the store.
        """
        described = (cutout.bands, cutout.shape, cutout.pixscale)
        expected = (self.description.bands, (self.description.stamp,) * 2, self.description.pixscale)
        if described != expected:
            raise InputError(
                f"cutout {cutout.source_id} with bands, shape, pixscale {described} does not fit a store of {expected}"
            )
        row = {
            "source_id": cutout.source_id,
            "ra": cutout.ra,
            "dec": cutout.dec,
            "origin": cutout.origin,
            **(extra or {}),
        }
        self.add_many(
            pd.DataFrame([row]),
            cutout.image[None],
            None if cutout.invvar is None else cutout.invvar[None],
            None if cutout.maskbits is None else cutout.maskbits[None],
        )

    def add_many(
        self,
        manifest: pd.DataFrame,
        images: NDArray[np.float32],
        invvars: NDArray[np.float32] | None = None,
        maskbits: NDArray[np.int32] | None = None,
    ) -> None:
        """Append cutouts whose pixels have been checked with `defect_of`.

        Parameters
        ----------
        manifest
            One row for each cutout: source_id, ra, dec [deg], origin (text), and any further columns.
        images, invvars
            Shape (n, band, y, x). Arrays that the store does not keep are ignored.
        maskbits
            Shape (n, y, x).

        Raises
        ------
        InputError
            If a source is stored already or comes twice, an array is missing or has another shape, or an image is not
            finite.
        ProcessError
            If the disk is full.
        """
        self._check_manifest(manifest)
        arrays: dict[str, NDArray[Any]] = {}
        for name, values in (("image", images), ("invvar", invvars), ("maskbits", maskbits)):
            if name not in self.description.arrays:
                continue
            expected = (len(manifest), *self.description.shape(name))
            if values is None or values.shape != expected:
                raise InputError(
                    f"{name} of shape {None if values is None else values.shape} where the store {self.path} "
                    f"expects {expected}"
                )
            if name != "maskbits" and not np.isfinite(values).all():
                raise InputError(f"{name} has NaN or infinite pixels; a store takes checked cutouts only")
            arrays[name] = values
        done = 0
        while done < len(manifest):
            if self._shard is None:
                folder = self.path / f"{SHARD_PREFIX}{self._next_number:06d}"
                with _full_disk_named(self.path):
                    self._shard = _OpenShard(folder, self.description)
            n = min(len(manifest) - done, self.shard_size - self._shard.length)
            with _full_disk_named(self.path):
                self._shard.append(
                    manifest.iloc[done : done + n], {name: values[done : done + n] for name, values in arrays.items()}
                )
            self._known.update(manifest["source_id"].iloc[done : done + n])
            done += n
            if self._shard.length == self.shard_size:
                self._seal()

    def _check_manifest(self, manifest: pd.DataFrame) -> None:
        lacking = [name for name in ("source_id", "ra", "dec", "origin") if name not in manifest.columns]
        if lacking:
            raise InputError(f"the manifest lacks the columns {', '.join(lacking)}")
        names = manifest["source_id"]
        stored = [name for name in names if name in self._known]
        if stored or names.duplicated().any():
            first = stored[0] if stored else names[names.duplicated()].iloc[0]
            raise InputError(f"source {first} is already in the store {self.path}: each source is stored once")

    def _seal(self) -> None:
        if self._shard is None:
            return
        with _full_disk_named(self.path):
            self._shard.seal()
        self._shard = None
        self._next_number += 1


class _OpenShard:
    """A shard that is being written, under a temporary name until `seal`."""

    def __init__(self, folder: Path, description: StoreDescription) -> None:
        self._description = description
        self._frames: list[pd.DataFrame] = []
        self.length = 0
        self.failed = False
        self._stack = contextlib.ExitStack()
        self._folder = self._stack.enter_context(atomic_path(folder))
        self._folder.mkdir()
        self._handles: dict[str, BinaryIO] = {}
        for array in description.arrays:
            self._handles[array] = (self._folder / f"{array}.npy").open("wb")
            self._write_header(array)

    def _write_header(self, array: str) -> None:
        # NumPy pads the header for any length along the first axis, so it can be written again in its place.
        handle = self._handles[array]
        handle.seek(0)
        np.lib.format.write_array_header_1_0(
            handle,
            {
                "descr": np.lib.format.dtype_to_descr(DTYPES[array]),
                "fortran_order": False,
                "shape": (self.length, *self._description.shape(array)),
            },
        )

    def append(self, manifest: pd.DataFrame, arrays: Mapping[str, NDArray[Any]]) -> None:
        try:
            for array, values in arrays.items():
                self._handles[array].write(np.ascontiguousarray(values, dtype=DTYPES[array]).data)
        except OSError:
            self.failed = True
            raise
        self._frames.append(manifest)
        self.length += len(manifest)

    def seal(self) -> None:
        """Write headers and manifest, push everything to the disk, and give the shard its name."""
        self.failed = True
        with self._stack:
            for array, handle in self._handles.items():
                self._write_header(array)
                # An interruption in the middle of `append` leaves part of a row, which is not counted.
                handle.truncate(handle.tell() + self.length * self._description.row_bytes(array))
                handle.flush()
                os.fsync(handle.fileno())
                handle.close()
            frame = pd.concat(self._frames, ignore_index=True)
            first = ["source_id", "ra", "dec", "origin"]
            frame = frame[[*first, *(name for name in frame.columns if name not in first)]]
            write_parquet(self._folder / MANIFEST_NAME, frame, units={"ra": "deg", "dec": "deg"})
        self.failed = False

    def discard(self) -> None:
        """Remove what was written."""
        for handle in self._handles.values():
            with contextlib.suppress(OSError):  # what a full disk refused to take is not wanted any more
                handle.close()
        with contextlib.suppress(_DiscardedError), self._stack:
            raise _DiscardedError


class _DiscardedError(Exception):
    """Tells `atomic_path` that the shard is not wanted."""


@contextlib.contextmanager
def _full_disk_named(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write into an error that names the store."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
            raise ProcessError(
                f"{path}: cannot write ({error.strerror}). Free space or give another folder, then run again: "
                "whole shards are kept."
            ) from error
        raise


def write_store(
    path: str | Path,
    manifest: pd.DataFrame,
    images: NDArray[np.float32],
    invvars: NDArray[np.float32] | None = None,
    maskbits: NDArray[np.int32] | None = None,
    *,
    bands: Sequence[str] = BANDS,
    shard_size: int = SHARD_SIZE,
) -> CutoutStore:
    """Write arrays in memory as a store and open it.

    Parameters
    ----------
    path
        Folder of the store.
    manifest
        One row for each cutout; ``source_id`` is required, ra, dec [deg] and origin are filled with NaN and "" if
        absent.
    images, invvars, maskbits
        As for `StoreWriter.add_many`; what is None is not stored.
    """
    frame = manifest.copy()
    for name, value in (("ra", np.nan), ("dec", np.nan), ("origin", "")):
        if name not in frame.columns:
            frame[name] = value
    with StoreWriter(
        path,
        bands=bands,
        stamp=images.shape[-1],
        invvar=invvars is not None,
        maskbits=maskbits is not None,
        shard_size=shard_size,
    ) as writer:
        writer.add_many(frame, images, invvars, maskbits)
    return CutoutStore.open(path)
