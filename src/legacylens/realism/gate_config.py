"""The margins of the gate, set before anything was looked at, and how large sets have to be."""

from __future__ import annotations

from pydantic import Field

from legacylens.settings import Settings


class GateConfig(Settings):
    """Settings of `legacylens.realism.gate`. A test passes if the whole interval is inside of its margin."""

    n: int = Field(default=400, ge=50)
    """Objects of each set for which the margins are made: with these, sets of one population pass."""

    smd: float = Field(default=0.35, gt=0.0, lt=2.0)
    """Standardized mean difference of each statistic of an arc (of normal scores)."""

    smd_host: float = Field(default=0.35, gt=0.0, lt=2.0)
    """The same for galaxies."""

    smd_noise: float = Field(default=0.35, gt=0.0, lt=2.0)
    """The same for the sky's texture."""

    ks: float = Field(default=0.25, gt=0.0, lt=1.0)
    """Kolmogorov-Smirnov distance of each statistic."""

    significance: float = Field(default=0.01, gt=0.0, lt=0.5)
    """A distance beyond the margin fails if its p value, corrected for the number of statistics, is below this."""

    auc_statistics: float = Field(default=0.65, gt=0.5, lt=1.0)
    """Area under the ROC curve of a classifier on the statistics; 0.65 is half a standard deviation."""

    auc_embedding: float = Field(default=0.70, gt=0.5, lt=1.0)
    """The same on the scattering transform."""

    auc_network: float = Field(default=0.75, gt=0.5, lt=1.0)
    """The same of a small network on pixels."""

    auc_zero: float = Field(default=0.60, gt=0.5, lt=1.0)
    """The same of the arc score between arcs without flux and galaxies without arcs."""

    coverage: float = Field(default=0.80, gt=0.0, lt=1.0)
    """Part of the real lenses that have a simulation as near as their fifth neighbor among themselves."""

    density: float = Field(default=0.35, gt=0.0, lt=1.0)
    """How far from 1 the number of simulations around a real lens may be, over that in equal sets."""

    effective: float = Field(default=0.30, gt=0.0, lt=1.0)
    """Effective sample size of the simulations, weighted to the real ones, over their number."""

    functional: float = Field(default=0.05, gt=0.0, lt=0.5)
    """How much less a finder trained on simulations may find of the real lenses, than one trained on real ones."""

    real_real: bool = True
    """Also compare two halves of the real set with each other; takes half of the time."""

    folds_seed: int = Field(default=5, ge=0)
    """Seed of folds and halves."""
