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


@app.command("audit")
def audit(
    sims: Annotated[Path, typer.Argument(help="Your simulations: a store, or a file or folder of npz, npy or FITS.")],
    real: Annotated[
        Path | None, typer.Option("--real", help="Real lenses to compare with, in place of published populations.")
    ] = None,
    null: Annotated[
        Path | None, typer.Option("--null", help="Galaxies without arcs, for what the core alone gives away.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for audit.json and audit.html.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the bootstrap.", min=0)] = 1,
    workers: Workers = 1,
    as_json: Json = False,
) -> None:
    r"""Say what is wrong with a set of simulations, and what to change first.

    By what factor arcs are too bright, colors, PSF, noise, photon noise, hosts, source offsets, what the core gives
    away. Without --real the set is compared with published populations.

    \b
    Example:
      legacylens realism audit my-simulations/ --out audit
    """
    from legacylens.cli.output import show, table
    from legacylens.realism.audit_run import run_audit

    result, run = run_audit(sims, real=real, null=null, seed=seed, workers=workers)
    if out is not None:
        from legacylens.files import write_json
        from legacylens.plots.realism_audit import write_audit_page

        write_json(out / "audit.json", result.as_dict())
        write_audit_page(out / "audit.html", result, run)
    document = result.as_dict()

    def render() -> list[object]:
        parts: list[object] = [f"{result.measured} of {result.objects} simulations measured", result.compared_with]
        if result.brightness is not None:
            b = result.brightness
            parts.append(f"Arcs are {b.value:.2f} times as bright as expected (95 %: {b.low:.2f} to {b.high:.2f})")
        rows = [(item.name, item.effect, item.says, item.remedy) for item in result.findings]
        parts.append(table("To be changed, largest effect first", ["finding", "effect", "what", "remedy"], rows))
        if not rows:
            parts.append("Nothing was found that has to be changed.")
        return [*parts, *result.notes, *([str(out / "audit.html")] if out is not None else [])]

    show(document, as_json, render)


@app.command("gate")
def gate(
    sims: Annotated[Path, typer.Argument(help="Simulated lenses: a store, or a file or folder of cutouts.")],
    real: Annotated[Path, typer.Option("--real", help="Real lenses, none of them hosts of the simulations.")],
    null: Annotated[
        Path | None, typer.Option("--null", help="Galaxies without arcs; for zero flux and the functional test.")
    ] = None,
    zero_flux: Annotated[
        Path | None, typer.Option("--zero-flux", help="The same simulations with sources of zero flux.")
    ] = None,
    split: Annotated[
        str, typer.Option("--split", help="Part of the real set: calibrate, gate, test (opened once) or all.")
    ] = "gate",
    out: Annotated[Path | None, typer.Option("--out", help="Folder for gate.json and gate.html.")] = None,
    workers: Workers = 1,
    as_json: Json = False,
) -> None:
    r"""Test whether simulated lenses can be told from real ones: pass, fail, or too few objects to tell.

    Margins were set before; every test has its interval and the value of two halves of the real set beside it.

    \b
    Example:
      legacylens realism gate mocks/calibrated --real lenses/store --null luminous-red/store --out gate
    """
    from legacylens.cli.output import show, table
    from legacylens.mocks.injection_truth import TRUTH_NAME
    from legacylens.realism.gate_run import run_gate
    from legacylens.training.simulated import simulations_hash

    result = run_gate(sims, real, null=null, zero=zero_flux, split=split, workers=workers)
    # Training takes a report for exactly this set: `legacylens train --realism gate/gate.json`.
    is_injected = sims.is_dir() and (sims / TRUTH_NAME).is_file()
    document = {**result.as_dict(), "simulations_hash": simulations_hash(sims) if is_injected else None}
    if out is not None:
        from legacylens.files import write_json
        from legacylens.plots.realism_gate import write_gate_page

        write_json(out / "gate.json", document)
        write_gate_page(out / "gate.html", str(sims), result)

    def render() -> list[object]:
        rows = [
            (test.test, test.value, test.low, test.high, test.margin, test.real_real, test.verdict, test.needed)
            for test in result.tests
        ]
        columns = ["test", "value", "at least", "at most", "margin", "real-real", "verdict", "objects needed"]
        return [table(f"Verdict: {result.verdict}", columns, rows), *result.notes]

    show(document, as_json, render)


@app.command("controls")
def controls(
    n: Annotated[int, typer.Option("--n", help="Objects of each set.", min=50)] = 400,
    seeds: Annotated[int, typer.Option("--seeds", help="How often each control is judged.", min=1)] = 20,
    seed: Annotated[int, typer.Option("--seed", help="Of the control sky.", min=0)] = 1,
    control: Annotated[list[str] | None, typer.Option("--control", help="Only this one; may be given again.")] = None,
    workers: Workers = 2,
    as_json: Json = False,
) -> None:
    r"""Show that the gate convicts simulations of known faults and lets honest ones pass.

    Needs no data; with the default size it takes five minutes on two cores. Exit code 1 if the gate is void.

    \b
    Example:
      legacylens realism controls --control arcs-x2.5 --control calibrated --seeds 5
    """
    from legacylens.cli.output import show, table
    from legacylens.files import to_json
    from legacylens.realism.controls import as_expected, documents, run_controls
    from legacylens.realism.gate_config import GateConfig

    results = run_controls(GateConfig(n=n), seeds=seeds, seed=seed, names=control or (), workers=workers)
    valid = as_expected(results)
    if as_json:
        typer.echo(to_json(documents(results)), nl=False)

    def render() -> list[object]:
        rows = [
            (
                item.control,
                item.must,
                item.verdict,
                f"{item.seeds_as_expected} of {item.seeds}",
                item.n,
                ", ".join(list(item.because)[:3]),
                ", ".join(found["name"] for found in item.findings),
            )
            for item in results
        ]
        said = "The gate does what it must." if valid else "The gate is void: a control did not do what it must."
        return [
            table("Controls", ["control", "must", "verdict", "as expected", "n", "because of", "audit"], rows),
            said,
        ]

    if not as_json:
        show({}, as_json, render)
    if not valid:
        raise typer.Exit(1)
