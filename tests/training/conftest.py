"""A sky of blobs with and without a ring, small enough to train on in a second."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from legacylens.cutouts.writer import write_store
from legacylens.mocks.injection_truth import TRUTH_UNITS, write_truth
from legacylens.models.preprocessing import Preprocessing
from legacylens.samples.build import COLUMNS, Sample, read_sample, sample_hash, write_sample
from legacylens.training.config import TrainConfig

STAMP = 33
SMALL = Preprocessing(stamp=STAMP)


def blob_images(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return (n, 3, 33, 33) nanomaggies: a red blob, and a blue ring around it where the label is 1."""
    offset = np.arange(STAMP) - STAMP // 2
    radius = np.hypot(offset[:, None], offset[None, :])
    blob = np.exp(-radius / 3.0) * np.array([0.1, 0.3, 0.5])[:, None, None]
    ring = np.exp(-0.5 * ((radius - 7.0) / 1.5) ** 2) * np.array([0.02, 0.015, 0.01])[:, None, None]
    noise = rng.normal(size=(len(labels), 3, STAMP, STAMP)) * np.array([0.002, 0.003, 0.008])[:, None, None]
    return (blob + labels[:, None, None, None] * ring + noise).astype(np.float32)


def blob_sample(labels: np.ndarray, splits: np.ndarray) -> Sample:
    n = len(labels)
    frame = pd.DataFrame(
        {
            "source_id": [f"10_1_{row}" for row in range(n)],
            "ra": np.linspace(10.0, 20.0, n),
            "dec": np.zeros(n),
            "label": labels,
            "split": splits,
        }
    )
    for name in COLUMNS:
        if name not in frame.columns:
            frame[name] = ""
    frame = frame[list(COLUMNS)]
    return Sample(frame=frame, summary={"hash": sample_hash(frame)})


def make_blobs(folder: Path, *, lenses: int = 24, others: int = 120, seed: int = 0) -> tuple[Path, Path]:
    """Write a store and a sample; every third object is for validation, every sixth sealed."""
    labels = np.array([1] * lenses + [0] * others)
    splits = np.array(
        [("train", "train", "validation", "train", "train", "sealed")[row % 6] for row in range(len(labels))]
    )
    sample = blob_sample(labels, splits)
    images = blob_images(labels, np.random.default_rng(seed))
    write_store(folder / "store", sample.frame[["source_id", "ra", "dec"]], images)
    return folder / "store", write_sample(sample, folder / "sample")


@pytest.fixture(scope="session")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_blobs(tmp_path_factory.mktemp("blobs"))


@pytest.fixture
def blob_config() -> Callable[..., TrainConfig]:
    def make(**changes: object) -> TrainConfig:
        values = {"preprocessing": SMALL, "epochs": 3, "batch": 16, "min_positives": 5, "precision": "fp32", **changes}
        return TrainConfig(**values)

    return make


@pytest.fixture(scope="session")
def simulations(tmp_path_factory: pytest.TempPathFactory, blobs: tuple[Path, Path]) -> Path:
    """Rings put into the non-lenses of all splits, as `legacylens mocks inject` would write them."""
    folder = tmp_path_factory.mktemp("simulations") / "rings"
    frame = read_sample(blobs[1]).frame
    hosts = frame[frame["label"] == 0]
    images = blob_images(np.ones(len(hosts), dtype=int), np.random.default_rng(5))
    names = [f"{host}_lens1" for host in hosts["source_id"]]
    write_store(folder, pd.DataFrame({"source_id": names, "ra": 1.0, "dec": 0.0}), images)
    truth = pd.DataFrame({"source_id": names, "host_source_id": hosts["source_id"].to_numpy(), "seed": 1})
    write_truth(folder, truth.reindex(columns=list(TRUTH_UNITS)))
    return folder
