"""What the validation promises, measured in simulation: coverage of every interval, and its speed.

    python benchmarks/validation_numbers.py [--trials 1000] [--out ...json]

Scores are Gaussian with known recall and false-positive rate at every threshold, so an interval either holds the truth
or does not. "by construction conservative" are exact binomial intervals (discrete counts) and those joined from two
(Bonferroni). The survey is ten million scores at one lens in ten thousand.
"""

import argparse
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import beta, norm

from legacylens.validation.auc import auc_with_interval
from legacylens.validation.bootstrap import block_bootstrap
from legacylens.validation.intervals import binomial_interval
from legacylens.validation.probability import reliability, shift_prior
from legacylens.validation.purity import purity, survey_expectation
from legacylens.validation.recall import recall_at_fpr
from legacylens.validation.selection_function import fit_selection_function
from legacylens.validation.tail import extrapolate

SHIFT = 3.0


def scores(rng: np.random.Generator, n_lens: int, n_other: int):
    return rng.normal(SHIFT, 1, n_lens), rng.normal(0, 1, n_other)


def recall_interval(rng, trials):
    """The exact interval of the recall at a fixed false-positive rate, given the threshold."""
    held = 0
    for _ in range(trials):
        (point,) = recall_at_fpr(*scores(rng, 200, 5000), (1e-2,))
        held += point.recall_low <= norm.sf(point.threshold - SHIFT) <= point.recall_high
    return held, trials


def fpr_interval(rng, trials):
    """The exact interval of a false-positive rate at a threshold that is fixed beforehand."""
    n, rate = 20_000, 2e-3
    low, high = binomial_interval(rng.binomial(n, rate, trials), n)
    return int(((low <= rate) & (rate <= high)).sum()), trials


def completeness_cell(rng, trials):
    """The exact interval of a cell of injections."""
    n, chance = 40, 0.35
    low, high = binomial_interval(rng.binomial(n, chance, trials), n)
    return int(((low <= chance) & (chance <= high)).sum()), trials


def auc_interval(rng, trials):
    """DeLong's interval on the logit scale."""
    truth = norm.cdf(1.5 / np.sqrt(2))
    held = 0
    for _ in range(trials):
        auc = auc_with_interval(rng.normal(1.5, 1, 120), rng.normal(0, 1, 1500))
        held += auc.low <= truth <= auc.high
    return held, trials


def sky_interval(rng, trials):
    """Resampled sky cells: lenses of a cell share a shift of their scores (its seeing), non-lenses too."""
    truth = norm.sf((norm.isf(0.05) * np.sqrt(1.09) - 2.0) / np.sqrt(1.09))
    held = 0
    for _ in range(trials):
        cell = np.repeat(np.arange(150), 40)
        lens = np.tile(np.arange(40) < 2, 150)
        values = rng.normal(0, 1, len(cell)) + 0.3 * rng.normal(0, 1, 150)[cell] + 2.0 * lens
        (row,) = block_bootstrap(values, lens, cell, (0.05,), replicas=400, confidence=0.95, rng=rng)
        held += row.recall_low <= truth <= row.recall_high
    return held, trials


def tail_interval(rng, trials):
    """The interval of an extrapolated rate, of a Gaussian's tail and of an exponential one."""
    held = answered = 0
    for number in range(trials):
        gaussian = number % 2 == 0
        values = rng.normal(size=20_000) if gaussian else rng.exponential(size=20_000)
        (point,) = extrapolate([0.0], values, (2e-5,))
        if point.threshold is None:  # fewer than one in a hundred samples are refused, by chance
            continue
        answered += 1
        truth = norm.sf(point.threshold) if gaussian else np.exp(-point.threshold)
        held += point.fpr_low <= truth <= point.fpr_high
    return held, answered


def purity_interval(rng, trials):
    """The joined interval of the purity at prevalence 1e-4."""
    held = 0
    for _ in range(trials):
        (point,) = recall_at_fpr(*scores(rng, 300, 20_000), (5e-3,))
        expected = survey_expectation(point, prevalence=1e-4)
        truth = purity(norm.sf(point.threshold - SHIFT), norm.sf(point.threshold), 1e-4)
        held += expected.purity_low <= truth <= expected.purity_high
    return held, trials


def reliability_interval(rng, trials):
    """The exact interval of each bin of a reliability diagram of right probabilities."""
    held = total = 0
    for _ in range(max(trials // 10, 1)):
        pos, neg = scores(rng, 300, 1500)
        x, lens = np.r_[pos, neg], np.r_[np.ones(300, bool), np.zeros(1500, bool)]
        rows = reliability(shift_prior(expit(SHIFT * x - SHIFT**2 / 2), 0.5, 1 / 6), lens)
        held += sum(row["observed_low"] <= row["predicted"] <= row["observed_high"] for row in rows)
        total += len(rows)
    return held, total


def lenses(n, rng):
    """Injected lenses as broad as a real run has them."""
    return pd.DataFrame(
        {
            "theta_E": np.clip(1.4 * np.exp(rng.normal(0, 0.4, n)), 0.5, 5.0), "arc_mag_r": rng.normal(23.0, 1.2, n),
            "source_r_e": np.clip(0.2 * np.exp(rng.normal(0, 0.7, n)), 0.02, 2.0),
            "seeing": rng.normal(1.3, 0.15, n), "depth": rng.normal(23.9, 0.35, n),
            "host_mag_r": rng.normal(19.3, 0.9, n),
        }
    )  # fmt: skip


def chance(values):
    """The selection function of a finder, within the family that is fitted."""
    size, faint = np.log10(values["theta_E"]) - 0.15, values["arc_mag_r"] - 23.0
    sky = 1.2 * (values["depth"] - 23.9) - 3.0 * (values["seeing"] - 1.3)
    return np.asarray(expit(-0.8 + 5.0 * size - 1.6 * faint + sky - 4.0 * size**2 - 0.2 * faint**2))


def _fitted(rng):
    values = lenses(4000, rng)
    return fit_selection_function(values, rng.random(len(values)) < chance(values), about={}, rng=rng)


def selection_function_interval(rng, trials):
    """The interval of the fitted selection function, for single lenses."""
    held = total = 0
    for _ in range(trials):
        function, asked = _fitted(rng), lenses(80, rng)
        inside = np.ones(len(asked), bool)
        for place, name in enumerate(function.names):
            inside &= asked[name].between(function.low[place], function.high[place]).to_numpy()
        low, high = function.interval(**{name: asked.loc[inside, name].to_numpy() for name in function.names})
        truth = chance(asked[inside])
        held += int(((low <= truth) & (truth <= high)).sum())
        total += len(truth)
    return held, total


def map_interval(rng, trials):
    """The interval of a cell of the sky map: the mean over a population under the cell's seeing and depth."""
    population, held = lenses(200_000, np.random.default_rng(5)), 0
    for _ in range(trials):
        seeing, depth = float(rng.uniform(1.1, 1.5)), float(rng.uniform(23.4, 24.4))
        low, high = _fitted(rng).interval(seeing=seeing, depth=depth)
        held += bool(low <= chance(population.assign(seeing=seeing, depth=depth)).mean() <= high)
    return held, trials


CHECKS = {
    "recall at a false-positive rate (exact)": (recall_interval, True, 1.0),
    "false-positive rate at a threshold (exact)": (fpr_interval, True, 10.0),
    "completeness of a cell (exact)": (completeness_cell, True, 10.0),
    "reliability of a bin (exact)": (reliability_interval, True, 1.0),
    "area under the curve (DeLong, logit)": (auc_interval, False, 1.0),
    "recall by resampled sky cells": (sky_interval, False, 0.5),
    "extrapolated false-positive rate (Pareto tail)": (tail_interval, False, 0.5),
    "purity at prevalence 1e-4 (joined)": (purity_interval, True, 1.0),
    "selection function, a single lens": (selection_function_interval, False, 0.05),
    "completeness of a cell of the sky map": (map_interval, False, 0.4),
}


def survey(rng: np.random.Generator) -> dict:
    """Predict purity and list length from a sample, then make the survey of 1e7 and count."""
    n, prevalence = 10_000_000, 1e-4
    (point,) = recall_at_fpr(*scores(rng, 1000, 50_000), (1e-3,))
    expected = survey_expectation(point, prevalence=prevalence, parent_size=n)
    n_lens = rng.binomial(n, prevalence)
    found = int((rng.normal(SHIFT, 1, n_lens) >= point.threshold).sum())
    false = sum(int((rng.standard_normal(1_000_000, np.float32) >= point.threshold).sum()) for _ in range(10))
    truth = found / (found + false)
    return {
        "scores": n, "prevalence": prevalence, "purity_predicted": expected.purity,
        "purity_interval": [expected.purity_low, expected.purity_high], "purity_counted": truth,
        "list_predicted": [expected.list_length_low, expected.list_length_high], "list_counted": found + false,
        "inside": bool(expected.purity_low <= truth <= expected.purity_high),
    }  # fmt: skip


def speed(rng: np.random.Generator) -> dict:
    """A million scores with two thousand resampled skies."""
    n = 1_000_000
    lens = rng.random(n) < 2e-3
    values, cell = rng.normal(size=n) + SHIFT * lens, rng.integers(0, 5000, n)
    start = time.perf_counter()
    block_bootstrap(values, lens, cell, (1e-2, 1e-3, 1e-4, 1e-5), replicas=2000, confidence=0.95, rng=rng)
    return {"scores": n, "replicas": 2000, "cells": 5000, "seconds": time.perf_counter() - start, "allowed": 60}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rng = np.random.default_rng(20)
    rows = []
    for name, (check, conservative, share) in CHECKS.items():
        start = time.perf_counter()
        held, n = check(rng, max(int(options.trials * share), 10))
        low, high = beta.ppf([0.025, 0.975], [held, held + 1], [n - held + 1, max(n - held, 1e-9)])
        good = held / n >= 0.93 and (conservative or held / n <= 0.97)
        rows.append(
            {
                "interval": name, "nominal": 0.95, "coverage": held / n, "coverage_95": [float(low), float(high)],
                "trials": n, "conservative_by_construction": conservative, "as_promised": bool(good),
                "seconds": round(time.perf_counter() - start, 1),
            }
        )  # fmt: skip
        print(json.dumps(rows[-1]), flush=True)
    result = {
        "coverage": rows,
        "survey": survey(rng),
        "bootstrap": speed(rng),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    print(json.dumps(result["survey"]), json.dumps(result["bootstrap"]), sep="\n")
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
