"""How a store is scanned: a record without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from legacylens.settings import Settings


class ScanConfig(Settings):
    """One scan."""

    batch: int = Field(default=128, ge=1, le=8192)
    """Cutouts given to the network at a time."""

    block: int = Field(default=4096, ge=1, le=1_000_000)
    """Cutouts in a part: what an interruption can cost."""

    symmetries: bool = True
    """Average the logit over the eight symmetries of the square: eight times the work, measurably better ranking. A
    network that is symmetric by construction is run once."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of the convolutions. ``auto``: bfloat16 where the processor computes in it, else float32."""

    max_failed: float = Field(default=0.001, ge=0.0, le=1.0)
    """Largest share of cutouts without a finite score; with more the scan ends with an error, because a list that
    silently lacks a part of the sky is worse than none."""
