"""Reads and measures the sets of a gate, takes the split that was asked for, and keeps the ledger of the last one."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from legacylens.errors import InputError
from legacylens.files import write_json
from legacylens.provenance import code_hash
from legacylens.realism.gate import Gate, Sample, gate, sample_of, split_of
from legacylens.realism.gate_config import GateConfig
from legacylens.realism.inputs import MeasuredSet, measure_set
from legacylens.realism.measure_config import MeasureConfig

LARGEST_SET = 3000
"""Objects of a set that are measured at most; more would not change a verdict."""


def run_gate(
    sims: str | Path,
    real: str | Path,
    *,
    null: str | Path | None = None,
    zero: str | Path | None = None,
    split: str = "gate",
    ledger: Path | None = None,
    config: GateConfig | None = None,
    workers: int = 1,
) -> Gate:
    """Put a set of simulations on disk to the gate.

    Parameters
    ----------
    sims, real, null, zero
        Stores, files or folders: simulations, real lenses, galaxies without arcs, simulations of zero flux.
    split
        Part of the real set: ``calibrate``, ``gate``, ``test`` or ``all``. ``test`` is opened once for each real set.
    ledger
        File in which openings of ``test`` are logged; beside the real set by default.
    config
        Margins.
    workers
        Processes.

    Raises
    ------
    InputError
        If ``test`` was opened before, or a set is too small.
    """
    config = config or GateConfig()
    real = Path(real)
    place = ledger or real.parent / f"{real.name}.gate-ledger.json"
    openings = _openings(place)
    if split == "test" and openings:
        first = openings[0]
        raise InputError(
            f"the test split of {real} was opened on {first['when']} for {first['sims']}: a second look would make it "
            f"part of the calibration. Take other lenses, or the split 'gate'. The ledger is {place}."
        )
    notes: list[str] = []
    refused: dict[str, dict[str, int]] = {}
    measured = measure_set(real, MeasureConfig(), workers=workers, keep_images=LARGEST_SET, limit=None)
    kept = _sample(measured, notes, refused)
    inside = np.flatnonzero(split_of(kept.table["source_id"].astype(str).tolist(), split))
    kept = kept.part(inside)
    notes.append(f"{len(kept)} real lenses are in the split {split!r}.")
    others = [None if path is None else _load(path, notes, refused, workers) for path in (null, zero)]
    own = _load(sims, notes, refused, workers)
    result = replace(gate(own, kept, config, null=others[0], zero=others[1], notes=notes), refused=refused)
    if split == "test":
        # Logged before anybody sees the verdict; a set that could not be tested has not opened anything.
        entry = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "sims": str(sims), "code": code_hash()}
        write_json(place, {"real": str(real), "openings": [*openings, entry]})
    return result


def _load(path: str | Path, notes: list[str], refused: dict[str, dict[str, int]], workers: int) -> Sample:
    measured = measure_set(path, MeasureConfig(), workers=workers, keep_images=LARGEST_SET, limit=LARGEST_SET)
    return _sample(measured, notes, refused)


def _sample(measured: MeasuredSet, notes: list[str], refused: dict[str, dict[str, int]]) -> Sample:
    refused[str(measured.path)] = measured.refused
    table = measured.table.iloc[: len(measured.images)]
    if len(table) < len(measured.table):
        notes.append(f"{measured.path}: the first {len(table)} of {len(measured.table)} objects are taken.")
    if measured.refused:
        counts = ", ".join(f"{number} {reason}" for reason, number in measured.refused.items())
        notes.append(f"{measured.path}: not measured: {counts}.")
    if bool(measured.table["noise_is_measured"].all()):
        notes.append(f"{measured.path}: no invvar; the noise was measured on each cutout.")
    return sample_of(table, measured.images)


def _openings(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    document = json.loads(path.read_text(encoding="utf-8"))
    return list(document.get("openings", []))
