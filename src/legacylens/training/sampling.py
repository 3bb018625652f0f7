"""The order of an epoch: every non-lens once, and the same number of lenses in every batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def stream_seed(seed: int, *path: int) -> int:
    """Return the seed of a random stream: another for each epoch and purpose, so that no two epochs are alike."""
    return int(np.random.SeedSequence([seed, *path]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _cycle(rows: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return ``count`` of the rows: whole random passes, so that none is shown twice more often than another."""
    passes = -(-count // len(rows))
    return np.concatenate([rng.permutation(rows) for _ in range(passes)])[:count]


def epoch_batches(
    labels: ArrayLike, *, batch: int, lenses_per_batch: int, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Return the rows of every batch of one epoch.

    Parameters
    ----------
    labels
        1 lens, 0 non-lens, one for each row.
    batch
        Rows in a batch.
    lenses_per_batch
        Lenses among them; the last batch is filled up with non-lenses that come a second time.
    rng
        Random generator.

    Returns
    -------
    batches
        int64 arrays of length ``batch``; their lenses are not in a fixed place.
    """
    labels = np.asarray(labels)
    lenses, others = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    others_per_batch = batch - lenses_per_batch
    steps = -(-len(others) // others_per_batch)
    chosen_lenses = _cycle(lenses, steps * lenses_per_batch, rng).reshape(steps, lenses_per_batch)
    chosen_others = _cycle(others, steps * others_per_batch, rng).reshape(steps, others_per_batch)
    return list(rng.permuted(np.concatenate([chosen_lenses, chosen_others], axis=1), axis=1))
