"""Networks trained to cheat, which the shortcut tests must catch, and honest ones, which they must let pass.

Every network is trained in seconds on a small drawn sky (`legacylens.validation.shortcut_sky`) by the same loop as any
other, and tested on a sky of its own kind that it has not seen. A user's network gets the same tests with the same
limits (`legacylens.validation.shortcut_run`).
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from legacylens.cutouts.writer import write_store
from legacylens.models.preprocessing import Preprocessing
from legacylens.progress import console, track
from legacylens.samples.build import COLUMNS, Sample, sample_hash, write_sample
from legacylens.scan.config import ScanConfig
from legacylens.survey.bands import PIXSCALE
from legacylens.training.config import Augmentation, TrainConfig
from legacylens.validation.shortcut_sky import PLANTS, SIZE, SKY_NOISE, SmallSky, injection_noise, small_sky
from legacylens.validation.shortcuts import Logits, ShortcutConfig, TestInputs, run_tests

CONTROL_CONFIG = ShortcutConfig(arcs=(1.0, 3.5))
"""The tests' own limits; the stamps are small, so arcs end at 3.5 arcsec."""
_TRAIN_STREAM, _JUDGE_STREAM, _NULL_STREAM = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSize:
    """How large the small skies are."""

    lenses: int = 300
    """Lenses trained on."""
    others: int = 600
    """Non-lenses trained on."""
    epochs: int = 6
    """Passes over the non-lenses."""
    judged_lenses: int = 200
    """Lenses tested on."""
    judged_others: int = 400
    """Non-lenses tested on."""


DEFAULT_SIZE = ControlSize()


def _train_config(plant: str | None, size: ControlSize, seed: int) -> TrainConfig:
    # The project's augmentation but for what would hide the plants; off-center lenses need stamps that are not shifted.
    shift = 0 if plant == "off center" else 2
    return TrainConfig(
        preprocessing=Preprocessing(stamp=SIZE),
        augmentation=Augmentation(shift=shift, subpixel=0.0, brightness=0.0, color=0.0, noise=0.0),
        epochs=size.epochs,
        batch=32,
        positive_share=0.34,
        learning_rate=5e-3,
        average=0.9,
        selection_fpr=0.1,
        precision="fp32",
        seed=seed,
    )


def _write(folder: Path, sky: SmallSky, seed: int) -> tuple[Path, Path]:
    """Write a sky as store and sample; every tenth stamp chooses the epoch."""
    n = len(sky.label)
    frame = pd.DataFrame(
        {
            "source_id": [f"1_{seed}_{row}" for row in range(n)],
            "ra": np.linspace(10.0, 20.0, n),
            "dec": 0.0,
            "label": sky.label,
            "split": np.where(np.arange(n) % 10 == 0, "validation", "train"),
        }
    )
    frame = frame.assign(**{name: "" for name in COLUMNS if name not in frame.columns})[list(COLUMNS)]
    write_store(folder / "store", frame[["source_id", "ra", "dec"]], sky.images)
    return folder / "store", write_sample(Sample(frame=frame, summary={"hash": sample_hash(frame)}), folder / "sample")


def control_inputs(plant: str | None, size: ControlSize, seed: int) -> TestInputs:
    """Return what a control network is tested on: a sky of the kind that it was trained on, with other objects."""
    sky = small_sky(size.judged_lenses, size.judged_others, np.random.default_rng([seed, _JUDGE_STREAM]), plant)
    lens = sky.label == 1
    others, arcs = sky.images[~lens], sky.arcs[lens]
    null = others[: len(arcs)]  # an honest injection of nothing changes nothing
    if plant == "injection noise":
        rng = np.random.default_rng([seed, _NULL_STREAM])
        null = (null + injection_noise(null.shape, rng)).astype(np.float32)
    return TestInputs(
        lenses=sky.images[lens],
        others=others,
        pixscale=PIXSCALE,
        noise=SKY_NOISE,
        metadata=sky.metadata[~lens],
        arcs=arcs[: len(others)],
        null=null,
    )


def trained_logits(plant: str | None, size: ControlSize, seed: int, folder: Path) -> Logits:
    """Train a network on a small sky and return it."""
    from legacylens.scan.scorer import Scorer
    from legacylens.training.loop import train

    sky = small_sky(size.lenses, size.others, np.random.default_rng([seed, _TRAIN_STREAM]), plant)
    store, sample = _write(folder, sky, seed)
    result = train(store, sample, _train_config(plant, size, seed), folder / "run", device="cpu")
    return Scorer(result.last, ScanConfig(precision="fp32", symmetries=False), device="cpu").logits


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    plant: str | None
    seed: int
    size: ControlSize


def _run(job: _Job) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="legacylens-control-") as folder:
        logits = trained_logits(job.plant, job.size, job.seed, Path(folder))
        return run_tests(logits, control_inputs(job.plant, job.size, job.seed), CONTROL_CONFIG)


def _alone() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported, which a fresh process has not done yet
    console.quiet = True  # the bar of the whole run is enough


def _results(jobs: Sequence[_Job], workers: int) -> Iterator[dict[str, Any]]:
    if workers == 0:
        yield from map(_run, jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_alone) as pool:
        yield from pool.map(_run, jobs)


def run_controls(
    *,
    seeds: Sequence[int] = (1,),
    honest_seeds: Sequence[int] = tuple(range(1, 21)),
    plants: Sequence[str] = tuple(PLANTS),
    size: ControlSize = DEFAULT_SIZE,
    workers: int = 0,
) -> dict[str, Any]:
    """Train cheating and honest networks and put all of them to the tests.

    Parameters
    ----------
    seeds
        One network is trained to cheat for each plant and seed; a plant is caught if its test fails every one.
    honest_seeds
        One honest network is trained for each; none of the tests may fail it.
    plants
        Which plants.
    size
        Of the skies.
    workers
        Processes; 0 works in this one.

    Returns
    -------
    result
        ``controls``, a dictionary each: ``control``, ``test`` (the one that must fail; None for the honest ones),
        ``must``, ``verdict``, ``seeds_as_expected``, ``seeds``, ``value``, ``low``, ``high``, ``limit`` of that test
        (last seed), ``also`` (other tests that failed). ``honest``: for each test the extreme values and how many
        seeds were unclear. ``as_expected``, ``minutes``.
    """
    start = time.perf_counter()
    jobs = [_Job(plant=plant, seed=seed, size=size) for plant in plants for seed in seeds]
    jobs += [_Job(plant=None, seed=seed, size=size) for seed in honest_seeds]
    outcomes = list(track(_results(jobs, workers), "control networks", total=len(jobs)))
    rows = []
    for plant in plants:
        mine = [outcome for job, outcome in zip(jobs, outcomes, strict=True) if job.plant == plant]
        rows.append(_planted_row(plant, mine))
    honest = outcomes[len(plants) * len(seeds) :]
    if honest:
        rows.append(_honest_row(honest))
    return {
        "controls": rows,
        "honest": _honest_tests(honest),
        "as_expected": all(row["seeds_as_expected"] == row["seeds"] for row in rows),
        "minutes": (time.perf_counter() - start) / 60.0,
        "workers": workers,
    }


def _planted_row(plant: str, outcomes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    name = PLANTS[plant][0]
    found = [next(test for test in outcome["tests"] if test["test"] == name) for outcome in outcomes]
    caught = sum(test["verdict"] == "fail" for test in found)
    worst = next((test for test in found if test["verdict"] != "fail"), found[-1])
    failed = [test["test"] for outcome in outcomes for test in outcome["tests"] if test["verdict"] == "fail"]
    return {
        "control": plant,
        "test": name,
        "must": "fail",
        "verdict": worst["verdict"],
        "seeds_as_expected": caught,
        "seeds": len(outcomes),
        **{key: worst[key] for key in ("value", "low", "high", "limit")},
        "also": sorted(set(failed) - {name}),
        "baseline": outcomes[-1]["baseline"]["value"],
    }


def _honest_row(outcomes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    # "Unclear" raises no alarm: the value is on the wrong side, its interval is not. Seeds with it are counted apart.
    quiet = sum(outcome["verdict"] in ("pass", "unclear") for outcome in outcomes)
    alarms = [test["test"] for outcome in outcomes for test in outcome["tests"] if test["verdict"] == "fail"]
    return {
        "control": "honest",
        "test": None,
        "must": "pass",
        "verdict": "pass" if quiet == len(outcomes) else "fail",
        "seeds_as_expected": quiet,
        "seeds": len(outcomes),
        "value": None,
        "low": None,
        "high": None,
        "limit": None,
        "also": sorted(set(alarms)),
        "baseline": float(np.mean([outcome["baseline"]["value"] for outcome in outcomes])),
    }


def _honest_tests(outcomes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for place in range(len(outcomes[0]["tests"]) if outcomes else 0):
        tests = [outcome["tests"][place] for outcome in outcomes]
        values = [test["value"] for test in tests if test["value"] is not None]
        verdicts = [test["verdict"] for test in tests]
        rows.append(
            {
                "test": tests[0]["test"],
                "limit": tests[0]["limit"],
                "wrong": tests[0]["wrong"],
                "lowest": min(values, default=None),
                "highest": max(values, default=None),
                **{
                    word.replace(" ", "_"): verdicts.count(word) for word in ("pass", "unclear", "fail", "not testable")
                },
            }
        )
    return rows
