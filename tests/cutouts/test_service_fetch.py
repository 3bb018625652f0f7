"""A whole run: everything on the list is stored or set aside, once, whatever happens on the way."""

import errno
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from legacylens.cli.cutouts_fetch import fetch as verb
from legacylens.cli.cutouts_rehearse import rehearse as rehearse_verb
from legacylens.cutouts.quarantine import read_quarantine
from legacylens.cutouts.service import fetch_cutouts
from legacylens.cutouts.service_http import Answer
from legacylens.cutouts.service_pace import PaceConfig
from legacylens.cutouts.service_request import ServiceConfig
from legacylens.cutouts.service_spool import SPOOL_NAME, Spool
from legacylens.cutouts.service_targets import read_positions, wanted_positions
from legacylens.cutouts.store import CutoutStore
from legacylens.cutouts.writer import write_store
from legacylens.errors import FileProblem, InputError, ProcessError
from legacylens.files import write_parquet
from legacylens.provenance import read_provenance
from legacylens.testing.rehearsal import positions, rehearse, wrong_pixels
from legacylens.testing.viewer import viewer_server
from legacylens.testing.viewer_answers import reply_to, text, understand
from legacylens.testing.viewer_sky import Sky

PACE = PaceConfig(rate_per_minute=6000, burst=1000, concurrency=3, time_scale=0.01, max_attempts=2)
SKY = Sky(off=0.0, without_z=0.0)


class Wire:
    """A transport without a network: the stand-in's answers, and a list of what was asked."""

    def __init__(self, sky=SKY, spoil=None):
        self.sky, self.spoil, self.asked = sky, spoil, []

    def get(self, url, max_bytes):
        target = url.removeprefix("http://viewer")
        self.asked.append(target)
        spoiled = self.spoil(target, len(self.asked)) if self.spoil else None
        if isinstance(spoiled, Exception):
            raise spoiled
        question = understand(target)
        reply = spoiled or (question if not hasattr(question, "kind") else reply_to(self.sky, question))
        assert len(reply.body) <= max_bytes
        return Answer(status=reply.status, headers={"content-length": str(len(reply.body))}, body=reply.body)

    def close(self):
        pass


def service(**changes):
    return ServiceConfig(url="http://viewer/viewer/", **{"stamp": 21, "maskbits": False, **changes})


def fetch(targets, out, wire=None, config=None, pace=PACE, **keywords):
    return fetch_cutouts(
        targets, out, config or service(), pace, transport=wire or Wire(), rng=np.random.default_rng(1), **keywords
    )


def table(n=12, seed=1):
    return positions(n, np.random.default_rng(seed))


def accounted(report):
    return report.duplicates + report.already_stored + report.fetched + report.quarantined


def test_a_list_is_fetched_and_a_second_run_asks_for_nothing(tmp_path):
    targets = table()
    wire = Wire()
    report = fetch(targets, tmp_path / "s", wire, service(maskbits=True, psf=True, jpeg=True, jpeg_size=32))
    assert (report.requested, report.fetched, report.quarantined, report.total) == (12, 12, 0, 12)
    assert report.psf == report.jpeg == {"there": 12, "not_there": 0}
    assert report.requests == len(wire.asked) == 48
    with CutoutStore.open(tmp_path / "s") as store:
        assert set(store.manifest["source_id"]) == set(targets["source_id"])
        assert list(store.manifest.columns[:4]) == ["source_id", "ra", "dec", "origin"]
        for index, row in enumerate(store.manifest.to_dict("records")):
            assert wrong_pixels(SKY, store, index, row) == ""
    assert not (tmp_path / "s" / SPOOL_NAME).exists()
    record = read_provenance(tmp_path / "s")
    assert record["step"] == "cutouts fetch"
    assert record["results"]["fetched"] == 12
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").rglob("*.npy")}
    wire = Wire()
    again = fetch(targets, tmp_path / "s", wire, service(maskbits=True, psf=True, jpeg=True, jpeg_size=32))
    assert wire.asked == []
    assert (again.already_stored, again.fetched, again.total) == (12, 0, 12)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "s").rglob("*.npy")}


def test_shards_are_sealed_on_the_way(tmp_path):
    fetch(table(10), tmp_path / "s", shard_size=4)
    with CutoutStore.open(tmp_path / "s") as store:
        assert [shard.length for shard in store.shards] == [4, 4, 2]
    # A PSF that was not wanted the first time is fetched without the cutout.
    wire = Wire()
    report = fetch(table(10), tmp_path / "s", wire, service(psf=True))
    assert len(wire.asked) == 10
    assert all("coadd-psf" in target for target in wire.asked)
    assert (report.already_stored, report.psf["there"]) == (10, 10)


def test_what_the_sky_lacks_is_asked_for_once_and_what_the_service_failed_at_again(tmp_path):
    targets = table(10)
    bad = f"{targets['ra'][3]:.9f}"

    def spoil(target, _):
        return text(500, "broken") if bad in target else None

    wire = Wire(Sky(seed=3, off=0.3, without_z=0.0), spoil)
    report = fetch(targets, tmp_path / "s", wire)
    assert accounted(report) == 10
    assert report.reasons["server-error"] == 1
    n_off = report.reasons["off-the-sky"]
    assert n_off >= 1
    frame = read_quarantine(tmp_path / "s")
    assert len(frame) == n_off + 1
    assert frame["file"].str.startswith("http://viewer/").all()
    wire = Wire(wire.sky)
    report = fetch(targets, tmp_path / "s", wire)
    assert len(wire.asked) == 1  # only the one that the service failed at
    assert (report.fetched, report.quarantined) == (1, n_off)
    assert len(read_quarantine(tmp_path / "s")) == n_off
    wire = Wire(SKY)
    report = fetch(targets, tmp_path / "s", wire, again=True)
    assert (report.fetched, report.quarantined) == (n_off, 0)
    assert read_quarantine(tmp_path / "s").empty


def test_rows_that_are_no_position(tmp_path):
    targets = pd.DataFrame(
        {
            "source_id": ["a", "b", "b", "c", "c", "d", "e", "f"],
            "ra": [10.0, 20.0, 20.0, 30.0, 30.1, np.nan, 361.0, 40.0],
            "dec": [0.0, 1.0, 1.00001, 2.0, 2.0, 0.0, 0.0, 95.0],
        }
    )
    wire = Wire()
    report = fetch(targets, tmp_path / "s", wire)
    assert len(wire.asked) == 2
    assert (report.requested, report.duplicates, report.fetched, report.quarantined) == (8, 2, 2, 4)
    assert accounted(report) == 8
    assert report.reasons == {"ambiguous-position": 1, "bad-position": 3}
    frame = read_quarantine(tmp_path / "s").set_index("source_id")
    assert "360.00 arcsec apart" in frame["what"]["c"] or "359.78 arcsec apart" in frame["what"]["c"]
    texts, rejected = wanted_positions(pd.DataFrame({"source_id": ["a"], "ra": ["12:00"], "dec": ["x"]}))
    assert len(texts) == 1
    assert rejected[0].reason == "bad-position"
    with pytest.raises(InputError, match="lacks the columns source_id, dec"):
        fetch(pd.DataFrame({"ra": [1.0]}), tmp_path / "t")
    with pytest.raises(InputError, match="row 2 of the target table has an empty source_id"):
        fetch(pd.DataFrame({"source_id": ["a", " "], "ra": [1.0, 2.0], "dec": [1.0, 2.0]}), tmp_path / "t")


def test_a_layer_that_the_service_does_not_know_ends_the_run_at_once(tmp_path):
    wire = Wire()
    with pytest.raises(InputError, match="does not know the layer"):
        fetch(table(50), tmp_path / "s", wire, service(layer="ls-dr99"), PACE.model_copy(update={"concurrency": 1}))
    assert len(wire.asked) < 5


def test_a_service_that_is_not_there_ends_the_run_and_one_that_breaks_down_later_too(tmp_path):
    one = PACE.model_copy(update={"concurrency": 1, "stop_after": 5})

    def dead(target, number):
        return FileProblem(target, "nobody there", "Wait.", reason="connection") if number > limit else None

    limit = 0
    wire = Wire(spoil=dead)
    with pytest.raises(ProcessError, match=r"the last 3 positions failed, .* with connection: nobody there"):
        fetch(table(30), tmp_path / "s", wire, pace=one)
    assert len(wire.asked) <= 8
    assert len(read_quarantine(tmp_path / "s")) == 3
    limit = 10
    with pytest.raises(ProcessError, match="the last 5 positions failed"):
        fetch(table(30), tmp_path / "s", Wire(spoil=dead), pace=one)
    with CutoutStore.open(tmp_path / "s") as store:
        assert len(store) == 10  # what was fetched is kept
    report = fetch(table(30), tmp_path / "s")
    assert (report.already_stored, report.fetched, report.total) == (10, 20, 30)
    assert read_quarantine(tmp_path / "s").empty


def test_positions_that_failed_before_do_not_end_the_next_run(tmp_path):
    targets = table(20)
    bad = [f"{ra:.9f}" for ra in targets["ra"][:8]]

    def spoil(target, _):
        return text(500, "broken") if any(each in target for each in bad) else None

    lenient = PACE.model_copy(update={"stop_after_at_start": 50, "stop_after": 50})
    assert fetch(targets[:8], tmp_path / "s", Wire(spoil=spoil), pace=lenient).quarantined == 8
    strict = PACE.model_copy(update={"stop_after_at_start": 2, "stop_after": 3})
    report = fetch(targets, tmp_path / "s", Wire(spoil=spoil), pace=strict)
    assert (report.fetched, report.quarantined) == (12, 8)


def test_other_settings_and_other_stores_are_refused(tmp_path):
    fetch(table(2), tmp_path / "s")
    with pytest.raises(FileProblem, match="fetched with layout subimage, not resampled"):
        fetch(table(2), tmp_path / "s", config=service(layout="resampled"))
    with pytest.raises(FileProblem, match="fetched with layer ls-dr10, not ls-dr9"):
        fetch(table(2), tmp_path / "s", config=service(layer="ls-dr9"))
    with pytest.raises(FileProblem, match="the store holds"):
        fetch(table(2), tmp_path / "s", config=service(stamp=31))
    images = np.random.default_rng(1).normal(0, 0.01, (2, 3, 21, 21)).astype(np.float32)
    write_store(tmp_path / "cut", pd.DataFrame({"source_id": ["a", "b"]}), images)
    with pytest.raises(FileProblem, match="was not fetched from the service"):
        fetch(table(2), tmp_path / "cut")
    (tmp_path / "s" / "service.json").write_text("{")
    with pytest.raises(FileProblem, match="not readable"):
        fetch(table(2), tmp_path / "s")


def test_an_error_of_our_own_is_not_swallowed(tmp_path):
    with pytest.raises(ZeroDivisionError):
        fetch(table(3), tmp_path / "s", Wire(spoil=lambda *_: ZeroDivisionError("a bug")))


def test_damaged_files_in_the_spool_are_fetched_again(tmp_path):
    spool = tmp_path / "s" / SPOOL_NAME
    spool.mkdir(parents=True)
    (spool / "00.npz").write_bytes(b"PK\x03\x04 torn")
    (spool / "11.json").write_text("{")
    (spool / ".part-1-22.npz").write_bytes(b"half")
    report = fetch(table(3), tmp_path / "s")
    assert report.fetched == 3
    assert not spool.exists()


CLIENT = """
import sys
import numpy as np
from pathlib import Path
from legacylens.cutouts.service import fetch_cutouts
from legacylens.cutouts.service_pace import PaceConfig
from legacylens.cutouts.service_request import ServiceConfig
from legacylens.testing.rehearsal import positions
fetch_cutouts(positions(200, np.random.default_rng(1)), Path(sys.argv[1]),
              ServiceConfig(url=sys.argv[2], stamp=21, maskbits=False), PaceConfig(rate_per_minute=900, burst=1))
"""


def test_control_c_keeps_what_has_come(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with viewer_server(SKY) as server:
        client = subprocess.Popen(
            [sys.executable, "-c", CLIENT, str(tmp_path / "s"), server.url], stderr=subprocess.PIPE, text=True
        )
        while len(server.log) < 8 and client.poll() is None:
            time.sleep(0.02)
        client.send_signal(signal.SIGINT)
        _, said = client.communicate(timeout=30)
        n_asked = len(server.log)
    assert "KeyboardInterrupt" in said
    # What a thread brings after the store is closed waits for the next run; all but those on their way are in one.
    waiting = list((tmp_path / "s" / SPOOL_NAME).glob("*.npz"))
    assert len(waiting) <= 3
    with CutoutStore.open(tmp_path / "s") as store:
        assert n_asked - 3 <= len(store) + len(waiting) <= n_asked


def test_a_small_rehearsal_with_a_real_kill(tmp_path, capsys):
    rehearse_verb(n=40, faults=0.15, seed=2, keep=tmp_path / "r", as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert report["examples"] == []
    assert report["passed"]
    assert report["kills"] == 1
    assert report["stored_at_kill"] >= 5
    assert report["fetched"] + report["quarantined"] == report["requested"] == 40
    assert report["wrong"] == report["twice"] == report["untrue"] == report["neither"] == report["both"] == 0
    assert sum(report["faults"].values()) > 5
    # A position that was under way when the client died is asked for again; there were eight at most.
    assert report["asked_again"] <= 8


@pytest.mark.parametrize("what", ["image", "invvar", "maskbits", "place", "brick"])
def test_the_rehearsal_sees_what_it_looks_for(tmp_path, what):
    """The positive control: one wrong value in one cutout of the store is found."""
    targets = table(2)
    fetch(targets, tmp_path / "s", config=service(maskbits=True))
    with CutoutStore.open(tmp_path / "s") as store:
        rows = store.manifest.to_dict("records")
        assert [wrong_pixels(SKY, store, index, row) for index, row in enumerate(rows)] == ["", ""]
        shard = store.shards[0].folder
    if what in ("image", "invvar", "maskbits"):
        array = np.load(shard / f"{what}.npy")
        array[1].reshape(-1)[7] += {"image": 0.001, "invvar": 10.0, "maskbits": 1}[what]
        np.save(shard / f"{what}.npy", array)
    elif what == "place":
        rows[1]["x0"] += 1
    else:
        rows[1]["brickname"] = "0001p000"
    with CutoutStore.open(tmp_path / "s") as store:
        found = [wrong_pixels(SKY, store, index, row) for index, row in enumerate(rows)]
    assert found[0] == ""
    assert found[1] != ""


def test_a_rehearsal_needs_a_folder_of_its_own(tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(ProcessError, match="is not empty"):
        rehearse(tmp_path, n=2)


def test_lists_of_any_kind_become_positions(tmp_path):
    csv = tmp_path / "mine.csv"
    csv.write_text("ID,RAJ2000,DEJ2000\nx1,10.5,-3.25\nx2,11.5,91\nx3,12.5,4\n")
    frame, remarks = read_positions(csv, {"name": "ID", "ra": "RAJ2000:deg", "dec": "DEJ2000:deg"})
    assert frame["source_id"].tolist() == ["x1", "x3"]
    assert any("mine.csv" in remark for remark in remarks)
    csv.write_text("ra,dec\n10.5,-3.25\n")
    frame, _ = read_positions(csv)
    assert frame["source_id"].tolist() == ["J10.50000-3.25000"]
    systems = pd.DataFrame({"system_id": ["S1", "S2"], "ra": [1.5, 2.5], "dec": [3.0, 4.0]})
    write_parquet(tmp_path / "systems.parquet", systems)
    frame, remarks = read_positions(tmp_path / "systems.parquet", limit=1)
    assert frame.to_dict("list") == {"source_id": ["S1"], "ra": [1.5], "dec": [3.0]}
    assert remarks == []
    systems = pd.DataFrame(
        {"system_id": list("abcdef"), "ra": np.arange(6) + 0.5, "dec": 1.5, "tier": [4, 1, 3, 2, 1, 4]}
    )
    systems.loc[4, "ra"] = np.nan  # a row that cannot be used does not shift the tiers of the others
    write_parquet(tmp_path / "systems.parquet", systems)
    frame, _ = read_positions(tmp_path / "systems.parquet", limit=3)
    assert frame["source_id"].tolist() == ["b", "c", "d"]


def test_the_verb_speaks_json(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    targets = tmp_path / "targets.parquet"
    write_parquet(targets, table(3))
    with viewer_server(SKY) as server:
        verb(targets, tmp_path / "s", url=server.url, stamp=21, rate=6000.0, as_json=True)
        report = json.loads(capsys.readouterr().out)
        assert (report["requested"], report["fetched"]) == (3, 3)
        verb(targets, tmp_path / "s", url=server.url, stamp=21, rate=6000.0, psf=True, as_json=False)
        assert "3 cutouts in" in capsys.readouterr().out.replace("\n", " ")


def test_a_full_disk_keeps_what_was_written_and_the_next_run_goes_on(tmp_path, monkeypatch):
    whole = Spool.put
    written = []

    def put(self, row, stamp):
        if len(written) == 5:
            raise OSError(errno.ENOSPC, "No space left on device", "spool")
        written.append(row["source_id"])
        return whole(self, row, stamp)

    monkeypatch.setattr(Spool, "put", put)
    one = PACE.model_copy(update={"concurrency": 1})
    with pytest.raises(OSError, match="No space left on device"):
        fetch(table(12), tmp_path / "s", pace=one)
    monkeypatch.setattr(Spool, "put", whole)
    wire = Wire()
    report = fetch(table(12), tmp_path / "s", wire, pace=one)
    assert (report.already_stored, report.fetched, report.total) == (5, 7, 12)
    assert len(wire.asked) == 7
