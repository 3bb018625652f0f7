"""The list of positions to fetch, looked at before anything is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from legacylens.catalog.lists import read_columns, read_list
from legacylens.cutouts.quarantine import Rejection
from legacylens.errors import InputError
from legacylens.survey.sphere import separation_arcsec

SAME_POSITION_ARCSEC = 0.1
"""Rows of one source_id farther apart than this do not mean the same source."""


def read_positions(
    path: str | Path, column_map: Mapping[str, str] | None = None, *, limit: int | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """Read a list of positions: a table of this package, or any CSV, FITS, VOTable... with a column map.

    Parameters
    ----------
    path
        The list.
    column_map
        Quantity (name, ra, dec) -> column, as for `legacylens.catalog.lists.read_list`.
    limit
        Take the first so many rows; of known systems the most secure ones (``tier``), in the order of the list.

    Returns
    -------
    targets, remarks
        Columns source_id, ra, dec [deg], and a line for each thing that should be known about the list. Sources
        without a name are called by their position.

    Raises
    ------
    FileProblem
        If the list cannot be read, or its coordinates are wrong as a whole (RA in hours...).
    """
    raw = read_columns(path)
    columns = dict(column_map or {})
    ours = next((name for name in ("source_id", "system_id") if raw.find(name)), None)
    if ours and "name" not in columns:
        columns["name"] = ours
    objects = read_list(path, columns, quantities=("name",), raw=raw)
    frame = objects.frame
    if limit is not None:
        if ours and (tier := raw.find("tier")):
            rank = pd.to_numeric(raw.frame[tier], errors="coerce").iloc[frame["row"] - 1].to_numpy()
            frame = frame.iloc[np.sort(np.argsort(rank, kind="stable")[:limit])]
        frame = frame.head(limit)
    if "name" in frame:
        names = frame["name"].astype(str)
    else:
        names = pd.Series(
            [f"J{ra:.5f}{dec:+.5f}" for ra, dec in zip(frame["ra"], frame["dec"], strict=True)], dtype=str
        )
    # Tables of this package carry no units because their columns have fixed ones.
    remarks = [str(problem) for problem in objects.problems if not (ours and problem.reason == "no-unit")]
    return pd.DataFrame({"source_id": names, "ra": frame["ra"], "dec": frame["dec"]}), remarks


def wanted_positions(targets: pd.DataFrame) -> tuple[pd.DataFrame, list[Rejection]]:
    """Return each source once, in the order of the list, and reject what is no position.

    Parameters
    ----------
    targets
        Columns source_id, ra, dec [deg]; other types than numbers count as no position.

    Returns
    -------
    wanted, rejected
        Columns source_id, ra, dec of every source, and why some of them cannot be fetched.

    Raises
    ------
    InputError
        If a column is absent, or a source has no name.
    """
    lacking = [name for name in ("source_id", "ra", "dec") if name not in targets.columns]
    if lacking:
        raise InputError(
            f"the target table lacks the columns {', '.join(lacking)}: it needs source_id, ra and dec in degrees"
        )
    frame = pd.DataFrame(
        {
            "source_id": targets["source_id"].astype(str).str.strip(),
            "ra": pd.to_numeric(targets["ra"], errors="coerce").astype(np.float64),
            "dec": pd.to_numeric(targets["dec"], errors="coerce").astype(np.float64),
        }
    )
    if (frame["source_id"] == "").any():
        row = int(np.flatnonzero(frame["source_id"] == "")[0])
        raise InputError(f"row {row + 1} of the target table has an empty source_id: name every source")
    first = frame.drop_duplicates("source_id").set_index("source_id", drop=False)
    ra, dec = first["ra"].to_numpy(), first["dec"].to_numpy()
    is_position = (ra >= 0.0) & (ra < 360.0) & (np.abs(dec) <= 90.0)
    rejected = [
        Rejection(
            source_id=str(name),
            reason="bad-position",
            what=f"({ra_of_it}, {dec_of_it}) is no position",
            file="the target table",
            remedy="Give ra in [0, 360) and dec in [-90, 90] degrees.",
        )
        for name, ra_of_it, dec_of_it in zip(
            first["source_id"][~is_position], ra[~is_position], dec[~is_position], strict=True
        )
    ]
    of_row = first.loc[frame["source_id"]]
    apart = separation_arcsec(frame["ra"], frame["dec"], of_row["ra"], of_row["dec"])
    ambiguous = set(frame["source_id"][apart > SAME_POSITION_ARCSEC]) - {each.source_id for each in rejected}
    rejected += [
        Rejection(
            source_id=name,
            reason="ambiguous-position",
            what=f"rows with this source_id lie up to {apart[frame['source_id'] == name].max():.2f} arcsec apart",
            file="the target table",
            remedy="Give each source a name of its own.",
        )
        for name in sorted(ambiguous)
    ]
    return first.reset_index(drop=True), rejected
