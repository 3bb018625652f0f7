"""What galaxies without arcs give: every score is compared with those of galaxies alike in all but the arc.

A score of 5 means little beside a large bright galaxy and much beside a small one. So scores are put in units of the
spread among the control galaxies that are nearest in magnitude, color, size, seeing and depth; how often a control
exceeds that is counted over all of them, each left out of its own comparison.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.stats import norm

from legacylens.errors import InputError

MATCHED = ("host_mag_r", "host_g_r", "host_r_z", "host_radius", "psf_fwhm_r", "noise_r")
"""What controls are alike in."""
NEAREST = 60
"""Controls that an object is compared with."""
FEWEST = 100
"""Controls without which nothing is said."""
TAIL = 20
"""The highest controls, from which the tail is extended as an exponential. It falls faster than one: extended from more
of them, it would let too few galaxies without arcs reach a z of 3."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NullModel:
    """Controls, ready to be compared with."""

    tree: cKDTree
    """Their places in the space of `MATCHED`, standardized."""
    center: NDArray[np.float64]
    """Mean of each."""
    scale: NDArray[np.float64]
    """Standard deviation of each."""
    log_score: NDArray[np.float64]
    """Logarithm of their scores."""
    names: NDArray[np.object_]
    """Their ``source_id``; an object is never compared with itself."""
    standard: NDArray[np.float64]
    """Their own standardized scores, sorted, each compared with the others."""


def _matched(table: pd.DataFrame) -> NDArray[np.float64]:
    return np.column_stack([table[name].to_numpy(np.float64) for name in MATCHED])


def _log_score(table: pd.DataFrame, statistic: str) -> NDArray[np.float64]:
    return np.asarray(np.log(np.maximum(table[statistic].to_numpy(np.float64), 0.1)))


def null_model(controls: pd.DataFrame, statistic: str = "arc_score") -> NullModel:
    """Return the model of measured controls.

    Parameters
    ----------
    controls
        Rows of `measure.measure_stamps` of galaxies without arcs; those without a measurement are left out.
    statistic
        Column that is calibrated.

    Raises
    ------
    InputError
        If there are fewer than `FEWEST` measured controls.
    """
    good = controls[controls["code"] == "ok"]
    place = _matched(good)
    finite = np.flatnonzero(np.isfinite(place).all(axis=1))
    good, place = good.iloc[finite], place[finite]
    if len(good) < FEWEST:
        raise InputError(
            f"{len(good)} measured control galaxies are too few to say how often chance does the same: give at least "
            f"{FEWEST}, better 2,000, luminous red galaxies without arcs, measured in the same way"
        )
    center, scale = place.mean(axis=0), np.maximum(place.std(axis=0), 1e-6)
    model = NullModel(
        tree=cKDTree((place - center) / scale),
        center=center,
        scale=scale,
        log_score=_log_score(good, statistic),
        names=good["source_id"].to_numpy(dtype=object),
        standard=np.zeros(0),
    )
    standard, _ = _standardize(model, good, statistic)
    return NullModel(
        tree=model.tree,
        center=center,
        scale=scale,
        log_score=model.log_score,
        names=model.names,
        standard=np.sort(standard),
    )


def _standardize(
    model: NullModel, table: pd.DataFrame, statistic: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the standardized score and the median score of the nearest controls of each row."""
    place = np.nan_to_num((_matched(table) - model.center) / model.scale, nan=0.0)
    k = min(NEAREST, len(model.names) - 1)
    _, index = model.tree.query(place, k=k + 1)
    same = model.names[index] == table["source_id"].to_numpy(dtype=object)[:, None]
    # Without itself where it is among them, else without the farthest.
    same[~same.any(axis=1), -1] = True
    values = np.where(same, np.nan, model.log_score[index])
    middle = np.nanmedian(values, axis=1)
    upper = np.nanpercentile(values, 84.0, axis=1)
    spread = np.maximum(upper - middle, 0.05)
    return (_log_score(table, statistic) - middle) / spread, np.exp(middle)


def tail_probability(model: NullModel, standard: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how often a control reaches a standardized score; beyond the counted ones by an exponential tail."""
    n = len(model.standard)
    start = max(n - TAIL, 1)
    threshold = model.standard[start - 1]
    mean_excess = max(float(np.mean(model.standard[start:] - threshold)), 1e-3) if start < n else 1.0
    above = n - np.searchsorted(model.standard, standard, side="left")
    counted = (above + 0.5) / (n + 1.0)
    extended = (n - start + 0.5) / (n + 1.0) * np.exp(-np.maximum(standard - threshold, 0.0) / mean_excess)
    return np.asarray(np.where(standard > threshold, extended, counted))


def calibrate(table: pd.DataFrame, model: NullModel, statistic: str = "arc_score") -> pd.DataFrame:
    """Return a table with its ``null_*`` columns filled.

    Parameters
    ----------
    table
        Measured objects.
    model
        Of the controls.
    statistic
        The column that the model is of.
    """
    table = table.copy()
    good = np.flatnonzero((table["code"] == "ok").to_numpy())
    if not len(good):
        return table
    standard, middle = _standardize(model, table.iloc[good], statistic)
    p = np.clip(tail_probability(model, standard), 1e-12, 1.0 - 1e-6)
    column = {name: table[name].to_numpy(np.float64).copy() for name in ("null_percentile", "null_z", "null_excess")}
    column["null_percentile"][good] = 100.0 * (1.0 - p)
    column["null_z"][good] = norm.isf(p)
    column["null_excess"][good] = table[statistic].to_numpy(np.float64)[good] - middle
    for name, values in column.items():
        table[name] = values
    counts = np.zeros(len(table), dtype=np.int64)
    counts[good] = len(model.names)
    table["n_controls"] = counts
    return table
