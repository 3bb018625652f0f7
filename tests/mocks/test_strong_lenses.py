"""Lenses of the mock sky: selection, distributions, and the flux of their arcs."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from numpy.random import default_rng
from scipy.special import gamma, gammaincinv

from legacylens.mocks.arcs import STAMP, draw_arcs
from legacylens.mocks.conditions import Conditions, draw_conditions
from legacylens.mocks.deflectors import median_log_sigma
from legacylens.mocks.psf import Psf, moffat_psfs
from legacylens.mocks.release_config import POPULATION
from legacylens.mocks.strong_lenses import HOST_LIMIT, StrongLens, contrast_of, draw_lens, host_row


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@cache
def population(n: int = 40) -> tuple[tuple[Conditions, StrongLens], ...]:
    rng = default_rng(42)
    drawn = []
    for k in range(n):
        conditions = draw_conditions(default_rng(k), missing_band=None, at_edge=False)
        lens = draw_lens(rng, conditions, POPULATION, 1.0)
        assert lens is not None
        drawn.append((conditions, lens))
    return tuple(drawn)


def brute_magnification(lens: StrongLens, step: float = 0.02, half: float = 7.0) -> float:
    """Inverse ray shooting with a formula of our own: the SIE of Kormann et al. 1994 and a shear, in NumPy."""
    axis = np.arange(-half, half, step) + step / 2
    x, y = np.meshgrid(axis, axis)
    row = lens.row
    dx, dy = x - row["mass_x"], y - row["mass_y"]
    cos, sin = np.cos(row["mass_phi"]), np.sin(row["mass_phi"])
    a, b = cos * dx + sin * dy, cos * dy - sin * dx
    q, f = row["mass_q"], np.sqrt(1 - row["mass_q"] ** 2)
    psi = np.sqrt(q**2 * a**2 + b**2)
    alpha_a = lens.theta_E * np.sqrt(q) / f * np.arctan(f * a / psi)
    alpha_b = lens.theta_E * np.sqrt(q) / f * np.arctanh(f * b / psi)
    beta_x = x - (cos * alpha_a - sin * alpha_b) - row["gamma1"] * dx - row["gamma2"] * dy
    beta_y = y - (sin * alpha_a + cos * alpha_b) - row["gamma2"] * dx + row["gamma1"] * dy
    u, v = beta_x - row["source_x"], beta_y - row["source_y"]
    cos, sin = np.cos(row["source_phi"]), np.sin(row["source_phi"])
    u, v = cos * u + sin * v, cos * v - sin * u
    n, r_e = row["source_n"], row["source_r_e"]
    b_n = gammaincinv(2 * n, 0.5)
    radius = np.sqrt(row["source_q"] * u**2 + v**2 / row["source_q"]) / r_e
    total = 2 * np.pi * n * r_e**2 * b_n ** (-2 * n) * gamma(2 * n)
    return float(np.sum(np.exp(-b_n * radius ** (1 / n))) * step**2 / total)


def test_arcs_carry_the_flux_of_the_source_times_the_magnification() -> None:
    for conditions, lens in population()[:8]:
        bands = list(conditions.bands.values())
        psf = Psf(moffat_psfs([b.fwhm for b in bands], [b.beta for b in bands]))
        dust = np.array([0.8, 0.85, 0.9])
        arcs = draw_arcs(lens, 0, 700.3, 611.8, psf, dust)
        magnification = brute_magnification(lens)
        # Small sources near a caustic are what the brute sum itself resolves to half a per cent.
        assert arcs.magnification == pytest.approx(magnification, rel=0.01)
        expected = lens.source_flux * dust * magnification
        assert np.allclose(arcs.image.sum(axis=(1, 2)), expected, rtol=0.01)


def test_arcs_lie_around_the_host_at_the_einstein_radius() -> None:
    for conditions, lens in population()[:8]:
        bands = list(conditions.bands.values())
        psf = Psf(moffat_psfs([b.fwhm for b in bands], [b.beta for b in bands]))
        arcs = draw_arcs(lens, 0, 100.0, 100.0, psf, np.ones(3))
        assert (arcs.left, arcs.bottom) == (100 - STAMP // 2, 100 - STAMP // 2)
        y, x = np.indices(arcs.image.shape[1:])
        radius = np.hypot(x + arcs.left - 100, y + arcs.bottom - 100) * 0.262
        light = arcs.image[1]
        mean = float((radius * light).sum() / light.sum())
        assert 0.5 * lens.theta_E < mean < 2.2 * lens.theta_E + 0.7


def test_einstein_radii_follow_the_prescribed_distribution() -> None:
    theta = np.array([lens.theta_E for _, lens in population()])
    # The median of 40 from a log-normal of width 0.26 is known to 5 per cent; selection by seeing shifts it up.
    assert np.median(theta) == pytest.approx(POPULATION.deflectors.theta_E_median, rel=0.12)
    assert 0.7 < np.quantile(theta, 0.05) < 1.1
    assert 1.7 < np.quantile(theta, 0.95) < 2.6


def test_the_host_that_gets_a_lens_has_the_luminosity_for_it() -> None:
    rest = []
    for _, lens in population():
        r = 22.5 - 2.5 * np.log10(lens.host.flux[1])
        median = median_log_sigma(POPULATION.deflectors, r, lens.host.redshift)
        rest.append(float(np.log10(lens.row["sigma_v"]) - median))
        assert 22.5 - 2.5 * np.log10(lens.host.flux[2]) < HOST_LIMIT
        assert lens.row["z_s"] > lens.row["z_l"]
    # The scatter of the relation, 0.06 dex, a little wider because only four galaxies are offered.
    assert np.std(rest) < 0.09
    # Large Einstein radii are asked for, so galaxies above the relation get more than their share.
    assert 0.0 < np.mean(rest) < 0.1
    assert 235 < np.median([lens.row["sigma_v"] for _, lens in population()]) < 305


def test_mass_follows_the_light_of_the_host() -> None:
    turn = [
        (lens.row["mass_phi"] - lens.host.pa - np.pi / 2 + np.pi / 2) % np.pi - np.pi / 2 for _, lens in population()
    ]
    elongated = np.array([lens.host.q < 0.8 for _, lens in population()])
    assert np.std(np.array(turn)[elongated]) < np.radians(20)
    q = np.array([[lens.row["mass_q"], lens.host.q] for _, lens in population()])
    assert np.corrcoef(q.T)[0, 1] > 0.4


def test_selected_sources_are_faint_blue_and_magnified() -> None:
    rows = [lens.row for _, lens in population()]
    r = np.array([row["source_mag_r"] for row in rows])
    g_r = np.array([row["source_mag_g"] - row["source_mag_r"] for row in rows])
    gain = np.array([row["expected_magnification"] for row in rows])
    snr = np.array([max(row[f"expected_snr_{band}"] for band in "grz") for row in rows])
    # Collett's selected sources: r 24.2 [23.3, 25.5], g-r -0.01 [-0.14, 0.39], magnification 6.8 [3.9, 14.6].
    assert np.median(r) == pytest.approx(24.2, abs=0.5)
    assert np.median(g_r) == pytest.approx(0.0, abs=0.2)
    assert np.median(gain) == pytest.approx(6.8, abs=2.0)
    assert 18 < np.median(snr) < 38
    assert np.mean(snr > 10) > 0.95
    assert snr.max() < 110
    # Fainter sources enter only when they are more magnified.
    assert np.corrcoef(r, np.log10(gain))[0, 1] > 0.4


def test_contrast_is_that_of_the_painted_arcs_and_host_and_selects() -> None:
    contrast = np.array([lens.contrast for _, lens in population()])
    assert np.quantile(contrast, 0.05) > 0.5
    assert np.median(contrast) > 1.5
    conditions, lens = population()[2]
    assert contrast_of(lens, conditions) == lens.contrast
    # Fainter by a magnitude: the brightest pixel of the arcs has 0.4 of the contrast, unless it falls below the sky.
    fainter = replace(lens, row={**lens.row, "source_mag_g": lens.row["source_mag_g"] + 1.0})
    assert contrast_of(fainter, conditions) <= 0.3982 * lens.contrast
    nothing = replace(lens, row={**lens.row, "source_mag_g": 40.0})
    assert contrast_of(nothing, conditions) == 0.0


def test_a_host_row_has_the_conventions_of_the_population() -> None:
    conditions, lens = population()[0]
    row = host_row(lens.host, conditions)
    assert row["radius"] == pytest.approx(lens.host.radius * np.sqrt(lens.host.q))
    assert row["mag_z"] == pytest.approx(22.5 - 2.5 * np.log10(lens.host.flux[2]))
    assert row["sigma_g"] == conditions.bands["g"].sigma


def test_the_same_stream_draws_the_same_lens() -> None:
    conditions = draw_conditions(default_rng(1), missing_band=None, at_edge=False)
    first, second = (draw_lens(default_rng(8), conditions, POPULATION) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.row == second.row
    assert first.host == second.host


def test_a_selection_that_nothing_passes_gives_no_lens() -> None:
    conditions = draw_conditions(default_rng(1), missing_band=None, at_edge=False)
    strict = POPULATION.selection.model_copy(update={"magnification_min": 50.0, "snr": 1000.0, "snr_max": None})
    hopeless = POPULATION.model_copy(update={"selection": strict, "attempts": 1})
    assert draw_lens(default_rng(1), conditions, hopeless) is None
