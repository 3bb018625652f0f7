import galsim
import numpy as np
import pytest
import torch
from lenstronomy.Data.imaging_data import ImageData
from lenstronomy.Data.psf import PSF
from lenstronomy.ImSim.image_model import ImageModel
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.LightModel.light_model import LightModel

from legacylens.errors import PhysicalRangeError
from legacylens.lensing.lens import Lens, source_position
from legacylens.lensing.sersic import Sersic, sersic_b
from legacylens.lensing.shear import Shear
from legacylens.lensing.sie import SIE
from legacylens.mocks.psf import Psf, moffat_psf, moffat_psfs
from legacylens.mocks.render import render_arcs, render_arcs_batch, render_profile, render_stars
from legacylens.survey.bands import PIXSCALE

EXACT = galsim.GSParams(
    folding_threshold=2e-4, maxk_threshold=1e-5, kvalue_accuracy=1e-7, xvalue_accuracy=1e-7, maximum_fft_size=8192
)


def galsim_image(profile, fwhm, shape):
    sersic = galsim.Sersic(profile.n, half_light_radius=profile.r_e, gsparams=EXACT)
    sersic = sersic.shear(q=profile.q, beta=profile.phi * galsim.radians).shift(profile.x, profile.y)
    star = galsim.Moffat(3.0, fwhm=fwhm, gsparams=EXACT)
    image = galsim.Convolve(sersic, star, gsparams=EXACT)
    return image.drawImage(nx=shape[1], ny=shape[0], scale=PIXSCALE, method="no_pixel").array


@pytest.mark.crosscheck
@pytest.mark.parametrize(
    ("n", "r_e", "q", "fwhm"),
    [(4.0, 0.5, 0.7, 1.2), (1.0, 0.3, 1.0, 1.2), (1.0, 2.0, 0.2, 1.3), (4.0, 3.0, 0.5, 1.5), (0.5, 0.4, 0.8, 1.0)],
)
def test_profile_is_galsims_without_another_pixel(n, r_e, q, fwhm):
    profile = Sersic(r_e=r_e, n=n, q=q, phi=0.6, x=0.09, y=-0.05)
    shape = (57, 65)
    ours = render_profile([profile], [1.0], moffat_psf(fwhm, size=127), shape=shape)[0]
    theirs = galsim_image(profile, fwhm, shape)
    # The issue asks for 5e-3 of the peak; what remains is mostly the wings beyond the 127 pixels of the PSF.
    assert np.abs(ours - theirs).max() < 4e-4 * theirs.max()


@pytest.mark.crosscheck
def test_a_second_pixel_would_be_seen():
    profile = Sersic(r_e=0.2, n=1.0)
    ours = render_profile([profile], [1.0], moffat_psf(1.2), shape=(41, 41))[0]
    star = galsim.Convolve(galsim.Sersic(1.0, half_light_radius=0.2), galsim.Moffat(3.0, fwhm=1.2))
    twice = star.drawImage(nx=41, ny=41, scale=PIXSCALE, method="auto").array
    assert 0.01 < 1 - twice.max() / ours.max() < 0.05


def test_flux_is_conserved_and_linear():
    components = [Sersic(r_e=0.6, n=1.0, q=0.5, phi=0.3), Sersic(r_e=0.2, n=3.0, x=0.3)]
    fluxes = np.array([[1.0, 2.0, 3.0], [0.5, 0.5, 2.0]])
    psf = Psf(moffat_psfs([1.4, 1.2, 1.1]))
    image = render_profile(components, fluxes, psf, shape=(181, 181))
    np.testing.assert_allclose(image.sum((1, 2)), fluxes.sum(0), rtol=2e-3)  # wings beyond 24 arcsec
    parts = [render_profile([c], f, psf, shape=(181, 181)) for c, f in zip(components, fluxes, strict=True)]
    np.testing.assert_allclose(image, parts[0] + parts[1], atol=1e-12)


def test_profile_moves_with_its_center():
    psf = moffat_psf(1.2)
    profile = Sersic(r_e=0.3, n=4.0, q=0.6, phi=1.0)
    here = render_profile([profile], [1.0], psf, shape=(41, 45), center=(20.0, 22.0))[0]
    there = render_profile([profile], [1.0], psf, shape=(41, 45), center=(17.0, 26.0))[0]
    np.testing.assert_allclose(there[:38, 4:], here[3:, :41], atol=1e-5 * here.max())
    moved = Sersic(r_e=0.3, n=4.0, q=0.6, phi=1.0, x=4 * PIXSCALE, y=-3 * PIXSCALE)
    np.testing.assert_allclose(render_profile([moved], [1.0], psf, shape=(41, 45))[0], there, atol=1e-12)


def test_a_tiny_profile_is_a_star():
    psf = moffat_psf(1.2)
    galaxy = render_profile([Sersic(r_e=1e-3, n=1.0, x=0.1, y=0.07)], [1.0], psf, shape=(41, 41))[0]
    star = render_stars([20 + 0.07 / PIXSCALE], [20 + 0.1 / PIXSCALE], [[1.0]], psf, shape=(41, 41))[0]
    assert np.abs(galaxy - star).max() < 3e-4 * star.max()


def test_a_star_on_a_pixel_is_the_psf():
    psf = moffat_psf(1.2, size=31)
    image = render_stars([20.0, 1.0], [25.0, 40.0], [[2.0], [0.0]], psf, shape=(41, 61))[0]
    np.testing.assert_allclose(image[5:36, 10:41], 2 * psf, atol=4e-4 * 2 * psf.max())  # left by the gridding


def test_stars_at_the_edge_are_cut_not_wrapped():
    psf = moffat_psf(1.2, size=31)
    image = render_stars([-2.0, 40.0], [3.0, 64.0], [[1.0], [1.0]], psf, shape=(41, 61))[0]
    np.testing.assert_allclose(image[0, 3], psf[17, 15], rtol=1e-3)
    np.testing.assert_allclose(image[40, 60], psf[15, 11], rtol=1e-3)
    assert np.abs(image[20:35, :45]).max() < 1e-6  # the stars lie 25 pixels away; their PSF ends after 15


def refined_by_brute_force(lens, source, psf, *, n_pixel, os):
    """Sample every pixel os x os times and keep what the native grid can carry: no window, no cells, no spline."""
    fine = torch.from_numpy(((np.arange(n_pixel * os) + 0.5) / os - 0.5 - (n_pixel - 1) / 2) * PIXSCALE)
    y, x = torch.meshgrid(fine, fine, indexing="ij")
    light = source.brightness(*source_position(lens, x, y)).numpy() * (PIXSCALE / os) ** 2
    padded = n_pixel + len(psf) - 1
    k = np.fft.fftfreq(padded)
    spectrum = np.fft.fft2(light, (padded * os, padded * os))
    keep = np.round(k * padded).astype(int)
    shift = np.exp(-2j * np.pi * k * (0.5 / os - 0.5))
    spectrum = spectrum[np.ix_(keep, keep)] * shift[:, None] * shift
    star = np.zeros((padded, padded))
    star[: len(psf), : len(psf)] = psf
    star = np.roll(star, -(len(psf) // 2), (0, 1))
    return np.fft.ifft2(spectrum * np.fft.fft2(star)).real[:n_pixel, :n_pixel], light.sum()


LENS = Lens(
    deflectors=(SIE(theta_E=1.5, q=0.75, phi=0.5, x=0.03, y=-0.02), Shear(gamma1=0.03, gamma2=-0.04)),
)


@pytest.mark.parametrize(
    ("r_e", "n", "x", "y"), [(0.3, 1.0, 0.1, 0.2), (0.15, 1.0, 0.3, 0.05), (0.05, 1.0, 0.02, 0.03)]
)
def test_arcs_equal_brute_force(r_e, n, x, y):
    source = Sersic(r_e=r_e, n=n, q=0.7, phi=1.1, x=x, y=y)
    psf = moffat_psf(1.2, size=31)
    reference, mu = refined_by_brute_force(LENS, source, psf, n_pixel=33, os=32)
    arcs = render_arcs(LENS, source, [1.0], psf, shape=(33, 33))
    # Wanted: 3e-3 of the peak from 0.15 arcsec, 1e-2 down to 0.05 arcsec. The reference itself is good to 2e-4.
    assert np.abs(arcs.image[0] - reference).max() < 5e-4 * reference.max()
    assert arcs.magnification[0] == pytest.approx(mu, rel=1e-3)


def test_flux_of_the_arcs_is_magnification_times_flux():
    source = Sersic(r_e=0.1, n=1.0, x=0.2)
    fluxes = np.array([0.2, 0.5, 0.9])
    arcs = render_arcs(LENS, source, fluxes, moffat_psfs([1.4, 1.2, 1.1]), shape=(151, 151))
    np.testing.assert_allclose(arcs.flux, arcs.magnification[0] * fluxes, rtol=1e-12)
    np.testing.assert_allclose(arcs.image.sum((1, 2)), arcs.flux, rtol=1e-3)


def test_an_almost_massless_lens_shows_the_unlensed_profile():
    source = Sersic(r_e=0.4, n=1.0, q=0.7, phi=0.4, x=0.1, y=0.3)
    psf = moffat_psf(1.2)
    arcs = render_arcs(SIE(theta_E=1e-5, q=0.8), source, [1.0], psf, shape=(61, 61))
    plain = render_profile([source], [1.0], psf, shape=(61, 61))[0]
    assert np.abs(arcs.image[0] - plain).max() < 3e-4 * plain.max()
    assert arcs.magnification[0] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("fluxes", "message"),
    [([-0.1], "flux = -0.1 is outside >= 0"), ([np.nan], "flux = nan"), ([1.0, 2.0], "shape of the fluxes")],
)
def test_wrong_fluxes_are_refused(fluxes, message):
    with pytest.raises(PhysicalRangeError, match=message):
        render_profile([Sersic(r_e=0.4, n=1.0)], fluxes, moffat_psf(1.2), shape=(31, 31))


@pytest.mark.crosscheck
@pytest.mark.filterwarnings("ignore:`axes` should not be `None`:DeprecationWarning")
@pytest.mark.parametrize(("r_e", "limit"), [(0.3, 3e-3), (0.15, 3e-3), (0.05, 1e-2)])
def test_arcs_are_lenstronomys_at_supersampling_32(r_e, limit):
    # Their fine image is convolved with the optical PSF on the fine grid and then averaged over the pixel: the pixel
    # enters once. Ours has to be given the same PSF with the pixel in it.
    n_pixel, os = 25, 32
    fine = (np.arange(n_pixel * os + 1) - n_pixel * os / 2) / os
    alpha = 1.15 / PIXSCALE / (2 * np.sqrt(2 ** (1 / 3) - 1))
    optical = (1 + (fine[:, None] ** 2 + fine**2) / alpha**2) ** -3.0
    optical /= optical.sum()
    data = ImageData(
        image_data=np.zeros((n_pixel, n_pixel)),
        ra_at_xy_0=-(n_pixel // 2) * PIXSCALE,
        dec_at_xy_0=-(n_pixel // 2) * PIXSCALE,
        transform_pix2angle=np.eye(2) * PIXSCALE,
        background_rms=1.0,
        exposure_time=1.0,
    )
    psf = PSF(
        psf_type="PIXEL",
        kernel_point_source=optical,
        point_source_supersampling_factor=os,
        kernel_point_source_normalisation=True,
    )
    model = ImageModel(
        data,
        psf,
        lens_model_class=LensModel(["SIE", "SHEAR"]),
        source_model_class=LightModel(["SERSIC_ELLIPSE"]),
        kwargs_numerics={
            "supersampling_factor": os,
            "supersampling_convolution": True,
            "supersampling_kernel_size": None,  # by default only 5 pixels of the PSF are convolved finely
        },
    )
    box = np.ones(os + 1) / os
    box[[0, -1]] /= 2
    rows = np.apply_along_axis(np.convolve, 1, optical, box, "same")
    effective = np.apply_along_axis(np.convolve, 0, rows, box, "same")[os // 2 :: os, os // 2 :: os]
    lens = Lens(
        deflectors=(SIE(theta_E=1.2, q=0.75, phi=0.5, x=0.03, y=-0.02), Shear(gamma1=0.03, gamma2=-0.04)),
    )
    source = Sersic(r_e=r_e, n=1.0, q=0.7, phi=1.1, x=0.1, y=0.05)
    # Their b_n is 1.9992 n - 0.3271; this radius, and the brightness there, make theirs the same exponential.
    radius = r_e * (1.9992 - 0.3271) / sersic_b(1.0)
    reach = radius / source.q**0.5
    at_radius = (source.x + reach * np.cos(source.phi), source.y + reach * np.sin(source.phi))
    brightness = float(source.brightness(*(torch.tensor(v, dtype=torch.float64) for v in at_radius)))
    e = (1 - 0.75) / (1 + 0.75)
    e_source = (1 - 0.7) / (1 + 0.7)
    theirs = model.image(
        [
            {"theta_E": 1.2, "e1": e * np.cos(1.0), "e2": e * np.sin(1.0), "center_x": 0.03, "center_y": -0.02},
            {"gamma1": 0.03, "gamma2": -0.04, "ra_0": 0, "dec_0": 0},
        ],
        [
            {
                "amp": brightness,
                "R_sersic": radius,
                "n_sersic": 1.0,
                "e1": e_source * np.cos(2.2),
                "e2": e_source * np.sin(2.2),
                "center_x": 0.1,
                "center_y": 0.05,
            }
        ],
    )
    arcs = render_arcs(lens, source, [1.0], effective / effective.sum(), shape=(n_pixel, n_pixel))
    assert np.abs(arcs.image[0] - theirs).max() < limit * theirs.max()


def test_a_batch_is_its_lenses_one_by_one():
    theta_E = torch.tensor([1.0, 1.4], dtype=torch.float64)
    r_e = torch.tensor([0.3, 0.1], dtype=torch.float64)
    psfs = [Psf(moffat_psfs([1.3, 1.1], size=31)), Psf(moffat_psfs([1.5, 1.2], size=31))]
    fluxes = np.array([[[1.0, 2.0]], [[0.5, 0.7]]])
    batch = render_arcs_batch(
        SIE(theta_E=theta_E, q=0.8), [Sersic(r_e=r_e, n=1.0, x=0.1)], fluxes, psfs, n_lens=2, shape=(35, 33)
    )
    for i in range(2):
        one = render_arcs(
            SIE(theta_E=float(theta_E[i]), q=0.8),
            Sersic(r_e=float(r_e[i]), n=1.0, x=0.1),
            fluxes[i],
            psfs[i],
            shape=(35, 33),
        )
        np.testing.assert_allclose(batch.image[i], one.image, atol=1e-12)
        np.testing.assert_allclose(batch.magnification[i], one.magnification)
        np.testing.assert_allclose(batch.flux[i], one.flux)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_gives_the_same():
    lens, source = SIE(theta_E=1.2, q=0.8), Sersic(r_e=0.2, n=1.0, x=0.1)
    psf = Psf(moffat_psf(1.2, size=31))
    images = [
        render_arcs_batch(lens, [source], [[[1.0]]], psf, n_lens=1, shape=(33, 33), device=device).image
        for device in ("cpu", "cuda")
    ]
    np.testing.assert_allclose(images[0], images[1], atol=1e-10)


def test_a_source_wider_than_the_image_is_refused():
    with pytest.raises(PhysicalRangeError, match=r"diameter of the source = 12.* the side of the image"):
        render_arcs(LENS, Sersic(r_e=6.0, n=1.0), [1.0], moffat_psf(1.2), shape=(31, 41))


def test_a_batch_needs_a_psf_and_fluxes_for_each():
    with pytest.raises(PhysicalRangeError, match="psfs and fluxes"):
        render_arcs_batch(LENS, [Sersic(r_e=0.3, n=1.0)], [[[1.0]]], [], n_lens=1, shape=(31, 31))
    with pytest.raises(PhysicalRangeError, match=r"flux = -1\.0"):
        render_arcs_batch(LENS, [Sersic(r_e=0.3, n=1.0)], [[[-1.0]]], Psf(moffat_psf(1.2)), n_lens=1, shape=(31, 31))
