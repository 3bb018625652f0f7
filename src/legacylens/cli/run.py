"""The verbs ``run`` and ``quickstart``: the whole way from one configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from legacylens.config.search import SearchConfig


def run(
    search: Annotated[Path | None, typer.Argument(help="The file of the search (TOML).")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the search; default: the file's name without .toml.")
    ] = None,
    example: Annotated[
        str | None, typer.Option("--example", help="Print an example configuration and exit: survey or mock.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Do the whole way, from the sky to a candidate list and a report, from one file.

    Steps whose inputs, configuration and code have not changed are skipped; an interrupted run goes on where it was.

    \b
    Example:
      legacylens run --example mock > mock.toml
      legacylens run mock.toml --out mock/
    """
    from legacylens.errors import InputError

    if example is not None:
        from legacylens.search.examples import example_text

        typer.echo(example_text(example), nl=False)
        return
    if search is None:
        raise InputError("give the file of a search; `legacylens run --example mock` prints one to start from")
    from legacylens.config.search import load_search

    _whole_way(load_search(search), out or search.with_suffix(""), as_json)


def quickstart(
    size: Annotated[str, typer.Option(help="Size of the mock sky: tiny, small or medium.")] = "small",
    out: Annotated[Path, typer.Option("--out", help="Folder of the search.")] = Path("quickstart"),
    workers: Annotated[int, typer.Option(min=1, help="Processes; no result depends on it.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the mock sky.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Search a mock sky whose truth is known: nothing is needed but this package.

    Writes a release in the survey's layout, then does with it what `run` does with the survey.

    \b
    Example:
      legacylens quickstart --size tiny --out quickstart/
    """
    from legacylens.search.examples import quickstart_config

    _whole_way(quickstart_config(size=size, seed=seed, workers=workers), out, as_json)


def _whole_way(config: SearchConfig, out: Path, as_json: bool) -> None:
    from legacylens.cli.output import show
    from legacylens.search.whole import search

    result = search(config, out)
    show(result, as_json, lambda: _rendered(result))


def _rendered(result: dict[str, Any]) -> list[object]:
    from legacylens.cli.output import table

    steps = table(
        "Steps",
        ["step", "status", "seconds", "result"],
        [(step["name"], step["status"], round(step["seconds"], 1), step["summary"]) for step in result["steps"]],
    )
    recall = table(
        f"Recall on the sealed cells ({result['sealed']['lenses']} lenses, {result['sealed']['non_lenses']} others)",
        ["false-positive rate", "recall", "95 % interval", "false positives behind it", "note"],
        [
            (
                f"{point['fpr_target']:g}",
                point["recall"],
                f"{point['recall_low']:.3f} - {point['recall_high']:.3f}",
                point["n_false_positives"],
                point["note"],
            )
            for point in result["sealed"]["recall"]
        ],
    )
    best = table(
        "The five best candidates",
        ["rank", "name", "ra", "dec", "score", "z mag", "known as", "trained on"],
        [
            (
                row["rank"],
                row["name"],
                f"{row['ra']:.5f}",
                f"{row['dec']:.5f}",
                f"{row['score']:.4f}",
                f"{row['mag_z']:.2f}",
                row["known_names"],
                "yes" if row["in_training"] else "no",
            )
            for row in result["best"]
        ],
    )
    return [steps, recall, best, f"report: {result['report']}"]
