"""The verb ``validate contaminants``: false positives by what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def contaminants(
    scores: Annotated[Path, typer.Argument(help="scores.parquet, or its folder.")],
    listed: Annotated[Path, typer.Argument(help="contaminants.parquet of legacylens contaminants, or its folder.")],
    parent: Annotated[Path, typer.Argument(help="parent.parquet, or its folder.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.")],
    threshold: Annotated[float | None, typer.Option(help="From which on objects are selected.")] = None,
    validation: Annotated[
        Path | None, typer.Option(help="validation.json or its folder: its threshold at --fpr is used.")
    ] = None,
    fpr: Annotated[float, typer.Option(help="False-positive rate of that threshold.")] = 0.01,
    sample: Annotated[Path | None, typer.Option(help="Sample of the training: its objects are left out.")] = None,
    store: Annotated[Path | None, typer.Option(help="Cutout store: the worst offenders are pictured.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Measure the false-positive rate of each labeled class of contaminants, with exact intervals.

    \b
    Example:
      legacylens validate contaminants scan/ contaminants/ parent/ --validation validation/ --store store/ --out c/
    """
    from legacylens.cli.output import show, table
    from legacylens.errors import InputError
    from legacylens.validation.completeness_run import threshold_from
    from legacylens.validation.contaminants import contaminant_files

    if (threshold is None) == (validation is None):
        raise InputError("give either --threshold or --validation")
    limit = threshold if threshold is not None else threshold_from(validation or Path(), fpr)
    result = contaminant_files(scores, listed, parent, out, threshold=limit, sample_path=sample)
    if store is not None:
        _picture(result, store, out / "worst-offenders.png")

    def render() -> list[object]:
        names = ["class", "n", "selected", "fpr", "fpr_low", "fpr_high"]
        rows = [[row[name] for name in names] for row in result["classes"]]
        rows.append(["all", *(result["all"][name] for name in names[1:])])
        return [
            table(f"Selected from {limit:.4g} on", [name.replace("_", " ") for name in names], rows),
            *(f"- {sentence}" for sentence in result["not_shown"]),
        ]

    show(result, as_json, render)


def _picture(result: dict[str, Any], store_path: Path, path: Path) -> None:
    from legacylens.cutouts.store import CutoutStore
    from legacylens.plots.sheets import contact_sheet

    with CutoutStore.open(store_path) as store:
        shown = [
            (row["class"], entry)
            for row in result["classes"]
            for entry in row["offenders"]
            if entry["source_id"] in store
        ]
        if shown:
            rows = store.index_of([entry["source_id"] for _, entry in shown])
            captions = [f"{name} {entry['value']:.2f}\n{entry['source_id']}" for name, entry in shown]
            contact_sheet([store.cutout(int(row)) for row in rows], captions, path, columns=8)
