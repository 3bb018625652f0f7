"""The verb ``cutouts rehearse``: fetching through a stand-in for the service that fails as the real one does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def rehearse(
    n: Annotated[int, typer.Option("-n", "--number", min=2, help="Positions to fetch.")] = 2000,
    faults: Annotated[float, typer.Option(min=0.0, max=0.9, help="Fraction of requests that go wrong.")] = 0.1,
    kill: Annotated[bool, typer.Option(help="Kill the client half way with SIGKILL and start it again.")] = True,
    seed: Annotated[int, typer.Option(help="Seed of positions and faults.")] = 1,
    keep: Annotated[Path | None, typer.Option(help="Keep list, store and log in this new folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Rehearse `cutouts fetch` without a network: a stand-in server with faults, and a kill in the middle.

    The stand-in listens on this machine and answers as the survey's viewer does, with 21 kinds of faults: refusals
    to be asked so often, silence, answers cut short, pages of HTML with status 200, wrong bands, wrong sizes, answers
    to other questions. Waiting times are shortened fifty-fold, nothing else. Afterwards every stored pixel is
    compared with the stand-in's sky, and every reason in the quarantine table with what the server really did.
    The exit code is 1 if anything is wrong, twice, lost, or set aside for an untrue reason.

    \b
    Example:
      legacylens cutouts rehearse --json
      legacylens cutouts rehearse -n 200 --faults 0.3 --keep rehearsal/
    """
    import tempfile

    from legacylens.cli.output import show, table
    from legacylens.testing.rehearsal import rehearse as run

    with tempfile.TemporaryDirectory(prefix="legacylens-rehearsal-") as temporary:
        report = run(keep or Path(temporary) / "rehearsal", n=n, fault_rate=faults, kill=kill, seed=seed)

    def render() -> list[object]:
        counts: list[tuple[str, object]] = [
            ("requested", report.requested),
            ("fetched", report.fetched),
            ("quarantined", report.quarantined),
            *((f"  {reason}", count) for reason, count in report.reasons.items()),
            ("neither (must be 0)", report.neither),
            ("both (must be 0)", report.both),
            ("wrong pixels (must be 0)", report.wrong),
            ("twice (must be 0)", report.twice),
            ("untrue reasons (must be 0)", report.untrue),
            ("asked for again after the kill", report.asked_again),
            ("safe when the client was killed", report.stored_at_kill),
            ("requests", report.requests),
            *((f"  spoiled: {fault}", count) for fault, count in report.faults.items()),
        ]
        return [
            table("Rehearsal", ["", "number"], counts),
            f"{'passed' if report.passed else 'FAILED'} in {report.seconds:.1f} s",
            *report.examples,
        ]

    show(report.as_dict(), as_json, render)
    if not report.passed:
        raise typer.Exit(1)
