"""The tiling of the mock sky and the patches on it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legacylens.mocks.layout import (
    STEP,
    brick_at,
    brick_of,
    image_size,
    lenses_per_brick,
    neighbors,
    patches_of,
)
from legacylens.mocks.release_config import SIZES
from legacylens.survey.cells import cell_of
from legacylens.survey.release import BRICKNAME


@settings(deadline=None, max_examples=60)
@given(ra=st.floats(0, 359.999999), dec=st.floats(-89.9, 89.9))
def test_every_position_has_the_brick_that_contains_it(ra: float, dec: float) -> None:
    brick = brick_at(ra, dec).brick
    assert brick.ra1 - 1e-9 <= ra < brick.ra2 + 1e-9
    assert brick.dec1 - 1e-9 <= dec < brick.dec2 + 1e-9
    assert BRICKNAME.match(brick.brickname)


def test_names_and_numbers_are_unique_in_a_whole_row() -> None:
    for row in (900, 1195, 1400):
        first = brick_of(row, 0)
        n = round(360.0 / (first.brick.ra2 - first.brick.ra1))
        bricks = [brick_of(row, k).brick for k in range(n)]
        assert len({b.brickname for b in bricks}) == n
        assert np.array_equal(np.diff([b.brickid for b in bricks]), np.ones(n - 1))
        assert bricks[-1].ra2 == pytest.approx(360.0)
        assert brick_of(row + 1, 0).brick.brickid == bricks[-1].brickid + 1
        assert (bricks[0].ra2 - bricks[0].ra1) * np.cos(np.radians(bricks[0].dec)) == pytest.approx(STEP, rel=1e-3)


def test_neighbors_surround_a_brick() -> None:
    brick = brick_at(0.01, 12.0)
    around = neighbors(brick)
    assert 7 <= len(around) <= 9
    assert brick.brick.brickid not in {other.brick.brickid for other in around}
    assert {round(other.brick.dec - brick.brick.dec, 3) for other in around} == {-0.1, 0.0, 0.1}


@pytest.mark.parametrize(("size", "least_cells"), [("tiny", 20), ("small", 100), ("medium", 500)])
def test_patches_lie_in_different_cells_and_several_sweep_files(size: str, least_cells: int) -> None:
    config = SIZES[size]
    patches = patches_of(config)
    bricks = [m.brick for p in patches for m in p.bricks]
    assert len(bricks) == config.bricks
    assert len({b.brickid for b in bricks}) == config.bricks
    center = np.array([p.center for p in patches])
    assert len(np.unique(cell_of(center[:, 0], center[:, 1]))) >= 0.97 * config.patches
    ra, dec = np.array([[b.ra, b.dec] for b in bricks]).T
    assert len(np.unique(cell_of(ra, dec))) >= least_cells
    assert len(set(zip(ra // 5, dec // 5, strict=True))) >= 6
    # Inside of the survey's southern footprint.
    assert dec.min() > -18
    assert dec.max() < 32
    assert sum(p.missing_band == "z" for p in patches) == 1
    assert sum(p.bailed_out for p in patches) == 1
    assert sum(p.at_edge for p in patches) >= 1


def test_one_pair_lies_across_right_ascension_zero() -> None:
    pairs = [p for p in patches_of(SIZES["tiny"]) if len(p.bricks) == 2]
    first, second = pairs[0].bricks
    assert first.brick.ra2 == pytest.approx(360.0)
    assert second.brick.ra1 == 0.0
    assert pairs[0].center[0] == pytest.approx(0.0, abs=1e-9)


def test_quads_touch_each_other() -> None:
    quad = next(p for p in patches_of(SIZES["tiny"]) if len(p.bricks) == 4)
    low_left, low_right, up_left, up_right = (m.brick for m in quad.bricks)
    assert low_left.ra2 == low_right.ra1
    assert up_left.ra2 == up_right.ra1
    assert low_left.dec2 == up_left.dec1
    assert abs(low_left.ra - up_left.ra) < STEP


def test_images_are_wider_than_the_unique_area_by_the_border() -> None:
    brick = brick_at(150.0, 20.0).brick
    width, height = image_size(brick, 82)
    assert width % 2 == 0
    assert 1374 + 2 * 82 <= height <= 1374 + 2 * 82 + 4
    assert 1374 + 2 * 82 <= width <= 1374 + 2 * 82 + 6


def test_lenses_are_shared_evenly_and_not_where_the_data_are_broken() -> None:
    patches = patches_of(SIZES["tiny"])
    share = lenses_per_brick(patches, 80)
    assert sum(share.values()) == 80
    assert max(share.values()) - min(share.values()) <= 1
    broken = {m.brick.brickname for p in patches if p.missing_band or p.bailed_out for m in p.bricks}
    assert not broken & set(share)
