"""The ledger of a sealed split: every look at it is written down beside the sample.

A test that is looked at again and again, with a better network each time, becomes a validation set. Nothing can prevent
a second look, but it can be made an explicit act, and counted.
"""

from __future__ import annotations

import getpass
import json
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from legacylens.errors import FileProblem, InputError
from legacylens.files import write_text

LEDGER_NAME = "sealed-ledger.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """One look at a sealed split."""

    number: int
    """How many different scores the split has judged, this look included."""
    repeated: bool
    """Whether the same scores were judged before; then nothing was written."""
    ledger: str
    """Path of the ledger."""


def read_ledger(path: str | Path) -> list[dict[str, Any]]:
    """Return the lines of a ledger, none if it does not exist.

    Raises
    ------
    FileProblem
        If a line is broken: a ledger that cannot be read must not be taken for an empty one.
    """
    path = Path(path)
    if not path.exists():
        return []
    lines = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            lines.append(dict(json.loads(line)))
        except (ValueError, TypeError) as error:
            raise FileProblem(
                path,
                f"line {number} is not a record ({error})",
                "Restore the ledger; without it nobody knows how often the sealed split was opened.",
                reason="ledger",
            ) from error
    return lines


def open_sealed(sample_folder: str | Path, *, sample_hash: str, scores_hash: str, reason: str | None = None) -> Opening:
    """Write a look at the sealed split into its ledger.

    Parameters
    ----------
    sample_folder
        Folder of the sample; the ledger stands beside it.
    sample_hash, scores_hash
        What is judged. The same pair again is no new look and writes nothing.
    reason
        Why the split is opened. Needed if other scores were judged before.

    Raises
    ------
    InputError
        If other scores were judged before and no reason is given.
    """
    path = Path(sample_folder) / LEDGER_NAME
    lines = read_ledger(path)
    for number, line in enumerate(lines, start=1):
        if line.get("sample") == sample_hash and line.get("scores") == scores_hash:
            return Opening(number=number, repeated=True, ledger=str(path))
    if lines and not reason:
        raise InputError(
            f"the sealed split was already opened {len(lines)} time{'s' if len(lines) != 1 else ''}, last on "
            f"{lines[-1].get('opened', '?')} with other scores ({path}). Choose between networks on the validation "
            "split; to open the sealed one again all the same, give a reason (--reopen), which the ledger keeps"
        )
    line = {
        "opened": datetime.now(UTC).isoformat(timespec="seconds"),
        "who": _who(),
        "sample": sample_hash,
        "scores": scores_hash,
        "reason": reason or "first opening",
    }
    text = "".join(json.dumps(entry) + "\n" for entry in [*lines, line])
    write_text(path, text)
    return Opening(number=len(lines) + 1, repeated=False, ledger=str(path))


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no entry for this user id, as in some containers
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
