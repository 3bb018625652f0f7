"""How fast to ask: a rate limit that all threads share, pauses that the service asks for, backing off, time left.

What others report of the public viewer: some 20 requests a minute are sustained and 2 to 3 a second tolerated for a
while; beyond that answers are 429 with ``Retry-After``, three of four requests fail for those who do not wait, and
failures rise steeply above 64 at a time. The default is the first of these, 20 a minute, two at a time.
"""

from __future__ import annotations

import collections
import math
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import numpy as np
from pydantic import Field, model_validator

from legacylens.settings import Settings


class PaceConfig(Settings):
    """How politely to fetch."""

    rate_per_minute: float = Field(default=20.0, gt=0, le=6000)
    """Requests a minute at most, over all threads."""
    burst: int = Field(default=5, ge=1, le=1000)
    """Requests that may follow one another at once after a rest."""
    concurrency: int = Field(default=2, ge=1, le=64)
    """Requests under way at a time. Failures of the public service rise above 64."""
    connect_timeout_s: float = Field(default=20.0, gt=0)
    """Longest time to make a connection [s]."""
    read_timeout_s: float = Field(default=60.0, gt=0)
    """Longest silence of the service [s]."""
    deadline_s: float = Field(default=180.0, gt=0)
    """Longest time for a whole answer [s], however slowly it trickles."""
    max_attempts: int = Field(default=6, ge=1, le=100)
    """How often a request is made before its position is set aside; 429 does not count."""
    max_rate_limited: int = Field(default=30, ge=1)
    """How often a request may be answered with 429 before its position is set aside."""
    backoff_first_s: float = Field(default=2.0, ge=0)
    """Mean wait after the first failure [s]; it doubles with each."""
    backoff_max_s: float = Field(default=120.0, ge=0)
    """Longest such wait [s]."""
    max_pause_s: float = Field(default=900.0, ge=0)
    """Longest pause that the service may ask for [s]; with a longer one the run ends and says so."""
    stop_after: int = Field(default=25, ge=1)
    """Positions in a row that the service, not the sky, fails at, before the run ends."""
    stop_after_at_start: int = Field(default=3, ge=1)
    """The same while no request has gone well yet: the service is not there, or the settings are wrong."""
    time_scale: float = Field(default=1.0, gt=0, le=10)
    """Seconds that each second of this record takes. Rehearsals with a stand-in server shorten time with it; with the
    real service it is 1."""

    @model_validator(mode="after")
    def _times_in_order(self) -> PaceConfig:
        if self.deadline_s < self.read_timeout_s:
            raise ValueError(f"deadline_s {self.deadline_s} is less than read_timeout_s {self.read_timeout_s}")
        return self


class StoppedError(Exception):
    """Tells a waiting thread that the run is being ended."""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return how long the service asks to wait [s], or None if it does not say.

    ``Retry-After`` holds seconds or a date (RFC 9110, 10.2.3). A date is compared with the service's own clock
    (``Date``), because this machine's may be wrong.
    """
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        until, now = _date(value), _date(headers.get("date", "")) or datetime.now(UTC)
        return None if until is None else max((until - now).total_seconds(), 0.0)
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, IndexError, TypeError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


class Pace:
    """When the next request may start; one for all threads of a run.

    Parameters
    ----------
    config
        The limits.
    rng
        Source of the jitter.
    """

    def __init__(self, config: PaceConfig, rng: np.random.Generator) -> None:
        self.config = config
        self._rng = rng
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._rate = config.rate_per_minute / 60.0
        self._tokens = float(config.burst)
        self._refilled = self.now()
        self._paused_until = -math.inf
        self._limited_in_a_row = 0
        self.pauses = 0
        """Pauses that the service asked for."""

    def now(self) -> float:
        """Return the time [s] on the run's own clock."""
        return time.monotonic() / self.config.time_scale

    @property
    def rate_per_minute(self) -> float:
        """The rate that is allowed now, after what the service said."""
        with self._lock:
            return self._rate * 60.0

    def stop(self) -> None:
        """Wake every waiting thread with `StoppedError`."""
        self._stop.set()

    @property
    def is_stopped(self) -> bool:
        """Whether the run is being ended."""
        return self._stop.is_set()

    def wait(self, seconds: float) -> None:
        """Wait.

        Raises
        ------
        StoppedError
            If the run is ended meanwhile.
        """
        if self._stop.wait(max(seconds, 0.0) * self.config.time_scale):
            raise StoppedError

    def wait_turn(self) -> None:
        """Wait until another request may be made.

        Raises
        ------
        StoppedError
            If the run is ended meanwhile.
        """
        while True:
            with self._lock:
                now = self.now()
                self._tokens = min(self._tokens + (now - self._refilled) * self._rate, float(self.config.burst))
                self._refilled = now
                if now >= self._paused_until and self._tokens >= 1.0 - 1e-9:
                    self._tokens -= 1.0
                    break
                delay = max(self._paused_until - now, (1.0 - self._tokens) / self._rate)
            self.wait(delay)
        if self.is_stopped:
            raise StoppedError

    def limited(self, asked: float | None) -> float:
        """Make every thread pause after an answer 429, and halve the rate; return the pause [s].

        Parameters
        ----------
        asked
            What ``Retry-After`` asks for [s]; without it the pause doubles from one 429 to the next.
        """
        with self._lock:
            now = self.now()
            self._limited_in_a_row += 1
            seconds = self._doubling(self._limited_in_a_row) if asked is None else asked
            seconds += float(self._rng.uniform(0.0, 0.1)) * seconds
            if now >= self._paused_until:  # answers to requests that were under way say the same again
                self._rate = max(self._rate / 2.0, self.config.rate_per_minute / 60.0 / 16.0)
                self.pauses += 1
            self._paused_until = max(self._paused_until, now + seconds)
            self._tokens, self._refilled = 1.0, self._paused_until
            return seconds

    def went_well(self) -> None:
        """Let the rate recover, a fiftieth of the allowed rate for each good answer."""
        with self._lock:
            self._limited_in_a_row = 0
            full = self.config.rate_per_minute / 60.0
            self._rate = min(self._rate + full / 50.0, full)

    def back_off(self, failures: int) -> None:
        """Wait after a failure of one request; the ``failures``-th in a row.

        Raises
        ------
        StoppedError
            If the run is ended meanwhile.
        """
        with self._lock:
            seconds = self._doubling(failures) * float(self._rng.uniform(0.5, 1.5))
        self.wait(seconds)

    def _doubling(self, failures: int) -> float:
        return float(min(self.config.backoff_first_s * 2.0 ** min(failures - 1, 60), self.config.backoff_max_s))


class TimeLeft:
    """How long the rest will take, from how long the last positions took, pauses and failures included.

    Parameters
    ----------
    total
        Positions to finish.
    requests_each
        Requests that a position takes when all goes well.
    """

    def __init__(self, total: int, requests_each: int) -> None:
        self.total = total
        self.done = 0
        self._requests_each = requests_each
        self._recent: collections.deque[float] = collections.deque(maxlen=101)
        self._started: float | None = None

    def start(self, now: float) -> None:
        """Note the beginning [s]."""
        self._started = now
        self._recent.append(now)

    def finish(self, now: float) -> None:
        """Note that one more position is done."""
        self.done += 1
        self._recent.append(now)

    def estimate(self, now: float, rate_per_minute: float) -> tuple[float, float, float]:
        """Return the expected time left and its range (two standard deviations) [s].

        Parameters
        ----------
        now
            The time.
        rate_per_minute
            The rate that is allowed now: no estimate is shorter than it permits.

        Notes
        -----
        The last 100 positions, and the time since the latest of them, give the rate; with n of them its relative error
        is 1/sqrt(n) as for any count. Before 5 are done only the allowed rate is known, and the range is wide.
        """
        left = self.total - self.done
        floor = left * self._requests_each / rate_per_minute * 60.0
        n = len(self._recent) - 1
        if n < 5:
            return floor, floor, floor * 5.0
        each = (now - self._recent[0]) / n
        spread = 2.0 / math.sqrt(n)
        central = max(left * each, floor)
        return central, max(left * each / (1.0 + spread), floor), central / max(1.0 - spread, 0.1)


def in_words(seconds: float) -> str:
    """Return a duration as a person says it: ``50 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60.0)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 36:
        return f"{hours} h {minutes:02d} min" if hours < 6 else f"{round(hours + minutes / 60.0)} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"
