"""The parent sample from a TAP service: a real server on this machine, whose tables are in SQLite, and its faults."""

import io
import json
import math
import re
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest
from astropy.io.votable import from_table, tree, writeto
from astropy.table import MaskedColumn, Table
from typer.testing import CliRunner

from legacylens.catalog.parent import ParentCuts, select_parent
from legacylens.catalog.parent_tap import parent_from_tap
from legacylens.catalog.sweeps import COLUMNS
from legacylens.catalog.tap import SkyBox, TapConfig, TapTable, parse_box, sweep_rows, tiles_of
from legacylens.cli.main import app
from legacylens.errors import FileProblem, InputError

CUTS = ParentCuts()
BOX = (149.0, 151.0, 1.0, 3.0)


def sources(n=4000, seed=3, ra=(148.5, 151.5), dec=(0.5, 3.5)):
    """Rows as the survey's database has them: sweep columns in lower case, and those that sweeps do not have."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "release": np.where(rng.random(n) < 0.1, 9011, 10002),
            "brickid": rng.integers(1, 600_000, n),
            "brickname": "1500p020",
            "objid": np.arange(n),
            "type": rng.choice(["PSF", "REX", "EXP", "DEV", "SER"], n),
            "ra": rng.uniform(*ra, n) % 360,
            "dec": rng.uniform(*dec, n),
            "ebv": rng.uniform(0, 0.1, n),
            "shape_r": rng.uniform(0.5, 3, n),
            "shape_e1": 0.0,
            "shape_e2": 0.0,
            "sersic": 2.5,
            "maskbits": rng.choice([0, 2, 4096], n),
            "brick_primary": (rng.random(n) < 0.95).astype(int),
            "ls_id": np.arange(n) + 10**15,
        }
    )
    for band, scale in (("g", 0.2), ("r", 0.6), ("z", 1.0)):
        frame[f"flux_{band}"] = scale * rng.uniform(2, 40, n)
        frame[f"mw_transmission_{band}"] = rng.uniform(0.8, 1.0, n)
        frame[f"nobs_{band}"] = rng.integers(1, 8, n)
        for name in ("flux_ivar", "psfsize", "psfdepth", "galdepth", "fracflux"):
            frame[f"{name}_{band}"] = rng.uniform(1, 2, n)
    return frame


def expected_rows(frame, box=BOX):
    """The parents of a box by pandas alone."""
    west, east, low, high = box
    in_ra = frame["ra"].between(west, east) if west < east else ((frame["ra"] >= west) | (frame["ra"] < east))
    inside = frame[in_ra & frame["dec"].between(low, high) & (frame["brick_primary"] == 1)]
    mask, _ = select_parent(inside.assign(brick_primary=True), CUTS)
    return inside[mask]


class Service(ThreadingHTTPServer):
    """Answers ``sync`` and ``async`` as IVOA's TAP 1.1 and UWS say, out of SQLite; faults are planted by a test."""

    daemon_threads = True

    def __init__(self, frame):
        super().__init__(("127.0.0.1", 0), Handler)
        self.database = sqlite3.connect(":memory:", check_same_thread=False)
        self.lock = threading.Lock()
        frame.to_sql("tractor_s", self.database, index=False)
        columns = pd.DataFrame({"table_name": "ls_dr10.tractor_s", "column_name": list(frame.columns)})
        columns.to_sql("columns", self.database, index=False)
        self.hard_limit = 10**9
        self.queries = []
        self.jobs = {}
        self.faults = []  # one for each of the next requests for rows: None, or what to do instead
        self.serialization = "tabledata"

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/tap"

    def run(self, adql, maxrec):
        """Return (QUERY_STATUS, rows): the query is translated to SQLite and evaluated there."""
        self.queries.append(adql)
        top = re.match(r"SELECT TOP (\d+) ", adql)
        sql = re.sub(r"SELECT TOP \d+ ", "SELECT ", adql).replace("ls_dr10.", "").replace("tap_schema.", "")
        # the name of the table as a value must keep its schema
        sql = sql.replace("table_name = 'tractor_s'", "table_name = 'ls_dr10.tractor_s'")
        limit = min(int(top[1]) if top else 10**9, maxrec, self.hard_limit)
        with self.lock:
            rows = pd.read_sql_query(f"{sql} LIMIT {limit + 1}", self.database)
        cut = len(rows) > limit and (limit < int(top[1]) if top else True)
        return ("OVERFLOW" if cut else "OK"), rows.iloc[:limit]

    def votable(self, status, rows):
        table = Table()
        for name in rows.columns:
            values = rows[name]
            masked = values.isna().to_numpy()
            filled = values.fillna(0).to_numpy()
            table[name] = MaskedColumn(filled.astype("U") if filled.dtype == object else filled, mask=masked)
        document = from_table(table)
        document.resources[0].type = "results"
        document.resources[0].infos.append(tree.Info(name="QUERY_STATUS", value=status))
        out = io.BytesIO()
        writeto(document, out, tabledata_format=self.serialization)
        return out.getvalue()


ERROR = b"""<?xml version="1.0"?><VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">
<RESOURCE type="results"><INFO name="QUERY_STATUS" value="ERROR">%s</INFO></RESOURCE></VOTABLE>"""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def reply(self, body, status=200, kind="application/x-votable+xml", **headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def form(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind = self.headers.get("Content-Type", "")
        if kind.startswith("multipart"):
            boundary = kind.split("boundary=")[1].encode()
            found = {}
            for piece in body.split(b"--" + boundary):
                match = re.search(rb'name="(\w+)".*?\r\n\r\n(.*)\r\n$', piece, re.DOTALL)
                if match:
                    found[match[1].decode().upper()] = match[2].decode()
            return found
        return {name.upper(): values[0] for name, values in parse_qs(body.decode()).items()}

    def rows(self, query, maxrec):
        server = self.server
        fault = server.faults.pop(0) if server.faults and "tap_schema" not in query else None
        if isinstance(fault, int):
            return self.reply(b"busy", fault, "text/plain", Retry_After="0")
        if fault == "error-200":
            return self.reply(ERROR % b"function circle does not exist")
        if fault == "text-200":
            return self.reply(b"<html>maintenance</html>", kind="text/html")
        status, rows = server.run(query, maxrec)
        body = server.votable(status, rows)
        if fault == "truncated":
            return self.reply(body[: len(body) * 2 // 3])
        return self.reply(body)

    def do_POST(self):
        server, path, form = self.server, urlsplit(self.path).path, self.form()
        if path == "/tap/sync":
            return self.rows(form["QUERY"], int(form.get("MAXREC", 10**9)))
        if path == "/tap/async":
            name = str(len(server.jobs) + 1)
            server.jobs[name] = {"form": form, "phase": "PENDING", "looks": 0}
            return self.reply(b"", 303, Location=f"{server.url}/async/{name}")
        job = server.jobs[path.split("/")[3]]
        if form.get("PHASE") == "RUN":
            job["phase"] = "QUEUED"
        return self.reply(b"", 303, Location=f"{server.url}/async/{path.split('/')[3]}")

    def do_GET(self):
        server, path = self.server, urlsplit(self.path).path
        name = path.split("/")[3]
        job = server.jobs[name]
        if path.endswith("/results/result"):
            return self.rows(job["form"]["QUERY"], int(job["form"].get("MAXREC", 10**9)))
        if job["phase"] in ("QUEUED", "EXECUTING"):
            job["looks"] += 1
            job["phase"] = "EXECUTING" if job["looks"] < 3 else job.get("end", "COMPLETED")
        done = job["phase"] == "COMPLETED"
        result = f'<uws:result id="result" xlink:href="{server.url}/async/{name}/results/result"/>' if done else ""
        error = '<uws:errorSummary type="fatal"><uws:message>out of memory</uws:message></uws:errorSummary>'
        body = (
            '<uws:job xmlns:uws="http://www.ivoa.net/xml/UWS/v1.0" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'version="1.1"><uws:jobId>{name}</uws:jobId><uws:phase>{job["phase"]}</uws:phase>'
            f"<uws:results>{result}</uws:results>{error if job['phase'] == 'ERROR' else ''}</uws:job>"
        )
        return self.reply(body.encode(), kind="text/xml")

    def do_DELETE(self):
        self.server.jobs[self.path.split("/")[3]]["phase"] = "DELETED"
        self.reply(b"", 303, Location=f"{self.server.url}/async")


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    servers = []

    def start(frame):
        server = Service(frame)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        servers.append((server, thread))
        return server

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()
        server.database.close()


def config(server, **changes):
    return TapConfig(url=server.url, backoff_s=0.0, poll_s=0.01, timeout_s=20.0, **changes)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_the_parents_of_a_box_are_those_of_the_table(serve, tmp_path, mode):
    frame = sources()
    server = serve(frame)
    report = parent_from_tap(BOX, CUTS, config(server, mode=mode), tmp_path / "parent")
    table = pd.read_parquet(tmp_path / "parent/parent.parquet")
    wanted = expected_rows(frame)
    assert len(wanted) > 100
    assert set(table["objid"]) == set(wanted["objid"])
    assert report.selected == len(table) == len(wanted)
    assert not report.left_out
    merged = table.merge(wanted, on="objid", suffixes=("", "_there"))
    np.testing.assert_array_equal(merged["ra"], merged["ra_there"])  # a double comes as a double
    np.testing.assert_allclose(merged["flux_z"], merged["flux_z_there"], rtol=1e-6)
    assert {name: str(kind) for name, kind in table.dtypes.items() if name in COLUMNS} == {
        name: column.dtype for name, column in COLUMNS.items()
    }
    assert "DR9 north" in report.files[0].release
    assert len(report.files) == len(tiles_of(BOX, 1.0)) == 4
    if mode == "async":
        assert {job["phase"] for job in server.jobs.values()} == {"DELETED"}
    assert not (tmp_path / "parent/parts").exists()
    record = json.loads((tmp_path / "parent/provenance.json").read_text())
    assert "ls_dr10.tractor_s" in json.dumps(record["inputs"])


@pytest.mark.parametrize("serialization", ["binary", "binary2"])
def test_binary_votables_are_read_alike(serve, serialization):
    server = serve(sources(500))
    plain = parent_from_tap(BOX, CUTS, config(server), None)
    server.serialization = serialization
    assert parent_from_tap(BOX, CUTS, config(server), None).counts == plain.counts


def test_the_query_is_the_portable_form(serve):
    server = serve(sources(50))
    parent_from_tap(BOX, CUTS, config(server), None)
    rows = [query for query in server.queries if "tap_schema" not in query]
    assert len(rows) == 4
    for query in rows:
        assert query.startswith("SELECT TOP ")
        assert not re.search(r"CIRCLE|CONTAINS|q3c|LIMIT|SELECT \*", query, re.IGNORECASE)
        assert "brick_primary = 1" in query


def test_a_box_through_ra_zero(serve):
    frame = sources(ra=(358.5, 361.5), dec=(-1, 1))
    box = (359.0, 1.0, -0.5, 0.5)
    report = parent_from_tap(box, CUTS, config(serve(frame)), None)
    assert report.selected == len(expected_rows(frame, box)) > 50


@pytest.mark.parametrize("limit", [{"max_rows": 60}, {"hard_limit": 75}])
def test_a_cut_answer_is_never_taken_for_a_whole_one(serve, tmp_path, limit):
    """TOP n reached, or the service's own limit: the box is cut in four until its answers are whole."""
    frame = sources()
    server = serve(frame)
    server.hard_limit = limit.pop("hard_limit", server.hard_limit)
    if "max_rows" not in limit and server.hard_limit < 80:  # the list of columns must pass
        limit["max_rows"] = 200
    report = parent_from_tap(BOX, CUTS, config(server, tile_deg=2.0, **limit), tmp_path / "p")
    assert report.selected == len(expected_rows(frame))
    assert "asked for in" in report.files[0].notes[-1]


@pytest.mark.parametrize(
    ("fault", "reason", "what"),
    [
        ("error-200", "refused", "circle does not exist"),
        ("text-200", "truncated", "no whole VOTable"),
        ("truncated", "truncated", "no whole VOTable"),
        (500, "unreachable", "does not answer"),
    ],
)
def test_a_box_that_fails_is_named_and_the_next_run_asks_for_it_alone(serve, tmp_path, fault, reason, what):
    frame = sources()
    server = serve(frame)
    server.faults = [None, fault]
    report = parent_from_tap(BOX, CUTS, config(server), tmp_path / "p")
    (bad,) = report.left_out
    assert bad.reason == reason
    assert what in bad.problem
    assert report.as_dict()["left_out_by_reason"] == {reason: 1}
    assert 0 < report.selected < len(expected_rows(frame))
    asked = len(server.queries)
    report = parent_from_tap(BOX, CUTS, config(server), tmp_path / "p")
    assert len(server.queries) == asked + 2  # the columns, and one box
    assert report.selected == len(expected_rows(frame))
    assert not report.left_out


def test_a_busy_service_is_asked_again(serve):
    server = serve(sources(500))
    server.faults = [429, 503, None, 503, 429, 502]
    report = parent_from_tap(BOX, CUTS, config(server), None)
    assert not report.left_out
    assert server.faults == []


def test_a_service_that_breaks_down_is_left_alone(serve, tmp_path):
    server = serve(sources(500))
    server.faults = [None] + [500] * 50
    report = parent_from_tap(BOX, CUTS, config(server, tile_deg=0.5, stop_after=2), tmp_path / "p")
    assert len(report.files) == 16
    assert report.as_dict()["left_out_by_reason"] == {"not-asked": 13, "unreachable": 2}
    assert len(server.faults) == 48


def test_a_job_that_fails_says_why(serve):
    server = serve(sources(500))
    table = TapTable(config(server, mode="async", tile_deg=2.0))
    table.columns()
    real = server.jobs.__class__.__setitem__

    class Failing(dict):
        def __setitem__(self, name, job):
            real(self, name, {**job, "end": "ERROR"})

    server.jobs = Failing()
    with pytest.raises(FileProblem, match="out of memory") as caught:
        table.box(SkyBox(ra_min=149.0, ra_max=150.0, dec_min=1.0, dec_max=2.0), CUTS)
    assert caught.value.reason == "refused"
    assert server.jobs["1"]["phase"] == "DELETED"


def test_wrong_tables_and_addresses(serve):
    server = serve(sources(20))
    with pytest.raises(FileProblem, match="no such table"):
        parent_from_tap(BOX, CUTS, config(server, table="ls_dr10.tractr"), None)
    lacking = serve(sources(20).drop(columns=["maskbits", "nobs_z"]))
    with pytest.raises(FileProblem, match=r"without the columns NOBS_Z, MASKBITS"):
        parent_from_tap(BOX, CUTS, config(lacking), None)
    dead = TapConfig(url="http://127.0.0.1:9/tap", attempts=1)
    with pytest.raises(FileProblem, match="does not answer") as caught:
        parent_from_tap(BOX, CUTS, dead, None)
    assert caught.value.reason == "unreachable"


def test_a_table_without_seeing_gives_parents_without_seeing(serve, tmp_path):
    server = serve(sources(800).drop(columns=["psfsize_g", "psfsize_r", "psfsize_z", "brick_primary"]))
    report = parent_from_tap(BOX, CUTS, config(server), tmp_path / "p")
    assert report.files[0].missing == ("psfsize_g", "psfsize_r", "psfsize_z")
    assert pd.read_parquet(tmp_path / "p/parent.parquet")["psfsize_r"].isna().all()


def test_what_is_masked_passes_no_cut():
    frame = sources(6)[[*COLUMNS]].assign(type="SER", nobs_g=5, nobs_r=5, nobs_z=5, maskbits=0, flux_z=50.0)
    for column, cut in (("nobs_z", "nobs_z"), ("maskbits", "maskbits"), ("objid", "position"), ("flux_z", "no_z_flux")):
        changed = frame.astype({column: float})
        changed.loc[2, column] = np.nan
        mask, counts = select_parent(sweep_rows(changed, list(COLUMNS)), CUTS)
        assert mask.tolist() == [True, True, False, True, True, True]
        assert {count.cut: count.removed for count in counts if count.removed} == {cut: 1}


def test_tiles_cover_the_box_once():
    rng = np.random.default_rng(2)
    for box in (BOX, (350.0, 20.0, -89.0, 90.0), (0.0, 360.0, -90.0, -80.0), (10.0, 10.01, 0.0, 0.01)):
        tiles = tiles_of(box, 3.0)
        west, east, low, high = box
        width = (east - west) % 360 or 360.0
        ra, dec = (west + width * rng.random(500)) % 360, rng.uniform(low, high, 500)
        inside = sum(
            ((ra >= t.ra_min) & (ra < t.ra_max) & (dec >= t.dec_min) & (dec < t.dec_max)).astype(int) for t in tiles
        )
        assert np.all(inside == 1)
        for tile in tiles:
            assert tile.dec_max - tile.dec_min <= 3.0 + 1e-9
            nearest = min(abs(tile.dec_min), abs(tile.dec_max)) if tile.dec_min * tile.dec_max > 0 else 0.0
            assert (tile.ra_max - tile.ra_min) * math.cos(math.radians(nearest)) <= 3.0 + 1e-9
            assert sum((q.ra_max - q.ra_min) * (q.dec_max - q.dec_min) for q in tile.quarters()) == pytest.approx(
                (tile.ra_max - tile.ra_min) * (tile.dec_max - tile.dec_min)
            )


@pytest.mark.parametrize("text", ["149,152,1", "a,b,c,d", "149,152,3,1", "149,152,1,91", "-1,3,0,1", "5,5,0,1"])
def test_boxes_that_are_none(text):
    with pytest.raises(InputError, match="box"):
        parse_box(text)


def test_the_verb(serve, tmp_path):
    server = serve(sources(300))
    run = CliRunner()
    arguments = ["parent", "--tap", server.url, "--box", "149,151,1,3", "--out", str(tmp_path / "p"), "--json"]
    result = run.invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["selected"] == len(pd.read_parquet(tmp_path / "p/parent.parquet"))
    for wrong in (["parent"], ["parent", "--tap", server.url], ["parent", "x.fits", "--tap", server.url]):
        with pytest.raises(InputError, match=r"--box|give a release"):
            run.invoke(app, wrong, catch_exceptions=False)
