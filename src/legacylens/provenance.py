"""What made an output: configuration, versions, commit, seeds and the hashes of its inputs.

Every output folder holds ``provenance.json``. The code version is a hash of the package's own source files,
because a git commit says nothing about uncommitted work and an installed package has none.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import legacylens
from legacylens.errors import FileProblem
from legacylens.files import sha256_of_file, write_json

RECORD_NAME = "provenance.json"
_SOURCE_SUFFIXES = {".py", ".html", ".toml", ".css"}
_PACKAGES = ("numpy", "scipy", "pandas", "pyarrow", "astropy", "fitsio", "torch")


@functools.cache
def code_hash(parts: tuple[str, ...] | None = None) -> str:
    """Return a SHA-256 over the source files of the installed package.

    Parameters
    ----------
    parts
        Only these parts (folders) and the modules that all parts stand on; None: everything.
    """
    root = Path(legacylens.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        place = path.relative_to(root)
        belongs = parts is None or len(place.parts) == 1 or place.parts[0] in parts
        if belongs and path.suffix in _SOURCE_SUFFIXES:
            digest.update(place.as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


@functools.cache
def git_commit() -> str | None:
    """Return the commit of the checkout that the package is run from, ``-dirty`` if it has changes, or None."""
    root = Path(legacylens.__file__).parent
    try:
        commit = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changes = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain", "--", str(root)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None  # not a checkout, or no git: the code hash still identifies the code
    return f"{commit}-dirty" if changes else commit


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str | None]:
    """Return the versions of legacylens, Python and the packages that can change a number."""
    return {
        "legacylens": legacylens.__version__,
        "python": platform.python_version(),
        **{package: _version(package) for package in _PACKAGES},
    }


def hash_of_input(path: str | Path) -> str:
    """Return a hash that changes when the input changes.

    A file is hashed whole. A folder is identified by its own provenance record if it has one, otherwise by names,
    sizes and modification times, because hashing a release of terabytes at every start is not an option.
    """
    path = Path(path)
    if path.is_file():
        return sha256_of_file(path)
    record = path / RECORD_NAME
    if record.is_file():
        return sha256_of_file(record)
    digest = hashlib.sha256()
    for entry in sorted(path.rglob("*")):
        if entry.is_file():
            status = entry.stat()
            digest.update(f"{entry.relative_to(path).as_posix()} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def write_provenance(
    folder: str | Path,
    *,
    step: str,
    configuration: Mapping[str, Any],
    inputs: Mapping[str, str | Path],
    seeds: Mapping[str, int] | None = None,
    results: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``provenance.json`` into an output folder.

    Parameters
    ----------
    folder
        The output folder.
    step
        The verb that made it.
    configuration
        The resolved configuration, JSON-compatible.
    inputs
        Name -> path (or URL) of everything that was read; local paths are hashed.
    seeds
        Name -> seed of every random stream.
    results
        The numbers of the result, for later reading without opening the tables.
    """
    record = {
        "step": step,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "configuration": dict(configuration),
        "code_hash": code_hash(),
        "git_commit": git_commit(),
        "versions": versions(),
        "seeds": dict(seeds or {}),
        "inputs": {
            name: {"path": str(path), "hash": hash_of_input(path) if Path(str(path)).exists() else None}
            for name, path in inputs.items()
        },
        "results": dict(results or {}),
    }
    path = Path(folder) / RECORD_NAME
    write_json(path, record)
    return path


def read_provenance(folder: str | Path) -> dict[str, Any]:
    """Read the record that `write_provenance` wrote.

    Raises
    ------
    FileProblem
        If the folder has none, or it is broken.
    """
    path = Path(folder) / RECORD_NAME
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise FileProblem(
            path,
            "no provenance record",
            "The folder was not written by legacylens, or not finished.",
            reason="missing",
        ) from None
    except ValueError as error:
        raise FileProblem(path, f"broken record ({error})", "Run the step again.", reason="truncated") from error
