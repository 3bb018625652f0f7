"""Exact binomial intervals."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta

from legacylens.errors import InputError


def binomial_interval(
    successes: ArrayLike, trials: ArrayLike, confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the Clopper-Pearson interval of a proportion.

    Parameters
    ----------
    successes, trials
        Counts, broadcast against each other; 0 <= successes <= trials.
    confidence
        Probability, at least, that the interval holds the true proportion, in (0, 1). The interval is conservative by
        construction: for a discrete count no interval reaches exactly this.

    Returns
    -------
    low, high
        Ends of the interval; 0 and 1 where there was no trial.

    Raises
    ------
    InputError
        If the counts are impossible.

    Notes
    -----
    Clopper & Pearson 1934, Biometrika 26, 404: each tail of the binomial law holds (1 - confidence) / 2. The tails are
    quantiles of beta laws.
    """
    k, n = np.broadcast_arrays(np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64))
    if not 0.0 < confidence < 1.0:
        raise InputError(f"confidence = {confidence} is not between 0 and 1")
    if not np.all((k >= 0) & (k <= n)):
        raise InputError("successes must lie between 0 and the number of trials")
    tail = 0.5 * (1.0 - confidence)
    low, high = np.zeros(k.shape), np.ones(k.shape)
    some, rest = k > 0, k < n
    low[some] = beta.ppf(tail, k[some], n[some] - k[some] + 1.0)
    high[rest] = beta.ppf(1.0 - tail, k[rest] + 1.0, n[rest] - k[rest])
    return low, high
