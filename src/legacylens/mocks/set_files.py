"""The files of a set of injected mocks, and its identity."""

from __future__ import annotations

import hashlib
from pathlib import Path

from legacylens.errors import FileProblem
from legacylens.files import sha256_of_file

TRUTH_NAME = "truth.parquet"
"""Truth of the mocks, beside the shards of their cutouts."""


def set_hash(folder: str | Path) -> str:
    """Return the identity of a set: a SHA-256 over its truth and all of its pixels.

    Parameters
    ----------
    folder
        Folder of `legacylens mocks inject`.

    Raises
    ------
    FileProblem
        If it is none.
    """
    folder = Path(folder)
    if not (folder / TRUTH_NAME).is_file():
        raise FileProblem(
            folder,
            f"no set of injected lenses (it has no {TRUTH_NAME})",
            "Give the folder of `legacylens mocks inject`.",
            reason="missing",
        )
    digest = hashlib.sha256()
    for path in (folder / TRUTH_NAME, *sorted(folder.glob("shard-*/*.npy"))):
        digest.update(f"{path.relative_to(folder)}\t{sha256_of_file(path)}\n".encode())
    return digest.hexdigest()
