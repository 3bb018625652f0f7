"""Sweep files of a few rows, in the survey's own layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

BANDS = ("g", "r", "z")


def sweep_columns(n: int, rng: np.random.Generator, **replaced: Any) -> dict[str, np.ndarray]:
    """Columns of ``n`` sources that pass every default cut, in upper case and the survey's types."""
    flux_z = rng.uniform(20, 100, n).astype("f4")  # z = 19.2 to 17.5
    columns: dict[str, Any] = {
        "RELEASE": np.full(n, 10002, "i2"),
        "BRICKID": rng.integers(1, 600_000, n).astype("i4"),
        "BRICKNAME": np.full(n, b"1126p222", "S8"),
        "OBJID": np.arange(n, dtype="i4"),
        "TYPE": rng.choice(np.array([b"SER", b"DEV", b"REX", b"EXP"], dtype="S3"), n),
        "RA": rng.uniform(112, 113, n),
        "DEC": rng.uniform(22, 23, n),
        "EBV": rng.uniform(0, 0.1, n).astype("f4"),
        "DCHISQ": np.zeros((n, 5), "f4"),
        "SHAPE_R": rng.uniform(0.5, 3, n).astype("f4"),
        "SHAPE_E1": np.zeros(n, "f4"),
        "SHAPE_E2": np.zeros(n, "f4"),
        "SERSIC": np.full(n, 2.5, "f4"),
        "MASKBITS": np.zeros(n, "i4"),
    }
    for band in BANDS:
        columns[f"FLUX_{band.upper()}"] = flux_z * {"g": 0.2, "r": 0.6, "z": 1.0}[band]
        columns[f"FLUX_IVAR_{band.upper()}"] = np.full(n, 100, "f4")
        columns[f"MW_TRANSMISSION_{band.upper()}"] = np.full(n, 0.95, "f4")
        columns[f"NOBS_{band.upper()}"] = np.full(n, 4, "i2")
        columns[f"PSFSIZE_{band.upper()}"] = np.full(n, 1.2, "f4")
        columns[f"PSFDEPTH_{band.upper()}"] = np.full(n, 500, "f4")
        columns[f"GALDEPTH_{band.upper()}"] = np.full(n, 400, "f4")
        columns[f"FRACFLUX_{band.upper()}"] = np.zeros(n, "f4")
    for name, values in replaced.items():
        if values is None:
            del columns[name.upper()]
        else:
            columns[name.upper()] = np.asarray(values)
    return columns


def write_table(path: Path, columns: dict[str, np.ndarray]) -> Path:
    """Write columns as a binary table behind an empty primary HDU, as sweeps are."""
    dtype = [(name, values.dtype, values.shape[1:]) for name, values in columns.items()]
    rows = np.zeros(len(next(iter(columns.values()))), dtype=dtype)
    for name, values in columns.items():
        rows[name] = values
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(rows)]).writeto(path, overwrite=True)
    return path


@pytest.fixture
def make_sweep(tmp_path: Path) -> Callable[..., Path]:
    """Write a sweep of ``n`` rows that pass all cuts, with some columns replaced (None: left out)."""

    def make(name: str = "sweep-110p020-115p025.fits", n: int = 12, seed: int = 5, **replaced: Any) -> Path:
        return write_table(tmp_path / name, sweep_columns(n, np.random.default_rng(seed), **replaced))

    return make
