"""What a calibration may move: the parameters with their ranges, and how much work is put into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from legacylens.errors import InputError
from legacylens.mocks.population_sets import MockSetConfig
from legacylens.settings import Settings

Vector = NDArray[np.float64]

CONTAMINATION = "contamination"
"""The parameter that is no part of a set: which part of the observed objects has no arc."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One free parameter with the range in which all values are taken to be equally likely."""

    name: str
    """Its place in the record of a set, ``section.field``; or `CONTAMINATION`."""
    low: float
    """Lower end of the range."""
    high: float
    """Upper end."""
    logarithmic: bool
    """All values of its logarithm are equally likely, not of itself."""
    unit: str
    """Unit."""
    words: str
    """What it is."""

    def to_unit(self, value: Vector) -> Vector:
        """Return values as places in the range, 0 to 1."""
        low, high = self._scaled(np.array([self.low, self.high]))
        return np.asarray((self._scaled(value) - low) / (high - low))

    def from_unit(self, place: Vector) -> Vector:
        """Return the values at places in the range."""
        low, high = self._scaled(np.array([self.low, self.high]))
        value = low + np.asarray(place) * (high - low)
        return np.asarray(np.exp(value) if self.logarithmic else value)

    def _scaled(self, value: Vector) -> Vector:
        return np.log(value) if self.logarithmic else np.asarray(value, dtype=np.float64)


PARAMETERS: tuple[Parameter, ...] = (
    Parameter(name="sources.r_bright", low=18.0, high=23.5, logarithmic=False, unit="AB mag", words="brightest source"),
    Parameter(
        name="sources.counts_slope", low=0.15, high=0.65, logarithmic=False, unit="", words="slope of the counts"
    ),
    Parameter(
        name="sources.evolved_fraction", low=0.0, high=1.0, logarithmic=False, unit="", words="part of old sources"
    ),
    Parameter(
        name="sources.uv_slope_shift", low=-1.0, high=1.0, logarithmic=False, unit="", words="reddening of all sources"
    ),
    Parameter(name="sources.radius_kpc", low=1.0, high=9.0, logarithmic=True, unit="kpc", words="size of sources"),
    Parameter(
        name="deflectors.theta_E_median", low=0.85, high=2.1, logarithmic=True, unit="arcsec", words="Einstein radius"
    ),
    Parameter(
        name="deflectors.theta_E_scatter", low=0.12, high=0.6, logarithmic=True, unit="", words="scatter of its log"
    ),
    Parameter(name="selection.snr", low=8.0, high=400.0, logarithmic=True, unit="", words="S/N at which half is found"),
    Parameter(
        name="selection.snr_width", low=0.05, high=0.5, logarithmic=True, unit="", words="width of that turn-on (log)"
    ),
    Parameter(
        name=CONTAMINATION, low=0.0, high=0.5, logarithmic=False, unit="", words="part of the labels without an arc"
    ),
)
"""Every parameter that can be moved."""


class CalibrationConfig(Settings):
    """Settings of `legacylens.realism.calibrate`."""

    free: tuple[str, ...] = tuple(parameter.name for parameter in PARAMETERS)
    """Names of the parameters that are moved; the others stay as in the start."""

    bank: int = Field(default=8000, ge=100)
    """Mocks that are made and measured in each round."""

    controls: int = Field(default=500, ge=50)
    """Galaxies without arcs that are measured, if none are given."""

    rounds: int = Field(default=2, ge=1, le=6)
    """Rounds: the first looks at the whole range of every parameter, each later one where the last ended."""

    simulations: int = Field(default=5000, ge=200)
    """Sets that are drawn from the bank in each pass to learn from."""

    passes: int = Field(default=3, ge=1, le=10)
    """Passes of each round at most: sets are drawn again where the last one ended, out of the same mocks."""

    neighbors: int = Field(default=80, ge=8)
    """Mocks with galaxies and masses alike, among which chances to be found are compared."""

    fewest: int = Field(default=100, ge=20)
    """Measured lenses without which nothing is inferred."""

    draws: int = Field(default=1000, ge=100)
    """Draws from the posterior."""

    replicas: int = Field(default=600, ge=100)
    """Sets that are drawn from the posterior to be compared with the observed one."""

    significance: float = Field(default=0.01, gt=0.0, lt=0.2)
    """A set that chance makes as rarely as this, or more rarely, is misspecified."""

    least_effective: int = Field(default=200, ge=20)
    """Effective number of mocks behind the result; with fewer, another round is needed."""

    reach: float = Field(default=4.0, gt=1.0, lt=10.0)
    """A round looks this many standard deviations around the result of the last."""

    seed: int = Field(default=1, ge=0)
    """Decides everything that is random."""


def parameters_of(names: Sequence[str]) -> tuple[Parameter, ...]:
    """Return parameters by name, in the order of `PARAMETERS`.

    Raises
    ------
    InputError
        If there is none of a name, or none is left.
    """
    known = {parameter.name for parameter in PARAMETERS}
    unknown = sorted(set(names) - known)
    if unknown or not names:
        raise InputError(f"no parameter is called {', '.join(unknown) or '(none given)'}: choose from {sorted(known)}")
    return tuple(parameter for parameter in PARAMETERS if parameter.name in names)


def moved(start: MockSetConfig, values: Mapping[str, float], name: str | None = None) -> MockSetConfig:
    """Return a set with some of its parameters at other values; `CONTAMINATION` is passed over.

    Parameters
    ----------
    start
        The set.
    values
        ``section.field`` -> value.
    name
        Name of the new set; that of the start by default.
    """
    document: dict[str, Any] = start.model_dump()
    for place, value in values.items():
        if place != CONTAMINATION:
            section, field = place.split(".")
            document[section][field] = float(value)
    if name is not None:
        document["name"] = name
    return MockSetConfig.model_validate(document)


def values_of(config: MockSetConfig, names: Sequence[str]) -> dict[str, float]:
    """Return the values that a set has; `CONTAMINATION` is 0."""
    out = {}
    for place in names:
        if place == CONTAMINATION:
            out[place] = 0.0
            continue
        section, field = place.split(".")
        out[place] = float(getattr(getattr(config, section), field))
    return out


def require_family(config: MockSetConfig) -> None:
    """Check that a set is one whose parameters can be moved.

    Raises
    ------
    InputError
        If it has a fault that no parameter takes away.
    """
    problems = list(config.faults)
    if config.deflectors.theta_E == "natural":
        problems.append("Einstein radii follow from the hosts (theta_E = natural) and are not free")
    if problems:
        raise InputError(
            f"the set {config.name!r} cannot be calibrated: {'; '.join(problems)}. Correct what `legacylens realism "
            "audit` names first: parameters are moved, faults are not hidden by them."
        )
