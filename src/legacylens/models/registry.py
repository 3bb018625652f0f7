"""Every network that can be trained, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from legacylens.errors import InputError
from legacylens.models.compact import CompactNet
from legacylens.models.shielded import ShieldedResNet


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """One network."""

    name: str
    """Name in configurations and checkpoints."""

    build: Callable[[int], nn.Module]
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


def build_network(name: str, *, bands: int = 3, seed: int = 0) -> nn.Module:
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
