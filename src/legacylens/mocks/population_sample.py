"""A population without pixels: lenses behind mock hosts, drawn as for an injection."""

from __future__ import annotations

import numpy as np
import pandas as pd

from legacylens.mocks import deflectors
from legacylens.mocks.host_matching import HostDealer, match_hosts
from legacylens.mocks.hosts import choose_candidates
from legacylens.mocks.population import draw_lenses, generator, lens_seed
from legacylens.mocks.population_sets import MockSetConfig
from legacylens.mocks.population_summary import mock_hosts
from legacylens.mocks.threads import one_thread

HOSTS_PER_LENS = 4
"""Galaxies from which the host of each lens is chosen."""
GROUP = 128
"""Lenses drawn at a time."""


def deal_theta_E(config: MockSetConfig, seed: int) -> float | None:
    """Return the Einstein radius [arcsec] that the mock of a seed will have if it is prescribed, else None.

    It is the first number of the mock's own stream, so that a host can be chosen for it before anything is drawn.
    """
    if config.deflectors.theta_E != "prescribed":
        return None
    first = generator(seed, "lens").random(deflectors.N_UNIFORMS)[0]
    return float(deflectors.prescribed_theta_E(config.deflectors, first))


def sample_population(config: MockSetConfig, *, n: int, seed: int, varied: bool = True) -> pd.DataFrame:
    """Draw lenses behind mock luminous red galaxies.

    Parameters
    ----------
    config
        The set.
    n
        Number of lenses that are tried; a few hosts show none.
    seed
        Seed of all of it.
    varied
        Draw depth and seeing of each host; otherwise all have the median ones of DR10.

    Returns
    -------
    lenses
        Columns of `population.LENS_UNITS`, and of the host table with ``host_`` before their names.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0, 3]))
    candidates, _ = choose_candidates(mock_hosts(HOSTS_PER_LENS * n, rng, varied=varied), config.hosts)
    dealer = HostDealer(match_hosts(candidates, config), config, rng)
    parts = []
    for start in range(0, n, GROUP):
        seeds = [lens_seed(seed, number) for number in range(start, min(start + GROUP, n))]
        dealt = [(dealer.deal(deal_theta_E(config, one)), one) for one in seeds]
        hosts = candidates.iloc[[host for host, _ in dealt if host is not None]].reset_index(drop=True)
        with one_thread():
            draws = draw_lenses(
                config, hosts, np.array([one for host, one in dealt if host is not None], dtype=np.int64)
            )
        parts.append(pd.concat([draws.table, hosts.add_prefix("host_")], axis=1)[draws.found])
    return pd.concat(parts, ignore_index=True)
