"""Arcs in pixels: flux that closes, a host that stays itself, noise that is the photons' own."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from legacylens.cutouts.cutout import Cutout
from legacylens.errors import PhysicalRangeError, ProcessError
from legacylens.lensing.lens import Lens
from legacylens.lensing.sersic import Sersic
from legacylens.lensing.shear import Shear
from legacylens.lensing.sie import SIE
from legacylens.mocks.gain import band_gains, pixel_gain, sky_of
from legacylens.mocks.injection import (
    Injected,
    gaussian_psf,
    host_psf,
    inject,
    inject_row,
    require_closure,
    source_of_row,
)
from legacylens.mocks.noise import LAGS, PIXEL_SIGMA, correlate
from legacylens.mocks.population_sets import InjectionConfig, SourceConfig
from legacylens.mocks.psf import moffat_psf
from legacylens.photometry import EXTINCTION_COEFFICIENT
from legacylens.survey.maskbits import mask_value

CONFIG = InjectionConfig()
QUIET = InjectionConfig(shot_noise=False)
SIGMA = np.array([0.0025, 0.0037, 0.0115])
PSFSIZE = (1.45, 1.3, 1.2)
FLUX = np.array([0.25, 0.3, 0.5])
LENS = Lens(
    deflectors=(SIE(theta_E=1.35, q=0.75, phi=0.4, x=0.02, y=-0.03), Shear(gamma1=0.03, gamma2=-0.02, x=0.02, y=-0.03))
)
SOURCE = Sersic(r_e=0.25, n=1.0, q=0.6, phi=1.0, x=0.25, y=0.2)
ROW = {
    "theta_E": 1.35, "mass_q": 0.75, "mass_phi": 0.4, "mass_x": 0.02, "mass_y": -0.03, "gamma1": 0.03, "gamma2": -0.02,
    "source_r_e": 0.25, "source_n": 1.0, "source_q": 0.6, "source_phi": 1.0, "source_x": 0.25, "source_y": 0.2,
    "z_l": 0.5, "z_s": 1.5, "source_mag_g": 24.0, "source_mag_r": 23.8, "source_mag_z": 23.3,
}  # fmt: skip


def a_host(seed=1, galaxy=True, **changes):
    rng = np.random.default_rng(seed)
    image = np.stack([correlate(rng.standard_normal((101, 101)).astype("f4")) * PIXEL_SIGMA * s for s in SIGMA])
    if galaxy:
        y, x = np.indices((101, 101)) - 50.0
        image += np.array([0.05, 0.25, 0.6])[:, None, None] * np.exp(-np.hypot(x, y) / 4.0)
    values = {
        "source_id": "10000_1_1",
        "ra": 150.0,
        "dec": 2.0,
        "bands": ("g", "r", "z"),
        "image": image.astype("f4"),
        "invvar": np.broadcast_to((SIGMA**-2)[:, None, None], image.shape).astype("f4"),
        "maskbits": np.zeros((101, 101), "i4"),
    }
    return Cutout(**{**values, **changes})


def put(host, *, flux=FLUX, config=CONFIG, ebv=0.0, seed=1, lens=LENS, source=SOURCE, psf=None, **options):
    psf = psf or host_psf(config, PSFSIZE, pixscale=host.pixscale)
    rng = np.random.default_rng(seed)
    return inject(host, lens, source, flux, psf, config=config, ebv=ebv, rng=rng, **options)


def same_bits(first, second):
    return first.dtype == second.dtype and first.tobytes() == second.tobytes()


def test_zero_flux_returns_the_host_bit_for_bit():
    host = a_host()
    image = host.image.copy()
    image[0, 3, 3:6] = (-0.0, 0.0, 1e-42)  # a negative zero and a denormal are bits too
    host = a_host(image=image)
    nothing = put(host, flux=np.zeros(3))
    assert same_bits(nothing.image, host.image)
    assert same_bits(nothing.invvar, host.invvar)
    assert not nothing.arcs.any()
    np.testing.assert_array_equal(nothing.closure, 1.0)
    factor = put(host, config=InjectionConfig(flux_factor=0.0))  # the null test of a whole set
    assert same_bits(factor.image, host.image)


def test_flux_closes_in_every_band():
    host = a_host()
    injected = put(host, config=QUIET, ebv=0.05)
    added = (injected.image.astype(np.float64) - host.image).sum((1, 2))
    transmission = 10 ** (-0.4 * 0.05 * np.array([EXTINCTION_COEFFICIENT[band] for band in "grz"]))
    np.testing.assert_allclose(added, injected.magnification * FLUX * transmission, rtol=2e-3)
    np.testing.assert_allclose(injected.flux, injected.magnification * FLUX * transmission, rtol=1e-12)
    np.testing.assert_allclose(injected.closure, 1.0, atol=2e-3)
    require_closure("mock", host.bands, injected)


def test_magnification_against_rays_shot_by_hand():
    """A second implementation: Kormann's SIE on a fine grid in NumPy. 0.2 %: the grid has 0.0125-arcsec pixels."""
    step = 0.0125
    axis = (np.arange(-480, 480) + 0.5) * step
    x, y = np.meshgrid(axis, axis)
    dx, dy = x - 0.02, y + 0.03
    a, b = np.cos(0.4) * dx + np.sin(0.4) * dy, -np.sin(0.4) * dx + np.cos(0.4) * dy
    q, f = 0.75, np.sqrt(1 - 0.75**2)
    psi = np.sqrt(q**2 * a**2 + b**2)
    along, across = 1.35 * np.sqrt(q) / f * np.arctan(f * a / psi), 1.35 * np.sqrt(q) / f * np.arctanh(f * b / psi)
    alpha_x = np.cos(0.4) * along - np.sin(0.4) * across + 0.03 * dx - 0.02 * dy
    alpha_y = np.sin(0.4) * along + np.cos(0.4) * across - 0.02 * dx - 0.03 * dy
    u, v = x - alpha_x - 0.25, y - alpha_y - 0.2
    a, b = np.cos(1.0) * u + np.sin(1.0) * v, -np.sin(1.0) * u + np.cos(1.0) * v
    profile = np.exp(-1.67834699 * np.sqrt(0.6 * a**2 + b**2 / 0.6) / 0.25)
    total = 2 * np.pi * (0.25 / 1.67834699) ** 2  # exact integral of an exponential disk
    mu = profile.sum() * step**2 / total
    assert put(a_host(), config=QUIET).magnification == pytest.approx(mu, rel=2e-3)


def test_each_band_has_its_own_psf():
    """The same arc with one flux: the second moment of a point-like image is that of the band's own Moffat profile."""
    weak = Lens(deflectors=(SIE(theta_E=1e-3, q=0.9),))
    dot = Sersic(r_e=0.02, n=0.5)
    host = a_host(galaxy=False)
    arcs = put(host, lens=weak, source=dot, config=QUIET, flux=np.ones(3)).arcs
    for image, fwhm in zip(arcs, PSFSIZE, strict=True):
        expected = moffat_psf(fwhm)
        peak, model = image[50, 50] / image.sum(), expected[31, 31]
        assert peak == pytest.approx(model, rel=0.01)  # 0.02 arcsec is not quite a point
    wide, narrow = arcs[0], arcs[2]
    assert narrow[50, 50] > 1.2 * wide[50, 50]


def test_a_pixelized_psf_is_used_as_it_is():
    host = a_host(galaxy=False)
    stamps = np.stack([moffat_psf(1.2, 2.6), moffat_psf(1.1, 3.5), moffat_psf(1.0, 4.0)])
    psf = host_psf(CONFIG, PSFSIZE, pixscale=host.pixscale, stamps=stamps)
    np.testing.assert_array_equal(psf.stamps, stamps)
    with pytest.raises(PhysicalRangeError, match="2 is outside 3, one for each band"):
        host_psf(CONFIG, PSFSIZE, pixscale=0.262, stamps=stamps[:2])


def test_extinction_reddens_the_source():
    host = a_host()
    clear, dusty = put(host, config=QUIET), put(host, config=QUIET, ebv=0.2)
    for number, band in enumerate("grz"):
        ratio = dusty.arcs[number].sum() / clear.arcs[number].sum()
        assert ratio == pytest.approx(10 ** (-0.4 * 0.2 * EXTINCTION_COEFFICIENT[band]), rel=1e-9)
    assert dusty.magnification == pytest.approx(clear.magnification, rel=1e-9)


def test_the_gain_is_derived_from_invvar_and_sky():
    host = a_host()
    gains = band_gains(host, CONFIG.sky)
    np.testing.assert_allclose(
        gains, [CONFIG.sky[band] / s**2 for band, s in zip("grz", SIGMA, strict=True)], rtol=1e-5
    )
    deeper = a_host(invvar=np.asarray(host.invvar) * 4)
    np.testing.assert_allclose(band_gains(deeper, CONFIG.sky), 4 * gains, rtol=1e-5)
    # Short DECam exposures to DES: thousands to tens of thousands; a constant of 150 would be none of them.
    assert np.all((gains > 5_000) & (gains < 60_000))
    np.testing.assert_array_equal(put(host).gain, gains)
    assert pixel_gain(np.array([0.0, 1e5]), 0.3).tolist() == [0.0, 3e4]
    np.testing.assert_allclose(
        sky_of(a_host(pixscale=0.131), CONFIG.sky), [CONFIG.sky[band] / 4 for band in "grz"], rtol=1e-12
    )


def test_shot_noise_is_to_sky_noise_as_arc_to_sky():
    """What is added varies by (arc / sky) of the sky's own variance: 3 % from the pixels of a broad, bright arc."""
    host = a_host(galaxy=False)
    broad = Sersic(r_e=4.0, n=0.5)
    noise = []
    for seed in range(8):
        noisy = put(host, source=broad, flux=4000 * FLUX, seed=seed)
        added = noisy.image.astype(np.float64) - host.image - noisy.arcs
        variance = PIXEL_SIGMA**2 * SIGMA[1] ** 2 * noisy.arcs[1] / CONFIG.sky["r"]
        noise.append((added[1] / np.sqrt(variance))[30:71, 30:71])
    noise = np.array(noise)
    assert noise.std() == pytest.approx(1.0, abs=0.03)
    assert abs(noise.mean()) < 0.05
    # The coadd's correlation, lags 1 and 2 along a row; white noise would have none.
    for lag in (1, 2):
        assert (noise[:, :, lag:] * noise[:, :, :-lag]).mean() == pytest.approx(LAGS[lag], abs=0.03)


def test_no_second_sky_is_added():
    """Where the arc has no light, the host's pixels have not a bit of new noise."""
    host = a_host()
    injected = put(host)
    dark = injected.arcs < 1e-9 * injected.arcs.max()
    assert dark.mean() > 0.05
    change = np.abs(injected.image.astype(np.float64) - host.image)[dark]
    assert change.max() < 1e-3 * SIGMA.min()


def test_invvar_is_lowered_by_the_photons_of_the_arc():
    host = a_host()
    injected = put(host)
    sky = np.array([CONFIG.sky[band] for band in "grz"])[:, None, None]
    np.testing.assert_allclose(injected.invvar, np.asarray(host.invvar) / (1 + injected.arcs / sky), rtol=1e-5)
    assert injected.invvar[0].min() < 0.97 * SIGMA[0] ** -2


def test_masked_pixels_are_never_touched():
    bits = np.zeros((101, 101), "i4")
    bits[40:46, 60:70] = mask_value("ALLMASK_R")
    bits[60, 60] = mask_value("MEDIUM")  # says what is near, not that a pixel is bad
    invvar = np.broadcast_to((SIGMA**-2)[:, None, None], (3, 101, 101)).astype("f4")
    invvar[0, 52:55, 45:47] = 0.0
    host = a_host(maskbits=bits, invvar=invvar)
    injected = put(host, check=False)
    bad = (bits & mask_value("ALLMASK_R")) != 0
    np.testing.assert_array_equal(injected.image[:, bad], host.image[:, bad])
    np.testing.assert_array_equal(injected.invvar[:, bad], invvar[:, bad])
    np.testing.assert_array_equal(injected.image[0, 52:55, 45:47], host.image[0, 52:55, 45:47])
    assert (injected.image[1, 52:55, 45:47] != host.image[1, 52:55, 45:47]).all()
    assert injected.image[0, 60, 60] != host.image[0, 60, 60]
    assert injected.lost > 0.005
    with pytest.raises(PhysicalRangeError, match="part of the arc outside of the good pixels"):
        put(host)
    with pytest.raises(ProcessError, match=r"is 0\.\d+ of magnification times source flux"):
        require_closure("mock", host.bands, injected)


def test_signal_to_noise_of_a_known_case():
    """An isolated point in white-equivalent noise: flux / (sigma sqrt(N_eff)) over the aperture factor 1.11."""
    from legacylens.mocks.noise import aperture_factor

    weak = Lens(deflectors=(SIE(theta_E=1e-3, q=0.9),))
    host = a_host(galaxy=False)
    faint = put(host, lens=weak, source=Sersic(r_e=0.02, n=0.5), flux=np.full(3, 1e-3), config=QUIET)
    for number, fwhm in enumerate(PSFSIZE):
        spread = np.sqrt((moffat_psf(fwhm) ** 2).sum())
        expected = 1e-3 * faint.magnification * spread / SIGMA[number] / aperture_factor()
        assert faint.snr[number] == pytest.approx(expected, rel=0.02)  # host noise is taken for light, 1 % of the sky


def test_the_same_seed_gives_the_same_pixels():
    host = a_host()
    assert same_bits(put(host, seed=5).image, put(host, seed=5).image)
    assert not same_bits(put(host, seed=5).image, put(host, seed=6).image)


@given(
    scale=st.floats(0.05, 30.0),
    x=st.floats(-0.6, 0.6),
    theta=st.floats(0.6, 2.5),
    radius=st.floats(0.06, 0.6),
    n=st.floats(0.6, 2.5),
)
def test_closure_holds_for_any_lens(scale, x, theta, radius, n):
    lens = Lens(deflectors=(SIE(theta_E=theta, q=0.7, phi=1.0), Shear(gamma1=0.05, gamma2=0.02)))
    host = a_host()
    injected = put(host, lens=lens, source=Sersic(r_e=radius, n=n, q=0.8, x=x, y=0.1), flux=scale * FLUX, config=QUIET)
    np.testing.assert_allclose(injected.closure, 1.0, atol=5e-3)
    assert injected.magnification > 1.0
    assert np.all(injected.invvar <= host.invvar)


def test_faults_do_what_they_say():
    host = a_host(galaxy=False)
    sane = put(host, config=QUIET)
    bright = put(host, config=InjectionConfig(shot_noise=False, flux_factor=40.0))
    np.testing.assert_allclose(bright.arcs, 40 * sane.arcs, rtol=1e-9, atol=1e-12)
    assert bright.magnification == pytest.approx(sane.magnification)
    wide = host_psf(InjectionConfig(psf_width_factor=1.25), PSFSIZE, pixscale=0.262)
    np.testing.assert_allclose(wide.stamps[0], moffat_psf(1.25 * 1.45))
    one = host_psf(InjectionConfig(psf="one-band-gaussian"), PSFSIZE, pixscale=0.262).stamps
    np.testing.assert_array_equal(one[0], one[2])
    np.testing.assert_allclose(one[0], gaussian_psf(0.93, pixscale=0.262))
    assert host_psf(InjectionConfig(psf="none"), PSFSIZE, pixscale=0.262).stamps.max() == 1.0
    same = host_psf(InjectionConfig(psf="gaussian"), PSFSIZE, pixscale=0.262).stamps[1]
    half = same[31, 31:] > same[31, 31] / 2
    assert 2 * half.sum() * 0.262 == pytest.approx(1.3, abs=0.3)
    constant = put(host, config=InjectionConfig(gain=150.0))
    assert constant.gain.tolist() == [150.0] * 3
    noise = (constant.image - sane.image)[1, 44:57, 44:57].std()
    assert noise > 5 * (put(host).image - sane.image)[1, 44:57, 44:57].std()


def test_clumps_keep_the_flux_and_come_from_the_seed():
    first, again, other = (source_of_row(ROW, "clumpy", np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert sum(first.weights) == pytest.approx(1.0)
    assert first.weights == again.weights
    assert first.weights != other.weights
    host, psf = a_host(), host_psf(CONFIG, PSFSIZE, pixscale=0.262)
    made = inject_row(host, ROW, psf, sources=SourceConfig(texture="clumpy"), config=CONFIG, ebv=0.02, seed=3)
    require_closure("mock", host.bands, made)


def test_a_log_normal_texture_keeps_the_flux_and_comes_from_the_seed():
    host, psf = a_host(), host_psf(CONFIG, PSFSIZE, pixscale=0.262)

    def made(texture, seed):
        sources = SourceConfig(texture=texture)
        return inject_row(host, ROW, psf, sources=sources, config=CONFIG, ebv=0.02, seed=seed)

    first, again, other = (made("log-normal", seed).image for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    require_closure("mock", host.bands, made("log-normal", 3))
    smooth, textured = made("smooth", 3).arcs, made("log-normal", 3).arcs
    # The same magnification to the accuracy of the light under another caustic, and another picture.
    assert np.abs(textured - smooth).max() > 0.02 * smooth.max()


def replaced(**changes):
    return {**ROW, **changes}


PSF = host_psf(CONFIG, PSFSIZE, pixscale=0.262)
RING = np.stack([moffat_psf(f) for f in PSFSIZE])
RING[:, :3] -= 3e-4
RING /= RING.sum((1, 2), keepdims=True)


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (lambda: put(a_host(), lens=Lens(deflectors=(SIE(theta_E=1.0, q=1.3),))), r"SIE.q = 1.3 is outside \(0, 1\]"),
        (lambda: put(a_host(), flux=-FLUX), "flux = -0.25 is outside >= 0 nanomaggies"),
        (lambda: put(a_host(), source=Sersic(r_e=20.0, n=1.0)), "diameter of the source"),
        (lambda: put(a_host(), ebv=-0.1), "ebv = -0.1 is outside"),
        (lambda: put(a_host(invvar=None)), "invvar of host 10000_1_1 = None"),
        (lambda: host_psf(CONFIG, PSFSIZE, pixscale=0.262, stamps=2 * PSF.stamps), "sum of the psf = 2"),
        (lambda: host_psf(CONFIG, PSFSIZE, pixscale=0.262, stamps=RING), "negative flux of the psf"),
        (lambda: host_psf(CONFIG, (0.1, 1.0, 1.0), pixscale=0.262), "fwhm_arcsec = 0.1"),
        (lambda: band_gains(a_host(), {"g": 0.1, "r": 0.3}), "sky of band z"),
        (lambda: pixel_gain(np.ones(2), 0.0), "sky = 0.0 is outside > 0"),
        (
            lambda: inject_row(a_host(), replaced(z_s=0.4), PSF, sources=SourceConfig(), config=CONFIG, ebv=0, seed=1),
            r"z_s = 0.4 is outside > z_l = 0.5. A source lies behind its lens",
        ),
        (
            lambda: inject_row(
                a_host(),
                {key: value for key, value in ROW.items() if key != "source_mag_z"},
                PSF,
                sources=SourceConfig(),
                config=CONFIG,
                ebv=0,
                seed=1,
            ),
            "source magnitude in z",
        ),
    ],
)
def test_impossible_input_is_refused(attempt, words):
    with pytest.raises(PhysicalRangeError, match=words):
        attempt()


def test_an_invvar_in_other_units_is_refused():
    """Inverse variances of ADU give a gain that no survey has."""
    host = a_host()
    odd = a_host(invvar=np.asarray(host.invvar) * 1e-3)
    with pytest.raises(PhysicalRangeError, match=r"effective gain .* in g .* e-/nanomaggy"):
        put(odd)


def test_closure_of_a_wrong_flux_is_refused():
    """The check can fail: 1.1 % too much in one band."""
    good = put(a_host())
    closure = good.closure.copy()
    closure[2] = 1.011
    parts = {name: getattr(good, name) for name in Injected.__dataclass_fields__}
    with pytest.raises(ProcessError, match=r"mock 7: the flux that was added in z is 1\.0110"):
        require_closure("mock 7", ("g", "r", "z"), Injected(**{**parts, "closure": closure}))


def test_pairs_of_bands_differ():
    """No band is made from another: no two bands are proportional."""
    arcs = put(a_host(), config=QUIET).arcs
    for first, second in itertools.combinations(arcs, 2):
        assert np.abs(first / first.max() - second / second.max()).max() > 0.02
