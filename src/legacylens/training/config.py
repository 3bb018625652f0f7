"""How a network is trained: records without torch, so that reading a configuration stays cheap."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from legacylens.models.preprocessing import Preprocessing
from legacylens.settings import Settings


class Augmentation(Settings):
    """Changes that leave a lens a lens and a non-lens none. Both classes go through the same operations.

    All act on fluxes, before the preprocessing. Zero switches an operation off.
    """

    symmetries: bool = True
    """One of the eight symmetries of the square for each cutout, every time it is shown."""

    shift: int = Field(default=2, ge=0, le=10)
    """Largest shift in each direction [pixels]."""

    subpixel: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of the cutouts that are shifted by any amount up to ``shift``, with bilinear interpolation; the others
    by whole pixels. Not all of them, because interpolation smooths the noise, and real cutouts are not smoothed."""

    rotate: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the cutouts that are rotated by any angle and zoomed, with bilinear interpolation."""

    rotate_step: float = Field(default=0.0, ge=0.0, le=90.0)
    """Rotate by multiples of this angle only [degree]; 0: any angle."""

    zoom: float = Field(default=0.0, ge=0.0, lt=0.5)
    """Largest change of scale of the rotated cutouts: factors from ``1 - zoom`` to ``1 + zoom``."""

    brightness: float = Field(default=0.1, ge=0.0, le=2.0)
    """Standard deviation of a change of brightness common to all bands [mag]."""

    color: float = Field(default=0.02, ge=0.0, le=0.5)
    """Standard deviation of a change of brightness of each band [mag]: zero points."""

    extinction: float = Field(default=0.0, ge=0.0, le=0.5)
    """Standard deviation of a change of the reddening E(B-V) [mag], with the survey's coefficients."""

    blur: float = Field(default=0.0, ge=0.0, le=4.0)
    """Largest sigma of a Gaussian that worsens the seeing, the same in all bands [pixels]."""

    noise: float = Field(default=0.5, ge=0.0, le=5.0)
    """Added noise: its sigma is uniform between zero and this, in units of ``preprocessing.noise``."""

    noise_correlation: float = Field(default=0.0, ge=0.0, le=3.0)
    """Sigma of the Gaussian that correlates the added noise [pixels]; 0: white. Coadds have about 0.5."""

    erase: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the cutouts in which a square is replaced by the sky level (zero), anywhere."""

    erase_size: float = Field(default=0.15, gt=0.0, le=0.5)
    """Largest side of that square, as a fraction of the stamp."""

    mixup: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the cutouts that are averaged with another of the batch, labels included (Zhang et al. 2018)."""


class TrainConfig(Settings):
    """One training run."""

    network: str = "compact"
    """Name of the network (`legacylens train --networks` lists them)."""

    pretrained: str | None = None
    """File of weights to start from, of the same network or with timm's names for an EfficientNet; None: fresh ones.
    What matched is reported."""

    preprocessing: Preprocessing = Preprocessing()
    """How pixels are prepared; stored in the checkpoint."""

    augmentation: Augmentation = Augmentation()
    """What happens to a cutout each time it is shown."""

    epochs: int = Field(default=40, ge=1, le=10_000)
    """Passes over the non-lenses of the training split."""

    batch: int = Field(default=64, ge=2, le=8192)
    """Cutouts in a step."""

    learning_rate: float = Field(default=3e-3, gt=0.0, le=1.0)
    """Highest learning rate (AdamW), reached after the warm-up; a cosine brings it to zero."""

    warmup: float = Field(default=0.05, ge=0.0, le=0.5)
    """Share of the training in which the learning rate rises linearly."""

    weight_decay: float = Field(default=0.05, ge=0.0, le=1.0)
    """Decoupled weight decay of convolutions and linear layers; offsets and normalizations have none."""

    positive_share: float = Field(default=0.25, gt=0.0, lt=1.0)
    """Share of lenses in every batch. Lenses are few, so each is shown several times in an epoch; a logit is therefore
    a ranking and no probability under the sky's one in ten thousand."""

    label_smoothing: float = Field(default=0.0, ge=0.0, lt=0.5)
    """Targets are this far from 0 and 1: catalogs of lenses have errors."""

    average: float = Field(default=0.98, ge=0.0, lt=1.0)
    """Memory of the running mean of the weights, per step; the mean is what is validated and kept. 0: no mean."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of the convolutions. ``auto``: bfloat16 where the processor computes in it, else float32."""

    selection_fpr: float = Field(default=0.01, gt=0.0, lt=1.0)
    """The kept network is the latest whose recall at this false-positive rate on the validation split is within one
    standard error of the highest seen: with few lenses the highest itself is luck."""

    patience: int | None = Field(default=None, ge=1)
    """Stop after this many epochs without a higher recall; None: train to the end."""

    max_minutes: float | None = Field(default=None, gt=0.0)
    """Budget of time [minutes]. The learning rate follows whichever of steps and time is further on, so a run that
    is cut off is nevertheless annealed. Where the budget binds, two runs are no longer identical."""

    min_positives: int = Field(default=10, ge=1)
    """Fewer lenses than this in the training split are refused."""

    memory_gb: float = Field(default=6.0, ge=0.0)
    """Training cutouts up to this size [GB] are held in memory; more are read from the store batch by batch."""

    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of the weights, the order and the augmentation."""

    @model_validator(mode="after")
    def _both_classes_in_a_batch(self) -> Self:
        lenses = round(self.batch * self.positive_share)
        if not 1 <= lenses < self.batch:
            raise ValueError(
                f"batch = {self.batch} with positive_share = {self.positive_share:g} has {lenses} lenses in a batch; "
                "every batch needs at least one lens and one non-lens"
            )
        return self

    @property
    def lenses_per_batch(self) -> int:
        """Number of lenses in every batch."""
        return round(self.batch * self.positive_share)
