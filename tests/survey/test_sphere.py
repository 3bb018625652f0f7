import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from hypothesis import given
from hypothesis import strategies as st

from legacylens.survey.sphere import groups_within, match_within, nearest, offset_position, separation_arcsec

RA = st.floats(0.0, 359.999999)
DEC = st.floats(-89.9, 89.9)


@given(ra1=RA, dec1=DEC, ra2=RA, dec2=DEC)
def test_separation_agrees_with_astropy(ra1, dec1, ra2, dec2):
    ours = separation_arcsec(ra1, dec1, ra2, dec2)[0]
    theirs = SkyCoord(ra1 * units.deg, dec1 * units.deg).separation(SkyCoord(ra2 * units.deg, dec2 * units.deg)).arcsec
    # The chord loses digits only near the antipode, where nobody matches anything.
    assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-6)


def test_matches_agree_with_brute_force_across_ra_zero():
    rng = np.random.default_rng(1)
    ra1, dec1 = (rng.uniform(-0.01, 0.01, 200)) % 360, rng.uniform(-0.01, 0.01, 200)
    ra2, dec2 = (rng.uniform(-0.01, 0.01, 150)) % 360, rng.uniform(-0.01, 0.01, 150)
    i, j, separation = match_within(ra1, dec1, ra2, dec2, 5.0)
    brute = np.array(
        [
            [separation_arcsec(a, b, c, d)[0] for c, d in zip(ra2, dec2, strict=False)]
            for a, b in zip(ra1, dec1, strict=False)
        ]
    )
    assert set(zip(i.tolist(), j.tolist(), strict=False)) == {
        tuple(map(int, pair)) for pair in np.argwhere(brute <= 5.0)
    }
    assert separation == pytest.approx(brute[i, j], abs=1e-6)
    index, distance = nearest(ra1, dec1, ra2, dec2)
    assert index.tolist() == brute.argmin(axis=1).tolist()
    assert distance == pytest.approx(brute.min(axis=1), abs=1e-6)


def test_nearest_of_an_empty_list_is_infinitely_far():
    index, distance = nearest([10.0, 20.0], [0.0, 0.0], [], [])
    assert index.tolist() == [-1, -1]
    assert np.isinf(distance).all()


def test_groups_are_chains_and_are_numbered_by_first_member():
    # 4 arcsec steps: a chain of three, a lone one, a pair.
    dec = np.array([0.0, 4.0, 8.0, 100.0, 200.0, 203.0]) / 3600.0
    assert groups_within(np.zeros(6), dec, 5.0).tolist() == [0, 0, 0, 1, 2, 2]
    assert groups_within(np.zeros(6), dec, 3.5).tolist() == [0, 1, 2, 3, 4, 4]


@given(ra=RA, dec=st.floats(-85.0, 85.0), r=st.floats(0.1, 600.0), angle=st.floats(0.0, 2 * np.pi))
def test_an_offset_lands_at_its_distance(ra, dec, r, angle):
    ra2, dec2 = offset_position(ra, dec, r * np.cos(angle), r * np.sin(angle))
    # Gnomonic distances exceed true ones by r^3 / 3 rad: 3e-6 of r at 600 arcsec.
    assert separation_arcsec(ra, dec, ra2, dec2)[0] == pytest.approx(r, rel=4e-6, abs=1e-5)
