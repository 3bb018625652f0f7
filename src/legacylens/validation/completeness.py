"""Completeness by injection and recovery: which fraction of lenses of a kind is selected, with exact intervals.

A cell with too few injections says "insufficient" instead of a number. What could not be injected or scored is counted
apart and is neither found nor missed. A value for a range of one quantity is an average over a population of all the
others, so the population that was injected is always named beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, field_validator

from legacylens.errors import InputError
from legacylens.mocks.conditions import noise_pixels
from legacylens.photometry import mw_transmission
from legacylens.settings import Settings
from legacylens.validation.intervals import binomial_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """Something that decides whether a lens is found."""

    name: str
    """Name in tables and calls."""
    unit: str
    """Its unit."""
    words: str
    """What a figure calls it."""
    edges: tuple[float, ...]
    """Edges of its cells."""
    value: Callable[[pd.DataFrame], NDArray[np.float64]]
    """From the truth of injections."""
    logarithmic: bool = False
    """Whether its logarithm is what matters."""


def _column(name: str) -> Callable[[pd.DataFrame], NDArray[np.float64]]:
    return lambda truth: truth[name].to_numpy(np.float64)


def depth_of(sigma: ArrayLike, fwhm: ArrayLike, ebv: ArrayLike, band: str = "r") -> NDArray[np.float64]:
    """Return the magnitude of a star of five sigma above the Galaxy's dust.

    Parameters
    ----------
    sigma
        Noise of a pixel, 1/sqrt(invvar) [nanomaggies].
    fwhm
        Of the PSF [arcsec]; a Moffat profile of index 3.
    ebv
        Galactic reddening [mag].
    band
        Of the extinction.
    """
    spread = np.sqrt(noise_pixels(1.0, 3.0)) * np.asarray(fwhm, dtype=np.float64)
    flux = 5.0 * np.asarray(sigma, dtype=np.float64) * spread / mw_transmission(ebv, band)
    return np.asarray(22.5 - 2.5 * np.log10(flux))


def _depth(truth: pd.DataFrame) -> NDArray[np.float64]:
    return depth_of(truth["host_sigma_r"], truth["host_psfsize_r"], truth["host_ebv"])


QUANTITIES: dict[str, Quantity] = {
    quantity.name: quantity
    for quantity in (
        Quantity(
            name="theta_E",
            unit="arcsec",
            words="Einstein radius",
            edges=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0),
            value=_column("theta_E"),
            logarithmic=True,
        ),
        Quantity(
            name="arc_mag_r",
            unit="AB mag",
            words="lensed magnitude in r",
            edges=(18.0, 20.0, 20.5, 21.0, 21.5, 22.0, 22.5, 23.0, 23.5, 24.0, 25.0, 27.0),
            value=_column("arc_mag_r"),
        ),
        Quantity(
            name="snr",
            unit="",
            words="signal-to-noise ratio of the arc",
            edges=(1.0, 3.0, 6.0, 10.0, 15.0, 25.0, 40.0, 70.0, 120.0, 1000.0),
            value=_column("snr"),
            logarithmic=True,
        ),
        Quantity(
            name="source_r_e",
            unit="arcsec",
            words="half-light radius of the source",
            edges=(0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.45, 0.7, 2.0),
            value=_column("source_r_e"),
            logarithmic=True,
        ),
        Quantity(
            name="seeing",
            unit="arcsec",
            words="seeing in r (FWHM)",
            edges=(0.7, 1.0, 1.1, 1.2, 1.3, 1.4, 1.6, 2.0, 3.0),
            value=_column("host_psfsize_r"),
        ),
        Quantity(
            name="depth",
            unit="AB mag",
            words="depth in r (point source, 5 sigma)",
            edges=(22.5, 23.0, 23.3, 23.6, 23.9, 24.2, 24.5, 25.0, 26.0),
            value=_depth,
        ),
        Quantity(
            name="host_mag_r",
            unit="AB mag",
            words="magnitude of the host in r",
            edges=(14.0, 17.0, 18.0, 18.5, 19.0, 19.5, 20.0, 20.5, 21.0, 22.0),
            value=_column("host_mag_r"),
        ),
    )
}
"""The quantities, in order. Magnitudes are without Galactic extinction."""


class CompletenessConfig(Settings):
    """How injections are counted."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of every interval."""
    min_per_cell: int = Field(default=20, ge=1)
    """Fewer injections than this in a cell are insufficient for a number."""
    edges: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    """Edges of the cells of a quantity, where they are not the usual ones."""
    pairs: tuple[tuple[str, str], ...] = (("theta_E", "arc_mag_r"), ("seeing", "depth"), ("theta_E", "seeing"))
    """Pairs of quantities that are tabulated together."""

    @field_validator("edges")
    @classmethod
    def _known(cls, edges: dict[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
        for name, values in edges.items():
            if name not in QUANTITIES:
                raise ValueError(f"no quantity is called {name!r}; there are {', '.join(QUANTITIES)}")
            if len(values) < 2 or any(a >= b for a, b in pairwise(values)):
                raise ValueError(f"edges of {name} must be at least two rising numbers")
        return edges

    @field_validator("pairs")
    @classmethod
    def _of_quantities(cls, pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        for pair in pairs:
            if not set(pair) <= set(QUANTITIES) or pair[0] == pair[1]:
                raise ValueError(f"{pair} is not a pair of {', '.join(QUANTITIES)}")
        return pairs

    def edges_of(self, name: str) -> NDArray[np.float64]:
        """Return the edges of the cells of a quantity."""
        return np.asarray(self.edges.get(name, QUANTITIES[name].edges), dtype=np.float64)


DEFAULT_CONFIG = CompletenessConfig()


def injection_values(truth: pd.DataFrame) -> pd.DataFrame:
    """Return the quantities of each injection, a column each.

    Raises
    ------
    InputError
        If the truth lacks a column or has a value that is not finite.
    """
    columns = {}
    for name, quantity in QUANTITIES.items():
        try:
            columns[name] = quantity.value(truth)
        except KeyError as error:
            raise InputError(f"the truth of the injections has no column {error}; inject them again") from error
    table = pd.DataFrame(columns)
    broken = [name for name in table if not np.isfinite(table[name]).all()]
    if broken:
        raise InputError(f"the truth of the injections has values that are not finite in {', '.join(map(str, broken))}")
    return table


def _row(n: int, found: int, config: CompletenessConfig) -> dict[str, Any]:
    low, high = binomial_interval(found, n, config.confidence)
    enough = n >= config.min_per_cell
    return {
        "n": n,
        "n_recovered": found,
        "completeness": found / n if enough else None,
        "completeness_low": float(low) if enough else None,
        "completeness_high": float(high) if enough else None,
        "note": "" if enough else f"insufficient: {n} of the {config.min_per_cell} injections needed",
    }


def tabulate(values: pd.DataFrame, recovered: ArrayLike, config: CompletenessConfig = DEFAULT_CONFIG) -> dict[str, Any]:
    """Return completeness in cells of each quantity, and of pairs of them.

    Parameters
    ----------
    values
        As from `injection_values`; columns that are absent are left out.
    recovered
        Which injections were selected, shape (n,).
    config
        Cells and intervals.

    Returns
    -------
    tables
        ``total`` (one row), ``marginals`` (quantity -> rows) and ``pairs`` (a list with ``names`` and ``rows``). Rows
        of a quantity sum to the total: the first and last hold what lies outside of the edges, if anything does.

    Raises
    ------
    InputError
        If there is no injection.
    """
    found = np.asarray(recovered, dtype=bool)
    if len(found) == 0 or len(found) != len(values):
        raise InputError(f"{len(found)} outcomes for {len(values)} injections: there must be one each, and some")
    present = [name for name in QUANTITIES if name in values.columns]
    place = {name: np.digitize(values[name].to_numpy(np.float64), config.edges_of(name)) for name in present}
    marginals = {}
    for name in present:
        edges = config.edges_of(name)
        rows = []
        for number in range(len(edges) + 1):
            inside = place[name] == number
            if number in (0, len(edges)) and not inside.any():
                continue
            low = float(edges[number - 1]) if number > 0 else None
            high = float(edges[number]) if number < len(edges) else None
            rows.append({"low": low, "high": high, **_row(int(inside.sum()), int((inside & found).sum()), config)})
        marginals[name] = rows
    pairs = [
        {"names": [first, second], "rows": _pair(first, second, place, found, config)}
        for first, second in config.pairs
        if first in present and second in present
    ]
    return {"total": _row(len(found), int(found.sum()), config), "marginals": marginals, "pairs": pairs}


def _pair(
    first: str,
    second: str,
    place: Mapping[str, NDArray[np.int64]],
    found: NDArray[np.bool_],
    config: CompletenessConfig,
) -> list[dict[str, Any]]:
    rows = []
    edges = [config.edges_of(first), config.edges_of(second)]
    for i in range(1, len(edges[0])):
        for j in range(1, len(edges[1])):
            inside = (place[first] == i) & (place[second] == j)
            rows.append(
                {
                    f"{first}_low": float(edges[0][i - 1]),
                    f"{first}_high": float(edges[0][i]),
                    f"{second}_low": float(edges[1][j - 1]),
                    f"{second}_high": float(edges[1][j]),
                    **_row(int(inside.sum()), int((inside & found).sum()), config),
                }
            )
    return rows


def chi2_per_cell(
    values: pd.DataFrame,
    recovered: ArrayLike,
    expected: ArrayLike,
    *,
    names: tuple[str, ...] = ("theta_E", "arc_mag_r", "seeing"),
    config: CompletenessConfig = DEFAULT_CONFIG,
) -> tuple[float, int]:
    """Return how well expected chances describe outcomes: chi-square over the number of cells, and that number.

    Parameters
    ----------
    values, recovered
        As for `tabulate`.
    expected
        Chance of each injection to be selected, shape (n,).
    names
        Quantities whose cells are crossed.
    config
        Edges. Cells in which fewer than five are expected to be found, or to be missed, are joined into one.

    Notes
    -----
    In a cell, (found - sum p)^2 / sum p (1 - p); its mean is 1 if the chances are right.
    """
    found, chance = np.asarray(recovered, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    cell = np.zeros(len(found), dtype=np.int64)
    for name in names:
        edges = config.edges_of(name)
        cell = cell * (len(edges) + 1) + np.digitize(values[name].to_numpy(np.float64), edges)
    _, cell = np.unique(cell, return_inverse=True)
    n = np.bincount(cell)
    small = np.minimum(np.bincount(cell, chance), n - np.bincount(cell, chance)) < 5.0
    cell = np.where(small[cell], len(n), cell)
    residual = np.bincount(cell, found - chance)
    variance = np.bincount(cell, chance * (1.0 - chance))
    used = variance > 1.0
    if not used.any():
        raise InputError("no cell holds enough injections to compare with what was expected")
    return float((residual[used] ** 2 / variance[used]).mean()), int(used.sum())
