"""Fetching cutouts from the survey's viewer: politely, to the end, and never a wrong one.

For lists of up to a few thousand positions. Above that `legacylens.cutouts.bricks` is the way: it is a hundred times
faster and costs the public service nothing.

The modules: `service_request` (what is asked), `service_fits`, `service_answer`, `service_layouts` and
`service_products` (is the answer that?), `service_http` (the wire), `service_pace` (when to ask), `service_ask`
(repetitions), `service_spool` (what has come but is not in the store yet), and the run itself, here.
"""

from __future__ import annotations

import collections
import functools
import json
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from legacylens.cutouts.quarantine import Rejection, read_quarantine, update_quarantine
from legacylens.cutouts.service_answer import FINAL
from legacylens.cutouts.service_ask import Asker, Outcome, Position, fetch_position
from legacylens.cutouts.service_http import HttpTransport, Transport
from legacylens.cutouts.service_pace import Pace, PaceConfig, StoppedError, TimeLeft, in_words
from legacylens.cutouts.service_products import product_path
from legacylens.cutouts.service_progress import fetch_progress
from legacylens.cutouts.service_request import Product, ServiceConfig
from legacylens.cutouts.service_spool import Spool
from legacylens.cutouts.service_targets import wanted_positions
from legacylens.cutouts.store import CutoutStore
from legacylens.cutouts.writer import StoreWriter
from legacylens.errors import FileProblem, InputError, ProcessError
from legacylens.files import write_json
from legacylens.progress import console
from legacylens.provenance import write_provenance
from legacylens.survey.bands import PIXSCALE

SERVICE_NAME = "service.json"
"""What a store was fetched with: another layer or layout is refused."""

SHARD_SIZE = 500
"""Cutouts in a shard; what is not in a whole shard yet is safe in the spool."""

BRICKS_ABOVE = 3000
"""Number of positions above which bricks are the better way."""

SYSTEMIC = ("refused", "unknown-layer")
"""Final reasons for which the settings are to blame, not the position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchReport:
    """What a run did; ``requested`` is the sum of duplicates, already_stored, fetched and quarantined."""

    store: str
    """The store."""
    service: str
    """Address of the service."""
    layer: str
    """Image layer."""
    requested: int
    """Rows of the target table."""
    duplicates: int
    """Rows whose source came in an earlier row."""
    already_stored: int
    """Targets that an earlier run has fetched."""
    fetched: int
    """Targets fetched by this run."""
    quarantined: int
    """Targets that were set aside, in this run or finally in an earlier one; one row each in quarantine.parquet."""
    reasons: dict[str, int]
    """Quarantined targets by reason."""
    psf: dict[str, int]
    """PSFs that are there and that are not."""
    jpeg: dict[str, int]
    """Pictures that are there and that are not."""
    requests: int
    """Requests made by this run."""
    troubles: dict[str, int]
    """Failed requests by reason, those included that went well when repeated."""
    pauses: int
    """Pauses that the service asked for."""
    total: int
    """Cutouts in the store after the run."""
    bytes_on_disk: int
    """Size of the store."""
    seconds: float
    """Wall time."""
    advice: str
    """What the user may do better; "" if nothing."""

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers for a JSON document."""
        return asdict(self)


def advice_for(n_positions: int, service: ServiceConfig, pace: PaceConfig) -> str:
    """Return a word about the time that a list takes, and about bricks if it is long."""
    minutes = n_positions * service.requests_per_position / pace.rate_per_minute
    took = (
        f"{n_positions:,} positions take {service.requests_per_position} requests each and at {pace.rate_per_minute:g} "
        f"requests a minute at least {in_words(minutes * 60.0)}."
    )
    if n_positions <= BRICKS_ABOVE:
        return took
    return (
        f"{took} Above {BRICKS_ABOVE:,} positions cut them out of bricks (`legacylens cutouts cut` on the release's "
        "files): others measured a factor of 150 to 200, the pixels are the same, and the public service is spared."
    )


def fetch_cutouts(
    targets: pd.DataFrame,
    out: str | Path,
    service: ServiceConfig | None = None,
    pace: PaceConfig | None = None,
    *,
    again: bool = False,
    shard_size: int = SHARD_SIZE,
    transport: Transport | None = None,
    rng: np.random.Generator | None = None,
    inputs: Mapping[str, str | Path] | None = None,
) -> FetchReport:
    """Fetch the cutouts of a list of positions into a store.

    An interrupted run, killed or not, goes on where it was when it is started again: what has come is not asked for
    again.

    Parameters
    ----------
    targets
        Columns source_id, ra, dec [deg].
    out
        Folder of the store; PSFs and pictures go into folders in it.
    service
        What to fetch.
    pace
        How politely.
    again
        Ask again for positions that an earlier run set aside for a reason that does not pass (off the footprint...).
        Those that the service failed at are always asked for again.
    shard_size
        Cutouts in a shard of the store.
    transport
        Answers the requests; None: HTTP.
    rng
        Source of the jitter in waiting times.
    inputs
        Name -> path of what the targets were read from, for the provenance record.

    Raises
    ------
    InputError
        If the table lacks a column, or the service has no such layer.
    FileProblem
        If ``out`` is something else than such a store.
    ProcessError
        If the service is not there or fails at everything, asks for too long a pause, or the disk is full. What was
        fetched is kept.
    """
    started = time.monotonic()
    service, pace = service or ServiceConfig(), pace or PaceConfig()
    out = Path(out)
    wanted, rejected = wanted_positions(targets)
    _require_same_service(out, service)
    with StoreWriter(
        out,
        bands=service.bands,
        stamp=service.stamp,
        pixscale=PIXSCALE,
        invvar=service.invvar,
        maskbits=service.maskbits,
        shard_size=shard_size,
    ) as writer:
        write_json(out / SERVICE_NAME, service.model_dump(mode="json"))
        spool = Spool(out)
        earlier = {rejection.source_id: rejection for rejection in _earlier(out)}
        earlier |= {rejection.source_id: rejection for rejection in spool.recover(writer)}
        kept = {} if again else {name: known for name, known in earlier.items() if known.reason in FINAL}
        stored = {name for name in wanted["source_id"] if name in writer or name in spool.waiting}
        run = _Run(service=service, spool=spool, writer=writer, out=out)
        run.rejections["cutout"] |= {each.source_id: each for each in rejected if each.source_id not in stored}
        on_list = set(wanted["source_id"])
        run.rejections["cutout"] |= {
            name: known for name, known in kept.items() if name in on_list and name not in stored
        }
        # Those that have failed before come last: they must not look like a service that is not there.
        positions = sorted(run.positions(wanted, stored, again, set(earlier)), key=lambda each: each.has_failed)
        if positions:
            console.print(advice_for(len(positions), service, pace), highlight=False)
        wire = transport or HttpTransport(pace)
        asker = Asker(wire, Pace(pace, rng or np.random.default_rng()), service.url)
        ended: BaseException | None = None
        try:
            run.fetch(positions, asker)
        except (KeyboardInterrupt, ProcessError, InputError) as error:
            ended = error
        finally:
            if transport is None:
                wire.close()
        spool.move(writer, list(spool.waiting))
        has_new = bool(spool.waiting)
    # Only here, when the last shard has its name, is the spool no longer needed.
    has_new |= run.update_quarantine(wanted)
    spool.clear()
    if ended is not None:
        raise ended
    report = run.report(targets, wanted, stored, asker, time.monotonic() - started)
    if report.fetched or has_new or writer.replaced:
        write_provenance(
            out,
            step="cutouts fetch",
            configuration={"service": service.model_dump(mode="json"), "pace": pace.model_dump(mode="json")},
            inputs=dict(inputs or {}),
            results=report.as_dict(),
        )
    return report


def _require_same_service(out: Path, service: ServiceConfig) -> None:
    path = out / SERVICE_NAME
    if not path.exists():
        if out.is_dir() and any(out.glob("shard-*")):
            raise FileProblem(
                out,
                "a store that was not fetched from the service",
                "Give another folder: stamps of both ways do not belong in one store.",
                reason="other-format",
            )
        return
    try:
        known = ServiceConfig(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise FileProblem(path, f"not readable ({error})", "Give another folder.", reason="other-format") from error
    for name in ("layer", "layout"):
        if getattr(known, name) != getattr(service, name):
            raise FileProblem(
                out,
                f"the store was fetched with {name} {getattr(known, name)}, not {getattr(service, name)}",
                "Give another folder, or the same setting.",
                reason="other-format",
            )


def _earlier(folder: Path) -> list[Rejection]:
    """Return what an earlier run has set aside."""
    table = read_quarantine(folder)
    return [
        Rejection(source_id=str(source_id), reason=str(reason), what=str(what), file=str(file), remedy=str(remedy))
        for source_id, reason, what, file, remedy in zip(
            table["source_id"], table["reason"], table["what"], table["file"], table["remedy"], strict=True
        )
    ]


@dataclass(slots=True, kw_only=True)
class _Run:
    """The state of one run of `fetch_cutouts`."""

    service: ServiceConfig
    spool: Spool
    writer: StoreWriter
    out: Path
    rejections: dict[Product, dict[str, Rejection]] = field(
        default_factory=lambda: {"cutout": {}, "psf": {}, "jpeg": {}}
    )
    """What is not there and why: product -> source_id -> reason."""
    fetched: int = 0
    """Cutouts that came in this run."""
    failed_in_a_row: int = 0
    """Positions in a row that the service failed at."""
    has_succeeded: bool = False
    """Whether anything went well yet."""

    def positions(self, wanted: pd.DataFrame, stored: set[str], again: bool, earlier: set[str]) -> Iterator[Position]:
        """Iterate over the positions that lack something."""
        finally_without: dict[Product, set[str]] = {"cutout": set(self.rejections["cutout"])}
        for product in self.service.products[1:]:
            known = {} if again else {each.source_id: each for each in _earlier(self.out / product)}
            names = set(wanted["source_id"])
            self.rejections[product] |= {
                name: each for name, each in known.items() if each.reason in FINAL and name in names
            }
            finally_without[product] = set(self.rejections[product])
        for source_id, ra, dec in zip(wanted["source_id"], wanted["ra"], wanted["dec"], strict=True):
            if source_id in self.rejections["cutout"]:
                for product in self.service.products[1:]:
                    self.rejections[product].setdefault(source_id, self.rejections["cutout"][source_id])
                continue
            lacks: list[Product] = [] if source_id in stored else ["cutout"]
            lacks += [
                product
                for product in self.service.products[1:]
                if source_id not in finally_without[product] and not self._is_there(product, source_id)
            ]
            if lacks:
                yield Position(
                    source_id=source_id,
                    ra=float(ra),
                    dec=float(dec),
                    products=tuple(lacks),
                    has_failed=source_id in earlier,
                )

    def _is_there(self, product: Product, source_id: object) -> bool:
        return product_path(self.out, product, str(source_id)).exists()

    def fetch(self, positions: Sequence[Position], asker: Asker) -> None:
        """Fetch positions with several threads; everything that is written into the store is written here, in one."""
        waiting = iter(positions)
        lock = threading.Lock()
        outcomes: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()

        def work() -> None:
            while not asker.pace.is_stopped:
                with lock:
                    position = next(waiting, None)
                if position is None:
                    return
                try:
                    outcomes.put(self._fetch(position, asker))
                except StoppedError:
                    return
                except BaseException as error:  # noqa: BLE001 - handed to the main thread, which raises it
                    outcomes.put(error)
                    return

        n_threads = min(asker.pace.config.concurrency, max(len(positions), 1))
        threads = [threading.Thread(target=work, name=f"fetch-{n}", daemon=True) for n in range(n_threads)]
        left = TimeLeft(len(positions), self.service.requests_per_position)
        with fetch_progress(left, asker.pace) as progress:
            try:
                for thread in threads:
                    thread.start()
                for _ in positions:
                    outcome = outcomes.get()
                    if isinstance(outcome, BaseException):
                        raise outcome
                    rejection = outcome.rejections.get("cutout")
                    self._take(outcome)
                    self._move_whole_shards()
                    progress.finish(rejection.reason if rejection else "")
                    self._stop_if_hopeless(outcome, asker)
            finally:
                asker.pace.stop()
                for thread in threads:
                    # A thread in the middle of an answer may be silent until its time limit; nobody waits for it.
                    thread.join(timeout=1.0)
                while not outcomes.empty():
                    late = outcomes.get()
                    if isinstance(late, Outcome):
                        self._take(late)

    def _fetch(self, position: Position, asker: Asker) -> Outcome:
        """Fetch a position and put its pixels where a kill cannot reach them; in the thread that fetched them."""
        outcome = fetch_position(asker, self.service, position, self.out)
        if any(rejection.reason == "unknown-layer" for rejection in outcome.rejections.values()):
            asker.pace.stop()  # the other threads need not find out for themselves
        if outcome.stamp is None:
            return outcome
        stamp = outcome.stamp
        row = {
            "source_id": position.source_id,
            "ra": position.ra,
            "dec": position.dec,
            "origin": outcome.origin,
            "brickname": stamp.brickname,
            "x0": stamp.x0,
            "y0": stamp.y0,
            "dx": stamp.dx,
            "dy": stamp.dy,
            "layout": self.service.layout,
            "version": stamp.version,
        }
        return replace(outcome, stamp=None, spooled=self.spool.put(row, stamp))

    def _take(self, outcome: Outcome) -> None:
        """Note what came of a position."""
        source_id = outcome.position.source_id
        for product, rejection in outcome.rejections.items():
            self.rejections[product][source_id] = rejection
            if product == "cutout":
                self.spool.reject(rejection)
        if outcome.spooled is None:
            return
        self.spool.waiting[source_id] = outcome.spooled
        self.fetched += 1

    def _move_whole_shards(self) -> None:
        if len(self.spool.waiting) >= self.writer.shard_size:
            moved = list(self.spool.waiting)[: self.writer.shard_size]
            self.spool.move(self.writer, moved)
            self.spool.forget(moved)

    def _stop_if_hopeless(self, outcome: Outcome, asker: Asker) -> None:
        """End the run when the service fails at position after position: the sky does not fail like that."""
        rejection = next(iter(outcome.rejections.values()), None)
        is_of_the_sky = rejection is None or (rejection.reason in FINAL and rejection.reason not in SYSTEMIC)
        if outcome.got or rejection is None or is_of_the_sky:
            self.failed_in_a_row = 0
            self.has_succeeded = True
            return
        if rejection.reason == "unknown-layer":
            raise InputError(f"{rejection.file}: {rejection.what}. {rejection.remedy}")
        failed_before = outcome.position.has_failed
        if failed_before and self.has_succeeded:
            return  # the service is there, and of these some will fail forever
        self.failed_in_a_row += 1
        limits = asker.pace.config
        is_known = self.has_succeeded or failed_before
        if self.failed_in_a_row >= (limits.stop_after if is_known else limits.stop_after_at_start):
            raise ProcessError(
                f"{self.service.url}: the last {self.failed_in_a_row} positions failed, {rejection.source_id} with "
                f"{rejection.reason}: {rejection.what}. {rejection.remedy} What was fetched is kept; run the same "
                "command again later."
            )

    def update_quarantine(self, wanted: pd.DataFrame) -> bool:
        """Bring the tables of what was set aside up to date; return whether that of the cutouts changed."""
        is_changed = update_quarantine(
            self.out, list(self.rejections["cutout"].values()), wanted, self.writer.__contains__
        )
        for product in self.service.products[1:]:
            update_quarantine(
                self.out / product,
                list(self.rejections[product].values()),
                wanted,
                functools.partial(self._is_there, product),
            )
        return is_changed

    def report(
        self, targets: pd.DataFrame, wanted: pd.DataFrame, stored: set[str], asker: Asker, seconds: float
    ) -> FetchReport:
        """Return the numbers of the run."""
        with CutoutStore.open(self.out) as store:
            total, size = len(store), store.size_on_disk()
        beside = {
            product: {
                "there": sum(self._is_there(product, name) for name in wanted["source_id"]),
                "not_there": len(self.rejections[product]),
            }
            for product in self.service.products[1:]
        }
        n_asked = len(wanted) - len(stored)
        return FetchReport(
            store=str(self.out),
            service=self.service.url,
            layer=self.service.layer,
            requested=len(targets),
            duplicates=len(targets) - len(wanted),
            already_stored=len(stored),
            fetched=self.fetched,
            quarantined=len(self.rejections["cutout"]),
            reasons=dict(
                sorted(collections.Counter(each.reason for each in self.rejections["cutout"].values()).items())
            ),
            psf=beside.get("psf", {}),
            jpeg=beside.get("jpeg", {}),
            requests=asker.requests,
            troubles=dict(sorted(asker.troubles.items())),
            pauses=asker.pace.pauses,
            total=total,
            bytes_on_disk=size,
            seconds=round(seconds, 3),
            advice=advice_for(n_asked, self.service, asker.pace.config) if n_asked > BRICKS_ABOVE else "",
        )
