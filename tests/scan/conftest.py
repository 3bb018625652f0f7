"""A small store, and a network with random weights: a scan needs no good one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from legacylens.cutouts.writer import write_store
from legacylens.models.checkpoint import Checkpoint, save_checkpoint
from legacylens.models.preprocessing import Preprocessing
from legacylens.models.registry import build_network

STAMP = 33
N = 50


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    rng = np.random.default_rng(3)
    return (rng.normal(size=(N, 3, STAMP, STAMP)) * 0.01).astype(np.float32)


@pytest.fixture
def store(tmp_path: Path, images: np.ndarray) -> Path:
    frame = pd.DataFrame({"source_id": [f"10_1_{row}" for row in range(N)], "ra": 10.0, "dec": 0.0})
    write_store(tmp_path / "store", frame, images, shard_size=20)
    return tmp_path / "store"


@pytest.fixture(scope="session")
def checkpoint() -> Checkpoint:
    network = build_network("compact", seed=1)
    return Checkpoint(
        network="compact", state=network.state_dict(), preprocessing=Preprocessing(stamp=STAMP), sample_hash="x"
    )


@pytest.fixture
def checkpoint_path(tmp_path: Path, checkpoint: Checkpoint) -> Path:
    save_checkpoint(tmp_path / "best.pt", checkpoint)
    return tmp_path / "best.pt"


@pytest.fixture
def shielded_path(tmp_path: Path, checkpoint: Checkpoint) -> Path:
    network = build_network("shielded", seed=1)
    save_checkpoint(tmp_path / "shielded.pt", replace(checkpoint, network="shielded", state=network.state_dict()))
    return tmp_path / "shielded.pt"
