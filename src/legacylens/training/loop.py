"""The training loop: the same weights for the same seed, interrupted or not.

A run folder holds ``best.pt`` (the network to use), ``last.pt`` (the newest, with everything to go on from),
``log.csv`` (one row for each epoch) and ``provenance.json``. Each is whole at any time.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.nn.functional import binary_cross_entropy_with_logits

import legacylens
from legacylens.errors import InputError, ProcessError
from legacylens.files import held, remove_leftovers, write_parquet, write_text
from legacylens.models.checkpoint import Checkpoint, load_checkpoint, load_training_state, save_checkpoint
from legacylens.models.execute import Execution
from legacylens.models.network import Network
from legacylens.models.pretrained import load_pretrained
from legacylens.models.registry import build_network
from legacylens.progress import ProgressBar, progress_bar
from legacylens.provenance import RECORD_NAME, code_hash, git_commit, write_provenance
from legacylens.training.alignment import make_aligner
from legacylens.training.batches import Batch, ahead, prepared
from legacylens.training.clipping import clipping_by_class
from legacylens.training.config import TrainConfig
from legacylens.training.data import LabeledCutouts, TrainingData, open_training_data
from legacylens.training.events import FOLDER_NAME, write_events
from legacylens.training.identity import differences, files_of, run_identity
from legacylens.training.metrics import Selection, selection_of, standard_error
from legacylens.training.mining import TABLE_NAME, as_table, mine
from legacylens.training.optimize import RunningMean, learning_rate_at, make_optimizer
from legacylens.training.run_state import RunState, TrainResult
from legacylens.training.sampling import epoch_batches, natural_batches, steps_per_epoch, stream_seed
from legacylens.training.simulated import require_realistic
from legacylens.training.team import Team, launch

BEST_NAME, LAST_NAME, LOG_NAME = "best.pt", "last.pt", "log.csv"
EVALUATION_BATCH = 128
LOOKAHEAD = 3
"""Batches that are made ahead of a GPU."""
# Purposes of the random streams of an epoch.
_ORDER, _AUGMENT, _NETWORK, _INJECT = 0, 1, 2, 3


def train(
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
    devices
        Processes that share every batch, with a device each. Each normalizes its own part of the batch, so the weights
        are those of no other number of devices.
    description
        What a user of the network should know, e.g. on which sky it was trained; stored in the checkpoint.

    Raises
    ------
    FileProblem, InputError
        If the inputs cannot be used together, or ``out`` holds a run of another configuration.
    ProcessError
        If the loss is not finite; ``best.pt`` and ``last.pt`` are those of the epoch before.
    """
    arguments = (store, sample, config, Path(out), restart, description)
    if devices == 1:
        return _train_together(Team(), device, *arguments)
    if config.batch % (devices * config.accumulate):
        raise InputError(
            f"batch = {config.batch} cannot be shared by {devices} devices with accumulate = {config.accumulate}; "
            "give a multiple of both"
        )
    result: TrainResult = launch(_train_together, devices, device, *arguments)
    return result


def _train_together(
    team: Team,
    device: str,
    store: str | Path,
    sample: str | Path,
    config: TrainConfig,
    out: Path,
    restart: bool,
    description: str,
) -> TrainResult:
    """Train in one of the processes of a team; the first one writes the files."""
    execution = Execution.choose(config.network, device=device, precision=config.precision)
    data = open_training_data(store, sample, config)
    identity = run_identity(config, data.sample_hash)
    with contextlib.ExitStack() as stack:
        if team.rank == 0:
            out.mkdir(parents=True, exist_ok=True)
            refusal = ProcessError(
                f"{out}: another process is training here. Wait for it, end it, or give another folder."
            )
            stack.enter_context(held(out, refusal))
            remove_leftovers(out)
            if restart:
                for name in (BEST_NAME, LAST_NAME, LOG_NAME, TABLE_NAME):
                    (out / name).unlink(missing_ok=True)
        team.wait()
        stack.enter_context(
            torch.random.fork_rng(devices=[execution.device] if execution.device.type == "cuda" else [])
        )
        run = _Run(
            config=config,
            data=data,
            out=out,
            execution=execution,
            identity=identity,
            description=description,
            team=team,
        )
        trained = run.go()
        team.wait()
        result = run.result()
        if team.rank == 0 and (trained or not (out / RECORD_NAME).exists()):
            write_provenance(
                out,
                step="train",
                configuration=config.model_dump(mode="json"),
                inputs={"store": store, "sample": sample, **files_of(config)},
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
        team: Team,
    ) -> None:
        self.config, self.data, self.out, self.team = config, data, out, team
        self.identity, self.description = identity, description
        self.execution = execution
        # A GPU is so fast that it would wait for its batches to be augmented.
        self.lookahead = LOOKAHEAD if execution.device.type == "cuda" else 0
        network = build_network(config.network, bands=len(config.preprocessing.bands), seed=config.seed)
        self.pretrained = ""
        if config.pretrained is not None:
            report = load_pretrained(network, config.pretrained, preprocessing=config.preprocessing)
            self.pretrained = report.sentence()
        network = execution.place(network)
        aligner = make_aligner(config.alignment, _features_of(network), config.seed)
        if aligner is not None:
            aligner = aligner.to(execution.device)
        self.state = RunState(
            network=network,
            aligner=aligner,
            optimizer=make_optimizer(
                [network, *([] if aligner is None else [aligner])],
                learning_rate=config.learning_rate,
                weight_decay=config.weight_decay,
            ),
            mean=RunningMean(network, config.average),
        )
        self.validation_lenses = int((data.validation.labels == 1).sum())
        self.steps_per_epoch = steps_per_epoch(data.train.labels, config)
        self.total_steps = config.steps or self.steps_per_epoch * config.epochs
        last_start = (self.total_steps - 1) // self.steps_per_epoch * self.steps_per_epoch
        if config.mining.share and last_start < config.mining.start * self.total_steps:
            raise InputError(
                f"mining.start = {config.mining.start:g} is never reached: non-lenses are scored between epochs, and "
                f"{config.epochs} of them are too few. Give more epochs, or a budget in steps"
            )

    def go(self) -> bool:
        """Train until the end, from wherever ``last.pt`` says; return whether there was anything left to do."""
        state = self.state
        self._resume()
        if state.stopped:
            return False
        if self.team.rank:
            while not state.stopped:
                self._epoch(None)
            return True
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
                f"{self.out} holds a run of another configuration ({differences(record['identity'], self.identity)}); "
                "give another folder, or start over with --restart"
            )
        self.state.restore(record, dict(checkpoint.state))
        if self.team.rank == 0:
            self._write_derived(checkpoint)  # in case the run was killed between two files

    def _progress(self, seconds: float) -> float:
        by_steps = self.state.step / self.total_steps
        budget = self.config.max_minutes
        return by_steps if budget is None else max(by_steps, seconds / (60.0 * budget))

    def _order(self) -> list[NDArray[np.int64]]:
        """Return the training rows of every batch of the next epoch."""
        config, state, train = self.config, self.state, self.data.train
        rng = np.random.default_rng(stream_seed(config.seed, state.epoch, _ORDER))
        natural = config.sampling == "natural"
        share = float((train.labels == 0).mean()) if natural else 1.0 - config.lenses_per_batch / config.batch
        n_hard = round(config.mining.share * share * config.batch) if state.hard else 0
        if natural:
            return natural_batches(
                train.labels,
                batch=config.batch,
                rng=rng,
                steps=self.steps_per_epoch,
                hard=state.hard,
                hard_per_batch=n_hard,
            )
        simulated = self.data.simulated
        return epoch_batches(
            train.labels,
            batch=config.batch,
            lenses_per_batch=config.lenses_per_batch,
            rng=rng,
            steps=self.steps_per_epoch,
            simulated=() if simulated is None else len(train) + np.arange(len(simulated)),
            simulated_per_batch=config.simulated_per_batch,
            twins_per_batch=min(config.twins_per_batch, config.batch - config.lenses_per_batch - n_hard),
            hard=state.hard,
            hard_per_batch=n_hard,
        )

    def _mine(self) -> None:
        """Find hard non-lenses, once, when the time has come."""
        config, state = self.config, self.state
        if not config.mining.share or state.hard or self._progress(state.seconds) < config.mining.start:
            return
        with torch.no_grad():
            scores = self._predict(self.data.train)
        found = mine(scores, self.data.train.labels, config.mining)
        state.hard = found.rows.tolist()
        if self.team.rank:
            return
        names = self.data.train.names(np.concatenate([found.suspicious, found.rows]))
        write_parquet(self.out / TABLE_NAME, as_table(found, names, scores))

    def _epoch(self, bar: ProgressBar | None) -> None:
        config, state = self.config, self.state
        start = time.perf_counter()
        before = state.seconds
        self._mine()
        order = [self.team.share(rows) for rows in self._order()]
        # Processes of a team change and inject their parts of a batch with streams of their own.
        other = (self.team.rank,) if self.team.rank else ()
        generator = torch.Generator().manual_seed(stream_seed(config.seed, state.epoch, _AUGMENT, *other))
        torch.manual_seed(stream_seed(config.seed, state.epoch, _NETWORK))  # for dropout
        state.network.train()
        losses, rate, out_of_time = [], 0.0, False
        pictures = self.data.batches(
            order, lambda group: np.random.default_rng(stream_seed(config.seed, state.epoch, _INJECT, group, *other))
        )
        made = prepared(order, pictures, self.data, config, generator)
        with contextlib.closing(ahead(made, self.lookahead)) as batches:
            for number, batch in enumerate(batches):
                rate = learning_rate_at(self._progress(state.seconds), config)
                for parameters in state.optimizer.param_groups:
                    parameters["lr"] = rate
                losses.append(self._step(batch, number))
                state.step += 1
                state.images += len(batch.rows) * self.team.size
                state.seconds = before + time.perf_counter() - start
                if config.max_minutes is not None:
                    state.seconds = self.team.most(state.seconds)  # all must stop at the same step
                if bar is not None:
                    bar.advance()
                if state.step >= self.total_steps:
                    break
                if config.max_minutes is not None and state.seconds >= 60.0 * config.max_minutes:
                    out_of_time = True
                    break
        self.team.average_buffers(state.network)
        self.team.average_buffers(state.mean.network)
        loss = self.team.mean(float(np.mean(losses)))
        merit = self._validate()
        state.epoch += 1
        state.seconds = self.team.most(before + time.perf_counter() - start)
        state.history.append(
            {
                "epoch": state.epoch,
                "step": state.step,
                "learning_rate": rate,
                "loss": loss,
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
        if self.team.rank == 0:
            self._save()
        if bar is not None:
            bar.note(
                f"epoch {state.epoch}{'' if config.steps else f'/{config.epochs}'} loss {loss:.3f} "
                f"recall {merit.recall:.2f} at FPR {config.selection_fpr:g}"
            )

    def _step(self, batch: Batch, number: int) -> float:
        config, state = self.config, self.state
        targets = batch.targets.to(self.execution.device)
        state.optimizer.zero_grad(set_to_none=True)
        value = 0.0
        parts = zip(*(tensor.chunk(config.accumulate) for tensor in (batch.images, targets, batch.kind)), strict=True)
        for part_images, part_targets, part_kind in parts:
            features, logits = self.execution.forward(state.network, part_images, config.preprocessing)
            loss = binary_cross_entropy_with_logits(logits, part_targets)
            if state.aligner is not None:
                progress = self._progress(state.seconds)
                loss = loss + state.aligner(features[part_kind == 1], features[part_kind == 2], progress)
            value += float(loss.detach()) / config.accumulate
            if not np.isfinite(value):
                self._report_bad_batch(batch, number, value)
            (loss / config.accumulate).backward()  # type: ignore[no-untyped-call]
        self.team.average_gradients([state.network, *([] if state.aligner is None else [state.aligner])])
        state.optimizer.step()
        state.mean.update(state.network)
        return value

    def _report_bad_batch(self, batch: Batch, number: int, value: float) -> None:
        names = self.data.names(batch.rows)
        holes = [name for name, image in zip(names, batch.pixels, strict=True) if not np.isfinite(image).all()]
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
        scores = np.zeros(len(part))
        for number, start in enumerate(range(0, len(part), EVALUATION_BATCH)):
            if number % self.team.size != self.team.rank:
                continue
            rows = np.arange(start, min(start + EVALUATION_BATCH, len(part)))
            images = torch.from_numpy(part.images(rows))
            scores[rows] = self.execution.logits(network, images, preprocessing).cpu().numpy()
        return self.team.total(scores)

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
                "simulations": "" if self.data.simulated is None else require_realistic(self.config.simulations),
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
            if self.config.tensorboard:
                write_events(self.out / FOLDER_NAME, list(self.state.history))

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
            recipe=self.config.recipe,
        )


def _features_of(network: Network) -> int:
    """Return the number of features that a network's last layer, or the first of its last layers, takes."""
    first = next(part for part in network.head.modules() if isinstance(part, torch.nn.Linear))
    return first.in_features


def _holds_epoch(path: Path, epoch: int) -> bool:
    return path.exists() and load_checkpoint(path).metrics.get("epoch") == epoch
