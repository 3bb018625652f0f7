"""A mock release of two overlapping bricks, read back with astropy alone."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table, vstack
from astropy.wcs import WCS
from typer.testing import CliRunner

from legacylens.errors import InputError
from legacylens.mocks.layout import patches_of
from legacylens.mocks.noise import LAGS, PIXEL_SIGMA
from legacylens.mocks.release import MockReleaseSummary, write_mock_release
from legacylens.mocks.release_config import MockReleaseConfig
from legacylens.mocks.sweep_columns import SWEEP_COLUMNS

PAIR = MockReleaseConfig(singles=0, pairs=1, quads=0, lenses=6, stars_per_arcmin2=1.0, defects=False)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair") / "release"
    write_mock_release(folder, size=PAIR, seed=5, workers=1)
    return folder


def bricks() -> list[str]:
    return [mock.brick.brickname for patch in patches_of(PAIR) for mock in patch.bricks]


def coadd(root: Path, brick: str, kind: str, band: str | None = None) -> tuple[np.ndarray, fits.Header]:
    name = f"legacysurvey-{brick}-{kind}" + (f"-{band}" if band else "") + ".fits.fz"
    with fits.open(root / "south" / "coadd" / brick[:3] / brick / name) as hdus:
        return hdus[1].data.copy(), hdus[1].header.copy()


def sweep(root: Path) -> Table:
    paths = sorted((root / "south" / "sweep" / "10.1").glob("sweep-*.fits"))
    rows = vstack([Table.read(path, 1, unit_parse_strict="silent") for path in paths], metadata_conflicts="silent")
    rows.convert_bytestring_to_unicode()
    return rows


def test_the_pair_straddles_right_ascension_zero(pair: Path) -> None:
    assert bricks() == ["3599m041", "0000m041"] or bricks()[0].startswith("3599")
    names = sorted(path.name for path in (pair / "south" / "sweep" / "10.1").glob("sweep-*.fits"))
    assert [name[:9] for name in names] == ["sweep-000", "sweep-355"]


def test_every_file_of_the_layout_is_there(pair: Path) -> None:
    assert (pair / "survey-bricks.fits.gz").is_file()
    assert (pair / "south" / "survey-bricks-dr10-south.fits.gz").is_file()
    for brick in bricks():
        folder = pair / "south" / "coadd" / brick[:3] / brick
        wanted = {
            f"legacysurvey-{brick}-{kind}-{band}.fits.fz"
            for kind in ("image", "invvar", "psfsize", "nexp")
            for band in "grz"
        }
        wanted |= {
            f"legacysurvey-{brick}-maskbits.fits.fz",
            f"legacysurvey_dr10_south_coadd_{brick[:3]}_{brick}.sha256sum",
        }
        assert {path.name for path in folder.iterdir()} == wanted


def test_checksums_are_those_of_sha256sum(pair: Path) -> None:
    for listing in pair.rglob("*.sha256sum"):
        lines = listing.read_text().splitlines()
        assert lines
        for line in lines:
            digest, name = line.split("  ")
            assert hashlib.sha256((listing.parent / name).read_bytes()).hexdigest() == digest


def test_headers_and_grid_are_those_of_the_survey(pair: Path) -> None:
    table = fits.getdata(pair / "survey-bricks.fits.gz", 1)
    rows = {row["BRICKNAME"]: row for row in table}
    for brick in bricks():
        image, header = coadd(pair, brick, "image", "r")
        assert image.dtype == np.float32 or image.dtype == np.dtype(">f4")
        height, width = image.shape
        assert header["CTYPE1"] == "RA---TAN"
        assert header["CRPIX1"] == (width + 1) / 2
        assert header["CRPIX2"] == (height + 1) / 2
        assert header["CD1_1"] == pytest.approx(-0.262 / 3600, rel=1e-12)
        assert header["CD2_2"] == pytest.approx(0.262 / 3600, rel=1e-12)
        assert header["CRVAL1"] == pytest.approx(rows[brick]["RA"], abs=1e-10)
        assert header["BRICKNAM"].strip() == brick
        assert header["FILTER"].strip() == "r"
        assert header["BUNIT"].strip() == "nanomaggy"
        # A 101-pixel cutout of any object of the unique area lies within the image.
        wcs = WCS(header)
        corners = [(rows[brick][a], rows[brick][d]) for a in ("RA1", "RA2") for d in ("DEC1", "DEC2")]
        x, y = wcs.all_world2pix([c[0] for c in corners], [c[1] for c in corners], 0)
        assert min(x) > 50
        assert max(x) < width - 51
        assert min(y) > 50
        assert max(y) < height - 51


def test_sweep_columns_types_and_rows(pair: Path) -> None:
    rows = sweep(pair)
    assert tuple(rows.colnames) == tuple(name for name, _, _ in SWEEP_COLUMNS)
    assert "BRICK_PRIMARY" not in rows.colnames
    path = next((pair / "south" / "sweep" / "10.1").glob("sweep-*.fits"))
    with fits.open(path) as hdus:
        form = {column.name: (column.format, column.unit) for column in hdus[1].columns}
    assert form["TYPE"] == ("3A", None)
    assert form["BRICKNAME"] == ("8A", None)
    assert form["DCHISQ"] == ("5E", None)
    assert form["RA"] == ("D", "deg")
    assert form["MASKBITS"] == ("J", None)
    assert form["NOBS_G"] == ("I", None)
    assert form["FLUX_G"] == ("E", "nanomaggy")
    assert form["GAIA_DUPLICATED_SOURCE"] == ("L", None)
    assert set(np.unique(rows["TYPE"])) <= {"PSF", "REX", "EXP", "DEV", "SER", "DUP"}
    identity = {(int(r["RELEASE"]), int(r["BRICKID"]), int(r["OBJID"])) for r in rows}
    assert len(identity) == len(rows)
    table = {row["BRICKNAME"]: row for row in fits.getdata(pair / "survey-bricks.fits.gz", 1)}
    for row in rows:
        brick = table[row["BRICKNAME"]]
        assert brick["RA1"] <= row["RA"] < brick["RA2"]
        assert brick["DEC1"] <= row["DEC"] < brick["DEC2"]
    dup = rows[rows["TYPE"] == "DUP"]
    assert len(dup)
    assert np.all(dup["FLUX_R"] == 0)


def test_catalog_mask_is_that_of_the_image(pair: Path) -> None:
    rows = sweep(pair)
    for brick in bricks():
        mask, header = coadd(pair, brick, "maskbits")
        mine = rows[(rows["BRICKNAME"] == brick) & (rows["TYPE"] != "DUP")]
        x, y = WCS(header).all_world2pix(mine["RA"], mine["DEC"], 0)
        seen = mask[np.round(y).astype(int), np.round(x).astype(int)] & ~1
        # Catalog positions are measured ones: at the edge of a mask some fall one pixel aside.
        assert np.mean(seen == mine["MASKBITS"]) > 0.97


def test_summary_depths_are_magnitudes_and_sweep_depths_inverse_variances(pair: Path) -> None:
    summary = fits.getdata(pair / "south" / "survey-bricks-dr10-south.fits.gz", 1)
    rows = sweep(pair)
    for brick in summary:
        mine = rows[rows["BRICKNAME"] == brick["brickname"]]
        assert brick["nobjs"] == len(mine)
        assert brick["nser"] == np.sum(mine["TYPE"] == "SER")
        depth = 22.5 - 2.5 * np.log10(5 / np.sqrt(np.median(mine["PSFDEPTH_R"])))
        assert brick["psfdepth_r"] == pytest.approx(depth, abs=1e-3)
        assert 23.5 < brick["psfdepth_r"] < 25.7


def blank(image: np.ndarray, invvar: np.ndarray) -> np.ndarray:
    """Pixels without sources, by growing everything that stands out of a smoothed image."""
    from scipy.ndimage import binary_dilation, gaussian_filter

    sigma = 1 / np.sqrt(np.median(invvar[invvar > 0]))
    bright = gaussian_filter(image, 2.0) > 0.5 * sigma
    return ~binary_dilation(bright, iterations=6) & (invvar > 0)


@pytest.mark.parametrize("band", ["g", "r", "z"])
def test_noise_has_the_sigma_and_the_lags_of_coadds(pair: Path, band: str) -> None:
    image, _ = coadd(pair, bricks()[0], "image", band)
    invvar, _ = coadd(pair, bricks()[0], "invvar", band)
    good = blank(image.astype(float), invvar)
    assert good.mean() > 0.3
    scaled = image.astype(float) * np.sqrt(invvar)
    middle = np.median(scaled[good])
    spread = 1.4826 * np.median(np.abs(scaled[good] - middle))
    assert spread == pytest.approx(PIXEL_SIGMA, rel=0.04)
    scaled = np.where(good, scaled - middle, 0.0)
    for lag in (1, 2, 3):
        for axis in (0, 1):
            shifted = np.roll(scaled, lag, axis)
            both = good & np.roll(good, lag, axis)
            rho = np.mean((scaled * shifted)[both]) / np.mean(scaled[both] ** 2)
            assert rho == pytest.approx(LAGS[lag], abs=0.03)


def test_overlapping_bricks_show_the_same_sky(pair: Path) -> None:
    left, right = bricks()
    for band in "grz":
        first, header = coadd(pair, left, "image", band)
        second, other = coadd(pair, right, "image", band)
        invvar, _ = coadd(pair, left, "invvar", band)
        mask, _ = coadd(pair, left, "maskbits")
        # Columns grow toward lower right ascension: the left image of the pair has the lower one.
        y, x = np.mgrid[200 : first.shape[0] - 200 : 1, 5:150:1]
        ra, dec = WCS(header).all_pix2world(x.ravel(), y.ravel(), 0)
        u, v = WCS(other).all_world2pix(ra, dec, 0)
        inside = (u > 0) & (u < second.shape[1] - 1) & (v > 0) & (v < second.shape[0] - 1)
        assert inside.sum() > 50_000
        from scipy.ndimage import map_coordinates

        there = map_coordinates(second.astype(float), [v[inside], u[inside]], order=1)
        here = first[y.ravel()[inside], x.ravel()[inside]].astype(float)
        sigma = 1 / np.sqrt(invvar[y.ravel()[inside], x.ravel()[inside]].clip(1))
        plain = (mask[y.ravel()[inside], x.ravel()[inside]] & ~1) == 0
        lit = plain & (here > 20 * sigma)
        if lit.sum() > 50:
            assert np.median(np.abs(there - here)[lit] / here[lit]) < 0.05
        # The noise is shared, up to the shift between the grids.
        dark = plain & (np.abs(here) < 3 * sigma)
        assert np.corrcoef(here[dark], there[dark])[0, 1] > 0.5


def test_truth_is_outside_and_has_units(pair: Path) -> None:
    truth = pair.with_name("release-truth")
    assert truth.is_dir()
    assert not [p for p in pair.rglob("*") if "truth" in p.name or p.suffix in {".parquet", ".json", ".csv"}]
    lenses = pd.read_parquet(truth / "lenses.parquet")
    assert len(lenses) == PAIR.lenses
    assert pq.read_schema(truth / "lenses.parquet").field("theta_E").metadata == {b"unit": b"arcsec"}
    assert (lenses["source_id"] != "").all()
    listed = pd.read_csv(pair.with_name("release-known-lenses.csv"))
    assert list(listed.columns) == ["name", "ra", "dec", "zlens", "type", "grading", "ref"]
    record = json.loads((truth / "provenance.json").read_text())
    assert record["seeds"] == {"release": 5}


def test_lensed_magnitude_is_that_of_the_source_times_the_magnification(pair: Path) -> None:
    lenses = pd.read_parquet(pair.with_name("release-truth") / "lenses.parquet")
    for band in "grz":
        gain = lenses[f"source_mag_{band}"] - lenses[f"arc_mag_{band}"]
        assert np.allclose(gain, 2.5 * np.log10(lenses["magnification"]), atol=1e-9)


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_an_interrupted_release_resumes_to_the_same_bytes(pair: Path, tmp_path: Path) -> None:
    again = tmp_path / "release"
    shutil.copytree(pair, again)
    shutil.copytree(pair.with_name("release-truth"), tmp_path / "release-truth")
    # A brick lost and half of it left over, as if the run had been killed before it was done.
    leftover = again / "south" / "coadd" / bricks()[1][:3] / f".part-12345678-{bricks()[1]}"
    leftover.mkdir()
    (leftover / "half.fits.fz").write_bytes(b"x")
    for path in (again / "south" / "coadd" / bricks()[1][:3] / bricks()[1]).iterdir():
        path.unlink()
    summary = write_mock_release(again, size=PAIR, seed=5, workers=1)
    assert summary.bricks_kept == 1
    assert digests(again) == digests(pair)


def test_the_bytes_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    config = MockReleaseConfig(
        singles=2, pairs=0, quads=0, lenses=2, parents_per_brick=8, faint_per_arcmin2=1, stars_per_arcmin2=0.3
    )
    one = write_mock_release(tmp_path / "one", size=config, seed=9, workers=1)
    write_mock_release(tmp_path / "two", size=config, seed=9, workers=2)
    assert one.bricks == 2
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    first, second = tmp_path / "one-known-lenses.csv", tmp_path / "two-known-lenses.csv"
    assert first.read_bytes() == second.read_bytes()
    for table in ("lenses.parquet", "galaxies.parquet"):
        assert (tmp_path / "one-truth" / table).read_bytes() == (tmp_path / "two-truth" / table).read_bytes()


def test_another_seed_or_a_foreign_folder_is_refused(pair: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="another size or seed"):
        write_mock_release(pair, size=PAIR, seed=6, workers=1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="is not empty"):
        write_mock_release(tmp_path / "full", size=PAIR, seed=1)
    with pytest.raises(InputError, match="would lie inside"):
        write_mock_release(tmp_path / "new", size=PAIR, seed=1, truth=tmp_path / "new" / "truth")
    with pytest.raises(InputError, match="no mock release of size 'huge'"):
        write_mock_release(tmp_path / "new", size="huge")
    with pytest.raises(InputError, match="at least 1 process"):
        write_mock_release(tmp_path / "new", size=PAIR, workers=0)


def test_the_verb_passes_its_options_on_and_prints_one_document(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import legacylens.mocks.release as module
    from legacylens.cli.main import app

    seen: dict[str, object] = {}

    def stand_in(out: Path, **options: object) -> MockReleaseSummary:
        seen.update(options, out=out)
        return MockReleaseSummary(
            release=str(out), truth="t", known_lenses="k", bricks=24, bricks_kept=0, sweep_files=8, objects=1,
            lenses=7, listed=7, galaxies=2,
        )  # fmt: skip

    monkeypatch.setattr(module, "write_mock_release", stand_in)
    arguments = ["mocks", "release", str(tmp_path / "x"), "--seed", "3", "--lenses", "7", "--parents", "9", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["lenses"] == 7
    config = seen["size"]
    assert isinstance(config, MockReleaseConfig)
    assert (config.lenses, config.parents_per_brick, seen["seed"]) == (7, 9.0, 3)
    refused = CliRunner().invoke(app, ["mocks", "release", str(tmp_path / "x"), "--size", "huge"])
    assert isinstance(refused.exception, InputError)
