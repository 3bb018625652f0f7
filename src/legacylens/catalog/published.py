"""lenscat and the published candidate lists, as entries: one row for each time a paper lists a system.

Each entry keeps what its source says: name, position, grade, redshifts, Einstein radius, reference. What several
sources say about one system is brought together by `legacylens.catalog.systems`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from legacylens.catalog.channels import CHANNELS, channels_of, identifiers, only_targets
from legacylens.catalog.lists import ObjectList, RawColumns, read_columns, read_list
from legacylens.catalog.positions import ListProblem
from legacylens.errors import FileProblem, InputError

GRADES = ("confirmed", "confident", "A", "B", "C", "probable", "", "D")
"""Grades, best first: ``confirmed`` by spectra, ``confident`` and ``probable`` are lenscat's, letters the papers';
empty means listed without a grade, D is rejected."""

ENTRY_COLUMNS: Mapping[str, str] = {
    "source": "list that the entry is from",
    "row": "row of that list, from 1",
    "name": "name in that list; aliases separated by ' | '",
    "ra": "right ascension [deg]",
    "dec": "declination [deg]",
    "step": "step of the coordinates as written [arcsec]",
    "grade": "grade in that list",
    "channels": "discovery channels, separated by '|'; empty if the list does not tell",
    "kind": "galaxy, group, cluster, or empty",
    "target": "whether the entry is only a place where someone looked (cluster catalogs)",
    "papers": "arXiv number, DOI or bibcode of the papers, separated by '|'",
    "z_l": "redshift of the lens",
    "z_l_kind": "how it was measured: spec, phot, or empty if not said",
    "z_s": "redshift of the source",
    "theta_E": "Einstein radius [arcsec]",
}
"""Columns of the entries."""

LENSCAT_COLUMNS = ("name", "RA", "DEC", "zlens", "type", "grading", "ref")
"""Columns of lenscat's catalog (units in brackets aside), by which a list in that format is recognized."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LensList:
    """The entries of one list."""

    source: str
    """Short name of the list."""
    path: str
    """The file."""
    entries: pd.DataFrame
    """One row for each usable row of the list, with `ENTRY_COLUMNS`."""
    rows: int
    """Rows of the file."""
    problems: tuple[ListProblem, ...]
    """Rows left out, and notes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedList:
    """What is known of a published list beside its rows."""

    file: str
    """File name."""
    source: str
    """Short name."""
    paper: str
    """arXiv number."""
    channel: str
    """Discovery channel, empty if the list does not say."""
    grade: str = ""
    """Grade of every row, where the list has no column of grades."""
    columns: Mapping[str, str] = field(default_factory=lambda: {"ra": "RA:deg", "dec": "DEC:deg"})
    """Column map."""
    complete: bool = True
    """Whether the list has every system that the paper graded C or better."""
    z_spec: str = ""
    """Column with the spectroscopic redshift of the lens; values that are not positive mean none."""


PUBLISHED: tuple[PublishedList, ...] = (
    PublishedList(file="huang2020_published_catalog.csv", source="huang2020", paper="1906.00970", channel="network"),
    PublishedList(
        file="huang2021_published_catalog.csv",
        source="huang2021",
        paper="2005.04730",
        channel="network",
        z_spec="spec_z",
    ),
    PublishedList(
        file="storfer2024_published_catalog.csv", source="storfer2024", paper="2206.02764", channel="network"
    ),
    PublishedList(
        file="inchausti2025_published_catalog.csv", source="inchausti2025", paper="2508.20087", channel="network"
    ),
    PublishedList(
        file="stein2022_new_lenses.tsv", source="stein2022", paper="2110.00023", channel="network", z_spec="z_spec"
    ),
    # Lenses of the literature that Stein et al. 2022 trained on; the list does not say who found them.
    PublishedList(
        file="stein2022_training_lenses.tsv",
        source="stein2022-training",
        paper="2110.00023",
        channel="",
        complete=False,
        z_spec="z_spec",
    ),
    PublishedList(
        file="slacs_theta_e.cat",
        source="slacs",
        paper="0911.2471",
        channel="spectroscopic",
        grade="confirmed",
        complete=False,
        columns={"ra": "RA:deg", "dec": "DEC:deg", "theta_E": "theta_Ein:arcsec"},
        z_spec="zd",
    ),
)
"""The lists that `read_published` knows by file name."""

NOT_LENSES = ("ring_galaxies.csv",)
"""Lists in the same folder that hold contaminants, see `legacylens.catalog.contaminants`."""


def normal_grade(text: str) -> str:
    """Return a grade in the spelling of `GRADES`; one that is none of them is kept as it is."""
    text = text.strip()
    if text.lower() in GRADES:
        return text.lower()
    return text.upper() if text.upper() in GRADES else text


def _redshifts(texts: pd.Series) -> NDArray[np.float64]:
    """Return the median of the numbers in texts like ``0.4861 | nan``; NaN where there are none."""
    numbers = texts.str.extractall(r"(?:^|\|)\s*(\d+(?:\.\d*)?(?:[eE]-?\d+)?)\s*\??\s*(?=\||$)")[0].astype(float)
    medians = numbers[numbers > 0].groupby(level=0).median()
    return np.asarray(medians.reindex(texts.index), dtype=np.float64)


def _entries(found: ObjectList, source: str, **columns: Any) -> pd.DataFrame:
    """Return the frame of a list completed to `ENTRY_COLUMNS`."""
    frame = found.frame.copy()
    frame["source"] = source
    for name, value in columns.items():
        frame[name] = value
    for name, default in (("name", ""), ("grade", ""), ("channels", ""), ("kind", ""), ("papers", "")):
        if name not in frame:
            frame[name] = default
    for name in ("z_l", "z_s", "theta_E"):
        values = frame[name].astype(float) if name in frame else pd.Series(np.nan, index=frame.index)
        frame[name] = values.where(values > 0)
    if "z_l_kind" not in frame:
        frame["z_l_kind"] = ""
    frame["z_l_kind"] = frame["z_l_kind"].where(frame["z_l"].notna(), "")
    if "target" not in frame:
        frame["target"] = False
    frame["grade"] = frame["grade"].map(normal_grade)
    text = ["source", "name", "grade", "channels", "kind", "papers", "z_l_kind"]
    return frame[list(ENTRY_COLUMNS)].astype(dict.fromkeys(text, "str"))


def lenscat_path() -> Path:
    """Return the catalog file of the installed lenscat package.

    The package is found but not imported, because its import needs ligo.skymap.

    Raises
    ------
    InputError
        If lenscat is not installed.
    """
    found = importlib.util.find_spec("lenscat")
    if found is None or not found.submodule_search_locations:
        raise InputError(
            "the package lenscat is not installed: `pip install --no-deps lenscat` adds its catalog (without "
            "ligo.skymap, which the catalog does not need), or give your own lists with --list"
        )
    return Path(found.submodule_search_locations[0]) / "data" / "catalog.csv"


def _from_lenscat(raw: RawColumns, source: str) -> LensList:
    found = read_list(raw.path, {"kind": "type"}, quantities=("name", "grade", "kind", "ref"), raw=raw)
    papers = found.frame["ref"].map(identifiers)
    redshifts = _redshifts(raw.frame["zlens"].astype("str").str.strip()) if "zlens" in raw.frame else np.nan
    # The redshifts belong to the rows of the file, of which some may have been left out.
    kept = found.frame["row"].to_numpy() - 1
    entries = _entries(
        found,
        source,
        papers=papers.map("|".join),
        channels=papers.map(lambda each: "|".join(channels_of(each))),
        target=papers.map(only_targets),
        z_l=np.broadcast_to(redshifts, len(raw.frame))[kept],
    )
    return LensList(source=source, path=raw.path, entries=entries, rows=found.rows, problems=found.problems)


def read_lenscat(path: str | Path | None = None) -> LensList:
    """Read lenscat's catalog.

    Parameters
    ----------
    path
        A file in lenscat's format; default: the catalog of the installed package.

    Raises
    ------
    InputError
        If no path is given and lenscat is not installed.
    FileProblem
        If the file is absent or lacks columns.
    """
    source = "lenscat" if path is None else Path(path).stem
    raw = read_columns(lenscat_path() if path is None else path)
    absent = [name for name in ("name", "RA", "DEC", "grading", "ref") if name not in raw.frame]
    if absent:
        raise FileProblem(
            raw.path,
            f"not in lenscat's format: no column {', '.join(absent)}",
            "Install lenscat again (`pip install --no-deps lenscat`), or give the list with --list and --columns.",
            reason="missing-columns",
        )
    return _from_lenscat(raw, source)


def _read_one(folder: Path, known: PublishedList) -> LensList:
    raw = read_columns(folder / known.file)
    found = read_list(raw.path, known.columns, quantities=("name", "grade", "z_s", "theta_E", "z_l"), raw=raw)
    columns: dict[str, Any] = {"papers": known.paper, "channels": known.channel}
    if known.grade:
        columns["grade"] = known.grade
    if known.z_spec:
        kept = found.frame["row"].to_numpy() - 1
        redshift = pd.to_numeric(raw.frame[known.z_spec], errors="coerce").to_numpy(dtype=np.float64)[kept]
        columns |= {"z_l": redshift, "z_l_kind": "spec"}
    entries = _entries(found, known.source, **columns)
    return LensList(source=known.source, path=raw.path, entries=entries, rows=found.rows, problems=found.problems)


def read_published(folder: str | Path) -> tuple[LensList, ...]:
    """Read every list of `PUBLISHED` that is in a folder.

    Raises
    ------
    FileProblem
        If the folder is absent or has none of them, or one of them is damaged.
    """
    folder = Path(folder)
    lists = tuple(_read_one(folder, known) for known in PUBLISHED if (folder / known.file).is_file())
    if not lists:
        raise FileProblem(
            folder,
            "has none of the published lists",
            f"Give the folder with {', '.join(known.file for known in PUBLISHED)} (any of them); "
            "other lists can be given with --list.",
            reason="missing",
        )
    return lists


def read_user_list(
    path: str | Path, column_map: Mapping[str, str] | None = None, *, channel: str = "", source: str | None = None
) -> LensList:
    """Read a list of lenses that the user has.

    A list in lenscat's format is recognized by its columns. Columns for name, grade, discovery channel, kind,
    reference, redshifts and Einstein radius are found by their usual names or through the map.

    Parameters
    ----------
    path
        CSV, TSV, ECSV, FITS, VOTable or Parquet.
    column_map
        Quantity -> column or ``column:unit``, see `legacylens.catalog.lists.read_list`.
    channel
        Discovery channel of rows that name none and have no known reference; empty: not known.
    source
        Name of the list; default: the name of the file.

    Raises
    ------
    FileProblem
        If the file or its coordinates cannot be used.
    InputError
        If ``channel`` is none of `CHANNELS`.
    """
    if channel and channel not in CHANNELS:
        raise InputError(f"channel {channel!r} is none of {', '.join(CHANNELS)}")
    raw = read_columns(path)
    source = source or Path(path).stem
    mapped = [column.partition(":")[0] for column in (column_map or {}).values()]
    # A map that does not fit is the map of another of the user's lists.
    if set(LENSCAT_COLUMNS) <= set(raw.frame.columns) and (
        not mapped or any(raw.find(name) is None for name in mapped)
    ):
        return _from_lenscat(raw, source)
    quantities: Sequence[str] = ("name", "grade", "channel", "kind", "ref", "z_l", "z_s", "theta_E")
    found = read_list(path, column_map, quantities=quantities, raw=raw)
    frame = found.frame
    papers = frame["ref"].map(identifiers) if "ref" in frame else pd.Series([()] * len(frame), index=frame.index)
    stated = frame["channel"].str.lower() if "channel" in frame else pd.Series("", index=frame.index)
    channels = [
        each if each in CHANNELS else ("|".join(channels_of(paper)) or channel)
        for each, paper in zip(stated, papers, strict=True)
    ]
    entries = _entries(found, source, papers=papers.map("|".join), channels=channels, target=papers.map(only_targets))
    return LensList(source=source, path=raw.path, entries=entries, rows=found.rows, problems=found.problems)
