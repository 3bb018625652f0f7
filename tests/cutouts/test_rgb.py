"""Color pictures: the law is that color does not depend on brightness."""

import numpy as np
import pytest

from legacylens.cutouts.rgb import CHANNELS, PEDESTAL, SOFTENING, rgb
from legacylens.errors import PhysicalRangeError


def by_hand(image):
    """The mapping, pixel by pixel in plain Python."""
    factors = [6.0, 3.4, 2.2]
    out = np.zeros((*image.shape[1:], 3), np.uint8)
    for row in range(image.shape[1]):
        for column in range(image.shape[2]):
            scaled = [factor * float(image[band, row, column]) + PEDESTAL for band, factor in enumerate(factors)]
            mean = sum(max(value, 0.0) for value in scaled) / 3
            gain = np.arcsinh(SOFTENING * mean) / SOFTENING**0.5 / max(mean, 1e-6)
            for channel, value in enumerate(reversed(scaled)):
                out[row, column, channel] = int(min(max(value * gain * 255 + 0.5, 0), 255))
    return out


def test_a_plain_loop_gives_the_same_picture():
    image = np.random.default_rng(2).normal(0.01, 0.02, (3, 7, 5)).astype(np.float32)
    # float32 against float64 may differ by one gray level at a rounding edge.
    assert np.abs(rgb(image).astype(int) - by_hand(image).astype(int)).max() <= 1


def test_red_is_z_and_blue_is_g():
    for plane, (channel, _) in enumerate(CHANNELS.values()):
        image = np.zeros((3, 3, 3), np.float32)
        image[plane] = 0.2
        assert rgb(image)[1, 1].argmax() == channel


def test_a_source_gray_in_scaled_bands_stays_gray_at_any_brightness():
    for flux in (1e-3, 1e-2, 0.1):
        image = np.array([flux / 6.0, flux / 3.4, flux / 2.2], np.float32)[:, None, None] * np.ones((1, 2, 2), "f4")
        assert np.ptp(rgb(image)[0, 0].astype(int)) <= 1


def test_many_are_as_one_by_one_and_other_bands_are_passed_over():
    images = np.random.default_rng(3).normal(0.01, 0.05, (4, 3, 9, 9)).astype(np.float32)
    assert np.array_equal(rgb(images), np.stack([rgb(image) for image in images]))
    with_i = np.insert(images, 2, 99.0, axis=1)
    assert np.array_equal(rgb(with_i, ("g", "r", "i", "z")), rgb(images))


def test_empty_and_broken_pixels_are_drawn():
    image = np.full((3, 2, 2), np.nan, np.float32)
    image[:, 0, 0] = -5.0
    assert rgb(image).max() == 0


@pytest.mark.parametrize(
    ("shape", "bands"), [((3, 5, 5), ("g", "r", "i")), ((2, 5, 5), ("g", "r", "z")), ((5, 5), ("g", "r", "z"))]
)
def test_the_bands_must_be_named(shape, bands):
    with pytest.raises(PhysicalRangeError, match="image of bands"):
        rgb(np.zeros(shape), bands)
