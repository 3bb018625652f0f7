"""Scoring files: one line for each object, a message for each fault."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from legacylens.cli.score import score
from legacylens.errors import InputError
from legacylens.models import packaged
from legacylens.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from legacylens.models.preprocessing import Preprocessing
from legacylens.scan.files import CHECKPOINT_VARIABLE, find_checkpoint, score_files

REAL_FOLDERS = ("ls-dr10-candidates", "ls-dr9-cutout", "des-lrg", "decals-galaxies")


@pytest.fixture
def full_size(tmp_path: Path, checkpoint: Checkpoint) -> Path:
    """A network for stamps of 101 pixels."""
    path = tmp_path / "full.pt"
    save_checkpoint(path, replace(checkpoint, preprocessing=Preprocessing(), description="random weights"))
    return path


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Two usable cutouts and two broken files."""
    folder = tmp_path / "files"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for name in ("a", "b"):
        np.savez(folder / f"{name}.npz", cutout=(rng.normal(size=(101, 101, 3)) * 0.01).astype(np.float32))
    (folder / "page.fits").write_text("<html>not found</html>")
    (folder / "empty.npz").write_bytes(b"")
    return folder


@pytest.fixture
def run() -> CliRunner:
    return CliRunner()


@pytest.fixture
def app() -> typer.Typer:
    application = typer.Typer()
    application.command()(score)
    return application


def test_usable_files_are_scored_and_others_named(files: Path, full_size: Path) -> None:
    scores = score_files([files], full_size)
    assert len(scores.table) == len(scores.cutouts) == 2
    assert np.isfinite(scores.table["logit"]).all()
    assert sorted(Path(problem.path).name for problem in scores.problems) == ["empty.npz", "page.fits"]
    summary = json.loads(json.dumps(scores.summary(), allow_nan=False))
    assert summary["description"] == "random weights"
    assert summary["objects"][0]["ra"] is None  # an npz without a position
    assert {"file", "what", "remedy", "reason"} == set(summary["problems"][0])


def test_nothing_usable_is_an_empty_table(files: Path, full_size: Path) -> None:
    scores = score_files([files / "page.fits", files / "nowhere.fits"], full_size)
    assert len(scores.table) == 0
    assert len(scores.problems) == 2


def test_network_comes_from_the_option_the_environment_or_the_package(full_size: Path, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(packaged.resources, "files", lambda _: tmp_path / "package")
    monkeypatch.delenv(CHECKPOINT_VARIABLE, raising=False)
    with pytest.raises(InputError, match="no network is packaged"):
        find_checkpoint()
    shipped = tmp_path / "package" / "models" / "weights" / packaged.DEFAULT_NAME
    shipped.parent.mkdir(parents=True)
    shipped.write_bytes(b"x")
    assert find_checkpoint() == shipped
    monkeypatch.setenv(CHECKPOINT_VARIABLE, "of-environment.pt")
    assert find_checkpoint() == Path("of-environment.pt")
    assert find_checkpoint(full_size) == full_size


@pytest.fixture(autouse=True)
def _work_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contact sheets go to the current folder."""
    monkeypatch.chdir(tmp_path)


def test_verb_exits_with_two_only_if_strict(files: Path, full_size: Path, run: CliRunner, app: typer.Typer) -> None:
    arguments = [str(files), "--checkpoint", str(full_size)]
    lenient = run.invoke(app, arguments)
    assert lenient.exit_code == 0, lenient.output
    assert "page.fits" in lenient.stderr
    assert "page.fits" not in lenient.stdout
    assert run.invoke(app, [*arguments, "--strict"]).exit_code == 2
    assert run.invoke(app, [str(files / "a.npz"), "--strict", "--checkpoint", str(full_size)]).exit_code == 0


def test_verb_writes_json_and_a_sheet(files: Path, full_size: Path, run: CliRunner, app, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    result = run.invoke(app, [str(files), "--checkpoint", str(full_size), "--json", "--sheet", str(sheet)])
    document = json.loads(result.stdout)
    assert [row["source_id"] for row in document["objects"]] == ["a", "b"]
    assert document["sheet"] == str(sheet)
    assert sheet.stat().st_size > 1000


def test_the_sheet_is_a_default_and_can_be_switched_off(files: Path, full_size: Path, run: CliRunner, app, tmp_path):
    arguments = [str(files), "--checkpoint", str(full_size), "--json"]
    assert json.loads(run.invoke(app, [*arguments, "--no-sheet"]).stdout)["sheet"] is None
    assert not list(tmp_path.glob("*.png"))
    named = json.loads(run.invoke(app, arguments).stdout)["sheet"]
    assert named == f"{files.name}-scores.png"
    assert (tmp_path / named).stat().st_size > 1000


def test_packaged_network_is_small_and_says_on_which_sky_it_was_trained() -> None:
    path = packaged.packaged_checkpoint()
    assert path.stat().st_size < 500_000
    checkpoint = load_checkpoint(path)
    assert checkpoint.network == "compact"
    assert "mock sky" in checkpoint.description
    assert "validation_recall" in checkpoint.metrics


@pytest.mark.real
def test_real_files(real_data: Path, full_size: Path) -> None:
    scores = score_files([real_data / name for name in REAL_FOLDERS], full_size)
    assert len(scores.table) == 4 + 1 + 30 + 3
    assert np.isfinite(scores.table["logit"]).all()
    faults = {Path(problem.path).name: problem.what for problem in scores.problems}
    assert set(faults) == {
        "example_bad_pix.fits",
        "example_incomplete.fits",
        "example_incomplete_backup.fits",
        "copsf_59.1067_-30.4848.fits",
    }
    assert "truncated" in faults["example_incomplete.fits"]
    assert "without data" in faults["example_bad_pix.fits"]
