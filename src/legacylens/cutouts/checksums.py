"""SHA-256 lists as they lie beside the survey's files, and the memory of which files have been verified."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from legacylens.errors import FileProblem
from legacylens.files import sha256_of_file, write_json


def read_checksums(path: Path) -> dict[str, str]:
    """Read a list in the format of ``sha256sum``.

    Parameters
    ----------
    path
        Lines of ``<64 hex digits>  <name>``; the name may have folders before it and ``*`` (binary mode).

    Returns
    -------
    checksums
        Base name -> digest.

    Raises
    ------
    FileProblem
        If a line has another form: the list itself is broken.
    """
    checksums = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise FileProblem(path, f"not a text file ({error})", "Fetch the list again.", reason="checksum") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        digest, _, name = line.strip().partition(" ")
        name = name.strip().removeprefix("*")
        if len(digest) != 64 or not name or set(digest.lower()) - set("0123456789abcdef"):
            raise FileProblem(
                path,
                f"line {number} is no '<sha256>  <name>': {line[:80]!r}",
                "Fetch the list again.",
                reason="checksum",
            )
        checksums[name.rsplit("/", 1)[-1]] = digest.lower()
    return checksums


Mark = tuple[int, int, str]
"""Size, modification time [ns] and SHA-256 of a file when it was verified."""


@dataclass(slots=True, kw_only=True)
class VerifiedFiles:
    """Files whose checksum was right, so that each is hashed once and not at every run.

    A file is known by path, size and modification time; one that has changed since is hashed again.
    """

    marks: dict[str, dict[str, Mark]] = field(default_factory=dict)
    """Folder -> file name -> what was verified."""

    @classmethod
    def read(cls, path: Path) -> VerifiedFiles:
        """Read what `write` wrote; an absent or broken record means that nothing is verified yet."""
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            marks = {
                str(folder): {str(name): (int(size), int(mtime), str(digest)) for name, (size, mtime, digest) in files}
                for folder, files in ((folder, files.items()) for folder, files in record.items())
            }
        except (FileNotFoundError, ValueError, TypeError, AttributeError):
            return cls()
        return cls(marks=marks)

    def write(self, path: Path) -> None:
        """Write the record atomically."""
        write_json(path, {folder: dict(sorted(self.marks[folder].items())) for folder in sorted(self.marks)})

    def below(self, folder: str) -> VerifiedFiles:
        """Return what is known of one folder, a copy small enough to be sent to another process."""
        return VerifiedFiles(marks={folder: dict(self.marks[folder])} if folder in self.marks else {})

    def update(self, other: VerifiedFiles) -> bool:
        """Take over what another process has verified; return whether any of it is new."""
        new = False
        for folder, files in other.marks.items():
            mine = self.marks.setdefault(folder, {})
            new |= any(mine.get(name) != mark for name, mark in files.items())
            mine.update(files)
        return new

    def verify(self, path: str, local: Path, expected: str) -> None:
        """Check a file against its digest, unless that has been done.

        Parameters
        ----------
        path
            The file as the user knows it (a path or URL).
        local
            Where its bytes are.
        expected
            The digest in the list.

        Raises
        ------
        FileProblem
            If the bytes are others.
        """
        folder, _, name = path.rpartition("/")
        status = local.stat()
        mark = (status.st_size, status.st_mtime_ns, expected)
        if self.marks.get(folder, {}).get(name) == mark:
            return
        digest = sha256_of_file(local)
        if digest != expected:
            raise FileProblem(
                path,
                f"SHA-256 is {digest[:12]}..., the release's list says {expected[:12]}...",
                "The file is damaged or of another release: fetch it again (--no-checksums reads it all the same).",
                reason="checksum",
            )
        self.marks.setdefault(folder, {})[name] = mark
