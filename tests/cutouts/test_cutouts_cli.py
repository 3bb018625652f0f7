"""The verbs of ``legacylens cutouts``."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from legacylens.cli.cutouts import app
from legacylens.cli.main import app as main_app
from legacylens.cutouts.writer import write_store
from legacylens.errors import ConfigurationError, FileProblem, InputError


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_cut_prints_one_json_document(shared_release, tmp_path):
    shared_release.targets(4).to_parquet(tmp_path / "parent.parquet")
    arguments = ("cut", shared_release.root, tmp_path / "parent.parquet", "--out", tmp_path / "s", "--workers", 0)
    result = run(*arguments, "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert (report["requested"], report["cut"], report["quarantined"], report["total"]) == (4, 4, 0, 4)
    result = run(*arguments)
    assert "already in the store" in result.stdout
    provenance = json.loads((tmp_path / "s/provenance.json").read_text())
    assert provenance["step"] == "cutouts cut"
    assert provenance["inputs"]["targets"]["hash"]


def test_what_is_wrong_with_the_input_is_said(shared_release, tmp_path):
    parent = tmp_path / "parent.parquet"
    shared_release.targets(2).to_parquet(parent)
    out = ("--out", tmp_path / "s", "--workers", 0)
    assert isinstance(run("cut", tmp_path / "nothing", parent, *out).exception, FileProblem)
    error = run("cut", shared_release.root, tmp_path / "absent.parquet", *out).exception
    assert isinstance(error, FileProblem)
    assert error.reason == "missing"
    error = run("cut", shared_release.root, parent, *out, "--edge", "wrap", "--stamp", 10).exception
    assert isinstance(error, ConfigurationError)
    assert len(error.problems) == 2
    pd.DataFrame({"ra": [1.0]}).to_parquet(parent)
    with pytest.raises(InputError, match="lacks the columns source_id, dec"):
        raise run("cut", shared_release.root, parent, *out).exception


def test_a_store_can_be_looked_at(tmp_path):
    names = [f"s{k}" for k in range(70)]
    images = np.random.default_rng(0).normal(0, 0.01, (70, 3, 9, 9)).astype(np.float32)
    write_store(tmp_path / "s", pd.DataFrame({"source_id": names}), images).close()
    result = CliRunner().invoke(
        main_app, ["cutouts", "sheet", str(tmp_path / "s"), "--out", str(tmp_path / "a.png"), "--json"]
    )
    report = json.loads(result.stdout)
    assert (report["cutouts"], report["drawn"]) == (70, 70)
    assert [path.rsplit("/", 1)[-1] for path in report["pages"]] == ["a.png", "a-02.png"]
    scores = pd.DataFrame({"source_id": ["s3", "s9", "other"], "score": [1.0, 1.0, 0.5], "logit": [20.0, 30.0, 0.0]})
    scores.to_parquet(tmp_path / "scores.parquet")
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("legacylens.plots.sheets.contact_sheet", lambda *given, **_: drawn.append(given) or given[2])
        result = CliRunner().invoke(
            main_app,
            ["cutouts", "sheet", str(tmp_path / "s"), "--out", str(tmp_path / "b.png"), "--scores", str(tmp_path)],
            catch_exceptions=False,
        )
    assert result.exit_code == 0
    assert drawn[0][1] == ["s9\nscore 1.000", "s3\nscore 1.000"]  # the logit ranks what the score cannot
    assert [cutout.source_id for cutout in drawn[0][0]] == ["s9", "s3"]
    scores.assign(source_id="nobody").to_parquet(tmp_path / "scores.parquet")
    wrong = ["cutouts", "sheet", str(tmp_path / "s"), "--out", str(tmp_path / "c.png"), "--scores", str(tmp_path)]
    with pytest.raises(InputError, match="no cutout to draw with a score"):
        CliRunner().invoke(main_app, wrong, catch_exceptions=False)
