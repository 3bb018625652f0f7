"""Sweep and Tractor catalogs: rows of a FITS table, typed, in blocks of bounded memory, from disk or a URL.

The rows of a sweep are wide (about 1 kB) and many (millions), and only some forty columns matter. The file is read
once from front to back in blocks of rows; each block becomes a DataFrame with lower-case column names, native byte
order, and strings without padding. A file ending in ``.gz`` is decompressed on the way and never held whole.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import aiohttp
import fsspec
import numpy as np
import pandas as pd
from astropy.io import fits
from fsspec.core import url_to_fs
from numpy.typing import NDArray

from legacylens.errors import FileProblem
from legacylens.survey.remote import cached_path, fetch

BLOCK_BYTES = 48 * 2**20
"""Size of the block of raw rows that is in memory at a time [byte]."""

RELEASES: Mapping[int, str] = {
    7000: "DR7 (DECam)",
    8000: "DR8 south (DECam)",
    8001: "DR8 north (BASS, MzLS)",
    9010: "DR9 south (DECam)",
    9011: "DR9 north (BASS, MzLS)",
    9012: "DR9 south (DECam, bricks processed again)",
    10000: "DR10.0 (DECam)",
    10001: "DR10.0 (DECam, bricks processed again)",
    10002: "DR10.1 (DECam)",
}
"""The RELEASE column, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepColumn:
    """One column of the sweeps, under its lower-case name."""

    name: str
    """Name in memory: the survey's, in lower case."""
    dtype: str
    """NumPy dtype in memory; ``str`` for text."""
    unit: str
    """Unit, empty if it has none."""
    description: str
    """What it is."""
    absent: str = ""
    """What it means that a file (of an older release) lacks it; empty if every release has the column."""


def _by_band(name: str, dtype: str, unit: str, description: str, absent: str = "") -> list[SweepColumn]:
    return [
        SweepColumn(
            name=f"{name}_{band}", dtype=dtype, unit=unit, description=f"{description} in {band}", absent=absent
        )
        for band in ("g", "r", "z")
    ]


_NO_SHAPE = "DR8 and before have SHAPEDEV_* and SHAPEEXP_* in its place, which are taken by TYPE"
_NO_SERSIC = "before DR9 there is no SER type; the index is 4 for DEV, 1 for EXP and REX, unknown for COMP"
_NO_PSFSIZE = "sweeps have the seeing since DR9; before, only the Tractor files of each brick and the coadds do"

SWEEP_COLUMNS: tuple[SweepColumn, ...] = (
    SweepColumn(name="release", dtype="int32", unit="", description="release and camera (see RELEASES)"),
    SweepColumn(name="brickid", dtype="int32", unit="", description="number of the brick"),
    SweepColumn(name="brickname", dtype="str", unit="", description="name of the brick, e.g. 1126p222"),
    SweepColumn(name="objid", dtype="int32", unit="", description="number of the source in its brick"),
    SweepColumn(name="type", dtype="str", unit="", description="morphological model: PSF, REX, EXP, DEV, SER, DUP"),
    SweepColumn(name="ra", dtype="float64", unit="deg", description="right ascension (J2000)"),
    SweepColumn(name="dec", dtype="float64", unit="deg", description="declination (J2000)"),
    SweepColumn(name="ebv", dtype="float32", unit="mag", description="Galactic reddening E(B-V), SFD98"),
    *_by_band("flux", "float32", "nanomaggy", "model flux"),
    *_by_band("flux_ivar", "float32", "nanomaggy^-2", "inverse variance of the flux"),
    *_by_band("mw_transmission", "float32", "", "fraction of the light that the Galaxy lets through"),
    *_by_band("nobs", "int16", "", "number of exposures at the source"),
    *_by_band("psfsize", "float32", "arcsec", "FWHM of the point-spread function", _NO_PSFSIZE),
    *_by_band("psfdepth", "float32", "nanomaggy^-2", "depth for a point source (5 sigma: 5/sqrt)"),
    *_by_band("galdepth", "float32", "nanomaggy^-2", "depth for a 0.45 arcsec galaxy (5 sigma: 5/sqrt)"),
    *_by_band("fracflux", "float32", "", "flux of neighbors over the flux of the source"),
    SweepColumn(name="shape_r", dtype="float32", unit="arcsec", description="half-light radius", absent=_NO_SHAPE),
    SweepColumn(name="shape_e1", dtype="float32", unit="", description="ellipticity component 1", absent=_NO_SHAPE),
    SweepColumn(name="shape_e2", dtype="float32", unit="", description="ellipticity component 2", absent=_NO_SHAPE),
    SweepColumn(name="sersic", dtype="float32", unit="", description="Sersic index", absent=_NO_SERSIC),
    SweepColumn(name="maskbits", dtype="int32", unit="", description="mask bits at the source (see survey.maskbits)"),
)
"""The columns that legacylens reads from a sweep."""

COLUMNS: Mapping[str, SweepColumn] = {column.name: column for column in SWEEP_COLUMNS}
"""Name -> column."""

FILLABLE = frozenset(column.name for column in SWEEP_COLUMNS if column.absent)
"""Columns that older releases lack, which can be filled; the lack of any other means a damaged file."""

_IDENTITY = ("release", "brickid", "brickname", "objid", "type", "ra", "dec")
_SHAPES = ("r", "e1", "e2")
_TFORM = re.compile(r"^\s*(\d*)([LXBIJKAEDCMPQ])")
_DTYPES = {
    "L": "u1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8", "C": ">c8", "M": ">c16",
    "P": ">i8", "Q": ">c16",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepFile:
    """A sweep or Tractor file as its header describes it; no row has been read yet, except the first."""

    path: str
    """File or URL."""
    n_rows: int
    """Rows of the table."""
    row_bytes: int
    """Bytes of a row."""
    data_start: int
    """Offset of the first row [byte]."""
    dtype: np.dtype[Any]
    """Layout of a row as stored (big-endian), column names in lower case."""
    scaling: Mapping[str, tuple[float, float]]
    """Column -> (TSCAL, TZERO), for the few that are stored scaled."""
    logical: frozenset[str]
    """Columns of the FITS type L."""
    release: int | None
    """RELEASE of the first row; None for an empty table or a table without the column."""

    @property
    def release_name(self) -> str:
        """The release in words."""
        if self.release is None:
            return "unknown release"
        return RELEASES.get(self.release, f"RELEASE {self.release}, which legacylens does not know")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns in the file, lower case."""
        return self.dtype.names or ()

    def missing(self, columns: Sequence[str] | None = None) -> tuple[str, ...]:
        """Which of ``columns`` (default: all of `SWEEP_COLUMNS`) the file lacks, in their order."""
        wanted = tuple(COLUMNS) if columns is None else tuple(columns)
        return tuple(name for name in wanted if name not in self.columns)

    def translated(self, columns: Sequence[str] | None = None) -> tuple[str, ...]:
        """Which of the missing columns can be taken from the columns of an older release."""
        older = {f"shape_{part}": {f"shapedev_{part}", f"shapeexp_{part}"} for part in _SHAPES}
        older["sersic"] = {"shapedev_r", "shapeexp_r"}
        return tuple(
            name
            for name in self.missing(columns)
            if name in older and older[name] <= set(self.columns) and "type" in self.columns
        )


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    """Open a local file or a URL for reading from front to back, decompressing ``.gz``.

    A server that cannot send a part of a file is asked for the whole, which stays until `forget_copy`.
    """
    try:
        whole = path.startswith(("http://", "https://")) and not _sends_parts(path)
        with fsspec.open(str(fetch(path, None)) if whole else path, "rb", compression="infer") as handle:
            yield handle
    except FileNotFoundError as error:
        if "://" in path:  # fsspec says the same of a server that does not answer
            raise FileProblem(
                path, "not found, or its server does not answer", "Check the address and the network.", reason="missing"
            ) from error
        raise FileProblem(path, "no such file", "Check the path.", reason="missing") from None
    except ImportError as error:  # fsspec imports what a protocol needs when it is first used
        raise FileProblem(
            path, f"its protocol needs a package that is not installed ({error})", "Install it, or download the file.",
            reason="unreachable",
        ) from error  # fmt: skip
    except EOFError as error:  # a compressed stream that ends before its end mark
        raise FileProblem(
            path, f"the compressed file ends too early ({error})", "Download it again.", reason="truncated"
        ) from error
    except (OSError, zlib.error, aiohttp.ClientError) as error:
        raise FileProblem(
            path, f"cannot be read ({error})", "Check the file, the address and the network.", reason="unreachable"
        ) from error


def _sends_parts(url: str) -> bool:
    filesystem, name = url_to_fs(url)
    return bool(filesystem.info(name).get("partial"))


def forget_copy(path: str) -> None:
    """Remove the copy of a file whose server cannot send a part of it."""
    if "://" in path:
        cached_path(path, None).unlink(missing_ok=True)


def _skip_to(handle: IO[bytes], place: int, whence: int = 0) -> None:
    """Move to an offset."""
    handle.seek(place, whence)


def _read_exactly(handle: IO[bytes], n: int) -> bytes:
    """Read ``n`` bytes, fewer only at the end of the file; a network stream may give less at a time."""
    parts = []
    while n > 0 and (part := handle.read(n)):
        parts.append(part)
        n -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _read_header(path: str, handle: IO[bytes]) -> fits.Header | None:
    """Read the header at the current offset; None at the end of the file."""
    blocks: list[bytes] = []
    while True:
        block = _read_exactly(handle, 2880)
        if not blocks and not block.strip(b"\0 \n"):
            return None
        if not blocks and not block.startswith((b"SIMPLE  =", b"XTENSION=")):
            starts = block[:24].decode("latin-1")
            raise FileProblem(
                path,
                f"not FITS: it starts with {starts!r}",
                "A page of text under the name of a table is usually an error message of the server: open it in "
                "an editor, then download the file again.",
                reason="not-fits",
            )
        blocks.append(block)
        if len(block) < 2880:
            raise FileProblem(
                path, "ends inside a header", "Download it again: the transfer was cut.", reason="truncated"
            )
        if any(block[place : place + 8] == b"END     " for place in range(0, 2880, 80)):
            return fits.Header.fromstring(b"".join(blocks))


def _data_bytes(header: fits.Header) -> int:
    """Return the size of the data unit with its padding (FITS standard 4.0, eq. 2)."""
    n_axes = int(header.get("NAXIS", 0))
    if n_axes == 0:
        return 0
    count = math.prod(int(header[f"NAXIS{axis}"]) for axis in range(1, n_axes + 1))
    size = abs(int(header["BITPIX"])) // 8 * int(header.get("GCOUNT", 1)) * (int(header.get("PCOUNT", 0)) + count)
    return -(-size // 2880) * 2880


def _row_layout(path: str, header: fits.Header) -> tuple[np.dtype[Any], dict[str, tuple[float, float]], frozenset[str]]:
    fields: list[tuple[str, str]] = []
    scaling: dict[str, tuple[float, float]] = {}
    logical = set()
    for place in range(1, int(header["TFIELDS"]) + 1):
        name = str(header.get(f"TTYPE{place}", f"col{place}")).strip().lower()
        form = str(header[f"TFORM{place}"])
        match = _TFORM.match(form)
        if match is None:
            raise FileProblem(
                path, f"column {name} has the unknown format {form!r}", "Write the file again.", reason="not-a-sweep"
            )
        repeat = int(match[1] or 1)
        kind = match[2]
        if kind == "A":
            fields.append((name, f"S{repeat}"))
        elif kind == "X":
            fields.append((name, f"({-(-repeat // 8)},)u1"))
        else:
            fields.append((name, _DTYPES[kind] if repeat == 1 else f"({repeat},){_DTYPES[kind]}"))
        if kind == "L":
            logical.add(name)
        scale, zero = float(header.get(f"TSCAL{place}", 1.0)), float(header.get(f"TZERO{place}", 0.0))
        if (scale, zero) != (1.0, 0.0):
            scaling[name] = (scale, zero)
    dtype = np.dtype(fields)
    if dtype.itemsize != int(header["NAXIS1"]):
        raise FileProblem(
            path,
            f"its columns add up to {dtype.itemsize} bytes a row but the header says {header['NAXIS1']}",
            "The header is damaged: download the file again.",
            reason="not-a-sweep",
        )
    return dtype, scaling, frozenset(logical)


def open_sweep(path: str) -> SweepFile:
    """Read the description of a sweep or Tractor file and check that the file is whole.

    Parameters
    ----------
    path
        File or URL; ``.gz`` is understood.

    Raises
    ------
    FileProblem
        If the file is absent, not FITS, truncated, or has no table of sources.
    """
    path = str(path)
    with _opened(path) as handle:
        header = _read_header(path, handle)
        if header is None:
            raise FileProblem(path, "empty", "Download it again.", reason="truncated")
        start = 0
        found: list[str] = []
        while header is not None:
            start = handle.tell()
            if str(header.get("XTENSION", "")).strip() == "BINTABLE":
                dtype, scaling, logical = _row_layout(path, header)
                found = list(dtype.names or ())
                if sum(name in found for name in _IDENTITY) > len(_IDENTITY) // 2:
                    break
            _skip_to(handle, start + _data_bytes(header))
            header = _read_header(path, handle)
        if header is None:
            raise FileProblem(
                path,
                "not a sweep or Tractor catalog: "
                + (f"its table has the columns {', '.join(found[:8])}" if found else "it has no table"),
                "Give files like sweep-000m005-005p000.fits or tractor-1126p222.fits, "
                f"whose table has {', '.join(name.upper() for name in _IDENTITY)}.",
                reason="not-a-sweep",
            )
        n_rows, row_bytes = int(header["NAXIS2"]), int(header["NAXIS1"])
        first = _read_exactly(handle, row_bytes) if n_rows else b""
        release = None
        if "release" in found and len(first) == row_bytes:
            release = int(np.frombuffer(first, dtype=dtype)["release"][0])
        size = getattr(handle, "size", None) if not path.endswith(".gz") else None
        if size is None and not path.endswith(".gz"):
            _skip_to(handle, 0, 2)
            size = handle.tell()
        if size is not None and size < start + n_rows * row_bytes:
            raise _truncated(path, max(0, size - start) // row_bytes, n_rows)
    return SweepFile(
        path=path,
        n_rows=n_rows,
        row_bytes=row_bytes,
        data_start=start,
        dtype=dtype,
        scaling=scaling,
        logical=logical,
        release=release,
    )


def _truncated(path: str, there: int, promised: int) -> FileProblem:
    return FileProblem(
        path,
        f"truncated: {there:,} of the {promised:,} rows that its header promises are there",
        "Download it again; nothing of it was used.",
        reason="truncated",
    )


def _column(file: SweepFile, block: NDArray[Any], name: str) -> Any:
    """Return a column of a raw block in memory form."""
    raw = block[name]
    if raw.dtype.kind == "S":
        # A block has few distinct types and bricks: decoding those is much faster than decoding every row.
        distinct, inverse = np.unique(raw, return_inverse=True)
        try:
            text = np.array([value.decode("ascii").strip(" \0") for value in distinct], dtype=object)
        except UnicodeDecodeError as error:
            raise FileProblem(
                file.path,
                f"column {name.upper()} holds bytes that are no text",
                "The file is damaged: download it again.",
                reason="damaged",
            ) from error
        return pd.array(text[inverse], dtype="str")
    if name in file.logical:
        return raw == ord("T")
    values = raw.astype(raw.dtype.newbyteorder("="))
    if name in file.scaling:
        scale, zero = file.scaling[name]
        whole = values.dtype.kind in "iu" and scale == 1.0 and zero.is_integer()
        values = values.astype(np.int64) + int(zero) if whole else values * scale + zero
    if name in COLUMNS and COLUMNS[name].dtype != "str":
        values = values.astype(COLUMNS[name].dtype, copy=False)
    return values


def _older_column(file: SweepFile, block: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Return a DR9 column made from the columns of an older release."""
    kind = np.char.strip(block["type"])
    de_vaucouleurs, exponential = kind == b"DEV", np.isin(kind, [b"EXP", b"REX", b"SIMP"])
    result = np.full(len(block), np.nan, dtype=np.float32)
    result[kind == b"PSF"] = 0.0
    if name == "sersic":
        result[de_vaucouleurs], result[exponential] = 4.0, 1.0
        return result
    part = name.removeprefix("shape_")
    result[de_vaucouleurs] = _column(file, block, f"shapedev_{part}")[de_vaucouleurs]
    result[exponential] = _column(file, block, f"shapeexp_{part}")[exponential]
    return result


def describe_missing(missing: Sequence[str]) -> list[str]:
    """Return one phrase for each group of missing columns that are missing for the same reason."""
    groups: dict[str, list[str]] = {}
    for name in missing:
        groups.setdefault(COLUMNS[name].absent if name in COLUMNS else "", []).append(name.upper())
    return [", ".join(names) + (f" ({reason})" if reason else "") for reason, names in groups.items()]


def missing_columns_problem(file: SweepFile, missing: Sequence[str]) -> FileProblem:
    """Return the error for a file that lacks columns, each with what its absence means."""
    return FileProblem(
        file.path,
        f"{file.release_name} table without the columns {'; '.join(describe_missing(missing))}",
        "Use sweeps of DR9 or DR10 (south/sweep/10.1).",
        reason="missing-columns",
    )


def iter_sweep(
    path: str | SweepFile,
    columns: Sequence[str] | None = None,
    *,
    rows: int | None = None,
    fill_missing: bool = False,
) -> Iterator[pd.DataFrame]:
    """Iterate over a sweep in blocks of rows.

    Parameters
    ----------
    path
        File or URL, or what `open_sweep` returned for it.
    columns
        Names in any case; default: all of `SWEEP_COLUMNS`. Columns outside that list are read as stored.
    rows
        Rows of a block; default: as many as fill `BLOCK_BYTES`.
    fill_missing
        Take the columns that older releases lack (`FILLABLE`) from the columns that stood in their place, else fill
        them with NaN. Any other missing column is an error.

    Yields
    ------
    block
        The columns in the order asked for; the index is the row in the file, from 0.

    Raises
    ------
    FileProblem
        If the file is not a whole sweep, or lacks columns (all of them are named).
    """
    file = path if isinstance(path, SweepFile) else open_sweep(str(path))
    wanted = tuple(COLUMNS) if columns is None else tuple(name.lower() for name in columns)
    missing = file.missing(wanted)
    translated = file.translated(wanted)
    fatal = [name for name in missing if not fill_missing or name not in FILLABLE]
    if fatal:
        raise missing_columns_problem(file, fatal)
    step = max(1, BLOCK_BYTES // file.row_bytes) if rows is None else rows
    with _opened(file.path) as handle:
        _skip_to(handle, file.data_start)
        for start in range(0, file.n_rows, step) or (0,):
            n = min(step, file.n_rows - start)
            buffer = _read_exactly(handle, n * file.row_bytes)
            if len(buffer) < n * file.row_bytes:
                raise _truncated(file.path, start + len(buffer) // file.row_bytes, file.n_rows)
            block = np.frombuffer(buffer, dtype=file.dtype)
            content: dict[str, Any] = {}
            for name in wanted:
                if name not in missing:
                    content[name] = _column(file, block, name)
                elif name in translated:
                    content[name] = _older_column(file, block, name)
                else:
                    content[name] = np.full(n, np.nan, dtype=COLUMNS[name].dtype)
            yield pd.DataFrame(content, index=pd.RangeIndex(start, start + n))


def read_sweep(path: str, columns: Sequence[str] | None = None, *, fill_missing: bool = False) -> pd.DataFrame:
    """Read a whole sweep or Tractor file; see `iter_sweep` for the parameters and errors."""
    return pd.concat(list(iter_sweep(path, columns, fill_missing=fill_missing)))
