"""Moves a simulator's population toward observed lenses, and says so where no population of the simulator can be it.

In rounds: mocks are made around what is known of the parameters and measured (`Bank`), sets of any population are
drawn out of them by weights (`SetSimulator`), and what the parameters of a set are is learned from many such sets
(`learn_posterior`). The first round looks at the whole range of every parameter, wherever the start is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from legacylens.errors import InputError
from legacylens.mocks.population_sets import MockSetConfig
from legacylens.progress import progress_bar
from legacylens.realism.calibrate_check import Check, check_set
from legacylens.realism.calibrate_config import (
    CONTAMINATION,
    PARAMETERS,
    CalibrationConfig,
    Parameter,
    Vector,
    moved,
    parameters_of,
    require_family,
    values_of,
)
from legacylens.realism.calibrate_posterior import evenly, learn_posterior
from legacylens.realism.calibrate_summary import Scores, SetSimulator, features_of
from legacylens.realism.calibrate_weights import Bank, Banks, WeightedBank, effective

MakeBank = Callable[[MockSetConfig, int, int], Bank]
"""Makes and measures mocks: the set, how many, a seed."""

CALIBRATED, MISSPECIFIED, UNSUPPORTED = "calibrated", "misspecified", "unsupported"
LITTLE = 0.85
"""A pass that leaves the box this wide, on average, was the last."""
AVERAGED = 100
"""Draws of the posterior over which the weights of the mocks are averaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One parameter after the calibration."""

    name: str
    """Its name."""
    unit: str
    """Its unit."""
    start: float
    """Where it was."""
    median: float
    """Median of the posterior."""
    low: float
    """16 %."""
    high: float
    """84 %."""
    range: tuple[float, float]
    """Range that was looked at."""
    at_the_edge: bool
    """Whether the posterior leans on the end of its range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round did."""

    mocks: int
    """Mocks in the banks."""
    refused: int
    """Mocks of this round that could not be measured."""
    effective: float
    """Effective number of mocks at the median."""
    learned_from: int
    """Sets that were drawn to learn from."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """The result."""

    verdict: str
    """``calibrated``, ``misspecified`` or ``unsupported`` (too few mocks where the posterior is)."""
    start: MockSetConfig
    """The set that was moved."""
    config: MockSetConfig
    """The set at the medians of the posterior."""
    estimates: tuple[Estimate, ...]
    """Every free parameter."""
    draws: pd.DataFrame
    """Draws of the posterior, one column for each parameter."""
    check: Check
    """Posterior-predictive checks."""
    rounds: tuple[Round, ...]
    """What was done."""
    weights: pd.DataFrame
    """Mocks of the banks: ``source_id``, ``weight`` (mean 1) averaged over the posterior."""
    effective: float
    """Effective number of these mocks."""
    observed: int
    """Measured lenses."""
    notes: tuple[str, ...] = ()
    """To be shown."""

    def as_dict(self) -> dict[str, Any]:
        """Return the result as a JSON document."""
        return {
            "verdict": self.verdict,
            "observed": self.observed,
            "parameters": [asdict(each) for each in self.estimates],
            "check": {
                "passed": self.check.passed,
                "p_learned": self.check.p_learned,
                "p_held_out": self.check.p_held_out,
                "groups": dict(self.check.groups),
                "misfits": [asdict(each) for each in self.check.misfits],
            },
            "rounds": [asdict(each) for each in self.rounds],
            "weights": {"mocks": len(self.weights), "effective": self.effective},
            "notes": list(self.notes),
        }


def calibrate(
    observed: pd.DataFrame,
    galaxies: pd.DataFrame,
    start: MockSetConfig,
    make_bank: MakeBank,
    config: CalibrationConfig | None = None,
    *,
    notes: Sequence[str] = (),
) -> Calibration:
    """Infer the population of observed lenses.

    Parameters
    ----------
    observed
        Rows of `measure.measure_stamps` of the lenses.
    galaxies
        The same of galaxies without arcs: what wrong labels look like.
    start
        The set whose parameters are moved.
    make_bank
        Makes and measures mocks.
    config
        Settings.
    notes
        To be shown.

    Raises
    ------
    InputError
        If there are too few lenses or galaxies, the start has faults that no parameter takes away, or mocks and
        observed lenses share galaxies.
    """
    config = config or CalibrationConfig()
    require_family(start)
    free = parameters_of(config.free)
    observed, galaxies = _measured(observed), _measured(galaxies)
    _require_enough(observed, galaxies, config)
    rng = np.random.default_rng(config.seed)
    box = np.array([[0.0, 1.0]] * len(free))
    parts: list[WeightedBank] = []
    rounds: list[Round] = []
    for number in range(config.rounds):
        made = make_bank(proposal(start, free, box), config.bank, config.seed + 1000 * number + 1)
        require_other_galaxies(observed, made.truth["host_source_id"])
        parts.append(WeightedBank(made, config.neighbors))
        banks = Banks(start=start, parts=parts)
        scores = Scores.of(parts[-1].bank.table)
        simulator = SetSimulator(
            banks=banks,
            features=features_of(banks.table, scores),
            galaxies=features_of(galaxies, scores),
            names=[parameter.name for parameter in free],
            n=len(observed),
        )
        summary = features_of(observed, scores).values.mean(axis=0, dtype=np.float64)
        places = _draw_posterior(simulator, free, box, summary, config, rng)
        worth = effective(banks.weights(_named(free, np.median(places, axis=0))))
        rounds.append(
            Round(mocks=len(banks.table), refused=made.refused, effective=worth, learned_from=config.simulations)
        )
        last_box, box = box, narrowed(box, places, config.reach)
    values = np.column_stack([p.from_unit(places[:, k]) for k, p in enumerate(free)])
    replicas = _replicas(simulator, values, config.replicas, rng)
    check = check_set(summary, replicas, simulator.features.names, simulator.features.groups, config.significance)
    medians = dict(zip(simulator.names, np.median(values, axis=0).tolist(), strict=True))
    weights = np.mean(
        [banks.weights(dict(zip(simulator.names, row, strict=True))) for row in values[:AVERAGED].tolist()], axis=0
    )
    return Calibration(
        verdict=_verdict(check, rounds[-1].effective, config),
        start=start,
        config=moved(start, medians, name="calibrated"),
        estimates=_estimates(free, start, values, places, last_box),
        draws=pd.DataFrame(values, columns=list(simulator.names)),
        check=check,
        rounds=tuple(rounds),
        weights=pd.DataFrame({"source_id": banks.truth["source_id"], "weight": weights * len(weights)}),
        effective=effective(weights),
        observed=len(observed),
        notes=(*notes, *_remarks(rounds[-1].effective, config)),
    )


def _measured(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["code"] == "ok"].reset_index(drop=True)


def _require_enough(observed: pd.DataFrame, galaxies: pd.DataFrame, config: CalibrationConfig) -> None:
    if len(observed) < config.fewest:
        raise InputError(
            f"{len(observed)} measured lenses are too few to infer {len(config.free)} parameters: at least "
            f"{config.fewest} are needed, better 400. Give more lenses, also of lower grade: wrong labels are inferred."
        )
    if len(galaxies) < 50:
        raise InputError(
            f"{len(galaxies)} measured galaxies without arcs do not say what a wrong label looks like: give at least 50"
        )


def require_other_galaxies(observed: pd.DataFrame, hosts: pd.Series) -> None:
    """Check that no mock stands in an observed galaxy.

    Raises
    ------
    InputError
        If one does.
    """
    shared = set(observed["source_id"].astype(str).str.split("_lens").str[0]) & set(hosts.astype(str))
    if shared:
        raise InputError(
            f"{len(shared)} galaxies are among the observed lenses and among the hosts of the mocks, e.g. "
            f"{min(shared)}: they would agree for that reason. Leave them out of the hosts."
        )


def proposal(start: MockSetConfig, free: Sequence[Parameter], box: NDArray[np.float64]) -> MockSetConfig:
    """Return a set whose mocks cover every population with parameters in a box.

    Parameters
    ----------
    start
        The set that is moved.
    free
        Free parameters.
    box
        Their ranges as places, shape ``(parameter, 2)``.

    Notes
    -----
    Brighter sources, lower thresholds and wider distributions than any population in the box, so that no weight is
    large: what a population makes often must not be rare among the mocks.
    """
    low = {p.name: float(p.from_unit(box[k, 0])) for k, p in enumerate(free)}
    high = {p.name: float(p.from_unit(box[k, 1])) for k, p in enumerate(free)}
    fixed = values_of(start, [p.name for p in PARAMETERS if p.name not in low and p.name != CONTAMINATION])
    low, high = {**fixed, **low}, {**fixed, **high}

    def half(name: str) -> float:
        return 0.5 * (high[name] - low[name])

    center = {name: 0.5 * (low[name] + high[name]) for name in low}
    theta_E, radius = "deflectors.theta_E_median", "sources.radius_kpc"
    for name in (theta_E, radius):
        center[name] = float(np.sqrt(low[name] * high[name]))
    is_free = {parameter.name for parameter in free}
    values = {
        **center,
        "sources.r_bright": low["sources.r_bright"],
        "sources.counts_slope": max(center["sources.counts_slope"] - half("sources.counts_slope"), 0.02),
        "deflectors.theta_E_scatter": float(
            np.hypot(high["deflectors.theta_E_scatter"], 0.5 * np.log(high[theta_E] / low[theta_E]))
        ),
        "selection.snr": low["selection.snr"],
        "selection.snr_width": high["selection.snr_width"],
    }
    color, size = start.sources.color_scatter, start.sources.radius_scatter
    if is_free & {"sources.evolved_fraction", "sources.uv_slope_shift"}:
        values["sources.evolved_fraction"] = float(np.clip(center["sources.evolved_fraction"], 0.3, 0.7))
        # A shift of the ultraviolet slope by 1 makes g-r redder by a third of a magnitude.
        color = float(np.hypot(max(color, 0.12), 0.25 * half("sources.uv_slope_shift")))
    if radius in is_free:
        size = min(float(np.hypot(1.1 * size, 0.5 * np.log10(high[radius] / low[radius]))), 0.9)
    wider = moved(start, values)
    sources = wider.sources.model_copy(update={"color_scatter": color, "radius_scatter": size})
    return wider.model_copy(update={"sources": sources, "name": "bank"})


def _draw_posterior(
    simulator: SetSimulator,
    free: Sequence[Parameter],
    box: NDArray[np.float64],
    summary: Vector,
    config: CalibrationConfig,
    rng: np.random.Generator,
) -> Vector:
    """Return draws of the posterior as places in the whole ranges, learned from sets in the box.

    What is learned over a wide box is blunt. So it is learned again from sets around the observed one only, as long as
    they come nearer; the prior stays even, and the box holds all of the posterior (Deistler, Goncalves & Macke 2022).
    """
    fitted = simulator.features.fitted
    for number in range(config.passes):
        inside = evenly(config.simulations, len(free), rng)
        width = box[:, 1] - box[:, 0]
        places = box[:, 0] + width * inside
        values = np.column_stack([p.from_unit(places[:, k]) for k, p in enumerate(free)])
        summaries = _replicas(simulator, values, len(values), rng, in_order=True)[:, fitted]
        posterior = learn_posterior(inside, summaries, config.seed + number)
        draws = box[:, 0] + width * posterior.draw(summary[fitted], config.draws, config.seed + 100 + number)
        box = narrowed(box, draws, config.reach)
        if np.mean((box[:, 1] - box[:, 0]) / width) > LITTLE:
            break
    return draws


def _replicas(
    simulator: SetSimulator, values: Vector, n: int, rng: np.random.Generator, *, in_order: bool = False
) -> Vector:
    """Return the mean features of sets, one for each of ``n`` rows of parameters."""
    rows = np.arange(n) if in_order else rng.integers(len(values), size=n)
    out = np.empty((n, len(simulator.features.names)))
    with progress_bar("drawing sets", n) as bar:
        for place, row in enumerate(rows.tolist()):
            out[place] = simulator.draw(values[row], rng)
            bar.advance(1)
    return out


def narrowed(box: NDArray[np.float64], places: Vector, reach: float) -> NDArray[np.float64]:
    """Return the box around the draws of a posterior, inside of the last one."""
    middle, scatter = places.mean(axis=0), places.std(axis=0)
    low = np.maximum(box[:, 0], middle - reach * scatter)
    high = np.minimum(box[:, 1], middle + reach * scatter)
    return np.column_stack([low, high])


def _named(free: Sequence[Parameter], place: Vector) -> Mapping[str, float]:
    return {p.name: float(p.from_unit(place[k])) for k, p in enumerate(free)}


def _estimates(
    free: Sequence[Parameter], start: MockSetConfig, values: Vector, places: Vector, box: NDArray[np.float64]
) -> tuple[Estimate, ...]:
    before = values_of(start, [p.name for p in free])
    out = []
    for k, p in enumerate(free):
        low, middle, high = np.percentile(values[:, k], [16.0, 50.0, 84.0])
        # Contamination may well be zero; that is no edge of what can be.
        near = [(places[:, k] < 0.02).mean(), (places[:, k] > 0.98).mean()]
        edge = max(near[1:] if p.name == CONTAMINATION else near) > 0.2
        out.append(
            Estimate(
                name=p.name,
                unit=p.unit,
                start=before[p.name],
                median=float(middle),
                low=float(low),
                high=float(high),
                range=(float(p.from_unit(box[k, 0])), float(p.from_unit(box[k, 1]))),
                at_the_edge=bool(edge),
            )
        )
    return tuple(out)


def _verdict(check: Check, worth: float, config: CalibrationConfig) -> str:
    if not check.passed:
        return MISSPECIFIED
    return CALIBRATED if worth >= config.least_effective else UNSUPPORTED


def _remarks(worth: float, config: CalibrationConfig) -> list[str]:
    if worth >= config.least_effective:
        return []
    return [
        f"Where the posterior is, the mocks are worth {worth:.0f}, fewer than {config.least_effective}: add a round or "
        "make a larger bank (--rounds, --bank)."
    ]
