"""Run a whole search and say what came of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from legacylens.candidates.publish import read_candidates
from legacylens.config.load import as_toml
from legacylens.config.search import SearchConfig
from legacylens.files import write_text
from legacylens.plots.report import REPORT_NAME
from legacylens.search.engine import Outcome, run_steps
from legacylens.search.steps import SearchPlan
from legacylens.validation.report import RESULT_NAME

BEST = 5
"""Candidates in the closing table."""


def search(config: SearchConfig, out: Path) -> dict[str, Any]:
    """Run every step that has to run, and return the numbers of the result.

    Parameters
    ----------
    config
        The search.
    out
        Its folder; the resolved configuration is written into it as ``search.toml``.

    Returns
    -------
    result
        JSON-compatible: ``steps``, ``sealed`` (recall on the sealed cells), ``best`` (the first candidates),
        ``report`` (path), ``minutes``.
    """
    plan = SearchPlan(config, out)
    text = as_toml(config)
    if not (out / "search.toml").exists() or (out / "search.toml").read_text(encoding="utf-8") != text:
        write_text(out / "search.toml", text)
    outcomes = run_steps(plan.steps(), out)
    sealed = json.loads((plan.folder("validate") / "sealed" / RESULT_NAME).read_text(encoding="utf-8"))
    best = read_candidates(plan.folder("candidates")).head(BEST)
    columns = ["rank", "name", "ra", "dec", "score", "logit", "mag_z", "is_known", "known_names", "in_training"]
    return {
        "name": config.name,
        "out": str(out),
        "minutes": sum(outcome.seconds for outcome in outcomes) / 60.0,
        "steps": [
            {
                "name": outcome.name,
                "status": outcome.status,
                "seconds": outcome.seconds,
                "summary": in_words(outcome),
                "folder": str(outcome.folder),
            }
            for outcome in outcomes
        ],
        "sealed": {
            "lenses": sealed["counts"]["lenses"],
            "non_lenses": sealed["counts"]["non_lenses"],
            "recall": sealed["recall"],
            "auc": sealed["auc"],
        },
        "best": json.loads(best[columns].to_json(orient="records")),
        "report": str(plan.folder("report") / REPORT_NAME),
    }


def in_words(outcome: Outcome) -> str:
    """Return one line for what a step made, from its numbers."""
    numbers = outcome.results
    words = {
        "mocks": "{bricks} bricks, {objects} catalog rows, {lenses} lenses",
        "known-lenses": "{systems} systems",
        "parent": "{selected} of {rows} sources",
        "cutouts": "{total} in the store, {quarantined} left out",
        "samples": "{objects} objects",
        "gates": "{verdict}: {failed} of {gates} leakage gates failed",
        "train": "{network}, best epoch {best_epoch} of {epochs}",
        "scan": "{n_scored} scored, {n_failed} failed",
        "validate": "",
        "candidates": "",
        "shortcuts": "{verdict}: {failed} of {tests} shortcut tests failed",
        "completeness": "{recovered} of {scored} injected lenses selected at a false-positive rate of {fpr:g}",
        "report": "{report}",
    }
    return words[outcome.name].format(**numbers)
