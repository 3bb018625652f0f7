"""Every network that can be trained, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from legacylens.errors import InputError
from legacylens.models.compact import CompactNet
from legacylens.models.deeplens import DeepLens
from legacylens.models.efficientnet import EfficientNetV2S, published
from legacylens.models.meta import MetaLearner
from legacylens.models.network import Network
from legacylens.models.shielded import ShieldedResNet


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """One network."""

    name: str
    """Name in configurations and checkpoints."""

    build: Callable[[int], Network]
    """Makes it for a number of bands, with weights drawn from torch's global generator."""

    parameters: int
    """Number of trainable parameters with three bands; a test counts them."""

    channels_last: bool
    """Whether the memory layout with channels last is faster on a CPU (measured)."""

    symmetric: bool
    """Whether the logit is the same for all eight symmetries of the square by construction."""

    description: str
    """One sentence."""


NETWORKS: dict[str, NetworkSpec] = {
    spec.name: spec
    for spec in (
        NetworkSpec(
            name="compact",
            build=CompactNet,
            parameters=52_080,
            channels_last=False,
            symmetric=True,
            description="equivariant under the square's eight symmetries; for laptops and for screening",
        ),
        NetworkSpec(
            name="shielded",
            build=ShieldedResNet,
            parameters=194_433,
            channels_last=True,
            symmetric=False,
            description="parameter-exact reconstruction of the shielded ResNet (Inchausti et al. 2025)",
        ),
        NetworkSpec(
            name="deeplens",
            build=DeepLens,
            parameters=3_511_681,
            channels_last=True,
            symmetric=False,
            description="CMU DeepLens ResNet of Lanusse et al. 2018, as Huang et al. 2020 used it (L18)",
        ),
        NetworkSpec(
            name="efficientnet",
            build=EfficientNetV2S,
            parameters=20_178_769,
            channels_last=True,
            symmetric=False,
            description="EfficientNetV2-S with a plain head",
        ),
        NetworkSpec(
            name="efficientnet-published",
            build=published,
            parameters=20_542_883,
            channels_last=True,
            symmetric=False,
            description="EfficientNetV2-S with a head that gives the published size (Inchausti et al. 2025)",
        ),
    )
}


def network_spec(name: str) -> NetworkSpec:
    """Return the entry of a network.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if name not in NETWORKS:
        raise InputError(f"no network is called {name!r}; choose one of {', '.join(NETWORKS)}")
    return NETWORKS[name]


def build_network(name: str, *, bands: int = 3, seed: int = 0) -> Network:
    """Return a network with fresh weights; the same seed gives the same weights.

    Raises
    ------
    InputError
        If there is no network of that name.
    """
    spec = network_spec(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return spec.build(bands)


def count_parameters(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def listing() -> list[dict[str, str | int]]:
    """Return name, number of parameters and a sentence for every network, the one on top of others included."""
    rows: list[dict[str, str | int]] = [
        {"name": spec.name, "parameters": spec.parameters, "description": spec.description}
        for spec in NETWORKS.values()
    ]
    meta = MetaLearner()
    return [
        *rows,
        {
            "name": "meta-learner",
            "parameters": count_parameters(meta),
            "description": "one hidden layer of 300 nodes on the scores of two networks (Inchausti et al. 2025)",
        },
    ]
