"""The verb ``validate map``: where on the sky a network finds how much."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def completeness_sky(
    function: Annotated[Path, typer.Argument(help="selection-function.json of validate completeness, or its folder.")],
    out: Annotated[Path, typer.Option("--out", help="The HEALPix FITS file; a picture is written beside it.")],
    release: Annotated[str | None, typer.Option(help="Release: the conditions of its bricks.")] = None,
    randoms: Annotated[
        list[Path] | None, typer.Option(help="Random catalog of the survey, in place of a release; repeatable.")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Points that are read of each random catalog.")] = 5_000_000,
    nside: Annotated[int, typer.Option(min=1, help="Resolution, a power of two.")] = 128,
    parent_config: Annotated[
        Path | None, typer.Option(help="TOML file of ParentCuts: which random points are searched.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Map completeness over the sky, from the depth and seeing of bricks or of the survey's random points.

    Random points know the holes around bright stars and give the area that is searched.

    \b
    Example:
      legacylens validate map completeness/ --release dr10/ --out completeness-map.fits
      legacylens validate map completeness/ --randoms randoms-south-1-0.fits --out completeness-map.fits
    """
    from legacylens.catalog.parent import ParentCuts
    from legacylens.cli.output import show
    from legacylens.config.load import read_toml, record_from
    from legacylens.errors import InputError
    from legacylens.files import atomic_path
    from legacylens.plots.validation_completeness import completeness_map_figure
    from legacylens.validation.completeness_run import FUNCTION_NAME
    from legacylens.validation.selection_function import load_selection_function
    from legacylens.validation.sky_conditions import brick_conditions, random_conditions
    from legacylens.validation.sky_map import completeness_map, write_map

    if (release is None) == (not randoms):
        raise InputError("give either --release or --randoms")
    if nside & (nside - 1):
        raise InputError(f"nside = {nside} is not a power of two; nested HEALPix needs one, e.g. 128")
    fitted = load_selection_function(function / FUNCTION_NAME if function.is_dir() else function)
    cuts = record_from(
        ParentCuts, read_toml(parent_config) if parent_config else {}, parent_config or "options of validate map"
    )
    sky = random_conditions(randoms, cuts=cuts, rows=rows) if randoms else brick_conditions(release or "")
    found = completeness_map(fitted, sky, nside=nside)
    write_map(out, found, fitted)
    picture = out.with_suffix(".svg")
    with atomic_path(picture) as temporary:
        completeness_map_figure(found.table, nside).savefig(temporary, format="svg")
    summary = {"map": str(out), "picture": str(picture), **found.summary()}

    def render() -> list[object]:
        area = "" if found.area is None else f", {found.area:,.4g} square degrees searched"
        return [
            f"{out}: {summary['cells']:,} cells from {found.n_searched:,} {found.kind}{area}",
            f"Completeness {summary['completeness_mean']:.3f} on average, {summary['completeness_p5']:.3f} to "
            f"{summary['completeness_p95']:.3f} in nine cells of ten",
            f"{100 * summary['clipped_fraction']:.2g} % of them have conditions that no injection had",
        ]

    show(summary, as_json, render)
