"""Are these numbers positions in degrees? Checks that find hours, radians, swapped columns and coarse steps.

A list whose coordinates are wrong as a whole is refused with the remedy; a row whose coordinates are wrong is left
out and counted. Which of the two it is, is decided here, and only here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from legacylens.errors import FileProblem
from legacylens.survey.sphere import separation_arcsec

ROWS_SHOWN = 5
"""How many row numbers a message names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListProblem:
    """Something that is wrong with rows of a list, or should be known about all of it."""

    path: str
    """The file."""
    reason: str
    """Stable word for counting."""
    message: str
    """What is wrong and what to do."""
    count: int
    """Number of rows concerned."""
    rows: tuple[int, ...]
    """The first of them, counted from 1 below the header."""
    left_out: bool
    """Whether the rows were left out (otherwise this is a note)."""

    def __str__(self) -> str:
        """Return one line for the terminal."""
        shown = ", ".join(str(row) for row in self.rows)
        rows = f" ({self.count:,} rows: {shown}{'...' if self.count > len(self.rows) else ''})" if self.rows else ""
        return f"{self.path}: {self.message}{rows}"


def list_problem(
    path: str, reason: str, message: str, bad: NDArray[np.bool_], *, left_out: bool = True
) -> list[ListProblem]:
    """Return the problem of the rows where ``bad`` is true, or nothing if it is true nowhere."""
    places = np.flatnonzero(bad)
    if len(places) == 0:
        return []
    return [
        ListProblem(
            path=path,
            reason=reason,
            message=message,
            count=len(places),
            rows=tuple(int(place) + 1 for place in places[:ROWS_SHOWN]),
            left_out=left_out,
        )
    ]


def refuse_wrong_unit(path: str, ra: NDArray[np.float64], dec: NDArray[np.float64], names: Sequence[str]) -> None:
    """Refuse a list whose unstated unit is not the degree, or whose columns are swapped.

    Hours are recognized by an RA column that fills more than half of [0, 24) and never leaves it, or by names that
    carry the position; radians likewise below 2 pi with declinations below pi/2.

    Raises
    ------
    FileProblem
        With the option that states the unit.
    """
    finite = np.isfinite(ra) & np.isfinite(dec)
    if not finite.any():
        return
    ra_good, dec_good = ra[finite], dec[finite]
    beyond = np.abs(dec_good) > 90
    if beyond.mean() > 0.1 and np.all(np.abs(ra_good) <= 90):
        row = int(np.flatnonzero(np.abs(np.nan_to_num(dec)) > 90)[0]) + 1
        raise FileProblem(
            path,
            f"RA and Dec look swapped: row {row} has Dec = {dec[row - 1]:g} deg, and no RA is above 90 deg",
            "Name the columns: --columns ra=...,dec=...",
            reason="swapped-columns",
        )
    if np.any(ra_good < 0) or np.any(beyond) or ra_good.max() >= 24:
        return
    if len(ra_good) >= 8 and ra_good.max() <= 2 * np.pi and np.abs(dec_good).max() <= np.pi / 2 and np.ptp(ra_good) > 3:
        raise FileProblem(
            path,
            f"RA looks like radians: all {len(ra_good):,} values lie between {ra_good.min():g} and {ra_good.max():g} "
            f"(row 1: RA {ra[0]:g}, Dec {dec[0]:g})",
            "State the unit: --columns ra=NAME:rad,dec=NAME:rad (or :deg if it is right).",
            reason="radians",
        )
    name_ra, name_dec, _ = positions_in_names(names)
    named = np.isfinite(name_ra) & finite & (ra > 0.5)
    hours_by_name = False
    if named.sum() >= 3:
        as_degrees = separation_arcsec(ra[named], dec[named], name_ra[named], name_dec[named])
        as_hours = separation_arcsec(15 * ra[named], dec[named], name_ra[named], name_dec[named])
        hours_by_name = bool(np.mean((as_hours < 1800) & (as_degrees > 3600)) > 0.5)
    if hours_by_name or (len(ra_good) >= 3 and np.ptp(ra_good) > 12):
        raise FileProblem(
            path,
            f"RA looks like hours: all {len(ra_good):,} values lie between {ra_good.min():g} and {ra_good.max():g} "
            f"(row 1: RA {ra[0]:g})" + (", and the names say so" if hours_by_name else ""),
            "State the unit: --columns ra=NAME:hour (or ra=NAME:deg if it is right).",
            reason="ra-in-hours",
        )


def usable_positions(
    path: str, ra: NDArray[np.float64], dec: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], list[ListProblem]]:
    """Find the rows with a position on the sky.

    Returns
    -------
    ra
        RA with [-180, 0) wrapped into [180, 360) and 360 to 0 [deg].
    good
        Which rows can be used.
    problems
        Why the others cannot.
    """
    empty = ~(np.isfinite(ra) & np.isfinite(dec))
    wrapped = ~empty & (((ra >= -180) & (ra < 0)) | (ra == 360))
    ra = np.where(wrapped, ra % 360.0, ra)
    bad_dec = ~empty & ~(np.abs(dec) <= 90)
    bad_ra = ~empty & ~bad_dec & ~((ra >= 0) & (ra < 360))
    origin = ~empty & (ra == 0) & (dec == 0)
    problems = [
        *list_problem(path, "no-position", "RA or Dec is empty, masked or not a number: fill it in", empty),
        *list_problem(path, "dec-out-of-range", "Dec is outside [-90, 90] deg: correct it or its unit", bad_dec),
        *list_problem(path, "ra-out-of-range", "RA is outside [-180, 360] deg: correct it or its unit", bad_ra),
        *list_problem(path, "zero-position", "RA = Dec = 0 stands for a position that is not known", origin),
        *list_problem(
            path, "ra-wrapped", "RA was outside [0, 360) deg and is taken modulo 360", wrapped, left_out=False
        ),
    ]
    return ra, ~(empty | bad_dec | bad_ra | origin), problems


def float32_step(ra: NDArray[np.float64], decimals: NDArray[np.int64] | None) -> float:
    """Return the step of an RA column that went through float32, 0 if it did not.

    A number stored in float64 betrays it by being exactly a float32. A number written as text betrays it by being the
    shortest text of a float32, or its expansion; a decimal number that never was one would be that only by chance,
    with a probability of (spacing of decimals) / (spacing of float32) where that is below 1. The evidence of all
    rows is added; below one in a million the chance is ruled out.

    Parameters
    ----------
    ra
        RA as read [deg].
    decimals
        Decimals with which each number was written, None if the column is binary.

    Returns
    -------
    step
        Largest spacing of float32 at these values [arcsec].
    """
    good = np.isfinite(ra) & (ra != 0)
    if not good.any():
        return 0.0
    values = ra[good]
    narrow = values.astype(np.float32)
    spacing = np.spacing(np.abs(narrow)).astype(np.float64)
    step = float(np.max(spacing)) * 3600.0
    if decimals is None:
        # Whole and half degrees are float32 numbers too: only values with a full mantissa count as evidence.
        full = np.abs(values * 1e4 - np.round(values * 1e4)) > 1e-9
        return step if full.sum() >= 3 and bool(np.all(narrow.astype(np.float64) == values)) else 0.0
    places = decimals[good]
    unit = 10.0 ** (-places.astype(np.float64))
    if float(np.log10(np.minimum(1.0, unit / spacing)).sum()) >= -6.0:
        return 0.0
    shortest = np.array([float(str(value)) for value in narrow])
    is_shortest = np.abs(shortest - values) < 0.25 * unit
    is_expansion = np.abs(narrow.astype(np.float64) - values) <= 0.5 * unit
    return step if bool(np.all(is_shortest)) or bool(np.all(is_expansion)) else 0.0


_DEGREES = r"(?P<ra>\d{1,4}\.\d{3,})(?P<dec>[+-]\d{1,2}\.\d{3,})$"
_SEXAGESIMAL = (
    r"(?:^|[J\[\s_])(?P<h>[0-2]\d)(?P<m>[0-5]\d)(?P<s>[0-5]\d(?:\.\d*)?)"
    r"(?P<sign>[+-])(?P<d>\d\d)(?P<am>[0-5]\d)(?P<as>[0-5]\d(?:\.\d*)?)\]?$"
)
_MINUTES = r"J(?P<h>[0-2]\d)(?P<m>[0-5]\d)(?P<sign>[+-])(?P<d>\d\d)(?P<am>[0-5]\d)$"


def positions_in_names(
    names: Sequence[str],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the positions that names such as DESI-029.2189-01.6962 or J022549+012034 carry.

    Returns
    -------
    ra, dec
        Position [deg], NaN where the name carries none.
    tolerance
        How far the true position may lie from it, for rounding and for truncation [arcsec].
    """
    text = pd.Series(list(names), dtype="str").str.strip()
    ra, dec, tolerance = (np.full(len(text), np.nan) for _ in range(3))
    degrees = text.str.extract(_DEGREES)
    found = degrees["ra"].notna().to_numpy(copy=True)
    ra[found] = degrees["ra"][found].astype(float)
    dec[found] = degrees["dec"][found].astype(float)
    tolerance[found] = 1.5
    for pattern, slack in ((_SEXAGESIMAL, 25.0), (_MINUTES, 1200.0)):
        parts = text.str.extract(pattern)
        here = parts["h"].notna().to_numpy() & ~found
        if not here.any():
            continue
        numbers = parts[here].drop(columns="sign").astype(float)
        sign = np.where(parts["sign"][here] == "-", -1.0, 1.0)
        hours = numbers["h"] + numbers["m"] / 60 + (numbers["s"] / 3600 if "s" in numbers else 0.0)
        magnitude = numbers["d"] + numbers["am"] / 60 + (numbers["as"] / 3600 if "as" in numbers else 0.0)
        ra[here], dec[here], tolerance[here] = hours * 15, sign * magnitude, slack
        found |= here
    impossible = ~((ra < 360) & (np.abs(dec) <= 90))
    for array in (ra, dec, tolerance):
        array[impossible] = np.nan
    return ra, dec, tolerance
