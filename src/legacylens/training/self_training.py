"""Rounds of training in which confident objects that no list names become lenses of the next round.

What keeps it honest: non-lenses that were kept from training are hidden among the unlabeled objects. How many of them
the network would take for lenses bounds, with a stated confidence, how many of the new lenses are none.
The threshold is the lowest at which that bound is tolerable; where there is none the rounds end. A round is kept only
if it finds as many validation lenses as the one before, within one standard error.
"""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import nbinom

from legacylens.cutouts.store import CutoutStore
from legacylens.errors import InputError
from legacylens.files import write_json, write_parquet
from legacylens.models.checkpoint import load_checkpoint
from legacylens.models.execute import Execution
from legacylens.samples.build import read_sample
from legacylens.samples.labels import REASON_DUPLICATE, REASON_NEAR, REASON_SECOND
from legacylens.training.config import SelfTraining, TrainConfig
from legacylens.training.loop import BEST_NAME, EVALUATION_BATCH, LAST_NAME, LOG_NAME, train
from legacylens.training.metrics import standard_error
from legacylens.training.run_state import TrainResult
from legacylens.training.subset import hash_order, ids_of, used_objects

CONFIDENCE = 0.95
"""Of the upper limit of the contamination."""
PLANTED_NAME, NEW_NAME, RESULT_NAME = "planted.parquet", "new-lenses.parquet", "self-training.json"
NOT_UNLABELED = (REASON_NEAR, REASON_SECOND, REASON_DUPLICATE)
"""Reasons for which an object without a label is not looked at: another object's arc is in its picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Harvest:
    """The new lenses of a round."""

    threshold: float
    """Lowest score that is taken; infinite if none is."""
    chosen: NDArray[np.bool_]
    """Which of the unlabeled objects are taken."""
    planted_above: int
    """Planted non-lenses above the threshold."""
    contamination: float
    """Upper limit of the share of non-lenses among the chosen."""


def contaminants_limit(above: NDArray[np.int64], n: int, n_unlabeled: int) -> NDArray[np.float64]:
    """Return how many of ``n_unlabeled`` non-lenses pass at most, if ``above`` of ``n`` others do.

    The upper end of a prediction interval: a Poisson number whose mean is as uncertain as ``above`` seen events leave
    it (Garwood 1936), which is a negative binomial distribution. Where rates are not small it is on the safe side.
    """
    above = np.asarray(above, dtype=np.float64)
    limit = nbinom.ppf(CONFIDENCE, above + 1.0, n / (n + n_unlabeled))
    return np.asarray(np.minimum(np.where(above >= n, np.inf, limit), float(n_unlabeled)))


def harvest(unlabeled: NDArray[np.float64], planted: NDArray[np.float64], config: SelfTraining) -> Harvest:
    """Choose new lenses by their scores.

    Parameters
    ----------
    unlabeled, planted
        Scores of objects without a label, and of non-lenses that were not trained on.
    config
        How much contamination is tolerable.

    Notes
    -----
    If the planted non-lenses are like the non-lenses among the unlabeled, `contaminants_limit` of these pass at most;
    that number over the number of chosen objects bounds the contamination.
    """
    order = np.argsort(-unlabeled, kind="stable")
    thresholds = unlabeled[order]
    count = np.arange(1, len(order) + 1)
    above = len(planted) - np.searchsorted(np.sort(planted), thresholds, side="left")
    bound = np.minimum(contaminants_limit(above, len(planted), len(unlabeled)) / count, 1.0)
    good = np.flatnonzero((bound <= config.max_contamination) & (count >= config.least))
    if not len(good):
        best = int(np.argmin(bound)) if len(bound) else -1
        return Harvest(
            threshold=float("inf"),
            chosen=np.zeros(len(unlabeled), dtype=bool),
            planted_above=int(above[best]) if len(bound) else 0,
            contamination=float(bound[best]) if len(bound) else 1.0,
        )
    last = int(good[-1])
    chosen = np.zeros(len(unlabeled), dtype=bool)
    chosen[order[: last + 1]] = True
    return Harvest(
        threshold=float(thresholds[last]),
        chosen=chosen,
        planted_above=int(above[last]),
        contamination=float(bound[last]),
    )


def unlabeled_objects(frame: pd.DataFrame, config: TrainConfig) -> list[str]:
    """Return the objects of the training split that a run does not use and that may be anything.

    Parameters
    ----------
    frame
        Rows of a sample that have a cutout.
    config
        The run.
    """
    used = set(used_objects(frame, config)["source_id"])
    rows = frame[(frame["split"] == "train") & ~frame["reason"].isin(NOT_UNLABELED)]
    return sorted(set(rows["source_id"].astype(str)) - used)


def self_train(
    store: str | Path,
    sample: str | Path,
    config: TrainConfig,
    out: str | Path,
    *,
    restart: bool = False,
    device: str = "auto",
    devices: int = 1,
    description: str = "",
) -> TrainResult:
    """Train, take in new lenses and train again; see `loop.train` for the parameters.

    ``self-training.json`` says for every round what was taken, how contaminated it can be and why the rounds ended.

    Raises
    ------
    InputError
        If there is nothing unlabeled, or as `loop.train`.
    """
    out, settings = Path(out), config.self_training
    opened, frame = CutoutStore.open(store), read_sample(sample).frame
    frame = frame[frame["source_id"].isin(opened.manifest["source_id"])]
    plain = TrainConfig.model_validate(
        {**config.model_dump(), **_shares(config), "self_training": SelfTraining().model_dump()}
    )
    pool = unlabeled_objects(frame, plain)
    if len(pool) < settings.least:
        raise InputError(
            f"{sample}: {len(pool)} objects of the training split have no label; self-training needs at least "
            f"{settings.least}. Lower samples.negatives_per_positive, so that not every non-lens is drawn, or limit "
            "training.positives or training.negative_ratio: what they leave out counts as unlabeled."
        )
    used = used_objects(frame, plain)
    others = used.loc[(used["split"] == "train") & (used["label"] == 0), "source_id"].reset_index(drop=True)
    hidden = others.iloc[hash_order(others, config.subset_seed + 2)[: round(settings.planted * len(others))]]
    write_parquet(out / PLANTED_NAME, pd.DataFrame({"source_id": sorted(hidden)}))
    validation = used.loc[(used["split"] == "validation") & (used["label"] == 0), "source_id"]
    planted = [*hidden, *validation]
    n_lenses = int(((used["split"] == "validation") & (used["label"] == 1)).sum())

    rounds: list[dict[str, Any]] = []
    kept: TrainResult | None = None
    new: Path | None = None
    ended = "all rounds were done"
    for number in range(settings.rounds + 1):
        folder = out / f"round-{number}"
        values = {"left_out": str(out / PLANTED_NAME), "extra_lenses": None if new is None else str(new)}
        result = train(
            store,
            sample,
            plain.model_copy(update=values),
            folder,
            restart=restart,
            device=device,
            devices=devices,
            description=f"{description} (self-training, round {number})".strip(),
        )
        record: dict[str, Any] = {
            "round": number,
            "new_lenses": 0 if new is None else len(ids_of(str(new))),
            "validation_recall": result.recall,
            "minutes": result.minutes,
            "kept": True,
        }
        rounds.append(record)
        if kept is not None and result.recall < kept.recall - standard_error(kept.recall, n_lenses):
            record["kept"] = False
            ended = f"round {number} found fewer validation lenses than the one before and was discarded"
            break
        kept = result
        if number == settings.rounds:
            break
        scores = _scores(opened, [*pool, *planted], kept.best, config, device)
        taken = harvest(scores[: len(pool)], scores[len(pool) :], settings)
        record |= {
            "unlabeled": len(pool),
            "planted": len(planted),
            "planted_above": taken.planted_above,
            "contamination_limit": taken.contamination,
            "threshold": taken.threshold if np.isfinite(taken.threshold) else None,
            "harvest": int(taken.chosen.sum()),
        }
        if not taken.chosen.any():
            ended = (
                f"no threshold keeps the contamination below {settings.max_contamination:g} with {CONFIDENCE:.0%} "
                f"confidence ({len(planted)} planted non-lenses give a limit of {taken.contamination:.2g})"
            )
            break
        new = folder / NEW_NAME
        write_parquet(
            new,
            pd.DataFrame({"source_id": np.array(pool)[taken.chosen], "logit": scores[: len(pool)][taken.chosen]}),
        )
    return _finish(out, kept or result, rounds, ended, config)


def _shares(config: TrainConfig) -> dict[str, Any]:
    """Return the budget of one round: all rounds together have that of the recipe."""
    n = config.self_training.rounds + 1
    return {
        "epochs": max(config.epochs // n, 1),
        "steps": None if config.steps is None else max(config.steps // n, 1),
        "max_minutes": None if config.max_minutes is None else config.max_minutes / n,
    }


def _scores(store: CutoutStore, names: list[str], path: Path, config: TrainConfig, device: str) -> NDArray[np.float64]:
    checkpoint = load_checkpoint(path)
    execution = Execution.choose(checkpoint.network, device=device, precision=config.precision)
    network = execution.place(checkpoint.build())
    positions = store.index_of(names)
    parts = []
    with torch.inference_mode():
        for start in range(0, len(positions), EVALUATION_BATCH):
            images = torch.from_numpy(store.images(positions[start : start + EVALUATION_BATCH]))
            parts.append(execution.logits(network, images, checkpoint.preprocessing).cpu().numpy())
    return np.concatenate(parts).astype(np.float64)


def _finish(out: Path, kept: TrainResult, rounds: list[dict[str, Any]], ended: str, config: TrainConfig) -> TrainResult:
    """Put the kept round's files where those of any run are."""
    for name in (BEST_NAME, LAST_NAME, LOG_NAME):
        temporary = out / f".part-{name}"
        shutil.copyfile(kept.best.with_name(name), temporary)
        temporary.replace(out / name)
    write_json(out / RESULT_NAME, {"rounds": rounds, "ended": ended})
    return dataclasses.replace(
        kept,
        best=out / BEST_NAME,
        last=out / LAST_NAME,
        minutes=sum(record["minutes"] for record in rounds),
        recipe=config.recipe,
        phases=(*rounds, {"ended": ended}),
    )
