"""Lenses of the mock sky: selection, distributions, and the flux of their arcs."""

from functools import cache

import numpy as np
import pytest
import torch
from numpy.random import default_rng

from legacylens.mocks.arcs import STAMP, draw_arcs
from legacylens.mocks.conditions import Conditions, draw_conditions
from legacylens.mocks.psf import Psf, moffat_psfs
from legacylens.mocks.strong_lenses import (
    FABER_JACKSON,
    SIGMA_OF_BRIGHT_RED,
    SIGMA_SCATTER,
    THETA_E_MEDIAN,
    StrongLens,
    draw_lens,
    judge,
)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@cache
def population(n: int = 70) -> tuple[tuple[Conditions, StrongLens], ...]:
    rng = default_rng(42)
    drawn = []
    for k in range(n):
        conditions = draw_conditions(default_rng(k), missing_band=None, at_edge=False)
        lens = draw_lens(rng, conditions)
        assert lens is not None
        drawn.append((conditions, lens))
    return tuple(drawn)


def brute_magnification(lens: StrongLens, step: float = 0.02, half: float = 7.0) -> float:
    """Inverse ray shooting with a formula of our own: the SIE of Kormann et al. 1994 and a shear, in NumPy."""
    axis = np.arange(-half, half, step) + step / 2
    x, y = np.meshgrid(axis, axis)
    dx, dy = x - lens.x, y - lens.y
    cos, sin = np.cos(lens.phi), np.sin(lens.phi)
    a, b = cos * dx + sin * dy, cos * dy - sin * dx
    q, f = lens.q, np.sqrt(1 - lens.q**2)
    psi = np.sqrt(q**2 * a**2 + b**2)
    alpha_a = lens.theta_E * np.sqrt(q) / f * np.arctan(f * a / psi)
    alpha_b = lens.theta_E * np.sqrt(q) / f * np.arctanh(f * b / psi)
    beta_x = x - (cos * alpha_a - sin * alpha_b) - lens.gamma1 * dx - lens.gamma2 * dy
    beta_y = y - (sin * alpha_a + cos * alpha_b) - lens.gamma2 * dx + lens.gamma1 * dy
    u, v = beta_x - lens.source_x, beta_y - lens.source_y
    cos, sin = np.cos(lens.source_phi), np.sin(lens.source_phi)
    u, v = cos * u + sin * v, cos * v - sin * u
    from scipy.special import gamma, gammaincinv

    n, r_e = lens.source_n, lens.source_radius
    b_n = gammaincinv(2 * n, 0.5)
    radius = np.sqrt(lens.source_q * u**2 + v**2 / lens.source_q) / r_e
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
        expected = np.asarray(lens.source_flux) * dust * magnification
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
    # The median of 70 from a log-normal of width 0.27 is known to 4 per cent; selection by seeing shifts it up.
    assert np.median(theta) == pytest.approx(THETA_E_MEDIAN, rel=0.12)
    assert 0.7 < np.quantile(theta, 0.05) < 1.1
    assert 1.8 < np.quantile(theta, 0.95) < 2.6


def test_velocity_dispersion_is_tied_to_luminosity() -> None:
    offset = np.array([lens.host.extra["luminosity_offset_mag"] for _, lens in population()])
    sigma = np.array([lens.sigma_v for _, lens in population()])
    predicted = np.log10(SIGMA_OF_BRIGHT_RED) - FABER_JACKSON * offset
    rest = np.log10(sigma) - predicted
    assert rest.std() < 1.5 * SIGMA_SCATTER
    assert np.corrcoef(offset, np.log10(sigma))[0, 1] < -0.3
    assert 240 < np.median(sigma) < 310


def test_selected_sources_are_faint_blue_and_magnified() -> None:
    flux = np.array([lens.source_flux for _, lens in population()])
    r = 22.5 - 2.5 * np.log10(flux[:, 1])
    g_r = -2.5 * np.log10(flux[:, 0] / flux[:, 1])
    # LensPop's selected sources: r 24.2 [23.3, 25.5], g-r -0.01 [-0.14, 0.39].
    assert np.median(r) == pytest.approx(24.1, abs=0.4)
    assert np.median(g_r) == pytest.approx(0.0, abs=0.12)
    snr = np.array([lens.expected_snr for _, lens in population()])
    assert 18 < np.median(snr) < 38
    assert np.mean(snr > 10) > 0.95
    assert snr.max() < 80


def test_fainter_sources_enter_only_when_they_are_more_magnified() -> None:
    faint = np.array([22.5 - 2.5 * np.log10(lens.source_flux[1]) for _, lens in population()])
    gain = np.array([np.log10(judge([lens], conditions)[1][0]) for conditions, lens in population()])
    assert np.corrcoef(faint, gain)[0, 1] > 0.4


def test_the_coarse_grid_judges_as_the_exact_one_does() -> None:
    for conditions, lens in population()[:10]:
        snr, magnification, _ = judge([lens], conditions)
        assert magnification[0] == pytest.approx(brute_magnification(lens), rel=0.1)
        assert snr[0] == pytest.approx(lens.expected_snr, rel=1e-9)


def test_sources_that_nothing_could_show_give_no_lens() -> None:
    conditions = draw_conditions(default_rng(1), missing_band=None, at_edge=False)
    assert draw_lens(default_rng(1), conditions, attempts=0) is None
