"""What every network on images is."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn


class Network(nn.Module):
    """Images to features, features to a logit.

    The two are apart because the last layer is always computed in float32, whatever the convolutions are computed in,
    and because the features themselves tell how different two sets of images look to a network.
    """

    head: nn.Module
    """The last layer, ``(n, features)`` to ``(n, 1)``."""

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Return the pooled features, ``(n, features)`` float32, of prepared images ``(n, band, y, x)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, ``(n,)``, of prepared images ``(n, band, y, x)``."""
        logits: Tensor = self.head(self.features(x))
        return logits.squeeze(1)
