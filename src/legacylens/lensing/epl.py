"""Elliptical power law: an ellipsoid whose density falls as ``r^-slope``, the isothermal one being slope 2.

Source: Tessore & Metcalf 2015, A&A 580, A79. With ``t = slope - 1`` and the elliptical radius
``rho^2 = q a^2 + b^2 / q``, ``kappa = (2 - t) / 2 (theta_E / rho)^t``: the mean convergence inside the ellipse
``rho = theta_E`` is 1 for every slope and q, as it is for the SIE, and for lenstronomy's ``EPL``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from legacylens.lensing.frames import beside, into, out_of
from legacylens.lensing.ranges import Real, require, require_finite

PRECISION = 1e-13
"""Where the series of the deflection is cut, relative to its first term."""


def _n_terms(q: Real) -> int:
    """Return how many terms of the angular series the flattest lens of a batch needs."""
    flattest = float(torch.as_tensor(q).min())
    ratio = (1 - flattest) / (1 + flattest)
    return 1 if ratio <= 0 else 1 + math.ceil(math.log(PRECISION) / math.log(ratio))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EPL:
    """An elliptical power-law mass distribution."""

    theta_E: Real
    """Einstein radius on the intermediate axis [arcsec], > 0."""
    slope: Real
    """Logarithmic slope of the density in space, in (1, 3); 2 is isothermal."""
    q: Real
    """Projected axis ratio of the mass, minor over major, in (0, 1]."""
    phi: Real = 0.0
    """Direction of the major axis [rad], from +x toward +y."""
    x: Real = 0.0
    """Center [arcsec]."""
    y: Real = 0.0
    """Center [arcsec]."""

    def __post_init__(self) -> None:
        slope, q = torch.as_tensor(self.slope), torch.as_tensor(self.q)
        require("EPL.theta_E", self.theta_E, self.theta_E > 0, "> 0 arcsec", "Leave the deflector out instead.")
        require("EPL.slope", slope, (slope > 1) & (slope < 3), "(1, 3)", "Lens galaxies have 2.08 +- 0.16.")
        require("EPL.q", q, (q > 0) & (q <= 1), "(0, 1]", "q is minor over major axis: take 1/q and turn phi by pi/2.")
        require_finite("EPL", theta_E=self.theta_E, phi=self.phi, x=self.x, y=self.y)

    def deflection(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the reduced deflection [arcsec] at ``(x, y)``; zero at the center."""
        a, b = into(x, y, x0=self.x, y0=self.y, phi=self.phi)
        q, t = beside(self.q, x), beside(self.slope, x) - 1
        scale = beside(self.theta_E, x) * torch.sqrt(q)
        radius = torch.hypot(q * a, b)
        inverse = torch.where(radius > 0, 1 / radius, 0.0)
        cos, sin = q * a * inverse, b * inverse
        # exp(i phi) 2F1(1, t/2; 2 - t/2; -f exp(2 i phi)): each term turns the last by 2 phi and shrinks it by about f.
        f = (1 - q) / (1 + q)
        turn_cos, turn_sin = cos * cos - sin * sin, 2 * cos * sin
        term_a, term_b = cos, sin
        sum_a, sum_b = cos, sin
        for n in range(1, _n_terms(self.q)):
            shrink = -f * (2 * n - (2 - t)) / (2 * n + (2 - t))
            term_a, term_b = (
                shrink * (turn_cos * term_a - turn_sin * term_b),
                shrink * (turn_sin * term_a + turn_cos * term_b),
            )
            sum_a, sum_b = sum_a + term_a, sum_b + term_b
        # theta_E^t r^(1-t) would be infinite at the center of a steep lens; there the deflection has no direction.
        size = 2 * scale / (1 + q) * torch.where(radius > 0, (scale * inverse) ** (t - 1), 0.0)
        return out_of(size * sum_a, size * sum_b, phi=self.phi)

    def potential(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the lensing potential [arcsec^2], homogeneous of degree ``3 - slope``."""
        alpha_x, alpha_y = self.deflection(x, y)
        dx, dy = x - beside(self.x, x), y - beside(self.y, x)
        return (dx * alpha_x + dy * alpha_y) / (3 - beside(self.slope, x))

    def convergence(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return kappa; infinite at the center."""
        a, b = into(x, y, x0=self.x, y0=self.y, phi=self.phi)
        q, t = beside(self.q, x), beside(self.slope, x) - 1
        return (2 - t) / 2 * (beside(self.theta_E, x) * torch.sqrt(q) / torch.hypot(q * a, b)) ** t

    def shear(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (gamma1, gamma2): ``-kappa e^2i phi + (1 - t) e^i phi alpha / r`` as a complex number."""
        kappa, t = self.convergence(x, y), beside(self.slope, x) - 1
        alpha_x, alpha_y = self.deflection(x, y)
        dx, dy = x - beside(self.x, x), y - beside(self.y, x)
        r2 = dx * dx + dy * dy
        cos2, sin2 = (dx * dx - dy * dy) / r2, 2 * dx * dy / r2
        along, across = (dx * alpha_x - dy * alpha_y) / r2, (dx * alpha_y + dy * alpha_x) / r2
        return -kappa * cos2 + (1 - t) * along, -kappa * sin2 + (1 - t) * across
