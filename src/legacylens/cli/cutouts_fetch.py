"""The verb ``cutouts fetch``: pixels around positions, from the survey's viewer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def fetch(
    targets: Annotated[
        Path, typer.Argument(help="List of positions: CSV, TSV, FITS, VOTable, ECSV or Parquet with ra, dec, a name.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the store; what it has is not fetched again.")],
    columns: Annotated[
        str, typer.Option(help="Column map of the list: name=ID,ra=RAJ2000:deg,dec=DEJ2000:deg (units after a colon).")
    ] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Fetch only the first so many rows.")] = None,
    layer: Annotated[str, typer.Option(help="Image layer of the viewer.")] = "ls-dr10",
    bands: Annotated[str, typer.Option(help="Bands, blue to red.")] = "grz",
    stamp: Annotated[int, typer.Option(help="Side of a stamp in pixels of 0.262 arcsec, odd.")] = 101,
    layout: Annotated[
        str, typer.Option(help="'subimage': pixels of the coadds, as in bricks; 'resampled': interpolated once more.")
    ] = "subimage",
    invvar: Annotated[bool, typer.Option(help="Fetch inverse variances.")] = True,
    maskbits: Annotated[bool, typer.Option(help="Fetch mask bits (in the subimage layout a second request).")] = True,
    psf: Annotated[bool, typer.Option(help="Fetch the mean PSF at each position (one more request).")] = False,
    jpeg: Annotated[bool, typer.Option(help="Fetch a color picture of each position (one more request).")] = False,
    rate: Annotated[float, typer.Option(help="Requests a minute at most; 20 is what is known to be sustained.")] = 20.0,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests under way at a time.")] = 2,
    url: Annotated[str, typer.Option(help="Address of the viewer.")] = "https://www.legacysurvey.org/viewer/",
    again: Annotated[
        bool, typer.Option("--again", help="Ask again for positions that were set aside for good, e.g. off the sky.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Fetch cutouts from the survey's viewer: for lists of up to a few thousand positions.

    Every answer is checked for what it is (FITS, size, bands, position on the sky, scale, data release, units),
    whatever its status; troubles are repeated with growing pauses, and a pause that the service asks for is kept.
    What cannot be had is written to STORE/quarantine.parquet with the reason and the remedy. A run that was stopped,
    or killed, goes on where it was. Above 3,000 positions `legacylens cutouts cut` is the better way.

    \b
    Example:
      legacylens cutouts fetch known/systems.parquet --out lenses/ --limit 100
      legacylens cutouts fetch mine.csv --columns name=ID,ra=RAJ2000:deg,dec=DEJ2000:deg --out mine/ --psf
    """
    from legacylens.catalog.lists import parse_column_map
    from legacylens.cli.output import show, table
    from legacylens.config.load import record_from
    from legacylens.cutouts.service import fetch_cutouts
    from legacylens.cutouts.service_pace import PaceConfig
    from legacylens.cutouts.service_request import ServiceConfig
    from legacylens.cutouts.service_targets import read_positions
    from legacylens.progress import console

    service = record_from(
        ServiceConfig,
        {
            "url": url,
            "layer": layer,
            "bands": tuple(bands),
            "stamp": stamp,
            "layout": layout,
            "invvar": invvar,
            "maskbits": maskbits,
            "psf": psf,
            "jpeg": jpeg,
        },
        "options of legacylens cutouts fetch",
    )
    pace = record_from(
        PaceConfig, {"rate_per_minute": rate, "concurrency": concurrency}, "options of legacylens cutouts fetch"
    )
    positions, remarks = read_positions(targets, parse_column_map(columns), limit=limit)
    for remark in remarks:
        console.print(remark, highlight=False)
    report = fetch_cutouts(positions, out, service, pace, again=again, inputs={"targets": targets})

    def render() -> list[object]:
        counts: list[tuple[str, object]] = [
            ("requested", report.requested),
            ("repeated rows", report.duplicates),
            ("already in the store", report.already_stored),
            ("fetched", report.fetched),
            ("in quarantine", report.quarantined),
            *((f"  {reason}", n) for reason, n in report.reasons.items()),
            *(
                (f"{name}, {word}", n)
                for name, product in (("PSFs", report.psf), ("pictures", report.jpeg))
                for word, n in (("there", product.get("there")), ("not there", product.get("not_there")))
                if n is not None
            ),
            ("requests made", report.requests),
            *((f"  repeated or given up: {reason}", n) for reason, n in report.troubles.items()),
            ("pauses that the service asked for", report.pauses),
        ]
        return [
            table("Cutouts", ["", "number"], counts),
            f"{report.total:,} cutouts in {report.store}, {report.bytes_on_disk / 1e6:,.1f} MB, {report.seconds:.1f} s",
            *([report.advice] if report.advice else []),
        ]

    show({**report.as_dict(), "remarks": remarks}, as_json, render)
