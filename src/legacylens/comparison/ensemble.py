"""`combine`: the scores of several networks for the same objects into one score.

A stack is fitted to the validation split only: the networks were not trained on it, so that a network that overfits is
not believed more than it deserves. The validation objects themselves get the score of a stack that did not see their
part of the sky. The sealed split has no part in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit

from legacylens.errors import FileProblem, InputError
from legacylens.files import read_parquet, write_json, write_parquet
from legacylens.models.combine import apply_meta_learner, fit_meta_learner, mean_logit, mean_rank, stack_out_of_fold
from legacylens.models.registry import count_parameters
from legacylens.provenance import write_provenance
from legacylens.samples.build import Sample, read_sample
from legacylens.scan.score import FAILED_NAME, SCORES_NAME, STATE_NAME
from legacylens.validation.recall import recall_at_fpr

How = Literal["mean", "rank", "stack"]
RESULT_NAME = "ensemble.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """Scores of several networks for the objects that all of them have."""

    names: tuple[str, ...]
    """What the networks are called: the names of their scans."""
    hashes: tuple[str, ...]
    """Identity of each network; empty where a scan does not say it."""
    source_id: NDArray[np.object_]
    """The objects."""
    logits: NDArray[np.float64]
    """``(object, network)``."""
    missing: tuple[str, ...]
    """Objects that only some of the scans have."""


def combine(
    scans: Sequence[str | Path],
    out: str | Path,
    *,
    how: How = "mean",
    sample: str | Path | None = None,
    fpr: float = 0.01,
    folds: int = 5,
    seed: int = 0,
) -> dict[str, Any]:
    """Write the combined scores of several scans as a scan of its own.

    Parameters
    ----------
    scans
        Folders of `legacylens scan`, or their ``scores.parquet``, of the same objects by different networks.
    out
        Folder for ``scores.parquet``, ``failed.parquet`` (objects that only some of the scans have) and
        ``ensemble.json``.
    how
        ``mean`` of the logits; mean ``rank``, which does not care how confident a network is; ``stack``: a small
        network on top (`legacylens.models.meta`).
    sample
        Labels and split. Needed for a stack; with it, the networks and what was made of them are measured on the
        validation split.
    fpr
        False-positive rate of these recalls.
    folds
        Parts of the validation sky, for a stack.
    seed
        Of the folds and the fit.

    Returns
    -------
    result
        JSON-compatible; what ``ensemble.json`` holds.

    Raises
    ------
    InputError
        If there are fewer than two networks, no common objects, or no labels for a stack.
    FileProblem
        If a table cannot be read.
    """
    members = read_members(scans)
    if how == "stack" and sample is None:
        raise InputError("a stack learns from the validation split: give the sample that the networks were trained on")
    labels = None if sample is None else validation_labels(members, read_sample(sample))
    combined, recalls, parameters = _combined(members, labels, how, fpr, folds, seed)
    out = Path(out)
    table = pd.DataFrame({"source_id": members.source_id, "logit": combined, "score": expit(combined)})
    write_parquet(out / SCORES_NAME, table)
    write_parquet(out / FAILED_NAME, pd.DataFrame({"source_id": pd.Series(members.missing, dtype="string")}))
    result = {
        "how": how,
        "members": [{"name": n, "checkpoint_hash": h} for n, h in zip(members.names, members.hashes, strict=True)],
        "objects": len(table),
        "left_out": len(members.missing),
        "parameters": parameters,
        "validation": recalls,
        "scores": str(out / SCORES_NAME),
    }
    write_json(out / RESULT_NAME, result)
    write_provenance(
        out,
        step="ensemble",
        configuration={"how": how, "fpr": fpr, "folds": folds},
        inputs={f"scan {name}": _table_of(Path(scan)) for name, scan in zip(members.names, scans, strict=True)}
        | ({} if sample is None else {"sample": sample}),
        seeds={"stack": seed},
        results=result,
    )
    return result


def _table_of(scan: Path) -> Path:
    return scan / SCORES_NAME if scan.is_dir() else scan


def read_members(scans: Sequence[str | Path]) -> Members:
    """Read the scores of several scans; see `combine`."""
    if len(scans) < 2:
        raise InputError(f"{len(scans)} scan given; an ensemble has at least two networks")
    columns: dict[str, pd.Series] = {}
    hashes = []
    for number, scan in enumerate(map(Path, scans), start=1):
        path = _table_of(scan)
        table = read_parquet(path)
        if not {"source_id", "logit"} <= set(table):
            raise FileProblem(
                path, "no columns source_id and logit", "Give a folder of `legacylens scan`.", reason="columns"
            )
        if table["source_id"].duplicated().any():
            raise FileProblem(path, "an object comes twice", "Score each object once.", reason="duplicates")
        name = (path.parent if path.name == SCORES_NAME else path).stem
        columns[name if name not in columns else f"{name}-{number}"] = table.set_index("source_id")["logit"]
        hashes.append(_hash_of(path.parent / STATE_NAME))
    joined = pd.concat(columns, axis=1)
    whole = np.isfinite(joined.to_numpy(dtype=np.float64)).all(axis=1)
    if not whole.any():
        raise InputError("the scans have no object in common; give scans of the same store")
    return Members(
        names=tuple(columns),
        hashes=tuple(hashes),
        source_id=joined.index.to_numpy(dtype=object)[whole],
        logits=joined.to_numpy(dtype=np.float64)[whole],
        missing=tuple(joined.index[~whole].astype(str)),
    )


def _hash_of(path: Path) -> str:
    """Return the identity of the network of a scan, empty if there is no record of it."""
    if not path.exists():
        return ""
    return str(json.loads(path.read_text(encoding="utf-8"))["identity"]["checkpoint_hash"])


def validation_labels(members: Members, sample: Sample) -> pd.DataFrame:
    """Return ``row`` (place among the members' objects), ``label`` and ``cell`` of the validation split.

    Raises
    ------
    InputError
        If a class is missing.
    """
    frame = sample.frame
    rows = frame[(frame["split"] == "validation") & (frame["label"] >= 0)][["source_id", "label", "cell"]]
    places = pd.DataFrame({"source_id": members.source_id, "row": np.arange(len(members.source_id))})
    found = places.merge(rows, on="source_id", how="inner", validate="one_to_one")
    if found["label"].nunique() < 2:
        raise InputError(
            f"the scans have {int((found['label'] == 1).sum())} lenses and {int((found['label'] == 0).sum())} "
            "non-lenses of the validation split; both classes are needed. Scan the store that the sample describes"
        )
    return found


def _combined(
    members: Members, labels: pd.DataFrame | None, how: How, fpr: float, folds: int, seed: int
) -> tuple[NDArray[np.float64], list[dict[str, Any]], int]:
    """Return the combined logits, the recalls on the validation split, and the parameters of the stack."""
    n = len(members.logits)
    # Ranks as log odds, so that a combined score is one like any other; the first and the last stay finite.
    by_rank = logit((mean_rank(members.logits) * (n - 1) + 0.5) / n)
    ways = {"mean": mean_logit(members.logits), "rank": np.asarray(by_rank)}
    if labels is None:
        return ways[how], [], 0
    rows, targets = labels["row"].to_numpy(), labels["label"].to_numpy()
    parameters = 0
    if how == "stack":
        meta = fit_meta_learner(members.logits[rows], targets, seed=seed)
        parameters = count_parameters(meta)
        stacked = apply_meta_learner(meta, members.logits)
        stacked[rows] = stack_out_of_fold(members.logits[rows], targets, labels["cell"], folds=folds, seed=seed)
        ways["stack"] = stacked
    singles = dict(zip(members.names, members.logits.T, strict=True))
    recalls = [
        {"scores": name, **recall_at_fpr(scores[rows][targets == 1], scores[rows][targets == 0], (fpr,))[0].as_dict()}
        for name, scores in {**singles, **ways}.items()
    ]
    return ways[how], recalls, parameters
