"""`train_recipe`: one run, or the several that a recipe is made of, within one budget; `train_seeds`: several of these.

The folder of a recipe looks like that of any run: ``best.pt`` is the network to use. Trainings that came before are in
folders inside it, each with its own log; an interrupted recipe goes on in the middle of whichever it was at.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from legacylens.training.config import TrainConfig
from legacylens.training.loop import train
from legacylens.training.run_state import TrainResult
from legacylens.training.self_training import self_train

PRETRAIN_NAME = "pretraining"


def train_recipe(
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
    """Train as a configuration says, in as many trainings as it takes; see `loop.train` for the parameters.

    Raises
    ------
    FileProblem, InputError, ProcessError
        As `loop.train`.
    """
    out = Path(out)
    if config.self_training.rounds:
        return self_train(
            store, sample, config, out, restart=restart, device=device, devices=devices, description=description
        )
    if not config.pretraining:
        return train(
            store, sample, config, out, restart=restart, device=device, devices=devices, description=description
        )
    first = train(
        store,
        sample,
        pretraining_config(config),
        out / PRETRAIN_NAME,
        restart=restart,
        device=device,
        devices=devices,
        description=f"{description} (pretraining on simulated lenses)".strip(),
    )
    second = train(
        store,
        sample,
        finetuning_config(config, first.best),
        out,
        restart=restart,
        device=device,
        devices=devices,
        description=description,
    )
    phase = {"phase": PRETRAIN_NAME, "epochs": first.epochs, "recall": first.recall, "minutes": first.minutes}
    return dataclasses.replace(second, phases=(phase,))


def train_seeds(
    store: str | Path,
    sample: str | Path,
    config: TrainConfig,
    out: str | Path,
    seeds: Sequence[int],
    *,
    restart: bool = False,
    device: str = "auto",
    devices: int = 1,
    description: str = "",
) -> list[TrainResult]:
    """Train a recipe once with each seed, in ``out/seed-N``; see `train_recipe` for the other parameters.

    How much the recalls differ is how much of a recall is luck; an ensemble of the networks is better than each.
    """
    return [
        train_recipe(
            store,
            sample,
            config.model_copy(update={"seed": seed}),
            Path(out) / f"seed-{seed}",
            restart=restart,
            device=device,
            devices=devices,
            description=description,
        )
        for seed in seeds
    ]


def _part_of_budget(config: TrainConfig, share: float) -> dict[str, int | float | None]:
    """Return epochs, steps and minutes of a share of the budget."""
    return {
        "epochs": max(round(config.epochs * share), 1),
        "steps": None if config.steps is None else max(round(config.steps * share), 1),
        "max_minutes": None if config.max_minutes is None else config.max_minutes * share,
    }


def pretraining_config(config: TrainConfig) -> TrainConfig:
    """Return the first training of ``pretraining``: simulated lenses only."""
    values = {
        **_part_of_budget(config, config.pretraining),
        "pretraining": 0.0,
        "simulations": config.simulations.model_copy(update={"share": 1.0}),
        "recipe": "simulated",
    }
    return TrainConfig.model_validate({**config.model_dump(), **values})


def finetuning_config(config: TrainConfig, start: Path) -> TrainConfig:
    """Return the second training of ``pretraining``: real lenses only, from the first one's network."""
    values = {
        **_part_of_budget(config, 1.0 - config.pretraining),
        "learning_rate": config.learning_rate * config.finetune_rate,
        "pretrained": str(start),
        "pretraining": 0.0,
        "simulations": config.simulations.model_copy(update={"share": 0.0}),
    }
    return TrainConfig.model_validate({**config.model_dump(), **values})
