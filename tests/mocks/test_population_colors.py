"""Colors of sources: closed forms, features at the right redshifts, and real galaxies."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from legacylens.mocks.source_colors import FILTERS, calzetti, colors, spectrum, synthetic_magnitudes


def test_power_law_has_its_closed_form():
    """At z = 1.8 a young galaxy is a power law of slope -2.4 in g and r; boxes in d ln(lambda) have an exact mean."""
    power = -2.4 + 2.0

    def mean(low, high):
        return (high**power - low**power) / (power * np.log(high / low))

    expected = -2.5 * np.log10(mean(*FILTERS["g"]) / mean(*FILTERS["r"]))
    g, r, _ = synthetic_magnitudes(1.8, 0.0, 0.0)
    assert g - r == pytest.approx(expected, abs=2e-4)  # 64 samples of a smooth spectrum


def test_calzetti_is_one_in_v_and_steep_in_the_ultraviolet():
    assert calzetti(5500.0) == pytest.approx(1.0, abs=0.01)
    assert calzetti(1600.0) == pytest.approx(9.97 / 4.05, rel=0.02)  # k(1600 A) of the starburst law
    rising = calzetti(np.linspace(1000.0, 20000.0, 50))
    assert np.all(np.diff(rising) < 0)


def test_no_light_below_the_lyman_limit():
    assert np.all(spectrum(np.array([300.0, 911.0]), 0.5) == 0.0)
    g, r, _ = synthetic_magnitudes(5.5, 0.0, 0.0)  # the limit is at 5,928 A
    assert g - r > 5


def test_the_break_moves_through_the_filters():
    """Balmer break between g and r at z = 0.5, between r and z at z = 1: colors peak there, not elsewhere."""
    z = np.linspace(0.05, 2.2, 200)
    g_r, r_z = colors(z, 0.8, 0.3)
    assert 0.35 < z[np.argmax(g_r)] < 0.65
    assert 0.85 < z[np.argmax(r_z)] < 1.2


def test_dust_and_age_redden():
    z = np.array([0.4, 1.0, 1.8, 2.5])
    for more, less in (((0.2, 1.0), (0.2, 0.2)), ((0.9, 0.2), (0.2, 0.2))):
        for redder, bluer in zip(colors(z, *more), colors(z, *less), strict=True):
            assert np.all(redder > bluer)


def test_a_shift_of_the_slope_reddens_the_ultraviolet_only():
    shifted, plain = colors(1.8, 0.1, 0.0, uv_slope_shift=0.5), colors(1.8, 0.1, 0.0)
    assert shifted[0] - plain[0] == pytest.approx(2.5 * 0.5 * np.log10(6397 / 4711), abs=0.01)


@pytest.mark.real
def test_real_galaxies_have_these_colors(real_data):
    """HSC colors of HST galaxies at their photometric redshifts: some template is near nine of ten.

    0.25 mag: the redshifts are photometric and the filters HSC's.
    """
    table = fits.getdata(real_data / "hst-cosmos" / "catalog.fits")
    z = np.asarray(table["ZPHOT"], dtype=float)
    age, dust = np.meshgrid(np.linspace(0, 1, 11), np.linspace(0, 2, 9))
    away = []
    for k in np.flatnonzero((z > 0.3) & (z < 2.8)):
        g_r, r_z = colors(z[k], age, dust)
        measured = table["HSC_g"][k] - table["HSC_r"][k], table["HSC_r"][k] - table["HSC_z"][k]
        away.append(np.hypot(g_r - measured[0], r_z - measured[1]).min())
    assert len(away) > 40
    assert np.quantile(away, 0.9) < 0.25
    assert np.median(away) < 0.1
