"""Figures of `legacylens compare` and `legacylens learning-curve`, drawn from their result files."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, ScalarFormatter

from legacylens.files import atomic_path
from legacylens.plots.style import house_style

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe & Ito 2008."""


def compare_figure(result: Mapping[str, Any]) -> Figure:
    """Return recalls (left) and their differences to the baseline (right), one row of panels for each rate.

    Parameters
    ----------
    result
        As from `legacylens.comparison.compare.compare`.
    """
    variants = result["variants"]
    shown_rates = _measurable(variants[0]["recall"])
    names = [variant["variant"] for variant in variants]
    places = np.arange(len(names))[::-1]
    with house_style():
        size = (9.0, 0.7 + len(shown_rates) * (0.55 + 0.26 * len(names)))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(shown_rates), 2, squeeze=False, sharey="row")
        for row, (place_of_rate, fpr) in enumerate(shown_rates):
            for column, part in enumerate((None, "difference")):
                axis = axes[row][column]
                for place, variant in zip(places, variants, strict=True):
                    point = variant["recall"][place_of_rate]
                    shown = point if part is None else point[part]
                    faded = {"alpha": 0.45 if point["note"] else 1.0, "color": COLORS[0]}
                    axis.plot([shown["low"], shown["high"]], [place, place], lw=2, **faded)
                    axis.plot(shown["value"], place, "o", ms=5, **faded)
                    if part is None:
                        axis.plot(point["seeds"], [place] * len(point["seeds"]), "|", ms=8, color="#808080")
                axis.set_yticks(places, names)
                axis.grid(axis="x")
                note = variants[0]["recall"][place_of_rate]["note"]
                if part is None:
                    axis.set_title(f"recall at FPR {fpr:g}")
                    axis.set_xlabel(textwrap.fill(note, 60), fontsize=8)
                    axis.set_xlim(0.0, 1.0)
                else:
                    axis.axvline(0.0, color="#808080", lw=1)
                    axis.set_title(f"minus that of {result['baseline']}")
    return figure


def _measurable(points: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """Return place and value of the rates that at least one false positive stands behind; the first in any case."""
    found = [(place, point["fpr"]) for place, point in enumerate(points) if point["false_positives"]]
    return found or [(0, points[0]["fpr"])]


def learning_curve_figure(result: Mapping[str, Any]) -> Figure:
    """Return recall against the number of lenses, with fits, and against the ratio, one row for each rate.

    Parameters
    ----------
    result
        As from `legacylens.comparison.curve.learning_curve`.
    """
    points = result["points"]
    shown_rates = _measurable(points[0]["recall"])
    recipes = list(dict.fromkeys(point["recipe"] for point in points))
    most, widest = max(p["positives"] for p in points), max(p["negative_ratio"] for p in points)
    with house_style():
        figure = Figure(figsize=(9.0, 0.4 + 2.9 * len(shown_rates)), layout="constrained")
        axes = figure.subplots(len(shown_rates), 2, squeeze=False, sharey="row")
        for row, (place_of_rate, fpr) in enumerate(shown_rates):
            for color, recipe in zip(COLORS, recipes, strict=False):
                own = [point for point in points if point["recipe"] == recipe]
                left = [point for point in own if point["negative_ratio"] == widest]
                right = [point for point in own if point["positives"] == most]
                for axis, part, key in ((axes[row][0], left, "positives"), (axes[row][1], right, "ratio")):
                    _draw_points(axis, part, key, place_of_rate, color, recipe)
                for fit in result["fits"]:
                    if (fit["recipe"], fit["fpr"]) == (recipe, fpr):
                        n = [line["positives"] for line in fit["curve"]]
                        axes[row][0].plot(n, [line["recall"] for line in fit["curve"]], color=color, lw=1)
                        axes[row][0].fill_between(
                            n,
                            [line["low"] for line in fit["curve"]],
                            [line["high"] for line in fit["curve"]],
                            color=color,
                            alpha=0.15,
                            lw=0,
                        )
            note = points[0]["recall"][place_of_rate]["note"]
            axes[row][0].set_title(f"recall at FPR {fpr:g}")
            axes[row][1].set_title(textwrap.fill(note, 60), fontsize=8)
            axes[row][0].axvline(most, color="#808080", lw=1, ls=":")
            axes[row][0].set_xlabel("training lenses (fit beyond the dotted line)")
            axes[row][1].set_xlabel(f"non-lenses for each of {most} lenses")
            axes[row][0].set_ylim(0.0, 1.0)
        axes[0][0].legend(loc="upper left")
    return figure


def _draw_points(axis: Any, points: list[Mapping[str, Any]], key: str, row: int, color: str, label: str) -> None:
    points = sorted(points, key=lambda point: float(point[key]))
    x = [point[key] for point in points]
    values = [point["recall"][row]["value"] for point in points]
    low = [point["recall"][row]["value"] - point["recall"][row]["low"] for point in points]
    high = [point["recall"][row]["high"] - point["recall"][row]["value"] for point in points]
    axis.errorbar(x, values, yerr=np.maximum([low, high], 0.0), fmt="o", ms=5, color=color, label=label, capsize=2)
    axis.set_xscale("log")
    ticks = sorted({*x, *(() if key == "ratio" else (500, 5000))})
    axis.xaxis.set_major_locator(FixedLocator(ticks))
    axis.xaxis.set_minor_locator(FixedLocator([]))
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.grid(axis="y")


def write_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG on white and return its path."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110, facecolor="white")
    return Path(path)
