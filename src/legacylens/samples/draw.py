"""Which non-lenses are drawn: in proportion to the lenses, by Tractor type and number of z exposures.

Networks trained on non-lenses of another depth or type than the lenses learn the depth (Huang et al. 2021: galaxies
with ten or more passes were recommended five times as often); binning by both takes that away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray


def stable_order(source_id: ArrayLike, seed: int) -> NDArray[np.uint64]:
    """Return a number for each source that looks random and depends on its id and the seed alone (SHA-256)."""
    digests = (hashlib.sha256(f"{name}_{seed}".encode()).digest() for name in np.asarray(source_id, dtype=str))
    return np.fromiter((int.from_bytes(digest[:8], "big") for digest in digests), dtype=np.uint64)


def in_fraction(names: ArrayLike, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Return which names (of bricks) are among a fraction of all, by a hash of each alone."""
    distinct, place = np.unique(np.asarray(names, dtype=str), return_inverse=True)
    if fraction >= 1.0:
        return np.ones(len(place), dtype=bool)
    return np.asarray((stable_order(distinct, seed) / 2.0**64 < fraction)[place])


def strata(types: pd.Series, nobs_z: pd.Series, edges: Sequence[int]) -> pd.Series:
    """Return the bin of each object, e.g. ``SER 6-10``.

    Parameters
    ----------
    types
        Tractor types.
    nobs_z
        Numbers of z exposures.
    edges
        Lower edges of the bins; fewer exposures than the first edge count in the first bin.
    """
    names = [f"{low}-{high - 1}" for low, high in pairwise(edges)] + [f"{edges[-1]}+"]
    place = np.clip(np.searchsorted(np.asarray(edges), nobs_z.to_numpy(), side="right") - 1, 0, len(edges) - 1)
    return pd.Series(types.astype(str).str.strip() + " " + np.array(names)[place])


def draw_matched(
    source_id: ArrayLike, stratum: ArrayLike, label: ArrayLike, *, ratio: float, seed: int
) -> tuple[NDArray[np.bool_], pd.DataFrame]:
    """Draw non-lenses in proportion to the lenses of each stratum.

    Parameters
    ----------
    source_id, stratum, label
        Of the lenses (1) and non-lenses (0) of one split, shape (n,).
    ratio
        Non-lenses wanted for each lens.
    seed
        Of the order in which they are drawn.

    Returns
    -------
    kept
        Boolean, shape (n,): every lens, and the non-lenses that were drawn. If there are no more than ``ratio`` times
        the lenses in all, every non-lens is drawn and nothing is matched.
    strata
        One row for each stratum: ``stratum``, ``lenses``, ``wanted``, ``available``, ``drawn``.
    """
    frame = pd.DataFrame(
        {"source_id": np.asarray(source_id, dtype=str), "stratum": np.asarray(stratum), "label": np.asarray(label)}
    )
    lenses = frame[frame["label"] == 1].groupby("stratum").size()
    others = frame[frame["label"] == 0]
    available = others.groupby("stratum").size()
    table = pd.DataFrame({"lenses": lenses, "available": available}).fillna(0).astype(int).sort_index()
    scarce = len(others) <= ratio * int(table["lenses"].sum())
    table["wanted"] = table["available"] if scarce else (ratio * table["lenses"]).round().astype(int)
    table["drawn"] = np.minimum(table["wanted"], table["available"])

    kept = frame["label"].to_numpy() == 1
    others = others.assign(order=stable_order(others["source_id"], seed)).sort_values(["stratum", "order", "source_id"])
    place = others.groupby("stratum").cumcount()
    drawn = place < others["stratum"].map(table["drawn"])
    kept[others.index[drawn.to_numpy(bool)]] = True
    table.index.name = "stratum"
    return kept, table.reset_index()[["stratum", "lenses", "wanted", "available", "drawn"]]
