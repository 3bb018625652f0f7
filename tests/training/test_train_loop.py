"""The training loop: learns, repeats itself exactly, survives interruptions, stops at nonsense."""

import dataclasses
import errno
import os
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from legacylens.cutouts.store import CutoutStore
from legacylens.cutouts.writer import write_store
from legacylens.errors import FileProblem, InputError, ProcessError
from legacylens.models import execute
from legacylens.models.checkpoint import load_checkpoint, load_training_state
from legacylens.models.standardize import standardize
from legacylens.samples.build import Sample, read_sample, sample_hash, write_sample
from legacylens.training import loop
from legacylens.training.batches import ahead
from legacylens.training.loop import train
from legacylens.training.metrics import selection_of


def weights(path: Path) -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(path).state)


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_learns_what_a_ring_is(blobs, blob_config, tmp_path: Path) -> None:
    config = blob_config(epochs=8)
    result = train(*blobs, config, tmp_path, description="blobs")
    assert result.stopped == "epochs"
    assert result.epochs == 8
    assert result.counts["train lenses"] == 16
    checkpoint = load_checkpoint(result.best)
    assert checkpoint.description == "blobs"
    assert checkpoint.sample_hash == result.sample_hash == read_sample(blobs[1]).summary["hash"]
    assert checkpoint.metrics["epoch"] == result.best_epoch
    # on the sealed objects, which training never read
    store, frame = CutoutStore.open(blobs[0]), read_sample(blobs[1]).frame
    sealed = frame[frame["split"] == "sealed"]
    with torch.no_grad():
        images = torch.from_numpy(store.images(store.index_of(sealed["source_id"])))
        scores = checkpoint.build()(standardize(images, checkpoint.preprocessing)).numpy()
    lens = sealed["label"].to_numpy() == 1
    assert selection_of(scores[lens], scores[~lens], 0.05).recall == 1.0


def test_writes_log_and_provenance(blobs, blob_config, tmp_path: Path) -> None:
    train(*blobs, blob_config(epochs=2), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"best.pt", "last.pt", "log.csv", "provenance.json"}
    log = pd.read_csv(tmp_path / "log.csv")
    assert log["epoch"].tolist() == [1, 2]
    assert np.isfinite(log.to_numpy()).all()
    assert log["learning_rate"].iloc[-1] < 1e-3 * blob_config().learning_rate * 100  # annealed


@pytest.mark.parametrize("network", ["compact", "shielded"])
def test_same_seed_gives_identical_weights_and_another_seed_does_not(
    blobs, blob_config, tmp_path: Path, network: str
) -> None:
    config = blob_config(network=network, epochs=1)
    first = train(*blobs, config, tmp_path / "a")
    torch.manual_seed(99)  # what the caller did before must not matter
    second = train(*blobs, config, tmp_path / "b")
    other = train(*blobs, config.model_copy(update={"seed": 1}), tmp_path / "c")
    assert same(weights(first.last), weights(second.last))
    assert not same(weights(first.last), weights(other.last))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_resumed_run_equals_an_uninterrupted_one(
    blobs, blob_config, tmp_path: Path, monkeypatch, precision: str
) -> None:
    config = blob_config(precision=precision)
    whole = train(*blobs, config, tmp_path / "whole")

    step, calls = loop._Run._step, 0

    def interrupted(self, *args):
        nonlocal calls
        calls += 1
        if calls == 12:  # in the middle of the second epoch
            raise KeyboardInterrupt
        return step(self, *args)

    monkeypatch.setattr(loop._Run, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(*blobs, config, tmp_path / "part")
    monkeypatch.setattr(loop._Run, "_step", step)
    assert load_training_state(tmp_path / "part" / "last.pt")[1]["epoch"] == 1
    resumed = train(*blobs, config, tmp_path / "part")

    assert same(weights(whole.best), weights(resumed.best))
    first, second = (load_training_state(result.last)[1] for result in (whole, resumed))
    assert same(first["weights"], second["weights"])
    for name, moments in first["optimizer"]["state"].items():
        assert torch.equal(moments["exp_avg"], second["optimizer"]["state"][name]["exp_avg"])


def test_a_full_disk_ends_the_run_with_a_remedy_and_it_goes_on_exactly(
    blobs, blob_config, tmp_path: Path, monkeypatch
) -> None:
    config = blob_config()
    whole = train(*blobs, config, tmp_path / "whole")
    write = Path.write_bytes

    def full(self, content):
        if self.name.endswith(loop.LAST_NAME) and (tmp_path / "part" / loop.LAST_NAME).exists():
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left") as raised:
        train(*blobs, config, tmp_path / "part")
    assert raised.value.filename == str(tmp_path / "part" / loop.LAST_NAME)  # the command names it with the remedy
    assert load_checkpoint(tmp_path / "part" / "last.pt").metrics["epoch"] == 1
    monkeypatch.setattr(Path, "write_bytes", write)
    assert same(weights(whole.last), weights(train(*blobs, config, tmp_path / "part").last))


def test_second_run_changes_nothing(blobs, blob_config, tmp_path: Path) -> None:
    first = train(*blobs, blob_config(), tmp_path)
    before = contents(tmp_path)
    second = train(*blobs, blob_config(), tmp_path)
    assert contents(tmp_path) == before
    assert second == first


@pytest.mark.parametrize("lost", ["best.pt", "log.csv"])
def test_killed_between_two_files(blobs, blob_config, tmp_path: Path, lost: str) -> None:
    config = blob_config(epochs=1)
    train(*blobs, config, tmp_path)
    before = (tmp_path / lost).read_bytes()
    expected = weights(tmp_path / "best.pt")
    (tmp_path / lost).unlink()
    (tmp_path / ".part-0123abcd-last.pt").write_bytes(b"leftover of a killed writer")
    train(*blobs, config, tmp_path)
    assert same(weights(tmp_path / "best.pt"), expected)
    assert lost == "best.pt" or (tmp_path / lost).read_bytes() == before
    assert not list(tmp_path.glob(".part-*"))


def test_folder_of_another_run_is_refused_and_restart_replaces_it(blobs, blob_config, tmp_path: Path) -> None:
    train(*blobs, blob_config(epochs=1), tmp_path)
    before = contents(tmp_path)
    other = blob_config(epochs=1, learning_rate=1e-4)
    with pytest.raises(InputError, match=r"another configuration \(learning_rate 0.003 -> 0.0001\); give another"):
        train(*blobs, other, tmp_path)
    assert contents(tmp_path) == before
    assert load_checkpoint(train(*blobs, other, tmp_path, restart=True).last).configuration["learning_rate"] == 1e-4


def test_a_best_without_a_last_is_not_overwritten(blobs, blob_config, tmp_path: Path) -> None:
    train(*blobs, blob_config(epochs=1), tmp_path)
    (tmp_path / "last.pt").unlink()
    with pytest.raises(InputError, match=r"holds a best.pt but no last.pt"):
        train(*blobs, blob_config(epochs=1), tmp_path)


@pytest.mark.parametrize("interrupt", [False, True])
def test_batches_made_ahead_are_the_same_batches(
    blobs, blob_config, tmp_path: Path, monkeypatch, interrupt: bool
) -> None:
    """As on a GPU: a thread makes the batches. The weights are the same, and no thread outlives its epoch."""
    config = blob_config(epochs=2)
    whole = train(*blobs, config, tmp_path / "whole")
    choose = loop._Run.__init__

    def eager(self, **values):
        choose(self, **values)
        self.lookahead = 3

    step = loop._Run._step

    def interrupted(self, *rest):
        if interrupt and self.state.step == 3:
            raise KeyboardInterrupt
        return step(self, *rest)

    monkeypatch.setattr(loop._Run, "__init__", eager)
    monkeypatch.setattr(loop._Run, "_step", interrupted)
    if interrupt:
        with pytest.raises(KeyboardInterrupt):
            train(*blobs, config, tmp_path / "ahead")
    else:
        assert same(weights(train(*blobs, config, tmp_path / "ahead").last), weights(whole.last))
    assert not [thread for thread in threading.enumerate() if thread.name == "batches"]


def test_an_error_in_a_batch_comes_where_the_batch_would_have() -> None:
    def broken():
        yield from range(3)
        raise InputError("no more")

    got: list[int] = []

    def collect() -> None:
        for item in ahead(broken(), 2):
            got.append(item)  # noqa: PERF402 -- one by one: what came before the error counts

    with pytest.raises(InputError, match="no more"):
        collect()
    assert got == [0, 1, 2]
    assert list(ahead(iter(range(100)), 4)) == list(range(100))


def test_time_budget_ends_annealed(blobs, blob_config, tmp_path: Path) -> None:
    result = train(*blobs, blob_config(epochs=10_000, max_minutes=1.5 / 60), tmp_path)
    assert result.stopped == "time"
    assert 0 < result.epochs < 10_000
    log = pd.read_csv(tmp_path / "log.csv")
    assert log["learning_rate"].iloc[-1] < 0.1 * log["learning_rate"].max()


def with_recalls(monkeypatch, recalls: list[float]) -> None:
    monkeypatch.setattr(
        loop._Run, "_validate", lambda self: loop.Selection(recall=recalls[self.state.epoch], partial=0.5)
    )


def test_patience_stops_when_nothing_gets_better(blobs, blob_config, tmp_path: Path, monkeypatch) -> None:
    with_recalls(monkeypatch, [0.9] + 19 * [0.1])
    result = train(*blobs, blob_config(epochs=20, patience=2), tmp_path)
    assert (result.stopped, result.epochs, result.best_epoch) == ("patience", 3, 1)


def test_latest_of_the_equally_good_epochs_is_kept(blobs, blob_config, tmp_path: Path, monkeypatch) -> None:
    """With four validation lenses a recall of 0.9 is no worse than one of 1, and one of 0.25 is."""
    with_recalls(monkeypatch, [0.25, 1.0, 0.9, 0.25])
    result = train(*blobs, blob_config(epochs=4), tmp_path)
    assert (result.best_epoch, result.recall) == (3, 0.9)
    assert load_checkpoint(result.best).metrics["epoch"] == 3


def test_not_a_number_stops_names_the_batch_and_keeps_the_last_good_network(
    blobs, blob_config, tmp_path: Path, monkeypatch
) -> None:
    config = blob_config()
    standardized, calls = execute.standardize, 0

    def poisoned(images, preprocessing):
        nonlocal calls
        calls += 1
        prepared = standardized(images, preprocessing)
        return prepared * torch.nan if calls == 12 else prepared

    monkeypatch.setattr(execute, "standardize", poisoned)
    with pytest.raises(
        ProcessError,
        match=r"the loss became nan in epoch 2, batch \d+ \(10_1_.*diverged. Lower .*Kept: last.pt of epoch 1",
    ):
        train(*blobs, config, tmp_path)
    monkeypatch.setattr(execute, "standardize", standardized)
    assert all(torch.isfinite(value).all() for value in weights(tmp_path / "last.pt").values())
    assert train(*blobs, config, tmp_path).epochs == 3  # and the run can go on


def test_broken_cutout_is_named(blobs, blob_config, tmp_path: Path, monkeypatch) -> None:
    images = CutoutStore.images

    def with_hole(self, indices):
        result = images(self, indices).copy()
        result[np.asarray(indices) == 3] = np.nan
        return result

    monkeypatch.setattr(CutoutStore, "images", with_hole)
    with pytest.raises(ProcessError, match=r"1 of its cutouts have pixels that are not finite: 10_1_3. Cut them again"):
        train(*blobs, blob_config(), tmp_path)


def test_streaming_gives_the_same_weights_as_memory(blobs, blob_config, tmp_path: Path) -> None:
    memory = train(*blobs, blob_config(epochs=1), tmp_path / "memory")
    stream = train(*blobs, blob_config(epochs=1, memory_gb=0.0), tmp_path / "stream")
    assert same(weights(memory.last), weights(stream.last))


def test_too_few_lenses_or_a_missing_class(blobs, blob_config, tmp_path: Path) -> None:
    store, sample_path = blobs
    with pytest.raises(InputError, match=r"16 lenses with a cutout in the train split, at least 50 needed"):
        train(store, sample_path, blob_config(min_positives=50), tmp_path / "run")
    sample = read_sample(sample_path)
    frame = sample.frame.copy()
    frame.loc[(frame["split"] == "validation") & (frame["label"] == 1), "label"] = -1
    other = write_sample(Sample(frame=frame, summary={"hash": sample_hash(frame)}), tmp_path / "sample")
    with pytest.raises(InputError, match=r"0 lenses with a cutout in the validation split, at least 1 needed"):
        train(store, other, blob_config(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_objects_without_a_cutout_are_counted_by_class(blobs, blob_config, tmp_path: Path) -> None:
    store = CutoutStore.open(blobs[0])
    kept = store.manifest.iloc[1:]  # the first object is a lens of the training split
    images = store.images(np.arange(1, len(store)))
    write_store(tmp_path / "store", kept[["source_id", "ra", "dec"]], images)
    result = train(tmp_path / "store", blobs[1], blob_config(epochs=1), tmp_path / "run")
    assert result.left_out == {
        "train lenses": 1,
        "train non-lenses": 0,
        "validation lenses": 0,
        "validation non-lenses": 0,
    }
    assert result.counts["train lenses"] == 15


def test_store_with_other_stamps_is_refused(blobs, blob_config, tmp_path: Path) -> None:
    from legacylens.models.preprocessing import Preprocessing

    with pytest.raises(FileProblem, match="stamps of 33 instead of 101 pixels"):
        train(*blobs, blob_config(preprocessing=Preprocessing()), tmp_path)


def test_unknown_network_is_refused(blobs, blob_config, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no network is called 'vgg'"):
        train(*blobs, blob_config(network="vgg"), tmp_path)


def test_sealed_objects_are_never_read(blobs, blob_config, tmp_path: Path, monkeypatch) -> None:
    read: set[int] = set()
    images = CutoutStore.images

    def recording(self, indices):
        read.update(np.asarray(indices).tolist())
        return images(self, indices)

    monkeypatch.setattr(CutoutStore, "images", recording)
    train(*blobs, blob_config(epochs=1), tmp_path)
    frame = read_sample(blobs[1]).frame
    sealed = CutoutStore.open(blobs[0]).index_of(frame.loc[frame["split"] == "sealed", "source_id"])
    assert not read & set(sealed.tolist())
    assert len(read) == (frame["split"] != "sealed").sum()


def test_result_is_plain_values(blobs, blob_config, tmp_path: Path) -> None:
    result = train(*blobs, blob_config(epochs=1), tmp_path)
    summary = result.summary()
    assert summary["best"] == os.fspath(tmp_path / "best.pt")
    assert set(summary) == {field.name for field in dataclasses.fields(result)}


def test_start_from_weights_of_another_run(blobs, blob_config, tmp_path: Path) -> None:
    train(*blobs, blob_config(epochs=1, seed=5), tmp_path / "first")
    torch.save(weights(tmp_path / "first" / "best.pt"), tmp_path / "weights.pt")
    config = blob_config(epochs=1, learning_rate=1e-9, pretrained=str(tmp_path / "weights.pt"))
    result = train(*blobs, config, tmp_path / "second")
    assert "100.0 % of the parameters" in result.pretrained
    first, second = weights(tmp_path / "first" / "best.pt"), weights(result.last)
    # a learning rate of 1e-9 leaves them where they were, up to a few steps of that size
    torch.testing.assert_close(second["stem.weight"], first["stem.weight"], atol=1e-6, rtol=0.0)


def test_clipping_is_reported_by_class_and_magnitude(blobs, blob_config, tmp_path: Path) -> None:
    from legacylens.models.preprocessing import Preprocessing

    published = Preprocessing(stamp=33, scale="annulus", stretch="clip")
    result = train(*blobs, blob_config(epochs=1, preprocessing=published), tmp_path / "clip")
    assert {row["class"] for row in result.clipped} == {"lenses", "non-lenses"}
    assert all(0.0 < row["z"] < 1.0 for row in result.clipped)  # the blob's center is far above ten times the noise
    assert sum(row["n"] for row in result.clipped) == 16 + 80
    assert train(*blobs, blob_config(epochs=1), tmp_path / "asinh").clipped == []
