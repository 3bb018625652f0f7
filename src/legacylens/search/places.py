"""Where the steps of a search keep their folders."""

from __future__ import annotations

from pathlib import Path

from legacylens.config.search import SearchConfig
from legacylens.search.engine import folder_of
from legacylens.survey.release import Release


class SearchPlaces:
    """The folder of every step of one search, and the release that it searches.

    Parameters
    ----------
    config
        The search.
    out
        Its folder.
    """

    def __init__(self, config: SearchConfig, out: Path) -> None:
        self.config = config
        self.out = out
        names = ["known-lenses", "parent", "cutouts", "samples", "gates", "train", "scan", "validate", "candidates"]
        names += ["shortcuts"] if config.checks.shortcuts else []
        names += ["completeness"] if config.checks.injections else []
        names.append("report")
        self.names = (["mocks"] if config.mock is not None else []) + names
        self._folders = {name: folder_of(out, place, name) for place, name in enumerate(self.names, start=1)}

    def folder(self, name: str) -> Path:
        """Return the folder of a step."""
        return self._folders[name]

    def release(self) -> Release:
        """Return the release that is searched; a mock one must have been written."""
        if self.config.release is not None:
            return Release.open(self.config.release.path, cache=self.config.release.cache)
        return Release.open(self.folder("mocks") / "release")
