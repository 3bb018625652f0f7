"""Arcs injected anew each time a simulated lens is shown, into another galaxy that is much like its first host.

Mass and source keep their place relative to the light: the lens is turned by the angle between the two galaxies.
The arc gets the seeing, the reddening and the photon noise of the galaxy that it is put into. What was selected (which
lens can stand in which galaxy, and be seen there) stays what it was, because the new host is chosen among the most
similar ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2
from scipy.spatial import KDTree
from torch import Tensor

from legacylens.cutouts.store import CutoutStore
from legacylens.errors import InputError, PhysicalRangeError
from legacylens.files import read_parquet
from legacylens.mocks.fast_light import Parameters
from legacylens.mocks.gain import band_gains
from legacylens.mocks.hosts import host_table, why_unusable
from legacylens.mocks.noise import PIXEL_SIGMA
from legacylens.mocks.population_sets import HostConfig, InjectionConfig
from legacylens.mocks.psf import Psf, moffat_psfs
from legacylens.mocks.simulator import PsfBank, simulate
from legacylens.photometry import flux_of_magnitude, mw_transmission
from legacylens.survey.bands import BANDS, STAMP
from legacylens.training.config import TrainConfig
from legacylens.training.noise import correlate
from legacylens.training.simulated import LEAST, SimulatedLenses, possible_hosts

SEEINGS = 40
"""Number of PSFs that stand for those of all hosts; the nearest one is within a few hundredths of an arcsecond."""
PSF_PIXELS = 41
"""Width of these PSFs [pixels]: 10.7 arcsec hold 99.7 % of a Moffat star."""
ALIKE = ("mag_r", "g_r", "r_z", "log_radius", "q", "psfsize_r", "log_gain_g")
"""Quantities in which a fresh host is like the first one, each in units of its scatter among the first hosts."""
LEAST_SCATTER = 0.1
"""Least scatter [mag, log, arcsec]; smaller differences make no host unlike another."""


def turned(lenses: pd.DataFrame, angle: NDArray[np.float64]) -> Parameters:
    """Return the parameters of lenses turned about the center of the host, from +x toward +y.

    Parameters
    ----------
    lenses
        Rows of a truth table.
    angle
        Of each [rad].
    """
    columns = {name: np.array(lenses[name], dtype=np.float64) for name in lenses if lenses[name].dtype.kind == "f"}
    cosine, sine = np.cos(angle), np.sin(angle)
    cosine2, sine2 = np.cos(2 * angle), np.sin(2 * angle)

    def moved(name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        x, y = columns[f"{name}_x"], columns[f"{name}_y"]
        return x * cosine - y * sine, x * sine + y * cosine

    (mass_x, mass_y), (source_x, source_y) = moved("mass"), moved("source")
    gamma1, gamma2 = columns["gamma1"], columns["gamma2"]
    return Parameters(
        theta_E=columns["theta_E"],
        q=columns["mass_q"],
        phi=columns["mass_phi"] + angle,
        x=mass_x,
        y=mass_y,
        gamma1=gamma1 * cosine2 - gamma2 * sine2,
        gamma2=gamma1 * sine2 + gamma2 * cosine2,
        r_e=columns["source_r_e"],
        n=columns["source_n"],
        source_q=columns["source_q"],
        source_phi=columns["source_phi"] + angle,
        source_x=source_x,
        source_y=source_y,
    )


def photon_noise(arcs: Tensor, gain: Tensor, generator: torch.Generator) -> Tensor:
    """Return the arcs' own noise, correlated as a coadd's; `legacylens.mocks.injection.photon_noise` in a batch.

    Parameters
    ----------
    arcs
        Noise-free light, ``(n, band, y, x)`` [nanomaggies].
    gain
        Electrons for a nanomaggy, ``(n, band)``.
    generator
        Random generator.
    """
    white = torch.randn(arcs.shape, generator=generator) * (arcs.clamp(min=0) / gain[:, :, None, None]).sqrt()
    return correlate(white) * PIXEL_SIGMA


class FreshLenses(SimulatedLenses):
    """Lenses whose arcs are rendered and injected when they are asked for.

    Parameters
    ----------
    store
        Cutouts of the hosts.
    positions
        Their places in it.
    hosts
        Their rows of the host table, in the same order, with ``gain_*``.
    truth
        The lenses.
    choices
        For each lens the rows of ``hosts`` that it may be put into, ``(lens, neighbors)``.
    """

    def __init__(
        self,
        store: CutoutStore,
        positions: NDArray[np.int64],
        hosts: pd.DataFrame,
        truth: pd.DataFrame,
        choices: NDArray[np.int64],
        *,
        in_memory: bool = True,
    ) -> None:
        self.store, self.positions, self.hosts, self.truth, self.choices = store, positions, hosts, truth, choices
        self._images = store.images(positions) if in_memory else None
        seeing = hosts[[f"psfsize_{band}" for band in BANDS]].to_numpy(np.float64)
        distinct = np.unique(seeing, axis=0)
        if len(distinct) > SEEINGS:
            distinct, _ = kmeans2(seeing, SEEINGS, minit="++", rng=np.random.default_rng(0))
        self._psf_of_host = np.asarray(KDTree(distinct).query(seeing)[1])
        self._bank = PsfBank([Psf(moffat_psfs(list(fwhm), size=PSF_PIXELS)) for fwhm in distinct])
        ebv = hosts["ebv"].to_numpy(np.float64)
        self._transmission = np.stack([mw_transmission(ebv, band) for band in BANDS], axis=1)
        self._gain = hosts[[f"gain_{band}" for band in BANDS]].to_numpy(np.float32)
        self._fluxes = np.stack(
            [flux_of_magnitude(truth[f"source_mag_{band}"].to_numpy(np.float64)) for band in BANDS], axis=1
        )

    def __len__(self) -> int:
        return len(self.truth)

    def arcs(self, rows: NDArray[np.int64], hosts: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return the noise-free arcs of lenses in hosts, ``(n, band, y, x)`` [nanomaggies]."""
        lenses = self.truth.iloc[rows]
        angle = self.hosts["phi"].to_numpy()[hosts] - lenses["host_phi"].to_numpy(np.float64)
        made = simulate(
            turned(lenses, angle),
            self._fluxes[rows] * self._transmission[hosts],
            self._bank,
            self._psf_of_host[hosts],
            sigma=None,
            rng=rng,
        )
        return made.images

    def pairs(
        self, rows: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return pictures, ``(n, band, y, x)`` [nanomaggies], and the same galaxies without the arcs."""
        hosts = self.choices[rows, rng.integers(self.choices.shape[1], size=len(rows))]
        arcs = torch.from_numpy(self.arcs(rows, hosts, rng))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        noise = photon_noise(arcs, torch.from_numpy(self._gain[hosts]), generator)
        skies = self.store.images(self.positions[hosts]) if self._images is None else self._images[hosts]
        return np.asarray(skies + arcs.numpy() + noise.numpy(), dtype=np.float32), skies

    def names(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the mocks' identities; the hosts change from time to time."""
        return self.truth["source_id"].iloc[rows].astype(str).tolist()


def _alike(table: pd.DataFrame, prefix: str = "") -> NDArray[np.float64]:
    mag = {band: table[f"{prefix}mag_{band}"].to_numpy(np.float64) for band in BANDS}
    values: dict[str, Any] = {
        "mag_r": mag["r"],
        "g_r": mag["g"] - mag["r"],
        "r_z": mag["r"] - mag["z"],
        "log_radius": np.log(table[f"{prefix}radius"].to_numpy(np.float64)),
        "psfsize_r": table[f"{prefix}psfsize_r"].to_numpy(np.float64),
        "q": table[f"{prefix}q"].to_numpy(np.float64),
        # The depth: an arc that was chosen because it is seen must not be put where it is not.
        "log_gain_g": np.log(table["gain_g"].to_numpy(np.float64)),
    }
    return np.stack([values[name] for name in ALIKE], axis=1)


def open_fresh(store: CutoutStore, sample: pd.DataFrame, truth: pd.DataFrame, config: TrainConfig) -> FreshLenses:
    """Prepare injections into fresh hosts.

    Parameters
    ----------
    store
        Cutouts of the sample, with invvar.
    sample
        All of its rows.
    truth
        Lenses whose own hosts are in the training split.
    config
        The run; ``simulations.parent`` describes the hosts.

    Raises
    ------
    InputError
        If the store has no invvar or other stamps, or too few galaxies can be hosts.
    """
    if not store.has_invvar or store.stamp != STAMP:
        raise InputError(
            f"the store {store.path} cannot host fresh injections: they need invvar and stamps of {STAMP} pixels. Cut "
            "it again with both, or set simulations.fresh_hosts = false"
        )
    hosts = host_table(read_parquet(str(config.simulations.parent)))
    hosts = hosts[hosts["source_id"].astype(str).isin(possible_hosts(sample) & set(store.manifest["source_id"]))]
    first = _alike(truth, "host_")
    center, spread = first.mean(axis=0), first.std(axis=0).clip(LEAST_SCATTER)
    # Only galaxies near the cloud of first hosts are looked at: reading them all would take as long as the training.
    deviation = (_alike(hosts.assign(gain_g=np.exp(center[-1]))) - center) / spread
    hosts = hosts[(np.abs(deviation) < 4.0).all(axis=1)].reset_index(drop=True)
    positions = store.index_of(hosts["source_id"])
    gains = np.full((len(hosts), len(BANDS)), np.nan)
    sky = InjectionConfig().sky
    for row, position in enumerate(positions.tolist()):
        cutout = store.cutout(position)
        if why_unusable(cutout, HostConfig().clear_radius):
            continue
        try:
            gains[row] = band_gains(cutout, sky)
        except PhysicalRangeError:
            continue  # an invvar that no survey image has: this galaxy hosts nothing
    good = np.isfinite(gains).all(axis=1)
    if good.sum() < LEAST:
        raise InputError(
            f"{int(good.sum())} galaxies of the training split can be fresh hosts, at least {LEAST} are needed; give "
            "the parent table that the store was cut from, or set simulations.fresh_hosts = false"
        )
    positions, gains = positions[good], gains[good]
    hosts = hosts[good].reset_index(drop=True).assign(**{f"gain_{band}": gains[:, n] for n, band in enumerate(BANDS)})
    neighbors = min(config.simulations.neighbors, len(hosts))
    tree = KDTree((_alike(hosts) - center) / spread)
    choices = np.asarray(tree.query((first - center) / spread, k=neighbors)[1])
    size_gb = len(hosts) * store.description.row_bytes("image") / 1e9
    return FreshLenses(
        store, positions, hosts, truth, choices.reshape(len(truth), neighbors), in_memory=size_gb <= config.memory_gb
    )
