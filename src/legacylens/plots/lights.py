"""A light for each section of the report: green, amber or red, with the sentence that says why.

The rules are few and stated, so that a light can be argued with. Green never says that the list is good; it says that
nothing in this section speaks against trusting its numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Level = Literal["green", "amber", "red"]

LOST_AMBER, LOST_RED = 0.01, 0.05
"""Fractions of the parent sample without a score, above which the counts are amber and red."""
WORKING_RATE = 1e-2
"""Highest false-positive rate that is of any use to a search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """The state of a section."""

    level: Level
    """Its color."""
    why: str
    """Why, in a sentence."""


def trust_light(validation: Mapping[str, Any] | None) -> Light:
    """Return the light of the validation.

    Red: nothing was judged, or at a measurable rate the recall is not above chance. Amber: the recall at a
    false-positive rate of 0.01 or less is not measurable, or its split was used before. Green otherwise.
    """
    if validation is None:
        return Light(level="red", why="Nothing was judged.")
    rows = validation["recall"]
    chance = [row for row in rows if row["measurable"] and row["recall_low"] <= row["fpr"]]
    if chance:
        return Light(level="red", why=f"At a rate of {chance[0]['fpr_target']:g} the recall is not above chance.")
    if validation["split"] != "sealed":
        return Light(level="amber", why=f"Judged on the {validation['split']} split, which was looked at before.")
    if validation.get("opening", {}).get("number", 1) > 1:
        return Light(level="amber", why=f"The sealed split was opened {validation['opening']['number']} times.")
    if not any(row["measurable"] for row in rows if row["fpr_target"] <= WORKING_RATE):
        return Light(
            level="amber",
            why=f"Too few non-lenses to measure a false-positive rate of {WORKING_RATE:g}, at which searches begin.",
        )
    return Light(level="green", why="Measured on sealed sky, above chance at every rate that can be measured.")


def counts_light(parent: int, scored: int) -> Light:
    """Return the light of the counts: how much of the parent sample has no score."""
    lost = 1.0 - scored / parent if parent else 1.0
    why = f"{max(parent - scored, 0):,} of {parent:,} parent objects ({100 * max(lost, 0.0):.2g} %) have no score."
    return Light(level="red" if lost > LOST_RED else "amber" if lost > LOST_AMBER else "green", why=why)


def sample_light(gates: Mapping[str, Any] | None) -> Light:
    """Return the light of the sample: what the leakage gates said."""
    if gates is None:
        return Light(level="amber", why="The leakage gates were not run.")
    failed = [row["gate"] for row in gates["gates"] if row["verdict"] == "fail"]
    if failed:
        return Light(level="red", why=f"The label can be told from {', '.join(failed)}.")
    doubtful = [row["gate"] for row in gates["gates"] if row["verdict"] in ("unclear", "not testable")]
    if doubtful:
        return Light(level="amber", why=f"Not clear whether the label can be told from {', '.join(doubtful)}.")
    return Light(level="green", why="The label cannot be told from what has nothing to do with lensing.")
