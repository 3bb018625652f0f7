"""From rows to batches that a network can be shown; where the device is fast, some batches ahead of it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from legacylens.training.augment import augment, mix
from legacylens.training.config import TrainConfig
from legacylens.training.data import TrainingData

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """What a step is made of."""

    rows: NDArray[np.int64]
    """Training rows."""
    pixels: NDArray[np.float32]
    """Cutouts as they were read or injected, ``(n, band, y, x)`` [nanomaggies]."""
    images: Tensor
    """Cutouts as the network is shown them."""
    targets: Tensor
    """What it should say, ``(n,)`` in [0, 1]."""
    kind: Tensor
    """0 non-lens, 1 real lens, 2 simulated lens."""


def prepared(
    order: Iterable[NDArray[np.int64]],
    pictures: Iterable[NDArray[np.float32]],
    data: TrainingData,
    config: TrainConfig,
    generator: torch.Generator,
) -> Iterator[Batch]:
    """Iterate over the batches of an epoch, augmented.

    Parameters
    ----------
    order, pictures
        Rows of each batch, and their cutouts.
    data
        Says the classes.
    config
        Says the changes.
    generator
        Decides all of them.
    """
    n_real, augmentation = len(data.train), config.augmentation
    for rows, pixels in zip(order, pictures, strict=True):
        images = augment(
            torch.from_numpy(pixels), augmentation, preprocessing=config.preprocessing, generator=generator
        )
        labels = data.labels(rows)
        targets = torch.from_numpy(labels).to(torch.float32)
        if augmentation.mixup:
            alike = augmentation.mixup_partner == "same-class"
            images, targets = mix(images, targets, share=augmentation.mixup, same_class=alike, generator=generator)
        kind = torch.from_numpy(np.where(labels == 0, 0, np.where(rows < n_real, 1, 2)))
        targets = targets * (1.0 - 2.0 * config.label_smoothing) + config.label_smoothing
        yield Batch(rows=rows, pixels=pixels, images=images, targets=targets, kind=kind)


def ahead(items: Iterator[T], depth: int) -> Generator[T, None, None]:
    """Iterate over items that a thread makes up to ``depth`` ahead, in the same order; with 0 there is no thread.

    An error in making one is raised where that one would have come. If the loop is left early, the thread ends.
    """
    if not depth:
        yield from items
        return
    ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(maxsize=depth)
    left = threading.Event()

    def offer(item: T | None, error: BaseException | None) -> None:
        while not left.is_set():
            try:
                ready.put((item, error), timeout=0.1)
            except queue.Full:
                continue
            return

    def make() -> None:
        try:
            for item in items:
                offer(item, None)
                if left.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 -- raised again where the item is waited for
            offer(None, error)
        else:
            offer(None, StopIteration())

    thread = threading.Thread(target=make, name="batches", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]  # an item that was made
    finally:
        left.set()
        thread.join()
