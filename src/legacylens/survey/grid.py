"""The pixel grid of a brick: gnomonic, 0.262 arcsec, north up and east to the left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy.io.fits import Header
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from legacylens.survey.bands import PIXSCALE


def grid_header(ra: float, dec: float, width: int, height: int) -> Header:
    """Return the WCS cards of a brick-like image.

    Parameters
    ----------
    ra, dec
        Center [deg].
    width, height
        Size [pixel].

    Notes
    -----
    CRPIX = (n + 1) / 2 and CD = -/+ 0.262 / 3600 deg, as in legacypipe's ``wcs_for_brick``.
    """
    header = Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = float(ra), float(dec)
    header["CRPIX1"], header["CRPIX2"] = (width + 1) / 2.0, (height + 1) / 2.0
    header["CD1_1"], header["CD1_2"] = -PIXSCALE / 3600.0, 0.0
    header["CD2_1"], header["CD2_2"] = 0.0, PIXSCALE / 3600.0
    header["IMAGEW"], header["IMAGEH"] = float(width), float(height)
    header["EQUINOX"] = 2000.0
    return header


def brick_wcs(ra: float, dec: float, width: int, height: int) -> WCS:
    """Return the WCS of a brick image centered at (ra, dec) [deg] with ``width`` x ``height`` pixels."""
    return WCS(grid_header(ra, dec, width, height))


def wcs_of_header(header: Header | Mapping[str, Any]) -> WCS:
    """Return the celestial WCS of an image header."""
    return WCS(header if isinstance(header, Header) else Header(dict(header))).celestial


def pixel_position(wcs: WCS, ra: ArrayLike, dec: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return 0-based pixel positions (x along columns, y along rows) of positions [deg]."""
    x, y = wcs.all_world2pix(np.atleast_1d(ra), np.atleast_1d(dec), 0)
    return np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)


def sky_position(wcs: WCS, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return positions (ra, dec) [deg] of 0-based pixel positions."""
    ra, dec = wcs.all_pix2world(np.atleast_1d(x), np.atleast_1d(y), 0)
    return np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)
