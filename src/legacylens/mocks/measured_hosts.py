"""Hosts that come as pixels alone, without a catalog or an inverse variance: what is needed is measured, and said.

Stamps in files of users and of other projects often have no invvar, no seeing and no photometry. Their sky noise gives
an inverse variance; aperture magnitudes, second moments and the growth curve give a row of a host table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from legacylens.cutouts.cutout import Cutout, center_mask
from legacylens.errors import PhysicalRangeError
from legacylens.mocks.host_locus import luminosity_offset
from legacylens.mocks.hosts import HOST_UNITS, estimate_redshift, sky_noise
from legacylens.mocks.noise import PIXEL_SIGMA
from legacylens.photometry import magnitude, mw_transmission
from legacylens.survey.bands import BANDS

APERTURE = 3.0
"""Radius of the aperture of magnitudes [arcsec]."""
SKY_FROM = 8.0
"""Radius beyond which the sky is measured [arcsec]."""
PSF_IN_APERTURE = 1.4
"""Variance of a Moffat PSF within 2 arcsec over that of a Gaussian of the same FWHM."""
ROUNDED = 1.85
"""The round aperture in which moments are taken makes galaxies rounder: 1 - q of a de Vaucouleurs profile is this many
times what is seen, for half-light radii of 0.5 to 1.4 arcsec and q from 0.5 to 0.9 (within 0.04)."""
ADDED_NOTE = "invvar was measured from the noise of the sky"


def clipped_sky(values: NDArray[np.floating]) -> tuple[float, float]:
    """Return level and standard deviation of the sky among pixels of which some show sources (clipped at 3 sigma)."""
    kept = np.asarray(values, dtype=np.float64)
    middle, sigma = float(np.median(kept)), 0.0
    for _ in range(8):
        middle = float(np.median(kept))
        sigma = 1.4826 * float(np.median(np.abs(kept - middle)))
        inside = np.abs(kept - middle) < 3.0 * sigma
        if inside.all() or not inside.any():
            break
        kept = kept[inside]
    return middle, sigma


def with_measured_invvar(cutout: Cutout) -> Cutout:
    """Return a cutout with an invvar measured from its own sky, if it has none.

    Parameters
    ----------
    cutout
        A stamp, large enough to have sky beyond 8 arcsec from the center. Pixels that are exactly zero, such as a
        padded border, are taken to have no data.

    Returns
    -------
    cutout
        With one value of invvar in each band and a note that says so. The noise of a coadd's pixel is 0.91 of
        1/sqrt(invvar), because its pixels are correlated; that is taken into account.

    Raises
    ------
    PhysicalRangeError
        If there is no sky to measure.
    """
    if cutout.invvar is not None:
        return cutout
    far = ~center_mask(*cutout.shape, SKY_FROM / cutout.pixscale)
    invvar = np.zeros_like(cutout.image)
    for number, plane in enumerate(cutout.image):
        seen = plane != 0
        sky = plane[far & seen]
        sigma = clipped_sky(sky)[1] if sky.size > 200 else 0.0
        if not sigma > 0:
            raise PhysicalRangeError(
                f"sky noise of {cutout.source_id} in {cutout.bands[number]}",
                sigma,
                "> 0 nanomaggies in at least 200 pixels beyond 8 arcsec",
                "Give a larger stamp, or one with invvar.",
            )
        invvar[number][seen] = (PIXEL_SIGMA / sigma) ** 2
    return replace(cutout, invvar=invvar, notes=(*cutout.notes, ADDED_NOTE))


def measured_host(cutout: Cutout, psfsize: Sequence[float], ebv: float = 0.0) -> pd.DataFrame:
    """Return a host table with the one row of a galaxy whose properties are measured on its stamp.

    Parameters
    ----------
    cutout
        The galaxy in g, r, z, with invvar.
    psfsize
        FWHM of the PSF in each band [arcsec].
    ebv
        Galactic reddening E(B-V) [mag].

    Notes
    -----
    Magnitudes are within 3 arcsec above the local sky (0.1 to 0.3 mag fainter than total for large galaxies), shape
    and size from moments and growth curve in r, both with the PSF taken off in quadrature.
    """
    if tuple(cutout.bands) != BANDS:
        raise PhysicalRangeError(f"bands of host {cutout.source_id}", cutout.bands, str(BANDS), "Give g, r and z.")
    height, width = cutout.shape
    y, x = np.meshgrid(np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2, indexing="ij")
    distance = np.hypot(x, y) * cutout.pixscale
    far = distance > SKY_FROM
    planes = [plane - clipped_sky(plane[far & (plane != 0)])[0] for plane in cutout.image]
    inside = distance < APERTURE
    flux = np.array([plane[inside].sum(dtype=np.float64) for plane in planes])
    mags = [float(magnitude(f / mw_transmission(ebv, band))) for f, band in zip(flux, BANDS, strict=True)]
    light = planes[1].astype(np.float64)
    order = np.argsort(distance[inside])
    growth = np.cumsum(light[inside][order]) / max(light[inside].sum(), 1e-12)
    half = float(distance[inside][order][min(int(np.searchsorted(growth, 0.5)), len(growth) - 1)])
    radius = np.sqrt(max(half**2 - (0.5 * psfsize[1]) ** 2, 0.2**2))
    q, phi = _shape(np.maximum(light, 0.0) * (distance < 2.0), x, y, psfsize[1] / cutout.pixscale)
    z, error = estimate_redshift(*mags)
    row = {
        "source_id": cutout.source_id,
        "ra": cutout.ra,
        "dec": cutout.dec,
        **{f"mag_{band}": mag for band, mag in zip(BANDS, mags, strict=True)},
        "ebv": ebv,
        "radius": float(radius),
        "q": q,
        "phi": phi,
        "z": float(z[0]),
        "z_error": float(error[0]),
        "z_kind": "colors",
        "luminosity_offset": float(luminosity_offset(mags[1], z[0])),
        **{f"psfsize_{band}": float(fwhm) for band, fwhm in zip(BANDS, psfsize, strict=True)},
        **{f"sigma_{band}": float(s) for band, s in zip(BANDS, sky_noise(cutout), strict=True)},
    }
    return pd.DataFrame([row])[list(HOST_UNITS)]


def _shape(
    light: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64], fwhm: float
) -> tuple[float, float]:
    """Return axis ratio and direction of the major axis of light blurred by a round PSF (FWHM in pixels)."""
    total = max(float(light.sum()), 1e-12)
    x0, y0 = float((light * x).sum()) / total, float((light * y).sum()) / total
    xx = float((light * (x - x0) ** 2).sum()) / total
    yy = float((light * (y - y0) ** 2).sum()) / total
    xy = float((light * (x - x0) * (y - y0)).sum()) / total
    spread = np.hypot(xx - yy, 2.0 * xy)
    blur = PSF_IN_APERTURE * (fwhm / 2.355) ** 2
    major, minor = (xx + yy + spread) / 2 - blur, (xx + yy - spread) / 2 - blur
    seen = float(np.sqrt(np.clip(minor / major, 0.0, 1.0))) if major > 0 else 1.0
    q = max(1.0 - ROUNDED * (1.0 - seen), 0.2)
    return q, float(0.5 * np.arctan2(2.0 * xy, xx - yy) % np.pi)
