"""The report of a search, gathered from what its steps wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from legacylens.candidates.publish import read_candidates
from legacylens.plots.report import REPORT_NAME, ReportInputs, Step, write_report
from legacylens.plots.validation_page import PageInputs, read_page_inputs, write_page
from legacylens.provenance import code_hash, git_commit, versions
from legacylens.samples.build import read_sample
from legacylens.search.engine import STATE_NAME, Results
from legacylens.search.places import SearchPlaces
from legacylens.validation.report import RESULT_NAME

PAGE_NAME = "validation.html"
"""The page on the tests of the network, beside the report."""
GATES_NAME = "gates.json"
"""What the leakage gates found on the training split."""


def report_of(plan: SearchPlaces, folder: Path) -> Results:
    """Write ``report.html`` and ``report.json`` of a search whose other steps are finished.

    Parameters
    ----------
    plan
        The search.
    folder
        Where the report goes.

    Returns
    -------
    results
        ``report``: its path.
    """
    numbers = {name: _results(plan, name) for name in plan.names if name != "report"}
    sample = read_sample(plan.folder("samples"))
    validation = json.loads((plan.folder("validate") / "sealed" / RESULT_NAME).read_text(encoding="utf-8"))
    config = plan.config
    training = {
        name: numbers["train"][name]
        for name in ("network", "epochs", "best_epoch", "selection_fpr", "recall", "stopped", "minutes")
    }
    inputs = ReportInputs(
        title=config.report.title,
        release=plan.release().root,
        is_mock=config.mock is not None,
        about_data=config.report.about_data,
        steps=_steps(numbers),
        candidates=read_candidates(plan.folder("candidates")),
        candidate_counts=numbers["candidates"]["counts"],
        validation=validation,
        sample=sample.frame,
        sample_summary=sample.summary,
        training={**training, "images per second": round(float(numbers["train"]["images_per_second"]))},
        configuration=config.model_dump(mode="json"),
        hashes={
            "sample": sample.summary["hash"],
            "scores": validation["scores_hash"],
            "code": code_hash(),
            "commit": git_commit() or "not run from a git checkout",
            **{f"version of {name}": str(version) for name, version in versions().items()},
        },
        store=plan.folder("cutouts") / "store",
        gates=json.loads((plan.folder("gates") / GATES_NAME).read_text(encoding="utf-8")),
        pages=(("Will it work on the sky?", PAGE_NAME),) if _checked(plan) else (),
    )
    if _checked(plan):
        write_page(folder / PAGE_NAME, _page_inputs(plan))
    write_report(folder / REPORT_NAME, inputs)
    return {"report": str(folder / REPORT_NAME)}


def _checked(plan: SearchPlaces) -> bool:
    return plan.config.checks.shortcuts or plan.config.checks.injections > 0


def _page_inputs(plan: SearchPlaces) -> PageInputs:
    """Return what the page on the tests of the network shows: the sealed cells, and the tests that were made."""
    checks = plan.config.checks
    return read_page_inputs(
        plan.folder("validate") / "sealed",
        shortcuts=plan.folder("shortcuts") if checks.shortcuts else None,
        completeness=plan.folder("completeness") if checks.injections else None,
        gates=plan.folder("gates") / GATES_NAME,
        store=plan.folder("cutouts") / "store",
        checkpoint=plan.folder("train") / "best.pt",
        title=f"{plan.config.report.title}: will it work on the sky?",
    )


def _results(plan: SearchPlaces, name: str) -> dict[str, Any]:
    return dict(json.loads((plan.folder(name) / STATE_NAME).read_text(encoding="utf-8"))["results"])


def _steps(numbers: dict[str, dict[str, Any]]) -> tuple[Step, ...]:
    """Return the counts from catalog rows to cutouts, each with what was left out and why."""
    parent, cutouts = numbers["parent"], numbers["cutouts"]
    unusable = tuple(
        (f"{Path(entry['path']).name}: {entry['problem']}", 0) for entry in parent["per_file"] if entry["problem"]
    )
    cuts = tuple((str(cut["meaning"]), int(cut["removed"])) for cut in parent["cuts"] if int(cut["removed"]) > 0)
    rows = [
        Step(name="rows in the sweeps", left=int(parent["rows"]), removed=unusable),
        Step(name="parent sample", left=int(parent["selected"]), removed=cuts),
    ]
    reasons = tuple((str(reason), int(count)) for reason, count in cutouts["reasons"].items())
    rows.append(Step(name="cutouts", left=int(cutouts["total"]), removed=reasons))
    scan = numbers["scan"]
    if int(scan["n_failed"]) > 0:
        rows.append(
            Step(name="scored", left=int(scan["n_scored"]), removed=(("no finite score", int(scan["n_failed"])),))
        )
    return tuple(rows)
