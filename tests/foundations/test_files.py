"""Whole files or none, and records that can be trusted."""

import errno
import json
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from legacylens.errors import ConfigurationError, FileProblem
from legacylens.files import (
    atomic_path,
    iter_parquet,
    read_parquet,
    remove_leftovers,
    write_json,
    write_parquet,
    write_text,
)
from legacylens.provenance import code_hash, hash_of_input, read_provenance, write_provenance


def test_a_failed_write_leaves_the_old_file_and_no_leftover(tmp_path):
    path = tmp_path / "table.txt"
    write_text(path, "old")

    def fail():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", [None, "temporary", "other"])
def test_a_full_disk_names_the_file_that_was_meant(tmp_path, name):
    path = tmp_path / "table.parquet"

    def fail():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            file = {None: None, "temporary": str(temporary), "other": "elsewhere"}[name]
            raise OSError(errno.ENOSPC, "No space left on device", file)

    with pytest.raises(OSError, match="No space left") as caught:
        fail()
    assert caught.value.filename == ("elsewhere" if name == "other" else str(path))
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_only_what_can_be_cleaned(tmp_path):
    code = textwrap.dedent(
        """
        import os, sys
        from legacylens.files import atomic_path
        with atomic_path(sys.argv[1]) as temporary:
            temporary.write_text("half")
            os._exit(9)
        """
    )
    path = tmp_path / "sub" / "table.txt"
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 9
    assert not path.exists()
    assert remove_leftovers(path.parent) == 1
    assert list(path.parent.iterdir()) == []


def test_tables_round_trip_with_their_units(tmp_path):
    frame = pd.DataFrame({"source_id": ["1_2_3"], "flux_r": np.array([2.5], np.float32), "n": [3]})
    write_parquet(tmp_path / "t.parquet", frame, units={"flux_r": "nanomaggies"})
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "t.parquet"), frame, check_dtype=False)
    assert pq.read_schema(tmp_path / "t.parquet").field("flux_r").metadata == {b"unit": b"nanomaggies"}
    assert read_parquet(tmp_path / "t.parquet", columns=["n"]).columns.tolist() == ["n"]


def test_missing_and_broken_tables_are_named(tmp_path):
    with pytest.raises(FileProblem, match="no such table"):
        read_parquet(tmp_path / "none.parquet")
    write_parquet(tmp_path / "t.parquet", pd.DataFrame({"a": range(1000)}))
    whole = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileProblem, match=r"t\.parquet: not a readable Parquet table"):
        read_parquet(tmp_path / "t.parquet")


def test_json_knows_numpy_and_refuses_nan(tmp_path):
    write_json(tmp_path / "a.json", {"n": np.int64(3), "x": np.float32(0.5), "v": np.arange(2), "p": tmp_path})
    assert json.loads((tmp_path / "a.json").read_text()) == {"n": 3, "x": 0.5, "v": [0, 1], "p": str(tmp_path)}
    with pytest.raises(ValueError, match="Out of range float values"):
        write_json(tmp_path / "b.json", {"x": float("nan")})
    assert not (tmp_path / "b.json").exists()


def test_provenance_changes_with_the_input(tmp_path):
    source = tmp_path / "in.txt"
    source.write_text("a")
    write_provenance(tmp_path / "out", step="s", configuration={"k": 1}, inputs={"in": source}, seeds={"x": 7})
    record = read_provenance(tmp_path / "out")
    assert record["inputs"]["in"]["hash"] == hash_of_input(source)
    assert record["seeds"] == {"x": 7}
    source.write_text("b")
    assert record["inputs"]["in"]["hash"] != hash_of_input(source)
    with pytest.raises(FileProblem, match="no provenance record"):
        read_provenance(tmp_path)


def test_code_hash_of_parts():
    assert code_hash(("survey",)) != code_hash(("catalog",))
    assert code_hash() != code_hash(())


def test_a_configuration_error_lists_every_problem():
    error = ConfigurationError("search.toml", ["parent.z_mag_max: must be > 0, is -1", "train.epoch: unknown key"])
    assert str(error) == (
        "search.toml: 2 problems\n  - parent.z_mag_max: must be > 0, is -1\n  - train.epoch: unknown key"
    )
    assert error.exit_code == 2


def test_a_file_problem_crosses_a_process_boundary():
    import pickle

    error = pickle.loads(pickle.dumps(FileProblem("a.fits", "truncated", "Fetch it again.", reason="truncated")))
    assert (error.path, error.reason, str(error)) == ("a.fits", "truncated", "a.fits: truncated. Fetch it again.")


def test_a_table_in_blocks_is_the_table(tmp_path):
    frame = pd.DataFrame({"a": np.arange(10), "b": list("abcdefghij")})
    write_parquet(tmp_path / "t.parquet", frame)
    blocks = list(iter_parquet(tmp_path / "t.parquet", rows=4))
    assert [len(block) for block in blocks] == [4, 4, 2]
    pd.testing.assert_frame_equal(pd.concat(blocks, ignore_index=True), read_parquet(tmp_path / "t.parquet"))
    assert list(next(iter_parquet(tmp_path / "t.parquet", columns=["b"])).columns) == ["b"]
    with pytest.raises(FileProblem, match="no column c"):
        next(iter_parquet(tmp_path / "t.parquet", columns=["a", "c"]))
    with pytest.raises(FileProblem, match="no such table"):
        next(iter_parquet(tmp_path / "u.parquet"))
    (tmp_path / "t.parquet").write_bytes((tmp_path / "t.parquet").read_bytes()[:-40])
    with pytest.raises(FileProblem, match="not a readable Parquet table"):
        next(iter_parquet(tmp_path / "t.parquet"))
