"""What was held out whole: bricks and cells that training knows, lists, and the same numbers counted by hand."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import hypergeom
from typer.testing import CliRunner

from legacylens.cli.main import app
from legacylens.errors import InputError
from legacylens.files import write_parquet
from legacylens.samples.build import COLUMNS, Sample, sample_hash, write_sample
from legacylens.validation.config import ValidationConfig
from legacylens.validation.holdouts import by_list, by_unit, known_to_training
from legacylens.validation.recall import recall_at_threshold
from legacylens.validation.report import validate

N_LENS, N_OTHER, BRICKS = 80, 2000, 40


@pytest.fixture(scope="module")
def sample():
    """Validation objects in forty bricks; training knows the first ten of them, and none of their cells."""
    rng = np.random.default_rng(1)
    n = N_LENS + N_OTHER
    label = np.r_[np.ones(N_LENS, int), np.zeros(N_OTHER, int)]
    brick = rng.integers(0, BRICKS, n)
    frames = []
    for split in ("train", "validation", "sealed"):
        inside = brick % 10 if split == "train" else brick
        frames.append(
            pd.DataFrame(
                {
                    "source_id": [f"{split}_{i}" for i in range(n)],
                    "brickname": [f"{k:04d}p000" for k in inside],
                    "label": label,
                    "split": split,
                    "cell": inside + {"train": 0, "validation": 1000, "sealed": 2000}[split],
                    "sources": np.where(label == 1, rng.choice(["huang", "storfer|huang", "sugohi"], n), ""),
                    "held_out": False,
                }
            )
        )
    frame = pd.concat(frames, ignore_index=True)
    return frame.assign(**{name: "" for name in COLUMNS if name not in frame.columns})[list(COLUMNS)]


@pytest.fixture(scope="module")
def scores(sample):
    """Scores of a network that knows the lenses of training's bricks by heart."""
    rng = np.random.default_rng(2)
    known = sample["brickname"].isin([f"{k:04d}p000" for k in range(10)])
    logit = rng.normal(size=len(sample)) + (sample["label"] == 1) * np.where(known, 4.0, 1.0)
    return pd.DataFrame({"source_id": sample["source_id"], "logit": logit})


def test_bricks_that_training_knows_are_told_from_those_it_does_not(sample, scores) -> None:
    result = validate(scores, sample)
    rows = {(row["unit"], row["fpr_target"]): row for row in result["by_unit"]}
    point = next(row for row in result["recall"] if row["fpr_target"] == 0.1)
    part = sample[sample["split"] == "validation"].merge(scores, on="source_id")
    shared = part["brickname"] < "0010p000"
    for word, inside in (("shared", shared), ("unseen", ~shared)):
        lenses, others = part[inside & (part["label"] == 1)], part[inside & (part["label"] == 0)]
        found = rows[("brick", 0.1)][word]
        assert (found["lenses"], found["non_lenses"]) == (len(lenses), len(others))
        assert found["recovered"] == (lenses["logit"] >= point["threshold"]).sum()
        assert found["fpr"] == pytest.approx((others["logit"] >= point["threshold"]).mean())
        assert found["recall_low"] < found["recall"] <= found["recall_high"]
    # The network cheats, and the difference says so; no cell is in two splits.
    assert rows[("brick", 0.1)]["p_value"] < 1e-4
    assert rows[("cell", 0.1)]["shared"]["lenses"] == 0
    assert rows[("cell", 0.1)]["p_value"] is None
    sentence = next(each for each in result["not_shown"] if "in a brick that training knows" in each)
    assert sentence.startswith(f"{rows[('brick', 0.1)]['shared']['lenses']} lenses")
    assert not any("in a cell that training knows" in each for each in result["not_shown"])


def test_the_difference_is_the_exact_test(sample) -> None:
    frame = pd.DataFrame(
        {
            "source_id": [str(i) for i in range(20)], "label": 1, "cell": 5, "value": [1.0] * 9 + [0.0] * 11,
            "brickname": ["a"] * 8 + ["b"] * 12, "split": "validation",
        }
    )  # fmt: skip
    trained = pd.DataFrame({"source_id": ["t"], "label": 0, "cell": 1, "brickname": "a", "split": "train"})
    point = recall_at_threshold([1.0], [0.0], 0.5)
    row = by_unit(frame, pd.concat([frame, trained]), [point], 0.95)[1]
    assert (row["unit"], row["shared"]["recovered"], row["unseen"]["recovered"]) == ("brick", 8, 1)
    # Two-sided Fisher: all tables with these margins that are no likelier than the one seen.
    chances = hypergeom(20, 9, 8).pmf(np.arange(9))
    assert row["p_value"] == pytest.approx(chances[chances <= chances[8] * (1 + 1e-9)].sum())


def test_whole_bricks_judges_only_what_training_does_not_know(sample, scores) -> None:
    all_of_it, alone = validate(scores, sample), validate(scores, sample, config=ValidationConfig(whole_bricks=True))
    bricks = next(row for row in all_of_it["by_unit"] if row["unit"] == "brick")
    left_out = bricks["shared"]["lenses"] + bricks["shared"]["non_lenses"]
    assert alone["counts"]["in_trained_bricks"] == left_out > 100
    assert all_of_it["counts"]["in_trained_bricks"] == 0
    assert alone["counts"]["lenses"] == bricks["unseen"]["lenses"]
    assert next(row for row in alone["by_unit"] if row["unit"] == "brick")["shared"]["non_lenses"] == 0
    assert alone["recall"][0]["recall"] < all_of_it["recall"][0]["recall"]  # what it knew by heart is gone
    assert alone["definition_hash"] != all_of_it["definition_hash"]
    everywhere = sample.assign(brickname="0000p000")
    with pytest.raises(
        InputError, match=r"has no lens with a score \(2080 objects lie in bricks that training knows\)"
    ):
        validate(scores, everywhere, config=ValidationConfig(whole_bricks=True))
    with pytest.raises(InputError, match="no brickname for every object, so nothing can be held out by brick"):
        known_to_training(sample.assign(brickname=""), sample, "brick")
    assert {row["unit"] for row in validate(scores, sample.assign(brickname=""))["by_unit"]} == {"cell"}


def test_a_cell_in_two_splits_is_said(sample, scores) -> None:
    broken = sample.assign(cell=7)
    result = validate(scores, broken, config=ValidationConfig(replicas=0))
    assert any(
        each.startswith("80 lenses and 2,000 non-lenses") and "in a cell" in each for each in result["not_shown"]
    )


def test_recall_of_each_list(sample, scores) -> None:
    lenses = sample[(sample["split"] == "validation") & (sample["label"] == 1)].merge(scores, on="source_id")
    rows = by_list(lenses.rename(columns={"logit": "value"}), [recall_at_threshold([1.0], [0.0], 1.0)], 0.95)
    counts = {row["list"]: (row["n"], row["only"], row["selected"]) for row in rows}
    with_huang = lenses["sources"].str.contains("huang")
    high = lenses["logit"] >= 1.0
    assert counts["huang"] == (with_huang.sum(), (lenses["sources"] == "huang").sum(), (with_huang & high).sum())
    assert counts["storfer"][1] == 0  # every lens of it is in another list as well
    assert counts["sugohi"][0] == counts["sugohi"][1]
    assert by_list(lenses.drop(columns="sources"), [], 0.95) == []


def test_the_verb_holds_out_whole_bricks(sample, scores, tmp_path) -> None:
    write_sample(Sample(frame=sample, summary={"hash": sample_hash(sample)}), tmp_path / "sample")
    write_parquet(tmp_path / "scan/scores.parquet", scores)
    arguments = ["validate", "report", str(tmp_path / "scan"), str(tmp_path / "sample"), "--out", str(tmp_path / "out")]
    answer = CliRunner().invoke(app, [*arguments, "--whole-bricks", "--json"])
    assert answer.exit_code == 0, answer.output
    result = json.loads(answer.stdout)
    assert result["configuration"]["whole_bricks"] is True
    assert result["counts"]["in_trained_bricks"] > 100
    table = CliRunner().invoke(app, arguments)
    assert "in bricks that training does not know" in table.output.replace("\n", " ")
