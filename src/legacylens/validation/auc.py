"""Area under the ROC curve: reported last, because it is decided far from where a search works."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit
from scipy.stats import norm, rankdata

from legacylens.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Auc:
    """An area under the ROC curve with its interval."""

    value: float
    """Probability that a random lens scores above a random non-lens, ties counting half."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end."""


def delong(scores_pos: ArrayLike, scores_neg: ArrayLike) -> tuple[float, float]:
    """Return the area under the ROC curve and its variance.

    Parameters
    ----------
    scores_pos, scores_neg
        Scores of the two classes, one-dimensional, without NaN, none empty.

    Notes
    -----
    DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44, 837, through midranks (Sun & Xu 2014).
    """
    positives = np.asarray(scores_pos, dtype=np.float64).ravel()
    negatives = np.asarray(scores_neg, dtype=np.float64).ravel()
    m, n = len(positives), len(negatives)
    ranks = rankdata(np.concatenate([positives, negatives]))
    below = (ranks[:m] - rankdata(positives)) / n  # of each lens: the fraction of non-lenses below it
    above = 1.0 - (ranks[m:] - rankdata(negatives)) / m  # of each non-lens: the fraction of lenses above it
    variance = (below.var(ddof=1) / m if m > 1 else 0.0) + (above.var(ddof=1) / n if n > 1 else 0.0)
    return float(below.mean()), float(variance)


def auc_with_interval(scores_pos: ArrayLike, scores_neg: ArrayLike, confidence: float = 0.95) -> Auc:
    """Return the area under the ROC curve with DeLong's variance on the logit scale.

    Parameters
    ----------
    scores_pos, scores_neg
        Scores of the two classes, one-dimensional, without NaN.
    confidence
        Of the interval.

    Notes
    -----
    On the logit scale the interval stays within (0, 1) and is nearer to its nominal coverage when the area is close to
    1. For perfectly separated classes the variance is zero; there the rule of three stands in, with the smaller class
    as the trials.
    """
    positives = np.asarray(scores_pos, dtype=np.float64).ravel()
    negatives = np.asarray(scores_neg, dtype=np.float64).ravel()
    m, n = len(positives), len(negatives)
    if m == 0 or n == 0:
        raise InputError("the area under the curve needs scores of both classes")
    if np.isnan(positives).any() or np.isnan(negatives).any():
        raise InputError("NaN among the scores; remove and count them first")
    value, variance = delong(positives, negatives)
    if variance <= 0.0 or not 0.0 < value < 1.0:
        reach = -np.log(0.5 * (1.0 - confidence)) / min(m, n)
        return Auc(value=value, low=max(0.0, value - reach), high=min(1.0, value + reach))
    spread = norm.ppf(0.5 + 0.5 * confidence) * np.sqrt(variance) / (value * (1.0 - value))
    return Auc(value=value, low=float(expit(logit(value) - spread)), high=float(expit(logit(value) + spread)))
