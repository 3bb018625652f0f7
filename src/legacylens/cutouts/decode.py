"""Cutouts from files as users have them: viewer FITS, FITS cubes, npz; each problem names file, fault and remedy."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from legacylens.cutouts.cutout import Cutout
from legacylens.cutouts.decode_fits import planes_of_fits
from legacylens.cutouts.decode_numpy import planes_of_numpy
from legacylens.cutouts.planes import standard_cutout, with_unique_names
from legacylens.errors import FileProblem, PhysicalRangeError
from legacylens.survey.bands import BANDS, STAMP

SUFFIXES = (".fits", ".fit", ".fits.gz", ".fits.fz", ".npz", ".npy")
"""Files of a folder that are looked at."""

_NOT_PIXELS = {
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x89PNG": "a PNG picture",
    b"<": "a web page",
    b"{": "a JSON document",
    b"%PDF": "a PDF document",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What was found in files."""

    cutouts: tuple[Cutout, ...]
    """Usable cutouts, one for each object."""
    problems: tuple[FileProblem, ...]
    """One for each file or object that is not usable."""


def read_cutouts(path: str | Path, *, bands: tuple[str, ...] = BANDS, stamp: int = STAMP) -> list[Cutout]:
    """Read the cutouts of a file, all or none.

    Parameters
    ----------
    path
        FITS, npz or npy.
    bands
        Bands of the cutouts; a file that lacks one is refused.
    stamp
        Side [pixel]: larger images are cropped around their center, somewhat smaller ones padded.

    Returns
    -------
    cutouts
        One for each object. Their ``notes`` say what was done to the pixels.

    Raises
    ------
    FileProblem
        With the first problem.
    """
    decoded = decode_file(path, bands=bands, stamp=stamp)
    if decoded.problems:
        raise decoded.problems[0]
    return list(decoded.cutouts)


def decode_file(path: str | Path, *, bands: tuple[str, ...] = BANDS, stamp: int = STAMP) -> Decoded:
    """Read what is usable in a file, and say of each other object why it is not; never raises for the file's faults."""
    path = Path(path)
    cutouts, problems = [], []
    try:
        objects = planes_of_numpy(path) if _kind(path) == "numpy" else planes_of_fits(path)
    except FileProblem as problem:
        return Decoded(cutouts=(), problems=(problem,))
    for planes in objects:
        try:
            cutouts.append(standard_cutout(planes, bands, stamp))
        except FileProblem as problem:
            problems.append(problem)
        except PhysicalRangeError as error:
            problems.append(planes.problem(str(error), "Correct the file's header.", "position"))
    return Decoded(cutouts=tuple(cutouts), problems=tuple(problems))


def decode_files(paths: Iterable[str | Path], *, bands: tuple[str, ...] = BANDS, stamp: int = STAMP) -> Decoded:
    """Read many files, and all cutouts in folders among them.

    Parameters
    ----------
    paths
        Files, and folders, of which every file with one of `SUFFIXES` is read, in the order of names.

    Returns
    -------
    decoded
        Cutouts of all files, with names made unique, and all problems.
    """
    cutouts: list[Cutout] = []
    problems: list[FileProblem] = []
    for path in paths:
        for file in _files(Path(path)):
            decoded = decode_file(file, bands=bands, stamp=stamp)
            cutouts += decoded.cutouts
            problems += decoded.problems
        if Path(path).is_dir() and not _files(Path(path)):
            problems.append(
                FileProblem(path, "no cutout in this folder", f"Looked for {', '.join(SUFFIXES)}.", reason="missing")
            )
    return Decoded(cutouts=tuple(with_unique_names(cutouts)), problems=tuple(problems))


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(entry for entry in path.iterdir() if entry.is_file() and entry.name.lower().endswith(SUFFIXES))


def _kind(path: Path) -> str:
    """Return ``fits`` or ``numpy`` by the first bytes of a file, whatever its name."""
    try:
        with path.open("rb") as handle:
            magic = handle.read(8)
        if magic.startswith(b"\x1f\x8b"):
            with gzip.open(path) as handle:
                magic = handle.read(8)
    except FileNotFoundError:
        raise FileProblem(path, "no such file", "Check the path.", reason="missing") from None
    except (OSError, EOFError, zlib.error) as error:
        raise FileProblem(path, f"cannot be read ({error})", "Fetch the file again.", reason="truncated") from error
    if magic.startswith(b"SIMPLE"):
        return "fits"
    if magic.startswith((b"PK", b"\x93NUMPY")):
        return "numpy"
    if not magic:
        raise FileProblem(path, "an empty file", "Fetch it again.", reason="truncated")
    looks = next((name for start, name in _NOT_PIXELS.items() if magic.lstrip().startswith(start)), None)
    raise FileProblem(
        path,
        f"neither FITS nor npz, but {looks}" if looks else f"neither FITS nor npz: it starts with {magic!r}",
        "Give pixel values: cutout.fits of the viewer (not .jpg), or an npz with an array 'cutout'.",
        reason="not-fits",
    )
