"""The parent table from a TAP service instead of sweep files: box by box, resumable, selected by the same function.

For pieces of the sky: a service sends some thousand rows a second, a sweep file on disk gives two hundred thousand. The
service is asked only for rows that can be parents, so the counts begin with those.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from legacylens.catalog.parent import ParentCuts, parent_rows, select_parent
from legacylens.catalog.parent_build import (
    ParentReport,
    SweepReport,
    conclude_parent,
    finished_part,
    left_out_report,
    write_part,
)
from legacylens.catalog.sweeps import COLUMNS, RELEASES
from legacylens.catalog.tap import SkyBox, TapConfig, TapTable, tiles_of
from legacylens.errors import FileProblem
from legacylens.files import sha256_of_text
from legacylens.progress import progress_bar

_OF_THE_SERVICE = ("unreachable", "truncated")
"""Reasons for which the next box may well fail too."""


def parent_from_tap(
    box: tuple[float, float, float, float], cuts: ParentCuts, config: TapConfig, out: str | Path | None
) -> ParentReport:
    """Select the parent sample of a box of the sky from a TAP service.

    Parameters
    ----------
    box
        RA1, RA2, Dec1, Dec2 [deg]; RA1 > RA2 goes through RA = 0.
    cuts
        The cuts.
    config
        Which service and table, and how it is asked.
    out
        Folder for ``parent.parquet`` and the record of the run; None: only count. Boxes that have come are kept, so
        that the same command goes on after an interruption or a failure of the service.

    Returns
    -------
    report
        Counts by cut, and one entry for each box; boxes that failed are in it with the reason.

    Raises
    ------
    FileProblem
        If the service cannot be asked at all, has no such table, or no box could be used.
    """
    folder = None if out is None else Path(out)
    tiles = tiles_of(box, config.tile_deg)
    names = [f"{config.url} {config.table}: {tile}" for tile in tiles]
    key = f"{config.url} {config.table} {cuts.model_dump_json()}"
    parts = [
        None if folder is None else folder / "parts" / f"{sha256_of_text(f'{key} {tile!r}')[:20]}.parquet"
        for tile in tiles
    ]
    results: list[tuple[SweepReport, Counter[str]]] = []
    failures = 0
    with closing(TapTable(config)) as table, progress_bar("boxes", len(tiles)) as bar:
        table.columns()
        for name, tile, part in zip(names, tiles, parts, strict=True):
            finished = None if part is None else finished_part(part)
            if finished is None and failures < config.stop_after:
                finished = _use_box(name, tile, part, table, cuts)
                failures = failures + 1 if finished[0].reason in _OF_THE_SERVICE else 0
            if finished is None:
                problem = table.problem(
                    f"not asked: the service failed at {failures} boxes in a row",
                    "Run the same command again later: what has come is kept.",
                    "not-asked",
                )
                finished = left_out_report(name, problem, release="", missing=()), Counter()
            results.append(finished)
            bar.advance()
    return conclude_parent(
        folder, names, parts, results, cuts, inputs={"tap": f"{config.url} {config.table} {','.join(map(repr, box))}"}
    )


def _use_box(
    name: str, tile: SkyBox, part: Path | None, table: TapTable, cuts: ParentCuts
) -> tuple[SweepReport, Counter[str]]:
    """Fetch one box, write its part, and say what happened; a problem of the service is a value, not an exception."""
    try:
        rows, queries = table.box(tile, cuts)
        twice = int(rows.duplicated(["release", "brickid", "objid"]).sum())
        if twice:
            raise table.problem(
                f"{twice} sources come more than once in {tile}", "Name a table without repetitions.", "duplicates"
            )
    except FileProblem as problem:
        return left_out_report(name, problem, release="", missing=()), Counter()
    columns = table.columns()
    mask, counts = select_parent(rows, cuts)
    selected = parent_rows(rows, mask)
    types = Counter(selected["type"].tolist())
    missing = tuple(column for column in COLUMNS if column not in columns)
    notes = [f"left empty (NaN): {', '.join(missing).upper()}"] if missing else []
    if queries > 1:
        notes.append(f"asked for in {queries} queries")
    report = SweepReport(
        path=name,
        release=_releases(rows["release"].to_numpy()),
        rows=len(rows),
        selected=len(selected),
        missing=missing,
        translated=(),
        notes=tuple(notes),
        counts=tuple(counts),
    )
    if part is not None:
        write_part(part, selected, report, types)
    return report, types


def _releases(release: NDArray[np.int32]) -> str:
    """Return the releases of the rows in words: a merged table has several."""
    numbers = sorted({int(number) for number in release})
    return "; ".join(RELEASES.get(number, f"RELEASE {number}") for number in numbers) or "no rows"
