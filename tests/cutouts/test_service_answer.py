"""Answers are taken for what they are, not for what their status says."""

import io
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

from legacylens.cutouts.service_answer import ABSENT, FINAL, RETRY, UNPLACED, check_pixels, require_answer
from legacylens.cutouts.service_layouts import read_resampled, read_subimage
from legacylens.cutouts.service_products import (
    check_jpeg,
    product_path,
    psf_of,
    read_psf,
    read_psf_answer,
    write_psf,
)
from legacylens.cutouts.service_request import (
    ServiceConfig,
    ServiceRequest,
    cutout_request,
    jpeg_request,
    maskbits_request,
    psf_request,
)
from legacylens.errors import FileProblem, InputError
from legacylens.survey.grid import brick_wcs
from legacylens.testing.viewer_answers import reply_to, understand
from legacylens.testing.viewer_faults import REASON_OF_FAULT
from legacylens.testing.viewer_sky import Sky, own_brick, vectors

SKY = Sky(off=0.0, without_z=0.0)
CONFIG = ServiceConfig(stamp=31)
RESAMPLED = ServiceConfig(stamp=31, layout="resampled")
RA, DEC = 150.1, 2.2


def answer(request, sky=SKY, **changes):
    question = understand(request.url("/viewer/"))
    return reply_to(sky, replace(question, **changes)).body


def subimage(body, request=None, stamp=31):
    return read_subimage("u", request or cutout_request(CONFIG, RA, DEC), 200, body, stamp)


def resampled(body, request=None):
    return read_resampled("u", request or cutout_request(RESAMPLED, RA, DEC), 200, body)


def edited(body, edit):
    """Return a FITS file after ``edit`` has changed its HDUs."""
    with fits.open(io.BytesIO(body)) as hdus:
        hdus = fits.HDUList([hdu.copy() for hdu in hdus])
        hdus = edit(hdus) or hdus
        out = io.BytesIO()
        hdus.writeto(out)
    return out.getvalue()


def reason_of(call, *args, match):
    with pytest.raises(FileProblem, match=match) as caught:
        call(*args)
    return caught.value.reason


# What a good answer gives


@given(st.floats(0, 359.99), st.floats(-80, 80))
def test_a_subimage_stamp_is_the_brick_around_the_pixel_that_holds_the_source(ra, dec):
    request = cutout_request(CONFIG, ra, dec)
    stamp = subimage(answer(request), request)
    brick = own_brick(ra, dec)
    assert stamp.brickname == brick.name
    wcs = brick_wcs(brick.ra, brick.dec, 3600, 3600)
    x, y = (float(value) for value in wcs.all_world2pix(ra, dec, 0))
    assert np.allclose([stamp.x0 + 15 + stamp.dx, stamp.y0 + 15 + stamp.dy], [x, y], atol=1e-5)
    assert max(abs(stamp.dx), abs(stamp.dy)) <= 0.50001
    rows, columns = np.mgrid[stamp.y0 : stamp.y0 + 31, stamp.x0 : stamp.x0 + 31]
    points = vectors(*wcs.all_pix2world(columns, rows, 0))
    bands = ("g", "r", "z")
    release = 9 if stamp.version.endswith("DR9-north") else 10
    assert np.allclose(stamp.image, SKY.brightness(points, bands, release=release), atol=1e-6)
    assert np.allclose(stamp.invvar, SKY.inverse_variance(points, bands), rtol=1e-6)
    check_pixels("u", bands, stamp.image, stamp.invvar)
    masks = maskbits_request(CONFIG, stamp.center_ra, stamp.center_dec)
    # Where bricks overlap the bits may be the neighbor's, half a pixel off. Elsewhere the grid of the answer turns
    # against the brick's by less than half a pixel over a stamp, away from the poles.
    if min(stamp.x0, stamp.y0) > 200 and max(stamp.x0, stamp.y0) < 3370:
        assert np.array_equal(read_resampled("u", masks, 200, answer(masks)).maskbits, SKY.mask_bits(points))


def test_a_resampled_stamp_is_centered_on_the_source():
    stamp = resampled(answer(cutout_request(RESAMPLED, RA, DEC)))
    assert stamp.image.shape == stamp.invvar.shape == (3, 31, 31)
    assert stamp.maskbits.shape == (31, 31)
    assert max(abs(stamp.dx), abs(stamp.dy)) < 1e-5
    assert stamp.image[:, 15, 15] == pytest.approx(SKY.brightness(vectors(RA, DEC), ("g", "r", "z")), abs=1e-6)
    assert stamp.brickname == ""


def test_one_band_is_understood():
    config = ServiceConfig(stamp=31, layout="resampled", bands=("r",))
    request = cutout_request(config, RA, DEC)
    assert resampled(answer(request), request).image.shape == (1, 31, 31)
    plain = cutout_request(ServiceConfig(stamp=31, bands=("r",), invvar=False), RA, DEC)
    stamp = subimage(answer(plain), plain)
    assert stamp.image.shape == (1, 31, 31)
    assert stamp.invvar is None


def test_the_north_of_ls_dr10_is_dr9():
    request = cutout_request(CONFIG, 180.0, 50.0)
    assert subimage(answer(request), request).version == "BASS MzLS DR9-north"


def test_a_neighbor_gives_the_stamp_only_where_it_holds_it_whole():
    brick = own_brick(RA, DEC)

    class Patchy(Sky):
        def covers(self, each, band):
            return each.name != brick.name

    sky = Patchy()
    wcs = brick_wcs(brick.ra, brick.dec, 3600, 3600)
    for column, inside in [(95, True), (160, False)]:  # 165 pixels are shared
        ra, dec = (float(value) for value in wcs.all_pix2world(column, 1800, 0))
        request = cutout_request(CONFIG, ra, dec)
        body = answer(request, sky)
        if inside:
            assert subimage(body, request).brickname != brick.name
        else:
            assert reason_of(subimage, body, request, match="reaches over the edge") == "over-edge"


# What is not what was asked for


def test_the_words_of_the_service_are_understood_whatever_the_status():
    for status, body, reason in [
        (200, b"no such layer", "unknown-layer"),
        (500, b"Server error: no overlap", "off-the-sky"),
        (500, b"<html><body>NoOverlapError()</body></html>", "off-the-sky"),
        (200, b"no CCDs overlapping", "missing-psf"),
        (200, b"No cutouts enabled", "not-fits"),
        (200, b"<html><title>Maintenance</title></html>", "not-fits"),
        (200, b"", "not-fits"),
        (429, b"Too Many Requests", "rate-limited"),
        (500, b"<html><title>Server Error (500)</title></html>", "server-error"),
        (503, b"", "server-error"),
        (400, b"bad ra", "refused"),
        (403, b"", "refused"),
    ]:
        assert reason_of(require_answer, "u", status, body, b"SIMPLE  =", match="status") == reason
    assert reason_of(require_answer, "u", 200, b"x", b"\xff\xd8\xff", match="no JPEG") == "not-jpeg"


def test_good_bytes_are_good_under_any_status():
    request = cutout_request(CONFIG, RA, DEC)
    assert read_subimage("u", request, 500, answer(request), 31).image.shape == (3, 31, 31)


@pytest.mark.parametrize("request_of", [CONFIG, RESAMPLED], ids=["subimage", "resampled"])
def test_the_silent_habits_of_the_service_are_seen(request_of):
    request = cutout_request(request_of, RA, DEC)
    read = subimage if request_of is CONFIG else resampled
    url = request.url("/viewer/")

    def lost(name):
        return reply_to(SKY, understand(url, drop=[name])).body

    assert (
        reason_of(read, lost("layer"), request, match="DR9-south', but ls-dr10 has DR9 in the north") == "other-layer"
    )
    assert reason_of(read, lost("bands"), request, match="were asked for") == "other-bands"
    assert reason_of(read, reply_to(SKY, understand(url, 20)).body, request, match="20") == "other-size"
    assert reason_of(read, answer(request, dec=DEC + 0.01), request, match="off the position") == "other-position"
    assert reason_of(read, answer(request, ra=RA + 180), request, match="off the position") == "other-position"
    if read is resampled:
        assert reason_of(read, answer(request, pixscale=0.27), request, match="north up") == "other-scale"
        assert reason_of(read, lost("size"), request, match="256") == "other-size"
        assert reason_of(read, answer(request, dec=DEC + 3e-5), request, match="off the position") == "other-position"
        assert reason_of(read, lost("invvar"), request, match="no inverse variances") == "missing-invvar"
        assert reason_of(read, lost("maskbits"), request, match="no mask bits") == "missing-maskbits"
        assert reason_of(read, answer(cutout_request(CONFIG, RA, DEC)), request, match="too many") == "other-layout"
    else:
        assert reason_of(read, lost("subimage"), request, match="without brick and band") == "other-layout"


def test_bands_in_another_order_are_refused():
    def swap(hdus):
        hdus[0].header["BANDS"] = "rgz"

    body = edited(answer(cutout_request(RESAMPLED, RA, DEC)), swap)
    assert reason_of(resampled, body, match="bands rgz where grz") == "other-bands"

    def rename(hdus):
        del hdus[0].header["BANDS"]
        hdus[0].header["BAND1"] = "i"

    assert reason_of(resampled, edited(body, rename), match="bands giz where grz") == "other-bands"


@pytest.mark.parametrize(
    ("card", "value", "message", "reason"),
    [
        ("BUNIT", "ADU", "pixels in 'adu'", "units"),
        ("IMAGETYP", "model", "model of", "other-layer"),
        ("VERSION", "DR8-south", "where layer ls-dr10", "other-layer"),
        ("CD1_1", -1e-4, "north up", "other-scale"),
        ("CTYPE1", "GLON-TAN", "GLON", "other-scale"),
    ],
)
def test_cards_that_say_something_else(card, value, message, reason):
    for body, read in [
        (answer(cutout_request(RESAMPLED, RA, DEC)), resampled),
        (answer(cutout_request(CONFIG, RA, DEC)), subimage),
    ]:

        def edit(hdus):
            for hdu in hdus:
                if hdu.header["IMAGETYP"] == "image":
                    hdu.header[card] = value

        assert reason_of(read, edited(body, edit), match=message) == reason


def test_stated_nanomaggies_are_welcome():
    def edit(hdus):
        for hdu in hdus:
            hdu.header["BUNIT"] = "nanomaggy"

    assert subimage(edited(answer(cutout_request(CONFIG, RA, DEC)), edit)).image.shape == (3, 31, 31)


def test_pieces_that_lack_something():
    body = answer(cutout_request(CONFIG, RA, DEC))

    def without(band, kind):
        def edit(hdus):
            return fits.HDUList(
                [hdus[0]] + [hdu for hdu in hdus[1:] if (hdu.header["BAND"], hdu.header["IMAGETYP"]) != (band, kind)]
            )

        return edited(body, edit)

    assert reason_of(subimage, without("z", "image"), match="no image in z") == "missing-band"
    assert reason_of(subimage, without("r", "invvar"), match="without invvar") == "missing-invvar"
    assert reason_of(subimage, edited(body, lambda hdus: hdus[:1]), match="no brick of the layer") == "off-the-sky"
    twice = edited(body, lambda hdus: fits.HDUList([*hdus, hdus[1].copy()]))
    assert reason_of(subimage, twice, match="do not belong together") == "other-layout"

    def nameless(hdus):
        del hdus[1].header["BRICK_X0"]

    assert reason_of(subimage, edited(body, nameless), match="BRICK_X0 = None") == "other-layout"
    empty = edited(answer(cutout_request(RESAMPLED, RA, DEC)), lambda _: fits.HDUList([fits.PrimaryHDU()]))
    assert reason_of(resampled, empty, match="without an image") == "other-layout"


def test_pixels_without_exposures_are_named():
    bands = ("g", "r", "z")
    stamp = subimage(answer(cutout_request(CONFIG, RA, DEC)))
    image = stamp.image.copy()
    image[2] = 0
    assert reason_of(check_pixels, "u", bands, image, stamp.invvar, match="band z is zero") == "missing-band"
    image[:] = 0
    assert reason_of(check_pixels, "u", bands, image, stamp.invvar, match="zero everywhere") == "off-the-sky"
    assert reason_of(check_pixels, "u", bands, stamp.image * 1e3, stamp.invvar, match="ADU") == "units"
    image = stamp.image.copy()
    image[0, 3, 3] = np.nan
    assert reason_of(check_pixels, "u", bands, image, stamp.invvar, match="NaN") == "nan"


@given(st.data())
def test_damaged_answers_give_a_named_problem_or_the_right_pixels(data):
    request = cutout_request(CONFIG, RA, DEC)
    body = bytearray(answer(request))
    place = data.draw(st.integers(0, len(body) - 1))
    junk = data.draw(st.binary(min_size=1, max_size=80))
    body[place : place + len(junk)] = junk
    try:
        stamp = subimage(bytes(body))
    except FileProblem as problem:
        reason = problem.reason
    else:
        # Damage within pixels cannot be seen: TCP's own check is all there is. Nothing else moves.
        reason = "" if stamp.brickname else "?"
        assert stamp.image.shape == (3, 31, 31)
    assert reason in ("", *RETRY, *FINAL)


def test_every_reason_is_either_asked_again_or_final():
    assert not set(RETRY) & set(FINAL)
    assert set(REASON_OF_FAULT.values()) <= set(RETRY)
    assert {*ABSENT, *UNPLACED} <= set(FINAL)


# PSF and pictures


def psf(body, bands=("g", "r", "z")):
    request = psf_request(ServiceConfig(bands=bands), RA, DEC)
    return read_psf_answer("u", request, 200, body)


def test_psf_is_centered_normalized_and_survives_the_disk(tmp_path):
    found = psf(answer(psf_request(ServiceConfig(), RA, DEC)))
    path = product_path(tmp_path, "psf", "a/b c")
    write_psf(path, found, origin="u")
    assert path.parent == tmp_path / "psf"
    again = read_psf(tmp_path, "a/b c")
    for band in "grz":
        plane = found.planes[band]
        assert plane.sum() == pytest.approx(1.0)
        assert np.unravel_index(plane.argmax(), plane.shape) == tuple(side // 2 for side in plane.shape)
        assert np.allclose(again.planes[band], plane, atol=1e-7)
        assert max(abs(value) for value in found.centroids[band]) < 1e-6
    with pytest.raises(FileProblem, match="no such PSF"):
        read_psf(tmp_path, "c")


def test_psf_off_center_by_a_pixel_is_moved_and_its_offset_measured():
    offset = np.arange(32) - 16.2
    plane = np.exp(-(offset[:, None] ** 2 + (offset + 0.5) ** 2) / 8.0)  # even side, centroid (15.7, 16.2)
    found = psf_of("u", {"r": 3.0 * plane})
    assert found.planes["r"].shape == (31, 31)
    assert found.planes["r"].sum() == pytest.approx(1.0)
    x, y = found.centroids["r"]
    # The window of 7 pixels pulls the centroid toward its middle.
    assert -0.35 < x < -0.1
    assert 0.1 < y < 0.25


def test_psfs_that_are_none():
    body = answer(psf_request(ServiceConfig(), RA, DEC))
    assert reason_of(psf, body, ("g", "r", "i", "z"), match="grz where griz") == "missing-psf"
    assert reason_of(psf, body, ("g",), match="grz where g") == "other-bands"
    assert reason_of(psf, b"no CCDs overlapping", match="no exposure covers") == "missing-psf"

    def spoil(change):
        def edit(hdus):
            hdus[1].data = change(hdus[1].data)

        return edited(body, edit)

    assert reason_of(psf, spoil(lambda data: data * np.nan), match="sum nan") == "bad-psf"
    assert reason_of(psf, spoil(lambda data: -data), match="sum -0.99") == "bad-psf"
    assert reason_of(psf, spoil(lambda data: np.roll(data, 9)), match="its peak at") == "bad-psf"
    assert reason_of(psf, spoil(lambda data: np.stack([data, data])), match="image of shape") == "other-layout"


def test_names_too_long_for_a_file_are_refused(tmp_path):
    with pytest.raises(InputError, match="too long for the name of a file"):
        product_path(tmp_path, "jpeg", "x" * 300)


def test_pictures():
    config = ServiceConfig(jpeg_size=48)
    request = jpeg_request(config, RA, DEC)
    body = answer(request)
    check_jpeg("u", request, 200, body)
    assert reason_of(check_jpeg, "u", request, 200, body[:-200], match="without its end") == "truncated"
    spoiled = body[:300] + body[-300:]
    assert reason_of(check_jpeg, "u", replace(request, size=32), 200, body, match="48 x 48") == "other-size"
    with pytest.raises(FileProblem, match="JPEG") as caught:
        check_jpeg("u", request, 200, spoiled[:200] + b"\xff\xd9")
    assert caught.value.reason == "truncated"
    blank = answer(request, Sky(off=1.0))
    assert reason_of(check_jpeg, "u", request, 200, blank, match="blank picture") == "off-the-sky"
    assert reason_of(check_jpeg, "u", request, 200, b"<html>", match="no JPEG") == "not-jpeg"


# An answer of the real service


@pytest.mark.real
def test_a_cutout_of_the_real_service_is_read(real_data):
    folder = real_data / "ls-dr9-cutout"
    body = (folder / "cutout_59.1067_-30.4848.fits").read_bytes()
    request = ServiceRequest(
        kind="subimage",
        ra=59.1067,
        dec=-30.4848,
        layer="ls-dr9-south",
        bands=("g", "r", "z"),
        size=256,
        pixscale=0.262,
        flags=("invvar", "subimage"),
    )
    stamp = read_subimage("u", request, 200, body, 101)
    check_pixels("u", request.bands, stamp.image, stamp.invvar)
    assert stamp.version == "DECaLS DR9-south"
    assert stamp.brickname == "0591m305"
    with fits.open(io.BytesIO(body)) as hdus:
        x, y = WCS(hdus[1].header).all_world2pix(59.1067, -30.4848, 0)
        column, row = round(float(x)), round(float(y))
        window = (slice(row - 50, row + 51), slice(column - 50, column + 51))
        for place in range(3):
            assert np.array_equal(stamp.image[place], hdus[1 + 2 * place].data[window])
            assert np.array_equal(stamp.invvar[place], hdus[2 + 2 * place].data[window])
        assert (stamp.x0, stamp.y0) == (2540 + column - 50, 1880 + row - 50)
    assert reason_of(
        read_subimage, "u", replace(request, layer="ls-dr10"), 200, body, 101, match="has DR9 in the north only"
    ) == ("other-layer")
    found = read_psf_answer("u", request, 200, (folder / "copsf_59.1067_-30.4848.fits").read_bytes())
    assert {plane.shape for plane in found.planes.values()} == {(63, 63)}
    assert max(abs(value) for pair in found.centroids.values() for value in pair) < 0.3
