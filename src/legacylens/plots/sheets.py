"""Contact sheets: many cutouts on one page, with a line or two below each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from legacylens.cutouts.cutout import Cutout
from legacylens.cutouts.rgb import rgb
from legacylens.errors import InputError
from legacylens.files import atomic_path


def contact_sheet(
    cutouts: Sequence[Cutout],
    captions: Sequence[str],
    path: str | Path,
    *,
    columns: int = 6,
    by_band: bool = False,
) -> Path:
    """Write a PNG with the color picture of each cutout, north up and east to the left.

    Parameters
    ----------
    cutouts
        The cutouts, in reading order.
    captions
        A caption for each; line breaks are kept.
    path
        Where the PNG goes.
    columns
        Pictures in a row; with ``by_band`` each cutout has a row of its own.
    by_band
        Show each band in gray, on one scale of its own noise, beside the color picture.

    Returns
    -------
    path
        The file that was written.

    Raises
    ------
    InputError
        If there is nothing to draw, or not one caption for each cutout.
    """
    if len(cutouts) == 0 or len(cutouts) != len(captions):
        raise InputError(f"{len(cutouts)} cutouts and {len(captions)} captions: one caption for each of at least one")
    panels_each = 1 + (max(len(cutout.bands) for cutout in cutouts) if by_band else 0)
    columns = panels_each if by_band else min(columns, len(cutouts))
    rows = math.ceil(len(cutouts) * panels_each / columns)
    figure = Figure(figsize=(2.1 * columns, 2.5 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(np.asarray(figure.subplots(rows, columns, squeeze=False))).ravel()
    for axis in axes:
        axis.set_axis_off()
    place = 0
    for cutout, caption in zip(cutouts, captions, strict=True):
        axes[place].imshow(rgb(cutout.image, cutout.bands), origin="lower", interpolation="nearest")
        axes[place].set_title(caption, fontsize=7, y=-0.05, va="top")
        for number, band in enumerate(cutout.bands if by_band else ()):
            axis = axes[place + 1 + number]
            plane = cutout.image[number]
            low, middle = np.percentile(plane, [2.0, 50.0])
            # From 2 sigma below the sky to 15 above it, where arcs are.
            axis.imshow(plane, origin="lower", cmap="gray", vmin=low, vmax=middle + 7.5 * (middle - low))
            axis.set_title(band, fontsize=7, y=-0.05, va="top")
        place += panels_each
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    return Path(path)
