"""The stand-in answers as the viewer does, its silent habits included; over real sockets."""

import io
import json
import time

import httpx
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from legacylens.cutouts.rgb import rgb
from legacylens.survey.bricks import brickname_at
from legacylens.survey.grid import brick_wcs
from legacylens.survey.sphere import separation_arcsec
from legacylens.testing.viewer import viewer_server
from legacylens.testing.viewer_answers import understand
from legacylens.testing.viewer_faults import FAULTS, REASON_OF_FAULT, FaultPlan
from legacylens.testing.viewer_sky import Sky, bricks_near, own_brick, vectors

WHOLE = Sky(off=0.0, without_z=0.0)
BARE = Sky(off=1.0)
RA, DEC = 150.1, 2.2
BOTH = "layer=ls-dr10&bands=grz&size=64&pixscale=0.262"


@pytest.fixture(scope="module")
def viewer():
    with viewer_server(WHOLE, max_size=3000) as server:
        yield server


def ask(server, path, **keywords):
    return httpx.get(server.url + path, trust_env=False, **{"timeout": 20.0, **keywords})


def opened(response):
    assert response.status_code == 200
    return fits.open(io.BytesIO(response.content))


def test_without_layer_bands_and_size_the_defaults_come(viewer):
    with opened(ask(viewer, f"fits-cutout?ra={RA}&dec={DEC}")) as hdus:
        assert hdus[0].data.shape == (3, 256, 256)
        assert hdus[0].header["VERSION"] == "DR9-south"
        assert hdus[0].header["BANDS"] == "grz"
    with opened(ask(viewer, f"cutout.fits?ra={RA}&dec={DEC}&layer=ls-dr10&size=16")) as hdus:
        assert hdus[0].header["BANDS"] == "griz"


def test_an_unknown_layer_is_a_sentence_with_status_200(viewer):
    response = ask(viewer, f"fits-cutout?ra={RA}&dec={DEC}&layer=ls-dr99")
    assert (response.status_code, response.text) == (200, "no such layer")


@pytest.mark.parametrize("bands", ["grq", "gry", "GRZ", "g r", ""])
def test_one_bad_character_and_all_bands_are_forgotten(viewer, bands):
    with opened(ask(viewer, f"fits-cutout?ra={RA}&dec={DEC}&layer=ls-dr10&size=16&bands={bands}")) as hdus:
        assert hdus[0].header["BANDS"] == "griz"


def test_sizes_are_clipped_without_a_word(viewer):
    question = understand(f"/viewer/fits-cutout?ra={RA}&dec={DEC}&size=4000")
    assert (question.width, question.height) == (3000, 3000)
    assert understand(f"/viewer/fits-cutout?ra={RA}&dec={DEC}&width=10&height=4000").height == 3000


def test_one_band_is_a_plane_and_flags_add_planes(viewer):
    with opened(ask(viewer, f"fits-cutout?ra={RA}&dec={DEC}&layer=ls-dr10&bands=r&size=16&invvar&maskbits")) as hdus:
        assert [hdu.header["IMAGETYP"] for hdu in hdus] == ["image", "invvar", "maskbits"]
        assert [hdu.data.ndim for hdu in hdus] == [2, 2, 2]
    # At binned scales the service has neither.
    with opened(ask(viewer, f"fits-cutout?ra={RA}&dec={DEC}&size=16&pixscale=0.6&invvar&maskbits")) as hdus:
        assert len(hdus) == 1


def test_the_resampled_grid_is_centered_on_the_position(viewer):
    with opened(ask(viewer, f"fits-cutout?ra={RA}&dec={DEC}&{BOTH}&invvar")) as hdus:
        wcs = WCS(hdus[0].header, naxis=2)
        x, y = wcs.all_world2pix(RA, DEC, 0)
        assert np.allclose([x, y], 31.5, atol=1e-6)
        rows, columns = np.mgrid[:64, :64]
        ra, dec = wcs.all_pix2world(columns, rows, 0)
        assert np.allclose(hdus[0].data, WHOLE.brightness(vectors(ra, dec), ("g", "r", "z")), atol=1e-6)


def test_subimage_is_the_bricks_own_pixels_and_comes_once_for_each_brick(viewer):
    # In the corner of a brick four of them overlap.
    brick = own_brick(RA, DEC)
    wcs = brick_wcs(brick.ra, brick.dec, 3600, 3600)
    ra, dec = (float(value) for value in wcs.all_pix2world(90, 85, 0))
    with opened(ask(viewer, f"fits-cutout?ra={ra}&dec={dec}&{BOTH}&subimage&pixscale=9")) as hdus:
        assert hdus[0].data is None
        names = {hdu.header["BRICK"] for hdu in hdus[1:]}
        assert brick.name in names
        assert len(names) == 4
        assert [hdu.header["IMAGETYP"] for hdu in hdus[1:]] == ["image", "invvar"] * 12
        for hdu in hdus[1:]:
            rows, columns = np.mgrid[: hdu.header["NAXIS2"], : hdu.header["NAXIS1"]]
            points = vectors(*WCS(hdu.header).all_pix2world(columns, rows, 0))
            band = (hdu.header["BAND"],)
            sky = WHOLE.brightness if hdu.header["IMAGETYP"] == "image" else WHOLE.inverse_variance
            assert np.allclose(hdu.data, sky(points, band)[0], rtol=1e-5, atol=1e-6)
            own = next(each for each in bricks_near(ra, dec) if each.name == hdu.header["BRICK"])
            corner = brick_wcs(own.ra, own.dec, 3600, 3600).all_pix2world(
                hdu.header["BRICK_X0"], hdu.header["BRICK_Y0"], 0
            )
            assert np.allclose(corner, WCS(hdu.header).all_pix2world(0, 0, 0), atol=1e-9)


def test_resampled_invvar_is_counted_once_for_every_brick_and_subimage_is_not(viewer):
    brick = own_brick(RA, DEC)
    wcs = brick_wcs(brick.ra, brick.dec, 3600, 3600)
    for column, row, times in [(1800, 1800, 1), (60, 1800, 2), (90, 85, 4)]:
        ra, dec = (float(value) for value in wcs.all_pix2world(column, row, 0))
        with opened(ask(viewer, f"fits-cutout?ra={ra}&dec={dec}&layer=ls-dr10&bands=r&size=9&invvar")) as hdus:
            true = WHOLE.inverse_variance(vectors(ra, dec), ("r",))[0]
            assert hdus[1].data[4, 4] / true == pytest.approx(times, rel=1e-4)


def test_psf_has_one_image_a_band_and_no_fixed_header(viewer):
    with opened(ask(viewer, f"coadd-psf/?ra={RA}&dec={DEC}&layer=ls-dr10&bands=grz")) as hdus:
        assert [hdu.header["BAND"] for hdu in hdus] == ["g", "r", "z"]
        assert hdus[0].header["BANDS"] == "grz"
        assert all(hdu.data.sum() == pytest.approx(1.0, abs=1e-5) for hdu in hdus)


def test_jpeg_has_north_up(viewer):
    response = ask(viewer, f"jpeg-cutout?ra={RA}&dec={DEC}&{BOTH}")
    picture = np.asarray(Image.open(io.BytesIO(response.content)), dtype=float)
    with opened(ask(viewer, f"fits-cutout?ra={RA}&dec={DEC}&{BOTH}")) as hdus:
        true = rgb(hdus[0].data.astype(np.float32)).astype(float)
    assert np.abs(picture - true[::-1]).mean() < 0.7 * np.abs(picture - true).mean()


def test_off_the_footprint():
    with viewer_server(BARE) as server:
        response = ask(server, f"fits-cutout?ra={RA}&dec={DEC}&{BOTH}")
        assert response.status_code == 500
        assert "no overlap" in response.text
        picture = np.asarray(Image.open(io.BytesIO(ask(server, f"jpeg-cutout?ra={RA}&dec={DEC}&{BOTH}").content)))
        assert np.ptp(picture) == 0
        response = ask(server, f"coadd-psf/?ra={RA}&dec={DEC}&{BOTH}")
        assert (response.status_code, response.text) == (200, "no CCDs overlapping")


def test_bad_requests_and_other_pages(viewer):
    assert ask(viewer, "fits-cutout?ra=10").status_code == 400
    assert ask(viewer, "fits-cutout?ra=10&dec=x").status_code == 400
    assert ask(viewer, "elsewhere").status_code == 404


@given(ra=st.floats(0, 359.999), dec=st.floats(-85, 85))
def test_the_tiling_is_like_the_surveys(ra, dec):
    own = own_brick(ra, dec)
    assert own.name == brickname_at(own.ra, own.dec)
    assert abs(dec - own.dec) <= 0.125 + 1e-9
    near = bricks_near(ra, dec)
    assert near[0] == own
    # No other brick of the row is nearer in right ascension, and the position is well inside the owner's image.
    row = [abs((each.ra - ra + 180) % 360 - 180) for each in near if each.dec == own.dec]
    assert row[0] <= min(row) + 1e-9
    x, y = (float(value) for value in own.grid().pixels(vectors(ra, dec)))
    assert 50 < x < 3549
    assert 50 < y < 3549
    assert separation_arcsec(ra, dec, own.ra, own.dec)[0] < 0.125 * 3600 * np.sqrt(2.05)


def test_the_sky_is_a_function_of_position_alone():
    points = vectors(np.array([10.0, 10.0 + 360.0]), np.array([3.0, 3.0]))
    image = WHOLE.brightness(points, ("g", "z"))
    assert np.allclose(image[:, 0], image[:, 1], atol=1e-6)
    assert np.array_equal(Sky().brightness(points, ("z",)), Sky().brightness(points, ("g", "z"))[1:])
    assert not np.allclose(WHOLE.brightness(points, ("g",)), WHOLE.brightness(points, ("g",), release=9), atol=1e-4)
    assert not np.allclose(WHOLE.brightness(points, ("g",)), Sky(seed=2).brightness(points, ("g",)), atol=1e-4)


def test_a_plan_does_not_depend_on_the_order_of_requests():
    keys = [f"fits {n}" for n in range(3000)]
    first, second = FaultPlan(rate=0.1, seed=4), FaultPlan(rate=0.1, seed=4)
    forward = {key: first.draw(key) for key in keys}
    assert forward == {key: second.draw(key) for key in reversed(keys)}
    # 3,000 draws at 0.1: 300 with a standard deviation of 16.
    assert 220 < sum(fault != "" for fault in forward.values()) < 380
    assert set(forward.values()) == {"", *FAULTS}
    lasting = FaultPlan(lasting=0.05, seed=4)
    broken = [key for key in keys if lasting.draw(key)]
    assert 90 < len(broken) < 210
    assert all(lasting.draw(key) for key in broken for _ in range(3))


def test_every_fault_has_a_name_and_a_reason():
    assert set(FAULTS) == set(REASON_OF_FAULT)
    assert json.loads(json.dumps(dict(FAULTS))) == FAULTS


def test_faults_over_the_wire():
    with viewer_server(WHOLE, FaultPlan(script=["rate-limited", "rate-limited-date", "html-200", ""])) as server:
        path = f"fits-cutout?ra={RA}&dec={DEC}&{BOTH}"
        first, second, third, fourth = (ask(server, path) for _ in range(4))
        assert (first.status_code, first.headers["retry-after"]) == (429, "5")
        assert second.headers["retry-after"].endswith("GMT")
        assert third.status_code == 200
        assert third.text.startswith("<!DOCTYPE html>")
        assert fourth.content.startswith(b"SIMPLE")
        # The server writes a line after it has answered, which may be after the answer was read.
        deadline = time.monotonic() + 20
        while len(server.log) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [line.fault for line in server.log] == ["rate-limited", "rate-limited-date", "html-200", ""]


def test_a_stalled_server_still_closes_at_once():
    started = time.monotonic()
    with viewer_server(WHOLE, FaultPlan(script=["stall"])) as server, pytest.raises(httpx.ReadTimeout):
        ask(server, f"fits-cutout?ra={RA}&dec={DEC}&{BOTH}", timeout=0.2)
    assert time.monotonic() - started < 10
