"""Hosts weighted to the distribution of known lens hosts, and given to Einstein radii that they can have.

The reference is a set of marginal distributions, so weights are found by iterative proportional fitting (Deming &
Stephan 1940, Ann. Math. Stat. 11, 427): in turn, the weighted galaxies in every bin of every quantity are brought to
the share that the reference has there. The prescribed Einstein radii are one more margin of the same table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from legacylens.mocks.deflectors import log_theta_of_hosts, prescribed_theta_E
from legacylens.mocks.population_sets import MockSetConfig

PERCENTILES = (0.05, 0.16, 0.50, 0.84, 0.95)
LENS_HOSTS: dict[str, tuple[float, ...]] = {
    "mag_r": (17.42, 18.20, 19.62, 20.68, 21.21),
    "g_r": (1.42, 1.58, 1.78, 1.87, 1.96),
    "r_z": (0.77, 0.87, 1.14, 1.54, 1.80),
    "z": (0.26, 0.336, 0.548, 0.736, 0.829),
    "radius": (0.43, 0.58, 0.88, 1.33, 1.75),
}
"""Hosts of known lenses at `PERCENTILES`: r, r-z and z of 1,615 (Stein et al. 2022, ApJ 932, 107), and the red half
of their g-r; the blue half is that of old galaxies at their redshifts, because the measured one, 1.62 [1.16, 1.86],
contains blue light of the arcs, which a host has only after the injection; radii [arcsec] of deflectors that a DES-like
survey finds (Collett 2015)."""
OWN_QUANTITIES = ("psfsize_r", "sigma_r")
"""Quantities that are kept as they are in the parent sample: known lenses were found in all of the survey."""
ROUNDS = 60
N_THETA = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReference:
    """A distribution to which hosts are matched."""

    edges: Mapping[str, NDArray[np.float64]]
    """Quantity -> inner edges of its bins."""
    shares: Mapping[str, NDArray[np.float64]]
    """Quantity -> share of the reference in each bin, one more than edges."""


def lens_hosts() -> HostReference:
    """Return the distribution of the hosts of known lenses."""
    shares = np.diff([0.0, *PERCENTILES, 1.0])
    return HostReference(
        edges={name: np.asarray(values) for name, values in LENS_HOSTS.items()},
        shares=dict.fromkeys(LENS_HOSTS, shares),
    )


def reference_of(table: pd.DataFrame, names: tuple[str, ...], n_bins: int = 8) -> HostReference:
    """Return the distribution of a table, such as a sample of real lens hosts, in bins of equal share.

    Parameters
    ----------
    table
        Has the quantities as columns (see `quantities`).
    names
        Which of them to match.
    n_bins
        Number of bins.
    """
    inner = np.arange(1, n_bins) / n_bins
    edges = {name: np.unique(np.nanquantile(table[name].to_numpy(np.float64), inner)) for name in names}
    shares = {
        name: np.bincount(np.searchsorted(edge, table[name].dropna().to_numpy()), minlength=len(edge) + 1)
        / table[name].notna().sum()
        for name, edge in edges.items()
    }
    return HostReference(edges=edges, shares=shares)


def quantities(hosts: pd.DataFrame) -> pd.DataFrame:
    """Return the quantities of a host table that can be matched: its numbers, and the colors ``g_r`` and ``r_z``."""
    table = hosts.select_dtypes("number").copy()
    table["g_r"] = hosts["mag_g"] - hosts["mag_r"]
    table["r_z"] = hosts["mag_r"] - hosts["mag_z"]
    return table


@dataclass(frozen=True, slots=True, kw_only=True)
class HostWeights:
    """How likely each candidate is to be a host."""

    weight: NDArray[np.float64]
    """Weight of each candidate before its Einstein radius is considered, shape ``(host,)``, mean 1."""
    log_theta: NDArray[np.float64]
    """Mean ln(theta_E / arcsec) that each can have."""
    scatter: NDArray[np.float64]
    """Its scatter."""
    share: NDArray[np.float64]
    """Expected share of each in the set, sum 1."""

    @property
    def effective(self) -> float:
        """Number of equally likely hosts that are as varied as these."""
        return float(1.0 / np.sum(self.share**2)) if len(self.share) else 0.0


def match_hosts(candidates: pd.DataFrame, config: MockSetConfig, reference: HostReference | None = None) -> HostWeights:
    """Return weights with which candidates have the distribution of a reference.

    Parameters
    ----------
    candidates
        Rows of a host table that can be hosts.
    config
        The set; without the matching ``reference`` all weights are 1.
    reference
        What to match; the known lens hosts by default, with seeing and depth as among the candidates themselves.
    """
    n = len(candidates)
    mean, scatter = log_theta_of_hosts(
        config.deflectors,
        candidates["mag_r"].to_numpy(np.float64),
        np.clip(candidates["z"].to_numpy(np.float64), 0.04, 1.3),
        candidates["z_error"].to_numpy(np.float64),
    )
    if config.deflectors.theta_E == "prescribed" and n:
        radii = prescribed_theta_E(config.deflectors, (np.arange(N_THETA) + 0.5) / N_THETA)
        likelihood = _likelihood(np.log(radii), mean, scatter)
    else:
        likelihood = np.ones((n, 1))
    weight = np.ones(n)
    if config.hosts.matching == "reference" and n:
        table = quantities(candidates)
        margins = _margins(table, reference or lens_hosts())
        if reference is None:
            margins += _margins(table, reference_of(table, OWN_QUANTITIES, 5))
        for _ in range(ROUNDS):
            for bins, target in margins:
                share = _shares(weight, likelihood)
                now = np.bincount(bins, share, minlength=len(target))
                # A bin that no candidate is in cannot be filled: its share goes to the others.
                ratio = np.divide(target, now, out=np.zeros_like(target), where=now > 0)
                weight = weight * ratio[bins]
            middle = float(np.median(weight[weight > 0]))
            weight = np.minimum(weight, config.hosts.weight_limit * middle)
    return HostWeights(
        weight=weight / weight.mean() if n else weight,
        log_theta=mean,
        scatter=scatter,
        share=_shares(weight, likelihood),
    )


def _likelihood(
    log_theta: NDArray[np.float64], mean: NDArray[np.float64], scatter: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how likely each host has each Einstein radius, shape ``(host, radius)``."""
    away = (log_theta[None, :] - mean[:, None]) / scatter[:, None]
    # The floor keeps a table without massive galaxies from having no host at all for the largest radii.
    return np.asarray(np.exp(-0.5 * np.minimum(away**2, 80.0)) / scatter[:, None])


def _shares(weight: NDArray[np.float64], likelihood: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of each host in the set, if every Einstein radius is equally frequent."""
    joint = weight[:, None] * likelihood
    total = joint.sum(axis=0)
    share = np.divide(joint, total, out=np.zeros_like(joint), where=total > 0).sum(axis=1)
    return np.asarray(share / max(float(share.sum()), 1e-300))


def _margins(table: pd.DataFrame, reference: HostReference) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    margins = []
    for name, edges in reference.edges.items():
        bins = np.searchsorted(edges, table[name].to_numpy(np.float64))
        filled = np.bincount(bins, minlength=len(edges) + 1) > 0
        target = np.where(filled, reference.shares[name], 0.0)
        margins.append((bins, target / target.sum()))
    return margins


class HostDealer:
    """Deals hosts to mocks, each host no more often than allowed.

    Parameters
    ----------
    weights
        Of the candidates.
    config
        The set.
    rng
        Decides; the host of a mock depends on what was dealt before, its lens does not.
    """

    def __init__(self, weights: HostWeights, config: MockSetConfig, rng: np.random.Generator) -> None:
        self._weights = weights
        self._config = config
        self._rng = rng
        self._left = np.full(len(weights.weight), config.hosts.per_host)

    def deal(self, theta_E: float | None) -> int | None:
        """Return a candidate that can have ``theta_E`` [arcsec] (None: any), or None if all are used."""
        chance = self._weights.weight * (self._left > 0)
        if theta_E is not None:
            chance = chance * _likelihood(np.log([theta_E]), self._weights.log_theta, self._weights.scatter)[:, 0]
        total = chance.sum()
        if not total > 0:
            return None
        host = int(np.searchsorted(np.cumsum(chance) / total, self._rng.random(), side="right"))
        host = min(host, len(chance) - 1)
        self._left[host] -= 1
        return host

    def withdraw(self, host: int) -> None:
        """Deal a host no more, because its pixels cannot be used."""
        self._left[host] = 0
