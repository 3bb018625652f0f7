"""The verb ``known-lenses``: lists of lenses to systems."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def known_lenses(
    published: Annotated[Path | None, typer.Option(help="Folder with the published candidate lists.")] = None,
    lists: Annotated[
        list[Path] | None,
        typer.Option("--list", help="Your list (CSV, TSV, FITS, VOTable, ECSV, Parquet); repeatable."),
    ] = None,
    columns: Annotated[
        str,
        typer.Option(help="Column map of your lists: ra=RAJ2000:deg,dec=DEJ2000:deg,grade=Q (units after a colon)."),
    ] = "",
    channel: Annotated[
        str, typer.Option(help="How the lenses of your lists were found: spectroscopic, visual, network, other.")
    ] = "",
    lenscat: Annotated[bool, typer.Option(help="Read the catalog of the installed package lenscat.")] = True,
    radius: Annotated[float, typer.Option(help="Merging radius in arcsec.")] = 3.0,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for systems.parquet and entries.parquet.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Bring together every lens that is known or claimed, one row for each system.

    Reads lenscat, the published candidate lists and your own; merges entries by position; keeps every alias, every
    grade with its source, and how the lens was found. Names that carry another position than the coordinates are
    counted, and so are rows that cannot be used.

    \b
    Example:
      legacylens known-lenses --published catalogs/ --out known/
      legacylens known-lenses --list mine.csv --columns ra=RAJ2000:hour,dec=DEJ2000:deg
    """
    from legacylens.catalog.known_lenses import gather, write
    from legacylens.catalog.lists import parse_column_map
    from legacylens.cli.output import show, table

    known = gather(
        lenscat=lenscat,
        published=published,
        lists=lists or (),
        column_map=parse_column_map(columns),
        channel=channel,
        radius=radius,
    )
    report = write(known, out) if out is not None else known.as_dict()

    def render() -> list[object]:
        names = report["name_disagrees"]
        parts: list[object] = [
            table(
                "Lists",
                ["list", "rows", "used", "grades", "remarks"],
                [
                    (
                        each["source"],
                        each["rows"],
                        each["used"],
                        ", ".join(f"{grade} {count}" for grade, count in each["grades"].items()),
                        "\n".join(each["problems"]) or None,
                    )
                    for each in report["lists"]
                ],
            ),
            table(
                "Tiers",
                ["tier", "systems", "meaning"],
                [(tier, count, report["tier_meaning"][tier]) for tier, count in report["tiers"].items()],
            ),
            table("Discovery", ["channel", "systems"], report["channels"].items()),
            f"{report['rows']:,} rows of lenscat ({report['confident']:,} confident, {report['desi_named']:,} with a "
            f"DESI name); {report['entries']:,} entries of all lists are {report['systems']:,} systems within "
            f"{report['radius_arcsec']:g} arcsec, none wider than {report['widest_system_arcsec']:.1f} arcsec",
            f"{names['entries']:,} entries carry a name that says another position; {report['disputed']:,} systems are "
            f"disputed by more than a minute of arc; {report['unlisted']:,} systems cite a published list "
            "(A to C) that does not have them; "
            f"{report['only_targets']:,} are in catalogs of clusters only",
        ]
        parts += [f"left out: {each['problem']}" for each in report["lists_left_out"]]
        if out is not None:
            parts.append(f"written to {out}")
        return parts

    show(report, as_json, render)
