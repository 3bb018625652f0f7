"""Cutouts with their labels, from a store and a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from legacylens.cutouts.store import CutoutStore
from legacylens.errors import InputError
from legacylens.samples.build import read_sample
from legacylens.training.config import TrainConfig
from legacylens.training.lens_sources import open_simulated
from legacylens.training.simulated import SimulatedLenses
from legacylens.training.subset import used_objects

CLASS_NAMES = {1: "lenses", 0: "non-lenses"}
SIMULATED_AT_ONCE = 256
"""Simulated lenses that are made at a time: 30 MB."""


class LabeledCutouts:
    """The labeled cutouts of one split, in memory or read as needed.

    Parameters
    ----------
    store
        The cutouts.
    positions
        Place of each object in the store.
    labels
        1 lens, 0 non-lens.
    in_memory
        Whether to read all images now.
    """

    def __init__(
        self, store: CutoutStore, positions: NDArray[np.int64], labels: NDArray[np.int64], *, in_memory: bool
    ) -> None:
        self.store = store
        self.positions = positions
        self.labels = labels
        self._images = store.images(positions) if in_memory else None

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def in_memory(self) -> bool:
        """Whether the images are held in memory."""
        return self._images is not None

    def images(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return images, ``(n, band, y, x)`` [nanomaggies]."""
        if self._images is not None:
            return np.asarray(self._images[rows])
        # In store order the disk is read forward; the batch keeps its own order.
        order = np.argsort(self.positions[rows], kind="stable")
        images = np.empty((len(rows), *self.store.description.shape("image")), dtype=np.float32)
        images[order] = self.store.images(self.positions[rows][order])
        return images

    def batches(self, size: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Iterate over (rows, images) in order."""
        for start in range(0, len(self), size):
            rows = np.arange(start, min(start + size, len(self)))
            yield rows, self.images(rows)

    def names(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the source_id of rows."""
        return self.store.manifest["source_id"].iloc[self.positions[rows]].astype(str).tolist()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """What a training run reads."""

    train: LabeledCutouts
    """Split that the weights are fitted to."""

    validation: LabeledCutouts
    """Split that the epoch is chosen by. The sealed split is not read."""

    simulated: SimulatedLenses | None
    """Injected lenses, if the run uses any."""

    sample_hash: str
    """Identity of labels and split."""

    left_out: dict[str, int]
    """Objects of the sample without a cutout, by ``split class``: a class that loses more than the other shows here."""

    def counts(self) -> dict[str, int]:
        """Return the number of objects by ``split class``."""
        counts = {
            f"{split} {CLASS_NAMES[label]}": int((part.labels == label).sum())
            for split, part in (("train", self.train), ("validation", self.validation))
            for label in (1, 0)
        }
        return counts if self.simulated is None else {**counts, "simulated lenses": len(self.simulated)}

    def batches(
        self, order: Sequence[NDArray[np.int64]], rng_of: Callable[[int], np.random.Generator]
    ) -> Iterator[NDArray[np.float32]]:
        """Iterate over the images of batches, ``(n, band, y, x)`` [nanomaggies].

        Parameters
        ----------
        order
            Training rows of each batch; simulated lenses follow the real rows, and their hosts without arcs the
            simulated lenses.
        rng_of
            Random generator of a group of batches, by its number: simulated lenses are made for some batches at once,
            which is several times faster than a few at a time.
        """
        n_real, simulated = len(self.train), self.simulated
        if simulated is None:
            for rows in order:
                yield self.train.images(rows)
            return
        n_mocks = len(simulated)
        needed = [np.unique((rows[rows >= n_real] - n_real) % n_mocks) for rows in order]
        group = max(SIMULATED_AT_ONCE // max(max((len(mocks) for mocks in needed), default=1), 1), 1)
        for number, start in enumerate(range(0, len(order), group)):
            mocks = np.concatenate(needed[start : start + group])
            pictures, hosts = simulated.pairs(mocks, rng_of(number)) if len(mocks) else (None, None)
            used = 0
            for rows, own in zip(order[start : start + group], needed[start : start + group], strict=True):
                real = rows < n_real
                if pictures is None or hosts is None or real.all():
                    yield self.train.images(rows)
                    continue
                images = np.empty((len(rows), *pictures.shape[1:]), dtype=np.float32)
                places = used + np.searchsorted(own, (rows - n_real) % n_mocks)
                is_lens = ~real & (rows < n_real + n_mocks)
                is_twin = ~real & ~is_lens
                images[is_lens], images[is_twin] = pictures[places[is_lens]], hosts[places[is_twin]]
                images[real] = self.train.images(rows[real])
                used += len(own)
                yield images

    def names(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the identities of training rows."""
        n_real, simulated = len(self.train), self.simulated
        names = []
        for row in rows.tolist():
            if simulated is None or row < n_real:
                names += self.train.names(np.array([row]))
            else:
                twin = row >= n_real + len(simulated)
                name = simulated.names(np.array([(row - n_real) % len(simulated)]))[0]
                names.append(f"the host of {name}" if twin else name)
        return names

    def labels(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the labels of training rows."""
        n_real = len(self.train)
        n_lenses = n_real + (0 if self.simulated is None else len(self.simulated))
        return np.where(rows < n_real, self.train.labels[np.minimum(rows, n_real - 1)], np.where(rows < n_lenses, 1, 0))


def open_training_data(store_path: str | Path, sample_path: str | Path, config: TrainConfig) -> TrainingData:
    """Open the training and the validation split.

    Parameters
    ----------
    store_path
        A cutout store.
    sample_path
        ``sample.parquet``, or its folder.
    config
        The run: bands and stamp must be those of the store.

    Raises
    ------
    FileProblem
        If store or sample cannot be read, or the store has other bands, stamps or pixels.
    InputError
        If a class is missing in a split, there are too few lenses to train with, or simulated lenses cannot be used.
    """
    store = CutoutStore.open(store_path)
    config.preprocessing.require_input(
        str(store_path), bands=store.bands, stamp=store.stamp, pixscale=store.description.pixscale
    )
    sample = read_sample(sample_path)
    frame = sample.frame
    stored = frame["source_id"].isin(store.manifest["source_id"])
    used = used_objects(frame[stored], config)
    only_simulated = config.simulations.store is not None and config.simulations.share == 1.0
    left_out: dict[str, int] = {}
    chosen: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
    problems = []
    for split in ("train", "validation"):
        for label, name in CLASS_NAMES.items():
            of_class = (frame["split"] == split) & (frame["label"] == label)
            left_out[f"{split} {name}"] = int((of_class & ~stored).sum())
            n = int(((used["split"] == split) & (used["label"] == label)).sum())
            least = config.min_positives if (split, label) == ("train", 1) and not only_simulated else 1
            if n < least:
                problems.append(
                    f"{n} {name} with a cutout in the {split} split, at least {least} needed"
                    f" ({left_out[f'{split} {name}']} more have no cutout)"
                )
        rows = used[used["split"] == split]
        chosen[split] = (store.index_of(rows["source_id"]), rows["label"].to_numpy(dtype=np.int64))
    if problems:
        raise InputError(
            f"{sample_path}: " + "; ".join(problems) + ". Use more known lenses, more sky or another split of it; "
            "training.min_positives can be lowered, but a network trained on a handful of lenses finds that handful."
        )
    size_gb = len(chosen["train"][0]) * store.description.row_bytes("image") / 1e9
    train = LabeledCutouts(store, *chosen["train"], in_memory=size_gb <= config.memory_gb)
    return TrainingData(
        train=train,
        validation=LabeledCutouts(store, *chosen["validation"], in_memory=False),
        simulated=open_simulated(store, frame, config),
        sample_hash=str(sample.summary["hash"]),
        left_out=left_out,
    )
