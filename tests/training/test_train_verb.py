"""The verb ``train``: lists networks, trains, and says what is missing."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from legacylens.cli.scan import scan
from legacylens.cli.train import train
from legacylens.errors import ConfigurationError
from legacylens.models.checkpoint import load_checkpoint


@pytest.fixture
def app() -> typer.Typer:
    application = typer.Typer()
    application.command()(train)
    application.command()(scan)
    return application


def test_lists_networks_with_their_sizes(app: typer.Typer) -> None:
    result = CliRunner().invoke(app, ["train", "--networks", "--json"])
    networks = {row["name"]: row["parameters"] for row in json.loads(result.stdout)["networks"]}
    assert networks["shielded"] == 194_433
    assert networks["meta-learner"] == 1_201


def test_needs_a_sample_a_store_and_a_folder(app: typer.Typer, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["train", str(tmp_path)])
    assert result.exit_code == 2
    assert "STORE" in result.stderr


def test_trains_and_scans(app: typer.Typer, blobs, tmp_path: Path) -> None:
    store, sample = blobs
    (tmp_path / "train.toml").write_text("batch = 16\nmin_positives = 5\n[preprocessing]\nstamp = 33\n")
    result = CliRunner().invoke(
        app,
        [
            "train",
            str(sample),
            str(store),
            "--out",
            str(tmp_path / "run"),
            "--config",
            str(tmp_path / "train.toml"),
            "--epochs",
            "1",
            "--json",
        ],
    )
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["epochs"] == 1
    result = CliRunner().invoke(
        app, ["scan", str(store), "--checkpoint", document["best"], "--out", str(tmp_path / "scan"), "--json"]
    )
    assert json.loads(result.stdout)["n_scored"] == 144


def test_trains_with_several_seeds(app: typer.Typer, blobs, tmp_path: Path) -> None:
    store, sample = blobs
    (tmp_path / "train.toml").write_text("batch = 16\nmin_positives = 5\n[preprocessing]\nstamp = 33\n")
    arguments = ["train", str(sample), str(store), "--out", str(tmp_path / "nets"), "--steps", "6", "--seeds", "2"]
    arguments += ["--config", str(tmp_path / "train.toml"), "--recipe", "augmented", "--seed", "3"]
    readable = CliRunner().invoke(app, arguments)
    assert readable.exit_code == 0, readable.output
    assert "seed-4" in readable.stdout
    runs = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)["runs"]
    first, second = (load_checkpoint(run["best"]) for run in runs)
    assert (first.seed, second.seed) == (3, 4)
    assert first.fingerprint() != second.fingerprint()
    assert first.sample_hash == second.sample_hash


def test_impossible_options_are_named_together(app: typer.Typer, tmp_path: Path) -> None:
    arguments = ["train", "a", "b", "--out", str(tmp_path), "--epochs", "0", "--learning-rate", "-1"]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, ConfigurationError)
    assert len(result.exception.problems) == 2
