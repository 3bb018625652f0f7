"""A second loss under which real and simulated lenses look alike to the last layer."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from legacylens.training.config import Alignment

HIDDEN = 32
"""Nodes of the classifier of real against simulated."""
KERNEL_WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Widths of the Gaussian kernels, in units of the median squared distance of the batch."""


class _Reverse(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a negative number."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def reverse_gradient(x: Tensor, strength: float) -> Tensor:
    """Return ``x``; the gradient that comes back through it is multiplied by ``-strength``."""
    result: Tensor = _Reverse.apply(x, strength)  # type: ignore[no-untyped-call]
    return result


def ramp(progress: float) -> float:
    """Return the share of the weight at a share of the training: 0 at first, nearly 1 after a half (DANN's own)."""
    return 2.0 / (1.0 + math.exp(-10.0 * progress)) - 1.0


def mmd_squared(first: Tensor, second: Tensor) -> Tensor:
    """Return the unbiased estimate of the squared maximum mean discrepancy of two sets of features.

    Parameters
    ----------
    first, second
        ``(n, features)`` and ``(m, features)``, each with at least two rows.

    Notes
    -----
    Equation 3 of Gretton et al. 2012 (JMLR 13, 723) with a sum of Gaussian kernels; it may be slightly negative.
    """
    both = torch.cat([first, second])
    distance = torch.cdist(both, both).square()
    n, m = len(first), len(second)
    off_diagonal = ~torch.eye(n + m, dtype=torch.bool, device=both.device)
    # The scale is a unit and not something to learn: without detach, features could shrink it.
    scale = distance[off_diagonal].median().detach().clamp(min=1e-12)
    kernel = torch.stack([torch.exp(-distance / (width * scale)) for width in KERNEL_WIDTHS]).mean(dim=0)
    kernel = kernel * off_diagonal
    within_first = kernel[:n, :n].sum() / (n * (n - 1))
    within_second = kernel[n:, n:].sum() / (m * (m - 1))
    return within_first + within_second - 2.0 * kernel[:n, n:].mean()


class Aligner(nn.Module):
    """The second loss.

    Parameters
    ----------
    config
        Kind and weight.
    features
        Number of features before the last layer.
    """

    def __init__(self, config: Alignment, features: int) -> None:
        super().__init__()
        self.config = config
        # A classifier behind a normalization: it must not win by the scale of the features.
        self.critic = (
            nn.Sequential(nn.LayerNorm(features), nn.Linear(features, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
            if config.kind == "adversarial"
            else None
        )

    def forward(self, real: Tensor, simulated: Tensor, progress: float) -> Tensor:
        """Return the loss of the features of real and simulated lenses at a share of the training."""
        strength = self.config.weight * ramp(progress)
        if min(len(real), len(simulated)) < 2:
            return real.new_zeros(())
        if self.critic is None:
            return strength * mmd_squared(real, simulated)
        logits = self.critic(reverse_gradient(torch.cat([real, simulated]), strength)).squeeze(1)
        is_simulated = torch.cat([torch.zeros(len(real)), torch.ones(len(simulated))]).to(logits.device)
        return binary_cross_entropy_with_logits(logits, is_simulated)


def make_aligner(config: Alignment, features: int, seed: int) -> Aligner | None:
    """Return the second loss, None where there is none; the same seed gives the same classifier."""
    if config.kind == "none":
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Aligner(config, features)
