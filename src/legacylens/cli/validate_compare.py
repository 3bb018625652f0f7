"""The verb ``validate compare``: which of two networks finds more of the same lenses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    first: Annotated[Path, typer.Argument(help="validation.json of the first scores, or its folder.")],
    second: Annotated[Path, typer.Argument(help="The same of the second.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Compare two validations lens by lens; refuses two of different samples, splits or definitions.

    \b
    Example:
      legacylens validate compare validation-a/ validation-b/
    """
    from legacylens.cli.output import show, table
    from legacylens.validation.compare import compare_results
    from legacylens.validation.report import read_result

    result = compare_results(read_result(first), read_result(second))

    def render() -> list[object]:
        names = ["fpr_target", "recall_first", "recall_second", "only_first", "only_second", "p_value", "better"]
        columns = [name.replace("_", " ") for name in names]
        title = f"{result['split']} split of sample {result['sample_hash'][:12]}"
        rows = [[row[name] for name in names] for row in result["rows"]]
        return [table(title, columns, rows), *(f"- {sentence}" for sentence in result["not_shown"])]

    show(result, as_json, render)
