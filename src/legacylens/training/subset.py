"""Which objects of a sample a run uses: all of it, a nested part, another division, or more lenses than it names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from legacylens.errors import FileProblem, InputError
from legacylens.files import read_parquet
from legacylens.training.config import TrainConfig


def hash_order(source_ids: Iterable[Any], seed: int) -> NDArray[np.int64]:
    """Return the order of objects by a hash of their identity: the first n of it are among the first n + 1.

    It depends on nothing but identity and seed, so that the parts of two samples with common objects agree.
    """
    digests = [hashlib.sha256(f"{seed} {source_id}".encode()).hexdigest() for source_id in source_ids]
    return np.argsort(np.asarray(digests, dtype=str), kind="stable")


def ids_of(path: str) -> set[str]:
    """Return the ``source_id`` of a table.

    Raises
    ------
    FileProblem
        If it has none.
    """
    table = read_parquet(path)
    if "source_id" not in table:
        raise FileProblem(path, "no column source_id", "Give a table with the objects' source_id.", reason="columns")
    return set(table["source_id"].astype(str))


def used_objects(frame: pd.DataFrame, config: TrainConfig) -> pd.DataFrame:
    """Return the objects of a run, ``source_id``, ``label`` and ``split`` (train or validation).

    Parameters
    ----------
    frame
        Rows of a sample that have a cutout.
    config
        Says which.

    Raises
    ------
    InputError
        If more lenses are asked for than there are, or an extra lens is not in the training split.
    """
    rows = frame.loc[frame["split"].isin(["train", "validation"]), ["source_id", "label", "split"]]
    rows = rows.astype({"source_id": str}).sort_values("source_id", ignore_index=True)
    labeled = rows[rows["label"] >= 0].copy()
    if config.resplit is not None:
        labeled["split"] = _divided(labeled, config.resplit, config.subset_seed)
    train, validation = labeled[labeled["split"] == "train"], labeled[labeled["split"] == "validation"]
    lenses, others = train[train["label"] == 1], train[train["label"] == 0]
    if config.positives is not None:
        if config.positives > len(lenses):
            raise InputError(
                f"{config.positives} training lenses are asked for, but the training split has {len(lenses)} with a "
                "cutout. Lower training.positives, give the training split more of the sky, or use more known lenses."
            )
        lenses = _first(lenses, config.positives, config.subset_seed)
    if config.negative_ratio is not None:
        others = _first(others, round(config.negative_ratio * len(lenses)), config.subset_seed)
    if config.left_out is not None:
        others = others[~others["source_id"].isin(ids_of(config.left_out))]
    if config.extra_lenses is not None:
        extra = ids_of(config.extra_lenses)
        known = rows[(rows["split"] == "train") & rows["source_id"].isin(extra)]
        if len(known) < len(extra):
            raise InputError(
                f"{len(extra) - len(known)} of the {len(extra)} lenses in {config.extra_lenses} are not in the "
                "training split of the sample; lenses may be added there only"
            )
        others = others[~others["source_id"].isin(extra)]
        lenses = pd.concat([lenses, known[~known["source_id"].isin(lenses["source_id"])].assign(label=1)])
    return pd.concat([lenses, others, validation]).sort_values("source_id", ignore_index=True)


def _first(rows: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    return rows.iloc[hash_order(rows["source_id"], seed)[:n]]


def _divided(rows: pd.DataFrame, share: float, seed: int) -> pd.Series:
    """Return the split of each row: of each class the first ``share`` in the order of a hash is for training."""
    split = pd.Series("validation", index=rows.index)
    for label in (0, 1):
        members = rows.index[rows["label"] == label]
        order = hash_order(rows.loc[members, "source_id"], seed + 1)
        split[members[order[: round(share * len(members))]]] = "train"
    return split
