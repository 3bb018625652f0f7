"""`legacylens realism calibrate` on disk: what it reads, writes and refuses."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from legacylens.cli.main import app
from legacylens.config.load import load_record
from legacylens.cutouts.store import CutoutStore
from legacylens.cutouts.writer import StoreWriter
from legacylens.errors import InputError
from legacylens.files import write_parquet
from legacylens.mocks.population_sets import SETS, MockSetConfig
from legacylens.realism import calibrate_run
from legacylens.realism.calibrate import Calibration
from legacylens.realism.calibrate_config import CalibrationConfig, moved
from legacylens.realism.calibrate_run import (
    DRAWS_NAME,
    RESULT_NAME,
    SET_NAME,
    SET_WEIGHTS_NAME,
    WEIGHTS_NAME,
    control_bank,
    free_without,
    run_calibration,
    store_bank,
    store_galaxies,
)
from legacylens.realism.control_sky import draw_hosts
from legacylens.realism.inputs import MeasuredSet
from legacylens.testing.toy_population import toy_bank, toy_galaxies, toy_measured, toy_truth

START = moved(SETS["calibrated"], {"sources.r_faint": 26.0})
TRUTH = moved(START, {"selection.snr": 22.0, "sources.counts_slope": 0.3})
FREE = ("selection.snr", "contamination")
DONE: dict[float, Calibration] = {}
FIXED = [name for name in CalibrationConfig().free if name not in FREE]


@pytest.fixture
def toy_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Replace cutouts and their measurement by the toy; the way of the files stays."""
    truth = toy_truth(TRUTH, 260, 31)
    tables = {"lenses": toy_measured(truth, 31), "null": toy_galaxies(120, 6)}

    def measured(path: str | Path, *_: object, **__: object) -> MeasuredSet:
        table = tables[Path(path).name]
        empty = np.zeros((0, 3, 1, 1), np.float32)
        return MeasuredSet(path=Path(path), table=table, refused={}, problems=(), images=empty, image_names=())

    monkeypatch.setattr(calibrate_run, "measure_set", measured)
    monkeypatch.setattr(calibrate_run, "control_bank", lambda **_: toy_bank)
    calibrate = calibrate_run.calibrate

    def once(observed: pd.DataFrame, *others: object, **more: object) -> Calibration:
        """Calibrate, or return what the same lenses gave before: the files are at stake here."""
        key = float(observed["wing_preference"].mean())
        if key not in DONE:
            DONE[key] = calibrate(observed, *others, **more)
        return DONE[key]

    monkeypatch.setattr(calibrate_run, "calibrate", once)
    for name in tables:
        (tmp_path / name).mkdir()
    (tmp_path / "start.toml").write_text("name = 'start'\n[sources]\nr_faint = 26.0\ncounts_slope = 0.3\n")
    return tmp_path


def arguments(folder: Path, *more: str) -> list[str]:
    out = ["realism", "calibrate", str(folder / "lenses"), "--null", str(folder / "null"), "--out", str(folder / "out")]
    out += ["--start", str(folder / "start.toml"), "--bank", "500", "--rounds", "2", "--simulations", "200"]
    return [*out, *(word for name in FIXED for word in ("--fix", name)), *more]


def test_the_verb_writes_a_set_that_mocks_inject_takes(toy_disk: Path) -> None:
    result = CliRunner().invoke(app, arguments(toy_disk, "--split", "all", "--json"))
    document = json.loads(result.stdout)
    out = toy_disk / "out"
    assert result.exit_code == (0 if document["verdict"] == "calibrated" else 1)
    assert document["verdict"] == "calibrated"
    assert [row["name"] for row in document["parameters"]] == list(FREE)
    assert document == json.loads((out / RESULT_NAME).read_text())
    made = load_record(MockSetConfig, out / SET_NAME)
    assert made.name == "calibrated"
    assert made.selection.snr == pytest.approx(document["parameters"][0]["median"])
    assert made.sources.r_faint == 26.0
    assert made.faults == ()
    weights = pd.read_parquet(out / WEIGHTS_NAME)
    assert len(weights) == document["weights"]["mocks"]
    assert len(pd.read_parquet(out / DRAWS_NAME)) == CalibrationConfig().draws
    assert "Could this population have made the lenses?" in (out / "calibration.html").read_text()
    assert json.loads((out / "provenance.json").read_text())["results"]["verdict"] == "calibrated"
    assert any("control sky" in note for note in document["notes"])


def test_a_misspecified_set_is_written_only_when_forced(toy_disk: Path) -> None:
    table = calibrate_run.measure_set(toy_disk / "lenses").table
    table["wing_preference"] += 1.0  # of the sky's, not of any mock
    forced = CliRunner().invoke(app, arguments(toy_disk, "--split", "all", "--force", "--json"))
    assert forced.exit_code == 0
    document = json.loads(forced.stdout)
    assert document["verdict"] == "misspecified"
    assert document["forced"] is True
    assert document["check"]["misfits"][0]["name"] == "wing_preference location"
    assert (toy_disk / "out" / SET_NAME).exists()
    # A later run without force takes the forced set away.
    refused = CliRunner().invoke(app, arguments(toy_disk, "--split", "all"))
    assert refused.exit_code == 1
    assert "Verdict: misspecified" in refused.stdout
    assert "wing_preference location" in refused.stdout
    assert not (toy_disk / "out" / SET_NAME).exists()


def test_the_split_of_the_gate_is_not_looked_at(toy_disk: Path) -> None:
    with pytest.raises(InputError, match=r"measured lenses are too few"):
        run_calibration(
            toy_disk / "lenses",
            START,
            toy_disk / "out",
            null=toy_disk / "null",
            config=CalibrationConfig(fewest=200),
        )
    with pytest.raises(InputError, match="--hosts and --parent, or neither"):
        run_calibration(toy_disk / "lenses", START, toy_disk / "out", hosts=toy_disk)
    with pytest.raises(InputError, match="no split is called 'nonsense'"):
        run_calibration(toy_disk / "lenses", START, toy_disk / "out", split="nonsense")
    with pytest.raises(InputError, match="no free parameter is called nonsense"):
        free_without(["nonsense"], CalibrationConfig())


@pytest.fixture(scope="module")
def galaxies_on_disk(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """A small store of red galaxies, and the table that it was cut from."""
    folder = tmp_path_factory.mktemp("galaxies")
    hosts = draw_hosts(18, np.random.default_rng(2))
    with StoreWriter(folder / "store", bands=("g", "r", "z"), stamp=101, maskbits=False) as writer:
        for cutout in hosts.cutouts:
            writer.add(cutout)
    return folder / "store", hosts.table


def test_mocks_in_the_galaxies_of_a_store_are_weighted_like_those_of_a_control_sky(
    galaxies_on_disk: tuple[Path, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, table = galaxies_on_disk
    # The table of a store is a parent table; here it is that of hosts, with redshifts already found.
    monkeypatch.setattr(calibrate_run, "host_table", lambda rows: rows.reset_index(drop=True))
    monkeypatch.setattr("legacylens.mocks.injection_run.host_table", lambda rows: rows.reset_index(drop=True))
    with CutoutStore.open(path) as store:
        excluded = set(table["source_id"].head(3))
        bank = store_bank(store, table, excluded)(SETS["calibrated"], 5, 1)
        plain = store_galaxies(store, table, SETS["calibrated"], excluded, 5, 1)
    assert len(bank.table) + bank.refused == 5
    assert not set(bank.truth["host_source_id"]) & excluded
    assert not set(plain["source_id"]) & excluded
    assert len(plain) == 5
    memory = control_bank()(SETS["calibrated"], 5, 1)
    assert list(memory.truth.columns) == list(bank.truth.columns)
    assert list(memory.table.columns) == list(bank.table.columns)
    assert (plain["integrated_snr"].median() < bank.table["integrated_snr"].median()).all()


def test_an_existing_set_gets_weights(toy_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_with = moved(START, {"sources.counts_slope": 0.3})
    truth = toy_truth(made_with, 500, 12)
    folder = toy_disk / "mocks"
    write_parquet(folder / "truth.parquet", truth)
    record = {"configuration": {"set": made_with.model_dump(mode="json")}}
    (folder / "provenance.json").write_text(json.dumps(record))
    monkeypatch.setattr(calibrate_run, "read_truth", lambda path: pd.read_parquet(Path(path) / "truth.parquet"))
    result = CliRunner().invoke(app, arguments(toy_disk, "--split", "all", "--weigh", str(folder), "--force", "--json"))
    document = json.loads(result.stdout)
    assert document["weighed"]["mocks"] == 500
    weights = pd.read_parquet(toy_disk / "out" / SET_WEIGHTS_NAME)
    assert weights["weight"].mean() == pytest.approx(1.0)
    assert document["weighed"]["effective"] == pytest.approx(
        weights["weight"].sum() ** 2 / (weights["weight"] ** 2).sum()
    )
