"""The scene of a brick against an independent renderer and its own total."""

import numpy as np
import pytest
from scipy import fft

from legacylens.lensing.sersic import Sersic as PureSersic
from legacylens.mocks.conditions import BandConditions
from legacylens.mocks.galaxies import Galaxy
from legacylens.mocks.morphology import Light, Sersic
from legacylens.mocks.psf import moffat_psf
from legacylens.mocks.render import render_profile
from legacylens.mocks.scene import Scene
from legacylens.mocks.sky import Points

NO_DUST = np.ones(3)


def seen(fwhm: float = 1.3, beta: float = 3.0) -> BandConditions:
    return BandConditions(
        fwhm=fwhm, beta=beta, sigma=0.003, sky=0.3, pedestal=0.0, offsets=np.zeros((4, 2)), weights=np.full(4, 0.25)
    )


def points(n: int, flux: float, radius: float = 0.0) -> Points:
    one = np.ones(n)
    return Points(
        east=0 * one,
        north=0 * one,
        flux=flux * np.ones((n, 3)),
        radius=radius * one,
        n=one,
        q=one,
        pa=0 * one,
    )


@pytest.mark.parametrize("place", [(100.0, 90.0), (100.37, 90.81), (101.5, 89.5)])
def test_a_star_is_the_moffat_profile_sampled_at_the_pixel_centers(place: tuple[float, float]) -> None:
    scene = Scene(200, 180)
    scene.add_stars(points(1, 3.0), np.array([place[0]]), np.array([place[1]]), NO_DUST)
    image = scene.observed(1, seen())
    y, x = np.mgrid[0:180, 0:200]
    alpha = 1.3 / (2 * np.sqrt(2 ** (1 / 3.0) - 1)) / 0.262
    square = ((x - place[0]) ** 2 + (y - place[1]) ** 2) / alpha**2
    profile = 3.0 * 2.0 / (np.pi * alpha**2) * (1 + square) ** -3.0
    # Interpolation onto the fine grid and the cut in Fourier space stay below 0.3 per cent of the peak.
    assert np.abs(image - profile).max() < 0.003 * profile.max()
    assert image.sum() == pytest.approx(profile.sum(), rel=2e-3)


def test_a_galaxy_agrees_with_the_exact_renderer() -> None:
    scene = Scene(160, 160)
    pa = 0.6
    galaxy = Galaxy(
        kind="disk",
        east=0,
        north=0,
        lights=(Light(shape=Sersic(radius=1.2, n=1.0, q=0.6, pa=pa), flux=(2.0, 2.0, 2.0)),),
        redshift=0.1,
        radius=1.2,
        n=1.0,
        q=0.6,
        pa=pa,
    )
    scene.add_galaxy(galaxy, 80.3, 79.6, NO_DUST)
    image = scene.observed(2, seen())
    exact = render_profile(
        [PureSersic(r_e=1.2 * np.sqrt(0.6), n=1.0, q=0.6, phi=pa + np.pi / 2)],
        np.array([2.0]),
        moffat_psf(1.3, 3.0)[None],
        shape=(160, 160),
        center=(79.6, 80.3),
    )[0]
    # The softened center and the cut wings are the difference.
    assert np.abs(image - exact).max() < 0.015 * exact.max()
    assert image.sum() == pytest.approx(2.0, rel=5e-3)


def test_faint_galaxies_and_single_ones_are_painted_alike() -> None:
    many, single = Scene(120, 120), Scene(120, 120)
    many.add_faint(points(1, 1.0, radius=0.5), np.array([60.2]), np.array([58.9]), NO_DUST)
    galaxy = Galaxy(
        kind="disk",
        east=0,
        north=0,
        lights=(Light(shape=Sersic(radius=0.5, n=1.0, q=1.0, pa=0.0), flux=(1.0, 1.0, 1.0)),),
        redshift=0.1,
        radius=0.5,
        n=1.0,
        q=1.0,
        pa=0.0,
    )
    single.add_galaxy(galaxy, 60.2, 58.9, NO_DUST)
    first, second = many.observed(0, seen()), single.observed(0, seen())
    assert np.abs(first - second).max() < 0.01 * second.max()


def test_dust_of_the_galaxy_dims_each_band_by_its_own_factor() -> None:
    scene = Scene(120, 120)
    dust = np.array([0.7, 0.8, 0.9])
    scene.add_stars(points(1, 5.0), np.array([60.0]), np.array([60.0]), dust)
    total = scene.light.sum(axis=(1, 2))
    assert np.allclose(total, 5.0 * dust, rtol=1e-5)


def test_light_beyond_the_edge_falls_in_but_does_not_wrap() -> None:
    scene = Scene(100, 100)
    scene.add_stars(points(1, 100.0), np.array([-6.0]), np.array([50.0]), NO_DUST)
    image = scene.observed(1, seen())
    assert image[50, 0] > 0.01
    assert np.abs(image[:, 60:]).max() < 1e-3
    far = Scene(100, 100)
    far.add_stars(points(1, 100.0), np.array([-500.0]), np.array([50.0]), NO_DUST)
    assert far.light.sum() == 0


def test_the_grid_is_fast_to_transform() -> None:
    scene = Scene(1540, 1538)
    for n in scene.light.shape[1:]:
        assert n == fft.next_fast_len(n, real=True)
        assert n % 4 == 0
