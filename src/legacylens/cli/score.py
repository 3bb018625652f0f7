"""The verb ``score``: cutouts in files to scores, one line for each object."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from legacylens.scan.files import FileScores

MOST_DRAWN = 120
"""Objects on a contact sheet: more would make a picture that no program opens."""


def score(
    files: Annotated[list[Path], typer.Argument(help="FITS cutouts, FITS cubes, npz, npy, or folders of them.")],
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint", help="best.pt of a training run; else $LEGACYLENS_CHECKPOINT, else the packaged network."
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            "--sheet", help="Where the contact sheet (PNG) goes. [default: <first input>-scores.png, in this folder]"
        ),
    ] = None,
    no_sheet: Annotated[bool, typer.Option("--no-sheet", help="Write no contact sheet.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 2 if a file could not be scored.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Score cutouts straight from files: how much like a lens does each of them look.

    Bands are found by name, larger images are cropped around their center, other pixel sizes are resampled; the notes
    say what was done. A file that cannot be used gets a message with the remedy, and the others go on. A contact sheet
    shows the objects, the highest score first.

    \b
    Example:
      legacylens score cutout.fits more-cutouts/
    """
    import pandas as pd

    from legacylens.cli.output import show, table
    from legacylens.progress import console
    from legacylens.scan.files import score_files

    scores = score_files(files, checkpoint, device=device)
    for problem in scores.problems:
        console.print(f"not scored: {problem}", style="red", highlight=False, markup=False, soft_wrap=True)
    drawn = None if no_sheet else _draw(scores, sheet, files[0])

    def render() -> list[object]:
        rows = scores.table[["source_id", "score", "logit", "ra", "dec"]]
        clean = rows.astype(object).where(rows.notna(), None)
        for axis in ("ra", "dec"):  # four digits, as for other numbers, would be minutes of arc
            clean[axis] = [None if pd.isna(value) else f"{value:.5f}" for value in rows[axis]]
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
        if drawn is not None:
            parts.append(f"{drawn}")
        return parts

    show({**scores.summary(), "sheet": None if drawn is None else str(drawn)}, as_json, render)
    if strict and scores.problems:
        raise typer.Exit(2)


def _draw(scores: FileScores, sheet: Path | None, first: Path) -> Path | None:
    """Write the contact sheet and return its place; None if there is nothing to draw, or no place for it."""
    from legacylens.plots.sheets import contact_sheet
    from legacylens.progress import console

    if not scores.cutouts:
        return None
    order = scores.table["logit"].sort_values(ascending=False, kind="stable").index[:MOST_DRAWN]
    rows = scores.table.loc[order]
    captions = [f"{name}\n{value:.3f}" for name, value in zip(rows["source_id"], rows["score"], strict=True)]
    # Beside the command and not beside the input, which may be an archive that nobody may write to.
    target = sheet or Path(f"{first.name.split('.')[0] or 'cutouts'}-scores.png")
    try:
        return contact_sheet([scores.cutouts[row] for row in order], captions, target)
    except OSError as error:
        if sheet is not None:
            raise
        console.print(f"no contact sheet: {error}; name a place with --sheet", style="yellow", markup=False)
        return None
