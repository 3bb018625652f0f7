"""How many objects a team can look at decides the threshold, not the other way around."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from legacylens.errors import InputError
from legacylens.validation.purity import survey_expectation
from legacylens.validation.recall import FALSE_POSITIVES_NEEDED, recall_at_threshold
from legacylens.validation.tail import REACH, extrapolate

_RATES = 24
"""False-positive rates beyond the measured ones that are tried."""


def recommend_threshold(
    scores_pos: ArrayLike,
    scores_neg: ArrayLike,
    budget: int,
    *,
    prevalence: float,
    parent_size: int,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Return the lowest threshold whose list is expected to be no longer than a budget of inspections.

    Parameters
    ----------
    scores_pos, scores_neg
        Scores of lenses and non-lenses, without NaN.
    budget
        Objects that can be looked at.
    prevalence, parent_size
        Lenses for each object of the survey, and its objects.
    confidence
        Of the intervals.

    Returns
    -------
    recommendation
        ``budget``, ``threshold`` (None if it can be neither measured nor extrapolated), ``basis`` (``measured`` or
        ``extrapolated``), ``point`` and ``survey`` as dictionaries of `RecallPoint` and `SurveyExpectation` at it,
        ``inspections_per_lens``, ``note``.

    Raises
    ------
    InputError
        If the budget is not positive.

    Notes
    -----
    A list of L objects out of N is mostly false positives, so the rate that a budget allows is about L / N: for ten
    thousand inspections of forty million objects 2.3e-4, less what the lenses themselves take.
    """
    if budget < 1:
        raise InputError(f"a budget of {budget} inspections selects nothing")
    positives, negatives = np.asarray(scores_pos, np.float64), np.asarray(scores_neg, np.float64)
    n = len(negatives)

    def at(threshold: float) -> tuple[dict[str, Any], dict[str, Any], float]:
        point = recall_at_threshold(positives, negatives, threshold, confidence=confidence)
        survey = survey_expectation(point, prevalence=prevalence, parent_size=parent_size, confidence=confidence)
        length = parent_size * (prevalence * point.recall + (1.0 - prevalence) * point.fpr)
        return point.as_dict(), survey.as_dict(), length

    descending = -np.sort(-negatives)
    # The k-th highest non-lens as threshold lets k of them pass (more where they tie).
    low, high = 0, n
    while low < high:  # the largest k whose list is within the budget
        middle = (low + high + 1) // 2
        if at(float(descending[middle - 1]))[2] <= budget:
            low = middle
        else:
            high = middle - 1
    common = {"budget": budget}
    if low >= FALSE_POSITIVES_NEEDED:
        threshold = float(descending[low - 1])
        point, survey, _ = at(threshold)
        return {
            **common, "threshold": threshold, "basis": "measured", "point": point, "survey": survey,
            "inspections_per_lens": survey["inspections_per_lens"], "note": "",
        }  # fmt: skip
    note = f"only {low} of {n:,} non-lenses stand behind a list that short; {FALSE_POSITIVES_NEEDED} are needed"
    empty = {"threshold": None, "basis": "", "point": None, "survey": None, "inspections_per_lens": None}
    rates = np.geomspace(FALSE_POSITIVES_NEEDED / n, 1.0 / (REACH * n), _RATES)
    tails = extrapolate(positives, negatives, rates.tolist(), confidence=confidence)
    if all(tail.threshold is None for tail in tails):
        return {**common, **empty, "note": f"{note}; {tails[-1].note}"}
    for tail in tails:
        if tail.threshold is None or tail.recall is None:
            continue
        found = parent_size * prevalence * tail.recall
        length = found + parent_size * (1.0 - prevalence) * tail.fpr_target
        if length <= budget:
            return {
                **common,
                "threshold": tail.threshold,
                "basis": "extrapolated",
                "point": at(tail.threshold)[0],
                "survey": None,
                "inspections_per_lens": length / found if found > 0 else None,
                "tail": tail.as_dict(),
                "note": f"{note}; extrapolated from the tail of the scores",
            }
    return {**common, **empty, "note": f"{note}, and the tail of the scores reaches no list of {budget:,}"}
