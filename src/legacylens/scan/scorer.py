"""From a checkpoint to scores; the only place where a scan runs a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from legacylens.models.checkpoint import Checkpoint, load_checkpoint
from legacylens.models.execute import Execution
from legacylens.models.registry import network_spec
from legacylens.scan.config import ScanConfig


def score_of_logit(logits: ArrayLike) -> NDArray[np.float64]:
    """Return ``1 / (1 + exp(-logit))`` without overflow.

    In double precision it still tells apart logits up to 36; rank by the logit.
    """
    logits = np.asarray(logits, dtype=np.float64)
    return np.asarray(np.exp(-np.logaddexp(0.0, -logits)))


class Scorer:
    """A network with its own preprocessing, ready to score.

    Parameters
    ----------
    checkpoint
        The checkpoint or its file.
    config
        Batch, symmetries and precision.
    device
        ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    FileProblem
        If the checkpoint cannot be read.
    """

    def __init__(self, checkpoint: Checkpoint | str | Path, config: ScanConfig, *, device: str = "auto") -> None:
        self.checkpoint = checkpoint if isinstance(checkpoint, Checkpoint) else load_checkpoint(checkpoint)
        self.config = config
        self.execution = Execution.choose(self.checkpoint.network, device=device, precision=config.precision)
        self.network = self.execution.place(self.checkpoint.build())
        self.symmetries = config.symmetries and not network_spec(self.checkpoint.network).symmetric

    @torch.inference_mode()
    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits of cutouts.

        Parameters
        ----------
        images
            ``(n, band, y, x)`` [nanomaggies], bands and stamp as in the checkpoint's preprocessing.

        Returns
        -------
        logits
            ``(n,)``; NaN where a pixel is not finite, never a made-up number.
        """
        parts = [
            self.execution.logits(
                self.network,
                torch.from_numpy(np.ascontiguousarray(images[start : start + self.config.batch])),
                self.checkpoint.preprocessing,
                symmetries=self.symmetries,
            )
            for start in range(0, len(images), self.config.batch)
        ]
        return np.asarray(torch.cat(parts).cpu().numpy()) if parts else np.empty(0, dtype=np.float32)
