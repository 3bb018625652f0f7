"""What a network is chosen by: recall at a fixed false-positive rate, never AUC or loss.

At one lens in ten thousand galaxies only the first per cent of the ROC curve matters, and the loss still falls when
that part has long become worse. These are the quick numbers of the training loop; those with intervals are in
`legacylens.validation`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from legacylens.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Selection:
    """The merit of an epoch; a greater one is better."""

    recall: float
    """Share of the lenses above the threshold of the wanted false-positive rate."""

    partial: float
    """Mean recall over 0, 1, 2... accepted non-lenses up to ten times the wanted rate: finer than `recall`, which moves
    in steps of one lens."""


def _recall_by_false_positives(lenses: ArrayLike, non_lenses: ArrayLike) -> NDArray[np.float64]:
    """Return the recall if 0, 1, ... n - 1 of the n non-lenses may be accepted."""
    lenses = np.sort(np.asarray(lenses, dtype=np.float64))
    descending = -np.sort(-np.asarray(non_lenses, dtype=np.float64))
    if not len(lenses) or not len(descending):
        raise InputError(f"recall needs both classes, got {len(lenses)} lenses and {len(descending)} non-lenses")
    if not (np.isfinite(lenses).all() and np.isfinite(descending).all()):
        raise InputError("a score is not finite; recall is not defined")
    # With k accepted non-lenses the threshold is the score of the next one; a lens that only equals it is not above.
    return 1.0 - np.searchsorted(lenses, descending, side="right") / len(lenses)


def selection_of(lenses: ArrayLike, non_lenses: ArrayLike, fpr: float) -> Selection:
    """Return the merit of a set of scores.

    Parameters
    ----------
    lenses, non_lenses
        Scores, higher is more lens-like.
    fpr
        The false-positive rate; ``floor(fpr * n)`` of the n non-lenses may be above the threshold.

    Raises
    ------
    InputError
        If a class is empty or a score is not finite.
    """
    recalls = _recall_by_false_positives(lenses, non_lenses)
    n = len(recalls)
    # The product of a rate and a count that is meant to be whole may come out a rounding error below it.
    allowed = min(math.floor(fpr * n + 1e-9), n - 1)
    last = min(max(math.ceil(10 * fpr * n), 10), n)
    return Selection(recall=float(recalls[allowed]), partial=float(recalls[:last].mean()))


def standard_error(recall: float, n_lenses: int) -> float:
    """Return the standard error of a recall measured on ``n_lenses``, never zero (Agresti & Coull's estimate).

    An epoch whose recall is within one standard error of the highest is as good, and the latest of these is kept: the
    learning rate falls, so it is the best trained. Otherwise a dozen validation lenses would choose by luck among
    epochs of which the early ones are half trained (the one-standard-error rule of Breiman et al. 1984).
    """
    estimate = (recall * n_lenses + 2.0) / (n_lenses + 4.0)
    return math.sqrt(estimate * (1.0 - estimate) / (n_lenses + 4.0))
