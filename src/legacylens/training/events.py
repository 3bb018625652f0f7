"""Logs for TensorBoard beside ``log.csv``, where it is installed and wanted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from legacylens.errors import InputError

FOLDER_NAME = "events"
SHOWN = ("loss", "learning_rate", "recall", "partial")
"""Columns of the log that are drawn, against the step."""


def write_events(folder: Path, history: list[Mapping[str, float]]) -> None:
    """Write the whole history of a run again, so that an interrupted run has no gap and nothing twice.

    Raises
    ------
    InputError
        If TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            "logs for TensorBoard need it: pip install tensorboard (or leave --tensorboard out)"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    old = list(folder.iterdir())
    with SummaryWriter(str(folder)) as writer:
        for row in history:
            for name in SHOWN:
                if np.isfinite(row[name]):
                    writer.add_scalar(name, row[name], int(row["step"]), walltime=row["seconds"])
    for path in old:
        path.unlink()
