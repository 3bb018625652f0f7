"""The stamps of one brick: what a worker does with one group of targets.

Pixels are copied from the brick's own grid and never resampled: interpolation would soften arcs and correlate noise
differently from stamp to stamp. A source's stamp therefore has the source within half a pixel of its central pixel;
the rest of the offset is recorded (`dx`, `dy`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, field_validator

from legacylens.cutouts.checksums import VerifiedFiles, read_checksums
from legacylens.cutouts.coadd import CoaddFile, PixelGrid
from legacylens.cutouts.cutout import defect_of
from legacylens.cutouts.quarantine import Rejection
from legacylens.errors import FileProblem
from legacylens.settings import Settings
from legacylens.survey.bands import ALL_BANDS, BANDS, STAMP
from legacylens.survey.grid import pixel_position
from legacylens.survey.maskbits import mask_value
from legacylens.survey.release import Release

NO_DATA_BITS = mask_value("NPRIMARY", "ALLMASK_G", "ALLMASK_R", "ALLMASK_Z")
"""Mask bits of pixels beyond the edge of every brick: no exposure of any band."""


class CutoutConfig(Settings):
    """What to cut."""

    bands: tuple[str, ...] = BANDS
    """Image planes, blue to red; every one must have data."""
    stamp: int = Field(default=STAMP, ge=9, le=999)
    """Side of a stamp [pixel], odd, so that there is a central pixel."""
    invvar: bool = True
    """Store inverse variances."""
    maskbits: bool = True
    """Store mask bits."""
    psfsize: bool = True
    """Read the seeing at each position into the manifest (psfsize_g... [arcsec]); NaN where a brick has no such map."""
    edge: Literal["pad", "refuse"] = "pad"
    """A stamp that no brick holds whole: pad with zeros (invvar 0, mask bits set), or refuse it."""
    verify: bool = True
    """Compare every file with the brick's SHA-256 list. It also guards the process: damaged compressed tiles can crash
    the decompression library."""

    @field_validator("bands")
    @classmethod
    def _bands_in_order(cls, bands: tuple[str, ...]) -> tuple[str, ...]:
        if not bands or bands != tuple(band for band in ALL_BANDS if band in bands):
            raise ValueError(f"must be some of {', '.join(ALL_BANDS)}, in this order, each once")
        return bands

    @field_validator("stamp")
    @classmethod
    def _odd(cls, stamp: int) -> int:
        if stamp % 2 == 0:
            raise ValueError("must be odd")
        return stamp


@dataclass(frozen=True, slots=True, kw_only=True)
class BrickJob:
    """Targets to cut out of one brick."""

    brickname: str
    """The brick."""
    targets: pd.DataFrame
    """Columns source_id, ra, dec [deg]."""
    pad: bool = False
    """Whether stamps may reach over the brick's edge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrickStamps:
    """What came out of one brick."""

    manifest: pd.DataFrame
    """One row for each stamp."""
    images: NDArray[np.float32]
    """Shape (n, band, y, x) [nanomaggies]."""
    invvars: NDArray[np.float32] | None
    """Shape (n, band, y, x) [1/nanomaggies^2]."""
    maskbits: NDArray[np.int32] | None
    """Shape (n, y, x)."""
    rejected: tuple[Rejection, ...] = ()
    """Targets that cannot be cut."""
    over_edge: tuple[str, ...] = ()
    """source_id of targets whose stamp is not whole in this brick."""
    verified: VerifiedFiles = field(default_factory=VerifiedFiles)
    """Files of the brick that are known to be right."""
    unverified: int = 0
    """Files that no list mentions."""


class BrickFiles:
    """The files of a brick: fetched, verified, opened and compared with each other.

    Parameters
    ----------
    release
        Where they are.
    brickname
        The brick.
    verified
        Files known to be right; new ones are added. None: checksums are not looked at.
    """

    def __init__(self, release: Release, brickname: str, verified: VerifiedFiles | None) -> None:
        self.release = release
        self.brickname = brickname
        self.unverified = 0
        self._verified = verified
        self._checksums: dict[str, str] | None = None
        self._fetched: list[str] = []

    def open(self, kind: str, band: str | None = None) -> CoaddFile:
        """Open a file of the brick.

        Raises
        ------
        FileProblem
            If it is absent (reasons ``missing-brick``, ``missing-band``, ``missing``), damaged, or fails its checksum.
        """
        path = self.release.coadd_path(self.brickname, kind, band)
        local = self._fetch(path, band)
        if self._verified is not None:
            expected = self._list().get(path.rsplit("/", 1)[-1])
            if expected is None:
                self.unverified += 1
            else:
                try:
                    self._verified.verify(path, local, expected)
                except FileProblem:
                    self.release.forget(path)  # the next run fetches it again
                    raise
        try:
            file = CoaddFile(path, local)
        except FileProblem:
            self.release.forget(path)
            raise
        stated, expected_release = file.data_release(), self.release.number
        if None not in (stated, expected_release) and stated != expected_release:
            file.close()
            raise FileProblem(
                path,
                f"a file of DR{stated} in a release that is DR{expected_release}",
                "Fetch the brick again from the release that its catalog is of.",
                reason="other-release",
            )
        return file

    def _fetch(self, path: str, band: str | None) -> Path:
        try:
            local = self.release.local(path)
        except FileProblem as problem:
            if problem.reason != "missing":
                raise
            folder = self.release.brick_folder(self.brickname)
            if not self.release.has(folder):
                raise FileProblem(
                    folder,
                    "the release has no such brick folder",
                    "Fetch the brick, or leave out its targets.",
                    reason="missing-brick",
                ) from problem
            if band is not None:
                raise FileProblem(
                    path,
                    f"not found: the brick has no {band} band",
                    "There is no exposure in this band here, or the file was not fetched.",
                    reason="missing-band",
                ) from problem
            raise
        self._fetched.append(path)
        return local

    def _list(self) -> dict[str, str]:
        if self._checksums is None:
            path = self.release.checksum_path(self.brickname)
            self._fetched.append(path)
            try:
                self._checksums = read_checksums(self.release.local(path))
            except FileProblem as problem:
                self.release.forget(path)
                # Only a list that is surely absent may be done without.
                if problem.reason != "missing":
                    raise
                self._checksums = {}
        return self._checksums

    def forget(self) -> None:
        """Remove local copies of remote files, which would fill the disk in a run over many bricks."""
        if self.release.cache is None:
            for path in self._fetched:
                self.release.forget(path)


def brick_grid(release: Release, brickname: str, bands: tuple[str, ...]) -> PixelGrid:
    """Return the pixel grid of a brick from the header of its first image.

    Raises
    ------
    FileProblem
        If the brick or its image is absent or broken.
    """
    files = BrickFiles(release, brickname, None)
    with files.open("image", bands[0]) as image:
        return image.grid()


def whole_margin(grid: PixelGrid, x: NDArray[np.float64], y: NDArray[np.float64], stamp: int) -> NDArray[np.int64]:
    """Return the pixels between each stamp and the nearest edge of the brick, negative where it is not whole."""
    half = stamp // 2
    column, row = np.floor(x + 0.5), np.floor(y + 0.5)
    margin = np.minimum.reduce(
        [column - half, row - half, grid.width - 1 - half - column, grid.height - 1 - half - row]
    )
    # Positions on the far side of the sky have no gnomonic projection.
    return np.where(np.isfinite(margin), np.clip(margin, -(2**31), 2**31), -(2**31)).astype(np.int64)


def cut_brick(
    release: Release, job: BrickJob, config: CutoutConfig, verified: VerifiedFiles | None = None
) -> BrickStamps:
    """Cut the stamps of one brick.

    Parameters
    ----------
    release
        Where the brick is.
    job
        The targets. A file that cannot be used rejects all of them, a bad stamp only its own target.
    config
        What to cut.
    verified
        Files known to be right.
    """
    known = verified.below(release.brick_folder(job.brickname)) if verified else VerifiedFiles()
    files = BrickFiles(release, job.brickname, known if config.verify else None)
    try:
        stamps = _cut(files, job, config)
    except FileProblem as problem:
        stamps = no_stamps(config, rejected=reject_all(job, problem))
    finally:
        files.forget()
    return BrickStamps(
        manifest=stamps.manifest,
        images=stamps.images,
        invvars=stamps.invvars,
        maskbits=stamps.maskbits,
        rejected=stamps.rejected,
        over_edge=stamps.over_edge,
        verified=known,
        unverified=files.unverified,
    )


def reject_all(job: BrickJob, problem: FileProblem) -> list[Rejection]:
    """Return the rejection of every target of a job by a problem with one of its files."""
    return [
        Rejection(
            source_id=str(source_id), reason=problem.reason, what=problem.what, file=problem.path, remedy=problem.remedy
        )
        for source_id in job.targets["source_id"]
    ]


def no_stamps(
    config: CutoutConfig, *, rejected: Sequence[Rejection] = (), over_edge: Sequence[str] = ()
) -> BrickStamps:
    """Return an answer without stamps."""
    plane = (config.stamp, config.stamp)
    return BrickStamps(
        manifest=pd.DataFrame(),
        images=np.empty((0, len(config.bands), *plane), np.float32),
        invvars=np.empty((0, len(config.bands), *plane), np.float32) if config.invvar else None,
        maskbits=np.empty((0, *plane), np.int32) if config.maskbits else None,
        rejected=tuple(rejected),
        over_edge=tuple(over_edge),
    )


def _cut(files: BrickFiles, job: BrickJob, config: CutoutConfig) -> BrickStamps:
    side, half = config.stamp, config.stamp // 2
    targets = job.targets.reset_index(drop=True)
    with files.open("image", config.bands[0]) as first:
        grid = first.grid()
        x, y = pixel_position(grid.wcs(), targets["ra"].to_numpy(), targets["dec"].to_numpy())
        margin = whole_margin(grid, x, y, side)
        # With padding allowed, at least the central pixel must be in the brick.
        wanted = margin >= (-half if job.pad else 0)
        over_edge = targets["source_id"][~wanted].astype(str).tolist()
        targets, x, y, margin = targets[wanted].reset_index(drop=True), x[wanted], y[wanted], margin[wanted]
        if targets.empty:
            return no_stamps(config, over_edge=over_edge)
        column, row = np.floor(x + 0.5).astype(np.int64), np.floor(y + 0.5).astype(np.int64)
        x0, y0 = column - half, row - half
        images = np.empty((len(targets), len(config.bands), side, side), np.float32)
        images[:, 0] = first.windows(x0, y0, side, np.float32)

    def windows(kind: str, band: str | None, dtype: type[np.generic]) -> NDArray[np.generic]:
        with files.open(kind, band) as file:
            _require_pixels_of(file, grid)
            return np.asarray(file.windows(x0, y0, side, dtype))

    for plane, band in enumerate(config.bands[1:], start=1):
        images[:, plane] = windows("image", band, np.float32)
    invvars = None
    if config.invvar:
        invvars = np.empty_like(images)
        for plane, band in enumerate(config.bands):
            invvars[:, plane] = windows("invvar", band, np.float32)
    maskbits = None
    if config.maskbits:
        maskbits = np.asarray(windows("maskbits", None, np.int32), dtype=np.int32)
    outside = _outside(grid, x0, y0, side)
    if maskbits is not None:
        maskbits[outside] |= NO_DATA_BITS
    manifest = pd.DataFrame(
        {
            "source_id": targets["source_id"].astype(str),
            "ra": targets["ra"].astype(np.float64),
            "dec": targets["dec"].astype(np.float64),
            "origin": f"{files.release.prefix}/{files.release.region}/{job.brickname}",
            "brickname": job.brickname,
            "x0": x0.astype(np.int32),
            "y0": y0.astype(np.int32),
            "dx": (x - column).astype(np.float32),
            "dy": (y - row).astype(np.float32),
            "padded": outside.sum(axis=(1, 2)).astype(np.int32),
        }
    )
    if config.psfsize:
        for band in config.bands:
            manifest[f"psfsize_{band}"] = _seeing(files, band, column, row, grid)
    return _checked(files.release.brick_folder(job.brickname), config, manifest, images, invvars, maskbits, over_edge)


def _outside(grid: PixelGrid, x0: NDArray[np.int64], y0: NDArray[np.int64], side: int) -> NDArray[np.bool_]:
    """Return which pixels of each stamp lie beyond the brick, shape (n, side, side)."""
    columns = x0[:, None] + np.arange(side)
    rows = y0[:, None] + np.arange(side)
    out_x, out_y = (columns < 0) | (columns >= grid.width), (rows < 0) | (rows >= grid.height)
    return np.asarray(out_y[:, :, None] | out_x[:, None, :])


def _seeing(
    files: BrickFiles, band: str, column: NDArray[np.int64], row: NDArray[np.int64], grid: PixelGrid
) -> NDArray[np.float32]:
    """Return the FWHM of the PSF [arcsec] at each position, NaN where the brick has no such map."""
    try:
        file = files.open("psfsize", band)
    except FileProblem as problem:
        if problem.reason not in ("missing", "missing-band"):
            raise
        return np.full(len(column), np.nan, np.float32)
    with file:
        _require_pixels_of(file, grid)
        values = file.windows(column, row, 1, np.float32)[:, 0, 0]
    return np.where(values > 0, values, np.nan).astype(np.float32)


def _require_pixels_of(file: CoaddFile, grid: PixelGrid) -> None:
    if not file.has_pixels_of(grid):
        raise FileProblem(
            file.name,
            "its pixels are not those of the brick's first image",
            "The brick mixes files of different releases: fetch it again.",
            reason="grid-mismatch",
        )


def _checked(
    folder: str,
    config: CutoutConfig,
    manifest: pd.DataFrame,
    images: NDArray[np.float32],
    invvars: NDArray[np.float32] | None,
    maskbits: NDArray[np.int32] | None,
    over_edge: list[str],
) -> BrickStamps:
    """Keep the stamps that are cutouts of the survey, reject the others with the reason."""
    rejected = []
    good = np.ones(len(manifest), dtype=bool)
    for row, source_id in enumerate(manifest["source_id"]):
        defect = defect_of(
            config.bands,
            images[row],
            None if invvars is None else invvars[row],
            None if maskbits is None else maskbits[row],
        )
        if defect is not None:
            good[row] = False
            rejected.append(
                Rejection(
                    source_id=source_id, reason=defect.reason, what=defect.what, file=folder, remedy=defect.remedy
                )
            )
    return BrickStamps(
        manifest=manifest[good].reset_index(drop=True),
        images=images[good],
        invvars=None if invvars is None else invvars[good],
        maskbits=None if maskbits is None else maskbits[good],
        rejected=tuple(rejected),
        over_edge=tuple(over_edge),
    )
