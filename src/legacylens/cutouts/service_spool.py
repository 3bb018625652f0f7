"""What has come but is not in the store yet: one small file for each position, so that a kill loses nothing.

::

    STORE/spool/<hash>.npz     an accepted cutout and its row of the manifest
    STORE/spool/<hash>.json    a position that was set aside, and why

The store takes cutouts shard by shard. At 20 requests a minute a shard of 2,000 takes hours, so what arrives is kept
here first, whole or not at all, and moves into the store a shard at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from legacylens.cutouts.quarantine import Rejection
from legacylens.cutouts.service_answer import Stamp
from legacylens.cutouts.writer import StoreWriter
from legacylens.files import atomic_path, remove_leftovers, to_json, write_text

SPOOL_NAME = "spool"


class Spool:
    """The waiting room of a store that is being fetched into.

    Parameters
    ----------
    store
        Folder of the store.
    """

    def __init__(self, store: Path) -> None:
        self.folder = store / SPOOL_NAME
        self.waiting: dict[str, Path] = {}
        """source_id -> file of an accepted cutout, in the order of arrival."""
        self._rejected: set[Path] = set()

    def recover(self, writer: StoreWriter) -> list[Rejection]:
        """Take up what an interrupted run has left; return the positions that it had set aside.

        A damaged file, which only a failing disk or machine can leave, is removed and fetched again.
        """
        if not self.folder.is_dir():
            return []
        remove_leftovers(self.folder)
        for path in sorted(self.folder.glob("*.npz")):
            source_id = self._name_in(path)
            if source_id is None or source_id in writer:
                path.unlink()
            else:
                self.waiting[source_id] = path
        rejections = []
        for path in sorted(self.folder.glob("*.json")):
            try:
                rejections.append(Rejection(**json.loads(path.read_text(encoding="utf-8"))))
                self._rejected.add(path)
            except (ValueError, TypeError):
                path.unlink()
        return rejections

    def _path(self, source_id: str, suffix: str) -> Path:
        return self.folder / (hashlib.sha256(source_id.encode()).hexdigest()[:32] + suffix)

    @staticmethod
    def _name_in(path: Path) -> str | None:
        try:
            with path.open("rb") as handle, np.load(handle) as record:
                arrays = {name: record[name] for name in record.files}  # compares every array with its checksum
            return str(json.loads(arrays["row"].tobytes())["source_id"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return None

    def put(self, row: Mapping[str, Any], stamp: Stamp) -> Path:
        """Keep an accepted cutout; return its file. Any thread may do so.

        It counts as waiting when it is put into `waiting`, so that what a thread brings after the end of a run stays
        for the next one.
        """
        path = self._path(str(row["source_id"]), ".npz")
        arrays: dict[str, Any] = {"image": stamp.image, "invvar": stamp.invvar, "maskbits": stamp.maskbits}
        with atomic_path(path) as temporary, temporary.open("wb") as handle:
            np.savez(
                handle,
                row=np.frombuffer(to_json(dict(row)).encode(), np.uint8),
                **{name: array for name, array in arrays.items() if array is not None},
            )
        return path

    def reject(self, rejection: Rejection) -> None:
        """Keep the reason why a position was set aside."""
        path = self._path(rejection.source_id, ".json")
        write_text(path, to_json(asdict(rejection)))
        self._rejected.add(path)

    def move(self, writer: StoreWriter, source_ids: Sequence[str]) -> None:
        """Move waiting cutouts into the store; `forget` them when their shard is sealed."""
        if not source_ids:
            return
        rows: list[dict[str, Any]] = []
        arrays: dict[str, list[Any]] = {name: [] for name in writer.description.arrays}
        for source_id in source_ids:
            with np.load(self.waiting[source_id]) as record:
                rows.append(json.loads(record["row"].tobytes()))
                for name, planes in arrays.items():
                    planes.append(record[name])
        stacked = {name: np.stack(planes) for name, planes in arrays.items()}
        manifest = pd.DataFrame(rows).astype({"dx": np.float32, "dy": np.float32, "x0": np.int32, "y0": np.int32})
        writer.add_many(manifest, stacked["image"], stacked.get("invvar"), stacked.get("maskbits"))

    def forget(self, source_ids: Sequence[str]) -> None:
        """Remove cutouts that are in a sealed shard."""
        for source_id in source_ids:
            self.waiting.pop(source_id).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove what this run has kept here: the store and the quarantine table have everything."""
        self.forget(list(self.waiting))
        for path in self._rejected:
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # absent, or in use by a run that has started meanwhile
            self.folder.rmdir()
