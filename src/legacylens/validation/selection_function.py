"""A fitted selection function: the chance of a lens to be selected, as a smooth function of what it is and where.

A logistic polynomial of second order, fitted to injections one by one, so that no cell is needed and quantities that
vary together are told apart. The file holds everything that is needed to evaluate it, units included, and a part of
the injected population: a quantity that is not given is averaged over it, and the answer then depends on it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

from legacylens.errors import FileProblem, InputError
from legacylens.files import write_json
from legacylens.validation.completeness import QUANTITIES, CompletenessConfig, chi2_per_cell

FITTED = ("theta_E", "arc_mag_r", "source_r_e", "seeing", "depth", "host_mag_r")
"""What the function depends on. The arc's signal-to-noise ratio is left out: it follows from these, and a sky map needs
to change seeing and depth alone."""
FORMAT = 1
_RESAMPLING = 20
"""Seed of the resampled populations: the same interval is the same at every call."""
_ROWS = 40_000
"""Lenses whose chance is computed at a time."""
_CELLS_NEEDED = 8
"""Fewer cells than this have no chi-square to speak of."""
_STRENGTHS = (0.03, 0.3, 3.0, 30.0)
"""Inverse strengths of the regularization that are tried where there are few injections."""
_ENOUGH = 20
"""With this many found, and missed, for each coefficient nothing is shrunk: shrinking biases, and no interval knows."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SelectionFunction:
    """The chance to be selected; call `completeness`."""

    names: tuple[str, ...]
    """Quantities, in the order of the columns below."""
    mean: NDArray[np.float64]
    """Of each quantity (of its logarithm where that is used), shape (k,)."""
    scale: NDArray[np.float64]
    """Standard deviation of the same."""
    low: NDArray[np.float64]
    """Smallest value of each quantity for which the function holds, in its unit."""
    high: NDArray[np.float64]
    """Largest."""
    coefficients: NDArray[np.float64]
    """Of the polynomial's terms, shape (terms,): 1, then each, then each product."""
    replicas: NDArray[np.float64]
    """Coefficients that describe the same injections as well, within their errors, shape (m, terms)."""
    population: NDArray[np.float64]
    """Values of injected lenses, shape (p, k), for what is not given."""
    about: dict[str, Any]
    """What was injected and judged: set, threshold, hashes, goodness of fit."""

    def completeness(self, *, clip: bool = False, **given: ArrayLike) -> NDArray[np.float64]:
        """Return the chance to be selected.

        Parameters
        ----------
        clip
            Take the nearest value for which the function holds; otherwise one outside is refused.
        **given
            Quantities by name, in the units of `units`, arrays of a common shape. What is not given is averaged over
            the injected population.

        Returns
        -------
        chance
            Of the common shape.

        Raises
        ------
        InputError
            If a name is unknown or a value outside of what was injected.
        """
        return np.asarray(self._evaluate(self.coefficients[None], None, given, clip)[0])

    def interval(
        self, *, confidence: float = 0.95, clip: bool = False, **given: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return lower and upper end of the chance; arguments as `completeness`.

        Where something is averaged over the population, the interval holds the chance that it is another draw of the
        same population as well.
        """
        p, m = len(self.population), len(self.replicas)
        weights = np.random.default_rng(_RESAMPLING).multinomial(p, np.full(p, 1.0 / p), size=m) / p
        chances = self._evaluate(self.replicas, weights, given, clip)
        tail = 50.0 * (1.0 - confidence)
        low, high = np.percentile(chances, [tail, 100.0 - tail], axis=0)
        return np.asarray(low), np.asarray(high)

    @property
    def units(self) -> dict[str, str]:
        """Unit of each quantity."""
        return {name: QUANTITIES[name].unit for name in self.names}

    def _evaluate(
        self,
        coefficients: NDArray[np.float64],
        weights: NDArray[np.float64] | None,
        given: dict[str, ArrayLike],
        clip: bool,
    ) -> NDArray[np.float64]:
        """Return the chance for each set of coefficients, averaged over the population with its weights."""
        unknown = sorted(set(given) - set(self.names))
        if unknown:
            raise InputError(f"no quantity is called {', '.join(unknown)}; there are {', '.join(self.names)}")
        arrays = np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for value in given.values()))
        shape = arrays[0].shape if arrays else ()
        values = {name: array.ravel() for name, array in zip(given, arrays, strict=True)}
        for name, array in values.items():
            place = self.names.index(name)
            low, high = self.low[place], self.high[place]
            if clip:
                values[name] = np.clip(array, low, high)
            elif not np.all((array >= low) & (array <= high)):
                raise InputError(
                    f"{name} = {array[~((array >= low) & (array <= high))][0]:g} is outside of {low:g} to {high:g} "
                    f"{QUANTITIES[name].unit}, where lenses were injected; inject such lenses, or ask with clip"
                )
        n = int(np.prod(shape)) if shape else 1
        averaged = len(values) < len(self.names)
        others = self.population if averaged else self.population[:1]
        equal = np.full((len(coefficients), len(others)), 1.0 / len(others))
        shares = weights if averaged and weights is not None else equal
        result = np.empty((len(coefficients), n))
        step = max(1, _ROWS // len(others))
        for start in range(0, n, step):
            stop = min(start + step, n)
            table = np.repeat(others[None], stop - start, axis=0)
            for name, array in values.items():
                table[:, :, self.names.index(name)] = array[start:stop, None]
            terms = _terms(_scaled(table.reshape(-1, len(self.names)), self.names, self.mean, self.scale))
            chances = expit(terms @ coefficients.T).reshape(stop - start, len(others), -1)
            result[:, start:stop] = np.einsum("npm,mp->mn", chances, shares)
        return result.reshape(len(coefficients), *shape)

    def save(self, path: str | Path) -> None:
        """Write the function as JSON, with units."""
        write_json(
            path,
            {
                "format": FORMAT,
                "what": "chance of a lens to be selected: expit(sum of coefficients times terms); terms are 1, each "
                "standardized quantity (of its decimal logarithm where stated), and each product of two",
                "quantities": [
                    {
                        "name": name,
                        "unit": QUANTITIES[name].unit,
                        "words": QUANTITIES[name].words,
                        "logarithm": QUANTITIES[name].logarithmic,
                        "mean": self.mean[place],
                        "scale": self.scale[place],
                        "low": self.low[place],
                        "high": self.high[place],
                    }
                    for place, name in enumerate(self.names)
                ],
                "coefficients": self.coefficients.tolist(),
                "replicas": self.replicas.tolist(),
                "population": self.population.tolist(),
                "about": self.about,
            },
        )


def load_selection_function(path: str | Path) -> SelectionFunction:
    """Read a selection function.

    Raises
    ------
    FileProblem
        If it is missing or not one.
    """
    path = Path(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise FileProblem(path, f"format {record['format']}, this version reads {FORMAT}", "Fit it again.",
                              reason="format")  # fmt: skip
        entries = record["quantities"]
        strange = [
            entry["name"]
            for entry in entries
            if entry["name"] not in QUANTITIES or entry["unit"] != QUANTITIES[entry["name"]].unit
        ]
        if strange:
            raise FileProblem(path, f"unknown quantities or units: {', '.join(strange)}", "Fit it again.",
                              reason="units")  # fmt: skip
        numbers = {key: np.array([entry[key] for entry in entries]) for key in ("mean", "scale", "low", "high")}
        return SelectionFunction(
            names=tuple(entry["name"] for entry in entries),
            **numbers,
            coefficients=np.array(record["coefficients"]),
            replicas=np.array(record["replicas"]),
            population=np.array(record["population"]),
            about=record["about"],
        )
    except FileNotFoundError:
        raise FileProblem(
            path, "no such selection function", "Make one with `legacylens validate completeness`.", reason="missing"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise FileProblem(path, f"not a selection function ({error!r})", "Fit it again.", reason="broken") from error


def _scaled(
    table: NDArray[np.float64], names: Sequence[str], mean: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    columns = [
        np.log10(table[:, place]) if QUANTITIES[name].logarithmic else table[:, place]
        for place, name in enumerate(names)
    ]
    return np.asarray((np.column_stack(columns) - mean) / scale)


def _terms(scaled: NDArray[np.float64]) -> NDArray[np.float64]:
    products = [
        scaled[:, i] * scaled[:, j] for i, j in itertools.combinations_with_replacement(range(scaled.shape[1]), 2)
    ]
    return np.column_stack([np.ones(len(scaled)), scaled, *products])


def _fit(terms: NDArray[np.float64], found: NDArray[np.bool_], strength: float) -> NDArray[np.float64]:
    model = LogisticRegression(C=strength, fit_intercept=True, max_iter=2000)
    model.fit(terms[:, 1:], found)
    return np.concatenate([model.intercept_, model.coef_[0]])


def _draws(
    terms: NDArray[np.float64], best: NDArray[np.float64], strength: float, n: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return coefficients drawn from their Gaussian law around the best ones: the curvature of the penalized fit."""
    chance = expit(terms @ best)
    penalty = np.full(len(best), 1.0 / strength)
    penalty[0] = 0.0
    curvature = terms.T @ (terms * (chance * (1.0 - chance))[:, None]) + np.diag(penalty)
    root = np.linalg.cholesky(np.linalg.inv(curvature))
    return np.asarray(best + rng.standard_normal((n, len(best))) @ root.T)


def fit_selection_function(
    values: pd.DataFrame,
    recovered: ArrayLike,
    *,
    about: dict[str, Any],
    rng: np.random.Generator,
    replicas: int = 200,
    population: int = 2000,
    config: CompletenessConfig | None = None,
) -> SelectionFunction:
    """Fit the selection function to injections.

    Parameters
    ----------
    values
        As from `completeness.injection_values`.
    recovered
        Which were selected, shape (n,).
    about
        What was injected and judged; kept, with the goodness of fit added.
    rng
        Splits, draws replicas and the kept population.
    replicas
        Sets of coefficients for the intervals.
    population
        Injections that are kept in the function.
    config
        Edges for the goodness of fit.

    Returns
    -------
    function
        With ``about["fit_chi2_per_cell"]``: of injections that the fit had not seen, in five folds.

    Raises
    ------
    InputError
        If fewer than 50 injections were found, or missed: there is nothing to fit.
    """
    found = np.asarray(recovered, dtype=bool)
    if min(int(found.sum()), int((~found).sum())) < 50:
        raise InputError(
            f"{int(found.sum())} of {len(found)} injections were recovered; a selection function needs at least 50 "
            "found and 50 missed. Inject more, or others"
        )
    names = tuple(name for name in FITTED if name in values.columns and values[name].nunique() > 1)
    table = values[list(names)].to_numpy(np.float64)
    unscaled = _scaled(table, names, np.zeros(len(names)), np.ones(len(names)))
    mean, scale = unscaled.mean(axis=0), unscaled.std(axis=0)
    terms = _terms((unscaled - mean) / scale)
    folds = list(KFold(5, shuffle=True, random_state=int(rng.integers(2**31))).split(terms))
    enough = min(int(found.sum()), int((~found).sum())) >= _ENOUGH * terms.shape[1]
    chances = {strength: np.empty(len(found)) for strength in (_STRENGTHS[-1:] if enough else _STRENGTHS)}
    for strength, chance in chances.items():
        for learn, judge in folds:
            chance[judge] = expit(terms[judge] @ _fit(terms[learn], found[learn], strength))
    best = max(chances, key=lambda strength: _likelihood(chances[strength], found))
    chi2, cells = chi2_per_cell(
        values, found, chances[best], names=tuple(n for n in ("theta_E", "arc_mag_r", "seeing") if n in names),
        config=config or CompletenessConfig(),
    )  # fmt: skip
    coefficients = _fit(terms, found, best)
    kept = rng.choice(len(found), min(population, len(found)), replace=False)
    low, high = np.percentile(table, [0.5, 99.5], axis=0)
    return SelectionFunction(
        names=names,
        mean=mean,
        scale=scale,
        low=low,
        high=high,
        coefficients=coefficients,
        replicas=_draws(terms, coefficients, best, replicas, rng),
        population=table[kept],
        about={
            **about,
            "fit_chi2_per_cell": chi2 if cells >= _CELLS_NEEDED else None,
            "fit_cells": cells,
            "n_injections": len(found),
            "n_recovered": int(found.sum()),
        },
    )


def _likelihood(chance: NDArray[np.float64], found: NDArray[np.bool_]) -> float:
    inside = np.clip(chance, 1e-9, 1.0 - 1e-9)
    return float(np.log(np.where(found, inside, 1.0 - inside)).mean())
