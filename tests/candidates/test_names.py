"""Names: truncated and rounded exactly, in decimal arithmetic, with collisions told apart."""

from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from legacylens.candidates.names import desi_names, iau_names, resolve_collisions
from legacylens.errors import InputError

RIGHT_ASCENSIONS = st.decimals(0, Decimal("359.9999999"), places=7)
DECLINATIONS = st.decimals(-90, 90, places=7)


@given(ra=RIGHT_ASCENSIONS, dec=DECLINATIONS)
@settings(deadline=None, max_examples=300)
def test_truncation_is_that_of_decimal_arithmetic(ra, dec):
    """The position as it is written in a table, to seven decimals, truncated without any binary rounding."""
    seconds = (ra * 240).quantize(Decimal("0.01"), ROUND_DOWN)
    arcsec = (abs(dec) * 3600).quantize(Decimal("0.1"), ROUND_DOWN)
    hours, seconds = divmod(seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    degrees, arcsec = divmod(arcsec, 3600)
    arcmin, arcsec = divmod(arcsec, 60)
    sign = "-" if dec < 0 else "+"
    expected = (
        f"J{int(hours):02d}{int(minutes):02d}{seconds:05.2f}{sign}{int(degrees):02d}{int(arcmin):02d}{arcsec:04.1f}"
    )
    assert iau_names(float(ra), float(dec)) == [expected]


@given(ra=RIGHT_ASCENSIONS, dec=DECLINATIONS)
@settings(deadline=None, max_examples=300)
def test_rounding_is_that_of_decimal_arithmetic(ra, dec):
    rounded_ra = ra.quantize(Decimal("0.0001"), ROUND_HALF_UP) % 360
    rounded_dec = abs(dec).quantize(Decimal("0.0001"), ROUND_HALF_UP)
    sign = "-" if dec < 0 else "+"
    assert desi_names(float(ra), float(dec)) == [f"DESI-{rounded_ra:08.4f}{sign}{rounded_dec:07.4f}"]


@given(ra=st.floats(0, 360, exclude_max=True), dec=st.floats(-90, 90))
@settings(deadline=None, max_examples=100)
def test_the_name_says_where_the_object_is(ra, dec):
    name = iau_names(ra, dec)[0]
    text = f"{name[1:3]}h{name[3:5]}m{name[5:10]}s {name[10:13]}d{name[13:15]}m{name[15:]}s"
    place = SkyCoord(text, frame="icrs")
    # Truncated by up to 0.01 s of time (0.15 arcsec at the equator) and 0.1 arcsec.
    assert 0 <= (ra - place.ra.deg) % 360 * 240 < 0.01 + 1e-5 or (place.ra.deg - ra) * 240 < 1e-5
    assert abs(dec - place.dec.deg) * 3600 < 0.1 + 1e-5
    assert len(name) == 19


@pytest.mark.parametrize(
    ("ra", "dec", "iau", "desi"),
    [
        (0.0, 0.0, "J000000.00+000000.0", "DESI-000.0000+00.0000"),
        (359.99999, -0.00001, "J235959.99-000000.0", "DESI-000.0000-00.0000"),
        (1.1, 1.1, "J000424.00+010600.0", "DESI-001.1000+01.1000"),  # 1.1 * 240 is 264.00000000000006
        (2.3, -2.3, "J000912.00-021800.0", "DESI-002.3000-02.3000"),
        (360.0, 90.0, "J000000.00+900000.0", "DESI-000.0000+90.0000"),
        (-0.5, 10.0, "J235800.00+100000.0", "DESI-359.5000+10.0000"),
        (90.00005, -89.99995, "J060000.01-895959.8", "DESI-090.0001-90.0000"),
    ],
)
def test_positions_where_rounding_bites(ra, dec, iau, desi):
    assert iau_names(ra, dec) == [iau]
    assert desi_names(ra, dec) == [desi]


def test_agrees_with_a_published_name():
    """DESI-165.4754-06.0423 is the Carousel-like form; a position that rounds there gets the name back."""
    position = SkyCoord(165.47538 * u.deg, -6.04226 * u.deg)
    assert desi_names(position.ra.deg, position.dec.deg) == ["DESI-165.4754-06.0423"]


@given(names=st.lists(st.sampled_from(["J1", "J2", "J3"]), max_size=80))
@settings(deadline=None, max_examples=50)
def test_resolved_names_are_unique_and_keep_their_position(names):
    resolved = resolve_collisions(names)
    assert len(set(resolved)) == len(resolved)
    assert all(new.startswith(old) for new, old in zip(resolved, names, strict=True))
    assert all(new == old for new, old in zip(resolved, names, strict=True) if names.count(old) == 1)


def test_more_than_an_alphabet_of_collisions():
    resolved = resolve_collisions(["J"] * 30)
    assert resolved[0] == "Ja"
    assert resolved[25:28] == ["Jz", "Jaa", "Jab"]


@pytest.mark.parametrize(("ra", "dec"), [(np.nan, 0.0), (0.0, 91.0), (np.inf, 0.0)])
def test_no_name_without_a_position(ra, dec):
    with pytest.raises(InputError, match="finite position"):
        iau_names(ra, dec)
