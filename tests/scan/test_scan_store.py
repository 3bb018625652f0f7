"""Scanning a store: every object once, whatever happens on the way."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit

from legacylens.cutouts.store import CutoutStore
from legacylens.cutouts.writer import write_store
from legacylens.errors import FileProblem, InputError, ProcessError
from legacylens.models.checkpoint import Checkpoint, save_checkpoint
from legacylens.models.standardize import standardize
from legacylens.models.symmetry import transform
from legacylens.scan import score as scan_store
from legacylens.scan.config import ScanConfig
from legacylens.scan.score import score_store
from legacylens.scan.scorer import Scorer, score_of_logit

FP32 = ScanConfig(block=16, batch=8, precision="fp32")


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_scores_are_the_networks(store: Path, checkpoint_path: Path, checkpoint: Checkpoint, images, tmp_path) -> None:
    result = score_store(store, checkpoint_path, tmp_path / "scan", FP32)
    table = pd.read_parquet(result.scores)
    assert table.columns.tolist() == ["source_id", "logit", "score"]
    assert table["source_id"].tolist() == CutoutStore.open(store).manifest["source_id"].tolist()
    with torch.no_grad():
        expected = checkpoint.build()(standardize(torch.from_numpy(images), checkpoint.preprocessing)).numpy()
    # float32 sums in batches of another size
    np.testing.assert_allclose(table["logit"], expected, atol=1e-5)
    np.testing.assert_allclose(table["score"], expit(table["logit"].to_numpy(dtype=np.float64)), rtol=1e-12)
    assert (result.n_cutouts, result.n_scored, result.n_failed) == (50, 50, 0)
    assert {path.name for path in (tmp_path / "scan").iterdir()} == {
        "scores.parquet",
        "failed.parquet",
        "scan.json",
        "provenance.json",
    }


def test_second_run_changes_nothing(store: Path, checkpoint_path: Path, tmp_path: Path) -> None:
    score_store(store, checkpoint_path, tmp_path / "scan", FP32)
    before = contents(tmp_path / "scan")
    again = score_store(store, checkpoint_path, tmp_path / "scan", FP32)
    assert contents(tmp_path / "scan") == before
    assert again.n_scored == 50
    assert again.minutes == 0.0


@pytest.mark.parametrize("stop_at", [1, 3, 6])
def test_interrupted_scan_goes_on_and_gives_the_same(
    store: Path, checkpoint_path: Path, tmp_path: Path, monkeypatch, stop_at: int
) -> None:
    whole = score_store(store, checkpoint_path, tmp_path / "whole", FP32)
    logits, calls = Scorer.logits, 0

    def killed(self, images):
        nonlocal calls
        calls += 1
        if calls == stop_at:
            raise KeyboardInterrupt
        return logits(self, images)

    monkeypatch.setattr(Scorer, "logits", killed)
    with pytest.raises(KeyboardInterrupt):
        score_store(store, checkpoint_path, tmp_path / "part", FP32)
    assert not (tmp_path / "part" / "scores.parquet").exists()
    calls = 100
    resumed = score_store(store, checkpoint_path, tmp_path / "part", FP32)
    assert calls - 100 == 7 - 2 * ((stop_at - 1) // 2)  # 16 + 16 + 16 + 2 cutouts in batches of 8; whole parts are kept
    assert resumed.scores.read_bytes() == whole.scores.read_bytes()


def test_killed_after_the_last_part(store: Path, checkpoint_path: Path, tmp_path: Path, monkeypatch) -> None:
    whole = score_store(store, checkpoint_path, tmp_path / "whole", FP32)
    collect = scan_store._collect

    def killed(*args):
        collect(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(scan_store, "_collect", killed)
    with pytest.raises(KeyboardInterrupt):
        score_store(store, checkpoint_path, tmp_path / "part", FP32)
    monkeypatch.setattr(scan_store, "_collect", collect)
    assert score_store(store, checkpoint_path, tmp_path / "part", FP32).scores.read_bytes() == whole.scores.read_bytes()
    assert not (tmp_path / "part" / "parts").exists()


def test_damaged_part_is_scored_again(store: Path, checkpoint_path: Path, tmp_path: Path, monkeypatch) -> None:
    collect = scan_store._collect
    monkeypatch.setattr(scan_store, "_collect", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        score_store(store, checkpoint_path, tmp_path / "scan", FP32)
    part = tmp_path / "scan" / "parts" / "part-000001.parquet"
    part.write_bytes(part.read_bytes()[:100])
    monkeypatch.setattr(scan_store, "_collect", collect)
    assert score_store(store, checkpoint_path, tmp_path / "scan", FP32).n_scored == 50


def test_other_network_store_or_configuration_is_refused(
    store: Path, checkpoint_path: Path, shielded_path: Path, images, tmp_path: Path
) -> None:
    score_store(store, checkpoint_path, tmp_path / "scan", FP32)
    before = contents(tmp_path / "scan")
    with pytest.raises(InputError, match="holds a scan with another network; give another folder"):
        score_store(store, shielded_path, tmp_path / "scan", FP32)
    with pytest.raises(InputError, match="holds a scan with another configuration"):
        score_store(store, checkpoint_path, tmp_path / "scan", FP32.model_copy(update={"block": 8}))
    write_store(tmp_path / "other", CutoutStore.open(store).manifest.iloc[:40], images[:40])
    with pytest.raises(InputError, match="holds a scan with another store"):
        score_store(tmp_path / "other", checkpoint_path, tmp_path / "scan", FP32)
    assert contents(tmp_path / "scan") == before
    assert score_store(tmp_path / "other", checkpoint_path, tmp_path / "scan", FP32, restart=True).n_scored == 40


def test_scores_of_unknown_origin_are_not_overwritten(store: Path, checkpoint_path: Path, tmp_path: Path) -> None:
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "scores.parquet").write_bytes(b"mine")
    with pytest.raises(InputError, match="scores of unknown origin"):
        score_store(store, checkpoint_path, tmp_path / "scan", FP32)


def test_broken_state_is_named(store: Path, checkpoint_path: Path, tmp_path: Path) -> None:
    score_store(store, checkpoint_path, tmp_path / "scan", FP32)
    (tmp_path / "scan" / "scan.json").write_text("{")
    with pytest.raises(FileProblem, match=r"scan.json: broken"):
        score_store(store, checkpoint_path, tmp_path / "scan", FP32)


def test_failures_are_counted_listed_and_never_scored(
    store: Path, checkpoint_path: Path, tmp_path: Path, monkeypatch
) -> None:
    read = CutoutStore.images

    def with_hole(self, indices):
        result = read(self, indices).copy()
        result[np.asarray(indices) == 7, 1, 2, 3] = np.nan
        return result

    monkeypatch.setattr(CutoutStore, "images", with_hole)
    with pytest.raises(
        ProcessError, match=r"1 of 50 cutouts have no finite score, more than the allowed share of 0\.001"
    ):
        score_store(store, checkpoint_path, tmp_path / "scan", FP32)
    assert pd.read_parquet(tmp_path / "scan" / "failed.parquet")["source_id"].tolist() == ["10_1_7"]
    assert len(pd.read_parquet(tmp_path / "scan" / "scores.parquet")) == 49
    tolerant = score_store(store, checkpoint_path, tmp_path / "tolerant", FP32.model_copy(update={"max_failed": 0.05}))
    assert (tolerant.n_scored, tolerant.n_failed) == (49, 1)


def test_damaged_shard_is_reported(store: Path, checkpoint_path: Path, tmp_path: Path) -> None:
    damaged = sorted(store.glob("shard-*"))[1] / "image.npy"
    damaged.write_bytes(damaged.read_bytes()[:-10])
    result = score_store(store, checkpoint_path, tmp_path / "scan", FP32)
    assert result.n_cutouts == 30
    assert len(result.damaged_shards) == 1
    assert "shard-000001" in result.damaged_shards[0]


def test_store_that_does_not_fit_the_network(store: Path, checkpoint: Checkpoint, tmp_path: Path) -> None:
    from legacylens.models.preprocessing import Preprocessing

    save_checkpoint(tmp_path / "big.pt", replace(checkpoint, preprocessing=Preprocessing()))
    with pytest.raises(FileProblem, match="stamps of 33 instead of 101 pixels"):
        score_store(store, tmp_path / "big.pt", tmp_path / "scan", FP32)


def test_empty_store_is_named(checkpoint_path: Path, images, tmp_path: Path) -> None:
    write_store(tmp_path / "empty", pd.DataFrame({"source_id": pd.Series(dtype=str)}), images[:0])
    with pytest.raises(FileProblem, match="holds no cutout"):
        score_store(tmp_path / "empty", checkpoint_path, tmp_path / "scan", FP32)


def test_averaging_over_symmetries_makes_any_network_symmetric(shielded_path: Path, images) -> None:
    scorer = Scorer(shielded_path, ScanConfig(precision="fp32", symmetries=True))
    plain = Scorer(shielded_path, ScanConfig(precision="fp32", symmetries=False))
    turned = transform(torch.from_numpy(images[:4]), 5).numpy()
    np.testing.assert_allclose(scorer.logits(turned), scorer.logits(images[:4]), atol=2e-6)  # float32 at 0.2
    assert np.abs(plain.logits(turned) - plain.logits(images[:4])).max() > 1e-4


def test_a_symmetric_network_is_run_once(checkpoint_path: Path) -> None:
    assert not Scorer(checkpoint_path, ScanConfig(symmetries=True)).symmetries


def test_logits_do_not_depend_on_the_batch(checkpoint_path: Path, images) -> None:
    small, large = (Scorer(checkpoint_path, ScanConfig(batch=batch, precision="fp32")) for batch in (3, 50))
    np.testing.assert_allclose(small.logits(images), large.logits(images), atol=1e-5)  # float32
    assert small.logits(images[:0]).shape == (0,)


def test_score_of_logit_does_not_overflow() -> None:
    logits = np.array([-1e4, -30.0, 0.0, 30.0, 1e4])
    scores = score_of_logit(logits)
    assert scores[2] == 0.5
    assert (np.diff(scores) >= 0).all()
    assert scores[0] == 0.0
    assert scores[-1] == 1.0
    np.testing.assert_allclose(scores[1:4], expit(logits[1:4]), rtol=1e-14)
