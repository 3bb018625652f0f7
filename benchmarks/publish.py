"""Shows the result of a benchmark, and keeps it where it is wanted."""

from pathlib import Path
from typing import Any

from legacylens.files import to_json, write_json


def publish(result: dict[str, Any], out: Path | None) -> None:
    """Print a result, and write it to a file if one is given."""
    print(to_json(result), end="")
    if out is not None:
        write_json(out, result)
