"""The parent sample: which sources of the survey are searched at all.

One function, `select_parent`, decides for every class of object: parents, lenses, contaminants and negatives pass
through the same cuts, because a class that is cut differently can be told from the others by its cuts. The cuts are
those of Storfer et al. 2024 and Inchausti et al. 2025 (types SER, DEV, REX, EXP; z < 20 corrected for extinction; at
least 3 exposures in g, r and z), and the mask bits of pixels that cannot be trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, field_validator

from legacylens.catalog.sweeps import COLUMNS
from legacylens.errors import InputError
from legacylens.photometry import magnitude
from legacylens.settings import Settings
from legacylens.survey.bands import BANDS, TYPES
from legacylens.survey.maskbits import mask_value

OLDER_TYPES = ("SIMP", "COMP")
"""Types of DR8 and before; DR9 has REX and SER in their place."""


class ParentCuts(Settings):
    """The cuts of the parent sample."""

    types: tuple[str, ...] = ("SER", "DEV", "REX", "EXP")
    """Tractor types that are kept. For DR8 and before, COMP stands where SER is today."""

    z_mag_max: float = Field(default=20.0, gt=10.0, lt=30.0)
    """Faint limit in z, corrected for Galactic extinction, exclusive [AB mag]."""

    nobs_min: int = Field(default=3, ge=0)
    """Least number of exposures, in each of g, r and z."""

    dec_min: float = Field(default=-90.0, ge=-90, le=90)
    """Least declination [deg]."""

    dec_max: float = Field(default=90.0, ge=-90, le=90)
    """Largest declination [deg]. Inchausti et al. 2025 stayed below +32, where one camera has seen everything."""

    maskbits_excluded: tuple[str, ...] = (
        "NPRIMARY",
        "BRIGHT",
        "SATUR_G",
        "SATUR_R",
        "SATUR_Z",
        "ALLMASK_G",
        "ALLMASK_R",
        "ALLMASK_Z",
        "BAILOUT",
    )
    """Names of mask bits of which none may be set. MEDIUM, GALAXY and CLUSTER are not among them: they say what is
    near, and lenses near a large galaxy or a faint star are still to be found."""

    @field_validator("types")
    @classmethod
    def _known_types(cls, types: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in types if name not in TYPES + OLDER_TYPES]
        if unknown or not types:
            raise ValueError(f"unknown types {unknown}: choose from {', '.join(TYPES + OLDER_TYPES)}")
        if "DUP" in types:
            raise ValueError("DUP rows have no optical flux, they cannot be parents")
        return types

    @field_validator("maskbits_excluded")
    @classmethod
    def _known_bits(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        try:
            mask_value(*names)
        except InputError as error:
            raise ValueError(str(error)) from error
        return names


CUT_COLUMNS = (
    "release",
    "brickid",
    "brickname",
    "objid",
    "type",
    "ra",
    "dec",
    "flux_z",
    "mw_transmission_z",
    "nobs_g",
    "nobs_r",
    "nobs_z",
    "maskbits",
)
"""Columns without which no selection can be made and no source named."""

PARENT_UNITS: Mapping[str, str] = {
    "source_id": "",
    **{name: column.unit for name, column in COLUMNS.items()},
    **{f"mag_{band}": "mag" for band in BANDS},
}
"""Columns of the parent table with their units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutCount:
    """How many rows one reason removed, and how many were left after it."""

    cut: str
    """Stable name of the reason."""
    meaning: str
    """What it means."""
    removed: int
    """Rows removed by it that nothing before it had removed."""
    left: int
    """Rows left."""


def source_ids(release: pd.Series, brickid: pd.Series, objid: pd.Series) -> pd.Series:
    """Return ``release_brickid_objid`` of each row: unique in the survey."""
    return release.astype(str) + "_" + brickid.astype(str) + "_" + objid.astype(str)


def dereddened_magnitude(frame: pd.DataFrame, band: str) -> NDArray[np.float64]:
    """Return the AB magnitude in ``band`` corrected for Galactic extinction; NaN for a flux that is not positive."""
    flux = frame[f"flux_{band}"].to_numpy(dtype=np.float64)
    transmission = frame[f"mw_transmission_{band}"].to_numpy(dtype=np.float64)
    usable = np.isfinite(flux) & np.isfinite(transmission) & (transmission > 0)
    corrected = np.divide(flux, transmission, out=np.full(len(flux), np.nan), where=usable)
    return magnitude(np.where(usable, corrected, np.nan))


def select_parent(frame: pd.DataFrame, cuts: ParentCuts) -> tuple[NDArray[np.bool_], list[CutCount]]:
    """Decide which sources belong to the parent sample.

    A comparison with NaN is false, and every cut is written as what must be true, so that NaN never passes.

    Parameters
    ----------
    frame
        Rows with the columns of `CUT_COLUMNS`, as `iter_sweep` gives them. If there is a column ``brick_primary``
        (Tractor files have it, sweeps hold only primary rows), it must be true.
    cuts
        The cuts.

    Returns
    -------
    mask
        True for the rows that pass every cut.
    counts
        What each cut removed, in the order of the cuts; the first entry is the number of rows read.

    Raises
    ------
    InputError
        If a column is missing.
    """
    missing = [name for name in CUT_COLUMNS if name not in frame]
    if missing:
        raise InputError(f"the table of sources lacks {', '.join(missing)}: a parent selection needs them")
    ra, dec = frame["ra"].to_numpy(dtype=np.float64), frame["dec"].to_numpy(dtype=np.float64)
    kind = frame["type"]
    bits = frame["maskbits"].to_numpy(dtype=np.int64)
    in_dec = (dec >= cuts.dec_min) & (dec <= cuts.dec_max)
    steps: list[tuple[str, str, NDArray[np.bool_]]] = [
        ("bailout", "rows of a brick that was given up, RA = Dec = 0", ~((ra == 0) & (dec == 0))),
        (
            "position",
            "RA or Dec outside [0, 360) and [-90, 90], or NaN",
            (ra >= 0) & (ra < 360) & (np.abs(dec) <= 90),
        ),
        *(
            [("declination", f"Dec outside of {cuts.dec_min:g} to {cuts.dec_max:g} deg", in_dec)]
            if (cuts.dec_min, cuts.dec_max) != (-90.0, 90.0)
            else []
        ),
        ("duplicate", "type DUP: a source counted elsewhere, without optical flux", (kind != "DUP").to_numpy()),
        ("type", f"type not one of {', '.join(cuts.types)}", kind.isin(cuts.types).to_numpy()),
    ]
    if "brick_primary" in frame:
        steps.append(("primary", "not in its brick's own area", frame["brick_primary"].to_numpy(dtype=bool)))
    steps += [
        (
            f"nobs_{band}",
            f"fewer than {cuts.nobs_min} exposures in {band}",
            frame[f"nobs_{band}"].to_numpy() >= cuts.nobs_min,
        )
        for band in BANDS
    ]
    z_mag = dereddened_magnitude(frame, "z")
    steps += [
        ("no_z_flux", "flux in z not positive, or NaN", np.isfinite(z_mag)),
        ("z_mag", f"z >= {cuts.z_mag_max:g} corrected for extinction", z_mag < cuts.z_mag_max),
        (
            "maskbits",
            f"one of {', '.join(cuts.maskbits_excluded)} set",
            (bits & mask_value(*cuts.maskbits_excluded)) == 0,
        ),
    ]
    passed = np.ones(len(frame), dtype=bool)
    counts = [CutCount(cut="rows", meaning="rows read", removed=0, left=len(frame))]
    for name, meaning, condition in steps:
        before = int(passed.sum())
        passed &= np.asarray(condition, dtype=bool)
        left = int(passed.sum())
        counts.append(CutCount(cut=name, meaning=meaning, removed=before - left, left=left))
    return passed, counts


def add_counts(parts: Sequence[Sequence[CutCount]]) -> list[CutCount]:
    """Add the counts of several blocks or files, cut by cut, in the order in which the cuts first appear.

    A cut that only some parts have (``primary``) removed nothing in the others; ``left`` is made from the sums.
    """
    meaning: dict[str, str] = {}
    removed: dict[str, int] = {}
    total = 0
    order: list[str] = []
    for part in parts:
        for place, count in enumerate(part):
            if count.cut not in removed:
                before = part[place - 1].cut if place else None
                order.insert(order.index(before) + 1 if before else len(order), count.cut)
                removed[count.cut], meaning[count.cut] = 0, count.meaning
            removed[count.cut] += count.removed
            if count.cut == "rows":
                total += count.left
    result = []
    left = total
    for cut in order:
        left -= removed[cut]
        result.append(CutCount(cut=cut, meaning=meaning[cut], removed=removed[cut], left=left))
    return result


def parent_rows(frame: pd.DataFrame, mask: NDArray[np.bool_]) -> pd.DataFrame:
    """Return the selected rows as a parent table: ``source_id`` first, then the survey's columns, then magnitudes."""
    rows = frame.loc[mask]
    ids = source_ids(rows["release"], rows["brickid"], rows["objid"]).astype("str")
    table = rows[[name for name in COLUMNS if name in rows]].copy()
    table.insert(0, "source_id", ids)
    for band in BANDS:
        table[f"mag_{band}"] = dereddened_magnitude(rows, band)
    return table.reset_index(drop=True)
