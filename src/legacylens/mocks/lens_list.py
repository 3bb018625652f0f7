"""A list of known lenses as the literature would publish it: incomplete, with aliases and a few mistakes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from legacylens.mocks.release_config import MockReleaseConfig

COLUMNS = ("name", "ra", "dec", "zlens", "type", "grading", "ref")
"""Columns of lenscat."""
CONFIDENT = 0.35
"""Share of lenses that are graded confident when their arcs have S/N 25."""
ALIASED = 0.03
"""Share of lenses that the list has twice, under another name."""
POSITION_ERROR = 0.08
"""Scatter of listed positions [arcsec]."""


def desi_name(ra: float, dec: float) -> str:
    """Return a name like ``DESI-150.1234+02.3456``, rounded, as the published lists of candidates have it."""
    return f"DESI-{ra:08.4f}{dec:+08.4f}"


def published_list(
    lenses: pd.DataFrame, galaxies: pd.DataFrame, config: MockReleaseConfig, rng: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the list and the lenses with what it says about them.

    Parameters
    ----------
    lenses, galaxies
        Truth tables.
    config
        How incomplete and impure the list is.
    rng
        Random generator.

    Returns
    -------
    published
        The list, sorted by right ascension.
    lenses
        Truth with ``listed_name`` and ``grading`` (empty where unlisted).
    """
    lenses = lenses.copy()
    n = len(lenses)
    hidden = np.zeros(n, dtype=bool)
    hidden[rng.permutation(n)[: round(config.unlisted_fraction * n)]] = True
    chance = CONFIDENT * np.clip(lenses["snr"].to_numpy(np.float64) / 25.0, 0.2, 2.5) if n else np.empty(0)
    grading = np.where(rng.uniform(size=n) < chance, "confident", "probable")
    entries = []
    names = []
    for k in range(n):
        if hidden[k]:
            names.append("")
            continue
        ra, dec = _nearby(rng, float(lenses["ra"].iloc[k]), float(lenses["dec"].iloc[k]))
        names.append(desi_name(ra, dec))
        redshift = f"{lenses['z_l'].iloc[k]:.3f}" if rng.uniform() < 0.9 else "-"
        entries.append((names[-1], ra, dec, redshift, "galaxy", str(grading[k]), "simulated"))
        if rng.uniform() < ALIASED:
            ra, dec = _nearby(rng, ra, dec)
            entries.append((f"J{ra:09.5f}{dec:+09.5f}", ra, dec, "-", "galaxy", "probable", "simulated, second list"))
    lenses["listed_name"] = names
    lenses["grading"] = np.where(hidden, "", grading)
    mistaken = galaxies[
        galaxies["kind"].isin(["ring", "spiral", "merger", "elliptical"]) & (galaxies["source_id"] != "")
    ]
    wrong = min(round(config.listed_non_lenses * n), len(mistaken))
    for k in rng.permutation(len(mistaken))[:wrong]:
        ra, dec = _nearby(rng, float(mistaken["ra"].iloc[k]), float(mistaken["dec"].iloc[k]))
        redshift = f"{mistaken['redshift'].iloc[k]:.3f}"
        entries.append((desi_name(ra, dec), ra, dec, redshift, "galaxy", "probable", "simulated"))
    published = pd.DataFrame(entries, columns=list(COLUMNS)).sort_values("ra", kind="stable", ignore_index=True)
    return published, lenses


def _nearby(rng: np.random.Generator, ra: float, dec: float) -> tuple[float, float]:
    step = POSITION_ERROR / 3600.0 * rng.standard_normal(2)
    return round(float((ra + step[0] / np.cos(np.radians(dec))) % 360.0), 6), round(float(dec + step[1]), 6)
