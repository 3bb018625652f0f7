import dataclasses

import galsim
import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.table import Table

from legacylens.cutouts.decode import read_cutouts
from legacylens.errors import FileProblem, PhysicalRangeError
from legacylens.lensing.pixels import picture
from legacylens.lensing.sie import SIE
from legacylens.mocks.draw import draw_mocks
from legacylens.mocks.hst_sources import half_light_radius, lensable, own_pixels, read_hst_sources, sharpened
from legacylens.mocks.measured_hosts import measured_host, with_measured_invvar
from legacylens.mocks.population_sets import SETS
from legacylens.mocks.psf import moffat_psf
from legacylens.mocks.render import render_arcs
from legacylens.photometry import magnitude
from legacylens.survey.bands import PIXSCALE

PIXEL = 0.03
NOTHING = SIE(theta_E=1e-6, q=1.0)


def gaussian(shape, width, *, x=0.0, y=0.0, q=1.0):
    row, column = np.indices(shape)
    dy, dx = row - (shape[0] - 1) / 2 - y, column - (shape[1] - 1) / 2 - x
    image = np.exp(-(dx**2 + dy**2 / q**2) / (2 * width**2))
    return image / image.sum()


@pytest.fixture
def galsim_folder(tmp_path):
    """Two galaxies as GalSim stores them: Gaussians behind a Gaussian PSF, with noise; the second has no PSF."""
    rng = np.random.default_rng(1)
    images = [5 * gaussian((81, 90), 7.0, q=0.6) + rng.normal(0, 1e-4, (81, 90)) for _ in range(2)]
    fits.HDUList([fits.PrimaryHDU(images[0]), fits.ImageHDU(images[1])]).writeto(tmp_path / "images_n1.fits")
    fits.PrimaryHDU(gaussian((41, 41), 2.0) * 0.98).writeto(tmp_path / "psf_n1.fits")
    Table(
        {
            "IDENT": [11, 12],
            "MAG": [23.0, 23.5],
            "GAL_FILENAME": ["images_n1.fits"] * 2,
            "GAL_HDU": [0, 1],
            "PSF_FILENAME": ["psf_n1.fits", "absent.fits"],
            "PSF_HDU": [0, 0],
            "PIXEL_SCALE": [PIXEL] * 2,
            "NOISE_VARIANCE": [1e-8] * 2,
            "ZPHOT": [1.2, 0.9],
            "HSC_g": [24.0, np.nan],
            "HSC_r": [23.5, 24.0],
        }
    ).write(tmp_path / "real_galaxy_catalog_23.5.fits")
    return tmp_path


def test_galsim_files_are_read(galsim_folder):
    first, second = read_hst_sources(galsim_folder)
    assert first.image.shape == (81, 90)
    assert first.psf.sum() == pytest.approx(1)
    assert second.psf is None
    assert first.noise == pytest.approx(1e-4, rel=0.15)  # from the 340 pixels of its border
    np.testing.assert_allclose(magnitude(first.fluxes(["g", "r"])), [24.0, 23.5])
    assert (first.redshift, first.name, first.mag_f814w) == (1.2, "11", 23.0)
    assert first.signal_to_noise > 100
    with pytest.raises(PhysicalRangeError, match=r"bands of 12 = g is outside the measured bands \(r\)"):
        second.fluxes(["g", "r"])


def test_a_narrower_gaussian_takes_the_place_of_the_psf():
    # A core with wings, and a galaxy that is elliptical: what is left has the core's width and no wings.
    psf = 0.7 * gaussian((41, 41), 1.5) + 0.3 * gaussian((41, 41), 4.0)
    seen = 0.7 * gaussian((121, 121), np.hypot(6.0, 1.5)) + 0.3 * gaussian((121, 121), np.hypot(6.0, 4.0))
    image, fwhm = sharpened(seen, psf, max_gain=3.0)
    width = fwhm / 2.354820045
    assert 1.3 < width < 1.6
    expected = gaussian((121, 121), np.hypot(6.0, width))
    np.testing.assert_allclose(image, expected, atol=1e-4 * expected.max())


def test_a_psf_with_a_hole_in_its_response_is_refused():
    stripes = np.zeros((9, 9))
    stripes[4, [1, 7]] = 0.25
    stripes[4, 4] = 0.5  # passes nothing of one wave number, within the resolution of any Gaussian
    with pytest.raises(PhysicalRangeError, match="gain of the deconvolution"):
        sharpened(gaussian((41, 41), 6.0), stripes, max_gain=1.0)


def test_own_pixels_leave_a_neighbor_and_the_noise_out(galsim_folder):
    galaxy = read_hst_sources(galsim_folder)[0]
    own = own_pixels(galaxy)
    assert own[40, 44]
    assert not own[2, 2]
    with_neighbor = galaxy.image.copy()
    with_neighbor[2:8, 2:8] += 0.01
    again = own_pixels(type(galaxy)(**{f: getattr(galaxy, f) for f in galaxy.__slots__} | {"image": with_neighbor}))
    assert not again[5, 5]


@pytest.mark.parametrize(
    ("damage", "message", "reason"),
    [
        (lambda f: (f / "real_galaxy_catalog_23.5.fits").unlink(), "no catalog of HST galaxies", "missing"),
        (lambda f: (f / "images_n1.fits").unlink(), "named by .* but absent", "missing"),
        (
            lambda f: fits.PrimaryHDU(np.ones((9, 9))).writeto(f / "images_n1.fits", overwrite=True),
            "extension 1",
            "truncated",
        ),
    ],
)
def test_absent_files_are_named(galsim_folder, damage, message, reason):
    damage(galsim_folder)
    with pytest.raises(FileProblem, match=message) as caught:
        read_hst_sources(galsim_folder)
    assert caught.value.reason == reason


def test_the_half_light_radius_of_a_gaussian(galsim_folder):
    first = read_hst_sources(galsim_folder)[0]
    y, x = np.indices((101, 101)) - 50.0
    image = np.exp(-0.5 * (y**2 + x**2) / 8.0**2)
    galaxy = dataclasses.replace(first, image=image, noise=1e-6, psf=None)
    # Half of the light of a Gaussian lies within 1.1774 sigma; pixels are discrete.
    assert half_light_radius(galaxy) == pytest.approx(1.1774 * 8.0 * galaxy.pixscale, rel=0.02)


@pytest.mark.real
def test_galaxies_without_redshift_lend_their_shape(real_data):
    hosts = [with_measured_invvar(one) for one in read_cutouts(real_data / "des-lrg" / "des_lrg_grizY.fits")[:4]]
    rows = pd.concat([measured_host(one, (1.25, 1.1, 1.0)) for one in hosts], ignore_index=True)
    bright = read_hst_sources(real_data / "hst-cosmos-bright")
    mocks, _ = draw_mocks(hosts, rows, SETS["calibrated"], n=2, seed=1, sources=bright)
    assert mocks
    for mock in mocks:
        assert mock.source.endswith("scaled")
        assert mock.truth["z_s"] > mock.truth["z_l"]
        np.testing.assert_allclose(mock.injected.closure, 1.0, atol=0.01)


@pytest.mark.real
def test_real_galaxies_are_lensable(real_data):
    galaxies = read_hst_sources(real_data / "hst-cosmos")
    bright = read_hst_sources(real_data / "hst-cosmos-bright")
    assert (len(galaxies), len(bright)) == (60, 10)
    assert all(galaxy.psf is not None and galaxy.signal_to_noise > 10 for galaxy in galaxies)
    assert all(galaxy.psf is None and galaxy.signal_to_noise > 50 for galaxy in bright)
    for galaxy in (*galaxies[:4], bright[0]):
        arcs = render_arcs(NOTHING, lensable(galaxy), [1.0], moffat_psf(1.2, size=31), shape=(61, 61))
        assert arcs.magnification[0] == pytest.approx(1, abs=2e-3)


@pytest.mark.real
@pytest.mark.crosscheck
def test_real_galaxy_is_galsims(real_data):
    galaxy = read_hst_sources(real_data / "hst-cosmos")[7]
    image, fwhm = sharpened(galaxy.image, galaxy.psf)
    # GalSim's way: interpolate, deconvolve, convolve; with the same narrow Gaussian.
    seen = galsim.InterpolatedImage(galsim.Image(galaxy.image, scale=PIXEL))
    hst = galsim.InterpolatedImage(galsim.Image(galaxy.psf, scale=PIXEL), flux=1.0)
    narrow, ground = galsim.Gaussian(fwhm=fwhm * PIXEL), galsim.Moffat(3.0, fwhm=1.2)
    large = galsim.GSParams(maximum_fft_size=8192)
    draw = {"nx": 41, "ny": 41, "scale": PIXSCALE, "method": "no_pixel"}
    theirs = galsim.Convolve(seen, galsim.Deconvolve(hst), narrow, ground, gsparams=large).drawImage(**draw).array
    source = picture(image, pixscale=PIXEL)
    ours = render_arcs(NOTHING, source, [image.sum()], moffat_psf(1.2), shape=(41, 41)).image[0]
    # What the deconvolution spreads beyond the edge of a stamp is cut by us and kept by them.
    assert np.abs(ours - theirs).max() < 5e-3 * theirs.max()
    # What the replaced PSF costs behind the PSF of the ground, against a full deconvolution.
    exact = galsim.Convolve(seen, galsim.Deconvolve(hst), ground, gsparams=large).drawImage(**draw).array
    assert np.abs(theirs - exact).max() < 0.015 * exact.max()
