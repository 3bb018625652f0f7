"""What networks have learned: arcs, or which galaxies host them. And is the injected population the listed one?

    python benchmarks/arcs_or_hosts.py SAMPLE STORE INJECTED NAME=CHECKPOINT ... [--lenses LENSES.parquet] [--n 500]
        [--out FILE.json]

For every network: how often an injected lens scores higher than its own host without the arc (0.5: it does not see
arcs), and the AUC of injected lenses, and of the listed ones of the validation split, against the non-lenses there (an
AUC far above 0.5 beside a share of 0.5 is knowledge of hosts).
LENSES is the truth of a mock release: quantiles of what its
training lenses and the injected ones are like.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from publish import publish
from sklearn.metrics import roc_auc_score

from legacylens.cutouts.store import CutoutStore
from legacylens.mocks.injection_truth import read_truth
from legacylens.samples.build import read_sample
from legacylens.scan.config import ScanConfig
from legacylens.scan.scorer import Scorer

QUANTITIES = ("theta_E", "magnification", "arc_mag_g", "snr_g", "snr_r", "host_mag_r", "host_radius")


def auc(lenses: np.ndarray, others: np.ndarray) -> float:
    labels = np.r_[np.ones(len(lenses)), np.zeros(len(others))]
    return round(float(roc_auc_score(labels, np.r_[lenses, others])), 3)


def quantiles(table: pd.DataFrame) -> dict[str, list[float]]:
    return {name: table[name].quantile([0.16, 0.5, 0.84]).round(2).tolist() for name in QUANTITIES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sample", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("injected", type=Path)
    parser.add_argument("checkpoints", nargs="+")
    parser.add_argument("--lenses", type=Path)
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    store, injected = CutoutStore.open(arguments.store), CutoutStore.open(arguments.injected)
    truth = read_truth(arguments.injected)
    frame = read_sample(arguments.sample).frame
    inside = frame[frame["split"] == "validation"]
    chosen = truth.iloc[: arguments.n]
    groups = {
        "injected": (injected, chosen["source_id"]),
        "hosts": (store, chosen["host_source_id"].astype(str)),
        "listed": (store, inside.loc[inside["label"] == 1, "source_id"]),
        "others": (store, inside.loc[inside["label"] == 0, "source_id"]),
    }
    rows: list[dict[str, Any]] = []
    for pair in arguments.checkpoints:
        name, _, path = pair.partition("=")
        scorer = Scorer(path, ScanConfig(), device="cpu")
        scores = {
            group: np.concatenate([scorer.logits(x) for _, x in s.batches(128, indices=s.index_of(ids))])
            for group, (s, ids) in groups.items()
        }
        rows.append(
            {
                "network": name,
                "arc_above_own_host": round(float((scores["injected"] > scores["hosts"]).mean()), 3),
                "auc_injected": auc(scores["injected"], scores["others"]),
                "auc_listed": auc(scores["listed"], scores["others"]),
            }
        )
    result: dict[str, Any] = {
        "command": f"python benchmarks/arcs_or_hosts.py {' '.join(sys.argv[1:])}",
        "injected": len(chosen),
        "networks": rows,
    }
    if arguments.lenses is not None:
        lenses = pd.read_parquet(arguments.lenses)
        used = frame.loc[(frame["split"] == "train") & (frame["label"] == 1), "source_id"]
        listed = lenses[lenses["source_id"].astype(str).isin(set(used))]
        result["quantiles"] = {"of": [0.16, 0.5, 0.84], "listed": quantiles(listed), "injected": quantiles(truth)}
    publish(result, arguments.out)


if __name__ == "__main__":
    main()
