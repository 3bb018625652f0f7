"""The record refuses what is no cutout of the survey, and says why."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legacylens.cutouts.cutout import Cutout, center_mask, defect_of, pixel_noise
from legacylens.errors import PhysicalRangeError

BANDS = ("g", "r", "z")
SIGMA = 0.005


def stamp(n_bands=3, side=101, seed=1):
    """Sky noise with a smooth galaxy of 30 nanomaggies."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    galaxy = 0.4 * np.exp(-np.hypot(x, y) / 4.0)
    return (galaxy + rng.normal(0, SIGMA, (n_bands, side, side))).astype(np.float32)


def record(**changes):
    image = stamp()
    values = {
        "source_id": "10002_1_2",
        "ra": 10.0,
        "dec": -5.0,
        "bands": BANDS,
        "image": image,
        "invvar": np.full_like(image, SIGMA**-2),
        "maskbits": np.zeros(image.shape[1:], np.int32),
    }
    return Cutout(**{**values, **changes})


def test_a_good_stamp_is_taken_as_it_is():
    image = stamp()
    cutout = record(image=image)
    assert np.array_equal(cutout.image, image)
    assert cutout.shape == (101, 101)
    assert np.array_equal(cutout.plane("r"), image[1])
    with pytest.raises(PhysicalRangeError, match="band of cutout 10002_1_2"):
        cutout.plane("i")


def test_pixel_noise_is_the_sigma_of_white_noise_and_blind_to_a_smooth_galaxy():
    # 34 rows x 99 differences: the median |difference| has a relative error of about 1.7 %; 4 sigma.
    assert pixel_noise(stamp()) == pytest.approx(SIGMA, rel=0.07)


@pytest.mark.parametrize("factor", [1.0, 30.0, 1 / 30.0])
def test_noise_against_invvar_allows_correlation_and_structure(factor):
    image = stamp()
    assert defect_of(BANDS, image, np.full_like(image, (SIGMA * factor) ** -2)) is None


def with_pixels(value, where):
    image = stamp()
    image[where] = value
    return image


CENTER = (slice(None), 50, 50)
CORNER = (slice(None), 0, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source_id": ""}, "source_id"),
        ({"ra": 400.0}, "Give degrees, not hours"),
        ({"dec": -91.0}, r"\(ra, dec\)"),
        ({"pixscale": 0.0}, "pixscale"),
        ({"bands": ("g", "r", "u")}, "bands = "),
        ({"bands": ("r", "g", "z")}, "in this order"),
        ({"bands": ("g", "g", "z")}, "each once"),
        ({"bands": ("g", "z")}, "image.shape"),
        ({"image": np.moveaxis(stamp(), 0, -1)}, "Move the band axis to the front"),
        ({"image": stamp()[0]}, "image.shape"),
        ({"invvar": np.ones((3, 50, 50), np.float32)}, "invvar.shape"),
        ({"invvar": -np.ones((3, 101, 101), np.float32)}, "negative, NaN or infinite"),
        ({"maskbits": np.zeros((3, 101, 101), np.int32)}, "maskbits"),
        ({"maskbits": np.zeros((101, 101), np.float32)}, "maskbits"),
        ({"image": with_pixels(np.nan, CENTER)}, r"NaN or infinite pixels = 3 \(3 of them at the center\)"),
        ({"image": with_pixels(np.inf, CORNER)}, r"= 3 \(0 of them at the center\)"),
        ({"image": np.zeros((3, 101, 101), np.float32)}, "zero everywhere.*off the survey"),
        ({"image": with_pixels(0.0, np.s_[2])}, "band z = zero everywhere"),
        ({"image": with_pixels(0.0, np.s_[1:, 45:56, 45:56])}, r"center in band r, z = 0\.[4-6]"),
        ({"image": with_pixels(0.0, np.s_[0, :, :41])}, None),
        ({"image": with_pixels(0.0, np.s_[0, np.hypot(*np.mgrid[-50:51, -50:51]) > 20])}, "without data in band g"),
        ({"image": stamp() * 1000.0, "invvar": None}, "these look like ADU or counts"),
        ({"image": stamp() + 300.0, "invvar": None}, "these look like ADU or counts"),
        ({"image": stamp() * 1e-9, "invvar": None}, "maggies, jansky or a noiseless model"),
        ({"invvar": np.full((3, 101, 101), 1.0, np.float32)}, "noise stated by invvar"),
    ],
)
def test_what_is_no_cutout_is_refused(changes, message):
    if message is None:
        record(**changes)
        return
    with pytest.raises(PhysicalRangeError, match=message):
        record(**changes)


def test_unknown_position_and_missing_planes_are_allowed():
    cutout = record(ra=float("nan"), dec=float("nan"), invvar=None, maskbits=None)
    assert cutout.invvar is None
    assert cutout.maskbits is None


def test_arrays_are_kept_in_the_survey_types():
    cutout = record(image=stamp().astype(">f8"), maskbits=np.zeros((101, 101), np.uint16))
    assert cutout.image.dtype == np.float32
    assert cutout.maskbits.dtype == np.int32


def test_the_reason_is_a_stable_word():
    assert defect_of(BANDS, np.zeros((3, 101, 101), np.float32)).reason == "off-the-sky"
    assert defect_of(BANDS, stamp() * 1000).reason == "units"
    assert defect_of(BANDS, with_pixels(0.0, np.s_[2])).reason == "missing-band"
    assert "allowed is" in defect_of(BANDS, stamp() * 1000).what


def test_center_mask_is_a_disk_around_the_middle():
    mask = center_mask(101, 101)
    assert mask[50, 50]
    assert mask[50, 58]
    assert not mask[50, 59]
    # Gauss' circle problem for r = 8.
    assert mask.sum() == 197


@settings(deadline=None, max_examples=25)
@given(
    background=st.floats(-1.0, 1.0),
    sigma=st.floats(1e-3, 0.2),
    brightness=st.floats(0.0, 1000.0),
    seed=st.integers(0, 2**31),
)
def test_every_plausible_nanomaggy_stamp_is_accepted(background, sigma, brightness, seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:101, :101] - 50.0
    # Shot noise: some 1e4 electrons for one nanomaggy (DECam, a few exposures).
    galaxy = brightness * np.exp(-(((x**2 + y**2) / 18.0) ** 0.25)) / 100.0
    noise = np.sqrt(sigma**2 + galaxy / 1e4)
    image = (background + galaxy + noise * rng.normal(size=(3, 101, 101))).astype(np.float32)
    assert defect_of(BANDS, image, np.broadcast_to(noise**-2.0, image.shape).astype(np.float32)) is None
