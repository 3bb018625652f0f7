"""One row for each system: the same arc is often found from two centers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from legacylens.survey.sphere import match_within


@dataclass(frozen=True, slots=True, kw_only=True)
class Systems:
    """Which objects are centers, and to which center each object belongs."""

    center: NDArray[np.int64]
    """Indices of the centers, best first, shape (n_systems,)."""
    system_of: NDArray[np.int64]
    """Rank of each object's system (0 is the best), -1 for objects in none, shape (n,)."""


def group_systems(
    ra: ArrayLike,
    dec: ArrayLike,
    value: ArrayLike,
    source_id: ArrayLike,
    *,
    radius_arcsec: float,
    top_n: int | None = None,
) -> Systems:
    """Return systems, best first.

    Parameters
    ----------
    ra, dec
        Positions [deg], shape (n,).
    value
        Ranking score, finite, shape (n,).
    source_id
        Ids, which break ties of the score.
    radius_arcsec
        Objects within this radius of a center are members of its system.
    top_n
        Stop after this many systems. Objects that score below the last center are then in no system, even near one:
        the list is that of a threshold at the last center's score.

    Notes
    -----
    Greedy: the best object that is in no system yet becomes a center and takes every free object within the radius.
    Unlike linking neighbors to neighbors this cannot chain through a cluster of galaxies: every member is within the
    radius of its center, and two centers are farther apart than the radius. The result does not depend on the order of
    the rows.
    """
    ra, dec = np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)
    n = len(ra)
    order = np.lexsort((np.asarray(source_id, dtype=str), -np.asarray(value, dtype=np.float64)))
    # Worse objects never change what happens to better ones, so a short list out of millions needs few of them.
    n_best = n if top_n is None else min(n, max(4 * top_n, 1000))
    while True:
        best = order[:n_best]
        centers, system_of_best = _greedy(ra[best], dec[best], radius_arcsec, top_n)
        if n_best == n or (top_n is not None and len(centers) == top_n):
            break
        n_best = min(n, 4 * n_best)
    system_of = np.full(n, -1, dtype=np.int64)
    system_of[best] = system_of_best
    return Systems(center=np.asarray(best[centers], dtype=np.int64), system_of=system_of)


def _greedy(
    ra: NDArray[np.float64], dec: NDArray[np.float64], radius_arcsec: float, top_n: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the centers of positions that stand in order, best first, and the system of each position."""
    n = len(ra)
    one, other, _ = match_within(ra, dec, ra, dec, radius_arcsec)
    start = np.searchsorted(one, np.arange(n + 1))
    system_of = np.full(n, -1, dtype=np.int64)
    centers: list[int] = []
    for index in range(n):
        if system_of[index] >= 0:
            continue
        neighbors = other[start[index] : start[index + 1]]
        system_of[neighbors[system_of[neighbors] < 0]] = len(centers)
        centers.append(index)
        if len(centers) == top_n:
            system_of[index + 1 :] = -1
            break
    return np.array(centers, dtype=np.int64), system_of
