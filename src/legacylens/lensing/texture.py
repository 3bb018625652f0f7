"""A Sersic profile with a log-normal texture: arms, knots and holes whose light adds up to that of the profile.

The profile is multiplied by ``exp(g)``, g a Gaussian random field, and divided by the flux-weighted mean of ``exp(g)``:
flux is conserved in the source plane exactly, whatever the field.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch

from legacylens.errors import PhysicalRangeError
from legacylens.lensing.frames import beside, out_of
from legacylens.lensing.ranges import Real, require
from legacylens.lensing.sersic import Sersic, sersic_b
from legacylens.lensing.sources import Footprint
from legacylens.lensing.splines import chosen, cubic

N_RADIUS, N_ANGLE = 96, 192
"""Nodes of the mean of ``exp(g)`` over the profile."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TexturedSersic:
    """A Sersic profile of unit flux with a log-normal texture; made by `textured`."""

    base: Sersic
    """The smooth profile."""
    fields: torch.Tensor = field(metadata={"shared": True})
    """Spline coefficients of the log of the texture, periodic, shape ``(field, y, x)``."""
    which: torch.Tensor
    """Number of the field of each lens, a number or shape ``(lens,)``."""
    width: Real
    """Side of the field on the sky [arcsec], centered on the profile."""
    normalization: Real
    """What ``exp(g)`` is multiplied by."""

    @property
    def diameter(self) -> Real:
        """Major axis of the half-light ellipse of the smooth profile [arcsec]."""
        return self.base.diameter

    def texture(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return what the smooth profile is multiplied by at ``(x, y)``."""
        n = self.fields.shape[-1]
        per_arcsec = n / beside(self.width, x)
        column = (x - beside(self.base.x, x)) * per_arcsec + n / 2
        row = (y - beside(self.base.y, x)) * per_arcsec + n / 2
        g = cubic(self.fields, chosen(self.which, x), row, column, periodic=True)
        return beside(self.normalization, x) * torch.exp(g)

    def brightness(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the surface brightness for unit total flux [1/arcsec^2]."""
        return self.base.brightness(x, y) * self.texture(x, y)

    def roughness(self, x: torch.Tensor, y: torch.Tensor, footprint: Footprint) -> tuple[torch.Tensor, torch.Tensor]:
        """Return bound and roughness of the profile, to which the grain of the texture is added."""
        bound, rough = self.base.roughness(x, y, footprint)
        ax, ay, bx, by = footprint
        grain = 2 * beside(self.width, x) / self.fields.shape[-1]
        amplitude = self.fields.std().clamp(max=1.0)
        return bound * torch.exp(2 * amplitude), rough + amplitude * (torch.hypot(ax, ay) + torch.hypot(bx, by)) / grain


def textured(base: Sersic, fields: torch.Tensor, *, width: Real, which: torch.Tensor | None = None) -> TexturedSersic:
    """Return a Sersic profile with a texture.

    Parameters
    ----------
    base
        The smooth profile; numbers or shape ``(lens,)``.
    fields
        Log of the texture, periodic, shape ``(field, n, n)`` or ``(n, n)``; used as spline coefficients, which smooths
        its finest pixels a little.
    width
        Side of a field on the sky [arcsec]; several times the half-light diameter.
    which
        Field of each lens, shape ``(lens,)``; the first by default.
    """
    if fields.ndim == 2:
        fields = fields[None]
    if fields.ndim != 3 or fields.shape[1] != fields.shape[2]:
        raise PhysicalRangeError("shape of the texture", tuple(fields.shape), "(field, n, n)")
    require("texture", fields, torch.isfinite(fields), "the finite numbers")
    require("width of the texture", width, torch.as_tensor(width) > 0, "> 0 arcsec")
    if which is None:
        which = torch.tensor(0, device=fields.device)
    plain = TexturedSersic(base=base, fields=fields, which=which, width=width, normalization=1.0)
    x, y, weight = _flux_nodes(base, fields)
    mean = (weight * plain.texture(x, y)).sum((-2, -1))
    shared = all(not isinstance(v, torch.Tensor) or not v.ndim for v in (base.x, base.n, base.r_e, which, width))
    return TexturedSersic(
        base=base, fields=fields, which=which, width=width, normalization=float(1 / mean[0]) if shared else 1 / mean
    )


def _flux_nodes(base: Sersic, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return positions and flux fractions that integrate over a Sersic profile, shape ``(lens, radius, angle)``."""
    nodes, weights = np.polynomial.legendre.leggauss(N_RADIUS)
    v, dv = torch.from_numpy((nodes + 1) / 2).to(like), torch.from_numpy(weights / 2).to(like)
    angle = (torch.arange(N_ANGLE, dtype=like.dtype, device=like.device) + 0.5) * (2 * math.pi / N_ANGLE)
    values = [torch.as_tensor(value).to(like) for value in (base.n, base.r_e, base.q, base.x, base.y, base.phi)]
    n_lens = max(value.numel() for value in values)
    n, r_e, q, x0, y0, phi = (value.reshape(-1, 1, 1).expand(n_lens, 1, 1) for value in values)
    b = torch.tensor([sersic_b(float(value)) for value in n.reshape(-1)]).to(like).reshape(-1, 1, 1)
    # With the depth s = b (r / r_e)^(1/n) the flux is a gamma distribution of shape 2n; it ends well before s_end.
    s_end = 2 * n + 9 * torch.sqrt(2 * n) + 12
    s = s_end * v[:, None]
    density = torch.exp((2 * n - 1) * torch.log(s) - s - torch.lgamma(2 * n)) * s_end * dv[:, None]
    radius = r_e * (s / b) ** n
    a, across = radius * torch.cos(angle) / torch.sqrt(q), radius * torch.sin(angle) * torch.sqrt(q)
    dx, dy = out_of(a, across, phi=phi.reshape(-1))
    weight = (density / density.sum((-2, -1), keepdim=True) / N_ANGLE).expand_as(dx)
    return x0 + dx, y0 + dy, weight
