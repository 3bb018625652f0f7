"""The tiny mock release, from its sweeps to the report, judged against the truth that no step could read."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from legacylens.candidates.publish import read_candidates
from legacylens.search.whole import search
from legacylens.survey.sphere import match_within

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.stat().st_mtime_ns
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_the_road_ends_at_a_report_and_five_candidates(whole_way):
    plan, result, _ = whole_way
    assert [step["name"] for step in result["steps"]] == plan.names
    assert len(result["best"]) == 5
    page = Path(result["report"]).read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html>")
    # Self-contained: nothing is loaded from elsewhere.
    assert not re.findall(r'<(?:link|script|img|iframe)[^>]*(?:href|src)="(?!data:)[^"]*"', page)
    assert page.count("data:image/png") >= 10


def test_the_release_and_its_truth_are_apart(whole_way):
    plan, _, truth = whole_way
    assert not any("truth" in path.name for path in (plan.folder("mocks") / "release").rglob("*"))
    assert any(truth.iterdir())


def test_the_sizes_are_those_promised(whole_way):
    plan, _, _ = whole_way
    parents = pd.read_parquet(plan.folder("parent") / "parent.parquet", columns=["source_id"])
    known = pd.read_csv(plan.folder("mocks") / "known-lenses.csv")
    assert len(parents) >= 1000
    assert len(known) >= 0.9 * 160


def test_recall_on_the_sealed_cells_is_well_above_chance(whole_way):
    _, result, _ = whole_way
    point = next(point for point in result["sealed"]["recall"] if point["fpr_target"] == 0.1)
    # A finder that guesses has a recall of 0.1 at this rate. The whole 95 % interval must lie above three times that.
    assert point["recall_low"] > 0.3, point


def test_candidates_are_systems_and_the_best_are_lenses(whole_way):
    plan, _, truth = whole_way
    candidates = read_candidates(plan.folder("candidates"))
    i, j, _ = match_within(candidates["ra"], candidates["dec"], candidates["ra"], candidates["dec"], 3.0)
    assert (i == j).all()  # no two rows are one system
    lenses = pd.read_parquet(next(truth.rglob("lenses*.parquet")))
    found, _, _ = match_within(candidates["ra"], candidates["dec"], lenses["ra"], lenses["dec"], 5.0)
    is_lens = np.isin(np.arange(len(candidates)), found)
    share = is_lens[:20].mean()
    # Lenses are one in about fifteen objects of this sky; among the best twenty they must be several times that.
    assert share >= 0.4, f"{is_lens[:20].sum()} of the best 20 are lenses"


def test_every_step_says_what_made_it(whole_way):
    plan, _, _ = whole_way
    for name in plan.names:
        folder = plan.folder(name)
        records = [*folder.glob("provenance.json"), *folder.glob("*/provenance.json")]
        assert records, name
        record = json.loads(records[0].read_text())
        assert record["code_hash"], name
        assert record["versions"]["numpy"], name


def test_a_second_run_changes_nothing(whole_way):
    plan, first, _ = whole_way
    before = tree(plan.out)
    second = search(plan.config, plan.out)
    assert {step["status"] for step in second["steps"]} == {"unchanged"}
    assert second["sealed"] == first["sealed"]
    assert tree(plan.out) == before
