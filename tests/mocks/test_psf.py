import galsim
import numpy as np
import pytest

from legacylens.errors import PhysicalRangeError
from legacylens.mocks.psf import Psf, moffat_psf, moffat_psfs
from legacylens.survey.bands import PIXSCALE


@pytest.mark.crosscheck
@pytest.mark.parametrize(("fwhm", "beta"), [(1.0, 2.5), (1.3, 3.0), (1.7, 4.5)])
def test_moffat_is_galsims_without_another_pixel(fwhm, beta):
    size = 63
    psf = moffat_psf(fwhm, beta, size=size)
    theirs = galsim.Moffat(beta, fwhm=fwhm).drawImage(nx=size, ny=size, scale=PIXSCALE, method="no_pixel").array
    # They normalize over the infinite plane, we over the stamp.
    assert np.abs(psf - theirs / theirs.sum()).max() < 1e-6 * psf.max()


def test_moffat_has_its_fwhm_and_sum():
    psf = moffat_psf(1.31, 3.0, pixscale=0.131, size=101)  # half of the FWHM is five of these pixels
    assert psf.sum() == pytest.approx(1, abs=1e-14)
    assert psf[50, 55] / psf[50, 50] == pytest.approx(0.5, abs=1e-12)
    assert np.array_equal(psf, psf[::-1, ::-1])


def test_one_psf_for_each_band():
    psfs = moffat_psfs([1.5, 1.3, 1.2], [3.0, 2.5, 3.5], size=31)
    assert psfs.shape == (3, 31, 31)
    assert np.array_equal(psfs[1], moffat_psf(1.3, 2.5, size=31))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fwhm_arcsec": 0.2}, r"fwhm_arcsec = 0.2 is outside > 0.262 arcsec"),
        ({"fwhm_arcsec": float("nan")}, "fwhm_arcsec = nan"),
        ({"fwhm_arcsec": 1.2, "beta": 1.0}, "beta = 1.0 is outside > 1"),
        ({"fwhm_arcsec": 1.2, "size": 64}, "size = 64 is outside the odd numbers"),
    ],
)
def test_moffat_refuses(arguments, message):
    with pytest.raises(PhysicalRangeError, match=message):
        moffat_psf(**arguments)


def test_psf_that_does_not_sum_to_one_is_refused():
    with pytest.raises(PhysicalRangeError, match=r"sum of the psf = 1\.1.*Divide it by its sum"):
        Psf(1.1 * moffat_psf(1.2))


def test_psf_with_nan_is_refused():
    stamp = moffat_psf(1.2)
    stamp[0, 0] = np.nan
    with pytest.raises(PhysicalRangeError, match="sum of the psf = nan"):
        Psf(stamp)


def test_psf_with_dark_ring_is_refused():
    sharpened = 2 * moffat_psf(1.2) - moffat_psf(1.6)
    with pytest.raises(PhysicalRangeError, match="negative flux of the psf"):
        Psf(sharpened)


@pytest.mark.parametrize("shape", [(64, 64), (3, 31, 33), (31,)])
def test_psf_of_a_wrong_shape_is_refused(shape):
    with pytest.raises(PhysicalRangeError, match="shape of the psf"):
        Psf(np.full(shape, 1 / np.prod(shape)))


def test_transform_is_remembered_and_centered_on_the_first_pixel():
    psf = Psf(moffat_psf(1.2, size=31))
    transform = psf.transform((64, 64))
    assert psf.transform((64, 64)) is transform
    assert transform[0, 0, 0].real == pytest.approx(1, abs=1e-14)
    assert np.abs(transform.imag).max() < 1e-14  # a symmetric star on pixel 0 has a real transform
