"""Score cutouts straight from files as users have them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from legacylens.cutouts.cutout import Cutout
from legacylens.cutouts.decode import decode_files
from legacylens.errors import FileProblem
from legacylens.models.checkpoint import load_checkpoint
from legacylens.models.packaged import packaged_checkpoint
from legacylens.scan.config import ScanConfig
from legacylens.scan.cutouts import score_cutouts

CHECKPOINT_VARIABLE = "LEGACYLENS_CHECKPOINT"
"""Environment variable that names the network to use where none is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileScores:
    """Scores of the usable cutouts of some files."""

    table: pd.DataFrame
    """One row for each usable cutout, in the order of the files; columns as `score_cutouts` gives them."""
    cutouts: tuple[Cutout, ...]
    """The cutouts, in the same order."""
    problems: tuple[FileProblem, ...]
    """One for each file or object that could not be scored."""
    checkpoint: Path
    """The network's file."""
    network: str
    """Its name."""
    description: str
    """What its maker says of it."""

    def summary(self) -> dict[str, Any]:
        """Return the result as JSON-compatible values; an unknown position is None."""
        rows = self.table.astype(object).where(self.table.notna(), None).to_dict("records")
        return {
            "checkpoint": str(self.checkpoint),
            "network": self.network,
            "description": self.description,
            "objects": [{str(name): value for name, value in row.items()} for row in rows],
            "problems": [
                {"file": p.path, "what": p.what, "remedy": p.remedy, "reason": p.reason} for p in self.problems
            ],
        }


def find_checkpoint(given: str | Path | None = None) -> Path:
    """Return the network to use: the given one, that of the environment variable, or the packaged one.

    Raises
    ------
    InputError
        If none is given and none is packaged.
    """
    if given is not None:
        return Path(given)
    named = os.environ.get(CHECKPOINT_VARIABLE)
    return Path(named) if named else packaged_checkpoint()


def score_files(
    paths: Sequence[str | Path],
    checkpoint: str | Path | None = None,
    config: ScanConfig | None = None,
    *,
    device: str = "auto",
) -> FileScores:
    """Score every usable cutout in files and folders.

    Parameters
    ----------
    paths
        Viewer FITS cutouts, FITS cubes, npz, npy, or folders of them.
    checkpoint
        The network; None: see `find_checkpoint`.
    config
        How to score; None: the defaults.
    device
        ``auto``, ``cpu`` or ``cuda``.

    Returns
    -------
    scores
        A file that cannot be used is among the ``problems``; the others are scored.

    Raises
    ------
    FileProblem, InputError
        If the network cannot be found or read.
    """
    path = find_checkpoint(checkpoint)
    network = load_checkpoint(path)
    decoded = decode_files(paths, bands=network.preprocessing.bands, stamp=network.preprocessing.stamp)
    table = score_cutouts(decoded.cutouts, network, config, device=device)
    finite = np.isfinite(table["logit"].to_numpy(dtype=np.float64))
    problems = list(decoded.problems)
    problems += [
        FileProblem(
            cutout.origin or cutout.source_id,
            f"no finite score for {cutout.source_id}",
            "Check its pixels.",
            reason="no-score",
        )
        for cutout, ok in zip(decoded.cutouts, finite, strict=True)
        if not ok
    ]
    return FileScores(
        table=table[finite].reset_index(drop=True),
        cutouts=tuple(cutout for cutout, ok in zip(decoded.cutouts, finite, strict=True) if ok),
        problems=tuple(problems),
        checkpoint=path,
        network=network.network,
        description=network.description,
    )
