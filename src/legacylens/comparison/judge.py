"""Recalls of several networks on one set of objects, with intervals that know what the networks have in common.

Two networks see the same lenses and the same non-lenses, and those with the same seed the same order of them. So the
interval of a difference is much narrower than the two intervals of its parts: sky cells are resampled for all networks
at once, and so are seeds.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from legacylens.errors import InputError
from legacylens.validation.intervals import binomial_interval
from legacylens.validation.recall import FALSE_POSITIVES_NEEDED, threshold_at_fpr


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A number with its interval."""

    value: float
    """Mean over the seeds."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""

    def as_dict(self) -> dict[str, float]:
        """Return the fields as a JSON-compatible dictionary."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resampled:
    """Recalls of all networks on the sky as it is and on resampled ones."""

    recall: NDArray[np.float64]
    """``(variant, seed, fpr)``."""
    replicas: NDArray[np.float64]
    """``(replica, variant, fpr)``: means over resampled seeds on resampled cells."""
    n_cells: int
    """Cells that were drawn from."""

    def interval(self, variant: int, fpr: int, confidence: float) -> Interval:
        """Return the recall of a variant."""
        return _interval(float(self.recall[variant, :, fpr].mean()), self.replicas[:, variant, fpr], confidence)

    def difference(self, variant: int, other: int, fpr: int, confidence: float) -> Interval:
        """Return how much higher the recall of a variant is than that of another."""
        means = self.recall[:, :, fpr].mean(axis=1)
        draws = self.replicas[:, variant, fpr] - self.replicas[:, other, fpr]
        return _interval(float(means[variant] - means[other]), draws, confidence)


def _interval(value: float, draws: NDArray[np.float64], confidence: float) -> Interval:
    tail = 50.0 * (1.0 - confidence)
    low, high = np.nanpercentile(draws, [tail, 100.0 - tail])
    return Interval(value=value, low=float(low), high=float(high))


class _Ranked:
    """Scores of one network, sorted once, so that a resampled sky costs a running sum."""

    def __init__(self, scores: NDArray[np.float64], lens: NDArray[np.bool_], block: NDArray[np.int64]) -> None:
        negative = np.argsort(-scores[~lens], kind="stable")
        positive = np.argsort(-scores[lens], kind="stable")
        self.negative_block = block[~lens][negative]
        self.positive_block = block[lens][positive]
        # How many lenses are strictly above each non-lens: those that are found if it is the first to be refused.
        self.lenses_above = np.searchsorted(-scores[lens][positive], -scores[~lens][negative], side="left")

    def recalls(self, weight: NDArray[np.float64], fprs: NDArray[np.float64]) -> NDArray[np.float64]:
        passed = np.cumsum(weight[self.negative_block])
        found = np.concatenate([[0.0], np.cumsum(weight[self.positive_block])])
        if passed[-1] == 0 or found[-1] == 0:
            return np.full(len(fprs), np.nan)  # a sky without lenses or without non-lenses
        allowed = np.floor(fprs * passed[-1] + 1e-9)
        refused = np.minimum(np.searchsorted(passed, allowed, side="right"), len(passed) - 1)
        return np.asarray(found[self.lenses_above[refused]] / found[-1])


def resample(
    scores: NDArray[np.float64],
    is_lens: ArrayLike,
    cell: ArrayLike,
    fprs: ArrayLike,
    *,
    replicas: int,
    rng: np.random.Generator,
) -> Resampled:
    """Return recalls on the sky as it is and on resampled ones.

    Parameters
    ----------
    scores
        ``(variant, seed, object)``.
    is_lens, cell
        Class and sky cell of each object.
    fprs
        False-positive rates.
    replicas
        Resampled skies.
    rng
        Draws cells and seeds.

    Raises
    ------
    InputError
        If a class is missing, a score is not finite, or all objects are in one cell.
    """
    lens = np.asarray(is_lens, dtype=bool)
    rates = np.asarray(fprs, dtype=np.float64)
    if not lens.any() or lens.all():
        raise InputError("a comparison needs lenses and non-lenses in the sealed cells")
    if not np.isfinite(scores).all():
        raise InputError(f"{int((~np.isfinite(scores)).sum())} scores are not finite; check the cutouts' pixels")
    _, block = np.unique(np.asarray(cell), return_inverse=True)
    n_blocks = int(block.max()) + 1
    if n_blocks < 2:
        raise InputError("all sealed objects are in one sky cell: there is nothing to resample")
    n_variants, n_seeds, _ = scores.shape
    ranked = [[_Ranked(scores[v, s], lens, block) for s in range(n_seeds)] for v in range(n_variants)]
    ones = np.ones(n_blocks)
    recall = np.array([[one.recalls(ones, rates) for one in row] for row in ranked])
    draws = np.empty((replicas, n_variants, len(rates)))
    for replica in range(replicas):
        weight = rng.multinomial(n_blocks, np.full(n_blocks, 1.0 / n_blocks)).astype(np.float64)
        seeds = np.bincount(rng.integers(n_seeds, size=n_seeds), minlength=n_seeds)
        for v, row in enumerate(ranked):
            parts = [count * row[s].recalls(weight, rates) for s, count in enumerate(seeds) if count]
            draws[replica, v] = np.sum(parts, axis=0) / n_seeds
    return Resampled(recall=recall, replicas=draws, n_cells=n_blocks)


def false_positives_by_class(
    scores: NDArray[np.float64], is_lens: ArrayLike, classes: ArrayLike, fpr: float, confidence: float
) -> list[dict[str, Any]]:
    """Return the false-positive rate of every class of non-lenses at one threshold.

    Parameters
    ----------
    scores
        ``(seed, object)``; each seed has the threshold of its own.
    is_lens, classes
        Of each object.
    fpr
        Overall false-positive rate.
    confidence
        Of the interval (Clopper-Pearson with the counts of all seeds over their number).
    """
    lens, kinds = np.asarray(is_lens, dtype=bool), np.asarray(classes, dtype=str)
    above = np.array([row >= threshold_at_fpr(row[~lens], fpr) for row in scores])
    rows = []
    for kind in sorted(set(kinds[~lens])):
        members = ~lens & (kinds == kind)
        n, mean = int(members.sum()), float(above[:, members].sum(axis=1).mean())
        low, high = binomial_interval(round(mean), n, confidence)
        rows.append({"class": kind, "n": n, "fpr": mean / n, "low": float(low), "high": float(high)})
    return rows


def class_of(sample: pd.DataFrame) -> NDArray[np.str_]:
    """Return the class of each object: that of a labeled list where there is one, else the Tractor type."""
    kinds = sample["type"].astype(str).to_numpy(dtype=str)
    if "contaminant" not in sample:
        return kinds
    known = sample["contaminant"].fillna("").astype(str).to_numpy(dtype=str)
    return np.asarray(np.where(known != "", known, kinds))


def false_positives_at(fpr: float, n_non_lenses: int) -> int:
    """Return how many non-lenses may pass at a rate: what its threshold rests on."""
    return math.floor(fpr * n_non_lenses + 1e-9)


def note_on(fpr: float, n_non_lenses: int) -> str:
    """Return why a rate is not measured by so few non-lenses; empty if it is."""
    n = false_positives_at(fpr, n_non_lenses)
    if n >= FALSE_POSITIVES_NEEDED:
        return ""
    return (
        f"not measurable: needs >= {math.ceil(FALSE_POSITIVES_NEEDED / fpr - 1e-9):,} non-lenses "
        f"({FALSE_POSITIVES_NEEDED} false positives), have {n_non_lenses:,} ({n})"
    )
