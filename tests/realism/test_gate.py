"""The gate on sets on disk: splits, the ledger of the test split, pages; and controls in memory."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from legacylens.errors import InputError
from legacylens.plots.realism_gate import write_gate_page
from legacylens.realism import gate_run
from legacylens.realism.compare import ARC_STATISTICS, HOST_STATISTICS, NOISE_STATISTICS, PIXEL_STATISTICS
from legacylens.realism.controls import ControlResult, as_expected, documents, run_controls
from legacylens.realism.gate_config import GateConfig
from legacylens.realism.inputs import MeasuredSet


def _measured(path, n: int, seed: int) -> MeasuredSet:
    rng = np.random.default_rng(seed)
    names = (*ARC_STATISTICS, *HOST_STATISTICS, *NOISE_STATISTICS, *PIXEL_STATISTICS, "arc_score")
    table = pd.DataFrame({name: rng.normal(size=n) for name in names})
    table["source_id"] = [f"{path.name}-{k}" for k in range(n)]
    table["code"] = "ok"
    table["noise_is_measured"] = True
    return MeasuredSet(
        path=path,
        table=table,
        refused={"nan": 2},
        problems=(),
        images=np.zeros((n, 3, 48, 48), np.float32),
        image_names=(),
    )


@pytest.fixture
def _sets(monkeypatch):
    def read(path, config, **_):
        return _measured(path, 400, sum(map(ord, str(path))))

    monkeypatch.setattr(gate_run, "measure_set", read)


@pytest.mark.usefixtures("_sets")
def test_the_test_split_is_opened_once(tmp_path):
    sims, real = tmp_path / "sims", tmp_path / "real"
    result = gate_run.run_gate(sims, real, split="test")
    assert 60 < result.n_real < 140
    assert result.verdict == "underpowered"
    ledger = json.loads((tmp_path / "real.gate-ledger.json").read_text())
    assert ledger["openings"][0]["sims"] == str(sims)
    with pytest.raises(InputError, match="was opened on"):
        gate_run.run_gate(sims, real, split="test")
    # Other splits stay open.
    assert gate_run.run_gate(sims, real, split="gate").n_real < 140


@pytest.mark.usefixtures("_sets")
def test_notes_say_what_was_left_out_and_the_page_shows_every_test(tmp_path):
    result = gate_run.run_gate(tmp_path / "a", tmp_path / "b", null=tmp_path / "c", zero=tmp_path / "d", split="all")
    notes = " ".join(result.notes)
    assert "not measured: 2 nan" in notes
    assert "no invvar" in notes
    assert result.refused == {str(tmp_path / name): {"nan": 2} for name in "abcd"}
    tests = {test.test: test for test in result.tests}
    assert tests["zero flux"].verdict == "pass"
    assert tests["classifier network"].verdict == "not run"
    assert tests["functional recall lost"].value is not None
    page = write_gate_page(tmp_path / "gate.html", "a", result).read_text()
    assert all(name in page for name in tests)
    json.dumps(result.as_dict(), allow_nan=False)


# What 400 objects tell within 0.35, 50 tell within sqrt(8) times as much: with the margins of 400 no set of 50 passes.
FOR_50 = GateConfig(
    n=50,
    smd=1.2,
    smd_host=1.2,
    smd_noise=1.2,
    ks=0.65,
    auc_statistics=0.93,
    auc_embedding=0.95,
    auc_network=0.97,
    coverage=0.4,
    density=0.95,
    effective=0.05,
)


@pytest.fixture(scope="module")
def few_controls():
    names = ("arcs-x40", "real-real", "zero-flux")
    return {item.control: item for item in run_controls(FOR_50, seeds=2, names=names, workers=1)}


def test_a_small_gate_does_what_it_must(few_controls):
    said = {name: (item.must, item.verdict, item.seeds_as_expected) for name, item in few_controls.items()}
    assert said == {
        "arcs-x40": ("fail", "fail", 2),
        "real-real": ("pass", "pass", 2),
        "zero-flux": ("pass", "pass", 2),
    }
    results = list(few_controls.values())
    assert as_expected(results)
    assert "arc arc_mag_g" in few_controls["arcs-x40"].because
    assert set(documents(results)[0]) >= {"control", "must", "verdict", "seeds_as_expected", "seeds"}


def test_an_audit_says_by_how_much_the_same_set_is_too_bright(few_controls):
    item = few_controls["arcs-x40"]
    assert item.finding_wanted in [finding["name"] for finding in item.findings]
    # Fifty lenses: the factor scatters by a fifth.
    assert 25.0 < item.brightness_factor < 64.0


def test_unknown_controls_are_named():
    with pytest.raises(InputError, match="no control is called x3"):
        run_controls(names=("x3",))


@pytest.mark.parametrize(
    ("must", "as_it_should", "valid"), [("fail", 19, False), ("pass", 19, True), ("pass", 18, False)]
)
def test_a_gate_that_passes_a_fault_is_void(must, as_it_should, valid):
    item = ControlResult(
        control="c", must=must, verdict=must, seeds_as_expected=as_it_should, seeds=20, n=400, because={}
    )
    assert as_expected([item]) == valid
