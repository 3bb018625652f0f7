"""Could the calibrated population have made the observed set? Posterior-predictive checks; what is wrong if not.

Sets are drawn from the posterior and compared with the observed one in what the parameters were learned from and in
what they were not. A fault of the simulator that no parameter can take away shows in the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import gamma, norm
from sklearn.covariance import LedoitWolf

from legacylens.realism.calibrate_config import Vector
from legacylens.realism.compare import holm

LEARNED = "learned from"
"""The group of features that parameters are learned from; others are held out."""
CLEAR = 2.5
"""Differences above this [sigma] are named where a whole group of features does not fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """One number in which the observed set differs from all that the population makes."""

    name: str
    """Statistic, and what of it."""
    learned_from: bool
    """Whether parameters were learned from it."""
    observed: float
    """Mean normal score (or its polynomial) in the observed set."""
    expected: float
    """Mean in sets of the posterior."""
    sigma: float
    """Difference over the scatter of such sets."""
    p: float
    """How often chance gives that or more, corrected for the number of features."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The verdict of the posterior-predictive checks."""

    p_learned: float
    """How often sets of the posterior are as far from their mean, in what was learned from."""
    p_held_out: float
    """The same in the worst group of what was held out, corrected for the number of groups."""
    groups: Mapping[str, float]
    """Every group that was held out -> how often sets of the posterior are as far from their mean in it."""
    misfits: tuple[Misfit, ...]
    """Numbers that no parameter reproduces, largest first."""
    passed: bool
    """Whether chance makes such a set often enough."""
    sigmas: Mapping[str, float]
    """Every feature -> difference over the scatter of sets of the posterior."""
    held_out: frozenset[str]
    """Features that were held out."""


def check_set(
    observed: Vector,
    replicas: Vector,
    names: Sequence[str],
    groups: Sequence[str],
    significance: float,
) -> Check:
    """Compare an observed set with sets of the posterior.

    Parameters
    ----------
    observed
        Mean features, shape ``(feature,)``.
    replicas
        Those of sets drawn from the posterior, shape ``(set, feature)``.
    names, groups
        Of the features. A fault shows in some features of one group; among all that were held out it would drown.
    significance
        Chances below this, corrected for the number of tests, are misfits.
    """
    group = np.array(groups)
    fitted = group == LEARNED
    p_learned = _distance_p(observed[fitted], replicas[:, fitted])
    apart = {
        name: _distance_p(observed[group == name], replicas[:, group == name])
        for name in dict.fromkeys(groups)
        if name != LEARNED
    }
    p_held_out = min([1.0, *(len(apart) * p for p in apart.values())])
    middle, scatter = replicas.mean(axis=0), np.maximum(replicas.std(axis=0, ddof=1), 1e-9)
    sigma = (observed - middle) / scatter
    p = holm((2.0 * norm.sf(np.abs(sigma))).tolist())
    misfits = [
        Misfit(
            name=names[k],
            learned_from=bool(fitted[k]),
            observed=float(observed[k]),
            expected=float(middle[k]),
            sigma=float(sigma[k]),
            p=float(p[k]),
        )
        for k in np.argsort(-np.abs(sigma))
        if p[k] < significance
        or (abs(sigma[k]) > CLEAR and 3.0 * len(apart) * apart.get(groups[k], 1.0) < significance)
    ]
    # Three tests on one set: each has a third of what is allowed together.
    smallest = min(p_learned, p_held_out, float(p.min()))
    return Check(
        p_learned=p_learned,
        p_held_out=p_held_out,
        groups=apart,
        misfits=tuple(misfits),
        passed=3.0 * smallest >= significance,
        sigmas=dict(zip(names, sigma.tolist(), strict=True)),
        held_out=frozenset(name for name, learned in zip(names, fitted, strict=True) if not learned),
    )


def _distance_p(observed: Vector, replicas: Vector) -> float:
    """Return how often a set is as far from the others, with covariances, as the observed one.

    Notes
    -----
    Half of the sets give mean and covariance (shrunk, Ledoit & Wolf 2004), the other half the distribution of the
    distance. Beyond the farthest of them the distribution is extended as one of chi-squared scaled to their mean and
    variance.
    """
    half = len(replicas) // 2
    scale = np.maximum(replicas.std(axis=0), 1e-9)
    first, second = replicas[:half] / scale, replicas[half:] / scale
    model = LedoitWolf().fit(first)
    null = model.mahalanobis(second)
    own = float(model.mahalanobis((observed / scale)[None])[0])
    reached = int((null >= own).sum())
    if reached >= 5:
        return (reached + 1.0) / (len(null) + 1.0)
    mean, variance = float(null.mean()), float(null.var(ddof=1))
    return float(gamma.sf(own, mean**2 / variance, scale=variance / mean))
