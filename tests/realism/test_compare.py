"""Comparisons of two sets against closed forms, and verdicts against what intervals allow."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from legacylens.errors import InputError
from legacylens.realism.compare import area, column, difference, features, holm, matched_ratio, ranked, two_sample_auc
from legacylens.realism.embedding import embed, thumbnails
from legacylens.realism.gate import (
    FAIL,
    PASS,
    SPLITS,
    UNDERPOWERED,
    Sample,
    _density,
    gate,
    judge,
    split_of,
)
from legacylens.realism.gate_config import GateConfig


def test_effect_of_two_normal_samples_is_their_distance():
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.5, 1.0, 4000), rng.normal(0.0, 1.0, 4000)
    item = difference("x", a, b)
    assert item is not None
    # Normal scores of two samples half a sigma apart; the error of the difference is 0.022.
    assert item.effect == pytest.approx(0.5, abs=0.08)
    assert item.low < 0.5 < item.high + 0.03
    # Any rising function of the values gives the same.
    assert difference("x", np.exp(a), np.exp(b)).effect == pytest.approx(item.effect, abs=1e-12)


def test_few_values_have_no_difference():
    assert difference("x", np.zeros(9), np.zeros(100)) is None


def test_area_is_that_of_another_implementation():
    rng = np.random.default_rng(2)
    a, b = rng.normal(0.7, 1, 300).round(1), rng.normal(0, 1, 200).round(1)
    value, error = area(a, b)
    assert value == pytest.approx(roc_auc_score(np.r_[np.ones(300), np.zeros(200)], np.r_[a, b]), abs=1e-12)
    assert error == pytest.approx(0.023, abs=0.004)
    # The area of two normal samples 0.7 sigma apart.
    assert value == pytest.approx(norm.cdf(0.7 / np.sqrt(2)), abs=3 * error)


def test_holm_is_the_textbook():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])


def test_no_flux_is_the_faintest_magnitude():
    table = pd.DataFrame({"arc_mag_g": [22.0, np.nan], "arc_g_r": [0.1, np.nan]})
    assert column(table, "arc_mag_g").tolist() == [22.0, 30.0]
    assert column(table, "arc_g_r").tolist() == [0.1]


def test_what_has_no_value_does_not_tell_the_set():
    rng = np.random.default_rng(9)
    sets = [pd.DataFrame({"arc_r_z": np.where(rng.random(60) < 0.3, rng.normal(size=60), np.nan)}) for _ in range(2)]
    a, b = (features(table, ("arc_r_z",)) for table in sets)
    assert np.isfinite(a).all()
    # Values that were left out are alike; the others are drawn alike.
    assert two_sample_auc(a, b, 1)[0] < 0.65


def test_a_color_without_flux_in_g_is_redder_than_any():
    nan = np.nan
    table = pd.DataFrame(
        {
            "arc_mag_g": [22.0, nan, 23.0, nan],
            "arc_mag_r": [21.5, 22.0, nan, nan],
            "arc_g_r": [0.5, nan, nan, nan],
        }
    )
    assert ranked(table, "arc_g_r").tolist() == [0.5, 20.0, -20.0]
    assert ranked(table, "arc_mag_g").tolist() == column(table, "arc_mag_g").tolist()


@pytest.mark.parametrize("factor", [0.4, 1.0, 28.0])
def test_ratio_at_the_same_host_is_the_factor(factor):
    rng = np.random.default_rng(3)

    def lenses(n, shift, scale):
        mag = rng.normal(19.0 + shift, 0.8, n)
        return pd.DataFrame(
            {"host_mag_r": mag, "arc_flux_r": scale * 10 ** (-0.4 * (0.5 * mag - 9.5)) * rng.lognormal(0, 0.5, n)}
        )

    # Hosts are half a magnitude brighter, which must not be taken for brighter arcs.
    ratio, low, high = matched_ratio(lenses(400, -0.5, factor), lenses(400, 0.0, 1.0), "arc_flux_r", rng)
    assert low < ratio < high
    assert ratio == pytest.approx(factor, rel=0.15)


def test_a_classifier_finds_what_is_there_and_nothing_else():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(400, 8)), rng.normal(size=(400, 8))
    assert two_sample_auc(x, y, 1)[0] == pytest.approx(0.5, abs=0.07)
    y[:, 3] += 1.0
    assert two_sample_auc(x, y, 1)[0] == pytest.approx(norm.cdf(1.0 / np.sqrt(2)), abs=0.06)


def test_scattering_sees_rings_and_not_the_orientation():
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:101, :101] - 50.0
    noise = np.full((20, 3), 0.01)

    def stamps(shape):
        return (0.2 * shape + rng.normal(0, 0.01, (20, 3, 101, 101))).astype(np.float32)

    bar = np.exp(-0.5 * (x / 12) ** 2 - 0.5 * (y / 3) ** 2)
    turned = np.exp(-0.5 * (y / 12) ** 2 - 0.5 * (x / 3) ** 2)
    ring = np.exp(-0.5 * ((np.hypot(x, y) - 7) / 2) ** 2)
    a, b, c = (embed(stamps(shape), noise) for shape in (bar, turned, ring))
    assert a.shape == (20, 33)
    spread = a.std(axis=0) + 0.02
    assert np.abs((a.mean(0) - b.mean(0)) / spread).max() < 3
    assert np.abs((a.mean(0) - c.mean(0)) / spread).max() > 10
    assert thumbnails(stamps(bar), noise).shape == (20, 450)


@pytest.mark.parametrize(
    ("value", "error", "verdict"), [(0.1, 0.05, PASS), (0.6, 0.05, FAIL), (0.3, 0.1, UNDERPOWERED)]
)
def test_a_verdict_needs_the_whole_interval(value, error, verdict):
    result = judge("t", value, error, 0.35, 100)
    assert result.verdict == verdict
    # 1.645 x 0.1 has to shrink to 0.05: 10.8 times as many objects.
    assert result.needed == (None if verdict != UNDERPOWERED else 1083)


def test_splits_are_disjoint_and_whole():
    names = [f"lens{k}" for k in range(2000)]
    parts = {name: split_of(names, name) for name in SPLITS}
    assert (parts["calibrate"].astype(int) + parts["gate"] + parts["test"] == 1).all()
    assert parts["all"].all()
    assert parts["gate"].mean() == pytest.approx(0.25, abs=0.04)
    with pytest.raises(InputError, match="no split is called 'validation'"):
        split_of(names, "validation")


def _fake(n, rng, name):
    from legacylens.realism.compare import ARC_STATISTICS, HOST_STATISTICS, NOISE_STATISTICS, PIXEL_STATISTICS

    columns = (*ARC_STATISTICS, *HOST_STATISTICS, *NOISE_STATISTICS, *PIXEL_STATISTICS)
    table = pd.DataFrame({column: rng.normal(size=n) for column in columns})
    table["source_id"] = [f"{name}{k}" for k in range(n)]
    return Sample(table=table)


def test_gate_passes_equal_sets_and_never_for_lack_of_data():
    rng = np.random.default_rng(6)
    config = GateConfig()
    large = gate(_fake(1500, rng, "a"), _fake(1500, rng, "b"), config)
    assert large.verdict == PASS
    small = gate(_fake(60, rng, "a"), _fake(60, rng, "b"), config)
    assert small.verdict == UNDERPOWERED
    assert all(test.needed > 60 for test in small.tests if test.verdict == UNDERPOWERED)
    shifted = _fake(400, rng, "a")
    shifted.table["arc_mag_g"] -= 1.0
    verdict = gate(shifted, _fake(400, rng, "b"), config)
    assert verdict.verdict == FAIL
    assert {test.test for test in verdict.tests if test.verdict == FAIL} >= {"arc arc_mag_g"}


def test_density_is_one_for_equal_sets_and_tells_a_clump():
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(400, 6)), rng.normal(size=(800, 6))
    density, error = _density(y, x)
    # Equal sets of other sizes: as many neighbors as the sizes say.
    assert abs(density - 1.0) < 3.0 * error
    assert 0.02 < error < 0.15
    # Simulations that are all alike lie around few of the real lenses; too many of them, or none.
    assert _density(0.5 * y, x)[0] > 1.3
    assert _density(y + 4.0, x)[0] < 0.2


def test_gate_refuses_shared_galaxies_and_tiny_sets():
    rng = np.random.default_rng(7)
    with pytest.raises(InputError, match="60 galaxies are in both sets"):
        gate(_fake(60, rng, "a"), _fake(60, rng, "a"), GateConfig())
    with pytest.raises(InputError, match="20 measured simulations are too few"):
        gate(_fake(20, rng, "a"), _fake(60, rng, "b"), GateConfig())
