"""Merging: a slow second implementation, the same result in any order, no system wider than twice the radius."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from legacylens.catalog.published import ENTRY_COLUMNS
from legacylens.catalog.systems import SYSTEM_COLUMNS, TIERS, merge_systems, name_offsets, shared_names
from legacylens.errors import PhysicalRangeError
from legacylens.survey.sphere import offset_position, separation_arcsec

RADIUS = 3.0


def entries(ra, dec, **columns) -> pd.DataFrame:
    """Entries of the list "mine", with defaults for what is not given."""
    n = len(ra)
    defaults = {
        "source": "mine", "row": np.arange(1, n + 1), "name": "", "step": 0.036, "grade": "", "channels": "",
        "kind": "", "target": False, "papers": "", "z_l": np.nan, "z_l_kind": "", "z_s": np.nan, "theta_E": np.nan,
    }  # fmt: skip
    frame = pd.DataFrame({"ra": ra, "dec": dec}).assign(**{**defaults, **columns})
    return frame[list(ENTRY_COLUMNS)]


def along_ra(offsets, ra=150.0, dec=2.0) -> tuple[np.ndarray, np.ndarray]:
    """Positions on a line of constant Dec, so many arcseconds east of the first."""
    return offset_position(np.full(len(offsets), ra), np.full(len(offsets), dec), np.asarray(offsets, float), 0.0)


def partition(merged) -> set[frozenset[int]]:
    return {frozenset(group) for _, group in merged.entries.groupby("system_id")["row"]}


def test_within_the_radius_is_one_system_and_beyond_is_two():
    assert len(merge_systems(entries(*along_ra([0, 2.99])), RADIUS).systems) == 1
    assert len(merge_systems(entries(*along_ra([0, 3.01])), RADIUS).systems) == 2


def test_across_ra_zero_and_at_the_pole():
    both = entries([359.9999, 0.0001, 10.0, 190.0], [5.0, 5.0, 89.9998, 89.9998])
    merged = merge_systems(both, RADIUS)
    assert partition(merged) == {frozenset({1, 2}), frozenset({3, 4})}


def test_linked_entries_up_to_twice_the_radius_are_one_system():
    merged = merge_systems(entries(*along_ra([0, 2.5, 5.0])), RADIUS)
    assert len(merged.systems) == 1
    assert merged.systems["extent"][0] == pytest.approx(5.0, abs=1e-6)
    assert merged.chains == 0


def test_a_chain_is_cut():
    merged = merge_systems(entries(*along_ra([0, 2.5, 5.0, 7.5, 10.0])), RADIUS)
    assert merged.chains == 1
    assert len(merged.systems) == 2
    assert merged.systems["extent"].max() <= 2 * RADIUS


def slow_groups(ra, dec, radius) -> set[frozenset[int]]:
    """Friends of friends by repeated scanning."""
    label = list(range(len(ra)))
    changed = True
    while changed:
        changed = False
        for i in range(len(ra)):
            for j in range(len(ra)):
                if label[i] != label[j] and separation_arcsec(ra[i], dec[i], ra[j], dec[j])[0] <= radius:
                    low, high = sorted((label[i], label[j]))
                    label = [low if value == high else value for value in label]
                    changed = True
    return {frozenset(i + 1 for i, value in enumerate(label) if value == each) for each in set(label)}


clump = st.lists(st.tuples(st.floats(-12, 12), st.floats(-12, 12)), min_size=1, max_size=14)


@given(clump)
def test_systems_against_a_slow_second_implementation(offsets):
    east, north = np.array(offsets).T
    ra, dec = offset_position(np.full(len(east), 40.0), np.full(len(east), -60.0), east, north)
    merged = merge_systems(entries(ra, dec), RADIUS)
    groups = slow_groups(ra, dec, RADIUS)
    systems = partition(merged)
    wide = 0
    for group in groups:
        rows = np.array(sorted(group)) - 1
        first, second = np.triu_indices(len(rows), 1)
        widest = separation_arcsec(ra[rows[first]], dec[rows[first]], ra[rows[second]], dec[rows[second]])
        inside = [system for system in systems if system <= group]
        assert set().union(*inside) == group  # no system mixes groups
        if len(widest) == 0 or widest.max() <= 2 * RADIUS:
            assert inside == [group]
        else:
            wide += 1
            assert len(inside) > 1
    assert merged.chains == wide
    assert merged.systems["extent"].max() <= 2 * RADIUS


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_the_same_result_in_any_order(seed, shuffle):
    rng = np.random.default_rng(seed)
    n = 40
    ra, dec = offset_position(np.full(n, 200.0), np.full(n, 30.0), rng.uniform(-40, 40, n), rng.uniform(-40, 40, n))
    table = entries(
        ra,
        dec,
        source=rng.choice(["a", "b", "c"], n),
        name=[f"J{k % 7}" for k in range(n)],
        grade=rng.choice(["A", "B", "C", "probable", "D", ""], n),
        channels=rng.choice(["network", "visual", ""], n),
        theta_E=rng.choice([np.nan, 1.0, 1.5], n),
        z_l=rng.choice([np.nan, 0.3, 0.5], n),
    )
    mixed = table.sample(frac=1.0, random_state=shuffle)
    one, other = merge_systems(table, RADIUS), merge_systems(mixed, RADIUS)
    pd.testing.assert_frame_equal(one.systems, other.systems)
    pd.testing.assert_frame_equal(one.entries, other.entries)


def test_what_each_source_says_is_kept():
    ra, dec = along_ra([0, 0.5, 1.0])
    merged = merge_systems(
        entries(
            ra,
            dec,
            source=["lenscat", "huang2021", "slacs"],
            name=["J1 | DESI-150.0000+02.0000", "DESI-150.0000+02.0000", "-"],
            grade=["probable", "B", "confirmed"],
            channels=["network", "network", "spectroscopic"],
            papers=["2005.04730|2012hst..prop12833M", "2005.04730", "0911.2471"],
            step=[0.036, 0.36, 0.0036],
            z_l=[0.52, 0.5, 0.501],
            z_l_kind=["", "spec", "spec"],
            theta_E=[np.nan, np.nan, 1.3],
        ),
        RADIUS,
    )
    (system,) = merged.systems.to_dict("records")
    assert system["grades"] == "huang2021:B | lenscat:probable | slacs:confirmed"
    assert (system["grade"], system["tier"]) == ("confirmed", 1)
    assert system["names"] == "DESI-150.0000+02.0000 | J1"
    assert (system["channel"], system["channels"]) == ("spectroscopic", "spectroscopic|network")
    assert system["papers"] == "0911.2471|2005.04730|2012hst..prop12833M"
    assert (system["ra"], system["dec"]) == (ra[2], dec[2])  # the finest coordinates
    assert system["z_l"] == pytest.approx(0.5005)
    assert (system["z_l_kind"], system["theta_E"], system["n_entries"]) == ("spec", 1.3, 3)
    assert list(merged.systems.columns) == list(SYSTEM_COLUMNS)


@pytest.mark.parametrize(
    ("columns", "tier"),
    [
        ({"grade": "confirmed"}, 1),
        ({"grade": "confident"}, 1),
        ({"grade": "A"}, 2),
        ({"grade": "B"}, 2),
        ({"grade": "C"}, 3),
        ({"grade": "probable"}, 3),
        ({"grade": ""}, 3),
        ({"grade": "good one"}, 3),
        ({"grade": "D"}, 5),
        ({"grade": "probable", "target": True}, 4),
        ({"grade": "confident", "name": "DESI-010.0000+10.0000"}, 4),
    ],
)
def test_tiers(columns, tier):
    merged = merge_systems(entries([150.0], [2.0], **columns), RADIUS)
    assert merged.systems["tier"].tolist() == [tier]
    assert tier in TIERS


def test_a_better_grade_wins_over_a_worse_one_and_over_targets():
    merged = merge_systems(entries(*along_ra([0, 1]), grade=["D", "B"], target=[True, False]), RADIUS)
    assert merged.systems[["tier", "grade", "target"]].to_numpy().tolist() == [[2, "B", False]]


def test_a_lens_that_cites_a_published_list_without_being_in_it_is_marked():
    table = entries(
        [10.0, 20.0, 30.0, 40.0],
        [1.0] * 4,
        source=["storfer2024", "lenscat", "lenscat", "lenscat"],
        papers=["2206.02764", "2206.02764", "2206.02764|1812.03168", "1906.00970"],
        grade=["C", "probable", "probable", "probable"],
    )
    merged = merge_systems(table, RADIUS)
    # The third was also found by others, and the list of the fourth was not read.
    assert merged.systems["unlisted"].tolist() == [False, True, False, False]
    assert merged.systems["tier"].tolist() == [3, 4, 3, 3]


def test_names_that_say_another_position():
    good, wrong = "DESI-150.0000+02.0000", "AGEL 123809+150151"
    table = entries([150.0, 9.537083333, 150.0], [2.0, 0.030888889, 40.0], name=[good, wrong, f"{wrong} | {good}"])
    merged = merge_systems(table, RADIUS)
    offsets = name_offsets(merged)
    assert offsets["row"].tolist() == [2, 3]
    assert offsets["name_offset"][1] == pytest.approx(38 * 3600, rel=1e-3)
    assert merged.systems["disputed"].tolist() == [True, False, True]


def test_a_name_in_two_places():
    table = entries(*along_ra([0, 8.0, 500.0]), name=["Q0957+561", "Q0957+561 | twin", "twin"])
    shared = shared_names(merge_systems(table, RADIUS))
    assert shared["name"].tolist() == ["Q0957+561"]  # "twin" is too short to be a designation
    assert shared["separation"][0] == pytest.approx(8.0, abs=1e-5)


def test_identifiers_are_unique_where_a_chain_is_cut():
    merged = merge_systems(entries(*along_ra(np.linspace(0, 40, 30))), RADIUS)
    assert merged.systems["system_id"].is_unique
    assert set(merged.entries["system_id"]) == set(merged.systems["system_id"])


def test_no_entries():
    merged = merge_systems(entries([], []), RADIUS)
    assert len(merged.systems) == len(merged.entries) == 0


def test_impossible_radius():
    with pytest.raises(PhysicalRangeError, match="radius = 0 is outside > 0 arcsec"):
        merge_systems(entries([1.0], [2.0]), 0)


def test_forty_thousand_entries():
    rng = np.random.default_rng(8)
    n = 40_000
    ra, dec = rng.uniform(0, 360, n // 2), np.degrees(np.arcsin(rng.uniform(-1, 1, n // 2)))
    again = offset_position(ra, dec, rng.normal(0, 0.3, n // 2), rng.normal(0, 0.3, n // 2))
    table = entries(np.r_[ra, again[0]], np.r_[dec, again[1]], name=[f"DESI-{k:08d}" for k in range(n)])
    start = time.process_time()  # other processes of the machine do not count
    merged = merge_systems(table, RADIUS)
    elapsed = time.process_time() - start
    # Of 20,000 pairs, offsets of 0.3 arcsec a coordinate exceed 3 arcsec never (10 sigma of the difference).
    assert 19_900 < len(merged.systems) <= 20_000
    assert elapsed < 10.0


def test_lists_that_disagree_about_one_named_object():
    right, wrong = along_ra([0.0, 8.0], ra=150.0, dec=2.0)[0]
    name = "DESI-150.0000+02.0000"
    table = entries([right, wrong], [2.0, 2.0], name=[name, f"{name} | J1"], step=[0.36, 0.036])
    merged = merge_systems(table, RADIUS)
    assert merged.joined_by_name == 1
    assert merged.systems[["ra", "n_entries"]].to_numpy().tolist() == [
        [right, 2]
    ]  # agrees with the name, though coarse
    assert merged.systems["extent"][0] == pytest.approx(8.0, abs=1e-5)
    assert len(merge_systems(table, 1.5).systems) == 2  # 8 arcsec are more than 5 radii
    for other in ("Q0957+561", "SDSSJ1000+0200"):  # no position, or one that is too coarse to tell objects apart
        assert len(merge_systems(table.assign(name=other), RADIUS).systems) == 2
