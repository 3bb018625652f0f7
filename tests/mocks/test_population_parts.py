"""Sources, masses and selection: their distributions are the stated ones, their formulas those of theory."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from scipy.stats import kstest

from legacylens.errors import InputError
from legacylens.lensing.frames import select
from legacylens.mocks import deflectors, source_population
from legacylens.mocks.deflectors import draw_deflectors, median_log_sigma, prescribed_theta_E
from legacylens.mocks.host_locus import luminosity_offset
from legacylens.mocks.noise import aperture_factor
from legacylens.mocks.population import conditions_of, draw_lenses
from legacylens.mocks.population_sets import (
    SETS,
    DeflectorConfig,
    HostConfig,
    InjectionConfig,
    MockSetConfig,
    SelectionConfig,
    SourceConfig,
    named_set,
)
from legacylens.mocks.population_summary import mock_hosts
from legacylens.mocks.psf import Psf, moffat_psfs
from legacylens.mocks.render import render_arcs
from legacylens.mocks.selection import (
    arc_snr,
    chance,
    deflector_of,
    host_glow,
    round_magnification,
    snr_bound,
    source_of,
)
from legacylens.mocks.source_population import absolute_magnitude, draw_sources, magnitudes, median_radius, redshifts
from legacylens.photometry import flux_of_magnitude

N = 20_000


@pytest.fixture(scope="module")
def sources():
    u = np.random.default_rng(4).random((N, source_population.N_UNIFORMS))
    return draw_sources(SourceConfig(), np.full(N, 19.5), u)


def test_counts_rise_with_the_stated_slope():
    config = SourceConfig(counts_slope=0.3, r_bright=22.0, r_faint=26.0)
    mags = magnitudes(config, np.random.default_rng(1).random(N))
    low, high = 10.0 ** (0.3 * 22.0), 10.0 ** (0.3 * 26.0)
    assert kstest(mags, lambda m: (10.0 ** (0.3 * m) - low) / (high - low)).pvalue > 0.01
    flat = magnitudes(SourceConfig(counts_slope=0.0), np.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(flat, [21.5, 25.25, 29.0])


def test_median_redshift_is_the_stated_one():
    config = SourceConfig(redshift_median=1.1, redshift_slope=0.2)
    u = np.random.default_rng(2).random(N)
    assert np.median(redshifts(config, np.full(N, 24.0), u)) == pytest.approx(1.1, rel=0.03)
    assert np.median(redshifts(config, np.full(N, 26.0), u)) == pytest.approx(1.5, rel=0.03)


def test_places_are_uniform_in_area(sources):
    config = SourceConfig()
    assert kstest((sources["beta"] / config.beta_max) ** 2, "uniform").pvalue > 0.01
    assert kstest(sources["azimuth"] / (2 * np.pi), "uniform").pvalue > 0.01


def test_absolute_magnitude_of_a_known_case():
    """At z = 1 the luminosity distance is 6607.7 Mpc (flat, 70, 0.3): DM = 44.10; 2.5 log10(1+z) = 0.753."""
    assert absolute_magnitude(np.array([24.0]), np.array([1.0]))[0] == pytest.approx(24.0 - 44.10 + 0.753, abs=0.01)


def test_radii_shrink_with_luminosity_and_redshift(sources):
    config = SourceConfig()
    bright, faint = median_radius(config, np.array([23.0, 26.0]), np.array([1.5, 1.5]))
    assert np.log10(bright / faint) == pytest.approx(3.0 * config.radius_slope)
    assert sources["source_r_e"].min() >= config.radius_min
    assert sources["source_r_e"].max() <= config.radius_max
    u = np.random.default_rng(3).random((N, source_population.N_UNIFORMS))
    u[:, 0], u[:, 1] = 0.01, 0.6  # one magnitude (24.1), one redshift: what is left is the scatter
    scatter = np.log10(draw_sources(config, np.zeros(N), u)["source_r_e"])
    assert scatter.std() == pytest.approx(config.radius_scatter, rel=0.05)  # a few reach the limits


def test_colors_depend_on_redshift(sources):
    g_r = sources["source_mag_g"] - sources["source_mag_r"]
    near, far = (sources["z_s"] > 0.35) & (sources["z_s"] < 0.6), (sources["z_s"] > 1.4) & (sources["z_s"] < 2.2)
    assert np.median(g_r[near]) > np.median(g_r[far]) + 0.3


def test_the_faulty_recipe_is_what_it_says():
    u = np.random.default_rng(5).random((2000, source_population.N_UNIFORMS))
    drawn = draw_sources(SETS["arbitrary-flux"].sources, np.full(2000, 19.0), u)
    assert set(np.round(drawn["source_mag_r"] - 19.0, 6)) == {0.5, 1.0, 1.5, 2.0}
    np.testing.assert_array_equal(drawn["source_mag_g"], drawn["source_mag_r"])
    np.testing.assert_array_equal(drawn["source_mag_z"], drawn["source_mag_r"])
    assert not drawn["beta"].any()


def test_source_faults():
    u = np.random.default_rng(6).random((4000, source_population.N_UNIFORMS))
    red = draw_sources(SourceConfig(g_r=1.15, centered=True), np.zeros(4000), u)
    assert np.mean(red["source_mag_g"] - red["source_mag_r"]) == pytest.approx(1.15, abs=0.01)
    assert not red["beta"].any()


def test_prescribed_einstein_radii():
    config = DeflectorConfig()
    theta = prescribed_theta_E(config, np.array([0.16, 0.5, 0.84]))
    np.testing.assert_allclose(theta, [1.06, 1.35, 1.78], rtol=0.03)  # the reference's own percentiles
    edges = prescribed_theta_E(config, np.array([0.0, 1.0]))
    np.testing.assert_allclose(edges, [config.theta_E_min, config.theta_E_max])
    independent = prescribed_theta_E(SETS["arbitrary-flux"].deflectors, np.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(independent, [0.5, 1.75, 3.0])


def test_dispersion_follows_magnitude_at_fixed_redshift():
    config = DeflectorConfig()
    bright, faint = median_log_sigma(config, np.array([18.6, 20.6]), 0.55)
    assert bright - faint == pytest.approx(2.0 * config.faber_jackson)
    assert 10 ** median_log_sigma(config, np.array([19.6]), 0.55)[0] == pytest.approx(262.0)
    assert luminosity_offset(19.6, 0.55) == pytest.approx(0.0)


def test_masses_follow_the_light():
    rng = np.random.default_rng(7)
    hosts = pd.concat([mock_hosts(1, rng, varied=False)] * N, ignore_index=True)
    hosts["q"], hosts["phi"] = 0.7, 0.4
    config = DeflectorConfig()
    drawn = draw_deflectors(config, hosts, rng.random((N, deflectors.N_UNIFORMS)))
    turned = (drawn["mass_phi"] - 0.4 + np.pi / 2) % np.pi - np.pi / 2
    assert np.degrees(turned.std()) == pytest.approx(config.phi_scatter, rel=0.03)
    assert abs(np.degrees(turned.mean())) < 0.3
    assert drawn["mass_q"].mean() == pytest.approx(0.7, abs=0.005)
    assert drawn["mass_q"].std() == pytest.approx(config.q_scatter, rel=0.05)
    assert drawn["gamma1"].std() == pytest.approx(config.shear_scatter, rel=0.03)
    assert drawn["mass_x"].std() == pytest.approx(config.center_scatter, rel=0.03)
    hosts["q"] = 1.0  # a round fit says nothing about the direction
    free = draw_deflectors(config, hosts, rng.random((N, deflectors.N_UNIFORMS)))
    assert kstest(free["mass_phi"] / np.pi, "uniform").pvalue > 0.01


def test_round_magnification_against_the_closed_form():
    """A Gaussian source of half-light radius 0.05 behind theta_E = 1.5 arcsec, at beta = 0.15, 0.45, 0.75."""
    beta = np.array([0.15, 0.45, 0.75])
    radius = np.full(3, 0.05)
    np.testing.assert_allclose(round_magnification(np.full(3, 1.5), radius, beta), [21.0443, 6.6970, 4.0065], rtol=2e-5)
    assert round_magnification(np.array([0.5]), np.array([2.0]), np.array([3.0]))[0] == 1.0


@pytest.fixture(scope="module")
def some_lenses():
    hosts = mock_hosts(24, np.random.default_rng(8))
    draws = draw_lenses(SETS["calibrated"], hosts, np.arange(24))
    return hosts[draws.found].reset_index(drop=True), draws.table[draws.found].reset_index(drop=True)


def test_coarse_snr_agrees_with_the_renderer(some_lenses):
    """3 %: a grid of 64 pixels in single precision against the adaptive renderer in double."""
    hosts, table = some_lenses
    hosts, table = hosts[:8], table[:8]
    conditions = conditions_of(hosts, InjectionConfig())
    lenses = {str(name): table[name].to_numpy() for name in table}
    for k in range(len(table)):
        one = torch.tensor([k])
        flux = [flux_of_magnitude(table[f"source_mag_{b}"][k]) * conditions[f"transmission_{b}"][k] for b in "grz"]
        psf = Psf(moffat_psfs([hosts[f"psfsize_{b}"][k] for b in "grz"]))
        exact = render_arcs(
            select(deflector_of(lenses), one), select(source_of(lenses), one), flux, psf, shape=(101, 101)
        )
        assert table["expected_magnification"][k] == pytest.approx(float(exact.magnification[0]), rel=0.03)
        for number, band in enumerate("grz"):
            at = {name: values[k : k + 1] for name, values in conditions.items()}
            glow = host_glow({name: values[k : k + 1] for name, values in lenses.items()}, at, band)[0]
            sigma = hosts[f"sigma_{band}"][k] * np.sqrt(1 + glow)
            snr = np.sqrt((exact.image[number] ** 2).sum()) / sigma / aperture_factor()
            assert table[f"expected_snr_{band}"][k] == pytest.approx(snr, rel=0.03)


def test_few_lenses_are_lost_to_the_bound():
    """What is culled before painting has S/N below 12 by the bound: at most 2 % of lenses that reach 18."""
    config = SETS["calibrated"].model_copy(update={"selection": SelectionConfig(snr=6.0, magnification_min=2.0)})
    hosts = mock_hosts(100, np.random.default_rng(9), varied=False)
    draws = draw_lenses(config, hosts, np.arange(100))
    lenses = {str(name): draws.table[name][draws.found].to_numpy() for name in draws.table}
    conditions = conditions_of(hosts[draws.found], InjectionConfig())
    visible = arc_snr(lenses, conditions)[0].max(axis=1) > 18.0
    assert visible.sum() > 15
    assert np.mean(snr_bound(lenses, conditions)[visible] < 12.0) <= 0.02


def test_chance_is_a_turn_on():
    config = SelectionConfig(snr=20.0, snr_width=0.1, magnification_min=3.0)
    snr = np.array([5.0, 20.0, 80.0])
    far = chance(config, snr, np.full(3, 8.0), np.full(3, 2.0), np.full(3, 1.0))
    assert far[0] < 1e-5
    assert far[1] == pytest.approx(0.5, abs=1e-6)
    assert far[2] > 0.999
    assert not chance(config, snr, np.full(3, 2.9), np.full(3, 2.0), np.full(3, 1.0)).any()
    assert np.all(chance(config, snr, np.full(3, 8.0), np.full(3, 0.2), np.full(3, 1.4))[1:] < 0.02)  # not resolved
    bright = config.model_copy(update={"snr_max": 40.0})
    assert chance(bright, np.array([80.0]), np.array([8.0]), np.array([2.0]), np.array([1.0]))[0] < 0.01
    assert np.all(chance(SelectionConfig(apply=False), snr, np.ones(3), np.ones(3), np.ones(3)) == 1.0)


def test_sets_have_names_and_faults_are_known():
    assert SETS["calibrated"].faults == ()
    assert SETS["broad"].faults == ()
    assert len(SETS["arbitrary-flux"].faults) >= 4
    with pytest.raises(InputError, match="calibrated, broad, arbitrary-flux"):
        named_set("best")
    for update, word in (
        ({"injection": InjectionConfig(gain=150.0)}, "gain of 150"),
        ({"injection": InjectionConfig(flux_factor=40.0)}, "40 times as bright"),
        ({"injection": InjectionConfig(psf_width_factor=1.25)}, "1.25 times as wide"),
        ({"sources": SourceConfig(g_r=1.15)}, "g-r = 1.15"),
        ({"sources": SourceConfig(centered=True)}, "behind the center"),
        ({"hosts": HostConfig(matching="none")}, "any galaxy"),
    ):
        assert word in " ".join(SETS["calibrated"].model_copy(update=update).faults)
    assert SETS["calibrated"].model_copy(update={"injection": InjectionConfig(flux_factor=0.0)}).faults == ()


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        (DeflectorConfig, {"theta_E_min": 2.0, "theta_E_max": 1.0}, "theta_E_min = 2.0 is not below"),
        (SourceConfig, {"r_bright": 25.0, "r_faint": 24.0}, "r_bright = 25.0 is not brighter"),
        (SourceConfig, {"radius_min": 0.5, "radius_max": 0.3}, "radius_min = 0.5 is not below"),
        (SourceConfig, {"recipe": "below-lens", "below_lens": ()}, "below_lens is empty"),
        (SourceConfig, {"counts_slope": -0.1}, "greater than or equal to 0"),
        (MockSetConfig, {"surprise": 1}, "Extra inputs"),
    ],
)
def test_impossible_settings_are_refused(kind, values, words):
    with pytest.raises(ValidationError, match=words):
        kind(**values)
