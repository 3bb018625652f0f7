"""A curve through recalls against the number of lenses: how much more lenses would bring."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from legacylens.errors import InputError

EXPONENTS = np.linspace(0.1, 1.5, 57)
"""Exponents that are tried: learning curves of networks have 0.1 to 1 (Hestness et al. 2017, arXiv:1712.00409)."""
LEAST_POINTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningCurve:
    """``recall = ceiling - loss * (n / 100) ** -exponent``."""

    ceiling: float
    """Recall with any number of lenses, within [0, 1]."""
    loss: float
    """What is missing at 100 lenses."""
    exponent: float
    """How fast it goes away."""

    def recall(self, n: ArrayLike) -> NDArray[np.float64]:
        """Return the recall with ``n`` lenses, cut off at 0."""
        n = np.asarray(n, dtype=np.float64)
        return np.asarray(np.maximum(self.ceiling - self.loss * (n / 100.0) ** -self.exponent, 0.0))


def fit_curve(n: ArrayLike, recall: ArrayLike) -> LearningCurve:
    """Fit a learning curve by least squares.

    Parameters
    ----------
    n
        Numbers of lenses, at least three different ones.
    recall
        Recalls.

    Raises
    ------
    InputError
        If there are too few different numbers.

    Notes
    -----
    For every exponent of a grid ceiling and loss are the solution of a linear problem; where that leaves
    ``0 <= ceiling <= 1`` or ``loss >= 0``, the best solution on the edge is taken.
    """
    n, recall = np.asarray(n, dtype=np.float64), np.asarray(recall, dtype=np.float64)
    if len(np.unique(n)) < LEAST_POINTS:
        raise InputError(f"a curve needs at least {LEAST_POINTS} different numbers of lenses, got {len(np.unique(n))}")
    best, best_error = None, np.inf
    for exponent in EXPONENTS:
        x = (n / 100.0) ** -exponent
        slope, offset = np.polyfit(x, recall, 1)
        candidates = [(offset, -slope), (float(recall.mean()), 0.0)]
        candidates += [(edge, float((x * (edge - recall)).sum() / (x * x).sum())) for edge in (0.0, 1.0)]
        for ceiling, loss in candidates:
            if not (0.0 <= ceiling <= 1.0 and loss >= 0.0):
                continue
            error = float(((ceiling - loss * x - recall) ** 2).sum())
            # A slower curve must be clearly better: with little noise all exponents fit a straight piece.
            if error < best_error - 1e-12:
                best, best_error = LearningCurve(ceiling=ceiling, loss=loss, exponent=float(exponent)), error
    if best is None:
        raise InputError("no curve that rises to a recall in [0, 1] fits these numbers")
    return best


def curve_band(
    n: ArrayLike, draws: NDArray[np.float64], at: ArrayLike, confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the interval of a fitted curve.

    Parameters
    ----------
    n
        Numbers of lenses, ``(point,)``.
    draws
        Recalls on resampled skies, ``(replica, point)``; each is fitted.
    at
        Numbers of lenses at which the curve is wanted.
    confidence
        Of the interval, pointwise.
    """
    curves = np.array([fit_curve(n, draw).recall(at) for draw in draws if np.isfinite(draw).all()])
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(curves, [tail, 100.0 - tail], axis=0)
    return low, high
