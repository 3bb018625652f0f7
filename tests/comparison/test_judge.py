"""Recalls, their intervals and differences: closed forms, a second implementation, and intervals that hold."""

import numpy as np
import pandas as pd
import pytest

from legacylens.comparison.fit import LearningCurve, curve_band, fit_curve
from legacylens.comparison.judge import class_of, false_positives_by_class, note_on, resample
from legacylens.errors import InputError
from legacylens.validation.recall import recall_at_fpr

RATES = (0.1, 0.01)


def sky(rng: np.random.Generator, *, shift: float = 2.0, n: int = 2000, lenses: int = 200):
    lens = np.arange(n) < lenses
    cell = rng.integers(40, size=n)
    return lens, cell, rng.normal(size=n) + shift * lens


def test_recall_is_that_of_the_validation_report() -> None:
    rng = np.random.default_rng(1)
    lens, cell, scores = sky(rng)
    scores = scores.round(1)  # ties count against the finder in both
    found = resample(scores[None, None], lens, cell, RATES, replicas=100, rng=rng)
    expected = [point.recall for point in recall_at_fpr(scores[lens], scores[~lens], RATES)]
    assert found.recall[0, 0] == pytest.approx(expected)


def test_a_network_compared_with_itself_differs_by_nothing() -> None:
    rng = np.random.default_rng(2)
    lens, cell, scores = sky(rng)
    both = np.array([[scores, scores], [scores, scores]])
    found = resample(both, lens, cell, RATES, replicas=100, rng=rng)
    difference = found.difference(0, 1, 0, 0.95)
    assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)


def test_paired_interval_is_narrower_than_its_parts() -> None:
    rng = np.random.default_rng(3)
    lens, cell, scores = sky(rng)
    better = scores + 0.2 * lens + 0.05 * rng.normal(size=len(scores))
    found = resample(np.array([[scores], [better]]), lens, cell, RATES, replicas=400, rng=rng)
    difference, own = found.difference(1, 0, 0, 0.95), found.interval(1, 0, 0.95)
    assert difference.low > 0.0
    assert difference.high - difference.low < 0.6 * (own.high - own.low)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(4)
    big_lens, _, big_scores = sky(rng, n=400_000, lenses=200_000)
    truth = recall_at_fpr(big_scores[big_lens], big_scores[~big_lens], (0.1,))[0].recall
    held = 0
    for _ in range(60):
        lens, cell, scores = sky(rng, n=1000, lenses=150)
        interval = resample(scores[None, None], lens, cell, (0.1,), replicas=150, rng=rng).interval(0, 0, 0.9)
        held += interval.low <= truth <= interval.high
    # 90 % of 60 is 54; four standard deviations (2.3) below is 44
    assert held >= 44


def test_seeds_widen_the_interval() -> None:
    rng = np.random.default_rng(5)
    lens, cell, scores = sky(rng)
    unlike = np.array([[scores, scores - 1.5 * lens]])
    alike = np.array([[scores, scores]])
    wide, narrow = (
        resample(s, lens, cell, (0.1,), replicas=200, rng=rng).interval(0, 0, 0.95) for s in (unlike, alike)
    )
    assert wide.high - wide.low > 2.0 * (narrow.high - narrow.low)


def test_refusals() -> None:
    rng = np.random.default_rng(6)
    lens, cell, scores = sky(rng)
    stack = scores[None, None]
    with pytest.raises(InputError, match="needs lenses and non-lenses"):
        resample(stack, np.zeros(len(lens), bool), cell, RATES, replicas=100, rng=rng)
    with pytest.raises(InputError, match="one sky cell"):
        resample(stack, lens, np.zeros(len(lens)), RATES, replicas=100, rng=rng)
    with pytest.raises(InputError, match="2000 scores are not finite"):
        resample(stack * np.nan, lens, cell, RATES, replicas=100, rng=rng)


def test_rates_of_classes_add_up_to_the_whole() -> None:
    rng = np.random.default_rng(7)
    lens, _, scores = sky(rng)
    kinds = np.where(rng.random(len(lens)) < 0.3, "ring", "SER")
    scores = scores + (kinds == "ring")
    rows = false_positives_by_class(scores[None], lens, kinds, 0.05, 0.95)
    assert sum(row["fpr"] * row["n"] for row in rows) == pytest.approx(np.floor(0.05 * (~lens).sum()))
    ring, ser = rows[1], rows[0]
    assert (ring["class"], ser["class"]) == ("ring", "SER")
    assert ring["fpr"] > 3 * ser["fpr"]
    assert ring["low"] < ring["fpr"] < ring["high"]


def test_class_is_the_contaminant_where_it_is_known() -> None:
    frame = pd.DataFrame({"type": ["SER", "REX"], "contaminant": ["ring", None]})
    assert class_of(frame).tolist() == ["ring", "REX"]
    assert class_of(frame[["type"]]).tolist() == ["SER", "REX"]
    assert note_on(1e-2, 2000) == ""
    said = "not measurable: needs >= 20,000 non-lenses (20 false positives), have 2,000 (2)"
    assert note_on(1e-3, 2000) == said
    # in the words of the validation report, which has the same threshold
    scores = np.arange(2000.0)
    assert recall_at_fpr(scores[:5], scores, (1e-3,))[0].note == said


# --- curves


@pytest.mark.parametrize("truth", [(0.9, 0.3, 0.5), (0.6, 0.2, 1.0), (1.0, 0.5, 0.3)])
def test_exact_points_give_their_curve_back(truth: tuple[float, float, float]) -> None:
    curve = LearningCurve(ceiling=truth[0], loss=truth[1], exponent=truth[2])
    n = np.array([50, 100, 200, 400])
    found = fit_curve(n, curve.recall(n))
    assert found.recall([800, 5000]) == pytest.approx(curve.recall([800, 5000]), abs=2e-3)  # the grid of exponents


def test_falling_recalls_are_no_curve_that_falls() -> None:
    found = fit_curve([50, 100, 200], [0.6, 0.5, 0.4])
    assert found.loss == 0.0
    assert found.ceiling == pytest.approx(0.5)
    assert fit_curve([50, 100, 200], [0.1, 0.5, 0.95]).recall(10**6) <= 1.0
    with pytest.raises(InputError, match="at least 3 different numbers"):
        fit_curve([50, 50, 100], [0.1, 0.2, 0.3])


def test_band_grows_beyond_the_points() -> None:
    rng = np.random.default_rng(8)
    n = np.array([50, 100, 200])
    draws = LearningCurve(ceiling=0.9, loss=0.3, exponent=0.5).recall(n) + 0.02 * rng.normal(size=(100, 3))
    low, high = curve_band(n, draws, [100, 5000], 0.95)
    assert high[1] - low[1] > 2.0 * (high[0] - low[0])
