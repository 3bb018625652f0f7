"""What is not a position in degrees is recognized, and what is one is not suspected."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from legacylens.catalog.positions import (
    float32_step,
    list_problem,
    positions_in_names,
    refuse_wrong_unit,
    usable_positions,
)
from legacylens.errors import FileProblem
from legacylens.survey.sphere import separation_arcsec

FILE = "list.csv"


def sky(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))


def written(values: np.ndarray, decimals: int) -> tuple[np.ndarray, np.ndarray]:
    """Values as text of so many decimals gives them back."""
    return np.array([float(f"{value:.{decimals}f}") for value in values]), np.full(len(values), decimals)


@given(st.integers(0, 10_000))
def test_degrees_are_not_suspected(seed):
    ra, dec = sky(50, seed)
    refuse_wrong_unit(FILE, ra, dec, [""] * 50)


def test_a_small_field_near_ra_zero_is_not_suspected():
    rng = np.random.default_rng(1)
    refuse_wrong_unit(FILE, rng.uniform(10.0, 11.5, 80), rng.uniform(-2, 2, 80), [""] * 80)
    refuse_wrong_unit(FILE, rng.uniform(1.0, 3.0, 80), rng.uniform(-1, 1, 80), [""] * 80)


def test_hours():
    ra, dec = sky(30)
    with pytest.raises(FileProblem, match=r"RA looks like hours.*row 1: RA.*--columns ra=NAME:hour") as caught:
        refuse_wrong_unit(FILE, ra / 15, dec, [""] * 30)
    assert caught.value.reason == "ra-in-hours"


def test_hours_in_a_small_field_are_told_by_the_names():
    ra, dec = np.array([150.0, 150.5, 151.0]), np.array([2.0, 2.1, 2.2])
    names = [f"DESI-{a:08.4f}{d:+08.4f}" for a, d in zip(ra, dec, strict=True)]
    refuse_wrong_unit(FILE, ra, dec, names)
    with pytest.raises(FileProblem, match="and the names say so"):
        refuse_wrong_unit(FILE, ra / 15, dec, names)


def test_radians():
    ra, dec = sky(30)
    with pytest.raises(FileProblem, match=r"looks like radians.*ra=NAME:rad"):
        refuse_wrong_unit(FILE, np.radians(ra), np.radians(dec), [""] * 30)


def test_swapped_columns():
    ra, dec = sky(30)
    with pytest.raises(FileProblem, match=r"look swapped: row \d+ has Dec = \d+") as caught:
        refuse_wrong_unit(FILE, dec, ra, [""] * 30)
    assert caught.value.reason == "swapped-columns"


def test_rows_without_a_position_are_named():
    ra = np.array([10.0, np.nan, 20.0, 400.0, -30.0, 0.0, 360.0])
    dec = np.array([1.0, 2.0, 95.0, 3.0, 4.0, 0.0, 5.0])
    new, good, problems = usable_positions(FILE, ra, dec)
    assert good.tolist() == [True, False, False, False, True, False, True]
    assert new[[4, 6]].tolist() == [330.0, 0.0]
    assert {problem.reason: problem.rows for problem in problems} == {
        "no-position": (2,),
        "dec-out-of-range": (3,),
        "ra-out-of-range": (4,),
        "zero-position": (6,),
        "ra-wrapped": (5, 7),
    }
    assert [problem.left_out for problem in problems] == [True, True, True, True, False]


def test_message_names_file_and_rows():
    (problem,) = list_problem(FILE, "x", "is bad", np.arange(9) > 1)
    assert str(problem) == "list.csv: is bad (7 rows: 3, 4, 5, 6, 7...)"
    assert list_problem(FILE, "x", "is bad", np.zeros(4, bool)) == []


@pytest.mark.parametrize("decimals", [4, 5, 6, 8])
@pytest.mark.parametrize("seed", range(4))
def test_text_that_never_was_float32(decimals, seed):
    ra, _ = sky(60, seed)
    values, places = written(ra, decimals)
    assert float32_step(values, places) == 0.0


@pytest.mark.parametrize("seed", range(4))
def test_text_of_float32(seed):
    ra, _ = sky(60, seed)
    texts = [str(value) for value in ra.astype(np.float32)]
    places = np.array([len(text.partition(".")[2]) for text in texts])
    step = float32_step(np.array([float(text) for text in texts]), places)
    assert step == pytest.approx(2**-15 * 3600)  # spacing of float32 between 256 and 512, 0.11 arcsec


def test_binary_float32_in_float64():
    ra, _ = sky(20)
    assert float32_step(ra.astype(np.float32).astype(np.float64), None) > 0.1
    assert float32_step(ra, None) == 0.0
    assert float32_step(np.array([10.0, 20.5, 30.25]), None) == 0.0  # round numbers are no evidence
    assert float32_step(np.array([np.nan, 0.0]), None) == 0.0


@given(st.floats(0, 359.9), st.floats(-89.9, 89.9))
def test_positions_come_back_from_names(ra, dec):
    names = [f"DESI-{ra:08.4f}{dec:+08.4f}", f"DESJ{ra:.4f}{dec:+.4f}"]
    found_ra, found_dec, tolerance = positions_in_names(names)
    offset = separation_arcsec(found_ra, found_dec, ra, dec)
    assert np.all(offset < tolerance)


def test_sexagesimal_names():
    names = [
        "NSCS J022549+012034",
        "J121631.22-035304.15",
        "[J042937-025309]",
        "AGEL 123809+150151",
        "SDSSJ0029-0055",
        "140218+022318",
    ]
    ra, dec, tolerance = positions_in_names(names)
    expected_ra = [36.454167, 184.130083, 67.404167, 189.5375, 7.25, 210.575]
    expected_dec = [1.342778, -3.884486, -2.885833, 15.030833, -0.916667, 2.388333]
    np.testing.assert_allclose(ra, expected_ra, atol=1e-5)
    np.testing.assert_allclose(dec, expected_dec, atol=1e-5)
    assert tolerance.tolist() == [25, 25, 25, 25, 1200, 25]


def test_names_without_a_position():
    names = ["Abell868", "MS1208.7+3928", "388", "", "HE0047-1756", "J999999+999999", "DESI-512.1234+01.0000"]
    ra, dec, _ = positions_in_names(names)
    assert np.isnan(ra).all()
    assert np.isnan(dec).all()


def test_no_names():
    assert all(len(part) == 0 for part in positions_in_names([]))
