"""A network on top of networks: from their scores to one (Coscrato et al. 2020; Inchausti et al. 2025)."""

from __future__ import annotations

from torch import Tensor, nn


class MetaLearner(nn.Module):
    """One hidden layer on the scores of several networks; 1,201 parameters for two of them.

    Parameters
    ----------
    networks
        Number of networks.
    hidden
        Nodes of the hidden layer.
    """

    def __init__(self, networks: int = 2, hidden: int = 300) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(networks, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, ``(n,)``, of the networks' scores ``(n, networks)``."""
        logits: Tensor = self.layers(x)
        return logits.squeeze(1)
