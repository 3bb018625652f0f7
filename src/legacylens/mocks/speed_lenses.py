"""The lenses on which the speed of simulators is measured: those of the calibrated set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from legacylens.mocks.conditions import DARK_SKY
from legacylens.mocks.fast_light import Parameters
from legacylens.mocks.population import LENS_UNITS
from legacylens.mocks.population_sample import sample_population
from legacylens.mocks.population_sets import named_set
from legacylens.mocks.population_summary import MEDIAN_CONDITIONS
from legacylens.mocks.psf import Psf, moffat_psfs
from legacylens.mocks.simulator import PsfBank
from legacylens.photometry import flux_of_magnitude
from legacylens.survey.bands import BANDS

ROUNDS = 5
"""Rounds in which everybody is measured; the best one counts, as the least disturbed by what else is running."""
PLACES = 32
"""PSFs in the bank."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpeedLenses:
    """What everybody simulates."""

    parameters: Parameters
    """Lenses and sources."""
    fluxes: NDArray[np.float64]
    """Unlensed, shape ``(lens, band)`` [nanomaggies]."""
    sigma: NDArray[np.float64]
    """Of the sky, shape ``(lens, band)`` [nanomaggies]."""
    gain: NDArray[np.float64]
    """Shape ``(lens, band)`` [e-/nanomaggy]."""
    bank: PsfBank
    """PSFs."""
    psf_index: NDArray[np.int64]
    """Shape ``(lens,)``."""

    def part(self, index: NDArray[np.int64] | slice) -> SpeedLenses:
        """Return some of the lenses."""
        return SpeedLenses(
            parameters=select_parameters(self.parameters, index),
            fluxes=self.fluxes[index],
            sigma=self.sigma[index],
            gain=self.gain[index],
            bank=self.bank,
            psf_index=self.psf_index[index],
        )


def select_parameters(parameters: Parameters, index: NDArray[np.int64] | slice) -> Parameters:
    """Return the parameters of some lenses."""
    return Parameters(**{name: getattr(parameters, name)[index] for name in Parameters.__dataclass_fields__})


def parameters_of_table(lenses: pd.DataFrame) -> Parameters:
    """Return what the simulator asks for of a table of lenses (`population.LENS_UNITS`).

    In the table the external shear has its origin in the center of the mass, in the simulator in that of the image;
    between the two lies a shift of the source.
    """
    c = {name: np.array(lenses[name], dtype=np.float64) for name in LENS_UNITS}
    return Parameters(
        theta_E=c["theta_E"],
        q=c["mass_q"],
        phi=c["mass_phi"],
        x=c["mass_x"],
        y=c["mass_y"],
        gamma1=c["gamma1"],
        gamma2=c["gamma2"],
        r_e=c["source_r_e"],
        n=c["source_n"],
        source_q=c["source_q"],
        source_phi=c["source_phi"],
        source_x=c["source_x"] - (c["gamma1"] * c["mass_x"] + c["gamma2"] * c["mass_y"]),
        source_y=c["source_y"] - (c["gamma2"] * c["mass_x"] - c["gamma1"] * c["mass_y"]),
    )


def speed_lenses(n: int, seed: int) -> SpeedLenses:
    """Draw ``n`` lenses of the calibrated set, with PSFs and noise."""
    table = sample_population(named_set("calibrated"), n=n + n // 8 + 8, seed=seed).iloc[:n]
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0, 4]))
    fwhm = np.array([MEDIAN_CONDITIONS[band][1] for band in BANDS])
    psfs = [Psf(moffat_psfs(list(fwhm * (1 + 0.05 * rng.uniform(-1, 1))))) for _ in range(PLACES)]
    fluxes = np.stack([flux_of_magnitude(table[f"source_mag_{band}"]) for band in BANDS], axis=1)
    sigma = np.stack([table[f"host_sigma_{band}"].to_numpy(np.float64) for band in BANDS], axis=1)
    return SpeedLenses(
        parameters=parameters_of_table(table),
        fluxes=fluxes,
        sigma=sigma,
        gain=np.array([DARK_SKY[band] for band in BANDS]) / sigma**2,
        bank=PsfBank(psfs),
        psf_index=rng.integers(PLACES, size=len(table)),
    )
