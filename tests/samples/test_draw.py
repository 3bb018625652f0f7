"""Non-lenses in proportion to the lenses, in an order that only ids and seed decide."""

import numpy as np
import pandas as pd
import pytest

from legacylens.samples.draw import draw_matched, stable_order, strata


def _population(seed=2):
    rng = np.random.default_rng(seed)
    n_lens, n_other = 200, 40_000
    stratum = np.concatenate(
        [rng.choice(["SER 3-5", "DEV 6-10", "REX 3-5"], n_lens, p=[0.7, 0.25, 0.05]),
         rng.choice(["SER 3-5", "DEV 6-10", "REX 3-5", "EXP 11+"], n_other, p=[0.4, 0.1, 0.4, 0.1])]
    )  # fmt: skip
    label = np.concatenate([np.ones(n_lens, int), np.zeros(n_other, int)])
    return np.array([f"s{i}" for i in range(n_lens + n_other)]), stratum, label


def test_drawn_in_proportion_to_the_lenses():
    source_id, stratum, label = _population()
    kept, table = draw_matched(source_id, stratum, label, ratio=20.0, seed=1)
    assert kept[label == 1].all()
    assert kept[label == 0].sum() == 4000
    for _, row in table.iterrows():
        assert row["drawn"] == 20 * row["lenses"] == (kept & (label == 0) & (stratum == row["stratum"])).sum()


def test_a_stratum_that_runs_short_says_so():
    source_id, stratum, label = _population()
    _, table = draw_matched(source_id, stratum, label, ratio=150.0, seed=1)
    row = table.set_index("stratum").loc["DEV 6-10"]
    assert row["wanted"] == 150 * row["lenses"]
    assert row["drawn"] == row["available"] < row["wanted"]


def test_all_are_taken_when_there_are_no_more_than_the_ratio():
    source_id, stratum, label = _population()
    kept, table = draw_matched(source_id, stratum, label, ratio=200.0, seed=1)
    assert kept.all()
    assert (table["drawn"] == table["available"]).all()


def test_the_draw_does_not_depend_on_the_order_and_grows_with_the_ratio():
    source_id, stratum, label = _population()
    few, _ = draw_matched(source_id, stratum, label, ratio=10.0, seed=1)
    many, _ = draw_matched(source_id, stratum, label, ratio=20.0, seed=1)
    assert (many | ~few).all()
    order = np.random.default_rng(0).permutation(len(label))
    shuffled, _ = draw_matched(source_id[order], stratum[order], label[order], ratio=10.0, seed=1)
    assert (shuffled == few[order]).all()
    other, _ = draw_matched(source_id, stratum, label, ratio=10.0, seed=2)
    assert (other != few).any()


def test_stable_order_looks_uniform():
    values = stable_order([f"9010_{i}_{i}" for i in range(20_000)], 3).astype(float) / 2.0**64
    # Kolmogorov distance of 20,000 uniform numbers: 1.95 / sqrt(n) is exceeded once in 1,000.
    distance = np.abs(np.sort(values) - np.arange(20_000) / 20_000).max()
    assert distance < 1.95 / np.sqrt(20_000)


@pytest.mark.parametrize(("nobs", "name"), [(1, "SER 3-5"), (3, "SER 3-5"), (5, "SER 3-5"), (6, "SER 6-10"),
                                            (10, "SER 6-10"), (11, "SER 11+"), (99, "SER 11+")])  # fmt: skip
def test_strata_edges(nobs, name):
    assert strata(pd.Series(["SER "]), pd.Series([nobs]), (3, 6, 11)).tolist() == [name]
