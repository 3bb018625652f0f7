"""Which non-lenses are hard: objects that somebody has seen to be no lens.

Non-lenses come from two pools. The *representative* one (N1) is the sky: drawn in proportion to the lenses by type and
exposures, whatever the objects look like. The *hard* one (N2) is what people have looked at and rejected: rings,
spirals, mergers, edge-ons, rejected candidates, and objects that a first model took for lenses. A class made by cuts in
color or shape does not belong there: the "rings" of one published sample were bright ellipticals, which is what lens
galaxies are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from legacylens.catalog.lists import read_columns
from legacylens.errors import FileProblem, InputError
from legacylens.samples.config import SampleConfig
from legacylens.samples.draw import draw_matched, stable_order
from legacylens.samples.labels import LENS, NON_LENS, REASON_NOT_SEEN, REASON_SEEN, REASON_SUSPICIOUS, UNUSED
from legacylens.survey.sphere import match_within, nearest

REPRESENTATIVE, HARD = "representative", "hard"
"""The two pools: N1 and N2."""

INSPECTED = "inspected"
"""Class of an object that a person has rejected in the queue of suspicious non-lenses."""

VERDICTS: Mapping[str, tuple[str, ...]] = {
    "lens": ("lens", "yes", "y", "a", "b"),
    "maybe": ("maybe", "c", "?", "unsure", "possible"),
    "no": ("no", "n", "d", "non-lens", "not a lens", "nonlens"),
}
"""Verdict -> spellings, in any case. ``lens`` and ``maybe`` take an object out of the non-lenses, ``no`` makes it a
hard one."""

_REJECTED_TIER = 5


def read_verdicts(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Read what people said about objects.

    Parameters
    ----------
    paths
        Tables (CSV, FITS, Parquet...) with the columns ``source_id`` and ``verdict``. Rows without a verdict have not
        been looked at and are passed over.

    Returns
    -------
    verdicts
        ``source_id``, ``verdict`` (a key of `VERDICTS`), one row for each source, sorted. Where people differ, the
        verdict that keeps the object out of the non-lenses holds.

    Raises
    ------
    FileProblem
        If a table lacks a column or has a word that is no verdict (the row is named).
    """
    words = {spelling: verdict for verdict, spellings in VERDICTS.items() for spelling in spellings}
    frames = [pd.DataFrame({"source_id": pd.Series(dtype=str), "verdict": pd.Series(dtype=str)})]
    for path in paths:
        raw = read_columns(path)
        columns = {name: raw.find(name) for name in ("source_id", "verdict")}
        absent = [name for name, column in columns.items() if column is None]
        if absent:
            raise FileProblem(
                path,
                f"no column {' and '.join(absent)}; it has {', '.join(map(str, raw.frame.columns))}",
                "Give the table that `legacylens samples suspicious` wrote, with its column verdict filled in.",
                reason="missing-columns",
            )
        source_id = raw.frame[columns["source_id"]].astype(str).str.strip()
        said = raw.frame[columns["verdict"]].fillna("").astype(str).str.strip().str.lower()
        verdict = said.map(words)
        wrong = (said != "") & verdict.isna()
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise FileProblem(
                path,
                f"row {row + 1} ({source_id.iloc[row]}) has the verdict {said.iloc[row]!r} ({int(wrong.sum())} such "
                "rows)",
                "Write lens, maybe or no, or leave it empty.",
                reason="unknown-verdict",
            )
        frames.append(pd.DataFrame({"source_id": source_id, "verdict": verdict})[(said != "").to_numpy()])
    table = pd.concat(frames, ignore_index=True)
    order = {verdict: place for place, verdict in enumerate(VERDICTS)}
    table["order"] = table["verdict"].map(order)
    table = table.sort_values(["source_id", "order"]).drop_duplicates("source_id", ignore_index=True)
    return table[["source_id", "verdict"]].astype(str)


def apply_verdicts(
    objects: pd.DataFrame, labels: pd.DataFrame, verdicts: pd.DataFrame, config: SampleConfig
) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Take out what somebody takes for a lens, and everything that has it in its cutout.

    Parameters
    ----------
    objects
        Columns ``source_id``, ``ra``, ``dec`` [deg].
    labels
        Their labels and reasons.
    verdicts
        As `read_verdicts` returns them.
    config
        The exclusion radius.

    Returns
    -------
    labels
        A copy with the verdicts. A known lens of which somebody said "no" is neither lens nor non-lens: it is not to be
        seen in the survey's images.
    rejected
        Which non-lenses a person has rejected.
    """
    labels = labels.copy()
    said = objects["source_id"].map(verdicts.set_index("source_id")["verdict"])
    lens = (labels["label"] == LENS).to_numpy()
    suspicious = said.isin(["lens", "maybe"]).to_numpy() & ~lens
    ra, dec = objects["ra"].to_numpy(np.float64), objects["dec"].to_numpy(np.float64)
    _, separation = nearest(ra, dec, ra[suspicious], dec[suspicious])
    out = (separation <= config.exclusion_radius_arcsec) & (labels["label"] == NON_LENS).to_numpy()
    labels.loc[out, "label"] = UNUSED
    labels.loc[out, "reason"] = REASON_SUSPICIOUS
    no = (said == "no").to_numpy()
    labels.loc[lens & no, "label"] = UNUSED
    labels.loc[lens & no, "reason"] = REASON_NOT_SEEN
    return labels, no & (labels["label"] == NON_LENS).to_numpy()


def mark_contaminants(
    objects: pd.DataFrame,
    labels: pd.DataFrame,
    contaminants: pd.DataFrame,
    systems: pd.DataFrame,
    config: SampleConfig,
) -> tuple[pd.DataFrame, NDArray[np.str_]]:
    """Find the objects that lists of contaminants name.

    Parameters
    ----------
    objects
        Columns ``source_id``, ``ra``, ``dec`` [deg]: parents, so contaminants pass through the same selection
        function as lenses.
    labels
        Their labels and reasons.
    contaminants
        Columns ``ra``, ``dec`` [deg], ``class``, ``near_lens``, as `legacylens.catalog.contaminants` writes them.
    systems
        Known systems: ``ra``, ``dec``, ``tier``.
    config
        Radii.

    Returns
    -------
    labels
        A copy in which candidates that people have rejected (tier 5) are non-lenses, if no other known system is near.
        Without a list that names them they are neither.
    classes
        The class of each object, empty if no list names it.

    Raises
    ------
    InputError
        If the table lacks a column.
    """
    missing = [name for name in ("ra", "dec", "class", "near_lens") if name not in contaminants]
    if missing:
        raise InputError(f"the table of contaminants has no column {', '.join(missing)}")
    labels = labels.copy()
    classes = np.full(len(objects), "", dtype=object)
    usable = contaminants[contaminants["near_lens"].fillna("") == ""].reset_index(drop=True)
    there, here, separation = match_within(
        usable["ra"].to_numpy(np.float64),
        usable["dec"].to_numpy(np.float64),
        objects["ra"].to_numpy(np.float64),
        objects["dec"].to_numpy(np.float64),
        config.match_radius_arcsec,
    )
    claims = pd.DataFrame(
        {
            "there": there,
            "here": here,
            "separation": separation,
            "source_id": objects["source_id"].to_numpy(str)[here],
            "class": usable["class"].astype(str).to_numpy()[there],
        }
    )
    claims = claims.sort_values(["separation", "source_id"]).drop_duplicates("there").drop_duplicates("here")
    classes[claims["here"].to_numpy(np.int64)] = claims["class"].to_numpy()
    accepted = systems[systems["tier"] < _REJECTED_TIER]
    _, to_accepted = nearest(objects["ra"], objects["dec"], accepted["ra"], accepted["dec"])
    rejected = (classes != "") & (labels["tier"] == _REJECTED_TIER).to_numpy()
    rejected &= (labels["label"] == UNUSED).to_numpy() & (to_accepted > config.exclusion_radius_arcsec)
    labels.loc[rejected, "label"] = NON_LENS
    labels.loc[rejected, "reason"] = REASON_SEEN
    return labels, classes.astype(str)


def draw_split(part: pd.DataFrame, config: SampleConfig, ratio: float) -> tuple[pd.Series, pd.DataFrame]:
    """Draw the non-lenses of one split from both pools.

    Parameters
    ----------
    part
        The lenses and non-lenses of the split: ``source_id``, ``stratum``, ``label``, ``contaminant``, ``in_brick``
        (whether it may be a representative).
    config
        Share of the hard pool, seed.
    ratio
        Non-lenses for each lens, of both pools together.

    Returns
    -------
    pool
        In the order of ``part``: the pool from which an object was drawn; empty for lenses and what was not drawn.
    strata
        As `draw_matched` returns it, of the representative pool.
    """
    lens = (part["label"] == LENS).to_numpy()
    wanted = ratio * int(lens.sum())
    candidates = np.flatnonzero((~lens) & (part["contaminant"] != "").to_numpy())
    names = part["source_id"].to_numpy(str)
    order = np.lexsort((names[candidates], stable_order(names[candidates], config.draw_seed)))
    hard = candidates[order[: round(config.hard_fraction * wanted)]]
    pool = np.full(len(part), "", dtype=object)
    pool[hard] = HARD
    may = lens | part["in_brick"].to_numpy(bool)
    may[hard] = False
    rest = np.flatnonzero(may)
    kept, table = draw_matched(
        names[rest],
        part["stratum"].to_numpy()[rest],
        part["label"].to_numpy()[rest],
        ratio=(wanted - len(hard)) / max(int(lens.sum()), 1),
        seed=config.draw_seed,
    )
    pool[rest[kept & ~lens[rest]]] = REPRESENTATIVE
    return pd.Series(pool, index=part.index, dtype=str), table
