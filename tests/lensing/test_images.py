import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.LensModel.Solver.lens_equation_solver import LensEquationSolver

from legacylens.lensing.critical import critical_curves, cut, enclosed_area, to_source_plane
from legacylens.lensing.epl import EPL
from legacylens.lensing.images import find_images
from legacylens.lensing.lens import Lens, source_position
from legacylens.lensing.point_mass import PointMass
from legacylens.lensing.shear import Shear
from legacylens.lensing.sie import SIE


def winding(curve, x, y):
    angle = np.unwrap(np.arctan2(curve[:, 1] - y, curve[:, 0] - x), period=2 * np.pi)
    closing = np.arctan2(curve[0, 1] - y, curve[0, 0] - x) - angle[-1]
    return round((angle[-1] - angle[0] + (closing + np.pi) % (2 * np.pi) - np.pi) / (2 * np.pi))


@given(q=st.floats(0.3, 0.95), phi=st.floats(0, 3), x=st.floats(-0.8, 0.8), y=st.floats(-0.8, 0.8))
@settings(max_examples=25)
def test_images_obey_the_lens_equation_and_count_by_the_caustics(q, phi, x, y):
    lens = Lens(deflectors=(SIE(theta_E=1.4, q=q, phi=phi), Shear(gamma1=0.03, gamma2=-0.05)))
    images = find_images(lens, x, y, half_width=5.0)
    beta_x, beta_y = source_position(lens, images.x, images.y)
    assert torch.all(torch.hypot(beta_x - x, beta_y - y) < 1e-9)
    astroid, gate = to_source_plane(lens, critical_curves(lens, half_width=5.0)[0]), cut(lens)
    if min(np.hypot(*(astroid - [x, y]).T).min(), np.hypot(*(gate - [x, y]).T).min()) > 0.02:
        expected = 1 + abs(winding(gate, x, y)) + 2 * abs(winding(astroid, x, y))
        assert int(images.count) == expected


@pytest.mark.crosscheck
@pytest.mark.parametrize(("x", "y"), [(0.05, 0.03), (0.3, -0.2), (0.15, 0.0)])
def test_images_are_lenstronomys(x, y):
    q, slope = 0.7, 2.1
    e = (1 - q) / (1 + q)
    model = LensModel(["EPL", "SHEAR"])
    kwargs = [
        {"theta_E": 1.3, "gamma": slope, "e1": e, "e2": 0.0, "center_x": 0.0, "center_y": 0.0},
        {"gamma1": 0.04, "gamma2": 0.02},
    ]
    theirs = LensEquationSolver(model).image_position_from_source(
        x, y, kwargs, search_window=8, min_distance=0.02, precision_limit=1e-12, num_iter_max=200
    )
    mu = model.magnification(*theirs, kwargs)
    lens = Lens(deflectors=(EPL(theta_E=1.3, slope=slope, q=q), Shear(gamma1=0.04, gamma2=0.02)))
    ours = find_images(lens, x, y, half_width=4.0)
    # A steep lens squeezes a very faint image into its center, which their solver drops.
    bright = ours.magnification[0].abs() > 1e-4
    n = int(bright.sum())
    assert n == len(theirs[0])
    ours_sorted = np.sort_complex((ours.x + 1j * ours.y)[0, :n].numpy())
    np.testing.assert_allclose(ours_sorted, np.sort_complex(theirs[0] + 1j * theirs[1]), atol=1e-7)
    np.testing.assert_allclose(np.sort(ours.magnification[0, :n]), np.sort(mu), rtol=1e-5)


def test_point_mass_has_its_two_images():
    images = find_images(PointMass(theta_E=1.0), 0.4, 0.0, half_width=3.0)
    expected = (0.4 + np.array([1, -1]) * np.sqrt(0.4**2 + 4)) / 2
    np.testing.assert_allclose(images.x[0], expected, atol=1e-9)
    u = 0.4
    assert float(images.total_magnification) == pytest.approx((u * u + 2) / (u * np.sqrt(u * u + 4)), rel=1e-9)


def test_a_shallow_lens_has_two_critical_curves():
    lens = EPL(theta_E=1.5, slope=1.6, q=0.8)
    outer, inner = critical_curves(lens, half_width=4.0)
    assert enclosed_area(outer) > enclosed_area(inner) > 0
    # A round power law has kappa + |gamma| = 1 at theta_E, and kappa - |gamma| = 1 at (2 - t)^(1/(t)) ... of it.
    round_ = critical_curves(EPL(theta_E=1.5, slope=1.6, q=1.0), half_width=4.0)
    t = 0.6
    np.testing.assert_allclose(np.hypot(*round_[0].T), 1.5, atol=1e-9)
    np.testing.assert_allclose(np.hypot(*round_[1].T), 1.5 * (1 - t) ** (1 / t), atol=1e-9)


def test_a_lens_and_its_companion_have_joined_or_separate_curves():
    near = Lens(deflectors=(SIE(theta_E=1.0, q=0.9), SIE(theta_E=0.8, q=0.9, x=1.6)))
    far = Lens(deflectors=(SIE(theta_E=1.0, q=0.9), SIE(theta_E=0.3, q=0.9, x=6.0)))
    assert len([c for c in critical_curves(near, half_width=9.0) if enclosed_area(c) > 1.0]) == 1
    assert len([c for c in critical_curves(far, half_width=9.0) if enclosed_area(c) > 0.2]) == 2


def test_a_batch_of_lenses_and_sources():
    q = torch.tensor([0.5, 0.9], dtype=torch.float64)
    images = find_images(SIE(theta_E=1.2, q=q), torch.tensor([0.05, 0.9]), 0.02, half_width=4.0, n_lens=2)
    assert images.count.tolist() == [4, 2]
    assert torch.isnan(images.x[1, 2:]).all()
    assert torch.all(images.magnification[0].abs().diff() <= 0)
    alone = find_images(SIE(theta_E=1.2, q=0.9), 0.9, 0.02, half_width=4.0)
    np.testing.assert_allclose(images.x[1, :2], alone.x[0], atol=1e-6)
