"""What can be lensed: anything that has a surface brightness and can say where it is rough."""

from __future__ import annotations

from typing import Protocol

import torch


class Source(Protocol):
    """A source of unit flux; its parameters are numbers or have shape ``(lens,)``."""

    def brightness(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the surface brightness [1/arcsec^2] at the source-plane position ``(x, y)`` [arcsec]."""
        ...

    def roughness(
        self, x: torch.Tensor, y: torch.Tensor, footprint: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the largest brightness in a parallelogram and its half size in e-folding lengths there.

        ``footprint`` has its half sides as vectors ``(ax, ay, bx, by)`` [arcsec].
        """
        ...
