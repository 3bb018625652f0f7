"""The constants of ``oracle.py``: that they follow from their formulas, and that our code gives them."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import integrate, special

from legacylens.lensing.cosmology import einstein_radius
from legacylens.lensing.critical import critical_curves, cut, enclosed_area, to_source_plane
from legacylens.lensing.epl import EPL
from legacylens.lensing.images import find_images
from legacylens.lensing.sersic import Sersic
from legacylens.lensing.sie import SIE
from legacylens.mocks.quadrature import lensed_light

CAUSTIC_Q = (0.5, 0.7, 0.9)


def test_constants_follow_from_their_formulas(oracle):
    theta_E, s = oracle["THETA_E"], oracle["GAUSSIAN_RADIUS"] / math.sqrt(2 * math.log(2))
    for beta, mu in oracle["SIS_GAUSSIAN_MAGNIFICATION"].items():
        # ive is exp(-u) I0(u)
        exact = 2 * theta_E * math.sqrt(math.pi / 2) / s * special.ive(0, beta**2 / (4 * s**2))
        assert mu == pytest.approx(exact, abs=6e-5)
        # The same from the definition: the mean of 2 / b and 1 + 1/b over the source.
        radial = integrate.quad(
            lambda r, beta=beta: (
                (2 * theta_E / r if r < theta_E else 1 + theta_E / r)
                * r
                / s**2
                * math.exp(-((r - beta) ** 2) / (2 * s**2))
                * special.ive(0, r * beta / s**2)
            ),
            1e-9,
            beta + 8 * s,
            points=[beta],
        )[0]
        assert mu == pytest.approx(radial, abs=6e-5)
    for radius, mu in oracle["SIS_DISK_MAGNIFICATION"].items():
        assert mu == pytest.approx(4 * theta_E / radius)
    assert oracle["SIE_CRITICAL_AREA"] == pytest.approx(math.pi * theta_E**2, abs=5e-5)
    for q, caustic in oracle["SIE_CAUSTICS"].items():
        f = math.sqrt(1 - q * q)
        axes = (theta_E * math.sqrt(q) / f * math.acos(q), theta_E * math.sqrt(q) / f * math.atanh(f))
        cusps = (abs(theta_E / math.sqrt(q) - axes[0]), abs(theta_E * math.sqrt(q) - axes[1]))
        np.testing.assert_allclose(caustic["cut"], axes, atol=6e-5)
        np.testing.assert_allclose(caustic["cusps"], cusps, atol=6e-5)


def test_sis_point_source(oracle):
    theta_E = oracle["THETA_E"]
    betas = list(oracle["SIS_POINT_MAGNIFICATION"])
    images = find_images(
        SIE(theta_E=theta_E, q=1.0), torch.tensor(betas, dtype=torch.float64), 0.0, half_width=5.0, n_lens=len(betas)
    )
    np.testing.assert_allclose(images.total_magnification, list(oracle["SIS_POINT_MAGNIFICATION"].values()), rtol=1e-9)
    np.testing.assert_allclose(images.x[:, 0], np.array(betas) + theta_E, atol=1e-9)
    np.testing.assert_allclose(images.x[:4, 1], np.array(betas[:4]) - theta_E, atol=1e-9)
    assert images.count.tolist() == [2, 2, 2, 2, 1, 1]


def total_magnification(lens, source, *, half=18, pixscale=0.262):
    shape = (2 * half + 1, 2 * half + 1)
    smooth, core = lensed_light(lens, source, n_lens=1, shape=shape, origin=(half, half), pixscale=pixscale)
    return float(smooth.sum() + core.sum())


def test_sis_gaussian_source(oracle):
    for beta, mu in oracle["SIS_GAUSSIAN_MAGNIFICATION"].items():
        # A Gaussian is the Sersic profile of index 1/2.
        source = Sersic(r_e=oracle["GAUSSIAN_RADIUS"], n=0.5, x=beta)
        lens = SIE(theta_E=oracle["THETA_E"], q=1.0)
        assert total_magnification(lens, source) == pytest.approx(mu, rel=1e-4)
        assert total_magnification(EPL(theta_E=1.5, slope=2.0, q=1.0), source) == pytest.approx(mu, rel=1e-4)


@dataclass(frozen=True)
class Disk:
    """A disk with an edge: the worst source that the quadrature can be given."""

    radius: float

    @property
    def diameter(self):
        return 2 * self.radius

    def brightness(self, x, y):
        return (torch.hypot(x, y) < self.radius).to(x) / (math.pi * self.radius**2)

    def roughness(self, x, y, footprint):
        half = torch.hypot(footprint[0], footprint[1]) + torch.hypot(footprint[2], footprint[3])
        at_edge = (torch.hypot(x, y) - self.radius).abs() < half
        bound = torch.full_like(x, 1 / (math.pi * self.radius**2))
        return bound, torch.where(at_edge, 10.0, 0.0)


def test_sis_disk(oracle):
    for radius, mu in oracle["SIS_DISK_MAGNIFICATION"].items():
        got = total_magnification(SIE(theta_E=oracle["THETA_E"], q=1.0), Disk(radius), half=12)
        # Cells of 1/256 pixel along an edge of 40 pixels.
        assert got == pytest.approx(mu, rel=2e-3)


@pytest.mark.parametrize("q", [0.2, 0.5, 0.7, 0.9, 0.99999, 1.0])
def test_area_of_the_critical_curve(oracle, q):
    lens = SIE(theta_E=oracle["THETA_E"], q=q, phi=0.4, x=0.1, y=-0.2)
    curves = critical_curves(lens, half_width=4.0)
    assert len(curves) == 1
    assert enclosed_area(curves[0]) == pytest.approx(oracle["SIE_CRITICAL_AREA"], abs=5e-4)
    np.testing.assert_allclose(lens.convergence(*torch.from_numpy(curves[0].T.copy())), 0.5, atol=1e-9)


@pytest.mark.parametrize("q", CAUSTIC_Q)
def test_caustics(oracle, q):
    lens = SIE(theta_E=oracle["THETA_E"], q=q)
    expected = oracle["SIE_CAUSTICS"][q]
    astroid = to_source_plane(lens, critical_curves(lens, half_width=4.0, n_grid=800)[0])
    np.testing.assert_allclose(np.abs(astroid).max(0), expected["cusps"], atol=1e-4)
    assert enclosed_area(astroid) == pytest.approx(expected["area"], abs=1e-4)
    np.testing.assert_allclose(np.abs(cut(lens)).max(0), expected["cut"], atol=1e-4)


def test_einstein_radii(oracle):
    for sigma_v, row in oracle["EINSTEIN_RADIUS"].items():
        for (z_l, z_s), theta_E in row.items():
            assert einstein_radius(sigma_v, z_l, z_s) == pytest.approx(theta_E, abs=0.0051)
