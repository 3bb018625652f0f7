"""A sample: every parent object with its label, its split and the reason for both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from legacylens.errors import FileProblem, InputError
from legacylens.files import iter_parquet, read_parquet, write_json, write_parquet
from legacylens.provenance import write_provenance
from legacylens.samples.config import GUARD, SPLITS, SampleConfig
from legacylens.samples.draw import in_fraction, strata
from legacylens.samples.labels import (
    LENS,
    NON_LENS,
    REASON_DUPLICATE,
    REASON_LEFT_OUT,
    REASON_NOT_DRAWN,
    REASON_SEEN,
    UNUSED,
    check_left_out,
    label_objects,
    left_out,
    near_duplicates,
)
from legacylens.samples.pools import (
    HARD,
    INSPECTED,
    REPRESENTATIVE,
    apply_verdicts,
    draw_split,
    mark_contaminants,
    read_verdicts,
)
from legacylens.samples.simulated import add_simulations, drop_simulations, verify_simulations
from legacylens.samples.split import split_objects
from legacylens.survey.sphere import nearest

SAMPLE_NAME = "sample.parquet"
SUMMARY_NAME = "sample.json"

COLUMNS = (
    "source_id",
    "ra",
    "dec",
    "brickname",
    "type",
    "nobs_z",
    "label",
    "reason",
    "split",
    "tier",
    "grade",
    "channel",
    "sources",
    "system_id",
    "lens_separation_arcsec",
    "cell",
    "group",
    "stratum",
    "pool",
    "contaminant",
    "held_out",
)
"""Columns of a sample, in order."""

UNITS = {"ra": "deg", "dec": "deg", "lens_separation_arcsec": "arcsec"}

_NEEDED = ("source_id", "ra", "dec", "brickname", "type", "nobs_z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A labeled and split sample with the numbers that describe it."""

    frame: pd.DataFrame
    """One row for each parent object, columns `COLUMNS`."""
    summary: dict[str, Any]
    """``hash``, ``counts`` (by split and label), ``reasons``, ``strata``, ``configuration``: JSON-compatible."""


def sample_hash(frame: pd.DataFrame) -> str:
    """Return a SHA-256 over (source_id, label, split) of every row: the same in any order of the rows."""
    ordered = frame[["source_id", "label", "split"]].sort_values("source_id")
    digest = hashlib.sha256()
    for source_id, label, split in zip(ordered["source_id"], ordered["label"], ordered["split"], strict=True):
        digest.update(f"{source_id}\t{label}\t{split}\n".encode())
    return digest.hexdigest()


def count_sample(frame: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Return the number of lenses, non-lenses and unused objects in each split."""
    names = {"lenses": LENS, "non_lenses": NON_LENS, "unused": UNUSED}
    return {
        split: {
            name: int(((frame["split"] == split) & (frame["label"] == label)).sum()) for name, label in names.items()
        }
        for split in (*SPLITS, GUARD)
    }


def build_sample(
    parent: pd.DataFrame,
    systems: pd.DataFrame,
    config: SampleConfig,
    *,
    contaminants: pd.DataFrame | None = None,
    verdicts: pd.DataFrame | None = None,
) -> Sample:
    """Label, split and draw a sample from a parent table and the known systems.

    Parameters
    ----------
    parent
        Columns ``source_id``, ``ra``, ``dec`` [deg], ``brickname``, ``type``, ``nobs_z``; all went through one
        selection function, so lenses and non-lenses are cut alike.
    systems
        Known systems: ``system_id``, ``ra``, ``dec`` [deg], ``tier``, ``grade``, as `legacylens.catalog` merges them.
    config
        What a sample is made of.
    contaminants
        Objects that are known to be no lens, as `legacylens.catalog.contaminants` writes them.
    verdicts
        What people said about suspicious non-lenses, as `legacylens.samples.pools.read_verdicts` returns it.

    Raises
    ------
    InputError
        If a column is missing, a ``source_id`` or a position is unusable, a list that is to be left out does not
        exist, or a split has no lens or no non-lens.
    """
    _check_table(parent, _NEEDED, "the parent table", "source_id")
    _check_table(systems, ("system_id", "ra", "dec", "tier", "grade"), "the table of known systems", "system_id")
    # Sorted once: whatever order the rows come in, the sample is the same, row by row.
    objects = parent.loc[:, list(_NEEDED)].sort_values("source_id", ignore_index=True)
    objects["source_id"] = objects["source_id"].astype(str)

    labels = label_objects(objects, systems, config)
    classes = np.full(len(objects), "", dtype=object)
    if contaminants is not None:
        labels, classes = mark_contaminants(objects, labels, contaminants, systems, config)
    unplaced = 0
    if verdicts is not None:
        labels, rejected = apply_verdicts(objects, labels, verdicts, config)
        classes = np.where(rejected & (classes == ""), INSPECTED, classes)
        unplaced = int((~verdicts["source_id"].isin(objects["source_id"])).sum())
    repeats = near_duplicates(objects, labels["label"].to_numpy(), config.duplicate_radius_arcsec)
    repeats &= labels["label"].to_numpy() != UNUSED
    labels.loc[repeats, "label"] = UNUSED
    labels.loc[repeats, "reason"] = REASON_DUPLICATE

    frame = pd.concat([objects, labels, split_objects(objects, config)], axis=1)
    frame["contaminant"] = pd.Series(classes, dtype=str)
    frame["stratum"] = strata(frame["type"], frame["nobs_z"], config.nobs_edges)
    check_left_out(systems, config.leave_out)
    frame["held_out"] = left_out(frame, config.leave_out)
    unseen = frame["held_out"].to_numpy() & (frame["split"] != "sealed").to_numpy()
    frame.loc[unseen, "label"] = UNUSED
    frame.loc[unseen, "reason"] = REASON_LEFT_OUT
    frame["in_brick"] = in_fraction(frame["brickname"], config.brick_fraction, config.draw_seed)
    matched = config.matched_splits if config.negatives_per_positive is not None else ()
    # Outside of the chosen bricks only the hard pool of a drawn split is left.
    elsewhere = (frame["label"] == NON_LENS) & ~frame["in_brick"]
    elsewhere &= ~((frame["contaminant"] != "") & frame["split"].isin(matched))
    frame.loc[elsewhere, "label"] = UNUSED
    frame.loc[elsewhere, "reason"] = REASON_NOT_DRAWN
    is_used = frame["split"].isin(SPLITS) & (frame["label"] == NON_LENS)
    frame["pool"] = pd.Series(np.where(is_used, REPRESENTATIVE, ""), dtype=str)
    drawn: dict[str, list[dict[str, Any]]] = {}
    for split in matched:
        part = frame[(frame["split"] == split) & (frame["label"] != UNUSED)]
        pool, table = draw_split(part, config, float(config.negatives_per_positive or 0.0))
        frame.loc[part.index, "pool"] = pool
        frame.loc[part.index[pool == HARD], "reason"] = REASON_SEEN
        dropped = part.index[(part["label"] == NON_LENS) & (pool == "")]
        frame.loc[dropped, "label"] = UNUSED
        frame.loc[dropped, "reason"] = REASON_NOT_DRAWN
        drawn[split] = [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
    frame = frame[list(COLUMNS)]

    counts = count_sample(frame)
    _check_counts(counts, len(systems), config)
    summary = {
        "hash": sample_hash(frame),
        "objects": len(frame),
        "known_systems": len(systems),
        "counts": counts,
        "pools": _count_by(frame[frame["label"] == NON_LENS], "pool"),
        "contaminants": _count_by(frame[(frame["label"] == NON_LENS) & (frame["contaminant"] != "")], "contaminant"),
        "held_out": {split: int((frame["held_out"] & (frame["split"] == split)).sum()) for split in SPLITS},
        "verdicts_without_object": unplaced,
        "reasons": {str(name): int(count) for name, count in frame["reason"].value_counts().items()},
        "groups": int(frame["group"].nunique()),
        "cells": {split: int(frame.loc[frame["split"] == split, "cell"].nunique()) for split in SPLITS},
        "strata": drawn,
        "configuration": config.model_dump(mode="json"),
    }
    return Sample(frame=frame, summary=summary)


def _count_by(frame: pd.DataFrame, column: str) -> dict[str, dict[str, int]]:
    """Return the number of rows by split and value of a column."""
    return {
        split: {
            str(name): int(count)
            for name, count in frame.loc[frame["split"] == split, column].value_counts().sort_index().items()
        }
        for split in SPLITS
    }


def _check_table(frame: pd.DataFrame, columns: tuple[str, ...], what: str, identity: str) -> None:
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise InputError(f"{what} has no column {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}")
    repeated = frame[identity].duplicated()
    if repeated.any():
        example = frame.loc[repeated, identity].iloc[0]
        raise InputError(f"{what} repeats {int(repeated.sum())} {identity}, e.g. {example!r}; keep one row for each")
    bad = ~(frame["ra"].between(0, 360) & frame["dec"].between(-90, 90))
    if bad.any():
        example = frame.loc[bad, identity].iloc[0]
        raise InputError(
            f"{what} has {int(bad.sum())} rows whose ra, dec are no position in degrees, e.g. {example!r}; drop them"
        )


def _check_counts(counts: dict[str, dict[str, int]], n_systems: int, config: SampleConfig) -> None:
    problems = []
    for split in SPLITS:
        if counts[split]["lenses"] == 0:
            problems.append(f"the {split} split has no lens")
        if counts[split]["non_lenses"] == 0:
            problems.append(f"the {split} split has no non-lens")
    if problems:
        table = "; ".join(
            f"{split}: {count['lenses']} lenses, {count['non_lenses']} non-lenses, {count['unused']} unused"
            for split, count in counts.items()
        )
        raise InputError(
            f"{' and '.join(problems)} ({table}; {n_systems} known systems, cells of nside {config.nside}). Use "
            "smaller cells (a larger nside), another split_seed, a narrower guard, a larger worst_tier, or more sky."
        )


def write_sample(sample: Sample, out: str | Path) -> Path:
    """Write ``sample.parquet`` and ``sample.json`` into a folder; return the path of the table."""
    out = Path(out)
    write_parquet(out / SAMPLE_NAME, sample.frame, units=UNITS)
    write_json(out / SUMMARY_NAME, sample.summary)
    return out / SAMPLE_NAME


def read_sample(path: str | Path) -> Sample:
    """Read a sample and check that its rows are those that were written.

    Parameters
    ----------
    path
        ``sample.parquet``, or the folder that holds it.

    Raises
    ------
    FileProblem
        If the table or its summary is missing or broken, or the rows do not have the hash of the summary.
    """
    path = Path(path)
    if path.is_dir():
        path = path / SAMPLE_NAME
    frame = read_parquet(path)
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise FileProblem(path, f"no column {', '.join(missing)}", "Build the sample again.", reason="columns")
    summary_path = path.with_name(SUMMARY_NAME)
    try:
        summary = json.loads(summary_path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileProblem(
            summary_path, "the sample has no summary", "Build the sample again.", reason="missing"
        ) from None
    except ValueError as error:
        raise FileProblem(summary_path, f"broken ({error})", "Build the sample again.", reason="truncated") from error
    if summary.get("hash") != sample_hash(frame):
        raise FileProblem(
            path, f"its rows do not have the hash in {SUMMARY_NAME}", "Build the sample again.", reason="hash"
        )
    return Sample(frame=frame, summary=summary)


def make_sample(
    parent_path: str | Path,
    systems_path: str | Path,
    out: str | Path,
    config: SampleConfig,
    *,
    contaminants_path: str | Path | None = None,
    verdict_paths: Sequence[str | Path] = (),
    simulations: str | Path | None = None,
    realism: str | Path | None = None,
    unchecked: bool = False,
) -> dict[str, Any]:
    """Read a parent table and the known systems, build the sample and write it with its provenance.

    Parameters
    ----------
    parent_path
        ``parent.parquet``, or the folder that holds it.
    systems_path
        ``systems.parquet`` of the known lenses, or the folder that holds it.
    out
        Folder for ``sample.parquet``, ``sample.json`` and ``provenance.json``.
    config
        What a sample is made of.
    contaminants_path
        ``contaminants.parquet``, or the folder that holds it.
    verdict_paths
        Tables of verdicts, see `legacylens.samples.pools.read_verdicts`.
    simulations
        Simulated lenses for the training split, see `legacylens.samples.simulated.add_simulations`.
    realism, unchecked
        The report that speaks for them, or that they are taken all the same.

    Returns
    -------
    summary
        The content of ``sample.json``.

    Raises
    ------
    InputError
        As `build_sample`; or if no report speaks for the simulations, which is found before anything is built.
    """
    if simulations is not None:
        verify_simulations(simulations, realism, unchecked=unchecked)
    parent_path, systems_path = _table_in(parent_path, "parent.parquet"), _table_in(systems_path, "systems.parquet")
    inputs = {"parent": parent_path, "known": systems_path}
    contaminants = verdicts = None
    if contaminants_path is not None:
        inputs["contaminants"] = _table_in(contaminants_path, "contaminants.parquet")
        contaminants = read_parquet(inputs["contaminants"])
    if verdict_paths:
        inputs |= {f"verdicts {place}": Path(path) for place, path in enumerate(verdict_paths)}
        verdicts = read_verdicts(verdict_paths)
    systems = read_parquet(systems_path)
    parent, not_read = read_parent(parent_path, systems, config, contaminants=contaminants)
    sample = build_sample(parent, systems, config, contaminants=contaminants, verdicts=verdicts)
    sample.summary["parents_elsewhere"] = not_read
    drop_simulations(out)
    if simulations is not None:
        inputs["simulations"] = Path(simulations)
        sample.summary["simulations"] = add_simulations(sample.frame, out, simulations, realism, unchecked=unchecked)
    write_sample(sample, out)
    write_provenance(
        out,
        step="samples",
        configuration=config.model_dump(mode="json"),
        inputs=inputs,
        seeds={"split": config.split_seed, "draw": config.draw_seed},
        results={name: sample.summary.get(name) for name in ("hash", "counts", "simulations")},
    )
    return sample.summary


def read_parent(
    path: str | Path, systems: pd.DataFrame, config: SampleConfig, *, contaminants: pd.DataFrame | None = None
) -> tuple[pd.DataFrame, int]:
    """Read the rows of a parent table that can be in a sample, block by block.

    With a ``brick_fraction`` below 1 these are the rows of the chosen bricks and those near a known system or a
    contaminant, so that the parents of a whole survey need little memory.

    Returns
    -------
    parent
        The columns that a sample needs.
    elsewhere
        Number of rows that were passed over.
    """
    if config.brick_fraction >= 1.0:
        return read_parquet(path), 0
    places = [systems, *([contaminants] if contaminants is not None else [])]
    ra, dec = (np.concatenate([table[name].to_numpy(np.float64) for table in places]) for name in ("ra", "dec"))
    parts, total = [], 0
    for rows in iter_parquet(path, columns=list(_NEEDED)):
        total += len(rows)
        keep = in_fraction(rows["brickname"], config.brick_fraction, config.draw_seed)
        position = rows["ra"].between(0, 360) & rows["dec"].between(-90, 90)
        _, separation = nearest(rows["ra"].where(position, 0.0), rows["dec"].where(position, 90.0), ra, dec)
        parts.append(rows[keep | (separation <= config.exclusion_radius_arcsec) | ~position.to_numpy()])
    parent = pd.concat(parts, ignore_index=True)
    return parent, total - len(parent)


def _table_in(path: str | Path, name: str) -> Path:
    path = Path(path)
    return path / name if path.is_dir() else path
