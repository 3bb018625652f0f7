"""How well the arcs of a lens would be seen, fast enough to ask it of a hundred thousand sources.

A coarse image of the lensed source, no pixels of the survey: the matched-filter signal-to-noise ratio follows from its
Fourier transform and that of the PSF (Parseval), one transform for all bands. What cannot reach the wanted ratio by a
generous bound on its magnification is not even painted. The exact ratio is that of the injected image.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import i0e

from legacylens.lensing.frames import select
from legacylens.lensing.lens import Lens
from legacylens.lensing.sersic import Sersic, central_brightness, sersic_b
from legacylens.lensing.shear import Shear
from legacylens.lensing.sie import SIE
from legacylens.mocks.conditions import moffat_transfer, noise_pixels
from legacylens.mocks.noise import aperture_factor
from legacylens.mocks.population_sets import SelectionConfig
from legacylens.mocks.source_population import Columns
from legacylens.photometry import flux_of_magnitude
from legacylens.survey.bands import BANDS, PIXSCALE

GRID = 64
"""Pixels along the side of the coarse image."""
BETA = 3.0
"""Slope of the Moffat profile that stands for every PSF here."""
CHUNK = 512
"""Lenses painted at a time."""
FINER = 5
"""Samples along the side of a pixel where a source is smaller than it."""
SAFETY = 1.7
"""By how much the bound on the S/N exceeds that of a round lens: 0.7 % of the lenses with S/N > 15 exceed it by more,
and are missed."""


def round_magnification(
    theta_E: NDArray[np.float64], radius: NDArray[np.float64], beta: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the magnification of a Gaussian source behind a singular isothermal sphere.

    Parameters
    ----------
    theta_E
        Einstein radius [arcsec].
    radius
        Half-light radius of the source [arcsec].
    beta
        Distance of its center from the axis [arcsec].

    Notes
    -----
    ``2 theta_E sqrt(pi/2) / s exp(-u) I0(u)`` with ``u = (beta / 2 s)^2``, exact where the source lies well inside
    ``theta_E``; never below 1 here.
    """
    s = radius / np.sqrt(2.0 * np.log(2.0))
    return np.asarray(np.maximum(2.0 * theta_E * np.sqrt(np.pi / 2.0) / s * i0e((beta / (2.0 * s)) ** 2), 1.0))


@functools.cache
def _power_table() -> tuple[float, NDArray[np.float32]]:
    """Return the step and the values of the squared transfer function of a Moffat PSF of FWHM 1, to k FWHM = 40."""
    k = np.linspace(0.0, 40.0, 4001)
    return float(k[1]), np.asarray(moffat_transfer(k, 1.0, BETA) ** 2, dtype=np.float32)


def _transfer_power(k: NDArray[np.float32], fwhm: NDArray[np.float64]) -> NDArray[np.float32]:
    step, table = _power_table()
    # Nearest entry: the table is fine, and an interpolation would cost more than all the rest.
    return np.asarray(
        table[np.minimum((k * (fwhm / step).astype(np.float32)[:, None, None]).astype(np.int32), len(table) - 1)]
    )


def snr_bound(lenses: Columns, conditions: Columns) -> NDArray[np.float64]:
    """Return nearly a bound on the best-band S/N of the arcs, without painting them.

    Notes
    -----
    All light of a round lens's arcs, in a template of the PSF's noise pixels and the area that the arcs cover.
    """
    bound = np.zeros(len(lenses["theta_E"]))
    mu = round_magnification(lenses["theta_E"], lenses["source_r_e"], lenses["beta"] * lenses["theta_E"])
    area = 4.0 * np.pi * (lenses["source_r_e"] / np.sqrt(2.0 * np.log(2.0)) / PIXSCALE) ** 2 * mu
    for band in BANDS:
        flux = flux_of_magnitude(lenses[f"source_mag_{band}"]) * conditions[f"transmission_{band}"]
        pixels = noise_pixels(1.0, BETA) * conditions[f"psfsize_{band}"] ** 2 + area
        bound = np.fmax(bound, mu * flux / (conditions[f"sigma_{band}"] * np.sqrt(pixels)))
    return SAFETY * bound / aperture_factor()


def host_glow(lenses: Columns, conditions: Columns, band: str) -> NDArray[np.float64]:
    """Return the host's light at the Einstein radius over that of the sky (a de Vaucouleurs profile, not blurred)."""
    radius = np.maximum(conditions["radius"], 0.3)
    depth = sersic_b(4.0) * (np.maximum(lenses["theta_E"], 0.7) / radius) ** 0.25
    light = flux_of_magnitude(conditions[f"mag_{band}"]) * conditions[f"transmission_{band}"]
    return np.asarray(
        light * central_brightness(4.0) / radius**2 * np.exp(-depth) * PIXSCALE**2 / conditions[f"sky_{band}"]
    )


def arc_snr(lenses: Columns, conditions: Columns) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the S/N of the arcs in each band, and the magnification, both good to some per cent.

    Parameters
    ----------
    lenses
        Columns of deflectors and of sources placed behind them (``source_x``, ``source_y``), equally long.
    conditions
        For each lens ``sigma_*`` (sky noise, 1/sqrt(invvar)) [nanomaggies/pixel], ``psfsize_*`` [arcsec],
        ``transmission_*``, ``sky_*`` [nanomaggies/pixel], and of the host ``mag_*`` and ``radius`` [arcsec].

    Returns
    -------
    snr
        Shape ``(lens, band)``.
    magnification
        Shape ``(lens,)``.
    """
    n = len(lenses["theta_E"])
    snr, magnification = np.empty((n, len(BANDS))), np.empty(n)
    for start in range(0, n, CHUNK):
        some = slice(start, start + CHUNK)
        one = {name: values[some] for name, values in lenses.items()}
        snr[some], magnification[some] = _chunk(one, {name: values[some] for name, values in conditions.items()})
    return snr, magnification


def _chunk(lenses: Columns, conditions: Columns) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    half = 2.3 * lenses["theta_E"] + 2.0 * lenses["source_r_e"] + 0.7
    step = 2.0 * half / GRID
    axis = np.arange(GRID) - 0.5 * (GRID - 1)
    x = torch.from_numpy(step[:, None, None] * axis[None, None, :] + lenses["mass_x"][:, None, None])
    y = torch.from_numpy(step[:, None, None] * axis[None, :, None] + lenses["mass_y"][:, None, None])
    # Single precision is twice as fast, and the grid is coarse anyway.
    x, y = x.float().expand(-1, GRID, GRID), y.float().expand(-1, GRID, GRID)
    lens, source = deflector_of(lenses), source_of(lenses)
    profile = _Profile.of(lenses)
    alpha_x, alpha_y = lens.deflection(x, y)
    beta_x, beta_y = x - alpha_x, y - alpha_y
    light = profile.brightness(source.elliptical_radius(beta_x, beta_y))
    _refine(light, lens, source, profile, (x, y), (beta_x, beta_y), torch.from_numpy(step).float())
    light *= torch.from_numpy(step**2).float()[:, None, None]
    magnification = light.sum((1, 2)).double().numpy()
    power = torch.fft.rfft2(light).abs().square().numpy()
    power[:, :, 1:-1] *= 2.0  # the half of the plane that a real transform leaves out
    frequency = 2.0 * np.pi * np.hypot(np.fft.fftfreq(GRID)[:, None], np.fft.rfftfreq(GRID)[None, :])
    k = frequency.astype(np.float32) / step.astype(np.float32)[:, None, None]
    snr = np.empty((len(step), len(BANDS)))
    for number, band in enumerate(BANDS):
        fwhm = conditions[f"psfsize_{band}"]
        through = (power * _transfer_power(k, fwhm)).sum((1, 2)) / GRID**2 * (PIXSCALE / step) ** 2
        flux = flux_of_magnitude(lenses[f"source_mag_{band}"]) * conditions[f"transmission_{band}"]
        sigma = conditions[f"sigma_{band}"] * np.sqrt(1.0 + host_glow(lenses, conditions, band))
        snr[:, number] = flux * np.sqrt(through) / sigma / aperture_factor()
    return np.nan_to_num(snr, nan=0.0), magnification


@dataclass(frozen=True, slots=True, eq=False)
class _Profile:
    """The constants of Sersic profiles, kept because a batch of rays asks for them again and again."""

    r_e: torch.Tensor
    power: torch.Tensor
    b: torch.Tensor
    peak: torch.Tensor

    @classmethod
    def of(cls, lenses: Columns) -> _Profile:
        indices = lenses["source_n"].tolist()
        r_e = torch.tensor(lenses["source_r_e"], dtype=torch.float32)
        return cls(
            r_e=r_e,
            power=torch.tensor([1.0 / n for n in indices], dtype=torch.float32),
            b=torch.tensor([sersic_b(n) for n in indices], dtype=torch.float32),
            peak=torch.tensor([central_brightness(n) for n in indices], dtype=torch.float32) / r_e**2,
        )

    def at(self, which: torch.Tensor) -> _Profile:
        return _Profile(self.r_e[which], self.power[which], self.b[which], self.peak[which])

    def brightness(self, radius: torch.Tensor) -> torch.Tensor:
        """Return the surface brightness at elliptical radii, shape ``(lens, ...)`` [1/arcsec^2]."""
        r_e, power, b, peak = (
            value.reshape(-1, *(1,) * (radius.ndim - 1)) for value in (self.r_e, self.power, self.b, self.peak)
        )
        return peak * torch.exp(-b * (radius / r_e) ** power)


def _refine(
    light: torch.Tensor,
    lens: Lens,
    source: Sersic,
    profile: _Profile,
    place: tuple[torch.Tensor, torch.Tensor],
    traced: tuple[torch.Tensor, torch.Tensor],
    step: torch.Tensor,
) -> None:
    """Replace samples by means over finer ones where a source is smaller than the pixels, in place."""
    x0, y0 = (torch.as_tensor(value).float()[:, None, None] for value in (source.x, source.y))
    distance = torch.hypot(traced[0] - x0, traced[1] - y0)
    near = (distance < (3.0 * profile.r_e + 1.5 * step)[:, None, None]) & (profile.r_e < 1.5 * step)[:, None, None]
    which, row, column = torch.nonzero(near, as_tuple=True)
    if not len(which):
        return
    offset = (torch.arange(FINER) - 0.5 * (FINER - 1)) / FINER
    x = place[0][which, row, column][:, None] + step[which][:, None] * offset.repeat(FINER)
    y = place[1][which, row, column][:, None] + step[which][:, None] * offset.repeat_interleave(FINER)
    alpha_x, alpha_y = select(lens, which).deflection(x, y)
    radius = select(source, which).elliptical_radius(x - alpha_x, y - alpha_y)
    light[which, row, column] = profile.at(which).brightness(radius).mean(1)


def deflector_of(lenses: Columns) -> Lens:
    """Return the masses of a table of lenses as one batch."""
    column = {name: torch.tensor(lenses[name], dtype=torch.float64) for name in _MASS}
    return Lens(
        deflectors=(
            SIE(
                theta_E=column["theta_E"],
                q=column["mass_q"],
                phi=column["mass_phi"],
                x=column["mass_x"],
                y=column["mass_y"],
            ),
            Shear(gamma1=column["gamma1"], gamma2=column["gamma2"], x=column["mass_x"], y=column["mass_y"]),
        )
    )


def source_of(lenses: Columns) -> Sersic:
    """Return the smooth sources of a table of lenses as one batch."""
    column = {name: torch.tensor(lenses[name], dtype=torch.float64) for name in _SOURCE}
    return Sersic(
        r_e=column["source_r_e"],
        n=column["source_n"],
        q=column["source_q"],
        phi=column["source_phi"],
        x=column["source_x"],
        y=column["source_y"],
    )


_MASS = ("theta_E", "mass_q", "mass_phi", "mass_x", "mass_y", "gamma1", "gamma2")
_SOURCE = ("source_r_e", "source_n", "source_q", "source_phi", "source_x", "source_y")


def _turn_on(value: NDArray[np.float64], middle: float, width: float) -> NDArray[np.float64]:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip((value - middle) / width, -60.0, 60.0))))


def chance(
    config: SelectionConfig,
    snr: NDArray[np.float64],
    magnification: NDArray[np.float64],
    theta_E: NDArray[np.float64],
    fwhm: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the chance that a lens is found.

    Parameters
    ----------
    config
        Parameters.
    snr
        S/N in the best band.
    magnification
        Total magnification.
    theta_E, fwhm
        Einstein radius and seeing in the sharpest band [arcsec].
    """
    if not config.apply:
        return np.ones(len(snr))
    log_snr = np.log(np.maximum(snr, 1e-6))
    found = _turn_on(log_snr, np.log(max(config.snr, 1e-6)), config.snr_width)
    if config.snr_max is not None:
        found = found * (1.0 - _turn_on(log_snr, np.log(config.snr_max), config.snr_width))
    found = found * _turn_on(theta_E / fwhm, config.resolution, config.resolution_width)
    return np.asarray(np.where(magnification >= config.magnification_min, found, 0.0))
