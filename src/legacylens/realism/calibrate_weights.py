"""A bank of measured mocks as the sample of any population: importance weights, and how many objects they are worth.

Measuring is what takes time, so every mock is measured once and weighted to each population that is tried: the ratio of
the density of its lens (`calibrate_density`) to that under the set it was made with. A set has one lens behind each
host, whatever the chance that one is found there. So that ratio is divided by its mean among mocks with galaxies and
masses alike, and only the Einstein radii, which are prescribed, are weighted without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from legacylens.errors import InputError
from legacylens.mocks.population_sets import MockSetConfig
from legacylens.realism.calibrate_config import PARAMETERS, moved
from legacylens.realism.calibrate_density import (
    NEVER,
    ColorTable,
    log_colors,
    log_found,
    log_magnitude,
    log_radius,
    log_theta_E,
    seen_of,
)
from legacylens.survey.bands import BANDS

Vector = NDArray[np.float64]

SHRINK = 8.0
"""Mocks of average chance that are added to the neighbors, so that none is divided by nearly nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bank:
    """Mocks of one set whose arcs were measured."""

    truth: pd.DataFrame
    """Their truth (`mocks.injection_truth`)."""
    table: pd.DataFrame
    """Their measured rows, in the same order; all have the code ``ok``."""
    config: MockSetConfig
    """The set."""
    refused: int = 0
    """Mocks that could not be measured."""


def bank_of(truth: pd.DataFrame, table: pd.DataFrame, config: MockSetConfig) -> Bank:
    """Return the mocks that were measured, with their truth.

    Raises
    ------
    InputError
        If truth and measurements are of different objects.
    """
    truth = truth.set_index(truth["source_id"].astype(str), drop=False)
    names = table["source_id"].astype(str)
    if not names.isin(truth.index).all() or truth.index.has_duplicates:
        raise InputError("truth and measurements are of different mocks: make and measure the set again")
    good = (table["code"] == "ok").to_numpy()
    return Bank(
        truth=truth.loc[names[good].tolist()].reset_index(drop=True),
        table=table[good].reset_index(drop=True),
        config=config,
        refused=int((~good).sum()),
    )


def effective(weights: Vector) -> float:
    """Return the number of equally weighted objects that are worth as much (Kish 1965)."""
    total = float(weights.sum())
    return total**2 / float((weights**2).sum()) if total > 0.0 else 0.0


def _surroundings(truth: pd.DataFrame) -> Vector:
    """Return what the chance to find a lens depends on besides its source, standardized, shape ``(object, 5)``."""
    columns = [
        2.0 * np.log(truth["theta_E"].to_numpy(np.float64)),
        np.log(np.min([truth[f"host_psfsize_{band}"].to_numpy(np.float64) for band in BANDS], axis=0)),
        np.log(truth["host_sigma_g"].to_numpy(np.float64)) + np.log(truth["host_sigma_r"].to_numpy(np.float64)),
        truth["z_l"].to_numpy(np.float64),
        truth["host_mag_r"].to_numpy(np.float64),
    ]
    place = np.column_stack(columns)
    return np.asarray((place - place.mean(axis=0)) / np.maximum(place.std(axis=0), 1e-9))


class WeightedBank:
    """One bank, ready to be weighted to any population of its family.

    Parameters
    ----------
    bank
        The mocks.
    neighbors
        Mocks with galaxies and masses alike among which chances are compared.
    """

    def __init__(self, bank: Bank, neighbors: int) -> None:
        if len(bank.truth) < 2 * neighbors:
            raise InputError(
                f"{len(bank.truth)} measured mocks are too few to compare chances among {neighbors} of them that are "
                "alike: make a larger bank"
            )
        self.bank = bank
        truth = bank.truth
        self._mag, self._z, self._radius = (
            truth[name].to_numpy(np.float64) for name in ("source_mag_r", "z_s", "source_r_e")
        )
        self._theta_E = truth["theta_E"].to_numpy(np.float64)
        self._seen = seen_of(truth)
        self._own = self._chances(bank.config, log_colors(bank.config.sources, truth))
        self._own_theta = log_theta_E(bank.config.deflectors, self._theta_E)
        self._colors: dict[tuple[float, float], ColorTable] = {}
        place = _surroundings(truth)
        _, index = cKDTree(place).query(place, k=neighbors + 1)
        self._neighbors = np.asarray(index)[:, 1:]

    def __len__(self) -> int:
        return len(self.bank.truth)

    def _chances(self, config: MockSetConfig, log_of_colors: Vector) -> Vector:
        return (
            log_magnitude(config.sources, self._mag)
            + log_radius(config.sources, self._mag, self._z, self._radius)
            + log_of_colors
            + log_found(config.selection, self._seen)
        )

    def _color_table(self, config: MockSetConfig) -> ColorTable:
        key = (config.sources.color_scatter, config.sources.age_gradient)
        if key not in self._colors:
            self._colors[key] = ColorTable(config.sources, self.bank.truth)
        return self._colors[key]

    def weights(self, config: MockSetConfig) -> Vector:
        """Return the weights with which the bank is a sample of a population; their sum is 1.

        Raises
        ------
        InputError
            If the population makes none of the mocks.
        """
        sources = config.sources
        colors = self._color_table(config).log_density(sources.evolved_fraction, sources.uv_slope_shift)
        chances = self._chances(config, colors)
        if chances.max() < 0.5 * NEVER:
            raise InputError(
                f"no mock of the bank could be one of the set {config.name!r}: their ranges do not overlap"
            )
        ratio = chances - self._own
        ratio = np.exp(np.clip(ratio - ratio.max(), -700.0, 0.0))
        around = ratio[self._neighbors].sum(axis=1) + SHRINK * ratio.mean()
        prescribed = log_theta_E(config.deflectors, self._theta_E) - self._own_theta
        weights = ratio / around * np.exp(np.clip(prescribed, -700.0, 50.0))
        return np.asarray(weights / weights.sum())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Banks:
    """Banks of several rounds, weighted together: each counts as much as it is worth for the population at hand."""

    start: MockSetConfig
    """The set whose parameters are moved."""
    parts: Sequence[WeightedBank]
    """The banks."""

    @property
    def table(self) -> pd.DataFrame:
        """Measured rows of all banks."""
        return pd.concat([part.bank.table for part in self.parts], ignore_index=True)

    @property
    def truth(self) -> pd.DataFrame:
        """Truth of all banks."""
        return pd.concat([part.bank.truth for part in self.parts], ignore_index=True)

    def weights(self, values: Mapping[str, float]) -> Vector:
        """Return the weights of all mocks under the start with some of its parameters at these values."""
        config = moved(self.start, values)
        parts = [part.weights(config) for part in self.parts]
        worth = np.array([effective(part) for part in parts])
        return np.concatenate([share * part for share, part in zip(worth / worth.sum(), parts, strict=True)])


def weights_of_set(
    truth: pd.DataFrame, made_with: MockSetConfig, target: MockSetConfig, *, neighbors: int = 80
) -> Vector:
    """Return weights with which a set that exists is a sample of another population; their mean is 1.

    Parameters
    ----------
    truth
        Truth of the set.
    made_with
        Its configuration.
    target
        The population; may differ in the free parameters only.
    neighbors
        As for `WeightedBank`.

    Raises
    ------
    InputError
        If the sets differ in anything else, or do not overlap.
    """
    names = [parameter.name for parameter in PARAMETERS if "." in parameter.name]
    widths = {"sources.color_scatter", "sources.radius_scatter"}
    other = sorted(_leaves(made_with) ^ _leaves(target))
    strange = {name for name, _ in other} - set(names) - widths - {"name", "attempts"}
    if strange:
        raise InputError(
            f"the set {made_with.name!r} cannot be weighted to {target.name!r}: they differ in {', '.join(strange)}, "
            "which weights do not change. Make a new set with `legacylens mocks inject --config`."
        )
    empty = pd.DataFrame({"source_id": truth["source_id"], "code": "ok"})
    part = WeightedBank(bank_of(truth, empty, made_with), neighbors)
    return part.weights(target) * len(truth)


def _leaves(config: MockSetConfig) -> set[tuple[str, str]]:
    document = config.model_dump(mode="json")
    return {
        (f"{section}.{field}" if isinstance(part, dict) else section, repr(value))
        for section, part in document.items()
        for field, value in (part.items() if isinstance(part, dict) else [("", part)])
    }
