"""Recall at a fixed false-positive rate: the number by which a lens finder is judged.

At one lens in 10,000 galaxies a search works at false-positive rates of 1e-3 to 1e-5, where the area under the curve
says nothing. A threshold is set by the non-lenses above it and is worth what their number is worth: with fewer than 20
the row says "not measurable" beside its value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from legacylens.errors import InputError
from legacylens.validation.intervals import binomial_interval

FALSE_POSITIVES_NEEDED = 20
"""A rate with fewer events behind it is uncertain by more than a quarter of itself at one sigma: not a measurement."""

DEFAULT_FPRS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallPoint:
    """Recall at one false-positive rate. An object is selected if ``score >= threshold``."""

    fpr_target: float
    """The false-positive rate asked for."""
    threshold: float
    """Lowest score at which at most this fraction of the non-lenses is selected."""
    recall: float
    """Fraction of the lenses selected."""
    recall_low: float
    """Lower end of the Clopper-Pearson interval of the recall at this threshold."""
    recall_high: float
    """Upper end."""
    n_lenses: int
    """Lenses with a score."""
    n_recovered: int
    """Lenses selected."""
    fpr: float
    """Fraction of the non-lenses selected; below the target where scores tie or the number of non-lenses is small."""
    fpr_low: float
    """Lower end of its Clopper-Pearson interval."""
    fpr_high: float
    """Upper end."""
    n_non_lenses: int
    """Non-lenses with a score."""
    n_false_positives: int
    """Non-lenses selected: what the threshold rests on."""
    n_non_lenses_needed: int
    """Non-lenses at which 20 false positives stand behind the threshold."""
    measurable: bool
    """Whether at least 20 false positives stand behind the threshold."""
    note: str
    """Why not, in words; empty if measurable."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-compatible dictionary."""
        return asdict(self)


def _checked(scores: ArrayLike, what: str) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64).ravel()
    if len(values) == 0:
        raise InputError(f"no {what} with a score: recall and false-positive rate need both classes")
    if np.isnan(values).any():
        raise InputError(f"{int(np.isnan(values).sum())} NaN among the scores of the {what}; score them again")
    return values


def threshold_at_fpr(scores_neg: ArrayLike, fpr: float) -> float:
    """Return the lowest threshold at which at most a fraction ``fpr`` of the non-lenses has ``score >= threshold``.

    Notes
    -----
    With n non-lenses, k = floor(fpr n) may pass, so the threshold lies just above the (k + 1)-th highest score. Among
    tied scores none passes: a tie never makes a rate look better than the one asked for.
    """
    values = _checked(scores_neg, "non-lenses")
    if not 0.0 < fpr < 1.0:
        raise InputError(f"a false-positive rate of {fpr} is not between 0 and 1")
    # 1e-3 * 29,000 is 28.999999999999996 in binary; the shift is far below one non-lens.
    allowed = math.floor(fpr * len(values) + 1e-9)
    highest_refused = np.partition(values, len(values) - 1 - allowed)[len(values) - 1 - allowed]
    return float(np.nextafter(highest_refused, np.inf))


def recall_at_threshold(
    scores_pos: ArrayLike,
    scores_neg: ArrayLike,
    threshold: float,
    *,
    fpr_target: float | None = None,
    confidence: float = 0.95,
) -> RecallPoint:
    """Return recall and false-positive rate at a given threshold.

    Parameters
    ----------
    scores_pos, scores_neg
        Scores of lenses and non-lenses, one-dimensional, without NaN.
    threshold
        Selected is ``score >= threshold``.
    fpr_target
        The rate that the threshold was chosen for; by default the one it reaches.
    confidence
        Of both intervals. The interval of the recall is exact given the threshold, also when the threshold was set by
        these non-lenses, because the lenses had no part in it.
    """
    positives, negatives = _checked(scores_pos, "lenses"), _checked(scores_neg, "non-lenses")
    n_pos, n_neg = len(positives), len(negatives)
    recovered, false = int((positives >= threshold).sum()), int((negatives >= threshold).sum())
    recall_low, recall_high = binomial_interval(recovered, n_pos, confidence)
    fpr_low, fpr_high = binomial_interval(false, n_neg, confidence)
    target = false / n_neg if fpr_target is None else fpr_target
    needed = math.ceil(FALSE_POSITIVES_NEEDED / target - 1e-9) if target > 0 else 0
    measurable = false >= FALSE_POSITIVES_NEEDED
    note = ""
    if not measurable:
        if target > 0 and n_neg >= needed:
            note = (
                f"not measurable: tied scores leave {false} false positives where {math.floor(target * n_neg + 1e-9)} "
                f"may pass; {FALSE_POSITIVES_NEEDED} are needed"
            )
        elif target > 0:
            note = (
                f"not measurable: needs >= {needed:,} non-lenses ({FALSE_POSITIVES_NEEDED} false positives), "
                f"have {n_neg:,} ({false})"
            )
        else:
            note = f"not measurable: no false positive among {n_neg:,} non-lenses"
    return RecallPoint(
        fpr_target=float(target),
        threshold=float(threshold),
        recall=recovered / n_pos,
        recall_low=float(recall_low),
        recall_high=float(recall_high),
        n_lenses=n_pos,
        n_recovered=recovered,
        fpr=false / n_neg,
        fpr_low=float(fpr_low),
        fpr_high=float(fpr_high),
        n_non_lenses=n_neg,
        n_false_positives=false,
        n_non_lenses_needed=needed,
        measurable=measurable,
        note=note,
    )


def recall_at_fpr(
    scores_pos: ArrayLike, scores_neg: ArrayLike, fprs: Sequence[float] = DEFAULT_FPRS, *, confidence: float = 0.95
) -> list[RecallPoint]:
    """Return the recall at each false-positive rate, with exact intervals and what stands behind it.

    Parameters
    ----------
    scores_pos, scores_neg
        Scores of lenses and non-lenses, one-dimensional, without NaN; higher means more lens-like.
    fprs
        False-positive rates, each in (0, 1).
    confidence
        Of the intervals.

    Raises
    ------
    InputError
        If a class has no score, a score is NaN or a rate impossible.
    """
    return [
        recall_at_threshold(
            scores_pos, scores_neg, threshold_at_fpr(scores_neg, fpr), fpr_target=fpr, confidence=confidence
        )
        for fpr in fprs
    ]


def challenge_rates(scores_pos: ArrayLike, scores_neg: ArrayLike) -> dict[str, float]:
    """Return TPR0 and TPR10: recall without a false positive and with fewer than ten (Metcalf et al. 2019)."""
    positives = _checked(scores_pos, "lenses")
    negatives = np.sort(_checked(scores_neg, "non-lenses"))[::-1]
    tenth = negatives[min(9, len(negatives) - 1)]
    return {"tpr0": float((positives > negatives[0]).mean()), "tpr10": float((positives > tenth).mean())}


@dataclass(frozen=True, slots=True, kw_only=True)
class RocCurve:
    """Recall over false-positive rate, made for a logarithmic axis."""

    fpr: NDArray[np.float64]
    """False-positive rates, from one false positive up to 1, shape (n,)."""
    recall: NDArray[np.float64]
    """Recall at each, shape (n,)."""
    recall_low: NDArray[np.float64]
    """Lower end of the pointwise Clopper-Pearson band, shape (n,)."""
    recall_high: NDArray[np.float64]
    """Upper end, shape (n,)."""
    fpr_measurable: float
    """Below this rate fewer than 20 false positives stand behind the curve."""
    n_lenses: int
    n_non_lenses: int

    def as_dict(self) -> dict[str, Any]:
        """Return the curve as a JSON-compatible dictionary."""
        return {
            "fpr": self.fpr.tolist(),
            "recall": self.recall.tolist(),
            "recall_low": self.recall_low.tolist(),
            "recall_high": self.recall_high.tolist(),
            "fpr_measurable": self.fpr_measurable,
            "n_lenses": self.n_lenses,
            "n_non_lenses": self.n_non_lenses,
        }


def roc_curve(scores_pos: ArrayLike, scores_neg: ArrayLike, *, points: int = 200, confidence: float = 0.95) -> RocCurve:
    """Return recall over false-positive rate at up to ``points`` rates, equally spaced in the logarithm.

    Rates that would allow the same number of false positives are one point, so a small set has a short curve instead of
    a smooth one.
    """
    positives = np.sort(_checked(scores_pos, "lenses"))
    negatives = np.sort(_checked(scores_neg, "non-lenses"))
    n_pos, n_neg = len(positives), len(negatives)
    allowed = np.unique(np.round(np.geomspace(1, n_neg, points)).astype(np.int64))
    # As in threshold_at_fpr: strictly above the (k + 1)-th highest; with all allowed, everything is selected.
    edge = np.append(negatives, -np.inf)[np.where(allowed == n_neg, n_neg, n_neg - 1 - allowed)]
    recovered = n_pos - np.searchsorted(positives, edge, side="right")
    recovered[allowed == n_neg] = n_pos
    false = n_neg - np.searchsorted(negatives, edge, side="right")
    false[allowed == n_neg] = n_neg
    # Ties can make several rates the same point; the last of each is the one with the most lenses.
    _, first = np.unique(false, return_index=True)
    keep = first[false[first] > 0]
    low, high = binomial_interval(recovered[keep], n_pos, confidence)
    return RocCurve(
        fpr=false[keep] / n_neg,
        recall=recovered[keep] / n_pos,
        recall_low=low,
        recall_high=high,
        fpr_measurable=min(1.0, FALSE_POSITIVES_NEEDED / n_neg),
        n_lenses=n_pos,
        n_non_lenses=n_neg,
    )
