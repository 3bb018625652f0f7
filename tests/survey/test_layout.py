"""Paths, names, bits and grids against the survey's own documentation."""

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from legacylens.errors import FileProblem, InputError
from legacylens.photometry import depth_magnitude, flux_of_magnitude, magnitude, mw_transmission
from legacylens.survey.bricks import BrickTable, brickname_at
from legacylens.survey.grid import brick_wcs, pixel_position, sky_position
from legacylens.survey.maskbits import MASKBITS, mask_value, names_of, values_from_header
from legacylens.survey.release import Release


def test_paths_are_those_of_the_files_page():
    release = Release(root="https://portal.example/dr10")
    assert release.is_remote
    assert release.coadd_path("1126p222", "image", "g") == (
        "https://portal.example/dr10/south/coadd/112/1126p222/legacysurvey-1126p222-image-g.fits.fz"
    )
    assert release.coadd_path("1126p222", "maskbits").endswith("/legacysurvey-1126p222-maskbits.fits.fz")
    assert release.checksum_path("1126p222").endswith("/legacysurvey_dr10_south_coadd_112_1126p222.sha256sum")
    assert release.summary_path().endswith("/south/survey-bricks-dr10-south.fits.gz")
    assert release.sweep_folder().endswith("/south/sweep/10.1")


def test_impossible_paths_are_refused():
    release = Release(root="x")
    with pytest.raises(InputError, match="does not have the form"):
        release.brick_folder("112p22")
    with pytest.raises(InputError, match="maskbits has no band"):
        release.coadd_path("1126p222", "maskbits", "g")
    with pytest.raises(InputError, match="no coadd of kind 'flux'"):
        release.coadd_path("1126p222", "flux", "g")


def test_a_folder_that_is_no_release_says_what_is_expected(tmp_path):
    with pytest.raises(FileProblem, match=r"survey-bricks\.fits\.gz.*legacylens mocks release"):
        Release.open(tmp_path)
    with pytest.raises(FileProblem, match=r"no sweep-\*\.fits here"):
        Release(root=str(tmp_path)).sweep_paths()


def test_a_file_url_is_read_like_a_folder(tmp_path):
    (tmp_path / "survey-bricks.fits.gz").write_bytes(b"x")
    release = Release.open(tmp_path.as_uri())
    assert release.local(release.bricks_path()).read_bytes() == b"x"
    with pytest.raises(FileProblem, match="not found"):
        release.local(release.summary_path())


def test_mask_bits_have_the_documented_values():
    # DR10 bit mask page.
    assert mask_value("BRIGHT", "ALLMASK_G", "GALAXY") == 0x2 | 0x20 | 0x1000
    assert MASKBITS["SUB_BLOB"].value == 65536
    with pytest.raises(InputError, match=r"unknown mask bits \['STAR'\]"):
        mask_value("STAR")
    assert values_from_header({"MB_1": "BRIGHT", "MB_12": "GALAXY", "NAXIS": 2}) == {"BRIGHT": 2, "GALAXY": 4096}


@given(st.integers(0, 2**17 - 1))
def test_mask_names_round_trip(value):
    assert mask_value(*names_of(value)) == value


@pytest.mark.parametrize(
    ("ra", "dec", "name"), [(112.625, 22.25, "1126p222"), (0.1, -0.125, "0001m001"), (112.6, 22.2, "1126p222")]
)
def test_brick_names(ra, dec, name):
    assert brickname_at(ra, dec) == name


def bricks(rows):
    names = ["brickname", "brickid", "ra", "dec", "ra1", "ra2", "dec1", "dec2"]
    return BrickTable(pd.DataFrame(rows, columns=names))


def test_every_position_has_at_most_one_owner():
    table = bricks(
        [
            ("0000p000", 1, 0.05, 0.05, 0.0, 0.1, 0.0, 0.1),
            ("0001p000", 2, 0.15, 0.05, 0.1, 0.2, 0.0, 0.1),
            ("0000p001", 3, 0.05, 0.15, 0.0, 0.1, 0.1, 0.2),
        ]
    )
    ra = [0.0, 0.1, 0.0999999, 0.05, 0.2, 0.15, 359.99, np.nan]
    dec = [0.0, 0.0, 0.0999999, 0.1, 0.05, 0.15, 0.05, 0.05]
    assert table.containing(ra, dec).tolist() == [0, 1, 0, 2, -1, -1, -1, -1]
    assert table.near(0.1, 0.1, 10.0).tolist() == [0, 1, 2]
    assert table.near(0.05, 0.05, 10.0).tolist() == [0]
    assert table["0001p000"].brickid == 2
    with pytest.raises(InputError, match="not among the 3 bricks"):
        table["9999p000"]


def test_brick_table_file_problems(tmp_path):
    path = tmp_path / "survey-bricks.fits.gz"
    path.write_bytes(b"this is not FITS")
    with pytest.raises(FileProblem, match="not a readable brick table"):
        BrickTable.read(Release(root=str(tmp_path)))
    fits.BinTableHDU.from_columns([fits.Column("RA", "D", array=[1.0])]).writeto(path, overwrite=True)
    with pytest.raises(FileProblem, match="no column BRICKNAME"):
        BrickTable.read(Release(root=str(tmp_path)))


def test_grid_is_the_surveys():
    wcs = brick_wcs(112.625, 22.25, 3600, 3600)
    x, y = pixel_position(wcs, 112.625, 22.25)
    assert (x[0], y[0]) == pytest.approx((1799.5, 1799.5), abs=1e-9)  # CRPIX 1800.5, counted from 1
    ra, dec = sky_position(wcs, 1799.5 - 100, 1799.5)
    assert ra[0] > 112.625  # east is left
    assert (ra[0] - 112.625) * np.cos(np.radians(22.25)) * 3600 == pytest.approx(26.2, rel=1e-5)
    assert dec[0] == pytest.approx(22.25, abs=1e-5)


def test_photometry_of_the_survey():
    assert magnitude([1.0, 100.0, 10.0]) == pytest.approx([22.5, 17.5, 20.0])
    assert np.isnan(magnitude([0.0, -1.0, np.nan])).all()
    assert flux_of_magnitude(magnitude(3.7)) == pytest.approx(3.7)
    # psfdepth 2285 nmgy^-2 is a 5-sigma depth of 24.95 (reference value of a published split)
    assert depth_magnitude(2285.0) == pytest.approx(24.95, abs=0.005)
    assert np.isnan(depth_magnitude(0.0))
    assert mw_transmission(0.1, "r") == pytest.approx(10 ** (-0.4 * 0.2165))
