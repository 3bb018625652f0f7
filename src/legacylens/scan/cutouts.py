"""Score cutouts that are in memory, however they came there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from legacylens.cutouts.cutout import Cutout
from legacylens.errors import FileProblem
from legacylens.models.checkpoint import Checkpoint
from legacylens.models.preprocessing import Preprocessing
from legacylens.scan.config import ScanConfig
from legacylens.scan.scorer import Scorer, score_of_logit

COLUMNS = ("source_id", "ra", "dec", "logit", "score", "origin", "notes")
"""Columns of a table of scores."""


def network_planes(cutout: Cutout, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Return the image planes that a network takes, ``(band, y, x)`` [nanomaggies], in its order.

    Bands that it does not know are left out; nothing else is changed.

    Raises
    ------
    FileProblem
        If a band is missing, or stamp or pixel size are not those of the training.
    """
    height, width = cutout.shape
    bands = tuple(band for band in preprocessing.bands if band in cutout.bands)
    preprocessing.require_input(
        cutout.origin or cutout.source_id,
        bands=bands,
        stamp=height if height == width else max(height, width),
        pixscale=cutout.pixscale,
    )
    if height != width:
        raise FileProblem(
            cutout.origin or cutout.source_id,
            f"the stamp has {height} x {width} pixels, the network takes a square of {preprocessing.stamp}",
            "Cut a square around the source.",
            reason="preprocessing-mismatch",
        )
    return np.stack([cutout.plane(band) for band in bands])


def score_cutouts(
    cutouts: Sequence[Cutout],
    checkpoint: Checkpoint | str | Path,
    config: ScanConfig | None = None,
    *,
    device: str = "auto",
) -> pd.DataFrame:
    """Score cutouts.

    Parameters
    ----------
    cutouts
        With the bands (others are ignored), stamp and pixel size that the network was trained on.
    checkpoint
        The network, or its file.
    config
        How to score; None: the defaults.
    device
        ``auto``, ``cpu`` or ``cuda``.

    Returns
    -------
    table
        One row for each cutout, in order: source_id, ra, dec [deg], logit, score in [0, 1], origin, notes.

    Raises
    ------
    FileProblem
        If the checkpoint cannot be read, or a cutout is not what the network was trained on.
    """
    scorer = Scorer(checkpoint, config or ScanConfig(), device=device)
    preprocessing = scorer.checkpoint.preprocessing
    shape = (len(preprocessing.bands), preprocessing.stamp, preprocessing.stamp)
    images = np.empty((len(cutouts), *shape), dtype=np.float32)
    for row, cutout in enumerate(cutouts):
        images[row] = network_planes(cutout, preprocessing)
    logits = scorer.logits(images)
    return pd.DataFrame(
        {
            "source_id": [cutout.source_id for cutout in cutouts],
            "ra": [cutout.ra for cutout in cutouts],
            "dec": [cutout.dec for cutout in cutouts],
            "logit": logits,
            "score": score_of_logit(logits),
            "origin": [cutout.origin for cutout in cutouts],
            "notes": ["; ".join(cutout.notes) for cutout in cutouts],
        },
        columns=list(COLUMNS),
    )
