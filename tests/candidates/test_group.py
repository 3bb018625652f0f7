"""One row for each system: centers farther apart than the radius, members within it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legacylens.candidates.group import group_systems
from legacylens.survey.sphere import match_within, offset_position, separation_arcsec


def _cluster(n, seed, size_arcsec=120.0, ra=0.0, dec=20.0):
    rng = np.random.default_rng(seed)
    ra, dec = offset_position(np.full(n, ra), np.full(n, dec), *rng.uniform(-size_arcsec, size_arcsec, (2, n)))
    return ra, dec, rng.integers(0, 40, n).astype(float), np.array([f"9010_1_{i}" for i in range(n)])


def _brute(ra, dec, value, source_id, radius, top_n):
    """The rule word by word, without a tree: take the best free object, then every free one within the radius."""
    free = sorted(range(len(ra)), key=lambda i: (-value[i], source_id[i]))
    centers, system_of = [], [-1] * len(ra)
    for index in list(free):
        if system_of[index] >= 0:
            continue
        separation = separation_arcsec(ra[index], dec[index], ra, dec)
        for other in range(len(ra)):
            if system_of[other] < 0 and separation[other] <= radius:
                system_of[other] = len(centers)
        centers.append(index)
        if len(centers) == top_n:
            below = free[free.index(index) + 1 :]
            for other in below:
                system_of[other] = -1
            break
    return centers, system_of


@given(seed=st.integers(0, 2**31), n=st.integers(0, 60), radius=st.floats(1, 40), top_n=st.none() | st.integers(1, 20))
@settings(deadline=None, max_examples=60)
def test_the_rule_against_brute_force(seed, n, radius, top_n):
    ra, dec, value, source_id = _cluster(n, seed)
    systems = group_systems(ra, dec, value, source_id, radius_arcsec=radius, top_n=top_n)
    centers, system_of = _brute(ra, dec, value, source_id, radius, top_n)
    assert systems.center.tolist() == centers
    assert systems.system_of.tolist() == system_of


@pytest.mark.parametrize("position", [(0.0, 20.0), (123.0, -89.99)])
def test_centers_are_apart_and_members_near(position):
    ra, dec, value, source_id = _cluster(400, 3, ra=position[0], dec=position[1])
    systems = group_systems(ra, dec, value, source_id, radius_arcsec=10.0)
    center = systems.center
    one, _, _ = match_within(ra[center], dec[center], ra[center], dec[center], 10.0)
    assert len(one) == len(center)  # each matches itself alone
    assert (systems.system_of >= 0).all()
    away = separation_arcsec(ra, dec, ra[center][systems.system_of], dec[center][systems.system_of])
    assert (away <= 10.0).all()
    assert (value <= value[center][systems.system_of]).all()


def test_the_order_of_the_rows_changes_nothing():
    ra, dec, value, source_id = _cluster(300, 4)
    one = group_systems(ra, dec, value, source_id, radius_arcsec=10.0, top_n=30)
    order = np.random.default_rng(1).permutation(300)
    other = group_systems(ra[order], dec[order], value[order], source_id[order], radius_arcsec=10.0, top_n=30)
    assert source_id[one.center].tolist() == source_id[order][other.center].tolist()
    assert one.system_of[order].tolist() == other.system_of.tolist()


def test_a_chain_of_galaxies_is_not_one_system():
    """Every 8 arcsec along a line: linking neighbors would make one system of 160 arcsec."""
    ra, dec = offset_position(np.full(21, 50.0), np.full(21, 0.0), np.arange(21) * 8.0, np.zeros(21))
    value = np.arange(21, 0, -1.0)
    systems = group_systems(ra, dec, value, [f"{i:02d}" for i in range(21)], radius_arcsec=10.0)
    assert systems.center.tolist() == list(range(0, 21, 2))


def test_a_short_list_out_of_many_takes_the_same_road():
    ra, dec, value, source_id = _cluster(6000, 5, size_arcsec=600.0)
    few = group_systems(ra, dec, value, source_id, radius_arcsec=30.0, top_n=20)
    everything = group_systems(ra, dec, value, source_id, radius_arcsec=30.0)
    assert few.center.tolist() == everything.center[:20].tolist()
    # More centers than a first look at the best thousand can give.
    many = group_systems(ra, dec, value, source_id, radius_arcsec=30.0, top_n=200)
    assert many.center.tolist() == everything.center[:200].tolist()
