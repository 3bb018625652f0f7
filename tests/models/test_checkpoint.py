"""The checkpoint file: what goes in comes out, and nothing else is taken for one."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from legacylens.errors import FileProblem, InputError
from legacylens.models import packaged
from legacylens.models.checkpoint import Checkpoint, load_checkpoint, load_training_state, save_checkpoint
from legacylens.models.preprocessing import Preprocessing
from legacylens.models.registry import build_network


@pytest.fixture
def checkpoint() -> Checkpoint:
    return Checkpoint(
        network="compact",
        state=build_network("compact", seed=4).state_dict(),
        preprocessing=Preprocessing(knee=2.0),
        sample_hash="abc",
        configuration={"epochs": 3},
        metrics={"recall": 0.5},
        seed=4,
        code_hash="def",
        git_commit=None,
        version="0.1.0",
        description="mock sky",
    )


def test_round_trip(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "deep" / "best.pt"
    save_checkpoint(path, checkpoint)
    loaded = load_checkpoint(path)
    assert replace(loaded, state={}) == replace(checkpoint, state={})
    assert loaded.fingerprint() == checkpoint.fingerprint()
    x = torch.randn(2, 3, 101, 101, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(loaded.build()(x), checkpoint.build()(x))
    assert not loaded.build().training


def test_fingerprint_follows_weights_and_preprocessing_only(checkpoint: Checkpoint) -> None:
    state = {name: tensor.clone() for name, tensor in checkpoint.state.items()}
    assert replace(checkpoint, state=state, seed=9, description="x").fingerprint() == checkpoint.fingerprint()
    assert replace(checkpoint, preprocessing=Preprocessing()).fingerprint() != checkpoint.fingerprint()
    state["head.bias"] += 1.0
    assert replace(checkpoint, state=state).fingerprint() != checkpoint.fingerprint()


def test_training_state_travels(tmp_path: Path, checkpoint: Checkpoint) -> None:
    save_checkpoint(tmp_path / "last.pt", checkpoint, training={"epoch": 3, "moments": [torch.ones(2)]})
    _, training = load_training_state(tmp_path / "last.pt")
    assert training["epoch"] == 3
    assert torch.equal(training["moments"][0], torch.ones(2))
    save_checkpoint(tmp_path / "best.pt", checkpoint)
    with pytest.raises(FileProblem, match="nothing to continue its training from"):
        load_training_state(tmp_path / "best.pt")


FULL_DISK = """
import errno, resource, signal, sys
from legacylens.models.checkpoint import load_checkpoint, save_checkpoint
checkpoint = load_checkpoint(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    save_checkpoint(sys.argv[1], checkpoint)
except OSError as error:
    print(error.errno == errno.EFBIG, error.filename)
"""


def test_a_write_that_the_disk_refuses_names_the_file_and_leaves_the_old_one(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    """A limit on the size of files stands for a full disk: the system refuses the write in the middle."""
    path = tmp_path / "best.pt"
    save_checkpoint(path, checkpoint)
    before = path.read_bytes()
    assert len(before) > 50_000
    done = subprocess.run([sys.executable, "-c", FULL_DISK, path], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", str(path)]
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_checkpoint_is_named(tmp_path: Path, checkpoint: Checkpoint) -> None:
    with pytest.raises(FileProblem, match="no such checkpoint"):
        load_checkpoint(tmp_path / "nowhere.pt")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    with pytest.raises(FileProblem, match=r"text.pt: not a readable checkpoint"):
        load_checkpoint(tmp_path / "text.pt")
    save_checkpoint(tmp_path / "whole.pt", checkpoint)
    content = (tmp_path / "whole.pt").read_bytes()
    (tmp_path / "half.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(FileProblem, match=r"half.pt: not a readable checkpoint"):
        load_checkpoint(tmp_path / "half.pt")
    torch.save({"state_dict": {}}, tmp_path / "foreign.pt")
    with pytest.raises(FileProblem, match="not one of legacylens"):
        load_checkpoint(tmp_path / "foreign.pt")


def test_a_checkpoint_never_runs_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"mark": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(FileProblem, match="not a readable checkpoint"):
        load_checkpoint(tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()


def test_other_version_network_or_weights(tmp_path: Path, checkpoint: Checkpoint) -> None:
    save_checkpoint(tmp_path / "c.pt", replace(checkpoint, network="unheard-of"))
    with pytest.raises(FileProblem, match="holds the network 'unheard-of', which this version does not have"):
        load_checkpoint(tmp_path / "c.pt")
    save_checkpoint(tmp_path / "c.pt", replace(checkpoint, network="shielded"))
    with pytest.raises(FileProblem, match="weights do not fit the network 'shielded'"):
        load_checkpoint(tmp_path / "c.pt")
    save_checkpoint(tmp_path / "c.pt", checkpoint)
    document = torch.load(tmp_path / "c.pt", weights_only=True)
    torch.save({**document, "format": 99}, tmp_path / "c.pt")
    with pytest.raises(FileProblem, match="checkpoint format 99"):
        load_checkpoint(tmp_path / "c.pt")
    torch.save({**document, "record": "{}"}, tmp_path / "c.pt")
    with pytest.raises(FileProblem, match="record cannot be understood"):
        load_checkpoint(tmp_path / "c.pt")


def test_packaged_network_is_found_or_its_absence_explained(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(packaged.resources, "files", lambda _: tmp_path)
    with pytest.raises(InputError, match="no network is packaged"):
        packaged.packaged_checkpoint()
    target = tmp_path / "models" / "weights" / packaged.DEFAULT_NAME
    target.parent.mkdir(parents=True)
    target.write_bytes(b"x")
    assert packaged.packaged_checkpoint() == target
