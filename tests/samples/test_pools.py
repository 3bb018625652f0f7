"""Hard and representative non-lenses, what people said about suspicious ones, and lists that training never sees."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from legacylens.cli.main import app
from legacylens.cutouts.bricks import read_targets
from legacylens.cutouts.writer import write_store
from legacylens.errors import FileProblem, InputError
from legacylens.files import write_parquet
from legacylens.samples.build import build_sample, make_sample, read_sample, sample_hash
from legacylens.samples.config import SampleConfig
from legacylens.samples.draw import in_fraction
from legacylens.samples.leave_one_out import leave_one_out
from legacylens.samples.pools import HARD, INSPECTED, REPRESENTATIVE, draw_split, read_verdicts
from legacylens.samples.suspicious import make_queue, suspicious_queue
from legacylens.survey.sphere import match_within, offset_position

CONFIG = SampleConfig(nside=1024, guard_arcsec=40.0, negatives_per_positive=4.0)


def sky(n=4000, n_lenses=200, seed=11):
    """A field, its known systems (some rejected by people), and contaminants on objects that are no lenses."""
    rng = np.random.default_rng(seed)
    ra, dec = offset_position(np.full(n, 10.0), np.full(n, -3.0), *rng.uniform(-2700, 2700, (2, n)))
    parent = pd.DataFrame(
        {
            "source_id": [f"10000_{i // 100}_{i % 100}" for i in range(n)],
            "ra": ra,
            "dec": dec,
            "brickname": "0100m030",
            "type": rng.choice(["SER", "DEV", "REX"], n),
            "nobs_z": rng.integers(3, 14, n),
        }
    )
    tier = rng.choice([1, 2, 5], n_lenses, p=[0.4, 0.4, 0.2])
    systems = pd.DataFrame(
        {
            "system_id": [f"K{i}" for i in range(n_lenses)],
            "ra": ra[:n_lenses],
            "dec": dec[:n_lenses],
            "tier": tier,
            "grade": np.select([tier == 1, tier == 2], ["A", "B"], "D"),
            "sources": rng.choice(["old", "new", "new|old"], n_lenses),
            "channel": rng.choice(["network", "spectroscopic"], n_lenses, p=[0.7, 0.3]),
        }
    )
    rows = np.arange(n_lenses, n_lenses + 400)
    contaminants = pd.DataFrame(
        {
            "object_id": [f"C{i}" for i in rows],
            "ra": ra[rows],
            "dec": dec[rows],
            "class": rng.choice(["ring", "spiral", "merger"], len(rows)),
            "near_lens": "",
        }
    )
    rejected = systems[systems["tier"] == 5]
    contaminants = pd.concat(
        [
            contaminants,
            pd.DataFrame(
                {
                    "object_id": rejected["system_id"],
                    "ra": rejected["ra"],
                    "dec": rejected["dec"],
                    "class": "rejected",
                    "near_lens": "",
                }
            ),
        ],
        ignore_index=True,
    )
    return parent, systems, contaminants


def test_both_pools_are_drawn_and_only_where_a_split_is_drawn():
    parent, systems, contaminants = sky()
    frame = build_sample(parent, systems, CONFIG, contaminants=contaminants).frame
    others = frame[frame["label"] == 0]
    train = others[others["split"] == "train"]
    n_lenses = int(((frame["label"] == 1) & (frame["split"] == "train")).sum())
    hard = train[train["pool"] == HARD]
    assert len(hard) == round(0.15 * 4 * n_lenses)
    assert (hard["contaminant"] != "").all()
    assert (hard["reason"] == "seen to be no lens").all()
    assert len(train) <= 4 * n_lenses + len(set(frame["stratum"]))
    # The other splits are the sky as it is: what is rejected counts there like everything else.
    rest = others[others["split"].isin(["validation", "sealed"])]
    assert set(rest["pool"]) == {REPRESENTATIVE}
    assert set(rest["contaminant"]) == {"", "ring", "spiral", "merger", "rejected"}
    assert set(frame.loc[frame["label"] != 0, "pool"]) == {""}
    assert set(frame.loc[frame["split"] == "guard", "pool"]) == {""}


def test_the_representative_pool_keeps_its_proportions():
    parent, systems, contaminants = sky()
    summary = build_sample(parent, systems, CONFIG, contaminants=contaminants).summary
    for row in summary["strata"]["train"]:
        n_all = 4 * sum(each["lenses"] for each in summary["strata"]["train"])
        share = (n_all - summary["pools"]["train"][HARD]) / n_all
        assert row["wanted"] == round(4 * share * row["lenses"])
    assert summary["contaminants"]["sealed"]["ring"] > 0
    json.dumps(summary)


def test_without_a_hard_pool_the_draw_is_the_old_one():
    parent, systems, contaminants = sky()
    plain = build_sample(parent, systems, CONFIG)
    none = build_sample(
        parent, systems, CONFIG.model_copy(update={"hard_fraction": 0.0}), contaminants=contaminants.iloc[:400]
    )
    assert sample_hash(plain.frame) == sample_hash(none.frame)
    assert set(plain.frame["pool"]) == {"", REPRESENTATIVE}


def test_rejected_candidates_are_non_lenses_only_if_no_other_system_is_near():
    parent, systems, contaminants = sky()
    without = build_sample(parent, systems, CONFIG).frame
    frame = build_sample(parent, systems, CONFIG, contaminants=contaminants).frame
    rejected = frame[(frame["tier"] == 5) & (frame["contaminant"] == "rejected")]
    assert set(without.loc[without["tier"] == 5, "label"]) == {-1}
    assert (rejected["label"] == 0).sum() > 10
    accepted = systems[systems["tier"] < 5]
    used = frame[frame["label"] == 0]
    near, _, _ = match_within(used["ra"], used["dec"], accepted["ra"], accepted["dec"], 20.0)
    assert len(near) == 0


def test_contaminants_near_a_lens_are_not_used():
    parent, systems, contaminants = sky()
    contaminants["near_lens"] = "K0"
    frame = build_sample(parent, systems, CONFIG, contaminants=contaminants).frame
    assert set(frame["contaminant"]) == {""}
    assert HARD not in set(frame["pool"])
    with pytest.raises(InputError, match="contaminants has no column class"):
        build_sample(parent, systems, CONFIG, contaminants=contaminants.drop(columns="class"))


def test_the_draw_depends_on_neither_order_nor_luck():
    parent, systems, contaminants = sky(n=2500)
    one = build_sample(parent, systems, CONFIG, contaminants=contaminants)
    other = build_sample(
        parent.sample(frac=1, random_state=1), systems, CONFIG, contaminants=contaminants.sample(frac=1, random_state=2)
    )
    pd.testing.assert_frame_equal(one.frame, other.frame)
    part = one.frame[(one.frame["split"] == "sealed")].assign(in_brick=True)
    pool, _ = draw_split(part, CONFIG, 4.0)
    assert pool.index.equals(part.index)


# ---------------------------------------------------------------- few bricks


def test_representative_non_lenses_come_from_few_bricks_and_the_parents_of_the_rest_are_not_read(tmp_path):
    """Reading only what can be used gives the same objects as looking at everything."""
    parent, systems, contaminants = sky(n=6000)
    parent["brickname"] = [f"{i % 60:04d}m030" for i in range(len(parent))]
    config = CONFIG.model_copy(update={"brick_fraction": 0.3})
    whole = build_sample(parent, systems, config, contaminants=contaminants)
    used = whole.frame[whole.frame["label"].isin([0, 1]) & (whole.frame["split"] != "guard")]
    bricks = set(used.loc[used["pool"] == REPRESENTATIVE, "brickname"])
    assert 8 <= len(bricks) <= 30  # 18 expected of 60
    chosen = in_fraction(sorted(set(parent["brickname"])), 0.3, config.draw_seed)
    assert bricks <= set(np.array(sorted(set(parent["brickname"])))[chosen])
    hard = used[used["pool"] == HARD]
    assert not set(hard["brickname"]) <= bricks
    assert set(hard["split"]) == {"train"}
    assert used.loc[used["label"] == 1, "brickname"].nunique() > 30
    for split in ("validation", "sealed"):
        part = parent[parent["source_id"].isin(whole.frame.loc[whole.frame["split"] == split, "source_id"])]
        assert len(used[(used["split"] == split) & (used["label"] == 0)]) < 0.5 * len(part)
    write_parquet(tmp_path / "parent.parquet", parent)
    write_parquet(tmp_path / "systems.parquet", systems)
    write_parquet(tmp_path / "contaminants.parquet", contaminants)
    summary = make_sample(
        tmp_path, tmp_path, tmp_path / "s", config, contaminants_path=tmp_path / "contaminants.parquet"
    )
    thin = read_sample(tmp_path / "s").frame
    assert len(thin) + summary["parents_elsewhere"] == len(parent)
    assert summary["parents_elsewhere"] > 2500
    columns = ["source_id", "label", "split", "pool", "contaminant", "stratum", "cell"]
    again = thin[thin["label"].isin([0, 1]) & (thin["split"] != "guard")]
    pd.testing.assert_frame_equal(
        used[columns].sort_values("source_id", ignore_index=True),
        again[columns].sort_values("source_id", ignore_index=True),
    )
    # What is used of a sample is what is cut.
    targets = read_targets(tmp_path / "s/sample.parquet")
    assert set(targets["source_id"]) == set(used["source_id"])
    assert list(targets.columns) == ["source_id", "ra", "dec", "brickname"]


def test_fractions_of_bricks_are_stable_and_nested():
    names = [f"{k:04d}p100" for k in range(5000)]
    some, more = in_fraction(names, 0.02, 7), in_fraction(names, 0.1, 7)
    assert not (some & ~more).any()
    assert abs(more.mean() - 0.1) < 5 * np.sqrt(0.1 * 0.9 / 5000)
    assert in_fraction(names, 1.0, 7).all()
    assert (in_fraction(names[::-1], 0.1, 7)[::-1] == more).all()


# ---------------------------------------------------------------- verdicts


def test_what_looks_like_a_lens_leaves_with_its_surroundings_and_what_does_not_becomes_hard():
    parent, systems, _ = sky()
    first = build_sample(parent, systems, CONFIG).frame
    train = first[(first["label"] == 0) & (first["split"] == "train")]
    suspects, cleared = train["source_id"].iloc[:5].tolist(), train["source_id"].iloc[5:20].tolist()
    lens, unseen = first.loc[first["label"] == 1, "source_id"].iloc[:2]
    verdicts = pd.DataFrame(
        {
            "source_id": [*suspects, *cleared, lens, "1_2_3", unseen],
            "verdict": ["lens"] * 3 + ["maybe"] * 2 + ["no"] * len(cleared) + ["maybe", "lens", "no"],
        }
    )
    sample = build_sample(parent, systems, CONFIG, verdicts=verdicts)
    frame = sample.frame.set_index("source_id")
    assert set(frame.loc[suspects, "label"]) == {-1}
    assert frame.loc[suspects, "reason"].str.contains("looks like a lens").all()
    assert set(frame.loc[cleared, "contaminant"]) == {INSPECTED}
    assert set(frame.loc[cleared, "pool"]) == {HARD}
    assert frame.loc[lens, "label"] == 1
    assert (frame.loc[unseen, "label"], frame.loc[unseen, "contaminant"]) == (-1, "")
    assert "does not see" in frame.loc[unseen, "reason"]
    assert sample.summary["verdicts_without_object"] == 1
    used, out = frame[frame["label"] == 0], frame.loc[suspects]
    near, _, _ = match_within(used["ra"], used["dec"], out["ra"], out["dec"], 20.0)
    assert len(near) == 0


def test_verdict_tables(tmp_path):
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text("number,source_id,verdict\n1,a, NO\n2,b,\n3,c,Maybe\n4,d,D\n")
    two.write_text("source_id,verdict\na,lens\nd,no\n")
    table = read_verdicts([one, two])
    assert table.to_dict("list") == {"source_id": ["a", "c", "d"], "verdict": ["lens", "maybe", "no"]}
    two.write_text("source_id,verdict\na,lens\nq,perhaps\n")
    with pytest.raises(FileProblem, match=r"two\.csv: row 2 \(q\) has the verdict 'perhaps'"):
        read_verdicts([two])
    two.write_text("name,verdict\na,lens\n")
    with pytest.raises(FileProblem, match="no column source_id"):
        read_verdicts([two])


# ---------------------------------------------------------------- the queue


@pytest.fixture
def folder(tmp_path):
    parent, systems, contaminants = sky(n=3000)
    write_parquet(tmp_path / "parent.parquet", parent)
    write_parquet(tmp_path / "systems.parquet", systems)
    write_parquet(tmp_path / "contaminants.parquet", contaminants)
    rng = np.random.default_rng(2)
    logit = rng.normal(0, 2, len(parent))
    scores = pd.DataFrame({"source_id": parent["source_id"], "logit": logit, "score": 1 / (1 + np.exp(-logit))})
    write_parquet(tmp_path / "scores.parquet", scores)
    make_sample(tmp_path / "parent.parquet", tmp_path / "systems.parquet", tmp_path / "sample", CONFIG)
    return tmp_path


def test_the_queue_shows_the_highest_non_lenses_of_the_open_splits(folder):
    queue, summary = make_queue(folder / "sample", folder / "scores.parquet", folder / "q", limit=50)
    sample = read_sample(folder / "sample").frame
    joined = sample.merge(pd.read_parquet(folder / "scores.parquet"), on="source_id")
    open_ones = joined[(joined["label"] == 0) & joined["split"].isin(["train", "validation"])]
    assert queue["source_id"].tolist() == open_ones.nlargest(50, "logit")["source_id"].tolist()
    assert queue["number"].tolist() == list(range(1, 51))
    assert summary["shown"] == 50
    assert summary["sealed"] == int(((sample["label"] == 0) & (sample["split"] == "sealed")).sum())
    assert (
        summary["shown"] + summary["beyond_the_limit"] + summary["sealed"] + summary["guard"] == summary["non_lenses"]
    )
    assert queue["viewer"].str.startswith("https://www.legacysurvey.org/viewer?ra=").all()
    above, counts = suspicious_queue(sample, pd.read_parquet(folder / "scores.parquet"), above=0.9, limit=10_000)
    assert above["score"].min() >= 0.9
    assert counts["beyond_the_score"] + len(above) == len(open_ones)


def test_verdicts_go_round(folder):
    """Queue, verdicts, new sample, new queue: what was judged is not shown again and is where it belongs."""
    make_queue(folder / "sample", folder / "scores.parquet", folder / "q", limit=30)
    path = folder / "q/suspicious.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert set(table["verdict"]) == {""}
    table.loc[:4, "verdict"] = "lens"
    table.loc[5:19, "verdict"] = "no"
    table.to_csv(path, index=False)
    with pytest.raises(FileProblem, match="holds 20 verdicts"):
        make_queue(folder / "sample", folder / "scores.parquet", folder / "q")
    paths = (folder / "parent.parquet", folder / "systems.parquet", folder / "second")
    summary = make_sample(*paths, CONFIG, contaminants_path=folder / "contaminants.parquet", verdict_paths=[path])
    frame = read_sample(folder / "second").frame.set_index("source_id")
    assert set(frame.loc[table["source_id"][:5], "label"]) == {-1}
    assert summary["contaminants"]["train"][INSPECTED] >= 1
    assert "verdicts 0" in json.loads((folder / "second/provenance.json").read_text())["inputs"]
    again, counts = make_queue(
        folder / "second", folder / "scores.parquet", folder / "q2", verdict_paths=[path], limit=30
    )
    assert not set(again["source_id"]) & set(table["source_id"][:20])
    assert counts["judged_before"] >= 10


def test_the_least_convincing_lenses_can_be_queued_too(folder):
    """Paper IV kept 1,372 of some 12,000 known systems after somebody had looked at the survey's images of all."""
    queue, summary = make_queue(folder / "sample", folder / "scores.parquet", folder / "q", limit=20, lenses=True)
    sample = read_sample(folder / "sample").frame
    joined = sample.merge(pd.read_parquet(folder / "scores.parquet"), on="source_id")
    lenses = joined[(joined["label"] == 1) & joined["split"].isin(["train", "validation"])]
    assert queue["source_id"].tolist() == lenses.nsmallest(20, "logit")["source_id"].tolist()
    assert summary["lenses"] == int((sample["label"] == 1).sum())
    low, counts = make_queue(folder / "sample", folder / "scores.parquet", folder / "q", above=0.1, lenses=True)
    assert low["score"].max() <= 0.1
    assert counts["beyond_the_score"] > 0


def test_scores_of_another_run_are_refused(folder):
    sample = read_sample(folder / "sample").frame
    with pytest.raises(InputError, match="none of the non-lenses"):
        suspicious_queue(sample, pd.DataFrame({"source_id": ["x"], "score": [0.5]}))
    with pytest.raises(InputError, match="source_id and score needed"):
        suspicious_queue(sample, pd.DataFrame({"source_id": ["x"], "p": [0.5]}))


def run(*arguments):
    result = CliRunner().invoke(app, ["samples", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_verbs(folder):
    ids = pd.read_parquet(folder / "parent.parquet")["source_id"]
    images = np.random.default_rng(1).normal(0, 0.01, (len(ids), 3, 9, 9)).astype(np.float32)
    write_store(folder / "store", pd.DataFrame({"source_id": ids}), images).close()
    text = run("suspicious", folder / "sample", folder / "scores.parquet", "--store", folder / "store",
               "--limit", 70, "--out", folder / "q", "--json")  # fmt: skip
    summary = json.loads(text)
    assert [path.rsplit("/", 1)[-1] for path in summary["sheets"]] == ["sheet-01.png", "sheet-02.png"]
    assert (folder / "q/sheet-01.png").read_bytes().startswith(b"\x89PNG")
    assert summary["without_cutout"] == 0
    assert "Most suspicious" in run("suspicious", folder / "sample", folder / "scores.parquet", "--out", folder / "q")
    (folder / "c.toml").write_text("nside = 1024\nguard_arcsec = 40.0\nnegatives_per_positive = 4\n")
    text = run("build", folder / "parent.parquet", folder / "systems.parquet", "--config", folder / "c.toml",
               "--contaminants", folder, "--leave-out", "spectroscopic", "--out", folder / "s")  # fmt: skip
    assert "hard (N2)" in text
    frame = read_sample(folder / "s").frame
    assert set(frame.loc[(frame["label"] == 1) & (frame["split"] == "train"), "channel"]) == {"network"}
    text = run("leave-one-out", folder / "parent.parquet", folder / "systems.parquet", "--config", folder / "c.toml",
               "--by", "channel", "--out", folder / "without", "--json")  # fmt: skip
    assert [row["left_out"] for row in json.loads(text)["samples"]] == ["network", "spectroscopic"]


# ---------------------------------------------------------------- leave one out


@pytest.mark.parametrize(("by", "names"), [("list", ["new", "old"]), ("channel", ["network", "spectroscopic"])])
def test_each_list_and_each_channel_is_left_out_once(folder, by, names):
    result = leave_one_out(folder / "parent.parquet", folder / "systems.parquet", folder / "without", CONFIG, by=by)
    assert [row["left_out"] for row in result["samples"]] == names
    splits = []
    for row in result["samples"]:
        frame = read_sample(row["folder"]).frame
        splits.append(frame.set_index("source_id")["split"])
        lenses = frame[frame["label"] == 1]
        learned, held = lenses[lenses["split"] != "sealed"], lenses[lenses["held_out"].astype(bool)]
        column = "sources" if by == "list" else "channel"
        assert row["left_out"] not in set(learned[column])
        assert set(held[column]) == {row["left_out"]}
        assert set(held["split"]) == {"sealed"}
        assert len(held) == row["held_out_sealed"] > 0
        assert row["held_out_train"] > 0
        # Left out is not turned into a non-lens.
        assert not set(frame.loc[frame["held_out"].astype(bool), "label"]) & {0}
    assert splits[0].equals(splits[1])


def test_a_list_that_does_not_exist_is_refused(folder):
    parent, systems, _ = sky(n=1500)
    with pytest.raises(InputError, match=r"leave_out names SuGOHI, but .* lists new, old and the channels network"):
        build_sample(parent, systems, CONFIG.model_copy(update={"leave_out": ("SuGOHI", "old")}))


def test_what_cannot_be_left_out_is_skipped_and_said(folder):
    systems = pd.read_parquet(folder / "systems.parquet").assign(sources="all")
    systems.loc[:5, "sources"] = "few"
    write_parquet(folder / "systems.parquet", systems)
    result = leave_one_out(folder / "parent.parquet", folder / "systems.parquet", folder / "w", CONFIG)
    assert [row["left_out"] for row in result["samples"]] == ["few"]
    assert "has no lens" in result["skipped"]["all"]
    write_parquet(folder / "systems.parquet", systems.assign(sources="all"))
    with pytest.raises(InputError, match="to leave one out takes two"):
        leave_one_out(folder / "parent.parquet", folder / "systems.parquet", folder / "w", CONFIG)
