"""Files at an address (https, s3...): fetched whole, or not at all, and named when they cannot be."""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from fsspec.core import url_to_fs

from legacylens.errors import FileProblem
from legacylens.files import atomic_path

ATTEMPTS = 4
"""Attempts at a file of a server that answers with an error, breaks off or is silent."""
PAUSE_S = 1.0
"""First pause between attempts [s]; it doubles."""

_ABSENT = (FileNotFoundError, IsADirectoryError)
_T = TypeVar("_T")


@functools.cache
def _temporary_folder(_process: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="legacylens-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def cached_path(url: str, cache: str | Path | None) -> Path:
    """Return where the content of ``url`` is kept; without a cache, in a temporary folder of this process."""
    folder = _temporary_folder(os.getpid()) if cache is None else Path(cache)
    return folder / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{url.rstrip('/').rsplit('/', 1)[-1]}"


def _asked(url: str, action: Callable[[], _T]) -> _T:
    """Do something with a server, again if it fails; every error becomes one that names the address."""
    attempt = 1
    while True:
        try:
            return action()
        except _ABSENT:
            raise
        except ImportError as error:  # fsspec imports what a protocol needs when it is first used
            raise FileProblem(
                url,
                f"its protocol needs a package that is not installed ({error})",
                "Install it (pip install 'legacylens[s3]' for s3 addresses), or download the files.",
                reason="unreachable",
            ) from error
        except Exception as error:  # each protocol's library raises errors of its own
            if attempt >= ATTEMPTS:
                raise FileProblem(
                    url,
                    f"cannot be fetched ({' '.join(str(error).split()) or type(error).__name__})",
                    "Check the address and the network, then run again: what has come is kept.",
                    reason="unreachable",
                ) from error
        time.sleep(PAUSE_S * 2 ** (attempt - 1))
        attempt += 1


def fetch(url: str, cache: str | Path | None) -> Path:
    """Return a local copy of the file at ``url``, downloaded if the cache has none.

    Raises
    ------
    FileProblem
        Reason ``missing`` if the server says that there is no such file, ``unreachable`` if it fails at every attempt.
    """
    target = cached_path(url, cache)
    if target.exists():
        return target

    def download() -> Path:
        filesystem, name = url_to_fs(url)
        with atomic_path(target) as temporary:
            filesystem.get_file(name, str(temporary))
            if temporary.is_dir():
                raise IsADirectoryError(url)
        return target

    try:
        return _asked(url, download)
    except _ABSENT as error:
        raise FileProblem(
            url, "not found", "Check the release, the brick name and the band.", reason="missing"
        ) from error


def is_there(url: str) -> bool:
    """Return whether a file or folder exists at ``url``.

    Raises
    ------
    FileProblem
        If the protocol needs a package that is not installed.
    """
    try:
        return _asked(url, lambda: bool(url_to_fs(url)[0].exists(url_to_fs(url)[1])))
    except _ABSENT:
        return False
