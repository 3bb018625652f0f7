"""Trainings of a comparison and their scores on the sealed cells; each is done once and found again."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from legacylens.comparison.config import Terms, Variant
from legacylens.config.load import record_from
from legacylens.cutouts.store import CutoutStore
from legacylens.errors import InputError
from legacylens.files import read_parquet, write_parquet
from legacylens.models.checkpoint import load_checkpoint
from legacylens.progress import console
from legacylens.samples.build import read_sample
from legacylens.scan.config import ScanConfig
from legacylens.scan.scorer import Scorer
from legacylens.training.config import TrainConfig
from legacylens.training.recipe import merged
from legacylens.training.recipes import train_recipe
from legacylens.training.run_state import TrainResult

SCORES_NAME = "sealed-{fingerprint}.parquet"
"""Table of ``source_id`` and ``logit`` of the sealed objects, by the network that scored them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training of one variant."""

    variant: str
    """Its name."""
    seed: int
    """Its seed."""
    config: TrainConfig
    """What is trained."""
    folder: Path
    """Where."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """What a run came to."""

    run: Run
    """The run."""
    result: TrainResult
    """Its training."""
    logits: NDArray[np.float64]
    """Scores of the sealed objects, in the order of `sealed_objects`."""


def planned_runs(variants: Sequence[Variant], terms: Terms, out: Path) -> list[Run]:
    """Return all trainings of a comparison; an impossible configuration is refused before any of them starts.

    Raises
    ------
    ConfigurationError
        If the values of a variant are impossible.
    InputError
        If two variants have the same name.
    """
    names = [variant.name for variant in variants]
    if len(set(names)) != len(names):
        raise InputError(f"variants {', '.join(names)} repeat a name; each is trained once")
    runs = []
    for seed in terms.seeds:
        for variant in variants:
            values = merged(merged(variant.values, terms.training), {**terms.budget, "seed": seed})
            config = record_from(TrainConfig, values, f"the variant {variant.name}")
            folder = out / "runs" / re.sub(r"[^A-Za-z0-9.+-]+", "-", variant.name).strip("-") / f"seed-{seed}"
            runs.append(Run(variant=variant.name, seed=seed, config=config, folder=folder))
    return runs


def sealed_objects(store: CutoutStore, sample: pd.DataFrame) -> pd.DataFrame:
    """Return the sealed lenses and non-lenses that have a cutout, sorted by ``source_id``.

    Raises
    ------
    InputError
        If a class has none.
    """
    rows = sample[(sample["split"] == "sealed") & (sample["label"] >= 0)]
    rows = rows[rows["source_id"].isin(store.manifest["source_id"])].sort_values("source_id", ignore_index=True)
    for label, name in ((1, "lens"), (0, "non-lens")):
        if not (rows["label"] == label).any():
            raise InputError(f"the sealed split has no {name} with a cutout: nothing can be compared on it")
    return rows


def do_run(run: Run, store: str | Path, sample: str | Path, terms: Terms, device: str, description: str) -> Scored:
    """Train and score, or find what was done before."""
    result = train_recipe(store, sample, run.config, run.folder, device=device, description=description)
    fingerprint = load_checkpoint(result.best).fingerprint()[:16]
    path = run.folder / SCORES_NAME.format(fingerprint=fingerprint)
    opened = CutoutStore.open(store)
    objects = sealed_objects(opened, read_sample(sample).frame)
    if path.exists():
        table = read_parquet(path)
        if table["source_id"].tolist() == objects["source_id"].tolist():
            return Scored(run=run, result=result, logits=table["logit"].to_numpy(np.float64))
    scorer = Scorer(result.best, ScanConfig(symmetries=terms.symmetries, precision=run.config.precision), device=device)
    parts = [
        scorer.logits(images)
        for _, images in opened.batches(scorer.config.batch, indices=opened.index_of(objects["source_id"]))
    ]
    logits = np.concatenate(parts).astype(np.float64)
    write_parquet(path, pd.DataFrame({"source_id": objects["source_id"], "logit": logits}))
    return Scored(run=run, result=result, logits=logits)


def _alone(arguments: tuple[Any, ...]) -> Scored:
    torch.set_num_threads(1)
    return do_run(*arguments)


def do_runs(
    runs: Sequence[Run],
    store: str | Path,
    sample: str | Path,
    terms: Terms,
    *,
    device: str = "auto",
    description: str = "",
    workers: int = 1,
    done: Callable[[Scored], None] | None = None,
) -> list[Scored]:
    """Do all runs, several at a time if there are processors for them.

    Parameters
    ----------
    runs
        The trainings.
    store, sample
        Cutouts and labels.
    terms
        What they share.
    device
        ``auto``, ``cpu`` or ``cuda``.
    description
        Goes into the checkpoints.
    workers
        Processes, with one thread each if there are several. No result depends on it where the budget is steps.
    done
        Called after each.
    """
    tasks = [(run, store, sample, terms, device, description) for run in runs]
    scored: list[Scored] = []
    if workers == 1:
        for number, task in enumerate(tasks, start=1):
            console.print(f"{number}/{len(runs)} {task[0].variant}, seed {task[0].seed}")
            scored.append(do_run(*task))
            if done is not None:
                done(scored[-1])
        return scored
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for number, one in enumerate(pool.map(_alone, tasks), start=1):
            console.print(f"{number}/{len(runs)} {one.run.variant}, seed {one.run.seed}: done")
            scored.append(one)
            if done is not None:
                done(one)
    return scored
