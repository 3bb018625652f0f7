"""The recipes by name: values for a `TrainConfig`, over which a user's own values go.

All but ``real`` and ``paper-iv`` see their cutouts through the same augmentation, so that what differs between them is
where their lenses are from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from legacylens.errors import InputError

_AS_THEY_ARE = {"symmetries": False, "shift": 0, "subpixel": 0.0, "brightness": 0.0, "color": 0.0, "noise": 0.0}
_AUGMENTED = {
    "symmetries": True,
    "shift": 3,
    "subpixel": 0.5,
    "rotate": 0.5,
    "zoom": 0.1,
    "brightness": 0.1,
    "color": 0.02,
    "extinction": 0.02,
    "blur": 0.5,
    "noise": 0.5,
    "noise_correlation": "survey",
}

RECIPES: dict[str, dict[str, Any]] = {
    "real": {"augmentation": _AS_THEY_ARE},
    "augmented": {"augmentation": _AUGMENTED},
    "simulated": {"augmentation": _AUGMENTED, "simulations": {"share": 1.0, "twins": 1.0}},
    "pretrain-finetune": {"augmentation": _AUGMENTED, "pretraining": 0.5, "simulations": {"twins": 1.0}},
    "adversarial": {
        "augmentation": _AUGMENTED,
        "simulations": {"share": 0.5, "twins": 1.0},
        "alignment": {"kind": "adversarial", "weight": 0.3},
    },
    "mmd": {
        "augmentation": _AUGMENTED,
        "simulations": {"share": 0.5, "twins": 1.0},
        "alignment": {"kind": "mmd", "weight": 0.3},
    },
    "self-training": {"augmentation": _AUGMENTED, "self_training": {"rounds": 2}},
    "hybrid": {"augmentation": _AUGMENTED, "simulations": {"share": 0.5, "twins": 1.0, "fresh_hosts": True}},
    "paper-iv": {
        "network": "shielded",
        "augmentation": _AS_THEY_ARE,
        "sampling": "natural",
        "batch": 2048,
        "accumulate": 4,  # 512 at a time, as on each of the four GPUs of the paper
        "learning_rate": 5e-4,
        "schedule": "halving",
        "halve_after": 0.5,
        "warmup": 0.0,
        "weight_decay": 0.0,
        "average": 0.0,
        "epochs": 160,
        "resplit": 0.7,
    },
}
"""Name -> values that differ from the defaults of `TrainConfig`."""

WORDS = {
    "real": "the lenses of the sample as they are",
    "augmented": "the same, turned, shifted, blurred, dimmed and with more noise",
    "simulated": "injected lenses only; real ones choose the epoch",
    "pretrain-finetune": "injected lenses first, then real ones at a lower learning rate",
    "adversarial": "both, and a classifier that must not tell them apart (DANN)",
    "mmd": "both, and a penalty on the distance between their features",
    "self-training": "real ones, then also those that the network finds among objects without a label",
    "hybrid": "both, the arcs injected anew into other hosts each time",
    "paper-iv": "batch, learning rate, halving, epochs and 70/30 as Inchausti et al. (2025) publish them",
}
"""Name -> what it does."""

NEEDS_SIMULATIONS = ("simulated", "pretrain-finetune", "adversarial", "mmd", "hybrid")
"""Recipes that need a store of injected lenses."""


_PAPER_IV_EFFICIENTNET = {"batch": 512, "accumulate": 1, "learning_rate": 3.88e-4, "halve_after": 130 / 160}
"""What the paper does otherwise for its EfficientNet."""


def recipe_values(name: str, network: str | None = None) -> dict[str, Any]:
    """Return the values of a recipe, its name included.

    Parameters
    ----------
    name
        One of `RECIPES`.
    network
        Network that was asked for by name, if any: ``paper-iv`` has numbers of its own for each of its two.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if name not in RECIPES:
        raise InputError(f"no recipe is called {name!r}; choose one of {', '.join(RECIPES)}")
    values = {"recipe": name, **RECIPES[name]}
    if name == "paper-iv" and network in ("efficientnet", "efficientnet-published"):
        values |= _PAPER_IV_EFFICIENTNET
    return values


def merged(values: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values, those of ``over`` in place of those of ``values``."""
    result = dict(values)
    for name, value in over.items():
        below = result.get(name)
        result[name] = merged(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return result
