"""Importance weights of a bank: an identity, checked against sets that are drawn directly."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import kstest

from legacylens.errors import InputError
from legacylens.mocks.population_sets import SETS, DeflectorConfig, InjectionConfig, SourceConfig
from legacylens.mocks.source_population import N_UNIFORMS, draw_sources
from legacylens.realism.calibrate import proposal
from legacylens.realism.calibrate_config import (
    CONTAMINATION,
    PARAMETERS,
    CalibrationConfig,
    moved,
    parameters_of,
    require_family,
    values_of,
)
from legacylens.realism.calibrate_density import (
    ColorTable,
    color_density,
    log_colors,
    log_magnitude,
    log_radius,
    log_theta_E,
)
from legacylens.realism.calibrate_weights import Banks, WeightedBank, bank_of, effective, weights_of_set
from legacylens.testing.toy_population import toy_bank, toy_truth

# Sources fainter than 26 are never seen by the toy's telescope; without them it is ten times faster.
START = moved(SETS["calibrated"], {"sources.r_faint": 26.0})
TARGET = moved(
    START,
    {
        "sources.r_bright": 21.0,
        "sources.counts_slope": 0.3,
        "sources.evolved_fraction": 0.5,
        "sources.uv_slope_shift": 0.3,
        "sources.radius_kpc": 2.4,
        "deflectors.theta_E_median": 1.2,
        "deflectors.theta_E_scatter": 0.3,
        "selection.snr": 22.0,
        "selection.snr_width": 0.2,
    },
)
BOX = np.array([[0.3, 0.7]] * len(PARAMETERS))


@given(bright=st.floats(18.0, 23.0), slope=st.floats(0.0, 0.7), radius=st.floats(1.0, 9.0), median=st.floats(0.85, 2.1))
@settings(max_examples=25, deadline=None)
def test_every_density_has_the_integral_1(bright: float, slope: float, radius: float, median: float) -> None:
    sources = SourceConfig(r_bright=bright, counts_slope=slope, radius_kpc=radius)
    total = quad(lambda m: float(np.exp(log_magnitude(sources, np.array([m])))[0]), bright, sources.r_faint)[0]
    assert total == pytest.approx(1.0, abs=1e-6)
    assert log_magnitude(sources, np.array([bright - 0.01]))[0] < -1000.0
    z, m = np.array([1.5]), np.array([24.0])

    def density(log_r: float) -> float:
        return float(np.exp(log_radius(sources, m, z, np.array([10.0**log_r])))[0])

    low, high = np.log10(sources.radius_min), np.log10(sources.radius_max)
    inside = quad(density, low + 1e-7, high - 1e-7, limit=200)[0]
    # Radii beyond the limits are put on them.
    assert inside + density(low) + density(high) == pytest.approx(1.0, abs=1e-4)
    masses = DeflectorConfig(theta_E_median=median)
    edges = np.log(masses.theta_E_min), np.log(masses.theta_E_max)
    assert quad(lambda t: float(np.exp(log_theta_E(masses, np.array([np.exp(t)])))[0]), *edges)[0] == pytest.approx(
        1.0, abs=1e-6
    )


def test_the_density_of_colors_is_that_of_the_sources_that_are_drawn() -> None:
    config = SourceConfig(evolved_fraction=0.4, uv_slope_shift=0.25)
    rng = np.random.default_rng(5)
    drawn = draw_sources(config, np.full(40_000, 19.0), rng.random((40_000, N_UNIFORMS)))
    near = np.abs(drawn["z_s"] - 1.5) < 0.025
    seen = (drawn["source_mag_g"] - drawn["source_mag_r"])[near]
    grid = np.linspace(-0.8, 3.0, 191)
    # Integrated over r - z, on a grid of both colors.
    r_z = np.linspace(-0.8, 3.5, 216)
    g, z = (axis.ravel() for axis in np.meshgrid(grid, r_z, indexing="ij"))
    table = pd.DataFrame({"source_mag_g": g, "source_mag_r": 0.0, "source_mag_z": -z, "z_s": 1.5})
    density = np.exp(log_colors(config, table)).reshape(len(grid), len(r_z))
    marginal = density.sum(axis=1) * (r_z[1] - r_z[0])
    cumulative = np.cumsum(marginal) * (grid[1] - grid[0])
    assert cumulative[-1] == pytest.approx(1.0, abs=0.02)
    test = kstest(seen, lambda x: np.interp(x, grid + 0.01, cumulative / cumulative[-1]))
    assert test.pvalue > 0.01


def test_the_table_of_colors_agrees_with_the_density() -> None:
    truth = toy_truth(START, 120, 3)
    table = ColorTable(START.sources, truth)
    for fraction, slope in ((0.2, 0.5), (0.7, -0.31), (1.0, 1.0)):
        exact = START.sources.model_copy(update={"evolved_fraction": fraction, "uv_slope_shift": slope})
        difference = table.log_density(fraction, slope) - log_colors(exact, truth)
        # Interpolated between slopes in the logarithm; in the far tails, which no weight needs, less exactly.
        likely = log_colors(exact, truth) > -6.0
        assert np.abs(difference[likely]).max() < 0.35
        assert np.abs(difference[likely]).mean() < 0.05
    assert (color_density(START.sources, truth, evolved=True, uv_slope_shift=0.0, scatter=0.1) > 0.0).all()


def test_a_weighted_bank_is_a_sample_of_another_population() -> None:
    free = parameters_of(CalibrationConfig().free)
    bank = WeightedBank(toy_bank(proposal(START, free, BOX), 3000, 1), 80)
    direct = toy_bank(TARGET, 1500, 2).table
    weights = bank.weights(TARGET)
    assert weights.sum() == pytest.approx(1.0)
    assert effective(weights) > 300.0
    plain = 0.0
    for name in ("integrated_snr", "arc_mag_r", "arc_g_r", "arc_r_z", "arc_radius", "arc_width"):
        mine, theirs = bank.bank.table[name].to_numpy(), direct[name].to_numpy()
        edges = np.percentile(theirs, [25.0, 50.0, 75.0])
        for edge in edges:
            share, wanted = float((weights * (mine < edge)).sum()), float((theirs < edge).mean())
            error = np.sqrt((weights**2 * ((mine < edge) - share) ** 2).sum() + wanted * (1.0 - wanted) / len(theirs))
            # 18 shares: one of 3.5 sigma comes once in a hundred runs; the seed is fixed.
            assert abs(share - wanted) < 3.5 * error, name
            plain = max(plain, abs(float((mine < edge).mean()) - wanted) / error)
    # Without weights they are not alike by far.
    assert plain > 6.0


def test_weights_of_the_own_population_are_equal_but_for_the_comparison_of_chances() -> None:
    bank = toy_bank(START, 1200, 4)
    weights = WeightedBank(bank, 80).weights(START) * len(bank.truth)
    # Colors are compared with a density that is interpolated: what is left is its error.
    assert effective(weights) > 0.97 * len(weights)
    assert weights.mean() == pytest.approx(1.0)


def test_effective_number() -> None:
    assert effective(np.ones(50)) == pytest.approx(50.0)
    assert effective(np.array([1.0, 0.0, 0.0])) == pytest.approx(1.0)
    assert effective(np.array([3.0, 1.0])) == pytest.approx(16.0 / 10.0)
    assert effective(np.zeros(3)) == 0.0


def test_banks_of_several_rounds_count_by_what_they_are_worth() -> None:
    free = parameters_of(CalibrationConfig().free)
    wide = WeightedBank(toy_bank(proposal(START, free, np.array([[0.0, 1.0]] * len(free))), 800, 6), 80)
    near = WeightedBank(toy_bank(proposal(START, free, BOX), 800, 7), 80)
    values = values_of(TARGET, [p.name for p in PARAMETERS])
    both = Banks(start=START, parts=[wide, near]).weights(values)
    alone = [effective(part.weights(TARGET)) for part in (wide, near)]
    assert both.sum() == pytest.approx(1.0)
    assert both[:800].sum() == pytest.approx(alone[0] / sum(alone))
    # Shares in proportion to the worth of each waste nothing.
    assert effective(both) == pytest.approx(sum(alone), rel=1e-6)


def test_a_set_is_weighted_only_to_populations_that_it_overlaps() -> None:
    truth = toy_truth(START, 600, 8)
    target = moved(START, {"selection.snr": 22.0, "sources.uv_slope_shift": 0.1})
    weights = weights_of_set(truth, START, target)
    assert weights.mean() == pytest.approx(1.0)
    fainter = np.log(truth["expected_snr_g"].to_numpy())
    assert (weights * fainter).mean() > fainter.mean()
    with pytest.raises(InputError, match=r"differ in injection\.psf_width_factor, which weights do not change"):
        weights_of_set(truth, START, START.model_copy(update={"injection": InjectionConfig(psf_width_factor=1.2)}))
    with pytest.raises(InputError, match="ranges do not overlap"):
        weights_of_set(truth, START, moved(START, {"sources.r_bright": 25.9999}))
    with pytest.raises(InputError, match="too few to compare chances"):
        weights_of_set(truth.head(100), START, target)


def test_truth_and_measurements_have_to_be_of_the_same_mocks() -> None:
    bank = toy_bank(START, 60, 9)
    table = bank.table.assign(code=np.where(np.arange(len(bank.table)) < 5, "nan", "ok"))
    kept = bank_of(bank.truth.iloc[::-1], table.iloc[::-1], START)
    assert kept.refused == 5
    assert (kept.truth["source_id"].to_numpy() == kept.table["source_id"].to_numpy()).all()
    with pytest.raises(InputError, match="of different mocks"):
        bank_of(bank.truth.head(10), table, START)


def test_parameters_know_their_ranges() -> None:
    for parameter in PARAMETERS:
        ends = parameter.from_unit(np.array([0.0, 0.37, 1.0]))
        assert ends[0] == pytest.approx(parameter.low)
        assert ends[2] == pytest.approx(parameter.high)
        assert parameter.to_unit(ends)[1] == pytest.approx(0.37)
    values = values_of(SETS["calibrated"], [p.name for p in PARAMETERS])
    assert values[CONTAMINATION] == 0.0
    assert moved(SETS["calibrated"], values) == SETS["calibrated"]
    with pytest.raises(InputError, match=r"no parameter is called nonsense: choose from"):
        parameters_of(["nonsense"])
    with pytest.raises(InputError, match=r"none given"):
        parameters_of([])


def test_a_faulty_start_is_not_calibrated() -> None:
    with pytest.raises(InputError, match=r"arbitrary-flux' cannot be calibrated: .*gray and centered.*realism audit"):
        require_family(SETS["arbitrary-flux"])
    natural = SETS["calibrated"].model_copy(update={"deflectors": DeflectorConfig(theta_E="natural")})
    with pytest.raises(InputError, match="follow from the hosts"):
        require_family(natural)
    require_family(SETS["broad"])
