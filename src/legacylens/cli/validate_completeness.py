"""The verb ``validate completeness``: which lenses a network finds, by injection and recovery."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def completeness(
    checkpoint: Annotated[Path, typer.Argument(help="The network, e.g. train/best.pt.")],
    store: Annotated[Path, typer.Argument(help="Store of cutouts with invvar.")],
    parent: Annotated[Path, typer.Argument(help="parent.parquet that the store was cut from, or its folder.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.")],
    sample: Annotated[
        Path | None, typer.Option(help="What the network was trained on: its objects are then no hosts.")
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="Logit from which on objects are selected.")] = None,
    validation: Annotated[
        Path | None, typer.Option(help="validation.json or its folder: its threshold at --fpr is used.")
    ] = None,
    fpr: Annotated[float, typer.Option(help="False-positive rate of that threshold.")] = 0.01,
    name: Annotated[str, typer.Option("--set", help="Population: completeness, calibrated or broad.")] = "completeness",
    n: Annotated[int, typer.Option("--n", min=1, help="Injections.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the injections.")] = 1,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 works in this one.")] = 2,
    release: Annotated[
        str | None, typer.Option(help="Release whose bricks' depth and seeing make the sky map.")
    ] = None,
    randoms: Annotated[
        list[Path] | None, typer.Option(help="Random catalog of the survey for the sky map, in place of bricks.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Measure completeness: inject lenses into galaxies, score them as the scan does, count what is selected.

    Writes tables with exact intervals, the truth and logit of every injection, a fitted selection function with units,
    and with --release or --randoms a HEALPix map of the sky. What could not be injected or scored is counted apart.

    \b
    Example:
      legacylens validate completeness train/best.pt store/ parent/ --sample sample/ --validation sealed/ --out compl/
    """
    from legacylens.cli.output import show, table
    from legacylens.errors import InputError
    from legacylens.files import atomic_path
    from legacylens.plots.validation_completeness import completeness_figure, completeness_map_figure
    from legacylens.validation.completeness_run import MAP_NAME, measure_completeness, threshold_from
    from legacylens.validation.sky_map import read_map

    if (threshold is None) == (validation is None):
        raise InputError("give either --threshold or --validation")
    limit = threshold if threshold is not None else threshold_from(validation or Path(), fpr)
    result = measure_completeness(
        checkpoint, store, parent, out, threshold=limit, sample=sample, set_name=name, n=n, seed=seed, workers=workers,
        release=release, randoms=randoms or (),
    )  # fmt: skip
    figures = {"completeness.svg": completeness_figure(result)}
    if result["map"] is not None:
        figures["completeness-map.svg"] = completeness_map_figure(*read_map(out / MAP_NAME))
    for file, figure in figures.items():
        with atomic_path(out / file) as temporary:
            figure.savefig(temporary, format="svg")

    def render() -> list[object]:
        parts: list[object] = []
        for quantity, rows in result["tables"]["marginals"].items():
            unit = result["units"][quantity]
            names = ("low", "high", "n", "n_recovered", "completeness", "completeness_low", "completeness_high")
            cells = [[*(row[key] for key in names), row["note"] or None] for row in rows]
            title = result["words"][quantity] + (f" [{unit}]" if unit else "")
            columns = ["from", "to", "injected", "found", "completeness", "low", "high", "note"]
            parts.append(table(title, columns, cells))
        fitted = result["selection_function"]
        bare = result["without_arc"]
        parts.append(f"Selected without any arc: {100 * bare['fraction']:.2g} % of the same hosts.")
        if not fitted["file"]:
            parts.append(f"No selection function: {fitted['note']}")
        elif fitted["fit_chi2_per_cell"] is None:
            parts.append(f"Selection function in {fitted['file']}; too few injections to say how well it fits.")
        else:
            parts.append(
                f"Selection function: chi2 {fitted['fit_chi2_per_cell']:.2f} for each of {fitted['fit_cells']} cells."
            )
        parts.append(f"10,000 injections would take {result['seconds']['minutes_for_10000']:.1f} min here.")
        return [*parts, *(f"- {sentence}" for sentence in result["not_shown"])]

    show(result, as_json, render)
