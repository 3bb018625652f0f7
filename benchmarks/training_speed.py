"""The training loop beside a plain PyTorch loop over the same network and data, in one run, and the parts of a step.

    python benchmarks/training_speed.py [--network shielded] [--steps 6] [--rounds 3] [--out FILE.json]

Cutouts are noise: speed does not depend on what they show. Loops have one thread and are measured in processor seconds,
take turns, and the best round of each counts, because whatever else the machine does can only slow them down.

plain       forward, backward, AdamW on batches from memory; bfloat16 where the loop uses it; no augmentation;
ours        `legacylens.training.loop` with the recipe ``real``, running mean of the weights included;
augmented   the same with every operation of the recipe ``augmented``;
loading     share of a step of ours that passes before the images of a batch are there.

With ``--injections STORE --cutouts STORE --sample DIR --parent FILE`` also the share of a step of the recipe ``hybrid``
that goes into simulated lenses.
"""

import argparse
import datetime
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from publish import publish
from torch.nn.functional import binary_cross_entropy_with_logits

from legacylens.cutouts.writer import write_store
from legacylens.models.execute import Execution
from legacylens.models.registry import build_network
from legacylens.models.standardize import standardize
from legacylens.samples.build import COLUMNS, Sample, sample_hash, write_sample
from legacylens.training import loop
from legacylens.training.batches import prepared
from legacylens.training.config import TrainConfig
from legacylens.training.data import TrainingData, open_training_data
from legacylens.training.recipe import merged, recipe_values
from legacylens.training.team import Team

N = 1024


def noise_sky(folder: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: [""] * N for name in COLUMNS})
    frame["source_id"] = [f"10_1_{row}" for row in range(N)]
    frame["ra"], frame["dec"] = 10.0, 0.0
    frame["label"] = (np.arange(N) % 16 == 0).astype(int)
    frame["split"] = np.where(np.arange(N) % 20 == 19, "validation", "train")
    frame.loc[[16 * 4 + 15, 0], "split"] = ["validation", "validation"]
    images = (rng.normal(size=(N, 3, 101, 101)) * 0.005).astype(np.float32)
    write_store(folder / "store", frame[["source_id", "ra", "dec"]], images)
    return folder / "store", write_sample(Sample(frame=frame, summary={"hash": sample_hash(frame)}), folder / "sample")


def a_run(data: TrainingData, config: TrainConfig, execution: Execution, folder: str) -> loop._Run:
    return loop._Run(
        config=config, data=data, out=Path(folder), execution=execution, identity="", description="", team=Team()
    )


def ours(data: TrainingData, config: TrainConfig, execution: Execution, steps: int) -> float:
    """Return seconds of a step, validation and files left out."""
    with tempfile.TemporaryDirectory() as folder:
        run = a_run(data, config, execution, folder)
        order = run._order()[:steps]
        generator = torch.Generator().manual_seed(0)
        run.state.network.train()
        start = time.process_time()
        pictures = data.batches(order, lambda group: np.random.default_rng(group))
        for number, batch in enumerate(prepared(order, pictures, data, config, generator)):
            run._step(batch, number)
        return (time.process_time() - start) / len(order)


def loading(data: TrainingData, config: TrainConfig, execution: Execution, steps: int) -> float:
    """Return seconds before the images of a batch are there."""
    with tempfile.TemporaryDirectory() as folder:
        order = a_run(data, config, execution, folder)._order()[:steps]
    start = time.process_time()
    for _ in data.batches(order, lambda group: np.random.default_rng(group)):
        pass
    return (time.process_time() - start) / len(order)


def plain(data: TrainingData, config: TrainConfig, execution: Execution, steps: int) -> float:
    """Return seconds of a step."""
    network = execution.place(build_network(config.network))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    network.train()
    rng = np.random.default_rng(0)
    start = time.process_time()
    for _ in range(steps):
        rows = rng.integers(len(data.train), size=config.batch)
        images = standardize(torch.from_numpy(data.train.images(rows)), config.preprocessing)
        images = images.contiguous(memory_format=execution.memory_format)
        targets = torch.from_numpy(data.train.labels[rows]).float()
        with torch.autocast("cpu", torch.bfloat16, enabled=execution.bf16):
            logits = network(images)
        loss = binary_cross_entropy_with_logits(logits.float(), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (time.process_time() - start) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="shielded")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--injections")
    parser.add_argument("--cutouts")
    parser.add_argument("--sample")
    parser.add_argument("--parent")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    execution = Execution.choose(arguments.network, device="cpu")

    def config(recipe: str, **values: object) -> TrainConfig:
        shared = {"network": arguments.network, "min_positives": 5}
        return TrainConfig.model_validate(merged(merged(recipe_values(recipe), shared), values))

    steps = arguments.steps
    best: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        store, sample = noise_sky(Path(folder))
        data = open_training_data(store, sample, config("real"))
        tasks = {
            "plain": lambda: plain(data, config("real"), execution, steps),
            "ours": lambda: ours(data, config("real"), execution, steps),
            "augmented": lambda: ours(data, config("augmented"), execution, steps),
            "loading": lambda: loading(data, config("real"), execution, steps),
        }
        if arguments.injections:
            simulations = {"store": arguments.injections, "parent": arguments.parent, "unchecked": True}
            hybrid = config("hybrid", simulations=simulations)
            mixed = open_training_data(arguments.cutouts, arguments.sample, hybrid)
            tasks["hybrid"] = lambda: ours(mixed, hybrid, execution, steps)
            tasks["injection"] = lambda: loading(mixed, hybrid, execution, steps)
        for _ in range(arguments.rounds):
            for name, task in tasks.items():
                best[name] = min(best.get(name, np.inf), task())
    batch = config("real").batch
    result = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "command": f"python benchmarks/training_speed.py {' '.join(sys.argv[1:])}".strip(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "network": arguments.network,
        "bf16": execution.bf16,
        "batch": batch,
        "cutouts_per_second": {name: round(batch / best[name], 1) for name in ("plain", "ours", "augmented")},
        "ours_over_plain": round(best["plain"] / best["ours"], 3),
        "loading_share": round(best["loading"] / best["ours"], 4),
        **({"injection_share": round(best["injection"] / best["hybrid"], 3)} if "hybrid" in best else {}),
    }
    publish(result, arguments.out)


if __name__ == "__main__":
    main()
