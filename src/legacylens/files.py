"""Files that are either whole or not there: write to a temporary name, then rename; and one writer at a time."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from legacylens.errors import FileProblem, LegacylensError

TEMPORARY_MARK = ".part-"
"""What a name contains while its file is being written; such leftovers are never read."""

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF)
"""What file systems without locks answer; a run there is as safe as its user is careful."""


@contextmanager
def held(path: str | Path, refusal: LegacylensError) -> Iterator[None]:
    """Hold a folder, or a lock file that is made; the system lets go of it when the process ends, however it ends.

    Parameters
    ----------
    path
        A folder that is there (no lock file is left in it then), or the path of a lock file.
    refusal
        What is raised if another process holds it.

    Raises
    ------
    LegacylensError
        ``refusal``.
    """
    path = Path(path)
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise refusal from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield
    finally:
        os.close(handle)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; rename it to ``path`` if the block succeeds, remove it if not."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays at the end, because writers such as astropy choose the format (and compression) by it.
    temporary = path.with_name(f"{TEMPORARY_MARK}{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        # A full disk is found out in the middle of a write, where the error knows no file.
        if error.errno is not None and (error.filename is None or str(error.filename).startswith(str(temporary))):
            error.filename = str(path)
        raise
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in a JSON document")


def to_json(value: Any) -> str:
    """Return ``value`` as JSON text; NumPy scalars, arrays and paths are understood, NaN is refused."""
    return json.dumps(value, indent=2, default=_plain, allow_nan=False) + "\n"


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file atomically."""
    write_text(path, to_json(value))


def write_parquet(path: str | Path, frame: pd.DataFrame, *, units: dict[str, str] | None = None) -> None:
    """Write a table as Parquet, atomically, with the unit of each column in its field metadata."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    if units:
        fields = [
            field.with_metadata({b"unit": units[field.name].encode()}) if field.name in units else field
            for field in table.schema
        ]
        table = table.cast(pa.schema(fields, metadata=table.schema.metadata))
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_parquet(path: str | Path, *, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a Parquet table; an absent or broken file is named.

    Raises
    ------
    FileProblem
        If there is no such file, or it is not whole Parquet, or lacks a column.
    """
    path = Path(path)
    if not path.exists():
        raise FileProblem(path, "no such table", "Run the step that writes it, or give another path.", reason="missing")
    try:
        return pd.DataFrame(pq.read_table(path, columns=columns, partitioning=None).to_pandas())
    except (pa.ArrowException, OSError) as error:
        raise FileProblem(
            path,
            f"not a readable Parquet table ({error})",
            "Write it again; it may be truncated.",
            reason="truncated",
        ) from error


def iter_parquet(
    path: str | Path, *, columns: list[str] | None = None, rows: int = 1_000_000
) -> Iterator[pd.DataFrame]:
    """Read a Parquet table in blocks of rows; an absent or broken file is named.

    Raises
    ------
    FileProblem
        If there is no such file, or it is not whole Parquet, or lacks a column.
    """
    path = Path(path)
    if not path.exists():
        raise FileProblem(path, "no such table", "Run the step that writes it, or give another path.", reason="missing")
    try:
        with pq.ParquetFile(path) as table:
            missing = [name for name in columns or () if name not in table.schema_arrow.names]
            if missing:
                raise FileProblem(
                    path, f"no column {', '.join(missing)}", "Run the step that writes it again.", reason="columns"
                )
            for batch in table.iter_batches(batch_size=rows, columns=columns):
                yield pd.DataFrame(pa.Table.from_batches([batch]).to_pandas())
    except (pa.ArrowException, OSError) as error:
        raise FileProblem(
            path,
            f"not a readable Parquet table ({error})",
            "Write it again; it may be truncated.",
            reason="truncated",
        ) from error


def sha256_of_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as handle:
        while block := handle.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def sha256_of_text(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def remove_leftovers(folder: str | Path) -> int:
    """Remove what an interrupted writer left in ``folder``; return how many entries that were."""
    leftovers = list(Path(folder).glob(f"{TEMPORARY_MARK}*"))
    for entry in leftovers:
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    return len(leftovers)
