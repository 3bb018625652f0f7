import numpy as np
import pytest
from astropy.cosmology import FlatLambdaCDM
from hypothesis import given
from hypothesis import strategies as st

from legacylens.errors import PhysicalRangeError
from legacylens.lensing.cosmology import distances, einstein_radius, velocity_dispersion

UNIVERSE = FlatLambdaCDM(H0=70, Om0=0.3, Tcmb0=0.0)


def test_distances_are_astropys():
    z = np.geomspace(1e-3, 11.9, 200)
    np.testing.assert_allclose(distances().comoving(z), UNIVERSE.comoving_distance(z).value, rtol=1e-8)
    np.testing.assert_allclose(distances().angular_diameter(z), UNIVERSE.angular_diameter_distance(z).value, rtol=1e-8)


@given(z_l=st.floats(0.01, 3.0), gap=st.floats(0.01, 5.0))
def test_ratio_is_that_of_the_angular_diameter_distances(z_l, gap):
    # chi_s - chi_l over (1 + z_s) is D_ls, and chi_s over the same is D_s: the definition, for a flat universe.
    chi = UNIVERSE.comoving_distance([z_l, z_l + gap]).value
    assert distances().ratio(z_l, z_l + gap) == pytest.approx((chi[1] - chi[0]) / chi[1], rel=1e-6)


@given(sigma_v=st.floats(100, 400), z_l=st.floats(0.1, 1.0), gap=st.floats(0.1, 3.0))
def test_velocity_dispersion_inverts_the_einstein_radius(sigma_v, z_l, gap):
    theta_E = einstein_radius(sigma_v, z_l, z_l + gap)
    assert velocity_dispersion(theta_E, z_l, z_l + gap) == pytest.approx(sigma_v, rel=1e-12)


def test_another_universe():
    assert distances(omega_m=1.0).ratio(0.5, 2.0) == pytest.approx(
        1 - (1 - 1.5**-0.5) / (1 - 3**-0.5), rel=1e-8
    )  # Einstein-de Sitter: chi ~ 1 - (1 + z)^-1/2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: einstein_radius(250.0, 0.5, 0.4), r"z_s = 0\.4 is outside > z_l = 0\.5"),
        (lambda: einstein_radius(250.0, [0.3, 0.5], [0.6, 0.5]), r"z_s = 0\.5 is outside > z_l = 0\.5"),
        (lambda: einstein_radius(250.0, 0.0, 0.4), r"z_l = 0\.0 is outside > 0"),
        (lambda: einstein_radius(-1.0, 0.2, 0.4), r"sigma_v = -1\.0 is outside > 0 km/s"),
        (lambda: einstein_radius(200.0, 0.2, float("nan")), "z_s = nan"),
        (lambda: velocity_dispersion(0.0, 0.2, 0.4), r"theta_E = 0\.0"),
        (lambda: distances().comoving(13.0), r"redshift = 13\.0 is outside \[0, 12\]"),
        (lambda: distances(omega_m=0.0), "cosmology"),
    ],
)
def test_impossible_distances_are_refused(call, message):
    with pytest.raises(PhysicalRangeError, match=message):
        call()
