"""The verbs known-lenses, parent and contaminants as a user types them."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass

import pytest

from legacylens.cli.main import main


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command in this process and return its exit code and output."""

    def command(*words: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["legacylens", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return Done(returncode=code, stdout=out, stderr=err)

    return command


@pytest.fixture
def lens_list(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("name,alpha,delta,grade\none,10.0,2.0,A\ntwo,11.0,95.0,B\nthree,12.0,2.0,C\n")
    return path


def test_users_list(run, lens_list, tmp_path):
    done = run(
        "known-lenses", "--no-lenscat", "--list", lens_list, "--columns", "ra=alpha:hour,dec=delta:deg",
        "--out", tmp_path / "known", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["systems"] == 2
    assert report["rows_left_out"] == {"dec-out-of-range": 1}
    assert (tmp_path / "known" / "systems.parquet").exists()
    shown = run("known-lenses", "--no-lenscat", "--list", lens_list, "--columns", "ra=alpha:hour,dec=delta:deg")
    assert "2: likely" not in shown.stdout
    assert "likely: graded A or B" in shown.stdout
    assert "Dec is outside" in shown.stdout


def test_a_list_that_cannot_be_used_is_an_error_of_input(run, lens_list):
    done = run("known-lenses", "--no-lenscat", "--list", lens_list)
    assert done.returncode == 2
    assert "no column for ra and dec" in done.stderr
    assert "Traceback" not in done.stderr
    assert run("known-lenses", "--no-lenscat", "--list", lens_list, "--columns", "ra").returncode == 2


def test_sweep_that_is_no_sweep(run, tmp_path):
    page = tmp_path / "sweep-000m005-005p000.fits"
    page.write_text("503 Service Unavailable")
    done = run("parent", page)
    assert done.returncode == 2
    assert "not FITS: it starts with '503 Service Unavailable'" in done.stderr
    assert done.stdout == ""
    refused = run("parent", page, "--nobs-min", -1, "--types", "SER,BLOB")
    assert refused.returncode == 2
    assert "types" in refused.stderr
    assert "nobs_min" in refused.stderr


def test_contaminants(run, tmp_path):
    path = tmp_path / "rings=outer.csv"
    path.write_text("ra [deg],dec [deg]\n10,2\n11,3\n")
    done = run("contaminants", "--list", f"{path}=ring", "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["classes"] == {"ring": 2}
    assert "object" in run("contaminants", "--list", f"{path}=ring").stdout


@pytest.mark.real
def test_the_commands_of_the_readme(run, real_data):
    if importlib.util.find_spec("lenscat") is None:
        pytest.skip("lenscat is not installed (pip install --no-deps lenscat)")
    done = run("known-lenses", "--published", real_data / "catalogs", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["rows"], report["desi_named"], report["confident"]) == (32_838, 5_104, 2_309)
    sweeps = sorted((real_data / "sweeps").glob("sweep-*.fits"))
    parents = run("parent", *sweeps, "--json")
    assert parents.returncode == 0, parents.stderr
    missing = json.loads(parents.stdout)["per_file"][0]["missing"]
    assert missing == ["psfsize_g", "psfsize_r", "psfsize_z", "shape_r", "shape_e1", "shape_e2", "sersic"]
    table = run("parent", *sweeps).stdout
    assert "DR8 south (DECam)" in table
    assert "PSFSIZE_G" in table
