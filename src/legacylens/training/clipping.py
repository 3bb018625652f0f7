"""How much of each class a clipping stretch flattens, by magnitude: what would hide behind a good AUC."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch

from legacylens.models.preprocessing import Preprocessing
from legacylens.models.standardize import clipped_fraction
from legacylens.photometry import magnitude
from legacylens.training.data import CLASS_NAMES, LabeledCutouts

MAG_EDGES = (0.0, 16.0, 17.0, 18.0, 19.0, 20.0, 99.0)
"""Bins of the magnitude within `APERTURE`, in the reddest band."""
APERTURE = 10.0
"""Radius of the aperture [pixels]."""
MOST = 500
"""Objects of a class that are looked at."""


def clipping_by_class(part: LabeledCutouts, preprocessing: Preprocessing) -> list[dict[str, Any]]:
    """Return the mean fraction of clipped pixels by class and magnitude.

    Returns
    -------
    rows
        ``class``, ``mag`` (the bin, in words), ``n``, and the fraction in each band. Empty for a stretch that clips
        nothing.
    """
    if preprocessing.stretch != "clip":
        return []
    offset = np.arange(preprocessing.stamp) - (preprocessing.stamp - 1) / 2.0
    inside = np.hypot(offset[:, None], offset[None, :]) <= APERTURE
    rows: list[dict[str, Any]] = []
    for label, name in CLASS_NAMES.items():
        members = np.flatnonzero(part.labels == label)
        members = members[np.linspace(0, len(members) - 1, min(len(members), MOST)).astype(int)]
        images = part.images(members)
        mag = magnitude(images[:, -1, inside].sum(axis=1))
        fraction = clipped_fraction(torch.from_numpy(images), preprocessing).numpy()
        for low, high in itertools.pairwise(MAG_EDGES):
            chosen = (mag >= low) & (mag < high)
            if chosen.any():
                means = fraction[chosen].mean(axis=0)
                rows.append(
                    {
                        "class": name,
                        "mag": f"{preprocessing.bands[-1]} {low:g}-{high:g}",
                        "n": int(chosen.sum()),
                        **{band: float(value) for band, value in zip(preprocessing.bands, means, strict=True)},
                    }
                )
    return rows
