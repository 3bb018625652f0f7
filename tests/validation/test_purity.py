"""Purity at the prevalence of the sky: the published formula, and a simulated survey."""

import numpy as np
import pytest
from scipy.stats import norm

from legacylens.errors import PhysicalRangeError
from legacylens.validation.purity import purity, survey_expectation
from legacylens.validation.recall import recall_at_fpr, recall_at_threshold


@pytest.mark.parametrize(("fpr", "expected"), [(1e-2, 0.008), (1e-3, 0.08), (1e-4, 0.46)])
def test_purity_at_one_lens_in_ten_thousand(fpr, expected):
    """Recall 0.85 at prevalence 1e-4: 0.8 %, 8 % and 46 %, rounded."""
    assert purity(0.85, fpr, 1e-4) == pytest.approx(expected, rel=0.06)


def test_nothing_selected_has_no_purity():
    assert purity(0.0, 0.0, 1e-4) == 0.0


def test_a_simulated_survey_lies_inside_its_prediction():
    """Ten million scores at prevalence 1e-4: purity and length of the list, predicted from a small sample."""
    rng = np.random.default_rng(8)
    shift, survey_size, prevalence = 3.0, 10_000_000, 1e-4
    n_lenses = int(survey_size * prevalence)
    survey_lenses = rng.normal(shift, 1, n_lenses)
    survey_others = rng.normal(0, 1, survey_size - n_lenses)
    inside, trials = 0, 25
    for _ in range(trials):
        points = recall_at_fpr(rng.normal(shift, 1, 300), rng.normal(0, 1, 40_000), (1e-2, 1e-3))
        for point in points:
            expected = survey_expectation(point, prevalence=prevalence, parent_size=survey_size)
            found = int((survey_lenses >= point.threshold).sum())
            listed = found + int((survey_others >= point.threshold).sum())
            inside += expected.purity_low <= found / listed <= expected.purity_high
            inside += expected.list_length_low <= listed <= expected.list_length_high
            assert expected.purity_low <= expected.purity <= expected.purity_high
    assert inside >= 0.97 * trials * 4  # Bonferroni intervals: 95 % at least, in practice nearly all


def test_inspections_for_each_lens():
    point = recall_at_threshold([1.0, 1.0], [0.0] * 99 + [1.0], 0.5)
    expected = survey_expectation(point, prevalence=0.5, parent_size=1000)
    assert expected.lenses_found == 500
    assert expected.list_length == pytest.approx(505)
    assert expected.inspections_per_lens == pytest.approx(1.01)
    nothing = survey_expectation(recall_at_threshold([0.0], [1.0], 0.5))
    assert nothing.inspections_per_lens is None
    assert nothing.purity == 0.0


def test_no_false_positive_promises_nothing():
    """Zero of a hundred is not a rate of zero: only the lower end of the purity is known."""
    expected = survey_expectation(recall_at_threshold([1.0] * 10, [0.0] * 100, 0.5))
    assert (expected.purity, expected.list_length, expected.inspections_per_lens) == (None, None, None)
    assert expected.purity_low < 0.01
    assert expected.purity_high == 1.0


def test_an_impossible_prevalence_is_refused():
    point = recall_at_threshold([1.0], [norm.cdf(0.0)], 0.5)
    with pytest.raises(PhysicalRangeError, match="prevalence"):
        survey_expectation(point, prevalence=0.0)
