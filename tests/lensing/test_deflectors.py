import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lenstronomy.LensModel.lens_model import LensModel

from legacylens.errors import PhysicalRangeError
from legacylens.lensing.epl import EPL
from legacylens.lensing.frames import select
from legacylens.lensing.lens import Lens, inverse_magnification, magnification, source_position
from legacylens.lensing.point_mass import PointMass
from legacylens.lensing.shear import Shear
from legacylens.lensing.sie import SIE

theta_Es = st.floats(0.3, 5.0)
axis_ratios = st.one_of(st.floats(0.2, 1.0), st.sampled_from([1.0, 1 - 1e-15, 0.99999]))
angles = st.floats(-4.0, 4.0)
centers = st.floats(-0.3, 0.3)
sies = st.builds(SIE, theta_E=theta_Es, q=axis_ratios, phi=angles, x=centers, y=centers)
epls = st.builds(EPL, theta_E=theta_Es, slope=st.floats(1.3, 2.7), q=axis_ratios, phi=angles, x=centers, y=centers)
shears = st.builds(Shear, gamma1=st.floats(-0.3, 0.3), gamma2=st.floats(-0.3, 0.3))
masses = st.builds(PointMass, theta_E=theta_Es, x=centers, y=centers)
deflectors = st.one_of(sies, epls, shears, masses)
lenses = st.one_of(deflectors, st.builds(lambda *parts: Lens(deflectors=parts), st.one_of(sies, epls), shears, masses))
# Away from the singular centers, where derivatives have a meaning.
places = st.tuples(st.floats(0.5, 6.0), angles).map(lambda p: (p[0] * np.cos(p[1]) + 0.35, p[0] * np.sin(p[1])))


def derivatives(lens, x, y):
    point = torch.tensor([x, y], dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(
        lambda p: torch.stack(lens.deflection(p[0].reshape(1), p[1].reshape(1))).reshape(2), point
    )
    gradient = torch.autograd.functional.jacobian(
        lambda p: lens.potential(p[0].reshape(1), p[1].reshape(1)).reshape(()), point
    )
    return jacobian.numpy(), gradient.numpy()


@given(lens=lenses, place=places)
def test_deflection_is_the_gradient_of_the_potential_and_kappa_and_gamma_are_its_derivatives(lens, place):
    jacobian, gradient = derivatives(lens, *place)
    x, y = (torch.tensor([value], dtype=torch.float64) for value in place)
    alpha = np.array([float(a) for a in lens.deflection(x, y)])
    kappa, gamma1, gamma2 = float(lens.convergence(x, y)), *(float(g) for g in lens.shear(x, y))
    scale = 1e-10 * (1 + np.abs(jacobian).max())
    np.testing.assert_allclose(gradient, alpha, atol=1e-10 * (1 + np.abs(alpha).max()))
    assert jacobian[0, 0] + jacobian[1, 1] == pytest.approx(2 * kappa, abs=scale)
    assert jacobian[1, 0] - jacobian[0, 1] == pytest.approx(0, abs=scale)
    assert jacobian[0, 0] - jacobian[1, 1] == pytest.approx(2 * gamma1, abs=scale)
    assert jacobian[0, 1] == pytest.approx(gamma2, abs=scale)
    determinant = np.linalg.det(np.eye(2) - jacobian)
    assert float(inverse_magnification(lens, x, y)) == pytest.approx(determinant, abs=100 * scale)
    assert float(magnification(lens, x, y)) == pytest.approx(1 / determinant, rel=1e-6)


@given(lens=st.one_of(sies, epls), angle=st.floats(0.0, 6.3), place=places)
def test_a_turned_lens_deflects_turned(lens, angle, place):
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = place
    alpha = np.array([float(a) for a in lens.deflection(*(torch.tensor([v], dtype=torch.float64) for v in place))])
    turned = type(lens)(
        **{f: getattr(lens, f) for f in lens.__slots__ if f not in ("phi", "x", "y")},
        phi=lens.phi + angle,
        x=cos * lens.x - sin * lens.y,
        y=sin * lens.x + cos * lens.y,
    )
    there = [torch.tensor([v], dtype=torch.float64) for v in (cos * x - sin * y, sin * x + cos * y)]
    got = np.array([float(a) for a in turned.deflection(*there)])
    np.testing.assert_allclose(got, [cos * alpha[0] - sin * alpha[1], sin * alpha[0] + cos * alpha[1]], atol=1e-11)


@given(theta_E=theta_Es, q=axis_ratios, place=places)
@settings(max_examples=25)
def test_isothermal_power_law_is_the_sie(theta_E, q, place):
    x, y = (torch.tensor([value], dtype=torch.float64) for value in place)
    sie, epl = SIE(theta_E=theta_E, q=q, phi=0.3), EPL(theta_E=theta_E, slope=2.0, q=q, phi=0.3)
    for ours, theirs in zip(sie.deflection(x, y), epl.deflection(x, y), strict=True):
        assert float(ours) == pytest.approx(float(theirs), abs=1e-11)
    assert float(sie.convergence(x, y)) == pytest.approx(float(epl.convergence(x, y)), rel=1e-12)


@given(lens=epls)
@settings(max_examples=15)
def test_mean_convergence_inside_the_einstein_ellipse_is_one(lens):
    # Gauss: the flux of alpha through a closed curve is twice the mass inside.
    angle = torch.arange(4096, dtype=torch.float64) * (2 * np.pi / 4096)
    a, b = lens.theta_E / np.sqrt(lens.q), lens.theta_E * np.sqrt(lens.q)
    cos, sin = np.cos(lens.phi), np.sin(lens.phi)
    ex, ey = a * torch.cos(angle), b * torch.sin(angle)
    alpha_x, alpha_y = lens.deflection(lens.x + cos * ex - sin * ey, lens.y + sin * ex + cos * ey)
    tx, ty = -a * torch.sin(angle), b * torch.cos(angle)
    normal_x, normal_y = sin * tx + cos * ty, -(cos * tx - sin * ty)
    mass = float((alpha_x * normal_x + alpha_y * normal_y).mean() * 2 * np.pi) / 2
    assert mass == pytest.approx(np.pi * lens.theta_E**2, rel=1e-9)


@pytest.mark.parametrize("lens", [SIE(theta_E=1.2, q=0.7), EPL(theta_E=1.2, slope=2.3, q=0.7), PointMass(theta_E=1.0)])
def test_the_center_does_not_deflect(lens):
    zero = torch.zeros(1, dtype=torch.float64)
    assert [float(a) for a in lens.deflection(zero, zero)] == [0.0, 0.0]


@given(q=st.floats(1 - 1e-6, 1.0), place=places)
@settings(max_examples=25)
def test_round_limit_is_smooth(q, place):
    x, y = (torch.tensor([value], dtype=torch.float64) for value in place)
    almost, round_ = SIE(theta_E=1.3, q=q).deflection(x, y), SIE(theta_E=1.3, q=1.0).deflection(x, y)
    # A round lens deflects by theta_E, and the ellipticity enters linearly.
    assert float(torch.hypot(*round_)) == pytest.approx(1.3, abs=1e-14)
    for one, other in zip(almost, round_, strict=True):
        assert float(one) == pytest.approx(float(other), abs=1.3 * (1 - q) + 1e-14)


GRID = torch.linspace(-4, 4, 121, dtype=torch.float64) + 0.003
Y, X = torch.meshgrid(GRID, GRID, indexing="ij")


def of_lenstronomy(name, q, phi, **more):
    e = (1 - q) / (1 + q)
    kwargs = {"theta_E": 1.5, "e1": e * np.cos(2 * phi), "e2": e * np.sin(2 * phi), "center_x": 0, "center_y": 0}
    model = LensModel([name])
    flat = X.numpy().ravel(), Y.numpy().ravel()
    alpha = model.alpha(*flat, [{**kwargs, **more}])
    return [np.reshape(a, X.shape) for a in (*alpha, model.potential(*flat, [{**kwargs, **more}]))]


@pytest.mark.crosscheck
@pytest.mark.parametrize("q", [0.2, 0.5, 0.9, 0.999, 0.99999])
def test_deflection_is_lenstronomys(q):
    away = torch.hypot(X, Y).numpy() > 0.05  # lenstronomy's SIE has a core of 1e-10, felt as 2.5e-8 at 0.004 arcsec
    theirs = of_lenstronomy("SIE", q, 0.4)
    sie = SIE(theta_E=1.5, q=q, phi=0.4)
    for ours, other in zip(sie.deflection(X, Y), theirs, strict=False):
        assert np.abs(ours.numpy() - other)[away].max() < 1e-8
    for slope in (1.7, 2.0, 2.4):
        theirs = of_lenstronomy("EPL", q, 0.4, gamma=slope)
        epl = EPL(theta_E=1.5, slope=slope, q=q, phi=0.4)
        for ours, other in zip((*epl.deflection(X, Y), epl.potential(X, Y)), theirs, strict=True):
            np.testing.assert_allclose(ours, other, atol=1e-8)


@pytest.mark.crosscheck
def test_shear_and_point_mass_are_lenstronomys():
    model = LensModel(["SHEAR", "POINT_MASS"])
    kwargs = [{"gamma1": 0.05, "gamma2": -0.03}, {"theta_E": 0.7, "center_x": 0.2, "center_y": -0.1}]
    flat = X.numpy().ravel(), Y.numpy().ravel()
    theirs = [*model.alpha(*flat, kwargs)]
    lens = Lens(deflectors=(Shear(gamma1=0.05, gamma2=-0.03), PointMass(theta_E=0.7, x=0.2, y=-0.1)))
    for ours, other in zip(lens.deflection(X, Y), theirs, strict=True):
        np.testing.assert_allclose(ours.ravel(), other, atol=1e-10)
    mu = model.magnification(*flat, kwargs)
    np.testing.assert_allclose(magnification(lens, X, Y).ravel(), mu, rtol=1e-6)


def test_a_batch_is_its_lenses_one_by_one():
    theta_E, q = torch.tensor([1.0, 1.5, 2.0]), torch.tensor([0.5, 1.0, 0.8])
    batch = Lens(deflectors=(SIE(theta_E=theta_E.double(), q=q.double(), phi=0.3), Shear(gamma1=0.02, gamma2=0.0)))
    many = batch.deflection(X.expand(3, *X.shape), Y.expand(3, *Y.shape))
    for i in range(3):
        one = Lens(
            deflectors=(SIE(theta_E=float(theta_E[i]), q=float(q[i].double()), phi=0.3), Shear(gamma1=0.02, gamma2=0.0))
        )
        for ours, other in zip(many, one.deflection(X, Y), strict=True):
            np.testing.assert_allclose(ours[i], other, atol=1e-14)
    chosen = select(batch, torch.tensor([2, 2, 0]))
    beta_x, _ = source_position(chosen, torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    assert beta_x[0] == beta_x[1] != beta_x[2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SIE(theta_E=0.0, q=0.5), r"SIE\.theta_E = 0\.0 is outside > 0 arcsec"),
        (lambda: SIE(theta_E=1.0, q=1.2), r"SIE\.q = 1\.2 is outside \(0, 1\]\. q is minor over major"),
        (lambda: SIE(theta_E=1.0, q=torch.tensor([0.5, 0.0])), r"SIE\.q = 0\.0"),
        (lambda: SIE(theta_E=float("nan"), q=0.5), r"SIE\.theta_E = nan"),
        (lambda: SIE(theta_E=float("inf"), q=0.5), r"SIE\.theta_E = inf"),
        (lambda: EPL(theta_E=1.0, slope=3.0, q=0.5), r"EPL\.slope = 3\.0 is outside \(1, 3\)"),
        (lambda: EPL(theta_E=-1.0, slope=2.0, q=0.5), r"EPL\.theta_E = -1\.0"),
        (lambda: EPL(theta_E=1.0, slope=2.0, q=-0.5), r"EPL\.q = -0\.5"),
        (lambda: Shear(gamma1=0.9, gamma2=0.6), r"Shear \|gamma\| = 1\.08"),
        (lambda: Shear(gamma1=float("nan"), gamma2=0.0), r"Shear\.gamma1 = nan"),
        (lambda: PointMass(theta_E=0.0), r"PointMass\.theta_E = 0\.0"),
        (lambda: Lens(deflectors=()), r"Lens\.deflectors = \(\) is outside at least one"),
    ],
)
def test_unphysical_parameters_are_refused(make, message):
    with pytest.raises(PhysicalRangeError, match=message):
        make()
