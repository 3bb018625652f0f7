"""Simulated lenses for training: pictures from a store, or arcs injected anew each time they are shown.

Whatever the recipe, a simulated lens may only stand in a galaxy of the training split that no list calls a lens: one in
a validation or sealed galaxy would show the network what it is later judged on.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from legacylens.cutouts.store import CutoutStore
from legacylens.errors import FileProblem, InputError
from legacylens.files import sha256_of_file
from legacylens.mocks.injection_truth import TRUTH_NAME
from legacylens.training.config import Simulations

LEAST = 10
"""Fewest simulated lenses that are worth a training."""


class SimulatedLenses:
    """Lenses that were injected into real galaxies."""

    @abstractmethod
    def __len__(self) -> int:
        """Return how many different lenses there are."""

    @abstractmethod
    def images(self, rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return pictures, ``(n, band, y, x)`` [nanomaggies]."""

    @abstractmethod
    def names(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the mocks' identities."""


class StoredLenses(SimulatedLenses):
    """Lenses as they are in a store of injections, the same picture every time.

    Parameters
    ----------
    store
        The store.
    positions
        Which of its cutouts.
    in_memory
        Whether to read all images now.
    """

    def __init__(self, store: CutoutStore, positions: NDArray[np.int64], *, in_memory: bool) -> None:
        self.store = store
        self.positions = positions
        self._images = store.images(positions) if in_memory else None

    def __len__(self) -> int:
        return len(self.positions)

    def images(self, rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float32]:  # noqa: ARG002
        """Return pictures, ``(n, band, y, x)`` [nanomaggies]."""
        return np.asarray(self.store.images(self.positions[rows]) if self._images is None else self._images[rows])

    def names(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the mocks' identities."""
        return self.store.manifest["source_id"].iloc[self.positions[rows]].astype(str).tolist()


def simulations_hash(folder: str | Path) -> str:
    """Return the identity of a set of injected lenses: that of its truth, which every one can be made again from."""
    return sha256_of_file(Path(folder) / TRUTH_NAME)


def require_realistic(simulations: Simulations) -> str:
    """Return in words why these simulations may be trained on.

    Raises
    ------
    InputError
        If no report speaks for them and ``unchecked`` does not say that this is meant.
    FileProblem
        If the report cannot be read or is about another set.
    """
    remedy = (
        "Put the set to `legacylens realism gate` and give its report as simulations.realism, or set "
        "simulations.unchecked = true (--unchecked) to train all the same; the checkpoint then says so."
    )
    if simulations.realism is None:
        if simulations.unchecked:
            return "no realism report (unchecked was set)"
        raise InputError(f"no realism report speaks for the simulated lenses in {simulations.store}. {remedy}")
    path = Path(simulations.realism)
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        verdict, judged = str(report["verdict"]), str(report["simulations_hash"])
    except FileNotFoundError:
        raise FileProblem(path, "no such realism report", remedy, reason="missing") from None
    except (ValueError, KeyError, TypeError) as error:
        raise FileProblem(path, f"not a realism report ({error!r})", remedy, reason="format") from error
    if judged != simulations_hash(str(simulations.store)):
        raise FileProblem(path, f"a report on another set than {simulations.store}", remedy, reason="other-set")
    if verdict != "pass" and not simulations.unchecked:
        raise InputError(f"the realism report {path} on {simulations.store} says {verdict!r}. {remedy}")
    return f"realism report: {verdict}"


def possible_hosts(sample: pd.DataFrame) -> set[str]:
    """Return the galaxies of a sample that may carry simulated lenses in training."""
    rows = sample[(sample["split"] == "train") & (sample["label"] == 0)]
    return set(rows["source_id"].astype(str))
