"""What makes two runs the same run: configuration, sample and the contents of the files that it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from legacylens.files import sha256_of_file
from legacylens.training.config import TrainConfig
from legacylens.training.simulated import simulations_hash


def files_of(config: TrainConfig) -> dict[str, str]:
    """Return the files that a configuration names, by what they are."""
    named = {
        "pretrained": config.pretrained,
        "extra_lenses": config.extra_lenses,
        "left_out": config.left_out,
        "simulations": config.simulations.store,
    }
    return {name: path for name, path in named.items() if path is not None}


def run_identity(config: TrainConfig, sample_hash: str) -> str:
    """Return what two runs have in common if one may go on with the other: configuration, sample, contents of files."""
    files = {
        name: simulations_hash(path) if name == "simulations" else sha256_of_file(path)
        for name, path in files_of(config).items()
        if Path(path).exists()
    }
    document = {"configuration": config.model_dump(mode="json"), "sample": sample_hash, "files": files}
    return json.dumps(document, sort_keys=True)


def _flatten(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {path: value}
    return {
        key: leaf
        for name, part in value.items()
        for key, leaf in _flatten(part, f"{path}.{name}" if path else str(name)).items()
    }


def differences(old: str, new: str) -> str:
    """Return in words what differs between two identities."""
    first, second = _flatten(json.loads(old)), _flatten(json.loads(new))
    names = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
    shown = [f"{name.removeprefix('configuration.')} {first.get(name)} -> {second.get(name)}" for name in names[:4]]
    return "; ".join(shown) + ("; ..." if len(names) > 4 else "")
