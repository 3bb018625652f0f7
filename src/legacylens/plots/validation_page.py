"""One HTML page on whether a network will work on the sky, with a light for each section and its numbers as JSON.

Like the report of a search (`legacylens.plots.report`) it needs nothing but itself. A section whose test was not made
is there all the same, and says so: what is not measured must not look measured by being absent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from legacylens.cutouts.store import CutoutStore
from legacylens.errors import FileProblem, InputError
from legacylens.files import write_json, write_text
from legacylens.plots.figures import histogram_figure, recall_figure
from legacylens.plots.gallery import pictures_from_store
from legacylens.plots.lights import sample_light, trust_light
from legacylens.plots.report import page_template
from legacylens.plots.style import LENS, NON_LENS, figure_uri, house_style, new_axes
from legacylens.plots.validation_completeness import completeness_figure, completeness_map_figure
from legacylens.plots.validation_lights import (
    completeness_light,
    contaminants_light,
    holdouts_light,
    probability_light,
    shortcuts_light,
    threshold_light,
)
from legacylens.plots.validation_saliency import saliency_figure
from legacylens.provenance import code_hash, git_commit, versions
from legacylens.validation.completeness_run import MAP_NAME
from legacylens.validation.completeness_run import RESULT_NAME as COMPLETENESS_NAME
from legacylens.validation.contaminants import RESULT_NAME as CONTAMINANTS_NAME
from legacylens.validation.report import RESULT_NAME as VALIDATION_NAME
from legacylens.validation.saliency import occlusion_saliency
from legacylens.validation.shortcut_run import RESULT_NAME as SHORTCUTS_NAME
from legacylens.validation.sky_map import read_map

SALIENCY_OBJECTS = 3
"""Lenses whose saliency is drawn: the highest, the middle and the lowest that is selected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageInputs:
    """What the page shows; None is what was not measured."""

    title: str
    """Title."""
    validation: Mapping[str, Any]
    """As from `legacylens.validation.report.validate`."""
    shortcuts: Mapping[str, Any] | None = None
    """As from `legacylens.validation.shortcut_run.shortcut_files`."""
    controls: Mapping[str, Any] | None = None
    """As from `legacylens.validation.shortcut_controls.run_controls`."""
    completeness: Mapping[str, Any] | None = None
    """As from `legacylens.validation.completeness_run.measure_completeness`."""
    sky: tuple[pd.DataFrame, int] | None = None
    """Completeness map and its resolution."""
    contaminants: Mapping[str, Any] | None = None
    """As from `legacylens.validation.contaminants.contaminant_files`."""
    gates: Mapping[str, Any] | None = None
    """As from `legacylens.validation.leakage.run_gates`."""
    store: Path | None = None
    """Cutout store, for pictures."""
    checkpoint: Path | None = None
    """The network, for saliency."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where each part was read from."""


def _document(path: str | Path | None, name: str) -> dict[str, Any] | None:
    if path is None:
        return None
    path = Path(path)
    path = path / name if path.is_dir() else path
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileProblem(
            path, "no such result", "Run the verb that makes it, or leave it out.", reason="missing"
        ) from None
    except ValueError as error:
        raise FileProblem(path, f"not a JSON document ({error})", "Make it again.", reason="broken") from error
    if not isinstance(found, dict):
        raise FileProblem(path, "not a result of legacylens validate", "Make it again.", reason="broken")
    return found


def read_page_inputs(
    validation: str | Path,
    *,
    title: str,
    shortcuts: str | Path | None = None,
    controls: str | Path | None = None,
    completeness: str | Path | None = None,
    contaminants: str | Path | None = None,
    gates: str | Path | None = None,
    store: Path | None = None,
    checkpoint: Path | None = None,
) -> PageInputs:
    """Read what the page shows from the results of the verbs.

    Raises
    ------
    FileProblem
        If a result is missing or broken.
    InputError
        If results are of different samples: they would be shown as one.
    """
    judged = _document(validation, VALIDATION_NAME) or {}
    for name in ("recall", "recommended", "by_unit", "calibration", "sample_hash"):
        if name not in judged:
            raise FileProblem(
                validation,
                f"has no {name}",
                "Make it with `legacylens validate report` of this version.",
                reason="broken",
            )
    tested = _document(shortcuts, SHORTCUTS_NAME)
    if tested is not None and tested.get("sample_hash") != judged["sample_hash"]:
        raise InputError("the shortcut tests are of another sample than the validation; make both on one")
    sky = None
    if completeness is not None and Path(completeness).is_dir() and (Path(completeness) / MAP_NAME).exists():
        sky = read_map(Path(completeness) / MAP_NAME)
    given = {"validation": validation, "shortcuts": shortcuts, "controls": controls, "completeness": completeness,
             "contaminants": contaminants, "gates": gates, "store": store, "checkpoint": checkpoint}  # fmt: skip
    return PageInputs(
        title=title,
        validation=judged,
        shortcuts=tested,
        controls=_document(controls, "controls.json"),
        completeness=_document(completeness, COMPLETENESS_NAME),
        sky=sky,
        contaminants=_document(contaminants, CONTAMINANTS_NAME),
        gates=_document(gates, "gates.json"),
        store=store,
        checkpoint=checkpoint,
        sources={name: str(path) for name, path in given.items() if path is not None},
    )


def page_numbers(inputs: PageInputs) -> dict[str, Any]:
    """Return every number of the page as one JSON-compatible dictionary."""
    v = inputs.validation
    lights = {
        "trust": trust_light(v),
        "holdouts": holdouts_light(v),
        "threshold": threshold_light(v),
        "probability": probability_light(v),
        "sample": sample_light(inputs.gates),
        "shortcuts": shortcuts_light(inputs.shortcuts, inputs.controls),
        "contaminants": contaminants_light(inputs.contaminants, _ordinary_rate(inputs)),
        "completeness": completeness_light(inputs.completeness),
    }
    return {
        "title": inputs.title,
        "lights": {name: asdict(light) for name, light in lights.items()},
        "validation": dict(v),
        "shortcuts": None if inputs.shortcuts is None else dict(inputs.shortcuts),
        "controls": None if inputs.controls is None else dict(inputs.controls),
        "completeness": None if inputs.completeness is None else dict(inputs.completeness),
        "contaminants": None if inputs.contaminants is None else dict(inputs.contaminants),
        "gates": None if inputs.gates is None else dict(inputs.gates),
        "not_shown": _not_shown(inputs),
        "sources": dict(inputs.sources),
        "versions": versions(),
        "code_hash": code_hash(),
        "git_commit": git_commit(),
    }


def _ordinary_rate(inputs: PageInputs) -> float | None:
    """Return the rate of the validation's threshold that the contaminants were judged at."""
    if inputs.contaminants is None:
        return None
    for row in inputs.validation["recall"]:
        if abs(row["threshold"] - inputs.contaminants["threshold"]) < 1e-9:
            return float(row["fpr"]) or None
    return None


def _not_shown(inputs: PageInputs) -> list[str]:
    """Return what a reader must not take from the page."""
    sentences = list(inputs.validation["not_shown"])
    for part in (inputs.shortcuts, inputs.contaminants, inputs.completeness):
        sentences += [] if part is None else list(part["not_shown"])
    missing = [
        word
        for word, part in (
            ("whether the sample gives its labels away (legacylens samples gates)", inputs.gates),
            ("whether the network looks at arcs (legacylens validate shortcuts)", inputs.shortcuts),
            ("how often rings, spirals and mergers are taken for lenses (legacylens validate contaminants)",
             inputs.contaminants),
            ("which lenses are missed (legacylens validate completeness)", inputs.completeness),
        )
        if part is None
    ]  # fmt: skip
    if missing:
        sentences.append(f"Not measured at all: {'; '.join(missing)}.")
    return list(dict.fromkeys(sentences))


def write_page(path: str | Path, inputs: PageInputs) -> dict[str, Any]:
    """Write the page, and its numbers beside it as JSON; return the numbers."""
    path = Path(path)
    numbers = page_numbers(inputs)
    write_json(path.with_suffix(".json"), numbers)
    write_text(path, page_text(inputs, numbers))
    return numbers


def page_text(inputs: PageInputs, numbers: Mapping[str, Any]) -> str:
    """Return the page as HTML text."""
    v = inputs.validation
    figures = {"recall": figure_uri(recall_figure(v)), "histogram": figure_uri(histogram_figure(v))}
    if v["calibration"]["method"] is not None:
        figures["reliability"] = figure_uri(reliability_figure(v["calibration"]))
    if inputs.shortcuts is not None:
        figures["shortcuts"] = figure_uri(shortcuts_figure(inputs.shortcuts))
    if inputs.completeness is not None:
        figures["completeness"] = figure_uri(completeness_figure(inputs.completeness))
    if inputs.sky is not None:
        figures["map"] = figure_uri(completeness_map_figure(*inputs.sky))
    if inputs.store is not None and inputs.checkpoint is not None:
        drawn = _saliency(inputs)
        if drawn is not None:
            figures["saliency"] = figure_uri(drawn)
    return page_template("validation.html").render(
        n=numbers,
        v=v,
        figures=figures,
        offenders=_offenders(inputs),
        rates_shown=[row["fpr_target"] for row in v["recall"] if row["measurable"]] or [v["recall"][0]["fpr_target"]],
        document=json.dumps(numbers, allow_nan=False).replace("<", "\\u003c"),
    )


def _offenders(inputs: PageInputs) -> list[dict[str, Any]]:
    """Return the worst offender or two of each class with its picture."""
    if inputs.contaminants is None or inputs.store is None:
        return []
    worst = [(row["class"], entry) for row in inputs.contaminants["classes"] for entry in row["offenders"][:2]]
    pictures = pictures_from_store(inputs.store, [entry["source_id"] for _, entry in worst])
    return [
        {"class": name, **entry, "picture": pictures[entry["source_id"]]}
        for name, entry in worst
        if entry["source_id"] in pictures
    ]


def _saliency(inputs: PageInputs) -> Figure | None:
    from legacylens.scan.config import ScanConfig
    from legacylens.scan.scorer import Scorer

    threshold = inputs.validation["recall"][0]["threshold"]
    ranked = sorted(inputs.validation["lens_values"].items(), key=lambda item: -item[1])
    chosen = [name for name, value in ranked if value >= threshold] or [name for name, _ in ranked]
    with CutoutStore.open(inputs.store or Path()) as store:
        present = [name for name in chosen if name in store]
        if not present:
            return None
        places = np.unique(np.linspace(0, len(present) - 1, SALIENCY_OBJECTS).astype(int))
        cutouts = [store.cutout(int(row)) for row in store.index_of([present[place] for place in places])]
    logits = Scorer(inputs.checkpoint or Path(), ScanConfig(symmetries=False)).logits
    maps = [occlusion_saliency(logits, cutout.image, np.random.default_rng(1)) for cutout in cutouts]
    return saliency_figure(cutouts, maps)


def reliability_figure(calibration: Mapping[str, Any]) -> Figure:
    """Return observed over predicted fraction of lenses, with exact intervals, on logarithmic axes."""
    rows: Sequence[Mapping[str, Any]] = calibration["reliability"]
    with house_style():
        figure, axes = new_axes(7.2, 3.8)
        low = 0.5 * min(row["predicted"] for row in rows)
        axes.plot([low, 1], [low, 1], color="#808080", lw=1.0, ls=":", label="as predicted")
        for row in rows:
            bottom = max(row["observed_low"], low)
            axes.plot([row["predicted"]] * 2, [bottom, row["observed_high"]], color=LENS, lw=1.2)
            if row["observed"] > 0:
                axes.plot(row["predicted"], row["observed"], "o", ms=5, color=LENS)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(low, 1.2)
        axes.set_xlabel("predicted probability, in the sample")
        axes.set_ylabel("fraction of lenses")
        axes.grid(True)
        axes.legend(loc="best")
        return figure


def shortcuts_figure(shortcuts: Mapping[str, Any]) -> Figure:
    """Return the value of each shortcut test with its interval and limit."""
    rows = [row for row in shortcuts["tests"] if row["value"] is not None]
    with house_style():
        figure, axes = new_axes(7.2, 0.9 + 0.34 * max(len(rows), 1))
        for place, row in enumerate(rows):
            color = LENS if row["verdict"] == "fail" else NON_LENS
            axes.plot([row["low"], row["high"]], [place, place], color=color, lw=1.6)
            axes.plot(row["value"], place, "o", ms=5, color=color)
            axes.plot(row["limit"], place, "|", ms=14, mew=2, color="#808080")
        axes.set_yticks(range(len(rows)), [f"{row['test']} ({row['wrong']} fails)" for row in rows])
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xlabel("value and interval; the gray mark is the limit")
        axes.grid(True, axis="x")
        return figure
