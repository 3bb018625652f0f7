"""The problem statement's own measurement, under its own name: contrast of galaxy plus arc, no light subtracted.

Kept because a table made with it has to be compared with something. It does not change when the arc is switched off,
which is why it is not used for anything else.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ASSUMED_THETA_E = 1.5
"""Einstein radius where none is known [arcsec]."""


def statement_statistics(
    images: NDArray[np.floating], pixscale: float, theta_E: float = ASSUMED_THETA_E
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the statement's "arc S/N" and "core/arc brightness ratio".

    Parameters
    ----------
    images
        r band as it is, shape ``(object, y, x)`` [nanomaggies].
    pixscale
        Pixel [arcsec].
    theta_E
        Radius of the annulus [arcsec].

    Returns
    -------
    arc_snr, core_to_arc
        Mean of the annulus theta_E +- 3 pixels minus mean beyond theta_E + 10 pixels, over the standard deviation
        there; mean within 5 pixels over that of the annulus.
    """
    images = np.asarray(images, dtype=np.float64)
    n = images.shape[-1]
    offset = np.arange(n) - (n - 1) / 2.0
    radius = np.hypot(offset[:, None], offset)
    middle = theta_E / pixscale
    ring = (radius >= middle - 3.0) & (radius <= middle + 3.0)
    outer = radius > middle + 10.0
    core = radius < 5.0
    arc, sky = images[:, ring].mean(axis=1), images[:, outer]
    spread = sky.std(axis=1)
    snr = np.divide(arc - sky.mean(axis=1), spread, out=np.full(len(images), np.nan), where=spread > 0)
    ratio = np.divide(images[:, core].mean(axis=1), arc, out=np.full(len(images), np.nan), where=arc != 0)
    return snr, ratio
