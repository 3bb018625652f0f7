"""A light for each section of the validation page, with the sentence that says why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from legacylens.plots.lights import Light

CONTAMINANT_FACTOR = 10.0
"""A class that is selected this many times as often as ordinary non-lenses is a problem."""


ENOUGH_LENSES = 20
"""Lenses in bricks of both kinds, below which a difference in recall would not be noticed."""


def holdouts_light(validation: Mapping[str, Any]) -> Light:
    """Return the light of what was held out: red if training knows cells of the split, or if that helps in its bricks.

    Red: the split shares sky cells with training, or at a measurable rate more is found in bricks that training knows.
    Amber: bricks are shared, with too few lenses to notice a difference. Green otherwise.
    """
    rows = validation["by_unit"]
    if any(row["unit"] == "cell" and row["shared"]["lenses"] + row["shared"]["non_lenses"] for row in rows):
        return Light(level="red", why="Objects of this split lie in sky cells that training knows.")
    bricks = [row for row in rows if row["unit"] == "brick"]
    if not bricks:
        return Light(level="amber", why="Not known whether bricks are shared with training.")
    shared = bricks[0]["shared"]
    if not shared["lenses"] + shared["non_lenses"]:
        return Light(level="green", why="No brick or sky cell of this split holds anything of training.")
    measurable = {row["fpr_target"] for row in validation["recall"] if row["measurable"]}
    bricks = [row for row in bricks if row["fpr_target"] in measurable]
    if not bricks:
        return Light(level="amber", why="Bricks are shared with training, and no rate can be measured to compare at.")
    helped = [
        row
        for row in bricks
        if row["p_value"] is not None and row["p_value"] < 0.01 and row["shared"]["recall"] > row["unseen"]["recall"]
    ]
    if helped:
        seen, unseen = helped[0]["shared"]["recall"], helped[0]["unseen"]["recall"]
        why = f"Recall is {seen:.2f} in bricks that training knows and {unseen:.2f} in others; judge whole bricks."
        return Light(level="red", why=why)
    if min(shared["lenses"], bricks[0]["unseen"]["lenses"]) < ENOUGH_LENSES:
        return Light(level="amber", why="Some bricks are shared with training, and too few lenses tell if that helps.")
    return Light(level="green", why="Bricks that training knows give no higher recall than others.")


def threshold_light(validation: Mapping[str, Any]) -> Light:
    """Return the light of the recommended threshold: red without one, amber if it was extrapolated."""
    best = validation["recommended"]
    if best["threshold"] is None:
        return Light(level="red", why=f"No threshold for {best['budget']:,} inspections: {best['note']}.")
    if best["basis"] != "measured":
        return Light(level="amber", why=f"The threshold for {best['budget']:,} inspections was extrapolated.")
    return Light(level="green", why=f"The threshold for {best['budget']:,} inspections was measured.")


def probability_light(validation: Mapping[str, Any]) -> Light:
    """Return the light of the probabilities: red if what was observed is far from what was predicted."""
    found = validation["calibration"]
    if found["method"] is None:
        return Light(level="amber", why=f"Scores are no probabilities here: {found['note']}.")
    if found["chi2"] > 3.0 * found["bins"]:
        why = f"Observed fractions are not the predicted ones: chi2 {found['chi2']:.0f} in {found['bins']} bins."
        return Light(level="red", why=why)
    if found["chi2"] > 1.8 * found["bins"]:
        return Light(level="amber", why="Observed fractions are off the predicted ones by more than chance.")
    return Light(level="green", why="On sky that the calibration had not seen, probabilities are what they say.")


def shortcuts_light(shortcuts: Mapping[str, Any] | None, controls: Mapping[str, Any] | None) -> Light:
    """Return the light of the shortcut tests: red if one fails, amber if some could not be made or were not shown."""
    if shortcuts is None:
        return Light(level="amber", why="The shortcut tests were not run.")
    failed = [row["test"] for row in shortcuts["tests"] if row["verdict"] == "fail"]
    if failed:
        return Light(level="red", why=f"The network fails {', '.join(failed)}.")
    if controls is not None and not controls["as_expected"]:
        return Light(level="red", why="The tests themselves failed their controls.")
    doubtful = [row["test"] for row in shortcuts["tests"] if row["verdict"] != "pass"]
    if doubtful:
        return Light(level="amber", why=f"Not clear or not testable: {', '.join(doubtful)}.")
    if controls is None:
        return Light(level="amber", why="All pass, but no control shows here that they can fail.")
    return Light(level="green", why="All pass, and networks trained to cheat were caught by the same tests.")


def contaminants_light(contaminants: Mapping[str, Any] | None, rate: float | None) -> Light:
    """Return the light of the contaminants: red if a class is selected far more often than ordinary non-lenses.

    Parameters
    ----------
    contaminants
        Result of `legacylens.validation.contaminants`.
    rate
        False-positive rate of ordinary non-lenses at the same threshold, None if unknown.
    """
    if contaminants is None or not contaminants["classes"]:
        return Light(level="amber", why="No labeled contaminants were scored.")
    if rate is None:
        return Light(level="amber", why="No rate of ordinary non-lenses at this threshold to compare with.")
    bad = [row["class"] for row in contaminants["classes"] if row["fpr_low"] > CONTAMINANT_FACTOR * rate]
    if bad:
        why = f"Selected more than {CONTAMINANT_FACTOR:g} times as often as other galaxies: {', '.join(bad)}."
        return Light(level="red", why=why)
    few = [row["class"] for row in contaminants["classes"] if row["fpr_high"] > CONTAMINANT_FACTOR * rate]
    if few:
        return Light(level="amber", why=f"Too few to know that they are not a problem: {', '.join(few)}.")
    return Light(level="green", why="No class of contaminants is selected much more often than other galaxies.")


def completeness_light(completeness: Mapping[str, Any] | None) -> Light:
    """Return the light of the completeness: red if arcs do not make more of the same hosts pass than pass without."""
    if completeness is None:
        return Light(level="amber", why="Nobody measured what is missed.")
    total, bare = completeness["tables"]["total"], completeness["without_arc"]
    if total["completeness"] is None:
        return Light(level="amber", why=f"{total['n']} injections are too few for a number.")
    if bare["p_value"] > 0.01:
        return Light(level="red", why="The same galaxies are selected as often without an arc as with one.")
    lost = completeness["failures"]["not_scored"] / max(completeness["made"], 1)
    if lost > 0.001:
        return Light(level="red", why=f"{100 * lost:.2g} % of the injections have no score.")
    fit = completeness["selection_function"]
    if fit["file"] is None:
        return Light(level="amber", why="Measured, but with too few injections for a selection function.")
    if fit["fit_chi2_per_cell"] is None:
        return Light(level="amber", why="Measured, with too few found to say how well the selection function fits.")
    if not 0.8 <= fit["fit_chi2_per_cell"] <= 1.3:
        return Light(
            level="amber", why=f"The selection function fits with chi2 {fit['fit_chi2_per_cell']:.2f} per cell."
        )
    return Light(level="green", why="Measured, and the selection function describes injections that it had not seen.")
