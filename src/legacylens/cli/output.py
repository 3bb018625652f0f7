"""How a verb speaks: one JSON document, or tables, on standard output; everything else on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Row = Sequence[object]


def table(title: str, columns: Sequence[str], rows: Iterable[Row]) -> Any:
    """Return a rich table; numbers are right-aligned, None is an empty cell."""
    from rich.table import Table

    rows = [tuple(row) for row in rows]
    result = Table(title=title, title_justify="left", header_style="bold")
    for place, name in enumerate(columns):
        values = [row[place] for row in rows if row[place] is not None]
        numeric = bool(values) and all(isinstance(value, int | float) for value in values)
        result.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        result.add_row(*("" if value is None else _text(value) for value in row))
    return result


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def show(result: Mapping[str, Any], as_json: bool, render: Callable[[], object | Sequence[object]]) -> None:
    """Print a result.

    Parameters
    ----------
    result
        What ``--json`` prints, as one document.
    as_json
        Whether ``--json`` was given.
    render
        Returns what a person reads: a rich renderable or a sequence of them. Called only if needed.
    """
    from legacylens.files import to_json

    if as_json:
        sys.stdout.write(to_json(dict(result)))
        return
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 120)
    rendered = render()
    for item in rendered if isinstance(rendered, list | tuple) else [rendered]:
        console.print(item)
