"""Intervals by resampled sky cells, and rates beyond the last false positive: laws, coverage, refusals, speed."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import genpareto, logistic, norm
from scipy.stats import t as student

from legacylens.errors import InputError
from legacylens.validation.bootstrap import block_bootstrap
from legacylens.validation.recall import recall_at_fpr
from legacylens.validation.tail import extrapolate, fit_tail, survival


def _clustered(rng, n_cells, per_cell, lenses_per_cell, spread=0.5, shift=2.5):
    """Scores that a cell shifts as a whole: lenses and non-lenses of one cell rise and fall together."""
    offset = rng.normal(0, spread, n_cells)
    others = np.repeat(np.arange(n_cells), rng.poisson(per_cell, n_cells))
    lenses = np.repeat(np.arange(n_cells), rng.poisson(lenses_per_cell, n_cells))
    values = np.r_[rng.normal(0, 1, len(others)) + offset[others], rng.normal(shift, 1, len(lenses)) + offset[lenses]]
    is_lens = np.r_[np.zeros(len(others), bool), np.ones(len(lenses), bool)]
    return values, is_lens, np.r_[others, lenses]


def _true_recall(fpr, spread=0.5, shift=2.5):
    sigma = np.sqrt(1 + spread**2)
    return norm.sf((norm.isf(fpr) * sigma - shift) / sigma)


def test_resampling_covers_the_truth_where_objects_are_not_independent():
    rng = np.random.default_rng(1)
    trials, covered = 300, np.zeros(2)
    for _ in range(trials):
        intervals = block_bootstrap(*_clustered(rng, 50, 60, 2), (0.1, 0.01), replicas=200, confidence=0.95, rng=rng)
        covered += [i.recall_low <= _true_recall(i.fpr_target) <= i.recall_high for i in intervals]
    # 0.93 is what is asked for; a coverage over 300 trials has a standard deviation of 0.0126.
    assert (covered / trials > 0.93 - 1.5 * 0.0126).all(), covered / trials


@given(seed=st.integers(0, 1000), replicas=st.just(20))
@settings(deadline=None, max_examples=15)
def test_each_resampled_sky_is_recall_with_its_objects_repeated(seed, replicas):
    """Against the slow way: build each sky object by object and measure its recall as any other."""
    values, is_lens, cell = _clustered(np.random.default_rng(seed), 6, 15, 2)
    values = np.round(values, 1)  # with ties
    if not is_lens.any():
        return
    fprs = (0.3, 0.05)
    fast = block_bootstrap(values, is_lens, cell, fprs, replicas=replicas, confidence=0.5, rng=np.random.default_rng(7))
    rng = np.random.default_rng(7)
    names = np.unique(cell)
    slow = []
    for _ in range(replicas):
        weight = rng.multinomial(len(names), np.full(len(names), 1.0 / len(names)))
        rows = np.concatenate([np.tile(np.flatnonzero(cell == name), w) for name, w in zip(names, weight, strict=True)])
        if is_lens[rows].any() and not is_lens[rows].all():
            points = recall_at_fpr(values[rows][is_lens[rows]], values[rows][~is_lens[rows]], fprs)
            slow.append([point.recall for point in points])
    low, high = np.percentile(slow, [25, 75], axis=0)
    np.testing.assert_allclose([i.recall_low for i in fast], low, atol=1e-12)
    np.testing.assert_allclose([i.recall_high for i in fast], high, atol=1e-12)


def test_few_cells_are_said_and_the_same_seed_gives_the_same_interval():
    data = _clustered(np.random.default_rng(2), 12, 50, 2)
    one, other = (
        block_bootstrap(*data, (0.1,), replicas=50, confidence=0.95, rng=np.random.default_rng(3)) for _ in range(2)
    )
    assert one == other
    assert not one[0].enough_cells
    assert one[0].n_cells == 12


@pytest.mark.parametrize(
    ("values", "is_lens", "cell", "fprs", "message"),
    [
        ([1.0, 2.0], [True, True], [0, 1], (0.1,), "needs lenses and non-lenses"),
        ([1.0, 2.0], [True, False], [4, 4], (0.1,), "one sky cell"),
        ([1.0, 2.0], [True, False], [0, 1], (1.0,), "between 0 and 1"),
    ],
)
def test_what_cannot_be_resampled_is_refused(values, is_lens, cell, fprs, message):
    with pytest.raises(InputError, match=message):
        block_bootstrap(values, is_lens, cell, fprs, replicas=5, confidence=0.95, rng=np.random.default_rng(1))


def test_resampling_a_hundred_thousand_scores_is_quick():
    """A tenth of a million scores and a tenth of 2,000 skies; the whole has 60 s, so this has 0.6 s (and slack)."""
    rng = np.random.default_rng(4)
    values = rng.normal(size=100_000)
    is_lens = rng.random(100_000) < 1e-3
    start = time.process_time()
    block_bootstrap(values, is_lens, rng.integers(0, 500, 100_000), (0.1, 1e-3), replicas=200, confidence=0.95, rng=rng)
    assert time.process_time() - start < 2.0


@pytest.mark.parametrize("shape", [-0.4, 0.0, 0.3])
def test_survival_is_that_of_scipy(shape):
    excess = np.linspace(0, 6, 50)
    np.testing.assert_allclose(survival(excess, shape), genpareto.sf(excess, shape), rtol=1e-9, atol=1e-15)


def test_a_tail_finds_its_own_threshold_again():
    tail = fit_tail(np.random.default_rng(5).normal(size=20_000))
    for rate in (5e-3, 1e-4, 1e-6):
        assert tail.rate(tail.threshold(rate)) == pytest.approx(rate, rel=1e-6)
        low, high = tail.interval(tail.threshold(rate), 0.95)
        assert low < rate < high
    assert tail.weight.sum() == pytest.approx(1.0)
    assert -0.4 < tail.mean_shape < 0.1  # a Gaussian's tail falls faster than an exponential


@pytest.mark.parametrize(
    ("draw", "true_rate"),
    [
        (lambda rng, n: rng.normal(size=n), norm.sf),
        (lambda rng, n: rng.logistic(size=n), logistic.sf),
        (lambda rng, n: rng.standard_t(5, n), lambda score: student.sf(score, 5)),
    ],
    ids=["gauss", "logistic", "student"],
)
def test_the_interval_of_an_extrapolated_rate_covers_the_truth(draw, true_rate):
    rng = np.random.default_rng(6)
    n, trials, covered, refused = 10_000, 120, 0, 0
    for _ in range(trials):
        for point in extrapolate([0.0], draw(rng, n), (1e-4, 2e-5)):
            if point.threshold is None:
                refused += 1
            else:
                covered += point.fpr_low <= true_rate(point.threshold) <= point.fpr_high
    # 0.93 is asked for; 240 correlated answers have a standard deviation of about 0.018.
    assert covered / (2 * trials - refused) > 0.93 - 1.5 * 0.018
    assert refused <= 6  # one in a hundred, with room for three times that


def test_extrapolated_recall_is_that_of_the_closed_form():
    rng = np.random.default_rng(7)
    point = extrapolate(rng.normal(6, 1, 4000), rng.normal(0, 1, 50_000), (2e-5,))[0]
    assert point.note == "extrapolated"
    # The threshold is uncertain by about 0.15 sigma at 1 in 50,000, hence the recall by 0.03.
    assert point.recall == pytest.approx(norm.sf(norm.isf(2e-5) - 6), abs=0.05)
    assert point.recall_low < point.recall < point.recall_high


@pytest.mark.parametrize(
    ("scores", "fpr", "message"),
    [
        (np.linspace(0, 1, 1000), 1e-4, "a tail needs 5,000 non-lenses, there are 1,000"),
        (np.round(np.random.default_rng(8).normal(size=10_000), 1), 1e-4, "are tied"),
        (np.random.default_rng(9).normal(size=10_000), 1e-7, "reach no lower than 1e-05"),
        (np.random.default_rng(9).normal(size=10_000), 0.1, "within the measured scores"),
        (np.r_[np.linspace(0, 1, 9800), np.linspace(9, 9.01, 100), np.linspace(20, 30, 100)], 1e-4, "do not follow"),
    ],
)
def test_what_cannot_be_extrapolated_says_why(scores, fpr, message):
    point = extrapolate([1.0], scores, (fpr,))[0]
    assert point.threshold is None
    assert message in point.note
