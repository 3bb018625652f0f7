"""What a sample is made of, as one frozen record."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from legacylens.settings import Settings

SPLITS = ("train", "validation", "sealed")
"""The three sets, in the order in which they are used. Objects in ``guard`` belong to none of them."""

GUARD = "guard"
"""The split of an object that stands too close to the cell of another split."""

Split = Literal["train", "validation", "sealed"]


class SampleConfig(Settings):
    """How objects are labeled, split and drawn."""

    match_radius_arcsec: float = Field(default=3.0, gt=0, le=10)
    """Largest separation [arcsec] between a known lens and the catalog object that is taken for it. Of the published
    candidates 97 % lie within 1 arcsec of their Tractor object; lists older than the survey are less precise."""
    exclusion_radius_arcsec: float = Field(default=20.0, gt=0, le=600)
    """No object nearer than this [arcsec] to *any* known lens, whatever its grade, is a non-lens. The corner of a
    101-pixel cutout is 18.7 arcsec from its center: a lens within 20 arcsec may be in the picture."""
    worst_tier: int = Field(default=2, ge=1, le=5)
    """Known systems up to this tier count as lenses (1 secure, 2 likely, 3 possible, 4 doubtful, 5 rejected); others
    are neither lens nor non-lens."""
    grades: tuple[str, ...] | None = Field(default=None, min_length=1)
    """If given, only known systems with one of these grades count as lenses."""
    leave_out: tuple[str, ...] = ()
    """Lists or discovery channels whose lenses are kept out of training and validation, so that recall on them in the
    sealed split says what a network finds that never saw their like. A lens that another list has as well, or that was
    found through another channel, stays in."""
    nside: int = Field(default=128, ge=16, le=8192)
    """Resolution of the HEALPix cells (nested) by which the sky is split; a power of two. 128 gives 27.5 arcmin."""
    split_seed: int = Field(default=42, ge=0)
    """Seed of the hash that sends a cell to a split."""
    train_fraction: float = Field(default=0.6, gt=0, lt=1)
    """Fraction of the cells for training."""
    validation_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Fraction of the cells for choosing epochs and thresholds; the rest is sealed until the end."""
    guard_arcsec: float = Field(default=60.0, ge=0, le=3600)
    """Objects of train and validation nearer than this [arcsec] to a cell of another split are left out. Two cutouts
    share pixels up to 37.5 arcsec; the rest keeps members of one small group apart."""
    pair_radius_arcsec: float = Field(default=30.0, ge=0, le=300)
    """Objects linked by steps of at most this [arcsec] form a group, and a group never straddles two splits."""
    duplicate_radius_arcsec: float = Field(default=1.0, ge=0, le=5)
    """Two objects nearer than this [arcsec] are one galaxy listed twice; one of them is used."""
    negatives_per_positive: float | None = Field(default=100.0, gt=0)
    """Non-lenses for each lens in the splits of ``matched_splits``, if there are that many; None takes them all."""
    matched_splits: tuple[Split, ...] = ("train",)
    """Splits whose non-lenses are drawn in proportion to the lenses in bins of Tractor type and z exposures. The others
    keep every non-lens, because a false-positive rate is a statement about the sky and not about a drawn set."""
    brick_fraction: float = Field(default=1.0, gt=0, le=1)
    """Representative non-lenses come from this fraction of the bricks, chosen by a hash of their names. A brick is some
    50 MB and holds 150 parents: 134,182 random non-lenses lie in 100,000 bricks (5 TB to fetch), but 1 percent of the
    bricks have three times as many. Lenses and hard non-lenses come from all of them."""
    hard_fraction: float = Field(default=0.15, ge=0, lt=1)
    """Largest share of the non-lenses of a drawn split that comes from the hard pool: objects that somebody has seen to
    be no lens (contaminants, and negative verdicts). They are drawn on top of their share in the sky."""
    nobs_edges: tuple[int, ...] = (3, 6, 11)
    """Lower edges of the bins in ``nobs_z`` (published practice: 3-5, 6-10, 11 and more exposures)."""
    draw_seed: int = Field(default=7, ge=0)
    """Seed of the hash that orders the non-lenses before drawing."""

    @model_validator(mode="after")
    def _consistent(self) -> SampleConfig:
        if self.nside & (self.nside - 1):
            raise ValueError(f"nside = {self.nside} is not a power of two; nested HEALPix needs one, e.g. 128")
        if self.train_fraction + self.validation_fraction >= 1.0:
            raise ValueError(
                f"train_fraction + validation_fraction = {self.train_fraction + self.validation_fraction:g} leaves "
                "nothing for the sealed split; their sum must be below 1"
            )
        cell_arcsec = math.degrees(math.sqrt(4.0 * math.pi / (12 * self.nside**2))) * 3600.0
        if self.guard_arcsec > 0.25 * cell_arcsec:
            raise ValueError(
                f"guard_arcsec = {self.guard_arcsec:g} is more than a quarter of a cell ({cell_arcsec:.0f} arcsec at "
                f"nside {self.nside}): hardly an object would be left; use larger cells or a narrower guard"
            )
        if self.guard_arcsec < self.pair_radius_arcsec:
            raise ValueError(
                f"guard_arcsec = {self.guard_arcsec:g} is below pair_radius_arcsec = {self.pair_radius_arcsec:g}: "
                "pairs could straddle two splits; make the guard at least as wide"
            )
        if self.exclusion_radius_arcsec < self.match_radius_arcsec:
            raise ValueError("exclusion_radius_arcsec is below match_radius_arcsec: a lens could be its own non-lens")
        if not self.nobs_edges or list(self.nobs_edges) != sorted(set(self.nobs_edges)):
            raise ValueError("nobs_edges must be increasing numbers of exposures")
        return self
