"""samples, validate and candidates as a user calls them: one after the other, one JSON document each."""

import json

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from legacylens.cli.candidates import candidates
from legacylens.cli.samples import samples
from legacylens.cli.validate import validate
from legacylens.errors import ConfigurationError, InputError
from legacylens.files import write_parquet
from legacylens.survey.sphere import offset_position


@pytest.fixture(scope="module")
def app():
    app = typer.Typer()
    for verb in (samples, validate, candidates):
        app.command()(verb)
    return app


def run(app, *arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A parent of 3,000 objects, 150 known systems, and scores that are worth something."""
    folder = tmp_path_factory.mktemp("judging")
    rng = np.random.default_rng(4)
    n = 3000
    ra, dec = offset_position(np.full(n, 30.0), np.full(n, -10.0), *rng.uniform(-2700, 2700, (2, n)))
    parent = pd.DataFrame(
        {
            "source_id": [f"10000_9_{i}" for i in range(n)],
            "brickname": "0300m100",
            "ra": ra,
            "dec": dec,
            "type": rng.choice(["SER", "DEV"], n),
            "nobs_z": 5,
            **{f"mag_{band}": rng.normal(19, 1, n) for band in "grz"},
        }
    )
    systems = parent.iloc[:150][["ra", "dec"]].assign(
        system_id=[f"K{i}" for i in range(150)], tier=2, grade="A", grades="list:A", names="x"
    )
    logit = rng.normal(0, 1, n) + 3 * (np.arange(n) < 150)
    write_parquet(folder / "parent.parquet", parent)
    write_parquet(folder / "systems.parquet", systems)
    write_parquet(folder / "scores.parquet", pd.DataFrame({"source_id": parent["source_id"], "logit": logit}))
    (folder / "samples.toml").write_text("nside = 1024\nguard_arcsec = 40.0\n", encoding="utf-8")
    return folder


def test_the_three_verbs_in_order(app, folder, tmp_path):
    sample = json.loads(
        run(app, "samples", folder, folder, "--out", tmp_path / "s", "--config", folder / "samples.toml", "--json")
    )
    assert sample["counts"]["sealed"]["lenses"] > 0
    result = json.loads(run(app, "validate", folder, tmp_path / "s", "--out", tmp_path / "v", "--json"))
    assert result["sample_hash"] == sample["hash"]
    assert result["recall"][0]["recall"] > 0.7
    sealed = run(app, "validate", folder, tmp_path / "s", "--out", tmp_path / "t", "--split", "sealed")
    assert "Recall on the sealed split" in sealed
    assert "not measurable" in sealed
    listed = json.loads(
        run(app, "candidates", folder, folder, "--known", folder, "--sample", tmp_path / "s", "--top", 50, "--out",
            tmp_path / "c", "--json")
    )  # fmt: skip
    assert listed["counts"]["candidates"] == 50
    assert listed["counts"]["known"] > 25
    assert "Best candidates" in run(app, "candidates", folder, folder, "--out", tmp_path / "c")
    assert "Why" in run(app, "samples", folder, folder, "--out", tmp_path / "s", "--nside", 1024, "--config",
                        folder / "samples.toml")  # fmt: skip


def test_impossible_options_are_told_all_at_once(app, folder, tmp_path):
    with pytest.raises(ConfigurationError, match=r"2 problems\n.*worst_tier.*\n.*nside"):
        run(app, "samples", folder, folder, "--out", tmp_path, "--nside", 3, "--worst-tier", 9)


def test_an_unknown_split_is_told(app, folder, tmp_path):
    run(app, "samples", folder, folder, "--out", tmp_path / "s", "--config", folder / "samples.toml")
    with pytest.raises(InputError, match="no split 'test'"):
        run(app, "validate", folder, tmp_path / "s", "--out", tmp_path, "--split", "test")
