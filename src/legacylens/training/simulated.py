"""Simulated lenses for training: pictures from a store, or arcs injected anew each time they are shown.

Whatever the recipe, a simulated lens may only stand in a galaxy of the training split that no list calls a lens: one in
a validation or sealed galaxy would show the network what it is later judged on.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from legacylens.cutouts.store import CutoutStore

# Samples and trainings take simulations by the same rules, which are those of samples.
from legacylens.mocks.set_files import set_hash as simulations_hash
from legacylens.samples.simulated import (
    LEAST,
    possible_hosts,
    simulations_of,
    simulations_record,
    verify_simulations,
)
from legacylens.training.config import Simulations

__all__ = [
    "LEAST",
    "SimulatedLenses",
    "StoredLenses",
    "possible_hosts",
    "require_realistic",
    "simulations_hash",
    "with_those_of_sample",
]


class SimulatedLenses:
    """Lenses that were injected into real galaxies."""

    @abstractmethod
    def __len__(self) -> int:
        """Return how many different lenses there are."""

    @abstractmethod
    def pairs(
        self, rows: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return pictures, ``(n, band, y, x)`` [nanomaggies], and the same galaxies without the arcs."""

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
    hosts
        Store of the galaxies that they were injected into.
    host_positions
        Their places there, in the same order.
    in_memory
        Whether to read all lenses now.
    """

    def __init__(
        self,
        store: CutoutStore,
        positions: NDArray[np.int64],
        hosts: CutoutStore,
        host_positions: NDArray[np.int64],
        *,
        in_memory: bool,
    ) -> None:
        self.store, self.positions = store, positions
        self.hosts, self.host_positions = hosts, host_positions
        self._images = store.images(positions) if in_memory else None

    def __len__(self) -> int:
        return len(self.positions)

    def pairs(
        self,
        rows: NDArray[np.int64],
        rng: np.random.Generator,  # noqa: ARG002 -- the pictures are always the same
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return pictures, ``(n, band, y, x)`` [nanomaggies], and the same galaxies without the arcs."""
        pictures = self.store.images(self.positions[rows]) if self._images is None else self._images[rows]
        return np.asarray(pictures), self.hosts.images(self.host_positions[rows])

    def names(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the mocks' identities."""
        return self.store.manifest["source_id"].iloc[self.positions[rows]].astype(str).tolist()


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
    return verify_simulations(
        str(simulations.store), simulations.realism, unchecked=simulations.unchecked, remedy=remedy
    ).words


def with_those_of_sample(values: Mapping[str, Any], sample: str | Path, *, needed: bool) -> dict[str, Any]:
    """Return settings of simulations, completed by what a sample was built with.

    Parameters
    ----------
    values
        Keys of `Simulations` that were given.
    sample
        ``sample.parquet``, or its folder. Its record names the set and is the report that speaks for it.
    needed
        Whether the set of the sample is used if none was given.
    """
    values, record = dict(values), simulations_record(sample)
    if record is None:
        return values
    if needed and "store" not in values:
        found = simulations_of(sample)
        if found is not None:
            values["store"] = found[1].simulations
    if "store" in values and "realism" not in values and not values.get("unchecked"):
        values["realism"] = str(record)
    return values
