"""The networks: their published sizes, their symmetry, and that each can learn."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from legacylens.errors import InputError
from legacylens.models.bottleneck import Bottleneck
from legacylens.models.compact import CompactNet, left_division_table
from legacylens.models.deeplens import DeepLens
from legacylens.models.efficientnet import EfficientNetV2S, SameConv2d
from legacylens.models.meta import MetaLearner
from legacylens.models.registry import NETWORKS, build_network, count_parameters, listing, network_spec
from legacylens.models.shielded import ShieldedResNet
from legacylens.models.symmetry import ORDER, transform


@pytest.mark.parametrize("name", NETWORKS)
def test_parameter_count(name: str) -> None:
    assert count_parameters(build_network(name)) == NETWORKS[name].parameters


def test_published_parameter_counts() -> None:
    """The numbers of the papers, written out once more and not taken from the registry."""
    published = {row["name"]: row["parameters"] for row in listing()}
    assert published["shielded"] == 194_433  # Inchausti et al. 2025, table 6
    assert published["efficientnet-published"] == 20_542_883  # Inchausti et al. 2025, table 6
    assert published["deeplens"] == 3_511_681  # the authors' code of Lanusse et al. 2018 with three channels
    assert published["meta-learner"] == 1_201  # 2 -> 300 -> 1


def test_efficientnet_backbone_has_the_size_of_every_other_implementation() -> None:
    network = EfficientNetV2S()
    assert count_parameters(network) - count_parameters(network.head) == 20_177_488  # timm, torchvision, Keras


@pytest.mark.parametrize(("size", "stride"), [(101, 2), (100, 2), (13, 1), (26, 2)])
def test_same_padding_rounds_the_size_up_and_puts_the_odd_pixel_last(size: int, stride: int) -> None:
    layer = SameConv2d(1, 1, 3, stride=stride, bias=False)
    torch.nn.init.ones_(layer.weight)
    with torch.no_grad():
        out = layer(torch.ones(1, 1, size, size))[0, 0]
    assert out.shape == (-(-size // stride),) * 2
    even_and_strided = stride == 2 and size % 2 == 0
    assert out[0, 0] == (9 if even_and_strided else 4)  # all nine weights see data where nothing is padded before
    assert out[-1, -1] == 4


def test_deeplens_has_the_parts_of_the_reference() -> None:
    network = DeepLens()
    assert count_parameters(network.stem) == 4_768
    assert [count_parameters(part) for part in network.groups] == [10_400, 41_920, 165_760, 659_200, 2_629_120]


def test_shielded_has_the_published_number_and_the_parts_of_the_reconstruction() -> None:
    network = ShieldedResNet()
    assert count_parameters(network) == 194_433
    assert count_parameters(network.stem) == 4_800
    groups = [count_parameters(part) for part in network.groups]
    assert groups == [11_552, 1_088] + [42_112, 2_112] * 4
    assert count_parameters(network.normalize) + count_parameters(network.head) == 97


def test_shielded_halves_four_times_and_ends_with_32_channels() -> None:
    network = ShieldedResNet().eval()
    with torch.no_grad():
        maps = network.groups(network.stem(torch.zeros(1, 3, 101, 101)))
    assert maps.shape == (1, 32, 7, 7)


def test_bottleneck_shortcut_is_the_raw_input_unless_projected() -> None:
    block = Bottleneck(8, 4, 8).eval()
    torch.nn.init.zeros_(block.expand.weight)
    torch.nn.init.zeros_(block.expand.bias)
    x = torch.randn(2, 8, 5, 5, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(block(x), x)


@pytest.mark.parametrize("name", NETWORKS)
def test_one_logit_per_object_and_features(name: str) -> None:
    network = build_network(name).eval()
    x = torch.randn(2, 3, 65, 65, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        features = network.features(x)
        logits = network(x)
        assert logits.shape == (2,)
        torch.testing.assert_close(network.head(features).squeeze(1), logits)


@pytest.mark.parametrize("name", ["compact", "shielded"])
def test_same_seed_same_weights_and_the_global_generator_is_left_alone(name: str) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second, other = (build_network(name, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_division_table_is_a_latin_square() -> None:
    table = left_division_table()
    every = torch.arange(ORDER)
    assert torch.equal(table.sort(dim=0).values, every[:, None].expand(ORDER, ORDER))
    assert torch.equal(table.sort(dim=1).values, every.expand(ORDER, ORDER))
    assert torch.equal(table[0], every)  # the identity comes first


@pytest.mark.parametrize("element", range(ORDER))
def test_compact_is_invariant_under_the_symmetries_of_the_square(element: int) -> None:
    network = CompactNet()
    x = torch.randn(3, 3, 101, 101, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        network(x)  # batch statistics other than 0 and 1
        network.eval()
        # float32 rounding of sums in another order; a network without the symmetry differs by 0.1 and more.
        torch.testing.assert_close(network(transform(x, element)), network(x), atol=2e-5, rtol=0.0)


def test_a_network_without_the_symmetry_is_not_invariant() -> None:
    """The positive control of the test above."""
    network = ShieldedResNet()
    x = torch.randn(3, 3, 101, 101, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        assert (network(transform(x, 1)) - network(x)).abs().max() > 1e-3


def test_compact_sees_handedness_free_structure_only() -> None:
    """Gradients reach every filter, so no orientation is cut off."""
    network = CompactNet()
    network(torch.randn(2, 3, 101, 101, generator=torch.Generator().manual_seed(4))).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_one_batch_is_overfitted(name: str) -> None:
    network = build_network(name, seed=3).train()
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(6, 3, 65, 65, generator=generator)
    y = (torch.arange(6) % 2).float()
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3 if NETWORKS[name].parameters < 1e6 else 1e-3)
    loss = torch.tensor(1.0)
    for _ in range(200):
        loss = binary_cross_entropy_with_logits(network(x), y)
        if loss.item() < 0.01:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.01


def test_the_meta_learner_overfits_a_batch_too() -> None:
    torch.manual_seed(0)
    meta = MetaLearner()
    x, y = torch.randn(6, 2), (torch.arange(6) % 2).float()
    optimizer = torch.optim.AdamW(meta.parameters(), lr=1e-2)
    for _ in range(600):
        loss = binary_cross_entropy_with_logits(meta(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.01


def test_unknown_network_is_named_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="no network is called 'resnet'; choose one of compact, shielded, deeplens"):
        network_spec("resnet")
