"""The verb ``contaminants``: labeled lists to objects that are known to be no lens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def contaminants(
    lists: Annotated[
        list[str] | None,
        typer.Option("--list", help="FILE, or FILE=CLASS for the class of all its rows; repeatable."),
    ] = None,
    published: Annotated[Path | None, typer.Option(help="Folder with the published lists.")] = None,
    known: Annotated[
        Path | None, typer.Option(help="Output folder of known-lenses: objects near a lens are marked.")
    ] = None,
    columns: Annotated[str, typer.Option(help="Column map: ra=RA:deg,dec=DEC:deg,class=morphology.")] = "",
    radius: Annotated[float, typer.Option(help="Radius of merging and matching in arcsec.")] = 3.0,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for contaminants.parquet.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Bring together objects that people have seen to be no lenses: rings, spirals, mergers, edge-ons, rejects.

    A list must say what its objects are, in a column or as a whole. Objects near a known lens are marked and not
    counted as usable.

    \b
    Example:
      legacylens contaminants --published catalogs/ --known known/ --out contaminants/
      legacylens contaminants --list mergers.csv=merger --list zoo.fits --columns class=morph
    """
    from legacylens.catalog.contaminants import gather_contaminants, write_contaminants
    from legacylens.catalog.known_lenses import SYSTEMS_NAME
    from legacylens.catalog.lists import parse_column_map
    from legacylens.cli.output import show, table
    from legacylens.files import read_parquet

    given: list[tuple[str | Path, str | None]] = []
    for text in lists or ():
        path, mark, label = text.rpartition("=")
        given.append((path, label) if mark else (label, None))
    found = gather_contaminants(
        given,
        published=published,
        lenses=None if known is None else read_parquet(known / SYSTEMS_NAME),
        column_map=parse_column_map(columns),
        radius=radius,
    )
    if out is not None:
        inputs: dict[str, str | Path] = {f"list {place}": path for place, (path, _) in enumerate(given)}
        inputs |= {name: path for name, path in (("published", published), ("known", known)) if path is not None}
        report = write_contaminants(found, out, inputs=inputs)
    else:
        report = found.as_dict()

    def render() -> list[object]:
        parts: list[object] = [
            table("Contaminants", ["class", "objects"], report["classes"].items()),
            f"{report['rows']:,} rows are {report['objects']:,} objects, of which {report['near_known_lens']:,} lie "
            f"within {radius:g} arcsec of a known lens and are not usable",
        ]
        parts += report["remarks"]
        parts += [f"left out: {each['problem']}" for each in report["lists_left_out"]]
        return parts

    show(report, as_json, render)
