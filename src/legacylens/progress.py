"""Progress bars on standard error, so that standard output stays for results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Item = TypeVar("Item")

console = Console(stderr=True)
"""Where everything that is not a result is printed."""


@contextmanager
def progress_bar(description: str, total: float | None) -> Iterator[ProgressBar]:
    """Show a bar while the block runs; on a pipe only the finished line is printed."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        refresh_per_second=4,
    ) as bars:
        yield ProgressBar(bars, description, total)


class ProgressBar:
    """One bar: call ``advance`` when something is done, ``note`` to say a word beside it."""

    def __init__(self, bars: Progress, description: str, total: float | None) -> None:
        self._bars = bars
        self._task = bars.add_task(description, total=total, note="")

    def advance(self, n: float = 1) -> None:
        """Move the bar by ``n`` items."""
        self._bars.advance(self._task, n)

    def note(self, text: str) -> None:
        """Show ``text`` at the end of the bar."""
        self._bars.update(self._task, note=text)


def track(items: Iterable[Item], description: str, *, total: float | None = None) -> Iterator[Item]:
    """Iterate over ``items`` under a progress bar."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress_bar(description, total) as bar:
        for item in items:
            yield item
            bar.advance()
