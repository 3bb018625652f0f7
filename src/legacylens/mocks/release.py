"""Write a miniature survey release whose sky we know, in the survey's own layout.

Nothing in the release tells that it is one: the truth, the configuration and the provenance lie beside it.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from legacylens.errors import InputError
from legacylens.files import TEMPORARY_MARK, atomic_path, read_parquet, remove_leftovers, write_json, write_parquet
from legacylens.mocks.brick_files import is_complete, tractor_path, write_coadds, write_rows
from legacylens.mocks.brick_images import draw_brick
from legacylens.mocks.layout import MockBrick, Patch, lenses_per_brick, patches_of
from legacylens.mocks.lens_list import published_list
from legacylens.mocks.patch import build_patch, generator
from legacylens.mocks.release_config import SIZES, MockReleaseConfig
from legacylens.mocks.release_tables import summary_row, write_bricks, write_summary, write_sweeps
from legacylens.mocks.sources import source_table
from legacylens.mocks.sweep_columns import SWEEP_COLUMNS
from legacylens.mocks.tractor import measure
from legacylens.mocks.truth import GALAXY_UNITS, TRUTH_UNITS, galaxy_truth, lens_truth
from legacylens.progress import console, progress_bar
from legacylens.provenance import write_provenance
from legacylens.survey.release import Release

PARTS = "bricks"
"""Folder of the truth of single bricks."""
IDENTITY = "release.json"
"""File in the truth folder that says which release this is the truth of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MockReleaseSummary:
    """What was written."""

    release: str
    """Folder of the release."""
    truth: str
    """Folder of the truth."""
    known_lenses: str
    """List of known lenses."""
    bricks: int
    """Bricks with images."""
    bricks_kept: int
    """Bricks that an earlier run had finished."""
    sweep_files: int
    """Sweep files."""
    objects: int
    """Catalog rows."""
    lenses: int
    """Lenses in the sky."""
    listed: int
    """Lenses in the list."""
    galaxies: int
    """Structured galaxies without lensing."""

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers by name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """All that a process needs to write the bricks of a patch."""

    release: Release
    truth: Path
    patch: Patch
    config: MockReleaseConfig
    seed: int
    lenses: dict[str, int]


def _part(truth: Path, mock: MockBrick, name: str) -> Path:
    return truth / PARTS / f"{mock.brick.brickname}-{name}"


def _write_patch(job: _Job) -> int:
    """Write the unfinished bricks of a patch; return their number."""
    unfinished = [mock for mock in job.patch.bricks if not is_complete(job.release, mock.brick.brickname)]
    if not unfinished:
        return 0
    content = build_patch(job.patch, job.config, job.seed, job.lenses)
    for mock in unfinished:
        images = draw_brick(content, mock, job.config, job.seed)
        rng = generator(job.seed, "catalog", job.patch.number, mock.brick.brickid)
        rows = measure(content, mock, images, source_table(content, images, rng), rng)
        write_parquet(
            _part(job.truth, mock, "lenses.parquet"),
            lens_truth(content, mock, images, rows, seed=job.seed, population=job.config.population.name),
        )
        write_parquet(_part(job.truth, mock, "galaxies.parquet"), galaxy_truth(content, mock, rows))
        with atomic_path(_part(job.truth, mock, "summary.bin")) as temporary:
            temporary.write_bytes(summary_row(content, mock, images, rows))
        catalog = rows[[c for c in rows if c in _CATALOG_COLUMNS]]
        write_parquet(_part(job.truth, mock, "rows.parquet"), catalog.assign(dchisq=catalog["dchisq"].map(list)))
        write_rows(tractor_path(job.release, mock.brick.brickname), catalog, lower=True)
        write_coadds(job.release, mock, images)
    return len(unfinished)


_CATALOG_COLUMNS = frozenset(name.lower() for name, _, _ in SWEEP_COLUMNS)


def _one_thread() -> None:
    torch.set_num_threads(1)


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Hold torch to one thread, so that sums are the same in this process and in any worker."""
    before = torch.get_num_threads()
    _one_thread()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run(jobs: list[_Job], workers: int) -> Iterator[tuple[_Job, int]]:
    if workers == 1:
        with _single_threaded():
            for job in jobs:
                yield job, _write_patch(job)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        futures = {pool.submit(_write_patch, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _claim(truth: Path, out: Path, config: MockReleaseConfig, seed: int) -> None:
    """Make sure that the folders hold nothing else than this release."""
    identity = truth / IDENTITY
    wanted = {"configuration": config.model_dump(mode="json"), "seed": seed}
    if identity.exists():
        if json.loads(identity.read_text(encoding="utf-8")) != wanted:
            raise InputError(
                f"{out} was begun with another size or seed (see {identity}). "
                "Give another folder, or remove both folders to start again."
            )
    elif out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty and {identity} does not say what it is. Give an empty or new folder.")
    write_json(identity, wanted)


def _clean(*folders: Path) -> None:
    """Remove what an interrupted run left half written."""
    for folder in folders:
        for parent in {path.parent for path in folder.rglob(f"{TEMPORARY_MARK}*")}:
            remove_leftovers(parent)


def write_mock_release(
    out: Path,
    *,
    size: str | MockReleaseConfig = "tiny",
    seed: int = 1,
    truth: Path | None = None,
    known_lenses: Path | None = None,
    workers: int = 1,
) -> MockReleaseSummary:
    """Write a mock release; bricks that are there already are kept.

    Parameters
    ----------
    out
        Folder of the release.
    size
        ``tiny``, ``small``, ``medium``, or a configuration.
    seed
        Decides the sky and the noise; the bricks' positions depend on the size alone.
    truth
        Folder of the truth, outside of ``out``; ``<out>-truth`` if None.
    known_lenses
        List of known lenses (CSV); ``<out>-known-lenses.csv`` if None.
    workers
        Number of processes. The result does not depend on it.

    Returns
    -------
    summary
        What was written.

    Raises
    ------
    InputError
        If the size is unknown, the truth would lie inside of the release, or the folder holds something else.
    """
    if isinstance(size, str):
        if size not in SIZES:
            raise InputError(f"no mock release of size {size!r}: sizes are {', '.join(SIZES)}")
        config = SIZES[size]
    else:
        config = size
    if workers < 1:
        raise InputError(f"workers = {workers}: at least 1 process is needed")
    out = Path(out)
    truth = out.with_name(f"{out.name}-truth") if truth is None else Path(truth)
    known_lenses = out.with_name(f"{out.name}-known-lenses.csv") if known_lenses is None else Path(known_lenses)
    for path, what in ((truth, "truth"), (known_lenses, "list of known lenses")):
        if path.resolve().is_relative_to(out.resolve()):
            raise InputError(f"the {what} {path} would lie inside of the release {out}, where a search could read it")
    _claim(truth, out, config, seed)
    _clean(out, truth)
    release = Release(root=str(out))
    patches = patches_of(config)
    mocks = [mock for patch in patches for mock in patch.bricks]
    lenses = lenses_per_brick(patches, config.lenses)
    jobs = [
        _Job(release=release, truth=truth, patch=patch, config=config, seed=seed, lenses=lenses)
        for patch in sorted(patches, key=lambda p: -len(p.bricks))
    ]
    written = 0
    with progress_bar("mock bricks", len(mocks)) as bar:
        for job, n in _run(jobs, workers):
            written += n
            bar.advance(len(job.patch.bricks))
    return _finish(release, truth, known_lenses, mocks, config, seed, written)


def _joined(truth: Path, mocks: list[MockBrick], name: str) -> pd.DataFrame:
    """Return the tables of all bricks as one; those without rows, whose columns have no type, are left out."""
    tables = [read_parquet(_part(truth, mock, name)) for mock in mocks]
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


def _finish(
    release: Release,
    truth: Path,
    known_lenses: Path,
    mocks: list[MockBrick],
    config: MockReleaseConfig,
    seed: int,
    written: int,
) -> MockReleaseSummary:
    """Write the tables of the whole release, the truth and the list."""
    rows = {m.brick.brickname: read_parquet(_part(truth, m, "rows.parquet")) for m in mocks}
    write_bricks(release, mocks)
    write_summary(release, [_part(truth, m, "summary.bin").read_bytes() for m in mocks])
    sweeps = write_sweeps(release, rows, mocks)
    lens_table = _joined(truth, mocks, "lenses.parquet")
    galaxies = _joined(truth, mocks, "galaxies.parquet")
    published, lens_table = published_list(lens_table, galaxies, config, generator(seed, "list"))
    with atomic_path(known_lenses) as temporary:
        published.to_csv(temporary, index=False)
    write_parquet(
        truth / "lenses.parquet", lens_table, units={name: unit for name, unit in TRUTH_UNITS.items() if unit}
    )
    write_parquet(truth / "galaxies.parquet", galaxies, units=GALAXY_UNITS)
    if len(lens_table) < config.lenses:
        console.print(f"{config.lenses - len(lens_table)} lenses found no place and were left out")
    summary = MockReleaseSummary(
        release=release.root,
        truth=str(truth),
        known_lenses=str(known_lenses),
        bricks=len(mocks),
        bricks_kept=len(mocks) - written,
        sweep_files=len(sweeps),
        objects=sum(len(table) for table in rows.values()),
        lenses=len(lens_table),
        listed=int((lens_table["listed_name"] != "").sum()) if len(lens_table) else 0,
        galaxies=len(galaxies),
    )
    write_provenance(
        truth,
        step="mocks release",
        configuration=config.model_dump(mode="json"),
        inputs={},
        seeds={"release": seed},
        results=summary.as_dict(),
    )
    return summary
