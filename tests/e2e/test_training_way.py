"""Every way of training on the tiny mock release: the commands of docs/training.md, at a few steps each."""

import json
import shutil

import pandas as pd
import pytest
from typer.testing import CliRunner

from legacylens.cli.main import app

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500), pytest.mark.xdist_group("whole_way")]


def run(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, f"{words}: {result.output} {result.exception!r}"
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def place(whole_way, tmp_path_factory):
    """Sample, store and parent of the finished search, and arcs injected into galaxies of its training cells."""
    plan, _, _ = whole_way
    folder = tmp_path_factory.mktemp("training-way")
    shutil.copytree(plan.folder("samples"), folder / "sample")  # its ledger of looks at the sealed cells is written to
    store, parent = plan.folder("cutouts") / "store", plan.folder("parent") / "parent.parquet"
    made = run(
        *("mocks", "inject", store, parent, "--exclude", folder / "sample", "--split", "train"),
        *("--n", 24, "--per-host", 2, "--seed", 5, "--out", folder / "arcs", "--json"),
    )
    assert made["made"] == 24
    return folder, store, parent


def test_recipes_side_by_side(place):
    folder, store, parent = place
    arguments = ["compare", folder / "sample", store, "--recipes", "real,hybrid,mmd", "--steps", 3, "--seeds", 1]
    arguments += ["--simulations", f"calibrated={folder / 'arcs'}", "--parent", parent, "--unchecked", "--json"]
    result = run(*arguments, "--out", folder / "compare")
    assert [row["variant"] for row in result["variants"]] == ["real", "hybrid", "mmd"]
    assert result["variants"][1]["counts"]["simulated lenses"] > 10
    assert all(0.0 <= row["recall"][0]["value"] <= 1.0 for row in result["variants"])
    # what each of these networks says of the sealed cells is a scan like any other, and two are one
    tables = sorted((folder / "compare").rglob("sealed-*.parquet"))
    assert len(tables) == 3
    both = run("ensemble", *tables[:2], "--out", folder / "ensemble", "--json")
    assert both["objects"] == len(pd.read_parquet(tables[0]))


def test_a_learning_curve(place):
    folder, store, _ = place
    arguments = ["learning-curve", folder / "sample", store, "--positives", "5,10,all", "--ratios", 3, "--steps", 2]
    result = run(*arguments, "--recipes", "augmented", "--seeds", 1, "--out", folder / "curve", "--json")
    assert [point["positives"] for point in result["points"]][:2] == [5, 10]
    assert result["points"][-1]["positives"] == result["available"]["lenses"]
    assert len(result["fits"]) == 3
