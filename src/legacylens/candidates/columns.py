"""The columns of a candidate list: type, unit, UCD and meaning of each, in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from legacylens.errors import InputError
from legacylens.survey.bands import BANDS

Kind = Literal["text", "integer", "real32", "real", "truth"]

DTYPES: dict[Kind, str] = {"integer": "int64", "real32": "float32", "real": "float64", "truth": "bool"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a candidate list."""

    name: str
    """Name, the same in every format."""
    kind: Kind
    """Type of the values."""
    description: str
    """What it means, at most 68 characters, so that it fits a FITS card."""
    unit: str = ""
    """Unit as the survey spells it (nanomaggies, which are no FITS unit, included); empty for none."""
    ucd: str = ""
    """Unified content descriptor (IVOA UCD1+); empty where none fits."""


def _column(name: str, kind: Kind, description: str, unit: str = "", ucd: str = "") -> Column:
    return Column(name=name, kind=kind, description=description, unit=unit, ucd=ucd)


_LETTER = {"g": "em.opt.B", "r": "em.opt.R", "z": "em.opt.I"}

COLUMNS: tuple[Column, ...] = (
    _column("rank", "integer", "place in the list, 1 is the best", ucd="meta.number"),
    _column("name", "text", "IAU designation, truncated position", ucd="meta.id;meta.main"),
    _column("desi_name", "text", "survey community's form, rounded position", ucd="meta.id"),
    _column("source_id", "text", "release_brickid_objid of the center", ucd="meta.id"),
    _column("ra", "real", "right ascension of the center, J2000", "deg", "pos.eq.ra;meta.main"),
    _column("dec", "real", "declination of the center, J2000", "deg", "pos.eq.dec;meta.main"),
    _column("score", "real", "score of the center, 0 to 1, no probability", ucd="stat.likelihood"),
    _column("logit", "real", "logarithm of score / (1 - score), for ranking"),
    _column("n_members", "integer", "selected objects in the system, center included", ucd="meta.number"),
    _column("members", "text", "their source_id, best first, separated by ;", ucd="meta.id.assoc"),
    _column("in_training", "truth", "whether a member was in the training split", ucd="meta.code"),
    _column("split", "text", "split of the center, empty if in no sample", ucd="meta.code"),
    _column("trained_as", "text", "label of the member that was trained on", ucd="meta.code.class"),
    _column("is_known", "truth", "whether a known system lies at a member", ucd="meta.code"),
    _column("known_system", "text", "id of the nearest known system", ucd="meta.id.cross"),
    _column("known_separation", "real", "its distance from the nearest member", "arcsec", "pos.angDistance"),
    _column("known_grade", "text", "its best grade", ucd="meta.code.qual"),
    _column("known_grades", "text", "its grades, each with its list", ucd="meta.code.qual"),
    _column("known_names", "text", "its names in all lists", ucd="meta.id.cross"),
    _column("type", "text", "Tractor type of the center", ucd="src.morph.type"),
    _column("brickname", "text", "brick of the center", ucd="obs.field"),
    *(_column(f"mag_{b}", "real", f"AB magnitude in {b}, corrected for extinction", "mag", f"phot.mag;{_LETTER[b]}")
      for b in BANDS),
    *(_column(f"flux_{b}", "real32", f"flux in {b}, not corrected", "nanomaggy", f"phot.flux;{_LETTER[b]}")
      for b in BANDS),
    *(_column(f"flux_ivar_{b}", "real32", f"inverse variance of flux_{b}", "nanomaggy^-2",
              f"stat.weight;phot.flux;{_LETTER[b]}") for b in BANDS),
    *(_column(f"nobs_{b}", "integer", f"exposures in {b} at the center", ucd="meta.number") for b in BANDS),
    *(_column(f"psfsize_{b}", "real32", f"seeing in {b}, FWHM", "arcsec", "instr.obsty.seeing") for b in BANDS),
    *(_column(f"psfdepth_{b}", "real32", f"inverse variance of a point source's flux in {b}", "nanomaggy^-2",
              "phot.flux;stat.weight") for b in BANDS),
    _column("ebv", "real32", "Galactic reddening E(B-V)", "mag", "phot.color.excess"),
    _column("shape_r", "real32", "half-light radius of the Tractor model", "arcsec", "phys.angSize"),
    _column("sersic", "real32", "Sersic index of the Tractor model", ucd="src.morph.param"),
    _column("maskbits", "integer", "MASKBITS at the center", ucd="meta.code"),
)  # fmt: skip
"""Every column that a candidate list may have; those of the survey that a parent table lacks are left out."""

REQUIRED = tuple(column.name for column in COLUMNS[:21])
"""Columns that every list has."""


def columns_of(frame: pd.DataFrame) -> tuple[Column, ...]:
    """Return the columns that a list has, in order.

    Raises
    ------
    InputError
        If a column is missing or unknown.
    """
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        raise InputError(f"the candidate list has no column {', '.join(missing)}")
    known = {column.name for column in COLUMNS}
    unknown = [str(name) for name in frame.columns if name not in known]
    if unknown:
        raise InputError(f"no description of column {', '.join(unknown)} in a candidate list")
    return tuple(column for column in COLUMNS if column.name in frame.columns)


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the list with its columns in order and each of its declared type; text has no missing values."""
    result: dict[str, pd.Series] = {}
    for column in columns_of(frame):
        values = frame[column.name].reset_index(drop=True)
        if column.kind == "text":
            # FITS drops blanks at the end of a text, so they are dropped everywhere.
            result[column.name] = values.fillna("").astype(str).str.strip()
        else:
            result[column.name] = values.astype(np.dtype(DTYPES[column.kind]))
    return pd.DataFrame(result)
