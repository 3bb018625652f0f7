"""What could not be cut or fetched: one row each, with the reason, the file and the remedy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from legacylens.files import read_parquet, write_parquet

QUARANTINE_NAME = "quarantine.parquet"
COLUMNS = ("source_id", "ra", "dec", "reason", "what", "file", "remedy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A target without a cutout, and why."""

    source_id: str
    """The target."""
    reason: str
    """A short stable word for counting."""
    what: str
    """What is wrong."""
    file: str
    """The file or URL in which it is wrong, or the brick."""
    remedy: str
    """What the user can do."""


def read_quarantine(folder: str | Path) -> pd.DataFrame:
    """Read the quarantine table of a store; a store without one has nothing in quarantine."""
    path = Path(folder) / QUARANTINE_NAME
    return (
        read_parquet(path) if path.exists() else pd.DataFrame(columns=list(COLUMNS)).astype({"ra": float, "dec": float})
    )


def update_quarantine(
    folder: str | Path,
    rejections: Sequence[Rejection],
    targets: pd.DataFrame,
    is_stored: Callable[[str], bool],
) -> bool:
    """Bring the quarantine table of a store up to date after a run.

    Parameters
    ----------
    folder
        The store.
    rejections
        The targets that this run set aside.
    targets
        All targets of this run, columns source_id, ra, dec [deg]. Earlier entries of other targets are kept unless
        they have been stored since.
    is_stored
        Whether a source is in the store.

    Returns
    -------
    changed
        Whether the table was written; it is not touched if it would be the same.
    """
    path = Path(folder) / QUARANTINE_NAME
    earlier = read_quarantine(folder)
    asked = set(targets["source_id"])
    is_kept = np.array([name not in asked and not is_stored(name) for name in earlier["source_id"]], dtype=bool)
    parts = [earlier[is_kept]]
    if rejections:
        rows = pd.DataFrame([asdict(rejection) for rejection in rejections])
        rows = rows.merge(targets[["source_id", "ra", "dec"]], on="source_id", how="left")[list(COLUMNS)]
        parts = [part for part in (*parts, rows) if len(part)]
    table = pd.concat(parts)
    table = table.sort_values("source_id", ignore_index=True)
    if table.equals(earlier) or (table.empty and earlier.empty):
        return False
    write_parquet(path, table, units={"ra": "deg", "dec": "deg"})
    return True
