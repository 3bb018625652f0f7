"""Singular isothermal ellipsoid (SIE).

Source: Kormann, Schneider & Bartelmann 1994, A&A 284, 285; Keeton 2001, astro-ph/0102341.
``theta_E`` is the Einstein radius on the intermediate axis: with the major axis along x the tangential critical curve
is the ellipse ``q x^2 + y^2 / q = theta_E^2``, whose area is ``pi theta_E^2`` whatever q. This is the ``theta_E`` of
the whole package; it equals that of lenstronomy's ``SIE``.

At the very center the deflection has no direction; its mean over directions, zero, is returned there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from legacylens.lensing.frames import beside, into, out_of
from legacylens.lensing.ranges import Real, require, require_finite


def deflection_on_axes(
    a: torch.Tensor, b: torch.Tensor, theta_E: torch.Tensor, q: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the deflection of an SIE along its own axes.

    Parameters
    ----------
    a, b
        Position along the major and the minor axis [arcsec].
    theta_E
        Einstein radius on the intermediate axis [arcsec].
    q
        Axis ratio of the mass, in (0, 1].

    Returns
    -------
    alpha_a, alpha_b
        Deflection [arcsec].

    Notes
    -----
    With ``psi^2 = q^2 a^2 + b^2`` and ``f^2 = 1 - q^2``::

        alpha_a = theta_E sqrt(q) / f  atan(f a / psi)
        alpha_b = theta_E sqrt(q) / f  atanh(f b / psi)

    Written as ``(a / psi) [atan(v) / v]`` with ``v = f a / psi`` nothing is divided by f, so that the round lens is
    a value like any other; ``atan(v) / v`` is accurate for every v but v = 0, where it is 1. As ``|b| <= psi``, the
    argument of atanh never reaches f < 1: a clip here would hide a wrong psi.
    """
    psi = torch.hypot(q * a, b)
    inverse = torch.where(psi > 0, 1 / psi, 0.0)
    f = torch.sqrt((1 - q) * (1 + q))
    u_a, u_b = a * inverse, b * inverse
    v_a, v_b = f * u_a, f * u_b
    scale = theta_E * torch.sqrt(q)
    return (
        scale * u_a * torch.where(v_a == 0, 1.0, torch.atan(v_a) / torch.where(v_a == 0, 1.0, v_a)),
        scale * u_b * torch.where(v_b == 0, 1.0, torch.atanh(v_b) / torch.where(v_b == 0, 1.0, v_b)),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SIE:
    """A singular isothermal ellipsoid."""

    theta_E: Real
    """Einstein radius on the intermediate axis [arcsec], > 0."""
    q: Real
    """Projected axis ratio of the mass, minor over major, in (0, 1]."""
    phi: Real = 0.0
    """Direction of the major axis [rad], from +x toward +y."""
    x: Real = 0.0
    """Center [arcsec]."""
    y: Real = 0.0
    """Center [arcsec]."""

    def __post_init__(self) -> None:
        require("SIE.theta_E", self.theta_E, self.theta_E > 0, "> 0 arcsec", "Leave the deflector out instead.")
        require(
            "SIE.q",
            self.q,
            (self.q > 0) & (self.q <= 1) if isinstance(self.q, torch.Tensor) else 0 < self.q <= 1,
            "(0, 1]",
            "q is minor over major axis: take 1/q and turn phi by pi/2.",
        )
        require_finite("SIE", theta_E=self.theta_E, phi=self.phi, x=self.x, y=self.y)

    def deflection(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the reduced deflection [arcsec] at ``(x, y)``; the source lies at position minus deflection."""
        a, b = into(x, y, x0=self.x, y0=self.y, phi=self.phi)
        alpha_a, alpha_b = deflection_on_axes(a, b, beside(self.theta_E, x), beside(self.q, x))
        return out_of(alpha_a, alpha_b, phi=self.phi)

    def potential(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the lensing potential [arcsec^2]: position times deflection, as it is homogeneous of degree 1."""
        alpha_x, alpha_y = self.deflection(x, y)
        return (x - beside(self.x, x)) * alpha_x + (y - beside(self.y, x)) * alpha_y

    def convergence(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return kappa = theta_E / (2 sqrt(q a^2 + b^2 / q)); infinite at the center."""
        a, b = into(x, y, x0=self.x, y0=self.y, phi=self.phi)
        q = beside(self.q, x)
        return beside(self.theta_E, x) * torch.sqrt(q) / (2 * torch.hypot(q * a, b))

    def shear(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (gamma1, gamma2): tangential to the center and as large as kappa, everywhere."""
        kappa = self.convergence(x, y)
        dx, dy = x - beside(self.x, x), y - beside(self.y, x)
        r2 = dx * dx + dy * dy
        return -kappa * (dx * dx - dy * dy) / r2, -kappa * 2 * dx * dy / r2
