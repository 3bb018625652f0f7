"""The verb ``learning-curve``: what more lenses would bring."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def learning_curve(
    sample: Annotated[Path, typer.Argument(help="sample.parquet with labels and split, or its folder.")],
    store: Annotated[Path, typer.Argument(help="Cutout store.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for learning-curve.json, its picture and the runs.")],
    positives: Annotated[
        str, typer.Option(help="Numbers of training lenses, comma-separated; `all` for those that there are.")
    ] = "50,100,200,all",
    ratios: Annotated[str, typer.Option(help="Non-lenses for each lens, comma-separated.")] = "3,10,30,100",
    recipes: Annotated[str, typer.Option(help="Recipes, comma-separated; each has a curve.")] = "real,augmented",
    steps: Annotated[int | None, typer.Option(min=1, help="Budget of each training in steps. [default: 1000]")] = None,
    minutes: Annotated[float | None, typer.Option(help="Budget of each training in minutes, instead of steps.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each point, with the seeds 0, 1, ...")] = 3,
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file with keys of TrainConfig that all points share.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Trainings at a time, one processor each.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    description: Annotated[str, typer.Option(help="On which sky.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Train with fewer lenses and fewer non-lenses and fit a curve: how many are enough, and what more would bring.

    Parts are nested, budget and seeds are the same for all, recall is measured on the sealed cells as `legacylens
    compare` does it. What the curve says beyond the lenses that there are is an extrapolation; its interval says how
    little it knows.

    \b
    Example:
      legacylens learning-curve sample/ cutouts/store --positives 50,100,200 --ratios 3,10 --out curve/
    """
    from legacylens.cli.compare import notes_on, terms_of, with_interval
    from legacylens.cli.output import show, table
    from legacylens.comparison.config import Terms
    from legacylens.comparison.curve import learning_curve as measure
    from legacylens.config.load import read_toml, record_from
    from legacylens.plots.comparison import learning_curve_figure, write_figure

    try:
        numbers = [None if text.strip() == "all" else int(text) for text in positives.split(",")]
        parts = [float(text) for text in ratios.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"--positives and --ratios are numbers, comma-separated ({error})") from None
    given = [n for n in numbers if n is not None]
    if min(given, default=1) < 1 or min(parts) <= 0:
        raise typer.BadParameter("--positives and --ratios must be positive")
    terms = terms_of(config, steps, minutes, seeds, None, read_toml, record_from, Terms)
    # A point with few lenses is what a curve is about.
    terms = terms.model_copy(update={"training": {"min_positives": min([10, *given]), **terms.training}})
    result = measure(
        store,
        sample,
        terms,
        out,
        recipes=[name.strip() for name in recipes.split(",") if name.strip()],
        positives=numbers,
        ratios=parts,
        device=device,
        description=description,
        workers=workers,
    )
    drawn = write_figure(learning_curve_figure(result), out / "learning-curve.png")

    def render() -> list[object]:
        rows = [
            (
                point["recipe"],
                point["positives"],
                round(point["ratio"], 1),
                *(with_interval(p) for p in point["recall"]),
            )
            for point in result["points"]
        ]
        fits = [
            (
                fit["recipe"],
                f"{fit['fpr']:g}",
                f"{fit['ceiling']:.2f} - {fit['loss']:.2f} (n/100)^-{fit['exponent']:.2f}",
                *(f"{line['recall']:.2f} [{line['low']:.2f}, {line['high']:.2f}]" for line in fit["predicted"]),
            )
            for fit in result["fits"]
        ]
        predicted = [str(line["positives"]) for line in result["fits"][0]["predicted"]] if result["fits"] else []
        return [
            table(
                "Recall on the sealed cells",
                ["recipe", "lenses", "non-lenses each", *(f"at {fpr:g}" for fpr in terms.fprs)],
                rows,
            ),
            *notes_on(result["points"][0]["recall"]),
            *(
                [table("Fitted curves, and what they say of", ["recipe", "FPR", "recall", *predicted], fits)]
                if fits
                else []
            ),
            f"{drawn}",
        ]

    show(result, as_json, render)
