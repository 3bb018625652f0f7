"""Sets of cutouts as people have them: a store, a folder or file of npz or FITS, and what of them cannot be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from legacylens.cutouts.decode import decode_files
from legacylens.cutouts.store import DESCRIPTION_NAME, CutoutStore
from legacylens.errors import FileProblem
from legacylens.realism.measure import Stamps, measure_parts, stamps_of, stamps_of_store
from legacylens.realism.measure_config import MeasureConfig


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredSet:
    """A set of cutouts and what was measured in it."""

    path: Path
    """Where it is."""
    table: pd.DataFrame
    """One row for each object that is a cutout."""
    refused: dict[str, int]
    """Reason -> files and objects that gave no number; nothing is dropped silently."""
    problems: tuple[str, ...]
    """Messages of the files that could not be read, at most twenty."""
    images: NDArray[np.float32]
    """Some of the cutouts, for pictures, shape ``(n, band, y, x)``."""
    image_names: tuple[str, ...]
    """Their names."""

    @property
    def measured(self) -> pd.DataFrame:
        """The rows with numbers."""
        return self.table[self.table["code"] == "ok"].reset_index(drop=True)


def is_store(path: Path) -> bool:
    """Return whether a folder is a cutout store."""
    return (path / DESCRIPTION_NAME).is_file()


def measure_set(
    path: str | Path,
    config: MeasureConfig | None = None,
    *,
    workers: int = 1,
    keep_images: int = 24,
    limit: int | None = None,
) -> MeasuredSet:
    """Measure a store, or a file or folder of cutouts.

    Parameters
    ----------
    path
        A cutout store; or an npz, npy or FITS file; or a folder of such files.
    config
        Settings.
    workers
        Processes.
    keep_images
        How many cutouts are kept for pictures.
    limit
        Only the first of them.

    Raises
    ------
    FileProblem
        If there is no such file or folder, or no file in it can be read.
    InputError
        If sizes, scales or bands are mixed.
    """
    path = Path(path)
    if not path.exists():
        raise FileProblem(path, "no such file or folder", "Give a store, a file or a folder.", reason="missing")
    problems: list[FileProblem] = []
    if path.is_dir() and is_store(path):
        with CutoutStore.open(path) as store:
            total = len(store) if limit is None else min(limit, len(store))
            parts = _limited(stamps_of_store(store), total)
        problems = list(store.damaged)
    else:
        decoded = decode_files([path])
        problems = list(decoded.problems)
        cutouts = list(decoded.cutouts)[:limit]
        if not cutouts:
            raise _nothing_read(path, problems)
        stamps = stamps_of(cutouts)
        parts = [stamps.part(slice(k, k + 256)) for k in range(0, len(cutouts), 256)]
    total = sum(len(part.names) for part in parts)
    table = measure_parts(parts, total, config, workers=workers)
    refused = Counter(str(code) for code in table["code"] if code != "ok")
    refused.update(problem.reason for problem in problems)
    kept = np.concatenate([part.images for part in parts])[:keep_images] if keep_images else np.zeros((0, 3, 1, 1))
    return MeasuredSet(
        path=path,
        table=table,
        refused=dict(sorted(refused.items())),
        problems=tuple(str(problem) for problem in problems[:20]),
        images=np.asarray(kept, np.float32),
        image_names=tuple(table["source_id"].iloc[: len(kept)]),
    )


def _limited(parts: Iterable[Stamps], total: int) -> list[Stamps]:
    out: list[Stamps] = []
    left = total
    for part in parts:
        if left <= 0:
            break
        out.append(part if len(part.names) <= left else part.part(slice(0, left)))
        left -= len(out[-1].names)
    return out


def _nothing_read(path: Path, problems: list[FileProblem]) -> FileProblem:
    """Return the error of a set without one usable cutout, with the reason that most of its files share."""
    if not problems:
        return FileProblem(path, "no npz, npy or FITS file in it", "Give the cutouts of the set.", reason="missing")
    counts = Counter(problem.reason for problem in problems)
    reason, n = counts.most_common(1)[0]
    first = next(problem for problem in problems if problem.reason == reason)
    return FileProblem(
        path,
        f"none of {len(problems)} objects is a cutout of the survey; {n} of them for this reason: {first.what}",
        first.remedy,
        reason=reason,
    )
