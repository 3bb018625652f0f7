"""Several processes that train one network: are they one training, and what do their messages cost?

    python benchmarks/several_devices.py [--processes 1,2,5] [--out FILE.json]

The sky is one of blobs and rings. For each number of processes, each with its part of every batch: an uninterrupted
run; the same run killed in the middle of an epoch in every process and continued, whose weights must be identical; the
same run again, likewise; the share of a step that the message with the gradients takes; recall on the validation split.
"""

import argparse
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from publish import publish

from legacylens.cutouts.writer import write_store
from legacylens.errors import ProcessError
from legacylens.models.checkpoint import load_checkpoint, load_training_state
from legacylens.models.preprocessing import Preprocessing
from legacylens.samples.build import COLUMNS, Sample, sample_hash, write_sample
from legacylens.training import loop
from legacylens.training.config import TrainConfig
from legacylens.training.team import FabricTeam, Team, launch

STAMP, N, KILLED_AT = 33, 1200, 12


def sky(folder: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    labels = (np.arange(N) % 6 == 0).astype(int)
    frame = pd.DataFrame({name: [""] * N for name in COLUMNS})
    frame["source_id"] = [f"10_1_{row}" for row in range(N)]
    frame["ra"], frame["dec"], frame["label"] = np.linspace(10.0, 20.0, N), 0.0, labels
    frame["split"] = np.where(np.arange(N) % 5 == 4, "validation", "train")
    offset = np.arange(STAMP) - STAMP // 2
    radius = np.hypot(offset[:, None], offset[None, :])
    blob = np.exp(-radius / 3.0) * np.array([0.1, 0.3, 0.5])[:, None, None]
    ring = np.exp(-0.5 * ((radius - 7.0) / 1.5) ** 2) * np.array([0.004, 0.003, 0.002])[:, None, None]
    images = blob + labels[:, None, None, None] * ring + rng.normal(size=(N, 3, STAMP, STAMP)) * 0.004
    write_store(folder / "store", frame[["source_id", "ra", "dec"]], images.astype(np.float32))
    return folder / "store", write_sample(Sample(frame=frame, summary={"hash": sample_hash(frame)}), folder / "sample")


def killed(team: Team, device: str, *arguments: Any) -> None:
    """Train in one of the processes until a step in the middle of the second epoch."""
    step, calls = loop._Run._step, 0

    def counted(self: loop._Run, *rest: Any) -> float:
        nonlocal calls
        calls += 1
        if calls == KILLED_AT:
            raise ProcessError("killed")
        return step(self, *rest)

    loop._Run._step = counted  # type: ignore[method-assign]
    loop._train_together(team, device, *arguments)


def timed(team: Team, device: str, *arguments: Any) -> tuple[float, float]:
    """Train in one of the processes; return the seconds of its messages and of its steps."""
    spent = {"message": 0.0, "step": 0.0}
    average, step = FabricTeam.average_gradients, loop._Run._step

    def averaged(self: FabricTeam, modules: Any) -> None:
        start = time.perf_counter()
        average(self, modules)
        spent["message"] += time.perf_counter() - start

    def stepped(self: loop._Run, *rest: Any) -> float:
        start = time.perf_counter()
        value = step(self, *rest)
        spent["step"] += time.perf_counter() - start
        return value

    FabricTeam.average_gradients = averaged  # type: ignore[method-assign]
    loop._Run._step = stepped  # type: ignore[method-assign]
    loop._train_together(team, device, *arguments)
    return spent["message"], spent["step"]


def same(first: Path, second: Path) -> bool:
    a, b = load_checkpoint(first).state, load_checkpoint(second).state
    c, d = (load_training_state(path)[1]["weights"] for path in (first, second))
    return all(torch.equal(a[name], b[name]) and torch.equal(c[name], d[name]) for name in a)


def measure(processes: int, store: Path, sample: Path, folder: Path, config: TrainConfig) -> dict[str, Any]:
    def arguments(name: str) -> tuple[Any, ...]:
        return store, sample, config, folder / f"{processes}-{name}", False, ""

    whole = loop.train(store, sample, config, folder / f"{processes}-whole", device="cpu", devices=processes)
    again = loop.train(store, sample, config, folder / f"{processes}-again", device="cpu", devices=processes)
    row = {
        "processes": processes,
        "recall": whole.recall,
        "selection_fpr": config.selection_fpr,
        "same_weights_again": same(whole.last, again.last),
    }
    if processes == 1:
        return row
    try:
        launch(killed, processes, "cpu", *arguments("part"))
    except ProcessError:
        row["epochs_when_killed"] = load_training_state(folder / f"{processes}-part" / "last.pt")[1]["epoch"]
    part = loop.train(store, sample, config, folder / f"{processes}-part", device="cpu", devices=processes)
    message, step = launch(timed, processes, "cpu", *arguments("timed"))
    return row | {
        "same_weights_after_interruption": same(whole.last, part.last),
        "message_share_of_step": round(message / step, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", default="1,2,5")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = TrainConfig(preprocessing=Preprocessing(stamp=STAMP), batch=80, steps=100, precision="fp32")
    with tempfile.TemporaryDirectory() as name:
        store, sample = sky(Path(name))
        rows = [measure(int(n), store, sample, Path(name), config) for n in arguments.processes.split(",")]
    result = {
        "command": f"python benchmarks/several_devices.py {' '.join(sys.argv[1:])}".strip(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": "cpu",
        "network": config.network,
        "batch": config.batch,
        "steps": config.steps,
        "runs": rows,
    }
    publish(result, arguments.out)


if __name__ == "__main__":
    main()
