"""The selection: one source fails one cut, NaN fails all, blocks and files add up, interrupted runs resume."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from legacylens.catalog import parent_build
from legacylens.catalog.parent import (
    CUT_COLUMNS,
    PARENT_UNITS,
    ParentCuts,
    add_counts,
    dereddened_magnitude,
    parent_rows,
    select_parent,
)
from legacylens.catalog.parent_build import build_parent, sweep_paths, verify_checksum
from legacylens.catalog.sweeps import read_sweep
from legacylens.errors import FileProblem, InputError, ProcessError
from legacylens.photometry import flux_of_magnitude
from legacylens.survey.maskbits import mask_value

CUTS = ParentCuts()


def passing(n: int = 1) -> pd.DataFrame:
    """Rows that pass every cut: z = 18 behind 0.1 mag of extinction, 3 exposures."""
    return pd.DataFrame(
        {
            "release": np.full(n, 10002, "i4"),
            "brickid": np.arange(n, dtype="i4") + 7,
            "brickname": "1126p222",
            "objid": np.arange(n, dtype="i4"),
            "type": "SER",
            "ra": 112.6,
            "dec": 22.2,
            "flux_z": np.float32(flux_of_magnitude(18.1)),
            "mw_transmission_z": np.float32(10**-0.04),
            **{f"nobs_{band}": np.full(n, 3, "i2") for band in "grz"},
            "maskbits": np.zeros(n, "i4"),
        }
    )


def removed_by(frame: pd.DataFrame) -> list[str]:
    _, counts = select_parent(frame, CUTS)
    return [count.cut for count in counts if count.removed]


def test_a_good_source_passes():
    mask, counts = select_parent(passing(), CUTS)
    assert mask.tolist() == [True]
    assert [count.left for count in counts] == [1] * len(counts)
    assert dereddened_magnitude(passing(), "z")[0] == pytest.approx(18.0, abs=1e-5)  # float32 fluxes


@pytest.mark.parametrize(
    ("column", "value", "cut"),
    [
        ("type", "PSF", "type"),
        ("type", "DUP", "duplicate"),
        ("type", "COMP", "type"),
        ("type", "", "type"),
        ("ra", np.nan, "position"),
        ("ra", 360.0, "position"),
        ("dec", -90.01, "position"),
        ("nobs_g", 2, "nobs_g"),
        ("nobs_r", 0, "nobs_r"),
        ("nobs_z", 2, "nobs_z"),
        ("flux_z", 0.0, "no_z_flux"),
        ("flux_z", -3.0, "no_z_flux"),
        ("flux_z", np.nan, "no_z_flux"),
        ("flux_z", np.inf, "no_z_flux"),
        ("mw_transmission_z", 0.0, "no_z_flux"),
        ("mw_transmission_z", np.nan, "no_z_flux"),
        ("flux_z", float(flux_of_magnitude(20.11)), "z_mag"),
        ("maskbits", mask_value("BRIGHT"), "maskbits"),
        ("maskbits", mask_value("BAILOUT", "GALAXY"), "maskbits"),
    ],
)
def test_each_cut_removes_what_it_names(column, value, cut):
    frame = passing()
    frame[column] = value
    assert removed_by(frame) == [cut]


def test_rows_of_a_brick_that_was_given_up_are_counted_as_such():
    frame = passing(2)
    frame.loc[0, ["ra", "dec"]] = 0.0
    assert removed_by(frame) == ["bailout"]


def test_declination_limits_are_a_cut_like_any_other():
    frame = passing(4)
    frame["dec"] = [-18.1, -18.0, 32.0, 32.1]
    mask, counts = select_parent(frame, ParentCuts(dec_min=-18.0, dec_max=32.0))
    assert mask.tolist() == [False, True, True, False]
    assert {count.cut: count.removed for count in counts if count.removed} == {"declination": 2}
    assert "declination" not in {count.cut for count in select_parent(frame, CUTS)[1]}


def test_masks_that_say_what_is_near_do_not_remove():
    frame = passing()
    frame["maskbits"] = mask_value("MEDIUM", "GALAXY", "CLUSTER", "WISEM1", "SUB_BLOB")
    assert removed_by(frame) == []


def test_faint_limit_is_exclusive_and_corrected_for_extinction():
    frame = passing(2)
    frame["flux_z"] = np.array([flux_of_magnitude(20.05), flux_of_magnitude(20.05)])
    frame["mw_transmission_z"] = np.array([1.0, 10**-0.04])
    assert select_parent(frame, CUTS)[0].tolist() == [False, True]
    frame["flux_z"], frame["mw_transmission_z"] = flux_of_magnitude(20.0), 1.0
    assert not select_parent(frame, CUTS)[0].any()


def test_tractor_files_are_cut_to_their_brick():
    frame = passing(2).assign(brick_primary=[True, False])
    assert removed_by(frame) == ["primary"]


def test_a_table_without_columns_is_refused():
    with pytest.raises(InputError, match="lacks nobs_g, maskbits"):
        select_parent(passing().drop(columns=["nobs_g", "maskbits"]), CUTS)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"types": ("SER", "GALAXY")}, "unknown types"),
        ({"types": ()}, "unknown types"),
        ({"types": ("DUP",)}, "no optical flux"),
        ({"maskbits_excluded": ("FOO",)}, "unknown mask bits"),
        ({"z_mag_max": 60.0}, "less than 30"),
        ({"nobs_min": -1}, "greater than or equal to 0"),
    ],
)
def test_impossible_cuts_are_refused(values, match):
    with pytest.raises(ValidationError, match=match):
        ParentCuts(**values)


finite_or_not = st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 1.0, -1.0, 30.0, 400.0])


@given(st.data())
def test_nan_never_passes_and_no_row_is_counted_twice(data):
    n = data.draw(st.integers(1, 12))
    frame = passing(n)
    for column in ("ra", "dec", "flux_z", "mw_transmission_z", "nobs_g", "nobs_r", "nobs_z"):
        frame[column] = data.draw(st.lists(finite_or_not, min_size=n, max_size=n))
    mask, counts = select_parent(frame, CUTS)
    chosen = frame[mask]
    assert np.isfinite(chosen[["ra", "dec", "flux_z", "mw_transmission_z"]].to_numpy()).all()
    assert chosen[["nobs_g", "nobs_r", "nobs_z"]].notna().to_numpy().all()
    assert sum(count.removed for count in counts) + int(mask.sum()) == n
    left = [count.left for count in counts]
    assert left == sorted(left, reverse=True)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=5))
def test_counts_of_blocks_add_up_to_those_of_the_whole(sizes):
    frame = passing(sum(sizes))
    rng = np.random.default_rng(3)
    frame["type"] = rng.choice(["SER", "PSF", "DUP"], len(frame))
    frame["flux_z"] = flux_of_magnitude(rng.uniform(19, 21, len(frame)))
    edges = np.cumsum([0, *sizes])
    parts = [select_parent(frame.iloc[a:b], CUTS)[1] for a, b in pairwise(edges)]
    assert add_counts(parts) == select_parent(frame, CUTS)[1]


def test_counts_add_up_where_only_some_files_have_the_primary_cut():
    plain = select_parent(passing(3), CUTS)[1]
    tractor = select_parent(passing(2).assign(brick_primary=[True, False]), CUTS)[1]
    for parts in ([plain, tractor], [tractor, plain]):
        total = add_counts(parts)
        assert total[0].left == 5
        assert total[-1].left == 4
        assert sum(count.removed for count in total) == 1


def test_parent_table_has_identity_first_and_units(make_sweep):
    frame = read_sweep(str(make_sweep(n=4)))
    table = parent_rows(frame, np.array([True, False, True, True]))
    assert table.columns[0] == "source_id"
    assert set(table.columns) == set(PARENT_UNITS)
    assert table["source_id"].tolist()[0] == f"10002_{frame['brickid'][0]}_0"
    np.testing.assert_allclose(
        table["mag_g"], 22.5 - 2.5 * np.log10(frame["flux_g"][[0, 2, 3]] / np.float32(0.95)), rtol=1e-6
    )


def test_negative_flux_in_g_gives_no_magnitude_but_may_pass(make_sweep):
    frame = read_sweep(str(make_sweep(n=2, flux_g=np.array([-1, 5], "f4"))))
    mask, _ = select_parent(frame, CUTS)
    assert np.isnan(parent_rows(frame, mask)["mag_g"][0])


def test_build_writes_table_counts_and_record(make_sweep, tmp_path):
    first = make_sweep("sweep-a.fits", n=30, seed=1)
    second = make_sweep("sweep-b.fits", n=20, seed=2, type=np.full(20, b"PSF", "S3"))
    report = build_parent([first, second], CUTS, tmp_path / "parent")
    table = pq.read_table(tmp_path / "parent" / "parent.parquet")
    assert (report.rows, report.selected, table.num_rows) == (50, 30, 30)
    assert table.schema.field("ra").metadata[b"unit"] == b"deg"
    document = json.loads((tmp_path / "parent" / "report.json").read_text())
    assert document["rows"] == 50
    assert document["cuts"][-1]["left"] == 30
    assert {path.name for path in (tmp_path / "parent").iterdir()} == {
        "parent.parquet", "report.json", "provenance.json",
    }  # fmt: skip
    again = build_parent([first, second], CUTS, tmp_path / "again")
    pd.testing.assert_frame_equal(table.to_pandas(), pq.read_table(again.table).to_pandas())


def test_processes_give_the_same_table(make_sweep, tmp_path):
    files = [make_sweep(f"sweep-{place}.fits", n=15, seed=place) for place in range(3)]
    one = build_parent(files, CUTS, tmp_path / "one")
    two = build_parent(files, CUTS, tmp_path / "two", workers=2)
    pd.testing.assert_frame_equal(pq.read_table(one.table).to_pandas(), pq.read_table(two.table).to_pandas())


def test_a_bad_file_does_not_stop_the_rest(make_sweep, tmp_path):
    good = make_sweep("sweep-good.fits", n=10)
    cut = make_sweep("sweep-cut.fits", n=500)
    cut.write_bytes(cut.read_bytes()[:-40_000])
    lacking = make_sweep("sweep-lacking.fits", maskbits=None, flux_g=None)
    text = tmp_path / "notes.txt"
    text.write_text("not a sweep")
    report = build_parent([text, cut, good, lacking, tmp_path / "none.fits"], CUTS, tmp_path / "parent")
    assert report.selected == 10
    assert [file.reason for file in report.files] == ["not-fits", "truncated", "", "missing-columns", "missing"]
    assert "FLUX_G, MASKBITS" in report.files[3].problem
    assert report.as_dict()["left_out_by_reason"] == {
        "missing": 1, "missing-columns": 1, "not-fits": 1, "truncated": 1,
    }  # fmt: skip


def test_nothing_usable_is_an_error_that_names_every_file(make_sweep, tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("not a sweep")
    with pytest.raises(FileProblem, match=r"notes\.txt: not FITS"):
        build_parent([text], CUTS, None)
    with pytest.raises(FileProblem, match=r"2 files: none of them can be used(.|\n)*without the columns TYPE"):
        build_parent([text, make_sweep(type=None)], CUTS, None)


def test_interrupted_run_resumes(make_sweep, tmp_path, monkeypatch):
    files = [make_sweep(f"sweep-{place}.fits", n=15, seed=place) for place in range(3)]
    use = parent_build._use_file
    calls: list[str] = []

    def interrupted(path, *arguments):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(path)
        return use(path, *arguments)

    monkeypatch.setattr(parent_build, "_use_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_parent(files, CUTS, tmp_path / "parent")
    assert not (tmp_path / "parent" / "parent.parquet").exists()
    calls.clear()
    resumed = build_parent(files, CUTS, tmp_path / "parent")
    assert calls == [str(files[2])]
    monkeypatch.undo()
    whole = build_parent(files, CUTS, tmp_path / "whole")
    assert resumed.counts == whole.counts
    pd.testing.assert_frame_equal(pq.read_table(resumed.table).to_pandas(), pq.read_table(whole.table).to_pandas())


def test_other_cuts_do_not_reuse_parts(make_sweep, tmp_path):
    path = make_sweep(n=5)
    identity = parent_build._identity(str(path), CUTS)
    assert identity != parent_build._identity(str(path), ParentCuts(z_mag_max=19.0))
    path.write_bytes(path.read_bytes() + b"\0" * 2880)
    assert identity != parent_build._identity(str(path), CUTS)


def test_a_source_in_two_files_is_refused(make_sweep, tmp_path):
    first, second = make_sweep("sweep-a.fits", seed=1), make_sweep("sweep-b.fits", seed=1)
    with pytest.raises(ProcessError, match="12 sources come from more than one of the 2 files"):
        build_parent([first, second], CUTS, tmp_path / "parent")
    assert not (tmp_path / "parent" / "parent.parquet").exists()


def test_the_same_file_given_twice_is_read_once(make_sweep):
    path = make_sweep(n=9)
    assert build_parent([path, str(path)], CUTS, None).rows == 9


def test_a_file_with_a_source_twice_is_left_out(make_sweep):
    with pytest.raises(FileProblem, match="3 sources come more than once"):
        build_parent([make_sweep(n=4, objid=np.zeros(4, "i4"), brickid=np.ones(4, "i4"))], CUTS, None)


def test_checksums_are_compared(make_sweep, tmp_path):
    path = make_sweep(n=9)
    listing = tmp_path / "legacysurvey_dr10_south_sweep_10.1.sha256sum"
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    listing.write_text(f"{'0' * 64}  sweep-other.fits\n{right}  {path.name}\n")
    verify_checksum(str(path))
    listing.write_text(f"{'0' * 64} *{path.name}\n")
    with pytest.raises(FileProblem, match=r"SHA-256 differs from legacysurvey.*Download it again") as caught:
        build_parent([path], CUTS, None)
    assert caught.value.reason == "checksum"
    assert build_parent([path], CUTS, None, verify=False).selected == 9


def test_folders_releases_and_files(make_sweep, tmp_path):
    path = make_sweep("sweep-b.fits")
    make_sweep("sweep-a.fits")
    assert [Path(each).name for each in sweep_paths([tmp_path])] == ["sweep-a.fits", "sweep-b.fits"]
    assert sweep_paths([path, str(path)]) == [str(path)]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileProblem, match="neither a release"):
        sweep_paths([empty])
    release = tmp_path / "release"
    (release / "south/sweep/10.1").mkdir(parents=True)
    (release / "survey-bricks.fits.gz").write_bytes(b"")
    (release / "south/sweep/10.1/sweep-z.fits").write_bytes(path.read_bytes())
    assert [Path(each).name for each in sweep_paths([release])] == ["sweep-z.fits"]


def test_empty_sweep(make_sweep, tmp_path):
    report = build_parent([make_sweep(n=0)], CUTS, tmp_path / "parent")
    assert (report.rows, report.selected) == (0, 0)
    assert pq.read_table(report.table).column_names[0] == "source_id"


def test_cut_columns_are_those_that_the_selection_needs():
    for column in CUT_COLUMNS:
        if column in ("release", "brickid", "brickname", "objid"):
            continue
        with pytest.raises(InputError, match=column):
            select_parent(passing().drop(columns=column), CUTS)


@pytest.mark.real
def test_real_sweeps(real_data):
    files = sorted((real_data / "sweeps").glob("sweep-*.fits"))
    report = build_parent(files, CUTS, None)
    assert (report.rows, report.selected) == (18, 5)
    for file in report.files:
        assert file.missing == ("psfsize_g", "psfsize_r", "psfsize_z", "shape_r", "shape_e1", "shape_e2", "sersic")
        assert any("left empty (NaN): PSFSIZE_G" in note for note in file.notes)
        assert any("COMP" in note for note in file.notes)
