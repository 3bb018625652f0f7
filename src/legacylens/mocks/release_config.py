"""What a mock release holds: how many bricks, parents and lenses, and how deep the faint sky goes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from legacylens.mocks.population_sets import MockSetConfig, named_set
from legacylens.settings import Settings

Size = Literal["tiny", "small", "medium"]

_CALIBRATED = named_set("calibrated")
POPULATION = _CALIBRATED.model_copy(
    update={"selection": _CALIBRATED.selection.model_copy(update={"snr": 20.0, "snr_max": 65.0})}
)
"""The calibrated set without its few brightest arcs, which would be all that a small training sample learns."""


class MockReleaseConfig(Settings):
    """Contents of a mock release. Positions of the bricks depend on nothing else."""

    singles: int = Field(default=18, ge=0, le=5000)
    """Bricks that stand alone."""

    pairs: int = Field(default=1, ge=0, le=500)
    """Pairs of bricks side by side; the first one lies across RA = 0."""

    quads: int = Field(default=1, ge=0, le=500)
    """Groups of four bricks, two by two."""

    spacing: float = Field(default=2.6, ge=0.8, le=8.0)
    """Distance between the groups [deg]; 0.8 and more puts them into different HEALPix cells of nside 128."""

    parents_per_brick: float = Field(default=52.0, ge=0.0, le=400.0)
    """Mean number of galaxies with z < 20 in a brick's unique area of 0.01 deg^2, lenses included."""

    faint_per_arcmin2: float = Field(default=26.0, ge=0.0, le=200.0)
    """Mean number of fainter galaxies, r < 24.3 [1/arcmin^2]."""

    stars_per_arcmin2: float = Field(default=1.8, ge=0.0, le=50.0)
    """Mean number of stars, r < 22.5 [1/arcmin^2]."""

    lenses: int = Field(default=160, ge=0, le=20000)
    """Number of strong lenses in the whole release."""

    population: MockSetConfig = Field(default=POPULATION)
    """Masses and sources of the lenses, and which of them are found."""

    contrast: float = Field(default=1.0, ge=0.0, le=20.0)
    """Brightness of the arcs over that of the host in g, where it is largest, at which half of the lenses are noticed
    by eye; lenses that nobody has noticed are in no list. 0: all are."""

    unlisted_fraction: float = Field(default=0.02, ge=0.0, le=1.0)
    """Fraction of the lenses that the published-style list does not have."""

    listed_non_lenses: float = Field(default=0.02, ge=0.0, le=1.0)
    """Number of galaxies that the list calls probable lenses although they are none, as a fraction of the lenses."""

    defects: bool = True
    """Whether one brick lacks its z band, one is bailed out, and some end at the edge of the survey."""

    border: int = Field(default=82, ge=55, le=400)
    """Width of the border around a brick's unique area in its images [pixel]."""

    @property
    def bricks(self) -> int:
        """Number of bricks with images."""
        return self.singles + 2 * self.pairs + 4 * self.quads

    @property
    def patches(self) -> int:
        """Number of groups of adjacent bricks."""
        return self.singles + self.pairs + self.quads


SIZES: dict[str, MockReleaseConfig] = {
    "tiny": MockReleaseConfig(),
    "small": MockReleaseConfig(singles=90, pairs=5, quads=5, spacing=1.7, lenses=300),
    "medium": MockReleaseConfig(singles=450, pairs=25, quads=25, spacing=1.25, lenses=300),
}
"""The named sizes: about 1,100, 6,000 and 30,000 parents."""
