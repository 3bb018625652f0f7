"""External shear: the tide of everything that is not in the model."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from legacylens.lensing.frames import beside
from legacylens.lensing.ranges import Real, require, require_finite


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shear:
    """A constant shear about the origin; it adds no convergence."""

    gamma1: Real
    """Component along x (stretches images along x if positive)."""
    gamma2: Real
    """Component along the diagonal."""
    x: Real = 0.0
    """Where it does not deflect [arcsec]."""
    y: Real = 0.0
    """Where it does not deflect [arcsec]."""

    def __post_init__(self) -> None:
        require_finite("Shear", gamma1=self.gamma1, gamma2=self.gamma2, x=self.x, y=self.y)
        strength = torch.hypot(torch.as_tensor(self.gamma1), torch.as_tensor(self.gamma2)).to(torch.float64)
        require("Shear |gamma|", strength, strength < 1, "[0, 1)", "Lens galaxies see 0.03 to 0.1.")

    def deflection(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the deflection [arcsec] at ``(x, y)``."""
        gamma1, gamma2 = beside(self.gamma1, x), beside(self.gamma2, x)
        dx, dy = x - beside(self.x, x), y - beside(self.y, x)
        return gamma1 * dx + gamma2 * dy, gamma2 * dx - gamma1 * dy

    def potential(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the lensing potential [arcsec^2], zero at its center."""
        dx, dy = x - beside(self.x, x), y - beside(self.y, x)
        return beside(self.gamma1, x) * (dx * dx - dy * dy) / 2 + beside(self.gamma2, x) * dx * dy

    def convergence(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return kappa, which is zero."""
        return torch.zeros_like(x + y)

    def shear(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (gamma1, gamma2) at every position."""
        zero = torch.zeros_like(x + y)
        return zero + beside(self.gamma1, x), zero + beside(self.gamma2, x)
