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
    labels: ArrayLike,
    *,
    batch: int,
    lenses_per_batch: int,
    rng: np.random.Generator,
    steps: int | None = None,
    simulated: ArrayLike = (),
    simulated_per_batch: int = 0,
    hard: ArrayLike = (),
    hard_per_batch: int = 0,
) -> list[NDArray[np.int64]]:
    """Return the rows of every batch of one epoch.

    Parameters
    ----------
    labels
        1 lens, 0 non-lens, one for each row of the real objects.
    batch
        Rows in a batch.
    lenses_per_batch
        Lenses among them; the last batch is filled up with non-lenses that come a second time.
    rng
        Random generator.
    steps
        Number of batches; by default as many as show every non-lens once.
    simulated, simulated_per_batch
        Rows of simulated lenses, and how many of a batch's lenses are from them.
    hard, hard_per_batch
        Rows of hard non-lenses, and how many of a batch's non-lenses are from them.

    Returns
    -------
    batches
        int64 arrays of length ``batch``; their lenses are not in a fixed place.
    """
    labels = np.asarray(labels)
    others_per_batch = batch - lenses_per_batch
    others = np.flatnonzero(labels == 0)
    steps = steps or steps_of_epoch(len(others), others_per_batch)
    parts = (
        (np.flatnonzero(labels == 1), lenses_per_batch - simulated_per_batch),
        (np.asarray(simulated, dtype=np.int64), simulated_per_batch),
        (others, others_per_batch - hard_per_batch),
        (np.asarray(hard, dtype=np.int64), hard_per_batch),
    )
    chosen = [_cycle(rows, steps * count, rng).reshape(steps, count) for rows, count in parts if count]
    return list(rng.permuted(np.concatenate(chosen, axis=1), axis=1))


def steps_of_epoch(n_others: int, others_per_batch: int) -> int:
    """Return how many batches show every non-lens."""
    return -(-n_others // others_per_batch)


def natural_batches(n: int, *, batch: int, rng: np.random.Generator, steps: int) -> list[NDArray[np.int64]]:
    """Return batches in which every object comes equally often, whatever its class."""
    return list(_cycle(np.arange(n), steps * batch, rng).reshape(steps, batch))
