"""One training in a folder at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from legacylens.errors import ProcessError

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF)
"""What file systems without locks answer; a run there is as safe as its user is careful."""


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder; the system lets go of it when the process ends, however it ends.

    Raises
    ------
    ProcessError
        If another process trains there: two would overwrite one another's checkpoints.
    """
    handle = os.open(folder, os.O_RDONLY)  # the folder itself, so that no lock file is left in it
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ProcessError(
                f"{folder}: another process is training here. Wait for it, end it, or give another folder."
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield
    finally:
        os.close(handle)
