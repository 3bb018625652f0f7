"""HEALPix cells of the sky (nested) and a stable number for each, by which samples are split."""

from __future__ import annotations

import hashlib

import numpy as np
from astropy import units
from astropy_healpix import HEALPix
from numpy.typing import ArrayLike, NDArray

from legacylens.survey.sphere import offset_position

NSIDE = 128
"""Default resolution: cells of 27.5 arcmin, 0.21 deg^2, several bricks wide and far larger than any lens."""


def cell_of(ra: ArrayLike, dec: ArrayLike, nside: int = NSIDE) -> NDArray[np.int64]:
    """Return the nested HEALPix cell of each position [deg]."""
    ra = np.atleast_1d(np.asarray(ra, dtype=np.float64))
    dec = np.atleast_1d(np.asarray(dec, dtype=np.float64))
    healpix = HEALPix(nside=nside, order="nested")
    return np.asarray(healpix.lonlat_to_healpix(ra * units.deg, dec * units.deg), dtype=np.int64)


def cell_center(cell: ArrayLike, nside: int = NSIDE) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the center (ra, dec) [deg] of each nested cell."""
    lon, lat = HEALPix(nside=nside, order="nested").healpix_to_lonlat(np.asarray(cell, dtype=np.int64))
    return np.asarray(lon.to_value("deg")), np.asarray(lat.to_value("deg"))


def cell_fraction(cell: ArrayLike, seed: int) -> NDArray[np.float64]:
    """Return a number in [0, 1) for each cell: the same on every machine, in every order, for ever.

    Parameters
    ----------
    cell
        Nested cell numbers.
    seed
        Seed of the split.

    Notes
    -----
    The first eight bytes of SHA-256 of ``"<cell>_<seed>"``. Python's own ``hash`` is salted per process and has
    spoiled a published split; a random generator would make the split depend on the order of the rows.
    """
    cells = np.atleast_1d(np.asarray(cell, dtype=np.int64))
    unique, inverse = np.unique(cells, return_inverse=True)
    digests = [hashlib.sha256(f"{number}_{seed}".encode()).digest() for number in unique]
    fractions = np.array([int.from_bytes(digest[:8], "big") / 2.0**64 for digest in digests])
    return np.asarray(np.minimum(fractions, np.nextafter(1.0, 0.0))[inverse])


def cells_within(ra: ArrayLike, dec: ArrayLike, radius_arcsec: float, nside: int = NSIDE) -> NDArray[np.int64]:
    """Return the cells touched by a circle around each position.

    Parameters
    ----------
    ra, dec
        Positions [deg], shape (n,).
    radius_arcsec
        Radius of the circle [arcsec]; small against the cell.

    Returns
    -------
    cells
        Shape (n, 17): the cell of the position itself and of 16 points on the circle.
    """
    angles = np.arange(16) * (2.0 * np.pi / 16)
    ra = np.atleast_1d(np.asarray(ra, dtype=np.float64))
    dec = np.atleast_1d(np.asarray(dec, dtype=np.float64))
    east = np.concatenate([[0.0], radius_arcsec * np.cos(angles)])
    north = np.concatenate([[0.0], radius_arcsec * np.sin(angles)])
    ra_ring, dec_ring = offset_position(ra[:, None], dec[:, None], east[None, :], north[None, :])
    return cell_of(ra_ring.ravel(), dec_ring.ravel(), nside).reshape(len(ra), -1)
