import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from legacylens.errors import PhysicalRangeError
from legacylens.lensing.frames import select
from legacylens.lensing.pixels import picture
from legacylens.lensing.sersic import Sersic, core_radius, sersic_b
from legacylens.lensing.sources import Blend
from legacylens.lensing.texture import textured


def grid(half_width, n):
    line = (torch.arange(n, dtype=torch.float64) + 0.5) * (2 * half_width / n) - half_width
    y, x = torch.meshgrid(line, line, indexing="ij")
    return x, y, (2 * half_width / n) ** 2


@given(n=st.floats(0.4, 8.0), q=st.floats(0.2, 1.0), phi=st.floats(-4, 4), r_e=st.floats(0.05, 3.0))
@settings(max_examples=25)
def test_sersic_has_unit_flux_and_half_of_it_inside_its_ellipse(n, q, phi, r_e):
    source = Sersic(r_e=r_e, n=n, q=q, phi=phi)

    def along(axis, t):
        # The ellipse of area pi t^2 has its ends at t / sqrt(q) and t sqrt(q).
        reach = t / math.sqrt(q) if axis == 0 else t * math.sqrt(q)
        direction = phi + axis * math.pi / 2
        return source.brightness(reach * math.cos(direction), reach * math.sin(direction))

    def flux(to):
        # t = to v^8 makes the integrand smooth for every index.
        nodes, weights = np.polynomial.legendre.leggauss(400)
        v, dv = torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2)
        t = to * v**8
        np.testing.assert_allclose(along(0, t), along(1, t), rtol=1e-9)
        return float((along(0, t) * 2 * math.pi * t * 8 * to * v**7 * dv).sum())

    assert flux(r_e) == pytest.approx(0.5, abs=1e-6)
    assert flux(r_e * (60 / sersic_b(n)) ** n) == pytest.approx(1, abs=1e-6)


def test_b_is_that_of_the_literature():
    assert sersic_b(1.0) == pytest.approx(1.67834699, abs=1e-8)
    assert sersic_b(4.0) == pytest.approx(7.66924944, abs=1e-8)
    assert sersic_b(0.5) == pytest.approx(np.log(2), abs=1e-12)


def test_sersic_of_a_batch():
    n = torch.tensor([1.0, 4.0], dtype=torch.float64)
    x, y, _ = grid(1.0, 11)
    both = Sersic(r_e=0.3, n=n, q=0.6, phi=0.5).brightness(x.expand(2, -1, -1), y.expand(2, -1, -1))
    for i in range(2):
        np.testing.assert_allclose(both[i], Sersic(r_e=0.3, n=float(n[i]), q=0.6, phi=0.5).brightness(x, y), rtol=1e-12)


@given(x=st.floats(-1, 1), y=st.floats(-1, 1), ax=st.floats(0, 0.2), by=st.floats(0, 0.2))
@settings(max_examples=30)
def test_roughness_bounds_the_brightness_of_its_cell(x, y, ax, by):
    source = Sersic(r_e=0.3, n=1.5, q=0.5, phi=0.7)
    cell = [torch.tensor(v, dtype=torch.float64) for v in (x, y)]
    footprint = tuple(torch.tensor(v, dtype=torch.float64) for v in (ax, 0.0, 0.0, by))
    bound, rough = source.roughness(*cell, footprint)
    u, v = torch.meshgrid(*2 * [torch.linspace(-1, 1, 21, dtype=torch.float64)], indexing="ij")
    light = source.brightness(x + u * ax, y + v * by)
    core = source.brightness(
        torch.tensor(core_radius(1.5) * 0.3 * 2**0.5, dtype=torch.float64) * math.cos(0.7),
        torch.tensor(core_radius(1.5) * 0.3 * 2**0.5, dtype=torch.float64) * math.sin(0.7),
    )
    assert float(torch.minimum(light, core).max()) <= float(bound) * (1 + 1e-9)
    assert rough >= 0


def field_of_waves(n=64):
    k = torch.arange(n, dtype=torch.float64) * (2 * np.pi / n)
    return 0.5 * torch.sin(3 * k)[:, None] * torch.cos(2 * k) + 0.3 * torch.cos(5 * k)


def test_texture_conserves_flux():
    base = Sersic(r_e=0.4, n=1.0, q=0.6, phi=0.8, x=0.3, y=-0.1)
    source = textured(base, field_of_waves(), width=5.0)
    x, y, area = grid(5.0, 1000)
    light = source.brightness(x, y)
    assert float(light.sum() * area) == pytest.approx(1, abs=1e-4)
    assert float((light / base.brightness(x, y)).std()) > 0.2
    assert source.diameter == base.diameter


def test_texture_of_a_batch_uses_its_own_fields():
    fields = torch.stack([field_of_waves(), torch.zeros(64, 64, dtype=torch.float64)])
    base = Sersic(r_e=torch.tensor([0.4, 0.5], dtype=torch.float64), n=1.0, q=0.6)
    source = textured(base, fields, width=5.0, which=torch.tensor([1, 0]))
    x, y, _ = grid(1.0, 11)
    many = source.brightness(x.expand(2, -1, -1), y.expand(2, -1, -1))
    np.testing.assert_allclose(many[0], Sersic(r_e=0.4, n=1.0, q=0.6).brightness(x, y), rtol=1e-12)
    swapped = select(source, torch.tensor([1, 0])).brightness(x.expand(2, -1, -1), y.expand(2, -1, -1))
    np.testing.assert_allclose(swapped[0], many[1], rtol=1e-12)


def test_blend_adds_up():
    parts = (Sersic(r_e=0.4, n=1.0), Sersic(r_e=0.05, n=0.5, x=0.2))
    blend = Blend(parts=parts, weights=(0.8, 0.2))
    x, y, _ = grid(1.0, 21)
    expected = 0.8 * parts[0].brightness(x, y) + 0.2 * parts[1].brightness(x, y)
    np.testing.assert_allclose(blend.brightness(x, y), expected, rtol=1e-12)
    assert float(blend.diameter) == pytest.approx(0.8)


def test_picture_of_a_gaussian_is_a_gaussian():
    line = (np.arange(61) - 30) * 0.03
    width = 0.12
    image = 7 * np.exp(-(line[:, None] ** 2 + (line / 1.5) ** 2) / (2 * width**2))
    source = picture(image, pixscale=0.03, phi=0.6, x=0.2, y=-0.1)
    a, b = torch.tensor([0.1, -0.05]), torch.tensor([0.02, 0.11])
    cos, sin = np.cos(0.6), np.sin(0.6)
    light = source.brightness((0.2 + cos * a - sin * b).double(), (-0.1 + sin * a + cos * b).double())
    expected = torch.exp(-(b**2 + (a / 1.5) ** 2) / (2 * width**2)) / (2 * np.pi * 1.5 * width**2)
    np.testing.assert_allclose(light, expected, rtol=2e-4)
    assert float(source.brightness(torch.tensor(3.0), torch.tensor(3.0))) == 0
    x, y, area = grid(1.5, 400)
    assert float(source.brightness(x, y).sum() * area) == pytest.approx(1, abs=1e-4)


def test_picture_is_refused_without_flux():
    with pytest.raises(PhysicalRangeError, match="flux of a source image = -9"):
        picture(-np.ones((3, 3)), pixscale=0.03)
    with pytest.raises(PhysicalRangeError, match="image of a source"):
        picture(np.full((3, 3), np.nan), pixscale=0.03)
    with pytest.raises(PhysicalRangeError, match=r"Picture\.pixscale = 0\.0"):
        picture(np.ones((3, 3)), pixscale=0.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sersic(r_e=0.0, n=1.0), r"Sersic\.r_e = 0\.0 is outside > 0 arcsec"),
        (lambda: Sersic(r_e=0.1, n=9.0), r"Sersic\.n = 9\.0 is outside \[0\.3, 8\]"),
        (lambda: Sersic(r_e=0.1, n=1.0, q=1.5), r"Sersic\.q = 1\.5"),
        (lambda: Sersic(r_e=0.1, n=1.0, x=float("nan")), r"Sersic\.x = nan"),
        (lambda: Blend(parts=(Sersic(r_e=0.1, n=1.0),), weights=(0.9,)), r"sum of Blend\.weights = 0\.[89]"),
        (lambda: Blend(parts=(Sersic(r_e=0.1, n=1.0),) * 2, weights=(1.2, -0.2)), r"Blend\.weights = -0\.2"),
        (lambda: Blend(parts=(), weights=()), r"Blend\.weights = 0"),
        (lambda: textured(Sersic(r_e=0.1, n=1.0), torch.zeros(3, 4), width=1.0), "shape of the texture"),
        (lambda: textured(Sersic(r_e=0.1, n=1.0), torch.zeros(4, 4), width=0.0), "width of the texture = 0"),
    ],
)
def test_unphysical_sources_are_refused(make, message):
    with pytest.raises(PhysicalRangeError, match=message):
        make()
