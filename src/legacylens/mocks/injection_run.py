"""A set of mocks made from a store of galaxies: hosts dealt, lenses drawn, arcs injected, truth written.

Every mock depends on the configuration, its host and its own seed: `remake` makes any of them again, bit for bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from legacylens.cutouts.cutout import Cutout
from legacylens.cutouts.store import CutoutStore
from legacylens.cutouts.writer import StoreWriter
from legacylens.errors import InputError
from legacylens.mocks.host_matching import HostDealer, HostReference, match_hosts
from legacylens.mocks.hosts import HostCounts, choose_candidates, host_table, sky_noise, why_unusable
from legacylens.mocks.injection import LOST, Injected, host_psf, inject_row, require_closure
from legacylens.mocks.injection_truth import truth_row, truth_table, write_truth
from legacylens.mocks.population import draw_lenses, lens_seed
from legacylens.mocks.population_sample import deal_theta_E
from legacylens.mocks.population_sets import MockSetConfig
from legacylens.mocks.population_summary import summarize
from legacylens.mocks.threads import one_thread
from legacylens.progress import ProgressBar, progress_bar
from legacylens.provenance import write_provenance
from legacylens.survey.bands import BANDS

PsfOf = Callable[[str], NDArray[np.float64] | None]
"""Pixelized PSFs ``(band, k, k)`` of a source, or None where there are none."""
GROUP = 256
"""Mocks whose lenses are drawn at a time; more would only take more memory (0.25 MB each)."""
EXTRA_NUMBERS = 4
"""A set is given up when this many times the wanted number of mocks have been tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectionReport:
    """What `inject_store` made."""

    out: Path
    """The new store, with ``truth.parquet`` and ``provenance.json``."""
    asked: int
    """Mocks that were wanted."""
    made: int
    """Mocks in the store."""
    skipped: dict[str, int]
    """Reason -> mocks that were tried in vain: ``edge``, ``masked``, ``arc-masked``, ``no-visible-source``,
    ``host-too-light``, ``bad-host``, ``no-host-left``."""
    hosts: HostCounts
    """Which galaxies could be hosts."""
    effective_hosts: float
    """Number of equally likely hosts that are as varied as the weighted ones."""
    faults: tuple[str, ...]
    """What is known to be wrong in the set's configuration."""
    truth: pd.DataFrame = field(repr=False)
    """The truth."""

    def as_dict(self) -> dict[str, Any]:
        """Return the report as a JSON document."""
        return {
            "out": str(self.out),
            "asked": self.asked,
            "made": self.made,
            "skipped": self.skipped,
            "hosts": {"given": self.hosts.given, "removed": dict(self.hosts.removed), "left": self.hosts.left},
            "effective_hosts": round(self.effective_hosts, 1),
            "faults": list(self.faults),
            "summary": summarize(self.truth) if self.made else {},
        }


def _no_psf(_: str) -> NDArray[np.float64] | None:
    return None


def _record(row: pd.Series) -> dict[str, Any]:
    """Return a row of a table as a dictionary."""
    return {str(name): value for name, value in row.items()}


def make_mock(
    config: MockSetConfig, host: Cutout, row: pd.Series, lens: pd.Series, seed: int, *, psf_of: PsfOf = _no_psf
) -> tuple[Injected, dict[str, Any]]:
    """Inject one drawn lens.

    Parameters
    ----------
    config
        Its set.
    host
        The galaxy.
    row
        Its row of the host table, with the sky noise of its pixels.
    lens
        Row of the drawn lenses.
    seed
        Seed of the mock.
    psf_of
        Where pixelized PSFs are from.

    Returns
    -------
    injected, truth
        The pixels (not yet checked for lost light), and the row of the truth.
    """
    stamps = psf_of(host.source_id)
    psf = host_psf(
        config.injection, [float(row[f"psfsize_{b}"]) for b in host.bands], pixscale=host.pixscale, stamps=stamps
    )
    injected = inject_row(
        host,
        _record(lens),
        psf,
        sources=config.sources,
        config=config.injection,
        ebv=float(row["ebv"]),
        seed=seed,
        check=False,
    )
    kind = config.injection.psf
    if kind == "host":
        kind = "moffat" if stamps is None or config.injection.psf_width_factor != 1 else "pixelized"  # type: ignore[assignment]
    return injected, truth_row(config, _record(row), _record(lens), injected, seed=seed, psf=kind, bands=host.bands)


def remake(
    config: MockSetConfig, host: Cutout, row: pd.Series, seed: int, *, psf_of: PsfOf = _no_psf
) -> tuple[Injected, dict[str, Any]]:
    """Make one mock again from its configuration, host and seed.

    Parameters
    ----------
    config
        The set, as recorded in the provenance of its store.
    host
        The galaxy, as it was before.
    row
        Its row of the host table (`hosts.host_table`).
    seed
        The mock's seed, from the truth.
    psf_of
        Where pixelized PSFs are from.

    Raises
    ------
    InputError
        If this configuration makes no lens of this host and seed.
    """
    hosts = _with_noise(pd.DataFrame([row]), [host])
    with one_thread():
        draws = draw_lenses(config, hosts, np.array([seed]))
        if not draws.found[0]:
            raise InputError(
                f"host {host.source_id} and seed {seed} give no lens ({draws.reason[0]}): "
                "the configuration or the host is not that of the mock"
            )
        return make_mock(config, host, hosts.iloc[0], draws.table.iloc[0], seed, psf_of=psf_of)


def _with_noise(hosts: pd.DataFrame, cutouts: list[Cutout]) -> pd.DataFrame:
    """Return host rows with the sky noise of their pixels in place of that of the catalog."""
    hosts = hosts.reset_index(drop=True)
    noise = np.array([sky_noise(cutout) for cutout in cutouts])
    for number, band in enumerate(BANDS):
        hosts[f"sigma_{band}"] = noise[:, number]
    return hosts


def _checked_store(store: CutoutStore) -> None:
    if tuple(store.bands) != BANDS:
        raise InputError(f"the store {store.path} has the bands {store.bands}: hosts need {BANDS}, in this order")
    if not store.has_invvar:
        raise InputError(
            f"the store {store.path} has no invvar: neither the gain nor the noise of an arc is known without it. "
            "Cut it again with invvar."
        )


def inject_store(
    store: CutoutStore,
    parent: pd.DataFrame,
    out: str | Path,
    config: MockSetConfig,
    *,
    n: int,
    seed: int,
    excluded: Collection[str] = (),
    reference: HostReference | None = None,
    psf_of: PsfOf = _no_psf,
) -> InjectionReport:
    """Write a store of mocks made from the galaxies of another.

    Parameters
    ----------
    store
        Cutouts of galaxies, with invvar; maskbits are respected where there are any.
    parent
        The parent table that describes them (`hosts.host_table`).
    out
        Folder of the new store; must be empty or absent.
    config
        The set.
    n
        Number of mocks wanted.
    seed
        Seed of the set.
    excluded
        Sources that must not be hosts: known lenses and candidates.
    reference
        Distribution to match hosts to; known lens hosts by default.
    psf_of
        Where pixelized PSFs are from; a Moffat profile of each band's own seeing where there are none.

    Returns
    -------
    report
        With fewer mocks than asked for if there are not enough hosts; the reasons are counted.

    Raises
    ------
    InputError
        If the store has no invvar or other bands, the folder holds something, or no galaxy can be a host.
    ProcessError
        If flux is not conserved.
    """
    _checked_store(store)
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty: mocks are written into a folder of their own")
    known = set(store.manifest["source_id"].astype(str))
    inside = parent[parent["source_id"].astype(str).isin(known - set(excluded))]
    if not len(inside):
        raise InputError(
            f"none of the {len(parent)} sources of the parent table is in the store {store.path} "
            f"({len(known)} cutouts, {len(set(excluded) & known)} of them excluded): give the table it was cut from"
        )
    hosts = host_table(inside)
    candidates, counts = choose_candidates(hosts, config.hosts)
    if not len(candidates):
        removed = ", ".join(f"{reason} {number}" for reason, number in counts.removed.items())
        raise InputError(f"none of {counts.given} galaxies can be a host of the set {config.name!r} ({removed})")
    weights = match_hosts(candidates, config, reference)
    dealer = HostDealer(weights, config, np.random.default_rng(np.random.SeedSequence([seed, 0, 1])))
    skipped: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    number = 0
    with (
        one_thread(),
        StoreWriter(
            out,
            bands=BANDS,
            stamp=store.stamp,
            pixscale=store.description.pixscale,
            maskbits=store.has_maskbits,
        ) as writer,
        progress_bar("injecting", n) as bar,
    ):
        while len(rows) < n and number < EXTRA_NUMBERS * n + GROUP:
            group = min(GROUP, n - len(rows))
            seeds, chosen, cutouts = [], [], []
            for _ in range(group):
                one_seed = lens_seed(seed, number)
                number += 1
                host = dealer.deal(deal_theta_E(config, one_seed))
                if host is None:
                    skipped["no-host-left"] += 1
                    continue
                cutout, reason = _usable_cutout(store, str(candidates.at[host, "source_id"]), config.hosts.clear_radius)
                if reason or cutout is None:
                    skipped[reason] += 1
                    dealer.withdraw(host)
                    continue
                seeds.append(one_seed)
                chosen.append(host)
                cutouts.append(cutout)
            if skipped["no-host-left"] and not chosen:
                break
            if chosen:
                described = _with_noise(candidates.iloc[chosen], cutouts)
                rows += _inject_group(config, described, cutouts, seeds, psf_of, skipped, writer, bar)
    table = truth_table(rows)
    write_truth(out, table)
    report = InjectionReport(
        out=out,
        asked=n,
        made=len(table),
        skipped=dict(sorted(skipped.items())),
        hosts=counts,
        effective_hosts=weights.effective,
        faults=config.faults,
        truth=table,
    )
    write_provenance(
        out,
        step="mocks inject",
        configuration={"set": config.model_dump(mode="json"), "n": n},
        inputs={"store": store.path},
        seeds={"mocks": seed},
        results={key: value for key, value in report.as_dict().items() if key != "summary"},
    )
    return report


def _usable_cutout(store: CutoutStore, source_id: str, clear_radius: float) -> tuple[Cutout | None, str]:
    """Return a host's cutout, or why it cannot be used."""
    try:
        cutout = store.cutout(int(store.index_of([source_id])[0]))
    except InputError:
        return None, "bad-host"
    return cutout, why_unusable(cutout, clear_radius)


def _inject_group(
    config: MockSetConfig,
    hosts: pd.DataFrame,
    cutouts: list[Cutout],
    seeds: list[int],
    psf_of: PsfOf,
    skipped: Counter[str],
    writer: StoreWriter,
    bar: ProgressBar,
) -> list[dict[str, Any]]:
    """Draw and inject some mocks and write them; return their truth."""
    draws = draw_lenses(config, hosts, np.array(seeds, dtype=np.int64))
    for reason in draws.reason[~draws.found]:
        skipped[str(reason)] += 1

    rows = []
    for place in np.flatnonzero(draws.found).tolist():
        host, row = cutouts[place], hosts.iloc[place]
        injected, truth = make_mock(config, host, row, draws.table.iloc[place], seeds[place], psf_of=psf_of)
        written = _written(config, host, row, injected, truth, skipped, writer)
        rows += [written] if written else []
        bar.advance(1)
    return rows


def _written(
    config: MockSetConfig,
    host: Cutout,
    described: pd.Series,
    injected: Injected,
    truth: dict[str, Any],
    skipped: Counter[str],
    writer: StoreWriter,
) -> dict[str, Any] | None:
    """Check one mock and write it; return its truth, or None if too much of its arc falls on masked pixels."""
    if injected.lost > LOST:
        skipped["arc-masked"] += 1
        return None
    require_closure(f"mock {truth['source_id']}", host.bands, injected)
    extra = {
        "host_source_id": host.source_id,
        "seed": truth["seed"],
        **{f"psfsize_{band}": float(described[f"psfsize_{band}"]) for band in BANDS},
    }
    mock = Cutout(
        source_id=truth["source_id"],
        ra=host.ra,
        dec=host.dec,
        bands=host.bands,
        image=injected.image,
        invvar=injected.invvar,
        maskbits=host.maskbits,
        pixscale=host.pixscale,
        origin=f"{config.name} lens in {host.source_id}",
    )
    writer.add(mock, extra)
    return truth
