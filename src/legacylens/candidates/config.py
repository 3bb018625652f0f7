"""How candidates are chosen, as one frozen record."""

from __future__ import annotations

from pydantic import Field, model_validator

from legacylens.settings import Settings


class CandidateConfig(Settings):
    """Which objects become candidates, and which of them are one system."""

    threshold: float | None = None
    """Lowest ranking score (logit where there is one) of a candidate; None for no threshold."""
    top_n: int | None = Field(default=1000, gt=0)
    """Most systems in the list (see ``max_fraction``); None for no limit. With a threshold as well, both hold."""
    max_fraction: float = Field(default=0.05, gt=0, le=1)
    """With ``top_n``: the list is never longer than this fraction of the objects scored. Published searches kept a few
    in ten thousand; a list of one in twenty is hardly a selection."""
    group_radius_arcsec: float = Field(default=10.0, gt=0, le=60)
    """Objects within this radius [arcsec] of a better one are members of its system. The arc of one lens is seen from
    centers up to about two Einstein radii away; published candidates have radii of up to 5 arcsec."""
    known_radius_arcsec: float = Field(default=10.0, gt=0, le=60)
    """A known system within this radius [arcsec] of any member is the candidate."""

    @model_validator(mode="after")
    def _some_limit(self) -> CandidateConfig:
        if self.threshold is None and self.top_n is None:
            raise ValueError("give a threshold or top_n; without both every object would be a candidate")
        return self
