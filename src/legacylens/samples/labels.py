"""Lens, non-lens or neither: labels by position against every known system."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from legacylens.errors import InputError
from legacylens.samples.config import SampleConfig
from legacylens.survey.sphere import match_within, nearest

LENS, NON_LENS, UNUSED = 1, 0, -1
"""The three labels. A non-lens is an object that no list names: at 1 lens in 10,000 galaxies nearly all are true."""

REASON_LENS = "known lens"
REASON_NON_LENS = "no known lens near"
REASON_GRADE = "known system of a tier or grade that is not used"
REASON_SECOND = "another object of a known lens"
REASON_NEAR = "known lens in or near the cutout"
REASON_DUPLICATE = "same galaxy listed twice"
REASON_LEFT_OUT = "known lens of a list or channel that is left out"
REASON_NOT_DRAWN = "non-lens not drawn"
REASON_SEEN = "seen to be no lens"
REASON_NOT_SEEN = "known lens that somebody does not see in the image"
REASON_SUSPICIOUS = "looks like a lens to someone, or has such an object in its cutout"


_CARRIED = ("grade", "channel", "sources")


def label_objects(objects: pd.DataFrame, systems: pd.DataFrame, config: SampleConfig) -> pd.DataFrame:
    """Label objects by their distance to known systems.

    Parameters
    ----------
    objects
        Columns ``source_id``, ``ra``, ``dec`` [deg].
    systems
        Known systems: ``system_id``, ``ra``, ``dec`` [deg], ``tier``, ``grade`` and optionally ``channel`` and
        ``sources``. Systems of every tier keep non-lenses away.
    config
        Radii, and the tiers and grades that count as lenses.

    Returns
    -------
    labels
        In the order of ``objects``: ``label`` (1, 0, -1), ``reason``, then ``system_id``, ``tier``, ``grade``,
        ``channel`` and ``sources`` of the matched system (0 or empty where there is none) and
        ``lens_separation_arcsec`` to the nearest known system (inf if none is known).

    Notes
    -----
    Each system claims the nearest object within the match radius (ties by ``source_id``) and no other. An object that
    several systems claim belongs to the nearest of those in use.
    """
    n = len(objects)
    ra, dec = objects["ra"].to_numpy(np.float64), objects["dec"].to_numpy(np.float64)
    source_id = objects["source_id"].to_numpy(str)
    _, separation = nearest(ra, dec, systems["ra"], systems["dec"])

    label = np.full(n, NON_LENS, dtype=np.int8)
    reason = np.full(n, REASON_NON_LENS, dtype=object)
    matched = {name: np.full(n, "", dtype=object) for name in ("system_id", *_CARRIED)}
    tier = np.zeros(n, dtype=np.int8)

    near = separation <= config.exclusion_radius_arcsec
    label[near], reason[near] = UNUSED, REASON_NEAR

    system_index, object_index, distance = match_within(
        systems["ra"].to_numpy(np.float64), systems["dec"].to_numpy(np.float64), ra, dec, config.match_radius_arcsec
    )
    label[object_index], reason[object_index] = UNUSED, REASON_SECOND
    pairs = pd.DataFrame(
        {
            "system": system_index,
            "object": object_index,
            "distance": distance,
            "source_id": source_id[object_index],
            "tier": systems["tier"].to_numpy(np.int8)[system_index],
            "system_id": systems["system_id"].astype(str).to_numpy()[system_index],
            **{
                name: systems[name].fillna("").astype(str).to_numpy()[system_index] if name in systems else ""
                for name in _CARRIED
            },
        }
    )
    pairs["used"] = pairs["tier"] <= config.worst_tier
    if config.grades is not None:
        pairs["used"] &= pairs["grade"].isin(config.grades)
    claims = pairs.sort_values(["distance", "source_id"]).drop_duplicates("system")
    claims = claims.sort_values(["used", "distance", "system_id"], ascending=[False, True, True])
    claims = claims.drop_duplicates("object")
    claimed = claims["object"].to_numpy(np.int64)
    used = claims["used"].to_numpy(bool)
    label[claimed] = np.where(used, LENS, UNUSED)
    reason[claimed] = np.where(used, REASON_LENS, REASON_GRADE)
    tier[claimed] = claims["tier"].to_numpy()
    for name, values in matched.items():
        values[claimed] = claims[name].to_numpy()
    return pd.DataFrame(
        {
            "label": label,
            "reason": pd.Series(reason, dtype=str),
            "tier": tier,
            **{name: pd.Series(values, dtype=str) for name, values in matched.items()},
            "lens_separation_arcsec": separation,
        }
    )


def list_names(systems: pd.DataFrame) -> tuple[set[str], set[str]]:
    """Return the names of the lists (``sources``) and of the discovery channels of known systems."""

    def words(column: str, mark: str) -> set[str]:
        if column not in systems:
            return set()
        return {word.strip() for text in systems[column].fillna("").astype(str) for word in text.split(mark)} - {""}

    return words("sources", "|"), words("channel", "|")


def check_left_out(systems: pd.DataFrame, names: Collection[str]) -> None:
    """Refuse names of lists and channels that no known system has.

    Raises
    ------
    InputError
        With the names that there are.
    """
    lists, channels = list_names(systems)
    unknown = sorted(set(names) - lists - channels)
    if unknown:
        raise InputError(
            f"leave_out names {', '.join(unknown)}, but the known systems come from the lists "
            f"{', '.join(sorted(lists)) or '(none)'} and the channels {', '.join(sorted(channels)) or '(none)'}"
        )


def left_out(labels: pd.DataFrame, names: Collection[str]) -> NDArray[np.bool_]:
    """Return which lenses are known through the named lists alone, or were found through the named channels.

    Parameters
    ----------
    labels
        Columns ``label``, ``sources`` (separated by ``|``) and ``channel``.
    names
        Lists and channels.
    """
    if not names:
        return np.zeros(len(labels), dtype=bool)
    lists = [{part.strip() for part in text.split("|") if part.strip()} for text in labels["sources"]]
    only = np.array([bool(each) and each <= set(names) for each in lists])
    return np.asarray((labels["label"] == LENS).to_numpy() & (only | labels["channel"].isin(list(names)).to_numpy()))


def near_duplicates(objects: pd.DataFrame, label: np.ndarray, radius_arcsec: float) -> np.ndarray:
    """Return which objects repeat another one within a radius [arcsec].

    Of two objects closer than the radius the one with the higher label stays, then the one whose ``source_id`` comes
    first; the result does not depend on the order of the rows.

    Returns
    -------
    repeats
        Boolean, shape (n,): True for each object that has a preferred one within the radius.
    """
    ra, dec = objects["ra"].to_numpy(np.float64), objects["dec"].to_numpy(np.float64)
    source_id = objects["source_id"].to_numpy(str)
    preference = np.empty(len(objects), dtype=np.int64)
    preference[np.lexsort((source_id, -np.asarray(label, dtype=np.int64)))] = np.arange(len(objects))
    one, other, _ = match_within(ra, dec, ra, dec, radius_arcsec)
    repeats = np.zeros(len(objects), dtype=bool)
    repeats[one[preference[other] < preference[one]]] = True
    return repeats
