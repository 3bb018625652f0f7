"""Cutouts with their labels, from a store and a sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from legacylens.cutouts.store import CutoutStore
from legacylens.errors import InputError
from legacylens.models.preprocessing import Preprocessing
from legacylens.samples.build import read_sample

CLASS_NAMES = {1: "lenses", 0: "non-lenses"}


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

    sample_hash: str
    """Identity of labels and split."""

    left_out: dict[str, int]
    """Objects of the sample without a cutout, by ``split class``: a class that loses more than the other shows here."""

    def counts(self) -> dict[str, int]:
        """Return the number of objects by ``split class``."""
        return {
            f"{split} {CLASS_NAMES[label]}": int((part.labels == label).sum())
            for split, part in (("train", self.train), ("validation", self.validation))
            for label in (1, 0)
        }


def open_training_data(
    store_path: str | Path,
    sample_path: str | Path,
    *,
    preprocessing: Preprocessing,
    min_positives: int,
    memory_gb: float,
) -> TrainingData:
    """Open the training and the validation split.

    Parameters
    ----------
    store_path
        A cutout store.
    sample_path
        ``sample.parquet``, or its folder.
    preprocessing
        Its bands and stamp must be those of the store.
    min_positives
        Least number of lenses in the training split.
    memory_gb
        Training images up to this size are read into memory now.

    Raises
    ------
    FileProblem
        If store or sample cannot be read, or the store has other bands, stamps or pixels.
    InputError
        If a class is missing in a split, or there are too few lenses to train with.
    """
    store = CutoutStore.open(store_path)
    preprocessing.require_input(
        str(store_path), bands=store.bands, stamp=store.stamp, pixscale=store.description.pixscale
    )
    sample = read_sample(sample_path)
    frame = sample.frame
    stored = frame["source_id"].isin(store.manifest["source_id"])
    left_out: dict[str, int] = {}
    chosen: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
    problems = []
    for split in ("train", "validation"):
        for label, name in CLASS_NAMES.items():
            of_class = (frame["split"] == split) & (frame["label"] == label)
            left_out[f"{split} {name}"] = int((of_class & ~stored).sum())
            n = int((of_class & stored).sum())
            least = min_positives if (split, label) == ("train", 1) else 1
            if n < least:
                problems.append(
                    f"{n} {name} with a cutout in the {split} split, at least {least} needed"
                    f" ({left_out[f'{split} {name}']} more have no cutout)"
                )
        rows = frame[(frame["split"] == split) & (frame["label"] >= 0) & stored]
        chosen[split] = (store.index_of(rows["source_id"]), rows["label"].to_numpy(dtype=np.int64))
    if problems:
        raise InputError(
            f"{sample_path}: " + "; ".join(problems) + ". Use more known lenses, more sky or another split of it; "
            "training.min_positives can be lowered, but a network trained on a handful of lenses finds that handful."
        )
    size_gb = len(chosen["train"][0]) * store.description.row_bytes("image") / 1e9
    return TrainingData(
        train=LabeledCutouts(store, *chosen["train"], in_memory=size_gb <= memory_gb),
        validation=LabeledCutouts(store, *chosen["validation"], in_memory=False),
        sample_hash=str(sample.summary["hash"]),
        left_out=left_out,
    )
