"""Seeing and depth over the sky: one row for each brick of a release, or for each point of its random catalogs.

Random points are better: they know the holes around bright stars, the edges, and which part of a cell is searched at
all. Their files are large (some 20 GB each), but the points stand in random order, so the first few million rows are a
fair sample of the sky.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import fitsio
import numpy as np
import pandas as pd
from astropy.io import fits
from numpy.typing import ArrayLike, NDArray

from legacylens.catalog.parent import ParentCuts
from legacylens.errors import FileProblem, InputError
from legacylens.photometry import depth_magnitude, mw_transmission
from legacylens.progress import progress_bar
from legacylens.survey.bands import BANDS
from legacylens.survey.maskbits import mask_value
from legacylens.survey.release import Release

RANDOM_ROWS = 5_000_000
"""Points that are read of a random catalog: about 80 in a cell of 0.21 square degrees over the whole survey."""
RANDOM_DENSITY = 2500.0
"""Points for each square degree in one file of the survey (header DENSITY)."""
BLOCK = 500_000
"""Points that are read at a time."""
DEFAULT_CUTS = ParentCuts()

_OF_BRICKS = ("ra", "dec", "psfsize_r", "psfdepth_r", "ebv")
_OF_RANDOMS = (*_OF_BRICKS, *(f"nobs_{band}" for band in BANDS), "maskbits")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SkyConditions:
    """Seeing and depth at places of the sky."""

    table: pd.DataFrame
    """``ra``, ``dec`` [deg], ``seeing`` [arcsec], ``depth`` [AB mag, above the Galaxy's dust] in r, ``searched``."""
    kind: Literal["bricks", "randoms"]
    """What a row is."""
    density: float | None = None
    """Rows for each square degree, where that is known: what is searched has an area then."""


def _searched(frame: pd.DataFrame) -> NDArray[np.bool_]:
    return np.asarray((frame["psfsize_r"] > 0) & (frame["psfdepth_r"] > 0) & np.isfinite(frame["ebv"]))


def _above_dust(depth: ArrayLike, ebv: pd.Series) -> NDArray[np.float64]:
    return np.asarray(np.asarray(depth) + 2.5 * np.log10(mw_transmission(ebv.to_numpy(np.float64), "r")))


def brick_conditions(release: str) -> SkyConditions:
    """Return the conditions of the bricks of a release, from its summary; those with r-band data are searched.

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
        missing = [name for name in _OF_BRICKS if name not in names]
        if missing:
            raise FileProblem(
                path, f"lacks the columns {', '.join(missing)}", "Fetch the summary of the release again.",
                reason="missing-column",
            )  # fmt: skip
        columns = {name: np.asarray(table[names[name]]).astype(np.float64) for name in _OF_BRICKS}
        if "survey_primary" in names:
            primary = np.asarray(table[names["survey_primary"]]).astype(bool)
            columns = {name: values[primary] for name, values in columns.items()}
    return conditions_of_bricks(pd.DataFrame(columns))


def conditions_of_bricks(bricks: pd.DataFrame) -> SkyConditions:
    """Return the conditions of bricks with ``ra``, ``dec``, ``psfsize_r``, ``psfdepth_r`` [mag], ``ebv``."""
    table = pd.DataFrame(
        {
            "ra": bricks["ra"],
            "dec": bricks["dec"],
            "seeing": bricks["psfsize_r"],
            "depth": _above_dust(bricks["psfdepth_r"], bricks["ebv"]),
            "searched": _searched(bricks),
        }
    )
    return SkyConditions(table=table, kind="bricks")


def random_conditions(
    paths: Sequence[str | Path], *, cuts: ParentCuts = DEFAULT_CUTS, rows: int = RANDOM_ROWS
) -> SkyConditions:
    """Return the conditions at the points of random catalogs.

    Parameters
    ----------
    paths
        ``randoms-1-*.fits`` or ``randoms-south-1-*.fits``, one or several.
    cuts
        The parent sample's: a point with fewer exposures, a mask bit or a declination that it excludes is not searched.
    rows
        Points that are read of each file, from its beginning.

    Raises
    ------
    FileProblem
        If a file is missing, broken or lacks columns.
    InputError
        If no file is given, or one is given twice.

    Notes
    -----
    ``PSFDEPTH_R`` is an inverse variance in random catalogs as in sweeps, and a magnitude in the summary of bricks.
    Source: the random catalogs of the files page of DR10 (Myers et al. 2023, AJ 165, 50).
    """
    if not paths:
        raise InputError("no random catalog is given")
    resolved = [Path(path).resolve() for path in paths]
    if len(set(resolved)) < len(resolved):
        raise InputError("a random catalog is given twice: its points would count double")
    parts: list[pd.DataFrame] = []
    density = 0.0
    for path in resolved:
        part, of_file = _read_randoms(path, cuts, rows)
        parts.append(part)
        density += of_file
    return SkyConditions(table=pd.concat(parts, ignore_index=True), kind="randoms", density=density)


def _read_randoms(path: Path, cuts: ParentCuts, rows: int) -> tuple[pd.DataFrame, float]:
    if not path.is_file():
        raise FileProblem(path, "not found", "Give randoms-1-0.fits of the release.", reason="missing")
    blocks = []
    try:
        with fitsio.FITS(str(path)) as file:
            hdu = file[1]
            names = {name.lower() for name in hdu.get_colnames()}
            missing = [name for name in _OF_RANDOMS if name not in names]
            if missing:
                raise FileProblem(
                    path,
                    f"lacks the columns {', '.join(name.upper() for name in missing)}",
                    "Give randoms-1-*.fits or randoms-south-1-*.fits; the -outside and -allsky files have no seeing.",
                    reason="missing-column",
                )
            total = int(hdu.get_nrows())
            if total == 0:
                raise FileProblem(path, "holds no points", "Fetch the file again.", reason="empty")
            used = min(rows, total)
            full = float(hdu.read_header().get("DENSITY", RANDOM_DENSITY))
            with progress_bar(f"points of {path.name}", used) as bar:
                for start in range(0, used, BLOCK):
                    stop = min(start + BLOCK, used)
                    blocks.append(_block(hdu[list(_OF_RANDOMS)][start:stop], cuts))
                    bar.advance(stop - start)
    except OSError as error:
        raise FileProblem(path, f"cannot be read ({error})", "Fetch the file again.", reason="broken") from error
    return pd.concat(blocks, ignore_index=True), full * used / total


def _block(records: NDArray[np.void], cuts: ParentCuts) -> pd.DataFrame:
    names = {name.lower(): name for name in records.dtype.names or ()}

    def column(name: str) -> NDArray[np.generic]:
        values = np.asarray(records[names[name]])
        return values.astype(values.dtype.newbyteorder("="))

    frame = pd.DataFrame({name: column(name) for name in _OF_RANDOMS})
    searched = _searched(frame) & (frame["maskbits"].to_numpy(np.int64) & mask_value(*cuts.maskbits_excluded) == 0)
    for band in BANDS:
        searched &= frame[f"nobs_{band}"].to_numpy() >= cuts.nobs_min
    searched &= frame["dec"].between(cuts.dec_min, cuts.dec_max).to_numpy()
    return pd.DataFrame(
        {
            "ra": frame["ra"],
            "dec": frame["dec"],
            "seeing": frame["psfsize_r"].astype(np.float32),
            "depth": _above_dust(depth_magnitude(frame["psfdepth_r"]), frame["ebv"]).astype(np.float32),
            "searched": searched,
        }
    )
