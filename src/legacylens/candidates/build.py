"""From scores and the parent table to the list of candidates; nothing is left out without being counted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from legacylens.candidates.columns import COLUMNS, typed
from legacylens.candidates.config import CandidateConfig
from legacylens.candidates.group import group_systems
from legacylens.candidates.names import desi_names, iau_names, resolve_collisions
from legacylens.errors import InputError
from legacylens.survey.sphere import nearest
from legacylens.validation.report import ranking_column

LABEL_WORDS = {1: "lens", 0: "non-lens"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateList:
    """A list of candidates with the counts of every step that led to it."""

    frame: pd.DataFrame
    """One row for each system, best first; columns as in `legacylens.candidates.columns`."""
    counts: dict[str, int]
    """``scored``, ``not_finite``, ``not_in_parent``, ``below``, ``selected``, ``merged``, ``candidates``, ``known``,
    ``new`` and ``in_training``: scored = not_finite + not_in_parent + below + merged + candidates."""
    threshold: float
    """Ranking score of the last candidate, or the threshold asked for, whichever is higher; NaN for an empty list."""
    ranked_by: str
    """``logit`` or ``score``."""

    def summary(self) -> dict[str, Any]:
        """Return counts and threshold as a JSON-compatible dictionary."""
        threshold = None if np.isnan(self.threshold) else self.threshold
        return {"counts": self.counts, "threshold": threshold, "ranked_by": self.ranked_by}


def build_candidates(
    scores: pd.DataFrame,
    parent: pd.DataFrame,
    config: CandidateConfig,
    *,
    known: pd.DataFrame | None = None,
    sample: pd.DataFrame | None = None,
) -> CandidateList:
    """Choose, group, name and describe candidates.

    Parameters
    ----------
    scores
        Columns ``source_id`` and ``logit`` or ``score`` (or both).
    parent
        Parent table: ``source_id``, ``ra``, ``dec`` [deg] and the survey's columns.
    config
        Threshold, length and radii.
    known
        Known systems: ``system_id``, ``ra``, ``dec``, ``grade`` and optionally ``grades`` and ``names``.
    sample
        Sample the network was trained with: ``source_id``, ``split``, ``label``. A candidate of which a member was in
        the training split is marked, because its score says little.

    Raises
    ------
    InputError
        If ids are repeated, or no score belongs to an object of the parent table.
    """
    column = ranking_column(scores)
    for table, what in ((scores, "the scores"), (parent, "the parent table")):
        if "source_id" not in table.columns:
            raise InputError(f"{what} have no column source_id")
        if table["source_id"].duplicated().any():
            raise InputError(f"{what} repeat a source_id; keep one row for each")
    own = [name for name in ("score", "logit") if name in scores.columns]
    # The parent may carry columns of these names from elsewhere; the scores given here are the ones that count.
    merged = scores[["source_id", *own]].merge(
        parent.drop(columns=[name for name in ("score", "logit") if name in parent.columns]), on="source_id", how="left"
    )
    in_parent = merged["source_id"].isin(parent["source_id"])
    finite = np.isfinite(merged[column].to_numpy(np.float64))
    if len(merged) and not in_parent.any():
        raise InputError("no score belongs to an object of the parent table; are both of the same release?")
    counts = {
        "scored": len(merged),
        "not_finite": int((~finite).sum()),
        "not_in_parent": int((finite & ~in_parent).sum()),
    }
    objects = merged[finite & in_parent].reset_index(drop=True)
    top_n = None
    if config.top_n is not None:
        top_n = min(config.top_n, max(1, math.ceil(config.max_fraction * len(objects))))
    value = objects[column].to_numpy(np.float64)
    if config.threshold is not None:
        objects = objects[value >= config.threshold].reset_index(drop=True)
        value = objects[column].to_numpy(np.float64)
    systems = group_systems(
        objects["ra"],
        objects["dec"],
        value,
        objects["source_id"],
        radius_arcsec=config.group_radius_arcsec,
        top_n=top_n,
    )
    rows = objects.iloc[systems.center].reset_index(drop=True)
    in_system = systems.system_of >= 0
    members = objects[in_system].assign(system=systems.system_of[in_system], value=value[in_system])
    members = members.sort_values(["system", "value", "source_id"], ascending=[True, False, True])

    frame = _describe(rows, members)
    frame = frame.assign(**_known_match(members, len(frame), known, config.known_radius_arcsec))
    frame = frame.assign(**_training(rows, members, sample))
    frame = typed(frame[[column.name for column in COLUMNS if column.name in frame.columns]])

    counts |= {
        "below": int(finite[in_parent].sum()) - len(members),
        "selected": len(members),
        "merged": len(members) - len(frame),
        "candidates": len(frame),
        "known": int(frame["is_known"].sum()),
        "new": int((~frame["is_known"]).sum()),
        "in_training": int(frame["in_training"].sum()),
    }
    last = float(value[systems.center].min()) if len(frame) else float("nan")
    return CandidateList(frame=frame, counts=counts, threshold=last, ranked_by=column)


def _describe(rows: pd.DataFrame, members: pd.DataFrame) -> pd.DataFrame:
    """Return rank, names, score and members of each system, and the survey's columns of its center."""
    ra, dec = rows["ra"].to_numpy(np.float64), rows["dec"].to_numpy(np.float64)
    frame = rows.copy()
    frame["rank"] = np.arange(1, len(rows) + 1)
    frame["name"] = resolve_collisions(iau_names(ra, dec))
    frame["desi_name"] = resolve_collisions(desi_names(ra, dec))
    if "score" not in frame:
        frame["score"] = 1.0 / (1.0 + np.exp(-frame["logit"].to_numpy(np.float64)))
    if "logit" not in frame:
        score = frame["score"].to_numpy(np.float64)
        with np.errstate(divide="ignore"):
            frame["logit"] = np.log(score) - np.log1p(-score)
    by_system = members.groupby("system")["source_id"]
    frame["n_members"] = by_system.size().reindex(range(len(rows)), fill_value=0).to_numpy()
    frame["members"] = by_system.agg(";".join).reindex(range(len(rows)), fill_value="").to_numpy()
    return frame


def _known_match(
    members: pd.DataFrame, n_systems: int, known: pd.DataFrame | None, radius_arcsec: float
) -> dict[str, Any]:
    """Return the nearest known system of each candidate, measured from its nearest member."""
    if known is None or len(known) == 0 or n_systems == 0:
        blank = np.full(n_systems, "", dtype=object)
        return {
            "is_known": np.zeros(n_systems, dtype=bool),
            "known_separation": np.full(n_systems, np.nan),
            **{f"known_{name}": blank for name in ("system", "grade", "grades", "names")},
        }
    index, separation = nearest(members["ra"], members["dec"], known["ra"], known["dec"])
    found = pd.DataFrame({"system": members["system"].to_numpy(), "index": index, "separation": separation})
    found = found.sort_values(["system", "separation", "index"]).drop_duplicates("system")
    chosen = known.iloc[found["index"].to_numpy()]
    near = found["separation"].to_numpy() <= radius_arcsec

    def text(column: str, otherwise: str) -> Any:
        source = chosen[column] if column in chosen.columns else chosen[otherwise]
        return np.where(near, [_joined(value) for value in source], "")

    return {
        "is_known": near,
        "known_separation": found["separation"].to_numpy(),
        "known_system": text("system_id", "system_id"),
        "known_grade": text("grade", "grade"),
        "known_grades": text("grades", "grade"),
        "known_names": text("names", "system_id"),
    }


def _joined(value: object) -> str:
    """Return text; a list of grades or names becomes one text, separated by semicolons."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple | np.ndarray):
        return ";".join(str(part) for part in value)
    return "" if value is None or value != value else str(value)


def _training(rows: pd.DataFrame, members: pd.DataFrame, sample: pd.DataFrame | None) -> dict[str, Any]:
    """Return the split of each center, and whether (and as what) a member was trained on."""
    n = len(rows)
    if sample is None:
        blank = np.full(n, "", dtype=object)
        return {"split": blank, "in_training": np.zeros(n, dtype=bool), "trained_as": blank}
    by_id = sample.set_index("source_id")
    trained = by_id[(by_id["split"] == "train") & by_id["label"].isin(list(LABEL_WORDS))]["label"]
    label = members["source_id"].map(trained)
    # A lens among the members outweighs a non-lens: it is the stronger reason to distrust the score.
    strongest = label.groupby(members["system"].to_numpy()).max().reindex(range(n)).to_numpy(np.float64)
    return {
        "split": rows["source_id"].map(by_id["split"]).fillna("").to_numpy(),
        "in_training": np.isfinite(strongest),
        "trained_as": np.array(
            [LABEL_WORDS[int(word)] if np.isfinite(word) else "" for word in strongest], dtype=object
        ),
    }
