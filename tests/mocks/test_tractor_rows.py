"""Catalog rows of single bricks: fluxes, shapes, flags and the survey's defects."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial import cKDTree

from legacylens.mocks.brick_images import BrickImages, draw_brick
from legacylens.mocks.layout import MockBrick, Patch, brick_at
from legacylens.mocks.patch import PatchContent, build_patch, generator
from legacylens.mocks.release_config import MockReleaseConfig
from legacylens.mocks.sources import source_table
from legacylens.mocks.star_masks import mask_radius
from legacylens.mocks.tractor import measure
from legacylens.survey.maskbits import mask_value

CONFIG = MockReleaseConfig(singles=1, pairs=0, quads=0, lenses=3, parents_per_brick=60.0, stars_per_arcmin2=2.5)


@cache
def observed(
    missing: str | None = None, bailed: bool = False, edge: bool = False
) -> tuple[PatchContent, MockBrick, BrickImages, pd.DataFrame, pd.DataFrame]:
    torch.set_num_threads(1)
    mock = brick_at(150.0, 2.0)
    patch = Patch(number=4, bricks=(mock,), missing_band=missing, bailed_out=bailed, at_edge=edge)
    broken = missing is not None or bailed
    content = build_patch(patch, CONFIG, 3, {} if broken else {mock.brick.brickname: 3})
    images = draw_brick(content, mock, CONFIG, 3)
    rng = generator(3, "catalog", 4)
    sources = source_table(content, images, rng)
    return content, mock, images, sources, measure(content, mock, images, sources, rng)


def test_fluxes_scatter_around_the_truth_as_their_errors_say() -> None:
    _, _, images, sources, rows = observed()
    weighted = (rows[["flux_ivar_g", "flux_ivar_r", "flux_ivar_z"]] > 0).all(axis=1)
    stars = rows[(rows["kind"] == "star") & (rows["fracflux_r"] < 0.02) & weighted]
    place = sources[sources["kind"] == "star"]
    x, y = images.wcs.all_world2pix(stars["ra"], stars["dec"], 0)
    distance, index = cKDTree(place[["x", "y"]].to_numpy()).query(np.stack([x, y], axis=1))
    near = distance < 1.0
    assert near.sum() > 40
    for band in "grz":
        truth = place[f"flux_{band}"].to_numpy()[index[near]]
        flux = stars[f"flux_{band}"].to_numpy()[near]
        error = np.hypot(stars[f"flux_ivar_{band}"].to_numpy()[near] ** -0.5, 0.0134 * truth)
        pull = (flux - truth) / error
        # Detected stars near the limit are biased bright; the rest is a unit normal.
        assert abs(np.median(pull)) < 0.4
        assert 0.7 < 1.4826 * np.median(np.abs(pull - np.median(pull))) < 1.3


def test_types_follow_profile_and_signal() -> None:
    _, _, _, _, rows = observed()
    assert set(rows["type"]) <= {"PSF", "REX", "EXP", "DEV", "SER", "DUP"}
    assert (rows.loc[rows["kind"] == "star", "type"] == "PSF").all()
    bright = rows[(rows["flux_z"] > 12.0) & (rows["galaxy"] >= 0)]
    assert bright["type"].isin(["SER", "DEV", "EXP", "REX"]).mean() > 0.9
    assert rows.loc[rows["type"] == "SER", "sersic"].between(0.5, 6.0).all()
    assert (rows.loc[rows["type"] == "DEV", "sersic"] == 4.0).all()
    assert (rows.loc[rows["type"] == "PSF", "shape_r"] == 0.0).all()
    assert (rows.loc[rows["type"].isin(["REX"]), ["shape_e1", "shape_e2"]] == 0.0).all().all()
    assert (np.hypot(rows["shape_e1"], rows["shape_e2"]) < 1.0).all()


def test_ellipticities_give_back_axis_ratio_and_position_angle() -> None:
    content, _, _, _, rows = observed()
    shaped = rows[rows["type"].isin(["SER", "DEV", "EXP"]) & (rows["galaxy"] >= 0) & (rows["flux_r"] > 10)]
    galaxies = [*content.sky.galaxies, *(lens.host for lens in content.lenses)]
    checked = 0
    for row in shaped.itertuples():
        galaxy = galaxies[row.galaxy]
        if galaxy.q > 0.7:
            continue
        size = np.hypot(row.shape_e1, row.shape_e2)
        assert (1 - size) / (1 + size) == pytest.approx(galaxy.q, abs=0.12)
        pa = 0.5 * np.arctan2(row.shape_e2, row.shape_e1)
        assert abs((pa - galaxy.pa + np.pi / 2) % np.pi - np.pi / 2) < 0.35
        checked += 1
    assert checked > 5


def test_depths_are_inverse_variances_of_point_sources() -> None:
    content, _, _, _, rows = observed()
    stars = rows[(rows["kind"] == "star") & (rows["flux_r"] < 3) & (rows["nobs_r"] > 0)]
    ratio = stars["flux_ivar_r"] / stars["psfdepth_r"]
    # The catalog's errors know the correlation of the pixels, the depths do not.
    assert 0.6 < ratio.median() < 1.0
    assert (stars["galdepth_r"] < stars["psfdepth_r"]).all()
    assert np.allclose(stars["psfsize_r"], content.conditions.bands["r"].fwhm)


def test_lens_hosts_are_parents_with_unmasked_pixels() -> None:
    content, mock, _, _, rows = observed()
    assert len(content.lenses) == 3
    assert set(content.lens_bricks) == {mock.brick.brickname}
    hosts = rows[(rows["lens"] >= 0) & (rows["kind"] != "arc")]
    assert len(hosts) == 3
    assert hosts["type"].isin(["SER", "DEV", "REX", "EXP"]).all()
    assert (hosts["maskbits"] == 0).all()
    assert (hosts[["nobs_g", "nobs_r", "nobs_z"]] >= 3).all().all()
    z = 22.5 - 2.5 * np.log10(hosts["flux_z"] / hosts["mw_transmission_z"])
    assert (z < 20).all()


def test_lens_hosts_have_the_company_of_other_red_galaxies() -> None:
    # Half of the red galaxies have company: if lens hosts had none, that alone would tell them apart.
    near, total = 0, 0
    for number in range(6):
        patch = Patch(number=number, bricks=(brick_at(150.0, 2.0),), missing_band=None, bailed_out=False, at_edge=False)
        content = build_patch(patch, CONFIG, 11, {patch.bricks[0].brick.brickname: 4})
        first = len(content.sky.galaxies)
        accompanied = {g.group for g in content.sky.galaxies if g.group >= first}
        assert accompanied <= {first + k for k in range(4)}
        near, total = near + len(accompanied), total + len(content.lenses)
    assert 0.25 < near / total < 0.85


def test_bright_stars_are_masked_saturated_and_without_weight() -> None:
    content, _, images, _, _ = observed()
    stars = content.sky.stars
    x, y = images.wcs.all_world2pix(*content.to_sky(stars.east, stars.north), 0)
    height, width = images.maskbits.shape
    inside = (x > 60) & (x < width - 60) & (y > 60) & (y < height - 60)
    medium = np.flatnonzero(inside & (stars.gaia_g < 15.0))
    assert len(medium)
    for k in medium:
        column, row = round(float(x[k])), round(float(y[k]))
        assert images.maskbits[row, column] & mask_value("MEDIUM")
        assert images.maskbits[row, column] & mask_value("SATUR_R", "SATUR_G", "SATUR_Z")
        assert min(images.invvar[band][row, column] for band in "grz") == 0
        edge = round(column + float(mask_radius(stars.gaia_g[k])) / 0.262 - 2)
        if edge < width:
            assert images.maskbits[row, edge] & mask_value("MEDIUM")
    # The radius of the survey's Gaia masks: 21 arcsec at G = 13.
    assert mask_radius(13.0) == pytest.approx(21.3, abs=0.3)


def test_zero_weight_pixels_say_why() -> None:
    _, _, images, _, _ = observed()
    for band in "grz":
        dead = images.invvar[band] == 0
        reason = (images.maskbits & mask_value(f"ALLMASK_{band.upper()}")) > 0
        assert np.array_equal(dead, reason | (images.nexp[band] == 0))


def test_a_missing_band_has_no_images_and_no_exposures() -> None:
    content, _, images, _, rows = observed(missing="z")
    assert set(images.image) == {"g", "r"}
    assert set(content.conditions.bands) == {"g", "r"}
    assert (rows["nobs_z"] == 0).all()
    for column in ("flux_z", "flux_ivar_z", "psfdepth_z", "psfsize_z"):
        assert (rows[column] == 0).all()
    assert (rows["nobs_r"] >= 3).mean() > 0.9


def test_a_bailed_out_brick_has_rows_without_a_place_and_the_bit() -> None:
    _, _, images, _, rows = observed(bailed=True)
    lost = (rows["ra"] == 0) & (rows["dec"] == 0)
    assert 0.1 < lost.mean() < 0.8
    assert (rows.loc[lost, "flux_r"] == 0).all()
    assert (rows.loc[lost, "maskbits"] & mask_value("BAILOUT") > 0).all()
    assert (images.maskbits & mask_value("BAILOUT") > 0).mean() == pytest.approx(0.6, abs=0.01)
    assert rows["objid"].is_unique


def test_the_edge_of_the_survey_is_empty_and_has_objects_beside_it() -> None:
    content, _, images, _, rows = observed(edge=True)
    assert content.conditions.edge is not None
    for band in "grz":
        outside = images.nexp[band] == 0
        assert 0.05 < outside.mean() < 0.6
        assert (images.invvar[band][outside] == 0).all()
        assert (images.image[band][outside] == 0).all()
    assert (rows[rows["type"] != "DUP"][["nobs_g", "nobs_r", "nobs_z"]].max(axis=1) > 0).all()
    x, y = images.wcs.all_world2pix(rows["ra"], rows["dec"], 0)
    beside = [
        (images.nexp["r"][max(int(b) - 50, 0) : int(b) + 51, max(int(a) - 50, 0) : int(a) + 51] == 0).any()
        for a, b in zip(x, y, strict=True)
    ]
    assert np.sum(beside) > 10
