"""The queue of suspicious non-lenses: what a first model takes for lenses, for somebody to look at.

Among tens of thousands of random galaxies a few are lenses that no list has yet. Published samples were cleaned by
looking at the non-lenses that an earlier network scored high: above 0.1 some 100 of 64,584 were removed, later above
0.4 nine of 134,182. A network that was trained on an object as a non-lens scores it lower than it would otherwise, so
the queue goes by rank, and a second round with a network that was trained on other cells is worth more than a deeper
first one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from legacylens.errors import FileProblem, InputError
from legacylens.files import atomic_path, read_parquet
from legacylens.samples.build import read_sample
from legacylens.samples.config import GUARD
from legacylens.samples.labels import LENS, NON_LENS
from legacylens.samples.pools import read_verdicts

QUEUE_NAME = "suspicious.csv"
VIEWER = "https://www.legacysurvey.org/viewer?ra={ra:.5f}&dec={dec:.5f}&layer=ls-dr10&zoom=16"
"""Address at which the survey's viewer shows a position."""

OPEN_SPLITS = ("train", "validation")
"""Splits whose objects may be looked at. What is sealed stays unseen: a person who cleans it tunes it."""


def suspicious_queue(
    sample: pd.DataFrame,
    scores: pd.DataFrame,
    *,
    judged: pd.DataFrame | None = None,
    above: float | None = None,
    limit: int = 200,
    lenses: bool = False,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the non-lenses with the highest scores, or the lenses with the lowest.

    Parameters
    ----------
    sample
        Columns ``source_id``, ``ra``, ``dec`` [deg], ``type``, ``label``, ``split``, ``pool``, ``contaminant``.
    scores
        ``source_id`` and ``logit`` or ``score``.
    judged
        Earlier verdicts; those objects are not shown again.
    above
        Lowest score of a non-lens (highest of a lens); None: only the limit counts.
    limit
        Most objects.
    lenses
        Show lenses, worst first: those that cannot be seen in the survey's images teach a network nothing.

    Returns
    -------
    queue
        Best first: ``number`` (from 1), ``source_id``, ``verdict`` (empty, to be filled in), the score, ``split``,
        ``type``, ``pool``, ``contaminant``, ``ra``, ``dec``, ``viewer``.
    counts
        What was left out, and why.

    Raises
    ------
    InputError
        If the scores have no such column, or none of the non-lenses has a score.
    """
    column = next((name for name in ("score", "logit") if name in scores), None)
    if column is None or "source_id" not in scores:
        raise InputError(
            f"the scores have the columns {', '.join(map(str, scores.columns))}: source_id and score needed"
        )
    order = "logit" if "logit" in scores else column  # a score of 1.0 may hide a rank
    what = "lenses" if lenses else "non_lenses"
    labeled = sample[sample["label"] == (LENS if lenses else NON_LENS)]
    shown = labeled[labeled["split"].isin(OPEN_SPLITS)]
    best = scores[np.isfinite(scores[order])].sort_values(order, ascending=False).drop_duplicates("source_id")
    joined = shown.merge(best[list({"source_id", column, order})], on="source_id", how="inner")
    if joined.empty:
        raise InputError(
            f"none of the {what.replace('_', '-')} of train and validation has a score; are both of one run?"
        )
    seen = joined["source_id"].isin([] if judged is None else judged["source_id"])
    beyond = np.zeros(len(joined), dtype=bool)
    if above is not None:
        beyond = (~seen & ((joined[column] > above) if lenses else (joined[column] < above))).to_numpy()
    queue = joined[~seen & ~beyond].sort_values([order, "source_id"], ascending=[lenses, True], ignore_index=True)
    counts = {
        what: len(labeled),
        "sealed": int((labeled["split"] == "sealed").sum()),
        "guard": int((labeled["split"] == GUARD).sum()),
        "without_score": len(shown) - len(joined),
        "judged_before": int(seen.sum()),
        "beyond_the_score": int(beyond.sum()),
        "beyond_the_limit": max(0, len(queue) - limit),
    }
    queue = queue.iloc[:limit].reset_index(drop=True)
    queue.insert(0, "number", np.arange(1, len(queue) + 1))
    queue["verdict"] = ""
    queue["viewer"] = [VIEWER.format(ra=ra, dec=dec) for ra, dec in zip(queue["ra"], queue["dec"], strict=True)]
    columns = ("number", "source_id", "verdict", column, "split", "type", "pool", "contaminant", "ra", "dec", "viewer")
    return queue[list(columns)], counts | {"shown": len(queue)}


def make_queue(
    sample_path: str | Path,
    scores_path: str | Path,
    out: str | Path,
    *,
    verdict_paths: Sequence[str | Path] = (),
    above: float | None = None,
    limit: int = 200,
    lenses: bool = False,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read a sample and scores and write the queue as a table to be filled in.

    Returns
    -------
    queue, summary
        The queue, and its numbers with the path of the table.

    Raises
    ------
    FileProblem
        If the table is there already with verdicts in it: work of a person is not overwritten.
    """
    path = Path(out) / QUEUE_NAME
    if path.exists() and (n_judged := len(read_verdicts([path]))):
        raise FileProblem(
            path,
            f"holds {n_judged} verdicts",
            "Give it as --verdicts and write the new queue to another folder.",
            reason="has-verdicts",
        )
    scores_path = Path(scores_path)
    scores = read_parquet(scores_path / "scores.parquet" if scores_path.is_dir() else scores_path)
    queue, counts = suspicious_queue(
        read_sample(sample_path).frame,
        scores,
        judged=read_verdicts(verdict_paths) if verdict_paths else None,
        above=above,
        limit=limit,
        lenses=lenses,
    )
    with atomic_path(path) as temporary:
        queue.to_csv(temporary, index=False)
    return queue, {"queue": str(path), **counts}
