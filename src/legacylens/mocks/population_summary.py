"""A population in a few numbers, beside the reference: what a ground-based survey's lenses are expected to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr

from legacylens.mocks.conditions import draw_conditions, noise_pixels
from legacylens.mocks.host_locus import host_colors, host_mag_r
from legacylens.survey.bands import BANDS

MEDIAN_CONDITIONS = {"g": (24.82, 1.47), "r": (24.46, 1.35), "z": (23.41, 1.27)}
"""Median depth [5-sigma AB mag] and seeing [arcsec] of DR10, under which populations are compared with the reference:
its own images are deeper, but have a seeing of 1.66 arcsec, and its S/N is less than that of a matched filter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceValue:
    """One quantity of the reference population."""

    name: str
    """Name in the summary."""
    label: str
    """What it is, with its unit."""
    percentiles: tuple[float | None, float, float | None]
    """16th, 50th and 84th percentile; None where the reference states none."""
    source: str
    """Where it is from."""


_FOUND = "Collett 2015 (ApJ 811, 20), lenses that DES can find"
_HOSTS = "Stein et al. 2022 (ApJ 932, 107), hosts of 1,615 known lenses"

REFERENCE: Mapping[str, ReferenceValue] = {
    value.name: value
    for value in (
        ReferenceValue(name="theta_E", label="Einstein radius [arcsec]", percentiles=(1.06, 1.35, 1.78), source=_FOUND),
        ReferenceValue(name="sigma_v", label="velocity dispersion [km/s]", percentiles=(240, 274, 315), source=_FOUND),
        ReferenceValue(name="z_s", label="redshift of the source", percentiles=(1.14, 1.85, 2.56), source=_FOUND),
        ReferenceValue(
            name="source_mag_r",
            label="unlensed r of the source [AB mag]",
            percentiles=(23.3, 24.2, 25.5),
            source=_FOUND,
        ),
        ReferenceValue(
            name="source_g_r", label="g-r of the source [mag]", percentiles=(-0.14, -0.01, 0.39), source=_FOUND
        ),
        ReferenceValue(
            name="source_r_e",
            label="half-light radius of the source [arcsec]",
            percentiles=(0.12, 0.31, 0.56),
            source=_FOUND,
        ),
        ReferenceValue(name="beta", label="source offset [theta_E]", percentiles=(0.13, 0.32, 0.59), source=_FOUND),
        ReferenceValue(name="magnification", label="magnification", percentiles=(3.9, 6.8, 14.6), source=_FOUND),
        ReferenceValue(
            name="arc_mag_r", label="lensed r of the arcs [AB mag]", percentiles=(21.4, 22.2, 22.7), source=_FOUND
        ),
        ReferenceValue(name="snr_g", label="S/N of the arcs in g", percentiles=(22, 32, 64), source=_FOUND),
        ReferenceValue(name="snr_r", label="S/N of the arcs in r", percentiles=(14, 21, 42), source=_FOUND),
        ReferenceValue(
            name="host_mag_r", label="r of the host [AB mag]", percentiles=(18.20, 19.62, 20.68), source=_HOSTS
        ),
        ReferenceValue(
            name="host_g_r",
            label="g-r of the host (reference: with part of the arcs) [mag]",
            percentiles=(1.16, 1.62, 1.86),
            source=_HOSTS,
        ),
        ReferenceValue(name="host_r_z", label="r-z of the host [mag]", percentiles=(0.87, 1.14, 1.54), source=_HOSTS),
        ReferenceValue(name="host_z", label="redshift of the host", percentiles=(0.34, 0.55, 0.74), source=_HOSTS),
    )
}
"""What is known of found lenses."""
MAGNITUDE_MAGNIFICATION = 0.85
"""Correlation of source magnitude and log magnification among found lenses (Collett 2015)."""


def quantities(lenses: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Return the quantities of `REFERENCE` that a table of lenses has.

    Parameters
    ----------
    lenses
        A truth table, or drawn lenses (whose expected values stand for measured ones).
    """
    table = {name: lenses[name].to_numpy(np.float64) for name in lenses.select_dtypes("number")}
    for name in ("magnification", *(f"snr_{band}" for band in BANDS)):
        if name not in table and f"expected_{name}" in table:
            table[name] = table[f"expected_{name}"]
    if {"source_mag_g", "source_mag_r"} <= set(table):
        table["source_g_r"] = table["source_mag_g"] - table["source_mag_r"]
        if "arc_mag_r" not in table and "magnification" in table:
            table["arc_mag_r"] = table["source_mag_r"] - 2.5 * np.log10(table["magnification"])
    if {f"host_mag_{band}" for band in BANDS} <= set(table):
        table["host_g_r"] = table["host_mag_g"] - table["host_mag_r"]
        table["host_r_z"] = table["host_mag_r"] - table["host_mag_z"]
    return {name: table[name] for name in REFERENCE if name in table}


def summarize(lenses: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    """Return the 16th, 50th and 84th percentile of each quantity beside those of the reference.

    Returns
    -------
    summary
        Quantity -> ``p16``, ``p50``, ``p84``, ``reference_p16``, ``reference_p50``, ``reference_p84``; and under
        ``correlation`` that of source magnitude and log magnification (``value``, ``reference``).
    """
    found = quantities(lenses)
    summary: dict[str, dict[str, float | None]] = {}
    for name, values in found.items():
        reference = REFERENCE[name].percentiles
        finite = values[np.isfinite(values)]
        percentiles = np.percentile(finite, [16, 50, 84]) if len(finite) else np.full(3, np.nan)
        summary[name] = {
            **{f"p{p}": float(v) if np.isfinite(v) else None for p, v in zip((16, 50, 84), percentiles, strict=True)},
            **dict(zip(("reference_p16", "reference_p50", "reference_p84"), reference, strict=True)),
        }
    if {"source_mag_r", "magnification"} <= set(found) and len(lenses) > 2:
        value = np.corrcoef(found["source_mag_r"], np.log(found["magnification"]))[0, 1]
        rank = spearmanr(found["source_mag_r"], found["magnification"]).statistic
        summary["correlation"] = {"value": float(value), "rank": float(rank), "reference": MAGNITUDE_MAGNIFICATION}
    return summary


def mock_hosts(n: int, rng: np.random.Generator, *, varied: bool = True) -> pd.DataFrame:
    """Return a host table of luminous red galaxies under the conditions of DR10, for populations without pixels.

    Parameters
    ----------
    n
        Number of galaxies.
    rng
        Random generator.
    varied
        Draw depth and seeing of each; otherwise all have the median ones.
    """
    rows = []
    median = {
        band: 10.0 ** (0.4 * (22.5 - depth)) / 5.0 / np.sqrt(noise_pixels(fwhm, 3.0))
        for band, (depth, fwhm) in MEDIAN_CONDITIONS.items()
    }
    for number in range(n):
        seen = draw_conditions(rng, missing_band=None, at_edge=False) if varied else None
        z = float(np.clip(rng.normal(0.54, 0.19), 0.12, 0.93))
        g_r, r_z = (float(color + 0.07 * rng.standard_normal()) for color in host_colors(z))
        offset = float(0.55 * rng.standard_normal())
        mag_r = float(host_mag_r(z)) + offset
        rows.append(
            {
                "source_id": f"mock_{number}",
                "ra": 0.0,
                "dec": 0.0,
                "mag_g": mag_r + g_r,
                "mag_r": mag_r,
                "mag_z": mag_r - r_z,
                "ebv": float(rng.lognormal(np.log(0.035), 0.5)),
                "radius": float(0.88 * rng.lognormal(0.0, 0.42)),
                "q": float(np.clip(rng.normal(0.76, 0.13), 0.35, 0.98)),
                "phi": float(np.pi * rng.uniform()),
                "z": z,
                "z_error": 0.03 * (1.0 + z),
                "z_kind": "z_phot",
                "luminosity_offset": offset,
                **{f"psfsize_{b}": MEDIAN_CONDITIONS[b][1] if seen is None else seen.bands[b].fwhm for b in BANDS},
                **{f"sigma_{b}": median[b] if seen is None else seen.bands[b].sigma for b in BANDS},
            }
        )
    return pd.DataFrame(rows)
