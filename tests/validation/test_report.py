"""`validate` and the ledger: what is judged, what is refused, what is counted."""

import json

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from legacylens.errors import FileProblem, InputError
from legacylens.files import to_json, write_parquet
from legacylens.samples.build import COLUMNS as SAMPLE_COLUMNS
from legacylens.samples.build import Sample, sample_hash, write_sample
from legacylens.validation.config import ValidationConfig
from legacylens.validation.report import scores_hash, validate, validate_files
from legacylens.validation.sealed import open_sealed, read_ledger


def make_sample_frame(n_lens=60, n_other=3000, seed=1):
    rng = np.random.default_rng(seed)
    n = 3 * (n_lens + n_other)
    label = np.tile(np.r_[np.ones(n_lens, int), np.zeros(n_other, int)], 3)
    frame = pd.DataFrame(
        {
            "source_id": [f"10000_1_{i}" for i in range(n)],
            "ra": rng.uniform(0, 1, n),
            "dec": rng.uniform(0, 1, n),
            "brickname": "0001p000",
            "type": rng.choice(["SER", "DEV"], n),
            "nobs_z": 4,
            "label": label,
            "reason": "",
            "split": np.repeat(["train", "validation", "sealed"], n // 3),
            "tier": label,
            "channel": "",
            "sources": "",
            "grade": np.where(label == 1, rng.choice(["A", "B"], n), ""),
            "system_id": "",
            "lens_separation_arcsec": 0.0,
            "cell": rng.integers(0, 30, n),
            "group": "",
            "stratum": "SER 3-5",
            "pool": np.where(label == 1, "", "representative"),
            "contaminant": "",
            "held_out": False,
        }
    )
    return frame[list(SAMPLE_COLUMNS)]


def make_scores(sample, shift=3.0, seed=2):
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 1, len(sample)) + shift * (sample["label"] == 1)
    return pd.DataFrame({"source_id": sample["source_id"], "logit": logit, "score": 1 / (1 + np.exp(-logit))}).astype(
        {"logit": "float32", "score": "float32"}
    )


@pytest.fixture(scope="module")
def sample():
    return make_sample_frame()


@pytest.fixture(scope="module")
def scores(sample):
    return make_scores(sample)


def test_the_result_is_whole_and_json(sample, scores):
    result = validate(scores, sample)
    assert json.loads(to_json(result)) == result
    assert list(result)[-1] == "auc"
    assert result["counts"] == {
        "lenses": 60,
        "non_lenses": 3000,
        "missing_lenses": 0,
        "missing_non_lenses": 0,
        "nan_lenses": 0,
        "nan_non_lenses": 0,
        "scored_elsewhere": 2 * 3060,
        "in_trained_bricks": 0,
    }
    assert [row["fpr_target"] for row in result["recall"]] == [1e-1, 1e-2, 1e-3, 1e-4, 1e-5]
    assert [row["measurable"] for row in result["recall"]] == [True, True, False, False, False]
    assert 0.7 < result["recall"][1]["recall"] <= 1  # norm.sf(2.326 - 3) = 0.75, with 60 lenses
    assert sum(result["histogram"]["lenses"]) == 60
    assert {row["grade"] for row in result["by_grade"]} == {"A", "B"}
    assert sum(row["n"] for row in result["by_type"] if row["fpr_target"] == 0.1) == 3000
    for row in result["recall"]:
        selected = [r["selected"] for r in result["by_type"] if r["fpr_target"] == row["fpr_target"]]
        assert sum(selected) == row["n_false_positives"]
    for row in result["recall"]:
        assert row["sky"]["n_cells"] == 30
        assert row["sky"]["recall_low"] <= row["recall"] + 0.1
        assert (row["tail"] is None) == row["measurable"]
    assert "a tail needs 5,000" in result["recall"][3]["tail"]["note"]
    assert validate(scores, sample, config=ValidationConfig(replicas=0))["recall"][0]["sky"] is None
    assert any("0.001, 0.0001" in sentence for sentence in result["not_shown"])


def test_the_logit_ranks_where_the_probability_is_saturated(sample):
    scores = make_scores(sample, shift=6.0)
    high = scores.assign(logit=scores["logit"] + 30)
    high["score"] = (1 / (1 + np.exp(-high["logit"].to_numpy()))).astype(np.float32)
    assert (high["score"] == 1).all()
    result = validate(high, sample)
    assert result["ranked_by"] == "logit"
    assert result["recall"][1]["recall"] > 0.9
    assert validate(high.drop(columns="logit"), sample)["recall"][1]["recall"] == 0.0


def test_order_of_rows_changes_nothing(sample, scores):
    shuffled = validate(scores.sample(frac=1, random_state=1), sample.sample(frac=1, random_state=2))
    assert shuffled == validate(scores, sample)


def test_hashes_tell_scores_and_definitions_apart(sample, scores):
    other = scores.copy()
    other.loc[0, "logit"] += 1
    assert scores_hash(other) != scores_hash(scores)
    one = validate(scores, sample)["definition_hash"]
    assert one != validate(scores, sample, "sealed")["definition_hash"]
    assert one != validate(scores, sample, config=ValidationConfig(confidence=0.9))["definition_hash"]
    assert one == validate(other, sample)["definition_hash"]


def test_unscored_lenses_count_as_missed(sample, scores):
    lenses = sample[(sample["split"] == "validation") & (sample["label"] == 1)]["source_id"]
    result = validate(scores[~scores["source_id"].isin(lenses[:6])], sample)
    assert result["counts"]["missing_lenses"] == 6
    row = result["recall"][0]
    assert row["n_lenses"] == 54
    assert row["recall_of_all"] == pytest.approx(row["n_recovered"] / 60)
    assert any(sentence.startswith("6 known lenses") for sentence in result["not_shown"])


def test_few_nan_are_counted_and_many_refused(sample, scores):
    rows = np.flatnonzero((sample["split"] == "validation") & (sample["label"] == 0))
    few = scores.copy()
    few.loc[rows[:3], "logit"] = np.nan
    assert validate(few, sample)["counts"]["nan_non_lenses"] == 3
    many = scores.copy()
    many.loc[rows[:4], "logit"] = np.inf
    with pytest.raises(InputError, match=r"4 of 3060 scores .* not finite numbers, more than 0.1%"):
        validate(many, sample)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s.drop(columns="source_id"), "no column source_id"),
        (lambda s: s.drop(columns=["logit", "score"]), r"neither a column logit nor score, only source_id; name"),
        (lambda s: pd.concat([s, s.iloc[:2]]), "2 objects are scored twice"),
        (lambda s: s.iloc[:4000], r"labeled objects of the validation split have no score, more than 20.0%"),
        (
            lambda s: s[~s["source_id"].isin([f"10000_1_{i}" for i in range(3060, 3120)])],
            r"has no lens with a score; .* both classes\. Score the whole store",
        ),
    ],
)
def test_unusable_scores_are_refused(sample, scores, spoil, message):
    with pytest.raises(InputError, match=message):
        validate(spoil(scores), sample)


def test_a_split_without_non_lenses_is_refused(sample, scores):
    lenses_only = sample[(sample["split"] != "validation") | (sample["label"] == 1)]
    with pytest.raises(InputError, match="the validation split has no non-lens with a score"):
        validate(scores, lenses_only)


def test_unknown_split_is_refused(sample, scores):
    with pytest.raises(InputError, match="no split 'test'; there are train, validation, sealed"):
        validate(scores, sample, "test")


@pytest.mark.parametrize("fprs", [(0.0,), (0.1, 0.1), (2.0,), ()])
def test_impossible_rates_are_refused(fprs):
    with pytest.raises(ValidationError):
        ValidationConfig(fprs=fprs)


def _on_disk(tmp_path, sample, scores):
    write_sample(Sample(frame=sample, summary={"hash": sample_hash(sample)}), tmp_path / "sample")
    write_parquet(tmp_path / "scan" / "scores.parquet", scores)
    return tmp_path / "scan", tmp_path / "sample"


def test_opening_the_sealed_split_writes_the_ledger_once(tmp_path, sample, scores):
    scan, folder = _on_disk(tmp_path, sample, scores)
    validate_files(scan, folder, tmp_path / "out")
    assert read_ledger(folder / "sealed-ledger.jsonl") == []  # the validation split costs nothing
    first = validate_files(scan, folder, tmp_path / "out", split="sealed")
    again = validate_files(scan, folder, tmp_path / "out", split="sealed")
    assert first == again
    lines = read_ledger(folder / "sealed-ledger.jsonl")
    assert len(lines) == 1
    assert lines[0]["scores"] == scores_hash(scores)
    assert lines[0]["sample"] == sample_hash(sample)
    assert set(lines[0]) == {"opened", "who", "sample", "scores", "reason"}
    assert json.loads((tmp_path / "out" / "validation.json").read_text()) == first


def test_other_scores_need_a_reason(tmp_path, sample, scores):
    scan, folder = _on_disk(tmp_path, sample, scores)
    validate_files(scan, folder, tmp_path / "out", split="sealed")
    write_parquet(scan / "scores.parquet", make_scores(sample, shift=4.0))
    with pytest.raises(InputError, match=r"already opened 1 time, .*--reopen"):
        validate_files(scan, folder, tmp_path / "out", split="sealed")
    result = validate_files(scan, folder, tmp_path / "out", split="sealed", reopen="a bug in the scan")
    assert result["opening"]["number"] == 2
    assert "judged 2 different sets" in result["not_shown"][-1]
    assert read_ledger(folder / "sealed-ledger.jsonl")[1]["reason"] == "a bug in the scan"


def test_refused_scores_do_not_cost_an_opening(tmp_path, sample, scores):
    scan, folder = _on_disk(tmp_path, sample, scores.iloc[:100])
    with pytest.raises(InputError, match="have no score"):
        validate_files(scan, folder, tmp_path / "out", split="sealed")
    assert not (folder / "sealed-ledger.jsonl").exists()


def test_a_broken_ledger_is_not_an_empty_one(tmp_path):
    (tmp_path / "sealed-ledger.jsonl").write_text('{"opened": "2026"}\n{"ope', encoding="utf-8")
    with pytest.raises(FileProblem, match="line 2 is not a record"):
        open_sealed(tmp_path, sample_hash="a", scores_hash="b")
