"""The verbs of ``legacylens cutouts``."""

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from legacylens.cli.cutouts import app
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
