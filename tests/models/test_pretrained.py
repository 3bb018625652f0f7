"""Weights from elsewhere: by name, with a report, and never silently from another network."""

from pathlib import Path

import pytest
import torch

from legacylens.errors import FileProblem
from legacylens.models.checkpoint import Checkpoint, save_checkpoint
from legacylens.models.preprocessing import Preprocessing
from legacylens.models.pretrained import load_pretrained
from legacylens.models.registry import build_network


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"state_dict": {f"module.encoder.{k}": v for k, v in s.items()}}]
)
def test_takes_over_what_has_the_same_name_and_shape(tmp_path: Path, wrap) -> None:
    donor = build_network("compact", seed=1)
    state = {name: value for name, value in donor.state_dict().items() if name != "head.bias"}
    state["head.weight"] = torch.zeros(1000, 16)  # another number of classes
    state["classifier.extra"] = torch.zeros(3)
    torch.save(wrap(state), tmp_path / "weights.pt")
    network = build_network("compact", seed=2)
    head = network.head.weight.clone()
    report = load_pretrained(network, tmp_path / "weights.pt")
    assert report.missing == ("head.bias",)
    assert report.reshaped == ("head.weight",)
    assert report.unused == ("classifier.extra",)
    assert report.share == pytest.approx(1 - 17 / 52_080)
    assert report.sentence().endswith("taken over, 1 missing, 1 of another shape, 1 unused")
    assert torch.equal(network.stem.weight, donor.stem.weight)
    assert torch.equal(network.head.weight, head)


def test_names_of_the_efficientnet_are_those_of_timm() -> None:
    """A sample of timm's names of tf_efficientnetv2_s, one from each kind of block."""
    names = build_network("efficientnet").state_dict().keys()
    for name in (
        "conv_stem.weight",
        "bn1.running_mean",
        "blocks.0.1.conv.weight",
        "blocks.0.1.bn1.weight",
        "blocks.1.0.conv_exp.weight",
        "blocks.2.3.conv_pwl.weight",
        "blocks.3.0.conv_pw.weight",
        "blocks.3.5.conv_dw.weight",
        "blocks.4.8.se.conv_reduce.bias",
        "blocks.5.14.se.conv_expand.weight",
        "blocks.5.14.bn3.bias",
        "conv_head.weight",
        "bn2.weight",
    ):
        assert name in names
    shapes = {name: tuple(value.shape) for name, value in build_network("efficientnet").state_dict().items()}
    assert shapes["blocks.3.0.se.conv_reduce.weight"] == (16, 256, 1, 1)
    assert shapes["blocks.4.0.conv_pw.weight"] == (768, 128, 1, 1)


def test_another_network_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    torch.save(build_network("shielded").state_dict(), tmp_path / "weights.pt")
    network = build_network("compact", seed=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(FileProblem, match=r"weights of another network: .*the file has .*the network "):
        load_pretrained(network, tmp_path / "weights.pt")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Preprocessing(bands=("g", "r", "i"), noise=(0.1, 0.1, 0.1)), r"bands \['g', 'r', 'i'\] instead of"),
        (Preprocessing(stamp=65), "stamp 65 instead of 101"),
        (Preprocessing(stretch="clip"), "stretch clip instead of asinh"),
    ],
)
def test_a_checkpoint_of_other_pixels_is_refused(tmp_path: Path, other: Preprocessing, words: str) -> None:
    donor = build_network("compact", seed=1)
    save_checkpoint(
        tmp_path / "best.pt",
        Checkpoint(network="compact", state=donor.state_dict(), preprocessing=other, sample_hash=""),
    )
    network = build_network("compact", seed=2)
    with pytest.raises(FileProblem, match=rf"trained on other pixels: .*{words}.*Train with the same preprocessing"):
        load_pretrained(network, tmp_path / "best.pt", preprocessing=Preprocessing())
    assert load_pretrained(network, tmp_path / "best.pt", preprocessing=other).share == 1.0


def test_what_is_no_file_of_weights_is_named(tmp_path: Path) -> None:
    network = build_network("compact")
    with pytest.raises(FileProblem, match="no such file of weights"):
        load_pretrained(network, tmp_path / "nowhere.pt")
    (tmp_path / "text.pt").write_text("no")
    with pytest.raises(FileProblem, match="not a readable file of weights"):
        load_pretrained(network, tmp_path / "text.pt")
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    with pytest.raises(FileProblem, match="holds no state dict"):
        load_pretrained(network, tmp_path / "empty.pt")
