"""Steps that run once: skipped while their inputs, configuration and code have not changed, resumed if interrupted.

Each step owns a folder. ``step.json`` in it holds the step's key and whether it finished; ``provenance.json`` says what
made it. The key is a hash over the step's configuration, the hashes of its inputs, the keys of the steps it follows,
and the source code of the parts that it uses.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from legacylens.errors import FileProblem, InputError
from legacylens.files import held, remove_leftovers, sha256_of_text, to_json, write_json
from legacylens.progress import console
from legacylens.provenance import RECORD_NAME, code_hash, write_provenance

STATE_NAME = "step.json"

Results = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a search."""

    name: str
    """The verb, also the end of the folder's name."""
    configuration: Mapping[str, Any]
    """Everything that the user can set for it, JSON-compatible."""
    run: Callable[[Path], Results]
    """Does the work into the given folder, resuming what is there; returns the numbers of the result."""
    parts: tuple[str, ...]
    """The parts of the package whose code can change the result."""
    after: tuple[str, ...] = ()
    """Names of the steps whose results it reads."""
    inputs: Mapping[str, str] | None = None
    """Name -> hash of every input that no step made."""
    input_paths: Mapping[str, str | Path] | None = None
    """Name -> path of the inputs, for the provenance record."""
    seeds: Mapping[str, int] | None = None
    """Name -> seed of its random streams."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a step."""

    name: str
    """The step."""
    folder: Path
    """Where its results are."""
    status: Literal["done", "unchanged"]
    """Whether it ran or had nothing to do."""
    seconds: float
    """Duration of the run that made the results [s]."""
    results: Results
    """The numbers of the result."""


def folder_of(out: Path, place: int, name: str) -> Path:
    """Return the folder of the step at a place (from 1) of the sequence."""
    return out / f"{place:02d}-{name}"


def step_key(step: Step, keys: Mapping[str, str]) -> str:
    """Return the hash that decides whether a step must run again.

    Parameters
    ----------
    step
        The step.
    keys
        Name -> key of the steps before it.
    """
    return sha256_of_text(
        to_json(
            {
                "name": step.name,
                "configuration": dict(step.configuration),
                "inputs": dict(step.inputs or {}),
                "after": {name: keys[name] for name in step.after},
                "code": code_hash(step.parts),
                "seeds": dict(step.seeds or {}),
            }
        )
    )


def _state(folder: Path) -> dict[str, Any]:
    path = folder / STATE_NAME
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise FileProblem(path, f"broken ({error})", "Remove the folder and run again.", reason="truncated") from error


def _prepare(folder: Path, key: str, state: Mapping[str, Any]) -> None:
    """Make the folder ready: keep what an interrupted run of the same step left, clear what another one made."""
    if folder.exists() and state.get("key") != key:
        if not state and any(folder.iterdir()):
            raise FileProblem(
                folder,
                "holds files that no step of a search wrote",
                "Move them away or choose another --out: they would be deleted.",
                reason="foreign",
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    write_json(folder / STATE_NAME, {"key": key, "status": "started"})


def run_steps(steps: Sequence[Step], out: Path) -> list[Outcome]:
    """Run the steps in order, each in its own folder below ``out``.

    Parameters
    ----------
    steps
        The steps, each after those it follows.
    out
        Folder of the search.

    Returns
    -------
    outcomes
        One for each step.

    Raises
    ------
    InputError
        If another run is writing into ``out``, or two steps have one name.
    FileProblem
        If a step's folder holds something that is not its own.
    """
    names = [step.name for step in steps]
    if len(set(names)) != len(names):
        raise InputError(f"two steps of one name among {names}")
    outcomes: list[Outcome] = []
    keys: dict[str, str] = {}
    out.mkdir(parents=True, exist_ok=True)
    refusal = InputError(f"{out} is being written by another run. Wait for it, stop it, or choose another --out.")
    with held(out / ".lock", refusal):
        for place, step in enumerate(steps, start=1):
            folder = folder_of(out, place, step.name)
            key = step_key(step, keys)
            keys[step.name] = key
            state = _state(folder)
            title = f"[bold]{place}/{len(steps)} {step.name}[/bold]"
            if state.get("key") == key and state.get("status") == "finished":
                console.print(f"{title}: unchanged")
                outcomes.append(
                    Outcome(
                        name=step.name,
                        folder=folder,
                        status="unchanged",
                        seconds=float(state["seconds"]),
                        results=dict(state["results"]),
                    )
                )
                continue
            resumes = state.get("key") == key
            console.print(f"{title}{': resumed' if resumes else ''}")
            _prepare(folder, key, state)
            start = time.monotonic()
            results = step.run(folder)
            seconds = float(state.get("seconds", 0.0)) + time.monotonic() - start
            if not (folder / RECORD_NAME).exists():  # most parts write their own, which knows more
                write_provenance(
                    folder,
                    step=step.name,
                    configuration=step.configuration,
                    inputs=step.input_paths or {},
                    seeds=step.seeds,
                    results=results,
                )
            write_json(folder / STATE_NAME, {"key": key, "status": "finished", "seconds": seconds, "results": results})
            outcomes.append(Outcome(name=step.name, folder=folder, status="done", seconds=seconds, results=results))
    return outcomes
