"""Pictures of populations: mocks with and without their arcs, and distributions beside the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from legacylens.cutouts.rgb import rgb
from legacylens.errors import InputError
from legacylens.files import atomic_path
from legacylens.mocks.draw import DrawnMock
from legacylens.mocks.population_summary import REFERENCE, quantities

RANGES: Mapping[str, tuple[float, float]] = {
    "theta_E": (0.4, 4.0),
    "source_mag_r": (19.0, 28.5),
    "source_g_r": (-0.8, 1.8),
    "arc_mag_r": (16.0, 25.0),
    "magnification": (1.0, 60.0),
    "snr_r": (1.0, 3000.0),
    "beta": (0.0, 1.2),
    "source_r_e": (0.02, 2.0),
    "z_s": (0.0, 5.0),
    "host_mag_r": (16.5, 22.5),
    "host_g_r": (0.4, 2.4),
}
"""Quantities that are drawn, and their ranges."""
SHOWN = 61
"""Side of the part of a stamp that is shown [pixel]: 16 arcsec."""
SPIKE = 0.4
"""Fraction in one bin above which a set has a single value; its bar is cut off so that the others can be seen."""
LOGARITHMIC = ("magnification", "snr_r", "source_r_e")


def mock_sheet(mocks: Sequence[DrawnMock], path: str | Path) -> Path:
    """Write a PNG with a row for each mock: color and each band, without the arc and with it.

    Parameters
    ----------
    mocks
        The mocks, in reading order.
    path
        Where the PNG goes.

    Raises
    ------
    InputError
        If there is nothing to draw.
    """
    if not mocks:
        raise InputError("no mock was made, so there is nothing to draw: give more hosts, or another seed")
    bands = mocks[0].host.bands
    columns = 2 * (1 + len(bands))
    figure = Figure(figsize=(1.7 * columns + 2.6, 1.75 * len(mocks)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(mocks), columns + 1, squeeze=False, width_ratios=[1.0] * columns + [1.5])
    for line, mock in zip(axes, mocks, strict=True):
        for axis in line:
            axis.set_axis_off()
        for place, cutout in enumerate((mock.host, mock.mock)):
            line[place].imshow(_middle(rgb(cutout.image, cutout.bands)), origin="lower", interpolation="nearest")
        for number in range(len(bands)):
            sky = mock.host.image[number][mock.host.image[number] != 0]
            low, middle = np.percentile(sky, [2.0, 50.0])
            for place, cutout in enumerate((mock.host, mock.mock)):
                line[2 + 2 * number + place].imshow(
                    _middle(cutout.image[number]),
                    origin="lower",
                    cmap="gray",
                    interpolation="nearest",
                    vmin=low,
                    vmax=middle + 7.5 * (middle - low),
                )
        line[-1].text(
            0.0, 0.5, f"{mock.caption}\n{mock.source}\n{mock.host.source_id}", fontsize=7.5, va="center", ha="left"
        )
    for axis, title in zip(
        axes[0], [f"{what}{arc}" for what in ("color", *bands) for arc in ("", " + arc")], strict=False
    ):
        axis.set_title(title, fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
    return Path(path)


def _middle(picture: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the middle of a picture (y, x, ...)."""
    top, left = (max((side - SHOWN) // 2, 0) for side in picture.shape[:2])
    return picture[top : top + SHOWN, left : left + SHOWN]


def population_figure(sets: Mapping[str, pd.DataFrame], path: str | Path) -> Path:
    """Write a PNG with the distributions of each set; vertical lines are the reference's 16, 50, 84 per cent.

    Parameters
    ----------
    sets
        Name -> truth or drawn lenses, with ``host_*`` columns.
    path
        Where the PNG goes.

    Raises
    ------
    InputError
        If there is no set.
    """
    if not sets:
        raise InputError("no set of lenses was given, so there is nothing to draw")
    figure = Figure(figsize=(11.0, 11.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.asarray(figure.subplots(4, 3)).ravel()
    found = {name: quantities(table) for name, table in sets.items()}
    for axis, (name, limits) in zip(axes, RANGES.items(), strict=False):
        _histogram(axis, name, limits, {label: values[name] for label, values in found.items() if name in values})
    scatter = axes[len(RANGES)]
    for number, (label, values) in enumerate(found.items()):
        scatter.plot(values["source_mag_r"], values["magnification"], ".", ms=2, color=f"C{number}", label=label)
    scatter.set(
        xlabel=REFERENCE["source_mag_r"].label,
        ylabel="magnification",
        yscale="log",
        xlim=RANGES["source_mag_r"],
        ylim=(1.0, 100.0),
    )
    axes[0].legend(fontsize=8)
    for axis in axes[len(RANGES) + 1 :]:
        axis.set_axis_off()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    return Path(path)


def _histogram(axis: Axes, name: str, limits: tuple[float, float], values: Mapping[str, NDArray[np.float64]]) -> None:
    logarithmic = name in LOGARITHMIC
    edges = np.geomspace(*limits, 41) if logarithmic else np.linspace(*limits, 41)
    tallest = 0.0
    for number, (label, one) in enumerate(values.items()):
        heights, *_ = axis.hist(
            np.clip(one, *limits),
            bins=edges.tolist(),
            weights=np.full(len(one), 1.0 / max(len(one), 1)),
            histtype="step",
            color=f"C{number}",
            label=label,
        )
        height = float(np.max(heights))
        tallest = max(tallest, height if height < SPIKE else 0.0)
    if tallest > 0:
        axis.set_ylim(0.0, 1.1 * tallest)
    for value, style in zip(REFERENCE[name].percentiles, (":", "-", ":"), strict=True):
        if value is not None:
            axis.axvline(value, color="black", linestyle=style, linewidth=0.9)
    if logarithmic:
        axis.set_xscale("log")
    axis.set(xlabel=REFERENCE[name].label, ylabel="fraction", xlim=limits)
