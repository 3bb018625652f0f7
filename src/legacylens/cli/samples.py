"""The verbs ``samples``: labels and splits, and the gates that a sample must pass before a network learns from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def samples(
    parent: Annotated[Path, typer.Argument(help="parent.parquet, or its folder.")],
    known: Annotated[Path, typer.Argument(help="systems.parquet of the known lenses, or its folder.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for sample.parquet and sample.json.")],
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file with the keys of the record SampleConfig.")
    ] = None,
    nside: Annotated[int | None, typer.Option(help="Resolution of the HEALPix cells that are split.")] = None,
    split_seed: Annotated[int | None, typer.Option(help="Seed of the split.")] = None,
    worst_tier: Annotated[int | None, typer.Option(help="Known systems up to this tier count as lenses.")] = None,
    negatives: Annotated[
        float | None, typer.Option(help="Non-lenses for each lens in training; all if there are fewer.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Label parent objects and split them by sky cell, with a guard ring between the splits.

    Every known system, whatever its grade, keeps non-lenses away; only secure and likely ones are lenses. The split of
    an object follows from its position and the seed alone. The summary carries a hash by which a network remembers
    what it was trained on.

    \b
    Example:
      legacylens samples build parent/ known-lenses/ --out sample/
    """
    from legacylens.cli.output import show, table
    from legacylens.config.load import read_toml, record_from
    from legacylens.samples.build import make_sample
    from legacylens.samples.config import SampleConfig

    options = {
        "nside": nside,
        "split_seed": split_seed,
        "worst_tier": worst_tier,
        "negatives_per_positive": negatives,
    }
    values = {**(read_toml(config) if config else {}), **{k: v for k, v in options.items() if v is not None}}
    settings = record_from(SampleConfig, values, config or "options of legacylens samples build")
    summary = make_sample(parent, known, out, settings)

    def render() -> list[object]:
        return [
            table(
                f"Sample {summary['hash'][:12]} of {summary['objects']:,} objects, {summary['known_systems']:,} known",
                ["split", "lenses", "non-lenses", "unused"],
                [(name, row["lenses"], row["non_lenses"], row["unused"]) for name, row in summary["counts"].items()],
            ),
            table("Why", ["reason", "objects"], list(summary["reasons"].items())),
        ]

    show(summary, as_json, render)


def gates(
    sample: Annotated[Path, typer.Argument(help="sample.parquet, or its folder.")],
    parent: Annotated[Path, typer.Argument(help="parent.parquet, or its folder.")],
    store: Annotated[
        Path | None, typer.Option(help="Cutout store: its noise, holes and centering are tested too.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which split; a network learns from train.")] = "train",
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if a gate fails.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Test that the label cannot be told from what has nothing to do with lensing.

    Position, depth, seeing, exposures, extinction, release, coordinates and cutouts must say nothing about the label;
    magnitude, type and size no more than physics allows. Missing values must be alike, and nothing may be listed twice.

    \b
    Example:
      legacylens samples gates sample/ parent/ --store cutouts/
    """
    from legacylens.cli.output import show
    from legacylens.validation.leakage import gate_files

    result = gate_files(sample, parent, store=store, split=split)
    show(result, as_json, lambda: _gate_tables(result))
    if strict and result["verdict"] == "fail":
        raise typer.Exit(1)


def _gate_tables(result: dict[str, Any]) -> list[object]:
    from legacylens.cli.output import table

    rows = [
        (row["gate"], row["verdict"], row["value"], row["low"], row["high"], row["limit"], row["detail"])
        for row in result["gates"]
    ]
    title = f"{result['split']} split, {result['n_lenses']:,} lenses and {result['n_non_lenses']:,} non-lenses"
    parts: list[object] = [
        table(
            f"Gates on the {title}: {result['verdict']}", ["gate", "verdict", "AUC", "low", "high", "limit", "of"], rows
        )
    ]
    if result["baseline"] is not None:
        parts.append(f"Everything but the pixels together reaches an AUC of {result['baseline']['value']:.3f}.")
    return parts


def controls(
    seeds: Annotated[int, typer.Option(min=1, help="Samples for each planted leak.")] = 1,
    honest: Annotated[int, typer.Option(min=1, help="Samples that are left alone.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Show that the gates can fail: plant known leaks in honest simulated samples, and leave some alone.

    \b
    Example:
      legacylens samples controls --json
    """
    from legacylens.cli.output import show, table
    from legacylens.validation.leaks import run_controls

    rows = run_controls(seeds=range(1, seeds + 1), honest_seeds=range(1, honest + 1))
    result = {"controls": rows, "as_expected": all(row["seeds_as_expected"] == row["seeds"] for row in rows)}

    def render() -> object:
        names = ["control", "gate", "must", "verdict", "value", "low", "seeds_as_expected", "seeds"]
        return table("Planted leaks", [name.replace("_", " ") for name in names], [[r[n] for n in names] for r in rows])

    show(result, as_json, render)
    if not result["as_expected"]:
        raise typer.Exit(1)
