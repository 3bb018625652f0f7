"""What the published populations look like to this instrument: a table that ships with the package, and how it is made.

Lenses of the set ``calibrated`` (arcs of r = 22.2 around galaxies of r = 19.6, after Collett 2015 and the hosts of
known lenses) are injected in control galaxies of the survey's median seeing and depth and measured; once as they are,
and with arcs brighter by known factors, which says how a measured factor is to be read.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from legacylens.errors import InputError
from legacylens.mocks.population_sets import SETS, InjectionConfig
from legacylens.realism.compare import (
    ARC_STATISTICS,
    CORE_STATISTICS,
    HOST_STATISTICS,
    NOISE_STATISTICS,
    PIXEL_STATISTICS,
    matched_ratio,
)
from legacylens.realism.control_sky import draw_hosts, inject_set, stamps_of_hosts
from legacylens.realism.measure import measure_stamps

LEVELS = (1.0, 3.0, 10.0, 30.0, 110.0)
"""Factors by which arcs of the reference are brighter than published ones."""
HOSTS = 1440
"""Control galaxies of the packaged reference."""
SEED = 20260
"""Its seed."""
REFERENCE_NAME = "reference.parquet"
PUBLISHED_ERROR = 0.3
"""Uncertainty of the published arcs' magnitudes as a whole: selection, seeing and counts behind them [mag]."""

STATEMENT = (
    "Compared with published populations, not with real cutouts: lensed sources of Collett 2015 (selection for DES), "
    "hosts of known lenses (Stein et al. 2022), median seeing and depth of DR10. Their magnitudes are uncertain by "
    f"{PUBLISHED_ERROR} mag as a whole; a set of real lenses (--real) is the better judge."
)

COLUMNS = tuple(
    dict.fromkeys(
        (
            "source_id",
            "code",
            *ARC_STATISTICS,
            *PIXEL_STATISTICS,
            *NOISE_STATISTICS,
            *HOST_STATISTICS,
            *CORE_STATISTICS,
            "arc_score",
            "lens_snr",
            "source_offset",
            "ring_preference",
            "arc_flux_g",
            "arc_flux_r",
            "noise_ratio_g",
            "noise_ratio_r",
            "noise_ratio_z",
            "noise_r",
            "psf_fwhm_r",
        )
    )
)
"""Columns of the reference."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """Measured lenses of the published populations."""

    table: pd.DataFrame
    """Columns of `COLUMNS`, and ``level``, the factor of the arcs; 0 is galaxies without arcs."""

    def at(self, factor: float) -> pd.DataFrame:
        """Return the lenses whose arcs are brighter by the factor nearest to this."""
        nearest = LEVELS[int(np.argmin(np.abs(np.log(np.array(LEVELS) / max(factor, 0.1)))))]
        return self.table[self.table["level"] == nearest].reset_index(drop=True)

    @property
    def galaxies(self) -> pd.DataFrame:
        """Control galaxies without arcs."""
        return self.table[self.table["level"] == 0.0].reset_index(drop=True)


def make_reference(n: int = HOSTS, seed: int = SEED) -> pd.DataFrame:
    """Return the table of the reference, made anew (some minutes for the packaged number).

    Parameters
    ----------
    n
        Control galaxies.
    seed
        Decides everything.
    """
    hosts = draw_hosts(n, np.random.default_rng(seed))
    tables = [measure_stamps(stamps_of_hosts(hosts)).assign(level=0.0)]
    for level in LEVELS:
        config = SETS["calibrated"].model_copy(update={"injection": InjectionConfig(flux_factor=level)})
        tables.append(measure_stamps(inject_set(hosts, config, seed).stamps).assign(level=level))
    table = pd.concat(tables, ignore_index=True)
    table = table.loc[table["code"] == "ok", [*COLUMNS, "level"]]
    floats = table.select_dtypes("float64").columns.difference(["level"])
    return table.astype(dict.fromkeys(floats, np.float32)).reset_index(drop=True)


@functools.cache
def packaged_reference() -> Reference:
    """Return the reference that ships with the package."""
    with resources.as_file(resources.files("legacylens.realism") / REFERENCE_NAME) as path:
        return Reference(table=pd.read_parquet(path))


@functools.cache
def _response() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return logarithms of the factors of `LEVELS` and of what is measured of them, which rises."""
    reference = packaged_reference()
    first = reference.at(1.0)
    rng = np.random.default_rng(SEED)
    measured = [matched_ratio(reference.at(level), first, "arc_flux_r", rng)[0] for level in LEVELS]
    measured[0] = 1.0
    return np.log10(np.array(LEVELS)), np.maximum.accumulate(np.log10(np.array(measured)))


def true_factor(measured: float) -> float:
    """Return the factor of the arcs' brightness that gives a measured one.

    Very bright arcs are partly taken for their galaxies, so that the measured factor falls behind; by how much is known
    from arcs that were made brighter. Fainter arcs than published ones are taken as measured.

    Raises
    ------
    InputError
        If the measured factor is not positive.
    """
    if not measured > 0.0:
        raise InputError("a factor of brightness is positive")
    true, seen = _response()
    place = np.log10(measured)
    if place <= 0.0:
        return float(measured)
    if place >= seen[-1]:
        return float(10.0 ** (true[-1] + place - seen[-1]))
    return float(10.0 ** np.interp(place, seen, true))
