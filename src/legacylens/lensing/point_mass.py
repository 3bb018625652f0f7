"""A point mass: a companion or a perturber too small to have a profile."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from legacylens.lensing.frames import beside
from legacylens.lensing.ranges import Real, require, require_finite


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PointMass:
    """A point mass; at its own place the deflection has no direction and is returned as zero."""

    theta_E: Real
    """Einstein radius [arcsec], > 0."""
    x: Real = 0.0
    """Position [arcsec]."""
    y: Real = 0.0
    """Position [arcsec]."""

    def __post_init__(self) -> None:
        require("PointMass.theta_E", self.theta_E, self.theta_E > 0, "> 0 arcsec", "Leave the deflector out instead.")
        require_finite("PointMass", theta_E=self.theta_E, x=self.x, y=self.y)

    def deflection(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the reduced deflection [arcsec]: ``theta_E^2 / r`` away from the mass."""
        dx, dy = x - beside(self.x, x), y - beside(self.y, x)
        r2 = dx * dx + dy * dy
        factor = torch.where(r2 > 0, beside(self.theta_E, x) ** 2 / torch.where(r2 > 0, r2, 1.0), 0.0)
        return factor * dx, factor * dy

    def potential(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the lensing potential ``theta_E^2 ln(r / theta_E)`` [arcsec^2]."""
        dx, dy = x - beside(self.x, x), y - beside(self.y, x)
        theta_E = beside(self.theta_E, x)
        return theta_E**2 * torch.log(torch.hypot(dx, dy) / theta_E)

    def convergence(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return kappa: zero everywhere but on the mass itself."""
        return torch.zeros_like(x + y + beside(self.theta_E, x))

    def shear(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (gamma1, gamma2), of strength ``theta_E^2 / r^2``."""
        dx, dy = x - beside(self.x, x), y - beside(self.y, x)
        r2 = dx * dx + dy * dy
        factor = -(beside(self.theta_E, x) ** 2) / (r2 * r2)
        return factor * (dx * dx - dy * dy), factor * 2 * dx * dy
