"""Cutting targets out of a release: brick by brick, in parallel, into a store; what cannot be cut is set aside."""

from __future__ import annotations

import collections
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from legacylens.cutouts.checksums import VerifiedFiles
from legacylens.cutouts.neighbors import Attempt, Neighborhood
from legacylens.cutouts.pool import cut_in_order
from legacylens.cutouts.quarantine import Rejection, update_quarantine
from legacylens.cutouts.stamps import BrickJob, BrickStamps, CutoutConfig
from legacylens.cutouts.store import CutoutStore
from legacylens.cutouts.writer import SHARD_SIZE, StoreWriter
from legacylens.errors import InputError
from legacylens.files import read_parquet
from legacylens.progress import ProgressBar, progress_bar
from legacylens.provenance import write_provenance
from legacylens.survey.bricks import BrickTable
from legacylens.survey.release import Release

VERIFIED_NAME = "verified.json"
MAX_TARGETS_PER_JOB = 2000
"""Targets that a worker cuts at a time; bounds its answer to some 600 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutoutReport:
    """What a run did; ``requested`` is the sum of duplicates, already_stored, cut and quarantined."""

    store: str
    """The store."""
    requested: int
    """Rows of the target table."""
    duplicates: int
    """Rows whose source came in an earlier row."""
    already_stored: int
    """Targets that an earlier run has cut."""
    cut: int
    """Targets cut by this run."""
    quarantined: int
    """Targets that cannot be cut; one row each in quarantine.parquet."""
    reasons: dict[str, int]
    """Quarantined targets by reason."""
    bricks: int
    """Bricks that were read."""
    from_neighbor: int
    """Stamps of this run taken from a neighbor of the target's brick."""
    padded: int
    """Stamps of this run that reach over the edge of every brick."""
    unverified_files: int
    """Files that no checksum list mentions."""
    replaced_shards: int
    """Damaged shards that were found in the store and cut again."""
    total: int
    """Cutouts in the store after the run."""
    bytes_on_disk: int
    """Size of the store."""
    seconds: float
    """Wall time."""

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers for a JSON document."""
        return asdict(self)


def cut_targets(
    release: Release,
    targets: pd.DataFrame,
    out: str | Path,
    config: CutoutConfig | None = None,
    *,
    workers: int = 0,
    shard_size: int = SHARD_SIZE,
    inputs: Mapping[str, str | Path] | None = None,
) -> CutoutReport:
    """Cut targets out of a release into a store.

    Parameters
    ----------
    release
        Where the bricks are.
    targets
        Columns source_id, ra, dec [deg], and brickname where known (else the brick that owns the position).
    out
        Folder of the store. What it has is not cut again, so an interrupted run goes on where it was.
    config
        What to cut.
    workers
        Processes, one brick at a time each. With 0 the work is done in this process, and a damaged file that crashes
        the decompression library ends the run; otherwise it costs its own brick. The store is the same for any number.
    shard_size
        Cutouts in a shard of the store.
    inputs
        Name -> path of what the targets were read from, for the provenance record.

    Raises
    ------
    InputError
        If the table lacks a column.
    FileProblem
        If the release's brick table is broken, or ``out`` is something else than such a store.
    ProcessError
        If the disk is full.
    """
    started = time.monotonic()
    config = config or CutoutConfig()
    out = Path(out)
    table = BrickTable.read(release)
    wanted = _wanted(targets)
    with StoreWriter(
        out,
        bands=config.bands,
        stamp=config.stamp,
        invvar=config.invvar,
        maskbits=config.maskbits,
        shard_size=shard_size,
    ) as writer:
        is_stored = wanted["source_id"].isin(writer.source_ids).to_numpy()
        located, rejections = _located(wanted[~is_stored], table)
        run = _Run(
            neighborhood=Neighborhood(release=release, table=table, config=config),
            located=located.set_index("source_id", drop=False),
            writer=writer,
            verified=VerifiedFiles.read(out / VERIFIED_NAME),
            rejections=rejections,
        )
        try:
            with progress_bar("cutting", total=len(located)) as bar:
                run.cut(workers, bar)
        finally:
            if run.is_newly_verified:
                run.verified.write(out / VERIFIED_NAME)
        is_changed = update_quarantine(out, run.rejections, wanted, writer.__contains__)
    with CutoutStore.open(out) as store:
        total, size = len(store), store.size_on_disk()
    report = CutoutReport(
        store=str(out),
        requested=len(targets),
        duplicates=len(targets) - len(wanted),
        already_stored=int(is_stored.sum()),
        cut=run.counts["cut"],
        quarantined=len(run.rejections),
        reasons=dict(sorted(collections.Counter(rejection.reason for rejection in run.rejections).items())),
        bricks=len(run.bricks),
        from_neighbor=run.counts["from_neighbor"],
        padded=run.counts["padded"],
        unverified_files=run.counts["unverified"],
        replaced_shards=len(writer.replaced),
        total=total,
        bytes_on_disk=size,
        seconds=round(time.monotonic() - started, 3),
    )
    if report.cut or report.replaced_shards or is_changed:
        write_provenance(
            out,
            step="cutouts cut",
            configuration=config.model_dump(mode="json"),
            inputs={"bricks": release.bricks_path(), **(inputs or {})},
            results=report.as_dict(),
        )
    return report


def read_targets(path: str | Path) -> pd.DataFrame:
    """Read the columns of a target table (Parquet) that cutting needs; of a sample, the objects that are used.

    Raises
    ------
    FileProblem
        If it is no Parquet table.
    InputError
        If it lacks a column.
    """
    try:
        present = pq.read_schema(path).names
    except (OSError, pa.ArrowException):
        present = []  # reading says what is wrong
    columns = [name for name in ("source_id", "ra", "dec", "brickname") if name in present]
    is_sample = {"label", "split"} <= set(present)
    frame = read_parquet(path, columns=[*columns, *(["label", "split"] if is_sample else [])] or None)
    _require_columns(frame)
    if is_sample:
        frame = frame.loc[frame["label"].isin([0, 1]) & (frame["split"] != "guard"), columns].reset_index(drop=True)
    return frame


def _require_columns(targets: pd.DataFrame) -> None:
    lacking = [name for name in ("source_id", "ra", "dec") if name not in targets.columns]
    if lacking:
        raise InputError(
            f"the target table lacks the columns {', '.join(lacking)}: it needs source_id, ra and dec in degrees "
            "(and brickname where known), as `legacylens parent` writes them"
        )


def _wanted(targets: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that cutting needs, each source once, in the order of source_id."""
    _require_columns(targets)
    wanted = pd.DataFrame(
        {
            "source_id": targets["source_id"].astype(str),
            "ra": targets["ra"].astype(np.float64),
            "dec": targets["dec"].astype(np.float64),
            "brickname": targets["brickname"].astype(str).str.strip() if "brickname" in targets.columns else "",
        }
    )
    return wanted.drop_duplicates("source_id").sort_values("source_id", ignore_index=True)


def _located(wanted: pd.DataFrame, table: BrickTable) -> tuple[pd.DataFrame, list[Rejection]]:
    """Give every target a brick of the release; reject those that have none."""
    located = wanted.reset_index(drop=True)
    ra, dec = located["ra"].to_numpy(), located["dec"].to_numpy()
    is_on_sphere = np.isfinite(ra) & (np.abs(dec) <= 90.0)
    names = located["brickname"].to_numpy(dtype=object).copy()
    unnamed = np.flatnonzero(is_on_sphere & (names == ""))
    rows = table.containing(ra[unnamed], dec[unnamed])
    names[unnamed[rows >= 0]] = table.frame["brickname"].to_numpy()[rows[rows >= 0]]
    is_known = np.array([name in table for name in names], dtype=bool)
    located["brickname"] = names
    rejections = []
    for row in np.flatnonzero(~(is_on_sphere & is_known)):
        if is_on_sphere[row]:
            reason, remedy = "unknown-brick", "Use the release that the source was selected from."
            what = f"brick {names[row] or 'of the position'} is not in the brick table"
        else:
            reason, remedy = "bad-position", "Give ra and dec in degrees."
            what = f"({ra[row]}, {dec[row]}) is no position"
        rejections.append(
            Rejection(
                source_id=str(located["source_id"].iloc[row]),
                reason=reason,
                what=what,
                file="survey-bricks.fits.gz",
                remedy=remedy,
            )
        )
    return located[is_on_sphere & is_known].reset_index(drop=True), rejections


@dataclass(slots=True, kw_only=True)
class _Run:
    """The state of one run of `cut_targets`."""

    neighborhood: Neighborhood
    """The release, and which brick is beside which."""
    located: pd.DataFrame
    """Targets by source_id: source_id, ra, dec, brickname."""
    writer: StoreWriter
    """The store."""
    verified: VerifiedFiles
    """Files known to be right."""
    rejections: list[Rejection]
    """Targets set aside so far."""
    counts: collections.Counter[str] = field(default_factory=collections.Counter)
    """Numbers for the report."""
    bricks: set[str] = field(default_factory=set)
    """Bricks that were read."""
    is_newly_verified: bool = False
    """Whether `verified` has grown."""
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)
    """For targets over the edge of their brick: what is left to try."""

    def cut(self, workers: int, bar: ProgressBar) -> None:
        """Cut in rounds: every target from its own brick, then what reached over an edge from the next best one."""
        groups: dict[tuple[str, bool], list[str]] = {}
        for source_id, brickname in zip(self.located["source_id"], self.located["brickname"], strict=True):
            groups.setdefault((brickname, False), []).append(source_id)
        while groups:
            pending: list[str] = []
            release, config = self.neighborhood.release, self.neighborhood.config
            for job, stamps in cut_in_order(release, self._jobs(groups), config, self.verified, workers):
                again = self._take(job, stamps)
                bar.advance(len(job.targets) - len(again))
                pending += again
            groups = {}
            for source_id in sorted(pending):
                attempt = self._next_attempt(source_id)
                if attempt is not None:
                    groups.setdefault((attempt.brickname, attempt.pad), []).append(source_id)
                else:
                    self.rejections.append(self._over_edge(source_id))
                    bar.advance()

    def _jobs(self, groups: Mapping[tuple[str, bool], list[str]]) -> list[BrickJob]:
        return [
            BrickJob(
                brickname=brickname,
                pad=pad,
                targets=self.located.loc[
                    members[start : start + MAX_TARGETS_PER_JOB], ["source_id", "ra", "dec"]
                ].reset_index(drop=True),
            )
            for (brickname, pad), members in sorted(groups.items())
            for start in range(0, len(members), MAX_TARGETS_PER_JOB)
        ]

    def _take(self, job: BrickJob, stamps: BrickStamps) -> list[str]:
        """Store what came out of a brick; return the targets for which another brick is to be tried."""
        self.bricks.add(job.brickname)
        self.is_newly_verified |= self.verified.update(stamps.verified)
        self.counts["unverified"] += stamps.unverified
        if len(stamps.manifest):
            self.writer.add_many(stamps.manifest, stamps.images, stamps.invvars, stamps.maskbits)
            own = self.located.loc[stamps.manifest["source_id"], "brickname"]
            self.counts["cut"] += len(stamps.manifest)
            self.counts["padded"] += int((stamps.manifest["padded"] > 0).sum())
            self.counts["from_neighbor"] += int((own != job.brickname).sum())
        again = list(stamps.over_edge)
        for rejection in stamps.rejected:
            # A neighbor that cannot be read is no loss while others are left. The own brick is not replaced: another
            # would quietly give other pixels for the same source.
            if self.attempts.get(rejection.source_id):
                again.append(rejection.source_id)
            else:
                self.rejections.append(rejection)
        return again

    def _next_attempt(self, source_id: str) -> Attempt | None:
        if source_id not in self.attempts:
            ra, dec = self.located.loc[[source_id], ["ra", "dec"]].to_numpy(np.float64)[0]
            own = str(self.located.at[source_id, "brickname"])
            self.attempts[source_id] = self.neighborhood.attempts(float(ra), float(dec), own)
        remaining = self.attempts[source_id]
        return remaining.pop(0) if remaining else None

    def _over_edge(self, source_id: str) -> Rejection:
        config = self.neighborhood.config
        brickname = str(self.located.at[source_id, "brickname"])
        return Rejection(
            source_id=source_id,
            reason="over-edge",
            what=f"its {config.stamp}-pixel stamp is whole in no brick"
            + ("" if config.edge == "refuse" else ", and no brick has its central pixel"),
            file=self.neighborhood.release.brick_folder(brickname),
            remedy="Use edge = 'pad' to fill what is missing with zeros."
            if config.edge == "refuse"
            else "Check that ra, dec and brickname belong together.",
        )
