"""The completeness map: its values in closed form, from bricks and from random points, as valid HEALPix."""

import json

import fitsio
import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from scipy.special import expit
from typer.testing import CliRunner

from legacylens.catalog.parent import ParentCuts
from legacylens.cli.main import app
from legacylens.errors import FileProblem, InputError
from legacylens.photometry import mw_transmission
from legacylens.plots.validation_completeness import completeness_map_figure
from legacylens.survey.cells import cell_of
from legacylens.survey.maskbits import mask_value
from legacylens.testing.randoms import DTYPE
from legacylens.validation.selection_function import SelectionFunction
from legacylens.validation.sky_conditions import conditions_of_bricks, random_conditions
from legacylens.validation.sky_map import completeness_map, read_map, write_map

RANGE = {"seeing": (0.8, 2.0), "depth": (22.5, 25.0)}


def chance(seeing, depth):
    """The completeness that the function below was built to have."""
    return expit(0.3 - (np.asarray(seeing) - 1.3) / 0.2 + 0.8 * (np.asarray(depth) - 23.9) / 0.4)


@pytest.fixture(scope="module")
def function():
    coefficients = np.array([0.3, -1.0, 0.8, 0.0, 0.0, 0.0])
    return SelectionFunction(
        names=("seeing", "depth"), mean=np.array([1.3, 23.9]), scale=np.array([0.2, 0.4]),
        low=np.array([RANGE["seeing"][0], RANGE["depth"][0]]), high=np.array([RANGE["seeing"][1], RANGE["depth"][1]]),
        coefficients=coefficients, replicas=coefficients + np.linspace(-0.2, 0.2, 41)[:, None] * [1, 0, 0, 0, 0, 0],
        population=np.array([[1.3, 23.9]]), about={"threshold": 2.0, "population": {"set": "made up"}},
    )  # fmt: skip


def bricks(n=300):
    rng = np.random.default_rng(2)
    ra, dec = rng.uniform(0, 360, n), rng.uniform(-20, 30, n)
    return pd.DataFrame(
        {"ra": ra, "dec": dec, "psfsize_r": np.where(ra < 180, 1.1, 1.5), "psfdepth_r": 24.0, "ebv": 0.02}
    )


def test_the_map_of_bricks_has_the_value_of_the_function_and_is_valid_healpix(function, tmp_path) -> None:
    table = bricks()
    table.loc[0, "psfdepth_r"] = 0.0  # never observed in r
    sky = completeness_map(function, conditions_of_bricks(table), nside=32)
    assert (sky.n_searched, sky.n_without, sky.area) == (len(table) - 1, 1, None)
    depth = round(24.0 + 2.5 * np.log10(float(mw_transmission(0.02, "r"))), 2)
    for seeing in (1.1, 1.5):
        pure = sky.table[np.isclose(sky.table["seeing"], seeing)]
        np.testing.assert_allclose(pure["completeness"], chance(seeing, depth), atol=2e-3)  # between grid points
    assert sky.table["completeness"].max() > sky.table["completeness"].min()
    assert np.all(sky.table["completeness_low"] < sky.table["completeness"])
    assert np.all(sky.table["completeness"] < sky.table["completeness_high"])
    path = tmp_path / "map.fits"
    write_map(path, sky, function)
    with fits.open(path) as hdus:
        hdus.verify("exception")
        header = hdus[1].header
        assert (header["PIXTYPE"], header["ORDERING"], header["NSIDE"]) == ("HEALPIX", "NESTED", 32)
        assert (header["TUNIT5"], header["POINTS"], header["THRESH"]) == ("arcsec", "bricks", 2.0)
    frame, nside = read_map(path)
    assert nside == 32
    np.testing.assert_allclose(frame["completeness"], sky.table["completeness"], rtol=1e-6)
    assert len(completeness_map_figure(frame, nside).axes) == 2
    near = frame[frame["pixel"] == frame["pixel"].iloc[0]]
    assert len(completeness_map_figure(near, nside).axes) == 2
    with pytest.raises(FileProblem, match="not a completeness map"):
        read_map(tmp_path / "absent.fits")


def test_conditions_that_nothing_had_are_clipped_and_counted(function) -> None:
    table = pd.DataFrame(
        {"ra": [10.0] * 4, "dec": 0.0, "psfsize_r": [1.2, 1.2, 3.0, 1.2], "psfdepth_r": 24.0, "ebv": 0}
    )
    row = completeness_map(function, conditions_of_bricks(table)).table.iloc[0]
    assert row["clipped"] == 0.25
    assert row["completeness"] == pytest.approx((3 * chance(1.2, 24.0) + chance(2.0, 24.0)) / 4)
    assert row["seeing"] == pytest.approx(1.65)  # what it is, not what it was clipped to


# ---- random points ----


@pytest.fixture(scope="module")
def points():
    """A random catalog in the survey's columns: half of the sky is masked, shallow in exposures, or without images."""
    rng = np.random.default_rng(3)
    n = 20_000
    table = np.zeros(n, dtype=DTYPE)
    table["RA"], table["DEC"] = rng.uniform(10, 14, n), rng.uniform(-2, 2, n)
    table["EBV"] = 0.03
    for band in "GRZ":
        table[f"NOBS_{band}"], table[f"PSFSIZE_{band}"] = 4, rng.uniform(1.0, 1.6, n)
        table[f"PSFDEPTH_{band}"] = 25.0 / 10 ** (-0.8 * (rng.uniform(23.5, 24.5, n) - 22.5))
    kind = rng.integers(0, 8, n)
    table["MASKBITS"][kind == 0] = mask_value("BRIGHT")
    table["MASKBITS"][kind == 1] = mask_value("GALAXY", "MEDIUM")  # near something large is still searched
    table["NOBS_Z"][kind == 2] = 2
    for name in ("NOBS_R", "PSFSIZE_R", "PSFDEPTH_R"):
        table[name][kind == 3] = 0
    return table, kind


def _written(path, table, **header):
    with fitsio.FITS(str(path), "rw", clobber=True) as file:
        file.write(table, extname="RANDOMS", header=header)
    return path


def test_random_points_give_value_and_area_of_what_is_searched(points, function, tmp_path) -> None:
    table, kind = points
    path = _written(tmp_path / "randoms-south-1-0.fits", table, DENSITY=1250)
    sky = completeness_map(function, random_conditions([path]), nside=64)
    searched = ~np.isin(kind, [0, 2, 3])
    assert (sky.n_searched, sky.n_without) == (searched.sum(), (~searched).sum())
    # 16 square degrees at 1,250 points each; five points of eight are searched.
    assert sky.area == pytest.approx(16 * 5 / 8, rel=0.02)
    magnitude = 22.5 - 2.5 * np.log10(5 / np.sqrt(table["PSFDEPTH_R"][searched]))
    depth = magnitude + 2.5 * np.log10(float(mw_transmission(0.03, "r")))
    cell = cell_of(table["RA"], table["DEC"], 64)
    expected = pd.Series(chance(table["PSFSIZE_R"][searched], depth)).groupby(cell[searched]).mean()
    found = sky.table.set_index("pixel")
    np.testing.assert_allclose(found["completeness"], expected, atol=2e-3)  # straight between grid points
    by_hand = pd.Series(searched).groupby(cell).mean()
    np.testing.assert_allclose(found["searched"], by_hand.reindex(found.index))
    assert sky.summary()["completeness_mean"] == pytest.approx(
        chance(table["PSFSIZE_R"][searched], depth).mean(), abs=1e-3
    )
    assert sky.summary()["of"] == "randoms"


def test_the_first_rows_are_a_fair_sample_and_files_add_up(points, tmp_path) -> None:
    table, _ = points
    first = _written(tmp_path / "randoms-1-0.fits", table[:12_000])
    other = _written(tmp_path / "randoms-1-1.fits", table[12_000:])
    both = random_conditions([first, other])
    assert len(both.table) == len(table)
    assert both.density == 2 * 2500.0  # no DENSITY in the header: the survey's
    part = random_conditions([first], rows=3000)
    assert (len(part.table), part.density) == (3000, 2500.0 * 3000 / 12_000)
    with pytest.raises(InputError, match="given twice"):
        random_conditions([first, first])
    with pytest.raises(InputError, match="no random catalog is given"):
        random_conditions([])


def test_what_is_searched_is_what_the_cuts_of_the_parent_sample_say(points, tmp_path) -> None:
    table, kind = points
    path = _written(tmp_path / "randoms.fits", table)
    wide = random_conditions([path], cuts=ParentCuts(nobs_min=2, maskbits_excluded=()))
    assert wide.table["searched"].sum() == (kind != 3).sum()
    north = random_conditions([path], cuts=ParentCuts(dec_min=0.0))
    assert north.table.loc[north.table["searched"], "dec"].min() >= 0.0


def test_files_that_are_no_random_catalogs_are_named(points, tmp_path) -> None:
    table, _ = points
    outside = np.zeros(3, dtype=[(name, DTYPE[name]) for name in ("BRICKID", "RA", "DEC", "NOBS_G", "NOBS_R", "EBV")])
    path = _written(tmp_path / "randoms-outside-1-0.fits", outside)
    with pytest.raises(FileProblem, match=r"lacks the columns PSFSIZE_R, PSFDEPTH_R, NOBS_Z, MASKBITS") as caught:
        random_conditions([path])
    assert "the -outside and -allsky files have no seeing" in str(caught.value)
    with pytest.raises(FileProblem, match="holds no points"):
        random_conditions([_written(tmp_path / "empty.fits", table[:0])])
    with pytest.raises(FileProblem, match="not found"):
        random_conditions([tmp_path / "absent.fits"])
    (tmp_path / "cut.fits").write_bytes((tmp_path / "randoms-outside-1-0.fits").read_bytes()[:1000])
    with pytest.raises(FileProblem, match="cannot be read"):
        random_conditions([tmp_path / "cut.fits"])


def test_maps_without_data_are_refused(function) -> None:
    with pytest.raises(InputError, match=r"none of 300 bricks has seeing and depth"):
        completeness_map(function, conditions_of_bricks(bricks().assign(psfdepth_r=0.0)))
    flat = SelectionFunction(
        names=("theta_E",), mean=np.zeros(1), scale=np.ones(1), low=np.array([0.5]), high=np.array([5.0]),
        coefficients=np.zeros(3), replicas=np.zeros((2, 3)), population=np.ones((1, 1)), about={},
    )  # fmt: skip
    with pytest.raises(InputError, match="its map would be flat"):
        completeness_map(flat, conditions_of_bricks(bricks()))


def test_the_verb_maps_random_points(points, function, tmp_path) -> None:
    function.save(tmp_path / "selection-function.json")
    path = _written(tmp_path / "randoms-south-1-0.fits", points[0], DENSITY=1250)
    arguments = ["validate", "map", str(tmp_path), "--out", str(tmp_path / "map.fits"), "--nside", "32"]
    answer = CliRunner().invoke(app, [*arguments, "--randoms", str(path), "--json"])
    assert answer.exit_code == 0, answer.output
    result = json.loads(answer.stdout)
    assert result["searched_deg2"] == pytest.approx(10.0, rel=0.02)
    frame, nside = read_map(tmp_path / "map.fits")
    assert (nside, len(frame)) == (32, result["cells"])
    assert (tmp_path / "map.svg").read_text().startswith("<?xml")
    for wrong, message in (([], "either --release or --randoms"), (["--release", "x", "--nside", "3"], "power of two")):
        with pytest.raises(InputError, match=message):
            CliRunner().invoke(app, [*arguments, *wrong], catch_exceptions=False)
