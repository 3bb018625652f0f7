"""The verb ``ensemble``: scans by several networks into one."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Way(StrEnum):
    """How scores are combined."""

    mean = "mean"
    rank = "rank"
    stack = "stack"


def ensemble(
    scans: Annotated[
        list[Path], typer.Argument(help="Folders of `legacylens scan`: the same objects, other networks.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for scores.parquet and ensemble.json.")],
    how: Annotated[
        Way,
        typer.Option(help="Mean of the logits, mean rank, or a small network on top, fitted to the validation split."),
    ] = Way.mean,
    sample: Annotated[
        Path | None,
        typer.Option(
            "--sample", help="The sample that the networks were trained on; needed for a stack and for recalls."
        ),
    ] = None,
    fpr: Annotated[float, typer.Option(help="False-positive rate of the recalls that are shown.")] = 0.01,
    folds: Annotated[int, typer.Option(min=2, help="Parts of the validation sky, for a stack.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of a stack.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Combine the scores of several networks into one score for each object.

    The result is a scan like any other: `validate report` and `candidates` take it. With a sample, the networks,
    their means and the stack are measured on the validation split, whose objects are scored by a stack that did not see
    their part of the sky. The sealed split is not looked at.

    \b
    Example:
      legacylens ensemble scan-a/ scan-b/ --how stack --sample sample/ --out ensemble/
    """
    from legacylens.cli.output import show, table
    from legacylens.comparison.ensemble import combine

    result = combine(scans, out, how=how.value, sample=sample, fpr=fpr, folds=folds, seed=seed)

    def render() -> list[object]:
        rows = [
            (row["scores"], f"{row['recall']:.3f} [{row['recall_low']:.3f}, {row['recall_high']:.3f}]", row["note"])
            for row in result["validation"]
        ]
        left_out = f"; {result['left_out']} that only some have are left out" if result["left_out"] else ""
        return [
            *([table(f"Recall at {fpr:g} on the validation split", ["scores", "recall", ""], rows)] if rows else []),
            f"{result['objects']:,} objects with the {how.value} of {len(result['members'])} networks{left_out}",
            result["scores"],
        ]

    show(result, as_json, render)
