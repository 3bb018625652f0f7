"""The verb ``legacylens mocks population``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def mocks_population(
    sets: Annotated[str, typer.Option("--sets", help="Named sets, with commas.")] = "calibrated,broad,arbitrary-flux",
    n: Annotated[int, typer.Option("--n", help="Lenses of each set.", min=10)] = 600,
    seed: Annotated[int, typer.Option("--seed", help="Seed.", min=0)] = 1,
    varied: Annotated[bool, typer.Option(help="Draw depth and seeing, not the median ones for all.")] = False,
    figure: Annotated[Path | None, typer.Option("--figure", help="PNG of the distributions.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Compare the populations of named sets with the published one, without any pixels.

    Hosts are mock luminous red galaxies under the median conditions of DR10, lenses are drawn as for an injection.

    \b
    Example:
      legacylens mocks population --figure docs/figures/population.png
    """
    from legacylens.cli.output import show, table
    from legacylens.mocks.population_sample import sample_population
    from legacylens.mocks.population_sets import named_set
    from legacylens.mocks.population_summary import summarize

    drawn = {
        name.strip(): sample_population(named_set(name.strip()), n=n, seed=seed, varied=varied)
        for name in sets.split(",")
    }
    if figure is not None:
        from legacylens.plots.population import population_figure

        population_figure(drawn, figure)
    summaries = {name: summarize(lenses) for name, lenses in drawn.items()}
    result = {"n": n, "seed": seed, "sets": summaries, "figure": str(figure) if figure else None}

    def render() -> list[object]:
        first = next(iter(summaries.values()))
        rows = [
            (
                quantity,
                _range(reference, "reference_p"),
                *(_range(summary.get(quantity, {}), "p") for summary in summaries.values()),
            )
            for quantity, reference in first.items()
            if quantity != "correlation"
        ]
        rows.append(
            (
                "correlation of source r and ln(mu)",
                f"{first['correlation']['reference']:.2f}",
                *(f"{summary['correlation']['value']:.2f}" for summary in summaries.values()),
            )
        )
        return [table("Median [16, 84 per cent]", ["quantity", "reference", *summaries], rows)]

    show(result, as_json, render)


def _range(row: dict[str, float | None], prefix: str) -> str:
    low, middle, high = (row.get(f"{prefix}{p}") for p in (16, 50, 84))
    if low is None or middle is None or high is None:
        return ""
    digits = 0 if abs(middle) >= 100 else 2
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
