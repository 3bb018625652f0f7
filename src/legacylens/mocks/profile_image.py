"""One Sersic profile as elements that a pixel grid can carry without error: a smooth image and the light of its core.

The profile is split by a smooth window, ``S = S (1 - w) + S w``. The first part has no cusp: sampled at the pixel
centers it is complete. The second is compact: it is integrated in elliptical polar coordinates, where the cusp of a
de Vaucouleurs profile is a smooth function of ``r^(1/n)``, and its nodes are deposited with their sub-pixel positions.
So a core of any index costs a few hundred nodes and no supersampling.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from legacylens.lensing.sersic import Sersic, central_brightness, sersic_b
from legacylens.mocks.deposit import deposit

WINDOW = 0.8
"""Width of the window along the minor axis [pixels, a Gaussian's sigma]."""
ORDER = 3
"""``1 - w`` grows with the ``2 ORDER + 2``-nd power of the radius, which flattens the steepest cusp."""
CUT = 16.0
"""Where the window ends, in units of ``r^2 / (2 sigma^2)``: there w is 1e-4 and S (1 - w) as smooth as S."""
PASSBAND = 1.8
"""Largest wave number that a PSF of the survey passes [rad/pixel]."""


def _window(u: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.exp(-u) * (1 + u * (1 + u * (1 / 2 + u / 6))))


@functools.lru_cache(maxsize=32)
def _legendre(n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return (nodes + 1) / 2, weights / 2


def add_sersic(
    smooth: NDArray[np.float64],
    core: NDArray[np.float64],
    profile: Sersic,
    *,
    center: tuple[float, float],
    pixscale: float,
) -> None:
    """Add a Sersic profile of unit flux to a smooth image and a deposited core, in place.

    Parameters
    ----------
    smooth, core
        Images of the same shape ``(y, x)``: the first is used as it is, the transform of the second is
        to be multiplied by `deposit.undo`.
    profile
        The profile; its parameters are plain numbers.
    center
        Pixel (y, x) of the origin of the profile's coordinates.
    pixscale
        Pixel [arcsec].
    """
    n, q = float(profile.n), float(profile.q)
    r_e = float(profile.r_e) / pixscale
    y0, x0 = center[0] + float(profile.y) / pixscale, center[1] + float(profile.x) / pixscale
    cos, sin = math.cos(float(profile.phi)), math.sin(float(profile.phi))
    b, peak = sersic_b(n), central_brightness(n) / r_e**2

    # Smooth part. The quadratic form t^2 = q a^2 + b^2 / q, in pixel coordinates.
    xx, yy, xy = q * cos**2 + sin**2 / q, q * sin**2 + cos**2 / q, 2 * (q - 1 / q) * sin * cos
    dy, dx = np.arange(smooth.shape[0])[:, None] - y0, np.arange(smooth.shape[1]) - x0
    t2 = yy * dy * dy + xx * dx * dx
    t2 += (xy * dy) * dx
    light = np.power(np.maximum(t2, 0) / r_e**2, 0.5 / n)
    light *= -b
    np.exp(light, out=light)
    light *= peak
    sigma2 = WINDOW**2 / q
    edge = math.sqrt(2 * CUT * sigma2 / q)
    rows = slice(max(math.floor(y0 - edge), 0), max(math.ceil(y0 + edge) + 1, 0))
    columns = slice(max(math.floor(x0 - edge), 0), max(math.ceil(x0 + edge) + 1, 0))
    light[rows, columns] *= 1 - _window(np.minimum(t2[rows, columns] / (2 * sigma2), CUT))
    smooth += light

    # Core. t = reach v^p makes the cusp exp(-b t^(1/n)) smooth in v.
    reach = math.sqrt(2 * CUT * sigma2)
    power = min(max(n, 1.0), 4.0)
    # Half the light of a small source lies so far in that the outer nodes would be wasted on nothing.
    reach = min(reach, r_e * (36 / b) ** n)
    phase = PASSBAND * reach / math.sqrt(q)
    v, weight = _legendre(20 + 4 * math.ceil(0.2 * phase))
    t = reach * v**power
    w = _window(t * t / (2 * sigma2)) * weight * power * reach**2 * v ** (2 * power - 1)
    w *= peak * np.exp(-b * (t / r_e) ** (1 / n))
    n_angle = 12 + 2 * math.ceil(0.6 * phase)
    angle = 2 * np.pi / n_angle * np.arange(n_angle)
    along, across = t[:, None] * np.cos(angle) / math.sqrt(q), t[:, None] * np.sin(angle) * math.sqrt(q)
    deposit(
        core,
        (y0 + sin * along + cos * across).ravel(),
        (x0 + cos * along - sin * across).ravel(),
        np.repeat(w * (2 * np.pi / n_angle), n_angle),
    )
