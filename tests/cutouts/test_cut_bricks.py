"""Stamps are the brick's own pixels; what cannot be cut is named, and the rest goes on."""

import gzip
import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import fitsio
import fsspec
import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from pydantic import ValidationError

from legacylens.cutouts import checksums, pool
from legacylens.cutouts.bricks import cut_targets
from legacylens.cutouts.checksums import VerifiedFiles, read_checksums
from legacylens.cutouts.coadd import CoaddFile, _rectangles
from legacylens.cutouts.quarantine import read_quarantine
from legacylens.cutouts.stamps import NO_DATA_BITS, CutoutConfig
from legacylens.cutouts.store import CutoutStore
from legacylens.errors import FileProblem, InputError
from legacylens.survey.release import Release

COMPRESSION = {
    "image": "[compress R 100,100; qz -1e-4]",
    "invvar": "[compress R 100,100; qz 16]",
    "maskbits": "[compress H 100,100]",
    "psfsize": "[compress G 100,100; qz 0]",
}


def everything(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def times(path: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in sorted(path.rglob("*"))}


def reasons(out) -> dict[str, str]:
    table = read_quarantine(out)
    return dict(zip(table["source_id"], table["reason"], strict=True))


# ---------------------------------------------------------------- the pixels


def test_every_pixel_is_the_bricks_own(shared_release, tmp_path):
    targets = shared_release.targets(12)
    report = cut_targets(shared_release.release, targets, tmp_path / "s")
    assert (report.requested, report.cut, report.quarantined, report.bricks) == (12, 12, 0, 2)
    store = CutoutStore.open(tmp_path / "s")
    manifest = store.manifest.set_index("source_id")
    for row, source_id in enumerate(store.manifest["source_id"]):
        target = targets.set_index("source_id").loc[source_id]
        brick, x0, y0 = (manifest.loc[source_id, name] for name in ("brickname", "x0", "y0"))
        assert brick == target["brickname"]
        window = np.s_[y0 : y0 + 101, x0 : x0 + 101]
        cutout = store.cutout(row)
        for plane, band in enumerate("grz"):
            assert np.array_equal(cutout.image[plane], shared_release.pixels(brick, "image", band)[window])
            assert np.array_equal(cutout.invvar[plane], shared_release.pixels(brick, "invvar", band)[window])
            at_source = shared_release.pixels(brick, "psfsize", band)[y0 + 50, x0 + 50]
            assert manifest.loc[source_id, f"psfsize_{band}"] == at_source
        assert np.array_equal(cutout.maskbits, shared_release.pixels(brick, "maskbits")[window])
        assert cutout.ra == target["ra"]
    assert (manifest["origin"] == "dr10/south/" + manifest["brickname"]).all()
    assert (manifest["padded"] == 0).all()


def test_the_source_is_within_half_a_pixel_of_the_center(shared_release, tmp_path):
    name = shared_release.names[0]
    offsets = [(-0.4, 0.3), (0.0, 0.0), (0.45, -0.45), (0.2, 0.49)]
    targets = pd.DataFrame([shared_release.target(name, 200 + a, 220 + b, f"s{k}") for k, (a, b) in enumerate(offsets)])
    cut_targets(shared_release.release, targets, tmp_path / "s")
    manifest = CutoutStore.open(tmp_path / "s").manifest
    assert (manifest["x0"] == 150).all()
    assert (manifest["y0"] == 170).all()
    # The position goes to the sky and back; 1e-6 pixels are a quarter of a microarcsecond.
    np.testing.assert_allclose(manifest[["dx", "dy"]].to_numpy(), offsets, atol=1e-6)


def test_east_is_left_and_north_is_up(shared_release, tmp_path):
    name = shared_release.names[0]
    ra, dec = shared_release.center(name)
    rows = [("center", ra, dec), ("east", ra + 10 / 3600, dec), ("north", ra, dec + 10 / 3600)]
    cut_targets(shared_release.release, pd.DataFrame(rows, columns=["source_id", "ra", "dec"]), tmp_path / "s")
    manifest = CutoutStore.open(tmp_path / "s").manifest.set_index("source_id").astype({"x0": float, "y0": float})
    x, y = manifest["x0"] + manifest["dx"], manifest["y0"] + manifest["dy"]
    # 10 arcsec in pixels; the tangent plane departs from the sphere by 1e-8 of it.
    assert (x["east"] - x["center"], y["east"] - y["center"]) == pytest.approx((-10 / 0.262, 0.0), abs=1e-4)
    assert (x["north"] - x["center"], y["north"] - y["center"]) == pytest.approx((0.0, 10 / 0.262), abs=1e-4)


def test_survey_compression_reads_as_astropy_reads_it(known_release, tmp_path):
    release = known_release(compression=COMPRESSION)
    cut_targets(release.release, release.targets(8), tmp_path / "s")
    store = CutoutStore.open(tmp_path / "s")
    for index in range(len(store)):
        row, cutout = store.manifest.iloc[index], store.cutout(index)
        window = np.s_[row["y0"] : row["y0"] + 101, row["x0"] : row["x0"] + 101]
        for plane, band in enumerate("grz"):
            for kind, pixels in (("image", cutout.image), ("invvar", cutout.invvar)):
                with fits.open(release.path(row["brickname"], kind, band)) as hdus:
                    assert np.array_equal(pixels[plane], hdus[1].data[window])
        # Quantized in steps of 1e-4 with a dither: no pixel is off by more than half a step.
        truth = release.pixels(row["brickname"], "image", "r")[window]
        assert np.abs(cutout.image[1] - truth).max() <= 0.51e-4


@pytest.mark.parametrize("shape", ["[compress G 100,100; qz 0]", "[compress G; qz 0]", "[compress G 37,250; qz 0]"])
def test_any_tiling_gives_the_same_windows(known_release, shape):
    release = known_release(names=("0100p000",), compression=dict.fromkeys(COMPRESSION, shape))
    pixels = release.pixels("0100p000", "image", "g")
    rng = np.random.default_rng(5)
    x0, y0 = rng.integers(-30, release.side - 20, (2, 25))
    path = release.path("0100p000", "image", "g")
    with CoaddFile(str(path), path) as file:
        windows = file.windows(x0, y0, 51, np.float32)
    padded = np.pad(pixels, 100)
    for window, x, y in zip(windows, x0 + 100, y0 + 100, strict=True):
        assert np.array_equal(window, padded[y : y + 51, x : x + 51])


def test_tiles_are_covered_once():
    rng = np.random.default_rng(6)
    for fill in (0.0, 0.2, 0.9, 1.0):
        needed = rng.random((13, 17)) < fill
        hits = np.zeros(needed.shape, int)
        for (row, end_row), (column, end_column) in _rectangles(needed):
            hits[row:end_row, column:end_column] += 1
        assert np.array_equal(hits, needed.astype(int))


# ---------------------------------------------------------------- edges


def test_at_an_edge_the_neighbor_in_which_the_stamp_is_whole_is_used(shared_release, tmp_path):
    left, right = shared_release.names
    # East is left: low columns of brick 0 lie in brick 1.
    target = shared_release.target(left, 45.0, 300.0)
    report = cut_targets(shared_release.release, pd.DataFrame([target]), tmp_path / "s")
    assert (report.cut, report.from_neighbor, report.padded) == (1, 1, 0)
    row = CutoutStore.open(tmp_path / "s").manifest.iloc[0]
    assert row["brickname"] == right
    window = np.s_[row["y0"] : row["y0"] + 101, row["x0"] : row["x0"] + 101]
    assert np.array_equal(
        CutoutStore.open(tmp_path / "s").images([0])[0, 2], shared_release.pixels(right, "image", "z")[window]
    )


def test_without_a_neighbor_the_stamp_is_padded_and_marked(shared_release, tmp_path):
    name = shared_release.names[0]
    report = cut_targets(
        shared_release.release, pd.DataFrame([shared_release.target(name, 300.0, 30.0)]), tmp_path / "s"
    )
    assert (report.cut, report.padded, report.from_neighbor) == (1, 1, 0)
    store = CutoutStore.open(tmp_path / "s")
    cutout = store.cutout(0)
    assert store.manifest["padded"].tolist() == [20 * 101]
    assert (cutout.image[:, :20] == 0).all()
    assert (cutout.invvar[:, :20] == 0).all()
    assert (cutout.maskbits[:20] == NO_DATA_BITS).all()
    assert np.array_equal(cutout.image[0, 20:], shared_release.pixels(name, "image")[:81, 250:351])
    assert not (cutout.maskbits[20:] & NO_DATA_BITS).any()


def test_or_refused(shared_release, tmp_path):
    name = shared_release.names[0]
    targets = pd.DataFrame([shared_release.target(name, 300.0, 30.0, "a"), shared_release.target(name, 300, 300, "b")])
    report = cut_targets(shared_release.release, targets, tmp_path / "s", CutoutConfig(edge="refuse"))
    assert (report.cut, report.reasons) == (1, {"over-edge": 1})
    assert "is whole in no brick" in read_quarantine(tmp_path / "s")["what"].iloc[0]


def test_a_position_outside_of_its_brick_is_refused(shared_release, tmp_path):
    name = shared_release.names[0]
    targets = pd.DataFrame(
        [
            {**shared_release.target(name, 300.0, -30.0), "source_id": "below"},
            {"source_id": "antipode", "ra": 190.0, "dec": 0.0, "brickname": name},
        ]
    )
    report = cut_targets(shared_release.release, targets, tmp_path / "s")
    assert report.reasons == {"over-edge": 2}


def test_a_broken_neighbor_leaves_the_own_brick_with_padding(known_release, tmp_path):
    release = known_release()
    path = release.path("0101p000", "invvar", "r")
    path.write_bytes(path.read_bytes()[:3000])
    report = cut_targets(release.release, pd.DataFrame([release.target("0100p000", 45.0, 300.0)]), tmp_path / "s")
    assert (report.cut, report.padded, report.from_neighbor) == (1, 1, 0)
    release.path("0101p000", "image", "g").unlink()
    report = cut_targets(release.release, pd.DataFrame([release.target("0100p000", 44.0, 300.0)]), tmp_path / "s")
    assert (report.cut, report.padded, report.quarantined) == (1, 1, 0)


# ---------------------------------------------------------------- faults


def spoil_missing_band(release):
    release.path("0100p000", "image", "z").unlink()


def spoil_missing_invvar(release):
    release.path("0100p000", "invvar", "r").unlink()


def spoil_missing_maskbits(release):
    release.path("0100p000", "maskbits").unlink()


def spoil_missing_brick(release):
    shutil.rmtree(release.release.brick_folder("0100p000"))


def spoil_by_cutting(release):
    path = release.path("0100p000", "invvar", "g")
    path.write_bytes(path.read_bytes()[:-3000])
    release.write_checksums("0100p000")


def spoil_by_emptying(release):
    release.path("0100p000", "image", "r").write_bytes(b"")
    release.write_checksums("0100p000")


def spoil_with_html(release):
    release.path("0100p000", "image", "r").write_bytes(b"<html>502 Bad Gateway</html>" * 50)
    release.write_checksums("0100p000")


def spoil_a_byte(release):
    path = release.path("0100p000", "maskbits")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


def spoil_the_list(release):
    Path(release.release.checksum_path("0100p000")).write_text("no digest here\n")


def spoil_the_list_with_bytes(release):
    Path(release.release.checksum_path("0100p000")).write_bytes(gzip.compress(b"x"))


def spoil_with_another_grid(release):
    pixels = release.pixels("0100p000", "invvar", "z")
    release.write_file("0100p000", "invvar", "z", pixels, center=(10.5, 0.0))
    release.write_checksums("0100p000")


def spoil_with_another_size(release):
    release.write_file("0100p000", "psfsize", "z", release.pixels("0100p000", "psfsize", "z")[:-7])
    release.write_checksums("0100p000")


def spoil_without_wcs(release):
    path = release.path("0100p000", "image", "g")
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(release.pixels("0100p000", "image"))]).writeto(path, overwrite=True)
    release.write_checksums("0100p000")


def spoil_with_another_scale(release):
    path = release.path("0100p000", "image", "g")
    header = fits.getheader(path, 1)
    for card in ("CD1_1", "CD2_2"):
        header[card] /= 2
    pixels = release.pixels("0100p000", "image")
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(pixels, header)]).writeto(path, overwrite=True)
    release.write_checksums("0100p000")


def spoil_with_another_release(release):
    path = release.path("0100p000", "invvar", "r")
    with fitsio.FITS(str(path), "rw") as hdus:
        hdus[1].write_key("DRVERSIO", 9012)
    release.write_checksums("0100p000")


def spoil_with_a_table(release):
    fits.HDUList(
        [fits.PrimaryHDU(), fits.BinTableHDU.from_columns([fits.Column("A", "J", array=np.arange(5))])]
    ).writeto(release.path("0100p000", "image", "g"), overwrite=True)
    release.write_checksums("0100p000")


def spoil_with_a_cube(release):
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((3, 5, 5), np.float32))]).writeto(
        release.path("0100p000", "image", "g"), overwrite=True
    )
    release.write_checksums("0100p000")


def spoil_without_extension(release):
    fits.PrimaryHDU(release.pixels("0100p000", "image")).writeto(release.path("0100p000", "image", "g"), overwrite=True)
    release.write_checksums("0100p000")


def blank(release, value):
    pixels = release.pixels("0100p000", "image", "r")
    pixels[:] = value
    release.write_file("0100p000", "image", "r", pixels)
    release.write_checksums("0100p000")


@pytest.mark.parametrize(
    ("spoil", "reason", "what"),
    [
        (spoil_missing_band, "missing-band", "no z band"),
        (spoil_missing_invvar, "missing-band", "no r band"),
        (spoil_missing_maskbits, "missing", "not found"),
        (spoil_missing_brick, "missing-brick", "no such brick folder"),
        (spoil_by_cutting, "truncated", "cut short"),
        (spoil_by_emptying, "truncated", "empty file"),
        (spoil_with_html, "not-fits", "starts with b'<html>'"),
        (spoil_a_byte, "checksum", "the release's list says"),
        (spoil_the_list, "checksum", "line 1 is no"),
        (spoil_the_list_with_bytes, "checksum", "not a text file"),
        (spoil_with_another_grid, "grid-mismatch", "not those of the brick's first image"),
        (spoil_with_another_size, "grid-mismatch", "not those of the brick's first image"),
        (spoil_without_wcs, "no-wcs", "no CTYPE1"),
        (spoil_with_another_scale, "wrong-scale", "pixels of 0.1310 arcsec"),
        (spoil_with_another_release, "other-release", "a file of DR9 in a release that is DR10"),
        (spoil_with_a_table, "other-format", "not a two-dimensional image"),
        (spoil_with_a_cube, "other-format", "not a two-dimensional image"),
        (spoil_without_extension, "truncated", "cannot be read"),
        (lambda release: blank(release, 0.0), "missing-band", "band r is zero everywhere"),
        (lambda release: blank(release, np.nan), "nan", "NaN or infinite"),
    ],
)
def test_a_spoiled_brick_is_named_and_the_other_is_cut(known_release, tmp_path, spoil, reason, what):
    release = known_release()
    spoil(release)
    report = cut_targets(release.release, release.targets(6), tmp_path / "s")
    assert (report.cut, report.quarantined, report.reasons) == (3, 3, {reason: 3})
    table = read_quarantine(tmp_path / "s")
    assert table["what"].str.contains(what, regex=False).all()
    assert table["file"].str.contains("0100p000").all()
    assert (table["remedy"].str.len() > 10).all()
    assert table["ra"].notna().all()
    assert set(CutoutStore.open(tmp_path / "s").manifest["brickname"]) == {"0101p000"}
    # Nothing has changed, so a second run changes nothing.
    before = times(tmp_path / "s")
    again = cut_targets(release.release, release.targets(6), tmp_path / "s")
    assert (again.cut, again.already_stored, again.reasons) == (0, 3, {reason: 3})
    assert times(tmp_path / "s") == before
    # Repaired, the rest is cut and leaves the quarantine.
    release = known_release()
    repaired = cut_targets(release.release, release.targets(6), tmp_path / "s")
    assert (repaired.cut, repaired.already_stored, repaired.quarantined) == (3, 3, 0)
    assert read_quarantine(tmp_path / "s").empty


def test_targets_without_a_brick(shared_release, tmp_path):
    good = shared_release.target("0100p000", 200, 200, "good")
    rows = [
        good,
        {**good, "source_id": "nameless", "brickname": ""},
        {**good, "source_id": "misnamed", "brickname": "9999p999"},
        {**good, "source_id": "nowhere", "brickname": "", "ra": 200.0},
        {**good, "source_id": "nan", "ra": np.nan},
        {**good, "source_id": "hours", "dec": 100.0},
        good,
    ]
    report = cut_targets(shared_release.release, pd.DataFrame(rows), tmp_path / "s")
    assert (report.requested, report.duplicates, report.cut, report.quarantined) == (7, 1, 2, 4)
    assert reasons(tmp_path / "s") == {
        "misnamed": "unknown-brick",
        "nowhere": "unknown-brick",
        "nan": "bad-position",
        "hours": "bad-position",
    }
    with pytest.raises(InputError, match="lacks the columns source_id, dec"):
        cut_targets(shared_release.release, pd.DataFrame({"ra": [1.0]}), tmp_path / "t")


def test_entries_of_other_targets_stay_in_quarantine(known_release, tmp_path):
    release = known_release()
    release.path("0100p000", "image", "z").unlink()
    targets = release.targets(4)
    cut_targets(release.release, targets, tmp_path / "s")
    assert set(reasons(tmp_path / "s")) == {"s000", "s002"}
    known_release()
    cut_targets(release.release, targets[targets["source_id"] == "s000"], tmp_path / "s")
    assert set(reasons(tmp_path / "s")) == {"s002"}


def test_masked_centers_are_refused_by_their_weights(known_release, tmp_path):
    release = known_release()
    invvar = release.pixels("0100p000", "invvar", "g")
    invvar[190:211, 190:211] = 0.0
    release.write_file("0100p000", "invvar", "g", invvar)
    release.write_checksums("0100p000")
    targets = pd.DataFrame([release.target("0100p000", 200, 200, "masked"), release.target("0100p000", 250, 200, "ok")])
    cut_targets(release.release, targets, tmp_path / "s")
    assert reasons(tmp_path / "s") == {"masked": "bad-center"}


# ---------------------------------------------------------------- options, checksums, processes


def test_only_what_is_asked_for_is_read(known_release, tmp_path):
    release = known_release(names=("0100p000",))
    for kind, band in (("invvar", "g"), ("maskbits", None), ("psfsize", "r")):
        release.path("0100p000", kind, band).unlink()
    config = CutoutConfig(invvar=False, maskbits=False, psfsize=False, stamp=51, bands=("g", "z"))
    report = cut_targets(release.release, release.targets(3), tmp_path / "s", config)
    assert report.cut == 3
    store = CutoutStore.open(tmp_path / "s")
    assert (store.stamp, store.bands, store.has_invvar, store.has_maskbits) == (51, ("g", "z"), False, False)
    assert "psfsize_g" not in store.manifest
    # With the seeing asked for, a brick without such a map gives NaN: it describes the stamp and is no part of it.
    cut_targets(release.release, release.targets(3), tmp_path / "t", CutoutConfig(invvar=False, maskbits=False))
    manifest = CutoutStore.open(tmp_path / "t").manifest
    assert manifest["psfsize_r"].isna().all()
    assert manifest["psfsize_g"].notna().all()


@pytest.mark.parametrize("options", [{"stamp": 100}, {"bands": ("z", "g")}, {"bands": ()}, {"edge": "wrap"}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ValidationError, match=next(iter(options))):
        CutoutConfig(**options)


def test_without_checksums_damage_that_decompresses_goes_unseen(known_release, tmp_path):
    """Why verification is the default."""
    release = known_release(names=("0100p000",))
    pixels = release.pixels("0100p000", "image", "g")
    release.write_file("0100p000", "image", "g", pixels + 0.5)
    targets = release.targets(2)
    assert cut_targets(release.release, targets, tmp_path / "s").reasons == {"checksum": 2}
    assert cut_targets(release.release, targets, tmp_path / "t", CutoutConfig(verify=False)).cut == 2


def test_files_without_a_checksum_are_counted(known_release, tmp_path):
    release = known_release(names=("0100p000",))
    Path(release.release.checksum_path("0100p000")).unlink()
    assert cut_targets(release.release, release.targets(2), tmp_path / "s").unverified_files == 10


def test_each_file_is_hashed_once(known_release, tmp_path, monkeypatch):
    hashed = []
    real = checksums.sha256_of_file
    monkeypatch.setattr(checksums, "sha256_of_file", lambda path: hashed.append(str(path)) or real(path))
    release = known_release(names=("0100p000",))
    cut_targets(release.release, release.targets(2), tmp_path / "s")
    assert len(hashed) == len(set(hashed)) == 10
    cut_targets(release.release, release.targets(4), tmp_path / "s")
    assert len(hashed) == 10
    release.write_file("0100p000", "image", "g", release.pixels("0100p000", "image") * 2)
    assert cut_targets(release.release, release.targets(5), tmp_path / "s").reasons == {"checksum": 1}
    assert len(hashed) == 11


def test_a_broken_record_of_verified_files_means_none(tmp_path):
    for text in ("{", "[1]", '{"a": 3}', '{"a": {"b": [1]}}'):
        (tmp_path / "verified.json").write_text(text)
        assert VerifiedFiles.read(tmp_path / "verified.json").marks == {}
    digest = "ab" * 32
    VerifiedFiles(marks={"/r": {"f": (1, 2, digest)}}).write(tmp_path / "verified.json")
    assert VerifiedFiles.read(tmp_path / "verified.json").marks == {"/r": {"f": (1, 2, digest)}}


def test_checksum_lists_as_sha256sum_writes_them(tmp_path):
    (tmp_path / "list").write_text(f"{'a' * 64}  plain.fits\n\n{'B' * 64} *folder/binary.fits\n")
    assert read_checksums(tmp_path / "list") == {"plain.fits": "a" * 64, "binary.fits": "b" * 64}
    (tmp_path / "list").write_text(f"{'g' * 64}  plain.fits\n")
    with pytest.raises(FileProblem, match="line 1 is no"):
        read_checksums(tmp_path / "list")


def test_the_store_is_the_same_whatever_the_workers_and_the_order(shared_release, tmp_path):
    targets = shared_release.targets(10)
    targets = pd.concat([targets, pd.DataFrame([shared_release.target("0100p000", 45.0, 300.0)])])
    cut_targets(shared_release.release, targets, tmp_path / "inline", shard_size=4)
    cut_targets(shared_release.release, targets[::-1], tmp_path / "pool", workers=2, shard_size=4)
    ignore = {"provenance.json"}
    one, two = everything(tmp_path / "inline"), everything(tmp_path / "pool")
    assert {name for name in one if one[name] != two.get(name)} <= ignore
    assert set(one) == set(two)


CRASHING_READER = """
import os, signal
from legacylens.cutouts.stamps import cut_brick as real

def cut_brick(release, job, config, verified):
    if job.brickname == "0101p000":
        os.kill(os.getpid(), signal.SIGSEGV)
    return real(release, job, config, verified)
"""


def test_a_crash_of_the_decompressor_costs_one_brick(known_release, tmp_path, monkeypatch):
    release = known_release(names=("0100p000", "0101p000", "0102p000"))
    (tmp_path / "crashing_reader.py").write_text(CRASHING_READER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(pool, "cut_brick", importlib.import_module("crashing_reader").cut_brick)
    report = cut_targets(release.release, release.targets(6), tmp_path / "s", workers=2)
    assert (report.cut, report.reasons) == (4, {"crash": 2})
    assert set(reasons(tmp_path / "s")) == {"s001", "s004"}


def test_workers_that_cannot_start_are_not_taken_for_bad_bricks(shared_release, tmp_path):
    shared_release.targets(2).to_parquet(tmp_path / "t.parquet")
    script = tmp_path / "unguarded.py"
    script.write_text(
        "import pandas as pd\n"
        "from legacylens.cutouts.bricks import cut_targets\n"
        "from legacylens.survey.release import Release\n"
        f"release = Release(root={str(shared_release.root)!r})\n"
        f"targets = pd.read_parquet({str(tmp_path / 't.parquet')!r})\n"
        f"cut_targets(release, targets, {str(tmp_path / 's')!r}, workers=1)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert "ProcessError: worker processes cannot start" in done.stderr
    assert read_quarantine(tmp_path / "s").empty


def test_a_run_that_was_interrupted_goes_on(known_release, tmp_path, monkeypatch):
    release = known_release()
    targets = release.targets(8)
    real = pool.cut_brick

    def interrupted(release, job, config, verified):
        if job.brickname == "0101p000":
            raise KeyboardInterrupt
        return real(release, job, config, verified)

    monkeypatch.setattr(pool, "cut_brick", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cut_targets(release.release, targets, tmp_path / "s", shard_size=3)
    monkeypatch.undo()
    report = cut_targets(release.release, targets, tmp_path / "s", shard_size=3)
    assert (report.already_stored, report.cut) == (4, 4)
    whole = tmp_path / "whole"
    cut_targets(release.release, targets, whole, shard_size=3)
    one, two = CutoutStore.open(tmp_path / "s"), CutoutStore.open(whole)
    pd.testing.assert_frame_equal(one.manifest, two.manifest)
    assert np.array_equal(one.images(np.arange(8)), two.images(np.arange(8)))


def test_a_damaged_shard_is_cut_again(known_release, tmp_path):
    release = known_release()
    targets = release.targets(8)
    cut_targets(release.release, targets, tmp_path / "s", shard_size=4)
    (tmp_path / "s/shard-000000/invvar.npy").write_bytes(b"")
    report = cut_targets(release.release, targets, tmp_path / "s", shard_size=4)
    assert (report.replaced_shards, report.already_stored, report.cut, report.total) == (1, 4, 4, 8)


def test_a_release_at_a_url_gives_the_same_store(shared_release, tmp_path):
    memory = fsspec.filesystem("memory")
    memory.put(str(shared_release.root), "/known", recursive=True)
    targets = shared_release.targets(4)
    cut_targets(Release(root="memory://known"), targets, tmp_path / "remote")
    cut_targets(shared_release.release, targets, tmp_path / "local")
    one, two = CutoutStore.open(tmp_path / "remote"), CutoutStore.open(tmp_path / "local")
    assert one.manifest.equals(two.manifest)
    assert np.array_equal(one.invvars(range(4)), two.invvars(range(4)))
    memory.rm("/known", recursive=True)


@pytest.mark.parametrize(
    ("cards", "number"),
    [
        ({}, None),
        ({"LSDR": "DR10"}, 10),
        ({"DRVERSIO": 10002}, 10),
        ({"DRVERSIO": 9012}, 9),
        ({"DRVERSIO": "DR3"}, 3),
        ({"LSDR": "unknown", "DRVERSIO": "9011"}, 9),
        ({"LSDR": "private"}, None),
    ],
)
def test_the_release_that_a_header_states(tmp_path, cards, number):
    path = tmp_path / "a.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((3, 3), np.float32), fits.Header(cards))]).writeto(path)
    with CoaddFile("a", path) as file:
        assert file.data_release() == number
