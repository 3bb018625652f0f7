"""The store gives back what was put in, whole or not at all."""

import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from legacylens.cutouts.cutout import Cutout
from legacylens.cutouts.store import CutoutStore
from legacylens.cutouts.writer import StoreWriter, write_store
from legacylens.errors import FileProblem, InputError, ProcessError
from legacylens.files import TEMPORARY_MARK

SIDE = 9


def arrays(n, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.normal(0, 0.01, (n, 3, SIDE, SIDE)).astype(np.float32)
    return images, rng.uniform(1, 2, images.shape).astype("f4"), rng.integers(0, 9, (n, SIDE, SIDE)).astype(np.int32)


def table(n, start=0):
    numbers = np.arange(start, start + n)
    return pd.DataFrame(
        {"source_id": [f"10002_1_{k}" for k in numbers], "ra": numbers * 0.1, "dec": -numbers * 0.1, "origin": "test"}
    )


def writer(path, **changes):
    return StoreWriter(path, **{"stamp": SIDE, "shard_size": 4, **changes})


def test_round_trip_in_any_order(tmp_path):
    images, invvars, maskbits = arrays(11)
    frame = table(11).assign(psfsize_g=np.linspace(1, 2, 11))
    with writer(tmp_path / "s") as out:
        out.add_many(frame[:5], images[:5], invvars[:5], maskbits[:5])
        out.add_many(frame[5:], images[5:], invvars[5:], maskbits[5:])
    store = CutoutStore.open(tmp_path / "s")
    assert len(store) == 11
    assert [shard.length for shard in store.shards] == [4, 4, 3]
    pd.testing.assert_frame_equal(store.manifest, frame, check_dtype=False)
    assert list(store.manifest.columns)[:4] == ["source_id", "ra", "dec", "origin"]
    order = [10, 0, 3, 4, 5, 5, 9]
    assert np.array_equal(store.images(order), images[order])
    assert np.array_equal(store.invvars(order), invvars[order])
    assert np.array_equal(store.maskbits(order), maskbits[order])
    assert store.index_of(["10002_1_7", "10002_1_0"]).tolist() == [7, 0]
    assert "10002_1_7" in store
    assert "10002_1_11" not in store


def test_numpy_alone_reads_the_shards(tmp_path):
    images, *_ = arrays(3)
    write_store(tmp_path / "s", table(3), images)
    assert np.array_equal(np.load(tmp_path / "s/shard-000000/image.npy", mmap_mode="r"), images)


def test_batches_cover_everything_once(tmp_path):
    images, *_ = arrays(11)
    store = write_store(tmp_path / "s", table(11), images, shard_size=4)
    parts = list(store.batches(3))
    assert np.concatenate([indices for indices, _ in parts]).tolist() == list(range(11))
    assert np.array_equal(np.concatenate([pixels for _, pixels in parts]), images)
    backwards = list(store.batches(4, indices=np.arange(10, -1, -1)))
    assert np.array_equal(np.concatenate([pixels for _, pixels in backwards]), images[::-1])
    with pytest.raises(InputError, match="batch size 0"):
        next(store.batches(0))


def test_more_shards_than_open_files(tmp_path, monkeypatch):
    monkeypatch.setattr("legacylens.cutouts.store.MAX_OPEN_FILES", 2)
    images, *_ = arrays(11)
    store = write_store(tmp_path / "s", table(11), images, shard_size=1)
    assert np.array_equal(store.images(np.arange(11)), images)
    assert len(store._handles) == 2
    store.close()
    assert np.array_equal(store.images([4]), images[[4]])


def test_a_pickled_store_opens_its_own_files(tmp_path):
    images, *_ = arrays(3)
    with write_store(tmp_path / "s", table(3), images) as store:
        store.images([0])
        copy = pickle.loads(pickle.dumps(store))
        assert not copy._handles
        assert np.array_equal(copy.images([2]), images[[2]])


def test_a_cutout_comes_back_as_the_record_it_was(tmp_path):
    rng = np.random.default_rng(4)
    image = rng.normal(0, 0.01, (3, 101, 101)).astype("f4")
    cutout = Cutout(
        source_id="a", ra=1.0, dec=2.0, bands=("g", "r", "z"), image=image, invvar=np.full_like(image, 1e4),
        maskbits=np.ones((101, 101), np.int32), origin="brick",
    )  # fmt: skip
    with StoreWriter(tmp_path / "s") as out:
        out.add(cutout, {"psfsize_r": 1.25})
        with pytest.raises(InputError, match="a is already in the store"):
            out.add(cutout)
    store = CutoutStore.open(tmp_path / "s")
    back = store.cutout(0)
    assert (back.source_id, back.ra, back.dec, back.bands, back.origin) == ("a", 1.0, 2.0, ("g", "r", "z"), "brick")
    assert np.array_equal(back.image, image)
    assert np.array_equal(back.invvar, cutout.invvar)
    assert np.array_equal(back.maskbits, cutout.maskbits)
    assert store.manifest["psfsize_r"].tolist() == [1.25]


def test_append_and_resume(tmp_path):
    images, invvars, maskbits = arrays(7)
    for part in (slice(0, 3), slice(3, 7)):
        with writer(tmp_path / "s") as out:
            assert len(out) == part.start
            out.add_many(table(7)[part], images[part], invvars[part], maskbits[part])
    store = CutoutStore.open(tmp_path / "s")
    assert store.manifest["source_id"].tolist() == table(7)["source_id"].tolist()
    assert np.array_equal(store.images(np.arange(7)), images)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").rglob("*")}
    with writer(tmp_path / "s") as out:
        assert "10002_1_6" in out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "s").rglob("*")} == before


def test_size_on_disk_is_four_bytes_a_pixel(tmp_path):
    images, invvars, maskbits = arrays(8)
    store = write_store(tmp_path / "s", table(8), images, invvars, maskbits)
    pixels = images.nbytes + invvars.nbytes + maskbits.nbytes
    assert pixels < store.size_on_disk() < pixels + 10_000


def test_an_empty_store_opens(tmp_path):
    with writer(tmp_path / "s"):
        pass
    store = CutoutStore.open(tmp_path / "s")
    assert len(store) == 0
    assert list(store.manifest.columns) == ["source_id", "ra", "dec", "origin"]
    assert store.images([]).shape == (0, 3, SIDE, SIDE)
    assert list(store.batches(2)) == []


# ---------------------------------------------------------------- what is refused


def test_misuse_is_named(tmp_path):
    images, invvars, maskbits = arrays(3)
    with writer(tmp_path / "s") as out:
        out.add_many(table(3), images, invvars, maskbits)
        with pytest.raises(InputError, match="10002_1_1 is already in the store"):
            out.add_many(table(1, start=1), images[:1], invvars[:1], maskbits[:1])
        with pytest.raises(InputError, match="10002_1_8 is already in the store"):
            out.add_many(pd.concat([table(1, start=8)] * 2), images[:2], invvars[:2], maskbits[:2])
        with pytest.raises(InputError, match="lacks the columns origin"):
            out.add_many(table(1, start=5).drop(columns="origin"), images[:1], invvars[:1], maskbits[:1])
        with pytest.raises(InputError, match="invvar of shape None"):
            out.add_many(table(1, start=5), images[:1], None, maskbits[:1])
        with pytest.raises(InputError, match=r"image of shape \(1, 3, 8, 9\)"):
            out.add_many(table(1, start=5), images[:1, :, 1:], invvars[:1], maskbits[:1])
        with pytest.raises(InputError, match="NaN or infinite"):
            out.add_many(table(1, start=5), images[:1] * np.nan, invvars[:1], maskbits[:1])
        with pytest.raises(ProcessError, match="another process is writing"), writer(tmp_path / "s"):
            pass
    store = CutoutStore.open(tmp_path / "s")
    assert len(store) == 3
    with pytest.raises(InputError, match=r"1 of 2 sources are not in the store .*: nobody"):
        store.index_of(["10002_1_1", "nobody"])
    with pytest.raises(InputError, match=r"positions 0\.\.3 are outside the store's 0\.\.2"):
        store.images([0, 3])
    with pytest.raises(InputError, match="positions in a store are integers"):
        store.images([0.5])
    with pytest.raises(InputError, match="shard_size 0"):
        StoreWriter(tmp_path / "t", shard_size=0)
    other = write_store(tmp_path / "images only", table(1), images[:1])
    with pytest.raises(InputError, match="holds image, but no invvar"):
        other.invvars([0])
    image = np.random.default_rng(0).normal(0, 0.01, (3, 11, 11))
    too_large = Cutout(source_id="b", ra=0, dec=0, bands=("g", "r", "z"), image=image)
    with pytest.raises(InputError, match="does not fit a store"), writer(tmp_path / "s") as out:
        out.add(too_large)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: None, "so this is no cutout store"),
        (lambda path: (path.mkdir(), (path / "store.json").write_text("{")), "broken description"),
        (lambda path: (path.mkdir(), (path / "store.json").write_text("[]")), "broken description"),
        (lambda path: (path.mkdir(), (path / "store.json").write_text('{"format": "x"}')), "'x' version None is not"),
    ],
)
def test_what_is_no_store_is_said(tmp_path, prepare, message):
    prepare(tmp_path / "s")
    with pytest.raises(FileProblem, match=message):
        CutoutStore.open(tmp_path / "s")


def test_a_store_of_another_kind_is_not_written_to(tmp_path):
    images, *_ = arrays(1)
    write_store(tmp_path / "s", table(1), images)
    with pytest.raises(FileProblem, match="Give another folder"), writer(tmp_path / "s"):
        pass
    record = json.loads((tmp_path / "s/store.json").read_text())
    (tmp_path / "s/store.json").write_text(json.dumps({**record, "bands": ["u"]}))
    with pytest.raises(FileProblem, match="unknown bands"):
        CutoutStore.open(tmp_path / "s")
    (tmp_path / "s/store.json").unlink()
    with pytest.raises(FileProblem, match="folder that has shards"), writer(tmp_path / "s"):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(FileProblem, match="is a file, not a folder"), writer(tmp_path / "file"):
        pass


# ---------------------------------------------------------------- kills, cuts, full disks


@pytest.mark.parametrize("name", ["image.npy", "invvar.npy", "maskbits.npy", "manifest.parquet"])
@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.999, None])
def test_a_shard_cut_short_is_set_aside_and_written_again(tmp_path, name, keep):
    images, invvars, maskbits = arrays(12)
    with writer(tmp_path / "s") as out:
        out.add_many(table(12), images, invvars, maskbits)
    victim = tmp_path / "s/shard-000001" / name
    if keep is None:
        victim.unlink()
    else:
        with victim.open("r+b") as handle:
            handle.truncate(int(victim.stat().st_size * keep))
    store = CutoutStore.open(tmp_path / "s")
    assert len(store) == 8
    assert [problem.reason for problem in store.damaged] == ["truncated"]
    assert np.array_equal(store.images(np.arange(8)), images[[0, 1, 2, 3, 8, 9, 10, 11]])
    with writer(tmp_path / "s") as out:
        assert len(out.replaced) == 1
        lost = table(12)[[source not in out for source in table(12)["source_id"]]]
        assert lost.index.tolist() == [4, 5, 6, 7]
        out.add_many(lost, images[4:8], invvars[4:8], maskbits[4:8])
    store = CutoutStore.open(tmp_path / "s")
    assert not store.damaged
    assert np.array_equal(store.images(store.index_of(table(12)["source_id"])), images)


def test_an_array_of_another_shape_and_a_manifest_of_another_length_are_damage(tmp_path):
    images, *_ = arrays(8)
    write_store(tmp_path / "s", table(8), images, shard_size=4)
    np.save(tmp_path / "s/shard-000000/image.npy", images[:4].astype(np.float64))
    shutil.copy(tmp_path / "s/shard-000000/manifest.parquet", tmp_path / "x")
    table(3).to_parquet(tmp_path / "s/shard-000001/manifest.parquet")
    store = CutoutStore.open(tmp_path / "s")
    assert len(store) == 0
    assert "float64" in store.damaged[0].what
    assert "with a manifest of 3 rows" in store.damaged[1].what


def test_sources_in_two_shards_are_refused(tmp_path):
    images, *_ = arrays(4)
    write_store(tmp_path / "s", table(4), images)
    shutil.copytree(tmp_path / "s/shard-000000", tmp_path / "s/shard-000001")
    with pytest.raises(FileProblem, match="4 sources are in the store twice, the first is 10002_1_0"):
        _ = CutoutStore.open(tmp_path / "s").manifest


def test_a_file_cut_or_removed_while_open_is_an_error_and_not_a_crash(tmp_path):
    images, *_ = arrays(8)
    store = write_store(tmp_path / "s", table(8), images, shard_size=4)
    with (tmp_path / "s/shard-000000/image.npy").open("r+b") as handle:
        handle.truncate(500)
    with pytest.raises(FileProblem, match="cut short since the store was opened"):
        store.images([3])
    shutil.rmtree(tmp_path / "s/shard-000001")
    with pytest.raises(FileProblem, match="gone since the store was opened"):
        store.images([5])


KILLED_WRITER = """
import sys
import numpy as np, pandas as pd
from legacylens.cutouts.writer import StoreWriter
images = np.random.default_rng(0).normal(0, 0.01, (4000, 3, 9, 9)).astype("f4")
with StoreWriter(sys.argv[1], stamp=9, invvar=False, maskbits=False, shard_size=50) as out:
    print("ready", flush=True)
    for k in range(4000):
        if f"s{k}" not in out:
            out.add_many(pd.DataFrame({"source_id": [f"s{k}"], "ra": 0.0, "dec": 0.0, "origin": ""}), images[k:k+1])
"""


def test_a_killed_writer_leaves_whole_shards_only(tmp_path):
    expected = np.random.default_rng(0).normal(0, 0.01, (4000, 3, 9, 9)).astype("f4")
    lengths = [0]
    for wait in (0.01, 0.1, 0.25):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED_WRITER, str(tmp_path / "s")], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "ready\n"
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        store = CutoutStore.open(tmp_path / "s")
        assert not store.damaged
        assert len(store) >= lengths[-1]
        lengths.append(len(store))
        numbers = [int(name[1:]) for name in store.manifest["source_id"]]
        assert numbers == list(range(len(store)))
        assert np.array_equal(store.images(np.arange(len(store))), expected[: len(store)])
    with StoreWriter(tmp_path / "s", stamp=9, invvar=False, maskbits=False):
        pass
    assert not list((tmp_path / "s").glob(f"{TEMPORARY_MARK}*"))


def test_an_interrupted_block_keeps_what_was_added(tmp_path):
    images, invvars, maskbits = arrays(6)

    def interrupted():
        with writer(tmp_path / "s") as out:
            out.add_many(table(6), images, invvars, maskbits)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(CutoutStore.open(tmp_path / "s")) == 6


def test_a_full_disk_is_named_and_whole_shards_stay(tmp_path, monkeypatch):
    images, invvars, maskbits = arrays(8)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write_until_full():
        with writer(tmp_path / "s") as out:
            out.add_many(table(4), images[:4], invvars[:4], maskbits[:4])
            monkeypatch.setattr("legacylens.cutouts.writer.os.fsync", full)
            out.add_many(table(4, start=4), images[4:], invvars[4:], maskbits[4:])

    with pytest.raises(ProcessError, match=r"No space left on device.*whole shards are kept"):
        write_until_full()
    monkeypatch.undo()
    assert len(CutoutStore.open(tmp_path / "s")) == 4
    assert not list((tmp_path / "s").glob(f"{TEMPORARY_MARK}*"))


# ---------------------------------------------------------------- a model in memory


class StoreMachine(RuleBasedStateMachine):
    """Whatever is appended, reopened and cut short, the store holds what the model holds."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "s"
        self.model = {}
        self.next = 0

    @rule(n=st.integers(0, 7))
    def append(self, n):
        frame, images = table(n, start=self.next), arrays(n, seed=self.next)[0]
        with writer(self.path, invvar=False, maskbits=False, shard_size=3) as out:
            assert set(self.model) == out._known
            out.add_many(frame, images)
        self.model |= dict(zip(frame["source_id"], images, strict=True))
        self.next += n

    @rule(which=st.integers(0, 5), cut=st.integers(1, 400))
    def cut_a_shard(self, which, cut):
        files = sorted(self.path.glob("shard-*/image.npy"))
        if not files:
            return
        victim = files[which % len(files)]
        names = pd.read_parquet(victim.parent / "manifest.parquet")["source_id"]
        with victim.open("r+b") as handle:
            handle.truncate(max(victim.stat().st_size - cut, 0))
        for name in names:
            self.model.pop(name, None)

    @invariant()
    def agrees(self):
        if not self.path.exists():
            return
        with CutoutStore.open(self.path) as store:
            assert set(store.manifest["source_id"]) == set(self.model)
            names = list(self.model)
            got = store.images(store.index_of(names))
            for name, pixels in zip(names, got, strict=True):
                assert np.array_equal(pixels, self.model[name])

    def teardown(self):
        self.folder.cleanup()


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(deadline=None, max_examples=12, stateful_step_count=6)


@settings(deadline=None, max_examples=20)
@given(data=st.data(), n=st.integers(1, 20), shard=st.integers(1, 7))
def test_any_selection_reads_like_an_array(tmp_path_factory, data, n, shard):
    images, *_ = arrays(n)
    with write_store(tmp_path_factory.mktemp("s") / "s", table(n), images, shard_size=shard) as store:
        chosen = data.draw(st.lists(st.integers(0, n - 1), max_size=30))
        assert np.array_equal(store.images(np.array(chosen, dtype=int)), images[np.array(chosen, dtype=int)])
