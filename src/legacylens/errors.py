"""What can go wrong, in words that help.

::

    LegacylensError             everything we raise on purpose
    +-- InputError              something the user gave us is unusable (exit code 2)
    |   +-- ConfigurationError  a configuration file, with every problem in it
    |   +-- FileProblem         a file: names it, says what is wrong and what to do
    |   +-- PhysicalRangeError  a physical parameter outside its range
    +-- ProcessError            the work itself failed (exit code 1)

A message carries the value, the limit and the remedy. ``assert`` is for tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class LegacylensError(Exception):
    """Base of everything that legacylens raises on purpose."""

    exit_code = 1


class InputError(LegacylensError):
    """Something the user gave is unusable: a wrong option, list, column or unit."""

    exit_code = 2


class ConfigurationError(InputError):
    """A configuration that cannot be used, with all of its problems.

    Parameters
    ----------
    source
        The file (or other origin) of the configuration.
    problems
        One sentence for each problem, each starting with its path in the file.
    """

    def __init__(self, source: str | Path, problems: Sequence[str]) -> None:
        self.source = str(source)
        self.problems = tuple(problems)
        n = len(self.problems)
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"{self.source}: {n} problem{'s' if n != 1 else ''}\n{lines}")


class FileProblem(InputError):
    """A file that cannot be used.

    Parameters
    ----------
    path
        The file.
    what
        What is wrong with it, with the value and the limit.
    remedy
        What the user can do.
    reason
        A short stable word for counting (``truncated``, ``not-fits``, ``missing-band``...).
    """

    def __init__(self, path: str | Path, what: str, remedy: str, *, reason: str = "unusable") -> None:
        self.path = str(path)
        self.what = what
        self.remedy = remedy
        self.reason = reason
        super().__init__(f"{self.path}: {what}. {remedy}")

    def __reduce__(self) -> tuple[object, ...]:
        """Let the error cross a process boundary whole."""
        return _rebuild_file_problem, (type(self), self.path, self.what, self.remedy, self.reason)


def _rebuild_file_problem(kind: type[FileProblem], path: str, what: str, remedy: str, reason: str) -> FileProblem:
    return kind(path, what, remedy, reason=reason)


class PhysicalRangeError(InputError):
    """A parameter outside the range in which the formula or the survey has a meaning.

    Parameters
    ----------
    name
        The parameter, with its field name.
    value
        The value that was given.
    allowed
        The allowed range with its unit, e.g. ``"(0, 1]"`` or ``"> 0 arcsec"``.
    remedy
        What to do about it.
    """

    def __init__(self, name: str, value: object, allowed: str, remedy: str = "") -> None:
        self.name = name
        self.value = value
        self.allowed = allowed
        super().__init__(f"{name} = {value} is outside {allowed}" + (f". {remedy}" if remedy else ""))


class ProcessError(LegacylensError):
    """The work failed although the input looked right: a full disk, a diverged training..."""

    exit_code = 1
