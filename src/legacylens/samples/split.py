"""Splits by sky cell, with a guard ring, so that nothing seen in training is seen again in a test.

The split of an object follows from its position and the configuration alone; which other objects are in the table, and
in what order, changes nothing (but for groups that a chain of neighbors carries across a border: those are left out).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from legacylens.samples.config import GUARD, SPLITS, SampleConfig
from legacylens.survey.cells import cell_fraction, cell_of
from legacylens.survey.sphere import groups_within, offset_position

_RING_POINTS = 64
_RING_WIDENING = 1.15
"""A border is found by looking up the cells of points on a circle. Between points a corner of a cell could reach into
the circle unseen; on a circle 15 % wider every corner of at least 45 degrees that touches the guard spans a point."""
_CHUNK = 20_000


def split_of_cells(cell: ArrayLike, config: SampleConfig) -> NDArray[np.str_]:
    """Return the split of each nested HEALPix cell."""
    fraction = cell_fraction(cell, config.split_seed)
    edges = np.array([config.train_fraction, config.train_fraction + config.validation_fraction])
    return np.asarray(np.array(SPLITS)[np.searchsorted(edges, fraction, side="right")])


def touches_other_split(ra: ArrayLike, dec: ArrayLike, config: SampleConfig) -> NDArray[np.bool_]:
    """Return whether a cell of another split comes within ``guard_arcsec`` of each position [deg]."""
    ra, dec = np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)
    touches = np.zeros(len(ra), dtype=bool)
    if config.guard_arcsec == 0:
        return touches
    angles = np.arange(_RING_POINTS) * (2.0 * np.pi / _RING_POINTS)
    radius = _RING_WIDENING * config.guard_arcsec
    east, north = radius * np.cos(angles), radius * np.sin(angles)
    for start in range(0, len(ra), _CHUNK):
        part = slice(start, start + _CHUNK)
        own = split_of_cells(cell_of(ra[part], dec[part], config.nside), config)
        ring_ra, ring_dec = offset_position(ra[part, None], dec[part, None], east[None, :], north[None, :])
        ring = split_of_cells(cell_of(ring_ra.ravel(), ring_dec.ravel(), config.nside), config)
        touches[part] = (ring.reshape(len(own), -1) != own[:, None]).any(axis=1)
    return touches


def split_objects(objects: pd.DataFrame, config: SampleConfig) -> pd.DataFrame:
    """Send objects to train, validation, sealed or guard.

    Parameters
    ----------
    objects
        Columns ``source_id``, ``ra``, ``dec`` [deg].
    config
        Cells, fractions, guard ring and pair radius.

    Returns
    -------
    split
        In the order of ``objects``: ``cell`` (nested HEALPix), ``group`` (a ``source_id``: the first of its members in
        sorted order) and ``split``.

    Notes
    -----
    Sealed objects at a border stay sealed, and the ring is cut out of the other side alone: every pair of objects from
    two different splits is at least ``guard_arcsec`` apart. Because the guard is at least as wide as the pair radius,
    neighbors never straddle two splits; a longer chain might, through objects in the guard, and then all of it goes to
    the guard.
    """
    ra, dec = objects["ra"].to_numpy(np.float64), objects["dec"].to_numpy(np.float64)
    cell = cell_of(ra, dec, config.nside)
    split = split_of_cells(cell, config).astype(object)
    split[(split != "sealed") & touches_other_split(ra, dec, config)] = GUARD

    number = groups_within(ra, dec, config.pair_radius_arcsec)
    frame = pd.DataFrame({"number": number, "split": split, "source_id": objects["source_id"].to_numpy(str)})
    inside = frame[frame["split"] != GUARD]
    n_splits = inside.groupby("number")["split"].nunique()
    straddling = np.isin(number, n_splits.index[n_splits > 1])
    split[straddling] = GUARD
    name = frame.groupby("number")["source_id"].transform("min")
    return pd.DataFrame(
        {
            "cell": cell,
            "group": name,
            "split": pd.Series(split, dtype=str),
        }
    )
