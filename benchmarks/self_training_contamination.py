"""Self-training on a mock sky, with non-lenses planted among the lenses that it takes in: does it end below its start?

    python benchmarks/self_training_contamination.py SAMPLE STORE [--positives 100] [--steps 1500] [--planted 0.05]
        [--out FILE.json]

A part of the listed lenses is used; the others, and most non-lenses, count as unlabeled. After every harvest the most
lens-like non-lenses that were not taken are added until at least the wanted share of the new lenses are none. Start
(round 0) and end are judged on the sealed cells, with a paired interval, and the limit on the contamination that each
round reports is put beside the contamination that it has.
"""

import argparse
import json
import math
import platform
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from publish import publish

from legacylens.comparison.judge import note_on, resample
from legacylens.comparison.runs import sealed_objects
from legacylens.cutouts.store import CutoutStore
from legacylens.samples.build import read_sample
from legacylens.scan.config import ScanConfig
from legacylens.scan.scorer import Scorer
from legacylens.training import self_training
from legacylens.training.config import TrainConfig
from legacylens.training.recipe import merged, recipe_values
from legacylens.training.recipes import train_recipe


def plant(labels: pd.Series, share: float) -> None:
    """Let every harvest take in non-lenses, too."""
    pools: list[list[str]] = []
    listed, chosen_by_score = self_training.unlabeled_objects, self_training.harvest

    def listing(*arguments: Any) -> list[str]:
        pools.append(listed(*arguments))
        return pools[-1]

    def contaminated(unlabeled: Any, planted: Any, settings: Any) -> Any:
        taken = chosen_by_score(unlabeled, planted, settings)
        is_none = labels.loc[pools[-1]].to_numpy() == 0
        n, false = int(taken.chosen.sum()), int((taken.chosen & is_none).sum())
        wanted = max(math.ceil((share * n - false) / (1.0 - share)), 0) if n else 0
        candidates = np.flatnonzero(is_none & ~taken.chosen)
        chosen = taken.chosen.copy()
        chosen[candidates[np.argsort(-unlabeled[candidates], kind="stable")][:wanted]] = True
        return replace(taken, chosen=chosen)

    self_training.unlabeled_objects, self_training.harvest = listing, contaminated


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sample", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--positives", type=int, default=100)
    parser.add_argument("--negative-ratio", type=float, default=10.0)
    parser.add_argument("--steps", type=int, default=1500, help="of all rounds together")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--planted", type=float, default=0.05)
    parser.add_argument("--folder", type=Path, help="keeps the runs; an interrupted benchmark goes on there")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    frame = read_sample(arguments.sample).frame
    labels = frame.set_index(frame["source_id"].astype(str))["label"]
    plant(labels, arguments.planted)
    config = TrainConfig.model_validate(
        merged(
            recipe_values("self-training"),
            {
                "steps": arguments.steps,
                "positives": arguments.positives,
                "negative_ratio": arguments.negative_ratio,
                "self_training": {"rounds": arguments.rounds},
            },
        )
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        result = train_recipe(arguments.store, arguments.sample, config, folder, device="cpu")
        document = json.loads((folder / "self-training.json").read_text())
        rounds = []
        for record in document["rounds"]:
            taken = folder / f"round-{record['round']}" / "new-lenses.parquet"
            new = pd.read_parquet(taken)["source_id"].astype(str) if taken.exists() else []
            rounds.append(record | ({"contamination": float((labels.loc[new] == 0).mean())} if len(new) else {}))
        store = CutoutStore.open(arguments.store)
        objects = sealed_objects(store, frame)
        logits = []
        for path in (folder / "round-0" / "best.pt", result.best):
            scorer = Scorer(path, ScanConfig(symmetries=False), device="cpu")
            positions = store.index_of(objects["source_id"])
            logits.append(np.concatenate([scorer.logits(x) for _, x in store.batches(128, indices=positions)]))
    lens = (objects["label"] == 1).to_numpy()
    rates = (1e-2, 1e-3)
    scores = np.array(logits, dtype=np.float64)[:, None]
    found = resample(scores, lens, objects["cell"], rates, replicas=1000, rng=np.random.default_rng(1))
    document = {
        "command": f"python benchmarks/self_training_contamination.py {' '.join(sys.argv[1:])}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lenses": arguments.positives,
        "sealed": {"lenses": int(lens.sum()), "non_lenses": int((~lens).sum())},
        "planted": arguments.planted,
        "rounds": rounds,
        "ended": document["ended"],
        "recall": [
            {
                "fpr": fpr,
                "start": found.interval(0, column, 0.95).as_dict(),
                "end": found.interval(1, column, 0.95).as_dict(),
                "difference": found.difference(1, 0, column, 0.95).as_dict(),
                "note": note_on(fpr, int((~lens).sum())),
            }
            for column, fpr in enumerate(rates)
        ],
    }
    publish(document, arguments.out)


if __name__ == "__main__":
    main()
