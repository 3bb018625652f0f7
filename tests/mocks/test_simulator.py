"""The fast simulator: its pictures are lenstronomy's and our exact code's, its noise is what was asked for."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from legacylens.cli.main import app
from legacylens.errors import PhysicalRangeError
from legacylens.mocks import speed
from legacylens.mocks.fast_light import Parameters, coefficients, lensed_light
from legacylens.mocks.psf import Psf, moffat_psfs
from legacylens.mocks.quadrature import lensed_light as exact_light
from legacylens.mocks.render import render_arcs_batch
from legacylens.mocks.simulator import PsfBank, lens_of, simulate, source_of
from legacylens.mocks.speed_lenstronomy import sharp_image
from legacylens.survey.bands import PIXSCALE, STAMP

BANK = PsfBank([Psf(moffat_psfs([1.5, 1.3, 1.2])), Psf(moffat_psfs([1.3, 1.1, 1.0]))])


BENCH = ["mocks", "bench", "--n", "8", "--seconds", "0.1", "--threads", "1"]


def parameters(n_lens=1, **given):
    values = {
        "theta_E": 1.2,
        "q": 0.75,
        "phi": 0.5,
        "x": 0.03,
        "y": -0.02,
        "gamma1": 0.03,
        "gamma2": -0.04,
        "r_e": 0.3,
        "n": 1.0,
        "source_q": 0.7,
        "source_phi": 1.1,
        "source_x": 0.1,
        "source_y": 0.05,
    }
    values |= given
    return Parameters(**{name: np.array(np.broadcast_to(v, (n_lens,)), dtype=float) for name, v in values.items()})


def drawn(n, rng, *, r_e, sersic):
    theta_E = rng.uniform(0.7, 2.4, n)
    beta, azimuth = theta_E * np.sqrt(rng.uniform(0, 1, n)), rng.uniform(0, 2 * np.pi, n)
    return parameters(
        n,
        theta_E=theta_E,
        q=rng.uniform(0.4, 1.0, n),
        phi=rng.uniform(0, np.pi, n),
        x=rng.normal(0, 0.06, n),
        y=rng.normal(0, 0.06, n),
        gamma1=rng.normal(0, 0.04, n),
        gamma2=rng.normal(0, 0.04, n),
        r_e=np.exp(rng.uniform(*np.log(r_e), n)),
        n=rng.uniform(*sersic, n),
        source_q=rng.uniform(0.4, 1.0, n),
        source_phi=rng.uniform(0, np.pi, n),
        source_x=beta * np.cos(azimuth),
        source_y=beta * np.sin(azimuth),
    )


def noiseless(p, fluxes=None, places=None):
    n = len(p.theta_E)
    fluxes = np.tile([0.2, 0.5, 0.9], (n, 1)) if fluxes is None else fluxes
    places = np.zeros(n, dtype=int) if places is None else places
    return simulate(p, fluxes, BANK, places, sigma=None, rng=np.random.default_rng(0))


@pytest.mark.crosscheck
@pytest.mark.parametrize(("r_e", "limit"), [(0.3, 3e-3), (0.15, 3e-3), (0.05, 1e-2)])
def test_images_are_lenstronomys_at_supersampling_32(r_e, limit):
    p = parameters(r_e=r_e)
    reference, effective = sharp_image(p, half=14, fwhm=1.2, supersampling=32)
    image = simulate(p, [[1.0]], PsfBank([Psf(effective)]), [0], sigma=None, rng=np.random.default_rng(0)).images[0, 0]
    middle = slice(STAMP // 2 - 14, STAMP // 2 + 15)
    assert np.abs(image[middle, middle] - reference).max() < limit * reference.max()


@pytest.mark.parametrize(
    ("r_e", "sersic", "limit"),
    [((0.15, 0.9), (0.5, 2.0), 3e-3), ((0.05, 0.15), (0.5, 2.0), 1e-2), ((0.15, 0.9), (2.0, 4.5), 1e-2)],
)
def test_images_are_those_of_the_exact_code(r_e, sersic, limit):
    n = 24
    p = drawn(n, np.random.default_rng(7), r_e=r_e, sersic=sersic)
    fluxes = np.tile([0.2, 0.5, 0.9], (n, 1))
    exact = render_arcs_batch(
        lens_of(p), [source_of(p)], fluxes[:, None], BANK.psfs[0], n_lens=n, shape=(STAMP, STAMP), tolerance=1e-4
    )
    fast = noiseless(p, fluxes)
    assert (np.abs(fast.images - exact.image).max((2, 3)) / exact.image.max((2, 3))).max() < limit
    np.testing.assert_allclose(fast.magnification, exact.magnification[:, 0], rtol=limit)


def test_an_image_beside_the_center_of_the_mass_is_not_lost():
    # A source near the edge of the multiply imaged region has its third image 0.02 arcsec from the center, where a
    # pixel of the image plane is 4 arcsec of the source plane.
    p = parameters(
        theta_E=2.127, q=0.99, phi=0.197, x=-0.049, y=-0.034, gamma1=0.0, gamma2=0.0, r_e=0.0245, n=1.21,
        source_q=0.46, source_phi=2.41, source_x=0.723, source_y=1.915,
    )  # fmt: skip
    smooth, core = lensed_light(coefficients(p), 16)
    size = smooth.shape[1]
    near = slice(size // 2 - 2, size // 2 + 3)
    found = float((smooth + core)[0, near, near].sum())
    # Rays on a grid of a thousandth of a pixel.
    fine = torch.from_numpy((np.arange(2000) + 0.5) / 1000 - 1) * PIXSCALE
    y, x = torch.meshgrid(fine, fine, indexing="ij")
    alpha = lens_of(p).deflection(x[None], y[None])
    wanted = float(source_of(p).brightness(x[None] - alpha[0], y[None] - alpha[1]).sum()) * (PIXSCALE / 1000) ** 2
    assert wanted > 0.01
    assert found == pytest.approx(wanted, rel=0.15)
    parts = exact_light(lens_of(p), source_of(p), n_lens=1, shape=(21, 21), origin=(10, 10), pixscale=PIXSCALE)
    # The rest lies in the tails of the spline with which light is deposited.
    assert float(sum(parts)[0, 8:13, 8:13].sum()) == pytest.approx(wanted, rel=0.02)


def test_each_lens_has_its_own_psf_and_fluxes():
    p = parameters(2)
    both = noiseless(p, np.array([[1.0, 0.0, 2.0], [0.3, 0.4, 0.5]]), [0, 1]).images
    first = noiseless(parameters(), np.array([[1.0, 1.0, 1.0]]), [0]).images[0]
    second = noiseless(parameters(), np.array([[1.0, 1.0, 1.0]]), [1]).images[0]
    np.testing.assert_allclose(both[0], first * np.array([1, 0, 2])[:, None, None], atol=1e-6)
    np.testing.assert_allclose(both[1], second * np.array([0.3, 0.4, 0.5])[:, None, None], atol=1e-6)


def test_flux_is_magnification_times_flux():
    made = noiseless(parameters(r_e=0.1))
    # The rest is in the wings of the PSF beyond the edge.
    np.testing.assert_allclose(made.images[0].sum((1, 2)), made.magnification[0] * np.array([0.2, 0.5, 0.9]), rtol=3e-3)


def test_a_round_lens_is_a_lens_like_any_other():
    images = noiseless(parameters(4, q=np.array([1.0, 1 - 1e-9, 1 - 1e-6, 1 - 1e-4]))).images
    peak = images.max()
    assert np.abs(images[:3] - images[0]).max() < 1e-5 * peak
    assert np.abs(images[3] - images[0]).max() < 1e-3 * peak


def test_noise_has_the_variance_of_sky_and_arc():
    n = 600
    p, sigma, gain = parameters(n), np.tile([0.002, 0.003, 0.01], (n, 1)), np.full((n, 3), 500.0)
    fluxes = np.tile([0.2, 0.5, 0.9], (n, 1))
    rng = np.random.default_rng(3)
    clean = noiseless(parameters()).images[0]
    noise = simulate(p, fluxes, BANK, np.zeros(n, dtype=int), sigma=sigma, gain=gain, rng=rng).images - clean
    wanted = sigma[0, :, None, None] ** 2 + clean / gain[0, :, None, None]
    # The variance of 600 draws is good to 6 per cent in a pixel; the mean over all of them to 0.1 per cent.
    assert np.mean(noise.var(0) / wanted) == pytest.approx(1, abs=3e-3)
    assert np.abs(noise.var(0) / wanted - 1).max() < 0.4
    assert np.abs(noise.mean(0) / np.sqrt(wanted / n)).max() < 6
    plain = simulate(p, fluxes, BANK, np.zeros(n, dtype=int), sigma=sigma, rng=rng).images - clean
    np.testing.assert_allclose(plain.std((0, 2, 3)), sigma[0], rtol=2e-3)


def test_pictures_depend_on_the_generator_not_on_threads():
    p = drawn(70, np.random.default_rng(1), r_e=(0.1, 0.5), sersic=(0.7, 2.0))
    sigma = np.full((70, 3), 0.003)

    def make(seed, n_threads):
        rng = np.random.default_rng(seed)
        return simulate(
            p, sigma * 100, BANK, np.arange(70) % 2, sigma=sigma, gain=1 / sigma, rng=rng, n_threads=n_threads
        ).images

    first = make(1, 1)
    assert first.dtype == np.float32
    assert first.shape == (70, 3, STAMP, STAMP)
    np.testing.assert_array_equal(make(1, 2), first)
    assert (make(2, 1) != first).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q": 1.2}, r"SIE\.q = 1\.2 is outside \(0, 1\]"),
        ({"q": 0.0}, r"SIE\.q = 0\.0"),
        ({"theta_E": -1.0}, r"SIE\.theta_E = -1\.0"),
        ({"r_e": 0.0}, r"Sersic\.r_e = 0\.0"),
        ({"n": 12.0}, r"Sersic\.n = 12\.0"),
        ({"source_q": np.nan}, r"Sersic\.q = nan"),
        ({"r_e": 14.0}, "diameter of the source = 33.*the side of the image"),
        ({"x": np.inf}, r"SIE\.x = inf"),
    ],
)
def test_unphysical_parameters_are_refused(change, message):
    with pytest.raises(PhysicalRangeError, match=message):
        noiseless(parameters(2, **change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fluxes": [[-0.1, 1, 1]]}, r"fluxes = -0\.1.* >= 0 nanomaggies"),
        ({"fluxes": [[np.nan, 1, 1]]}, "fluxes = nan"),
        ({"fluxes": [[1.0, 1.0]]}, "shape of fluxes"),
        ({"sigma": [[-1.0, 1, 1]]}, r"sigma = -1\.0"),
        ({"gain": [[0.0, 1, 1]]}, r"gain = 0\.0 is outside > 0"),
        ({"psf_index": [2]}, "psf_index = 2 is outside 0 to 1"),
        ({"psf_index": [0, 0]}, "shape of psf_index"),
    ],
)
def test_wrong_columns_are_refused(change, message):
    given = {"fluxes": [[1.0, 1, 1]], "psf_index": [0], "sigma": [[0.1, 0.1, 0.1]], "gain": [[1.0, 1, 1]], **change}
    fluxes, psf_index = given.pop("fluxes"), given.pop("psf_index")
    with pytest.raises(PhysicalRangeError, match=message):
        simulate(parameters(), fluxes, BANK, psf_index, rng=np.random.default_rng(0), **given)


def test_parameters_and_psfs_must_fit_together():
    with pytest.raises(PhysicalRangeError, match="shapes of the parameters"):
        noiseless(dataclasses.replace(parameters(2), q=np.array([0.7])))
    with pytest.raises(PhysicalRangeError, match="shapes of the PSFs"):
        PsfBank([Psf(moffat_psfs([1.2])), Psf(moffat_psfs([1.2], size=31))])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_gives_the_same():
    p = drawn(32, np.random.default_rng(1), r_e=(0.1, 0.5), sersic=(0.7, 2.0))
    images = [
        simulate(p, np.ones((32, 3)), BANK, [0] * 32, sigma=None, rng=np.random.default_rng(0), device=device).images
        for device in ("cpu", "cuda")
    ]
    assert np.abs(images[0] - images[1]).max() < 1e-4 * images[0].max()


def test_a_batch_of_128_needs_less_than_a_gigabyte():
    # Of the simulator and of the exact code; 370 MB of it are the libraries.
    assert speed.peak_memory("both", 2, 1) < 1000


def test_the_bench_has_its_keys_and_is_right(capsys, monkeypatch):
    monkeypatch.setattr(speed, "peak_memory", lambda *_: 1.0)
    app(
        ["mocks", "bench", "--n", "8", "--seconds", "0.1", "--threads", "1", "--check", "0", "--json"],
        standalone_mode=False,
    )
    report = json.loads(capsys.readouterr().out)
    assert report["cutouts_per_s"] > report["lenstronomy_api_per_s"] > 0
    assert report["ratio_to_best"] == pytest.approx(report["cutouts_per_s"] / report["lenstronomy_best_per_s"])
    assert report["peak_error_exact"] < 3e-3
    assert report["peak_error"] is None  # as nothing was to be checked


def test_the_bench_says_that_lenstronomy_is_absent(capsys, monkeypatch):
    monkeypatch.setattr(speed, "peak_memory", lambda *_: 1.0)
    monkeypatch.setattr(speed, "exact_error", lambda _: 0.0)
    monkeypatch.setattr(speed.importlib.util, "find_spec", lambda name: None)
    app(BENCH, standalone_mode=False)
    out = capsys.readouterr().out
    assert "lenstronomy is not installed" in out
