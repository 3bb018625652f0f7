"""What can be lensed: anything that has a surface brightness and can say where it is rough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from legacylens.errors import PhysicalRangeError
from legacylens.lensing.frames import beside
from legacylens.lensing.ranges import Real, require

Footprint = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
"""The half sides of a small parallelogram, as vectors ``(ax, ay, bx, by)`` [arcsec]."""


class Source(Protocol):
    """A source of unit flux; its parameters are numbers or have shape ``(lens,)``."""

    @property
    def diameter(self) -> Real:
        """How wide it is [arcsec]: the major axis of its half-light ellipse, or the side of its picture."""
        ...

    def brightness(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the surface brightness [1/arcsec^2] at the source-plane position ``(x, y)`` [arcsec]."""
        ...

    def roughness(self, x: torch.Tensor, y: torch.Tensor, footprint: Footprint) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the largest brightness in a parallelogram around ``(x, y)`` and its half size in e-folding lengths."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Blend:
    """Several sources as one, such as a galaxy with clumps; their light adds up to unit flux."""

    parts: tuple[Source, ...]
    """The sources."""
    weights: tuple[Real, ...]
    """Fraction of the flux that each has; the sum is 1."""

    def __post_init__(self) -> None:
        if len(self.parts) != len(self.weights) or not self.parts:
            raise PhysicalRangeError("Blend.weights", len(self.weights), f"one for each of {len(self.parts)} parts")
        for weight in self.weights:
            good = torch.as_tensor(weight) >= 0
            require("Blend.weights", weight, good, ">= 0", "A part cannot take light away.")
        total = torch.as_tensor(sum(self.weights))
        require("sum of Blend.weights", total, (total - 1).abs() < 1e-6, "1 +- 1e-6", "Divide them by their sum.")

    @property
    def diameter(self) -> Real:
        """Width of the widest part [arcsec]."""
        widest = torch.zeros((), dtype=torch.float64)
        for part in self.parts:
            widest = torch.maximum(widest, torch.as_tensor(part.diameter, dtype=torch.float64))
        return widest

    def brightness(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the surface brightness for unit total flux [1/arcsec^2]."""
        lights = [beside(w, x) * part.brightness(x, y) for w, part in zip(self.weights, self.parts, strict=True)]
        return torch.stack(lights).sum(0)

    def roughness(self, x: torch.Tensor, y: torch.Tensor, footprint: Footprint) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the sum of the bounds, and a roughness whose high powers are those of the parts, added up."""
        bounds, powers = [], []
        for weight, part in zip(self.weights, self.parts, strict=True):
            bound, rough = part.roughness(x, y, footprint)
            bounds.append(beside(weight, x) * bound)
            powers.append(bounds[-1] * rough.clamp(max=1e3) ** 6)
        total = torch.stack(bounds).sum(0)
        mean = torch.stack(powers).sum(0) / total.clamp(min=torch.finfo(total.dtype).tiny)
        return total, mean ** (1 / 6)
