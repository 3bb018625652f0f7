"""Figures of completeness: curves with intervals, the map of the sky."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from legacylens.plots.style import BAND, LENS, house_style
from legacylens.survey.cells import cell_center


def completeness_figure(result: Mapping[str, Any]) -> Figure:
    """Return completeness over each quantity, with exact intervals; cells with too few injections are left out.

    Parameters
    ----------
    result
        As from `legacylens.validation.completeness_run.measure_completeness`.
    """
    marginals = result["tables"]["marginals"]
    confidence = result["configuration"]["confidence"]
    with house_style():
        figure = Figure(figsize=(7.2, 1.9 * ((len(marginals) + 1) // 2)), layout="constrained")
        axes = np.atleast_1d(np.asarray(figure.subplots((len(marginals) + 1) // 2, 2, sharey=True))).ravel()
        for axis in axes[len(marginals) :]:
            axis.set_axis_off()
        for axis, (name, rows) in zip(axes, marginals.items(), strict=False):
            shown = [
                row
                for row in rows
                if row["completeness"] is not None and row["low"] is not None and row["high"] is not None
            ]
            for row in shown:
                middle = 0.5 * (row["low"] + row["high"])
                axis.fill_between(
                    [row["low"], row["high"]], row["completeness_low"], row["completeness_high"], color=BAND, alpha=0.3,
                    lw=0,
                )  # fmt: skip
                axis.plot([row["low"], row["high"]], [row["completeness"]] * 2, color=LENS, lw=1.6)
                axis.plot(middle, row["completeness"], "o", ms=3, color=LENS)
            if name in ("snr", "source_r_e"):
                axis.set_xscale("log")
            unit = result["units"][name]
            axis.set_xlabel(result["words"][name] + (f" [{unit}]" if unit else ""), fontsize=9)
            axis.set_ylim(0, 1)
            axis.yaxis.set_major_formatter(PercentFormatter(1.0))
            axis.grid(True)
        axes[0].set_title(f"completeness, {100 * confidence:g} % intervals")
        return figure


def completeness_map_figure(table: pd.DataFrame, nside: int) -> Figure:
    """Return the map of completeness: the whole sky, or a field of less than 40 degrees.

    Parameters
    ----------
    table
        Columns ``pixel`` (nested), ``completeness``.
    nside
        Resolution.
    """
    ra, dec = cell_center(table["pixel"].to_numpy(np.int64), nside)
    value = table["completeness"].to_numpy(np.float64)
    center = float(np.degrees(np.angle(np.exp(1j * np.radians(ra)).mean()))) % 360.0
    east = (ra - center + 180.0) % 360.0 - 180.0
    wide = float(np.ptp(east)) > 40.0 or float(np.ptp(dec)) > 40.0
    low, high = float(value.min()), float(value.max())
    high = max(high, low + 1e-3)
    with house_style():
        figure = Figure(figsize=(7.2, 3.9), layout="constrained")
        if wide:
            axes = figure.add_subplot(projection="mollweide")
            x = -np.radians((ra - 120.0 + 180.0) % 360.0 - 180.0)
            size = float(np.clip(8000.0 / len(table), 0.6, 30.0))
            points = axes.scatter(x, np.radians(dec), c=value, s=size, lw=0, cmap="cividis", vmin=low, vmax=high)
            ticks = np.arange(-150, 151, 60)
            axes.set_xticks(np.radians(ticks), [f"{(120 - tick) % 360}°" for tick in ticks], fontsize=8)
        else:
            axes = figure.add_subplot()
            points = axes.scatter(ra, dec, c=value, s=60, marker="s", lw=0, cmap="cividis", vmin=low, vmax=high)
            axes.invert_xaxis()
            axes.set_xlabel("right ascension [deg]")
            axes.set_ylabel("declination [deg]")
        axes.grid(True)
        figure.colorbar(points, ax=axes, label="completeness", format=PercentFormatter(1.0), shrink=0.8)
        return figure
