"""Simulated lenses in a sample: only with a report that they are realistic, or with an override that is written down.

`verify_simulations` is the one check, for samples and trainings alike. What was taken, and why, is a record in the
folder of the sample; it names the set by its hash, so that another set under the same name is noticed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from legacylens.errors import FileProblem, InputError
from legacylens.files import read_parquet, sha256_of_file, write_json, write_parquet
from legacylens.mocks.set_files import TRUTH_NAME, set_hash
from legacylens.samples.labels import LENS, NON_LENS

RECORD_NAME = "simulations.json"
"""What a sample knows of its simulations; also a report that `legacylens train --realism` takes."""
ROWS_NAME = "simulated.parquet"
"""The simulated lenses of a sample."""
ORIGIN = "simulated"
LEAST = 10
"""Fewest simulated lenses that are worth a sample."""
PASS = "pass"
REMEDY = (
    "Put the set to `legacylens realism gate` and give its report (--realism gate.json), or take the set all the same "
    "with --unchecked, which is recorded."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Why simulations may be used."""

    simulations: str
    """Folder of the set."""
    simulations_hash: str
    """Its identity."""
    verdict: str
    """Of the gate, or ``none`` without a report."""
    report: str | None
    """The report."""
    report_hash: str | None
    """Hash of the file."""
    override: bool
    """Taken although no report says pass."""

    @property
    def words(self) -> str:
        """Return the reason in words."""
        if not self.override:
            return f"realism report: {self.verdict}"
        if self.report is None:
            return "no realism report (unchecked was set)"
        return f"realism report: {self.verdict} (unchecked was set)"

    def as_dict(self) -> dict[str, Any]:
        """Return the record as a JSON document."""
        return asdict(self)


def verify_simulations(
    folder: str | Path, report: str | Path | None, *, unchecked: bool = False, remedy: str = REMEDY
) -> Admission:
    """Check that a set of simulations may be learned from.

    Parameters
    ----------
    folder
        Folder of `legacylens mocks inject`.
    report
        ``gate.json`` of `legacylens realism gate`, or the record of a sample that took this set.
    unchecked
        Take the set without a report, or against its verdict; never with a report on another set.
    remedy
        What a user can do, for the messages.

    Raises
    ------
    InputError
        If no report speaks for the set, or its verdict is not ``pass``, and ``unchecked`` is not set.
    FileProblem
        If the report cannot be read or is about another set, or there is no set.
    """
    own = set_hash(folder)
    if report is None:
        if not unchecked:
            raise InputError(f"no realism report speaks for the simulated lenses in {folder}. {remedy}")
        return Admission(
            simulations=str(folder), simulations_hash=own, verdict="none", report=None, report_hash=None, override=True
        )
    path = Path(report)
    document = _read(path, remedy)
    try:
        verdict, judged = str(document["verdict"]), str(document["simulations_hash"])
        recorded = document.get("override", False) is True
    except KeyError as error:
        raise FileProblem(path, f"not a realism report ({error!r})", remedy, reason="format") from error
    if judged != own:
        raise FileProblem(path, f"a report on another set than {folder}", remedy, reason="other-set")
    # A sample's record may hold the override of the one who built it: it is as explicit as one given now.
    override = verdict != PASS and (unchecked or recorded)
    if verdict != PASS and not override:
        raise InputError(f"the realism report {path} on {folder} says {verdict!r}. {remedy}")
    return Admission(
        simulations=str(folder),
        simulations_hash=own,
        verdict=verdict,
        report=str(path),
        report_hash=sha256_of_file(path),
        override=override,
    )


def _read(path: Path, remedy: str) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileProblem(path, "no such realism report", remedy, reason="missing") from None
    except ValueError as error:
        raise FileProblem(path, f"not a realism report ({error!r})", remedy, reason="format") from error
    if not isinstance(document, dict):
        raise FileProblem(path, f"not a realism report (a {type(document).__name__})", remedy, reason="format")
    return document


def possible_hosts(sample: pd.DataFrame) -> set[str]:
    """Return the galaxies of a sample that may carry simulated lenses: non-lenses of the training split."""
    rows = sample[(sample["split"] == "train") & (sample["label"] == NON_LENS)]
    return set(rows["source_id"].astype(str))


def simulated_rows(sample: pd.DataFrame, truth: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the simulated lenses that a sample can take as rows, and why others cannot be taken.

    Parameters
    ----------
    sample
        Rows of the sample.
    truth
        Truth of the set: ``source_id``, ``host_source_id``, ``set``.

    Returns
    -------
    rows
        ``source_id``, ``host_source_id``, ``ra``, ``dec`` [deg], ``label`` (lens), ``split`` (train), ``origin``,
        ``set``, ``cell`` and ``group`` (those of the host).
    left_out
        Reason -> lenses.
    """
    hosts = sample.set_index(sample["source_id"].astype(str))[["ra", "dec", "split", "label", "cell", "group"]]
    joined = truth[["source_id", "host_source_id", "set"]].astype(str).join(hosts, on="host_source_id")
    reason = pd.Series("", index=joined.index)
    reason[joined["split"].isna()] = "host is not in the sample"
    elsewhere = (reason == "") & (joined["split"] != "train")
    reason[elsewhere] = "host is in the split " + joined.loc[elsewhere, "split"].astype(str)
    reason[(reason == "") & (joined["label"] != NON_LENS)] = "host is no non-lens"
    rows = joined[reason == ""].reset_index(drop=True)
    rows = rows.assign(label=LENS, origin=ORIGIN).astype({"cell": "int64", "label": "int64"})
    names = ["source_id", "host_source_id", "ra", "dec", "label", "split", "origin", "set", "cell", "group"]
    left_out = {str(name): int(count) for name, count in reason[reason != ""].value_counts().items()}
    return rows[names], left_out


def add_simulations(
    sample: pd.DataFrame,
    out: str | Path,
    folder: str | Path,
    report: str | Path | None,
    *,
    unchecked: bool = False,
) -> dict[str, Any]:
    """Write the simulated lenses of a sample, and the record of why they were taken, into its folder.

    Parameters
    ----------
    sample
        Rows of the sample.
    out
        Its folder.
    folder, report, unchecked
        As for `verify_simulations`.

    Returns
    -------
    record
        The content of ``simulations.json``.

    Raises
    ------
    InputError
        As `verify_simulations`, or if fewer than `LEAST` lenses stand in non-lenses of the training split.
    """
    admission = verify_simulations(folder, report, unchecked=unchecked)
    truth = read_parquet(Path(folder) / TRUTH_NAME, columns=["source_id", "host_source_id", "set"])
    rows, left_out = simulated_rows(sample, truth)
    if len(rows) < LEAST:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise InputError(
            f"{len(rows)} of the {len(truth)} simulated lenses in {folder} stand in non-lenses of the training split, "
            f"at least {LEAST} are needed ({reasons}). Inject into these: `legacylens mocks inject` with --exclude "
            f"{out} --split train."
        )
    out = Path(out)
    write_parquet(out / ROWS_NAME, rows, units={"ra": "deg", "dec": "deg"})
    record = {
        **admission.as_dict(),
        "lenses": len(rows),
        "left_out": left_out,
        "rows_hash": sha256_of_file(out / ROWS_NAME),
    }
    write_json(out / RECORD_NAME, record)
    return record


def drop_simulations(out: str | Path) -> None:
    """Remove the simulated lenses of an earlier build from the folder of a sample."""
    for name in (ROWS_NAME, RECORD_NAME):
        (Path(out) / name).unlink(missing_ok=True)


def simulations_record(sample: str | Path) -> Path | None:
    """Return the record of the simulations of a sample, which `verify_simulations` takes as a report; None without.

    Parameters
    ----------
    sample
        ``sample.parquet``, or its folder.
    """
    sample = Path(sample)
    path = (sample if sample.is_dir() else sample.parent) / RECORD_NAME
    return path if path.is_file() else None


def simulations_of(sample: str | Path) -> tuple[pd.DataFrame, Admission] | None:
    """Return the simulated lenses of a sample, checked anew, or None if it has none.

    Parameters
    ----------
    sample
        ``sample.parquet``, or its folder.

    Raises
    ------
    FileProblem
        If the set has changed or is gone, or the rows are not those that were written.
    """
    path = simulations_record(sample)
    if path is None:
        return None
    remedy = "Build the sample again with --simulations."
    record = _read(path, remedy)
    try:
        folder, rows_hash = str(record["simulations"]), str(record["rows_hash"])
    except KeyError as error:
        raise FileProblem(path, f"not the record of a sample ({error!r})", remedy, reason="format") from error
    admission = verify_simulations(folder, path, remedy=remedy)
    if sha256_of_file(path.with_name(ROWS_NAME)) != rows_hash:
        raise FileProblem(
            path.with_name(ROWS_NAME), f"its rows do not have the hash in {RECORD_NAME}", remedy, reason="hash"
        )
    return read_parquet(path.with_name(ROWS_NAME)), admission
