"""Scoring cutouts in memory: the network's bands, stamp and pixels, or a clear refusal."""

from pathlib import Path

import numpy as np
import pytest

from legacylens.cutouts.cutout import Cutout
from legacylens.errors import FileProblem
from legacylens.scan.config import ScanConfig
from legacylens.scan.cutouts import COLUMNS, score_cutouts
from legacylens.scan.scorer import Scorer

FP32 = ScanConfig(precision="fp32")


def cutout(image: np.ndarray, bands: tuple[str, ...] = ("g", "r", "z"), **changes: object) -> Cutout:
    values = {"source_id": "a", "ra": 10.0, "dec": 0.0, "bands": bands, "image": image, "origin": "a.fits", **changes}
    return Cutout(**values)


def test_scores_and_columns(checkpoint_path: Path, images) -> None:
    cutouts = [cutout(image, source_id=str(row), notes=("padded", "mended")) for row, image in enumerate(images[:5])]
    table = score_cutouts(cutouts, checkpoint_path, FP32)
    assert table.columns.tolist() == list(COLUMNS)
    assert table["source_id"].tolist() == list("01234")
    assert table["notes"].iloc[0] == "padded; mended"
    np.testing.assert_allclose(table["logit"], Scorer(checkpoint_path, FP32).logits(images[:5]), atol=1e-6)  # float32


def test_bands_that_the_network_does_not_know_are_left_out(checkpoint_path: Path, images) -> None:
    three = score_cutouts([cutout(images[0])], checkpoint_path, FP32)
    extra = np.concatenate([images[0, :2], images[1, :1], images[0, 2:]])
    four = score_cutouts([cutout(extra, ("g", "r", "i", "z"))], checkpoint_path, FP32)
    assert four["logit"].iloc[0] == three["logit"].iloc[0]


def test_no_cutouts_no_scores(checkpoint_path: Path) -> None:
    assert len(score_cutouts([], checkpoint_path, FP32)) == 0


def test_what_the_network_was_not_trained_on_is_refused(checkpoint_path: Path, images) -> None:
    with pytest.raises(FileProblem, match=r"a\.fits: .*bands g,r instead of g,r,z"):
        score_cutouts([cutout(images[0, :2], ("g", "r"))], checkpoint_path, FP32)
    with pytest.raises(FileProblem, match=r'a\.fits: .*pixels of 0\.168" instead of 0\.262"'):
        score_cutouts([cutout(images[0], pixscale=0.168)], checkpoint_path, FP32)
    with pytest.raises(FileProblem, match=r"a\.fits: .*stamps of 31 instead of 33"):
        score_cutouts([cutout(images[0, :, 1:-1, 1:-1])], checkpoint_path, FP32)
    with pytest.raises(FileProblem, match=r"the stamp has 33 x 31 pixels, the network takes a square"):
        score_cutouts([cutout(images[0, :, :, 1:-1])], checkpoint_path, FP32)
