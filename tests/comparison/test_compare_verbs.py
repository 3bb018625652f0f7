"""The verbs ``compare`` and ``learning-curve`` on a sky of blobs and rings, small enough for seconds."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from legacylens.cli.compare import compare
from legacylens.cli.learning_curve import learning_curve
from legacylens.cutouts.writer import write_store
from legacylens.errors import ConfigurationError, InputError
from legacylens.mocks.injection_truth import TRUTH_UNITS, write_truth
from legacylens.samples.build import COLUMNS, Sample, sample_hash, write_sample
from legacylens.validation.sealed import read_ledger

STAMP = 33


def pictures(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return (n, 3, 33, 33) nanomaggies: a red blob, with a blue ring where the label is 1."""
    offset = np.arange(STAMP) - STAMP // 2
    radius = np.hypot(offset[:, None], offset[None, :])
    blob = np.exp(-radius / 3.0) * np.array([0.1, 0.3, 0.5])[:, None, None]
    ring = np.exp(-0.5 * ((radius - 7.0) / 1.5) ** 2) * np.array([0.02, 0.015, 0.01])[:, None, None]
    noise = np.random.default_rng(seed).normal(size=(len(labels), 3, STAMP, STAMP)) * 0.004
    return (blob + labels[:, None, None, None] * ring + noise).astype(np.float32)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, a sample, a store of simulated lenses and shared training values."""
    folder = tmp_path_factory.mktemp("sky")
    n, n_lenses = 144, 24
    frame = pd.DataFrame({name: [""] * n for name in COLUMNS})
    frame["source_id"] = [f"10_1_{row}" for row in range(n)]
    frame["ra"], frame["dec"] = np.linspace(10.0, 20.0, n), 0.0
    frame["label"] = np.arange(n) < n_lenses
    frame["label"] = frame["label"].astype(int)
    frame["split"] = [("train", "train", "validation", "train", "sealed", "sealed")[row % 6] for row in range(n)]
    frame["cell"] = np.arange(n) // 6
    frame["type"] = "SER"
    frame.loc[(frame["label"] == 0) & (frame.index % 12 == 4), "contaminant"] = "spiral"
    write_sample(Sample(frame=frame, summary={"hash": sample_hash(frame)}), folder / "sample")
    write_store(folder / "store", frame[["source_id", "ra", "dec"]], pictures(frame["label"].to_numpy(), 0))
    hosts = frame[frame["label"] == 0]
    names = [f"{host}_lens1" for host in hosts["source_id"]]
    truth = pd.DataFrame({"source_id": names, "host_source_id": hosts["source_id"].to_numpy(), "seed": 1})
    write_store(
        folder / "rings",
        truth[["source_id"]].assign(ra=1.0, dec=0.0),
        pictures(np.ones(len(hosts), dtype=int), 1),
    )
    write_truth(folder / "rings", truth.reindex(columns=list(TRUTH_UNITS)))
    (folder / "train.toml").write_text(
        'batch = 16\nmin_positives = 2\nprecision = "fp32"\n[preprocessing]\nstamp = 33\n[augmentation]\nshift = 1\n'
    )
    return folder


@pytest.fixture
def app() -> typer.Typer:
    application = typer.Typer()
    application.command("compare")(compare)
    application.command("learning-curve")(learning_curve)
    return application


def arguments(place: Path, verb: str, out: Path, *more: str) -> list[str]:
    common = [
        verb,
        str(place / "sample"),
        str(place / "store"),
        "--out",
        str(out),
        "--config",
        str(place / "train.toml"),
    ]
    return [*common, "--device", "cpu", *more]


def test_compare_has_one_row_for_each_recipe_and_repeats_nothing(place: Path, app: typer.Typer, tmp_path: Path) -> None:
    options = [
        "--recipes",
        "real,augmented+mining,simulated",
        "--simulations",
        f"rings={place / 'rings'}",
        "--unchecked",
    ]
    options += ["--steps", "8", "--seeds", "2", "--json"]
    first = CliRunner().invoke(app, arguments(place, "compare", tmp_path / "c", *options))
    assert first.exit_code == 0, first.output
    document = json.loads(first.stdout)
    assert [row["variant"] for row in document["variants"]] == ["real", "augmented+mining", "simulated"]
    for row in document["variants"]:
        assert len(row["minutes"]) == 2
        assert {point["fpr"] for point in row["recall"]} == {1e-2, 1e-3, 1e-4}
        assert all(point["low"] <= point["high"] for point in row["recall"])
    assert document["variants"][0]["recall"][0]["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert document["variants"][0]["counts"]["train lenses"] == 12
    assert document["sealed"] == {"lenses": 8, "non_lenses": 40, "cells": 24, "opening": 1}
    assert (tmp_path / "c" / "compare.png").stat().st_size > 5000
    assert (tmp_path / "c" / "provenance.json").exists()
    trained = {path: path.stat().st_mtime_ns for path in (tmp_path / "c").rglob("*.pt")}
    assert len(trained) == 12  # best and last of six runs
    second = CliRunner().invoke(app, arguments(place, "compare", tmp_path / "c", *options))
    assert json.loads(second.stdout) == document
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "c").rglob("*.pt")} == trained
    assert len(read_ledger(place / "sample" / "sealed-ledger.jsonl")) == 1  # the same scores again are no new look
    classes = document["variants"][1]["classes"]
    assert [(row["class"], row["n"]) for row in classes] == [("SER", 30), ("spiral", 10)]
    # 40 non-lenses: none may pass at any of these rates, and the table says so instead of showing a number
    assert {point["false_positives"] for point in document["variants"][0]["recall"]} == {0}
    readable = CliRunner().invoke(app, arguments(place, "compare", tmp_path / "c", *options[:-1]))
    words = " ".join(readable.stdout.split())
    assert "measurable" in words
    assert "FPR 0.001 not measurable: needs >= 20,000 non-lenses (20 false positives), have 40 (0)" in words
    assert "spiral" in words


def test_compare_refuses_before_it_trains(place: Path, app: typer.Typer, tmp_path: Path) -> None:
    def error(*more: str) -> BaseException | None:
        return CliRunner().invoke(app, arguments(place, "compare", tmp_path / "c", "--steps", "2", *more)).exception

    wrong = error("--recipes", "real,magic")
    assert isinstance(wrong, InputError)
    assert "choose one of real" in str(wrong)
    wrong = error("--recipes", "augmented")
    assert isinstance(wrong, InputError)
    assert "the baseline 'real' is not among augmented" in str(wrong)
    wrong = error("--recipes", "real,hybrid")
    assert isinstance(wrong, ConfigurationError)
    assert "legacylens mocks inject" in str(wrong)
    wrong = error("--recipes", "real,simulated", "--simulations", f"a={place / 'rings'}", "--realism", "b=gate.json")
    assert isinstance(wrong, InputError)
    assert "reports are named b, but the sets of simulations are a" in str(wrong)
    wrong = error("--recipes", "real,real")
    assert isinstance(wrong, InputError)
    assert "repeat a name" in str(wrong)
    wrong = error("--minutes", "1")
    assert isinstance(wrong, ConfigurationError)
    assert "one of them" in str(wrong)
    assert not (tmp_path / "c" / "runs").exists()


def test_learning_curve_has_nested_points_and_a_fit(place: Path, app: typer.Typer, tmp_path: Path) -> None:
    options = ["--positives", "3,6,all", "--ratios", "2,4,50,100"]
    options += ["--recipes", "augmented", "--steps", "6", "--seeds", "1"]
    result = CliRunner().invoke(app, arguments(place, "learning-curve", tmp_path, *options, "--json"))
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    found = [(p["positives"], p["negative_ratio"]) for p in document["points"]]
    assert found == [(3, 100), (6, 100), (12, 2), (12, 4), (12, 100)]
    assert [p["non_lenses"] for p in document["points"]] == [60, 60, 24, 48, 60]
    assert len(document["fits"]) == 3
    fit = document["fits"][0]
    assert all(line["low"] <= line["high"] for line in fit["curve"])
    assert not fit["predicted"][-1]["measured"]
    assert (tmp_path / "learning-curve.png").stat().st_size > 5000
    readable = CliRunner().invoke(app, arguments(place, "learning-curve", tmp_path, *options))
    assert "Fitted curves" in readable.stdout


def test_learning_curve_says_how_many_lenses_there_are(place: Path, app: typer.Typer, tmp_path: Path) -> None:
    options = ["--positives", "5,50", "--steps", "2"]
    wrong = CliRunner().invoke(app, arguments(place, "learning-curve", tmp_path, *options)).exception
    assert isinstance(wrong, InputError)
    assert "the training split has 12" in str(wrong)
    result = CliRunner().invoke(app, arguments(place, "learning-curve", tmp_path, "--positives", "many"))
    assert result.exit_code == 2
