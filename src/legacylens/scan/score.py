"""Score every cutout of a store, in parts that survive an interruption.

::

    OUT/
      scan.json            identity of the scan (network, store, configuration); when finished, also its counts
      parts/part-000000.parquet ...   one for each block of cutouts; gone when the table is written
      scores.parquet       source_id, logit, score: one row for each cutout that has a finite score
      failed.parquet       source_id of those that have none
      provenance.json
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from legacylens.cutouts.store import CutoutStore
from legacylens.errors import FileProblem, InputError, ProcessError
from legacylens.files import atomic_path, read_parquet, remove_leftovers, write_json, write_parquet
from legacylens.progress import progress_bar
from legacylens.provenance import write_provenance
from legacylens.scan.config import ScanConfig
from legacylens.scan.scorer import Scorer, score_of_logit

SCORES_NAME, FAILED_NAME, STATE_NAME, PARTS_NAME = "scores.parquet", "failed.parquet", "scan.json", "parts"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanResult:
    """What a scan came to."""

    scores: Path
    """Table of source_id, logit, score."""
    n_cutouts: int
    """Cutouts in the store."""
    n_scored: int
    """Those with a score."""
    n_failed: int
    """Those without, listed in ``failed.parquet``."""
    damaged_shards: tuple[str, ...]
    """Shards of the store that could not be read at all; the objects in them were not scored."""
    minutes: float
    """Time of this run; 0 if the scan was finished already."""
    cutouts_per_second: float
    """Speed of this run; 0 if the scan was finished already."""
    network: str
    """Name of the network."""
    checkpoint_hash: str
    """Identity of network, weights and preprocessing."""

    def summary(self) -> dict[str, Any]:
        """Return the result as JSON-compatible values."""
        return {**asdict(self), "scores": str(self.scores), "damaged_shards": list(self.damaged_shards)}


def store_identity(store: CutoutStore) -> str:
    """Return a hash that changes when the store's cutouts change: names, lengths, sizes and times of its shards."""
    digest = hashlib.sha256(f"{store.bands} {store.stamp}".encode())
    for shard in store.shards:
        status = (shard.folder / "image.npy").stat()
        digest.update(f"{shard.folder.name} {shard.length} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def score_store(
    store_path: str | Path,
    checkpoint_path: str | Path,
    out: str | Path,
    config: ScanConfig | None = None,
    *,
    restart: bool = False,
    device: str = "auto",
) -> ScanResult:
    """Score every cutout of a store, or go on where an interrupted scan stopped.

    Parameters
    ----------
    store_path
        Cutout store.
    checkpoint_path
        ``best.pt`` of a training run.
    out
        Folder of the scan.
    config
        How to scan; None: the defaults.
    restart
        Discard an earlier scan in ``out``. Otherwise an unfinished one is continued, and a finished one returned.
    device
        ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    FileProblem
        If store or checkpoint cannot be read or do not fit each other.
    InputError
        If ``out`` holds the scan of another store or with another network.
    ProcessError
        If more than ``max_failed`` of the cutouts have no finite score. The tables are written all the same.
    """
    config = config or ScanConfig()
    out = Path(out)
    store = CutoutStore.open(store_path)
    scorer = Scorer(checkpoint_path, config, device=device)
    scorer.checkpoint.preprocessing.require_input(
        str(store_path), bands=store.bands, stamp=store.stamp, pixscale=store.description.pixscale
    )
    if len(store) == 0:
        raise FileProblem(store_path, "the store holds no cutout", "Cut the targets first.", reason="empty")
    identity: dict[str, Any] = {
        "checkpoint_hash": scorer.checkpoint.fingerprint(),
        "store_hash": store_identity(store),
        "configuration": config.model_dump(mode="json"),
        "bf16": scorer.execution.bf16,
    }
    if restart:
        _discard(out)
    finished = _finished(out, identity)
    seconds, scored_now = 0.0, 0
    if finished is None:
        write_json(out / STATE_NAME, {"identity": identity})
        start = time.perf_counter()
        scored_now = _score_parts(store, scorer, out / PARTS_NAME)
        finished = _collect(out, len(store))
        seconds = time.perf_counter() - start
        write_json(out / STATE_NAME, {"identity": identity, "finished": finished})
        shutil.rmtree(out / PARTS_NAME)
    result = ScanResult(
        scores=out / SCORES_NAME,
        n_cutouts=len(store),
        n_scored=finished["n_scored"],
        n_failed=finished["n_failed"],
        damaged_shards=tuple(str(problem.path) for problem in store.damaged),
        minutes=seconds / 60.0,
        cutouts_per_second=scored_now / seconds if seconds else 0.0,
        network=scorer.checkpoint.network,
        checkpoint_hash=identity["checkpoint_hash"],
    )
    if seconds:
        write_provenance(
            out,
            step="scan",
            configuration=config.model_dump(mode="json"),
            inputs={"store": store_path, "checkpoint": checkpoint_path},
            results=result.summary(),
        )
    if result.n_failed > config.max_failed * result.n_cutouts:
        raise ProcessError(
            f"{result.n_failed} of {result.n_cutouts} cutouts have no finite score, more than the allowed share of "
            f"{config.max_failed:g}; they are listed in {out / FAILED_NAME}. Cut them again, or raise scan.max_failed "
            "if they are known to be broken."
        )
    return result


def _discard(out: Path) -> None:
    for name in (SCORES_NAME, FAILED_NAME, STATE_NAME):
        (out / name).unlink(missing_ok=True)
    if (out / PARTS_NAME).exists():
        shutil.rmtree(out / PARTS_NAME)


def _finished(out: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Return the counts of a finished scan in ``out``, or None if there is something left to do."""
    remove_leftovers(out)
    path = out / STATE_NAME
    if not path.exists():
        if (out / SCORES_NAME).exists() or (out / PARTS_NAME).exists():
            raise InputError(f"{out} holds scores of unknown origin; give another folder, or start over with --restart")
        return None
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        earlier = dict(state["identity"])
    except (ValueError, KeyError, TypeError) as error:
        raise FileProblem(path, f"broken ({error!r})", "Start over with --restart.", reason="truncated") from error
    if earlier != identity:
        names = {
            "checkpoint_hash": "network",
            "store_hash": "store",
            "configuration": "configuration",
            "bf16": "precision",
        }
        differing = " and ".join(word for name, word in names.items() if earlier.get(name) != identity[name])
        raise InputError(
            f"{out} holds a scan with another {differing}; give another folder, or start over with --restart"
        )
    if "finished" not in state or not (out / SCORES_NAME).exists() or not (out / FAILED_NAME).exists():
        return None
    if (out / PARTS_NAME).exists():
        shutil.rmtree(out / PARTS_NAME)
    return dict(state["finished"])


def _part_path(parts: Path, number: int) -> Path:
    return parts / f"part-{number:06d}.parquet"


def _score_parts(store: CutoutStore, scorer: Scorer, parts: Path) -> int:
    """Write the parts that are missing; return how many cutouts were scored."""
    parts.mkdir(parents=True, exist_ok=True)
    remove_leftovers(parts)
    block = scorer.config.block
    names = store.manifest["source_id"].astype(str).to_numpy()
    scored = 0
    with progress_bar("scan", len(store)) as bar:
        for number, start in enumerate(range(0, len(store), block)):
            rows = np.arange(start, min(start + block, len(store)))
            path = _part_path(parts, number)
            if _is_part(path, names[rows]):
                bar.advance(len(rows))
                continue
            logits = []
            for _, images in store.batches(scorer.config.batch, indices=rows):
                logits.append(scorer.logits(images))
                bar.advance(len(images))
            write_parquet(path, pd.DataFrame({"source_id": names[rows], "logit": np.concatenate(logits)}))
            scored += len(rows)
    return scored


def _is_part(path: Path, names: np.ndarray[Any, Any]) -> bool:
    if not path.exists():
        return False
    try:
        found = read_parquet(path)
    except FileProblem:
        return False  # damaged since it was written: it is scored again
    return list(found.columns) == ["source_id", "logit"] and np.array_equal(found["source_id"].to_numpy(), names)


def _collect(out: Path, n_cutouts: int) -> dict[str, Any]:
    """Write the tables from the parts, one part in memory at a time."""
    schema = pa.schema([("source_id", pa.string()), ("logit", pa.float32()), ("score", pa.float64())])
    failed: list[str] = []
    n_scored = 0
    with atomic_path(out / SCORES_NAME) as temporary:
        with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for path in sorted((out / PARTS_NAME).glob("part-*.parquet")):
                part = read_parquet(path)
                finite = np.isfinite(part["logit"].to_numpy())
                failed += part.loc[~finite, "source_id"].tolist()
                kept = part[finite]
                n_scored += len(kept)
                table = kept.assign(score=score_of_logit(kept["logit"]))
                writer.write_table(pa.Table.from_pandas(table, schema=schema, preserve_index=False))
        if n_scored + len(failed) != n_cutouts:
            raise ProcessError(
                f"{n_scored} scores and {len(failed)} failures do not make the {n_cutouts} cutouts of the store; "
                "start over with --restart"
            )
    write_parquet(out / FAILED_NAME, pd.DataFrame({"source_id": pd.Series(failed, dtype="string")}))
    return {"n_scored": n_scored, "n_failed": len(failed)}
