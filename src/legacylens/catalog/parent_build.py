"""From sweep files to the parent table: one file after the other, each file's rows streamed.

A file that cannot be used is listed with its reason and the rest go on. Each finished file leaves a part in the
output folder, so that an interrupted run resumes; when all are done the parts become ``parent.parquet``.
"""

from __future__ import annotations

import json
import multiprocessing
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs

from legacylens.catalog.parent import (
    PARENT_UNITS,
    CutCount,
    ParentCuts,
    add_counts,
    parent_rows,
    select_parent,
)
from legacylens.catalog.sweeps import (
    COLUMNS,
    FILLABLE,
    SweepFile,
    describe_missing,
    forget_copy,
    iter_sweep,
    missing_columns_problem,
    open_sweep,
)
from legacylens.errors import FileProblem, ProcessError
from legacylens.files import atomic_path, sha256_of_file, sha256_of_text, write_json, write_parquet
from legacylens.progress import progress_bar
from legacylens.provenance import write_provenance
from legacylens.survey.release import Release

TABLE_NAME = "parent.parquet"
"""Name of the parent table in its folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """What one file gave."""

    path: str
    """File or URL."""
    release: str
    """Release of its rows, in words."""
    rows: int
    """Rows read."""
    selected: int
    """Rows in the parent sample."""
    missing: tuple[str, ...]
    """Columns that the file lacks."""
    translated: tuple[str, ...]
    """Those of them that were taken from columns of an older release."""
    notes: tuple[str, ...]
    """What that means, in sentences."""
    counts: tuple[CutCount, ...]
    """What each cut removed."""
    problem: str = ""
    """Why the file was left out; empty if it was not."""
    remedy: str = ""
    """What to do about it."""
    reason: str = ""
    """The same in a stable word (``truncated``, ``not-fits``, ``missing-columns``...)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentReport:
    """What the files gave together."""

    files: tuple[SweepReport, ...]
    """Every file, in the order of the table."""
    counts: tuple[CutCount, ...]
    """What each cut removed from all files together."""
    types: tuple[tuple[str, int], ...]
    """Tractor type -> rows of the parent table."""
    table: str | None
    """Path of the parent table, None if none was asked for."""

    @property
    def rows(self) -> int:
        """Rows read."""
        return sum(file.rows for file in self.files)

    @property
    def selected(self) -> int:
        """Rows of the parent table."""
        return sum(file.selected for file in self.files)

    @property
    def left_out(self) -> tuple[SweepReport, ...]:
        """Files that could not be used."""
        return tuple(file for file in self.files if file.problem)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as a JSON-compatible document."""
        return {
            "rows": self.rows,
            "selected": self.selected,
            "files": len(self.files),
            "files_left_out": len(self.left_out),
            "left_out_by_reason": dict(sorted(Counter(file.reason for file in self.left_out).items())),
            "releases": dict(sorted(Counter(file.release for file in self.files if file.release).items())),
            "cuts": [asdict(count) for count in self.counts],
            "types": dict(self.types),
            "table": self.table,
            "per_file": [{key: value for key, value in asdict(file).items() if key != "counts"} for file in self.files],
        }


def sweep_paths(sources: Iterable[str | Path | Release]) -> list[str]:
    """Return the sweep files that releases, folders, files and URLs stand for, each once, in order.

    A folder is a release if it has a brick table; otherwise its FITS tables are taken.

    Raises
    ------
    FileProblem
        If a folder has neither.
    """
    paths: list[str] = []
    for source in sources:
        if isinstance(source, Release):
            paths += source.sweep_paths()
            continue
        name = str(source)
        filesystem, inside = url_to_fs(name)
        # By name first: asking a web server whether a file is a folder can download the file.
        if name.endswith((".fits", ".fits.gz")) or not filesystem.isdir(inside):
            paths.append(name)
            continue
        release = Release(root=name.rstrip("/"))
        if release.has(release.bricks_path()):
            paths += release.sweep_paths()
            continue
        found = sorted(
            str(entry).rsplit("/", 1)[-1]
            for pattern in ("*.fits", "*.fits.gz")
            for entry in filesystem.glob(f"{inside.rstrip('/')}/{pattern}")
        )
        if not found:
            raise FileProblem(
                name,
                "neither a release (no survey-bricks.fits.gz) nor a folder of sweep-*.fits",
                "Give the root of a release, its folder south/sweep/10.1, or the sweep files themselves.",
                reason="missing",
            )
        paths += [f"{name.rstrip('/')}/{entry}" for entry in found]
    return list(dict.fromkeys(paths))


def _notes(file: SweepFile) -> tuple[str, ...]:
    missing = file.missing()
    translated = file.translated()
    notes = [f"missing: {phrase}" for phrase in describe_missing(missing)]
    empty = [name.upper() for name in missing if name not in translated]
    if empty:
        notes.append(f"left empty (NaN): {', '.join(empty)}")
    if file.release is not None and file.release < 9000:
        notes.append("COMP rows (SER since DR9) pass only if the cuts' types name COMP")
    return tuple(notes)


def verify_checksum(path: str) -> None:
    """Compare a local file with the SHA-256 list in its folder, if the list names it.

    Raises
    ------
    FileProblem
        If the sums differ.
    """
    local = Path(path)
    if "://" in path or not local.is_file():
        return
    for listing in sorted(local.parent.glob("*.sha256sum")):
        for line in listing.read_text(encoding="utf-8").splitlines():
            words = line.split(maxsplit=1)
            if len(words) == 2 and words[1].lstrip("*").strip() == local.name:
                if sha256_of_file(local) != words[0].lower():
                    raise FileProblem(
                        path, f"its SHA-256 differs from {listing.name}", "Download it again.", reason="checksum"
                    )
                return


@dataclass(frozen=True, slots=True, kw_only=True)
class _Selection:
    """What one file holds of the parent sample."""

    file: SweepFile
    rows: pd.DataFrame
    counts: list[CutCount]


def _select_from(file: SweepFile, cuts: ParentCuts) -> _Selection:
    fatal = [name for name in file.missing() if name not in FILLABLE]
    if fatal:
        raise missing_columns_problem(file, fatal)
    columns = [*COLUMNS, *(["brick_primary"] if "brick_primary" in file.columns else [])]
    counts: list[list[CutCount]] = []
    selected: list[pd.DataFrame] = []
    for block in iter_sweep(file, columns, fill_missing=True):
        mask, block_counts = select_parent(block, cuts)
        counts.append(block_counts)
        selected.append(parent_rows(block, mask))
    rows = pd.concat(selected, ignore_index=True)
    twice = int(rows["source_id"].duplicated().sum())
    if twice:
        raise FileProblem(file.path, f"{twice} sources come more than once", "Download it again.", reason="duplicates")
    return _Selection(file=file, rows=rows, counts=add_counts(counts))


def _use_file(path: str, cuts: ParentCuts, part: Path | None, verify: bool) -> tuple[SweepReport, Counter[str]]:
    """Read one file, write its part, and say what happened; a problem of the file is a value, not an exception."""
    file: SweepFile | None = None
    try:
        file = open_sweep(path)
        if verify:
            verify_checksum(path)
        selection = _select_from(file, cuts)
    except FileProblem as problem:
        missing = file.missing() if file else ()
        return left_out_report(path, problem, release=file.release_name if file else "", missing=missing), Counter()
    finally:
        forget_copy(path)
    types = Counter(selection.rows["type"].tolist())
    report = SweepReport(
        path=path,
        release=file.release_name,
        rows=selection.counts[0].left,
        selected=len(selection.rows),
        missing=file.missing(),
        translated=file.translated(),
        notes=_notes(file),
        counts=tuple(selection.counts),
    )
    if part is not None:
        write_part(part, selection.rows, report, types)
    return report, types


def left_out_report(path: str, problem: FileProblem, *, release: str, missing: tuple[str, ...]) -> SweepReport:
    """Return the report of something that cannot be used."""
    return SweepReport(
        path=path,
        release=release,
        rows=0,
        selected=0,
        missing=missing,
        translated=(),
        notes=(),
        counts=(),
        problem=problem.what,
        remedy=problem.remedy,
        reason=problem.reason,
    )


def write_part(part: Path, rows: pd.DataFrame, report: SweepReport, types: Counter[str]) -> None:
    """Write the rows of one file or box, then the record that says that they are whole."""
    write_parquet(part, rows, units=dict(PARENT_UNITS))
    write_json(part.with_suffix(".json"), {"report": asdict(report), "types": dict(types)})


def _identity(path: str, cuts: ParentCuts) -> str:
    """Return a name for the part of a file that changes with the file and the cuts."""
    status = ""
    if "://" not in path and Path(path).is_file():
        stat = Path(path).stat()
        status = f"{stat.st_size} {stat.st_mtime_ns}"
    return sha256_of_text(f"{path} {status} {cuts.model_dump_json()}")[:20]


def finished_part(part: Path) -> tuple[SweepReport, Counter[str]] | None:
    """Return what an earlier run wrote about a part that it finished, or None."""
    record = part.with_suffix(".json")  # written after the table, so its presence says that the table is whole
    if not record.exists():
        return None
    content = json.loads(record.read_text(encoding="utf-8"))
    fields = content["report"]
    fields["counts"] = tuple(CutCount(**count) for count in fields["counts"])
    for name in ("missing", "translated", "notes"):
        fields[name] = tuple(fields[name])
    return SweepReport(**fields), Counter(content["types"])


def build_parent(
    sources: Sequence[str | Path | Release],
    cuts: ParentCuts,
    out: str | Path | None,
    *,
    workers: int = 1,
    verify: bool = True,
) -> ParentReport:
    """Select the parent sample from sweeps and write it.

    Parameters
    ----------
    sources
        Releases, folders of sweeps, sweep or Tractor files, URLs.
    cuts
        The cuts.
    out
        Folder for ``parent.parquet`` and the record of the run; None: only count.
    workers
        Processes, each with one file at a time.
    verify
        Compare local files with the SHA-256 list in their folder, where there is one.

    Returns
    -------
    report
        Counts of every cut and file; files that could not be used are in it with their reasons.

    Raises
    ------
    FileProblem
        If not one file could be used (the first problem, and how many more there are).
    ProcessError
        If a source comes from two files.
    """
    paths = sweep_paths(sources)
    folder = None if out is None else Path(out)
    parts: list[Path | None] = [
        None if folder is None else folder / "parts" / f"{_identity(path, cuts)}.parquet" for path in paths
    ]
    results: dict[int, tuple[SweepReport, Counter[str]]] = {}
    for place, part in enumerate(parts):
        if part is not None and (finished := finished_part(part)) is not None:
            results[place] = finished
    todo = [place for place in range(len(paths)) if place not in results]
    with progress_bar("sweeps", len(paths)) as bar:
        bar.advance(len(results))
        if workers > 1 and len(todo) > 1:
            # "spawn": fork would copy the threads' locks of Arrow and fsspec in an unknown state.
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(min(workers, len(todo)), mp_context=context) as pool:
                futures = {place: pool.submit(_use_file, paths[place], cuts, parts[place], verify) for place in todo}
                for place, future in futures.items():
                    results[place] = future.result()
                    bar.advance()
        else:
            for place in todo:
                results[place] = _use_file(paths[place], cuts, parts[place], verify)
                bar.advance()
    return conclude_parent(folder, paths, parts, [results[place] for place in range(len(paths))], cuts)


def conclude_parent(
    folder: Path | None,
    names: Sequence[str],
    parts: Sequence[Path | None],
    results: Sequence[tuple[SweepReport, Counter[str]]],
    cuts: ParentCuts,
    *,
    inputs: Mapping[str, str | Path] | None = None,
) -> ParentReport:
    """Join the parts into the parent table, and write the record of the run.

    Parameters
    ----------
    folder
        Where the table goes; None: only count.
    names
        Files, or whatever the rows came from, in order.
    parts
        What each left in the folder.
    results
        What each gave, and its Tractor types.
    cuts
        The cuts.
    inputs
        What to record as inputs; default: the names, as files.

    Raises
    ------
    FileProblem
        If nothing could be used.
    ProcessError
        If a source comes twice.
    """
    reports = tuple(report for report, _ in results)
    types: Counter[str] = Counter()
    for _, part_types in results:
        types.update(part_types)
    used = [report for report in reports if not report.problem]
    if not used:
        if len(reports) == 1:
            raise FileProblem(names[0], reports[0].problem, reports[0].remedy, reason=reports[0].reason)
        raise FileProblem(
            f"{len(reports)} files",
            "none of them can be used",
            "\n".join(f"{report.path}: {report.problem}. {report.remedy}" for report in reports),
            reason=reports[0].reason,
        )
    report = ParentReport(
        files=reports,
        counts=tuple(add_counts([file.counts for file in used])),
        types=tuple(sorted(types.items())),
        table=None if folder is None else str(folder / TABLE_NAME),
    )
    if folder is not None:
        kept = [part for part, file in zip(parts, reports, strict=True) if part is not None and not file.problem]
        _join(kept, folder / TABLE_NAME)
        write_json(folder / "report.json", report.as_dict())
        write_provenance(
            folder,
            step="parent",
            configuration=cuts.model_dump(mode="json"),
            inputs=inputs if inputs is not None else {f"sweep {place}": path for place, path in enumerate(names)},
            results={"rows": report.rows, "selected": report.selected, "files_left_out": len(report.left_out)},
        )
        # While something is missing the parts stay, so that the next run asks for that alone.
        for part in kept if not report.left_out else ():
            part.unlink()
            part.with_suffix(".json").unlink()
        if (folder / "parts").is_dir() and not any((folder / "parts").iterdir()):
            (folder / "parts").rmdir()
    return report


def _join(parts: Sequence[Path], table: Path) -> None:
    """Write the parts one after the other into one table, and check that no source comes twice."""
    keys: list[np.ndarray[Any, np.dtype[np.int64]]] = []
    with atomic_path(table) as temporary:
        writer = None
        try:
            for part in parts:
                rows = pq.read_table(part, partitioning=None)
                if writer is None:
                    writer = pq.ParquetWriter(temporary, rows.schema, compression="zstd")
                writer.write_table(rows)
                keys.append(_keys(rows))
        finally:
            if writer is not None:
                writer.close()
        every = np.concatenate(keys)
        distinct = len(np.unique(every))
        if distinct != len(every):
            raise ProcessError(
                f"{len(every) - distinct} sources come from more than one of the {len(parts)} files. "
                "Give each sweep once: not a sweep and the Tractor file of a brick in it, nor two versions of a sweep."
            )


def _keys(rows: pa.Table) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Pack (release, brickid, objid) into one integer: 15 + 20 + 28 bits hold every value of the survey."""
    release, brickid, objid = (rows[name].to_numpy().astype(np.int64) for name in ("release", "brickid", "objid"))
    return np.asarray((release << 48) | (brickid << 28) | objid, dtype=np.int64)
