"""Start from weights that were trained elsewhere, and know how much of them was used."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from legacylens.errors import FileProblem
from legacylens.models.checkpoint import MARK
from legacylens.models.preprocessing import Preprocessing

_PREFIXES = ("module.", "model.", "encoder.", "backbone.", "network.")
_CONTAINERS = ("state_dict", "model", "state", "model_state_dict")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """What of a file of weights went into a network."""

    matched: tuple[str, ...]
    """Tensors that were taken over."""
    missing: tuple[str, ...]
    """Tensors of the network that the file does not have; they keep their fresh values."""
    reshaped: tuple[str, ...]
    """Tensors of the same name but another shape; not taken over."""
    unused: tuple[str, ...]
    """Tensors of the file that the network does not have."""
    share: float
    """Share of the network's parameters that were taken over."""

    def sentence(self) -> str:
        """Return the report in one sentence."""
        return (
            f"{len(self.matched)} tensors ({100 * self.share:.1f} % of the parameters) taken over, "
            f"{len(self.missing)} missing, {len(self.reshaped)} of another shape, {len(self.unused)} unused"
        )


def _document(path: Path) -> Any:
    if not path.exists():
        raise FileProblem(path, "no such file of weights", "Check the path.", reason="missing")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError) as error:
        first_line = str(error).strip().split("\n")[0]
        raise FileProblem(
            path,
            f"not a readable file of weights ({first_line})",
            "Save the state dict alone, with torch.save(network.state_dict(), path).",
            reason="unreadable",
        ) from error


def _tensors(path: Path, document: Any) -> dict[str, Tensor]:
    for name in _CONTAINERS:
        if isinstance(document, dict) and isinstance(document.get(name), dict):
            document = document[name]
            break
    tensors = {str(k): v for k, v in document.items() if isinstance(v, Tensor)} if isinstance(document, dict) else {}
    if not tensors:
        raise FileProblem(
            path,
            "holds no state dict",
            "Save the state dict alone, with torch.save(network.state_dict(), path).",
            reason="unreadable",
        )
    return tensors


def _bare(name: str) -> str:
    while any(name.startswith(prefix) for prefix in _PREFIXES):
        name = name.split(".", 1)[1]
    return name


def _require_same_pixels(path: Path, document: Any, preprocessing: Preprocessing) -> None:
    """Refuse a checkpoint of ours whose network saw pixels that were prepared in another way."""
    if not isinstance(document, dict) or document.get("mark") != MARK:
        return
    before = Preprocessing.model_validate(json.loads(document["record"])["preprocessing"])
    old, new = before.model_dump(mode="json"), preprocessing.model_dump(mode="json")
    differing = [f"{name} {old[name]} instead of {new[name]}" for name in new if old[name] != new[name]]
    if differing:
        raise FileProblem(
            path,
            "its network was trained on other pixels: " + "; ".join(differing),
            "Train with the same preprocessing, or save its weights alone if you mean to change it.",
            reason="preprocessing-mismatch",
        )


def load_pretrained(
    network: nn.Module, path: str | Path, *, preprocessing: Preprocessing | None = None, least: float = 0.5
) -> LoadReport:
    """Take over weights by name; wrappers' prefixes such as ``module.`` and ``encoder.`` are ignored.

    Parameters
    ----------
    network
        Changed in place.
    path
        File of a state dict, or of a training that holds one.
    preprocessing
        How pixels will be prepared; a checkpoint of ours that was trained with other bands, stamps or stretch is
        refused. None: not looked at.
    least
        Smallest share of the network's parameters that must match.

    Raises
    ------
    FileProblem
        If the file cannot be read, too little of it matches, or its pixels were prepared in another way; the network
        is then unchanged.
    """
    path = Path(path)
    document = _document(path)
    if preprocessing is not None:
        _require_same_pixels(path, document, preprocessing)
    own = network.state_dict()
    offered = {_bare(name): tensor for name, tensor in _tensors(path, document).items()}
    matched = [name for name in own if name in offered and offered[name].shape == own[name].shape]
    parameters = {name: parameter.numel() for name, parameter in network.named_parameters()}
    taken = sum(parameters.get(name, 0) for name in matched)
    report = LoadReport(
        matched=tuple(matched),
        missing=tuple(name for name in own if name not in offered),
        reshaped=tuple(name for name in own if name in offered and offered[name].shape != own[name].shape),
        unused=tuple(name for name in offered if name not in own),
        share=taken / sum(parameters.values()),
    )
    if report.share < least:
        raise FileProblem(
            path,
            f"weights of another network: {report.sentence()}; the file has {', '.join(list(offered)[:3])}, ..., "
            f"the network {', '.join(list(own)[:3])}, ...",
            "Give weights with the names of timm's tf_efficientnetv2_s for the EfficientNet, or of the same network.",
            reason="other-network",
        )
    network.load_state_dict({**own, **{name: offered[name] for name in matched}})
    return report
