"""The list as Parquet, FITS and CSV, with identical content; units and meanings travel with the first two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits

from legacylens.candidates.build import build_candidates
from legacylens.candidates.columns import COLUMNS, Column, columns_of, typed
from legacylens.candidates.config import CandidateConfig
from legacylens.errors import FileProblem, InputError
from legacylens.files import atomic_path, read_parquet, write_json, write_text
from legacylens.provenance import versions, write_provenance

STEM = "candidates"

_FITS_FORMATS = {"integer": "K", "real32": "E", "real": "D", "truth": "L"}


def write_candidates(frame: pd.DataFrame, out: str | Path) -> dict[str, str]:
    """Write ``candidates.parquet``, ``.fits``, ``.csv`` and ``candidates-columns.csv`` into a folder.

    Parameters
    ----------
    frame
        The list, columns as in `legacylens.candidates.columns`.
    out
        The folder.

    Returns
    -------
    paths
        Format -> path.

    Raises
    ------
    InputError
        If a column is missing or unknown, or a text is not ASCII (FITS tables hold no other).
    """
    frame = typed(frame)
    columns = columns_of(frame)
    out = Path(out)
    paths = {kind: out / f"{STEM}.{kind}" for kind in ("parquet", "fits", "csv")}
    _write_parquet(frame, columns, paths["parquet"])
    _write_fits(frame, columns, paths["fits"])
    # The shortest decimal that reads back as the same number: nothing is lost, and 32-bit columns stay short.
    write_text(paths["csv"], frame.to_csv(index=False, lineterminator="\n"))
    paths["columns"] = out / f"{STEM}-columns.csv"
    described = pd.DataFrame(
        [{"name": c.name, "type": c.kind, "unit": c.unit, "ucd": c.ucd, "description": c.description} for c in columns]
    )
    write_text(paths["columns"], described.to_csv(index=False, lineterminator="\n"))
    return {kind: str(path) for kind, path in paths.items()}


def _write_parquet(frame: pd.DataFrame, columns: tuple[Column, ...], path: Path) -> None:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    fields = [
        table.schema.field(column.name).with_metadata(
            {"unit": column.unit, "description": column.description, "ucd": column.ucd}
        )
        for column in columns
    ]
    table = table.cast(pa.schema(fields, metadata=table.schema.metadata))
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _write_fits(frame: pd.DataFrame, columns: tuple[Column, ...], path: Path) -> None:
    fits_columns = []
    for column in columns:
        values: np.ndarray = frame[column.name].to_numpy()
        if column.kind == "text":
            try:
                values = np.array([str(value).encode("ascii") for value in values], dtype=bytes)
            except UnicodeEncodeError as error:
                raise InputError(
                    f"column {column.name} holds a character that is not ASCII ({error.object!r}), and FITS tables "
                    "hold no other; correct the name in the list of known lenses it comes from"
                ) from error
            form = f"{max(values.dtype.itemsize, 1)}A"
        else:
            form = _FITS_FORMATS[column.kind]
        fits_columns.append(fits.Column(name=column.name, format=form, unit=column.unit or None, array=values))
    hdu = fits.BinTableHDU.from_columns(fits_columns, name="CANDIDATES")
    for place, column in enumerate(columns, start=1):
        hdu.header.comments[f"TTYPE{place}"] = column.description[:46]  # what fits beside the longest name
        hdu.header.set(f"TCOMM{place}", column.description, after=f"TFORM{place}")
        if column.ucd:
            hdu.header.set(f"TUCD{place}", column.ucd, after=f"TCOMM{place}")
    hdu.header["RADESYS"] = ("ICRS", "frame of ra and dec")
    hdu.header["CREATOR"] = (f"legacylens {versions()['legacylens']}", "program")
    # By default the comment of a checksum is the time, and the same list would never be the same file.
    hdu.add_checksum(when="checksum of the HDU")
    with atomic_path(path) as temporary:
        hdu.writeto(temporary)


def read_candidates(path: str | Path) -> pd.DataFrame:
    """Read a list back from any of the three formats.

    Parameters
    ----------
    path
        A file, or the folder of a list (then its Parquet file).

    Raises
    ------
    FileProblem
        If the file is missing, broken or of another kind.
    """
    path = Path(path)
    if path.is_dir():
        path = path / f"{STEM}.parquet"
    if not path.exists():
        raise FileProblem(path, "no such list", "Run `legacylens candidates`.", reason="missing")
    try:
        if path.suffix == ".parquet":
            frame = read_parquet(path)
        elif path.suffix == ".csv":
            frame = _read_csv(path)
        elif path.suffix == ".fits":
            frame = _read_fits(path)
        else:
            raise FileProblem(path, "not .parquet, .fits or .csv", "Give one of the three.", reason="format")
        return typed(frame)
    except (OSError, ValueError, InputError) as error:
        if isinstance(error, FileProblem):
            raise
        raise FileProblem(path, f"not a candidate list ({error})", "Write it again.", reason="truncated") from error


def _read_csv(path: Path) -> pd.DataFrame:
    # In a text column "NA" is a text; in a column of numbers an empty field is NaN. Numbers are read by Python itself,
    # because the parser's fast way may miss the last bit.
    reals = [column.name for column in COLUMNS if column.kind in ("real", "real32")]
    texts = [column.name for column in COLUMNS if column.kind == "text"]
    frame = pd.read_csv(path, dtype=dict.fromkeys(reals + texts, str), keep_default_na=False)
    numbers = {
        name: np.array([float(value) if value else np.nan for value in frame[name]], dtype=np.float64)
        for name in reals
        if name in frame.columns
    }
    return frame.assign(**numbers)


def _read_fits(path: Path) -> pd.DataFrame:
    with fits.open(path) as hdus:
        data = hdus["CANDIDATES"].data
        return pd.DataFrame(
            {
                name: (
                    np.array([str(value).strip() for value in data[name]], dtype=object)
                    if data[name].dtype.kind in "SU"
                    else np.ascontiguousarray(data[name]).astype(data[name].dtype.newbyteorder("="))
                )
                for name in data.names
            }
        )


def make_candidates(
    scores_path: str | Path,
    parent_path: str | Path,
    out: str | Path,
    config: CandidateConfig,
    *,
    known_path: str | Path | None = None,
    sample_path: str | Path | None = None,
) -> dict[str, Any]:
    """Read scores and parent, build the list and write it in three formats with counts and provenance.

    Parameters
    ----------
    scores_path, parent_path
        ``scores.parquet`` and ``parent.parquet``, or the folders that hold them.
    out
        Folder for the list, ``candidates.json`` and ``provenance.json``.
    config
        Threshold, length and radii.
    known_path
        ``systems.parquet`` of the known lenses, or its folder.
    sample_path
        ``sample.parquet`` of the training, or its folder.

    Returns
    -------
    summary
        ``counts``, ``threshold``, ``ranked_by``, ``files``.
    """
    inputs = {"scores": _table(scores_path, "scores"), "parent": _table(parent_path, "parent")}
    if known_path is not None:
        inputs["known"] = _table(known_path, "systems")
    if sample_path is not None:
        inputs["sample"] = _table(sample_path, "sample")
    tables = {name: read_parquet(path) for name, path in inputs.items()}
    candidates = build_candidates(
        tables["scores"], tables["parent"], config, known=tables.get("known"), sample=tables.get("sample")
    )
    files = write_candidates(candidates.frame, out)
    summary = {**candidates.summary(), "files": files}
    write_json(Path(out) / f"{STEM}.json", {**candidates.summary(), "configuration": config.model_dump(mode="json")})
    write_provenance(
        out,
        step="candidates",
        configuration=config.model_dump(mode="json"),
        inputs=inputs,
        results=candidates.summary(),
    )
    return summary


def _table(path: str | Path, stem: str) -> Path:
    path = Path(path)
    return path / f"{stem}.parquet" if path.is_dir() else path
