"""The verbs ``cutouts ...``: pixels around sources, from bricks and other sources, into a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Cut stamps around sources into a store.")


@app.callback()
def _cutouts() -> None:
    """Cut stamps around sources into a store."""


@app.command()
def cut(
    release: Annotated[str, typer.Argument(help="Release folder, or a URL (https, s3, file).")],
    targets: Annotated[
        Path,
        typer.Argument(
            help="Parquet table with source_id, ra, dec [deg] and brickname; of a sample, what is used of it."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the store; what it has is not cut again.")],
    workers: Annotated[int, typer.Option(min=0, help="Processes, one brick each; 0: in this process.")] = 1,
    stamp: Annotated[int, typer.Option(help="Side of a stamp in pixels, odd.")] = 101,
    edge: Annotated[str, typer.Option(help="Stamps that no brick holds whole: 'pad' or 'refuse'.")] = "pad",
    invvar: Annotated[bool, typer.Option(help="Store inverse variances.")] = True,
    maskbits: Annotated[bool, typer.Option(help="Store mask bits.")] = True,
    checksums: Annotated[bool, typer.Option(help="Verify each brick file against its SHA-256 list, once.")] = True,
    cache: Annotated[
        Path | None, typer.Option(help="Keep files of a remote release here; otherwise a brick is removed when cut.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Cut targets out of the bricks of a release: image, invvar, maskbits and the seeing, never resampled.

    Each brick is read once and only where it has targets. What cannot be cut (a missing band, a truncated file, a
    wrong checksum, a stamp without data) is written to STORE/quarantine.parquet with the reason and the remedy, and
    the rest goes on. A run that was stopped goes on where it was; a second run changes nothing.

    \b
    Example:
      legacylens cutouts cut RELEASE parent/parent.parquet --out cutouts/ --workers 2
    """
    from legacylens.cli.output import show, table
    from legacylens.config.load import record_from
    from legacylens.cutouts.bricks import cut_targets, read_targets
    from legacylens.cutouts.stamps import CutoutConfig
    from legacylens.survey.release import Release

    config = record_from(
        CutoutConfig,
        {"stamp": stamp, "edge": edge, "verify": checksums, "invvar": invvar, "maskbits": maskbits},
        "options of legacylens cutouts cut",
    )
    report = cut_targets(
        Release.open(release, cache=cache),
        read_targets(targets),
        out,
        config,
        workers=workers,
        inputs={"targets": targets},
    )

    def render() -> list[object]:
        counts: list[tuple[str, object]] = [
            ("requested", report.requested),
            ("repeated rows", report.duplicates),
            ("already in the store", report.already_stored),
            ("cut", report.cut),
            ("  from a neighboring brick", report.from_neighbor),
            ("  padded at the survey's edge", report.padded),
            ("in quarantine", report.quarantined),
            *((f"  {reason}", n) for reason, n in report.reasons.items()),
            ("bricks read", report.bricks),
            ("files without a checksum", report.unverified_files),
            ("damaged shards replaced", report.replaced_shards),
        ]
        return [
            table("Cutouts", ["", "number"], counts),
            f"{report.total:,} cutouts in {report.store}, {report.bytes_on_disk / 1e6:,.1f} MB, {report.seconds:.1f} s",
        ]

    show(report.as_dict(), as_json, render)
