"""Every verb of the validation on the finished tiny search, and the checks of a search that asks for them."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from legacylens.cli.main import app
from legacylens.config.search import ChecksSection
from legacylens.errors import InputError
from legacylens.files import read_parquet
from legacylens.search.whole import search
from legacylens.validation.sky_map import read_map

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500), pytest.mark.xdist_group("whole_way")]

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "validation_medium.py"
BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
INJECTIONS = 130
RATES = (0.3, 0.2, 0.1, 0.01)
"""A tiny sky has 174 non-lenses to judge on: 0.2 is the lowest of these with 20 false positives behind it."""


def tree(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def script():
    """The committed script that runs every verb, on a medium sky for its result and on a tiny one here."""
    spec = importlib.util.spec_from_file_location("validation_medium", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def walked(whole_way, script, tmp_path_factory):
    """The answers of all verbs, the folder they were written to, and whether the search was left alone."""
    plan, _, truth = whole_way
    work, before = tmp_path_factory.mktemp("validated"), tree(plan.out)
    results = script.walk(
        plan.out, work, truth=truth, injections=INJECTIONS, arcs=60, workers=0, fpr=0.2, fprs=RATES,
        packaged=False,
        controls=SCRIPT.parent / "results" / "validation_controls.json",
    )  # fmt: skip
    return plan, work, results, before == tree(plan.out)


def test_the_search_is_read_and_not_changed(walked) -> None:
    assert walked[3]


def test_the_verbs_say_what_the_search_said(walked) -> None:
    plan, _, results, _ = walked
    inside = json.loads((plan.folder("validate") / "validation" / "validation.json").read_text())
    said = {row["fpr_target"]: row["threshold"] for row in inside["recall"]}
    assert {row["fpr_target"]: row["threshold"] for row in results["report"]["recall"][2:]}.items() <= said.items()
    assert results["report"]["scores_hash"] == inside["scores_hash"]


def test_whole_bricks_are_held_out_on_a_real_layout(walked) -> None:
    plan, _, results, _ = walked
    sample = read_parquet(plan.folder("samples") / "sample.parquet")
    trained = set(sample.loc[(sample["split"] == "train") & (sample["label"] >= 0), "brickname"])
    part = sample[(sample["split"] == "validation") & (sample["label"] >= 0)]
    shared = next(row["shared"] for row in results["report"]["by_unit"] if row["unit"] == "brick")
    judged = results["report"]["counts"]["lenses"] + results["report"]["counts"]["non_lenses"]
    assert shared["lenses"] + shared["non_lenses"] <= part["brickname"].isin(trained).sum()
    assert results["bricks"]["counts"]["in_trained_bricks"] == part["brickname"].isin(trained).sum()
    left = results["bricks"]["counts"]["lenses"] + results["bricks"]["counts"]["non_lenses"]
    assert left == judged - shared["lenses"] - shared["non_lenses"]


def test_every_shortcut_test_was_made(walked) -> None:
    _, _, results, _ = walked
    assert len(results["shortcuts"]["tests"]) == 10
    verdicts = {row["test"]: row["verdict"] for row in results["shortcuts"]["tests"]}
    assert set(verdicts.values()) <= {"pass", "unclear", "fail", "not testable"}
    assert "not testable" not in {verdicts["null injection"], verdicts["centering"], verdicts["arc suppressed"]}
    ring = next(row for row in results["shortcuts"]["tests"] if row["test"] == "ring counterfactual")
    assert ring["verdict"] != "not testable" or "move the score of only" in ring["detail"]
    assert results["other_shortcuts"]["trained_on_this_sample"] is False
    assert results["shortcuts"]["trained_on_this_sample"] is True


def test_injections_are_all_accounted_for(walked) -> None:
    plan, work, results, _ = walked
    found = results["completeness"]
    assert found["asked"] == INJECTIONS
    assert found["made"] + sum(found["failures"]["not_injected"].values()) >= INJECTIONS
    assert found["scored"] == found["made"] - found["failures"]["not_scored"]
    injections = read_parquet(work / "completeness/injections.parquet")
    # Nothing that trained the network, and no known lens, is a host.
    sample = read_parquet(plan.folder("samples") / "sample.parquet").set_index("source_id")
    hosts = sample.loc[injections["host_source_id"].astype(str)]
    assert (hosts["split"] != "train").all()
    assert (hosts["label"] == 0).all()
    threshold = next(row["threshold"] for row in results["report"]["recall"] if row["fpr_target"] == 0.2)
    assert found["threshold"] == threshold
    assert found["tables"]["total"]["n_recovered"] == (injections["logit"] >= threshold).sum()
    # More arcs make more of the same galaxies pass: what is measured is the arc.
    assert found["without_arc"]["gained"] > found["without_arc"]["lost"]


def test_the_sky_is_mapped_from_bricks_and_from_random_points(walked) -> None:
    _, work, results, _ = walked
    bricks, nside = read_map(work / "completeness/completeness-map.fits")
    points, _ = read_map(work / "random-map.fits")
    assert nside == 128
    both = bricks.merge(points, on="pixel", suffixes=("_bricks", "_points"))
    assert len(both) >= 0.8 * len(bricks) > 10
    # The summary of bricks and the coadds say the same of seeing and depth.
    assert np.abs(both["seeing_bricks"] - both["seeing_points"]).median() < 0.03
    assert np.abs(both["depth_bricks"] - both["depth_points"]).median() < 0.1
    np.testing.assert_allclose(both["completeness_bricks"], both["completeness_points"], atol=0.1)
    # Masks, and the border of the survey, take some of the sky away; the sky has a hundredth of a degree a brick.
    assert 0.5 * 0.24 < results["map"]["searched_deg2"] < 0.24
    assert points["searched"].between(0, 1).all()
    assert results["random_points"] == results["map"]["searched"] + results["map"]["not_searched"]


def test_contaminants_are_counted_by_class_and_pictured(walked) -> None:
    _, work, results, _ = walked
    classes = {row["class"] for row in results["contaminants"]["classes"]}
    assert {"ring", "spiral", "merger"} <= classes
    for row in results["contaminants"]["classes"]:
        assert row["fpr_low"] <= row["fpr"] <= row["fpr_high"]
    assert (work / "contaminants/worst-offenders.png").stat().st_size > 10_000


def test_networks_are_compared_on_the_same_lenses_only(walked) -> None:
    plan, work, results, _ = walked
    assert {row["better"] for row in results["compare"]["rows"]} <= {"first", "second", "neither"}
    other = plan.folder("validate") / "sealed"
    with pytest.raises(InputError, match="different splits and definitions"):
        CliRunner().invoke(
            app, ["validate", "compare", str(work / "validation"), str(other)], catch_exceptions=False
        )  # fmt: skip


def test_the_sealed_cells_stay_sealed_for_another_network(walked) -> None:
    plan, work, _, _ = walked
    ledger = plan.folder("samples") / "sealed-ledger.jsonl"
    before = ledger.read_text()
    arguments = ["validate", "report", str(work / "other-scan"), str(plan.folder("samples")), "--split", "sealed"]
    with pytest.raises(InputError, match=r"already opened 1 time, .*--reopen"):
        CliRunner().invoke(app, [*arguments, "--out", str(work / "sealed")], catch_exceptions=False)
    assert ledger.read_text() == before
    assert not (work / "sealed").exists()


def test_the_kept_numbers_are_whole_and_name_no_folder(walked, script, tmp_path) -> None:
    plan, work, results, _ = walked
    kept = script.summary(results)
    text = json.dumps(kept)
    assert str(plan.out) not in text
    assert str(work) not in text
    assert {command["command"].split()[2] for command in kept["commands"] if "validate" in command["command"]} == {
        "report", "shortcuts", "contaminants", "completeness", "map", "compare", "saliency", "page",
    }  # fmt: skip
    page = script.as_markdown(kept)
    for name in (*kept["lights"], "core only", "ring", "square degrees are searched"):
        assert name in page, name


@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on this machine")
def test_the_page_of_real_results_in_a_browser(walked, tmp_path) -> None:
    _, work, results, _ = walked
    probe = """<script>addEventListener("load", () => {
      const broken = [...document.images].filter(image => !(image.complete && image.naturalWidth > 0)).length;
      const numbers = JSON.parse(document.getElementById("numbers").textContent);
      document.body.setAttribute("data-probe", JSON.stringify(
        {broken, lights: document.querySelectorAll("section .light").length, figures: document.images.length,
         scored: numbers.completeness.scored}));
    });</script></body>"""
    page = tmp_path / "page.html"
    page.write_text((work / "validation.html").read_text(encoding="utf-8").replace("</body>", probe), encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0",
               f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=10000", "--dump-dom",
               page.as_uri()]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = json.loads(re.search(r'data-probe="([^"]*)"', shown.stdout)[1].replace("&quot;", '"'))
    assert found["broken"] == 0
    assert found["lights"] == len(results["page"]["lights"]) == 8
    assert found["figures"] >= 7  # recall, histogram, shortcuts, completeness, map, saliency, and offenders
    assert found["scored"] == results["completeness"]["scored"]
    assert "CONSOLE" not in shown.stderr


def test_a_search_that_asks_for_checks_has_them_in_its_report(whole_way, tmp_path) -> None:
    plan, first, _ = whole_way
    shutil.copytree(plan.out, tmp_path / "search", copy_function=os.link, ignore=shutil.ignore_patterns("*-report"))
    changed = {
        "checks": ChecksSection(shortcuts=True, arcs=10, injections=12, fpr=0.001),
        "validation": plan.config.validation.model_copy(update={"fprs": RATES}),
        "workers": 1,
    }
    result = search(plan.config.model_copy(update=changed), tmp_path / "search")
    status = {step["name"]: step["status"] for step in result["steps"]}
    assert {name for name, word in status.items() if word == "done"} == {
        "validate",
        "shortcuts",
        "completeness",
        "report",
    }
    assert [step["name"] for step in result["steps"]][-4:] == ["candidates", "shortcuts", "completeness", "report"]
    summaries = {step["name"]: step["summary"] for step in result["steps"]}
    assert re.fullmatch(r"(pass|fail|unclear): \d of 10 shortcut tests failed", summaries["shortcuts"])
    # A tiny sky cannot measure the rate that was asked for; the lowest that it can is used, and said.
    used = float(re.search(r"rate of (\S+)$", summaries["completeness"])[1])
    assert used == 0.2
    report = Path(result["report"])
    assert '<a href="validation.html">' in report.read_text(encoding="utf-8")
    numbers = json.loads(report.with_name("validation.json").read_text())
    assert numbers["completeness"]["asked"] == 12
    assert numbers["validation"]["split"] == "sealed"
    assert numbers["shortcuts"]["sample_hash"] == numbers["validation"]["sample_hash"]
    assert "validation.html" not in Path(first["report"]).read_text(encoding="utf-8")
