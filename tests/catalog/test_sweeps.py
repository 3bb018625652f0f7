"""The reader of sweeps against fitsio and astropy, and against files that are broken in known ways."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fitsio
import fsspec
import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from legacylens.catalog.parent import ParentCuts
from legacylens.catalog.parent_build import build_parent
from legacylens.catalog.sweeps import (
    COLUMNS,
    SWEEP_COLUMNS,
    describe_missing,
    iter_sweep,
    open_sweep,
    read_sweep,
)
from legacylens.errors import FileProblem
from legacylens.survey.remote import cached_path


def test_values_agree_with_fitsio(make_sweep):
    path = make_sweep(n=40)
    ours, theirs = read_sweep(str(path)), fitsio.read(str(path))
    assert list(ours.columns) == [column.name for column in SWEEP_COLUMNS]
    for column in SWEEP_COLUMNS:
        expected = theirs[column.name.upper()]
        if column.dtype == "str":
            assert ours[column.name].tolist() == [str(value).strip() for value in expected]
        else:
            assert ours[column.name].dtype == np.dtype(column.dtype)
            assert ours[column.name].dtype.isnative
            np.testing.assert_array_equal(ours[column.name], expected)


@given(rows=st.integers(1, 50), n=st.integers(0, 30))
def test_blocks_join_to_the_whole(tmp_path_factory, rows, n):
    folder = tmp_path_factory.mktemp("blocks")
    path = folder / "sweep.fits"
    table = np.zeros(n, dtype=[("RELEASE", "i2"), ("BRICKID", "i4"), ("BRICKNAME", "S8"), ("OBJID", "i4"),
                               ("TYPE", "S4"), ("RA", "f8"), ("DEC", "f8")])  # fmt: skip
    table["RA"] = np.random.default_rng(1).uniform(0, 360, n)
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(table)]).writeto(path)
    blocks = list(iter_sweep(str(path), ["ra", "TYPE"], rows=rows))
    assert all(len(block) <= rows for block in blocks)
    joined = pd.concat(blocks)
    assert joined.index.tolist() == list(range(n))
    np.testing.assert_array_equal(joined["ra"].to_numpy(), table["RA"])
    assert list(joined.columns) == ["ra", "type"]


def test_names_in_any_case_and_columns_outside_the_list(make_sweep):
    path = make_sweep(flux_w1=np.arange(12, dtype="f4"))
    block = read_sweep(str(path), ["RA", "Flux_W1"])
    assert block["flux_w1"].tolist() == list(range(12))


def test_types_are_text_without_padding(make_sweep):
    path = make_sweep(n=3, type=np.array([b"PSF ", b"SER", b"DUP"], dtype="S4"))
    assert read_sweep(str(path), ["type"])["type"].tolist() == ["PSF", "SER", "DUP"]


def test_logical_and_scaled_columns(make_sweep):
    primary = np.array([True, False, True])
    path = make_sweep(n=3, brick_primary=primary, ref_id=np.array([1, 2, 2**32 - 1], "u4"))  # unsigned: TZERO = 2^31
    frame = read_sweep(str(path), ["brick_primary", "ref_id"])
    assert frame["brick_primary"].tolist() == primary.tolist()
    assert frame["ref_id"].tolist() == [1, 2, 2**32 - 1]


def test_gzip_is_read_without_holding_it(make_sweep, tmp_path):
    path = make_sweep(n=25)
    zipped = tmp_path / "sweep-110p020-115p025.fits.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    pd.testing.assert_frame_equal(read_sweep(str(path)), read_sweep(str(zipped)))


def test_url_is_read_in_blocks(make_sweep):
    path = make_sweep(n=25)
    with fsspec.open("memory://sky/sweep.fits", "wb") as handle:
        handle.write(path.read_bytes())
    pd.testing.assert_frame_equal(read_sweep(str(path)), read_sweep("memory://sky/sweep.fits"))


def test_release_is_named(make_sweep):
    assert open_sweep(str(make_sweep())).release_name == "DR10.1 (DECam)"
    strange = make_sweep(release=np.full(12, 12345, "i2"))
    assert "RELEASE 12345, which legacylens does not know" in open_sweep(str(strange)).release_name


def test_missing_columns_are_all_named_with_their_meaning(make_sweep):
    path = make_sweep(sersic=None, psfsize_g=None, nobs_z=None)
    with pytest.raises(FileProblem, match=r"without the columns NOBS_Z; PSFSIZE_G \(.*SERSIC \(before DR9") as caught:
        read_sweep(str(path))
    assert caught.value.reason == "missing-columns"
    assert str(path) in str(caught.value)


def test_missing_counts_cannot_be_filled(make_sweep):
    path = make_sweep(sersic=None, nobs_z=None)
    with pytest.raises(FileProblem, match="without the columns NOBS_Z"):
        read_sweep(str(path), fill_missing=True)


def test_shapes_of_an_older_release_are_taken_by_type(make_sweep):
    older = {
        f"shape{kind}_{part}": np.full(4, value, "f4")
        for kind, value in (("dev", 2.0), ("exp", 1.0))
        for part in ("r", "e1", "e2")
    }
    path = make_sweep(
        n=4,
        type=np.array([b"DEV ", b"EXP ", b"PSF ", b"COMP"], "S4"),
        shape_r=None,
        shape_e1=None,
        shape_e2=None,
        sersic=None,
        **older,
    )
    file = open_sweep(str(path))
    assert file.missing() == file.translated() == ("shape_r", "shape_e1", "shape_e2", "sersic")
    frame = read_sweep(str(path), fill_missing=True)
    np.testing.assert_array_equal(frame["shape_r"], [2, 1, 0, np.nan])
    np.testing.assert_array_equal(frame["sersic"], [4, 1, 0, np.nan])


def test_seeing_that_is_missing_stays_unknown(make_sweep):
    frame = read_sweep(str(make_sweep(psfsize_r=None)), fill_missing=True)
    assert frame["psfsize_r"].isna().all()
    assert frame["psfsize_g"].notna().all()


@pytest.mark.parametrize("kept", [0, 1500, 2880, 5000])
def test_cut_inside_a_header(make_sweep, kept):
    path = make_sweep()
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(FileProblem, match=r"empty|ends inside a header|not a sweep") as caught:
        open_sweep(str(path))
    assert caught.value.reason in ("truncated", "not-a-sweep")


def test_cut_inside_the_rows(make_sweep):
    path = make_sweep(n=200)
    file = open_sweep(str(path))
    path.write_bytes(path.read_bytes()[: file.data_start + 50 * file.row_bytes + 7])
    with pytest.raises(FileProblem, match=r"50 of the 200 rows") as caught:
        read_sweep(str(path))
    assert caught.value.reason == "truncated"


def test_gzip_cut_inside_the_rows(make_sweep, tmp_path):
    zipped = tmp_path / "cut.fits.gz"
    zipped.write_bytes(gzip.compress(make_sweep(n=400).read_bytes())[:-200])
    with pytest.raises(FileProblem, match=r"ends too early|rows that its header promises") as caught:
        read_sweep(str(zipped))
    assert caught.value.reason == "truncated"


def test_text_is_not_fits(tmp_path):
    page = tmp_path / "sweep-000m005-005p000.fits"
    page.write_text("<html>429 Too Many Requests</html>")
    with pytest.raises(FileProblem, match="not FITS: it starts with '<html>429 Too Many Reque'") as caught:
        open_sweep(str(page))
    assert caught.value.reason == "not-fits"


def test_absent(tmp_path):
    with pytest.raises(FileProblem, match="no such file"):
        open_sweep(str(tmp_path / "none.fits"))


def test_image_and_other_tables_are_no_sweeps(tmp_path):
    image = tmp_path / "image.fits"
    fits.PrimaryHDU(np.zeros((30, 40), "f4")).writeto(image)
    with pytest.raises(FileProblem, match="it has no table"):
        open_sweep(str(image))
    other = tmp_path / "ccds.fits"
    rows = np.zeros(3, dtype=[("EXPNUM", "i4"), ("RA", "f8"), ("DEC", "f8")])
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(rows)]).writeto(other)
    with pytest.raises(FileProblem, match="its table has the columns expnum, ra, dec"):
        open_sweep(str(other))


def test_table_behind_images_is_found(make_sweep, tmp_path):
    path = make_sweep(n=5)
    with fits.open(path) as hdus:
        moved = tmp_path / "tractor.fits"
        image = fits.ImageHDU(np.ones((50, 70), "f4"))
        fits.HDUList([fits.PrimaryHDU(np.zeros((9, 9), "i2")), image, hdus[1]]).writeto(moved)
    pd.testing.assert_frame_equal(read_sweep(str(path)), read_sweep(str(moved)))


def test_bytes_that_are_no_text(make_sweep):
    path = make_sweep(n=2, brickname=np.array([b"\xff\xfe12", b"1126p222"], "S8"))
    with pytest.raises(FileProblem, match="BRICKNAME holds bytes that are no text"):
        read_sweep(str(path))


def test_groups_of_missing_columns():
    assert describe_missing(["ra"]) == ["RA"]
    assert len(describe_missing(["psfsize_g", "psfsize_r", "sersic", "objid"])) == 3


def test_every_column_is_described_once():
    assert len(COLUMNS) == len(SWEEP_COLUMNS)
    assert all(column.description and column.name == column.name.lower() for column in SWEEP_COLUMNS)


@pytest.mark.real
def test_real_files_of_an_older_release(real_data: Path):
    for path in sorted((real_data / "sweeps").glob("*.fits")):
        file = open_sweep(str(path))
        assert file.release_name == "DR8 south (DECam)"
        assert file.n_rows == 6
        assert file.missing() == (
            "psfsize_g", "psfsize_r", "psfsize_z", "shape_r", "shape_e1", "shape_e2", "sersic",
        )  # fmt: skip
        frame = read_sweep(str(path), fill_missing=True)
        theirs = fitsio.read(str(path))
        np.testing.assert_array_equal(frame["flux_z"], theirs["FLUX_Z"])
        assert frame["type"].tolist() == [str(value).strip() for value in theirs["TYPE"]]
        deep = frame["type"] == "DEV"
        np.testing.assert_array_equal(frame.loc[deep, "shape_r"], theirs["SHAPEDEV_R"][deep])
        with pytest.raises(FileProblem, match="PSFSIZE_G, PSFSIZE_R, PSFSIZE_Z"):
            read_sweep(str(path))
    for path in sorted((real_data / "sweeps").glob("not_a_*")):
        with pytest.raises(FileProblem, match="not FITS: it starts with 'This is a test file"):
            open_sweep(str(path))


class _Ranges(BaseHTTPRequestHandler):
    """A web server of files that answers requests for a part of a file, or ignores that they ask for a part."""

    content: bytes = b""
    ranges: bool = True

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        if self.path.endswith("none.fits"):
            self.send_error(404)
            return
        wanted = self.headers.get("Range")
        part = self.content
        if wanted and self.ranges:
            start, _, stop = wanted.removeprefix("bytes=").partition("-")
            part = self.content[int(start) : int(stop) + 1 if stop else None]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{int(start) + len(part) - 1}/{len(self.content)}")
        else:
            self.send_response(200)
        if self.ranges:
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if body:
            self.wfile.write(part)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def web_server():
    pytest.importorskip("aiohttp", reason="fsspec reads http with aiohttp")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Ranges)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_sweep_over_http(make_sweep, web_server, monkeypatch):
    path = make_sweep(n=3000)
    monkeypatch.setattr(_Ranges, "content", path.read_bytes())
    monkeypatch.setattr(_Ranges, "ranges", True)
    pd.testing.assert_frame_equal(read_sweep(str(path)), read_sweep(f"{web_server}/sweep.fits"))
    with pytest.raises(FileProblem, match="not found, or its server"):
        open_sweep(f"{web_server}/none.fits")
    monkeypatch.setattr(_Ranges, "content", path.read_bytes()[:-30_000])
    with pytest.raises(FileProblem, match=r"of the 3,000 rows") as caught:
        open_sweep(f"{web_server}/cut.fits")
    assert caught.value.reason == "truncated"


def test_a_server_that_sends_only_whole_files(make_sweep, web_server, monkeypatch, tmp_path):
    path = make_sweep(n=30)
    monkeypatch.setattr(_Ranges, "content", path.read_bytes())
    monkeypatch.setattr(_Ranges, "ranges", False)
    url = f"{web_server}/whole.fits"
    pd.testing.assert_frame_equal(read_sweep(str(path)), read_sweep(url))
    assert cached_path(url, None).exists()
    report = build_parent([url], ParentCuts(), tmp_path / "p")
    assert report.selected == 30
    assert not cached_path(url, None).exists()


def test_nobody_answers():
    pytest.importorskip("aiohttp", reason="fsspec reads http with aiohttp")
    with pytest.raises(FileProblem, match="its server does not answer"):
        open_sweep("http://127.0.0.1:9/sweep.fits")
