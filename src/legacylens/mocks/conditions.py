"""Depth, seeing, exposures and dust of a patch, drawn from what was measured on DR10.

Sources: reference values of DR9/DR10 regions (r depth and seeing at five percentiles), of six DR10 cutouts (sigma)
and dark-sky brightness as in legacyzpts. Bands are drawn each for itself, with a common part: nights differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gamma, kv, ndtr

from legacylens.photometry import EXTINCTION_COEFFICIENT
from legacylens.survey.bands import BANDS, PIXSCALE

PERCENTILES = (0.0, 0.05, 0.16, 0.50, 0.84, 0.95, 1.0)
R_DEPTH = (23.75, 23.98, 24.13, 24.46, 25.16, 25.43, 25.6)
"""5-sigma point-source depth in r [AB mag] at `PERCENTILES` (2,693 regions of DR9/DR10)."""
R_FWHM = (1.02, 1.12, 1.20, 1.35, 1.57, 1.75, 1.9)
"""Seeing in r [arcsec] at `PERCENTILES`."""
SEEING_WITH_DEPTH = -0.6
"""Correlation of seeing and depth."""
DEPTH_OFFSET = {"g": (0.36, 0.14), "r": (0.0, 0.0), "z": (-1.05, 0.16)}
"""Mean and scatter of a band's depth minus that of r [mag] (105 bricks: 24.75, 24.37, 23.35)."""
FWHM_RATIO = {"g": (1.09, 0.05), "r": (1.0, 0.0), "z": (0.94, 0.05)}
"""Mean and scatter of a band's seeing over that of r (105 bricks: 1.5, 1.37, 1.3 arcsec)."""
DARK_SKY = {"g": 0.105, "r": 0.297, "z": 2.83}
"""Dark sky [nanomaggies/pixel]: 22.04, 20.91, 18.46 mag/arcsec^2."""
PEDESTAL = {"g": 0.0002, "r": 0.0003, "z": 0.001}
"""Largest residual of the sky subtraction [nanomaggies/pixel]."""
CHIP = (590.0, 1130.0)
"""Distance of the camera's chips in x and y [arcsec]."""
GAP = (40.0, 53.0)
"""Gap between the chips [arcsec]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandConditions:
    """One band of a patch."""

    fwhm: float
    """Seeing [arcsec]."""
    beta: float
    """Slope of the Moffat profile."""
    sigma: float
    """Standard deviation of the sky noise, 1/sqrt(invvar), where all exposures overlap [nanomaggies/pixel]."""
    sky: float
    """Brightness of the sky that made this noise [nanomaggies/pixel]."""
    pedestal: float
    """Sky left over [nanomaggies/pixel]."""
    offsets: NDArray[np.float64]
    """Place of each exposure's chip grid (n, 2) [arcsec]."""
    weights: NDArray[np.float64]
    """Share of each exposure in the invvar (n,), sum 1."""

    @property
    def n_exposures(self) -> int:
        """Number of exposures."""
        return len(self.weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """All bands of a patch."""

    bands: dict[str, BandConditions]
    """Band -> its conditions; a band without images is absent."""
    ebv: float
    """Galactic reddening E(B-V) [mag]."""
    edge: float | None
    """The survey ends at this distance east of the patch's center [arcsec]; None: it does not."""

    def transmission(self, band: str) -> float:
        """Return the fraction of light that the Galaxy lets through."""
        return float(10.0 ** (-0.4 * EXTINCTION_COEFFICIENT[band] * self.ebv))


def moffat_alpha(fwhm: float, beta: float) -> float:
    """Return the scale radius of a Moffat profile, in the unit of ``fwhm``."""
    return float(fwhm / (2.0 * np.sqrt(2.0 ** (1.0 / beta) - 1.0)))


def moffat_transfer(frequency: NDArray[np.float64], fwhm: float, beta: float) -> NDArray[np.float64]:
    """Return the Fourier transform of a Moffat profile of unit flux.

    Parameters
    ----------
    frequency
        Angular spatial frequency k [radian / unit of ``fwhm``], any shape.

    Notes
    -----
    With x = alpha k: 2 (x/2)^(beta-1) K_(beta-1)(x) / Gamma(beta-1) (Hankel transform of (1 + r^2/alpha^2)^-beta).
    """
    x = np.maximum(np.asarray(frequency, dtype=np.float64) * moffat_alpha(fwhm, beta), 1e-6)
    return np.asarray(2.0 * (0.5 * x) ** (beta - 1.0) * kv(beta - 1.0, x) / gamma(beta - 1.0))


def noise_pixels(fwhm: float, beta: float) -> float:
    """Return the number of noise pixels 1 / sum(PSF^2) of a Moffat profile.

    Notes
    -----
    The integral of the squared profile is (beta-1)^2 / (pi alpha^2 (2 beta - 1)).
    """
    alpha = moffat_alpha(fwhm, beta) / PIXSCALE
    return float(np.pi * alpha**2 * (2.0 * beta - 1.0) / (beta - 1.0) ** 2)


def draw_conditions(rng: np.random.Generator, *, missing_band: str | None, at_edge: bool) -> Conditions:
    """Draw the observing conditions of a patch."""
    # Sharp images are deep images: a Gaussian copula ties the two measured distributions.
    first, second = rng.standard_normal(2)
    second = SEEING_WITH_DEPTH * first + np.sqrt(1.0 - SEEING_WITH_DEPTH**2) * second
    depth_r = float(np.interp(ndtr(first), PERCENTILES, R_DEPTH))
    fwhm_r = float(np.interp(ndtr(second), PERCENTILES, R_FWHM))
    slope = rng.normal(3.0, 0.2)
    bands = {}
    for band in BANDS:
        mean, scatter = DEPTH_OFFSET[band]
        depth = depth_r + mean + scatter * rng.standard_normal()
        mean, scatter = FWHM_RATIO[band]
        fwhm = fwhm_r * (mean + scatter * float(np.clip(rng.standard_normal(), -2.5, 2.5)))
        beta = float(np.clip(slope + rng.normal(0.0, 0.08), 2.5, 4.0))
        sigma = 10.0 ** (0.4 * (22.5 - depth)) / 5.0 / np.sqrt(noise_pixels(fwhm, beta))
        n = int(np.clip(round(4.0 + 2.6 * (depth_r - 23.9) + rng.normal(0.0, 1.0)), 4, 11))
        weights = rng.lognormal(0.0, 0.2, n)
        conditions = BandConditions(
            fwhm=fwhm,
            beta=beta,
            sigma=sigma,
            sky=DARK_SKY[band] * float(rng.lognormal(0.1, 0.15)),
            pedestal=float(PEDESTAL[band] * rng.uniform(-0.3, 1.0) * sigma / 0.003)
            if band != "z"
            else float(PEDESTAL[band] * rng.uniform(-0.3, 1.0)),
            offsets=rng.uniform(0.0, CHIP, (n, 2)),
            weights=weights / weights.sum(),
        )
        if band != missing_band:
            bands[band] = conditions
    ebv = float(np.clip(rng.lognormal(np.log(0.035), 0.55), 0.006, 0.25))
    edge = float(rng.uniform(60.0, 120.0)) if at_edge else None
    return Conditions(bands=bands, ebv=ebv, edge=edge)


def coverage(
    conditions: BandConditions, east: NDArray[np.floating], north: NDArray[np.floating], edge: float | None
) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Return the exposures and the invvar at positions.

    Parameters
    ----------
    conditions
        One band.
    east, north
        Distance from the patch's center [arcsec], same shape.
    edge
        Where the survey ends, or None.

    Returns
    -------
    nexp, invvar
        Number of exposures and inverse variance of the sky noise [1/nanomaggies^2], 0 where nothing was observed.
    """
    nexp = np.zeros(east.shape, dtype=np.int16)
    weight = np.zeros(east.shape, dtype=np.float32)
    for offsets, share in zip(conditions.offsets, conditions.weights, strict=True):
        seen = np.ones(east.shape, dtype=bool)
        for place, offset, chip, gap in zip((east, north), offsets, CHIP, GAP, strict=True):
            # The gaps begin at offset + k * chip; only those that cross the area are looked at.
            first = int(np.floor((place.min() - offset - gap) / chip)) + 1
            last = int(np.floor((place.max() - offset) / chip))
            for k in range(first, last + 1):
                seen &= (place < offset + k * chip) | (place >= offset + k * chip + gap)
        if edge is not None:
            seen &= east < edge
        nexp += seen
        weight += np.float32(share) * seen
    return nexp, np.asarray(weight / np.float32(conditions.sigma**2), dtype=np.float32)
