"""What was held out: recall and false positives where training saw nothing of a sky cell, a brick or a list.

A split by sky cell keeps training and test in different cells, but a brick may lie in two of them. Objects of one brick
share exposures, a coadd and its artifacts, so a network may know a test object's brick by heart. Nothing but a count
tells: objects of bricks that training knows are compared with objects of bricks that it does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import fisher_exact

from legacylens.errors import InputError
from legacylens.validation.intervals import binomial_interval
from legacylens.validation.recall import RecallPoint

UNIT_COLUMNS = {"cell": "cell", "brick": "brickname"}
"""What can be held out whole, and the column of a sample that names it."""


def known_to_training(sample: pd.DataFrame, rows: pd.DataFrame, unit: str) -> NDArray[np.bool_]:
    """Return which rows lie in a cell or brick that holds an object of training.

    Parameters
    ----------
    sample
        Columns ``split``, ``label`` and that of the unit.
    rows
        Objects of another split.
    unit
        ``cell`` or ``brick``.

    Raises
    ------
    InputError
        If the sample does not say which cell or brick an object lies in.
    """
    column = UNIT_COLUMNS[unit]
    if column not in sample.columns or (sample[column].astype(str).str.strip() == "").any():
        raise InputError(
            f"the sample has no {column} for every object, so nothing can be held out by {unit}; build it with "
            "`legacylens samples build`"
        )
    trained = sample.loc[(sample["split"] == "train") & sample["label"].isin([0, 1]), column]
    return rows[column].isin(set(trained)).to_numpy(dtype=bool)


def by_unit(
    joined: pd.DataFrame, sample: pd.DataFrame, points: Sequence[RecallPoint], confidence: float
) -> list[dict[str, Any]]:
    """Return recall and false-positive rate in cells, and in bricks, that training knows and does not.

    Parameters
    ----------
    joined
        Judged objects: ``label``, ``value`` and the columns of the units.
    sample
        The whole sample.
    points
        Thresholds.
    confidence
        Of the intervals.

    Returns
    -------
    rows
        For each unit that the sample names and each rate: ``unit``, ``fpr_target``, and for ``unseen`` and ``shared``
        objects a dictionary of ``lenses``, ``recovered``, ``recall`` with its exact interval, ``non_lenses``,
        ``selected``, ``fpr`` with its exact interval; ``p_value``: chance of a difference in recall as large, in
        either direction, if there is none (Fisher's exact test), None where one of the two has no lens.
    """
    rows: list[dict[str, Any]] = []
    for unit, column in UNIT_COLUMNS.items():
        if column not in sample.columns or (sample[column].astype(str).str.strip() == "").any():
            continue
        shared = known_to_training(sample, joined, unit)
        for point in points:
            unseen = _rates(joined[~shared], point.threshold, confidence)
            known = _rates(joined[shared], point.threshold, confidence)
            rows.append(
                {
                    "unit": unit,
                    "fpr_target": point.fpr_target,
                    "unseen": unseen,
                    "shared": known,
                    "p_value": _difference(unseen, known),
                }
            )
    return rows


def _rates(rows: pd.DataFrame, threshold: float, confidence: float) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for label, total, passed, rate in ((1, "lenses", "recovered", "recall"), (0, "non_lenses", "selected", "fpr")):
        values = rows.loc[rows["label"] == label, "value"].to_numpy(np.float64)
        n, selected = len(values), int((values >= threshold).sum())
        low, high = binomial_interval(selected, n, confidence)
        found |= {
            total: n,
            passed: selected,
            rate: selected / n if n else None,
            f"{rate}_low": float(low),
            f"{rate}_high": float(high),
        }
    return found


def _difference(first: dict[str, Any], second: dict[str, Any]) -> float | None:
    if not first["lenses"] or not second["lenses"]:
        return None
    table = np.array([[part["recovered"], part["lenses"] - part["recovered"]] for part in (first, second)])
    return float(fisher_exact(table)[1])


def by_list(lenses: pd.DataFrame, points: Sequence[RecallPoint], confidence: float) -> list[dict[str, Any]]:
    """Return the recall of the lenses of each list at each threshold; a lens of two lists counts in both.

    Parameters
    ----------
    lenses
        ``value`` and ``sources``: names of lists, separated by ``|``.
    points
        Thresholds.
    confidence
        Of the intervals.

    Returns
    -------
    rows
        ``list``, ``fpr_target``, ``n``, ``selected``, ``fraction``, ``low``, ``high``, and ``only``: lenses that no
        other list has.
    """
    rows: list[dict[str, Any]] = []
    if "sources" not in lenses.columns:
        return rows
    names = [
        sorted({part.strip() for part in text.split("|") if part.strip()}) for text in lenses["sources"].astype(str)
    ]
    values = lenses["value"].to_numpy(np.float64)
    for name in sorted({each for entry in names for each in entry}):
        inside = np.array([name in entry for entry in names])
        alone = sum(entry == [name] for entry in names)
        for point in points:
            selected, n = int((values[inside] >= point.threshold).sum()), int(inside.sum())
            low, high = binomial_interval(selected, n, confidence)
            rows.append(
                {
                    "list": name,
                    "fpr_target": point.fpr_target,
                    "n": n,
                    "only": alone,
                    "selected": selected,
                    "fraction": selected / n,
                    "low": float(low),
                    "high": float(high),
                }
            )
    return rows
