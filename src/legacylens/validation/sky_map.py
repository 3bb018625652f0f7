"""Where on the sky a search finds how much: completeness from depth and seeing, as HEALPix FITS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy.io import fits
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from legacylens.errors import FileProblem, InputError
from legacylens.files import atomic_path
from legacylens.survey.cells import NSIDE, cell_of
from legacylens.validation.selection_function import SelectionFunction
from legacylens.validation.sky_conditions import SkyConditions

GRID = 25
"""Points of the grid in seeing, and in depth."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompletenessMap:
    """Completeness in HEALPix cells (nested)."""

    nside: int
    """Resolution."""
    kind: str
    """``bricks`` or ``randoms``: what the conditions are of."""
    table: pd.DataFrame
    """One row for each cell that is searched at all: ``pixel``, ``completeness``, ``completeness_low``,
    ``completeness_high`` and ``seeing`` [arcsec], ``depth`` [AB mag] (means of what is searched), ``n_points``,
    ``searched`` (fraction of them), ``clipped`` (fraction of the searched ones with conditions that no injection
    had)."""
    n_searched: int
    """Bricks or points that are searched."""
    n_without: int
    """Others."""
    area: float | None
    """Square degrees that are searched, from the density of random points; None for bricks."""

    def summary(self) -> dict[str, Any]:
        """Return numbers for a report."""
        completeness, weight = self.table["completeness"], self.table["searched"] * self.table["n_points"]
        return {
            "nside": self.nside,
            "of": self.kind,
            "cells": len(self.table),
            "searched": self.n_searched,
            "not_searched": self.n_without,
            "searched_deg2": self.area,
            "completeness_mean": float((completeness * weight).sum() / weight.sum()),
            "completeness_median": float(completeness.median()),
            "completeness_p5": float(completeness.quantile(0.05)),
            "completeness_p95": float(completeness.quantile(0.95)),
            "clipped_fraction": float((self.table["clipped"] * weight).sum() / weight.sum()),
        }


def completeness_map(function: SelectionFunction, sky: SkyConditions, *, nside: int = NSIDE) -> CompletenessMap:
    """Return the completeness over the sky.

    Parameters
    ----------
    function
        Must depend on seeing or depth. All else is averaged over its own population, the same in every cell.
    sky
        Conditions of bricks, or of random points.
    nside
        Resolution; a cell has the mean of the searched bricks whose centers, or of the points, that it holds.

    Raises
    ------
    InputError
        If the function knows neither seeing nor depth, or nothing is searched.
    """
    if not {"seeing", "depth"} & set(function.names):
        raise InputError("the selection function depends on neither seeing nor depth: its map would be flat")
    searched = sky.table["searched"].to_numpy(dtype=bool)
    used = sky.table[searched].reset_index(drop=True)
    if not len(used):
        raise InputError(f"none of {len(sky.table):,} {sky.kind} has seeing and depth in r and is searched")
    outside: NDArray[np.bool_] = np.zeros(len(used), dtype=bool)
    inside: dict[str, NDArray[np.float64]] = {}
    for name in ("seeing", "depth"):
        if name in function.names:
            place, values = function.names.index(name), used[name].to_numpy(np.float64)
            outside |= (values < function.low[place]) | (values > function.high[place])
            inside[name] = np.clip(values, function.low[place], function.high[place])
    low, middle, high = _on_grid(function, inside)
    each = pd.DataFrame(
        {
            "pixel": cell_of(used["ra"], used["dec"], nside),
            "completeness": middle,
            "completeness_low": low,
            "completeness_high": high,
            "seeing": used["seeing"].to_numpy(np.float64),
            "depth": used["depth"].to_numpy(np.float64),
            "clipped": outside.astype(np.float64),
        }
    )
    grouped = each.groupby("pixel", sort=True)
    table = grouped.mean()
    lost = pd.Series(cell_of(sky.table.loc[~searched, "ra"], sky.table.loc[~searched, "dec"], nside)).value_counts()
    n = grouped.size()
    table["n_points"] = n + lost.reindex(n.index, fill_value=0)
    table["searched"] = n / table["n_points"]
    return CompletenessMap(
        nside=nside,
        kind=sky.kind,
        table=table.reset_index(),
        n_searched=len(used),
        n_without=len(sky.table) - len(used),
        area=None if sky.density is None else len(used) / sky.density,
    )


def _on_grid(
    function: SelectionFunction, conditions: dict[str, NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return lower end, completeness and upper end under conditions, interpolated on a grid of them.

    Millions of points differ in the third digit of their seeing. Between the points of the grid the function is so
    smooth that a straight line is off by less than 0.002, where it is steep (tested).
    """
    axes = [np.linspace(values.min(), values.max(), GRID) for values in conditions.values()]
    mesh = np.meshgrid(*axes, indexing="ij")
    asked: dict[str, Any] = dict(zip(conditions, mesh, strict=True))
    low, high = function.interval(clip=True, **asked)
    places = np.column_stack(list(conditions.values()))
    steps = [np.unique(axis) for axis in axes]

    def between(values: NDArray[np.float64]) -> NDArray[np.float64]:
        for number, axis in enumerate(axes):
            if len(steps[number]) < len(axis):  # all conditions are the same
                values = np.take(values, [0], axis=number)
        wide = [number for number, step in enumerate(steps) if len(step) > 1]
        if not wide:
            return np.full(len(places), float(values.ravel()[0]))
        grid = RegularGridInterpolator([axes[number] for number in wide], values.squeeze())
        return np.asarray(grid(places[:, wide]), dtype=np.float64)

    return between(low), between(function.completeness(clip=True, **asked)), between(high)


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
        fits.Column("N_POINTS", "J", array=table["n_points"].to_numpy(np.int32)),
        fits.Column("SEARCHED", "E", array=table["searched"].to_numpy(np.float32)),
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
        ("POINTS", sky.kind, "what N_POINTS counts"),
        ("THRESH", float(function.about.get("threshold", np.nan)), "logit from which objects are selected"),
        ("POPULAT", str(function.about.get("population", {}).get("set", "")), "lenses averaged over"),
    ):
        if not (isinstance(value, float) and not np.isfinite(value)):
            header[key] = (value, comment)
    header["COMMENT"] = "Completeness of lenses of that population under the seeing and depth (r, 5 sigma,"
    header["COMMENT"] = f"corrected for Galactic extinction) of the {sky.kind} in each cell that are searched."
    header["COMMENT"] = "LOW and HIGH: 95 %, from injections and population. SEARCHED: fraction of all N_POINTS"
    header["COMMENT"] = "with images and without a mask. CLIPPED: fraction of the searched with conditions that no"
    header["COMMENT"] = "injection had, taken at the nearest that one had."
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
