"""Shapes of mock galaxies: flux, size, orientation, and what each kind is known by."""

import numpy as np
import pytest
from numpy.random import default_rng

from legacylens.mocks.galaxies import FIELD_KINDS, companion, field_galaxy, red_galaxy
from legacylens.mocks.morphology import (
    Arms,
    DustLane,
    EdgeOn,
    Light,
    Ring,
    Sersic,
    Shells,
    Tail,
    paint,
    rotated,
)
from legacylens.survey.bands import PIXSCALE

STEP = 0.05


def plane(half: float, step: float = STEP) -> tuple[np.ndarray, np.ndarray]:
    axis = np.arange(-half, half + step / 2, step, dtype=np.float32)
    return axis[None, :], axis[:, None]


def orientation(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Position angle (north through east, x to the west) and axis ratio of second moments."""
    east, north = -x, y
    weight = image / image.sum()
    east, north = east - (weight * east).sum(), north - (weight * north).sum()
    ee, nn, en = (weight * east**2).sum(), (weight * north**2).sum(), (weight * east * north).sum()
    pa = 0.5 * np.arctan2(2 * en, nn - ee)
    root = np.hypot(nn - ee, 2 * en)
    return float(pa % np.pi), float(np.sqrt((ee + nn - root) / (ee + nn + root)))


@pytest.mark.parametrize("n", [0.5, 1.0, 2.5, 4.0])
def test_half_of_the_light_lies_within_the_half_light_radius(n: float) -> None:
    x, y = plane(25.0)
    light = Sersic(radius=2.0, n=n, q=1.0, pa=0.0).light(*np.broadcast_arrays(x, y))
    inside = light[np.hypot(x, y) < 2.0].sum() / light.sum()
    # The wings end at eight radii and the cusp is softened: a few per cent of a de Vaucouleurs profile.
    assert inside == pytest.approx(0.5, abs=0.01 if n < 2 else 0.05)


@pytest.mark.parametrize("pa", [0.0, 0.4, 1.2, 2.6])
def test_position_angles_run_from_north_through_east(pa: float) -> None:
    x, y = np.broadcast_arrays(*plane(12.0, 0.1))
    for shape, ratio in (
        (Sersic(radius=1.5, n=1.0, q=0.5, pa=pa), 0.5),
        (Ring(radius=3.0, width=0.3, q=0.6, pa=pa), 0.6),
        (EdgeOn(scale=1.5, height=0.25, pa=pa), np.pi * 0.25 / np.sqrt(12) / (2 * 1.5)),
    ):
        measured, q = orientation(shape.light(x, y), x, y)
        assert abs((measured - pa + np.pi / 2) % np.pi - np.pi / 2) < 0.02
        assert q == pytest.approx(ratio, abs=0.03)


def test_rotation_keeps_lengths() -> None:
    x, y = np.broadcast_arrays(*plane(3.0, 0.5))
    u, v = rotated(x, y, 0.7)
    assert np.allclose(np.hypot(u, v), np.hypot(x, y), atol=1e-5)


def test_a_twist_turns_the_outer_isophotes_only() -> None:
    x, y = np.broadcast_arrays(*plane(12.0, 0.05))
    light = Sersic(radius=2.0, n=1.0, q=0.6, pa=0.3, twist=0.5).light(x, y)
    inner, _ = orientation(light * (np.hypot(x, y) < 0.4), x, y)
    outer, _ = orientation(light * (np.hypot(x, y) > 5.0), x, y)
    assert inner == pytest.approx(0.3, abs=0.12)
    assert outer == pytest.approx(0.3 + 2 * 0.5, abs=0.1)


def test_spiral_arms_are_logarithmic() -> None:
    shape = Arms(scale=2.0, q=1.0, pa=0.0, number=2, pitch=np.radians(20.0), phase=0.4, sharpness=4.0, inner=0.5)
    # On the crest the azimuth grows with the logarithm of the radius over the tangent of the pitch angle.
    for radius in (1.5, 2.5, 4.0):
        azimuth = np.linspace(-np.pi, np.pi, 3601, dtype=np.float32)
        # Along the major axis u = r cos, which points north for pa = 0; v points west to east backward.
        u, v = radius * np.cos(azimuth), radius * np.sin(azimuth)
        light = shape.light(-v.astype(np.float32), u.astype(np.float32))
        crest = azimuth[np.argmax(light)]
        expected = 0.4 + np.log((radius + 1e-3) / 2.0) / np.tan(np.radians(20.0))
        assert abs((crest - expected + np.pi / 2) % np.pi - np.pi / 2) < 0.01


def test_a_ring_is_brightest_at_its_radius() -> None:
    x, y = np.broadcast_arrays(*plane(6.0, 0.05))
    light = Ring(radius=3.0, width=0.4, q=1.0, pa=0.0).light(x, y)
    assert np.hypot(x, y).ravel()[np.argmax(light)] == pytest.approx(3.0, abs=0.05)
    assert light[np.hypot(x, y) < 0.5].max() < 1e-6


def test_a_tail_unwinds_from_its_start() -> None:
    x, y = np.broadcast_arrays(*plane(12.0, 0.05))
    light = Tail(start=2.0, growth=1.5, length=1.5, width=0.2, pa=0.0).light(x, y)
    radius, azimuth = np.hypot(x, y), np.arctan2(y, x) % (2 * np.pi)
    assert light[(azimuth > 1.6) & (azimuth < 6.0)].max() < 1e-6
    for angle in (0.5, 1.0):
        ray = np.abs(azimuth - angle) < 0.03
        assert radius[ray][np.argmax(light[ray])] == pytest.approx(2.0 + 1.5 * angle, abs=0.15)


def test_a_shell_ends_sharply_on_the_outside() -> None:
    shape = Shells(radii=(3.0,), sides=(0.0,), opening=0.6, depth=0.8)
    x = np.linspace(0.5, 6.0, 1101, dtype=np.float32)
    light = shape.light(x, np.zeros_like(x))
    peak = x[np.argmax(light)]
    assert 2.3 < peak < 3.1
    outward, inward = light[x > peak], light[x < peak]
    fall = x[x > peak][np.argmax(outward < 0.1 * light.max())] - peak
    rise = peak - x[x < peak][::-1][np.argmax(inward[::-1] < 0.4 * light.max())]
    assert fall < rise


def test_dust_reddens_and_keeps_the_declared_flux() -> None:
    x, y = plane(12.0, 0.1)
    lights = (Light(shape=Sersic(radius=1.5, n=2.0, q=0.7, pa=0.2), flux=(1.0, 2.0, 4.0)),)
    lane = DustLane(depth=2.0, height=0.4, length=5.0, pa=0.2)
    clear, dusty = paint(lights, None, x, y), paint(lights, lane, x, y)
    assert np.allclose(dusty.sum(axis=(1, 2)), [1.0, 2.0, 4.0], rtol=1e-4)
    middle = dusty.shape[1] // 2
    before, after = clear[:, middle, middle], dusty[:, middle, middle]
    assert (after[0] / after[2]) / (before[0] / before[2]) < 0.5


@pytest.mark.parametrize("kind", list(FIELD_KINDS))
def test_every_kind_of_galaxy_has_its_declared_flux_and_stays_in_its_stamp(kind: str) -> None:
    rng = default_rng(17)
    for _ in range(4):
        galaxy = FIELD_KINDS[kind][1](rng, 19.0)
        assert galaxy.kind == kind
        x, y = plane(galaxy.extent, PIXSCALE / 2)
        images = paint(galaxy.lights, galaxy.dust, x, y)
        assert np.all(images >= 0)
        assert np.allclose(images.sum(axis=(1, 2)), galaxy.flux, rtol=1e-3)
        assert 0.1 < galaxy.radius < 20
        assert 0 < galaxy.q <= 1
        edge = max(images[1, 0].max(), images[1, -1].max(), images[1, :, 0].max(), images[1, :, -1].max())
        assert edge < 0.02 * images[1].max()


def test_field_galaxies_have_the_asked_magnitude() -> None:
    rng = default_rng(5)
    for z_mag in (16.0, 18.5, 20.2):
        galaxy = field_galaxy(rng, z_mag)
        assert 22.5 - 2.5 * np.log10(galaxy.flux[2]) == pytest.approx(z_mag, abs=1e-9)


def test_red_galaxies_have_the_colors_and_sizes_of_lens_hosts() -> None:
    rng = default_rng(23)
    hosts = [red_galaxy(rng, mean_redshift=0.58, brighter=0.25) for _ in range(400)]
    flux = np.array([h.flux for h in hosts])
    r = 22.5 - 2.5 * np.log10(flux[:, 1])
    g_r, r_z = -2.5 * np.log10(flux[:, 0] / flux[:, 1]), -2.5 * np.log10(flux[:, 1] / flux[:, 2])
    kept = r - r_z < 19.8
    # Stein et al. 2022: medians 19.6, 1.62, 1.14 with 16-84 per cent ranges of 2.5, 0.7 and 0.7 mag.
    assert np.median(r[kept]) == pytest.approx(19.6, abs=0.4)
    assert np.median(g_r[kept]) == pytest.approx(1.62, abs=0.15)
    assert np.median(r_z[kept]) == pytest.approx(1.14, abs=0.2)
    assert np.median([h.radius for h in hosts]) == pytest.approx(0.88, abs=0.12)


def test_companions_stay_near_their_host() -> None:
    rng = default_rng(29)
    host = red_galaxy(rng)
    for blue in (False, True):
        around = [companion(rng, host, 3, blue=blue) for _ in range(200)]
        distance = np.array([np.hypot(c.east - host.east, c.north - host.north) for c in around])
        assert distance.min() >= 1.6
        assert distance.max() <= 8.0
        assert all(c.group == 3 for c in around)
        color = np.array([-2.5 * np.log10(c.flux[0] / c.flux[1]) for c in around])
        host_color = -2.5 * np.log10(host.flux[0] / host.flux[1])
        assert (np.median(color) < host_color - 0.6) == blue
