"""The gates: every planted leak is caught, an honest sample passes, and nothing is called tested that was not."""

import numpy as np
import pandas as pd
import pytest
import typer
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from legacylens.cli.samples import controls, gates
from legacylens.cutouts.cutout import Cutout
from legacylens.cutouts.writer import StoreWriter
from legacylens.errors import InputError
from legacylens.files import write_parquet
from legacylens.samples.build import COLUMNS, Sample, sample_hash, write_sample
from legacylens.validation.auc import delong
from legacylens.validation.leakage import GATES, LeakageConfig, gate_features, grouped_auc, run_gates
from legacylens.validation.leaks import PLANTED, honest_tables
from legacylens.validation.stamps import border_mask, measure_stamps, stamp_features

QUICK = LeakageConfig(trees=30)


def test_there_are_more_than_the_eight_leaks_asked_for():
    assert len(PLANTED) >= 8
    assert {gate for gate, _ in PLANTED.values()} >= {
        "position", "depth", "seeing", "exposures", "extinction", "type", "magnitude", "centering", "stamp"
    }  # fmt: skip


@pytest.mark.parametrize("control", list(PLANTED))
def test_a_planted_leak_fails_its_gate(control):
    gate, plant = PLANTED[control]
    rng = np.random.default_rng(11)
    tables = plant(honest_tables(rng), rng)
    result = run_gates(tables.sample, tables.parent, stamps=tables.stamps, config=QUICK, only=gate)
    assert result["verdict"] == "fail"
    assert [row["gate"] for row in result["gates"]] == [gate]


def test_an_honest_sample_passes_every_gate():
    tables = honest_tables(np.random.default_rng(12))
    result = run_gates(tables.sample, tables.parent, stamps=tables.stamps, config=QUICK)
    assert {row["gate"]: row["verdict"] for row in result["gates"]} == dict.fromkeys(
        [gate.name for gate in GATES] + ["missingness", "duplicates"], "pass"
    )
    assert result["verdict"] == "pass"
    assert (result["n_lenses"], result["n_non_lenses"]) == (240, 2400)
    # Magnitude, size and type together say something: what the pixels have to beat.
    assert 0.6 < result["baseline"]["value"] < 0.9


def test_the_order_of_the_rows_changes_nothing():
    tables = honest_tables(np.random.default_rng(13), n_lenses=80, n_non_lenses=600)
    order = np.random.default_rng(1).permutation(680)
    one = run_gates(tables.sample, tables.parent, config=QUICK, only="magnitude")
    other = run_gates(tables.sample.iloc[order], tables.parent.iloc[order[::-1]], config=QUICK, only="magnitude")
    assert one == other


def test_too_few_lenses_are_not_testable():
    tables = honest_tables(np.random.default_rng(14), n_lenses=15, n_non_lenses=600)
    result = run_gates(tables.sample, tables.parent, config=QUICK, only="depth")
    assert result["gates"][0]["verdict"] == "not testable"
    assert "15 lenses in" in result["gates"][0]["detail"]
    without = run_gates(tables.sample, tables.parent.drop(columns="ebv"), config=QUICK, only="extinction")
    assert without["gates"][0]["detail"] == "no such columns"


def test_an_object_without_a_parent_is_refused():
    tables = honest_tables(np.random.default_rng(15), n_lenses=30, n_non_lenses=100)
    with pytest.raises(InputError, match="2 objects of the sample are not in the parent table"):
        run_gates(tables.sample, tables.parent.iloc[2:], config=QUICK)


def test_the_interval_of_a_grouped_area_covers_chance():
    """Features without any meaning: the area is 0.5, inside the 95 % interval 95 times out of 100."""
    rng = np.random.default_rng(16)
    config = LeakageConfig(trees=10, confidence=0.95)
    inside, trials = 0, 40
    for _ in range(trials):
        label = (rng.random(300) < 0.25).astype(int)
        _, low, high = grouped_auc(rng.normal(size=(300, 2)), label, rng.integers(0, 30, 300), config)
        inside += low <= 0.5 <= high
    # Binomial standard deviation of 40 trials at 95 %: 1.4. Without the widening for shared training about 31 are.
    assert inside >= 40 * 0.95 - 3 * 1.4


def test_delong_is_the_variance_of_the_area():
    rng = np.random.default_rng(17)
    areas, variances = [], []
    for _ in range(2000):
        positives, negatives = rng.normal(1, 1, 40), rng.normal(0, 1, 120)
        area, variance = delong(positives, negatives)
        areas.append(area)
        variances.append(variance)
    assert area == pytest.approx(roc_auc_score(np.r_[np.ones(40), np.zeros(120)], np.r_[positives, negatives]))
    assert np.mean(variances) == pytest.approx(np.var(areas), rel=0.1)  # the variance of 2,000 has an error of 3 %


def test_float32_positions_and_rounded_ones_are_seen():
    ra = np.array([150.123456789, float(np.float32(150.123456789)), 150.1234])
    features = gate_features(pd.DataFrame({"ra": ra, "dec": ra / 3, "type": "SER"}))["coordinates"]
    assert features["ra_single"].tolist() == [0, 1, 0]
    assert features["ra_digits"].tolist()[2] == 4


def test_stamps_measure_noise_correlation_holes_and_center():
    rng = np.random.default_rng(18)
    y, x = np.mgrid[-50:51, -50:51]
    galaxy = 0.5 * np.exp(-0.5 * ((x - 0.6) ** 2 + (y + 0.3) ** 2) / 2.5**2)
    white = rng.normal(0, 0.004, (8, 3, 101, 101))
    smooth = gaussian_filter(rng.normal(0, 1, (8, 3, 101, 101)), (0, 0, 0.8, 0.8))
    smooth *= 0.004 / smooth.std()
    images = np.concatenate([white, smooth]) + galaxy
    invvars = np.full(images.shape, 1 / 0.004**2)
    invvars[0, :, :, :20] = 0
    maskbits = np.zeros((16, 101, 101), np.int32)
    maskbits[1, :10] = 2
    features = stamp_features(images, invvars, maskbits, ("g", "r", "z"))
    np.testing.assert_allclose(features["stamp_noise_r"], 0.004, rtol=0.08)  # 3,700 correlated pixels
    np.testing.assert_allclose(features["stamp_chi_z"], 1.0, rtol=0.08)
    np.testing.assert_allclose(features["stamp_lag_g"][:8], 0.0, atol=0.08)  # 1 / sqrt(3,700) is 0.016; five of them
    assert features["stamp_lag_g"][8:].min() > 0.4  # exp(-1 / (4 * 0.8^2)) = 0.68 for Gaussian smoothing
    assert features["stamp_holes"][0] == pytest.approx(20 / 101)
    assert features["stamp_masked"][1] == pytest.approx(10 / 101)
    # The box is about as wide as the galaxy and has its own center: offsets are seen with a smaller scale.
    assert features["centroid_x"].between(0.15, 0.6).all()
    assert features["centroid_y"].between(-0.3, -0.05).all()
    assert border_mask(101).mean() == pytest.approx(0.35, abs=0.02)
    empty = stamp_features(np.zeros((1, 3, 101, 101)), None, None, ("g", "r", "z"))
    assert np.isfinite(empty.to_numpy()).all()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An honest sample on disk, with cutouts of all but three objects."""
    folder = tmp_path_factory.mktemp("gates")
    tables = honest_tables(np.random.default_rng(19), n_lenses=40, n_non_lenses=260)
    frame = tables.sample.assign(**{name: "" for name in COLUMNS if name not in tables.sample.columns})
    frame = frame.assign(tier=0, lens_separation_arcsec=0.0)[list(COLUMNS)]
    write_sample(Sample(frame=frame, summary={"hash": sample_hash(frame)}), folder / "sample")
    write_parquet(folder / "parent.parquet", tables.parent)
    rng = np.random.default_rng(20)
    with StoreWriter(folder / "store", stamp=101, invvar=False, maskbits=False) as writer:
        for row in frame.iloc[3:].itertuples():
            image = rng.normal(0, 0.005, (3, 101, 101)).astype(np.float32)
            image[:, 48:53, 48:53] += 0.1
            writer.add(Cutout(source_id=row.source_id, ra=row.ra, dec=row.dec, bands=("g", "r", "z"), image=image))
    return folder


def test_the_verbs(folder):
    app = typer.Typer()
    app.command()(gates)
    app.command()(controls)
    arguments = ["gates", str(folder / "sample"), str(folder), "--store", str(folder / "store")]
    result = CliRunner().invoke(app, [*arguments, "--strict"], catch_exceptions=False)
    assert result.exit_code == 0, result.stdout
    assert "40 lenses and 260 non-lenses: pass" in result.stdout
    assert "duplicates" in result.stdout


def test_stamps_of_absent_sources_are_absent(folder):
    from legacylens.cutouts.store import CutoutStore

    with CutoutStore.open(folder / "store") as store:
        first = store.manifest["source_id"][0]
        assert measure_stamps(store, [first, "nobody", first])["source_id"].tolist() == [first]
        assert len(measure_stamps(store, ["nobody"])) == 0
