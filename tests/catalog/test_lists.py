"""A user's list in every format gives the same objects; what is wrong with it is named."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from astropy import units
from astropy.table import MaskedColumn, Table

from legacylens.catalog.lists import parse_column_map, read_columns, read_list
from legacylens.errors import FileProblem, InputError

RA, DEC = [150.123456, 210.5, 33.25], [2.25, -10.125, 77.0]
NAMES = ["one", "two", "three"]


def astropy_table() -> Table:
    table = Table({"ID": NAMES, "RAJ2000": RA, "DEJ2000": DEC, "theta": [1.0, 1.5, 2.0]})
    table["RAJ2000"].unit = table["DEJ2000"].unit = units.deg
    table["theta"].unit = units.arcsec
    return table


@pytest.mark.parametrize("suffix", ["fits", "vot", "ecsv", "csv", "tsv", "txt", "parquet", "fits.gz"])
def test_every_format_gives_the_same_objects(tmp_path, suffix):
    path = tmp_path / f"list.{suffix}"
    table = astropy_table()
    if suffix == "csv":
        table.write(path, format="ascii.csv")
    elif suffix == "tsv":
        table.write(path, format="ascii.tab")
    elif suffix == "txt":
        table.write(path, format="ascii.commented_header")
    elif suffix == "parquet":
        table.to_pandas().to_parquet(path)
    else:
        table.write(path, format={"vot": "votable", "ecsv": "ascii.ecsv"}.get(suffix, "fits"))
    found = read_list(path, {"theta_E": "theta"}, quantities=("name", "theta_E"))
    assert found.rows == 3
    assert found.frame["name"].tolist() == NAMES
    np.testing.assert_allclose(found.frame["ra"], RA, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.frame["dec"], DEC, rtol=0, atol=1e-12)
    assert found.frame["theta_E"].tolist() == [1.0, 1.5, 2.0]
    stated = suffix in ("fits", "vot", "ecsv", "fits.gz")
    assert [problem.reason for problem in found.problems] == ([] if stated else ["no-unit", "no-unit"])


@pytest.mark.parametrize(
    ("header", "column_map", "scale"),
    [
        ("RA [deg],DEC [deg]", {}, 1.0),
        ("ra,dec", {"ra": "ra:deg", "dec": "dec:deg"}, 1.0),
        ("alpha,delta", {"ra": "alpha:hour", "dec": "delta:deg"}, 15.0),
        ("RA (rad),DEC (rad)", {}, 180 / np.pi),
        ("RA,DEC", {"ra": "RA:arcsec", "dec": "DEC:arcsec"}, 1 / 3600),
    ],
)
def test_units_of_the_header_and_of_the_map(tmp_path, header, column_map, scale):
    path = tmp_path / "list.csv"
    path.write_text(f"{header}\n1.0,0.5\n2.0,-0.25\n")
    found = read_list(path, column_map)
    np.testing.assert_allclose(found.frame["ra"], np.array([1, 2]) * scale, rtol=1e-12)
    dec_scale = 1.0 if scale == 15.0 else scale
    np.testing.assert_allclose(found.frame["dec"], np.array([0.5, -0.25]) * dec_scale, rtol=1e-12)
    assert found.problems == ()


def test_sexagesimal_text(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("name,ra,dec\na,10:00:00,+02:30:00\nb,10 00 03,-00 30 00\nc,oops,+01:00:00\n")
    found = read_list(path, quantities=("name",))
    np.testing.assert_allclose(found.frame["ra"], [150.0, 150.0125], atol=1e-9)
    np.testing.assert_allclose(found.frame["dec"], [2.5, -0.5], atol=1e-9)
    assert [(problem.reason, problem.rows) for problem in found.problems] == [("no-position", (3,))]


def test_masked_rows_are_left_out_and_named(tmp_path):
    table = astropy_table()
    table["RAJ2000"] = MaskedColumn(RA, mask=[False, True, False], unit=units.deg)
    path = tmp_path / "list.vot"
    table.write(path, format="votable")
    found = read_list(path)
    assert found.frame["row"].tolist() == [1, 3]
    assert [(problem.reason, problem.rows) for problem in found.problems] == [("no-position", (2,))]


def test_duplicates(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("name,ra,dec,grade\na,150.5,2.5,A\nb,151.5,2.5,A\na,150.5,2.5,A\na,150.5,2.5,B\n")
    found = read_list(path, {"ra": "ra:deg", "dec": "dec:deg"}, quantities=("name", "grade"))
    assert found.frame["row"].tolist() == [1, 2, 4]
    assert [(problem.reason, problem.rows, problem.left_out) for problem in found.problems] == [
        ("duplicate", (3,), True),
        ("same-object", (4,), False),
    ]


def test_float32_coordinates_are_noted(tmp_path):
    rng = np.random.default_rng(2)
    ra, dec = rng.uniform(0, 360, 30).astype("f4"), rng.uniform(-60, 60, 30).astype("f4")
    for name in ("list.fits", "list.csv"):
        path = tmp_path / name
        table = Table({"ra": ra, "dec": dec})
        table["ra"].unit = table["dec"].unit = units.deg
        table.write(path)
        found = read_list(path, {"ra": "ra:deg", "dec": "dec:deg"})
        (problem,) = [each for each in found.problems if "ra went through float32" in each.message]
        assert "steps of up to 0.11 arcsec" in problem.message
        assert found.frame["step"].iloc[0] == pytest.approx(0.11, abs=0.001)
        assert len(found.frame) == 30


def test_step_is_that_of_the_decimals(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("ra,dec\n150.1234,2.5678\n210.4321,-3.1111\n")
    assert read_list(path).frame["step"].tolist() == pytest.approx([0.36, 0.36])


def test_hours_are_refused_unless_stated(tmp_path):
    ra = np.random.default_rng(0).uniform(0, 24, 40)
    path = tmp_path / "list.csv"
    pd.DataFrame({"ra": ra, "dec": np.linspace(-60, 60, 40)}).to_csv(path, index=False)
    with pytest.raises(FileProblem, match=r"list\.csv: RA looks like hours"):
        read_list(path)
    np.testing.assert_allclose(read_list(path, {"ra": "ra:hour", "dec": "dec:deg"}).frame["ra"], 15 * ra)
    np.testing.assert_allclose(read_list(path, {"ra": "ra:deg", "dec": "dec:deg"}).frame["ra"], ra)


@pytest.mark.parametrize(
    ("content", "reason", "match"),
    [
        ("", "empty", "empty"),
        ("<!DOCTYPE html><p>502", "not-a-table", "HTML"),
        ("ra,dec\n1,2\n3\n", "ragged-rows", r"row 2 has 1 cells but the header names 2 columns"),
        ("alpha,delta\n1,2\n", "missing-columns", r"no column for ra and dec; it has alpha, delta"),
        ("ra [furlong],dec [deg]\n1,2\n", "unknown-unit", "the unknown unit|no unit of it"),
        ("ra [s],dec [deg]\n1,2\n", "unknown-unit", "is in s, which is no unit of it"),
    ],
)
def test_broken_lists(tmp_path, content, reason, match):
    path = tmp_path / "list.csv"
    path.write_text(content)
    with pytest.raises(FileProblem, match=match) as caught:
        read_list(path)
    assert caught.value.reason == reason
    assert "list.csv" in str(caught.value)


def test_files_that_are_no_lists(tmp_path):
    with pytest.raises(FileProblem, match="no such list"):
        read_columns(tmp_path / "none.csv")
    (tmp_path / "list.docx").write_bytes(b"PK")
    with pytest.raises(FileProblem, match=r"suffix '\.docx' is not understood"):
        read_columns(tmp_path / "list.docx")
    (tmp_path / "list.fits").write_bytes(b"SIMPLE  = nonsense")
    with pytest.raises(FileProblem, match="cannot be read as fits"):
        read_columns(tmp_path / "list.fits")
    (tmp_path / "list.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(FileProblem, match="not text"):
        read_columns(tmp_path / "list.csv")


def test_a_map_that_names_no_column(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("ra,dec\n1,2\n")
    with pytest.raises(FileProblem, match="no column 'alpha' for ra; it has ra, dec"):
        read_list(path, {"ra": "alpha"})


def test_column_maps():
    assert parse_column_map("ra=RAJ2000:hour, dec=DE ,") == {"ra": "RAJ2000:hour", "dec": "DE"}
    assert parse_column_map("") == {}
    for text in ("ra", "ra=", "flux=F"):
        with pytest.raises(InputError, match="is not QUANTITY=COLUMN"):
            parse_column_map(text)
