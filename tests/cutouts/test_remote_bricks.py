"""Bricks over the network: a real web server and a real S3 service on this machine, and what goes wrong with them."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import numpy as np
import pytest

from legacylens.catalog.parent import ParentCuts
from legacylens.catalog.parent_build import build_parent, sweep_paths
from legacylens.catalog.sweeps import open_sweep
from legacylens.cutouts.bricks import cut_targets
from legacylens.cutouts.quarantine import read_quarantine
from legacylens.cutouts.store import CutoutStore
from legacylens.errors import FileProblem
from legacylens.survey.bricks import BrickTable
from legacylens.survey.release import Release


class Files(SimpleHTTPRequestHandler):
    """Serves files and listings of folders, as the survey's portal does; a test may spoil a path."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        fault = next((what for part, what in self.server.faults.items() if part in self.path), None)
        if isinstance(fault, int):
            return self.send_error(fault)
        if fault == "html-200":
            body = b"<html>The portal is down for maintenance</html>" * 100
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            return self.wfile.write(body)
        if fault in ("cut", "cut-silent"):
            with Path(self.translate_path(self.path)).open("rb") as handle:
                body = handle.read()
            self.send_response(200)
            if fault == "cut":  # the connection breaks
                self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return None
        return super().do_GET()

    def do_HEAD(self):
        fault = next((what for part, what in self.server.faults.items() if part in self.path), None)
        return self.send_error(fault) if isinstance(fault, int) else super().do_HEAD()


@pytest.fixture
def web(shared_release, monkeypatch):
    monkeypatch.setattr("legacylens.survey.remote.PAUSE_S", 0.01)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(shared_release.root)))
    server.daemon_threads = True
    server.asked, server.faults = [], {}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def same_store(one, two):
    one, two = CutoutStore.open(one), CutoutStore.open(two)
    every = range(len(one))
    return (
        len(one) > 0
        and one.manifest.equals(two.manifest)
        and np.array_equal(one.images(every), two.images(every))
        and np.array_equal(one.invvars(every), two.invvars(every))
        and np.array_equal(one.maskbits(every), two.maskbits(every))
    )


def test_a_release_behind_a_web_server_gives_the_same_store(shared_release, web, tmp_path):
    targets = shared_release.targets(8)
    report = cut_targets(Release.open(web.url), targets, tmp_path / "web")
    cut_targets(shared_release.release, targets, tmp_path / "disk")
    assert (report.cut, report.quarantined, report.unverified_files) == (8, 0, 0)
    assert same_store(tmp_path / "web", tmp_path / "disk")
    # Each file of a brick is fetched once for all its targets.
    bricks = [path for path in web.asked if path.endswith(".fits.fz")]
    assert len(bricks) == len(set(bricks)) == 20


def test_processes_fetch_for_themselves(shared_release, web, tmp_path):
    targets = shared_release.targets(8)
    report = cut_targets(Release(root=web.url), targets, tmp_path / "web", workers=2)
    cut_targets(shared_release.release, targets, tmp_path / "disk")
    assert report.cut == 8
    assert same_store(tmp_path / "web", tmp_path / "disk")


def test_a_cache_keeps_what_was_fetched(shared_release, web, tmp_path):
    targets = shared_release.targets(8)
    release = Release.open(web.url, cache=tmp_path / "cache")
    cut_targets(release, targets, tmp_path / "one")
    web.asked.clear()
    cut_targets(release, targets, tmp_path / "two")
    assert not [path for path in web.asked if path.endswith(".fits.fz")]
    assert same_store(tmp_path / "one", tmp_path / "two")


def test_without_a_cache_the_disk_does_not_fill(shared_release, web, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    cut_targets(Release(root=web.url), shared_release.targets(4), tmp_path / "s")
    left = [path for path in (tmp_path / "tmp").rglob("*") if path.is_file() and path.stat().st_size > 20_000]
    assert left == []


@pytest.mark.parametrize(
    ("fault", "reasons"),
    [
        (404, {"missing-band"}),
        (403, {"unreachable"}),
        (503, {"unreachable"}),
        ("html-200", {"checksum", "not-fits"}),
        ("cut", {"unreachable"}),
        ("cut-silent", {"checksum"}),
    ],
)
def test_a_file_that_does_not_come_whole_costs_its_brick_until_the_next_run(
    shared_release, web, tmp_path, fault, reasons
):
    targets = shared_release.targets(6)
    release = Release(root=web.url, cache=str(tmp_path / "cache"))
    web.faults = {"0100p000/legacysurvey-0100p000-image-r": fault}
    report = cut_targets(release, targets, tmp_path / "s")
    assert (report.cut, report.quarantined) == (3, 3)
    assert set(report.reasons) <= reasons
    table = read_quarantine(tmp_path / "s")
    assert table["file"].str.startswith(web.url).all()
    assert (table["remedy"].str.len() > 10).all()
    web.faults = {}
    report = cut_targets(release, targets, tmp_path / "s")
    assert (report.cut, report.quarantined, report.total) == (3, 0, 6)
    cut_targets(shared_release.release, targets, tmp_path / "disk")
    store, disk = CutoutStore.open(tmp_path / "s"), CutoutStore.open(tmp_path / "disk")
    rows = disk.index_of(store.manifest["source_id"].tolist())
    assert np.array_equal(store.images(range(6)), disk.images(rows))


def test_a_file_that_fails_for_a_moment_is_fetched_all_the_same(shared_release, web, tmp_path):
    """Nor does a hiccup turn a map of the seeing, or a list of checksums, into an absent one."""
    faults = iter([503, "cut", None, 503, 500, None])

    class Once(dict):
        def items(self):
            fault = next(faults, None)
            return [("psfsize-r", fault), ("sha256sum", fault)] if fault else []

    web.faults = Once()
    targets = shared_release.targets(4)
    report = cut_targets(Release(root=web.url), targets, tmp_path / "web")
    cut_targets(shared_release.release, targets, tmp_path / "disk")
    assert (report.cut, report.unverified_files) == (4, 0)
    assert same_store(tmp_path / "web", tmp_path / "disk")


@pytest.mark.parametrize("part", ["psfsize-r", "sha256sum"])
def test_what_stays_out_of_reach_is_not_taken_for_absent(shared_release, web, tmp_path, part):
    web.faults = {part: 503}
    report = cut_targets(Release(root=web.url), shared_release.targets(4), tmp_path / "web")
    assert set(report.reasons) == {"unreachable"}


def test_a_server_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr("legacylens.survey.remote.PAUSE_S", 0.01)
    with pytest.raises(FileProblem, match=r"127\.0\.0\.1:9/survey-bricks"):
        BrickTable.read(Release(root="http://127.0.0.1:9"))
    with pytest.raises(FileProblem, match=r"no release|cannot be"):
        Release.open("http://127.0.0.1:9")
    with pytest.raises(FileProblem, match=r"127\.0\.0\.1:9"):
        build_parent([Release(root="http://127.0.0.1:9")], ParentCuts(), None)


def test_sweeps_are_found_behind_a_web_server(shared_release, web):
    folder = shared_release.root / "south/sweep/10.1"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("sweep-000m005-005p000.fits", "sweep-005m005-010p000.fits"):
        (folder / name).write_bytes(b"x")
    try:
        paths = sweep_paths([web.url])
    finally:
        for path in folder.glob("*.fits"):
            path.unlink()
    assert [path.rsplit("/", 1)[-1] for path in paths] == ["sweep-000m005-005p000.fits", "sweep-005m005-010p000.fits"]
    assert all(path.startswith(web.url) for path in paths)


@pytest.mark.parametrize("fault", [403, 503, "cut", "html-200"])
def test_a_sweep_that_cannot_be_had_is_named(shared_release, web, fault):
    web.faults = {"sweep-000m005": fault}
    url = f"{web.url}/south/sweep/10.1/sweep-000m005-005p000.fits"
    path = shared_release.root / "south/sweep/10.1/sweep-000m005-005p000.fits"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"SIMPLE  =" + b" " * 9000)
    try:
        with pytest.raises(FileProblem, match=r"127\.0\.0\.1"):
            open_sweep(url)
    finally:
        path.unlink()


def test_a_release_in_s3_gives_the_same_store(shared_release, tmp_path, monkeypatch):
    pytest.importorskip("s3fs", reason="s3 addresses need s3fs")
    server_of = pytest.importorskip("moto.server", reason="moto is the S3 service of this test").ThreadedMotoServer
    server = server_of(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    try:
        s3 = fsspec.filesystem("s3")
        s3.mkdir("survey")
        s3.put(str(shared_release.root), "survey/dr10", recursive=True)
        targets = shared_release.targets(4)
        report = cut_targets(Release.open("s3://survey/dr10"), targets, tmp_path / "s3")
        assert (report.cut, report.quarantined, report.unverified_files) == (4, 0, 0)
        cut_targets(shared_release.release, targets, tmp_path / "disk")
        assert same_store(tmp_path / "s3", tmp_path / "disk")
        s3.rm("survey/dr10/south/coadd/010/0100p000/legacysurvey-0100p000-image-z.fits.fz")
        report = cut_targets(Release(root="s3://survey/dr10"), targets, tmp_path / "less")
        assert report.reasons == {"missing-band": 2}
    finally:
        server.stop()
        s3.clear_instance_cache()


def test_an_s3_address_without_s3fs_says_what_is_missing(monkeypatch):
    def without(url):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("legacylens.survey.remote.url_to_fs", without)
    with pytest.raises(FileProblem, match=r"Install s3fs.*legacylens\[s3\]"):
        Release.open("s3://survey/dr10")
