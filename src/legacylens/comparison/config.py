"""What is compared: records without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from legacylens.errors import InputError
from legacylens.settings import Settings
from legacylens.training.recipe import NEEDS_SIMULATIONS, RECIPES, merged, recipe_values


class Variant(Settings):
    """One way of training."""

    name: str
    """Name in tables and folders."""

    values: dict[str, Any]
    """Keys of `TrainConfig` that it sets."""


class Terms(Settings):
    """What is the same for all that are compared."""

    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    """Each variant is trained once with each; the seed decides weights and order, not the sample."""

    steps: int | None = Field(default=1000, ge=1)
    """Budget of each training in steps; None where the budget is a time."""

    minutes: float | None = Field(default=None, gt=0.0)
    """Budget of each training in minutes; None where it is steps."""

    training: dict[str, Any] = Field(default_factory=dict)
    """Keys of `TrainConfig` that all variants share, e.g. ``positives`` or ``network``."""

    fprs: tuple[float, ...] = (1e-2, 1e-3, 1e-4)
    """False-positive rates at which recall is measured."""

    class_fpr: float = Field(default=1e-2, gt=0.0, lt=1.0)
    """Overall false-positive rate at which that of each class of non-lenses is measured."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    """Of all intervals."""

    replicas: int = Field(default=1000, ge=100, le=100_000)
    """Resampled skies."""

    resampling_seed: int = Field(default=1, ge=0)
    """Seed of these."""

    symmetries: bool = False
    """Average the sealed scores over the eight symmetries of the square."""

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give a budget in steps or in minutes, one of them")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds {self.seeds} repeat")
        return self

    @property
    def budget(self) -> dict[str, Any]:
        """Return the budget as keys of `TrainConfig`."""
        return {"steps": self.steps, "max_minutes": self.minutes} if self.steps else {"max_minutes": self.minutes}


def recipe_variants(
    recipes: tuple[str, ...],
    simulations: dict[str, str],
    *,
    parent: str | None = None,
    reports: Mapping[str, str] | None = None,
    unchecked: bool = False,
    mining: bool = False,
) -> list[Variant]:
    """Return the variants of recipes by name.

    Parameters
    ----------
    recipes
        Names; a name that ends in ``+mining`` has one round of hard negatives.
    simulations
        Name of a set -> its folder. ``simulated`` is trained on each of them, other recipes on the first.
    parent
        Table that describes the hosts of fresh injections.
    reports
        Name of a set -> its realism report.
    unchecked
        Train on sets without a passing realism report.
    mining
        Hard negatives for all.

    Raises
    ------
    InputError
        If a report is about no set of these.
    """
    strangers = sorted((reports or {}).keys() - simulations.keys())
    if strangers:
        raise InputError(
            f"realism reports are named {', '.join(strangers)}, but the sets of simulations are "
            f"{', '.join(simulations) or 'none'}; give both the same name"
        )
    variants = []
    for given in recipes:
        name, plus, word = given.partition("+")
        values = recipe_values(name)
        if mining or (plus and word == "mining"):
            values = merged(values, {"mining": {"share": 1 / 3}})
        sets = simulations if name == "simulated" and len(simulations) > 1 else dict(list(simulations.items())[:1])
        if name not in NEEDS_SIMULATIONS or not sets:
            variants.append(Variant(name=given, values=values))
            continue
        for set_name, folder in sets.items():
            label = f"{given} ({set_name})" if len(sets) > 1 else given
            used = {
                "store": folder,
                "parent": parent,
                "realism": (reports or {}).get(set_name),
                "unchecked": unchecked,
            }
            variants.append(Variant(name=label, values=merged(values, {"simulations": used})))
    return variants


def all_recipes() -> tuple[str, ...]:
    """Return the names of all recipes."""
    return tuple(RECIPES)
