"""Several networks into one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from legacylens.errors import InputError
from legacylens.models.combine import apply_meta_learner, fit_meta_learner, mean_logit, mean_rank, stack_out_of_fold


def two_networks(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A good network and one that knows nothing but shouts."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 4 == 0).astype(int)
    good = 2.0 * labels + rng.normal(size=n)
    noise = 20.0 * rng.normal(size=n)
    return np.column_stack([good, noise]), labels


def test_mean_logit() -> None:
    np.testing.assert_array_equal(mean_logit([[1.0, 3.0], [0.0, -4.0]]), [2.0, -2.0])


@given(st.integers(0, 1000))
def test_mean_rank_ignores_how_confident_a_network_is(seed: int) -> None:
    logits, _ = two_networks(50, seed)
    stretched = np.column_stack([np.exp(logits[:, 0]), logits[:, 1] * 1e-3 + 7.0])
    np.testing.assert_allclose(mean_rank(stretched), mean_rank(logits), atol=1e-12)
    assert mean_rank(logits).min() >= 0.0
    assert mean_rank(logits).max() <= 1.0


def test_mean_rank_of_one_object() -> None:
    np.testing.assert_array_equal(mean_rank([[3.0, 4.0]]), [0.5])


def test_meta_learner_trusts_the_network_that_knows() -> None:
    logits, labels = two_networks()
    unseen, truth = two_networks(seed=1)
    meta = fit_meta_learner(logits, labels, seed=2)
    combined = roc_auc_score(truth, apply_meta_learner(meta, unseen))
    assert combined > roc_auc_score(truth, mean_logit(unseen)) + 0.1
    assert combined > roc_auc_score(truth, unseen[:, 0]) - 0.03
    again = fit_meta_learner(logits, labels, seed=2)
    np.testing.assert_array_equal(apply_meta_learner(meta, unseen), apply_meta_learner(again, unseen))


def test_out_of_fold_scores_cannot_repeat_the_labels() -> None:
    """Networks that know nothing: a stack that saw its own labels would find them again."""
    rng = np.random.default_rng(3)
    logits, labels = rng.normal(size=(300, 2)), rng.integers(0, 2, 300)
    stacked = stack_out_of_fold(logits, labels, np.arange(300) // 3, folds=3)
    assert abs(roc_auc_score(labels, stacked) - 0.5) < 0.1  # three standard errors of 300 coin flips


def test_groups_are_never_divided() -> None:
    """If the label is a property of the group, only a stack that divides groups can know it."""
    rng = np.random.default_rng(4)
    groups = np.arange(200) // 20
    labels = groups % 2
    logits = np.column_stack([groups + 0.01 * rng.normal(size=200), rng.normal(size=200)])
    stacked = stack_out_of_fold(logits, labels, groups, folds=5)
    assert roc_auc_score(labels, stacked) < 0.9


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_logit([1.0, 2.0]), r"shape \(2,\) are no table"),
        (lambda: mean_rank([[np.nan, 1.0]]), "1 logits are not finite"),
        (lambda: fit_meta_learner([[0.0, 1.0]], [1]), "needs both classes, got 1 lenses of 1"),
        (lambda: stack_out_of_fold(np.zeros((4, 2)), [0, 1, 0, 1], [0, 0, 1, 1]), "2 groups cannot be divided into 5"),
    ],
)
def test_bad_input_is_refused(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
