"""Pages of the realism instrument: what was measured, what an audit found, what the gate said. One file each."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import NDArray

from legacylens.cutouts.rgb import rgb
from legacylens.files import to_json, write_text
from legacylens.plots.style import LENS, NON_LENS, data_uri, figure_uri, house_style
from legacylens.provenance import code_hash, versions
from legacylens.realism.columns import UNITS
from legacylens.realism.inputs import MeasuredSet
from legacylens.realism.run import MeasuredRun
from legacylens.survey.bands import BANDS

SHOWN = (
    "arc_score",
    "lens_snr",
    "arc_mag_r",
    "arc_g_r",
    "arc_radius",
    "azimuthal_extent",
    "arc_width",
    "arc_roughness",
    "host_mag_r",
)
"""Columns that are drawn as distributions."""
GALLERY = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a page."""

    heading: str
    """Its title."""
    paragraphs: Sequence[str] = ()
    """Text."""
    header: Sequence[str] = ()
    """Names of the table's columns."""
    rows: Sequence[Sequence[object]] = ()
    """The table."""
    figures: Sequence[str] = ()
    """Figures as ``data:`` URIs."""
    pictures: Sequence[Mapping[str, str]] = ()
    """Color pictures: ``uri`` and ``caption``."""


def _cell(value: object) -> dict[str, object]:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return {"text": "", "number": False}
    if isinstance(value, bool):
        return {"text": "yes" if value else "no", "number": False}
    if isinstance(value, int | float):
        return {"text": f"{value:,}" if isinstance(value, int) else f"{value:.4g}", "number": True}
    return {"text": str(value), "number": False}


def write_page(path: Path, title: str, lead: str, sections: Sequence[Section], numbers: Mapping[str, Any]) -> Path:
    """Write a page that needs nothing but itself.

    Parameters
    ----------
    path
        The HTML file.
    title, lead
        What it is, and its answer in a sentence.
    sections
        Its parts.
    numbers
        Everything that it says, as JSON within the page.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("legacylens.plots"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    text = environment.get_template("realism.html").render(
        title=title,
        lead=lead,
        sections=[
            {
                "heading": s.heading,
                "paragraphs": s.paragraphs,
                "header": s.header,
                "rows": [[_cell(value) for value in row] for row in s.rows],
                "figures": s.figures,
                "pictures": s.pictures,
            }
            for s in sections
        ],
        footer=f"legacylens {versions()['legacylens']}, code {code_hash()[:12]}",
        numbers=to_json(dict(numbers)).replace("</", "<\\/"),
    )
    write_text(path, text)
    return path


def distribution_figure(tables: Mapping[str, pd.DataFrame], columns: Sequence[str] = SHOWN) -> Figure:
    """Return the distributions of some columns in one or two measured sets, each of area 1."""
    with house_style():
        n_rows = math.ceil(len(columns) / 3)
        figure = Figure(figsize=(9.0, 2.2 * n_rows), layout="constrained")
        axes = np.atleast_1d(np.asarray(figure.subplots(n_rows, 3, squeeze=False))).ravel()
        for axis, name in zip(axes, columns, strict=False):
            values = {label: table[name].to_numpy(np.float64) for label, table in tables.items() if name in table}
            values = {label: v[np.isfinite(v)] for label, v in values.items()}
            together = np.concatenate([*values.values(), np.zeros(0)])
            unit = UNITS.get(name, "")
            axis.set_xlabel(f"{name} [{unit}]" if unit else name)
            axis.set_yticks([])
            if len(together) < 2:
                continue
            low, high = np.percentile(together, [1.0, 99.0])
            edges = np.linspace(low, high if high > low else low + 1.0, 25)
            for (label, v), color in zip(values.items(), (LENS, NON_LENS, "#009E73"), strict=False):
                if len(v):
                    weights = np.full(len(v), 1.0 / len(v))
                    axis.hist(
                        np.clip(v, low, edges[-1]), edges, weights=weights, histtype="step", color=color, label=label
                    )
        for axis in axes[len(columns) :]:
            axis.set_axis_off()
        if len(tables) > 1:
            axes[0].legend(fontsize=8)
    return figure


def pictures_of(images: NDArray[np.float32], captions: Sequence[str]) -> list[dict[str, str]]:
    """Return color pictures of cutouts as ``data:`` URIs, north up."""
    result = []
    for image, caption in zip(images, captions, strict=True):
        buffer = io.BytesIO()
        imsave(buffer, np.ascontiguousarray(rgb(image, BANDS)[::-1]), format="png")
        result.append({"uri": data_uri(buffer.getvalue(), "image/png"), "caption": caption})
    return result


def gallery_of(measured: MeasuredSet) -> list[dict[str, str]]:
    """Return pictures of the first objects of a set with their scores."""
    rows = measured.table.iloc[: min(GALLERY, len(measured.images))]
    captions = [
        f"{row.source_id}: {row.code}"
        if row.code != "ok"
        else f"{row.source_id}: score {row.arc_score:.1f}, S/N {row.lens_snr:.0f}"
        for row in rows.itertuples()
    ]
    return pictures_of(measured.images[: len(captions)], captions)


def write_measure_page(path: Path, run: MeasuredRun) -> Path:
    """Write the page of ``realism measure``."""
    summary = run.summary()
    tables = {"cutouts": run.measured.measured}
    if run.controls is not None:
        tables["controls"] = run.controls.measured
    rows = [
        (name, UNITS.get(name, ""), value["low"], value["median"], value["high"])
        for name, value in summary["statistics"].items()
    ]
    sections = [
        Section(
            heading="What was measured",
            paragraphs=summary["notes"],
            header=("statistic", "unit", "16 %", "median", "84 %"),
            rows=rows,
        ),
        Section(heading="Distributions", figures=[figure_uri(distribution_figure(tables))] if rows else []),
        Section(heading="The first of them", pictures=gallery_of(run.measured)),
    ]
    lead = f"{summary['measured']} of {summary['objects']} objects measured."
    return write_page(path, f"Arcs of {summary['set']}", lead, sections, summary)
