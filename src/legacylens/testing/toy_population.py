"""A simulator without pixels, for tests of a calibration: the population is the real one, arcs are formulas.

Sources, Einstein radii and the chance to be found are those of `legacylens.mocks`, so that importance weights can be
compared with sets that are drawn directly; what is measured of an arc is its truth with noise.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from legacylens.mocks.deflectors import prescribed_theta_E
from legacylens.mocks.population_sets import MockSetConfig
from legacylens.mocks.selection import chance, round_magnification
from legacylens.mocks.source_population import N_UNIFORMS, draw_sources
from legacylens.realism.calibrate_summary import CHECKED, FITTED
from legacylens.realism.calibrate_weights import Bank, bank_of
from legacylens.survey.bands import BANDS

TRIES = 64
"""Sources tried behind a galaxy at a time."""
ROUNDS = 400
"""Times that they are."""


def toy_truth(config: MockSetConfig, n: int, seed: int) -> pd.DataFrame:
    """Return the truth of one lens behind each of n galaxies, the first source that is found, as `draw_lenses` does.

    Parameters
    ----------
    config
        The population; the fainter its ``r_faint``, the longer it takes.
    n
        Galaxies; those without a visible source are left out.
    seed
        Decides everything.
    """
    rng = np.random.default_rng([seed, 0])
    sigma = {band: 10.0 * s * np.exp(0.25 * rng.standard_normal(n)) for band, s in zip(BANDS, (1, 1.5, 4), strict=True)}
    fwhm = 1.35 * np.exp(0.1 * rng.standard_normal(n))
    theta_E = prescribed_theta_E(config.deflectors, rng.random(n))
    mag_r = rng.normal(19.0, 0.8, n)
    out: dict[str, NDArray[np.float64]] = {}
    active = np.arange(n)
    for _ in range(ROUNDS):
        if not len(active):
            break
        host = np.repeat(active, TRIES)
        drawn = draw_sources(config.sources, mag_r[host], rng.random((len(host), N_UNIFORMS)))
        mu = round_magnification(theta_E[host], drawn["source_r_e"], drawn["beta"] * theta_E[host])
        snr = {
            band: mu * 10.0 ** (0.4 * (26.0 - drawn[f"source_mag_{band}"])) / sigma[band][host] * 3.0 / fwhm[host]
            for band in BANDS
        }
        best = np.max(list(snr.values()), axis=0)
        found = drawn["u"] < chance(config.selection, best, mu, theta_E[host], fwhm[host])
        kept, place = np.unique(host[found], return_index=True)
        rows = np.flatnonzero(found)[place]
        columns = {**drawn, "expected_magnification": mu, **{f"expected_snr_{b}": snr[b] for b in BANDS}}
        for name, values in columns.items():
            out.setdefault(name, np.full(n, np.nan))[kept] = values[rows]
        active = np.setdiff1d(active, kept)
    table = pd.DataFrame(
        {
            **out,
            "theta_E": theta_E,
            "z_l": 0.5,
            "host_mag_r": mag_r,
            **{f"host_psfsize_{band}": fwhm for band in BANDS},
            **{f"host_sigma_{band}": sigma[band] for band in BANDS},
            "host_source_id": [f"toy{seed}_{k}" for k in range(n)],
        }
    )
    table["source_id"] = table["host_source_id"] + "_lens1"
    whole: pd.DataFrame = table.loc[np.isfinite(table["source_mag_r"].to_numpy())].reset_index(drop=True)
    return whole


def toy_measured(truth: pd.DataFrame, seed: int, *, wider: float = 1.0) -> pd.DataFrame:
    """Return what would be measured of such arcs; ``wider`` is a fault of the PSF."""
    rng = np.random.default_rng([seed, 1])
    n = len(truth)
    noise = {name: rng.standard_normal(n) for name in (*FITTED, *CHECKED)}
    snr = truth[[f"expected_snr_{band}" for band in BANDS]].max(axis=1).to_numpy()
    fwhm = truth["host_psfsize_r"].to_numpy()
    mags = {
        band: truth[f"source_mag_{band}"].to_numpy() - 2.5 * np.log10(truth["expected_magnification"].to_numpy())
        for band in BANDS
    }
    width = np.hypot(wider * fwhm, truth["source_r_e"].to_numpy()) / fwhm
    values = {name: noise[name] for name in CHECKED}
    values |= {
        "clean_peak_snr": snr / width * np.exp(0.15 * noise["clean_peak_snr"]),
        "integrated_snr": snr * np.exp(0.1 * noise["integrated_snr"]),
        "aperture_snr": 0.7 * snr + 2.0 * noise["aperture_snr"],
        "lens_snr": snr + noise["lens_snr"],
        "arc_mag_g": mags["g"] + 0.1 * noise["arc_mag_g"],
        "arc_mag_r": mags["r"] + 0.1 * noise["arc_mag_r"],
        "arc_g_r": mags["g"] - mags["r"] + 0.15 * noise["arc_g_r"],
        "arc_r_z": mags["r"] - mags["z"] + 0.15 * noise["arc_r_z"],
        "arc_radius": truth["theta_E"].to_numpy() * np.exp(0.08 * noise["arc_radius"]),
        "theta_E": truth["theta_E"].to_numpy() * np.exp(0.05 * noise["theta_E"]),
        "arc_width": width * np.exp(0.05 * noise["arc_width"]),
        "azimuthal_extent": 200.0 * np.exp(-truth["beta"].to_numpy()) + 20.0 * noise["azimuthal_extent"],
        "psf_preference": 5.0 * (width - 1.2) + noise["psf_preference"] + 8.0 * (wider - 1.0),
        "core_to_arc": 4.0 + 0.3 * noise["core_to_arc"],
    }
    return pd.DataFrame({"source_id": truth["source_id"], "code": "ok", **values})


def toy_galaxies(n: int, seed: int) -> pd.DataFrame:
    """Return what would be measured where there is no arc."""
    rng = np.random.default_rng([seed, 2])
    values = {name: rng.standard_normal(n) for name in (*FITTED, *CHECKED)}
    for name in ("clean_peak_snr", "integrated_snr", "aperture_snr", "lens_snr"):
        values[name] = 3.0 + values[name]
    values |= {
        "arc_mag_g": 25.5 + values["arc_mag_g"],
        "arc_mag_r": np.where(rng.random(n) < 0.3, np.nan, 25.0 + values["arc_mag_r"]),
        "arc_g_r": 1.0 + values["arc_g_r"],
        "arc_r_z": 0.8 + values["arc_r_z"],
        "arc_radius": 2.0 + 0.5 * values["arc_radius"],
        "theta_E": 2.0 + 0.5 * values["theta_E"],
        "arc_width": 1.5 + 0.3 * values["arc_width"],
        "azimuthal_extent": 60.0 + 20.0 * values["azimuthal_extent"],
        "core_to_arc": 6.0 + 0.3 * values["core_to_arc"],
    }
    return pd.DataFrame({"source_id": [f"toy{seed}_n{k}" for k in range(n)], "code": "ok", **values})


def toy_bank(config: MockSetConfig, n: int, seed: int) -> Bank:
    """Make and measure mocks, as `calibrate` asks for."""
    truth = toy_truth(config, n, seed)
    return bank_of(truth, toy_measured(truth, seed), config)
