"""The training loop: the same weights for the same seed, interrupted or not.

A run folder holds ``best.pt`` (the network to use), ``last.pt`` (the newest, with everything to go on from),
``log.csv`` (one row for each epoch) and ``provenance.json``. Each is whole at any time.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

import legacylens
from legacylens.errors import InputError, ProcessError
from legacylens.files import remove_leftovers, write_text
from legacylens.models.checkpoint import Checkpoint, load_checkpoint, load_training_state, save_checkpoint
from legacylens.models.execute import Execution
from legacylens.models.network import Network
from legacylens.models.pretrained import load_pretrained
from legacylens.models.registry import build_network
from legacylens.progress import ProgressBar, progress_bar
from legacylens.provenance import RECORD_NAME, code_hash, git_commit, write_provenance
from legacylens.training.augment import augment, mix
from legacylens.training.clipping import clipping_by_class
from legacylens.training.config import TrainConfig
from legacylens.training.data import LabeledCutouts, TrainingData, open_training_data
from legacylens.training.metrics import Selection, selection_of, standard_error
from legacylens.training.optimize import RunningMean, learning_rate_factor, make_optimizer
from legacylens.training.sampling import epoch_batches, stream_seed

BEST_NAME, LAST_NAME, LOG_NAME = "best.pt", "last.pt", "log.csv"
EVALUATION_BATCH = 128
# Purposes of the random streams of an epoch.
_ORDER, _AUGMENT, _NETWORK = 0, 1, 2


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

    def summary(self) -> dict[str, Any]:
        """Return the result as JSON-compatible values."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}


@dataclass(kw_only=True)
class _State:
    """What changes during a run, and goes into ``last.pt``."""

    network: Network
    optimizer: torch.optim.AdamW
    mean: RunningMean[Network]
    epoch: int = 0
    step: int = 0
    images: int = 0
    seconds: float = 0.0
    stopped: str = ""
    best_epoch: int = 0
    history: list[dict[str, float]]

    def to_dict(self, identity: str) -> dict[str, Any]:
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
        }

    def restore(self, record: dict[str, Any], averaged: dict[str, Tensor]) -> None:
        self.network.load_state_dict(record["weights"])
        self.optimizer.load_state_dict(record["optimizer"])
        self.mean.network.load_state_dict(averaged)
        self.mean.updates = record["mean_updates"]
        self.epoch, self.step, self.images = record["epoch"], record["step"], record["images"]
        self.seconds, self.stopped, self.best_epoch = record["seconds"], record["stopped"], record["best_epoch"]
        self.history = json.loads(record["history"])


def train(
    store: str | Path,
    sample: str | Path,
    config: TrainConfig,
    out: str | Path,
    *,
    restart: bool = False,
    device: str = "auto",
    description: str = "",
) -> TrainResult:
    """Train a network, or go on where an interrupted run of the same configuration stopped.

    Parameters
    ----------
    store
        Cutout store.
    sample
        ``sample.parquet`` with labels and split, or its folder. The sealed split is not read.
    config
        The run.
    out
        Folder of the run.
    restart
        Discard what is in ``out``. Otherwise an unfinished run is continued and a finished one returned as it is.
    device
        ``auto``, ``cpu`` or ``cuda``.
    description
        What a user of the network should know, e.g. on which sky it was trained; stored in the checkpoint.

    Raises
    ------
    FileProblem, InputError
        If the inputs cannot be used together, or ``out`` holds a run of another configuration.
    ProcessError
        If the loss is not finite; ``best.pt`` and ``last.pt`` are those of the epoch before.
    """
    out = Path(out)
    execution = Execution.choose(config.network, device=device, precision=config.precision)
    data = open_training_data(
        store,
        sample,
        preprocessing=config.preprocessing,
        min_positives=config.min_positives,
        memory_gb=config.memory_gb,
    )
    identity = json.dumps({"configuration": config.model_dump(mode="json"), "sample": data.sample_hash}, sort_keys=True)
    out.mkdir(parents=True, exist_ok=True)
    remove_leftovers(out)
    if restart:
        for name in (BEST_NAME, LAST_NAME, LOG_NAME):
            (out / name).unlink(missing_ok=True)
    with torch.random.fork_rng(devices=[execution.device] if execution.device.type == "cuda" else []):
        run = _Run(config=config, data=data, out=out, execution=execution, identity=identity, description=description)
        trained = run.go()
    result = run.result()
    if trained or not (out / RECORD_NAME).exists():
        write_provenance(
            out,
            step="train",
            configuration=config.model_dump(mode="json"),
            inputs={
                "store": store,
                "sample": sample,
                **({} if config.pretrained is None else {"pretrained": config.pretrained}),
            },
            seeds={"train": config.seed},
            results=result.summary(),
        )
    return result


class _Run:
    """One run: the objects that every step of it needs."""

    def __init__(
        self,
        *,
        config: TrainConfig,
        data: TrainingData,
        out: Path,
        execution: Execution,
        identity: str,
        description: str,
    ) -> None:
        self.config, self.data, self.out = config, data, out
        self.identity, self.description = identity, description
        self.execution = execution
        network = build_network(config.network, bands=len(config.preprocessing.bands), seed=config.seed)
        self.pretrained = ""
        if config.pretrained is not None:
            self.pretrained = load_pretrained(network, config.pretrained).sentence()
        network = execution.place(network)
        self.state = _State(
            network=network,
            optimizer=make_optimizer(network, learning_rate=config.learning_rate, weight_decay=config.weight_decay),
            mean=RunningMean(network, config.average),
            history=[],
        )
        others = int((data.train.labels == 0).sum())
        self.steps_per_epoch = -(-others // (config.batch - config.lenses_per_batch))
        self.validation_lenses = int((data.validation.labels == 1).sum())
        self.total_steps = self.steps_per_epoch * config.epochs

    def go(self) -> bool:
        """Train until the end, from wherever ``last.pt`` says; return whether there was anything left to do."""
        state = self.state
        self._resume()
        if state.stopped:
            return False
        with progress_bar("train", self.total_steps) as bar:
            bar.advance(state.step)
            while not state.stopped:
                self._epoch(bar)
        return True

    def _resume(self) -> None:
        last = self.out / LAST_NAME
        if not last.exists():
            if (self.out / BEST_NAME).exists():
                raise InputError(
                    f"{self.out} holds a {BEST_NAME} but no {LAST_NAME} to go on from; "
                    "give another folder, or start over with --restart"
                )
            return
        checkpoint, record = load_training_state(last)
        if record["identity"] != self.identity:
            raise InputError(
                f"{self.out} holds a run of another configuration ({_differences(record['identity'], self.identity)}); "
                "give another folder, or start over with --restart"
            )
        self.state.restore(record, dict(checkpoint.state))
        self._write_derived(checkpoint)  # in case the run was killed between two files

    def _progress(self, seconds: float) -> float:
        by_steps = self.state.step / self.total_steps
        budget = self.config.max_minutes
        return by_steps if budget is None else max(by_steps, seconds / (60.0 * budget))

    def _epoch(self, bar: ProgressBar) -> None:
        config, state = self.config, self.state
        start = time.perf_counter()
        before = state.seconds
        order = epoch_batches(
            self.data.train.labels,
            batch=config.batch,
            lenses_per_batch=config.lenses_per_batch,
            rng=np.random.default_rng(stream_seed(config.seed, state.epoch, _ORDER)),
        )
        generator = torch.Generator().manual_seed(stream_seed(config.seed, state.epoch, _AUGMENT))
        torch.manual_seed(stream_seed(config.seed, state.epoch, _NETWORK))  # for dropout
        state.network.train()
        losses, rate, out_of_time = [], 0.0, False
        for number, rows in enumerate(order):
            rate = config.learning_rate * learning_rate_factor(self._progress(state.seconds), config.warmup)
            for parameters in state.optimizer.param_groups:
                parameters["lr"] = rate
            losses.append(self._step(rows, generator, number))
            state.step += 1
            state.images += len(rows)
            state.seconds = before + time.perf_counter() - start
            bar.advance()
            if config.max_minutes is not None and state.seconds >= 60.0 * config.max_minutes:
                out_of_time = True
                break
        merit = self._validate()
        state.epoch += 1
        state.seconds = before + time.perf_counter() - start
        state.history.append(
            {
                "epoch": state.epoch,
                "step": state.step,
                "learning_rate": rate,
                "loss": float(np.mean(losses)),
                "recall": merit.recall,
                "partial": merit.partial,
                "seconds": state.seconds,
            }
        )
        merits = [Selection(recall=row["recall"], partial=row["partial"]) for row in state.history]
        top = max(merits)
        if merit.recall >= top.recall - standard_error(top.recall, self.validation_lenses):
            state.best_epoch = state.epoch
        if state.step >= self.total_steps:
            state.stopped = "epochs"
        elif out_of_time:
            state.stopped = "time"
        elif config.patience is not None and state.epoch - (merits.index(top) + 1) >= config.patience:
            state.stopped = "patience"
        self._save()
        bar.note(
            f"epoch {state.epoch}/{config.epochs} loss {np.mean(losses):.3f} "
            f"recall {merit.recall:.2f} at FPR {config.selection_fpr:g}"
        )

    def _step(self, rows: NDArray[np.int64], generator: torch.Generator, number: int) -> float:
        config, state = self.config, self.state
        images = torch.from_numpy(self.data.train.images(rows))
        images = augment(images, config.augmentation, preprocessing=config.preprocessing, generator=generator)
        targets = torch.from_numpy(self.data.train.labels[rows]).to(torch.float32)
        if config.augmentation.mixup:
            images, targets = mix(images, targets, share=config.augmentation.mixup, generator=generator)
        targets = targets.to(self.execution.device)
        smoothing = config.label_smoothing
        logits = self.execution.logits(state.network, images, config.preprocessing)
        loss = binary_cross_entropy_with_logits(logits, targets * (1.0 - 2.0 * smoothing) + smoothing)
        value = float(loss.detach())
        if not np.isfinite(value):
            self._report_bad_batch(rows, number, value)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        state.optimizer.step()
        state.mean.update(state.network)
        return value

    def _report_bad_batch(self, rows: NDArray[np.int64], number: int, value: float) -> None:
        images = self.data.train.images(rows)
        names = self.data.train.names(rows)
        holes = [name for name, image in zip(names, images, strict=True) if not np.isfinite(image).all()]
        kept = f"{LAST_NAME} of epoch {self.state.epoch}" if self.state.epoch else "nothing, no epoch was finished"
        cause = (
            f"{len(holes)} of its cutouts have pixels that are not finite: {', '.join(holes[:5])}. Cut them again"
            if holes
            else "its pixels are finite, so the training diverged. Lower training.learning_rate, or use precision fp32"
        )
        raise ProcessError(
            f"the loss became {value} in epoch {self.state.epoch + 1}, batch {number + 1} "
            f"({names[0]}, {names[1]}, ...): {cause}. Kept: {kept}."
        )

    @torch.no_grad()
    def _validate(self) -> Selection:
        scores = self._predict(self.data.validation)
        if not np.isfinite(scores).all():
            holes = self.data.validation.names(np.flatnonzero(~np.isfinite(scores)))
            raise ProcessError(
                f"{len(holes)} validation objects have a score that is not finite after epoch {self.state.epoch + 1}: "
                f"{', '.join(holes[:5])}. Cut them again if their pixels are broken; lower training.learning_rate if "
                f"these are all. {LAST_NAME}, if it is there, is that of the epoch before."
            )
        labels = self.data.validation.labels
        return selection_of(scores[labels == 1], scores[labels == 0], self.config.selection_fpr)

    def _predict(self, part: LabeledCutouts) -> NDArray[np.float64]:
        """Return the score of every object of a split, in its order."""
        network, preprocessing = self.state.mean.network, self.config.preprocessing
        scores = np.full(len(part), np.nan)
        for rows, images in part.batches(EVALUATION_BATCH):
            scores[rows] = self.execution.logits(network, torch.from_numpy(images), preprocessing).cpu().numpy()
        return scores

    def _checkpoint(self) -> Checkpoint:
        state = self.state
        merit = state.history[-1]
        return Checkpoint(
            network=self.config.network,
            state=state.mean.network.state_dict(),
            preprocessing=self.config.preprocessing,
            sample_hash=self.data.sample_hash,
            configuration=self.config.model_dump(mode="json"),
            metrics={
                "epoch": state.epoch,
                "validation_recall": merit["recall"],
                "validation_partial": merit["partial"],
                "selection_fpr": self.config.selection_fpr,
                "counts": self.data.counts(),
                "bf16": self.execution.bf16,
                "pretrained": self.pretrained,
            },
            seed=self.config.seed,
            code_hash=code_hash(),
            git_commit=git_commit(),
            version=legacylens.__version__,
            description=self.description,
        )

    def _save(self) -> None:
        checkpoint = self._checkpoint()
        # last.pt first: all that follows can be made from it.
        save_checkpoint(self.out / LAST_NAME, checkpoint, training=self.state.to_dict(self.identity))
        self._write_derived(checkpoint)

    def _write_derived(self, newest: Checkpoint) -> None:
        """Write what follows from ``last.pt``, unless it is there already."""
        best, log = self.out / BEST_NAME, self.out / LOG_NAME
        if self.state.best_epoch == self.state.epoch and not _holds_epoch(best, self.state.epoch):
            save_checkpoint(best, newest)
        text = pd.DataFrame(self.state.history).to_csv(index=False, float_format="%.6g")
        if not log.exists() or log.read_text(encoding="utf-8") != text:
            write_text(log, text)

    def result(self) -> TrainResult:
        """Return the numbers of the finished run."""
        state = self.state
        load_checkpoint(self.out / BEST_NAME)  # a best.pt that was damaged since is found now and not at the scan
        best = state.history[state.best_epoch - 1]
        return TrainResult(
            best=self.out / BEST_NAME,
            last=self.out / LAST_NAME,
            network=self.config.network,
            epochs=state.epoch,
            best_epoch=state.best_epoch,
            recall=best["recall"],
            partial=best["partial"],
            selection_fpr=self.config.selection_fpr,
            stopped=state.stopped,
            minutes=state.seconds / 60.0,
            images_per_second=state.images / max(state.seconds, 1e-9),
            counts=self.data.counts(),
            left_out=self.data.left_out,
            sample_hash=self.data.sample_hash,
            pretrained=self.pretrained,
            clipped=clipping_by_class(self.data.train, self.config.preprocessing),
        )


def _holds_epoch(path: Path, epoch: int) -> bool:
    return path.exists() and load_checkpoint(path).metrics.get("epoch") == epoch


def _flatten(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {path: value}
    return {
        key: leaf
        for name, part in value.items()
        for key, leaf in _flatten(part, f"{path}.{name}" if path else str(name)).items()
    }


def _differences(old: str, new: str) -> str:
    first, second = _flatten(json.loads(old)), _flatten(json.loads(new))
    names = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
    shown = [f"{name.removeprefix('configuration.')} {first.get(name)} -> {second.get(name)}" for name in names[:4]]
    return "; ".join(shown) + ("; ..." if len(names) > 4 else "")
