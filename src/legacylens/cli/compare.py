"""The verb ``compare``: ways of training on equal terms."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def compare(
    sample: Annotated[Path, typer.Argument(help="sample.parquet with labels and split, or its folder.")],
    store: Annotated[Path, typer.Argument(help="Cutout store.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for compare.json, compare.png and the runs.")],
    recipes: Annotated[
        str,
        typer.Option(help="Recipes, comma-separated; NAME+mining adds hard negatives. `train --recipes` lists them."),
    ] = "real,augmented",
    baseline: Annotated[str, typer.Option(help="The recipe that the others are subtracted from.")] = "real",
    simulations: Annotated[
        list[str] | None,
        typer.Option(
            "--simulations",
            help="NAME=FOLDER of `legacylens mocks inject`, repeatable; `simulated` is trained on each, others on the "
            "first.",
        ),
    ] = None,
    parent: Annotated[
        Path | None, typer.Option("--parent", help="parent.parquet: describes the hosts of fresh injections.")
    ] = None,
    realism: Annotated[
        list[str] | None,
        typer.Option(
            "--realism", help="NAME=FILE, repeatable: report of `legacylens realism gate` on the set of that name."
        ),
    ] = None,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Train on simulations without a passing realism report.")
    ] = False,
    steps: Annotated[int | None, typer.Option(min=1, help="Budget of each training in steps. [default: 1000]")] = None,
    minutes: Annotated[float | None, typer.Option(help="Budget of each training in minutes, instead of steps.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each recipe, with the seeds 0, 1, ...")] = 3,
    positives: Annotated[int | None, typer.Option(min=1, help="Use only this many training lenses.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file with keys of TrainConfig that all recipes share.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Trainings at a time, one processor each.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    description: Annotated[str, typer.Option(help="On which sky.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Train recipes with the same sample, budget and seeds, and put their recalls into one table.

    Recall is measured on the sealed cells, with intervals from resampled cells and seeds; differences are paired.
    Nothing is chosen there: epochs are chosen on the validation split. The look at the sealed cells is written into the
    ledger beside the sample. An interrupted comparison goes on where it was.

    \b
    Example:
      legacylens compare sample/ cutouts/store --recipes real,augmented --steps 600 --out compare/
    """
    from legacylens.cli.output import show, table
    from legacylens.comparison.compare import compare as compare_recipes
    from legacylens.comparison.config import Terms, recipe_variants
    from legacylens.config.load import read_toml, record_from
    from legacylens.plots.comparison import compare_figure, write_figure

    terms = terms_of(config, steps, minutes, seeds, positives, read_toml, record_from, Terms)
    variants = recipe_variants(
        tuple(name.strip() for name in recipes.split(",") if name.strip()),
        named_folders(simulations or []),
        parent=None if parent is None else str(parent),
        reports=named_reports(realism or []),
        unchecked=unchecked,
    )
    result = compare_recipes(
        store,
        sample,
        variants,
        terms,
        out,
        baseline=baseline,
        device=device,
        description=description,
        workers=workers,
    )
    drawn = write_figure(compare_figure(result), out / "compare.png")

    def render() -> list[object]:
        headings = ["recipe"]
        for fpr in terms.fprs:
            headings += [f"recall at {fpr:g}", f"minus {baseline}"]
        rows = []
        for variant in result["variants"]:
            cells: list[object] = [variant["variant"]]
            for point in variant["recall"]:
                cells += [with_interval(point), with_interval(point, "difference")]
            rows.append((*cells, round(sum(variant["minutes"]) / len(variant["minutes"]), 1)))
        kinds = sorted({row["class"] for variant in result["variants"] for row in variant["classes"]})
        by_class = [
            (variant["variant"], *(_class_rate(variant, kind) for kind in kinds)) for variant in result["variants"]
        ]
        sealed = result["sealed"]
        return [
            table(
                f"{sealed['lenses']} lenses and {sealed['non_lenses']:,} non-lenses in {sealed['cells']} sealed cells, "
                f"{len(terms.seeds)} seeds",
                [*headings, "minutes"],
                rows,
            ),
            *notes_on(result["variants"][0]["recall"]),
            table(f"False-positive rate by class at {terms.class_fpr:g} overall", ["recipe", *kinds], by_class),
            f"{drawn}",
        ]

    show(result, as_json, render)


def terms_of(
    config: Path | None,
    steps: int | None,
    minutes: float | None,
    seeds: int,
    positives: int | None,
    read_toml: Any,
    record_from: Any,
    record: Any,
) -> Any:
    """Return the terms that options and a file of shared values make."""
    training = dict(read_toml(config)) if config else {}
    if positives is not None:
        training["positives"] = positives
    budget = {"steps": steps, "minutes": minutes}
    if steps is None and minutes is None:
        budget["steps"] = 1000
    values = {**budget, "seeds": list(range(seeds)), "training": training}
    return record_from(record, values, config or "options of the command line")


def named_folders(pairs: list[str]) -> dict[str, str]:
    """Return NAME=FOLDER pairs as a dictionary; a folder alone has the name of the folder."""
    named = {}
    for pair in pairs:
        name, equals, folder = pair.partition("=")
        path = folder if equals else name
        if not Path(path).is_dir():
            raise typer.BadParameter(f"{path!r} is no folder; give NAME=FOLDER of `legacylens mocks inject`")
        named[name if equals else Path(path).name] = path
    return named


def named_reports(pairs: list[str]) -> dict[str, str]:
    """Return NAME=FILE pairs as a dictionary."""
    named = {}
    for pair in pairs:
        name, _, path = pair.partition("=")
        if not path:
            raise typer.BadParameter(f"--realism {pair!r}: give NAME=FILE, with the name of a set of --simulations")
        named[name] = path
    return named


def with_interval(point: dict[str, Any], part: str | None = None) -> str:
    """Return a recall with its interval, or its ``part`` (the difference); in parentheses where few stand behind it."""
    if not point["false_positives"]:
        return "not measurable"
    shown, form = (point, ".3f") if part is None else (point[part], "+.3f")
    text = f"{shown['value']:{form}} [{shown['low']:{form}}, {shown['high']:{form}}]"
    return f"({text})" if point["note"] else text


def notes_on(points: list[dict[str, Any]]) -> list[str]:
    """Return what a reader must know of the rates that are not measured."""
    return [f"FPR {point['fpr']:g} {point['note']}" for point in points if point["note"]]


def _class_rate(variant: dict[str, Any], kind: str) -> str:
    row = next((row for row in variant["classes"] if row["class"] == kind), None)
    return "" if row is None else f"{row['fpr']:.4f} [{row['low']:.4f}, {row['high']:.4f}] (n {row['n']})"
