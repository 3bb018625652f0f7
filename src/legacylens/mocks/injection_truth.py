"""The truth of injected mocks: one table, every parameter with its unit, enough to make each of them again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from legacylens.errors import FileProblem
from legacylens.files import read_parquet, sha256_of_text, write_parquet
from legacylens.mocks.hosts import HOST_UNITS
from legacylens.mocks.injection import Injected
from legacylens.mocks.population import LENS_UNITS
from legacylens.mocks.population_sets import MockSetConfig
from legacylens.mocks.set_files import TRUTH_NAME as TRUTH_NAME  # those who read the truth ask here for its name
from legacylens.photometry import magnitude
from legacylens.survey.bands import BANDS

TRUTH_UNITS: dict[str, str] = {
    "source_id": "",
    "host_source_id": "",
    "set": "",
    "config_hash": "",
    "seed": "",
    **LENS_UNITS,
    "magnification": "",
    **{f"arc_mag_{band}": "AB mag" for band in BANDS},
    **{f"arc_flux_{band}": "nanomaggy" for band in BANDS},
    **{f"snr_{band}": "" for band in BANDS},
    "snr": "",
    **{f"gain_{band}": "electron/nanomaggy" for band in BANDS},
    **{f"closure_{band}": "" for band in BANDS},
    "psf": "",
    **{f"host_{name}": unit for name, unit in HOST_UNITS.items() if name != "source_id"},
}
"""Columns of the truth and their units.

Magnitudes of source and arc are without Galactic extinction; ``arc_flux_*`` is what was injected, behind the dust.
Angles are in the image plane: x along columns, y along rows, from the middle of the host's pixel. ``snr_*`` is that
of a matched filter, ``snr`` the best of them; ``expected_*`` is the coarse value on which the lens was selected.
``psf`` is ``pixelized`` or ``moffat``."""


def config_hash(config: MockSetConfig) -> str:
    """Return a short hash of a set's configuration; equal hashes make equal mocks of equal hosts and seeds."""
    return sha256_of_text(config.model_dump_json())[:16]


def mock_id(host_source_id: str, seed: int) -> str:
    """Return the identity of a mock, which names its host and its seed."""
    return f"{host_source_id}_lens{seed:x}"


def truth_row(
    config: MockSetConfig,
    host: Mapping[str, Any],
    lens: Mapping[str, Any],
    injected: Injected,
    *,
    seed: int,
    psf: str,
    bands: tuple[str, ...] = BANDS,
) -> dict[str, Any]:
    """Return the truth of one mock.

    Parameters
    ----------
    config
        Its set.
    host
        Row of the host table.
    lens
        Row of the drawn lenses.
    injected
        What was made.
    seed
        Its seed.
    psf
        ``pixelized`` or ``moffat`` (or the fault).
    bands
        Bands of the host, in order.
    """
    host_id = str(host["source_id"])
    row: dict[str, Any] = {
        "source_id": mock_id(host_id, seed),
        "host_source_id": host_id,
        "set": config.name,
        "config_hash": config_hash(config),
        "seed": seed,
        **{name: float(lens[name]) for name in LENS_UNITS},
        "magnification": injected.magnification,
        "snr": float(injected.snr.max()),
        "psf": psf,
        **{f"host_{name}": host[name] for name in HOST_UNITS if name != "source_id"},
    }
    for number, band in enumerate(bands):
        unlensed = 10.0 ** (-0.4 * float(lens[f"source_mag_{band}"])) * config.injection.flux_factor
        row[f"arc_mag_{band}"] = float(magnitude(unlensed * 10.0**9.0 * injected.magnification))
        row[f"arc_flux_{band}"] = float(injected.flux[number])
        row[f"snr_{band}"] = float(injected.snr[number])
        row[f"gain_{band}"] = float(injected.gain[number])
        row[f"closure_{band}"] = float(injected.closure[number])
    return {name: row[name] for name in TRUTH_UNITS}


def truth_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return rows as a table of the schema; without rows, an empty one."""
    table = pd.DataFrame(rows, columns=list(TRUTH_UNITS))
    return table.astype({"seed": np.int64})


def write_truth(folder: str | Path, table: pd.DataFrame) -> Path:
    """Write ``truth.parquet`` into a folder, units in the metadata of its columns."""
    path = Path(folder) / TRUTH_NAME
    write_parquet(path, table, units={name: unit for name, unit in TRUTH_UNITS.items() if unit})
    return path


def read_truth(folder: str | Path) -> pd.DataFrame:
    """Read the truth beside a store of injected mocks.

    Raises
    ------
    FileProblem
        If there is none, or it lacks columns.
    """
    path = Path(folder) / TRUTH_NAME
    table = read_parquet(path)
    missing = [name for name in TRUTH_UNITS if name not in table]
    if missing:
        raise FileProblem(
            path, f"lacks the columns {', '.join(missing)}", "Make the mocks again.", reason="missing-column"
        )
    return table
