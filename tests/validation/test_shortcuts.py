"""Shortcut tests: the edits against arithmetic, the verdicts on functions whose shortcut is known, trained controls."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from legacylens.cli.main import app
from legacylens.errors import InputError
from legacylens.survey.bands import PIXSCALE
from legacylens.validation import shortcut_edits as edits
from legacylens.validation.shortcut_controls import (
    CONTROL_CONFIG,
    ControlSize,
    control_inputs,
    run_controls,
    trained_logits,
)
from legacylens.validation.shortcut_run import shortcut_files, usable_hosts
from legacylens.validation.shortcut_sky import PLANTS, SIZE, SKY_NOISE, small_sky
from legacylens.validation.shortcuts import TESTS, ShortcutConfig, TestInputs, run_tests

SMALL = ControlSize(lenses=300, others=600, epochs=5, judged_lenses=150, judged_others=300)


@pytest.fixture(scope="module")
def sky():
    return small_sky(40, 60, np.random.default_rng(5))


# ---- pictures ----


def test_the_mean_profile_keeps_the_light_at_every_radius(sky) -> None:
    arcs = sky.arcs[:5]
    ring = np.rint(edits.radius_map(SIZE, 1.0)).astype(int)
    rounded = edits.radial_mean(arcs)
    for number in range(ring.max() + 1):
        np.testing.assert_allclose(rounded[..., ring == number].std(axis=-1), 0.0, atol=1e-12)
        np.testing.assert_allclose(
            rounded[..., ring == number].sum(-1),
            arcs[..., ring == number].sum(-1, dtype=np.float64),
            rtol=1e-5,
            atol=1e-9,
        )


def test_a_quantile_profile_has_no_arc_but_keeps_a_round_galaxy() -> None:
    radius = edits.radius_map(SIZE, PIXSCALE)
    galaxy = np.exp(-np.rint(radius / PIXSCALE))[None, None].astype(np.float32)
    arc = (np.exp(-(((radius - 2.0) / 0.3) ** 2)) * (np.arange(SIZE) > 26))[None, None].astype(np.float32)
    np.testing.assert_allclose(edits.radial_quantile(galaxy + arc, 0.5), galaxy, atol=1e-6)


def test_sky_that_fills_holes_has_the_noise_of_the_border() -> None:
    rng = np.random.default_rng(1)
    images = (0.5 + rng.normal(size=(200, 3, SIZE, SIZE)) * SKY_NOISE[:, None, None]).astype(np.float32)
    sky = edits.sky_like(images, rng)
    assert np.allclose(sky.mean(axis=(0, 2, 3)), 0.5, atol=1e-3)
    np.testing.assert_allclose(sky.std(axis=(2, 3)).mean(axis=0), SKY_NOISE, rtol=0.02)


def test_edits_change_only_what_they_say(sky) -> None:
    rng, images = np.random.default_rng(2), sky.images
    radius = edits.radius_map(SIZE, PIXSCALE)
    profile = edits.typical_profile(images, 1.0, PIXSCALE)
    core = edits.core_only(images, 1.0, PIXSCALE, rng, profile)
    np.testing.assert_array_equal(core[..., radius < 1.0], images[..., radius < 1.0])
    for masked in (edits.arcs_masked, edits.arcs_suppressed):
        changed = masked(images, 1.0, 3.5, PIXSCALE, rng)
        outside = (radius < 1.0) | (radius >= 3.5)
        np.testing.assert_array_equal(changed[..., outside], images[..., outside])
        assert (changed != images)[..., ~outside].mean() > 0.99
    without = edits.without_band(images, 1)
    np.testing.assert_array_equal(without[:, [0, 2]], images[:, [0, 2]])
    gray = edits.without_color(images, SKY_NOISE)
    assert np.corrcoef(gray[3, 0].ravel(), gray[3, 2].ravel())[0, 1] == pytest.approx(1.0)
    moved = edits.shifted(images, 2, -1)
    np.testing.assert_array_equal(moved[..., 2:, :-1], images[..., :-2, 1:])
    assert all(e.shape == images.shape and e.dtype == np.float32 for e in (core, without, gray, moved))


# ---- verdicts on functions whose shortcut is known ----


def _cheats() -> dict:
    radius = edits.radius_map(SIZE, PIXSCALE)
    rim = radius > 3.6

    def mean(images, inside):
        return images[:, 1][:, inside].mean(axis=1)

    return {
        "core only": (lambda x: mean(x, radius < 0.3) / mean(x, (radius > 0.7) & (radius < 1.0)), "nucleus"),
        "arc masked": (lambda x: mean(x, rim), "company"),
        "metadata only": (
            lambda x: -np.median(np.abs(np.diff(x[:, 2], axis=-1))[:, rim[:, 1:]], axis=1),
            "deep fields",
        ),
    }


@pytest.mark.parametrize("test", ["core only", "arc masked", "metadata only"])
def test_a_function_that_looks_at_one_thing_fails_that_test(test: str) -> None:
    logits, plant = _cheats()[test]
    inputs = control_inputs(plant, ControlSize(judged_lenses=150, judged_others=300), 3)
    (row,) = run_tests(logits, inputs, CONTROL_CONFIG, only=test)["tests"]
    assert (row["test"], row["verdict"]) == (test, "fail"), row


def test_a_function_that_sees_only_arcs_passes_but_for_its_fixed_center() -> None:
    radius, rng = edits.radius_map(SIZE, PIXSCALE), np.random.default_rng(4)
    offset = np.arange(SIZE) - SIZE // 2
    angle = np.arctan2(offset[:, None], offset[None, :])
    annulus = (radius > 1.2) & (radius < 2.8)

    def asymmetry(images):
        # The first harmonic of the light around the galaxy, over all bands: rings and galaxies have none.
        ring = (images / SKY_NOISE[:, None, None]).sum(1)[:, annulus]
        return np.abs((ring * np.exp(1j * angle[annulus])).sum(1))

    n = 300
    base = rng.normal(size=(2 * n, 3, SIZE, SIZE)) * SKY_NOISE[:, None, None]
    base += 0.5 * np.exp(-radius / 0.6)
    arcs = small_sky(n, 1, rng).arcs[:n]
    images = base.astype(np.float32)
    lenses = images[:n] + arcs
    inputs = TestInputs(
        lenses=lenses, others=images[n:], pixscale=PIXSCALE, noise=SKY_NOISE, arcs=arcs, null=images[n:],
        metadata=pd.DataFrame({"depth": rng.normal(size=n)}),
    )  # fmt: skip
    result = run_tests(asymmetry, inputs, CONTROL_CONFIG)
    # It takes the stamp's center for the galaxy's, and the tests say so; nothing else speaks against it.
    assert {row["test"]: row["verdict"] for row in result["tests"] if row["verdict"] != "pass"} == {"centering": "fail"}
    assert [row["test"] for row in result["tests"]] == list(TESTS)
    assert all(row["low"] <= row["value"] <= row["high"] for row in result["tests"])


def test_too_few_objects_and_useless_networks_are_not_passed(sky) -> None:
    inputs = control_inputs(None, ControlSize(judged_lenses=10, judged_others=100), 1)
    few = run_tests(lambda x: x.sum((1, 2, 3)), inputs, CONTROL_CONFIG)
    assert few["verdict"] == "not testable"
    assert "30 of each needed" in few["tests"][0]["detail"]
    inputs = control_inputs(None, ControlSize(judged_lenses=40, judged_others=100), 1)
    rng = np.random.default_rng(1)
    useless = run_tests(lambda x: rng.normal(size=len(x)), inputs, CONTROL_CONFIG)
    assert {row["verdict"] for row in useless["tests"]} == {"not testable"}
    with pytest.raises(InputError, match="no shortcut test is called 'nothing'"):
        run_tests(lambda x: x.sum((1, 2, 3)), inputs, only="nothing")
    with pytest.raises(InputError, match="have no finite score"):
        run_tests(lambda x: np.full(len(x), np.nan), inputs)


def test_what_cannot_be_tested_says_so(sky) -> None:
    lens = sky.label == 1
    inputs = TestInputs(lenses=sky.images[lens], others=sky.images[~lens], pixscale=PIXSCALE, noise=SKY_NOISE)
    rows = run_tests(lambda x: x[:, 0].sum((1, 2)) + 100 * (len(x) == 40), inputs, CONTROL_CONFIG)["tests"]
    untested = {row["test"] for row in rows if row["verdict"] == "not testable"}
    assert {"null injection", "ring counterfactual", "metadata only"} <= untested


# ---- trained networks ----


@pytest.mark.parametrize("plant", ["red hosts"])
def test_a_network_trained_to_cheat_is_caught(plant: str) -> None:
    result = run_controls(seeds=(1,), honest_seeds=(), plants=(plant,), size=SMALL)
    (row,) = result["controls"]
    assert (row["control"], row["must"], row["verdict"]) == (plant, "fail", "fail"), row
    assert row["seeds_as_expected"] == row["seeds"] == 1
    assert result["as_expected"]


def test_an_honest_network_raises_no_alarm_and_the_verb_says_so(tmp_path) -> None:
    logits = trained_logits(None, SMALL, 1, tmp_path)
    result = run_tests(logits, control_inputs(None, SMALL, 1), CONTROL_CONFIG)
    assert result["verdict"] in ("pass", "unclear"), result["tests"]
    assert result["baseline"]["low"] > 0.9
    config = tmp_path / "config.toml"
    config.write_text("arcs = [1.0, 3.5]\nmin_objects = 20\n")
    answer = CliRunner().invoke(
        app,
        ["validate", "shortcuts", str(tmp_path / "run/last.pt"), str(tmp_path / "store"), str(tmp_path / "sample"),
         "--out", str(tmp_path / "out"), "--config", str(config), "--strict", "--json"],
    )  # fmt: skip
    assert answer.exit_code == 0, answer.output
    document = json.loads(answer.stdout)
    assert document["trained_on_this_sample"]
    assert document == json.loads((tmp_path / "out/shortcuts.json").read_text())
    verdicts = {row["test"]: row["verdict"] for row in document["tests"]}
    assert verdicts["metadata only"] == verdicts["null injection"] == "not testable"  # no parent table was given
    assert verdicts["core only"] == "pass"
    with pytest.raises(InputError, match="are tested on the validation split, not on 'train'"):
        shortcut_files(tmp_path / "run/last.pt", tmp_path / "store", tmp_path / "sample", tmp_path, split="train")
    with pytest.raises(InputError, match="for a single look"):
        shortcut_files(tmp_path / "run/last.pt", tmp_path / "store", tmp_path / "sample", tmp_path, split="sealed")


def test_every_plant_has_its_own_test_and_changes_the_sky() -> None:
    assert sorted(test for test, _ in PLANTS.values()) == sorted(TESTS)
    honest = small_sky(6, 6, np.random.default_rng(1))
    for plant in PLANTS:
        planted = small_sky(6, 6, np.random.default_rng(1), plant)
        assert not np.array_equal(planted.images[:6], honest.images[:6]), plant


def test_hosts_of_injections_are_non_lenses_that_trained_nothing() -> None:
    sample = pd.DataFrame(
        {"source_id": list("abcd"), "label": [0, 0, 1, -1], "split": ["train", "sealed", "sealed", "validation"]}
    )
    assert usable_hosts(sample) == {"b"}
    assert ShortcutConfig().limit_ring < 0.5
