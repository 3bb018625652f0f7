"""Arcs injected anew: the right light, in the right place, with the right noise, in galaxies that are alike."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from legacylens.cutouts.cutout import Cutout
from legacylens.cutouts.store import CutoutStore
from legacylens.cutouts.writer import StoreWriter
from legacylens.errors import InputError
from legacylens.mocks.injection import inject_row
from legacylens.mocks.injection import photon_noise as slow_photon_noise
from legacylens.mocks.injection_truth import TRUTH_UNITS
from legacylens.mocks.population_sets import InjectionConfig, SourceConfig
from legacylens.mocks.psf import Psf, moffat_psfs
from legacylens.photometry import flux_of_magnitude, mw_transmission
from legacylens.survey.bands import BANDS, STAMP
from legacylens.training.config import Simulations, TrainConfig
from legacylens.training.fresh import PSF_PIXELS, FreshLenses, open_fresh, photon_noise, turned

N_HOSTS, N_LENSES = 24, 6
INVVAR = {"g": 1e5, "r": 4e4, "z": 6e3}


def galaxy(name: str, image: np.ndarray, ivar: np.ndarray | None) -> Cutout:
    return Cutout(
        source_id=name, ra=150.0, dec=2.0, bands=BANDS, image=image, invvar=ivar, maskbits=None, origin="a test"
    )


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame, pd.DataFrame]:
    """A store of galaxies, their parent table, and the truth of lenses in some of them."""
    folder = tmp_path_factory.mktemp("fresh")
    rng = np.random.default_rng(0)
    parent = pd.DataFrame(
        {"source_id": [f"10_1_{row}" for row in range(N_HOSTS)], "ra": 150.0, "dec": 2.0, "ebv": 0.03}
    )
    parent["shape_r"] = rng.uniform(0.8, 1.6, N_HOSTS)
    parent["shape_e1"], parent["shape_e2"] = rng.uniform(-0.2, 0.2, (2, N_HOSTS))
    for band, mag in zip(BANDS, (20.9, 19.4, 18.4), strict=True):
        parent[f"mag_{band}"] = mag + 0.1 * rng.normal(size=N_HOSTS)
        parent[f"psfsize_{band}"] = rng.choice([1.1, 1.3, 1.5], N_HOSTS)
        parent[f"psfdepth_{band}"] = 1e3
    ivar = np.array([INVVAR[band] for band in BANDS], dtype=np.float32)[:, None, None] * np.ones(
        (3, STAMP, STAMP), "f4"
    )
    with StoreWriter(folder / "store", bands=BANDS, stamp=STAMP, maskbits=False) as writer:
        for name in parent["source_id"]:
            image = (rng.normal(size=(3, STAMP, STAMP)) / np.sqrt(ivar)).astype(np.float32)
            writer.add(galaxy(name, image, ivar))
    parent.to_parquet(folder / "parent.parquet")
    truth = pd.DataFrame({"source_id": [f"mock{row}" for row in range(N_LENSES)]}).reindex(columns=list(TRUTH_UNITS))
    truth["theta_E"], truth["mass_q"], truth["mass_phi"] = 1.5, 0.8, 0.3
    truth["mass_x"], truth["mass_y"], truth["gamma1"], truth["gamma2"] = 0.05, -0.02, 0.03, 0.02
    truth["source_r_e"], truth["source_n"], truth["source_q"], truth["source_phi"] = 0.25, 1.2, 0.7, 1.0
    truth["source_x"], truth["source_y"] = np.linspace(0.0, 0.5, N_LENSES), 0.2
    truth["z_l"], truth["z_s"] = 0.5, 1.5
    for band, mag in zip(BANDS, (23.5, 23.2, 23.0), strict=True):
        truth[f"source_mag_{band}"] = mag
        truth[f"host_mag_{band}"] = {"g": 20.9, "r": 19.4, "z": 18.4}[band]
        truth[f"host_psfsize_{band}"] = 1.3
        truth[f"gain_{band}"] = InjectionConfig().sky[band] * INVVAR[band]
    truth["host_radius"], truth["host_q"], truth["host_phi"] = 1.0, 0.8, 0.0
    return folder, parent, truth


@pytest.fixture(scope="module")
def fresh(sky) -> FreshLenses:
    folder, parent, truth = sky
    sample = parent[["source_id"]].assign(split="train", label=0)
    simulations = Simulations(
        store="x", parent=str(folder / "parent.parquet"), fresh_hosts=True, unchecked=True, neighbors=8
    )
    return open_fresh(CutoutStore.open(folder / "store"), sample, truth, TrainConfig(simulations=simulations))


def test_arcs_are_those_of_the_exact_injection(sky, fresh: FreshLenses) -> None:
    rows, hosts = np.arange(N_LENSES), fresh.choices[:, 0]
    arcs = fresh.arcs(rows, hosts, np.random.default_rng(1))
    for row, host in zip(rows, hosts, strict=True):
        described = fresh.hosts.iloc[host]
        angle = described["phi"] - fresh.truth["host_phi"].iloc[row]
        lens = turned(fresh.truth.iloc[[row]], np.array([angle]))
        exact = {
            **fresh.truth.iloc[row].to_dict(),
            "mass_phi": lens.phi[0],
            "mass_x": lens.x[0],
            "mass_y": lens.y[0],
            "gamma1": lens.gamma1[0],
            "gamma2": lens.gamma2[0],
            "source_phi": lens.source_phi[0],
            "source_x": lens.source_x[0],
            "source_y": lens.source_y[0],
        }
        psf = Psf(moffat_psfs([described[f"psfsize_{band}"] for band in BANDS], size=PSF_PIXELS))
        made = inject_row(
            fresh.store.cutout(int(fresh.positions[host])),
            exact,
            psf,
            sources=SourceConfig(),
            config=InjectionConfig(shot_noise=False),
            ebv=float(described["ebv"]),
            seed=1,
        )
        # The simulator computes in single precision and leaves out the faintest wings.
        assert np.abs(arcs[row] - made.arcs).max() < 0.02 * made.arcs.max()
        assert arcs[row].sum((1, 2)) == pytest.approx(made.flux, rel=0.01)


def test_a_turned_lens_makes_a_turned_picture(fresh: FreshLenses) -> None:
    host = np.array([0])
    phi = fresh.hosts["phi"].to_numpy()[0]
    pictures = []
    for angle in (0.0, np.pi / 2):
        fresh_truth = fresh.truth.assign(host_phi=phi - angle)
        other = FreshLenses(fresh.store, fresh.positions, fresh.hosts, fresh_truth, fresh.choices)
        pictures.append(other.arcs(np.array([2]), host, np.random.default_rng(1))[0])
    # a quarter turn from +x (columns) toward +y (rows)
    difference = np.rot90(pictures[0], k=-1, axes=(1, 2)) - pictures[1]
    assert np.abs(difference).max() < 0.01 * pictures[0].max()


def test_pictures_are_host_plus_arc_plus_its_own_noise(fresh: FreshLenses) -> None:
    rows = np.zeros(200, dtype=np.int64)
    rng = np.random.default_rng(3)
    hosts = fresh.choices[rows, rng.integers(fresh.choices.shape[1], size=len(rows))]
    arcs = fresh.arcs(rows, hosts, rng)
    pictures = fresh.pairs(rows, np.random.default_rng(3))[0]
    added = pictures - fresh._images[hosts]
    # The mean of what is added is the light: within five standard errors of the noise of 200 pictures.
    error = np.sqrt((arcs.mean(axis=0) / fresh._gain.mean(axis=0)[:, None, None]).clip(0) / len(rows))
    assert (np.abs(added.mean(axis=0) - arcs.mean(axis=0)) < 5 * error + 1e-4 * arcs.max()).all()
    assert fresh.pairs(rows[:4], np.random.default_rng(5))[0] == pytest.approx(
        fresh.pairs(rows[:4], np.random.default_rng(5))[0], abs=0
    )


def test_the_galaxy_without_the_arc_is_the_one_of_the_picture(fresh: FreshLenses) -> None:
    pictures, hosts = fresh.pairs(np.arange(N_LENSES), np.random.default_rng(9))
    known = {image.tobytes() for image in fresh._images}
    assert all(host.tobytes() in known for host in hosts)
    added = (pictures - hosts).sum(axis=(1, 2, 3))
    light = fresh._fluxes.sum(axis=1)
    assert (added > light).all()  # magnified
    assert (np.abs((pictures - hosts)[:, :, :20, :20]).max(axis=(1, 2, 3)) < 0.02).all()  # and nothing far from it


def test_noise_has_the_variance_and_the_correlation_of_the_slow_one() -> None:
    arcs = torch.full((30, 3, 64, 64), 0.5)
    gain = torch.tensor([[1e4, 2e4, 4e4]]).repeat(30, 1)
    fast = photon_noise(arcs, gain, torch.Generator().manual_seed(1)).numpy()
    variance = (arcs / gain[:, :, None, None]).numpy()
    rng = np.random.default_rng(7)
    slow = np.stack([slow_photon_noise(v.astype(float), rng) for v in variance])
    assert fast.std(axis=(0, 2, 3)) == pytest.approx(slow.std(axis=(0, 2, 3)), rel=0.02)
    lag = [(n[..., 1:] * n[..., :-1]).mean() / (n**2).mean() for n in (fast, slow)]
    assert lag[0] == pytest.approx(lag[1], abs=0.01)


def test_hosts_are_alike_and_of_the_training_split(sky, fresh: FreshLenses) -> None:
    folder, parent, truth = sky
    assert fresh.choices.shape == (N_LENSES, 8)
    sample = parent[["source_id"]].assign(split=["train", "sealed"] * (N_HOSTS // 2), label=0)
    config = TrainConfig(
        simulations=Simulations(store="x", parent=str(folder / "parent.parquet"), fresh_hosts=True, unchecked=True)
    )
    store = CutoutStore.open(folder / "store")
    half = open_fresh(store, sample, truth, config)
    assert set(half.hosts["source_id"]) <= set(sample.loc[sample["split"] == "train", "source_id"])
    with pytest.raises(InputError, match="0 galaxies of the training split can be fresh hosts"):
        open_fresh(store, sample.assign(split="sealed"), truth, config)


def test_a_lens_of_a_deep_image_stays_in_deep_images(sky, tmp_path: Path) -> None:
    folder, parent, truth = sky
    store = CutoutStore.open(folder / "store")
    with StoreWriter(tmp_path / "store", bands=BANDS, stamp=STAMP, maskbits=False) as writer:
        for row, name in enumerate(parent["source_id"]):
            cutout = store.cutout(row)
            writer.add(galaxy(name, cutout.image, cutout.invvar * np.float32(1.0 if row % 2 else 0.2)))
    simulations = Simulations(
        store="x", parent=str(folder / "parent.parquet"), fresh_hosts=True, unchecked=True, neighbors=5
    )
    sample = parent[["source_id"]].assign(split="train", label=0)
    made = open_fresh(CutoutStore.open(tmp_path / "store"), sample, truth, TrainConfig(simulations=simulations))
    deep = made.hosts["gain_g"].to_numpy()[made.choices] > 0.5 * truth["gain_g"].iloc[0]
    assert deep.mean() > 0.9


def test_hosts_need_invvar(sky, tmp_path: Path) -> None:
    folder, parent, truth = sky
    with StoreWriter(tmp_path / "bare", bands=BANDS, stamp=STAMP, invvar=False, maskbits=False) as writer:
        image = np.full((3, STAMP, STAMP), 0.01, dtype=np.float32)
        writer.add(
            Cutout(source_id="a", ra=1.0, dec=1.0, bands=BANDS, image=image, invvar=None, maskbits=None, origin="")
        )
    config = TrainConfig(
        simulations=Simulations(store="x", parent=str(folder / "parent.parquet"), fresh_hosts=True, unchecked=True)
    )
    with pytest.raises(InputError, match="they need invvar"):
        open_fresh(CutoutStore.open(tmp_path / "bare"), parent.assign(split="train", label=0), truth, config)


def test_dust_dims_the_arc(fresh: FreshLenses) -> None:
    dusty = fresh.hosts.assign(ebv=0.5)
    other = FreshLenses(fresh.store, fresh.positions, dusty, fresh.truth, fresh.choices)
    row, host = np.array([1]), np.array([0])
    clear, dim = (each.arcs(row, host, np.random.default_rng(1))[0] for each in (fresh, other))
    ratio = dim.sum((1, 2)) / clear.sum((1, 2))
    expected = [mw_transmission(0.5, band) / mw_transmission(0.03, band) for band in BANDS]
    assert ratio == pytest.approx(expected, rel=1e-4)
    assert flux_of_magnitude(22.5) == pytest.approx(1.0)
