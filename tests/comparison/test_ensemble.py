"""The verb ``ensemble``: scores of several networks into one, with a stack that never sees its own labels."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from scipy.stats import spearmanr
from typer.testing import CliRunner

from legacylens.cli.ensemble import ensemble
from legacylens.comparison.ensemble import combine
from legacylens.errors import FileProblem, InputError
from legacylens.samples.build import COLUMNS, Sample, sample_hash, write_sample
from legacylens.validation.recall import recall_at_fpr

N = 5000


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scans by two good networks with errors of their own and one that knows nothing but shouts."""
    folder = tmp_path_factory.mktemp("ensemble")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: [""] * N for name in COLUMNS})
    frame["source_id"] = [f"10_1_{row}" for row in range(N)]
    frame["label"] = (np.arange(N) % 10 == 0).astype(int)
    frame["cell"] = rng.integers(60, size=N)
    frame["split"] = np.array(["train", "validation", "sealed"])[frame["cell"] % 3]
    write_sample(Sample(frame=frame, summary={"hash": sample_hash(frame)}), folder / "sample")
    truth = 2.0 * frame["label"].to_numpy()
    for name, logits in {
        "first": truth + rng.normal(size=N),
        "second": 3.0 * (truth + rng.normal(size=N)),
        "loud": 30.0 * rng.normal(size=N),
    }.items():
        (folder / name).mkdir()
        pd.DataFrame({"source_id": frame["source_id"], "logit": logits}).to_parquet(folder / name / "scores.parquet")
    (folder / "first" / "scan.json").write_text(json.dumps({"identity": {"checkpoint_hash": "abc"}}))
    return folder


def recall(folder: Path, sky: Path, split: str) -> float:
    """Return the recall at a rate of 0.05 of what was written, on a split."""
    table = pd.read_parquet(folder / "scores.parquet")
    rows = pd.read_parquet(sky / "sample" / "sample.parquet").merge(table, on="source_id")
    rows = rows[rows["split"] == split]
    return recall_at_fpr(rows.loc[rows["label"] == 1, "logit"], rows.loc[rows["label"] == 0, "logit"], (0.05,))[
        0
    ].recall


def test_two_networks_find_more_than_one(sky: Path, tmp_path: Path) -> None:
    result = combine([sky / "first", sky / "second"], tmp_path, how="mean", sample=sky / "sample", fpr=0.05)
    found = {row["scores"]: row["recall"] for row in result["validation"]}
    assert set(found) == {"first", "second", "mean", "rank"}
    assert found["rank"] > max(found["first"], found["second"]) + 0.05
    assert result["members"][0] == {"name": "first", "checkpoint_hash": "abc"}
    table = pd.read_parquet(tmp_path / "scores.parquet")
    first, second = (pd.read_parquet(sky / name / "scores.parquet")["logit"] for name in ("first", "second"))
    np.testing.assert_allclose(table["logit"], (first + second) / 2.0)
    np.testing.assert_allclose(table["score"], 1.0 / (1.0 + np.exp(-table["logit"])))
    assert list(table.columns) == ["source_id", "logit", "score"]
    assert (tmp_path / "provenance.json").exists()


def test_a_stack_learns_whom_to_trust_from_the_validation_split_alone(sky: Path, tmp_path: Path) -> None:
    scans = [sky / name for name in ("first", "second", "loud")]
    result = combine(scans, tmp_path / "stack", how="stack", sample=sky / "sample", fpr=0.05, folds=3)
    combine(scans, tmp_path / "mean", how="mean")
    assert result["parameters"] == 3 * 300 + 300 + 300 + 1
    assert recall(tmp_path / "stack", sky, "sealed") > recall(tmp_path / "mean", sky, "sealed") + 0.3
    # the recall that is shown is not flattered by the fit: a split that had no part in it has the same
    shown = next(row["recall"] for row in result["validation"] if row["scores"] == "stack")
    assert shown == pytest.approx(recall(tmp_path / "stack", sky, "sealed"), abs=0.11)  # 170 lenses: 0.03 each
    # other labels outside of the validation split change nothing
    frame = pd.read_parquet(sky / "sample" / "sample.parquet")
    elsewhere = frame["split"] != "validation"
    frame.loc[elsewhere, "label"] = 1 - frame.loc[elsewhere, "label"]
    write_sample(Sample(frame=frame, summary={"hash": sample_hash(frame)}), tmp_path / "other")
    combine(scans, tmp_path / "again", how="stack", sample=tmp_path / "other", fpr=0.05, folds=3)
    first, second = (pd.read_parquet(tmp_path / name / "scores.parquet") for name in ("stack", "again"))
    pd.testing.assert_frame_equal(first, second)


def test_ranks_do_not_care_who_shouts(sky: Path, tmp_path: Path) -> None:
    combine([sky / "first", sky / "second"], tmp_path / "a", how="rank")
    louder = pd.read_parquet(sky / "second" / "scores.parquet")
    louder["logit"] = np.sinh(louder["logit"])
    louder.sample(frac=1.0, random_state=1).to_parquet(tmp_path / "louder.parquet")  # in another order, too
    result = combine([sky / "first", tmp_path / "louder.parquet"], tmp_path / "b", how="rank")
    assert [member["name"] for member in result["members"]] == ["first", "louder"]
    a, b = (pd.read_parquet(tmp_path / name / "scores.parquet").set_index("source_id")["logit"] for name in ("a", "b"))
    assert spearmanr(a, b.loc[a.index]).statistic == pytest.approx(1.0)
    assert np.isfinite(a).all()


def test_objects_that_one_scan_lacks_are_counted(sky: Path, tmp_path: Path) -> None:
    part = pd.read_parquet(sky / "second" / "scores.parquet").iloc[5:]
    part.to_parquet(tmp_path / "part.parquet")
    result = combine([sky / "first", tmp_path / "part.parquet"], tmp_path / "out")
    assert (result["objects"], result["left_out"]) == (N - 5, 5)
    assert set(pd.read_parquet(tmp_path / "out" / "failed.parquet")["source_id"]) == {f"10_1_{row}" for row in range(5)}


def test_refusals(sky: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="an ensemble has at least two networks"):
        combine([sky / "first"], tmp_path)
    with pytest.raises(InputError, match="a stack learns from the validation split: give the sample"):
        combine([sky / "first", sky / "second"], tmp_path, how="stack")
    table = pd.read_parquet(sky / "first" / "scores.parquet")
    pd.concat([table, table]).to_parquet(tmp_path / "twice.parquet")
    with pytest.raises(FileProblem, match="an object comes twice"):
        combine([sky / "first", tmp_path / "twice.parquet"], tmp_path)
    table.rename(columns={"logit": "p"}).to_parquet(tmp_path / "named.parquet")
    with pytest.raises(FileProblem, match="no columns source_id and logit"):
        combine([sky / "first", tmp_path / "named.parquet"], tmp_path)
    table.assign(source_id=lambda t: "x" + t["source_id"]).to_parquet(tmp_path / "others.parquet")
    with pytest.raises(InputError, match="no object in common"):
        combine([sky / "first", tmp_path / "others.parquet"], tmp_path)
    table[table["source_id"].str.endswith("0")].to_parquet(tmp_path / "lenses.parquet")
    with pytest.raises(InputError, match="0 non-lenses of the validation split; both classes are needed"):
        combine([sky / "first", tmp_path / "lenses.parquet"], tmp_path, sample=sky / "sample")


def test_the_verb_shows_what_each_is_worth(sky: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(ensemble)
    arguments = [str(sky / "first"), str(sky / "second"), "--sample", str(sky / "sample"), "--out", str(tmp_path)]
    readable = CliRunner().invoke(app, [*arguments, "--how", "rank", "--fpr", "0.05"])
    assert readable.exit_code == 0, readable.output
    assert "5,000 objects with the rank of 2 networks" in " ".join(readable.stdout.split())
    document = json.loads(CliRunner().invoke(app, [*arguments, "--how", "stack", "--folds", "2", "--json"]).stdout)
    assert document["parameters"] == 1201
    assert CliRunner().invoke(app, [*arguments, "--how", "vote"]).exit_code == 2
