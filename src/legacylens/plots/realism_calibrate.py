"""The page of a calibration: where the parameters went, and whether the population could have made the lenses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from legacylens.plots.realism import Section, write_page
from legacylens.plots.style import LENS, NON_LENS, figure_uri, house_style
from legacylens.realism.calibrate import Calibration

COLUMNS = 3
SHOWN_FEATURES = 40


def posterior_figure(result: Calibration, truth: dict[str, float] | None = None) -> Figure:
    """Return the posterior of every parameter with its start, and the truth where it is known.

    Parameters
    ----------
    result
        The calibration.
    truth
        Parameter -> true value.
    """
    rows = -(-len(result.estimates) // COLUMNS)
    with house_style():
        figure = Figure(figsize=(8.0, 1.7 * rows), layout="constrained")
        axes = np.atleast_1d(figure.subplots(rows, COLUMNS)).ravel()
        for axis, estimate in zip(axes, result.estimates, strict=False):
            axis.hist(result.draws[estimate.name], bins=30, density=True, color=LENS, alpha=0.8)
            axis.axvline(estimate.start, color=NON_LENS, linestyle="--", linewidth=1.2)
            if truth is not None and estimate.name in truth:
                axis.axvline(truth[estimate.name], color="black", linewidth=1.2)
            axis.set_yticks([])
            unit = f" [{estimate.unit}]" if estimate.unit else ""
            axis.set_xlabel(estimate.name + unit, fontsize=8)
        for axis in axes[len(result.estimates) :]:
            axis.set_axis_off()
    return figure


def check_figure(result: Calibration) -> Figure:
    """Return by how much the lenses differ from sets of the posterior, in the numbers in which they differ most."""
    largest = sorted(result.check.sigmas.items(), key=lambda item: -abs(item[1]))[:SHOWN_FEATURES]
    with house_style():
        figure = Figure(figsize=(7.0, 0.19 * len(largest) + 0.8), layout="constrained")
        axis = figure.subplots()
        for row, (name, sigma) in enumerate(largest):
            color = NON_LENS if name in result.check.held_out else LENS
            axis.plot([0.0, np.clip(sigma, -12.0, 12.0)], [row, row], color=color)
            axis.plot([np.clip(sigma, -12.0, 12.0)], [row], "o", color=color, markersize=4)
        axis.axvspan(-2.0, 2.0, color="gray", alpha=0.15, linewidth=0)
        axis.set_yticks(range(len(largest)), [name for name, _ in largest], fontsize=7)
        axis.invert_yaxis()
        axis.set_xlabel("observed minus expected, over the scatter of sets (blue: nothing was learned from it)")
    return figure


def write_calibration_page(path: Path, result: Calibration, truth: dict[str, float] | None = None) -> Path:
    """Write the page of ``realism calibrate``.

    Parameters
    ----------
    path
        The HTML file.
    result
        The calibration.
    truth
        Parameter -> true value, where it is known.
    """
    check = result.check
    lead = (
        f"Verdict: {result.verdict}, from {result.observed} lenses. Sets of the posterior are as far from their mean "
        f"as the lenses with p = {check.p_learned:.2g} in what was learned from and {check.p_held_out:.2g} in the rest."
    )
    rows = [(e.name, e.start, e.median, e.low, e.high, e.unit, e.at_the_edge) for e in result.estimates]
    misfits = [(m.name, m.learned_from, m.observed, m.expected, m.sigma, m.p) for m in check.misfits]
    worked = [(k + 1, r.mocks, r.refused, r.effective, r.learned_from) for k, r in enumerate(result.rounds)]
    sections = [
        Section(
            heading="Parameters",
            paragraphs=("Dashed: the start.", *result.notes),
            header=("parameter", "start", "median", "16 %", "84 %", "unit", "at the edge of its range"),
            rows=rows,
            figures=[figure_uri(posterior_figure(result, truth))],
        ),
        Section(
            heading="Could this population have made the lenses?",
            paragraphs=() if misfits else ("Nothing was found that the population does not reproduce.",),
            header=("statistic", "learned from", "observed", "expected", "sigma", "p") if misfits else (),
            rows=misfits,
            figures=[figure_uri(check_figure(result))],
        ),
        Section(
            heading="What was done",
            paragraphs=(f"Weighted to the posterior, {len(result.weights)} mocks are worth {result.effective:.0f}.",),
            header=("round", "mocks", "not measured", "worth at the median", "sets learned from"),
            rows=worked,
        ),
    ]
    return write_page(path, "Calibration", lead, sections, result.as_dict())
