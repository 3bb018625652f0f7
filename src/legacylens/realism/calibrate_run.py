"""Calibration on disk: where mocks and galaxies come from, which lenses are looked at, and what is written."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tomli_w
from numpy.typing import NDArray

from legacylens.cutouts.store import CutoutStore
from legacylens.errors import InputError
from legacylens.files import read_parquet, write_json, write_parquet, write_text
from legacylens.mocks.hosts import choose_candidates, host_table
from legacylens.mocks.injection_run import inject_store
from legacylens.mocks.injection_truth import read_truth
from legacylens.mocks.population_sets import MockSetConfig
from legacylens.provenance import read_provenance, write_provenance
from legacylens.realism.calibrate import CALIBRATED, Calibration, MakeBank, calibrate
from legacylens.realism.calibrate_config import CalibrationConfig
from legacylens.realism.calibrate_weights import Bank, bank_of, effective, weights_of_set
from legacylens.realism.control_sky import draw_hosts, inject_set, stamps_of_hosts
from legacylens.realism.gate import split_of
from legacylens.realism.inputs import measure_set
from legacylens.realism.measure import Stamps, measure_parts, measure_stamps

RESULT_NAME = "calibration.json"
SET_NAME = "calibrated.toml"
DRAWS_NAME = "posterior.parquet"
WEIGHTS_NAME = "weights.parquet"
SET_WEIGHTS_NAME = "set-weights.parquet"

SPARE = 1.25
"""Control galaxies for each mock that is wanted: behind some there is no lens that is seen."""
PART = 250
"""Mocks that a process makes at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    config: MockSetConfig
    n: int
    seed: int


def _made_in_memory(order: _Order) -> tuple[pd.DataFrame, pd.DataFrame]:
    hosts = draw_hosts(order.n, np.random.default_rng([order.seed, 4]))
    made = inject_set(hosts, order.config, order.seed)
    return made.truth, measure_stamps(made.stamps)


def control_bank(*, workers: int = 1) -> MakeBank:
    """Return a maker of mocks in galaxies of a control sky (`control_sky`): nothing is needed on disk.

    Parameters
    ----------
    workers
        Processes.
    """

    def make(config: MockSetConfig, n: int, seed: int) -> Bank:
        total = round(SPARE * n)
        orders = [
            _Order(config=config, n=min(PART, total - first), seed=10_000 * seed + first // PART)
            for first in range(0, total, PART)
        ]
        if workers <= 1:
            parts = [_made_in_memory(order) for order in orders]
        else:
            with ProcessPoolExecutor(workers) as pool:
                parts = list(pool.map(_made_in_memory, orders))
        truth, table = (pd.concat(tables, ignore_index=True) for tables in zip(*parts, strict=True))
        return bank_of(truth, table, config)

    return make


def control_galaxies(n: int, seed: int) -> pd.DataFrame:
    """Return measured galaxies without arcs of a control sky."""
    return measure_stamps(stamps_of_hosts(draw_hosts(n, np.random.default_rng([seed, 6]))))


def store_bank(store: CutoutStore, parent: pd.DataFrame, excluded: set[str], *, workers: int = 1) -> MakeBank:
    """Return a maker of mocks in the galaxies of a store, by the code of ``mocks inject``.

    Parameters
    ----------
    store
        Cutouts with invvar.
    parent
        The table that they were cut from.
    excluded
        Galaxies that are no hosts: the observed lenses.
    workers
        Processes that measure.
    """

    def make(config: MockSetConfig, n: int, seed: int) -> Bank:
        # A bank takes part in no training, so a galaxy may be host of several mocks of it.
        hosts = config.hosts.model_copy(update={"per_host": max(config.hosts.per_host, 20)})
        config = config.model_copy(update={"hosts": hosts})
        with tempfile.TemporaryDirectory(prefix="legacylens-bank-") as folder:
            out = Path(folder) / "bank"
            report = inject_store(store, parent, out, config, n=n, seed=seed, excluded=excluded)
            if not report.made:
                reasons = ", ".join(f"{number} {reason}" for reason, number in report.skipped.items())
                raise InputError(f"no mock could be made in the galaxies of {store.path}: {reasons}")
            measured = measure_set(out, workers=workers, keep_images=0)
        return bank_of(report.truth, measured.table, config)

    return make


def store_galaxies(
    store: CutoutStore,
    parent: pd.DataFrame,
    start: MockSetConfig,
    excluded: set[str],
    n: int,
    seed: int,
    *,
    workers: int = 1,
) -> pd.DataFrame:
    """Return measured galaxies of a store that could be hosts, without arcs."""
    known = set(store.manifest["source_id"].astype(str)) - excluded
    inside = parent[parent["source_id"].astype(str).isin(known)]
    candidates, _ = choose_candidates(host_table(inside), start.hosts)
    names = candidates["source_id"].astype(str).to_numpy()
    chosen = np.random.default_rng([seed, 8]).permutation(len(names))[:n]
    rows = store.index_of(names[chosen].tolist())
    described = candidates.iloc[chosen]
    parts = [_stamps(store, rows[k : k + 256], described.iloc[k : k + 256]) for k in range(0, len(rows), 256)]
    if not parts:
        raise InputError(f"no galaxy of {store.path} could be a host of the set {start.name!r}")
    return measure_parts(parts, len(rows), workers=workers)


def _stamps(store: CutoutStore, rows: NDArray[np.int64], described: pd.DataFrame) -> Stamps:
    return Stamps(
        names=described["source_id"].astype(str).tolist(),
        images=store.images(rows),
        invvars=store.invvars(rows) if store.has_invvar else None,
        fwhm=described[["psfsize_g", "psfsize_r", "psfsize_z"]].to_numpy(np.float64),
        pixscale=store.description.pixscale,
    )


def run_calibration(
    real: str | Path,
    start: MockSetConfig,
    out: str | Path,
    *,
    hosts: str | Path | None = None,
    parent: str | Path | None = None,
    null: str | Path | None = None,
    weigh: str | Path | None = None,
    split: str = "calibrate",
    force: bool = False,
    config: CalibrationConfig | None = None,
    workers: int = 1,
) -> tuple[Calibration, dict[str, Any]]:
    """Calibrate a set of mocks on real lenses, and write what came out.

    Parameters
    ----------
    real
        Lenses: a store, a file or a folder.
    start
        The set that is moved.
    out
        Folder for `RESULT_NAME`, the posterior, the weights and, if the set is calibrated, `SET_NAME`.
    hosts, parent
        Store of galaxies and the table it was cut from; without them mocks stand in galaxies of a control sky.
    null
        Galaxies without arcs, as ``real``; those of ``hosts`` by default.
    weigh
        A set of `legacylens mocks inject` that shall be weighted to the calibrated population.
    split
        Part of the real lenses that is used; ``gate`` and ``test`` stay unseen for the gate.
    force
        Write the set also if it is not calibrated.
    config
        Settings.
    workers
        Processes.

    Returns
    -------
    calibration, document
        The result, and the JSON document that was written.

    Raises
    ------
    InputError
        If hosts come without their parent table, or as `calibrate`.
    """
    config = config or CalibrationConfig()
    out = Path(out)
    if (hosts is None) != (parent is None):
        raise InputError("hosts and their parent table belong together: give --hosts and --parent, or neither")
    notes: list[str] = []
    measured = measure_set(real, workers=workers, keep_images=0)
    names = measured.table["source_id"].astype(str)
    inside = split_of(names.tolist(), split)
    observed = measured.table[inside].reset_index(drop=True)
    refused = observed.loc[observed["code"] != "ok", "code"].value_counts()
    notes.append(f"{len(observed)} of {len(names)} lenses are in the split {split!r}.")
    if len(refused):
        notes.append("Not measured: " + ", ".join(f"{count} {code}" for code, count in refused.items()) + ".")
    excluded = set(names.str.split("_lens").str[0])
    make, galaxies = _material(hosts, parent, null, start, excluded, config, workers, notes)
    result = calibrate(observed, galaxies, start, make, config, notes=notes)
    document = {**result.as_dict(), "real": str(real), "split": split, "forced": False, "set": None, "weighed": None}
    usable = result.verdict == CALIBRATED
    out.mkdir(parents=True, exist_ok=True)
    for name in (SET_NAME, SET_WEIGHTS_NAME):
        (out / name).unlink(missing_ok=True)  # of an earlier run, perhaps with another verdict
    if usable or force:
        write_text(out / SET_NAME, tomli_w.dumps(result.config.model_dump(mode="json", exclude_none=True)))
        document |= {"set": str(out / SET_NAME), "forced": not usable}
    if weigh is not None and (usable or force):
        document["weighed"] = _weighed(Path(weigh), result.config, out)
    write_parquet(out / DRAWS_NAME, result.draws, units={e.name: e.unit for e in result.estimates if e.unit})
    write_parquet(out / WEIGHTS_NAME, result.weights)
    write_json(out / RESULT_NAME, document)
    inputs = {"real": real, "hosts": hosts, "parent": parent, "null": null, "weigh": weigh}
    write_provenance(
        out,
        step="realism calibrate",
        configuration={
            "start": start.model_dump(mode="json"),
            "calibration": config.model_dump(mode="json"),
            "split": split,
        },
        inputs={name: path for name, path in inputs.items() if path is not None},
        seeds={"calibration": config.seed},
        results={"verdict": result.verdict, "forced": document["forced"]},
    )
    return result, document


def _material(
    hosts: str | Path | None,
    parent: str | Path | None,
    null: str | Path | None,
    start: MockSetConfig,
    excluded: set[str],
    config: CalibrationConfig,
    workers: int,
    notes: list[str],
) -> tuple[MakeBank, pd.DataFrame]:
    """Return where mocks are from, and galaxies without arcs."""
    if hosts is None or parent is None:
        notes.append(
            "Mocks stand in galaxies of a control sky of median seeing and depth, not in the survey's: give --hosts "
            "and --parent for those."
        )
        make = control_bank(workers=workers)
        galaxies = control_galaxies(config.controls, config.seed) if null is None else None
    else:
        store, table = CutoutStore.open(hosts), read_parquet(parent)
        shared = len(excluded & set(store.manifest["source_id"].astype(str)))
        if shared:
            notes.append(f"{shared} observed lenses are in the store {hosts} and were not used as hosts.")
        make = store_bank(store, table, excluded, workers=workers)
        galaxies = None
        if null is None:
            galaxies = store_galaxies(store, table, start, excluded, config.controls, config.seed, workers=workers)
    if galaxies is None:
        galaxies = measure_set(str(null), workers=workers, keep_images=0).table
    return make, galaxies


def _weighed(folder: Path, target: MockSetConfig, out: Path) -> dict[str, Any]:
    """Write the weights of an existing set; return their number and effective sample size."""
    record = read_provenance(folder)
    made_with = MockSetConfig.model_validate(record["configuration"]["set"])
    truth = read_truth(folder)
    weights = weights_of_set(truth, made_with, target)
    write_parquet(out / SET_WEIGHTS_NAME, pd.DataFrame({"source_id": truth["source_id"], "weight": weights}))
    return {"set": str(folder), "mocks": len(weights), "effective": effective(weights)}


def free_without(fixed: Sequence[str], config: CalibrationConfig) -> CalibrationConfig:
    """Return settings in which some parameters stay as in the start.

    Raises
    ------
    InputError
        If there is no parameter of a name.
    """
    unknown = sorted(set(fixed) - set(config.free))
    if unknown:
        raise InputError(f"no free parameter is called {', '.join(unknown)}: choose from {', '.join(config.free)}")
    return config.model_copy(update={"free": tuple(name for name in config.free if name not in fixed)})
