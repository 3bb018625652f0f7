"""Saliency: a network that looks at one place is seen to look there."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from legacylens.cli.main import app
from legacylens.cutouts.writer import write_store
from legacylens.errors import InputError
from legacylens.models.checkpoint import Checkpoint, save_checkpoint
from legacylens.models.preprocessing import Preprocessing
from legacylens.models.registry import build_network
from legacylens.plots.validation_saliency import saliency_figure
from legacylens.validation.saliency import occlusion_saliency

SIZE = 41


@pytest.fixture(scope="module")
def picture():
    rng = np.random.default_rng(1)
    offset = np.arange(SIZE) - SIZE // 2
    galaxy = np.exp(-np.hypot(offset[:, None], offset[None, :]) / 3)
    image = galaxy + 0.001 * rng.normal(size=(3, SIZE, SIZE))
    image[:, 8:11, 28:31] += 0.2  # a knot, 12 pixels below and 9 to the right of the center
    return image.astype(np.float32)


def test_the_map_points_to_what_the_score_comes_from(picture) -> None:
    def logits(images):
        return 10.0 * images[:, :, 8:11, 28:31].sum(axis=(1, 2, 3))

    found = occlusion_saliency(logits, picture, np.random.default_rng(2), patch=5, step=1)
    y, x = np.unravel_index(np.argmax(found.fall), found.fall.shape)
    assert (y, x) == (9, 29)
    # Away from the knot by more than a patch nothing matters, and all of the knot's light is lost at its middle.
    far = np.hypot(*(np.indices(found.fall.shape) - np.array([9, 29])[:, None, None])) > 9
    assert np.abs(found.fall[far]).max() == 0.0
    assert found.fall.max() == pytest.approx(10 * 3 * 9 * 0.2, rel=0.35)
    assert found.share_within(2.0, 6.0, 0.262) > 0.99
    assert found.logit == pytest.approx(float(logits(picture[None])[0]))
    blind = occlusion_saliency(lambda images: np.ones(len(images)), picture, np.random.default_rng(2))
    assert blind.share_within(0.0, 99.0, 0.262) == 0.0


def test_what_cannot_be_drawn_is_refused(picture) -> None:
    rng = np.random.default_rng(1)
    with pytest.raises(InputError, match="do not cover a picture of 41"):
        occlusion_saliency(lambda x: x.sum((1, 2, 3)), picture, rng, patch=50)
    with pytest.raises(InputError, match="no finite score"):
        occlusion_saliency(lambda x: np.full(len(x), np.nan), picture, rng)
    with pytest.raises(InputError, match="0 pictures and 0 maps"):
        saliency_figure([], [])


def test_the_verb_draws_chosen_objects(tmp_path, picture) -> None:
    small = picture[None, :, 4:37, 4:37] * 0.05
    write_store(tmp_path / "store", pd.DataFrame({"source_id": ["1_1_1"], "ra": [10.0], "dec": [0.0]}), small)
    checkpoint = Checkpoint(
        network="compact", state=build_network("compact", seed=1).state_dict(),
        preprocessing=Preprocessing(stamp=33), sample_hash="x",
    )  # fmt: skip
    save_checkpoint(tmp_path / "best.pt", checkpoint)
    out = tmp_path / "map.png"
    arguments = ["validate", "saliency", str(tmp_path / "best.pt"), str(tmp_path / "store"), "1_1_1"]
    answer = CliRunner().invoke(app, [*arguments, "--out", str(out), "--step", "8", "--json"])
    assert answer.exit_code == 0, answer.output
    (row,) = json.loads(answer.stdout)["objects"]
    assert row["source_id"] == "1_1_1"
    assert out.read_bytes().startswith(b"\x89PNG")
