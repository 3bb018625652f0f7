"""A store of mocks: made from another, counted, checked, and made again from configuration, host and seed."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from legacylens.cutouts.store import CutoutStore
from legacylens.cutouts.writer import write_store
from legacylens.errors import FileProblem, InputError
from legacylens.files import write_parquet
from legacylens.lensing.sersic import Sersic
from legacylens.mocks.draw import draw_mocks
from legacylens.mocks.hosts import host_table
from legacylens.mocks.injection_run import inject_store, remake
from legacylens.mocks.injection_truth import TRUTH_UNITS, config_hash, mock_id, read_truth, truth_table, write_truth
from legacylens.mocks.noise import coadd_noise
from legacylens.mocks.population_sets import SETS, HostConfig, InjectionConfig, MockSetConfig, SelectionConfig
from legacylens.mocks.population_summary import mock_hosts
from legacylens.mocks.psf import Psf, moffat_psfs
from legacylens.mocks.psf_files import psf_folder, read_psf
from legacylens.mocks.render import render_profile
from legacylens.photometry import flux_of_magnitude, mw_transmission
from legacylens.survey.maskbits import mask_value

N_HOSTS = 30
EASY = SETS["calibrated"].model_copy(
    update={"selection": SelectionConfig(snr=10.0), "hosts": HostConfig(matching="luminous-red")}
)
"""The calibrated set with fainter arcs and unweighted hosts, so that a few galaxies give many mocks quickly."""


def a_galaxy(row, rng):
    """Return image and invvar of a red galaxy under its row's conditions."""
    sky = InjectionConfig().sky
    flux = [float(flux_of_magnitude(row[f"mag_{b}"]) * mw_transmission(row["ebv"], b)) for b in "grz"]
    psf = Psf(moffat_psfs([row[f"psfsize_{b}"] for b in "grz"]))
    galaxy = Sersic(r_e=row["radius"], n=4.0, q=row["q"], phi=row["phi"])
    model = render_profile([galaxy], flux, psf, shape=(101, 101)).astype("f4")
    invvar = np.stack([np.full((101, 101), row[f"sigma_{b}"] ** -2, "f4") for b in "grz"])
    noise = [
        coadd_noise(rng.standard_normal((101, 101)).astype("f4"), invvar[k], model[k], sky[b])
        for k, b in enumerate("grz")
    ]
    return model + np.stack(noise), invvar


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """A store of red galaxies with their parent table; the first is at an edge, the second masked."""
    rng = np.random.default_rng(1)
    rows = mock_hosts(N_HOSTS, rng)
    pixels = [a_galaxy(row, rng) for _, row in rows.iterrows()]
    images, invvars = (np.stack(part) for part in zip(*pixels, strict=True))
    maskbits = np.zeros((N_HOSTS, 101, 101), "i4")
    images[0, :, :, :30] = 0.0
    invvars[0, :, :, :30] = 0.0
    maskbits[1, 55:58, 50:53] = mask_value("SATUR_R")
    parent = pd.DataFrame({"source_id": [f"10000_{k}_1" for k in range(N_HOSTS)], "ra": 150.0, "dec": 2.0})
    parent["ebv"], parent["z_phot"] = rows["ebv"], rows["z"]
    for band in "grz":
        parent[f"mag_{band}"], parent[f"psfsize_{band}"] = rows[f"mag_{band}"], rows[f"psfsize_{band}"]
        parent[f"psfdepth_{band}"] = 1000.0
    e, angle = (1 - rows["q"]) / (1 + rows["q"]), rows["phi"] - np.pi / 2
    parent["shape_r"] = rows["radius"] / np.sqrt(rows["q"])
    parent["shape_e1"], parent["shape_e2"] = e * np.cos(2 * angle), e * np.sin(2 * angle)
    store = write_store(
        tmp_path_factory.mktemp("hosts") / "store", parent[["source_id", "ra", "dec"]], images, invvars, maskbits
    )
    return store, parent


@pytest.fixture(scope="module")
def made(hosts, tmp_path_factory):
    store, parent = hosts
    out = tmp_path_factory.mktemp("mocks") / "easy"
    return inject_store(store, parent, out, EASY, n=N_HOSTS, seed=7)


def test_every_mock_is_counted(made):
    assert made.asked == N_HOSTS
    assert made.made == len(made.truth) == len(CutoutStore.open(made.out)) > 15
    assert made.skipped["edge"] == 1
    assert made.skipped["masked"] == 1
    assert made.skipped["no-host-left"] > 0
    assert made.hosts.given == N_HOSTS
    assert not {"10000_0_1", "10000_1_1"} & set(made.truth["host_source_id"])
    assert made.truth["host_source_id"].is_unique  # one mock for each host
    json.dumps(made.as_dict())


def test_the_truth_has_every_parameter_with_its_unit(made):
    table = read_truth(made.out)
    assert list(table) == list(TRUTH_UNITS)
    assert not table.isna().any().any()
    schema = pq.read_schema(made.out / "truth.parquet")
    for name, unit in TRUTH_UNITS.items():
        if unit:
            assert schema.field(name).metadata[b"unit"].decode() == unit
    assert set(table["set"]) == {"calibrated"}
    assert set(table["config_hash"]) == {config_hash(EASY)}
    np.testing.assert_allclose(
        table["arc_mag_r"], table["source_mag_r"] - 2.5 * np.log10(table["magnification"]), atol=1e-9
    )
    flux = flux_of_magnitude(table["arc_mag_g"]) * mw_transmission(table["host_ebv"], "g")
    np.testing.assert_allclose(table["arc_flux_g"], flux, rtol=1e-9)
    assert (table["snr"] == table[["snr_g", "snr_r", "snr_z"]].max(axis=1)).all()
    # The coarse S/N on which a lens was selected is that of the injected arc, but for the host's true light.
    ratio = table[[f"expected_snr_{b}" for b in "grz"]].max(axis=1) / table["snr"]
    assert ratio.between(0.85, 1.2).all()


def test_pixels_hold_the_flux_of_the_truth(hosts, made):
    store, _ = hosts
    mocks = CutoutStore.open(made.out)
    place = store.index_of(made.truth["host_source_id"])
    added = mocks.images(mocks.index_of(made.truth["source_id"])).astype(np.float64) - store.images(place)
    for number, band in enumerate("grz"):
        flux = made.truth[f"arc_flux_{band}"].to_numpy()
        noise = np.sqrt(flux / made.truth[f"gain_{band}"]) * 1.3
        assert np.all(np.abs(added[:, number].sum((1, 2)) - flux) < 5 * noise + 0.01 * flux)
    closure = made.truth[[f"closure_{band}" for band in "grz"]].to_numpy()
    np.testing.assert_allclose(closure, 1.0, atol=0.01)


def test_any_mock_is_made_again_bit_for_bit(hosts, made):
    store, parent = hosts
    mocks = CutoutStore.open(made.out)
    record = json.loads((made.out / "provenance.json").read_text())
    config = MockSetConfig.model_validate(record["configuration"]["set"])
    table = host_table(parent).set_index("source_id", drop=False)
    for k in (0, made.made // 2, made.made - 1):
        row = made.truth.iloc[k]
        host = store.cutout(int(store.index_of([row["host_source_id"]])[0]))
        again, truth = remake(config, host, table.loc[row["host_source_id"]], int(row["seed"]))
        place = mocks.index_of([row["source_id"]])
        assert again.image.tobytes() == mocks.images(place)[0].tobytes()
        assert again.invvar.tobytes() == mocks.invvars(place)[0].tobytes()
        for name, value in truth.items():
            if name.startswith("expected"):
                assert value == pytest.approx(row[name], rel=1e-5)
            else:
                assert value == row[name], name
    other = config.model_copy(update={"selection": SelectionConfig(snr=900.0), "attempts": 1})
    with pytest.raises(InputError, match="give no lens"):
        remake(other, host, table.loc[row["host_source_id"]], int(row["seed"]))


def test_a_run_is_reproducible_and_seeds_matter(hosts, tmp_path):
    store, parent = hosts
    first, second, third = (
        inject_store(store, parent, tmp_path / name, EASY, n=4, seed=seed)
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    pd.testing.assert_frame_equal(first.truth, second.truth)
    same = [CutoutStore.open(r.out).images(np.arange(first.made)).tobytes() for r in (first, second)]
    assert same[0] == same[1]
    assert not set(first.truth["source_id"]) & set(third.truth["source_id"])


def test_a_mock_is_named_after_host_and_seed(made):
    row = made.truth.iloc[0]
    assert row["source_id"] == mock_id(row["host_source_id"], row["seed"])
    assert int(row["source_id"].rsplit("_lens", 1)[1], 16) == row["seed"]
    manifest = CutoutStore.open(made.out).manifest
    assert {"host_source_id", "seed", "psfsize_g"} <= set(manifest)


def test_null_injection_is_the_host_bit_for_bit(hosts, tmp_path):
    store, parent = hosts
    config = EASY.model_copy(update={"injection": InjectionConfig(flux_factor=0.0)})
    report = inject_store(store, parent, tmp_path / "null", config, n=3, seed=5)
    mocks = CutoutStore.open(report.out)
    place = store.index_of(report.truth["host_source_id"])
    assert mocks.images(np.arange(3)).tobytes() == store.images(place).tobytes()
    assert mocks.invvars(np.arange(3)).tobytes() == store.invvars(place).tobytes()
    assert (report.truth[["snr_g", "snr_r", "snr_z"]] == 0).all().all()


def test_excluded_sources_are_no_hosts(hosts, tmp_path):
    store, parent = hosts
    excluded = [f"10000_{k}_1" for k in range(25)]
    report = inject_store(store, parent, tmp_path / "few", EASY, n=3, seed=1, excluded=excluded)
    assert report.hosts.given == 5
    assert not set(excluded) & set(report.truth["host_source_id"])


def test_hosts_may_be_used_more_than_once(hosts, tmp_path):
    store, parent = hosts
    config = EASY.model_copy(update={"hosts": HostConfig(matching="luminous-red", per_host=3)})
    report = inject_store(store, parent[4:8], tmp_path / "often", config, n=8, seed=1)
    assert report.made > 4
    assert report.truth["host_source_id"].value_counts().max() <= 3


def test_the_faulty_set_says_so(hosts, tmp_path):
    store, parent = hosts
    report = inject_store(store, parent, tmp_path / "faulty", SETS["arbitrary-flux"], n=4, seed=1)
    assert report.made == 4
    assert "gray and centered" in " ".join(report.faults)
    assert report.truth["snr_r"].median() > 200
    assert set(report.truth["psf"]) == {"one-band-gaussian"}


def test_pixelized_psfs_are_taken_from_a_folder(hosts, tmp_path):
    from astropy.io import fits

    store, parent = hosts
    stamps = moffat_psfs([1.5, 1.4, 1.3], [2.6, 2.8, 3.5])
    for name in parent["source_id"]:
        hdus = [fits.ImageHDU(stamp, header=fits.Header({"BAND": b})) for b, stamp in zip("grz", stamps, strict=True)]
        if name != "10000_5_1":
            fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / f"{name}.fits")
    find = psf_folder(tmp_path)
    assert find("10000_5_1") is None
    np.testing.assert_allclose(find("10000_6_1"), stamps)
    report = inject_store(store, parent[5:9], tmp_path / "out", EASY, n=4, seed=2, psf_of=find)
    kinds = dict(zip(report.truth["host_source_id"], report.truth["psf"], strict=True))
    assert kinds.pop("10000_5_1", "moffat") == "moffat"
    assert set(kinds.values()) == {"pixelized"}
    assert psf_folder(None)("anything") is None
    with pytest.raises(FileProblem, match="no such folder of PSFs"):
        psf_folder(tmp_path / "absent")


def test_psf_files_that_are_none(tmp_path):
    from astropy.io import fits

    with pytest.raises(FileProblem, match="no such file"):
        read_psf(tmp_path / "absent.fits")
    (tmp_path / "text.fits").write_text("not FITS")
    with pytest.raises(FileProblem, match="not a readable FITS file"):
        read_psf(tmp_path / "text.fits")
    fits.HDUList([fits.PrimaryHDU(moffat_psfs([1.2])[0], header=fits.Header({"BAND": "g"}))]).writeto(
        tmp_path / "g.fits"
    )
    with pytest.raises(FileProblem, match=r"BAND = r, z .*found g"):
        read_psf(tmp_path / "g.fits")


@pytest.mark.real
def test_a_coadd_psf_of_the_survey(real_data):
    stamps = read_psf(next((real_data / "ls-dr9-cutout").glob("copsf*.fits")))
    assert stamps.shape == (3, 63, 63)
    np.testing.assert_allclose(stamps.sum((1, 2)), 1.0, atol=1e-3)


def test_what_cannot_be_injected_into_is_refused(hosts, tmp_path):
    store, parent = hosts
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("keep me")
    with pytest.raises(InputError, match="is not empty"):
        inject_store(store, parent, tmp_path / "full", EASY, n=1, seed=1)
    with pytest.raises(InputError, match="none of the 30 sources"):
        inject_store(store, parent.assign(source_id="other"), tmp_path / "a", EASY, n=1, seed=1)
    faint = parent.assign(**{f"mag_{band}": parent[f"mag_{band}"] + 4 for band in "grz"})
    with pytest.raises(InputError, match=r"none of 30 galaxies can be a host .*luminosity"):
        inject_store(store, faint, tmp_path / "b", EASY, n=1, seed=1)
    bare = write_store(tmp_path / "bare", parent[:2][["source_id", "ra", "dec"]], store.images([2, 3]))
    with pytest.raises(InputError, match="has no invvar"):
        inject_store(bare, parent, tmp_path / "c", EASY, n=1, seed=1)
    two = write_store(
        tmp_path / "two", parent[:1][["source_id", "ra", "dec"]], store.images([2])[:, :2], store.invvars([2])[:, :2],
        bands=("g", "r"),
    )  # fmt: skip
    with pytest.raises(InputError, match=r"hosts need \('g', 'r', 'z'\)"):
        inject_store(two, parent, tmp_path / "d", EASY, n=1, seed=1)


def test_truth_files_are_checked(tmp_path):
    empty = truth_table([])
    write_truth(tmp_path, empty)
    assert list(read_truth(tmp_path)) == list(TRUTH_UNITS)
    write_parquet(tmp_path / "truth.parquet", empty.drop(columns=["seed"]))
    with pytest.raises(FileProblem, match="lacks the columns seed"):
        read_truth(tmp_path)


def test_mocks_are_drawn_in_memory(hosts):
    store, parent = hosts
    cutouts = [store.cutout(k) for k in range(6)]
    table = host_table(parent).iloc[:6].reset_index(drop=True)
    for band, sigma in zip("grz", (0.003, 0.004, 0.012), strict=True):
        table[f"sigma_{band}"] = sigma
    mocks, skipped = draw_mocks(cutouts, table, EASY, n=3, seed=2)
    assert len(mocks) == 3
    assert skipped.get("edge") == 1
    assert skipped.get("masked") == 1
    assert "mu" in mocks[0].caption
    assert mocks[0].source.startswith("Sersic")
    difference = mocks[0].mock.image.astype(np.float64) - mocks[0].host.image
    assert difference[1].sum() == pytest.approx(mocks[0].truth["arc_flux_r"], rel=0.2)
    with pytest.raises(InputError, match="5 rows for 6 hosts"):
        draw_mocks(cutouts, table[:5], EASY, n=3, seed=2)


@pytest.mark.real
def test_real_galaxies_behind_real_hosts(real_data, tmp_path):
    """HST galaxies behind DES red galaxies: flux closes, the sheet is drawn, nothing of it is a constant."""
    from legacylens.cutouts.decode import read_cutouts
    from legacylens.mocks.hst_sources import read_hst_sources
    from legacylens.mocks.measured_hosts import measured_host, with_measured_invvar
    from legacylens.plots.population import mock_sheet

    hosts = [with_measured_invvar(one) for one in read_cutouts(real_data / "des-lrg" / "des_lrg_grizY.fits")[:8]]
    rows = pd.concat([measured_host(one, (1.25, 1.1, 1.0)) for one in hosts], ignore_index=True)
    mocks, _ = draw_mocks(hosts, rows, EASY, n=3, seed=1, sources=read_hst_sources(real_data / "hst-cosmos"))
    assert len(mocks) == 3
    for mock in mocks:
        assert mock.source.startswith("HST")
        np.testing.assert_allclose(mock.injected.closure, 1.0, atol=0.01)
        assert mock.truth["z_s"] > mock.truth["z_l"]
        assert 20 < mock.truth["arc_mag_r"] < 24
    assert len({mock.source for mock in mocks}) == 3
    assert mock_sheet(mocks, tmp_path / "sheet.png").stat().st_size > 10_000
