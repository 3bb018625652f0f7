"""Simulated lenses enter a sample with a passing report on exactly them, or with an override that is written down."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from legacylens.cli.main import app
from legacylens.cutouts.writer import write_store
from legacylens.errors import FileProblem, InputError
from legacylens.files import write_parquet
from legacylens.mocks.set_files import TRUTH_NAME, set_hash
from legacylens.samples.build import build_sample, make_sample, read_sample
from legacylens.samples.config import SampleConfig
from legacylens.samples.simulated import (
    LEAST,
    RECORD_NAME,
    ROWS_NAME,
    add_simulations,
    possible_hosts,
    simulated_rows,
    simulations_of,
    simulations_record,
    verify_simulations,
)
from legacylens.survey.sphere import offset_position
from legacylens.training.config import Simulations
from legacylens.training.simulated import require_realistic, with_those_of_sample

CONFIG = SampleConfig(nside=1024, guard_arcsec=40.0)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A parent table and known systems on disk."""
    folder = tmp_path_factory.mktemp("tables")
    rng = np.random.default_rng(3)
    n = 2500
    ra, dec = offset_position(np.full(n, 10.0), np.full(n, -3.0), *rng.uniform(-2500, 2500, (2, n)))
    parent = pd.DataFrame(
        {
            "source_id": [f"10000_{i // 100}_{i % 100}" for i in range(n)],
            "ra": ra,
            "dec": dec,
            "brickname": "0100m030",
            "type": "SER",
            "nobs_z": 5,
        }
    )
    rows = rng.choice(n, 120, replace=False)
    systems = pd.DataFrame({"system_id": [f"K{i}" for i in range(120)], "ra": ra[rows], "dec": dec[rows]})
    systems["grade"], systems["tier"] = "A", 2
    write_parquet(folder / "parent.parquet", parent)
    write_parquet(folder / "systems.parquet", systems)
    return folder / "parent.parquet", folder / "systems.parquet"


@pytest.fixture(scope="module")
def frame(tables: tuple[Path, Path]) -> pd.DataFrame:
    parent, systems = (pd.read_parquet(path) for path in tables)
    return build_sample(parent, systems, CONFIG).frame


@pytest.fixture(scope="module")
def injected(tmp_path_factory: pytest.TempPathFactory, frame: pd.DataFrame) -> Path:
    """A set of injections in hosts of every kind, as files."""
    hosts = pd.concat(
        [
            frame[(frame["split"] == split) & (frame["label"] == label)].head(12)
            for split in ("train", "validation", "sealed", "guard")
            for label in (0, 1)
        ]
    )["source_id"].tolist()
    hosts.append("1_2_3")
    return write_set(tmp_path_factory.mktemp("sets") / "calibrated", hosts, seed=1)


def write_set(folder: Path, hosts: list[str], seed: int) -> Path:
    truth = pd.DataFrame(
        {"source_id": [f"{h}_lens{seed:x}" for h in hosts], "host_source_id": hosts, "set": "calibrated"}
    )
    images = np.random.default_rng(seed).normal(size=(len(hosts), 3, 9, 9)).astype(np.float32)
    write_store(folder, truth[["source_id"]].assign(ra=1.0, dec=2.0), images)
    write_parquet(folder / TRUTH_NAME, truth)
    return folder


def write_report(path: Path, verdict: str, judged: str) -> Path:
    path.write_text(json.dumps({"verdict": verdict, "simulations_hash": judged, "tests": []}))
    return path


def test_the_identity_of_a_set_is_that_of_its_truth_and_of_every_pixel(injected: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(injected, tmp_path / "copy")
    assert set_hash(copy) == set_hash(injected)
    images = next(copy.glob("shard-*/image.npy"))
    data = bytearray(images.read_bytes())
    data[-1] ^= 1
    images.write_bytes(bytes(data))
    assert set_hash(copy) != set_hash(injected)
    with pytest.raises(FileProblem, match=r"no set of injected lenses .*mocks inject"):
        set_hash(tmp_path)


def test_simulations_are_refused_without_a_passing_report_on_exactly_them(injected: Path, tmp_path: Path) -> None:
    own = set_hash(injected)
    with pytest.raises(InputError, match=r"no realism report speaks for .*realism gate.*--unchecked"):
        verify_simulations(injected, None)
    for verdict in ("fail", "underpowered"):
        report = write_report(tmp_path / f"{verdict}.json", verdict, own)
        with pytest.raises(InputError, match=f"says '{verdict}'"):
            verify_simulations(injected, report)
    other = write_report(tmp_path / "other.json", "pass", "0" * 64)
    with pytest.raises(FileProblem, match="a report on another set") as problem:
        verify_simulations(injected, other)
    assert problem.value.reason == "other-set"
    # No override makes a report on another set one on this.
    with pytest.raises(FileProblem, match="a report on another set"):
        verify_simulations(injected, other, unchecked=True)
    with pytest.raises(FileProblem, match="no such realism report"):
        verify_simulations(injected, tmp_path / "none.json")
    for text in ("{", "[1]", '{"verdict": "pass"}'):
        (tmp_path / "broken.json").write_text(text)
        with pytest.raises(FileProblem, match="not a realism report"):
            verify_simulations(injected, tmp_path / "broken.json")
    admission = verify_simulations(injected, write_report(tmp_path / "pass.json", "pass", own))
    assert (admission.verdict, admission.override, admission.simulations_hash) == ("pass", False, own)
    assert admission.words == "realism report: pass"


def test_an_override_is_explicit_and_recorded(injected: Path, tmp_path: Path) -> None:
    silent = verify_simulations(injected, None, unchecked=True)
    assert silent.override
    assert silent.verdict == "none"
    failing = write_report(tmp_path / "fail.json", "fail", set_hash(injected))
    against = verify_simulations(injected, failing, unchecked=True)
    assert against.override
    assert against.verdict == "fail"
    assert against.as_dict()["report_hash"] is not None
    # An override that was not needed is none.
    passing = write_report(tmp_path / "pass.json", "pass", set_hash(injected))
    assert not verify_simulations(injected, passing, unchecked=True).override


def test_only_lenses_in_non_lenses_of_the_training_split_become_rows(injected: Path, frame: pd.DataFrame) -> None:
    truth = pd.read_parquet(injected / TRUTH_NAME)
    rows, left_out = simulated_rows(frame, truth)
    assert set(rows["host_source_id"]) <= possible_hosts(frame)
    assert set(rows["split"]) == {"train"}
    assert set(rows["label"]) == {1}
    assert set(rows["origin"]) == {"simulated"}
    assert len(rows) + sum(left_out.values()) == len(truth)
    assert left_out["host is not in the sample"] == 1
    assert left_out["host is no non-lens"] == 12
    splits = truth["host_source_id"].map(frame.set_index("source_id")["split"])
    for split in ("validation", "sealed", "guard"):
        assert left_out[f"host is in the split {split}"] == (splits == split).sum() > 10
    hosts = frame.set_index("source_id").loc[rows["host_source_id"]]
    np.testing.assert_array_equal(hosts["cell"].to_numpy(), rows["cell"].to_numpy())
    np.testing.assert_array_equal(hosts["ra"].to_numpy(), rows["ra"].to_numpy())


def test_too_few_usable_lenses_are_refused_with_the_reasons(frame: pd.DataFrame, tmp_path: Path) -> None:
    sealed = frame[(frame["split"] == "sealed") & (frame["label"] == 0)]["source_id"].head(20).tolist()
    folder = write_set(tmp_path / "set", sealed, seed=2)
    with pytest.raises(InputError, match=rf"0 of the 20 .* at least {LEAST} .*20 host is in the split sealed.*--split"):
        add_simulations(frame, tmp_path / "sample", folder, None, unchecked=True)
    assert not (tmp_path / "sample" / RECORD_NAME).exists()


def test_a_sample_checks_its_simulations_anew(tables, injected: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(injected, tmp_path / "set")
    report = write_report(tmp_path / "gate.json", "pass", set_hash(copy))
    out = tmp_path / "sample"
    summary = make_sample(*tables, out, CONFIG, simulations=copy, realism=report)
    plain = make_sample(*tables, tmp_path / "plain", CONFIG)
    assert summary["hash"] == plain["hash"]
    assert "simulations" not in plain
    assert simulations_of(tmp_path / "plain") is None
    assert read_sample(out).summary["simulations"]["verdict"] == "pass"
    rows, admission = simulations_of(out / "sample.parquet")
    assert len(rows) == summary["simulations"]["lenses"]
    assert not admission.override
    # Training asks the same code, and takes the record of the sample for the report.
    values = with_those_of_sample({}, out, needed=True)
    assert values == {"store": str(copy), "realism": str(out / RECORD_NAME)}
    assert require_realistic(Simulations(**values)) == "realism report: pass"
    assert with_those_of_sample({}, out, needed=False) == {}
    assert with_those_of_sample({"store": "x"}, tmp_path / "plain", needed=True) == {"store": "x"}
    # Somebody makes other simulations at the same place.
    write_parquet(copy / TRUTH_NAME, pd.read_parquet(copy / TRUTH_NAME).iloc[::-1])
    with pytest.raises(FileProblem, match=r"a report on another set .*Build the sample again"):
        simulations_of(out)
    with pytest.raises(FileProblem, match="a report on another set"):
        require_realistic(Simulations(**values))
    # A build without simulations takes those of an earlier one away.
    make_sample(*tables, out, CONFIG)
    assert simulations_record(out) is None
    assert not (out / ROWS_NAME).exists()


def test_rows_that_were_changed_by_hand_are_noticed(tables, injected: Path, tmp_path: Path) -> None:
    out = tmp_path / "sample"
    make_sample(*tables, out, CONFIG, simulations=injected, unchecked=True)
    rows, admission = simulations_of(out)
    assert admission.override
    assert require_realistic(Simulations(store=str(injected), realism=str(out / RECORD_NAME))).endswith(
        "(unchecked was set)"
    )
    write_parquet(out / ROWS_NAME, rows.assign(split="validation"))
    with pytest.raises(FileProblem, match=r"do not have the hash in simulations\.json"):
        simulations_of(out)
    (out / RECORD_NAME).write_text("{}")
    with pytest.raises(FileProblem, match="not the record of a sample"):
        simulations_of(out)


def test_the_verb_refuses_before_it_builds_and_records_the_override(tables, injected: Path, tmp_path: Path) -> None:
    config = tmp_path / "sample.toml"
    config.write_text("nside = 1024\nguard_arcsec = 40.0\n")
    start = ["samples", "build", *map(str, tables), "--config", str(config), "--out", str(tmp_path / "out")]
    arguments = [*start, "--simulations", str(injected), "--json"]
    refused = CliRunner().invoke(app, arguments)
    assert isinstance(refused.exception, InputError)
    assert "no realism report speaks for" in str(refused.exception)
    assert not (tmp_path / "out").exists()
    taken = CliRunner().invoke(app, [*arguments, "--unchecked"])
    assert taken.exit_code == 0, taken.output
    record = json.loads(taken.stdout)["simulations"]
    assert record["override"] is True
    assert record["verdict"] == "none"
    assert json.loads((tmp_path / "out" / RECORD_NAME).read_text()) == record
    provenance = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert provenance["results"]["simulations"]["override"] is True
    assert "simulations" in provenance["inputs"]
