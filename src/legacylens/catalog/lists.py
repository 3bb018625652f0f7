"""A user's list of objects: CSV, TSV, FITS, VOTable, ECSV or Parquet, with a column map and units.

`read_columns` gives the raw columns of any of these; `read_list` gives checked positions and whatever else was asked
for. Text columns keep their text, because how a number was written tells how precise it is.
"""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy import units
from astropy.coordinates import Angle
from astropy.table import Table
from numpy.typing import NDArray

from legacylens.catalog.positions import (
    ListProblem,
    float32_step,
    list_problem,
    refuse_wrong_unit,
    usable_positions,
)
from legacylens.errors import FileProblem, InputError
from legacylens.files import read_parquet

GUESSES: Mapping[str, tuple[str, ...]] = {
    "ra": ("ra", "raj2000", "_raj2000", "ra_deg", "radeg", "ra_j2000", "alpha_j2000", "right_ascension", "target_ra"),
    "dec": ("dec", "dej2000", "_dej2000", "decj2000", "dec_deg", "decdeg", "de", "dec_j2000", "delta_j2000",
            "declination", "target_dec"),
    "name": ("name", "id", "objname", "system", "lens_name", "designation", "source_id"),
    "grade": ("grade", "grading", "quality"),
    "channel": ("channel", "discovery"),
    "kind": ("kind", "lens_type"),
    "class": ("class", "label", "morphology", "kind"),
    "ref": ("ref", "reference", "bibcode"),
    "z_l": ("z_l", "zl", "z_lens", "zlens", "zd"),
    "z_s": ("z_s", "zs", "z_source", "zsource", "z_src"),
    "theta_E": ("theta_e", "thetae", "theta_ein", "einstein_radius", "rein", "bsie"),
}  # fmt: skip
"""Quantity -> column names that mean it, tried in this order when no map names the column."""

_UNITS = {"ra": units.deg, "dec": units.deg, "theta_E": units.arcsec}
_UNIT_WORDS = {"hour": units.hourangle, "h": units.hourangle, "hourangle": units.hourangle, "hr": units.hourangle}
_TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".cat", ".dat")
_SEXAGESIMAL = re.compile(r"^\s*[+-]?\d+\s*[:h\s]\s*\d+\s*[:m\s]")


@dataclass(frozen=True, slots=True, kw_only=True)
class RawColumns:
    """The columns of a file, as they are in it."""

    path: str
    """The file."""
    frame: pd.DataFrame
    """The columns; of text files every value is text."""
    units: Mapping[str, str]
    """Column -> unit, where the file states one."""
    is_text: bool
    """Whether numbers come as text."""

    def find(self, name: str) -> str | None:
        """Return the column called ``name`` in any case, or None."""
        if name in self.frame:
            return name
        found = [str(column) for column in self.frame if str(column).lower() == name.lower()]
        return found[0] if found else None


def _split_header(names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Take units in brackets out of column names: ``RA [deg]`` is RA in deg."""
    plain, stated = [], {}
    for name in names:
        match = re.match(r"^(.*?)\s*[\[(]([^\])]*)[\])]\s*$", name.strip())
        if match and match[1]:
            plain.append(match[1])
            stated[match[1]] = match[2].strip()
        else:
            plain.append(name.strip())
    return plain, stated


def _read_text(path: Path) -> RawColumns:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileProblem(
            path, "not text, although its name says so", "Give a CSV, TSV, FITS, VOTable, ECSV or Parquet table.",
            reason="not-a-table",
        ) from error  # fmt: skip
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise FileProblem(path, "empty", "Give a table with a header line.", reason="empty")
    header = lines[0].lstrip("#").strip()
    if header.startswith("<"):
        raise FileProblem(
            path,
            "a page of HTML or XML, not a table of text",
            "Download it again, or name it .vot if it is a VOTable.",
            reason="not-a-table",
        )
    delimiter = next((mark for mark in ("\t", ",", "|", ";") if mark in header), None)
    body = [line for line in lines[1:] if not line.startswith("#")]
    if delimiter is None:
        rows = [line.split() for line in [header, *body]]
    else:
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO("\n".join([header, *body])),
                                                                       delimiter=delimiter)]  # fmt: skip
    names, stated = _split_header(rows[0])
    ragged = [place for place, row in enumerate(rows[1:], 1) if len(row) != len(names)]
    if ragged:
        raise FileProblem(
            path,
            f"row {ragged[0]} has {len(rows[ragged[0]])} cells but the header names {len(names)} columns "
            f"({len(ragged)} such rows)",
            "Quote cells that hold the delimiter, or download the file again if its last row is cut.",
            reason="ragged-rows",
        )
    return RawColumns(
        path=str(path), frame=pd.DataFrame(rows[1:], columns=names, dtype="str"), units=stated, is_text=True
    )


def _read_astropy(path: Path, kind: str) -> RawColumns:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # astropy warns of units outside the standard; they are reported below
            table = Table.read(path, format=kind)
    except Exception as error:  # each of astropy's parsers raises errors of its own
        raise FileProblem(
            path, f"cannot be read as {kind} ({error})", "Write it again, or give CSV.", reason="not-a-table"
        ) from error
    stated, columns = {}, {}
    for name in table.colnames:
        column = table[name]
        if column.ndim > 1:
            continue
        if column.unit is not None:
            stated[name] = str(column.unit)
        mask = np.asarray(getattr(column, "mask", np.zeros(len(table), dtype=bool)))
        values = np.asarray(column.filled() if hasattr(column, "filled") else column)
        if values.dtype.kind in "SUO":
            texts = [v.decode("utf-8", "replace").strip() if isinstance(v, bytes) else str(v).strip() for v in values]
            columns[name] = pd.Series(["" if hidden else v for v, hidden in zip(texts, mask, strict=True)], dtype="str")
        else:
            native = values.astype(values.dtype.newbyteorder("="))
            if mask.any():
                native = np.where(mask, np.nan, native.astype(np.float32 if native.dtype == np.float32 else float))
            columns[name] = pd.Series(native)
    return RawColumns(path=str(path), frame=pd.DataFrame(columns), units=stated, is_text=False)


def read_columns(path: str | Path) -> RawColumns:
    """Read all one-dimensional columns of a table file; the kind of file follows from its suffix.

    Raises
    ------
    FileProblem
        If the file is absent, empty, of an unknown kind or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise FileProblem(path, "no such list", "Check the path.", reason="missing")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    last = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else (suffixes or [""])[-1]
    if last in (".fits", ".fit"):
        return _read_astropy(path, "fits")
    if last in (".vot", ".votable", ".xml"):
        return _read_astropy(path, "votable")
    if last == ".ecsv":
        return _read_astropy(path, "ascii.ecsv")
    if last == ".parquet":
        return RawColumns(path=str(path), frame=read_parquet(path), units={}, is_text=False)
    if last in _TEXT_SUFFIXES:
        return _read_text(path)
    raise FileProblem(
        path, f"a table with the suffix {last or '(none)'!r} is not understood",
        f"Give {', '.join(_TEXT_SUFFIXES)}, .ecsv, .fits, .vot or .parquet.", reason="not-a-table",
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectList:
    """A list with checked positions."""

    path: str
    """The file."""
    frame: pd.DataFrame
    """``row`` (from 1), ``ra``, ``dec`` [deg], ``step`` (of the coordinates as written [arcsec]) and every quantity
    that was asked for and found: text as str, numbers as float64 in the units of this package."""
    rows: int
    """Rows in the file."""
    problems: tuple[ListProblem, ...]
    """Rows left out, and notes."""


def parse_column_map(text: str) -> dict[str, str]:
    """Parse ``ra=RAJ2000:hour,dec=DEJ2000`` into a column map.

    Raises
    ------
    InputError
        If a piece has no ``=`` or names an unknown quantity.
    """
    result = {}
    for piece in filter(None, (part.strip() for part in text.split(","))):
        quantity, mark, column = piece.partition("=")
        if not mark or not column or quantity not in GUESSES:
            raise InputError(
                f"column map piece {piece!r} is not QUANTITY=COLUMN or QUANTITY=COLUMN:UNIT with a quantity among "
                f"{', '.join(GUESSES)}"
            )
        result[quantity] = column
    return result


def _choose(raw: RawColumns, quantity: str, column_map: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Return the column for a quantity and its unit as stated by the map or the file."""
    if quantity in column_map:
        wanted, _, unit = column_map[quantity].partition(":")
        column = raw.find(wanted)
        if column is None:
            raise FileProblem(
                raw.path,
                f"no column {wanted!r} for {quantity}; it has {', '.join(map(str, raw.frame.columns))}",
                f"Name the column: --columns {quantity}=...",
                reason="missing-columns",
            )
        return column, unit or raw.units.get(column)
    for guess in GUESSES[quantity]:
        column = raw.find(guess)
        if column is not None:
            return column, raw.units.get(column)
    return None, None


def _numbers(raw: RawColumns, column: str) -> NDArray[np.float64]:
    values = raw.frame[column]
    return np.asarray(pd.to_numeric(values, errors="coerce"), dtype=np.float64)


def _unit(raw: RawColumns, quantity: str, stated: str) -> Any:
    try:
        return _UNIT_WORDS.get(stated.lower()) or units.Unit(stated)
    except ValueError as error:
        raise FileProblem(
            raw.path, f"{quantity} has the unknown unit {stated!r}", f"State it: --columns {quantity}=NAME:deg",
            reason="unknown-unit",
        ) from error  # fmt: skip


def _in_unit(raw: RawColumns, quantity: str, column: str, stated: str | None) -> NDArray[np.float64]:
    """Return a column of numbers in the unit of this package."""
    values = _numbers(raw, column)
    if stated is None or quantity not in _UNITS:
        return values
    unit = _unit(raw, quantity, stated)
    try:
        return np.asarray(values * float(unit.to(_UNITS[quantity])), dtype=np.float64)
    except units.UnitConversionError as error:
        raise FileProblem(
            raw.path, f"{quantity} is in {stated}, which is no unit of it", f"State it: --columns {quantity}=NAME:deg",
            reason="unknown-unit",
        ) from error  # fmt: skip


def _sexagesimal(texts: pd.Series, unit: Any) -> NDArray[np.float64]:
    """Parse ``12:34:56.7``-like text into degrees, NaN where it is none."""
    result = np.full(len(texts), np.nan)
    for place, text in enumerate(texts):
        if _SEXAGESIMAL.match(text):
            try:
                result[place] = Angle(text, unit=unit).deg
            except ValueError:
                continue  # stays NaN and is reported as a row without a position
    return result


def _coordinate(
    raw: RawColumns, quantity: str, column: str, stated: str | None
) -> tuple[NDArray[np.float64], float, list[ListProblem]]:
    """Return a coordinate [deg], its step as written [arcsec], and what should be known about it."""
    values = raw.frame[column]
    notes: list[ListProblem] = []
    whole = np.ones(len(values), dtype=bool)
    if pd.api.types.is_string_dtype(values):
        sexagesimal = values.str.match(_SEXAGESIMAL.pattern)
        if sexagesimal.mean() > 0.5:
            default = units.hourangle if quantity == "ra" else units.deg
            return _sexagesimal(values, default if stated is None else _unit(raw, quantity, stated)), 0.0, notes
    degrees = _in_unit(raw, quantity, column, stated)
    if stated is None:
        notes += list_problem(
            raw.path, "no-unit", f"{quantity} has no unit and is taken as degrees", whole, left_out=False
        )
    step, coarse = 0.0, 0.0
    if pd.api.types.is_string_dtype(values):
        decimals = values.str.extract(r"\.(\d+)\s*$")[0].str.len().fillna(0)
        scale = float(_unit(raw, quantity, stated).to(units.deg)) if stated else 1.0
        places = np.asarray(decimals, dtype=np.int64)
        step = float(10.0 ** -np.median(places)) * 3600.0 * scale
        if quantity == "ra" and stated in (None, "deg"):
            coarse = float32_step(degrees, places)
    elif values.dtype == np.float32:
        coarse = float(np.nanmax(np.spacing(np.abs(values.to_numpy())), initial=0.0)) * 3600.0
    elif quantity == "ra" and stated in (None, "deg"):
        coarse = float32_step(degrees, None)
    if coarse:
        notes += list_problem(
            raw.path,
            "float32",
            f"{quantity} went through float32: steps of up to {coarse:.2f} arcsec; write coordinates as float64",
            whole,
            left_out=False,
        )
    return degrees, max(step, coarse), notes


def read_list(
    path: str | Path,
    column_map: Mapping[str, str] | None = None,
    *,
    quantities: Sequence[str] = (),
    raw: RawColumns | None = None,
) -> ObjectList:
    """Read a list of objects and check its positions.

    Parameters
    ----------
    path
        CSV, TSV, whitespace-separated text, ECSV, FITS, VOTable or Parquet.
    column_map
        Quantity -> column name, or ``name:unit`` where the file states no unit or a wrong one (deg, hour, rad,
        arcsec...). Quantities that are not in the map are looked for under their usual names.
    quantities
        What to read beside the position: keys of `GUESSES`.
    raw
        The columns, if they have been read already.

    Raises
    ------
    FileProblem
        If the file cannot be read, has no RA or Dec column, or its coordinates are wrong as a whole: RA in hours,
        radians, swapped columns, unknown units.
    """
    raw = raw or read_columns(path)
    column_map = column_map or {}
    chosen = {quantity: _choose(raw, quantity, column_map) for quantity in ("ra", "dec", *quantities)}
    absent = [quantity for quantity in ("ra", "dec") if chosen[quantity][0] is None]
    if absent:
        raise FileProblem(
            raw.path,
            f"no column for {' and '.join(absent)}; it has {', '.join(map(str, raw.frame.columns))}",
            "Name them: --columns ra=...,dec=...",
            reason="missing-columns",
        )
    problems: list[ListProblem] = []
    content: dict[str, Any] = {"row": np.arange(1, len(raw.frame) + 1)}
    steps = []
    for quantity in ("ra", "dec"):
        column, stated = chosen[quantity]
        content[quantity], step, notes = _coordinate(raw, quantity, str(column), stated)
        steps.append(step)
        problems += notes
    content["step"] = np.full(len(raw.frame), max(steps))
    for quantity in quantities:
        column, stated = chosen[quantity]
        if column is None:
            continue
        if quantity in ("z_l", "z_s", "theta_E"):
            content[quantity] = _in_unit(raw, quantity, column, stated)
        else:
            content[quantity] = raw.frame[column].astype("str").str.strip()
    names = list(content["name"]) if "name" in content else [""] * len(raw.frame)
    if any(chosen[quantity][1] is None for quantity in ("ra", "dec")):
        refuse_wrong_unit(raw.path, content["ra"], content["dec"], names)
    content["ra"], good, found = usable_positions(raw.path, content["ra"], content["dec"])
    problems += found
    frame = pd.DataFrame(content)
    twice = good & raw.frame.duplicated().to_numpy()
    problems += list_problem(raw.path, "duplicate", "the same row comes more than once: counted once", twice)
    keys = ["ra", "dec", *(["name"] if "name" in frame else [])]
    again = good & ~twice & frame.duplicated(keys).to_numpy()
    problems += list_problem(
        raw.path,
        "same-object",
        "the name and position of an earlier row with other entries: both are kept",
        again,
        left_out=False,
    )
    return ObjectList(
        path=raw.path,
        frame=frame[good & ~twice].reset_index(drop=True),
        rows=len(raw.frame),
        problems=tuple(problems),
    )
