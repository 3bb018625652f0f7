"""The list of positions to fetch, looked at before anything is asked for."""

from __future__ import annotations

import numpy as np
import pandas as pd

from legacylens.cutouts.quarantine import Rejection
from legacylens.errors import InputError
from legacylens.survey.sphere import separation_arcsec

SAME_POSITION_ARCSEC = 0.1
"""Rows of one source_id farther apart than this do not mean the same source."""


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
