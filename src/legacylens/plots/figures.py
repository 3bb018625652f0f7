"""The report's figures: each takes results and returns a `Figure`; nothing is measured here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from astropy import units
from astropy_healpix import HEALPix
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from legacylens.plots.style import LENS, NON_LENS, SPLIT_COLORS, house_style, new_axes
from legacylens.survey.cells import cell_center


def recall_figure(result: Mapping[str, Any]) -> Figure:
    """Return recall over false-positive rate on a logarithmic axis.

    Parameters
    ----------
    result
        As from `legacylens.validation.report.validate`.

    Notes
    -----
    The band is the pointwise Clopper-Pearson interval of the recall. The points are those of the table, with intervals
    of both rates; open ones, and everything in the shaded part, have fewer than 20 false positives behind them.
    """
    roc, rows = result["roc"], result["recall"]
    confidence = result["configuration"]["confidence"]
    with house_style():
        figure, axes = new_axes(7.2, 4.2)
        fpr = np.asarray(roc["fpr"])
        left = min(0.5 * float(fpr.min()), 0.5 * min(row["fpr_target"] for row in rows))
        axes.axvspan(left, roc["fpr_measurable"], color="#808080", alpha=0.13, lw=0)
        axes.fill_between(
            fpr,
            roc["recall_low"],
            roc["recall_high"],
            step="post",
            color=LENS,
            alpha=0.22,
            lw=0,
            label=f"{100 * confidence:g} % interval",
        )
        axes.step(fpr, roc["recall"], where="post", color=LENS, lw=1.8, label="recall")
        chance = np.geomspace(left, 1.0, 100)
        axes.plot(chance, chance, color="#808080", lw=1.0, ls=":", label="chance")
        for row in rows:
            if row["fpr"] <= 0:
                continue  # a rate of zero has no place on a logarithmic axis; the table has the row
            axes.errorbar(
                row["fpr"],
                row["recall"],
                xerr=[[row["fpr"] - max(row["fpr_low"], left)], [row["fpr_high"] - row["fpr"]]],
                yerr=[[row["recall"] - row["recall_low"]], [row["recall_high"] - row["recall"]]],
                fmt="o",
                ms=5,
                mfc=LENS if row["measurable"] else "none",
                color=LENS,
                elinewidth=1.0,
                capsize=2,
            )
        axes.text(
            left * 1.15,
            0.015,
            "fewer than 20 false positives",
            fontsize=8,
            va="bottom",
            ha="left",
            rotation=90 if roc["fpr_measurable"] < 20 * left else 0,
        )
        axes.set_xscale("log")
        axes.set_xlim(left, 1.0)
        axes.set_ylim(0.0, 1.02)
        axes.set_xlabel("false-positive rate")
        axes.set_ylabel("recall of known lenses")
        axes.set_title(f"{result['split']} split: {roc['n_lenses']:,} lenses, {roc['n_non_lenses']:,} non-lenses")
        axes.grid(True)
        axes.legend(loc="best")
        return figure


def histogram_figure(result: Mapping[str, Any]) -> Figure:
    """Return the distribution of scores of both classes, as fractions on a logarithmic axis, with the thresholds."""
    histogram = result["histogram"]
    edges = np.asarray(histogram["edges"])
    with house_style():
        figure, axes = new_axes(7.2, 3.2)
        smallest = 1.0
        for name, words, color in (("non_lenses", "non-lenses", NON_LENS), ("lenses", "lenses", LENS)):
            counts = np.asarray(histogram[name], dtype=np.float64)
            total = max(counts.sum(), 1.0)
            smallest = min(smallest, 1.0 / total)
            axes.stairs(
                counts / total, edges, fill=True, color=color, alpha=0.35, lw=0, label=f"{int(total):,} {words}"
            )
            axes.stairs(counts / total, edges, color=color, lw=1.2)
        axes.set_yscale("log")
        axes.set_ylim(0.6 * smallest, 1.4)
        # Where few non-lenses stand behind them, several rates share a threshold; its line names the highest.
        for threshold, row in {row["threshold"]: row for row in reversed(result["recall"])}.items():
            if edges[0] < threshold < edges[-1]:
                axes.axvline(threshold, color="#808080", lw=0.9, ls="--" if row["measurable"] else ":")
                axes.text(
                    threshold,
                    1.0,
                    f"{row['fpr_target']:g}",
                    fontsize=8,
                    va="bottom",
                    ha="center",
                    transform=axes.get_xaxis_transform(),
                )
        axes.set_xlabel(f"{result['ranked_by']}   (lines: thresholds at these false-positive rates)")
        axes.set_ylabel("fraction of the class")
        axes.legend(loc="best")
        return figure


def sky_figure(sample: pd.DataFrame, nside: int) -> Figure:
    """Return a map of the cells and their splits.

    Parameters
    ----------
    sample
        Columns ``ra``, ``dec`` [deg], ``cell``, ``split``, ``label``.
    nside
        Resolution of the cells.

    Notes
    -----
    A field of less than 40 degrees is drawn cell by cell with its lenses; more of the sky as a Mollweide map of cell
    centers. A cell is drawn in the color of its split; objects near a border are in the guard, so a cell of which all
    objects are guarded is gray.
    """
    cells = sample.groupby("cell")["split"].agg(_split_of_cell)
    number = cells.index.to_numpy(np.int64)
    ra, dec = cell_center(number, nside)
    center = float(np.degrees(np.angle(np.exp(1j * np.radians(ra)).mean())))
    east = (ra - center + 180.0) % 360.0 - 180.0
    wide = float(np.ptp(east)) > 40.0 or float(np.ptp(dec)) > 40.0
    with house_style():
        if wide:
            return _whole_sky(cells, ra, dec)
        return _field(sample, cells, nside, center)


def _split_of_cell(splits: pd.Series) -> str:
    inside = splits[splits != "guard"]
    return str(inside.iloc[0]) if len(inside) else "guard"


def _whole_sky(cells: pd.Series, ra: np.ndarray, dec: np.ndarray) -> Figure:
    figure = Figure(figsize=(7.2, 3.9), layout="constrained")
    axes = figure.add_subplot(projection="mollweide")
    # East to the left, with RA = 120 in the middle, so that the survey's two parts are not cut.
    x = -np.radians((ra - 120.0 + 180.0) % 360.0 - 180.0)
    size = float(np.clip(4000.0 / len(cells), 1.5, 30.0))
    for split, color in SPLIT_COLORS.items():
        of_split = (cells == split).to_numpy()
        if of_split.any():
            axes.scatter(
                x[of_split], np.radians(dec[of_split]), s=size, color=color, lw=0, label=f"{split} ({of_split.sum():,})"
            )
    axes.grid(True)
    ticks = np.arange(-150, 151, 60)
    axes.set_xticks(np.radians(ticks), [f"{(120 - tick) % 360}°" for tick in ticks], fontsize=8)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=4, fontsize=9, title="cells", markerscale=1.5)
    return figure


def _field(sample: pd.DataFrame, cells: pd.Series, nside: int, center: float) -> Figure:
    number = cells.index.to_numpy(np.int64)
    healpix = HEALPix(nside=nside, order="nested")
    lon, lat = healpix.boundaries_lonlat(number, step=8)
    east = (lon.to_value(units.deg) - center + 180.0) % 360.0 - 180.0
    corners = np.stack([east, lat.to_value(units.deg)], axis=-1)
    figure, axes = new_axes(7.2, 5.0)
    for split, color in SPLIT_COLORS.items():
        of_split = (cells == split).to_numpy()
        if of_split.any():
            polygons = PolyCollection(
                list(corners[of_split]), facecolor=color, alpha=0.35, edgecolor=color, lw=0.8,
                label=f"{split} ({of_split.sum():,} cells)",
            )  # fmt: skip
            axes.add_collection(polygons)
    lenses = sample[sample["label"] == 1]
    axes.scatter(
        (lenses["ra"] - center + 180.0) % 360.0 - 180.0,
        lenses["dec"],
        s=9,
        marker="x",
        lw=0.9,
        color=LENS,
        label=f"lenses ({len(lenses):,})",
    )
    axes.autoscale_view()
    axes.set_aspect(1.0 / max(float(np.cos(np.radians(corners[..., 1].mean()))), 0.05))
    axes.invert_xaxis()
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{(x + center) % 360.0:.2f}"))
    axes.set_xlabel("right ascension [deg]")
    axes.set_ylabel("declination [deg]")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=9)
    return figure


def waterfall_figure(steps: Sequence[tuple[str, int]]) -> Figure:
    """Return how many objects are left after each step, first step on top, on a logarithmic axis.

    Parameters
    ----------
    steps
        Name of the step and number of objects left after it.
    """
    names = [name for name, _ in steps]
    counts = np.array([count for _, count in steps], dtype=np.float64)
    with house_style():
        figure, axes = new_axes(7.2, 0.55 + 0.36 * len(steps))
        place = np.arange(len(steps))
        axes.barh(place, np.maximum(counts, 0.5), left=0.5, height=0.68, color=NON_LENS, alpha=0.75)
        for y, count in zip(place, counts, strict=True):
            _label_bar(axes, float(max(count, 0.5)), float(y), f"{int(count):,}")
        axes.set_xscale("log")
        axes.set_xlim(0.5, max(float(counts.max()), 1.0) * 8)
        axes.set_yticks(place, names)
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("objects left")
        axes.grid(True, axis="x")
        return figure


def _label_bar(axes: Axes, end: float, y: float, text: str) -> None:
    axes.annotate(text, (end, y), xytext=(5, 0), textcoords="offset points", va="center", fontsize=9)
