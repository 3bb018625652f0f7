"""How likely a population makes a lens: the density of what is drawn, in closed form up to what all populations share.

Sources are drawn as field galaxies and kept if they are seen (`mocks.population`), so the density of a found lens is
that of the field galaxy times its chance to be found. What does not depend on the free parameters (redshifts, shapes,
places, the agreement of mass and host) is the same in two populations and left out.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr
from scipy.stats import qmc

from legacylens.mocks.population_sets import DeflectorConfig, SelectionConfig, SourceConfig
from legacylens.mocks.selection import chance
from legacylens.mocks.source_colors import colors
from legacylens.mocks.source_population import median_radius
from legacylens.survey.bands import BANDS

Vector = NDArray[np.float64]

TEMPLATES = 256
"""Ages and amounts of dust that stand for those of all sources, a power of two."""
Z_STEP = 0.05
"""Redshifts are the same for colors within this: they change by some 0.01 mag."""
UV_STEP = 0.125
"""Densities are interpolated between slopes of the ultraviolet continuum that are this far apart."""
FLOOR = 1e-30
"""Least density of a color [1/mag^2]."""
NEVER = -1e4
"""Logarithm of the density of what a population never makes."""


def log_magnitude(config: SourceConfig, mag_r: Vector) -> Vector:
    """Return the logarithm of the density of r magnitudes, normalized between the limits of the set."""
    k = config.counts_slope * np.log(10.0)
    span = config.r_faint - config.r_bright
    norm = np.log(np.expm1(k * span) / k) if k > 1e-5 else np.log(span)
    inside = (mag_r >= config.r_bright) & (mag_r <= config.r_faint)
    return np.where(inside, k * (mag_r - config.r_bright) - norm, NEVER)


def log_radius(config: SourceConfig, mag_r: Vector, z_s: Vector, radius: Vector) -> Vector:
    """Return the logarithm of the density of log10 radius; at the limits, that of the tail beyond."""
    middle = np.log10(median_radius(config, mag_r, z_s))
    away = (np.log10(radius) - middle) / config.radius_scatter
    density = -0.5 * away**2 - np.log(config.radius_scatter * np.sqrt(2.0 * np.pi))
    low = radius <= config.radius_min * (1.0 + 1e-9)
    high = radius >= config.radius_max * (1.0 - 1e-9)
    return np.where(low, log_ndtr(away), np.where(high, log_ndtr(-away), density))


def log_theta_E(config: DeflectorConfig, theta_E: Vector) -> Vector:
    """Return the logarithm of the density of ln theta_E, if prescribed."""
    center, width = np.log(config.theta_E_median), config.theta_E_scatter
    away = (np.log(theta_E) - center) / width
    low, high = (ndtr((np.log(edge) - center) / width) for edge in (config.theta_E_min, config.theta_E_max))
    inside = (theta_E >= config.theta_E_min * (1 - 1e-9)) & (theta_E <= config.theta_E_max * (1 + 1e-9))
    return np.where(inside, -0.5 * away**2 - np.log(width * np.sqrt(2.0 * np.pi)) - np.log(high - low), NEVER)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """What decides whether lenses are found."""

    snr: Vector
    """S/N of the arcs in the best band."""
    magnification: Vector
    """Total magnification."""
    theta_E: Vector
    """Einstein radius [arcsec]."""
    fwhm: Vector
    """Seeing in the sharpest band [arcsec]."""


def seen_of(truth: pd.DataFrame) -> Seen:
    """Return what decides whether the lenses of a truth are found."""
    return Seen(
        snr=np.max([truth[f"expected_snr_{band}"].to_numpy(np.float64) for band in BANDS], axis=0),
        magnification=truth["expected_magnification"].to_numpy(np.float64),
        theta_E=truth["theta_E"].to_numpy(np.float64),
        fwhm=np.min([truth[f"host_psfsize_{band}"].to_numpy(np.float64) for band in BANDS], axis=0),
    )


def log_found(config: SelectionConfig, seen: Seen) -> Vector:
    """Return the logarithm of the chance that lenses are found."""
    found = chance(config, seen.snr, seen.magnification, seen.theta_E, seen.fwhm)
    return np.where(found > 0.0, np.log(np.maximum(found, 1e-300)), NEVER)


@functools.cache
def _template_uniforms() -> Vector:
    """Return places in (0, 1) of age and dust, evenly spread, shape ``(TEMPLATES, 2)``."""
    points = qmc.Sobol(2, scramble=True, seed=11).random(TEMPLATES)
    return np.asarray(np.clip(points, 1e-4, 1.0 - 1e-4))


def _template_colors(config: SourceConfig, z: Vector, *, evolved: bool, uv_slope_shift: float) -> Vector:
    """Return colors of the templates of a kind at redshifts, shape ``(z, template, 2)``; see `draw_sources`."""
    u = _template_uniforms()
    older = config.age_gradient * np.maximum(1.5 - z, 0.0)[:, None]
    age = (0.3 + 0.7 * u[:, 0] if evolved else 0.35 * u[:, 0])[None, :] + older
    dust = (0.6 if evolved else 0.2) * -np.log1p(-np.minimum(u[:, 1], 0.999))[None, :]
    return np.stack(colors(z[:, None], age, dust, uv_slope_shift=uv_slope_shift), axis=-1)


def color_density(
    config: SourceConfig, truth: pd.DataFrame, *, evolved: bool, uv_slope_shift: float, scatter: float
) -> Vector:
    """Return the density of the colors of sources at their redshifts if all were of one kind [1/mag^2].

    Parameters
    ----------
    config
        The set, for its ``age_gradient``.
    truth
        Rows with magnitudes and redshifts of sources.
    evolved
        The kind.
    uv_slope_shift, scatter
        As in `SourceConfig`.

    Notes
    -----
    The mean over ages and amounts of dust of the normal distribution around each template; r is in both colors, which
    correlates their scatter by minus the root of one half.
    """
    mag = {band: truth[f"source_mag_{band}"].to_numpy(np.float64) for band in BANDS}
    seen = np.column_stack([mag["g"] - mag["r"], mag["r"] - mag["z"]])
    z = truth["z_s"].to_numpy(np.float64)
    grid, place = np.unique(np.round(z / Z_STEP), return_inverse=True)
    templates = _template_colors(config, grid * Z_STEP, evolved=evolved, uv_slope_shift=uv_slope_shift)
    out = np.empty(len(z))
    correlation = -np.sqrt(0.5)
    norm = 1.0 / (2.0 * np.pi * scatter**2 * np.sqrt(1.0 - correlation**2))
    for start in range(0, len(z), 1024):
        rows = slice(start, start + 1024)
        away = (seen[rows, None, :] - templates[place[rows]]) / scatter
        a, b = away[..., 0], away[..., 1]
        distance = (a**2 - 2.0 * correlation * a * b + b**2) / (1.0 - correlation**2)
        out[rows] = norm * np.exp(-0.5 * distance).mean(axis=1)
    return np.maximum(out, FLOOR)


class ColorTable:
    """Densities of the colors of given sources under populations that differ in their mixture and ultraviolet slope.

    What was asked for is kept: a calibration asks thousands of times.

    Parameters
    ----------
    config
        The set; its ``age_gradient`` and ``color_scatter`` are kept.
    truth
        Rows with magnitudes and redshifts of sources.
    """

    def __init__(self, config: SourceConfig, truth: pd.DataFrame) -> None:
        self._config = config
        self._truth = truth
        self._log: dict[int, NDArray[np.float64]] = {}

    def _at(self, step: int) -> NDArray[np.float64]:
        """Return the logarithms of the densities of young and evolved sources at a slope of ``step * UV_STEP``."""
        if step not in self._log:
            kinds = [
                color_density(
                    self._config,
                    self._truth,
                    evolved=evolved,
                    uv_slope_shift=step * UV_STEP,
                    scatter=self._config.color_scatter,
                )
                for evolved in (False, True)
            ]
            self._log[step] = np.log(np.stack(kinds))
        return self._log[step]

    def log_density(self, evolved_fraction: float, uv_slope_shift: float) -> Vector:
        """Return the logarithm of the density of each source's colors, interpolated between slopes."""
        place = uv_slope_shift / UV_STEP
        left = int(np.floor(place))
        young, evolved = self._at(left)
        if place > left:
            right = self._at(left + 1)
            young, evolved = (place - left) * (right - self._at(left)) + self._at(left)
        with np.errstate(divide="ignore"):
            parts = np.log([1.0 - evolved_fraction, evolved_fraction])
        return np.asarray(np.logaddexp(parts[0] + young, parts[1] + evolved))


def log_colors(config: SourceConfig, truth: pd.DataFrame) -> Vector:
    """Return the logarithm of the density of colors under one population."""
    kinds = [
        color_density(config, truth, evolved=kind, uv_slope_shift=config.uv_slope_shift, scatter=config.color_scatter)
        for kind in (False, True)
    ]
    f = config.evolved_fraction
    return np.log((1.0 - f) * kinds[0] + f * kinds[1])
