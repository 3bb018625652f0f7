"""The verb ``scan``: a score for every cutout of a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def scan(
    store: Annotated[Path, typer.Argument(help="Cutout store.")],
    checkpoint: Annotated[Path, typer.Option("--checkpoint", help="best.pt of a training run.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for scores.parquet.")],
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file with the keys of the record ScanConfig.")
    ] = None,
    symmetries: Annotated[
        bool | None, typer.Option(help="Average over the eight symmetries of the square; takes eight times as long.")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Cutouts given to the network at a time.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32 or bf16.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    restart: Annotated[bool, typer.Option("--restart", help="Discard an earlier scan in the folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Score every cutout of a store with a trained network.

    An interrupted scan goes on where it stopped. A cutout without a finite score is counted and listed in
    failed.parquet, never given a made-up score.

    \b
    Example:
      legacylens scan cutouts/store --checkpoint train/best.pt --out scan/
    """
    from legacylens.cli.output import show
    from legacylens.config.load import read_toml, record_from
    from legacylens.scan.config import ScanConfig
    from legacylens.scan.score import score_store

    options = {"symmetries": symmetries, "batch": batch, "precision": precision}
    values = {**(read_toml(config) if config else {}), **{k: v for k, v in options.items() if v is not None}}
    settings = record_from(ScanConfig, values, config or "options of legacylens scan")
    result = score_store(store, checkpoint, out, settings, restart=restart, device=device)

    def render() -> list[object]:
        speed = f"{result.cutouts_per_second:.0f} cutouts/s" if result.minutes else "finished earlier, nothing to do"
        return [
            f"{result.n_scored:,} of {result.n_cutouts:,} cutouts scored by {result.network} ({speed}), "
            f"{result.n_failed:,} failed",
            *[f"not read, damaged: {shard}" for shard in result.damaged_shards],
            f"{result.scores}",
        ]

    show(result.summary(), as_json, render)
