"""The verb ``validate``: what scores say about a split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def validate(
    scores: Annotated[Path, typer.Argument(help="scores.parquet, or its folder.")],
    sample: Annotated[Path, typer.Argument(help="sample.parquet, or its folder.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for validation.json.")],
    split: Annotated[str, typer.Option(help="train, validation or sealed.")] = "validation",
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file with the keys of the record ValidationConfig.")
    ] = None,
    reopen: Annotated[
        str | None, typer.Option(help="Why the sealed split is opened again with other scores; kept in its ledger.")
    ] = None,
    whole_bricks: Annotated[
        bool, typer.Option("--whole-bricks", help="Judge only objects of bricks in which training has none.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Measure recall at fixed false-positive rates, with exact intervals and what they mean for a survey.

    A rate with fewer than 20 false positives behind its threshold is marked "not measurable". Opening the sealed split
    writes a line into the ledger beside the sample.

    \b
    Example:
      legacylens validate report scan/ sample/ --out validation/
      legacylens validate report scan/ sample/ --out sealed/ --split sealed
    """
    from legacylens.cli.output import show, table
    from legacylens.config.load import read_toml, record_from
    from legacylens.validation.config import ValidationConfig
    from legacylens.validation.report import validate_files

    given = read_toml(config) if config else {}
    if whole_bricks:
        given |= {"whole_bricks": True}
    settings = record_from(ValidationConfig, given, config or "options of legacylens validate report")
    result = validate_files(scores, sample, out, split=split, config=settings, reopen=reopen)

    def render() -> list[object]:
        rows = [
            (
                f"{row['fpr_target']:g}",
                f"{row['recall']:.3f}",
                f"{row['recall_low']:.3f} - {row['recall_high']:.3f}",
                f"{row['sky']['recall_low']:.3f} - {row['sky']['recall_high']:.3f}" if row["sky"] else None,
                f"{row['n_recovered']}/{row['n_lenses']}",
                f"{row['n_false_positives']}/{row['n_non_lenses']:,}",
                f"{row['threshold']:.4g}",
                f"{100 * row['survey']['purity_low']:.2g} - {100 * row['survey']['purity_high']:.2g} %",
            )
            for row in result["recall"]
        ]
        confidence = f"{100 * settings.confidence:g} %"
        auc = result["auc"]
        return [
            table(
                f"Recall on the {split} split",
                [
                    "FPR",
                    "recall",
                    confidence,
                    "by sky cells",
                    "lenses",
                    "false positives",
                    "threshold",
                    "purity in a survey",
                ],
                rows,
            ),
            *(f"- {row['fpr_target']:g}: {_why_not(row)}" for row in result["recall"] if row["note"]),
            *_bricks(result),
            *_advice(result),
            *(f"- {sentence}" for sentence in result["not_shown"]),
            f"Area under the curve: {auc['value']:.4f} ({auc['low']:.4f} - {auc['high']:.4f})",
        ]

    show(result, as_json, render)


def _bricks(result: dict[str, Any]) -> list[str]:
    """Return a line for each rate on bricks that training knows and does not, where there are lenses in both."""
    return [
        f"- {row['fpr_target']:g}: recall {row['unseen']['recall']:.3f} in bricks that training does not know "
        f"({row['unseen']['recovered']}/{row['unseen']['lenses']}), {row['shared']['recall']:.3f} in those it does "
        f"({row['shared']['recovered']}/{row['shared']['lenses']}); p = {row['p_value']:.2g}"
        for row in result["by_unit"]
        if row["unit"] == "brick" and row["p_value"] is not None
    ]


def _advice(result: dict[str, Any]) -> list[str]:
    best, calibration = result["recommended"], result["calibration"]
    if best["threshold"] is None:
        lines = [f"No threshold for {best['budget']:,} inspections: {best['note']}"]
    else:
        each = best["inspections_per_lens"]
        cost = "" if each is None else f", {each:.3g} inspections for each lens"
        lines = [f"For {best['budget']:,} inspections: threshold {best['threshold']:.4g} ({best['basis']}){cost}"]
    if calibration["method"] is None:
        return [*lines, f"No probabilities: {calibration['note']}"]
    return [
        *lines,
        f"Probabilities: {calibration['method']}, chi2 {calibration['chi2']:.1f} in {calibration['bins']} bins",
    ]


def _why_not(row: dict[str, Any]) -> str:
    tail = row["tail"]
    if tail is None:
        return str(row["note"])
    if tail["threshold"] is None:
        return f"{row['note']}; {tail['note']}"
    return (
        f"{row['note']}; from the tail of the scores: threshold {tail['threshold']:.4g}, where the rate is "
        f"{tail['fpr_low']:.1e} - {tail['fpr_high']:.1e} and the recall {tail['recall']:.3f}"
    )
