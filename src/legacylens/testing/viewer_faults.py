"""What goes wrong at the stand-in viewer, and when: by chance, in a given order, or always at some positions."""

from __future__ import annotations

import collections
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from legacylens.testing.viewer_sky import fraction

FAULTS: Mapping[str, str] = {
    "rate-limited": "429 with Retry-After in seconds",
    "rate-limited-date": "429 with Retry-After as a date",
    "rate-limited-silent": "429 without Retry-After",
    "unavailable": "503 with Retry-After and a page of HTML",
    "server-error": "500 and a page of HTML",
    "bad-gateway": "502 and a page of HTML",
    "html-200": "a page of HTML with status 200",
    "text-200": "a sentence with status 200",
    "empty-200": "nothing with status 200",
    "stall": "nothing at all for longer than anyone waits",
    "stall-body": "half of the answer, then nothing",
    "drip": "the answer a few bytes at a time",
    "truncated": "half of the answer, then the end, although Content-Length promised more",
    "truncated-silent": "half of the answer, then the end, without a Content-Length to tell",
    "truncated-seam": "the same, just between two images",
    "reset": "the connection is reset",
    "reset-body": "half of the answer, then the connection is reset",
    "default-bands": "the bands that were asked for are dropped and the default ones sent",
    "default-layer": "the layer that was asked for is dropped and the default one sent",
    "clipped": "the size is cut down without a word",
    "neighbor": "the answer to another question: a position 36 arcsec to the north",
}
"""Fault -> what happens."""

REASON_OF_FAULT: Mapping[str, str] = {
    "rate-limited": "rate-limited",
    "rate-limited-date": "rate-limited",
    "rate-limited-silent": "rate-limited",
    "unavailable": "server-error",
    "server-error": "server-error",
    "bad-gateway": "server-error",
    "html-200": "not-fits",
    "text-200": "not-fits",
    "empty-200": "not-fits",
    "stall": "timeout",
    "stall-body": "timeout",
    "drip": "timeout",
    "truncated": "truncated",
    "truncated-silent": "truncated",
    "truncated-seam": "truncated",
    "reset": "connection",
    "reset-body": "connection",
    "default-bands": "other-bands",
    "default-layer": "other-layer",
    "clipped": "other-size",
    "neighbor": "other-position",
}
"""Fault -> the true reason, as the client of legacylens calls it."""

LASTING = tuple(
    fault
    for fault, reason in REASON_OF_FAULT.items()
    if reason not in ("rate-limited", "timeout") and fault != "truncated-seam"
)
"""Faults that a position may have forever without costing everybody's time. One is left out that nobody could tell
from a band without exposures if it lasted."""


@dataclass(slots=True, kw_only=True)
class FaultPlan:
    """Which request meets which fault.

    A request is known by its kind and position, so the plan does not depend on the order in which several threads
    make requests.
    """

    rate: float = 0.0
    """Fraction of requests that go wrong by chance; repeated ones are drawn anew."""
    lasting: float = 0.0
    """Fraction of positions at which a fault never ends."""
    kinds: Sequence[str] = tuple(FAULTS)
    """Faults to choose from."""
    seed: int = 1
    """Another seed is another plan."""
    script: list[str] = field(default_factory=list)
    """Faults of the next requests, in their order, "" for none; while it lasts nothing else happens."""
    _attempts: collections.Counter[str] = field(default_factory=collections.Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def draw(self, key: str) -> str:
        """Return the fault of the next request of this key, "" for none."""
        with self._lock:
            if self.script:
                return self.script.pop(0)
            attempt = self._attempts[key]
            self._attempts[key] += 1
        lasting = [kind for kind in self.kinds if kind in LASTING]
        if lasting and fraction("lasting", self.seed, key) < self.lasting:
            return lasting[int(fraction("which", self.seed, key) * len(lasting))]
        if self.kinds and fraction("chance", self.seed, key, attempt) < self.rate:
            return self.kinds[int(fraction("kind", self.seed, key, attempt) * len(self.kinds))]
        return ""
