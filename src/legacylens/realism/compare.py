"""Two measured sets beside each other: standardized differences, Kolmogorov-Smirnov distances, areas under ROC curves.

Statistics of arcs have long tails, so differences are those of normal scores: ranks in both sets together, put through
the inverse normal distribution. One of 1 means that the sets are apart by their own spread, whatever the units.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.stats import ks_2samp, norm, rankdata
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Vector = NDArray[np.float64]

ARC_STATISTICS = (
    "clean_peak_snr",
    "integrated_snr",
    "aperture_snr",
    "arc_mag_g",
    "arc_g_r",
    "arc_r_z",
    "arc_radius",
    "azimuthal_extent",
    "n_segments",
    "asymmetry_1",
    "core_to_arc",
    "arc_width",
)
"""The twelve statistics of an arc that a gate compares, named before anything was looked at."""
PIXEL_STATISTICS = ("psf_preference", "wing_preference", "arc_roughness")
"""What the PSF's width and wings and photon noise leave in the pixels."""
NOISE_STATISTICS = ("lag_g", "lag_r", "lag_z", "block_r")
"""Texture of the sky."""
HOST_STATISTICS = ("host_mag_r", "host_g_r", "host_r_z", "host_radius")
"""The galaxy."""
CORE_STATISTICS = ("core_mag_r", "core_g_r", "core_r_z", "center_offset", "host_q")
"""What can be seen without looking at the arc."""
COLORS = {"arc_g_r": ("g", "r"), "arc_r_z": ("r", "z")}
"""Colors of arcs and their bands, the bluer first."""
BEYOND = 20.0
"""Stands for a color beyond all others [mag]."""
FAINTEST = 30.0
"""Magnitude of an arc without positive flux [AB mag]."""
ONE_SIDED = 1.645
"""Standard deviations of an upper or lower limit of 95 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How far one statistic of a set is from that of another."""

    name: str
    """The statistic."""
    n: int
    """Objects of the first set with a value."""
    m: int
    """Of the second."""
    median: float
    """Median of the first."""
    other: float
    """Median of the second."""
    effect: float
    """Difference of the mean normal scores, over their spread within a set; positive: the first is larger."""
    error: float
    """Its standard error."""
    distance: float
    """Largest distance of the two cumulative distributions."""
    p: float
    """How often chance gives that distance or more."""

    @property
    def low(self) -> float:
        """Lower limit of the size of the effect, 95 %."""
        return max(abs(self.effect) - ONE_SIDED * self.error, 0.0)

    @property
    def high(self) -> float:
        """Upper limit of the size of the effect, 95 %."""
        return abs(self.effect) + ONE_SIDED * self.error


def column(table: pd.DataFrame, name: str) -> Vector:
    """Return the finite values of a statistic; a magnitude without flux is `FAINTEST`."""
    values = table[name].to_numpy(np.float64)
    if name.startswith("arc_mag"):
        values = np.where(np.isfinite(values), np.minimum(values, FAINTEST), FAINTEST)
    return np.asarray(values[np.isfinite(values)])


def difference(name: str, first: Vector, second: Vector) -> Difference | None:
    """Return how far two samples are apart, or None if there are fewer than ten of either."""
    n, m = len(first), len(second)
    if min(n, m) < 10:
        return None
    together = np.concatenate([first, second])
    scores = norm.ppf((rankdata(together) - 0.5) / (n + m))
    a, b = scores[:n], scores[n:]
    spread = np.sqrt(0.5 * (a.var(ddof=1) + b.var(ddof=1)))
    effect = (a.mean() - b.mean()) / max(float(spread), 0.1)
    test = ks_2samp(first, second, method="asymp")
    return Difference(
        name=name,
        n=n,
        m=m,
        median=float(np.median(first)),
        other=float(np.median(second)),
        effect=float(effect),
        error=float(np.sqrt((n + m) / (n * m) + 0.5 * effect**2 / (n + m))),
        distance=float(test.statistic),
        p=float(test.pvalue),
    )


def ranked(table: pd.DataFrame, name: str) -> Vector:
    """Return the values of a statistic where their order is all that counts.

    A color without flux in one of its bands is redder, or bluer, than any other; without flux in both it has no value.
    """
    bands = COLORS.get(name)
    if bands is None or not {f"arc_mag_{band}" for band in bands} <= set(table.columns):
        return column(table, name)
    blue, red = (np.isfinite(table[f"arc_mag_{band}"].to_numpy(np.float64)) for band in bands)
    values = table[name].to_numpy(np.float64).copy()
    values[red & ~blue], values[blue & ~red] = BEYOND, -BEYOND
    return np.asarray(values[np.isfinite(values)])


def differences(first: pd.DataFrame, second: pd.DataFrame, names: Sequence[str]) -> list[Difference]:
    """Return the differences of those statistics that both sets have; medians of colors count arcs without flux."""
    found = (difference(name, ranked(first, name), ranked(second, name)) for name in names)
    return [item for item in found if item is not None]


def holm(p: Sequence[float]) -> Vector:
    """Return p values corrected for their number (Holm 1979)."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values)
    factors = len(values) - np.arange(len(values))
    corrected = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    result = np.empty_like(corrected)
    result[order] = corrected
    return result


def features(table: pd.DataFrame, names: Sequence[str]) -> Vector:
    """Return statistics as columns, shape ``(object, statistic)``.

    What has no value is zero in every set: the middle of its own set would tell a classifier which set it is of.
    """
    columns = []
    for name in names:
        values = table[name].to_numpy(np.float64).copy()
        finite = np.isfinite(values)
        if name.startswith("arc_mag"):
            values = np.where(finite, np.minimum(values, FAINTEST), FAINTEST)
        else:
            values[~finite] = 0.0
        columns.append(values)
    return np.column_stack(columns)


def area(first: Vector, second: Vector) -> tuple[float, float]:
    """Return the chance that a value of the first sample exceeds one of the second, and its standard error.

    Notes
    -----
    DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44, 837, by ranks.
    """
    n, m = len(first), len(second)
    ranks = rankdata(np.concatenate([first, second]))
    below = (ranks[:n] - rankdata(first)) / m
    above = 1.0 - (ranks[n:] - rankdata(second)) / n
    return float(below.mean()), float(np.sqrt(below.var(ddof=1) / n + above.var(ddof=1) / m))


def two_sample_auc(first: Vector, second: Vector, seed: int, estimator: object | None = None) -> tuple[float, float]:
    """Return how well a classifier tells two samples, out of fold: area under the ROC curve and its standard error.

    Parameters
    ----------
    first, second
        Features, shape ``(object, feature)``.
    seed
        Of the folds.
    estimator
        A scikit-learn classifier; logistic regression on standardized features by default.
    """
    x = np.concatenate([first, second])
    y = np.concatenate([np.ones(len(first)), np.zeros(len(second))])
    model = estimator or make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=500))
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A small network is stopped after some rounds on purpose.
        warnings.simplefilter("ignore", ConvergenceWarning)
        score = cross_val_predict(model, x, y, cv=folds, method="predict_proba")[:, 1]
    return area(score[y == 1], score[y == 0])


def matched_ratio(
    first: pd.DataFrame, second: pd.DataFrame, flux: str, rng: np.random.Generator, *, neighbors: int = 15
) -> tuple[float, float, float]:
    """Return by what factor the arcs of one set are brighter than those of another in front of galaxies as bright.

    Parameters
    ----------
    first, second
        Measured objects.
    flux
        Column of the flux.
    rng
        Of the bootstrap.
    neighbors
        Objects of the second set, nearest in the magnitude of the host, that each of the first is compared with.

    Returns
    -------
    ratio, low, high
        Median and its 95 % interval, from sets drawn again with replacement.
    """
    a, b = _logs(first, flux), _logs(second, flux)
    ratios = [_matched(a, b, neighbors)]
    ratios += [
        _matched(a[rng.integers(len(a), size=len(a))], b[rng.integers(len(b), size=len(b))], neighbors)
        for _ in range(200)
    ]
    low, high = np.percentile(ratios[1:], [2.5, 97.5])
    return float(10.0 ** ratios[0]), float(10.0**low), float(10.0**high)


def _logs(table: pd.DataFrame, flux: str) -> Vector:
    """Return host magnitudes and logarithms of fluxes, shape ``(object, 2)``; no flux is the least flux."""
    values = table[flux].to_numpy(np.float64)
    place = table["host_mag_r"].to_numpy(np.float64)
    good = np.isfinite(values) & np.isfinite(place)
    return np.column_stack([place[good], np.log10(np.maximum(values[good], 1e-3))])


def _matched(a: Vector, b: Vector, neighbors: int) -> float:
    _, index = cKDTree(b[:, :1]).query(a[:, :1], k=min(neighbors, len(b)))
    near = b[:, 1][np.asarray(index).reshape(len(a), -1)]
    return float(np.median(a[:, 1] - np.median(near, axis=1)))
