"""Distances, matches and groups on the sphere, through unit vectors (no trouble at RA = 0 or the poles)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

ARCSEC = np.pi / 180.0 / 3600.0
"""One arcsecond [radian]."""


def unit_vectors(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.float64]:
    """Return unit vectors, shape (n, 3), of positions [deg]."""
    ra_rad = np.radians(np.atleast_1d(np.asarray(ra, dtype=np.float64)))
    dec_rad = np.radians(np.atleast_1d(np.asarray(dec, dtype=np.float64)))
    cos_dec = np.cos(dec_rad)
    return np.stack([cos_dec * np.cos(ra_rad), cos_dec * np.sin(ra_rad), np.sin(dec_rad)], axis=-1)


def _chord(radius_arcsec: float) -> float:
    return float(2.0 * np.sin(0.5 * radius_arcsec * ARCSEC))


def _arcsec_of_chord(chord: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(2.0 * np.arcsin(np.clip(0.5 * chord, 0.0, 1.0)) / ARCSEC)


def separation_arcsec(ra1: ArrayLike, dec1: ArrayLike, ra2: ArrayLike, dec2: ArrayLike) -> NDArray[np.float64]:
    """Return the angular separation [arcsec] of positions [deg], elementwise; exact for small angles."""
    difference = unit_vectors(ra1, dec1) - unit_vectors(ra2, dec2)
    return _arcsec_of_chord(np.linalg.norm(difference, axis=-1))


def nearest(
    ra: ArrayLike, dec: ArrayLike, ra_list: ArrayLike, dec_list: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return, for each position, the index of the nearest entry of a list and its separation [arcsec].

    With an empty list the index is -1 and the separation infinite.
    """
    points = unit_vectors(ra, dec)
    entries = unit_vectors(ra_list, dec_list)
    if len(entries) == 0 or len(points) == 0:
        return np.full(len(points), -1, dtype=np.int64), np.full(len(points), np.inf)
    chord, index = cKDTree(entries).query(points)
    return np.asarray(index, dtype=np.int64), _arcsec_of_chord(np.asarray(chord))


def match_within(
    ra1: ArrayLike, dec1: ArrayLike, ra2: ArrayLike, dec2: ArrayLike, radius_arcsec: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return all pairs between two lists that lie within a radius.

    Parameters
    ----------
    ra1, dec1, ra2, dec2
        Positions of both lists [deg].
    radius_arcsec
        Largest separation [arcsec].

    Returns
    -------
    index1, index2, separation
        Indices into the first and the second list and the separation [arcsec], sorted by (index1, separation).
    """
    first, second = unit_vectors(ra1, dec1), unit_vectors(ra2, dec2)
    if len(first) == 0 or len(second) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    found = cKDTree(first).sparse_distance_matrix(cKDTree(second), _chord(radius_arcsec), output_type="ndarray")
    index1, index2 = found["i"].astype(np.int64), found["j"].astype(np.int64)
    separation = _arcsec_of_chord(found["v"])
    order = np.lexsort((separation, index1))
    return index1[order], index2[order], separation[order]


def groups_within(ra: ArrayLike, dec: ArrayLike, radius_arcsec: float) -> NDArray[np.int64]:
    """Return a group number for each position; positions linked by steps of at most ``radius_arcsec`` share one.

    Groups are numbered in the order of their first member.
    """
    points = unit_vectors(ra, dec)
    n = len(points)
    if n == 0:
        return np.empty(0, np.int64)
    pairs = cKDTree(points).query_pairs(_chord(radius_arcsec), output_type="ndarray")
    links = coo_array((np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, labels = connected_components(links, directed=False)
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return np.asarray(rank[inverse], dtype=np.int64)


def offset_position(
    ra: ArrayLike, dec: ArrayLike, east_arcsec: ArrayLike, north_arcsec: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return positions [deg] displaced by small offsets [arcsec] along east and north.

    The displacement is along the tangent plane (gnomonic), exact to first order and to 1e-6 of the offset below 1 deg.
    """
    ra_rad, dec_rad = (
        np.radians(np.asarray(ra, dtype=np.float64)),
        np.radians(np.asarray(dec, dtype=np.float64)),
    )
    xi, eta = np.asarray(east_arcsec) * ARCSEC, np.asarray(north_arcsec) * ARCSEC
    down = np.cos(dec_rad) - eta * np.sin(dec_rad)
    ra_new = ra_rad + np.arctan2(xi, down)
    dec_new = np.arctan2(np.sin(dec_rad) + eta * np.cos(dec_rad), np.hypot(xi, down))
    return np.degrees(ra_new) % 360.0, np.degrees(dec_new)
