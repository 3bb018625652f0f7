"""Writes what was measured: the table with its units, a record of what made it, and a summary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from legacylens.files import write_parquet
from legacylens.provenance import write_provenance
from legacylens.realism.columns import CODES, UNITS
from legacylens.realism.inputs import MeasuredSet, measure_set
from legacylens.realism.measure_config import MeasureConfig
from legacylens.realism.null import calibrate, null_model

TABLE_NAME = "arcs.parquet"

SUMMARIZED = (
    "arc_score",
    "peak_snr",
    "lens_snr",
    "integrated_snr",
    "aperture_snr",
    "arc_mag_g",
    "arc_mag_r",
    "arc_g_r",
    "arc_r_z",
    "arc_radius",
    "azimuthal_extent",
    "arc_width",
    "arc_roughness",
    "core_to_arc",
    "host_mag_r",
    "host_g_r",
    "host_r_z",
    "noise_r",
    "lag_r",
    "null_z",
    "statement_arc_snr",
    "statement_core_to_arc",
)
"""Columns of which a summary gives median and spread."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredRun:
    """A measured set with its controls."""

    measured: MeasuredSet
    """The set; its table has the ``null_*`` columns if there were controls."""
    controls: MeasuredSet | None
    """The controls."""

    def summary(self) -> dict[str, Any]:
        """Return the result as a JSON document."""
        table, good = self.measured.table, self.measured.measured
        notes = list(self.measured.problems)
        if len(good) and bool(good["psf_is_assumed"].all()):
            notes.append("The PSF of the cutouts is not known: medians of the survey were assumed for it.")
        if len(good) and bool(good["noise_is_measured"].all()):
            notes.append("There is no invvar: the noise was measured on the sky of each cutout.")
        notes += [f"{reason}: {CODES[reason]}" for reason in self.measured.refused if reason in CODES]
        result: dict[str, Any] = {
            "set": str(self.measured.path),
            "objects": len(table),
            "measured": len(good),
            "refused": self.measured.refused,
            "statistics": {name: quantiles(good[name]) for name in SUMMARIZED if quantiles(good[name])},
            "controls": None if self.controls is None else len(self.controls.measured),
            "above_z_3": None,
            "notes": notes,
        }
        if self.controls is not None:
            result["above_z_3"] = int((good["null_z"] > 3.0).sum())
        return result


def quantiles(values: pd.Series[Any]) -> dict[str, float]:
    """Return 16, 50 and 84 % of the finite values, or nothing if there are none."""
    finite = values.to_numpy(np.float64)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return {}
    low, middle, high = np.percentile(finite, [16.0, 50.0, 84.0])
    return {"low": float(low), "median": float(middle), "high": float(high)}


def write_measured(
    measured: MeasuredSet, out: Path, null: Path | None, *, config: MeasureConfig | None = None, workers: int = 1
) -> MeasuredRun:
    """Compare a measured set with controls, if there are any, and write its table.

    Parameters
    ----------
    measured
        The set.
    out
        Folder.
    null
        Galaxies without arcs, or None.
    config
        Settings that the set was measured with.
    workers
        Processes that measure the controls.
    """
    controls = None
    if null is not None:
        controls = measure_set(null, config, workers=workers, keep_images=0)
        table = calibrate(measured.table, null_model(controls.table))
        measured = MeasuredSet(
            path=measured.path,
            table=table,
            refused=measured.refused,
            problems=measured.problems,
            images=measured.images,
            image_names=measured.image_names,
        )
    write_parquet(out / TABLE_NAME, measured.table, units={name: unit for name, unit in UNITS.items() if unit})
    run = MeasuredRun(measured=measured, controls=controls)
    inputs: dict[str, str | Path] = {"cutouts": measured.path}
    if null is not None:
        inputs["null"] = null
    write_provenance(
        out,
        step="realism measure",
        configuration=(config or MeasureConfig()).model_dump(mode="json"),
        inputs=inputs,
        results={key: value for key, value in run.summary().items() if key != "statistics"},
    )
    return run
