"""Calibration, budget, comparison, contaminants: against laws that are known, and what each refuses."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import norm
from typer.testing import CliRunner

from legacylens.cli.main import app
from legacylens.cutouts.writer import write_store
from legacylens.errors import FileProblem, InputError
from legacylens.files import write_parquet
from legacylens.validation.budget import recommend_threshold
from legacylens.validation.compare import compare_results
from legacylens.validation.config import ValidationConfig
from legacylens.validation.contaminants import contaminant_rates, match_contaminants
from legacylens.validation.probability import METHODS, calibrate, fit_calibration, reliability, shift_prior
from legacylens.validation.report import check_scores, read_result, validate


def two_gaussians(n_lens: int, n_other: int, rng: np.random.Generator, shift: float = 3.0):
    """Scores of which the log-odds at even prior are ``shift * x - shift^2 / 2`` exactly."""
    x = np.r_[rng.normal(shift, 1, n_lens), rng.normal(0, 1, n_other)]
    return x, np.r_[np.ones(n_lens, bool), np.zeros(n_other, bool)]


# ---- probabilities ----


@pytest.mark.parametrize("method", METHODS)
def test_probabilities_are_the_known_ones_at_any_prevalence(method: str) -> None:
    x, lens = two_gaussians(3000, 6000, np.random.default_rng(1))
    fitted = fit_calibration(x, lens, method)
    grid = np.linspace(0.0, 3.0, 13)
    exact = 3.0 * grid - 4.5  # log-odds at even prior
    for prevalence in (0.5, 1e-2, 1e-4):
        known = exact + logit(prevalence)
        found = logit(fitted.probability(grid, prevalence))
        # Isotonic regression is a staircase, beta is not the law of Gaussians; both stay within a few standard errors.
        assert np.abs(found - known).max() < {"platt": 0.15, "beta": 0.6, "isotonic": 1.0}[method]
    assert np.all(np.diff(fitted.probability(np.linspace(-9, 9, 50))) >= -1e-12)
    assert 0 < fitted.probability([-1e3, 1e3]).min() < fitted.probability([-1e3, 1e3]).max() < 1


@settings(deadline=None, max_examples=30)
@given(p=st.floats(0.001, 0.999), old=st.floats(1e-5, 0.9), new=st.floats(1e-5, 0.9))
def test_a_shift_of_the_prior_is_bayes_and_can_be_undone(p: float, old: float, new: float) -> None:
    shifted = float(shift_prior(p, old, new))
    ratio = (p / (1 - p)) / (old / (1 - old))  # likelihood ratio
    assert shifted == pytest.approx(ratio * new / (ratio * new + 1 - new), rel=1e-9)
    assert float(shift_prior(shifted, new, old)) == pytest.approx(p, rel=1e-6)


def test_reliability_intervals_hold_for_right_probabilities() -> None:
    rng = np.random.default_rng(2)
    inside = total = 0
    for _ in range(80):
        x, lens = two_gaussians(200, 1000, rng)
        right = shift_prior(expit(3.0 * x - 4.5), 0.5, 1 / 6)
        rows = reliability(right, lens)
        inside += sum(row["observed_low"] <= row["predicted"] <= row["observed_high"] for row in rows)
        total += len(rows)
        assert sum(row["n"] for row in rows) == 1200
    assert inside / total > 0.95 - 3 * np.sqrt(0.05 * 0.95 / total)


def test_calibrations_are_compared_on_unseen_cells() -> None:
    rng = np.random.default_rng(3)
    x, lens = two_gaussians(400, 4000, rng)
    result = calibrate(x, lens, rng.integers(0, 60, len(x)), prevalence=1e-4)
    assert result["log_loss"]["platt"] < 0.3 < np.log(2)
    assert result["chi2"] < 3 * result["bins"]
    assert result["method"] in METHODS
    table = pd.DataFrame(result["table"])
    assert (table["on_sky"] < table["in_sample"]).all()
    json.dumps(result)


def test_a_score_that_says_nothing_or_the_opposite_gives_the_prior() -> None:
    rng = np.random.default_rng(9)
    lens = np.arange(1000) < 100
    for method in METHODS:
        for values in (np.zeros(1000), rng.normal(size=1000) - 5.0 * lens):
            found = fit_calibration(values, lens, method).probability([-5.0, 0.0, 5.0])
            np.testing.assert_allclose(found, 0.1, atol=1e-4)  # the solver stops there
    rows = reliability(np.full(1000, 0.1), lens)  # all tied: one bin, whatever the order of the table
    assert [(row["n"], row["observed"]) for row in rows] == [(1000, 0.1)]
    apart = calibrate(np.where(lens, 30.0, -30.0) + rng.normal(size=1000), lens, np.arange(1000) % 40, prevalence=1e-4)
    assert max(apart["log_loss"].values()) < 0.02


def test_one_class_is_never_calibrated() -> None:
    rng = np.random.default_rng(4)
    with pytest.raises(InputError, match="0 lenses and 100 non-lenses: a calibration needs at least 20 of each"):
        fit_calibration(rng.normal(size=100), np.zeros(100, bool), "platt")
    with pytest.raises(InputError, match="reliability diagram of one class"):
        reliability(rng.random(10), np.ones(10, bool))
    x, lens = two_gaussians(30, 30, rng)
    with pytest.raises(InputError, match="lenses of only 1 sky cells"):
        calibrate(x, lens, np.zeros(60), prevalence=1e-4)
    with pytest.raises(InputError, match="must be between 0 and 1"):
        shift_prior(0.5, 0.0, 0.5)
    with pytest.raises(InputError, match="not finite"):
        fit_calibration(np.r_[x, np.nan], np.r_[lens, True], "beta")


# ---- a budget of inspections ----


def test_the_recommended_list_is_as_long_as_the_budget() -> None:
    rng = np.random.default_rng(5)
    x, lens = two_gaussians(1000, 200_000, rng)
    found = recommend_threshold(x[lens], x[~lens], 50_000, prevalence=1e-4, parent_size=40_000_000)
    assert found["basis"] == "measured"
    assert 0.97 * 50_000 < found["survey"]["list_length"] <= 50_000
    # What Gaussians say: the threshold of that rate, its recall, and looks for each lens.
    threshold = norm.isf((50_000 / 4e7 - 1e-4 * norm.sf(norm.isf(1.15e-3) - 3)) / (1 - 1e-4))
    assert found["threshold"] == pytest.approx(threshold, abs=0.06)
    assert found["inspections_per_lens"] == pytest.approx(50_000 / (4000 * norm.sf(threshold - 3)), rel=0.1)
    small = recommend_threshold(x[lens], x[~lens], 4_000, prevalence=1e-4, parent_size=40_000_000)
    assert small["basis"] == "extrapolated"
    assert small["threshold"] > found["threshold"]
    assert small["tail"]["fpr_low"] < norm.sf(small["threshold"]) < small["tail"]["fpr_high"]


def test_a_budget_that_buys_nothing_says_so() -> None:
    rng = np.random.default_rng(6)
    x, lens = two_gaussians(50, 1000, rng)
    none = recommend_threshold(x[lens], x[~lens], 1000, prevalence=1e-4, parent_size=40_000_000)
    assert none["threshold"] is None
    assert "a tail needs 5,000 non-lenses" in none["note"]
    x, lens = two_gaussians(50, 20_000, rng)
    few = recommend_threshold(x[lens], x[~lens], 10, prevalence=1e-4, parent_size=40_000_000)
    assert few["threshold"] is None
    assert "reaches no list of 10" in few["note"]
    with pytest.raises(InputError, match="a budget of 0 inspections"):
        recommend_threshold(x[lens], x[~lens], 0, prevalence=1e-4, parent_size=1000)


# ---- comparisons ----


@pytest.fixture(scope="module")
def judged():
    rng = np.random.default_rng(7)
    n_lens, n = 300, 6300
    sample = pd.DataFrame(
        {
            "source_id": [f"1_1_{i}" for i in range(n)], "label": (np.arange(n) < n_lens).astype(int),
            "split": "validation", "cell": rng.integers(0, 50, n), "grade": "A", "type": "SER",
            "ra": 10.0, "dec": 0.0, "channel": "", "brickname": "", "contaminant": "", "held_out": False,
        }
    )  # fmt: skip
    lens = sample["label"] == 1
    weak = rng.normal(size=n) + 1.5 * lens
    strong = 0.5 * weak + rng.normal(size=n) * 0.6 + 1.8 * lens
    config = ValidationConfig(replicas=0)

    def result(values, changed=config):
        return validate(pd.DataFrame({"source_id": sample["source_id"], "logit": values}), sample, config=changed)

    return result(weak), result(strong), result(weak, ValidationConfig(replicas=0, prevalence=1e-3)), sample


def test_the_better_network_is_found_lens_by_lens(judged) -> None:
    weak, strong, _, _ = judged
    rows = compare_results(weak, strong)["rows"]
    assert rows[1]["better"] == "second"
    for row, one, two in zip(rows, weak["recall"], strong["recall"], strict=True):
        difference = two["n_recovered"] - one["n_recovered"]
        assert row["only_second"] - row["only_first"] == difference
        assert row["measurable"] or row["better"] == "neither"
    itself = compare_results(weak, weak)
    assert itself["same_scores"]
    assert {row["better"] for row in itself["rows"]} == {"neither"}


def test_different_definitions_and_samples_are_not_compared(judged, tmp_path) -> None:
    weak, strong, other, _ = judged
    with pytest.raises(InputError, match="different definitions"):
        compare_results(weak, other)
    with pytest.raises(InputError, match="different samples and definitions"):
        compare_results(weak, {**strong, "sample_hash": "x", "definition_hash": "y"})
    (tmp_path / "validation.json").write_text(json.dumps(weak))
    assert read_result(tmp_path)["scores_hash"] == weak["scores_hash"]
    answer = CliRunner().invoke(app, ["validate", "compare", str(tmp_path), str(tmp_path), "--json"])
    assert json.loads(answer.stdout)["same_scores"]
    with pytest.raises(FileProblem, match="no such validation"):
        read_result(tmp_path / "absent")
    (tmp_path / "validation.json").write_text("{}")
    with pytest.raises(FileProblem, match="not a validation"):
        read_result(tmp_path)


# ---- scores and contaminants ----


def test_scores_that_name_nobody_are_refused() -> None:
    good = pd.DataFrame({"source_id": ["a", "b"], "logit": [1.0, 2.0]})
    assert check_scores(good) == "logit"
    with pytest.raises(InputError, match="no column source_id"):
        check_scores(good.drop(columns="source_id"))
    with pytest.raises(InputError, match="1 of 2 scores have no source_id"):
        check_scores(good.assign(source_id=["a", None]))
    with pytest.raises(InputError, match="are scored twice"):
        check_scores(good.assign(source_id="a"))
    with pytest.raises(InputError, match="table of scores is empty"):
        check_scores(good[:0])


def test_contaminants_are_matched_rated_and_pictured(tmp_path) -> None:
    rng = np.random.default_rng(8)
    n = 60
    objects = pd.DataFrame({"source_id": [f"1_1_{i}" for i in range(n)], "ra": 10.0 + 0.01 * np.arange(n), "dec": 1.0})
    scores = pd.DataFrame({"source_id": objects["source_id"], "logit": np.linspace(0, 5.9, n)})
    listed = pd.DataFrame(
        {
            "ra": np.r_[objects["ra"][:40] + 1 / 3600, 50.0], "dec": 1.0,
            "class": ["ring"] * 20 + ["spiral|merger"] * 20 + ["ring"], "near_lens": [""] * 39 + ["x"] + [""],
        }
    )  # fmt: skip
    matched, counts = match_contaminants(listed, objects)
    assert counts == {"listed": 41, "near_known_lens": 1, "not_scored": 1, "matched": 39}
    result = contaminant_rates(matched, scores, 1.5, trained={"1_1_19"})
    rates = {row["class"]: (row["n"], row["selected"]) for row in result["classes"]}
    assert rates == {"merger": (19, 19), "ring": (19, 4), "spiral": (19, 19)}
    assert (result["all"]["n"], result["trained_on"]) == (38, 1)
    ring = result["classes"][1]
    assert ring["offenders"][0] == {"source_id": "1_1_18", "value": pytest.approx(1.8), "selected": True}
    assert ring["fpr_low"] < 4 / 19 < ring["fpr_high"]

    for name, frame in (("scores", scores), ("contaminants", listed), ("parent", objects)):
        write_parquet(tmp_path / f"{name}.parquet", frame)
    images = (0.01 * rng.normal(size=(n, 3, 33, 33))).astype("f4")
    write_store(tmp_path / "store", objects, images)
    arguments = ["validate", "contaminants", *[str(tmp_path)] * 3, "--out", str(tmp_path / "out"), "--json"]
    answer = CliRunner().invoke(app, [*arguments, "--threshold", "1.5", "--store", str(tmp_path / "store")])
    assert answer.exit_code == 0, answer.output
    document = json.loads(answer.stdout)
    assert document["all"]["n"] == 39
    assert (tmp_path / "out/worst-offenders.png").stat().st_size > 10_000
    write_parquet(tmp_path / "contaminants.parquet", listed.assign(dec=50.0))
    with pytest.raises(InputError, match="none of the 41 contaminants is among the 60 scored objects"):
        CliRunner().invoke(app, [*arguments, "--threshold", "1.5"], catch_exceptions=False)
    with pytest.raises(InputError, match="either --threshold or --validation"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
