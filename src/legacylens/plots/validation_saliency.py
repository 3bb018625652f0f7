"""Pictures of where a network looks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from legacylens.cutouts.cutout import Cutout
from legacylens.cutouts.rgb import rgb
from legacylens.errors import InputError
from legacylens.plots.style import house_style
from legacylens.validation.saliency import Saliency


def saliency_figure(cutouts: Sequence[Cutout], maps: Sequence[Saliency]) -> Figure:
    """Return each picture in color, and beside it by how much the logit falls without each patch.

    Parameters
    ----------
    cutouts
        Pictures, north up and east to the left.
    maps
        Saliency of each.
    """
    if len(cutouts) == 0 or len(cutouts) != len(maps):
        raise InputError(f"{len(cutouts)} pictures and {len(maps)} maps: one map for each of at least one picture")
    with house_style():
        figure = Figure(figsize=(5.6, 2.7 * len(cutouts)), layout="constrained")
        axes = np.atleast_2d(np.asarray(figure.subplots(len(cutouts), 2, squeeze=False)))
        for (left, right), cutout, saliency in zip(axes, cutouts, maps, strict=True):
            left.imshow(rgb(cutout.image, cutout.bands), origin="lower", interpolation="nearest")
            left.set_title(f"{cutout.source_id}\nlogit {saliency.logit:.2f}", fontsize=8)
            largest = max(float(np.abs(saliency.fall).max()), 1e-6)
            drawn = right.imshow(saliency.fall, origin="lower", cmap="PuOr_r", vmin=-largest, vmax=largest)
            right.set_title(f"fall of the logit without\n{saliency.patch} x {saliency.patch} pixels", fontsize=8)
            figure.colorbar(drawn, ax=right, shrink=0.8)
            for axis in (left, right):
                axis.set_xticks([])
                axis.set_yticks([])
        return figure
