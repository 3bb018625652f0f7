"""Reads and measures what an audit compares, and judges it; what cannot be read is judged, too."""

from __future__ import annotations

from pathlib import Path

from legacylens.errors import FileProblem
from legacylens.realism.audit import Audit, audit, audit_refused
from legacylens.realism.inputs import MeasuredSet, measure_set
from legacylens.realism.measure_config import MeasureConfig


def run_audit(
    sims: str | Path,
    *,
    real: str | Path | None = None,
    null: str | Path | None = None,
    seed: int = 1,
    workers: int = 1,
    config: MeasureConfig | None = None,
) -> tuple[Audit, MeasuredSet | None]:
    """Audit a set of simulations on disk.

    Parameters
    ----------
    sims, real, null
        Stores, files or folders.
    seed
        Of the bootstrap.
    workers
        Processes.
    config
        Settings of the measurement.

    Returns
    -------
    result, measured
        The audit, and the measured simulations (None if not one could be read).

    Raises
    ------
    FileProblem
        If a set cannot be read for a reason that is not a fault of simulations.
    InputError
        As `audit.audit`.
    """
    try:
        measured = measure_set(sims, config, workers=workers)
    except FileProblem as problem:
        return audit_refused(problem, sims), None
    others = None if real is None else measure_set(real, config, workers=workers, keep_images=0)
    galaxies = None if null is None else measure_set(null, config, workers=workers, keep_images=0)
    return audit(measured, real=others, null=galaxies, seed=seed), measured
