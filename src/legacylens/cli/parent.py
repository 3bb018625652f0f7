"""The verb ``parent``: sweeps, or a TAP service, to the parent sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def parent(
    sources: Annotated[
        list[str] | None, typer.Argument(help="Release folder or URL, folder of sweeps, or sweep and Tractor files.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for parent.parquet; without it, only count.")
    ] = None,
    z_mag_max: Annotated[
        float, typer.Option(help="Faint limit in z, extinction corrected, exclusive [AB mag].")
    ] = 20.0,
    nobs_min: Annotated[int, typer.Option(help="Least number of exposures in each of g, r, z.")] = 3,
    types: Annotated[str, typer.Option(help="Tractor types, with commas.")] = "SER,DEV,REX,EXP",
    dec_max: Annotated[float, typer.Option(help="Largest declination [deg].")] = 90.0,
    workers: Annotated[int, typer.Option(min=1, help="Processes, one sweep each.")] = 1,
    tap: Annotated[
        str | None, typer.Option(help="TAP service to ask instead of files, e.g. https://datalab.noirlab.edu/tap.")
    ] = None,
    table_name: Annotated[str, typer.Option("--table", help="Its table of sources.")] = "ls_dr10.tractor_s",
    box: Annotated[
        str | None, typer.Option(help="RA1,RA2,DEC1,DEC2 [deg] to ask it for; RA1 > RA2 goes through RA = 0.")
    ] = None,
    tap_mode: Annotated[str, typer.Option(help="sync, or async: a job for each box.")] = "sync",
    verify: Annotated[bool, typer.Option(help="Check SHA-256 lists that lie beside the sweeps.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Select the parent sample: which sources of the survey are searched at all.

    Reads sweeps row by row (a 1.5 GB file in less than 1 GB of memory), says what every cut removed, and which
    columns each file lacks and what that means. A file that cannot be used is listed and the others go on. A piece of
    the sky can come from a TAP service instead, box by box.

    \b
    Example:
      legacylens parent RELEASE --out parent/
      legacylens parent sweep-310m005-320p000.fits sweep-320m005-330p000.fits
      legacylens parent --tap https://datalab.noirlab.edu/tap --box 149,152,1,3 --out cosmos/
    """
    from legacylens.catalog.parent import ParentCuts
    from legacylens.catalog.parent_build import build_parent
    from legacylens.cli.output import show, table
    from legacylens.config.load import record_from
    from legacylens.errors import InputError

    cuts = record_from(
        ParentCuts,
        {"z_mag_max": z_mag_max, "nobs_min": nobs_min, "types": tuple(types.upper().split(",")), "dec_max": dec_max},
        "options of legacylens parent",
    )
    if (tap is None) == (not sources):
        raise InputError("give a release, sweeps or Tractor files, or else --tap URL and --box RA1,RA2,DEC1,DEC2")
    if tap is None:
        report = build_parent(sources or [], cuts, out, workers=workers, verify=verify)
    else:
        from legacylens.catalog.parent_tap import parent_from_tap
        from legacylens.catalog.tap import TapConfig, parse_box

        if box is None:
            raise InputError("--tap needs --box RA1,RA2,DEC1,DEC2: the whole sky is for sweeps")
        values = {"url": tap, "table": table_name, "mode": tap_mode}
        service = record_from(TapConfig, values, "options of legacylens parent")
        report = parent_from_tap(parse_box(box), cuts, service, out)

    def render() -> list[object]:
        remarks: dict[str, list[str]] = {}
        for file in report.files:
            for note in file.notes:
                remarks.setdefault(note, []).append(file.path.rsplit("/", 1)[-1])
        parts: list[object] = [
            table(
                "Files",
                ["file", "release", "rows", "selected", "missing columns", "left out because"],
                [
                    (
                        file.path.rsplit("/", 1)[-1],
                        file.release or None,
                        file.rows,
                        file.selected,
                        ", ".join(file.missing).upper() or "none",
                        f"{file.problem}. {file.remedy}" if file.problem else None,
                    )
                    for file in report.files
                ],
            ),
        ]
        if remarks:
            parts.append(
                table(
                    "What that means",
                    ["remark", "files"],
                    [
                        (note, ", ".join(files) if len(files) < 4 else f"{len(files)} files")
                        for note, files in remarks.items()
                    ],
                )
            )
        parts.append(
            table(
                "Cuts",
                ["cut", "removes", "removed", "left"],
                [(count.cut, count.meaning, count.removed, count.left) for count in report.counts],
            )
        )
        if report.table:
            parts.append(f"{report.selected:,} parents in {report.table}")
        return parts

    show(report.as_dict(), as_json, render)
