"""Does the gate see what it has to see? Sets with known faults must fail it, honest ones must pass it.

All sets are made in memory in control galaxies, so that anybody can repeat it without data. A seed decides which
objects of a set are drawn, and which honest lenses, in other galaxies, stand for the real ones.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from legacylens.errors import InputError
from legacylens.mocks.population_sets import SETS, MockSetConfig
from legacylens.progress import progress_bar
from legacylens.realism.audit import Audit, audit
from legacylens.realism.control_sets import FAULTY, HIGH_SNR, HONEST, ControlSet
from legacylens.realism.control_sky import Hosts, draw_hosts, inject_set
from legacylens.realism.gate import FAIL, PASS, Gate, Sample, gate, sample_of
from legacylens.realism.gate_config import GateConfig
from legacylens.realism.inputs import MeasuredSet
from legacylens.realism.measure import measure_stamps

SPARE = 1.3
"""Galaxies for each object that is wanted: behind some there is no lens that is seen."""
SPARE_ANY = 4.5
"""The same among galaxies of any kind, few of which are massive."""
ANY = 9
"""Stream of random numbers of galaxies of any kind; 0 and 1 are those of the halves of red ones."""
ALL = (*FAULTY, *HONEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlResult:
    """What the gate said of one control."""

    control: str
    """Its name."""
    must: str
    """``fail`` or ``pass``."""
    verdict: str
    """The verdict of most seeds."""
    seeds_as_expected: int
    """Seeds in which the gate did what it must."""
    seeds: int
    """Seeds."""
    n: int
    """Objects of each set."""
    because: dict[str, int]
    """Tests that failed (or, for a set that must pass, did not pass) -> in how many seeds."""
    findings: tuple[dict[str, Any], ...] = ()
    """What an audit of the whole set finds, as ``name`` and ``effect``, largest first; empty if nothing is wrong."""
    finding_wanted: str = ""
    """The finding that names its fault."""
    brightness_factor: float | None = None
    """By what factor the audit takes its arcs to be too bright."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What is made once for all seeds."""

    name: str
    """Name of the set."""
    sample: Sample
    """Its objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """One pool to be made."""

    name: str
    config: MockSetConfig
    galaxies: str
    """``first`` half of the control galaxies, ``second``, or ``any`` kind."""
    n: int
    seed: int
    lens_seed: int


@functools.lru_cache(maxsize=1)
def _galaxies(n: int, seed: int, stream: int) -> Hosts:
    """Return control galaxies; sets that share them are made one after the other."""
    return draw_hosts(n, np.random.default_rng([seed, stream]), any_galaxy=stream == ANY)


def make_pool(order: _Order) -> Pool:
    """Make one set in memory and measure it."""
    if order.galaxies == "any":
        count = round((SPARE_ANY if order.config.hosts.matching != "none" else SPARE) * order.n)
        hosts = _galaxies(count, order.seed, ANY)
    else:
        hosts = _galaxies(round(SPARE * order.n), order.seed, ("first", "second").index(order.galaxies))
    stamps = inject_set(hosts, order.config, order.lens_seed).stamps
    return Pool(name=order.name, sample=sample_of(measure_stamps(stamps), stamps.images))


def _orders(controls: Sequence[ControlSet], n: int, seed: int) -> list[_Order]:
    bright = next((c.config for c in FAULTY if c.name == "arcs-x2.5"), SETS["calibrated"]).model_copy(
        update={"injection": SETS["calibrated"].injection.model_copy(update={"flux_factor": HIGH_SNR})}
    )

    def order(name: str, config: MockSetConfig, galaxies: str, lens_seed: int) -> _Order:
        return _Order(name=name, config=config, galaxies=galaxies, n=n, seed=seed, lens_seed=lens_seed)

    orders = [order("honest", SETS["calibrated"], "second", seed + 1)]
    if any(c.name == "real-real" for c in controls) and not any(c.name == "calibrated" for c in controls):
        orders.append(order("calibrated", SETS["calibrated"], "first", seed + 99))
    if any(c.high_snr for c in controls):
        orders.append(order("honest-bright", bright, "second", seed + 1))
    if any(c.name == "zero-flux" for c in controls):
        # Galaxies of the second half that could have a lens, without one: those of a set of zero flux.
        zero = next(c.config for c in controls if c.name == "zero-flux")
        orders.append(order("galaxies", zero, "second", seed + 1))
    for number, control in enumerate(controls):
        if control.name == "real-real":
            continue
        galaxies = "any" if control.any_galaxy else "first"
        orders.append(order(control.name, control.config, galaxies, seed + 100 + number))
    return sorted(orders, key=lambda one: one.galaxies)


def _judged(control: ControlSet, pools: dict[str, Sample], config: GateConfig, seed: int) -> Gate:
    rng = np.random.default_rng([seed, 17])
    config = config.model_copy(update={"folds_seed": seed, "real_real": False})
    if control.name == "real-real":
        # Halves of all honest lenses that there are; each is one galaxy's.
        both = pools["honest"].joined(pools["calibrated"])
        order = rng.permutation(len(both))
        n = min(config.n, len(both) // 2)
        return gate(both.part(order[:n]), both.part(order[n : 2 * n]), config)
    sims = pools[control.name]
    other = "galaxies" if control.name == "zero-flux" else "honest-bright" if control.high_snr else "honest"
    real = pools[other]
    n = min(config.n, len(sims), len(real))
    return gate(_draw(sims, n, rng), _draw(real, n, rng), config)


def _draw(sample: Sample, n: int, rng: np.random.Generator) -> Sample:
    return sample.part(rng.permutation(len(sample))[:n])


def _judge_control(
    control: ControlSet, pools: dict[str, Sample], config: GateConfig, seeds: Sequence[int]
) -> ControlResult:
    verdicts, because = [], dict[str, int]()
    n = config.n
    for seed in seeds:
        result = _judged(control, pools, config, seed)
        n = min(n, result.n_sims, result.n_real)
        verdicts.append(result.verdict)
        for test in result.tests:
            wrong = test.verdict == FAIL if control.must == FAIL else test.verdict not in (PASS, "not run")
            if wrong:
                because[test.test] = because.get(test.test, 0) + 1
    audited = _audited(pools[control.name]) if control.name in pools else None
    most = max(sorted(set(verdicts)), key=verdicts.count)
    return ControlResult(
        control=control.name,
        must=control.must,
        verdict=most,
        seeds_as_expected=sum(verdict == control.must for verdict in verdicts),
        seeds=len(verdicts),
        n=n,
        because=dict(sorted(because.items(), key=lambda item: -item[1])),
        findings=() if audited is None else tuple({"name": f.name, "effect": f.effect} for f in audited.findings),
        finding_wanted=control.finding,
        brightness_factor=None if audited is None or audited.brightness is None else audited.brightness.value,
    )


def _audited(sample: Sample) -> Audit:
    empty = np.zeros((0, 3, 1, 1), np.float32)
    measured = MeasuredSet(
        path=Path("control"), table=sample.table, refused={}, problems=(), images=empty, image_names=()
    )
    return audit(measured)


def run_controls(
    config: GateConfig | None = None,
    *,
    seeds: int = 20,
    seed: int = 1,
    names: Sequence[str] = (),
    workers: int = 1,
) -> list[ControlResult]:
    """Run the gate on sets of known faults and on honest ones.

    Parameters
    ----------
    config
        Margins and objects of each set.
    seeds
        How often each control is judged.
    seed
        Of the sky.
    names
        Some of the controls; all by default.
    workers
        Processes.

    Raises
    ------
    InputError
        If there is no control of a name.
    """
    config = config or GateConfig()
    unknown = set(names) - {control.name for control in ALL}
    if unknown:
        raise InputError(
            f"no control is called {', '.join(sorted(unknown))}: choose from {', '.join(c.name for c in ALL)}"
        )
    controls = [control for control in ALL if not names or control.name in names]
    orders = _orders(controls, config.n, seed)
    numbers = list(range(seeds))
    with progress_bar("controls", len(orders) + len(controls)) as bar:
        if workers <= 1:
            pools = {}
            for one in orders:
                pools[one.name] = make_pool(one).sample
                bar.advance(1)
            results = []
            for control in controls:
                results.append(_judge_control(control, pools, config, numbers))
                bar.advance(1)
            return results
        with ProcessPoolExecutor(workers) as pool:
            pools = {}
            for made in pool.map(make_pool, orders):
                pools[made.name] = made.sample
                bar.advance(1)
            needed = ("honest", "honest-bright", "galaxies", "calibrated")
            jobs = [
                pool.submit(
                    _judge_control,
                    control,
                    {name: pools[name] for name in (control.name, *needed) if name in pools},
                    config,
                    numbers,
                )
                for control in controls
            ]
            results = []
            for job in jobs:
                results.append(job.result())
                bar.advance(1)
            return results


def as_expected(results: Sequence[ControlResult]) -> bool:
    """Return whether the gate may be trusted: every fault convicted in every seed, honesty in 19 of 20."""
    return all(
        item.seeds_as_expected == item.seeds if item.must == FAIL else item.seeds_as_expected >= 0.95 * item.seeds
        for item in results
    )


def documents(results: Sequence[ControlResult]) -> list[dict[str, Any]]:
    """Return the results as a JSON document."""
    return [asdict(item) for item in results]
