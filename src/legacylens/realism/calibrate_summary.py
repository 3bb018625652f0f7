"""A set of measured arcs in some fifty numbers: what a calibration learns from, and what it is checked with.

Every statistic of an arc is turned into a normal score; a set is the means of the first Hermite polynomials of these
scores (how large, how wide, how lopsided) and of products of some pairs. Means of a set of n objects scatter as 1 over
the root of n, and are nearly normal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from legacylens.realism.calibrate_check import LEARNED
from legacylens.realism.calibrate_config import CONTAMINATION, Vector
from legacylens.realism.calibrate_weights import Banks
from legacylens.realism.compare import FAINTEST, HOST_STATISTICS, NOISE_STATISTICS, PIXEL_STATISTICS

FITTED = (
    "clean_peak_snr",
    "integrated_snr",
    "aperture_snr",
    "lens_snr",
    "arc_mag_g",
    "arc_mag_r",
    "arc_g_r",
    "arc_r_z",
    "arc_radius",
    "theta_E",
    "arc_width",
    "azimuthal_extent",
)
"""Statistics that parameters are learned from."""
PAIRS = (
    ("integrated_snr", "arc_g_r"),
    ("integrated_snr", "arc_radius"),
    ("arc_mag_r", "arc_radius"),
    ("arc_mag_r", "arc_width"),
    ("arc_mag_r", "arc_g_r"),
    ("arc_g_r", "arc_r_z"),
    ("arc_radius", "arc_width"),
)
"""Those whose products are as well."""
GROUPS: Mapping[str, tuple[str, ...]] = {
    "arc": ("n_segments", "asymmetry_1", "core_to_arc"),
    "pixels": PIXEL_STATISTICS,
    "galaxy": HOST_STATISTICS,
    "sky": NOISE_STATISTICS,
}
"""Statistics that nothing is learned from: a population that is right has to have them by itself. Those of a group
share their causes (the PSF and photon noise; the choice of hosts; the coadds' noise), so each group is one test."""
CHECKED = tuple(name for names in GROUPS.values() for name in names)
"""All of them."""
QUANTILES = 201
LARGEST_SCORE = 3.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """How values of statistics become normal scores: by the quantiles of a reference."""

    quantiles: Mapping[str, Vector]
    """Statistic -> values at evenly spaced quantiles."""

    @classmethod
    def of(cls, table: pd.DataFrame) -> Scores:
        """Return the scores by which a table is standard normal in each statistic that it has."""
        grid = np.linspace(0.0, 100.0, QUANTILES)
        columns = {name: _values(table, name) for name in (*FITTED, *CHECKED)}
        return cls(
            quantiles={
                name: np.percentile(values[np.isfinite(values)], grid)
                for name, values in columns.items()
                if np.isfinite(values).sum() >= 20
            }
        )

    def score(self, table: pd.DataFrame, name: str) -> Vector:
        """Return the normal scores of a statistic; what has no value is in the middle."""
        values, edges = _values(table, name), self.quantiles[name]
        # Equal values (counts) get the middle of the quantiles that they take.
        rank = 0.5 * (np.searchsorted(edges, values, side="left") + np.searchsorted(edges, values, side="right"))
        # Between two quantiles by interpolation, which equal values do not need.
        between = np.interp(values, edges, np.arange(len(edges)) + 0.5)
        tied = np.searchsorted(edges, values, side="right") - np.searchsorted(edges, values, side="left") > 1
        place = np.where(tied, rank, between) / (len(edges) + 0.0)
        scores = np.clip(ndtri(np.clip(place, 1e-4, 1.0 - 1e-4)), -LARGEST_SCORE, LARGEST_SCORE)
        return np.where(np.isfinite(values), scores, 0.0)


def _values(table: pd.DataFrame, name: str) -> Vector:
    values = table[name].to_numpy(np.float64)
    if name.startswith("arc_mag"):
        return np.where(np.isfinite(values), np.minimum(values, FAINTEST), FAINTEST)
    return values


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Features:
    """Numbers of each object whose means describe a set."""

    values: NDArray[np.float32]
    """Shape ``(object, feature)``."""
    names: tuple[str, ...]
    """What each is of: the statistic, and ``location``, ``spread``, ``shape`` or ``with`` another."""
    groups: tuple[str, ...]
    """The group of `GROUPS` of each, or `LEARNED`: parameters are learned from it."""

    @property
    def fitted(self) -> NDArray[np.bool_]:
        """Return which of them parameters are learned from."""
        return np.array([group == LEARNED for group in self.groups])


def features_of(table: pd.DataFrame, scores: Scores) -> Features:
    """Return the features of measured objects.

    Parameters
    ----------
    table
        Rows of `measure.measure_stamps`.
    scores
        Standardization, the same for all sets that are compared.
    """
    columns: list[Vector] = []
    names: list[str] = []
    groups: list[str] = []
    score = {name: scores.score(table, name) for name in scores.quantiles}
    group_of = {name: group for group, members in GROUPS.items() for name in members}
    for name, z in score.items():
        orders = (("location", z), ("spread", (z**2 - 1.0) / np.sqrt(2.0)), ("shape", (z**3 - 3.0 * z) / np.sqrt(6.0)))
        for words, values in orders if name in FITTED else orders[:2]:
            columns.append(values)
            names.append(f"{name} {words}")
            groups.append(group_of.get(name, LEARNED))
    for first, second in PAIRS:
        if first in score and second in score:
            columns.append(score[first] * score[second])
            names.append(f"{first} with {second}")
            groups.append(LEARNED)
    return Features(values=np.column_stack(columns).astype(np.float32), names=tuple(names), groups=tuple(groups))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SetSimulator:
    """Draws sets of any population out of the banks, with galaxies without arcs among them."""

    banks: Banks
    """Measured mocks."""
    features: Features
    """Their features."""
    galaxies: Features
    """Those of galaxies without arcs."""
    names: Sequence[str]
    """Parameters, in the order of a vector of values."""
    n: int
    """Objects of a set."""

    def draw(self, values: Vector, rng: np.random.Generator) -> Vector:
        """Return the mean features of one set.

        Parameters
        ----------
        values
            Parameters, shape ``(parameter,)``.
        rng
            Decides which objects are in the set, and which mocks a bank of this size might have had (a Bayesian
            bootstrap), so that what is learned knows how small the bank is.
        """
        point = dict(zip(self.names, values.tolist(), strict=True))
        weights = self.banks.weights(point) * rng.standard_exponential(len(self.features.values))
        without = int(rng.binomial(self.n, point.get(CONTAMINATION, 0.0)))
        total = self._sum(self.features.values, weights, self.n - without, rng)
        if without:
            other = rng.standard_exponential(len(self.galaxies.values))
            total = total + self._sum(self.galaxies.values, other, without, rng)
        return np.asarray(total / self.n)

    @staticmethod
    def _sum(values: NDArray[np.float32], weights: Vector, n: int, rng: np.random.Generator) -> Vector:
        edges = np.cumsum(weights)
        index = np.searchsorted(edges, rng.random(n) * edges[-1], side="right")
        counts = np.bincount(np.minimum(index, len(values) - 1), minlength=len(values))
        return np.asarray(counts.astype(np.float32) @ values, dtype=np.float64)
