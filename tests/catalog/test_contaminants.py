"""Contaminants come from labels, never from cuts, and never from the place of a known lens."""

from __future__ import annotations

import pandas as pd
import pytest

from legacylens.catalog.contaminants import gather_contaminants, normal_class, read_contaminants, write_contaminants
from legacylens.errors import FileProblem, InputError
from legacylens.files import read_parquet


@pytest.fixture
def zoo(tmp_path):
    path = tmp_path / "zoo.csv"
    path.write_text(
        "name,RA [deg],DEC [deg],morphology\n"
        "a,10.0,1.0,Ring\nb,20.0,2.0,edge-on\nc,30.0,3.0,Merging\nd,40.0,4.0,\ne,50.0,5.0,blue compact\n"
    )
    return path


def test_classes_from_a_column(zoo):
    entries, rows, problems = read_contaminants(zoo, {"class": "morphology"})
    assert rows == 5
    assert entries["class"].tolist() == ["ring", "edge_on", "merger", "blue compact"]
    assert [(problem.reason, problem.rows) for problem in problems] == [("no-class", (4,))]


def test_a_list_without_a_class_is_refused(tmp_path):
    path = tmp_path / "blue.csv"
    path.write_text("ra,dec,g_minus_r\n10,1,0.2\n")
    with pytest.raises(FileProblem, match=r"says no class.*not a cut in color"):
        read_contaminants(path)
    entries, _, _ = read_contaminants(path, label="Spiral")
    assert entries["class"].tolist() == ["spiral"]


def test_lists_are_merged_and_lenses_are_marked(zoo, tmp_path):
    other = tmp_path / "rings.csv"
    other.write_text("ra [deg],dec [deg]\n10.0002,1.0\n20.0002,2.0\n60.0,6.0\n")
    lenses = pd.DataFrame(
        {
            "system_id": ["L1", "L2", "L3"],
            "names": ["", "", "DESI-070.0000+07.0000"],
            "ra": [60.0001, 50.0, 70.0],
            "dec": [6.0, 5.1, 7.0],
            "tier": [2, 3, 5],
        }
    )
    found = gather_contaminants(
        [(zoo, None), (other, "ring")], lenses=lenses, column_map={"class": "morphology"}, radius=3.0
    )
    assert found.rows == 8
    table = found.objects.set_index("ra")
    assert table.loc[10.0, "class"] == "ring"
    assert table.loc[10.0, "sources"] == "rings|zoo"
    assert table.loc[20.0, "class"] == "edge_on|ring"
    assert table.loc[60.0, "near_lens"] == "L1"
    assert table.loc[60.0, "lens_separation"] == pytest.approx(0.358, abs=0.002)
    assert table.loc[50.0, "near_lens"] == ""
    assert table.loc[70.0, "class"] == "rejected"
    report = write_contaminants(found, tmp_path / "out", inputs={"zoo": zoo})
    assert (report["objects"], report["near_known_lens"], report["usable"]) == (6, 1, 5)
    assert report["classes"] == {"blue compact": 1, "edge_on|ring": 1, "merger": 1, "rejected": 1, "ring": 1}
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "out" / "contaminants.parquet"), found.objects)


def test_a_bad_list_does_not_stop_the_rest(zoo, tmp_path):
    found = gather_contaminants([(zoo, "ring"), (tmp_path / "none.csv", "ring")])
    assert len(found.objects) == 5
    assert [problem.reason for problem in found.left_out] == ["missing"]
    with pytest.raises(FileProblem, match="no such list"):
        gather_contaminants([(tmp_path / "none.csv", "ring")])
    with pytest.raises(InputError, match="--list FILE=CLASS"):
        gather_contaminants([], published=tmp_path)


def test_spellings():
    assert [normal_class(text) for text in ("Rings", "EDGE-ON", "interacting", "D", "Artefact", "odd")] == [
        "ring", "edge_on", "merger", "rejected", "artifact", "odd",
    ]  # fmt: skip


@pytest.mark.real
def test_ring_galaxies(real_data):
    found = gather_contaminants([], published=real_data / "catalogs")
    report = found.as_dict()
    assert report["rows"] == 1967
    assert report["classes"] == {"ring": len(found.objects)}
    assert 1900 < len(found.objects) <= 1967
