"""The order of an epoch: every non-lens once, and the same number of lenses in every batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from legacylens.training.config import TrainConfig

MOST_VALIDATIONS, LEAST_VALIDATIONS = 20, 10
"""With a budget of steps, short epochs are joined so that validating takes no longer than training, and long ones are
cut so that there is something to choose from, and a time for mining."""


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
    twins_per_batch: int = 0,
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
    twins_per_batch
        How many of these have their own galaxy, without the arc, among the non-lenses of the same batch. Its row is
        that of the lens plus the number of simulated lenses.
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
    mocks = np.asarray(simulated, dtype=np.int64)
    parts = (
        (np.flatnonzero(labels == 1), lenses_per_batch - simulated_per_batch),
        (mocks, simulated_per_batch),
        (others, others_per_batch - hard_per_batch - twins_per_batch),
        (np.asarray(hard, dtype=np.int64), hard_per_batch),
    )
    shown = [_cycle(rows, steps * count, rng).reshape(steps, count) if count else None for rows, count in parts]
    chosen = [rows for rows in shown if rows is not None]
    if twins_per_batch and shown[1] is not None:
        chosen.append(shown[1][:, :twins_per_batch] + len(mocks))
    return list(rng.permuted(np.concatenate(chosen, axis=1), axis=1))


def steps_of_epoch(n_others: int, others_per_batch: int) -> int:
    """Return how many batches show every non-lens."""
    return -(-n_others // others_per_batch)


def steps_per_epoch(labels: ArrayLike, config: TrainConfig) -> int:
    """Return how many steps lie between two validations of a run.

    Parameters
    ----------
    labels
        1 lens, 0 non-lens, of all training objects.
    config
        The run. Without a budget of steps, as many as show every non-lens (or, with natural sampling, object) once.
    """
    labels = np.asarray(labels)
    if config.sampling == "natural":
        steps = max(len(labels) // config.batch, 1)
    else:
        steps = steps_of_epoch(int((labels == 0).sum()), config.batch - config.lenses_per_batch)
    if config.steps is None:
        return steps
    joined = steps * -(-config.steps // (MOST_VALIDATIONS * steps))
    return min(joined, max(config.steps // LEAST_VALIDATIONS, 1))


def natural_batches(
    labels: ArrayLike,
    *,
    batch: int,
    rng: np.random.Generator,
    steps: int,
    hard: ArrayLike = (),
    hard_per_batch: int = 0,
) -> list[NDArray[np.int64]]:
    """Return batches in which every object comes equally often, whatever its class; see `epoch_batches`.

    Hard non-lenses take the places of other non-lenses, so that the share of lenses stays that of the sample.
    """
    labels = np.asarray(labels)
    chosen = _cycle(np.arange(len(labels)), steps * batch, rng).reshape(steps, batch)
    rows = np.asarray(hard, dtype=np.int64)
    if hard_per_batch:
        more = iter(_cycle(rows, steps * hard_per_batch, rng).reshape(steps, hard_per_batch))
        for members in chosen:
            places = np.flatnonzero(labels[members] == 0)[:hard_per_batch]
            members[places] = next(more)[: len(places)]
    return list(chosen)
