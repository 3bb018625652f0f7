"""Completeness of a network: arcs injected into galaxies that it was not trained on, scored as a scan scores them."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from legacylens.errors import InputError
from legacylens.files import read_parquet, sha256_of_text, write_json, write_parquet
from legacylens.progress import console
from legacylens.provenance import write_provenance
from legacylens.samples.build import read_sample
from legacylens.scan.config import ScanConfig
from legacylens.validation.completeness import (
    DEFAULT_CONFIG,
    QUANTITIES,
    CompletenessConfig,
    injection_values,
    tabulate,
)
from legacylens.validation.intervals import binomial_interval
from legacylens.validation.report import read_result
from legacylens.validation.selection_function import fit_selection_function
from legacylens.validation.sky_conditions import DEFAULT_CUTS, SkyConditions, brick_conditions, random_conditions
from legacylens.validation.sky_map import completeness_map, write_map

if TYPE_CHECKING:
    from legacylens.catalog.parent import ParentCuts
    from legacylens.cutouts.store import CutoutStore
    from legacylens.mocks.population_sets import MockSetConfig

RESULT_NAME = "completeness.json"
INJECTIONS_NAME = "injections.parquet"
FUNCTION_NAME = "selection-function.json"
MAP_NAME = "completeness-map.fits"
PART = 2500
"""Most injections that one process makes before it scores them; there are two parts at least."""


def completeness_set(name: str = "completeness") -> MockSetConfig:
    """Return the population that is injected.

    ``completeness`` is the broad set with almost no selection of its own: arcs from far below what anybody sees to
    bright, in luminous red galaxies of all magnitudes. Any other named set can be asked for; its marginals are then
    those of lenses that *it* holds to be noticeable.
    """
    from legacylens.mocks.population_sets import SelectionConfig, named_set

    if name != "completeness":
        return named_set(name)
    broad = named_set("broad")
    return broad.model_copy(
        update={
            "name": "completeness",
            "selection": SelectionConfig(snr=6.0, snr_width=0.5, magnification_min=1.5, resolution=0.25),
            "hosts": broad.hosts.model_copy(update={"per_host": 1000}),
        }
    )


def threshold_from(validation: str | Path, fpr: float) -> float:
    """Return the threshold that a validation measured, or extrapolated, for a false-positive rate.

    Raises
    ------
    FileProblem
        If there is no validation.
    InputError
        If it has no such rate, or the rate could be neither measured nor extrapolated.
    """
    rows = read_result(validation)["recall"]
    for row in rows:
        if abs(row["fpr_target"] / fpr - 1.0) < 1e-6:
            threshold = _threshold_of(row)
            if threshold is not None:
                return threshold
            raise InputError(
                f"the false-positive rate {fpr:g} was not measured ({row['note']}); choose a higher one, or give a "
                "threshold"
            )
    known = ", ".join(f"{row['fpr_target']:g}" for row in rows)
    raise InputError(f"{validation} has no false-positive rate {fpr:g}; it has {known}")


def lowest_threshold(validation: str | Path, fpr: float) -> tuple[float, float]:
    """Return the lowest false-positive rate, not below a given one, that was measured or extrapolated; its threshold.

    Raises
    ------
    FileProblem
        If there is no validation.
    InputError
        If no such rate could be measured or extrapolated.
    """
    rows = read_result(validation)["recall"]
    for row in sorted(rows, key=lambda row: float(row["fpr_target"])):
        threshold = _threshold_of(row)
        if row["fpr_target"] >= fpr * (1.0 - 1e-6) and threshold is not None:
            return float(row["fpr_target"]), threshold
    raise InputError(
        f"{validation} has no false-positive rate of {fpr:g} or more that could be measured; validate on more "
        "non-lenses, or at higher rates"
    )


def _threshold_of(row: Mapping[str, Any]) -> float | None:
    """Return the threshold of a rate if it was measured, else the extrapolated one, else None."""
    if row["measurable"]:
        return float(row["threshold"])
    tail = row.get("tail")
    return None if tail is None or tail["threshold"] is None else float(tail["threshold"])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What one process does."""

    store: Path
    parent: Path
    folder: Path
    checkpoint: Path
    config: MockSetConfig
    scan: ScanConfig
    n: int
    seed: int
    excluded: frozenset[str]


def _run_part(part: _Part) -> dict[str, Any]:
    from legacylens.cutouts.store import CutoutStore
    from legacylens.mocks.injection_run import inject_store
    from legacylens.scan.score import score_store

    start, cpu = time.perf_counter(), time.process_time()
    with CutoutStore.open(part.store) as store:
        report = inject_store(
            store,
            read_parquet(part.parent),
            part.folder / "mocks",
            part.config,
            n=part.n,
            seed=part.seed,
            excluded=part.excluded,
        )
        truth = report.truth
        injected = time.perf_counter()
        hosts = sorted(set(truth["host_source_id"].astype(str)))
        bare = _bare_logits(part, store, hosts)
    logits: dict[str, float] = {}
    if report.made:
        # What has no finite score is counted as failed, not refused: the caller reports it.
        scan = part.scan.model_copy(update={"max_failed": 1.0})
        result = score_store(part.folder / "mocks", part.checkpoint, part.folder / "scan", scan, device="cpu")
        scores = read_parquet(result.scores)
        logits = dict(zip(scores["source_id"].astype(str), scores["logit"].astype(float), strict=True))
    shutil.rmtree(part.folder / "mocks")
    return {
        "truth": truth.assign(
            logit=truth["source_id"].astype(str).map(logits).astype(np.float64),
            host_logit=truth["host_source_id"].astype(str).map(bare).astype(np.float64),
        ),
        "skipped": report.skipped,
        "hosts": report.hosts.left,
        "seconds_injecting": injected - start,
        "seconds_scoring": time.perf_counter() - injected,
        "seconds_cpu": time.process_time() - cpu,
    }


def _bare_logits(part: _Part, store: CutoutStore, hosts: Sequence[str]) -> dict[str, float]:
    """Return the logits of the hosts as they are, without an arc."""
    from legacylens.scan.scorer import Scorer

    scorer = Scorer(part.checkpoint, part.scan, device="cpu")
    logits: dict[str, float] = {}
    for start in range(0, len(hosts), part.scan.batch):
        names = hosts[start : start + part.scan.batch]
        logits |= dict(zip(names, scorer.logits(store.images(store.index_of(names))).tolist(), strict=True))
    return logits


def _alone() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported, which a fresh process has not done yet
    console.quiet = True


def _run_parts(parts: Sequence[_Part], workers: int) -> list[dict[str, Any]]:
    if workers == 0:
        return [_run_part(part) for part in parts]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_alone) as pool:
        return list(pool.map(_run_part, parts))


def measure_completeness(
    checkpoint: str | Path,
    store: str | Path,
    parent: str | Path,
    out: str | Path,
    *,
    threshold: float,
    sample: str | Path | None = None,
    set_name: str = "completeness",
    n: int = 2000,
    seed: int = 1,
    workers: int = 2,
    release: str | None = None,
    randoms: Sequence[str | Path] = (),
    cuts: ParentCuts = DEFAULT_CUTS,
    config: CompletenessConfig = DEFAULT_CONFIG,
    scan: ScanConfig | None = None,
) -> dict[str, Any]:
    """Inject lenses, score them, and write what fraction is selected.

    Writes ``completeness.json``, ``injections.parquet`` (truth and logit of each), ``selection-function.json`` where
    enough were found and missed, and with a release ``completeness-map.fits``.

    Parameters
    ----------
    checkpoint
        The network.
    store, parent
        Galaxies with invvar, and the table they were cut from.
    out
        Folder for the results.
    threshold
        Logit from which on an object is selected.
    sample
        What the network was trained on: its training objects and all known systems are then no hosts.
    set_name
        The population: ``completeness`` or a set of `legacylens mocks`.
    n, seed
        Injections and their seed.
    workers
        Processes; 0 works in this one. No result depends on it.
    release
        For the sky map: a release whose summary of bricks tells depth and seeing.
    randoms
        For the sky map, in place of bricks: random catalogs.
    cuts
        Which random points are searched.
    config
        Cells and intervals.
    scan
        How cutouts are scored; as in the scan that the threshold belongs to.

    Returns
    -------
    result
        As in ``completeness.json``: ``threshold``, ``population``, ``failures`` (never counted as missed),
        ``tables`` of `tabulate`, ``without_arc`` (how often the same hosts pass as they are), ``selection_function``
        (file and goodness of fit, or why there is none), ``map``, ``seconds``,
        ``not_shown``.
    """
    out, parent_path = Path(out), Path(parent)
    parent_path = parent_path / "parent.parquet" if parent_path.is_dir() else parent_path
    excluded = _no_hosts(sample)
    sky = _sky(release, randoms, cuts)  # first, because a catalog that cannot be read must not cost the injections
    population = completeness_set(set_name)
    work = out / "parts"
    if work.exists():
        shutil.rmtree(work)
    start = time.perf_counter()
    parts = [
        _Part(
            store=Path(store),
            parent=parent_path,
            folder=work / str(number),
            checkpoint=Path(checkpoint),
            config=population,
            scan=scan or ScanConfig(),
            n=share,
            seed=own_seed,
            excluded=frozenset(excluded),
        )
        for number, (share, own_seed) in enumerate(dealt(n, seed))
    ]
    answers = _run_parts(parts, workers)
    shutil.rmtree(work)
    wall = time.perf_counter() - start
    injections = pd.concat([answer["truth"] for answer in answers], ignore_index=True)
    scored = np.isfinite(injections["logit"].to_numpy())
    skipped: dict[str, int] = {}
    for answer in answers:
        for reason, number in answer["skipped"].items():
            skipped[reason] = skipped.get(reason, 0) + int(number)
    if not scored.any():
        raise InputError(f"none of {n} injections could be made and scored ({skipped or 'no reason was given'})")
    values = injection_values(injections[scored].reset_index(drop=True))
    recovered = (injections.loc[scored, "logit"] >= threshold).to_numpy()
    bare = (injections.loc[scored, "host_logit"] >= threshold).to_numpy()
    gained, lost = int((recovered & ~bare).sum()), int((bare & ~recovered).sum())
    bare_low, bare_high = binomial_interval(int(bare.sum()), len(bare), config.confidence)
    described = {
        "set": population.name,
        "set_hash": sha256_of_text(population.model_dump_json())[:16],
        "words": f"lenses of the set {population.name!r} in {answers[0]['hosts']:,} luminous red galaxies of the store",
    }
    result: dict[str, Any] = {
        "threshold": threshold,
        "population": described,
        "asked": n,
        "made": len(injections),
        "scored": int(scored.sum()),
        "failures": {"not_injected": skipped, "not_scored": int((~scored).sum())},
        "tables": tabulate(values, recovered, config),
        "without_arc": {
            "fraction": float(bare.mean()),
            "low": float(bare_low),
            "high": float(bare_high),
            "n_selected": int(bare.sum()),
            "gained": gained,
            "lost": lost,
            "p_value": float(binomtest(gained, gained + lost, alternative="greater").pvalue) if gained + lost else 1.0,
            "words": "fraction of the same hosts that are selected without any arc: completeness below it is luck",
        },
        "units": {name: quantity.unit for name, quantity in QUANTITIES.items()},
        "words": {name: quantity.words for name, quantity in QUANTITIES.items()},
        "configuration": config.model_dump(mode="json"),
        "seconds": {
            "wall": wall,
            "injecting": sum(answer["seconds_injecting"] for answer in answers),
            "scoring": sum(answer["seconds_scoring"] for answer in answers),
            "cpu": sum(answer["seconds_cpu"] for answer in answers),
            "minutes_for_10000": 1e4 * wall / max(len(injections), 1) / 60.0,
            "cpu_minutes_for_10000": 1e4 * sum(answer["seconds_cpu"] for answer in answers) / len(injections) / 60.0,
        },
        "not_shown": _not_shown(described["words"]),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_parquet(out / INJECTIONS_NAME, injections)
    result |= _fitted(values, recovered, out, result, sky, seed, config)
    write_json(out / RESULT_NAME, result)
    write_provenance(
        out,
        step="validate completeness",
        configuration={"n": n, "threshold": threshold, "set": set_name, **config.model_dump(mode="json")},
        inputs={"checkpoint": checkpoint, "store": store, "parent": parent_path},
        seeds={"injections": seed},
        results={key: result[key] for key in ("made", "scored", "failures", "selection_function", "seconds")},
    )
    return result


def dealt(n: int, seed: int) -> list[tuple[int, int]]:
    """Return the injections and the seed of each part of a run: the same however many processes share them."""
    pieces = min(n, max(2, -(-n // PART)))
    return [
        (n // pieces + (number < n % pieces), int(np.random.SeedSequence([seed, number]).generate_state(1)[0]))
        for number in range(pieces)
    ]


def _no_hosts(sample: str | Path | None) -> Collection[str]:
    if sample is None:
        return set()
    frame = read_sample(sample).frame
    return set(frame.loc[(frame["split"] == "train") | (frame["label"] != 0), "source_id"].astype(str))


def _fitted(
    values: pd.DataFrame,
    recovered: np.ndarray[Any, np.dtype[np.bool_]],
    out: Path,
    result: dict[str, Any],
    sky: SkyConditions | None,
    seed: int,
    config: CompletenessConfig,
) -> dict[str, Any]:
    """Fit the selection function and make the map, or say why not."""
    about = {"threshold": result["threshold"], "population": result["population"]}
    try:
        function = fit_selection_function(
            values, recovered, about=about, rng=np.random.default_rng([seed, 7]), config=config
        )
    except InputError as refusal:
        return {"selection_function": {"file": None, "note": str(refusal)}, "map": None}
    function.save(out / FUNCTION_NAME)
    fitted = {"file": FUNCTION_NAME, "note": "", **function.about}
    if sky is None:
        return {"selection_function": fitted, "map": None}
    found = completeness_map(function, sky)
    write_map(out / MAP_NAME, found, function)
    return {"selection_function": fitted, "map": {"file": MAP_NAME, **found.summary()}}


def _sky(release: str | None, randoms: Sequence[str | Path], cuts: ParentCuts) -> SkyConditions | None:
    """Return where the conditions of the sky map are from: random points if there are any, else bricks."""
    if randoms:
        return random_conditions(randoms, cuts=cuts)
    return None if release is None else brick_conditions(release)


def _not_shown(population: str) -> list[str]:
    return [
        f"A marginal is an average over the other quantities of what was injected ({population}). Another population "
        "of lenses has other marginals; the fitted function can be averaged over it.",
        "Injected arcs are smooth or clumpy Sersic sources behind ellipses with shear, in luminous red galaxies. "
        "Lenses in groups, behind disks, with dust or with companions are not among them.",
        "An injection that could not be made or scored is neither found nor missed; such lenses of the sky are lost.",
        "Only the network is measured: a lens that the cuts of the parent sample remove was never scored.",
    ]
