"""The verb ``samples``: the parent sample and the known lenses to labels and splits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    settings = record_from(SampleConfig, values, config or "options of legacylens samples")
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
