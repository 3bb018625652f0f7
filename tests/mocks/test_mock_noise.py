"""Noise and observing conditions against closed forms and the measured distributions."""

import numpy as np
import pytest
from numpy.random import default_rng

from legacylens.mocks.conditions import (
    CHIP,
    GAP,
    PERCENTILES,
    R_DEPTH,
    R_FWHM,
    coverage,
    draw_conditions,
    moffat_transfer,
    noise_pixels,
)
from legacylens.mocks.noise import LAGS, PIXEL_SIGMA, aperture_factor, coadd_noise, correlate, kernel
from legacylens.mocks.psf import moffat_psf


def autocorrelation(image: np.ndarray, dy: int, dx: int) -> float:
    image = image - image.mean()
    return float(np.mean(image * np.roll(image, (dy, dx), (0, 1))) / image.var())


def test_the_kernel_has_the_wanted_autocorrelation() -> None:
    taps = kernel()
    for lag, rho in enumerate(LAGS):
        assert np.sum(taps[lag:] * taps[: len(taps) - lag]) == pytest.approx(rho, abs=2e-3)
    for lag in range(4, 9):
        assert abs(np.sum(taps[lag:] * taps[: len(taps) - lag])) < 2e-3


def test_lags_agree_with_those_measured_on_the_survey() -> None:
    # Reference: brick pixels of DR9 south and cutouts of DR10, lags 1, 2, 3 and the diagonal.
    noise = correlate(default_rng(1).standard_normal((800, 800), dtype=np.float32))
    for dy, dx in ((0, 1), (1, 0)):
        assert 0.10 <= autocorrelation(noise, dy, dx) <= 0.31
        assert autocorrelation(noise, dy, dx) == pytest.approx(0.124, abs=0.05)
        assert -0.19 <= autocorrelation(noise, 2 * dy, 2 * dx) <= -0.05
        assert autocorrelation(noise, 2 * dy, 2 * dx) == pytest.approx(-0.065, abs=0.05)
        assert autocorrelation(noise, 3 * dy, 3 * dx) == pytest.approx(0.04, abs=0.05)
    assert autocorrelation(noise, 1, 1) == pytest.approx(0.024, abs=0.05)
    assert noise.std() == pytest.approx(1.0, rel=0.01)


def test_block_sums_are_noisier_than_white_noise_by_the_aperture_factor() -> None:
    noise = PIXEL_SIGMA * correlate(default_rng(2).standard_normal((1200, 1200), dtype=np.float32))
    blocks = noise.reshape(60, 20, 60, 20).sum(axis=(1, 3))
    # 20-pixel blocks have a border that knows its outside, so they stay a little below the limit of wide apertures.
    assert blocks.std() / 20 == pytest.approx(aperture_factor(), rel=0.05)
    assert 1.0 < aperture_factor() < 1.5


def test_shot_noise_follows_the_light_with_the_gain_of_the_sky() -> None:
    rng = default_rng(3)
    white = rng.standard_normal((600, 600), dtype=np.float32)
    invvar = np.full(white.shape, 1 / 0.003**2, dtype=np.float32)
    sky = 0.3
    model = np.zeros_like(white)
    model[:, 300:] = 0.9
    noise = coadd_noise(white, invvar, model, sky)
    dark, lit = noise[:, 20:280].var(), noise[:, 320:580].var()
    assert dark == pytest.approx((PIXEL_SIGMA * 0.003) ** 2, rel=0.03)
    # Three times the sky's light on top of the sky: four times the variance.
    assert lit / dark == pytest.approx(4.0, rel=0.04)
    # The excess is light over gain, with gain = sky * invvar electrons a nanomaggy.
    assert (lit - dark) / PIXEL_SIGMA**2 == pytest.approx(0.9 / (sky / 0.003**2), rel=0.06)


def test_nothing_observed_has_no_noise() -> None:
    white = default_rng(4).standard_normal((64, 64), dtype=np.float32)
    invvar = np.ones_like(white)
    invvar[:, :30] = 0
    noise = coadd_noise(white, invvar, np.zeros_like(white), 0.3)
    assert np.all(noise[:, :30] == 0)
    assert np.all(noise[:, 40:] != 0)


@pytest.mark.parametrize(("fwhm", "beta"), [(1.1, 3.0), (1.35, 2.6), (1.8, 3.8)])
def test_transfer_function_and_noise_area_are_those_of_the_pixelized_psf(fwhm: float, beta: float) -> None:
    stamp = moffat_psf(fwhm, beta, size=301)
    assert noise_pixels(fwhm, beta) == pytest.approx(1 / np.sum(stamp**2), rel=3e-3)
    spectrum = np.abs(np.fft.rfft2(np.fft.ifftshift(stamp)))
    frequency = 2 * np.pi * np.fft.rfftfreq(301) / 0.262
    # The stamp lacks the wings beyond 39 arcsec, which the closed form has.
    assert np.allclose(spectrum[0], moffat_transfer(frequency, fwhm, beta), atol=4e-3)


def test_conditions_follow_the_measured_distributions() -> None:
    draws = [draw_conditions(default_rng(k), missing_band=None, at_edge=False) for k in range(2000)]
    fwhm = np.array([d.bands["r"].fwhm for d in draws])
    # 2,000 draws: a quantile of a distribution 0.2 arcsec wide is known to 0.01.
    for percentile, value in zip(PERCENTILES[1:-1], R_FWHM[1:-1], strict=True):
        assert np.quantile(fwhm, percentile) == pytest.approx(value, abs=0.04)
    for band, depth in (("g", 24.8), ("r", 24.46), ("z", 23.4)):
        seen = [d.bands[band] for d in draws]
        limit = np.array([5 * s.sigma * np.sqrt(noise_pixels(s.fwhm, s.beta)) for s in seen])
        assert np.median(22.5 - 2.5 * np.log10(limit)) == pytest.approx(depth, abs=0.12)
    assert 1.2 < np.median([d.bands["z"].fwhm for d in draws]) < 1.32
    assert 1.4 < np.median([d.bands["g"].fwhm for d in draws]) < 1.52
    gains = np.array([d.bands["r"].sky / d.bands["r"].sigma ** 2 for d in draws])
    assert np.quantile(gains, 0.05) > 5_000
    # DECaLS has 8,000 e/nmgy in r, the Dark Energy Survey 53,000, its deep fields more.
    assert 15_000 < np.median(gains) < 60_000
    assert np.quantile(gains, 0.95) < 200_000
    assert all(d.bands["r"].n_exposures >= 4 for d in draws)


def test_depth_and_sigma_follow_the_measured_distributions() -> None:
    draws = [draw_conditions(default_rng(k), missing_band=None, at_edge=False) for k in range(2000)]
    depth = [
        22.5 - 2.5 * np.log10(5 * s.sigma * np.sqrt(noise_pixels(s.fwhm, s.beta)))
        for d in draws
        for s in [d.bands["r"]]
    ]
    for percentile, value in zip(PERCENTILES[1:-1], R_DEPTH[1:-1], strict=True):
        assert np.quantile(depth, percentile) == pytest.approx(value, abs=0.05)
    # Reference, in nanomaggies: medians of six deep cutouts below, what the median depth and seeing give above; the
    # deepest cutout; and 0.0051 to 0.0066 at 23.98 mag, the shallow end of r, if seeing is the median one.
    for band, low, high, deepest in (
        ("g", 0.0017, 0.0029, 0.0011),
        ("r", 0.0024, 0.0042, 0.0011),
        ("z", 0.0079, 0.013, 0.0051),
    ):
        sigma = np.array([d.bands[band].sigma for d in draws])
        assert low < np.median(sigma) < high
        assert np.quantile(sigma, 0.05) > 0.7 * deepest
    assert 0.0045 < np.quantile([d.bands["r"].sigma for d in draws], 0.95) < 0.0068


def test_a_missing_band_is_absent_and_changes_no_other() -> None:
    whole = draw_conditions(default_rng(7), missing_band=None, at_edge=False)
    lacking = draw_conditions(default_rng(7), missing_band="z", at_edge=True)
    assert set(lacking.bands) == {"g", "r"}
    assert lacking.bands["g"].sigma == whole.bands["g"].sigma
    assert lacking.ebv == whole.ebv
    assert lacking.edge is not None


def test_coverage_counts_exposures_outside_of_the_gaps() -> None:
    seen = draw_conditions(default_rng(11), missing_band=None, at_edge=False).bands["r"]
    east, north = np.meshgrid(np.linspace(-500, 500, 301), np.linspace(-500, 500, 301))
    nexp, invvar = coverage(seen, east, north, None)
    brute = np.zeros(east.shape, dtype=int)
    for x0, y0 in seen.offsets:
        brute += ((east - x0) % CHIP[0] >= GAP[0]) & ((north - y0) % CHIP[1] >= GAP[1])
    assert np.array_equal(nexp, brute)
    everywhere = nexp == seen.n_exposures
    assert everywhere.mean() > 0.2
    assert np.allclose(invvar[everywhere], seen.sigma**-2, rtol=1e-5)
    nexp, invvar = coverage(seen, east, north, 100.0)
    assert np.all(nexp[east >= 100.0] == 0)
    assert np.all(invvar[east >= 100.0] == 0)
