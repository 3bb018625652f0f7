"""The layout of a data release: every path in one place, on disk or at a URL.

The layout is that of DR10 (files page of the DR10 description): ``survey-bricks.fits.gz`` and, below ``south/``,
the brick summary, ``sweep/10.1/`` and ``coadd/<AAA>/<brick>/``. A mock release has the same layout, and nothing that
reads one can tell which it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from fsspec.core import url_to_fs

from legacylens.errors import FileProblem, InputError
from legacylens.survey.remote import cached_path, fetch, is_there

BRICKNAME = re.compile(r"^\d{4}[pm]\d{3}$")
"""Form of a brick name: RA and Dec of its center in tenths of a degree, e.g. ``1126p222``."""

COADD_KINDS = ("image", "invvar", "nexp", "psfsize", "depth", "galdepth", "model", "blobmodel", "chi2")
"""Kinds of coadd that come one file for each band."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A survey release below a directory or URL."""

    root: str
    """Directory, or any URL that fsspec understands (https, s3, file)."""
    region: str = "south"
    """``south`` (DECam); DR10 has no other, the north is ``dr9/north``."""
    sweep_version: str = "10.1"
    """Folder of the sweeps. 10.1 has the corrected rows of the bricks that failed in 10.0."""
    prefix: str = "dr10"
    """Name of the release in the brick summary's file name."""
    cache: str | None = None
    """Where files from a URL are kept; None: a temporary folder of this process."""

    @classmethod
    def open(cls, root: str | Path, *, cache: str | Path | None = None) -> Release:
        """Return the release below ``root`` after a look at its brick table.

        Raises
        ------
        FileProblem
            If ``root`` has no ``survey-bricks.fits.gz``.
        """
        release = cls(root=str(root).rstrip("/"), cache=None if cache is None else str(cache))
        if not release.has(release.bricks_path()):
            raise FileProblem(
                release.bricks_path(),
                "not found, or its server does not answer, so this is no release"
                if release.is_remote
                else "not found, so this is no release",
                "Give the folder or URL that holds survey-bricks.fits.gz and south/ "
                "(`legacylens mocks release OUT` writes a small one).",
                reason="missing",
            )
        return release

    @property
    def is_remote(self) -> bool:
        """Whether the release is reached over the network."""
        return "://" in self.root and not self.root.startswith("file://")

    @property
    def number(self) -> int | None:
        """Number of the data release (10 for ``dr10``), None if the prefix is of another form."""
        found = re.fullmatch(r"dr(\d+)", self.prefix)
        return int(found[1]) if found else None

    def bricks_path(self) -> str:
        """Path of the table of all bricks."""
        return f"{self.root}/survey-bricks.fits.gz"

    def summary_path(self) -> str:
        """Path of the table of bricks with data (depths there are magnitudes)."""
        return f"{self.root}/{self.region}/survey-bricks-{self.prefix}-{self.region}.fits.gz"

    def sweep_folder(self) -> str:
        """Folder of the sweep files."""
        return f"{self.root}/{self.region}/sweep/{self.sweep_version}"

    def sweep_paths(self) -> list[str]:
        """Paths of all sweep files, sorted.

        Raises
        ------
        FileProblem
            If there are none.
        """
        filesystem, folder = url_to_fs(self.sweep_folder())
        names = filesystem.glob(f"{folder}/sweep-*.fits") if self.has(self.sweep_folder()) else []
        if not names:
            raise FileProblem(
                self.sweep_folder(),
                "no sweep-*.fits here" + (", or its server does not answer" if self.is_remote else ""),
                "Check the release and its sweep version.",
                reason="missing",
            )
        return sorted(f"{self.sweep_folder()}/{str(name).rsplit('/', 1)[-1]}" for name in names)

    def brick_folder(self, brickname: str) -> str:
        """Folder of a brick's coadds.

        Raises
        ------
        InputError
            If ``brickname`` does not have the form ``1126p222``.
        """
        if not BRICKNAME.match(brickname):
            raise InputError(f"brickname {brickname!r} does not have the form AAAApBBB or AAAAmBBB (e.g. 1126p222)")
        return f"{self.root}/{self.region}/coadd/{brickname[:3]}/{brickname}"

    def coadd_path(self, brickname: str, kind: str, band: str | None = None) -> str:
        """Path of one coadd: ``kind`` "image", "invvar", "nexp", "psfsize"... with a band, or "maskbits" without."""
        if kind == "maskbits":
            if band is not None:
                raise InputError(f"maskbits has no band, got {band!r}: one file holds all bands")
            name = f"legacysurvey-{brickname}-maskbits.fits.fz"
        elif kind in COADD_KINDS and band is not None:
            name = f"legacysurvey-{brickname}-{kind}-{band}.fits.fz"
        else:
            raise InputError(
                f"no coadd of kind {kind!r} with band {band!r}: kinds are {', '.join(COADD_KINDS)}, maskbits"
            )
        return f"{self.brick_folder(brickname)}/{name}"

    def checksum_path(self, brickname: str) -> str:
        """Path of the SHA-256 list of a brick's files."""
        name = f"legacysurvey_{self.prefix}_{self.region}_coadd_{brickname[:3]}_{brickname}.sha256sum"
        return f"{self.brick_folder(brickname)}/{name}"

    def sweep_checksum_path(self) -> str:
        """Path of the SHA-256 list of the sweep files."""
        return f"{self.sweep_folder()}/legacysurvey_{self.prefix}_{self.region}_sweep_{self.sweep_version}.sha256sum"

    def has(self, path: str) -> bool:
        """Whether a file or folder of the release exists; one whose server does not answer counts as absent."""
        return is_there(path) if self.is_remote else Path(_without_scheme(path)).exists()

    def local(self, path: str) -> Path:
        """Return a local file with the content of ``path``; remote files are downloaded once into the cache.

        Raises
        ------
        FileProblem
            If the file is not there (``missing``), or the service that holds it cannot be reached (``unreachable``).
        """
        if self.is_remote:
            return fetch(path, self.cache)
        file = Path(_without_scheme(path))
        if not file.is_file():
            raise FileProblem(path, "not found", "Check the release, the brick name and the band.", reason="missing")
        return file

    def forget(self, path: str) -> None:
        """Remove the local copy of a remote file, if there is one."""
        if self.is_remote:
            cached_path(path, self.cache).unlink(missing_ok=True)


def _without_scheme(path: str) -> str:
    return str(url_to_fs(path)[1])
