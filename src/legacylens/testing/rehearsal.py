"""The rehearsal: fetching through the faulty stand-in, killed in the middle, and every pixel looked at afterwards.

The client runs as a process of its own and is killed with SIGKILL, which no program can catch. What it has stored is
compared with the sky at the coordinates that the brick's header gives (by astropy, which the client does not use for
that), and what it has set aside with the log of what was really done to it.
"""

from __future__ import annotations

import collections
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from legacylens.cutouts.quarantine import read_quarantine
from legacylens.cutouts.service_pace import PaceConfig
from legacylens.cutouts.service_request import ServiceConfig
from legacylens.cutouts.service_spool import SPOOL_NAME
from legacylens.cutouts.store import CutoutStore
from legacylens.errors import ProcessError
from legacylens.files import to_json, write_parquet
from legacylens.progress import console
from legacylens.survey.grid import brick_wcs, pixel_position
from legacylens.survey.sphere import nearest
from legacylens.testing.viewer import Served, ViewerServer, viewer_server
from legacylens.testing.viewer_faults import REASON_OF_FAULT, FaultPlan
from legacylens.testing.viewer_sky import Sky, bricks_near, is_north, own_brick, vectors

TOLERANCE = 1e-5
"""Largest difference between a stored pixel and the sky that counts as none [nanomaggies]: float32 holds the pixels
to 1e-7, and the roughest waves change by 1e-2 from one pixel to the next."""

_CLIENT = """
import json, sys
import numpy as np
from legacylens.cutouts.service import fetch_cutouts
from legacylens.cutouts.service_pace import PaceConfig
from legacylens.cutouts.service_request import ServiceConfig
from legacylens.files import read_parquet
job = json.loads(sys.argv[1])
fetch_cutouts(read_parquet(job["targets"]), job["out"], ServiceConfig(**job["service"]), PaceConfig(**job["pace"]),
              shard_size=job["shard_size"], rng=np.random.default_rng(job["seed"]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsalReport:
    """What came of a rehearsal."""

    requested: int
    """Positions on the list."""
    fetched: int
    """Positions with a cutout in the store."""
    quarantined: int
    """Positions that were set aside."""
    neither: int
    """Positions that are nowhere: must be 0."""
    both: int
    """Positions that are stored and set aside: must be 0."""
    wrong: int
    """Stored cutouts with any pixel of image, invvar or mask bits that is not the sky's: must be 0."""
    twice: int
    """Sources that are in the store more than once: must be 0."""
    untrue: int
    """Positions set aside for another reason than what the server did to them: must be 0."""
    asked_again: int
    """Stored cutouts that were served whole more than once: only those under way when the client was killed."""
    kills: int
    """Times that the client was killed."""
    stored_at_kill: int
    """Cutouts that were safe (in the store or the spool) when it was killed."""
    requests: int
    """Requests that the server has seen."""
    faults: dict[str, int]
    """Requests that it spoiled, by fault."""
    reasons: dict[str, int]
    """Positions that were set aside, by reason."""
    examples: list[str]
    """A sentence for each of the first few things that must not be."""
    seconds: float
    """Time of the fetching."""

    @property
    def passed(self) -> bool:
        """Whether nothing happened that must not."""
        return not (self.neither or self.both or self.wrong or self.twice or self.untrue)

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers for a JSON document."""
        return {**asdict(self), "passed": self.passed}


def positions(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return ``n`` positions all over the sky, with source_id, ra, dec [deg]."""
    return pd.DataFrame(
        {
            "source_id": [f"10002_{number // 100}_{number}" for number in range(n)],
            "ra": rng.uniform(0.0, 360.0, n),
            "dec": np.degrees(np.arcsin(rng.uniform(np.sin(np.radians(-70.0)), np.sin(np.radians(75.0)), n))),
        }
    )


def rehearse(
    folder: Path,
    *,
    n: int = 2000,
    fault_rate: float = 0.1,
    lasting: float = 0.01,
    kill: bool = True,
    seed: int = 1,
    time_scale: float = 0.02,
    concurrency: int = 8,
    sky: Sky | None = None,
    kinds: Sequence[str] | None = None,
) -> RehearsalReport:
    """Fetch a list of positions through the stand-in, kill the client half way, start it again, check everything.

    Parameters
    ----------
    folder
        Where the list and the store go; must be empty or new.
    n
        Positions.
    fault_rate
        Fraction of the requests that are spoiled by chance.
    lasting
        Fraction of the requests that are spoiled however often they are made.
    kill
        Whether to kill the client.
    seed
        Seed of the positions, the faults and the jitter.
    time_scale
        Seconds that a second of waiting takes, in client and server.
    concurrency
        Requests under way at a time.
    sky
        What is served.
    kinds
        Faults to choose from; None: all.

    Raises
    ------
    ProcessError
        If the folder is in use, or the client ends with an error.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ProcessError(f"{folder} is not empty: give a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    targets = positions(n, np.random.default_rng(seed))
    write_parquet(folder / "targets.parquet", targets)
    plan = FaultPlan(rate=fault_rate, lasting=lasting, seed=seed)
    if kinds is not None:
        plan.kinds = tuple(kinds)
    started = time.monotonic()
    with viewer_server(sky or Sky(seed=seed), plan, time_scale=time_scale) as server:
        client = _Client(
            folder=folder,
            url=server.url,
            pace=PaceConfig(
                rate_per_minute=6000.0,
                burst=1000,
                concurrency=concurrency,
                read_timeout_s=60.0,
                deadline_s=90.0,
                time_scale=time_scale,
            ),
            shard_size=max(min(n // 7, 500), 1),
            seed=seed,
        )
        kills = stored_at_kill = 0
        console.print(f"fetching {n:,} positions from {server.url}", highlight=False)
        if kill:
            kills = client.run_until(server, n // 2)
            stored_at_kill = _kept(folder / "store")
            console.print(f"killed the client when {stored_at_kill:,} were safe; starting it again", highlight=False)
        client.run()
        seconds = time.monotonic() - started
        console.print("looking at every pixel and every reason", highlight=False)
        return _judge(folder / "store", targets, server, kills, stored_at_kill, seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Client:
    folder: Path
    url: str
    pace: PaceConfig
    shard_size: int
    seed: int

    def _start(self) -> subprocess.Popen[bytes]:
        job = {
            "targets": self.folder / "targets.parquet",
            "out": self.folder / "store",
            "service": ServiceConfig(url=self.url).model_dump(mode="json"),
            "pace": self.pace.model_dump(mode="json"),
            "shard_size": self.shard_size,
            "seed": self.seed,
        }
        command = [sys.executable, "-c", _CLIENT, to_json(job)]
        # The stand-in is on this machine: no proxy must come between.
        environment = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        with (self.folder / "client.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def _failed(self, code: int) -> ProcessError:
        log = (self.folder / "client.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return ProcessError(f"the client ended with code {code}: {' '.join(log[-3:])}")

    def run_until(self, server: ViewerServer, answers: int) -> int:
        """Run the client and kill it after so many mask-bit answers, the last request of a position; return 1."""
        process = self._start()
        try:
            while process.poll() is None:
                if sum(line.kind == "maskbits" and not line.fault for line in list(server.log)) >= answers:
                    process.kill()
                    process.wait()
                    return 1
                time.sleep(0.02)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        raise self._failed(process.returncode)

    def run(self) -> None:
        """Run the client to its end."""
        process = self._start()
        try:
            code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if code != 0:
            raise self._failed(code)


def _kept(store: Path) -> int:
    with CutoutStore.open(store) as opened:
        return len(opened) + len(list((store / SPOOL_NAME).glob("[!.]*.npz")))


def _judge(
    path: Path, targets: pd.DataFrame, server: ViewerServer, kills: int, stored_at_kill: int, seconds: float
) -> RehearsalReport:
    quarantine = read_quarantine(path)
    with CutoutStore.open(path) as store:
        stored = pd.concat([pd.read_parquet(shard.folder / "manifest.parquet") for shard in store.shards])
        names = collections.Counter(stored["source_id"])
        examples = [f"{name} is in the store {count} times" for name, count in names.items() if count > 1]
        twice = len(examples)
        wrong = 0
        for index, row in enumerate(stored.to_dict("records")):
            finding = wrong_pixels(server.sky, store, index, {str(name): value for name, value in row.items()})
            wrong += bool(finding)
            examples += [f"{row['source_id']}: {finding}"] if finding else []
    set_aside = dict(zip(quarantine["source_id"], quarantine["reason"], strict=True))
    log = list(server.log)
    last = _last_served(log, targets)
    untrue = 0
    for position in targets.to_dict("records"):
        reason = set_aside.get(position["source_id"])
        if reason is not None:
            true = true_reason(server.sky, position["ra"], position["dec"], last.get(position["source_id"]))
            untrue += reason != true
            examples += [] if reason == true else [f"{position['source_id']} is set aside for {reason}, not {true}"]
    both = sum(name in names for name in set_aside)
    neither = sum(name not in names and name not in set_aside for name in targets["source_id"])
    served = [line for line in log if line.kind == "fits" and not line.fault and line.is_whole and line.status == 200]
    whole = collections.Counter(line.key for line in served)
    failed = {f"fits {row.ra:.7f} {row.dec:.7f}" for row in targets.itertuples() if row.source_id in set_aside}
    return RehearsalReport(
        requested=len(targets),
        fetched=len(names),
        quarantined=len(set_aside),
        neither=neither,
        both=both,
        wrong=wrong,
        twice=twice,
        untrue=untrue,
        asked_again=sum(count > 1 for key, count in whole.items() if key not in failed),
        kills=kills,
        stored_at_kill=stored_at_kill,
        requests=len(log),
        faults=dict(sorted(collections.Counter(line.fault for line in log if line.fault).items())),
        reasons=dict(sorted(collections.Counter(set_aside.values()).items())),
        examples=examples[:10],
        seconds=round(seconds, 3),
    )


def wrong_pixels(sky: Sky, store: CutoutStore, index: int, row: dict[str, Any]) -> str:
    """Compare a stored cutout with the sky; return what differs, "" if nothing does.

    Parameters
    ----------
    sky
        What was served, from the layer ``ls-dr10`` in the ``subimage`` layout.
    store
        The store.
    index
        Place of the cutout in it.
    row
        Its row of the manifest.
    """
    bricks = [brick for brick in bricks_near(row["ra"], row["dec"]) if brick.name == row["brickname"]]
    if not bricks:
        return f"brick {row['brickname']} is nowhere near"
    wcs = brick_wcs(bricks[0].ra, bricks[0].dec, 3600, 3600)
    x, y = pixel_position(wcs, row["ra"], row["dec"])
    half = store.stamp // 2
    offset = (float(x[0]) - row["x0"] - half, float(y[0]) - row["y0"] - half)
    # Half a pixel, and a little for positions in the middle between two.
    if max(abs(offset[0]), abs(offset[1])) > 0.5001 or abs(offset[0] - row["dx"]) + abs(offset[1] - row["dy"]) > 1e-3:
        return f"the source is at {offset} of the stamp's center, the manifest says ({row['dx']}, {row['dy']})"
    rows, columns = np.mgrid[: store.stamp, : store.stamp]
    ra, dec = wcs.all_pix2world(columns.ravel() + row["x0"], rows.ravel() + row["y0"], 0)
    points = vectors(ra, dec).reshape(store.stamp, store.stamp, 3)
    release = 9 if is_north(row["ra"], row["dec"]) else 10
    image = sky.brightness(points, store.bands, release=release)
    difference = float(np.abs(store.images([index])[0] - image).max())
    if not difference <= TOLERANCE:
        return f"the image differs by {difference:.3g} nanomaggies"
    if store.has_invvar:
        true = sky.inverse_variance(points, store.bands)
        ratio = float(np.abs(store.invvars([index])[0] / true - 1.0).max())
        if not ratio <= 1e-5:
            return f"invvar differs by a factor of {1 + ratio:.6g}"
    if store.has_maskbits and not np.array_equal(store.maskbits([index])[0], sky.mask_bits(points)):
        return "the mask bits differ"
    return ""


def _last_served(log: Sequence[Served], targets: pd.DataFrame) -> dict[str, Served]:
    """Return the last request that was made for each position; those for mask bits are up to a pixel off."""
    asked = [line for line in log if line.kind in ("fits", "maskbits")]
    if not asked:
        return {}
    index, _ = nearest([line.ra for line in asked], [line.dec for line in asked], targets["ra"], targets["dec"])
    names = targets["source_id"].to_numpy()
    return {str(names[place]): line for place, line in zip(index, asked, strict=True)}


def true_reason(sky: Sky, ra: float, dec: float, last: Served | None) -> str:
    """Return why a position cannot be fetched: what was done to its last request, or what the sky has there."""
    if last is None:
        return "never asked for"
    # Where there is nothing, there is nothing under a wrong name either.
    if last.fault and not (last.status == 500 and last.fault in ("default-bands", "default-layer", "clipped")):
        return REASON_OF_FAULT[last.fault]
    bands = ("g", "r", "z")
    pieces = [piece.brick for piece in sky.pieces(ra, dec, 105, 105)]
    covered = [brick for brick in pieces if any(sky.covers(brick, band) for band in bands)]
    own = own_brick(ra, dec)
    if not covered:
        return "off-the-sky"
    if own in covered:
        return "" if all(sky.covers(own, band) for band in bands) else "missing-band"
    return "over-edge"
