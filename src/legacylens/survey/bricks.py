"""The brick table: which brick owns a position, and where a brick is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from astropy.io import fits
from numpy.typing import ArrayLike, NDArray

from legacylens.errors import FileProblem, InputError
from legacylens.survey.release import Release

COLUMNS = (
    "BRICKNAME",
    "BRICKID",
    "BRICKQ",
    "BRICKROW",
    "BRICKCOL",
    "RA",
    "DEC",
    "RA1",
    "RA2",
    "DEC1",
    "DEC2",
)
"""Columns of ``survey-bricks.fits.gz``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brick:
    """A brick: a tile of the sky, owner of the positions in [ra1, ra2) x [dec1, dec2)."""

    brickname: str
    """Eight characters, e.g. ``1126p222``."""
    brickid: int
    """Number in the survey's table."""
    ra: float
    """Center [deg]."""
    dec: float
    """Center [deg]."""
    ra1: float
    """Lower edge in right ascension [deg]."""
    ra2: float
    """Upper edge in right ascension [deg]."""
    dec1: float
    """Lower edge in declination [deg]."""
    dec2: float
    """Upper edge in declination [deg]."""


def brickname_at(ra: float, dec: float) -> str:
    """Return the name of a brick with this center: RA and |Dec| in tenths of a degree, truncated.

    Examples
    --------
    >>> brickname_at(112.625, 22.25)
    '1126p222'
    """
    sign = "p" if dec >= 0 else "m"
    # The small shift undoes binary rounding: 112.6 * 10 is 1125.9999999999998.
    return f"{int(ra * 10 + 1e-6):04d}{sign}{int(abs(dec) * 10 + 1e-6):03d}"


class BrickTable:
    """The bricks of a release, found by name or by position.

    Parameters
    ----------
    frame
        One row for each brick, columns of ``survey-bricks.fits.gz`` in lower case.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame.reset_index(drop=True)
        self._row_of_name = {name: row for row, name in enumerate(self.frame["brickname"])}
        # Bricks stand in rows of equal declination. Within a row a position is found by bisection.
        self._dec1 = self.frame["dec1"].to_numpy(np.float64)
        self._dec2 = self.frame["dec2"].to_numpy(np.float64)
        self._ra1 = self.frame["ra1"].to_numpy(np.float64)
        self._ra2 = self.frame["ra2"].to_numpy(np.float64)
        edges, self._row_number = np.unique(np.round(self._dec1, 9), return_inverse=True)
        self._rows = []
        for number in range(len(edges)):
            members = np.flatnonzero(self._row_number == number)
            order = members[np.argsort(self._ra1[members])]
            self._rows.append((float(self._dec1[order[0]]), float(self._dec2[order[0]]), order))

    @classmethod
    def read(cls, release: Release) -> BrickTable:
        """Read the brick table of a release.

        Raises
        ------
        FileProblem
            If it is absent, broken or lacks a column.
        """
        path = release.bricks_path()
        local = release.local(path)
        try:
            with fits.open(local) as hdus:
                data = hdus[1].data
                present = {name.upper() for name in data.names}
                missing = [name for name in COLUMNS if name not in present]
                if missing:
                    raise FileProblem(
                        path,
                        f"no column {', '.join(missing)}",
                        "Use the release's own brick table.",
                        reason="columns",
                    )
                columns = {name.lower(): data[name] for name in COLUMNS}
                frame = pd.DataFrame(
                    {
                        name: (
                            [str(value).strip() for value in values]
                            if values.dtype.kind in "SU"
                            else np.ascontiguousarray(values).astype(values.dtype.newbyteorder("="))
                        )
                        for name, values in columns.items()
                    }
                )
        except (OSError, IndexError, TypeError) as error:
            raise FileProblem(
                path, f"not a readable brick table ({error})", "Fetch it again.", reason="truncated"
            ) from error
        return cls(frame)

    def __len__(self) -> int:
        return len(self.frame)

    def __contains__(self, brickname: str) -> bool:
        return brickname in self._row_of_name

    def __getitem__(self, brickname: str) -> Brick:
        """Return a brick by name.

        Raises
        ------
        InputError
            If the table has no such brick.
        """
        if brickname not in self._row_of_name:
            raise InputError(f"brick {brickname!r} is not among the {len(self)} bricks of this release")
        return self.at(self._row_of_name[brickname])

    def at(self, row: int) -> Brick:
        """Return the brick in a row of the table."""
        values = self.frame.iloc[row]
        return Brick(
            brickname=str(values["brickname"]),
            brickid=int(values["brickid"]),
            ra=float(values["ra"]),
            dec=float(values["dec"]),
            ra1=float(values["ra1"]),
            ra2=float(values["ra2"]),
            dec1=float(values["dec1"]),
            dec2=float(values["dec2"]),
        )

    def containing(self, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.int64]:
        """Return the row of the brick that owns each position [deg], -1 where none does (NaN included)."""
        ra = np.atleast_1d(np.asarray(ra, dtype=np.float64)) % 360.0
        dec = np.atleast_1d(np.asarray(dec, dtype=np.float64))
        found = np.full(len(ra), -1, dtype=np.int64)
        for dec1, dec2, order in self._rows:
            inside = np.flatnonzero((dec >= dec1) & (dec < dec2))
            if len(inside) == 0:
                continue
            place = np.searchsorted(self._ra1[order], ra[inside], side="right") - 1
            candidate = order[np.maximum(place, 0)]
            owns = (place >= 0) & (ra[inside] < self._ra2[candidate])
            found[inside[owns]] = candidate[owns]
        return found

    def near(self, ra: float, dec: float, margin_arcsec: float) -> NDArray[np.int64]:
        """Return the rows of bricks whose area, widened by a margin [arcsec], holds a position [deg]."""
        margin = margin_arcsec / 3600.0
        margin_ra = margin / max(float(np.cos(np.radians(dec))), 1e-3)
        middle = 0.5 * (self._ra1 + self._ra2)
        half = 0.5 * (self._ra2 - self._ra1)
        away = np.abs((ra - middle + 180.0) % 360.0 - 180.0)
        return np.flatnonzero(
            (away <= half + margin_ra) & (dec >= self._dec1 - margin) & (dec <= self._dec2 + margin)
        ).astype(np.int64)
