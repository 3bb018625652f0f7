"""What a person sees while fetching, which takes hours: counts, troubles and an honest time left."""

from __future__ import annotations

import collections
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from legacylens.cutouts.service_pace import Pace, TimeLeft, in_words
from legacylens.progress import console

LINE_EVERY_S = 60.0
"""How often a line is printed where there is no terminal to draw a bar on [s]."""


@contextmanager
def fetch_progress(left: TimeLeft, pace: Pace) -> Iterator[FetchProgress]:
    """Show the progress of a run while the block runs."""
    bars = Progress(
        TextColumn("fetching"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        refresh_per_second=2,
        disable=not console.is_terminal,
    )
    left.start(pace.now())
    with bars:
        yield FetchProgress(bars, left, pace)


class FetchProgress:
    """The progress of a run; `finish` is called for each position."""

    def __init__(self, bars: Progress, left: TimeLeft, pace: Pace) -> None:
        self._bars, self._left, self._pace = bars, left, pace
        self._task = bars.add_task("fetching", total=left.total, note="")
        self._counts: collections.Counter[str] = collections.Counter()
        self._said = time.monotonic()

    def finish(self, reason: str) -> None:
        """Note one more position; ``reason`` is "" if it was fetched."""
        now = self._pace.now()
        self._left.finish(now)
        self._counts[reason or "fetched"] += 1
        note = self.note(now)
        self._bars.update(self._task, advance=1, note=note)
        if not console.is_terminal and time.monotonic() - self._said >= LINE_EVERY_S:
            self._said = time.monotonic()
            console.print(f"{self._left.done:,} of {self._left.total:,} positions; {note}", highlight=False)

    def note(self, now: float) -> str:
        """Return what is said beside the bar."""
        central, low, high = self._left.estimate(now, self._pace.rate_per_minute)
        set_aside = self._counts.total() - self._counts["fetched"]
        parts = [f"left {in_words(central)} ({in_words(low)} to {in_words(high)})"]
        if set_aside:
            parts.append(f"{set_aside} set aside")
        if self._pace.pauses:
            parts.append(f"paused {self._pace.pauses} times as the service asked")
        return ", ".join(parts)
