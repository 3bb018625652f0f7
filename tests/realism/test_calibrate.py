"""A calibration finds what only the test knows, knows what it does not know, and says when no population can be it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, kstest

from legacylens.errors import InputError
from legacylens.mocks.population_sets import SETS
from legacylens.plots.realism_calibrate import check_figure, posterior_figure, write_calibration_page
from legacylens.realism.calibrate import Calibration, calibrate, proposal, require_other_galaxies
from legacylens.realism.calibrate_check import LEARNED, check_set
from legacylens.realism.calibrate_config import CONTAMINATION, PARAMETERS, CalibrationConfig, moved, parameters_of
from legacylens.realism.calibrate_posterior import evenly, learn_posterior
from legacylens.realism.calibrate_summary import CHECKED, FITTED, Scores, SetSimulator, features_of
from legacylens.realism.calibrate_weights import Banks, WeightedBank
from legacylens.realism.columns import UNITS
from legacylens.testing.toy_population import toy_bank, toy_galaxies, toy_measured, toy_truth

START = moved(SETS["calibrated"], {"sources.r_faint": 26.0, "selection.snr": 60.0, "sources.r_bright": 20.0})
TRUTH = {
    "sources.counts_slope": 0.3,
    "sources.radius_kpc": 2.2,
    "deflectors.theta_E_median": 1.2,
    "selection.snr": 22.0,
    CONTAMINATION: 0.12,
}
SETTINGS = CalibrationConfig(
    free=tuple(TRUTH),
    bank=700,
    rounds=2,
    simulations=500,
    passes=2,
    draws=600,
    replicas=300,
    least_effective=100,
    neighbors=40,
)
N = 250


def toy_observed(seed: int, *, wider: float = 1.0) -> pd.DataFrame:
    wrong = round(TRUTH[CONTAMINATION] * N)
    truth = toy_truth(moved(START, TRUTH), N - wrong, seed)
    return pd.concat([toy_measured(truth, seed, wider=wider), toy_galaxies(wrong, seed)], ignore_index=True)


@pytest.fixture(scope="module")
def honest() -> Calibration:
    return calibrate(toy_observed(21), toy_galaxies(300, 5), START, toy_bank, SETTINGS)


def test_the_truth_is_found_from_a_start_that_is_far_too_bright(honest: Calibration) -> None:
    assert honest.verdict == "calibrated"
    assert honest.check.passed
    for estimate in honest.estimates:
        draws = honest.draws[estimate.name]
        pull = (TRUTH[estimate.name] - draws.mean()) / draws.std()
        # Five pulls of a posterior that is right: one beyond 3 comes once in 70 runs; the seed is fixed.
        assert abs(pull) < 3.0, estimate.name
        assert not estimate.at_the_edge
    snr = next(e for e in honest.estimates if e.name == "selection.snr")
    assert snr.start == 60.0
    assert snr.high < 30.0
    assert honest.config.selection.snr == pytest.approx(snr.median)
    # What is not free stays.
    assert honest.config.sources.evolved_fraction == START.sources.evolved_fraction


def test_wrong_labels_are_counted_and_not_taken_for_faint_arcs(honest: Calibration) -> None:
    draws = honest.draws[CONTAMINATION]
    assert draws.mean() == pytest.approx(TRUTH[CONTAMINATION], abs=3.0 * draws.std())
    assert draws.std() < 0.06
    assert (draws < 0.02).mean() < 0.02


def test_the_weights_of_the_mocks_are_a_sample_of_the_population(honest: Calibration) -> None:
    weights = honest.weights["weight"].to_numpy()
    assert len(weights) == honest.rounds[-1].mocks == len(honest.weights["source_id"].unique())
    assert weights.mean() == pytest.approx(1.0)
    assert honest.effective == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    assert honest.effective > SETTINGS.least_effective
    # The second round stands where the first one ended: its mocks are worth more.
    assert honest.rounds[1].effective > 3.0 * honest.rounds[0].effective


def test_a_fault_that_no_parameter_takes_away_is_called_misspecified() -> None:
    quick = SETTINGS.model_copy(update={"rounds": 1})
    wrong = calibrate(toy_observed(21, wider=1.25), toy_galaxies(300, 5), START, toy_bank, quick)
    assert wrong.verdict == "misspecified"
    held_out = [m for m in wrong.check.misfits if not m.learned_from]
    assert held_out[0].name.startswith("psf_preference")
    assert held_out[0].sigma > 5.0


def test_a_posterior_is_as_wide_as_its_errors() -> None:
    """Simulation-based calibration (Talts et al. 2018) on the means of two sets of normal deviates."""

    def summary(place: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        x = -1.0 + 2.0 * place + rng.standard_normal((20, 2))
        return np.concatenate([x.mean(axis=0), x.std(axis=0), np.median(x, axis=0), rng.standard_normal(1)])

    rng = np.random.default_rng(3)
    places = evenly(1200, 2, rng)
    posterior = learn_posterior(places, np.array([summary(place, rng) for place in places]), 1)
    ranks = []
    for number in range(200):
        truth = rng.uniform(0.02, 0.98, 2)
        ranks.append((posterior.draw(summary(truth, rng), 150, number) < truth).mean(axis=0))
    for column in np.array(ranks).T:
        # A flow of this size is right within some per cent; 200 uniform ranks have a distance of 0.115 with p = 0.01.
        assert kstest(column, "uniform").statistic < 0.14
        inside = int((np.abs(column - 0.5) < 0.34).sum())
        low, high = binom.ppf([0.001, 0.999], 200, 0.68)
        assert low - 12 <= inside <= high + 12
    twice = [posterior.draw(np.zeros(7), 5, 7) for _ in range(2)]
    np.testing.assert_array_equal(*twice)


def test_sets_out_of_a_bank_scatter_as_sets_do() -> None:
    banks = Banks(start=START, parts=[WeightedBank(toy_bank(START, 1500, 3), 60)])
    scores = Scores.of(banks.table)
    features = features_of(banks.table, scores)
    galaxies = features_of(toy_galaxies(300, 2), scores)
    simulator = SetSimulator(banks=banks, features=features, galaxies=galaxies, names=[CONTAMINATION], n=100)
    rng = np.random.default_rng(1)
    drawn = np.array([simulator.draw(np.array([0.0]), rng) for _ in range(300)])
    weights = banks.weights({CONTAMINATION: 0.0})
    middle = weights @ features.values
    scatter = np.sqrt(weights @ (features.values - middle) ** 2 * (1.0 / 100 + 1.0 / 1500))
    assert np.abs((drawn.mean(axis=0) - middle) / (scatter / np.sqrt(300.0))).max() < 4.5
    np.testing.assert_allclose(drawn.std(axis=0), scatter, rtol=0.2)
    mixed = np.array([simulator.draw(np.array([0.4]), rng) for _ in range(300)]).mean(axis=0)
    np.testing.assert_allclose(
        mixed, 0.6 * middle + 0.4 * galaxies.values.mean(axis=0), atol=5.0 * scatter.max() / np.sqrt(300.0)
    )


def test_scores_of_the_reference_are_standard_normal_and_missing_values_in_the_middle() -> None:
    table = toy_measured(toy_truth(START, 800, 4), 4)
    table.loc[:9, "arc_g_r"] = np.nan
    table.loc[:9, "arc_mag_g"] = np.nan
    table["n_segments"] = np.random.default_rng(1).integers(1, 4, len(table))
    scores = Scores.of(table)
    for name in ("integrated_snr", "arc_mag_r", "arc_width"):
        z = scores.score(table, name)
        assert z.mean() == pytest.approx(0.0, abs=0.03)
        assert z.std() == pytest.approx(1.0, abs=0.05)
        assert (np.diff(z[np.argsort(table[name].to_numpy())]) >= 0.0).all()
    assert (scores.score(table, "arc_g_r")[:10] == 0.0).all()
    # An arc without flux is a faint one, not one of unknown color.
    assert (scores.score(table, "arc_mag_g")[:10] > 2.0).all()
    counts = pd.Series(scores.score(table, "n_segments")).groupby(table["n_segments"]).agg(["min", "max"])
    assert (counts["min"] == counts["max"]).all()
    assert counts["min"].is_monotonic_increasing
    features = features_of(table, scores)
    assert set(FITTED) | set(CHECKED) <= set(UNITS)
    assert features.values.shape == (len(table), len(features.names))
    assert not any(features.fitted[k] for k, name in enumerate(features.names) if name.split()[0] in CHECKED)


def test_checks_have_the_false_alarms_that_they_promise_and_name_what_differs() -> None:
    rng = np.random.default_rng(2)
    names = [f"a{k} location" for k in range(12)]
    groups = [LEARNED] * 6 + ["pixels"] * 3 + ["sky"] * 3
    mixing = rng.normal(size=(12, 12))
    replicas = rng.standard_normal((400, 12)) @ mixing
    alarms = [not check_set(rng.standard_normal(12) @ mixing, replicas, names, groups, 0.05).passed for _ in range(200)]
    # 5 % at most, by Bonferroni's bound: 19 of 200 are passed with p = 0.003.
    assert sum(alarms) <= 19
    shifted = rng.standard_normal(12) @ mixing
    shifted[8] = replicas[:, 8].mean() + 7.0 * replicas[:, 8].std()
    check = check_set(shifted, replicas, names, groups, 0.01)
    assert not check.passed
    assert check.misfits[0].name == "a8 location"
    assert not check.misfits[0].learned_from
    assert check.misfits[0].sigma == pytest.approx(7.0, abs=0.05)
    assert check.p_held_out < 1e-4


def test_what_cannot_be_calibrated_is_said_with_a_remedy() -> None:
    observed, galaxies = toy_observed(3), toy_galaxies(300, 4)
    with pytest.raises(InputError, match=r"40 measured lenses are too few .* at least 100 .*Give more lenses"):
        calibrate(observed.head(40), galaxies, START, toy_bank, SETTINGS)
    with pytest.raises(InputError, match=r"20 measured galaxies without arcs do not say .*at least 50"):
        calibrate(observed, galaxies.head(20), START, toy_bank, SETTINGS)
    with pytest.raises(InputError, match="cannot be calibrated"):
        calibrate(observed, galaxies, SETS["arbitrary-flux"], toy_bank, SETTINGS)
    shared = toy_bank(START, 100, 3)
    with pytest.raises(InputError, match=r"galaxies are among the observed lenses and among the hosts.*Leave them out"):
        require_other_galaxies(observed, shared.truth["host_source_id"])
    with pytest.raises(InputError, match="99 simulated sets are too few"):
        learn_posterior(np.full((99, 2), 0.5), np.zeros((99, 3)), 1)


def test_a_proposal_covers_its_box() -> None:
    free = parameters_of(CalibrationConfig().free)
    wide = proposal(SETS["calibrated"], free, np.array([[0.0, 1.0]] * len(free)))
    assert wide.selection.snr == pytest.approx(next(p.low for p in PARAMETERS if p.name == "selection.snr"))
    assert wide.sources.r_bright == next(p.low for p in PARAMETERS if p.name == "sources.r_bright")
    assert wide.sources.color_scatter > SETS["calibrated"].sources.color_scatter
    near = proposal(SETS["calibrated"], free, np.array([[0.45, 0.55]] * len(free)))
    assert near.sources.radius_scatter < wide.sources.radius_scatter
    assert near.deflectors.theta_E_scatter < wide.deflectors.theta_E_scatter
    # A parameter that is not free stays where it was.
    some = parameters_of(["selection.snr"])
    fixed = proposal(SETS["calibrated"], some, np.array([[0.0, 1.0]]))
    assert fixed.sources.r_bright == SETS["calibrated"].sources.r_bright
    assert fixed.deflectors.theta_E_median == pytest.approx(SETS["calibrated"].deflectors.theta_E_median)


def test_the_page_shows_every_parameter_and_the_document_is_json(honest: Calibration, tmp_path: Path) -> None:
    page = write_calibration_page(tmp_path / "calibration.html", honest, TRUTH).read_text()
    for estimate in honest.estimates:
        assert estimate.name in page
    assert len(posterior_figure(honest).axes) >= len(honest.estimates)
    assert len(check_figure(honest).axes[0].get_yticklabels()) == 40
    document = json.loads(json.dumps(honest.as_dict()))
    assert [row["name"] for row in document["parameters"]] == [p.name for p in PARAMETERS if p.name in TRUTH]
    assert document["weights"]["effective"] == honest.effective
