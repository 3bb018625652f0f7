"""What a threshold means for a survey: purity, length of the list, inspections for each lens."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from legacylens.errors import PhysicalRangeError
from legacylens.validation.intervals import binomial_interval
from legacylens.validation.recall import RecallPoint

PREVALENCE = 1e-4
"""Lenses for each galaxy of the parent sample, as the published searches assume (about 1 in 10,000)."""

PARENT_SIZE = 43_546_511
"""Objects scored in DR10 by Inchausti et al. 2025."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyExpectation:
    """What a threshold selects from a whole survey, if the non-lenses of the sample are like those of the survey."""

    prevalence: float
    """Assumed lenses for each object."""
    parent_size: int
    """Objects scored."""
    purity: float | None
    """Expected fraction of lenses in the list; None without a false positive, when only the lower end is known."""
    purity_low: float
    """Lower end, from the ends of recall and false-positive rate jointly."""
    purity_high: float
    """Upper end."""
    list_length: float | None
    """Expected objects above the threshold; None without a false positive."""
    list_length_low: float
    list_length_high: float
    lenses_found: float
    """Expected lenses in the list."""
    inspections_per_lens: float | None
    """Objects to look at for each lens found; None if no lens is expected, or without a false positive."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-compatible dictionary."""
        return asdict(self)


def purity(tpr: float, fpr: float, prevalence: float) -> float:
    """Return the fraction of lenses among the selected, ``pi tpr / (pi tpr + (1 - pi) fpr)``; 0 if none is selected."""
    lenses, others = prevalence * tpr, (1.0 - prevalence) * fpr
    return lenses / (lenses + others) if lenses + others > 0 else 0.0


def survey_expectation(
    point: RecallPoint,
    *,
    prevalence: float = PREVALENCE,
    parent_size: int = PARENT_SIZE,
    confidence: float = 0.95,
) -> SurveyExpectation:
    """Return what a measured threshold means at the prevalence of the sky.

    The interval joins those of recall and false-positive rate at a level of ``(1 + confidence) / 2`` each (Bonferroni),
    so it holds the truth at least as often as it says.

    Raises
    ------
    PhysicalRangeError
        If the prevalence is not within (0, 1).
    """
    if not 0.0 < prevalence < 1.0:
        raise PhysicalRangeError("prevalence", prevalence, "(0, 1)", "Give lenses for each object, e.g. 1e-4.")
    joint = 0.5 * (1.0 + confidence)
    tpr_low, tpr_high = (float(end) for end in binomial_interval(point.n_recovered, point.n_lenses, joint))
    fpr_low, fpr_high = (float(end) for end in binomial_interval(point.n_false_positives, point.n_non_lenses, joint))
    pi, size = prevalence, parent_size

    def length(tpr: float, fpr: float) -> float:
        return size * (pi * tpr + (1.0 - pi) * fpr)

    found = size * pi * point.recall
    seen = point.n_false_positives > 0  # a rate of zero would promise a list without a single false positive
    return SurveyExpectation(
        prevalence=pi,
        parent_size=size,
        purity=purity(point.recall, point.fpr, pi) if seen else None,
        purity_low=purity(tpr_low, fpr_high, pi),
        purity_high=purity(tpr_high, fpr_low, pi),
        list_length=length(point.recall, point.fpr) if seen else None,
        list_length_low=length(tpr_low, fpr_low),
        list_length_high=length(tpr_high, fpr_high),
        lenses_found=found,
        inspections_per_lens=length(point.recall, point.fpr) / found if found > 0 and seen else None,
    )
