"""The outputs shown in the README are those of the commands above them, on the same real files."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from legacylens.cli.main import app

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def output(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_known_lenses_of_lenscat():
    report = output("known-lenses", "--json")
    shown = re.search(r"known-lenses --json\n\{\n(.*?)  \.\.\.", README, flags=re.DOTALL)
    for key, value in re.findall(r'"(\w+)": (\d+)', shown.group(1)):
        assert report[key] == int(value), key


@pytest.mark.real
def test_known_lenses_with_the_published_lists(real_data):
    report = output("known-lenses", "--published", real_data / "catalogs", "--json")
    for key in ("rows", "confident", "desi_named", "entries", "systems", "disputed", "unlisted", "only_targets"):
        assert f"{report[key]:,}" in README, key


@pytest.mark.real
def test_sweeps_of_an_older_release(real_data):
    report = output("parent", *sorted((real_data / "sweeps").glob("sweep-3*.fits")), "--json")
    for entry in report["per_file"]:
        name = Path(entry["path"]).name
        shown = re.search(rf"│ {re.escape(name)} │ [^│]+ │\s+(\d+) │\s+(\d+) │", README)
        if shown:
            assert (entry["rows"], entry["selected"]) == (int(shown.group(1)), int(shown.group(2)))
    assert "sweep-320m005-330p000.fits │" in README


@pytest.mark.real
@pytest.mark.parametrize(
    ("folder", "rows"), [("ls-dr10-candidates", 4), ("decals-galaxies", 3), ("ls-dr9-cutout", 1), ("des-lrg", 2)]
)
def test_scores_of_the_packaged_network(real_data, folder, rows):
    report = output("score", real_data / folder, "--no-sheet", "--json")
    found = 0
    for entry in report["objects"]:
        shown = re.search(rf"│ {re.escape(entry['source_id'])} │\s+([\d.e-]+) │", README)
        if shown:
            found += 1
            # Four digits are shown; single precision differs between machines in the last one or two.
            assert float(shown.group(1)) == pytest.approx(entry["score"], rel=5e-3)
    assert found == rows
