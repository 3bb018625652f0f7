"""One HTML page that a committee can read, with every number behind it as JSON.

The page needs nothing but itself: pictures are ``data:`` URIs, styles are in its head, and no script runs. The numbers
stand a second time in a ``<script type="application/json">`` block, and again in ``report.json`` beside the page.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from legacylens.files import write_json, write_text
from legacylens.plots.figures import histogram_figure, recall_figure, sky_figure, waterfall_figure
from legacylens.plots.gallery import pictures_from_store
from legacylens.plots.lights import counts_light, sample_light, trust_light
from legacylens.plots.style import figure_uri
from legacylens.provenance import code_hash, git_commit, versions

REPORT_NAME = "report.html"
NUMBERS_NAME = "report.json"
GALLERY_SIZE = 50
"""Candidates shown with a picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the road, with what it left out."""

    name: str
    """What was done, e.g. ``cutouts``."""
    left: int
    """Objects left after it."""
    removed: tuple[tuple[str, int], ...] = ()
    """Reason -> objects left out for it, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportInputs:
    """Everything that the report shows. Only tables and numbers: pictures are taken from the store."""

    title: str
    """Title of the search."""
    release: str
    """Folder or URL of the release that was searched."""
    is_mock: bool
    """Whether the sky is simulated; then the page says so on top, and nothing links to the survey's viewer."""
    about_data: str = ""
    """Sentences about where the data came from."""
    steps: tuple[Step, ...]
    """The road from catalog rows to cutouts, in order; sample and candidates are added from their own counts."""
    candidates: pd.DataFrame
    """The list, as from `legacylens.candidates.build.build_candidates`."""
    candidate_counts: Mapping[str, int]
    """Its counts."""
    validation: Mapping[str, Any] | None
    """Result of `legacylens.validation.report.validate` (on the sealed split), None if nothing could be judged."""
    sample: pd.DataFrame
    """The sample, as from `legacylens.samples.build.build_sample`."""
    sample_summary: Mapping[str, Any]
    """Its summary."""
    gates: Mapping[str, Any] | None = None
    """Result of `legacylens.validation.leakage.run_gates` on the training split, None if they were not run."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Numbers of the training worth a row each: network, parameters, epochs, minutes..."""
    configuration: Mapping[str, Any] = field(default_factory=dict)
    """The resolved configuration."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """Hashes of inputs and products, by name."""
    store: Path | None = None
    """Cutout store for the pictures, None for a page without pictures."""
    pages: tuple[tuple[str, str], ...] = ()
    """Title and relative path of further pages, which the head of this one links to."""
    viewer_layer: str = "ls-dr10"
    """Layer of the survey's viewer that candidates link to."""


def write_report(path: str | Path, inputs: ReportInputs) -> dict[str, Any]:
    """Write the page and ``report.json`` beside it.

    Parameters
    ----------
    path
        The HTML file, or a folder for ``report.html``.
    inputs
        What it shows.

    Returns
    -------
    numbers
        The content of ``report.json``.
    """
    path = Path(path)
    if path.suffix != ".html":
        path = path / REPORT_NAME
    numbers = report_numbers(inputs)
    write_json(path.with_name(NUMBERS_NAME), numbers)
    write_text(path, report_page(inputs, numbers))
    return numbers


def report_numbers(inputs: ReportInputs) -> dict[str, Any]:
    """Return every number of the report as one JSON-compatible dictionary."""
    shown = inputs.candidates.head(GALLERY_SIZE)
    steps = _all_steps(inputs)
    numbers = {
        "title": inputs.title,
        "release": inputs.release,
        "is_mock": inputs.is_mock,
        "about_data": inputs.about_data,
        "steps": [{"name": step.name, "left": step.left, "removed": dict(step.removed)} for step in steps],
        "sample": {key: value for key, value in inputs.sample_summary.items() if key != "configuration"},
        "candidates": {
            "counts": dict(inputs.candidate_counts),
            "shown": [dict(zip(shown.columns, row, strict=True)) for row in shown.itertuples(index=False)],
        },
        "validation": dict(inputs.validation) if inputs.validation is not None else None,
        "gates": dict(inputs.gates) if inputs.gates is not None else None,
        "lights": _lights(inputs),
        "training": dict(inputs.training),
        "configuration": dict(inputs.configuration),
        "versions": versions(),
        "code_hash": code_hash(),
        "git_commit": git_commit(),
        "hashes": dict(inputs.hashes),
        "not_shown": _not_shown(inputs),
    }
    return dict(_json_ready(numbers))


def _lights(inputs: ReportInputs) -> dict[str, dict[str, str]]:
    """Return the light of each section that has one."""
    lights = {"trust": trust_light(inputs.validation), "sample": sample_light(inputs.gates)}
    if "scored" in inputs.candidate_counts:
        counts = inputs.candidate_counts
        scored = counts["scored"] - counts["not_finite"] - counts["not_in_parent"]
        lights["counts"] = counts_light(len(inputs.sample), scored)
    return {name: asdict(light) for name, light in lights.items()}


def _json_ready(value: Any) -> Any:
    """Return a value without NaN or infinity (JSON has neither; None says "no number") and without NumPy types."""
    if isinstance(value, Mapping):
        return {str(key): _json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_json_ready(item) for item in value]
    if isinstance(value, np.generic):
        return _json_ready(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value


def _all_steps(inputs: ReportInputs) -> list[Step]:
    counts = inputs.candidate_counts
    steps = list(inputs.steps)
    if "scored" in counts:
        unusable = (("score is not finite", counts["not_finite"]), ("not in the parent table", counts["not_in_parent"]))
        left = counts["scored"] - counts["not_finite"] - counts["not_in_parent"]
        steps.append(Step(name="scored", left=left, removed=unusable))
        steps.append(
            Step(name="selected", left=counts["selected"], removed=(("below the last candidate", counts["below"]),))
        )
        merged = (("same system as a better one", counts["merged"]),)
        steps.append(Step(name="candidates", left=counts["candidates"], removed=merged))
    return steps


def _not_shown(inputs: ReportInputs) -> list[str]:
    """Return what a reader must not take from the page."""
    sentences = []
    if inputs.is_mock:
        sentences.append(
            "This sky is simulated. The page shows that the road from catalog to candidates works, not how many "
            "lenses the real sky would give: real galaxies, artifacts and lenses are more varied than ours."
        )
    sentences.append(
        "A candidate is a picture that a network ranks high, not a lens. Nobody has looked at it yet, and the score is "
        "not a probability."
    )
    if inputs.validation is None:
        sentences.append("Nothing on this page says how many lenses were missed: no split could be judged.")
    else:
        sentences += list(inputs.validation["not_shown"])
    n_trained = int(inputs.candidates["in_training"].sum()) if len(inputs.candidates) else 0
    if n_trained:
        sentences.append(
            f"{n_trained} of the {len(inputs.candidates)} candidates contain an object that the network was trained "
            "on; its score there says nothing about new sky, and they are marked."
        )
    return sentences


def report_page(inputs: ReportInputs, numbers: Mapping[str, Any]) -> str:
    """Return the page as HTML text."""
    figures: dict[str, str] = {}
    if inputs.validation is not None:
        figures["recall"] = figure_uri(recall_figure(inputs.validation))
        figures["histogram"] = figure_uri(histogram_figure(inputs.validation))
    figures["waterfall"] = figure_uri(waterfall_figure(_falls(_all_steps(inputs))))
    if len(inputs.sample):
        figures["sky"] = figure_uri(sky_figure(inputs.sample, int(inputs.sample_summary["configuration"]["nside"])))
    shown = inputs.candidates.head(GALLERY_SIZE)
    pictures: Mapping[str, str] = {}
    if inputs.store is not None and len(shown):
        pictures = pictures_from_store(inputs.store, shown["source_id"].tolist())
    return page_template("report.html").render(
        n=numbers,
        cards=_cards(inputs, numbers["candidates"]["shown"], pictures),
        figures=figures,
        pages=inputs.pages,
        configuration_rows=list(_flat(numbers["configuration"])),
        # "</" and "<!--" mean something to a browser within a script, whatever its type.
        document=json.dumps(numbers, allow_nan=False).replace("<", "\\u003c"),
    )


def _falls(steps: Sequence[Step]) -> list[tuple[str, int]]:
    """Return the first step, the last, and every one between that left something out."""
    return [
        (step.name, step.left)
        for place, step in enumerate(steps)
        if place in (0, len(steps) - 1) or step.left != steps[place - 1].left
    ]


def _cards(
    inputs: ReportInputs, shown: Sequence[Mapping[str, Any]], pictures: Mapping[str, str]
) -> list[dict[str, Any]]:
    cards = []
    for row in shown:
        link = (
            None
            if inputs.is_mock
            else f"https://www.legacysurvey.org/viewer?ra={row['ra']:.6f}&dec={row['dec']:.6f}"
            f"&layer={inputs.viewer_layer}&zoom=16"
        )
        cards.append({"row": row, "picture": pictures.get(row["source_id"]), "link": link})
    return cards


def _flat(values: Mapping[str, Any], path: str = "") -> list[tuple[str, str]]:
    """Return (dotted key, value) of a nested configuration."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{path}{key}.")
        else:
            rows.append((f"{path}{key}", json.dumps(value)))
    return rows


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _fixed(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _rate(value: float | None) -> str:
    """Return a rate as text: 0.01 as it is, 0.0001 as 1e-4, 12345 as 12,345."""
    if value is None:
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if 0 < abs(value) < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return f"{value:.3g}"


def _words(name: str) -> str:
    return name.replace("_", " ")


_FILTERS = {"count": _count, "fixed": _fixed, "rate": _rate, "words": _words}
"""How numbers are written on pages."""


def page_template(name: str) -> jinja2.Template:
    """Return the template of a page; a value that it lacks is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("legacylens.plots"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= _FILTERS
    return environment.get_template(name)
