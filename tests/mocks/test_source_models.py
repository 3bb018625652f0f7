import numpy as np
import pytest
import torch

from legacylens.errors import PhysicalRangeError
from legacylens.lensing.lens import Lens
from legacylens.lensing.sersic import Sersic
from legacylens.lensing.shear import Shear
from legacylens.lensing.sie import SIE
from legacylens.mocks.psf import moffat_psf
from legacylens.mocks.render import render_arcs
from legacylens.mocks.source_models import clumpy, gaussian_field, with_texture

BASE = Sersic(r_e=0.3, n=1.0, q=0.6, phi=0.4, x=0.1, y=0.05)
LENS = Lens(deflectors=(SIE(theta_E=1.3, q=0.8, phi=0.3), Shear(gamma1=0.02, gamma2=0.03)))
NOTHING = SIE(theta_E=1e-6, q=1.0)


@pytest.mark.parametrize("kind", ["clumps", "texture"])
def test_structure_conserves_flux_and_needs_no_more_tolerance(kind):
    rng = np.random.default_rng(3)
    if kind == "clumps":
        source = clumpy(BASE, n_clumps=3, fraction=0.3, clump_radius=0.04, rng=rng)
    else:
        source = with_texture(BASE, sd=0.5, rng=rng)
    psf = moffat_psf(1.2, size=31)
    unlensed = render_arcs(NOTHING, source, [1.0], psf, shape=(61, 61))
    assert unlensed.magnification[0] == pytest.approx(1, abs=2e-3)
    usual = render_arcs(LENS, source, [1.0], psf, shape=(31, 31))
    strict = render_arcs(LENS, source, [1.0], psf, shape=(31, 31), tolerance=1e-5)
    assert np.abs(usual.image - strict.image).max() < 1e-3 * strict.image.max()
    smooth = render_arcs(LENS, BASE, [1.0], psf, shape=(31, 31))
    assert np.abs(usual.image - smooth.image).max() > 0.01 * smooth.image.max()


def test_clumps_are_drawn_from_the_generator_alone():
    one, two, other = (
        clumpy(BASE, n_clumps=4, fraction=0.2, clump_radius=0.05, rng=np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert one.weights == two.weights != other.weights
    assert sum(one.weights) == pytest.approx(1)
    assert one.weights[0] == pytest.approx(0.8)
    # They lie within two half-light radii of the galaxy, in its own ellipse.
    places = torch.tensor([[float(part.x), float(part.y)] for part in one.parts[1:]], dtype=torch.float64)
    assert torch.all(BASE.elliptical_radius(places[:, 0], places[:, 1]) <= 2 * 0.3 + 1e-9)


def test_field_has_its_deviation_and_slope():
    field = gaussian_field(256, sd=0.4, slope=-3.0, rng=np.random.default_rng(5)).numpy()
    assert field.std() == pytest.approx(0.4)
    assert field.mean() == pytest.approx(0, abs=1e-12)
    power = np.abs(np.fft.fft2(field)) ** 2
    k = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256))
    bins = [power[(k > low) & (k <= 1.2 * low)].mean() for low in (0.02, 0.2)]
    # Ten times the wave number is a thousandth of the power; a few hundred modes know it to 10 %.
    assert np.log10(bins[1] / bins[0]) == pytest.approx(-3, abs=0.15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rng: clumpy(BASE, n_clumps=0, fraction=0.1, clump_radius=0.05, rng=rng), "n_clumps = 0"),
        (lambda rng: clumpy(BASE, n_clumps=1, fraction=1.0, clump_radius=0.05, rng=rng), "flux in clumps = 1.0"),
        (lambda rng: clumpy(BASE, n_clumps=1, fraction=0.1, clump_radius=0.0, rng=rng), r"Sersic\.r_e = 0\.0"),
        (lambda rng: with_texture(BASE, sd=-0.1, rng=rng), "sd of the texture = -0.1"),
    ],
)
def test_impossible_structure_is_refused(call, message):
    with pytest.raises(PhysicalRangeError, match=message):
        call(np.random.default_rng(1))
