"""Hard negatives: the non-lenses that a half-trained network takes for lenses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from legacylens.training.config import Mining

TABLE_NAME = "hard-negatives.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class HardNegatives:
    """What one round of mining found."""

    rows: NDArray[np.int64]
    """Training rows to show more often, hardest first."""
    suspicious: NDArray[np.int64]
    """Training rows that may be lenses no list names, most lens-like first."""


def mine(scores: NDArray[np.float64], labels: NDArray[np.int64], config: Mining) -> HardNegatives:
    """Choose hard non-lenses by their scores.

    Parameters
    ----------
    scores
        Of every training object.
    labels
        1 lens, 0 non-lens.
    config
        How many, and from which score on a non-lens is suspicious.
    """
    others = np.flatnonzero(labels == 0)
    order = others[np.argsort(-scores[others], kind="stable")]
    lenses = scores[labels == 1]
    # Training scores of lenses are flattering, so few non-lenses reach them; with no lens nothing is suspicious.
    limit = np.quantile(lenses, config.suspicious) if len(lenses) else np.inf
    suspicious = order[scores[order] > limit]
    wanted = max(round(config.pool * len(others)), 1)
    hard = order[scores[order] <= limit][:wanted]
    return HardNegatives(rows=hard, suspicious=suspicious)


def as_table(found: HardNegatives, names: list[str], scores: NDArray[np.float64]) -> pd.DataFrame:
    """Return ``source_id``, ``logit`` and ``use`` (``shown-more`` or ``look-at``) of what was found.

    Parameters
    ----------
    found
        The rows.
    names
        Identities of ``suspicious`` and then ``rows``.
    scores
        Of every training object.
    """
    rows = np.concatenate([found.suspicious, found.rows])
    use = ["look-at"] * len(found.suspicious) + ["shown-more"] * len(found.rows)
    return pd.DataFrame({"source_id": names, "logit": scores[rows], "use": use})
