"""The file that carries a trained network with everything needed to use it, and to know where it came from."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from legacylens.errors import FileProblem
from legacylens.files import atomic_path
from legacylens.models.network import Network
from legacylens.models.preprocessing import Preprocessing
from legacylens.models.registry import NETWORKS, build_network, network_spec

FORMAT = 1
MARK = "legacylens-checkpoint"
"""What a file of ours says of itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A trained network."""

    network: str
    """Name in `legacylens.models.registry.NETWORKS`."""

    state: Mapping[str, Tensor]
    """Weights and buffers, as ``nn.Module.state_dict`` gives them."""

    preprocessing: Preprocessing
    """How pixels are prepared for it."""

    sample_hash: str
    """Identity of the labels and the split that it was trained on."""

    configuration: Mapping[str, Any] = field(default_factory=dict)
    """The resolved training configuration, JSON-compatible."""

    metrics: Mapping[str, Any] = field(default_factory=dict)
    """What was measured on the validation split, JSON-compatible."""

    seed: int = 0
    """Seed of the training."""

    code_hash: str = ""
    """`legacylens.provenance.code_hash` of the code that trained it."""

    git_commit: str | None = None
    """Its commit, where there was one."""

    version: str = ""
    """Version of legacylens that trained it."""

    description: str = ""
    """What a user should know of it: on what sky it was trained."""

    def fingerprint(self) -> str:
        """Return a SHA-256 of what decides a score: the network's name, the preprocessing and the weights."""
        digest = hashlib.sha256(f"{self.network} {self.preprocessing.to_json()}".encode())
        for name in sorted(self.state):
            digest.update(name.encode())
            digest.update(self.state[name].detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def build(self) -> Network:
        """Return the network with its weights, ready to score."""
        network = build_network(self.network, bands=len(self.preprocessing.bands))
        network.load_state_dict(dict(self.state))
        return network.eval()


_TEXT_FIELDS = ("sample_hash", "code_hash", "git_commit", "version", "description")


def save_checkpoint(path: str | Path, checkpoint: Checkpoint, *, training: Mapping[str, Any] | None = None) -> None:
    """Write a checkpoint; the file is whole or not there.

    Parameters
    ----------
    path
        Where to.
    checkpoint
        The network and its record.
    training
        What is needed to continue the training exactly: tensors, numbers, texts and containers of these.

    Raises
    ------
    OSError
        If the disk is full; what was at ``path`` is still there.
    """
    record = {
        "network": checkpoint.network,
        "preprocessing": checkpoint.preprocessing.model_dump(mode="json"),
        "configuration": dict(checkpoint.configuration),
        "metrics": dict(checkpoint.metrics),
        "seed": checkpoint.seed,
        **{name: getattr(checkpoint, name) for name in _TEXT_FIELDS},
    }
    document = {
        "mark": MARK,
        "format": FORMAT,
        "record": json.dumps(record, allow_nan=False),
        "state": {name: tensor.detach().cpu().clone() for name, tensor in checkpoint.state.items()},
    }
    if training is not None:
        document["training"] = dict(training)
    # In memory first: on a full disk torch's own writer fails with an internal error that nobody can act on.
    content = io.BytesIO()
    torch.save(document, content)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise FileProblem(
            path, "no such checkpoint", "Give the best.pt or last.pt of a `legacylens train` run.", reason="missing"
        )
    try:
        # weights_only: a checkpoint from a stranger is data and never runs code.
        document = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError, OSError) as error:
        first_line = str(error).strip().split("\n")[0]
        raise FileProblem(
            path,
            f"not a readable checkpoint ({type(error).__name__}: {first_line})",
            "Give the best.pt or last.pt of a `legacylens train` run; a truncated file has to be copied again.",
            reason="truncated",
        ) from error
    if not isinstance(document, dict) or document.get("mark") != MARK:
        raise FileProblem(
            path,
            "a PyTorch file, but not one of legacylens: it has no record of network and preprocessing",
            "Give the best.pt or last.pt of a `legacylens train` run.",
            reason="not-a-checkpoint",
        )
    if document["format"] != FORMAT:
        raise FileProblem(
            path,
            f"checkpoint format {document['format']}, this version reads {FORMAT}",
            "Use the version of legacylens that wrote it, or train again.",
            reason="format",
        )
    return document


def _checkpoint(path: Path, document: Mapping[str, Any]) -> Checkpoint:
    try:
        record = json.loads(document["record"])
        preprocessing = Preprocessing.model_validate(record["preprocessing"])
        name = str(record["network"])
    except (KeyError, ValueError, ValidationError) as error:
        raise FileProblem(
            path,
            f"its record cannot be understood ({error})",
            "Use the version of legacylens that wrote it, or train again.",
            reason="format",
        ) from error
    if name not in NETWORKS:
        raise FileProblem(
            path,
            f"holds the network {name!r}, which this version does not have (it has {', '.join(NETWORKS)})",
            "Use the version of legacylens that wrote it, or train again.",
            reason="unknown-network",
        )
    expected = network_spec(name).build(len(preprocessing.bands)).state_dict()
    state = document["state"]
    wrong = sorted(
        key
        for key in expected.keys() | state.keys()
        if key not in expected or key not in state or expected[key].shape != state[key].shape
    )
    if wrong:
        raise FileProblem(
            path,
            f"its weights do not fit the network {name!r}: {len(wrong)} differ, the first is {wrong[0]}",
            "Use the version of legacylens that wrote it, or train again.",
            reason="weights",
        )
    return Checkpoint(
        network=name,
        state=state,
        preprocessing=preprocessing,
        configuration=record["configuration"],
        metrics=record["metrics"],
        seed=int(record["seed"]),
        **{field_name: record[field_name] for field_name in _TEXT_FIELDS},
    )


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    FileProblem
        If there is none, or it is not a whole checkpoint of a network that this version has.
    """
    path = Path(path)
    return _checkpoint(path, _read(path))


def load_training_state(path: str | Path) -> tuple[Checkpoint, dict[str, Any]]:
    """Read a checkpoint together with what continues its training.

    Raises
    ------
    FileProblem
        As `load_checkpoint`, and if the file holds no training state.
    """
    path = Path(path)
    document = _read(path)
    if "training" not in document:
        raise FileProblem(
            path,
            "holds a network, but nothing to continue its training from",
            "Continue from last.pt, not from best.pt.",
            reason="no-training-state",
        )
    return _checkpoint(path, document), document["training"]
