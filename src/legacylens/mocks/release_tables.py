"""Tables of a whole release: all bricks, the summary of those with images, and the sweeps."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import fitsio
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from legacylens.files import atomic_path, write_text
from legacylens.mocks.brick_files import checksum_text, write_rows
from legacylens.mocks.brick_images import BrickImages
from legacylens.mocks.layout import MockBrick, neighbors
from legacylens.mocks.patch import PatchContent
from legacylens.photometry import EXTINCTION_COEFFICIENT, depth_magnitude
from legacylens.survey.bands import ALL_BANDS, BANDS
from legacylens.survey.maskbits import mask_value
from legacylens.survey.release import Release

SWEEP_STEP = 5
"""Side of a sweep file [deg]."""


def _write_gzipped(path: Path, records: NDArray[np.void], extname: str) -> None:
    """Write a table as .fits.gz whose bytes depend on nothing but its content (no time stamp)."""
    with atomic_path(path) as temporary:
        plain = temporary.with_name(temporary.name.removesuffix(".gz"))
        try:
            fitsio.write(str(plain), records, extname=extname, clobber=True)
            with (
                plain.open("rb") as source,
                temporary.open("wb") as raw,
                gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as target,
            ):
                shutil.copyfileobj(source, target)
        finally:
            plain.unlink(missing_ok=True)


def write_bricks(release: Release, mocks: list[MockBrick]) -> None:
    """Write ``survey-bricks.fits.gz``: the bricks with images and those around them, which have none."""
    every = {other.brick.brickid: other for mock in mocks for other in (mock, *neighbors(mock))}
    rows = np.zeros(
        len(every),
        dtype=[
            ("BRICKNAME", "S8"),
            ("BRICKID", "i4"),
            ("BRICKQ", "i2"),
            ("BRICKROW", "i4"),
            ("BRICKCOL", "i4"),
            ("RA", "f8"),
            ("DEC", "f8"),
            ("RA1", "f8"),
            ("RA2", "f8"),
            ("DEC1", "f8"),
            ("DEC2", "f8"),
        ],
    )
    for row, number in zip(rows, sorted(every), strict=True):
        mock = every[number]
        brick = mock.brick
        row["BRICKNAME"], row["BRICKID"] = brick.brickname.encode(), brick.brickid
        row["BRICKROW"], row["BRICKCOL"] = mock.row, mock.column
        row["BRICKQ"] = 2 * (mock.row % 2) + mock.column % 2
        row["RA"], row["DEC"] = brick.ra, brick.dec
        row["RA1"], row["RA2"], row["DEC1"], row["DEC2"] = brick.ra1, brick.ra2, brick.dec1, brick.dec2
    _write_gzipped(Path(release.bricks_path()), rows, "BRICKS")


SUMMARY_TYPE = np.dtype(
    [
        ("brickname", "S8"),
        ("ra", "f8"),
        ("dec", "f8"),
        *[(f"nexp_{b}", "i2") for b in ALL_BANDS],
        *[(f"nexphist_{b}", "i4", (11,)) for b in ALL_BANDS],
        *[(name, "i4") for name in ("nobjs", "npsf", "nsimp", "nrex", "nexp", "ndev", "ncomp", "nser", "ndup")],
        *[(f"psfsize_{b}", "f4") for b in ALL_BANDS],
        *[(f"psfdepth_{b}", "f4") for b in ALL_BANDS],
        *[(f"galdepth_{b}", "f4") for b in ALL_BANDS],
        ("ebv", "f4"),
        *[(f"trans_{b}", "f4") for b in ALL_BANDS],
        *[(f"cosky_{b}", "f4") for b in ALL_BANDS],
        *[(f"ext_{b}", "f4") for b in ALL_BANDS],
        ("wise_nobs", "i2", (4,)),
        ("trans_wise", "f4", (4,)),
        *[(f"ext_w{k}", "f4") for k in (1, 2, 3, 4)],
        ("brickid", "i4"),
        ("ra1", "f8"),
        ("ra2", "f8"),
        ("dec1", "f8"),
        ("dec2", "f8"),
        ("area", "f8"),
        ("survey_primary", "?"),
        ("in_desi", "?"),
    ]
)
"""Columns of ``survey-bricks-dr10-south.fits.gz``. Depths are magnitudes here, inverse variances in sweeps."""


def summary_row(content: PatchContent, mock: MockBrick, images: BrickImages, rows: pd.DataFrame) -> bytes:
    """Return the row of a brick in the summary table, as bytes of `SUMMARY_TYPE`."""
    row = np.zeros(1, dtype=SUMMARY_TYPE)[0]
    brick = mock.brick
    row["brickname"], row["ra"], row["dec"], row["brickid"] = (
        brick.brickname.encode(),
        brick.ra,
        brick.dec,
        brick.brickid,
    )
    row["ra1"], row["ra2"], row["dec1"], row["dec2"] = brick.ra1, brick.ra2, brick.dec1, brick.dec2
    row["area"] = (brick.ra2 - brick.ra1) * np.degrees(np.sin(np.radians(brick.dec2)) - np.sin(np.radians(brick.dec1)))
    row["survey_primary"] = row["in_desi"] = True
    primary = (images.maskbits & mask_value("NPRIMARY")) == 0
    for band in ALL_BANDS:
        row[f"ext_{band}"] = EXTINCTION_COEFFICIENT[band] * content.conditions.ebv
        row[f"trans_{band}"] = 10.0 ** (-0.4 * row[f"ext_{band}"])
        if band not in images.nexp:
            row[f"nexphist_{band}"][0] = int(primary.sum())
            continue
        seen = images.nexp[band][primary]
        row[f"nexp_{band}"] = np.median(seen)
        row[f"nexphist_{band}"] = np.bincount(np.minimum(seen, 10), minlength=11)
        row[f"cosky_{band}"] = content.conditions.bands[band].pedestal
    row["nobjs"] = len(rows)
    for kind, count in rows["type"].value_counts().items():
        row[f"n{str(kind).lower()}"] = count
    for band in BANDS:
        covered = rows[rows[f"nobs_{band}"] > 0]
        if len(covered) == 0:
            continue
        row[f"psfsize_{band}"] = covered[f"psfsize_{band}"].median()
        for depth in ("psfdepth", "galdepth"):
            row[f"{depth}_{band}"] = depth_magnitude(covered[f"{depth}_{band}"].median())
    row["ebv"] = content.conditions.ebv
    row["wise_nobs"] = (120, 118, 14, 14)
    for number, coefficient in enumerate((0.184, 0.113, 0.0241, 0.00910)):
        row[f"ext_w{number + 1}"] = coefficient * content.conditions.ebv
        row["trans_wise"][number] = 10.0 ** (-0.4 * coefficient * content.conditions.ebv)
    return bytes(row.tobytes())


def write_summary(release: Release, rows: list[bytes]) -> None:
    """Write the summary of the bricks with images, by brick number."""
    table = np.frombuffer(b"".join(rows), dtype=SUMMARY_TYPE)
    _write_gzipped(Path(release.summary_path()), table[np.argsort(table["brickid"])], "BRICKS")


def sweep_name(ra: float, dec: float) -> str:
    """Return the name of the sweep file for a position [deg], e.g. ``sweep-000m005-005p000.fits``."""

    def part(ra_edge: int, dec_edge: int) -> str:
        return f"{ra_edge:03d}{'m' if dec_edge < 0 else 'p'}{abs(dec_edge):03d}"

    ra0 = int(np.floor((ra % 360.0) / SWEEP_STEP)) * SWEEP_STEP
    dec0 = int(np.floor(dec / SWEEP_STEP)) * SWEEP_STEP
    return f"sweep-{part(ra0, dec0)}-{part(ra0 + SWEEP_STEP, dec0 + SWEEP_STEP)}.fits"


def write_sweeps(release: Release, rows: dict[str, pd.DataFrame], mocks: list[MockBrick]) -> list[Path]:
    """Write the sweep files and their checksums.

    Parameters
    ----------
    release
        Where.
    rows
        Brick name -> catalog rows.
    mocks
        All bricks with images.

    Notes
    -----
    Rows go where their position is. Those of a failed fit have none (RA = Dec = 0) and go with their brick.
    """
    files: dict[str, list[pd.DataFrame]] = {}
    for mock in sorted(mocks, key=lambda m: m.brick.brickid):
        table = rows[mock.brick.brickname]
        lost = (table["ra"] == 0.0) & (table["dec"] == 0.0)
        ra = np.where(lost, mock.brick.ra, table["ra"])
        dec = np.where(lost, mock.brick.dec, table["dec"])
        names = np.array([sweep_name(float(a), float(d)) for a, d in zip(ra, dec, strict=True)], dtype=str)
        for name in np.unique(names):
            files.setdefault(str(name), []).append(table[names == name])
    folder = Path(release.sweep_folder())
    paths = []
    for name, tables in sorted(files.items()):
        write_rows(folder / name, pd.concat(tables, ignore_index=True))
        paths.append(folder / name)
    write_text(release.sweep_checksum_path(), checksum_text(paths))
    return paths
