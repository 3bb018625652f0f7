"""The verbs ``validate controls`` and ``validate shortcuts``, which ask whether a network looks at arcs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def controls(
    seeds: Annotated[int, typer.Option(min=1, help="Networks trained to cheat, for each plant.")] = 1,
    honest: Annotated[int, typer.Option(min=0, help="Honest networks.")] = 20,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 works in this one.")] = 2,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the result to this JSON file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Show that the shortcut tests can fail: train small networks to cheat, and honest ones beside them.

    Ten kinds of cheats; each must be caught by its own test on every seed. No test may fail an honest network. A
    network takes some 10 s on one core. Exits with 1 if anything is not as it must be.

    \b
    Example:
      legacylens validate controls --json
      legacylens validate controls --seeds 3 --honest 20 --out controls.json
    """
    from legacylens.cli.output import show, table
    from legacylens.files import write_json
    from legacylens.validation.shortcut_controls import run_controls

    result = run_controls(seeds=range(1, seeds + 1), honest_seeds=range(1, honest + 1), workers=workers)
    if out is not None:
        write_json(out, result)

    def render() -> list[object]:
        names = ["control", "test", "must", "verdict", "value", "low", "high", "limit", "seeds_as_expected", "seeds"]
        extremes = ["test", "lowest", "highest", "limit", "pass", "unclear", "fail"]
        return [
            table(
                "Networks trained to cheat, and honest ones",
                [name.replace("_", " ") for name in names],
                [[row[name] for name in names] for row in result["controls"]],
            ),
            table("Honest networks", extremes, [[row[name] for name in extremes] for row in result["honest"]]),
        ]

    show(result, as_json, render)
    if not result["as_expected"]:
        raise typer.Exit(1)


def shortcuts(
    checkpoint: Annotated[Path, typer.Argument(help="The network, e.g. train/best.pt.")],
    store: Annotated[Path, typer.Argument(help="Cutout store.")],
    sample: Annotated[Path, typer.Argument(help="sample.parquet, or its folder.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for shortcuts.json.")],
    parent: Annotated[
        Path | None, typer.Option(help="parent.parquet, or its folder: for the tests with injections and metadata.")
    ] = None,
    injections: Annotated[int, typer.Option(min=0, help="Arcs injected for the ring and null tests.")] = 200,
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file with the keys of the record ShortcutConfig.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if a test fails.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Test whether a network looks at arcs, on objects that it was not trained on.

    Core only, radial profile only, arc masked, arc suppressed, null injection, ring counterfactual, color and band
    dropout, metadata only, centering: each with its interval, limit and verdict. That the tests can fail is shown by
    `legacylens validate controls`.

    \b
    Example:
      legacylens validate shortcuts train/best.pt cutouts/store sample/ --parent parent/ --out shortcuts/
    """
    from legacylens.cli.output import show, table
    from legacylens.config.load import read_toml, record_from
    from legacylens.validation.shortcut_run import shortcut_files
    from legacylens.validation.shortcuts import ShortcutConfig

    settings = record_from(
        ShortcutConfig, read_toml(config) if config else {}, config or "options of legacylens validate shortcuts"
    )
    result = shortcut_files(checkpoint, store, sample, out, parent_path=parent, injections=injections, config=settings)

    def render() -> list[object]:
        names = ["test", "verdict", "value", "low", "high", "limit", "detail"]
        title = f"Shortcut tests on the {result['split']} split: {result['verdict']}"
        return [table(title, names, [[row[name] for name in names] for row in result["tests"]]), *_sentences(result)]

    show(result, as_json, render)
    if strict and result["verdict"] == "fail":
        raise typer.Exit(1)


def _sentences(result: dict[str, Any]) -> list[object]:
    base = result["baseline"]
    first = (
        [] if base is None else [f"Unchanged pictures: AUC {base['value']:.3f} ({base['low']:.3f}-{base['high']:.3f})"]
    )
    return [*first, *(f"- {sentence}" for sentence in result["not_shown"])]
