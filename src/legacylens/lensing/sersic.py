"""Elliptical Sersic profile, normalized to unit flux.

``r_e`` is the half-light radius on the intermediate axis: half of the flux lies inside the ellipse
``q a^2 + b^2 / q = r_e^2``, of area ``pi r_e^2`` whatever q. (Tractor's ``shape_r`` is the semi-major axis of the same
ellipse, ``r_e / sqrt(q)``.) Source: Graham & Driver 2005, PASA 22, 118; Ciotti & Bertin 1999, A&A 352, 447.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from scipy.special import gammaincinv

from legacylens.lensing.frames import beside, into
from legacylens.lensing.ranges import Real, require, require_finite
from legacylens.lensing.sources import Footprint

N_MIN, N_MAX = 0.3, 8.0
"""Sersic indices that we render: below, the profile is a disk with an edge; above, half the flux is in the wings."""


@functools.lru_cache(maxsize=4096)
def sersic_b(n: float) -> float:
    """Return b_n, which puts half of the flux inside r_e: the median of a gamma distribution of shape 2n."""
    return float(gammaincinv(2 * n, 0.5))


def central_brightness(n: float) -> float:
    """Return the central surface brightness for unit flux and ``r_e`` = 1: b^2n / (2 pi n Gamma(2n))."""
    return math.exp(2 * n * math.log(sersic_b(n)) - math.lgamma(2 * n)) / (2 * math.pi * n)


CORE_LIGHT = 1e-3
"""Fraction of the flux inside the radius at which the cusp is no longer resolved."""


@functools.lru_cache(maxsize=4096)
def core_radius(n: float) -> float:
    """Return the radius [r_e] that encloses `CORE_LIGHT` of the flux."""
    return math.pow(float(gammaincinv(2 * n, CORE_LIGHT)) / sersic_b(n), n)


def _each(function: object, n: Real) -> Real:
    if isinstance(n, torch.Tensor) and n.ndim:
        values = [function(float(value)) for value in n.detach().cpu().reshape(-1)]  # type: ignore[operator]
        return torch.tensor(values, dtype=n.dtype, device=n.device).reshape(n.shape)
    return float(function(float(n)))  # type: ignore[operator]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sersic:
    """A Sersic profile of unit flux."""

    r_e: Real
    """Half-light radius on the intermediate axis [arcsec], > 0."""
    n: Real
    """Sersic index, in [0.3, 8]."""
    q: Real = 1.0
    """Axis ratio of the light, minor over major, in (0, 1]."""
    phi: Real = 0.0
    """Direction of the major axis [rad], from +x toward +y."""
    x: Real = 0.0
    """Center [arcsec]."""
    y: Real = 0.0
    """Center [arcsec]."""

    def __post_init__(self) -> None:
        require("Sersic.r_e", self.r_e, self.r_e > 0, "> 0 arcsec", "Use a point source instead.")
        n, q = torch.as_tensor(self.n), torch.as_tensor(self.q)
        require("Sersic.n", n, (n >= N_MIN) & (n <= N_MAX), f"[{N_MIN}, {N_MAX:g}]")
        require(
            "Sersic.q", q, (q > 0) & (q <= 1), "(0, 1]", "q is minor over major axis: take 1/q and turn phi by pi/2."
        )
        require_finite("Sersic", r_e=self.r_e, phi=self.phi, x=self.x, y=self.y)

    @property
    def diameter(self) -> Real:
        """Major axis of the half-light ellipse [arcsec]."""
        return 2 * self.r_e / self.q**0.5

    def elliptical_radius(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return ``sqrt(q a^2 + b^2 / q)`` [arcsec] at ``(x, y)``."""
        a, b = into(x, y, x0=self.x, y0=self.y, phi=self.phi)
        q = beside(self.q, x)
        return torch.sqrt(q * a * a + b * b / q)

    def brightness(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the surface brightness for unit total flux [1/arcsec^2] at ``(x, y)`` [arcsec]."""
        r_e, n = beside(self.r_e, x), beside(self.n, x)
        b, peak = beside(_each(sersic_b, self.n), x), beside(_each(central_brightness, self.n), x)
        return peak / r_e**2 * torch.exp(-b * (self.elliptical_radius(x, y) / r_e) ** (1 / n))

    def roughness(self, x: torch.Tensor, y: torch.Tensor, footprint: Footprint) -> tuple[torch.Tensor, torch.Tensor]:
        """Return how bright and how rough the profile can be inside a small parallelogram.

        Parameters
        ----------
        x, y
            Its center [arcsec].
        footprint
            Its half sides as vectors ``(ax, ay, bx, by)`` [arcsec].

        Returns
        -------
        bound
            Largest surface brightness inside [1/arcsec^2].
        roughness
            Its half size over the length on which the brightness changes e-fold.
        """
        ax, ay, bx, by = footprint
        q = torch.sqrt(beside(self.q, x))
        cos, sin = torch.cos(beside(self.phi, x)), torch.sin(beside(self.phi, x))
        half = torch.hypot(q * (cos * ax + sin * ay), (cos * ay - sin * ax) / q) + torch.hypot(
            q * (cos * bx + sin * by), (cos * by - sin * bx) / q
        )
        r_e, n, b = beside(self.r_e, x), beside(self.n, x), beside(_each(sersic_b, self.n), x)
        core = r_e * beside(_each(core_radius, self.n), x)
        nearest = torch.maximum(self.elliptical_radius(x, y) - half, core)
        exponent = b * (nearest / r_e) ** (1 / n)
        bound = beside(_each(central_brightness, self.n), x) / r_e**2 * torch.exp(-exponent)
        # A cuspy profile is steepest at the near side; a Gaussian is flat there and falls on the far side.
        across = b * ((nearest + 2 * half) / r_e) ** (1 / n) - exponent
        return bound, torch.maximum(half * exponent / (n * nearest), across / 2)
