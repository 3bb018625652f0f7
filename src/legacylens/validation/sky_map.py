"""Where on the sky a search finds how much: completeness from the depth and seeing of each brick, as HEALPix FITS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy.io import fits
from numpy.typing import NDArray

from legacylens.errors import FileProblem, InputError
from legacylens.files import atomic_path
from legacylens.photometry import mw_transmission
from legacylens.survey.cells import NSIDE, cell_of
from legacylens.survey.release import Release
from legacylens.validation.selection_function import SelectionFunction

_NEEDED = ("ra", "dec", "psfsize_r", "psfdepth_r", "ebv")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompletenessMap:
    """Completeness in HEALPix cells (nested)."""

    nside: int
    """Resolution."""
    table: pd.DataFrame
    """One row for each cell with data: ``pixel``, ``completeness``, ``completeness_low``, ``completeness_high``,
    ``seeing`` [arcsec], ``depth`` [AB mag], ``n_bricks``, ``clipped`` (fraction of bricks outside of what was
    injected)."""
    n_bricks: int
    """Bricks with r-band data."""
    n_without: int
    """Bricks of the table without."""

    def summary(self) -> dict[str, Any]:
        """Return numbers for a report."""
        completeness = self.table["completeness"]
        return {
            "nside": self.nside,
            "cells": len(self.table),
            "bricks": self.n_bricks,
            "bricks_without_data": self.n_without,
            "completeness_median": float(completeness.median()),
            "completeness_p5": float(completeness.quantile(0.05)),
            "completeness_p95": float(completeness.quantile(0.95)),
            "clipped_fraction": float((self.table["clipped"] * self.table["n_bricks"]).sum() / self.n_bricks),
        }


def read_brick_conditions(release: str) -> pd.DataFrame:
    """Return position, seeing, depth and reddening of the bricks of a release.

    Raises
    ------
    FileProblem
        If the release has no summary of its bricks, or it lacks a column.
    """
    opened = Release.open(release)
    path = opened.local(opened.summary_path())
    with fits.open(path) as hdus:
        table = hdus[1].data
        names = {name.lower(): name for name in table.columns.names}
        missing = [name for name in _NEEDED if name not in names]
        if missing:
            raise FileProblem(
                path, f"lacks the columns {', '.join(missing)}", "Fetch the summary of the release again.",
                reason="missing-column",
            )  # fmt: skip
        columns = {name: np.asarray(table[names[name]]).astype(np.float64) for name in _NEEDED}
        if "survey_primary" in names:
            primary = np.asarray(table[names["survey_primary"]]).astype(bool)
            columns = {name: values[primary] for name, values in columns.items()}
    return pd.DataFrame(columns)


def completeness_map(function: SelectionFunction, release: str, *, nside: int = NSIDE) -> CompletenessMap:
    """Return the completeness of a release's sky.

    Parameters
    ----------
    function
        Must depend on seeing or depth. All else is averaged over its own population, the same in every cell.
    release
        Folder or address of a release.
    nside
        Resolution; a cell has the mean of the bricks whose centers it holds.

    Raises
    ------
    InputError
        If the function knows neither seeing nor depth, or no brick has r-band data.
    """
    return map_of_bricks(function, read_brick_conditions(release), nside=nside)


def map_of_bricks(function: SelectionFunction, bricks: pd.DataFrame, *, nside: int = NSIDE) -> CompletenessMap:
    """Return the map of a table of bricks; columns as from `read_brick_conditions`."""
    if not {"seeing", "depth"} & set(function.names):
        raise InputError("the selection function depends on neither seeing nor depth: its map would be flat")
    good = (bricks["psfsize_r"] > 0) & (bricks["psfdepth_r"] > 0) & np.isfinite(bricks["ebv"])
    used = bricks[good].reset_index(drop=True)
    if not len(used):
        raise InputError(f"none of {len(bricks)} bricks has seeing and depth in r")
    # Depths of the summary are what was observed; the function's are above the Galaxy's dust.
    dust = 2.5 * np.log10(mw_transmission(used["ebv"].to_numpy(np.float64), "r"))
    conditions = {
        "seeing": used["psfsize_r"].to_numpy(np.float64),
        "depth": used["psfdepth_r"].to_numpy(np.float64) + dust,
    }
    given = {name: values for name, values in conditions.items() if name in function.names}
    outside: NDArray[np.bool_] = np.zeros(len(used), dtype=bool)
    rounded: dict[str, NDArray[np.float64]] = {}
    for name, values in given.items():
        place = function.names.index(name)
        outside |= (values < function.low[place]) | (values > function.high[place])
        # 340,000 bricks have a few thousand different conditions at a hundredth of an arcsec and of a magnitude.
        rounded[name] = np.round(np.clip(values, function.low[place], function.high[place]), 2)
    unique, inverse = np.unique(np.column_stack(list(rounded.values())), axis=0, return_inverse=True)
    asked: dict[str, Any] = {name: unique[:, place] for place, name in enumerate(rounded)}
    low, high = function.interval(clip=True, **asked)
    per_brick = pd.DataFrame(
        {
            "pixel": cell_of(used["ra"], used["dec"], nside),
            "completeness": function.completeness(clip=True, **asked)[inverse.ravel()],
            "completeness_low": low[inverse.ravel()],
            "completeness_high": high[inverse.ravel()],
            **conditions,
            "n_bricks": 1,
            "clipped": outside.astype(np.float64),
        }
    )
    grouped = per_brick.groupby("pixel", sort=True)
    table = grouped.mean().assign(n_bricks=grouped.size()).reset_index()
    return CompletenessMap(nside=nside, table=table, n_bricks=len(used), n_without=int((~good).sum()))


def write_map(path: str | Path, sky: CompletenessMap, function: SelectionFunction) -> None:
    """Write a map as HEALPix FITS (nested, explicit indices), with units and what it assumes in the header."""
    table = sky.table
    columns = [
        fits.Column("PIXEL", "K", array=table["pixel"].to_numpy(np.int64)),
        *(
            fits.Column(name.upper(), "E", array=table[name].to_numpy(np.float32))
            for name in ("completeness", "completeness_low", "completeness_high")
        ),
        fits.Column("SEEING", "E", unit="arcsec", array=table["seeing"].to_numpy(np.float32)),
        fits.Column("DEPTH", "E", unit="mag", array=table["depth"].to_numpy(np.float32)),
        fits.Column("N_BRICKS", "J", array=table["n_bricks"].to_numpy(np.int32)),
        fits.Column("CLIPPED", "E", array=table["clipped"].to_numpy(np.float32)),
    ]
    hdu = fits.BinTableHDU.from_columns(columns, name="COMPLETENESS")
    header = hdu.header
    for key, value, comment in (
        ("PIXTYPE", "HEALPIX", "HEALPix pixels"),
        ("ORDERING", "NESTED", ""),
        ("NSIDE", sky.nside, "resolution"),
        ("INDXSCHM", "EXPLICIT", "PIXEL holds the numbers"),
        ("OBJECT", "PARTIAL", "part of the sky"),
        ("COORDSYS", "C", "equatorial (ICRS)"),
        ("THRESH", float(function.about.get("threshold", np.nan)), "logit from which objects are selected"),
        ("POPULAT", str(function.about.get("population", {}).get("set", "")), "lenses averaged over"),
    ):
        if not (isinstance(value, float) and not np.isfinite(value)):
            header[key] = (value, comment)
    header["COMMENT"] = "Completeness of lenses of that population under the seeing and depth (r, 5 sigma,"
    header["COMMENT"] = "corrected for Galactic extinction) of the bricks in each cell."
    header["COMMENT"] = "LOW and HIGH: 95 % by fits to resampled injections. CLIPPED: fraction of bricks with"
    header["COMMENT"] = "conditions that no injection had, taken at the nearest that one had."
    with atomic_path(path) as temporary:
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(temporary, overwrite=True)


def read_map(path: str | Path) -> tuple[pd.DataFrame, int]:
    """Return the table of a map, names in lower case, and its resolution.

    Raises
    ------
    FileProblem
        If it is not such a map.
    """
    try:
        with fits.open(path) as hdus:
            header, data = hdus["COMPLETENESS"].header, hdus["COMPLETENESS"].data
            frame = pd.DataFrame(
                {name.lower(): np.asarray(data[name]).astype(data[name].dtype.newbyteorder("=")) for name in data.names}
            )
            return frame, int(header["NSIDE"])
    except (OSError, KeyError) as error:
        raise FileProblem(
            path, f"not a completeness map ({error})", "Make one with `legacylens validate completeness`.",
            reason="not-a-map",
        ) from error  # fmt: skip
