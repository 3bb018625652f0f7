"""lenscat, the published lists and a user's list: what is in them, and what they become together."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pandas as pd
import pytest

from legacylens.catalog import published
from legacylens.catalog.channels import CHANNELS, channels_of, identifiers, only_targets
from legacylens.catalog.known_lenses import gather, write
from legacylens.catalog.published import (
    ENTRY_COLUMNS,
    GRADES,
    PUBLISHED,
    normal_grade,
    read_lenscat,
    read_published,
    read_user_list,
)
from legacylens.errors import FileProblem, InputError
from legacylens.files import read_parquet

LENSCAT = """name,RA [deg],DEC [deg],zlens,type,grading,ref
DESI-010.0000+01.0000 | J0040+0100,10.0,1.0,0.5 | nan | 0.6,galaxy,probable,Storfer et al. (2022) - arXiv:2206.02764
SDSSJ0120+0200,20.0,2.0,0.3?,galaxy,confident,Bolton et al. (2008) - arXiv:0805.1931 | X - arXiv:1906.00970
NSCS J020000+030000,30.0,3.0,not measured,galaxy,probable,Lopes et al. (2004) - doi:10.1086/423038
Abell 1,40.0,4.0,-,cluster,probable,Moustakas et al. (2012) - adsabs:2012hst..prop12833M
"""


@pytest.fixture
def lenscat_file(tmp_path):
    path = tmp_path / "mock-known-lenses.csv"
    path.write_text(LENSCAT)
    return path


def test_lenscat_format(lenscat_file):
    entries = read_lenscat(lenscat_file).entries
    assert list(entries.columns) == list(ENTRY_COLUMNS)
    assert entries["source"].unique().tolist() == ["mock-known-lenses"]
    assert entries["grade"].tolist() == ["probable", "confident", "probable", "probable"]
    assert entries["channels"].tolist() == ["network", "spectroscopic|network", "", ""]
    assert entries["target"].tolist() == [False, False, True, False]
    assert entries["kind"].tolist() == ["galaxy", "galaxy", "galaxy", "cluster"]
    np.testing.assert_array_equal(entries["z_l"], [0.55, 0.3, np.nan, np.nan])


def test_a_users_list_in_that_format_is_recognized(lenscat_file):
    pd.testing.assert_frame_equal(read_user_list(lenscat_file).entries, read_lenscat(lenscat_file).entries)


def test_another_format_is_not_taken_for_lenscat(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("name,RA,DEC\na,1,2\n")
    with pytest.raises(FileProblem, match="no column grading, ref"):
        read_lenscat(path)


def test_lenscat_absent(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install --no-deps lenscat"):
        read_lenscat()


def test_users_columns(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(
        "System,alpha,delta,Grade,how,b,zl,zs\n"
        "one,150.1,2.0,a,visual,80,0.4,1.5\n"
        "two,151.1,2.0,Confident,magic,,-99,nan\n"
        "three,152.1,2.0,maybe,,1000,,\n"
    )
    column_map = {
        "ra": "alpha:deg", "dec": "delta:deg", "name": "System", "channel": "how", "theta_E": "b:milliarcsec",
    }  # fmt: skip
    found = read_user_list(path, {**column_map, "theta_E": "b:mas"}, channel="spectroscopic")
    entries = found.entries
    assert entries["name"].tolist() == ["one", "two", "three"]
    assert entries["grade"].tolist() == ["A", "confident", "maybe"]
    assert entries["channels"].tolist() == ["visual", "spectroscopic", "spectroscopic"]
    np.testing.assert_allclose(entries["theta_E"], [0.08, np.nan, 1.0])
    np.testing.assert_allclose(entries["z_l"], [0.4, np.nan, np.nan])
    np.testing.assert_allclose(entries["z_s"], [1.5, np.nan, np.nan])
    with pytest.raises(InputError, match="channel 'telepathy' is none of"):
        read_user_list(path, column_map, channel="telepathy")


def test_grades():
    assert [normal_grade(text) for text in ("a", " B ", "CONFIDENT", "Probable", "3.5", "")] == [
        "A", "B", "confident", "probable", "3.5", "",
    ]  # fmt: skip
    assert GRADES.index("A") < GRADES.index("probable") < GRADES.index("D")


def test_published_needs_a_list(tmp_path):
    with pytest.raises(FileProblem, match="has none of the published lists"):
        read_published(tmp_path)


def test_published_keeps_what_it_says(tmp_path):
    (tmp_path / "huang2021_published_catalog.csv").write_text(
        "name,RA,DEC,grade,spec_z,photo_z\nDESI-010.0000+01.0000,10,1,A,0.4724,nan\nX,11,1,C,,0.406+/-0.021\n"
    )
    (tmp_path / "slacs_theta_e.cat").write_text(
        "# name RA dec zd zs theta_Ein\nSDSSJ0029-0055 7.282417 -0.930694 0.227 0.931 0.96\n"
    )
    huang, slacs = read_published(tmp_path)
    assert huang.entries[["grade", "channels", "papers", "z_l_kind"]].to_numpy().tolist() == [
        ["A", "network", "2005.04730", "spec"],
        ["C", "network", "2005.04730", ""],
    ]
    np.testing.assert_array_equal(huang.entries["z_l"], [0.4724, np.nan])
    assert slacs.entries[["grade", "channels", "z_l", "z_s", "theta_E"]].to_numpy().tolist() == [
        ["confirmed", "spectroscopic", 0.227, 0.931, 0.96]
    ]
    assert huang.problems == slacs.problems == ()


def test_identifiers():
    text = (
        "A - arXiv:2206.02764 | https://arxiv.org/abs/1906.00970 https://arxiv.org/ftp/arxiv/papers/2205/2205.05307.pdf"
        " | D (2017) - doi:10.3847/1538-4365/aa8667 | https://iopscience.iop.org/article/10.3847/1538-4365/ab26b6#t5"
        " | M - adsabs:2012hst..prop12833M | https://ui.adsabs.harvard.edu/abs/2019yCat..18510048S/abstract"
        " | https://iopscience.iop.org/article/10.1088/0004-637X/785/2/144#apj492878t1"
        " | L - doi:10.1086/423038 | https://relics.stsci.edu/clusters.html | O - arXiv:astro-ph/0106055"
    )
    assert identifiers(text) == (
        "2206.02764", "1906.00970", "2205.05307", "aa8667", "ab26b6", "2012hst..prop12833M", "2019yCat..18510048S",
        "0004-637X/785/2/144", "10.1086/423038", "relics.stsci.edu/clusters.html", "astro-ph/0106055",
    )  # fmt: skip
    assert identifiers("") == ()


def test_channels():
    assert channels_of(["2206.02764", "0805.1931", "2012hst..prop12833M"]) == ("spectroscopic", "network")
    assert channels_of(["2012hst..prop12833M"]) == channels_of(["9999.99999"]) == ()
    assert set(published.channels_of(known.paper for known in PUBLISHED)) <= set(CHANNELS)
    assert only_targets(["10.1086/423038", "2012hst..prop12833M"])
    assert not only_targets(["10.1086/423038", "2206.02764"])
    assert not only_targets(["2012hst..prop12833M"])


def test_a_bad_list_does_not_stop_the_rest(tmp_path, lenscat_file):
    bad = tmp_path / "bad.csv"
    bad.write_text("ra,dec\n" + "\n".join(f"{hour},10" for hour in range(24)) + "\n")
    known = gather(lenscat=lenscat_file, lists=[bad, tmp_path / "none.csv"])
    assert [problem.reason for problem in known.left_out] == ["ra-in-hours", "missing"]
    assert len(known.systems) == 4
    with pytest.raises(FileProblem, match="RA looks like hours"):
        gather(lenscat=False, lists=[bad])
    with pytest.raises(InputError, match="no list of lenses"):
        gather(lenscat=False)


def test_written_tables_and_report(tmp_path, lenscat_file):
    known = gather(lenscat=lenscat_file)
    report = write(known, tmp_path / "known")
    assert json.loads((tmp_path / "known" / "report.json").read_text()) == report
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "known" / "systems.parquet"), known.systems)
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "known" / "entries.parquet"), known.entries)
    assert report["tiers"] == {"1": 1, "2": 0, "3": 2, "4": 1, "5": 0}


@pytest.fixture(scope="module")
def installed():
    if importlib.util.find_spec("lenscat") is None:
        pytest.skip("lenscat is not installed (pip install --no-deps lenscat)")
    return read_lenscat()


def test_installed_lenscat(installed):
    assert installed.rows == 32_838
    assert len(installed.entries) == 32_838
    assert (installed.entries["grade"] == "confident").sum() == 2_309
    names = installed.entries["name"].str.split("|").map(lambda names: [name.strip() for name in names])
    assert names.map(lambda each: any(name.startswith("DESI-") for name in each)).sum() == 5_104


@pytest.mark.real
def test_everything_together(installed, real_data):
    known = gather(published=real_data / "catalogs")
    report = known.as_dict()
    assert {each["source"]: each["rows"] for each in report["lists"]} == {
        "lenscat": 32_838, "huang2020": 342, "huang2021": 1312, "storfer2024": 1895, "inchausti2025": 811,
        "stein2022": 1192, "stein2022-training": 1615, "slacs": 59,
    }  # fmt: skip
    assert report["lists"][4]["grades"] == {"A": 90, "B": 104, "C": 617}
    assert (report["rows"], report["desi_named"], report["confident"]) == (32_838, 5_104, 2_309)
    assert report["chains_cut"] == 0
    assert report["widest_system_arcsec"] < 5 * 3
    assert 0 < report["joined_by_name"] < 60
    # The four papers list 4,360 candidates, some of them twice, and announce 3,868 as new.
    four = ("huang2020", "huang2021", "storfer2024", "inchausti2025")
    listed = known.systems["sources"].str.split("|").map(lambda sources: any(each in four for each in sources))
    assert 4_000 < listed.sum() < 342 + 1312 + 1895 + 811
    # SLACS lenses are in lenscat, and found by spectra.
    slacs = known.systems[known.systems["sources"].str.contains("slacs")]
    assert (slacs["channel"] == "spectroscopic").all()
    assert slacs["sources"].str.contains("lenscat").all()
    assert slacs["theta_E"].between(0.6, 1.8).all()
    # Stein et al. write coordinates of float32.
    assert sum("float32" in remark for each in report["lists"] for remark in each["problems"]) == 2
    # In lenscat some names of the AGEL survey say positions whose hours the coordinates have lost.
    assert report["disputed"] > 50
    shuffled = known.entries.drop(columns=["system_id", "name_offset"]).sample(frac=1, random_state=1)
    from legacylens.catalog.systems import merge_systems

    pd.testing.assert_frame_equal(merge_systems(shuffled, 3.0).systems, known.systems)
