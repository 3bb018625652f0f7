"""Asking until the answer is right: one request with its repetitions, and the requests that a position takes."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from legacylens.cutouts.quarantine import Rejection
from legacylens.cutouts.service_answer import ABSENT, RETRY, UNPLACED, Stamp, check_pixels
from legacylens.cutouts.service_fits import looks_like_fits
from legacylens.cutouts.service_http import Answer, Transport
from legacylens.cutouts.service_layouts import read_resampled, read_subimage
from legacylens.cutouts.service_pace import Pace, in_words, retry_after
from legacylens.cutouts.service_products import check_jpeg, product_path, read_psf_answer, write_psf
from legacylens.cutouts.service_request import (
    Product,
    ServiceConfig,
    ServiceRequest,
    cutout_request,
    jpeg_request,
    maskbits_request,
    psf_request,
)
from legacylens.errors import FileProblem, ProcessError
from legacylens.files import atomic_path

Result = TypeVar("Result")


class Asker:
    """Makes requests, again where that helps, for all threads of a run.

    Parameters
    ----------
    transport
        The wire.
    pace
        When to ask.
    base
        Address of the service.
    """

    def __init__(self, transport: Transport, pace: Pace, base: str) -> None:
        self.transport = transport
        self.pace = pace
        self.base = base
        self.requests = 0
        """Requests made."""
        self.troubles: collections.Counter[str] = collections.Counter()
        """Failed requests by reason, those included that went well when repeated."""
        self._lock = threading.Lock()

    def ask(self, request: ServiceRequest, read: Callable[[str, int, bytes], Result]) -> Result:
        """Return what ``read`` makes of the answer, after as many repetitions as it takes and the pace allows.

        Parameters
        ----------
        request
            What is asked for.
        read
            Gets address, status and body; raises `FileProblem` if the answer is not what was asked for.

        Raises
        ------
        FileProblem
            The last trouble, with a count of all of them.
        ProcessError
            If the service asks for a pause that is longer than the run is willing to make.
        StoppedError
            If the run is ended meanwhile.
        """
        url = request.url(self.base)
        troubles: collections.Counter[str] = collections.Counter()
        limits = self.pace.config
        while True:
            self.pace.wait_turn()
            answer: Answer | None = None
            with self._lock:
                self.requests += 1
            try:
                answer = self.transport.get(url, request.max_bytes)
                result = read(url, answer.status, answer.body)
            except FileProblem as problem:
                troubles[problem.reason] += 1
                with self._lock:
                    self.troubles[problem.reason] += 1
                asked = retry_after(answer.headers) if answer is not None else None
                n_limited = troubles["rate-limited"]
                is_limited = problem.reason == "rate-limited"
                n_failed = troubles.total() - n_limited
                exhausted = n_limited >= limits.max_rate_limited if is_limited else n_failed >= limits.max_attempts
                is_final = problem.reason not in RETRY
                if is_final and _is_doubtful(problem, answer):
                    is_final = troubles[problem.reason] >= 2  # believed when it is said twice
                if is_final or exhausted:
                    raise _counted(problem, troubles) from problem
                if is_limited or (problem.reason == "server-error" and asked is not None):
                    self._pause(asked)
                if not is_limited:
                    self.pace.back_off(n_failed)
            else:
                self.pace.went_well()
                return result

    def _pause(self, asked: float | None) -> None:
        longest = self.pace.config.max_pause_s
        if asked is not None and asked > longest:
            raise ProcessError(
                f"{self.base} asks for a pause of {in_words(asked)}, longer than the {in_words(longest)} that this "
                "run waits. Run the same command after that, with a lower rate: what was fetched is kept."
            )
        self.pace.limited(asked)


def _is_doubtful(problem: FileProblem, answer: Answer | None) -> bool:
    """Whether a final reason may come from an answer that was cut short, or was meant for another position."""
    if answer is None:
        return False
    is_cut = problem.reason in ABSENT and not answer.tells_its_length
    return is_cut or (problem.reason in UNPLACED and not looks_like_fits(answer.body))


def _counted(problem: FileProblem, troubles: collections.Counter[str]) -> FileProblem:
    if troubles.total() == 1:
        return problem
    counts = ", ".join(f"{reason} {count}" for reason, count in troubles.most_common())
    return FileProblem(
        problem.path,
        f"{problem.what} (the last of {troubles.total()} attempts: {counts})",
        problem.remedy,
        reason=problem.reason,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A position to fetch."""

    source_id: str
    """The source."""
    ra: float
    """Right ascension [deg]."""
    dec: float
    """Declination [deg]."""
    products: tuple[Product, ...]
    """What of it is not there yet."""
    has_failed: bool = False
    """Whether an earlier run has set it aside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a position."""

    position: Position
    """The position."""
    stamp: Stamp | None = None
    """The checked pixels, if they were asked for and came."""
    origin: str = ""
    """Address that the pixels came from."""
    got: tuple[Product, ...] = ()
    """What was fetched."""
    rejections: dict[Product, Rejection] = field(default_factory=dict)
    """What was not, and why."""
    spooled: Path | None = None
    """Where the pixels wait for the store."""


def fetch_position(asker: Asker, config: ServiceConfig, position: Position, store: Path) -> Outcome:
    """Fetch what a position lacks; PSF and picture are written beside the store, the stamp is returned.

    Parameters
    ----------
    asker
        Makes the requests.
    config
        What is fetched.
    position
        The position.
    store
        Folder of the store.

    Raises
    ------
    ProcessError, StoppedError
        As `Asker.ask`.
    """
    stamp, origin = None, ""
    got: list[Product] = []
    rejections: dict[Product, Rejection] = {}
    for product in position.products:
        try:
            if product == "cutout":
                stamp, origin = fetch_stamp(asker, config, position.ra, position.dec)
            elif product == "psf":
                _fetch_psf(asker, config, position, store)
            else:
                _fetch_jpeg(asker, config, position, store)
            got.append(product)
        except FileProblem as problem:
            rejections[product] = rejection = Rejection(
                source_id=position.source_id,
                reason=problem.reason,
                what=problem.what,
                file=problem.path,
                remedy=problem.remedy,
            )
            if product == "cutout":
                # No pixels, no use for the rest; and a service in trouble is not asked two more questions.
                for other in position.products[1:]:
                    rejections[other] = replace(rejection, what=f"no cutout: {rejection.what}")
                break
    return Outcome(position=position, stamp=stamp, origin=origin, got=tuple(got), rejections=rejections)


def fetch_stamp(asker: Asker, config: ServiceConfig, ra: float, dec: float) -> tuple[Stamp, str]:
    """Fetch the checked pixels around a position [deg]; return them with the address they came from.

    Raises
    ------
    FileProblem
        With the true reason, if they cannot be had.
    """
    request = cutout_request(config, ra, dec)
    url = request.url(asker.base)
    if config.layout == "resampled":

        def read(url: str, status: int, body: bytes) -> Stamp:
            return read_resampled(url, request, status, body)
    else:

        def read(url: str, status: int, body: bytes) -> Stamp:
            return read_subimage(url, request, status, body, config.stamp)

    stamp = asker.ask(request, read)
    # Before anything else is asked for: a position without exposures needs no mask bits.
    check_pixels(url, config.bands, stamp.image, stamp.invvar, stamp.maskbits)
    if config.layout == "subimage" and config.maskbits:
        masks = maskbits_request(config, stamp.center_ra, stamp.center_dec)
        stamp = replace(stamp, maskbits=asker.ask(masks, lambda *answer: _maskbits(masks, *answer)))
    return stamp, url


def _maskbits(request: ServiceRequest, url: str, status: int, body: bytes) -> NDArray[np.int32] | None:
    return read_resampled(url, request, status, body).maskbits


def _fetch_psf(asker: Asker, config: ServiceConfig, position: Position, store: Path) -> None:
    request = psf_request(config, position.ra, position.dec)
    psf = asker.ask(request, lambda url, status, body: read_psf_answer(url, request, status, body))
    write_psf(product_path(store, "psf", position.source_id), psf, origin=request.url(asker.base))


def _fetch_jpeg(asker: Asker, config: ServiceConfig, position: Position, store: Path) -> None:
    request = jpeg_request(config, position.ra, position.dec)

    def read(url: str, status: int, body: bytes) -> bytes:
        check_jpeg(url, request, status, body)
        return body

    picture = asker.ask(request, read)
    with atomic_path(product_path(store, "jpeg", position.source_id)) as temporary:
        temporary.write_bytes(picture)
