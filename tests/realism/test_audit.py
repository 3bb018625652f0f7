"""An audit of sets whose faults are known names them; what cannot be measured is a finding, too."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from legacylens.errors import FileProblem, InputError
from legacylens.files import to_json
from legacylens.mocks.population_sets import SETS
from legacylens.plots.realism_audit import write_audit_page
from legacylens.realism.audit import audit
from legacylens.realism.audit_run import run_audit
from legacylens.realism.control_sets import FAULTY
from legacylens.realism.control_sky import draw_hosts, inject_set, stamps_of_hosts
from legacylens.realism.inputs import MeasuredSet
from legacylens.realism.measure import measure_stamps
from legacylens.realism.reference import COLUMNS, LEVELS, make_reference, packaged_reference, true_factor


def _set(table: pd.DataFrame, tmp_path) -> MeasuredSet:
    counts = table["code"].value_counts().drop("ok", errors="ignore")
    return MeasuredSet(
        path=tmp_path,
        table=table,
        refused={str(k): int(v) for k, v in counts.items()},
        problems=(),
        images=np.zeros((0, 3, 101, 101), np.float32),
        image_names=(),
    )


def _names(result):
    return [finding.name for finding in result.findings]


@pytest.fixture(scope="module")
def hosts():
    return draw_hosts(44, np.random.default_rng(77))


@pytest.fixture(scope="module")
def honest(hosts):
    return measure_stamps(inject_set(hosts, SETS["calibrated"], 78).stamps)


@pytest.mark.parametrize("name", ["beta-0", "gain-150"])
def test_the_fault_is_named(hosts, name, tmp_path):
    control = next(control for control in FAULTY if control.name == name)
    measured = _set(measure_stamps(inject_set(hosts, control.config, 79).stamps), tmp_path)
    result = audit(measured)
    assert control.finding in _names(result)
    effects = [finding.effect for finding in result.findings]
    assert effects == sorted(effects, reverse=True)
    document = json.loads(to_json(result.as_dict()))
    assert document["findings"][0]["remedy"]
    assert document["brightness_factor"]["low"] < document["brightness_factor"]["high"]
    page = write_audit_page(tmp_path / "audit.html", result, measured)
    assert "What to change" in page.read_text()


def test_honest_lenses_are_as_bright_as_published(honest, tmp_path):
    result = audit(_set(honest, tmp_path))
    # Some 50 lenses: the factor itself scatters by a fifth.
    assert result.brightness.low < 1.25
    assert result.brightness.high > 0.8
    assert "psf-missing" not in _names(result)
    assert "shot-noise" not in _names(result)
    assert "published populations" in result.compared_with


def test_galaxies_without_arcs_are_told(hosts, tmp_path):
    result = audit(_set(measure_stamps(stamps_of_hosts(hosts)), tmp_path))
    assert "no-arcs" in _names(result)
    assert "shot-noise" not in _names(result)
    assert any("Few arcs are seen" in note for note in result.notes)


def test_real_lenses_take_the_place_of_published_ones(honest, tmp_path):
    half = len(honest) // 2
    other = honest.iloc[half:].reset_index(drop=True)
    fewer = honest.iloc[:29].reset_index(drop=True)
    with pytest.raises(InputError, match="real lenses are too few"):
        audit(_set(honest, tmp_path), real=_set(fewer, tmp_path))
    with pytest.raises(InputError, match="made from galaxies of the real set"):
        audit(_set(honest, tmp_path), real=_set(honest, tmp_path))
    assert len(other) < half + 2


def test_a_response_table_is_inverted_and_rises():
    measured = np.geomspace(0.2, 200.0, 30)
    true = np.array([true_factor(value) for value in measured])
    assert np.all(np.diff(true) > 0)
    np.testing.assert_allclose(true[measured <= 1.0], measured[measured <= 1.0])
    with pytest.raises(InputError, match="positive"):
        true_factor(0.0)


def test_the_packaged_reference_is_that_of_this_code():
    table = packaged_reference().table
    assert set(table["level"]) == {0.0, *LEVELS}
    assert set(COLUMNS) <= set(table.columns)
    # The same recipe with other galaxies gives the same medians within what two dozen of them allow.
    fresh = make_reference(12, 5)
    for name in ("lag_r", "host_g_r"):
        own, packaged = fresh.loc[fresh["level"] == 1.0, name], table.loc[table["level"] == 1.0, name]
        assert abs(own.median() - packaged.median()) < 4.0 * packaged.std() / np.sqrt(len(own))


def test_counts_and_missing_folders(tmp_path, hosts):
    cut = np.stack([cutout.image for cutout in hosts.part(range(3)).cutouts]) * 3000.0
    for number, image in enumerate(cut):
        np.savez(tmp_path / f"sim{number}.npz", cutout=np.moveaxis(image, 0, -1))
    result, measured = run_audit(tmp_path)
    assert measured is None or not len(measured.measured)
    assert _names(result) == ["units"]
    assert "nanomaggies" in result.findings[0].remedy
    with pytest.raises(FileProblem, match="no such file"):
        run_audit(tmp_path / "nothing")


def test_arcs_without_galaxies_and_mixed_sizes(tmp_path):
    rng = np.random.default_rng(8)
    y, x = np.mgrid[:101, :101] - 50.0
    arc = 0.1 * np.exp(-0.5 * ((np.hypot(x, y) - 6.0) / 2.0) ** 2) * (x > 0)
    for number in range(4):
        image = rng.normal(0.0, 0.003, (101, 101, 3)) + arc[..., None]
        np.savez(tmp_path / f"sim{number}.npz", cutout=image.astype(np.float32))
    result, _ = run_audit(tmp_path)
    assert _names(result)[0] == "no-galaxies"
    assert result.refused == {"no-central-galaxy": 4}
    assert result.brightness is None
    np.savez(tmp_path / "small.npz", cutout=image[18:83, 18:83].astype(np.float32))
    again, _ = run_audit(tmp_path)
    assert again.refused == {"no-central-galaxy": 4, "wrong-size": 1}
    assert _names(again) == ["no-galaxies", "stamps"]
    assert "1 of 5 simulations" in again.findings[1].says
    assert "small.npz" in again.notes[0]
