"""The verb ``legacylens realism calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def calibrate(
    real: Annotated[Path, typer.Argument(help="Real lenses: a store, or a file or folder of cutouts.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for calibration.json, calibrated.toml, weights and page.")],
    hosts: Annotated[
        Path | None, typer.Option("--hosts", help="Store of galaxies with invvar; a control sky without it.")
    ] = None,
    parent: Annotated[Path | None, typer.Option("--parent", help="parent.parquet that HOSTS was cut from.")] = None,
    null: Annotated[
        Path | None, typer.Option("--null", help="Galaxies without arcs, as REAL; some of HOSTS without it.")
    ] = None,
    start: Annotated[str, typer.Option("--start", help="The set that is moved: its name or its TOML file.")] = (
        "calibrated"
    ),
    weigh: Annotated[
        Path | None, typer.Option("--weigh", help="A set of `mocks inject` that gets weights of the new population.")
    ] = None,
    fix: Annotated[
        list[str] | None, typer.Option("--fix", help="A parameter that stays as in the start; may be given again.")
    ] = None,
    split: Annotated[
        str, typer.Option("--split", help="Part of the real set: calibrate (the gate sees the others) or all.")
    ] = "calibrate",
    bank: Annotated[int | None, typer.Option("--bank", help="Mocks of each round.", min=100)] = None,
    rounds: Annotated[int | None, typer.Option("--rounds", help="Rounds.", min=1)] = None,
    simulations: Annotated[int | None, typer.Option("--simulations", help="Sets to learn from.", min=200)] = None,
    seed: Annotated[int, typer.Option("--seed", help="Decides everything.", min=0)] = 1,
    force: Annotated[bool, typer.Option("--force", help="Write the set even if it is misspecified.")] = False,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Move the population of a set of mocks toward real lenses, or say that no population of it can be theirs.

    Mocks are made, measured as the lenses are, and weighted; the parameters, the selection and the part of wrong labels
    are inferred with their uncertainties (sbi). If sets of the posterior differ from the lenses, the verdict is
    misspecified, with the statistics that no parameter reproduces; no set is written then, unless it is forced, and the
    exit code is 1.

    \b
    Example:
      legacylens realism calibrate lenses/store --hosts cutouts/ --parent parent/parent.parquet --out calibration
      legacylens mocks inject cutouts/ parent/parent.parquet --config calibration/calibrated.toml --out mocks/new
    """
    from legacylens.cli.output import show, table
    from legacylens.config.load import load_record
    from legacylens.mocks.population_sets import SETS, MockSetConfig, named_set
    from legacylens.plots.realism_calibrate import write_calibration_page
    from legacylens.realism.calibrate import CALIBRATED
    from legacylens.realism.calibrate_config import CalibrationConfig
    from legacylens.realism.calibrate_run import free_without, run_calibration

    chosen = named_set(start) if start in SETS else load_record(MockSetConfig, Path(start))
    values = {"bank": bank, "rounds": rounds, "simulations": simulations, "seed": seed}
    settings = CalibrationConfig.model_validate({key: value for key, value in values.items() if value is not None})
    result, document = run_calibration(
        real,
        chosen,
        out,
        hosts=hosts,
        parent=parent,
        null=null,
        weigh=weigh,
        split=split,
        force=force,
        config=free_without(fix or (), settings),
        workers=workers,
    )
    write_calibration_page(out / "calibration.html", result)

    def render() -> list[object]:
        rows = [
            (e.name, e.start, e.median, e.low, e.high, e.unit, "at the edge" if e.at_the_edge else "")
            for e in result.estimates
        ]
        misfits = [(m.name, m.observed, m.expected, m.sigma) for m in result.check.misfits]
        parts: list[object] = [
            table(
                f"Verdict: {result.verdict}, from {result.observed} lenses",
                ["parameter", "start", "median", "16 %", "84 %", "unit", ""],
                rows,
            )
        ]
        if misfits:
            parts.append(table("No parameter reproduces", ["statistic", "observed", "expected", "sigma"], misfits))
        parts.append(f"{len(result.weights):,} mocks, weighted worth {result.effective:,.0f}")
        if document["weighed"]:
            parts.append("{set}: {mocks} mocks, weighted worth {effective:.0f}".format(**document["weighed"]))
        return [*parts, *result.notes, str(document["set"] or "no set was written (--force writes it all the same)")]

    show(document, as_json, render)
    if result.verdict != CALIBRATED and not force:
        raise typer.Exit(1)
