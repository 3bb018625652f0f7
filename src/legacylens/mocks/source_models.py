"""Sources drawn at random: a Sersic profile with clumps, or with a log-normal texture. Flux is that of the profile."""

from __future__ import annotations

import numpy as np
import torch

from legacylens.errors import PhysicalRangeError
from legacylens.lensing.sersic import Sersic, sersic_b
from legacylens.lensing.sources import Blend
from legacylens.lensing.texture import TexturedSersic, textured

CLUMP_N = 0.5
"""Sersic index of a clump: a Gaussian, as HII regions are blurred by any instrument."""
TEXTURE_PIXELS = 128
"""Pixels along the side of a texture."""
TEXTURE_WIDTH = 8.0
"""Side of a texture [half-light radii on the major axis]; it repeats beyond."""


def clumpy(base: Sersic, *, n_clumps: int, fraction: float, clump_radius: float, rng: np.random.Generator) -> Blend:
    """Return a galaxy of which part of the light is in clumps.

    Parameters
    ----------
    base
        The smooth galaxy, with plain numbers as parameters.
    n_clumps
        Number of clumps, >= 1; 1 to 6 in star-forming galaxies.
    fraction
        Fraction of the flux in all the clumps, in [0, 1); 0.05 to 0.3 in the ultraviolet.
    clump_radius
        Half-light radius of a clump [arcsec]; 0.01 to 0.08.
    rng
        Source of the places and the relative fluxes.

    Notes
    -----
    Clumps lie where the light is: their places follow the profile inside 2 half-light radii. Their fluxes are
    exponential, so that one or two dominate.
    """
    if n_clumps < 1:
        raise PhysicalRangeError("n_clumps", n_clumps, ">= 1", "Use the Sersic profile itself.")
    if not 0 <= fraction < 1:
        raise PhysicalRangeError("fraction of the flux in clumps", fraction, "[0, 1)")
    n, q, r_e, phi = (float(value) for value in (base.n, base.q, base.r_e, base.phi))
    radius = np.empty(n_clumps)
    for i in range(n_clumps):
        # b (r / r_e)^(1/n) is gamma distributed by flux; a draw in the far wings is drawn again.
        radius[i] = np.inf
        while radius[i] > 2:
            radius[i] = (rng.gamma(2 * n) / sersic_b(n)) ** n
    angle = rng.uniform(0, 2 * np.pi, n_clumps)
    a, b = r_e * radius * np.cos(angle) / np.sqrt(q), r_e * radius * np.sin(angle) * np.sqrt(q)
    share = rng.exponential(size=n_clumps)
    share *= fraction / share.sum()
    clumps = tuple(
        Sersic(
            r_e=clump_radius,
            n=CLUMP_N,
            x=float(base.x) + np.cos(phi) * a[i] - np.sin(phi) * b[i],
            y=float(base.y) + np.sin(phi) * a[i] + np.cos(phi) * b[i],
        )
        for i in range(n_clumps)
    )
    return Blend(parts=(base, *clumps), weights=(1 - fraction, *(float(s) for s in share)))


def gaussian_field(n: int, *, sd: float, slope: float = -3.0, rng: np.random.Generator) -> torch.Tensor:
    """Return a periodic Gaussian random field of zero mean.

    Parameters
    ----------
    n
        Pixels along its side.
    sd
        Standard deviation over the field.
    slope
        Slope of its power spectrum; -3 puts equal amounts of it on every scale that an eye would call structure.
    rng
        Source of the field.

    Returns
    -------
    field
        Shape ``(n, n)``.
    """
    if not sd >= 0:
        raise PhysicalRangeError("sd of the texture", sd, ">= 0", "0.3 to 0.6 looks like a star-forming galaxy.")
    k = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n))
    with np.errstate(divide="ignore"):
        amplitude = np.where(k > 0, k ** (slope / 2), 0.0)
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((n, n))) * amplitude, (n, n))
    return torch.from_numpy(field * (sd / field.std()))


def with_texture(base: Sersic, *, sd: float, rng: np.random.Generator) -> TexturedSersic:
    """Return a Sersic profile with a random log-normal texture, ``sd`` the deviation of the log of brightness."""
    width = TEXTURE_WIDTH * base.diameter / 2
    return textured(base, gaussian_field(TEXTURE_PIXELS, sd=sd, rng=rng), width=width)
