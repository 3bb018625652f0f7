"""The Clopper-Pearson interval against its definition, published values and simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from legacylens.errors import InputError
from legacylens.validation.intervals import binomial_interval


@given(n=st.integers(1, 5000), data=st.data(), confidence=st.sampled_from([0.68, 0.95, 0.99]))
@settings(deadline=None, max_examples=60)
def test_each_tail_holds_half_of_the_rest(n, data, confidence):
    k = data.draw(st.integers(0, n))
    low, high = (float(end) for end in binomial_interval(k, n, confidence))
    tail = 0.5 * (1 - confidence)
    assert low <= k / n <= high
    if k > 0:
        assert binom.sf(k - 1, n, low) == pytest.approx(tail, rel=1e-6)
    if k < n:
        assert binom.cdf(k, n, high) == pytest.approx(tail, rel=1e-6)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (89, 112), (1, 100_000)])
def test_agrees_with_scipy(k, n):
    low, high = binomial_interval(k, n)
    reference = binomtest(k, n).proportion_ci(0.95, method="exact")
    assert float(low) == pytest.approx(reference.low, rel=1e-8)  # SciPy solves by iteration
    assert float(high) == pytest.approx(reference.high, rel=1e-8)


def test_published_recall_of_a_rival():
    """Recall 89.3 % on 112 lenses is printed with the interval [82.6, 94.0]."""
    low, high = binomial_interval(100, 112)
    # The published one is Wilson's or exact, rounded to a tenth of a percent; ours is at most 0.7 percent wider.
    assert (float(low), float(high)) == (pytest.approx(0.826, abs=0.007), pytest.approx(0.940, abs=0.005))


def test_coverage_in_simulation_is_never_below_the_confidence():
    rng = np.random.default_rng(4)
    for n, p in ((40, 0.9), (200, 0.55), (1000, 0.02), (5000, 1e-3)):
        k = rng.binomial(n, p, size=20_000)
        low, high = binomial_interval(k, n)
        coverage = ((low <= p) & (p <= high)).mean()
        # 20,000 draws at 95 % have a standard deviation of 0.0015.
        assert coverage > 0.95 - 3 * 0.0015, (n, p)


def test_no_trials_say_nothing():
    low, high = binomial_interval([0, 0], [0, 4])
    assert low.tolist() == [0.0, 0.0]
    assert high[0] == 1.0


@pytest.mark.parametrize(
    ("k", "n", "confidence", "message"),
    [(5, 4, 0.95, "between 0 and the number"), (-1, 4, 0.95, "between 0"), (1, 4, 1.0, "confidence")],
)
def test_impossible_counts_are_refused(k, n, confidence, message):
    with pytest.raises(InputError, match=message):
        binomial_interval(k, n, confidence)
