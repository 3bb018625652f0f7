"""The parts of the training: configuration, selection, sampling, augmentation, learning rate, running mean."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.metrics import roc_auc_score, roc_curve

from legacylens.errors import InputError
from legacylens.mocks.noise import LAGS, correlate
from legacylens.models.preprocessing import Preprocessing
from legacylens.training.augment import add_noise, augment, blur, change_flux, crop, erase, mix, rotate, shift, turn
from legacylens.training.config import Augmentation, TrainConfig
from legacylens.training.metrics import Selection, selection_of, standard_error
from legacylens.training.noise import correlate as correlate_batch
from legacylens.training.optimize import RunningMean, learning_rate_factor, make_optimizer
from legacylens.training.sampling import epoch_batches, stream_seed

NOISE = (0.002, 0.003, 0.008)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- configuration


def test_configuration_refuses_a_batch_of_one_class() -> None:
    with pytest.raises(ValidationError, match="has 0 lenses in a batch"):
        TrainConfig(batch=4, positive_share=0.1)
    with pytest.raises(ValidationError, match="Extra inputs"):
        TrainConfig(learning_rat=0.1)


# --- selection


@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 300), st.floats(0.001, 0.5))
@settings(deadline=None, max_examples=60)
def test_recall_is_that_of_the_roc_curve(seed: int, n_lenses: int, n_others: int, fpr: float) -> None:
    rng = np.random.default_rng(seed)
    lenses, others = rng.normal(1.0, 1.0, n_lenses), rng.normal(0.0, 1.0, n_others)
    rates, recalls, _ = roc_curve(
        np.r_[np.ones(n_lenses), np.zeros(n_others)], np.r_[lenses, others], drop_intermediate=False
    )
    merit = selection_of(lenses, others, fpr)
    assert merit.recall == pytest.approx(recalls[rates <= fpr + 1e-12].max(), abs=1e-12)
    assert 0.0 <= merit.partial <= 1.0


def test_partial_is_the_auc_if_all_false_positives_are_allowed() -> None:
    rng = np.random.default_rng(1)
    lenses, others = rng.normal(1.0, 1.0, 30), rng.normal(0.0, 1.0, 50)
    auc = roc_auc_score(np.r_[np.ones(30), np.zeros(50)], np.r_[lenses, others])
    assert selection_of(lenses, others, 0.5).partial == pytest.approx(auc, abs=1e-12)


def test_equal_scores_are_no_detection() -> None:
    """A network that gives every object the same score finds nothing."""
    assert selection_of(np.zeros(5), np.zeros(100), 0.01).recall == 0.0


def test_ties_in_recall_are_broken_by_the_partial_mean() -> None:
    assert Selection(recall=0.5, partial=0.4) > Selection(recall=0.5, partial=0.3)
    assert Selection(recall=0.6, partial=0.0) > Selection(recall=0.5, partial=0.9)


def test_standard_error_is_never_zero_and_falls_with_the_number() -> None:
    assert standard_error(1.0, 8) > 0.05
    assert standard_error(0.5, 10_000) == pytest.approx(0.005, rel=0.01)


@pytest.mark.parametrize(
    ("lenses", "others", "message"),
    [([], [1.0], "needs both classes"), ([1.0], [], "needs both classes"), ([math.nan], [1.0], "not finite")],
)
def test_selection_refuses_what_has_no_recall(lenses: list, others: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        selection_of(lenses, others, 0.01)


# --- order of an epoch


@given(st.integers(1, 60), st.integers(1, 300), st.integers(4, 40), st.data())
@settings(deadline=None, max_examples=60)
def test_every_non_lens_is_shown_and_lenses_are_balanced(n_lenses: int, n_others: int, batch: int, data) -> None:
    per_batch = data.draw(st.integers(1, batch - 1))
    labels = np.random.default_rng(0).permutation(np.r_[np.ones(n_lenses), np.zeros(n_others)])
    batches = epoch_batches(labels, batch=batch, lenses_per_batch=per_batch, rng=np.random.default_rng(1))
    assert all(len(rows) == batch and (labels[rows] == 1).sum() == per_batch for rows in batches)
    shown = np.bincount(np.concatenate(batches), minlength=len(labels))
    assert (shown[labels == 0] >= 1).all()
    lens_counts = shown[labels == 1]
    assert lens_counts.max() - lens_counts.min() <= 1
    assert len(batches) == math.ceil(n_others / (batch - per_batch))


def test_two_epochs_differ_and_a_seed_repeats() -> None:
    labels = np.r_[np.ones(10), np.zeros(90)]
    orders = [
        np.concatenate(
            epoch_batches(labels, batch=10, lenses_per_batch=2, rng=np.random.default_rng(stream_seed(3, epoch, 0)))
        )
        for epoch in (0, 1, 0)
    ]
    assert not np.array_equal(orders[0], orders[1])
    assert np.array_equal(orders[0], orders[2])


def test_streams_are_distinct() -> None:
    seeds = {stream_seed(seed, epoch, purpose) for seed in range(5) for epoch in range(50) for purpose in range(3)}
    assert len(seeds) == 5 * 50 * 3


# --- augmentation


def images(n: int = 8, size: int = 21) -> torch.Tensor:
    return torch.randn(n, 3, size, size, generator=generator(5))


def test_turn_permutes_pixels_and_uses_all_symmetries() -> None:
    x = images(1).expand(200, -1, -1, -1)
    turned = turn(x, generator=generator(1))
    torch.testing.assert_close(turned.flatten(2).sort(dim=2).values, x.flatten(2).sort(dim=2).values)
    assert len({tuple(image.flatten()[:5].tolist()) for image in turned}) == 8


def test_whole_pixel_shift_moves_and_keeps_the_noise() -> None:
    x = torch.zeros(300, 1, 21, 21)
    x[:, :, 10, 10] = 1.0
    shifted = shift(x, most=2, subpixel=0.0, generator=generator(2))
    assert set(shifted.unique().tolist()) == {0.0, 1.0}
    places = {tuple(place) for place in torch.nonzero(shifted[:, 0])[:, 1:].tolist()}
    assert places == {(row, column) for row in range(8, 13) for column in range(8, 13)}


def test_subpixel_shift_conserves_flux_and_moves_the_centroid() -> None:
    x = torch.zeros(200, 1, 21, 21)
    x[:, :, 10, 10] = 1.0
    shifted = shift(x, most=2, subpixel=1.0, generator=generator(3))
    torch.testing.assert_close(shifted.sum(dim=(1, 2, 3)), torch.ones(200), atol=1e-5, rtol=0.0)
    centroid = (shifted.sum(dim=(1, 3)) * torch.arange(21)).sum(dim=1) - 10
    assert centroid.abs().max() <= 2.0 + 1e-5
    assert centroid.std() > 1.0  # uniform in +-2: 1.15
    assert centroid.mean().abs() < 0.25  # three standard errors


def test_shift_mirrors_at_the_edge() -> None:
    x = images(50)
    shifted = shift(x, most=3, subpixel=0.5, generator=generator(4))
    assert shifted.shape == x.shape
    assert torch.isfinite(shifted).all()
    assert shifted.abs().max() <= x.abs().max()


def test_flux_change_is_one_factor_for_each_band() -> None:
    x = images(500)
    ratio = change_flux(x, brightness=0.1, color=0.02, generator=generator(6)) / x
    mag = -2.5 * torch.log10(ratio[:, :, 0, 0])
    torch.testing.assert_close(ratio, ratio[:, :, :1, :1].expand_as(ratio), atol=1e-3, rtol=1e-3)
    assert mag.mean(dim=1).std() == pytest.approx(0.1, rel=0.15)  # 500 draws: 3 %, and the color's share
    assert (mag[:, 0] - mag[:, 2]).std() == pytest.approx(0.02 * math.sqrt(2), rel=0.15)


def test_noise_has_the_stated_strength_and_no_structure() -> None:
    x = torch.zeros(400, 3, 33, 33)
    noisy = add_noise(x, most=0.5, scale=NOISE, generator=generator(7))
    strength = noisy.std(dim=(2, 3)) / torch.tensor(NOISE)
    assert strength.max() < 0.55
    assert strength.mean() == pytest.approx(0.25, abs=0.03)
    neighbors = (noisy[..., 1:] * noisy[..., :-1]).mean() / noisy.square().mean()
    assert abs(neighbors) < 0.01


def test_correlated_noise_has_the_lags_of_the_survey_and_keeps_its_strength() -> None:
    x = torch.zeros(300, 3, 33, 33)
    noisy = add_noise(x, most=1.0, scale=NOISE, correlated=True, generator=generator(7))
    strength = noisy.std(dim=(2, 3)) / torch.tensor(NOISE)
    assert strength.mean() == pytest.approx(0.5, abs=0.05)
    variance = noisy.square().mean()
    found = [float((noisy[..., k:] * noisy[..., : 33 - k]).mean() / variance) for k in (1, 2, 3)]
    assert found == pytest.approx(LAGS[1:], abs=0.01)  # a million pixels
    white = np.random.default_rng(3).normal(size=(33, 33)).astype(np.float32)
    batched = correlate_batch(torch.from_numpy(white)[None, None])[0, 0].numpy()
    np.testing.assert_allclose(batched, correlate(white), atol=1e-5)  # the second implementation


def test_reddening_follows_the_coefficients_of_the_survey() -> None:
    x = torch.ones(500, 3, 2, 2)
    changed = change_flux(x, brightness=0.0, color=0.0, extinction=0.1, bands=("g", "r", "z"), generator=generator(6))
    mag = -2.5 * torch.log10(changed[:, :, 0, 0])
    torch.testing.assert_close(mag[:, 0] / mag[:, 2], torch.full((500,), 3.214 / 1.211), atol=1e-2, rtol=1e-2)
    assert mag[:, 0].std() == pytest.approx(0.3214, rel=0.1)  # 500 draws: 3 %


def test_quarter_turns_by_rotation_are_exact() -> None:
    x = images(200, 21)
    turned = rotate(x, share=1.0, step=90.0, zoom=0.0, generator=generator(1))
    kinds = [(turned - torch.rot90(x, k, (-2, -1))).abs().amax(dim=(1, 2, 3)) for k in range(4)]
    best = torch.stack(kinds).min(dim=0)
    assert best.values.max() < 1e-4  # float32 coordinates
    assert best.indices.unique().tolist() == [0, 1, 2, 3]


def test_rotation_by_steps_has_the_angles_of_the_steps() -> None:
    """A bar, turned by multiples of 15 degrees: its position angle says by which."""
    offset = torch.arange(41) - 20.0
    bar = torch.exp(-0.5 * (offset[:, None] ** 2 / 2.0 + offset[None, :] ** 2 / 60.0)).expand(300, 1, 41, 41)
    turned = rotate(bar, share=1.0, step=15.0, zoom=0.0, generator=generator(3))[:, 0]
    y, x = offset[:, None], offset[None, :]
    xx, yy, xy = ((turned * m).sum((1, 2)) for m in (x * x, y * y, x * y))
    angle = torch.rad2deg(0.5 * torch.atan2(2.0 * xy, xx - yy))
    steps = angle / 15.0
    assert (steps - steps.round()).abs().max() < 0.1
    assert len((steps.round() % 12).unique()) == 12
    free = rotate(bar, share=1.0, step=0.0, zoom=0.0, generator=generator(3))[:, 0]
    xx, yy, xy = ((free * m).sum((1, 2)) for m in (x * x, y * y, x * y))
    assert len((torch.rad2deg(0.5 * torch.atan2(2.0 * xy, xx - yy)) * 10).round().unique()) > 200


def test_a_crop_enlarges_a_window_that_holds_the_center() -> None:
    ramp = torch.linspace(-1.0, 1.0, 41).expand(400, 1, 41, 41)
    cropped = crop(ramp, share=1.0, size=0.4, generator=generator(5))[:, 0]
    width = cropped[:, 20, -1] - cropped[:, 20, 0]
    assert width.min() > 2.0 * 0.6 - 1e-4
    assert width.max() < 2.0 + 1e-4
    assert width.std() > 0.15  # uniform between 1.2 and 2: 0.23
    assert ((cropped.amin((1, 2)) < 0.0) & (cropped.amax((1, 2)) > 0.0)).all()
    assert cropped[:, 20, 20].std() > 0.1  # the window is anywhere
    assert torch.equal(crop(ramp, share=0.0, size=0.4, generator=generator(5)), ramp)


def test_rotation_and_zoom_keep_a_round_source_in_place() -> None:
    offset = torch.arange(41) - 20.0
    source = torch.exp(-0.5 * (offset[:, None] ** 2 + offset[None, :] ** 2) / 9.0).expand(50, 1, 41, 41)
    turned = rotate(source, share=1.0, step=0.0, zoom=0.0, generator=generator(2))
    torch.testing.assert_close(
        turned, source, atol=0.04, rtol=0.0
    )  # bilinear interpolation of a peak of 1 with sigma 3
    zoomed = rotate(source, share=1.0, step=0.0, zoom=0.2, generator=generator(2))
    area = zoomed.sum(dim=(1, 2, 3)) / source.sum(dim=(1, 2, 3))
    assert area.min() > 0.8**2 - 0.02
    assert area.max() < 1.2**2 + 0.02
    assert area.std() > 0.1
    assert torch.equal(rotate(source, share=0.0, step=0.0, zoom=0.2, generator=generator(2)), source)


def test_blur_conserves_flux_and_widens() -> None:
    x = torch.zeros(100, 2, 33, 33)
    x[:, :, 16, 16] = 1.0
    blurred = blur(x, most=2.0, generator=generator(3))
    torch.testing.assert_close(blurred.sum(dim=(2, 3)), torch.ones(100, 2), atol=1e-5, rtol=0.0)
    variance = (blurred.sum(dim=2) * (torch.arange(33) - 16.0) ** 2).sum(dim=2)
    assert variance.max() < 4.0
    assert variance.max() > 3.0
    torch.testing.assert_close(variance[:, 0], variance[:, 1])


def test_erased_square_is_sky_and_the_rest_is_untouched() -> None:
    x = images(100) + 10.0
    erased = erase(x, share=0.5, size=0.3, generator=generator(4))
    touched = (erased == 0.0).any(dim=(1, 2, 3))
    assert 30 < touched.sum() < 70
    assert torch.equal(erased[erased != 0.0], x[erased != 0.0])
    assert ((erased == 0.0).float().mean(dim=(1, 2, 3)) <= (0.3 + 1 / 21) ** 2 + 0.01).all()


def test_mixing_mixes_images_and_targets_alike() -> None:
    x = torch.arange(10.0)[:, None, None, None].expand(10, 3, 4, 4)
    mixed, targets = mix(x, torch.arange(10.0), share=0.7, generator=generator(5))
    torch.testing.assert_close(mixed[:, 0, 0, 0], targets)
    unchanged = (targets == torch.arange(10.0)).sum()
    assert 1 <= unchanged < 10


def test_lenses_are_mixed_with_other_lenses() -> None:
    lens = torch.arange(40) % 4 == 0
    x = torch.where(lens, 1.0, 0.0)[:, None, None, None].expand(40, 1, 2, 2) * 100.0
    x = x + torch.arange(40.0)[:, None, None, None]
    mixed, targets = mix(x, lens.float(), share=1.0, same_class=True, generator=generator(5))
    assert torch.equal(targets, lens.float())
    assert ((mixed > 99.0).all(dim=(1, 2, 3)) == lens).all()  # never across the classes
    assert (mixed != x).any(dim=(1, 2, 3)).float().mean() > 0.8


OPERATIONS: dict[str, dict[str, object]] = {
    "symmetries": {"symmetries": True},
    "shift": {"shift": 2},
    "sub-pixel shift": {"shift": 2, "subpixel": 1.0},
    "free rotation": {"rotate": 1.0},
    "rotation by 15 degrees": {"rotate": 1.0, "rotate_step": 15.0},
    "zoom": {"rotate": 1.0, "rotate_step": 90.0, "zoom": 0.2},
    "crop": {"crop": 0.7, "crop_size": 0.3},
    "brightness": {"brightness": 0.3},
    "color": {"color": 0.1},
    "extinction": {"extinction": 0.1},
    "blur": {"blur": 1.5},
    "white noise": {"noise": 1.0},
    "survey noise": {"noise": 1.0, "noise_correlation": "survey"},
    "erase": {"erase": 0.5},
    "mixing": {"mixup": 0.7},
    "mixing within a class": {"mixup": 0.7, "mixup_partner": "same-class"},
}
OFF = {"symmetries": False, "shift": 0, "subpixel": 0.0, "brightness": 0.0, "color": 0.0, "noise": 0.0}


def crude_features(x: torch.Tensor) -> np.ndarray:
    """What would give an operation away: flux, noise, gradients, center and edge of each band."""
    center, edge = x[:, :, 8:-8, 8:-8], x[:, :, 0]
    parts = [
        x.mean((2, 3)),
        x.std((2, 3)),
        x.diff(dim=3).std((2, 3)),
        center.mean((2, 3)),
        edge.std(2),
        (x == 0).float().mean((2, 3)),
    ]
    return torch.cat(parts, dim=1).numpy()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_operation_by_itself_separates_the_classes(operation: str) -> None:
    """Lenses and non-lenses drawn from one population, in the batches of the sampler, stay inseparable."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels = np.r_[np.ones(100), np.zeros(300)]
    population = torch.randn(400, 3, 33, 33, generator=generator(11)) * 0.01 + 0.02
    augmentation = Augmentation(**{**OFF, **OPERATIONS[operation]})
    batches = epoch_batches(labels, batch=40, lenses_per_batch=10, rng=np.random.default_rng(12))
    random = generator(13)
    shown = []
    for rows in batches:
        images = augment(population[rows], augmentation, preprocessing=Preprocessing(), generator=random)
        if augmentation.mixup:
            alike = augmentation.mixup_partner == "same-class"
            targets = torch.from_numpy(labels[rows]).float()
            images, _ = mix(images, targets, share=augmentation.mixup, same_class=alike, generator=random)
        shown.append(images)
    features = crude_features(torch.cat(shown))
    targets = labels[np.concatenate(batches)]
    model = make_pipeline(StandardScaler(), LogisticRegression())
    auc = roc_auc_score(targets, cross_val_predict(model, features, targets, cv=5, method="predict_proba")[:, 1])
    assert auc < 0.61  # 100 lenses against 300: a standard error of 0.034; below 0.5 only by chance


def test_an_operation_on_one_class_only_would_be_noticed() -> None:
    """The positive control of the test above: the same features see a blur of the lenses alone."""
    population = torch.randn(400, 3, 33, 33, generator=generator(11)) * 0.01 + 0.02
    population[:100] = blur(population[:100], most=1.5, generator=generator(13))
    features = crude_features(population)
    auc = roc_auc_score(np.r_[np.ones(100), np.zeros(300)], -features[:, 6])
    assert auc > 0.9


def test_every_switch_is_among_the_operations() -> None:
    """An operation that is added later must be put to the test above."""
    tested = {name for values in OPERATIONS.values() for name in values}
    strengths = {"erase_size"}  # of an operation that is tested
    assert tested | strengths == set(Augmentation.model_fields)


def test_no_operation_looks_at_anything_but_its_seed() -> None:
    """An object is treated by its place in the batch, so exchanging two labels changes nothing: there is no label."""
    x = images(6)
    first = augment(x, Augmentation(), preprocessing=Preprocessing(), generator=generator(8))
    second = augment(x, Augmentation(), preprocessing=Preprocessing(), generator=generator(8))
    third = augment(x, Augmentation(), preprocessing=Preprocessing(), generator=generator(9))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert not torch.equal(first, x)


def test_switched_off_means_untouched() -> None:
    off = Augmentation(symmetries=False, shift=0, subpixel=0.0, brightness=0.0, color=0.0, noise=0.0)
    x = images()
    assert torch.equal(augment(x, off, preprocessing=Preprocessing(), generator=generator()), x)


# --- learning rate and mean


def test_learning_rate_rises_and_falls() -> None:
    factors = np.array([learning_rate_factor(progress, 0.1) for progress in np.linspace(0, 1, 101)])
    assert factors[0] == 0.0
    assert factors[10] == 1.0
    assert factors[-1] == pytest.approx(0.0, abs=1e-12)
    assert (np.diff(factors[:11]) > 0).all()
    assert (np.diff(factors[10:]) < 0).all()
    assert learning_rate_factor(0.0, 0.0) == 1.0
    assert learning_rate_factor(2.0, 0.1) == pytest.approx(0.0, abs=1e-12)


def test_weight_decay_spares_offsets_and_normalizations() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = make_optimizer(network, learning_rate=0.1, weight_decay=0.2)
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays[id(network[0].weight)] == 0.2
    assert decays[id(network[0].bias)] == decays[id(network[1].weight)] == 0.0
    assert len(decays) == 4


def test_running_mean_forgets_its_start_and_follows() -> None:
    network = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(network.weight, 100.0)
    mean = RunningMean(network, 0.9)
    torch.nn.init.constant_(network.weight, 1.0)
    for _ in range(200):
        mean.update(network)
    assert mean.network.weight.item() == pytest.approx(1.0, abs=1e-5)
    plain = RunningMean(network, 0.0)
    torch.nn.init.constant_(network.weight, 5.0)
    plain.update(network)
    assert plain.network.weight.item() == 5.0
    assert not plain.network.weight.requires_grad


# --- cost of importing


@pytest.mark.parametrize("module", ["legacylens.training.config", "legacylens.scan.config", "legacylens.cli.train"])
def test_records_and_verbs_are_imported_without_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
