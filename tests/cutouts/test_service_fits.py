"""Reading what the service sends: the same as astropy where it is whole, refused where it is not."""

import contextlib
import io

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

from legacylens.cutouts.service_answer import Grid, grid_of
from legacylens.cutouts.service_fits import card_value, describe, read_hdus
from legacylens.errors import FileProblem
from legacylens.survey.grid import grid_header


def whole_file(seed=0):
    rng = np.random.default_rng(seed)
    hdus = [fits.PrimaryHDU(rng.normal(size=(3, 7, 5)).astype(np.float32))]
    hdus[0].header["IMAGETYP"] = "image"
    hdus += [
        fits.ImageHDU(rng.integers(-9, 9, (7, 5)).astype(dtype)) for dtype in (np.uint8, np.int16, np.int32, np.int64)
    ]
    hdus.append(fits.ImageHDU(rng.integers(0, 9, (7, 5)).astype(np.uint16)))  # BZERO = 32768
    hdus.append(fits.ImageHDU(rng.normal(size=(4, 4))))
    hdus.append(fits.ImageHDU())
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer)
    return buffer.getvalue()


BODY = whole_file()


def test_images_and_cards_are_those_of_astropy():
    with fits.open(io.BytesIO(BODY)) as expected:
        found = read_hdus("u", BODY)
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            for key in theirs.header:
                assert ours.header[key] == theirs.header[key]
            if theirs.data is None:
                assert ours.data is None
            else:
                assert np.array_equal(ours.data, theirs.data)
                assert ours.data.dtype.isnative


texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)


@given(
    st.one_of(texts, st.integers(-(10**12), 10**12), st.booleans(), st.floats(allow_nan=False, allow_infinity=False))
)
def test_card_values_are_those_of_astropy(value):
    card = fits.Card("KEY_1-A", value, "a comment / with 'marks'" if not isinstance(value, str) else None)
    keyword, found = card_value(str(card))
    assert keyword == "KEY_1-A"
    expected = fits.Card.fromstring(str(card)).value
    assert found == expected
    assert isinstance(found, bool) == isinstance(expected, bool)


@pytest.mark.parametrize(
    "card", ["COMMENT  one = two", "HISTORY", "END", " " * 80, "KEY     =", "KEY     = (1, 2)", "KEY = 'x"]
)
def test_cards_without_a_plain_value_have_none(card):
    assert card_value(f"{card:<80}") is None


@given(st.integers(0, len(BODY) - 1))
def test_a_file_cut_anywhere_but_between_images_is_refused(length):
    # Cut exactly between two images nobody can tell; that is for the next layer, which knows what it asked for.
    seams = set()
    with fits.open(io.BytesIO(BODY)) as hdus:
        for index in range(len(hdus)):
            seams.add(hdus.fileinfo(index)["hdrLoc"])
    if length in seams - {0}:
        assert len(read_hdus("u", BODY[:length])) < 8
    else:
        with pytest.raises(FileProblem, match=r"cut short|no FITS") as caught:
            read_hdus("u", BODY[:length])
        assert caught.value.reason in ("truncated", "not-fits")


@given(st.integers(0, len(BODY) - 1), st.binary(min_size=1, max_size=200))
def test_damaged_bytes_raise_nothing_but_a_named_problem(place, junk):
    damaged = (BODY[:place] + junk + BODY[place + len(junk) :])[: len(BODY)]
    with contextlib.suppress(FileProblem):
        for hdu in read_hdus("u", damaged):
            grid_of("u", hdu.header)


def test_a_table_is_no_image():
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(np.zeros(3, [("a", "f4")]))]).writeto(buffer)
    with pytest.raises(FileProblem, match="BINTABLE where images belong"):
        read_hdus("u", buffer.getvalue())


def test_a_header_without_end_is_refused():
    with pytest.raises(FileProblem, match="a header without end"):
        read_hdus("u", b"SIMPLE  =                    T".ljust(80) + b" " * 2880 * 100)
    with pytest.raises(FileProblem, match="a header that cannot be read"):
        read_hdus("u", (b"SIMPLE  = \xff".ljust(80) + b"END".ljust(80)).ljust(2880))
    with pytest.raises(FileProblem, match="without a valid 'BITPIX'"):
        read_hdus("u", (b"SIMPLE  =                    T".ljust(80) + b"END".ljust(80)).ljust(2880))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"<html><title>Gone\n fishing</title>", "HTML with the title"),
        (b"<!DOCTYPE html><p>", "a page of HTML"),
        (b"no such layer", "the text 'no such layer'"),
        (b"\xff\xd8\xff\xe0", "a JPEG"),
        (bytes(range(128, 160)), "32 bytes that start with 8081"),
    ],
)
def test_what_is_no_fits_is_described(body, words):
    assert words in describe(body)
    with pytest.raises(FileProblem, match="no FITS file"):
        read_hdus("u", body)


@given(ra=st.floats(0, 359.99), dec=st.floats(-85, 85), dx=st.floats(-1800, 1800), dy=st.floats(-1800, 1800))
def test_positions_on_the_grid_are_those_of_wcslib(ra, dec, dx, dy):
    header = grid_header(ra, dec, 3600, 3600)
    wcs = WCS(header)
    grid = grid_of("u", dict(header))
    x, y = 1799.5 + dx, 1799.5 + dy
    theirs = wcs.all_pix2world(x, y, 0)
    ours = grid.position(x, y)
    # 1e-9 deg is 1e-5 pixel; right ascension counts less toward the poles.
    assert abs((ours[0] - float(theirs[0]) + 180) % 360 - 180) * np.cos(np.radians(dec)) < 1e-9
    assert abs(ours[1] - float(theirs[1])) < 1e-9
    back = grid.pixel(*ours)
    assert np.hypot(back[0] - x, back[1] - y) < 1e-5


def test_the_far_side_of_the_sky_is_on_no_grid():
    assert np.isnan(Grid(ra=10.0, dec=0.0, x=0.0, y=0.0).pixel(190.0, 0.0)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"CD1_1": -1.0 / 3600}, "0.262 arcsec, north up"),
        ({"CD1_1": 0.262 / 3600}, "0.262 arcsec, north up"),
        ({"CD1_2": 0.01 / 3600}, "0.262 arcsec, north up"),
        ({"CD2_2": float("nan")}, "0.262 arcsec, north up"),
        ({"CTYPE1": "RA---SIN"}, "projection RA---SIN/DEC--TAN"),
        ({"CRVAL1": None}, "without coordinates"),
        ({"CRPIX2": "x"}, "without coordinates"),
    ],
)
def test_other_scales_and_orientations_are_refused(change, message):
    cards = {**dict(grid_header(10.0, 20.0, 101, 101)), **change}
    with pytest.raises(FileProblem, match=message) as caught:
        grid_of("u", {key: value for key, value in cards.items() if value is not None})
    assert caught.value.reason == "other-scale"
