"""What is measured on a split, as one frozen record."""

from __future__ import annotations

from pydantic import Field, field_validator

from legacylens.settings import Settings
from legacylens.validation.purity import PARENT_SIZE, PREVALENCE
from legacylens.validation.recall import DEFAULT_FPRS


class ValidationConfig(Settings):
    """How scores are judged."""

    fprs: tuple[float, ...] = Field(default=DEFAULT_FPRS, min_length=1)
    """False-positive rates at which the recall is measured, each in (0, 1)."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Confidence of every interval."""
    prevalence: float = Field(default=PREVALENCE, gt=0, lt=1)
    """Lenses for each object of the survey, for purity and the length of the list."""
    parent_size: int = Field(default=PARENT_SIZE, gt=0)
    """Objects that the survey would score, for the length of the list."""
    budget: int = Field(default=10_000, gt=0)
    """Objects of the survey that can be looked at; a threshold is recommended for it."""
    max_nan_fraction: float = Field(default=1e-3, ge=0, le=1)
    """Refuse a split of which more than this fraction has a score that is not a finite number."""
    max_missing_fraction: float = Field(default=0.2, ge=0, le=1)
    """Refuse a split of which more than this fraction has no score at all. (A missing band or a bailed-out brick leaves
    objects without a cutout; they are counted, and lenses among them count as missed in ``recall_of_all``.)"""
    whole_bricks: bool = False
    """Judge only objects of bricks in which training has none; the rest of the split is counted and left out. (The
    split is by sky cell, and a brick may lie in two cells.)"""
    replicas: int = Field(default=1000, ge=0, le=100_000)
    """Resampled skies for the interval that knows of sky cells; 0 for none."""
    seed: int = Field(default=1, ge=0)
    """Seed of the resampled skies."""
    curve_points: int = Field(default=200, ge=10, le=5000)
    """Most points of the ROC curve."""
    histogram_bins: int = Field(default=40, ge=5, le=500)
    """Bins of the score histogram."""

    @field_validator("fprs")
    @classmethod
    def _rates(cls, fprs: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0.0 < fpr < 1.0 for fpr in fprs) or len(set(fprs)) != len(fprs):
            raise ValueError("false-positive rates must be different numbers between 0 and 1")
        return tuple(sorted(fprs, reverse=True))
