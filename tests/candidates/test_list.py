"""The list: every object accounted for, the same content in three formats."""

import json
import warnings

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.units import UnitsWarning
from pydantic import ValidationError

from legacylens.candidates.build import build_candidates
from legacylens.candidates.columns import COLUMNS
from legacylens.candidates.config import CandidateConfig
from legacylens.candidates.publish import make_candidates, read_candidates, write_candidates
from legacylens.errors import FileProblem, InputError
from legacylens.files import write_parquet
from legacylens.survey.sphere import offset_position, separation_arcsec


def make_tables(n=300, seed=1):
    """A field with twelve planted systems of two objects each, 4 arcsec apart, both high."""
    rng = np.random.default_rng(seed)
    n_pairs = 12
    ra, dec = offset_position(np.full(n, 200.0), np.full(n, 5.0), *rng.uniform(-3000, 3000, (2, n)))
    twin_ra, twin_dec = offset_position(ra[:n_pairs], dec[:n_pairs], np.full(n_pairs, 4.0), np.zeros(n_pairs))
    ra, dec = np.append(ra, twin_ra), np.append(dec, twin_dec)
    total = n + n_pairs
    parent = pd.DataFrame(
        {
            "source_id": [f"10000_5_{i}" for i in range(total)],
            "release": 10000,
            "brickid": 5,
            "brickname": "2000p050",
            "objid": range(total),
            "type": rng.choice(["SER", "DEV"], total),
            "ra": ra,
            "dec": dec,
            "nobs_g": 3,
            "nobs_r": 4,
            "nobs_z": 5,
            "ebv": rng.uniform(0, 0.1, total).astype(np.float32),
            "maskbits": 0,
            "shape_r": rng.uniform(0.5, 3, total).astype(np.float32),
            "shape_e1": 0.0,
            "sersic": np.float32(4),
            **{f"mag_{b}": rng.normal(19, 1, total) for b in "grz"},
            **{f"flux_{b}": rng.uniform(1, 100, total).astype(np.float32) for b in "grz"},
            **{f"flux_ivar_{b}": np.float32(3.0) for b in "grz"},
            **{f"psfsize_{b}": np.float32(1.3) for b in "grz"},
            **{f"psfdepth_{b}": np.float32(900.0) for b in "grz"},
        }
    )
    logit = rng.normal(-5, 1, total)
    logit[:n_pairs] = 5 + np.arange(n_pairs) * 0.1
    logit[n:] = 4 + np.arange(n_pairs) * 0.1
    scores = pd.DataFrame({"source_id": parent["source_id"], "logit": logit, "score": 1 / (1 + np.exp(-logit))})
    known_ra, known_dec = offset_position(ra[n : n + 5], dec[n : n + 5], np.full(5, 9.0), np.zeros(5))
    known = pd.DataFrame(
        {
            "system_id": [f"K{i}" for i in range(5)],
            "ra": known_ra,
            "dec": known_dec,
            "grade": ["A", "B", "C", None, "A"],
            "grades": ["A;confident", "B", "C", "", "A"],
            "names": ["DESI-1;HSC-1", "NA", "x", "None", "y"],
        }
    )
    sample = pd.DataFrame(
        {
            "source_id": parent["source_id"],
            "split": np.where(np.arange(total) < 6, "train", "sealed"),
            "label": np.where(np.arange(total) < 3, 1, np.where(np.arange(total) < 5, 0, -1)),
        }
    )
    return scores, parent, known, sample


CONFIG = CandidateConfig(threshold=0.0, top_n=None)


def test_the_same_arc_from_two_centers_is_one_candidate():
    scores, parent, known, sample = make_tables()
    result = build_candidates(scores, parent, CONFIG, known=known, sample=sample)
    frame = result.frame
    assert len(frame) == 12
    assert (frame["n_members"] == 2).all()
    assert frame["rank"].tolist() == list(range(1, 13))
    assert frame["source_id"].tolist() == [f"10000_5_{i}" for i in range(11, -1, -1)]
    assert frame["members"][0] == "10000_5_11;10000_5_311"
    assert (np.diff(frame["logit"]) <= 0).all()
    # The known system lies 9 arcsec beyond the twin, 13 from the center: found through the member.
    assert frame["is_known"].sum() == 5
    assert frame.loc[frame["is_known"], "known_separation"].to_numpy() == pytest.approx(9.0, abs=1e-3)
    assert frame.loc[~frame["is_known"], "known_system"].eq("").all()
    by_id = frame.set_index("source_id")
    assert by_id.loc["10000_5_0", ["known_grade", "known_names"]].tolist() == ["A", "DESI-1;HSC-1"]
    assert by_id.loc["10000_5_0", ["in_training", "trained_as", "split"]].tolist() == [True, "lens", "train"]
    assert by_id.loc["10000_5_4", ["in_training", "trained_as"]].tolist() == [True, "non-lens"]
    assert by_id.loc["10000_5_5", ["in_training", "trained_as", "split"]].tolist() == [False, "", "train"]
    assert frame["in_training"].sum() == 5


def test_a_member_in_training_marks_the_system():
    scores, parent, _, sample = make_tables()
    sample = sample.assign(split="sealed", label=0)
    sample.loc[sample["source_id"] == "10000_5_300", ["split", "label"]] = ["train", 1]
    frame = build_candidates(scores, parent, CONFIG, sample=sample).frame.set_index("source_id")
    assert frame.loc["10000_5_0", ["in_training", "trained_as", "split"]].tolist() == [True, "lens", "sealed"]


def test_every_score_is_accounted_for():
    scores, parent, known, sample = make_tables()
    scores.loc[0, "logit"] = np.nan
    scores.loc[1, "source_id"] = "10000_5_99999"
    result = build_candidates(scores, parent, CONFIG, known=known, sample=sample)
    counts = result.counts
    assert counts["not_finite"] == 1
    assert counts["not_in_parent"] == 1
    assert counts["scored"] == sum(
        counts[name] for name in ("not_finite", "not_in_parent", "below", "merged", "candidates")
    )
    assert counts["known"] + counts["new"] == counts["candidates"]


def test_top_n_counts_systems_and_gives_their_threshold():
    scores, parent, _, _ = make_tables()
    result = build_candidates(scores, parent, CandidateConfig(top_n=5))
    assert len(result.frame) == 5
    assert result.threshold == result.frame["logit"].min() == pytest.approx(5.7)
    # Below the last center nothing is a member: the twins score 5.1 at most.
    assert (result.frame["n_members"] == 1).all()
    again = build_candidates(scores, parent, CandidateConfig(top_n=None, threshold=result.threshold))
    pd.testing.assert_frame_equal(result.frame, again.frame)


def test_a_list_is_a_selection():
    scores, parent, _, _ = make_tables()
    assert len(build_candidates(scores, parent, CandidateConfig()).frame) == 16  # a twentieth of 312, rounded up
    assert len(build_candidates(scores, parent, CandidateConfig(max_fraction=1.0)).frame) > 250


def test_the_order_of_the_rows_changes_nothing():
    scores, parent, known, sample = make_tables()
    one = build_candidates(scores, parent, CONFIG, known=known, sample=sample)
    other = build_candidates(
        *(table.sample(frac=1, random_state=3) for table in (scores, parent)),
        CONFIG,
        known=known.sample(frac=1, random_state=3),
        sample=sample,
    )
    pd.testing.assert_frame_equal(one.frame, other.frame)
    assert one.counts == other.counts


def test_scores_alone_or_logits_alone_are_enough():
    scores, parent, _, _ = make_tables()
    by_score = build_candidates(scores.drop(columns="logit"), parent, CandidateConfig(top_n=3)).frame
    by_logit = build_candidates(scores.drop(columns="score"), parent, CandidateConfig(top_n=3)).frame
    np.testing.assert_allclose(by_score["logit"], by_logit["logit"], rtol=1e-9)
    np.testing.assert_allclose(by_score["score"], by_logit["score"], rtol=1e-12)


def test_the_three_formats_hold_the_same(tmp_path):
    scores, parent, known, sample = make_tables()
    frame = build_candidates(scores, parent, CONFIG, known=known, sample=sample).frame
    paths = write_candidates(frame, tmp_path)
    for kind in ("parquet", "fits", "csv"):
        pd.testing.assert_frame_equal(read_candidates(paths[kind]), frame, check_exact=True)
    # By the readers that others use.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnitsWarning)  # nanomaggies are no FITS unit
        table = Table.read(paths["fits"])
    assert table.colnames == list(frame.columns)
    assert table["ra"].unit == "deg"
    np.testing.assert_array_equal(table["ra"], frame["ra"])
    np.testing.assert_array_equal(np.asarray(table["name"]).astype(str), frame["name"].to_numpy(str))
    csv = Table.read(paths["csv"], format="ascii.csv", fill_values=[("", "nan")])
    np.testing.assert_array_equal(np.asarray(csv["dec"], dtype=float), frame["dec"])
    assert read_candidates(tmp_path).equals(frame)


def test_units_and_meanings_travel_with_the_columns(tmp_path):
    scores, parent, known, sample = make_tables()
    frame = build_candidates(scores, parent, CONFIG, known=known, sample=sample).frame
    paths = write_candidates(frame, tmp_path)
    schema = pq.read_schema(paths["parquet"])
    assert schema.field("mag_z").metadata == {
        b"unit": b"mag",
        b"description": b"AB magnitude in z, corrected for extinction",
        b"ucd": b"phot.mag;em.opt.I",
    }
    with fits.open(paths["fits"], checksum=True) as hdus:
        header = hdus["CANDIDATES"].header
        for place, column in enumerate(frame.columns, start=1):
            described = next(c for c in COLUMNS if c.name == column)
            assert header[f"TTYPE{place}"] == column
            assert header[f"TCOMM{place}"] == described.description
            assert header.get(f"TUNIT{place}", "") == described.unit
            assert header.get(f"TUCD{place}", "") == described.ucd
        assert hdus["CANDIDATES"].verify_checksum() == 1
    described = pd.read_csv(paths["columns"])
    assert described["name"].tolist() == list(frame.columns)
    assert described["description"].str.len().max() <= 68


def test_an_empty_list_is_a_list(tmp_path):
    scores, parent, known, sample = make_tables()
    result = build_candidates(scores, parent, CandidateConfig(threshold=99.0), known=known, sample=sample)
    assert len(result.frame) == 0
    assert result.summary()["threshold"] is None
    paths = write_candidates(result.frame, tmp_path)
    for kind in ("parquet", "fits", "csv"):
        assert read_candidates(paths[kind]).columns.tolist() == result.frame.columns.tolist()
        assert len(read_candidates(paths[kind])) == 0


def test_make_candidates_from_files_twice_the_same(tmp_path):
    scores, parent, known, sample = make_tables()
    for name, table in (("scores", scores), ("parent", parent), ("systems", known), ("sample", sample)):
        write_parquet(tmp_path / "in" / f"{name}.parquet", table)
    folder = tmp_path / "in"
    arguments = {"known_path": folder, "sample_path": folder / "sample.parquet"}
    first = make_candidates(folder, folder, tmp_path / "out", CONFIG, **arguments)
    written = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir() if p.name != "provenance.json"}
    second = make_candidates(folder, folder, tmp_path / "out", CONFIG, **arguments)
    assert first == second
    assert written == {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir() if p.name != "provenance.json"}
    assert set(written) == {
        "candidates.parquet",
        "candidates.fits",
        "candidates.csv",
        "candidates-columns.csv",
        "candidates.json",
    }
    assert json.loads(written["candidates.json"])["counts"] == first["counts"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s, p: (pd.concat([s, s.iloc[:1]]), p), "the scores repeat a source_id"),
        (lambda s, p: (s, pd.concat([p, p.iloc[:1]])), "the parent table repeat a source_id"),
        (lambda s, p: (s.assign(source_id="x" + s["source_id"]), p), "no score belongs to an object"),
        (lambda s, p: (s.drop(columns="source_id"), p), "the scores have no column source_id"),
        (lambda s, p: (s[["source_id"]], p), "neither a column logit nor score"),
    ],
)
def test_unusable_tables_are_refused(spoil, message):
    scores, parent, _, _ = make_tables()
    with pytest.raises(InputError, match=message):
        build_candidates(*spoil(scores, parent), CONFIG)


def test_a_text_that_fits_cannot_hold_is_named(tmp_path):
    scores, parent, known, sample = make_tables()
    known["names"] = "Señor"
    frame = build_candidates(scores, parent, CONFIG, known=known, sample=sample).frame
    with pytest.raises(InputError, match="column known_names holds a character that is not ASCII"):
        write_candidates(frame, tmp_path)


def test_lists_that_are_none_are_named(tmp_path):
    with pytest.raises(FileProblem, match="no such list"):
        read_candidates(tmp_path)
    for name, message in (
        ("a.fits", "not a candidate list"),
        ("a.csv", "not a candidate list"),
        ("a.txt", "not .parquet"),
    ):
        (tmp_path / name).write_text("hello", encoding="utf-8")
        with pytest.raises(FileProblem, match=message):
            read_candidates(tmp_path / name)
    scores, parent, _, _ = make_tables()
    frame = build_candidates(scores, parent, CONFIG).frame
    with pytest.raises(InputError, match="no column rank"):
        write_candidates(frame.drop(columns="rank"), tmp_path)
    with pytest.raises(InputError, match="no description of column extra"):
        write_candidates(frame.assign(extra=1), tmp_path)


def test_a_list_without_a_limit_is_refused():
    with pytest.raises(ValidationError, match="give a threshold or top_n"):
        CandidateConfig(threshold=None, top_n=None)


def test_ra_near_zero_matches_across_the_border():
    scores, parent, known, _ = make_tables()
    parent["ra"] = (parent["ra"] - 200.0) % 360.0
    known["ra"] = (known["ra"] - 200.0) % 360.0
    frame = build_candidates(scores, parent, CONFIG, known=known).frame
    assert len(frame) == 12
    assert frame["is_known"].sum() == 5
    assert separation_arcsec(0.0, 5.0, frame["ra"], frame["dec"]).max() < 4500
