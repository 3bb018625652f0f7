"""Where the simulated lenses of a run come from, as its configuration says."""

from __future__ import annotations

import pandas as pd

from legacylens.cutouts.store import CutoutStore
from legacylens.errors import InputError
from legacylens.mocks.injection_truth import read_truth
from legacylens.training.config import TrainConfig
from legacylens.training.fresh import open_fresh
from legacylens.training.simulated import LEAST, SimulatedLenses, StoredLenses, possible_hosts, require_realistic


def open_simulated(store: CutoutStore, sample: pd.DataFrame, config: TrainConfig) -> SimulatedLenses | None:
    """Open the simulated lenses of a run, None if it has none.

    Parameters
    ----------
    store
        Cutouts of the sample: the hosts.
    sample
        All of its rows.
    config
        The run.

    Raises
    ------
    FileProblem
        If the store of injections cannot be read or has other bands, stamps or pixels.
    InputError
        If too few of its lenses are in galaxies of the training split, or no realism report speaks for them.
    """
    simulations = config.simulations
    if simulations.store is None:
        return None
    require_realistic(simulations)
    injected = CutoutStore.open(simulations.store)
    config.preprocessing.require_input(
        simulations.store, bands=injected.bands, stamp=injected.stamp, pixscale=injected.description.pixscale
    )
    truth = read_truth(simulations.store)
    usable = possible_hosts(sample) & set(store.manifest["source_id"].astype(str))
    inside = truth["host_source_id"].astype(str).isin(usable).to_numpy()
    if inside.sum() < LEAST:
        raise InputError(
            f"{int(inside.sum())} of the {len(truth)} simulated lenses in {simulations.store} stand in non-lenses of "
            f"the training split, at least {LEAST} are needed. Inject into these: `legacylens mocks inject` with "
            "--exclude SAMPLE and the store that the sample was cut from; others must not be trained on."
        )
    truth = truth[inside].reset_index(drop=True)
    if simulations.fresh_hosts:
        return open_fresh(store, sample, truth, config)
    positions = injected.index_of(truth["source_id"])
    size_gb = len(positions) * injected.description.row_bytes("image") / 1e9
    hosts = store.index_of(truth["host_source_id"].astype(str))
    return StoredLenses(injected, positions, store, hosts, in_memory=size_gb <= config.memory_gb)
