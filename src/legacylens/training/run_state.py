"""What a training run is made of while it runs, and what it came to."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from legacylens.models.network import Network
from legacylens.training.alignment import Aligner
from legacylens.training.optimize import RunningMean


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What a training run came to."""

    best: Path
    """The network to use."""
    last: Path
    """The newest network, with the state to continue from."""
    network: str
    """Name of the network."""
    epochs: int
    """Epochs trained."""
    best_epoch: int
    """Epoch of the best network, from 1."""
    recall: float
    """Its recall on the validation split at ``selection_fpr``; it was chosen by it, so it is optimistic."""
    partial: float
    """Its mean recall up to ten times that rate."""
    selection_fpr: float
    """The false-positive rate."""
    stopped: str
    """Why it ended: ``epochs``, ``patience`` or ``time``."""
    minutes: float
    """Time spent training, over all interruptions."""
    images_per_second: float
    """Cutouts trained on per second, validation included."""
    counts: dict[str, int]
    """Objects by split and class."""
    left_out: dict[str, int]
    """Objects of the sample without a cutout, by split and class."""
    sample_hash: str
    """Identity of the labels and the split."""
    pretrained: str
    """What of the weights to start from was used; empty if the start was fresh."""
    clipped: list[dict[str, Any]]
    """Mean fraction of clipped pixels by class and magnitude; empty for a stretch that clips nothing."""
    recipe: str = ""
    """Name of the recipe; empty if there was none."""
    phases: tuple[dict[str, Any], ...] = ()
    """What happened in the trainings before this one, or in the rounds that this one was chosen from."""

    def summary(self) -> dict[str, Any]:
        """Return the result as JSON-compatible values."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}


@dataclass(kw_only=True)
class RunState:
    """What changes during a run, and goes into ``last.pt``."""

    network: Network
    optimizer: torch.optim.AdamW
    mean: RunningMean[Network]
    aligner: Aligner | None = None
    epoch: int = 0
    step: int = 0
    images: int = 0
    seconds: float = 0.0
    stopped: str = ""
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    hard: list[int] = field(default_factory=list)

    def to_dict(self, identity: str) -> dict[str, Any]:
        """Return everything but the running mean's weights, which are those of the checkpoint."""
        return {
            "identity": identity,
            "weights": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "mean_updates": self.mean.updates,
            "epoch": self.epoch,
            "step": self.step,
            "images": self.images,
            "seconds": self.seconds,
            "stopped": self.stopped,
            "best_epoch": self.best_epoch,
            "history": json.dumps(self.history),
            "aligner": {} if self.aligner is None else self.aligner.state_dict(),
            "hard": self.hard,
        }

    def restore(self, record: dict[str, Any], averaged: dict[str, Tensor]) -> None:
        """Become the run that was saved."""
        self.network.load_state_dict(record["weights"])
        self.optimizer.load_state_dict(record["optimizer"])
        self.mean.network.load_state_dict(averaged)
        self.mean.updates = record["mean_updates"]
        self.epoch, self.step, self.images = record["epoch"], record["step"], record["images"]
        self.seconds, self.stopped, self.best_epoch = record["seconds"], record["stopped"], record["best_epoch"]
        self.history = json.loads(record["history"])
        self.hard = list(record["hard"])
        if self.aligner is not None:
            self.aligner.load_state_dict(record["aligner"])
