"""The verbs ``realism``: measure arcs, audit simulations, put them to the gate, and check the instrument itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="Measure arcs, and tell whether simulated lenses look like the sky.")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes.")]


@app.callback()
def _realism() -> None:
    """Measure arcs, and tell whether simulated lenses look like the sky."""


@app.command("measure")
def measure(
    cutouts: Annotated[Path, typer.Argument(help="A cutout store, or a file or folder of npz, npy or FITS cutouts.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for arcs.parquet, the page and the record.")],
    null: Annotated[
        Path | None, typer.Option("--null", help="Galaxies without arcs, as CUTOUTS; scores are compared with theirs.")
    ] = None,
    workers: Workers = 1,
    as_json: Json = False,
) -> None:
    r"""Measure the arc of every cutout: S/N, magnitudes and colors without the galaxy, size, extent, noise.

    The same code measures real and simulated cutouts. What cannot be measured has a code in its row: blank sky, other
    units, other bands. With --null every score gets a percentile and a z among galaxies alike that have no arc.

    \b
    Example:
      legacylens realism measure 04-cutouts/store --out arcs --null luminous-red/store
    """
    from legacylens.cli.output import show, table
    from legacylens.plots.realism import write_measure_page
    from legacylens.realism.inputs import measure_set
    from legacylens.realism.run import write_measured

    result = write_measured(measure_set(cutouts, workers=workers), out, null, workers=workers)
    write_measure_page(out / "arcs.html", result)
    summary = result.summary()

    def render() -> list[object]:
        rows: list[tuple[Any, ...]] = [
            (name, values["low"], values["median"], values["high"]) for name, values in summary["statistics"].items()
        ]
        parts: list[object] = [
            f"{summary['measured']} of {summary['objects']} objects measured"
            + (
                ", not: " + ", ".join(f"{n} {why}" for why, n in summary["refused"].items())
                if summary["refused"]
                else ""
            ),
            table("median and 16 to 84 % of the objects", ["statistic", "16 %", "median", "84 %"], rows),
            *summary["notes"],
            f"{out}",
        ]
        return parts

    show(summary, as_json, render)
