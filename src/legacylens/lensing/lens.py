"""A lens: the sum of its deflectors, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from legacylens.errors import PhysicalRangeError


class Deflector(Protocol):
    """What every mass component can say; positions [arcsec] of shape ``(lens, ...)``, convention in `frames`."""

    def deflection(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the reduced deflection [arcsec]."""
        ...

    def potential(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the lensing potential [arcsec^2], of which the deflection is the gradient."""
        ...

    def convergence(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return kappa, half the divergence of the deflection."""
        ...

    def shear(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (gamma1, gamma2): ``(psi_xx - psi_yy) / 2`` and ``psi_xy`` of the potential psi."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lens:
    """One or more deflectors in a single lens plane; also a deflector itself."""

    deflectors: tuple[Deflector, ...]
    """The mass components."""

    def __post_init__(self) -> None:
        if not self.deflectors:
            raise PhysicalRangeError("Lens.deflectors", "()", "at least one deflector", "Render the source unlensed.")

    def deflection(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the reduced deflection [arcsec]; the source lies at position minus deflection."""
        first, *others = (deflector.deflection(x, y) for deflector in self.deflectors)
        alpha_x, alpha_y = first
        for more_x, more_y in others:
            alpha_x, alpha_y = alpha_x + more_x, alpha_y + more_y
        return alpha_x, alpha_y

    def potential(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the lensing potential [arcsec^2]."""
        return torch.stack([deflector.potential(x, y) for deflector in self.deflectors]).sum(0)

    def convergence(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return kappa."""
        return torch.stack([deflector.convergence(x, y) for deflector in self.deflectors]).sum(0)

    def shear(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (gamma1, gamma2)."""
        parts = [deflector.shear(x, y) for deflector in self.deflectors]
        return torch.stack([part[0] for part in parts]).sum(0), torch.stack([part[1] for part in parts]).sum(0)


def source_position(lens: Deflector, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the source-plane position beta [arcsec] seen at the image-plane position ``(x, y)`` [arcsec]."""
    alpha_x, alpha_y = lens.deflection(x, y)
    return x - alpha_x, y - alpha_y


def inverse_magnification(lens: Deflector, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return 1/mu, the determinant of the Jacobian of the lens mapping; its sign is the parity of the image."""
    kappa = lens.convergence(x, y)
    gamma1, gamma2 = lens.shear(x, y)
    return (1 - kappa) ** 2 - gamma1 * gamma1 - gamma2 * gamma2


def magnification(lens: Deflector, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the signed magnification mu at ``(x, y)``; infinite on a critical curve."""
    return 1 / inverse_magnification(lens, x, y)
