"""The split: what is in two different splits is far apart, in any order of the rows."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from legacylens.samples.config import GUARD, SPLITS, SampleConfig
from legacylens.samples.split import split_objects, split_of_cells, touches_other_split
from legacylens.survey.cells import cell_center, cell_of
from legacylens.survey.sphere import match_within, offset_position

FINE = SampleConfig(nside=1024, guard_arcsec=40.0)  # cells of 3.4 arcmin, so that a small field holds many borders


def _field(n, seed, *, ra=210.0, dec=12.0, size_arcsec=1800.0):
    rng = np.random.default_rng(seed)
    ra, dec = offset_position(
        np.full(n, ra), np.full(n, dec), *(rng.uniform(-size_arcsec / 2, size_arcsec / 2, (2, n)))
    )
    return pd.DataFrame({"source_id": [f"10000_7_{i}" for i in range(n)], "ra": ra, "dec": dec})


@pytest.mark.parametrize("position", [(210.0, 12.0), (0.0, -5.0), (45.0, 41.8), (300.0, -88.5), (90.0, 66.0)])
def test_objects_of_two_splits_are_at_least_the_guard_apart(position):
    field = _field(2500, 3, ra=position[0], dec=position[1])
    split = split_objects(field, FINE)["split"].to_numpy()
    assert set(SPLITS) <= set(split)
    one, other, separation = match_within(
        field["ra"], field["dec"], field["ra"], field["dec"], FINE.guard_arcsec * 0.999
    )
    clash = (split[one] != split[other]) & (split[one] != GUARD) & (split[other] != GUARD)
    assert not clash.any(), f"closest pair of two splits: {separation[clash].min():.2f} arcsec"
    used = split != GUARD
    assert 0.3 < used.mean() < 0.95  # with 3.4 arcmin cells much is guard, but by no means all


def test_every_object_near_another_split_is_guarded_against_brute_force():
    """A dense grid of points stands for the cells: whoever has a point of another split within the guard touches it."""
    field = _field(300, 5, size_arcsec=900.0)
    touches = touches_other_split(field["ra"], field["dec"], FINE)
    own = split_of_cells(cell_of(field["ra"], field["dec"], FINE.nside), FINE)
    step = 2.0  # arcsec
    axis = np.arange(-550.0, 550.0 + step, step)
    east, north = (part.ravel() for part in np.meshgrid(axis, axis))
    ra, dec = offset_position(np.full(len(east), 210.0), np.full(len(east), 12.0), east, north)
    grid = split_of_cells(cell_of(ra, dec, FINE.nside), FINE)
    one, point, _ = match_within(field["ra"], field["dec"], ra, dec, FINE.guard_arcsec)
    brute = np.zeros(len(field), dtype=bool)
    brute[one[own[one] != grid[point]]] = True
    assert (touches | ~brute).all()  # nothing within the guard is missed
    one, point, _ = match_within(field["ra"], field["dec"], ra, dec, FINE.guard_arcsec * 1.15 + step)
    wide = np.zeros(len(field), dtype=bool)
    wide[one[own[one] != grid[point]]] = True
    assert (~touches | wide).all()  # and nothing beyond the widened circle is given up


@given(seed=st.integers(0, 10_000), radius=st.floats(0, 40))
@settings(deadline=None, max_examples=15)
def test_no_group_straddles_two_splits(seed, radius):
    config = SampleConfig(nside=1024, guard_arcsec=40.0, pair_radius_arcsec=radius)
    frame = split_objects(_field(600, seed, size_arcsec=1000.0), config)
    inside = frame[frame["split"] != GUARD]
    assert (inside.groupby("group")["split"].nunique() <= 1).all()


@given(seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=10)
def test_the_order_of_the_rows_changes_nothing(seed):
    field = _field(200, seed)
    order = np.random.default_rng(seed).permutation(len(field))
    straight = split_objects(field, FINE)
    shuffled = split_objects(field.iloc[order].reset_index(drop=True), FINE)
    pd.testing.assert_frame_equal(straight.iloc[order].reset_index(drop=True), shuffled)


def test_the_split_of_a_cell_is_the_documented_hash():
    config = SampleConfig()
    for cell in (0, 77, 196607):
        digest = hashlib.sha256(f"{cell}_{config.split_seed}".encode()).digest()
        fraction = int.from_bytes(digest[:8], "big") / 2.0**64
        expected = "train" if fraction < 0.6 else "validation" if fraction < 0.8 else "sealed"
        assert split_of_cells(np.array([cell]), config)[0] == expected


def test_proportions_of_cells_and_of_area():
    config = SampleConfig()
    split = split_of_cells(np.arange(12 * 128**2), config)
    for name, fraction in zip(SPLITS, (0.6, 0.2, 0.2), strict=True):
        # Binomial standard deviation over 196,608 cells is 0.0011; five of them.
        assert (split == name).mean() == pytest.approx(fraction, abs=0.0055)


def test_the_middle_of_a_cell_is_never_guarded():
    cells = np.arange(0, 12 * 128**2, 997)
    ra, dec = cell_center(cells, 128)
    assert not touches_other_split(ra, dec, SampleConfig()).any()


def test_a_chain_across_a_border_goes_to_the_guard():
    """Objects every 20 arcsec along a line over several cells are one group of all splits: nothing is left."""
    n = 200
    ra, dec = offset_position(np.full(n, 210.0), np.full(n, 12.0), np.arange(n) * 20.0, np.zeros(n))
    field = pd.DataFrame({"source_id": [f"1_1_{i:03d}" for i in range(n)], "ra": ra, "dec": dec})
    frame = split_objects(field, FINE)
    assert frame["group"].unique().tolist() == ["1_1_000"]
    assert (frame["split"] == GUARD).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nside": 100}, "not a power of two"),
        ({"train_fraction": 0.8, "validation_fraction": 0.2}, "nothing for the sealed split"),
        ({"nside": 2048}, "more than a quarter of a cell"),
        ({"guard_arcsec": 10.0}, "pairs could straddle"),
        ({"exclusion_radius_arcsec": 2.0}, "its own non-lens"),
        ({"nobs_edges": (3, 3)}, "increasing"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_impossible_configurations_are_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        SampleConfig(**values)
