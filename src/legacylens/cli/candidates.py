"""The verb ``candidates``: scores to a list of systems."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def candidates(
    scores: Annotated[Path, typer.Argument(help="scores.parquet, or its folder.")],
    parent: Annotated[Path, typer.Argument(help="parent.parquet, or its folder.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for candidates.parquet, .fits and .csv.")],
    known: Annotated[Path | None, typer.Option(help="systems.parquet of the known lenses, or its folder.")] = None,
    sample: Annotated[Path | None, typer.Option(help="sample.parquet of the training, or its folder.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Lowest logit (or score, if there is no logit).")] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Most systems; 1,000 if no threshold is given.")] = None,
    radius: Annotated[float, typer.Option(help="Objects within this radius of a better one are its system.")] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Make a list of candidates: one row for each system, named, matched with known lenses, best first.

    The same list is written as Parquet, FITS and CSV. Candidates of which a member was trained on are marked.

    \b
    Example:
      legacylens candidates scan/ parent/ --known known-lenses/ --sample sample/ --top 500 --out candidates/
    """
    from legacylens.candidates.config import CandidateConfig
    from legacylens.candidates.publish import make_candidates, read_candidates
    from legacylens.cli.output import show, table
    from legacylens.config.load import record_from

    if threshold is None and top is None:
        top = 1000
    values = {"threshold": threshold, "top_n": top, "group_radius_arcsec": radius}
    settings = record_from(CandidateConfig, values, "options of legacylens candidates")
    summary = make_candidates(scores, parent, out, settings, known_path=known, sample_path=sample)

    def render() -> list[object]:
        frame = read_candidates(out)
        rows = [
            (int(row["rank"]), row["name"], float(row["score"]), float(row["mag_z"]), row["known_grade"] or None,
             row["trained_as"] or None)
            for _, row in frame.head(10).iterrows()
        ]  # fmt: skip
        return [
            table("Best candidates", ["rank", "name", "score", "z [mag]", "known", "trained as"], rows),
            table("Counts", ["step", "objects"], list(summary["counts"].items())),
            *(f"{kind}: {path}" for kind, path in summary["files"].items()),
        ]

    show(summary, as_json, render)
