"""Intervals by resampling the sky: cells are drawn with replacement, with everything in them.

Neighbors share depth, seeing and artifacts, so a hundred false positives in ten cells are worth less than a hundred in
a hundred. An exact binomial interval counts objects as independent; this one does not, but it needs many cells and
knows nothing of what no cell holds. Both are reported, and the wider end of the two is the one to quote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from legacylens.errors import InputError

CELLS_NEEDED = 20
"""Fewest cells with lenses for which the interval is called measured; below, its coverage is clearly too low."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockInterval:
    """Recall at one false-positive rate over resampled skies."""

    fpr_target: float
    """The false-positive rate; each resampled sky sets its own threshold."""
    recall_low: float
    """Lower end of the interval."""
    recall_high: float
    """Upper end."""
    n_cells: int
    """Cells that were drawn from."""
    n_cells_with_lenses: int
    """Those of them that hold a lens."""
    replicas: int
    """Resampled skies."""
    enough_cells: bool
    """Whether at least 20 cells hold a lens."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-compatible dictionary."""
        return asdict(self)


def block_bootstrap(
    values: ArrayLike,
    is_lens: ArrayLike,
    cell: ArrayLike,
    fprs: Sequence[float],
    *,
    replicas: int,
    confidence: float,
    rng: np.random.Generator,
) -> list[BlockInterval]:
    """Return the interval of the recall at each false-positive rate, the threshold's own uncertainty included.

    Parameters
    ----------
    values, is_lens, cell
        Ranking score, class and sky cell of each object, shape (n,).
    fprs
        False-positive rates in (0, 1).
    replicas
        Resampled skies.
    confidence
        Of the interval: central, between percentiles.
    rng
        Draws the cells.

    Raises
    ------
    InputError
        If a class is empty or there is only one cell.

    Notes
    -----
    Only the highest non-lenses can set a threshold, so each sky costs a running sum over these alone: a million scores
    and two thousand skies take seconds.
    """
    values = np.asarray(values, dtype=np.float64)
    lens = np.asarray(is_lens, dtype=bool)
    _, block = np.unique(np.asarray(cell), return_inverse=True)
    n_blocks = int(block.max()) + 1 if len(block) else 0
    if not lens.any() or lens.all():
        raise InputError("resampling the sky needs lenses and non-lenses")
    if n_blocks < 2:
        raise InputError("all objects are in one sky cell: there is nothing to resample")
    if any(not 0.0 < fpr < 1.0 for fpr in fprs):
        raise InputError("false-positive rates must be between 0 and 1")
    per_block = np.bincount(block[~lens], minlength=n_blocks).astype(np.float64)

    order = np.argsort(-values[~lens], kind="stable")
    top = _top_length(len(order), max(fprs), per_block)
    negative_value, negative_block = values[~lens][order][:top], block[~lens][order][:top]
    ranking = np.argsort(-values[lens], kind="stable")
    positive_value, positive_block = values[lens][ranking], block[lens][ranking]

    recall = np.full((replicas, len(fprs)), np.nan)
    for replica in range(replicas):
        weight = rng.multinomial(n_blocks, np.full(n_blocks, 1.0 / n_blocks)).astype(np.float64)
        n_negative = float(weight @ per_block)
        found = np.concatenate([[0.0], np.cumsum(weight[positive_block])])
        if n_negative == 0 or found[-1] == 0:
            continue  # a sky without lenses or without non-lenses has no recall
        passed = np.cumsum(weight[negative_block])
        allowed = np.floor(np.asarray(fprs) * n_negative + 1e-9)
        refused = np.searchsorted(passed, allowed, side="right")
        # Beyond the kept part every non-lens passes; `_top_length` makes that a matter of rates near 1.
        edge = np.where(refused < top, negative_value[np.minimum(refused, top - 1)], -np.inf)
        above = np.searchsorted(-positive_value, -edge, side="left")
        recall[replica] = found[above] / found[-1]
    tail = 50.0 * (1.0 - confidence)
    low, high = np.nanpercentile(recall, [tail, 100.0 - tail], axis=0)
    n_with = len(np.unique(block[lens]))
    return [
        BlockInterval(
            fpr_target=float(fpr),
            recall_low=float(low[place]),
            recall_high=float(high[place]),
            n_cells=n_blocks,
            n_cells_with_lenses=n_with,
            replicas=replicas,
            enough_cells=n_with >= CELLS_NEEDED,
        )
        for place, fpr in enumerate(fprs)
    ]


def _top_length(n: int, fpr: float, per_block: NDArray[np.float64]) -> int:
    """Return how many of the highest non-lenses can matter.

    The rate is reached within the kept part unless the cells that hold it are drawn far less often than the others.
    Eight times the rate, and the contents of the fullest cell besides, is safe for any draw that ever happens.
    """
    return int(min(n, np.ceil(8.0 * fpr * n) + per_block.max() + 100))
