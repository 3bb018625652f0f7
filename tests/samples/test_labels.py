"""Labels by position: every known system keeps non-lenses away, and each claims one object."""

import numpy as np
import pandas as pd
import pytest

from legacylens.samples.config import SampleConfig
from legacylens.samples.labels import LENS, NON_LENS, UNUSED, label_objects, near_duplicates
from legacylens.survey.sphere import offset_position, separation_arcsec

CONFIG = SampleConfig()
TIERS = {"A": 2, "B": 2, "C": 3, None: 3}


def _objects(offsets_arcsec, ra=150.0, dec=30.0):
    east, north = np.array(offsets_arcsec, dtype=float).T
    ra, dec = offset_position(np.full(len(east), ra), np.full(len(east), dec), east, north)
    return pd.DataFrame({"source_id": [f"9010_1_{i}" for i in range(len(east))], "ra": ra, "dec": dec})


def _systems(offsets_arcsec, grades, ra=150.0, dec=30.0):
    frame = _objects(offsets_arcsec, ra, dec)
    return pd.DataFrame(
        {
            "system_id": [f"K{i}" for i in range(len(frame))],
            "ra": frame["ra"],
            "dec": frame["dec"],
            "tier": [TIERS[grade] for grade in grades],
            "grade": grades,
            "sources": "list1|list2",
        }
    )


def test_a_system_claims_its_nearest_object_only_and_keeps_the_others_out():
    objects = _objects([(0.5, 0), (2.0, 0), (0, 15.0), (0, 25.0)])
    labels = label_objects(objects, _systems([(0, 0)], ["A"]), CONFIG)
    assert labels["label"].tolist() == [LENS, UNUSED, UNUSED, NON_LENS]
    assert labels["system_id"].tolist() == ["K0", "", "", ""]
    assert labels["lens_separation_arcsec"].to_numpy() == pytest.approx([0.5, 2.0, 15.0, 25.0], abs=1e-6)
    assert labels["reason"].nunique() == 4


def test_a_grade_that_is_not_used_is_neither_lens_nor_non_lens():
    labels = label_objects(_objects([(0, 0), (10, 0)]), _systems([(0, 0)], ["C"]), CONFIG)
    assert labels["label"].tolist() == [UNUSED, UNUSED]
    assert "grade" in labels["reason"][0]
    assert labels["grade"][0] == "C"


def test_a_system_without_a_grade_still_excludes():
    labels = label_objects(_objects([(0, 0)]), _systems([(1, 0)], [None]), CONFIG)
    assert labels["label"].tolist() == [UNUSED]


def test_two_systems_on_one_object_give_it_the_nearest_of_a_used_grade():
    objects = _objects([(0, 0)])
    labels = label_objects(objects, _systems([(0.1, 0), (1.0, 0), (2.0, 0)], ["C", "B", "A"]), CONFIG)
    assert labels["label"].tolist() == [LENS]
    assert labels["grade"].tolist() == ["B"]
    assert labels["tier"].tolist() == [2]
    assert labels[["channel", "sources"]].to_numpy().tolist() == [["", "list1|list2"]]


def test_tiers_and_grades_both_decide():
    objects, systems = _objects([(0, 0), (100, 0), (200, 0)]), _systems([(0, 0), (100, 0), (200, 0)], ["A", "B", "C"])
    for config, expected in (
        (SampleConfig(worst_tier=3), [LENS, LENS, LENS]),
        (SampleConfig(grades=("A",)), [LENS, UNUSED, UNUSED]),
        (SampleConfig(worst_tier=1), [UNUSED, UNUSED, UNUSED]),
    ):
        assert label_objects(objects, systems, config)["label"].tolist() == expected


def test_no_known_system_makes_every_object_a_non_lens():
    empty = pd.DataFrame({"system_id": [], "ra": [], "dec": [], "tier": [], "grade": []})
    labels = label_objects(_objects([(0, 0), (50, 0)]), empty, CONFIG)
    assert labels["label"].tolist() == [NON_LENS, NON_LENS]
    assert np.isinf(labels["lens_separation_arcsec"]).all()


@pytest.mark.parametrize("ra", [0.0, 359.9999, 150.0])
@pytest.mark.parametrize("dec", [-89.0, 0.0, 89.9])
def test_radii_hold_everywhere_on_the_sphere(ra, dec):
    rng = np.random.default_rng(1)
    offsets = rng.uniform(-60, 60, (200, 2))
    objects = _objects(offsets, ra, dec)
    systems = _systems(offsets[:5], ["A"] * 5, ra, dec)
    labels = label_objects(objects, systems, CONFIG)
    # Brute force over all pairs.
    separation = np.stack(
        [
            separation_arcsec(objects["ra"], objects["dec"], r, d)
            for r, d in zip(systems["ra"], systems["dec"], strict=True)
        ]
    ).min(axis=0)
    np.testing.assert_allclose(labels["lens_separation_arcsec"], separation, atol=1e-6)  # micro-arcseconds
    assert ((labels["label"] == NON_LENS) == (separation > CONFIG.exclusion_radius_arcsec)).all()
    assert (labels["label"].to_numpy()[:5] == LENS).all()


def test_near_duplicates_keep_the_lens_then_the_first_id():
    objects = _objects([(0, 0), (0.3, 0), (100, 0), (100.4, 0), (200, 0)])
    repeats = near_duplicates(objects, np.array([0, 1, 0, 0, 0]), 1.0)
    assert repeats.tolist() == [True, False, False, True, False]
    order = np.array([4, 3, 1, 0, 2])
    shuffled = near_duplicates(objects.iloc[order], np.array([0, 1, 0, 0, 0])[order], 1.0)
    assert shuffled.tolist() == repeats[order].tolist()
