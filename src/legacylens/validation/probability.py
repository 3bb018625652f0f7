"""From scores to probabilities: calibrated on both classes, moved to the prevalence of the sky, checked on unseen sky.

A network is trained on one lens in three or in thirty, the sky has one in ten thousand. What carries over is the ratio
of the chances of a score among lenses and among non-lenses; calibration measures it, and the prior is then the sky's
own. All checks are made on sky cells that the calibration has not seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from legacylens.errors import InputError
from legacylens.validation.intervals import binomial_interval

Method = Literal["isotonic", "platt", "beta"]
METHODS: tuple[Method, ...] = ("isotonic", "platt", "beta")
FEWEST = 20
"""Fewest objects of a class with which a calibration is tried."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """A map from scores to probabilities."""

    method: Method
    """Which one."""
    prior: float
    """Fraction of lenses among the objects that it was fitted to."""
    low: float
    """Smallest probability that so few objects can tell from zero."""
    high: float
    """Largest that they can tell from one."""
    _of_score: Callable[[Array], Array]

    def probability(self, values: ArrayLike, prevalence: float | None = None) -> Array:
        """Return the probability of being a lens.

        Parameters
        ----------
        values
            Scores, as it was fitted to.
        prevalence
            Fraction of lenses where the objects are from; None: the sample's own.
        """
        raw = np.clip(self._of_score(np.asarray(values, dtype=np.float64)), self.low, self.high)
        return raw if prevalence is None else shift_prior(raw, self.prior, prevalence)


def shift_prior(probability: ArrayLike, old: float, new: float) -> Array:
    """Return probabilities under another prevalence: the odds are multiplied by the ratio of the prior odds.

    Raises
    ------
    InputError
        If a prevalence is not within (0, 1).
    """
    if not (0.0 < old < 1.0 and 0.0 < new < 1.0):
        raise InputError(f"prevalences {old:g} and {new:g} must be between 0 and 1")
    return np.asarray(expit(logit(np.asarray(probability, dtype=np.float64)) + logit(new) - logit(old)))


def fit_calibration(values: ArrayLike, lens: ArrayLike, method: Method) -> Calibration:
    """Fit a calibration.

    Parameters
    ----------
    values
        Logits (or any score of which the logarithm of the odds may be a smooth function), without NaN.
    lens
        Class of each.
    method
        ``isotonic``: any rising function. ``platt``: a straight line in the logit (Platt 1999). ``beta``: the odds of a
        ratio of beta laws of ``expit(value)`` (Kull, Silva Filho & Flach 2017).

    Raises
    ------
    InputError
        If there are fewer than 20 objects of a class: a calibration on one class is none.
    """
    x, y = np.asarray(values, dtype=np.float64), np.asarray(lens, dtype=bool)
    n_lens, n_other = int(y.sum()), int((~y).sum())
    if min(n_lens, n_other) < FEWEST:
        raise InputError(
            f"{n_lens} lenses and {n_other} non-lenses: a calibration needs at least {FEWEST} of each. "
            "Scores of one class say nothing about probabilities"
        )
    if not np.isfinite(x).all():
        raise InputError("scores that are not finite cannot be calibrated; remove and count them first")
    prior = n_lens / len(y)
    # Half an object of a class among all of it is what nobody has seen.
    low = shift_prior(0.5 / (n_lens + 1.0), 0.5, prior)
    high = shift_prior(1.0 - 0.5 / (n_other + 1.0), 0.5, prior)
    return Calibration(method=method, prior=prior, low=float(low), high=float(high), _of_score=_FITS[method](x, y))


def _isotonic(x: Array, y: NDArray[np.bool_]) -> Callable[[Array], Array]:
    model = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(x, y)
    return lambda values: np.asarray(model.predict(values.ravel()), dtype=np.float64).reshape(values.shape)


def _linear(columns: Callable[[Array], Array], x: Array, y: NDArray[np.bool_]) -> Callable[[Array], Array]:
    table = columns(x)
    scale = table.std(axis=0)
    kept = [number for number in range(table.shape[1]) if scale[number] > 1e-9]
    while kept:
        model = LogisticRegression(C=1e6, max_iter=2000).fit(table[:, kept] / scale[kept], y)
        # A falling term would let a higher score be less likely a lens; such a term is left out.
        falling = {number for number, weight in zip(kept, model.coef_[0], strict=True) if weight < 0}
        if not falling:
            break
        kept = [number for number in kept if number not in falling]
    if not kept:  # the score says nothing, or the opposite of what it should
        share = float(y.mean())
        return lambda values: np.full(values.shape, share)

    def predict(values: Array) -> Array:
        chance = model.predict_proba(columns(values.ravel())[:, kept] / scale[kept])[:, 1]
        return np.asarray(chance, dtype=np.float64).reshape(values.shape)

    return predict


def _platt(x: Array, y: NDArray[np.bool_]) -> Callable[[Array], Array]:
    return _linear(lambda values: values[:, None], x, y)


def _beta(x: Array, y: NDArray[np.bool_]) -> Callable[[Array], Array]:
    # ln p and -ln(1 - p) of p = expit(value), without rounding p to 0 or 1.
    return _linear(lambda values: np.column_stack([-np.logaddexp(0, -values), np.logaddexp(0, values)]), x, y)


_FITS: dict[Method, Callable[[Array, NDArray[np.bool_]], Callable[[Array], Array]]] = {
    "isotonic": _isotonic,
    "platt": _platt,
    "beta": _beta,
}


def reliability(
    probability: ArrayLike, lens: ArrayLike, *, bins: int = 10, confidence: float = 0.95
) -> list[dict[str, Any]]:
    """Return what became of objects of a probability: a row for each of equally many lenses.

    Parameters
    ----------
    probability, lens
        Predicted chance and class of each object.
    bins
        Bins, each with as many of the sum of both classes, weighted alike: otherwise all but one are non-lenses.
    confidence
        Of the intervals.

    Returns
    -------
    rows
        ``low``, ``high`` (of the bin), ``predicted`` (mean), ``observed``, ``observed_low``, ``observed_high``
        (Clopper-Pearson), ``n``, ``n_lenses``.

    Raises
    ------
    InputError
        If a class is missing.
    """
    p, y = np.asarray(probability, dtype=np.float64), np.asarray(lens, dtype=bool)
    if not y.any() or y.all():
        raise InputError("a reliability diagram of one class shows nothing; give both classes")
    # Equal probabilities stay together: the order within a tie would be that of the table, which knows the classes.
    _, tie = np.unique(p, return_inverse=True)
    weight = np.bincount(tie, np.where(y, 0.5 / y.sum(), 0.5 / (~y).sum()))
    place = np.minimum((np.cumsum(weight) - 0.5 * weight) * bins, bins - 1e-9).astype(np.int64)[tie]
    rows = []
    for number in np.unique(place):
        inside = np.flatnonzero(place == number)
        n, found = len(inside), int(y[inside].sum())
        low, high = binomial_interval(found, n, confidence)
        rows.append(
            {
                "low": float(p[inside].min()),
                "high": float(p[inside].max()),
                "predicted": float(p[inside].mean()),
                "observed": found / n,
                "observed_low": float(low),
                "observed_high": float(high),
                "n": n,
                "n_lenses": found,
            }
        )
    return rows


def balanced_log_loss(probability: ArrayLike, lens: ArrayLike, prior: float) -> float:
    """Return the mean of -ln(probability of the true class), both classes weighted alike, at even prior odds [nat].

    ln 2 = 0.69 is what knowing nothing gives.
    """
    even = shift_prior(probability, prior, 0.5)
    y = np.asarray(lens, dtype=bool)
    return float(0.5 * -np.log(even[y]).mean() + 0.5 * -np.log1p(-even[~y]).mean())


def calibrate(
    values: ArrayLike,
    lens: ArrayLike,
    cell: ArrayLike,
    *,
    prevalence: float,
    confidence: float = 0.95,
    folds: int = 5,
    seed: int = 1,
) -> dict[str, Any]:
    """Compare calibrations on sky that they have not seen, and return the best with its reliability.

    Parameters
    ----------
    values, lens, cell
        Score, class and sky cell of each object.
    prevalence
        Fraction of lenses on the sky.
    confidence
        Of the intervals.
    folds, seed
        Of the cross-validation, whole cells each.

    Returns
    -------
    result
        ``method`` (least balanced log loss), ``prior``, ``prevalence``, ``log_loss`` of each method,
        ``reliability`` (rows at the sample's prior, of unseen cells), ``chi2`` and ``bins`` (how far observed
        fractions are from predicted ones), ``table`` (score, probability in the sample, probability on the sky).

    Raises
    ------
    InputError
        If there are too few of a class, or too few cells.
    """
    x, y, block = np.asarray(values, np.float64), np.asarray(lens, bool), np.asarray(cell)
    final = {method: fit_calibration(x, y, method) for method in METHODS}  # refuses one class before anything else
    if len(np.unique(block[y])) < folds:
        raise InputError(
            f"lenses of only {len(np.unique(block[y]))} sky cells: a calibration is checked on cells that it has not "
            f"seen, and needs {folds}"
        )
    unseen = {method: np.full(len(x), np.nan) for method in METHODS}
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for learn, judge in splitter.split(x, y, block):
        for method in METHODS:
            if min(y[learn].sum(), (~y[learn]).sum()) < FEWEST:
                raise InputError("too few objects of a class outside of a fold to calibrate; use more sky")
            fitted = fit_calibration(x[learn], y[learn], method)
            unseen[method][judge] = shift_prior(fitted.probability(x[judge]), fitted.prior, final[method].prior)
    prior = final["platt"].prior
    losses = {method: balanced_log_loss(unseen[method], y, prior) for method in METHODS}
    best = min(METHODS, key=lambda method: losses[method])
    rows = reliability(unseen[best], y, confidence=confidence)
    expected = np.array([row["predicted"] * row["n"] for row in rows])
    spread = np.array([row["predicted"] * (1.0 - row["predicted"]) * row["n"] for row in rows])
    found = np.array([row["n_lenses"] for row in rows], dtype=np.float64)
    used = spread > 1.0
    ends = np.quantile(x, [0.001, 0.999])
    grid = np.linspace(float(ends[0]), float(ends[1]), 60)
    return {
        "method": best,
        "prior": prior,
        "prevalence": prevalence,
        "log_loss": losses,
        "reliability": rows,
        "chi2": float(((found - expected)[used] ** 2 / spread[used]).sum()),
        "bins": int(used.sum()),
        "table": [
            {"value": float(value), "in_sample": float(inside), "on_sky": float(outside)}
            for value, inside, outside in zip(
                grid, final[best].probability(grid), final[best].probability(grid, prevalence), strict=True
            )
        ],
    }
