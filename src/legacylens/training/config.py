"""How a network is trained: records without torch, so that reading a configuration stays cheap."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from legacylens.models.preprocessing import Preprocessing
from legacylens.settings import Settings
from legacylens.training.recipe import NEEDS_SIMULATIONS


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

    crop: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the cutouts of which a window, anywhere, is enlarged to the whole stamp, with bilinear interpolation."""

    crop_size: float = Field(default=0.15, gt=0.0, le=0.4)
    """Largest part of the side that is cut away."""

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

    noise_correlation: Literal["none", "survey"] = "none"
    """``survey``: the added noise is correlated between pixels as that of the coadds (`legacylens.mocks.noise`)."""

    erase: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the cutouts in which a square is replaced by the sky level (zero), anywhere."""

    erase_size: float = Field(default=0.15, gt=0.0, le=0.5)
    """Largest side of that square, as a fraction of the stamp."""

    mixup: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the cutouts that are averaged with another of the batch, labels included (Zhang et al. 2018)."""

    mixup_partner: Literal["any", "same-class"] = "any"
    """``same-class``: lenses are averaged with other lenses only, and non-lenses with other non-lenses."""


class Simulations(Settings):
    """Injected lenses beside, or in place of, the real ones."""

    store: str | None = None
    """Folder of `legacylens mocks inject`; None: no simulated lens."""

    share: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of the lenses in a batch that are simulated; with 1 no real lens is used but for choosing the epoch."""

    twins: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the simulated lenses of a batch whose own galaxy, without the arc, is among its non-lenses. Otherwise
    a network first learns which galaxies are hosts, and may stay with that."""

    fresh_hosts: bool = False
    """Inject the arcs anew each time they are shown, into another host that is much like the first, instead of showing
    the stored picture again. Needs ``parent``."""

    parent: str | None = None
    """``parent.parquet`` that the store of cutouts was cut from."""

    neighbors: int = Field(default=10, ge=1, le=1000)
    """A fresh host is one of this many most similar ones in magnitude, color, size, shape, seeing and depth."""

    realism: str | None = None
    """Realism report of these simulations (JSON); one that fails, or none, is refused unless ``unchecked``."""

    unchecked: bool = False
    """Train on simulations without a passing report; the checkpoint says so."""


class Alignment(Settings):
    """A second loss that makes real and simulated lenses look alike to the last layer.

    Hosts, sky and non-lenses are real in both, so only the features of lenses are compared.
    """

    kind: Literal["none", "adversarial", "mmd"] = "none"
    """``adversarial``: a classifier of real against simulated whose gradient is reversed (DANN; Ganin et al. 2016).
    ``mmd``: the maximum mean discrepancy with Gaussian kernels (Gretton et al. 2012; Long et al. 2015)."""

    weight: float = Field(default=0.3, ge=0.0, le=100.0)
    """Weight of that loss once training is under way; it starts at zero."""


class Mining(Settings):
    """One round of hard negatives: the non-lenses that look most like lenses are shown more often from then on."""

    share: float = Field(default=0.0, ge=0.0, le=0.9)
    """Share of the non-lenses in a batch that are hard ones; 0: no mining."""

    start: float = Field(default=0.4, gt=0.0, lt=1.0)
    """Share of the training after which the non-lenses are scored."""

    pool: float = Field(default=0.05, gt=0.0, le=0.5)
    """Share of all non-lenses that count as hard."""

    suspicious: float = Field(default=0.75, gt=0.0, le=1.0)
    """A non-lens that scores above this quantile of the training lenses may be a lens that no list names: it is not
    shown more often but written to ``hard-negatives.parquet`` for a person to look at."""


class SelfTraining(Settings):
    """Rounds in which confident objects that no list names become lenses of the next round."""

    rounds: int = Field(default=0, ge=0, le=20)
    """Largest number of rounds after the first network; 0: no self-training."""

    max_contamination: float = Field(default=0.2, gt=0.0, lt=1.0)
    """Largest share of non-lenses among the new lenses: an upper limit (95 %), from planted non-lenses."""

    planted: float = Field(default=0.1, gt=0.0, le=0.5)
    """Share of the training non-lenses that are kept from training and hidden among the unlabeled objects, together
    with the validation non-lenses: whichever of them the network would take for lenses is contamination."""

    least: int = Field(default=3, ge=1)
    """Fewer new lenses than this end the rounds."""


class TrainConfig(Settings):
    """One training run."""

    recipe: str = ""
    """Name of the recipe whose values these are; empty: none."""

    network: str = "compact"
    """Name of the network (`legacylens train --networks` lists them)."""

    pretrained: str | None = None
    """File of weights to start from, of the same network or with timm's names for an EfficientNet; None: fresh ones.
    What matched is reported."""

    preprocessing: Preprocessing = Preprocessing()
    """How pixels are prepared; stored in the checkpoint."""

    augmentation: Augmentation = Augmentation()
    """What happens to a cutout each time it is shown."""

    simulations: Simulations = Simulations()
    """Injected lenses."""

    alignment: Alignment = Alignment()
    """Second loss on real and simulated lenses."""

    mining: Mining = Mining()
    """Hard negatives."""

    self_training: SelfTraining = SelfTraining()
    """Rounds with lenses that the network itself finds."""

    pretraining: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the budget in which only simulated lenses are shown; a second training on real ones starts from there.
    """

    finetune_rate: float = Field(default=0.3, gt=0.0, le=1.0)
    """Highest learning rate of that second training, relative to ``learning_rate``."""

    positives: int | None = Field(default=None, ge=1)
    """Use only this many of the training lenses; smaller numbers take subsets of larger ones."""

    negative_ratio: float | None = Field(default=None, gt=0.0)
    """Use only this many non-lenses for each training lens."""

    subset_seed: int = Field(default=0, ge=0)
    """Seed of the order in which lenses and non-lenses are taken for such subsets."""

    extra_lenses: str | None = None
    """Parquet table with ``source_id`` of objects that are taken for lenses besides those of the sample."""

    left_out: str | None = None
    """Parquet table with ``source_id`` of non-lenses that are not trained on."""

    resplit: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Join training and validation split and divide them anew, object by object, this share for training (0.7 as
    published). Neighbors on the sky are then on both sides; the sealed split is not touched."""

    epochs: int = Field(default=40, ge=1, le=10_000)
    """Passes over the non-lenses of the training split."""

    steps: int | None = Field(default=None, ge=1)
    """Train this many steps instead of ``epochs``; the network is validated at most twenty times."""

    batch: int = Field(default=64, ge=2, le=8192)
    """Cutouts in a step."""

    accumulate: int = Field(default=1, ge=1, le=1024)
    """Parts in which a batch is computed, one after the other, where the memory does not hold it whole. The result is
    that of a whole batch but for the batch normalization, which sees a part at a time."""

    learning_rate: float = Field(default=3e-3, gt=0.0, le=1.0)
    """Highest learning rate (AdamW), reached after the warm-up."""

    schedule: Literal["cosine", "halving"] = "cosine"
    """``cosine``: down to zero at the end. ``halving``: constant, and half of it after ``halve_after``."""

    halve_after: float = Field(default=0.5, gt=0.0, lt=1.0)
    """Share of the training after which ``halving`` halves (published: epoch 80 or 130 of 160)."""

    sampling: Literal["balanced", "natural"] = "balanced"
    """``balanced``: ``positive_share`` of every batch are lenses. ``natural``: every object once in each epoch."""

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

    tensorboard: bool = False
    """Write logs for TensorBoard, too (folder ``events``)."""

    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of the weights, the order and the augmentation."""

    @model_validator(mode="after")
    def _both_classes_in_a_batch(self) -> Self:
        lenses = round(self.batch * self.positive_share)
        if self.sampling == "balanced" and not 1 <= lenses < self.batch:
            raise ValueError(
                f"batch = {self.batch} with positive_share = {self.positive_share:g} has {lenses} lenses in a batch; "
                "every batch needs at least one lens and one non-lens"
            )
        if self.batch % self.accumulate:
            raise ValueError(f"batch = {self.batch} is not a multiple of accumulate = {self.accumulate}")
        return self

    @model_validator(mode="after")
    def _simulations_fit(self) -> Self:
        store, needs = self.simulations.store, []
        if self.alignment.kind != "none":
            needs.append(f"alignment.kind = {self.alignment.kind}")
            if not 0.0 < self.simulations.share < 1.0:
                raise ValueError("alignment needs real and simulated lenses: a simulations.share between 0 and 1")
        if self.pretraining:
            needs.append(f"pretraining = {self.pretraining:g}")
        if self.simulations.fresh_hosts:
            needs.append("simulations.fresh_hosts")
            if store is not None and self.simulations.parent is None:
                raise ValueError("simulations.fresh_hosts needs simulations.parent, the table that describes the hosts")
        if self.recipe in NEEDS_SIMULATIONS:
            needs.append(f"the recipe {self.recipe}")
        if needs and store is None:
            raise ValueError(
                f"{' and '.join(needs)} needs simulated lenses: make some with `legacylens mocks inject` and "
                "give them as simulations.store (--simulations)"
            )
        if self.sampling == "natural" and store is not None:
            raise ValueError("natural sampling has no place for simulated lenses; use balanced sampling")
        return self

    @property
    def simulated_per_batch(self) -> int:
        """Number of simulated lenses in every batch."""
        return 0 if self.simulations.store is None else round(self.lenses_per_batch * self.simulations.share)

    @property
    def twins_per_batch(self) -> int:
        """Number of hosts of simulated lenses, without the arc, in every batch."""
        return min(round(self.simulated_per_batch * self.simulations.twins), self.batch - self.lenses_per_batch)

    @property
    def lenses_per_batch(self) -> int:
        """Number of lenses in every batch."""
        return round(self.batch * self.positive_share)
