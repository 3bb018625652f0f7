"""The verb ``score``: cutouts in files to scores, one line for each object."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def score(
    files: Annotated[list[Path], typer.Argument(help="FITS cutouts, FITS cubes, npz, npy, or folders of them.")],
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint", help="best.pt of a training run; else $LEGACYLENS_CHECKPOINT, else the packaged network."
        ),
    ] = None,
    sheet: Annotated[Path | None, typer.Option("--sheet", help="Write a contact sheet (PNG).")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 2 if a file could not be scored.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Score cutouts straight from files: how much like a lens does each of them look.

    Bands are found by name, larger images are cropped around their center, other pixel sizes are resampled; the notes
    say what was done. A file that cannot be used gets a message with the remedy, and the others go on.

    \b
    Example:
      legacylens score cutout.fits more-cutouts/ --sheet sheet.png
    """
    from legacylens.cli.output import show, table
    from legacylens.progress import console
    from legacylens.scan.files import score_files

    scores = score_files(files, checkpoint, device=device)
    for problem in scores.problems:
        console.print(f"not scored: {problem}", style="red", highlight=False, markup=False, soft_wrap=True)
    if sheet is not None and scores.cutouts:
        from legacylens.plots.sheets import contact_sheet

        captions = [
            f"{name}\n{value:.3f}" for name, value in zip(scores.table["source_id"], scores.table["score"], strict=True)
        ]
        contact_sheet(scores.cutouts, captions, sheet)

    def render() -> list[object]:
        rows = scores.table[["source_id", "score", "logit", "ra", "dec"]]
        clean = rows.astype(object).where(rows.notna(), None)
        notes: dict[str, int] = {}  # each note once, below the table, so that an object keeps to one line
        marks = [
            ", ".join(str(notes.setdefault(note, len(notes) + 1)) for note in cutout.notes) or None
            for cutout in scores.cutouts
        ]
        parts: list[object] = [
            table(
                f"{len(rows)} objects scored by {scores.network} ({scores.checkpoint.name})",
                ["object", "score", "logit", "ra", "dec", "notes"],
                [(*row, mark) for row, mark in zip(clean.itertuples(index=False, name=None), marks, strict=True)],
            ),
            *[f"{number}: {note}" for note, number in notes.items()],
        ]
        if scores.description:
            parts.append(f"The network: {scores.description}")
        if sheet is not None and scores.cutouts:
            parts.append(f"{sheet}")
        return parts

    show(scores.summary(), as_json, render)
    if strict and scores.problems:
        raise typer.Exit(2)
