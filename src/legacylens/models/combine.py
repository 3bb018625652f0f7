"""Several networks' logits into one: by mean, by rank, or by a meta-learner that never saw its own training scores."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata
from torch.nn.functional import binary_cross_entropy_with_logits

from legacylens.errors import InputError
from legacylens.models.meta import MetaLearner


def _table(logits: ArrayLike) -> NDArray[np.float64]:
    table = np.asarray(logits, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] < 1:
        raise InputError(f"logits of shape {table.shape} are no table of (objects, networks)")
    if not np.isfinite(table).all():
        raise InputError(f"{int((~np.isfinite(table)).sum())} logits are not finite; leave these objects out")
    return table


def mean_logit(logits: ArrayLike) -> NDArray[np.float64]:
    """Return the mean over networks, ``(n,)``, of logits ``(n, networks)``."""
    return np.asarray(_table(logits).mean(axis=1))


def mean_rank(logits: ArrayLike) -> NDArray[np.float64]:
    """Return the mean over networks of the rank in [0, 1], ``(n,)``, of logits ``(n, networks)``.

    Insensitive to how confident each network is; meaningful among the objects that are ranked together only.
    """
    table = _table(logits)
    if len(table) < 2:
        return np.full(len(table), 0.5)
    return np.asarray(((rankdata(table, axis=0) - 1.0) / (len(table) - 1.0)).mean(axis=1))


def fit_meta_learner(
    logits: ArrayLike, labels: ArrayLike, *, seed: int = 0, steps: int = 300, learning_rate: float = 1e-2
) -> MetaLearner:
    """Fit a meta-learner to the logits of objects that the networks were not trained on.

    Parameters
    ----------
    logits
        ``(n, networks)``: out-of-fold or validation logits. With logits of the networks' own training objects the
        result believes the network that overfits most.
    labels
        1 lens, 0 non-lens.
    seed, steps, learning_rate
        Of the fit; classes have equal weight.

    Raises
    ------
    InputError
        If a class is missing or a logit is not finite.
    """
    table = _table(logits)
    targets = np.asarray(labels, dtype=np.float64)
    positives = targets.sum()
    if not 0 < positives < len(targets):
        raise InputError(f"a meta-learner needs both classes, got {positives:g} lenses of {len(targets)} objects")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        meta = MetaLearner(table.shape[1])
        # Divided by the spread, so that the same learning rate suits networks of any confidence; undone at the end.
        spread = np.maximum(table.std(axis=0), 1e-6)
        inputs = torch.tensor(table / spread, dtype=torch.float32)
        wanted = torch.tensor(targets, dtype=torch.float32)
        weights = torch.where(wanted > 0, 0.5 / positives, 0.5 / (len(targets) - positives)).float()
        # A strong decay: with a hundred lenses, 300 nodes without it learn them by heart (recall 0.99 on their own
        # objects and 0.83 on others at an FPR of 0.05; with it 0.89 and 0.88, as good as the best weights there are).
        optimizer = torch.optim.AdamW(meta.parameters(), lr=learning_rate, weight_decay=3.0)
        for _ in range(steps):
            loss = (binary_cross_entropy_with_logits(meta(inputs), wanted, reduction="none") * weights).sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.no_grad():
        next(meta.parameters()).div_(torch.tensor(spread, dtype=torch.float32))
    return meta.eval()


def apply_meta_learner(meta: MetaLearner, logits: ArrayLike) -> NDArray[np.float64]:
    """Return the combined logits, ``(n,)``, of logits ``(n, networks)``."""
    with torch.no_grad():
        return np.asarray(meta(torch.tensor(_table(logits), dtype=torch.float32)).numpy(), dtype=np.float64)


def stack_out_of_fold(
    logits: ArrayLike, labels: ArrayLike, groups: ArrayLike, *, folds: int = 5, seed: int = 0
) -> NDArray[np.float64]:
    """Return combined logits in which no object's label took part.

    Parameters
    ----------
    logits, labels
        As for `fit_meta_learner`.
    groups
        What must stay together, e.g. the sky cell: objects of one group are always in one fold.
    folds
        Number of meta-learners; each combines the objects that the others learned from.
    seed
        Of the folds and the fits.

    Raises
    ------
    InputError
        If there are fewer groups than folds, or a fold leaves one class only to learn from.
    """
    table, targets = _table(logits), np.asarray(labels)
    names, members = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < folds:
        raise InputError(f"{len(names)} groups cannot be divided into {folds} folds; use fewer folds")
    fold_of_group = np.random.default_rng(seed).permutation(len(names)) % folds
    fold = fold_of_group[members]
    combined = np.empty(len(table))
    for number in range(folds):
        held_out = fold == number
        meta = fit_meta_learner(table[~held_out], targets[~held_out], seed=seed)
        combined[held_out] = apply_meta_learner(meta, table[held_out])
    return combined
