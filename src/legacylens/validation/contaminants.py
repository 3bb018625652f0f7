"""False positives by what they are: rings, spirals, mergers, edge-ons, stars, artifacts, rejected candidates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from legacylens.errors import InputError
from legacylens.files import read_parquet, write_json
from legacylens.provenance import write_provenance
from legacylens.survey.sphere import match_within
from legacylens.validation.intervals import binomial_interval
from legacylens.validation.report import check_scores, ranking_column

RESULT_NAME = "contaminants.json"
MATCH_RADIUS = 3.0
"""Largest distance of a listed contaminant from the catalog's object [arcsec]."""


def match_contaminants(
    contaminants: pd.DataFrame, objects: pd.DataFrame, radius: float = MATCH_RADIUS
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return which scored objects are contaminants of which class.

    Parameters
    ----------
    contaminants
        ``ra``, ``dec`` [deg], ``class`` (several separated by '|'), ``near_lens``; as from `legacylens contaminants`.
    objects
        ``source_id``, ``ra``, ``dec`` of what was scored.
    radius
        Largest distance [arcsec].

    Returns
    -------
    matched
        ``source_id``, ``class``: a row for each class of each object.
    counts
        ``listed``, ``near_known_lens`` (left out: they may be lenses), ``not_scored``, ``matched``.
    """
    usable = contaminants[contaminants["near_lens"] == ""].reset_index(drop=True)
    counts = {"listed": len(contaminants), "near_known_lens": len(contaminants) - len(usable)}
    if len(usable) == 0 or len(objects) == 0:
        return pd.DataFrame({"source_id": [], "class": []}), counts | {"not_scored": len(usable), "matched": 0}
    pairs = match_within(
        usable["ra"].to_numpy(np.float64),
        usable["dec"].to_numpy(np.float64),
        objects["ra"].to_numpy(np.float64),
        objects["dec"].to_numpy(np.float64),
        radius,
    )
    table = pd.DataFrame({"listed": pairs[0], "object": pairs[1], "distance": pairs[2]})
    nearest = table.sort_values("distance").drop_duplicates("listed").drop_duplicates("object")
    matched = pd.DataFrame(
        {
            "source_id": objects["source_id"].astype(str).to_numpy()[nearest["object"]],
            "class": usable["class"].astype(str).str.split("|").to_numpy()[nearest["listed"]],
        }
    ).explode("class")
    counts |= {"not_scored": len(usable) - len(nearest), "matched": len(nearest)}
    return matched.sort_values(["class", "source_id"]).reset_index(drop=True), counts


def contaminant_rates(
    matched: pd.DataFrame,
    scores: pd.DataFrame,
    threshold: float,
    *,
    confidence: float = 0.95,
    offenders: int = 8,
    trained: set[str] | None = None,
) -> dict[str, Any]:
    """Return the fraction of each class that is selected, with exact intervals and the worst offenders.

    Parameters
    ----------
    matched
        As from `match_contaminants`.
    scores
        ``source_id`` and ``logit`` or ``score``.
    threshold
        Selected is what is at least as high.
    confidence
        Of the intervals.
    offenders
        Objects of each class that are named, highest first.
    trained
        Objects that the network learned from; they are left out and counted.

    Returns
    -------
    result
        ``classes`` (``class``, ``n``, ``selected``, ``fpr``, ``fpr_low``, ``fpr_high``, ``offenders``), ``all``,
        ``trained_on``.
    """
    column = ranking_column(scores)
    seen = matched["source_id"].isin(trained or set())
    values = scores.set_index("source_id")[column].astype(np.float64)
    table = matched[~seen].assign(value=values.reindex(matched.loc[~seen, "source_id"]).to_numpy())
    table = table[np.isfinite(table["value"])]
    rows = []
    for name, part in table.groupby("class", sort=True):
        rows.append({"class": str(name), **_rate(part["value"].to_numpy(), threshold, confidence)})
        worst = part.sort_values("value", ascending=False).head(offenders)
        rows[-1]["offenders"] = [
            {"source_id": str(source), "value": float(value), "selected": bool(value >= threshold)}
            for source, value in zip(worst["source_id"], worst["value"], strict=True)
        ]
    together = table.drop_duplicates("source_id")["value"].to_numpy()
    return {
        "threshold": threshold,
        "classes": rows,
        "all": _rate(together, threshold, confidence),
        "trained_on": int(matched.loc[seen, "source_id"].nunique()),
    }


def _rate(values: np.ndarray[Any, np.dtype[np.float64]], threshold: float, confidence: float) -> dict[str, Any]:
    selected = int((values >= threshold).sum())
    low, high = binomial_interval(selected, len(values), confidence)
    return {
        "n": len(values),
        "selected": selected,
        "fpr": selected / len(values) if len(values) else None,
        "fpr_low": float(low),
        "fpr_high": float(high),
    }


def contaminant_files(
    scores_path: str | Path,
    contaminants_path: str | Path,
    parent_path: str | Path,
    out: str | Path,
    *,
    threshold: float,
    sample_path: str | Path | None = None,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Measure the false-positive rate of each class of contaminants and write ``contaminants.json``.

    Parameters
    ----------
    scores_path, contaminants_path, parent_path
        ``scores.parquet``, ``contaminants.parquet``, ``parent.parquet``, or their folders.
    out
        Folder for the result.
    threshold
        From which on objects are selected.
    sample_path
        Sample of the training, whose training objects are left out.
    confidence
        Of the intervals.

    Raises
    ------
    InputError
        If the scores are refused, or none of the contaminants was scored.
    """
    scores = read_parquet(_in_folder(scores_path, "scores.parquet"))
    check_scores(scores)
    contaminants = read_parquet(_in_folder(contaminants_path, "contaminants.parquet"))
    parent = read_parquet(_in_folder(parent_path, "parent.parquet"), columns=["source_id", "ra", "dec"])
    objects = parent[parent["source_id"].isin(scores["source_id"])].reset_index(drop=True)
    matched, counts = match_contaminants(contaminants, objects)
    if not len(matched):
        raise InputError(
            f"none of the {counts['listed']} contaminants is among the {len(objects):,} scored objects; give lists "
            "that cover this sky, and the parent table of these scores"
        )
    trained: set[str] = set()
    if sample_path is not None:
        sample = read_parquet(_in_folder(sample_path, "sample.parquet"))
        trained = set(sample.loc[(sample["split"] == "train") & (sample["label"] >= 0), "source_id"].astype(str))
    result = contaminant_rates(matched, scores, threshold, confidence=confidence, trained=trained)
    result |= {
        "counts": counts,
        "confidence": confidence,
        "not_shown": [
            "Classes are those of the lists; a list of clear cases says little about unclear ones.",
            "Rates hold for objects like those listed, which may be brighter and nearer than those of the survey.",
        ],
    }
    out = Path(out)
    write_json(out / RESULT_NAME, result)
    write_provenance(
        out,
        step="validate contaminants",
        configuration={"threshold": threshold, "confidence": confidence},
        inputs={"scores": scores_path, "contaminants": contaminants_path, "parent": parent_path},
        results={"classes": {row["class"]: [row["selected"], row["n"]] for row in result["classes"]}},
    )
    return result


def _in_folder(path: str | Path, name: str) -> Path:
    path = Path(path)
    return path / name if path.is_dir() else path
