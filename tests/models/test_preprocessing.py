"""The preprocessing record and its replay: nothing about an object may hide in its own normalization."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from legacylens.errors import FileProblem, InputError
from legacylens.models.preprocessing import Preprocessing
from legacylens.models.standardize import annulus_pixels, clipped_fraction, standardize
from legacylens.models.symmetry import ORDER, transform

PUBLISHED = Preprocessing(scale="annulus", stretch="clip")


def images(n: int = 4, seed: int = 0, scale: float = 0.003) -> torch.Tensor:
    return torch.randn(n, 3, 101, 101, generator=torch.Generator().manual_seed(seed)) * scale


def test_default_against_numpy() -> None:
    record = Preprocessing()
    x = images()
    half = 101 / 2
    yy, xx = np.mgrid[:101, :101] - 50.0
    radius = np.hypot(yy, xx) / half
    ring = (radius >= 0.65) & (radius < 0.95) & (yy % 2 == 0) & (xx % 2 == 0)
    array = x.numpy().astype(np.float64)
    noise = np.array(record.noise)[:, None, None]
    # torch's median of an even count is the lower middle one
    level = np.sort(array[:, :, ring], axis=2)[:, :, (ring.sum() - 1) // 2][..., None, None]
    expected = np.arcsinh((array - level) / noise / record.knee)
    np.testing.assert_allclose(standardize(x, record).numpy(), expected, atol=2e-6)  # float32


def test_constant_background_disappears() -> None:
    record = Preprocessing()
    x = images()
    torch.testing.assert_close(standardize(x + 0.01, record), standardize(x, record), atol=1e-4, rtol=0.0)


def test_one_object_does_not_change_another() -> None:
    record = Preprocessing()
    x = images(5)
    brighter = x.clone()
    brighter[0] *= 1e4
    torch.testing.assert_close(standardize(brighter, record)[1:], standardize(x, record)[1:], atol=0.0, rtol=0.0)


def test_batching_changes_nothing() -> None:
    record = Preprocessing()
    x = images(5)
    torch.testing.assert_close(
        torch.cat([standardize(x[:2], record), standardize(x[2:], record)]), standardize(x, record), atol=0.0, rtol=0.0
    )


def test_depth_and_brightness_are_not_normalized_away_by_default_but_are_as_published() -> None:
    x = images(2, scale=0.003)
    fixed, own = Preprocessing(), PUBLISHED
    assert standardize(3 * x, fixed).std() > 1.5 * standardize(x, fixed).std()
    torch.testing.assert_close(standardize(3 * x, own), standardize(x, own), atol=1e-3, rtol=1e-4)


@given(st.floats(1.0, 50.0), st.floats(1.1, 10.0))
@settings(deadline=None, max_examples=15)
def test_asinh_never_flattens_a_bright_arc(flux: float, ratio: float) -> None:
    record = Preprocessing(background="none")
    x = torch.zeros(2, 3, 101, 101)
    x[0, :, 40, 40] = flux
    x[1, :, 40, 40] = flux * ratio
    prepared = standardize(x, record)[:, :, 40, 40]
    assert (prepared[1] > prepared[0]).all()


def test_clipped_fraction_counts_what_the_published_stretch_flattens() -> None:
    x = images(1)
    x[0, 1, :10, :] = 5.0
    fraction = clipped_fraction(x, PUBLISHED)
    assert fraction.shape == (1, 3)
    assert fraction[0, 1] == pytest.approx(10 / 101, abs=1e-3)
    assert fraction[0, 0] == 0.0
    assert clipped_fraction(x, Preprocessing()).sum() == 0.0


def test_colors_survive() -> None:
    """The same flux ratio gives the same pair of values wherever it is, because the scale is the same everywhere."""
    x = torch.zeros(2, 3, 101, 101)
    x[0, :, 30, 30] = torch.tensor([1.0, 2.0, 3.0])
    x[1, :, 60, 70] = torch.tensor([1.0, 2.0, 3.0])
    prepared = standardize(x, Preprocessing())
    torch.testing.assert_close(prepared[0, :, 30, 30], prepared[1, :, 60, 70], atol=0.0, rtol=0.0)


def test_a_hole_makes_the_whole_object_nan_and_no_other() -> None:
    x = images(3)
    x[1, 2, 5, 5] = math.nan
    prepared = standardize(x, Preprocessing())
    assert torch.isnan(prepared[1]).all()
    assert torch.isfinite(prepared[[0, 2]]).all()


def test_blank_annulus_divides_by_the_fixed_scale() -> None:
    assert torch.isfinite(standardize(torch.zeros(1, 3, 101, 101), PUBLISHED)).all()


def test_annulus_is_a_fraction_of_the_stamp() -> None:
    """Radii tuned for one stamp must scale with another (they stayed in pixels in a known failed attempt)."""
    small, large = (len(annulus_pixels(stamp, 0.65, 0.95)) / stamp**2 for stamp in (65, 101))
    assert small == pytest.approx(large, rel=0.06)  # 400 pixels: the rim


@pytest.mark.parametrize("stamp", [33, 100, 101])
def test_annulus_is_symmetric(stamp: int) -> None:
    mask = torch.zeros(stamp * stamp, dtype=torch.bool)
    mask[annulus_pixels(stamp, 0.65, 0.95)] = True
    mask = mask.reshape(stamp, stamp)
    assert all(torch.equal(transform(mask, element), mask) for element in range(ORDER))


def test_annulus_with_too_few_pixels_is_refused() -> None:
    with pytest.raises(InputError, match=r"holds \d+ pixels; at least 100"):
        annulus_pixels(33, 0.98, 0.99)


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"images have shape \(2, 3, 64, 64\)"):
        standardize(torch.zeros(2, 3, 64, 64), Preprocessing())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annulus": (0.9, 0.5)}, "0 < inner < outer <= 1"),
        ({"noise": (0.1, 0.1)}, "noise has 2 values for the 3 bands"),
        ({"noise": (0.1, 0.1, 0.0)}, "must be positive"),
        ({"bands": ("g", "g", "z")}, "once each"),
        ({"stamp": 8}, "greater than or equal to 32"),
        ({"kne": 1.0}, "Extra inputs"),
    ],
)
def test_impossible_record_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Preprocessing(**change)


def test_other_pixels_are_refused_with_all_differences() -> None:
    with pytest.raises(FileProblem, match=r'store: .*bands g,r,i.*stamps of 64.*pixels of 0.4"') as caught:
        Preprocessing().require_input("store", bands=("g", "r", "i"), stamp=64, pixscale=0.4)
    assert caught.value.reason == "preprocessing-mismatch"
    Preprocessing().require_input("store", bands=("g", "r", "z"), stamp=101, pixscale=0.2621)


def test_json_is_canonical() -> None:
    assert Preprocessing().to_json() == Preprocessing.model_validate_json(Preprocessing().to_json()).to_json()
    assert Preprocessing().to_json() != Preprocessing(knee=2.0).to_json()
