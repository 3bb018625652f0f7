"""A whole sample: order-independent, hashed, refused when a split has nothing to judge with."""

import json

import numpy as np
import pandas as pd
import pytest

from legacylens.errors import FileProblem, InputError
from legacylens.files import write_parquet
from legacylens.samples.build import (
    COLUMNS,
    build_sample,
    count_sample,
    make_sample,
    read_sample,
    sample_hash,
    write_sample,
)
from legacylens.samples.config import SPLITS, SampleConfig
from legacylens.survey.sphere import match_within, offset_position

CONFIG = SampleConfig(nside=1024, guard_arcsec=40.0)


def sky(n=4000, n_lenses=200, seed=11, size_arcsec=5400.0):
    """A random field: the parent table and a list of known systems on some of its objects."""
    rng = np.random.default_rng(seed)
    ra, dec = offset_position(
        np.full(n, 10.0), np.full(n, -3.0), *(rng.uniform(-size_arcsec / 2, size_arcsec / 2, (2, n)))
    )
    parent = pd.DataFrame(
        {
            "source_id": [f"10000_{i // 100}_{i % 100}" for i in range(n)],
            "ra": ra,
            "dec": dec,
            "brickname": [f"0100m{i // 100:03d}" for i in range(n)],
            "type": rng.choice(["SER", "DEV", "REX", "EXP"], n),
            "nobs_z": rng.integers(3, 14, n),
            "mag_z": rng.normal(19, 1, n),
        }
    )
    rows = rng.choice(n, n_lenses, replace=False)
    known_ra, known_dec = offset_position(ra[rows], dec[rows], *rng.normal(0, 0.1, (2, n_lenses)))
    systems = pd.DataFrame(
        {
            "system_id": [f"K{i}" for i in range(n_lenses)],
            "ra": known_ra,
            "dec": known_dec,
            "grade": rng.choice(["confident", "A", "B", "D"], n_lenses, p=[0.3, 0.3, 0.3, 0.1]),
        }
    )
    systems["tier"] = systems["grade"].map({"confident": 1, "A": 2, "B": 2, "D": 5})
    return parent, systems


def test_a_sample_accounts_for_every_object():
    parent, systems = sky()
    sample = build_sample(parent, systems, CONFIG)
    assert tuple(sample.frame.columns) == COLUMNS
    assert set(sample.frame["source_id"]) == set(parent["source_id"])
    counts = sample.summary["counts"]
    assert sum(sum(row.values()) for row in counts.values()) == len(parent)
    assert counts == count_sample(sample.frame)
    assert sum(sample.summary["reasons"].values()) == len(parent)
    used = sample.frame[(sample.frame["label"] != -1) & sample.frame["split"].isin(SPLITS)]
    assert not used.isna().any().any()
    json.dumps(sample.summary)


def test_no_non_lens_has_a_known_system_in_its_cutout():
    parent, systems = sky()
    frame = build_sample(parent, systems, CONFIG).frame
    others = frame[frame["label"] == 0]
    near, _, _ = match_within(others["ra"], others["dec"], systems["ra"], systems["dec"], 20.0)
    assert len(near) == 0
    lenses = frame[frame["label"] == 1]
    assert set(lenses["grade"]) == {"confident", "A", "B"}
    assert lenses["system_id"].is_unique


def test_row_order_changes_neither_rows_nor_hash():
    parent, systems = sky()
    one = build_sample(parent, systems, CONFIG)
    other = build_sample(parent.sample(frac=1, random_state=1), systems.sample(frac=1, random_state=2), CONFIG)
    pd.testing.assert_frame_equal(one.frame, other.frame)
    assert one.summary == other.summary
    assert sample_hash(one.frame.sample(frac=1, random_state=3)) == one.summary["hash"]


@pytest.mark.parametrize("change", ["label", "split", "drop"])
def test_the_hash_sees_every_change_that_matters(change):
    parent, systems = sky(n=1500, n_lenses=150)
    frame = build_sample(parent, systems, CONFIG).frame
    changed = frame.copy()
    if change == "label":
        changed.loc[5, "label"] = 1 - changed.loc[5, "label"]
    elif change == "split":
        changed.loc[5, "split"] = "train" if changed.loc[5, "split"] != "train" else "sealed"
    else:
        changed = changed.iloc[1:]
    assert sample_hash(changed) != sample_hash(frame)


def test_matched_splits_are_drawn_and_the_others_are_whole():
    parent, systems = sky()
    config = SampleConfig(nside=1024, guard_arcsec=40.0, negatives_per_positive=3.0)
    everything = build_sample(parent, systems, CONFIG).summary["counts"]
    sample = build_sample(parent, systems, config)
    counts = sample.summary["counts"]
    assert counts["validation"] == everything["validation"]
    assert counts["sealed"] == everything["sealed"]
    assert counts["train"]["lenses"] == everything["train"]["lenses"]
    assert counts["train"]["non_lenses"] <= 3 * counts["train"]["lenses"] < everything["train"]["non_lenses"]
    assert sample.summary["strata"]["train"]
    assert "non-lens not drawn" in sample.summary["reasons"]


def test_lenses_of_a_list_left_out_are_seen_in_the_sealed_split_alone():
    parent, systems = sky()
    rng = np.random.default_rng(5)
    systems["sources"] = rng.choice(["old", "new", "new|old"], len(systems))
    systems["channel"] = rng.choice(["network", "spectroscopic"], len(systems), p=[0.9, 0.1])
    config = SampleConfig(nside=1024, guard_arcsec=40.0, leave_out=("new", "spectroscopic"))
    frame = build_sample(parent, systems, config).frame
    lenses = frame[frame["label"] == 1]
    learned = lenses[lenses["split"] != "sealed"]
    assert set(learned["sources"]) == {"old", "new|old"}
    assert set(learned["channel"]) == {"network"}
    assert {"new", "old", "new|old"} == set(lenses.loc[lenses["split"] == "sealed", "sources"])
    assert (frame["reason"] == "known lens of a list or channel that is left out").any()


def test_a_galaxy_listed_twice_is_used_once():
    parent, systems = sky()
    twin = parent.iloc[[100]].assign(source_id="10000_999_1")
    sample = build_sample(pd.concat([parent, twin]), systems, CONFIG)
    pair = sample.frame[sample.frame["source_id"].isin(["10000_999_1", parent.loc[100, "source_id"]])]
    assert (pair["label"] == 0).sum() <= 1


def test_a_split_without_lenses_is_refused_with_counts_and_remedy():
    parent, systems = sky(n=1500)
    with pytest.raises(InputError, match=r"split has no lens.*train: .*smaller cells"):
        build_sample(parent, systems.iloc[:1], CONFIG)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda parent: parent.drop(columns=["nobs_z", "type"]), "parent table has no column type, nobs_z"),
        (lambda parent: pd.concat([parent, parent.iloc[:3]]), "repeats 3 source_id"),
        (lambda parent: parent.assign(dec=parent["dec"].where(parent.index != 7)), "1 rows whose ra, dec"),
        (lambda parent: parent.assign(ra=parent["ra"] + 360.0), "no position in degrees"),
    ],
)
def test_unusable_parents_are_refused(spoil, message):
    parent, systems = sky(n=1500)
    with pytest.raises(InputError, match=message):
        build_sample(spoil(parent), systems, CONFIG)


def test_a_sample_survives_the_disk_and_a_changed_one_does_not(tmp_path):
    parent, systems = sky(n=1500, n_lenses=150)
    sample = build_sample(parent, systems, CONFIG)
    path = write_sample(sample, tmp_path)
    back = read_sample(tmp_path)
    assert back.summary["hash"] == sample_hash(back.frame) == sample.summary["hash"]
    assert back.frame["split"].tolist() == sample.frame["split"].tolist()

    spoiled = back.frame.copy()
    spoiled.loc[0, "split"] = "sealed" if spoiled.loc[0, "split"] != "sealed" else "train"
    write_parquet(path, spoiled)
    with pytest.raises(FileProblem, match=r"do not have the hash"):
        read_sample(path)
    write_parquet(path, spoiled.drop(columns="cell"))
    with pytest.raises(FileProblem, match="no column cell"):
        read_sample(path)


def test_a_broken_or_missing_summary_is_named(tmp_path):
    parent, systems = sky(n=1500, n_lenses=150)
    write_sample(build_sample(parent, systems, CONFIG), tmp_path)
    (tmp_path / "sample.json").write_text("{", encoding="utf-8")
    with pytest.raises(FileProblem, match=r"sample.json: broken"):
        read_sample(tmp_path)
    (tmp_path / "sample.json").unlink()
    with pytest.raises(FileProblem, match="no summary"):
        read_sample(tmp_path)


def test_make_sample_writes_everything_and_twice_the_same(tmp_path):
    parent, systems = sky(n=1500, n_lenses=150)
    write_parquet(tmp_path / "in" / "parent.parquet", parent)
    write_parquet(tmp_path / "in" / "systems.parquet", systems)
    first = make_sample(tmp_path / "in", tmp_path / "in", tmp_path / "out", CONFIG)
    table = (tmp_path / "out" / "sample.parquet").read_bytes()
    second = make_sample(tmp_path / "in" / "parent.parquet", tmp_path / "in", tmp_path / "out", CONFIG)
    assert first == second
    assert (tmp_path / "out" / "sample.parquet").read_bytes() == table
    assert {entry.name for entry in (tmp_path / "out").iterdir()} == {
        "sample.parquet",
        "sample.json",
        "provenance.json",
    }
