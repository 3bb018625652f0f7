"""Recall at a false-positive rate: closed forms, scikit-learn, simulation, ties and small numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as reference_roc

from legacylens.errors import InputError
from legacylens.validation.auc import auc_with_interval
from legacylens.validation.recall import (
    challenge_rates,
    recall_at_fpr,
    recall_at_threshold,
    roc_curve,
    threshold_at_fpr,
)

SHIFT = 2.0  # lenses are N(SHIFT, 1), non-lenses N(0, 1): recall at a rate is norm.sf(norm.isf(fpr) - SHIFT)


def _scores(rng, n_pos, n_neg):
    return rng.normal(SHIFT, 1, n_pos), rng.normal(0, 1, n_neg)


def test_recall_of_two_gaussians_is_the_closed_form():
    positives, negatives = _scores(np.random.default_rng(1), 200_000, 2_000_000)
    for point in recall_at_fpr(positives, negatives, (1e-1, 1e-2, 1e-3, 1e-4)):
        truth = norm.sf(norm.isf(point.fpr_target) - SHIFT)
        # Sampling: 0.0011 from the lenses; at 1e-4 the 200 false positives move the threshold by 0.018 sigma.
        assert point.recall == pytest.approx(truth, abs=0.008)
        assert point.measurable
        assert point.n_false_positives == round(point.fpr_target * 2_000_000)


@given(seed=st.integers(0, 2**31), n_pos=st.integers(1, 60), n_neg=st.integers(1, 400), levels=st.integers(1, 60),
       fpr=st.floats(1e-3, 0.999))  # fmt: skip
@settings(deadline=None, max_examples=150)
def test_recall_is_that_of_scikit_learn_at_every_rate(seed, n_pos, n_neg, levels, fpr):
    """With ties, by many draws from few levels: the best point of the exact curve that does not exceed the rate."""
    rng = np.random.default_rng(seed)
    positives = rng.integers(0, levels, n_pos).astype(float)
    negatives = rng.integers(0, levels, n_neg).astype(float)
    point = recall_at_fpr(positives, negatives, (fpr,))[0]
    label = np.r_[np.ones(n_pos), np.zeros(n_neg)]
    fprs, tprs, _ = reference_roc(label, np.r_[positives, negatives], drop_intermediate=False)
    allowed = fprs * n_neg <= np.floor(fpr * n_neg + 1e-9) + 1e-9
    assert point.recall == pytest.approx(tprs[allowed].max(), abs=1e-12)
    assert point.n_false_positives <= fpr * n_neg + 1e-9
    assert point.fpr_low <= point.fpr <= point.fpr_high
    assert point.recall_low <= point.recall <= point.recall_high
    assert (positives >= point.threshold).sum() == point.n_recovered


@given(seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=30)
def test_monotonic_transformations_change_no_rate(seed):
    rng = np.random.default_rng(seed)
    positives, negatives = _scores(rng, 50, 500)
    plain = recall_at_fpr(positives, negatives, (0.1, 0.01))
    bent = recall_at_fpr(np.exp(positives), np.exp(negatives), (0.1, 0.01))
    assert [(p.n_recovered, p.n_false_positives) for p in plain] == [(p.n_recovered, p.n_false_positives) for p in bent]


def test_too_few_non_lenses_are_said_and_the_value_is_shown():
    positives, negatives = _scores(np.random.default_rng(2), 100, 4000)
    good, weak = recall_at_fpr(positives, negatives, (1e-2, 1e-3))
    assert good.measurable
    assert good.note == ""
    assert not weak.measurable
    assert weak.note == "not measurable: needs >= 20,000 non-lenses (20 false positives), have 4,000 (4)"
    assert weak.n_non_lenses_needed == 20_000
    assert 0 < weak.recall < 1


def test_twenty_false_positives_are_just_enough():
    negatives = np.arange(20_000.0)
    assert recall_at_fpr([1e9], negatives, (1e-3,))[0].measurable
    assert not recall_at_fpr([1e9], negatives[1:], (1e-3,))[0].measurable


def test_the_binary_rounding_of_rate_times_number_is_undone():
    negatives = np.arange(29_000.0)  # 1e-3 * 29,000 = 28.999999999999996
    assert recall_at_fpr([1e9], negatives, (1e-3,))[0].n_false_positives == 29


def test_saturated_scores_do_not_flatter():
    """A probability that rounds to 1 for a hundred non-lenses has no threshold at 1e-3; it says so."""
    negatives = np.r_[np.ones(100), np.linspace(0, 0.9, 29_900)]
    positives = np.ones(50)
    point = recall_at_fpr(positives, negatives, (1e-3,))[0]
    assert point.recall == 0.0
    assert point.n_false_positives == 0
    assert "tied scores leave 0 false positives where 30 may pass" in point.note


def test_the_intervals_cover_the_truth_in_simulation():
    """Both intervals at a threshold that the same non-lenses set: 95 % or more, and not absurdly more."""
    rng = np.random.default_rng(3)
    fpr, n_pos, n_neg, trials = 0.02, 60, 2000, 3000
    recall_covered = fpr_covered = 0
    for _ in range(trials):
        positives, negatives = _scores(rng, n_pos, n_neg)
        point = recall_at_fpr(positives, negatives, (fpr,))[0]
        recall_covered += point.recall_low <= norm.sf(point.threshold - SHIFT) <= point.recall_high
        fpr_covered += point.fpr_low <= norm.sf(point.threshold) <= point.fpr_high
    # Standard deviation of a coverage near 0.95 over 3,000 trials: 0.004.
    assert 0.95 - 3 * 0.004 <= recall_covered / trials <= 0.985
    assert 0.95 - 3 * 0.004 <= fpr_covered / trials <= 0.985


def test_a_fixed_threshold_and_no_false_positive():
    point = recall_at_threshold([1.0, 2.0], [0.0, 0.5], 1.5)
    assert (point.recall, point.fpr, point.fpr_target) == (0.5, 0.0, 0.0)
    assert point.note == "not measurable: no false positive among 2 non-lenses"


def test_challenge_rates_by_hand():
    negatives = np.arange(100.0)  # the ten highest are 90..99
    rates = challenge_rates([99.5, 95.0, 90.5, 90.0, 10.0], negatives)
    assert rates == {"tpr0": 0.2, "tpr10": 0.6}


@given(seed=st.integers(0, 2**31), n_pos=st.integers(1, 50), n_neg=st.integers(1, 300), levels=st.integers(1, 40))
@settings(deadline=None, max_examples=60)
def test_every_point_of_the_curve_is_on_the_exact_curve(seed, n_pos, n_neg, levels):
    rng = np.random.default_rng(seed)
    positives = rng.integers(0, levels, n_pos).astype(float)
    negatives = rng.integers(0, levels, n_neg).astype(float)
    curve = roc_curve(positives, negatives, points=500)
    fprs, tprs, _ = reference_roc(
        np.r_[np.ones(n_pos), np.zeros(n_neg)], np.r_[positives, negatives], drop_intermediate=False
    )
    for fpr, recall in zip(curve.fpr, curve.recall, strict=True):
        same = np.isclose(fprs, fpr, rtol=0, atol=1e-12)
        assert np.isclose(tprs[same], recall, rtol=0, atol=1e-12).any()
    assert (np.diff(curve.fpr) > 0).all()
    assert (np.diff(curve.recall) >= 0).all()
    assert ((curve.recall_low <= curve.recall) & (curve.recall <= curve.recall_high)).all()
    assert curve.fpr[-1] == 1.0
    assert curve.recall[-1] == 1.0


def test_the_curve_and_the_table_agree():
    positives, negatives = _scores(np.random.default_rng(5), 300, 10_000)
    curve = roc_curve(positives, negatives, points=10_000)
    for point in recall_at_fpr(positives, negatives, (0.1, 0.01, 0.005)):
        assert point.recall == curve.recall[np.isclose(curve.fpr, point.fpr)][0]
    assert curve.fpr_measurable == 20 / 10_000


@given(seed=st.integers(0, 2**31), n_pos=st.integers(2, 60), n_neg=st.integers(2, 200), levels=st.integers(2, 50))
@settings(deadline=None, max_examples=60)
def test_area_is_that_of_scikit_learn(seed, n_pos, n_neg, levels):
    rng = np.random.default_rng(seed)
    positives = rng.integers(0, levels, n_pos).astype(float)
    negatives = rng.integers(0, levels, n_neg).astype(float)
    area = auc_with_interval(positives, negatives)
    reference = roc_auc_score(np.r_[np.ones(n_pos), np.zeros(n_neg)], np.r_[positives, negatives])
    assert area.value == pytest.approx(reference, abs=1e-12)
    assert 0 <= area.low <= area.value <= area.high <= 1


def test_the_interval_of_the_area_covers_the_truth():
    rng = np.random.default_rng(6)
    truth, trials, covered = norm.cdf(SHIFT / np.sqrt(2)), 2000, 0
    for _ in range(trials):
        area = auc_with_interval(*_scores(rng, 80, 400))
        covered += area.low <= truth <= area.high
    # An asymptotic interval; the standard deviation of the estimate is 0.005.
    assert 0.935 <= covered / trials <= 0.97


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: recall_at_fpr([], [1.0]), "no lenses with a score"),
        (lambda: recall_at_fpr([1.0], []), "no non-lenses with a score"),
        (lambda: recall_at_fpr([1.0, np.nan], [0.0]), "1 NaN among the scores of the lenses"),
        (lambda: threshold_at_fpr([0.0], 1.0), "not between 0 and 1"),
        (lambda: auc_with_interval([], [1.0]), "needs scores of both classes"),
        (lambda: auc_with_interval([np.nan], [1.0]), "NaN among the scores"),
    ],
)
def test_unusable_scores_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
