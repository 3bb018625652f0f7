"""The shortcut tests on a user's network: its checkpoint, a store, and a split that it was not trained on."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from legacylens.cutouts.store import CutoutStore
from legacylens.errors import InputError
from legacylens.files import read_parquet, write_json
from legacylens.provenance import write_provenance
from legacylens.samples.build import read_sample
from legacylens.scan.config import ScanConfig
from legacylens.survey.bands import BANDS
from legacylens.validation.shortcuts import DEFAULT_CONFIG, ShortcutConfig, TestInputs, run_tests

if TYPE_CHECKING:
    from legacylens.cutouts.cutout import Cutout

RESULT_NAME = "shortcuts.json"
MAX_OBJECTS = 1000
"""Most objects of a class that are tested; each is scored about fifteen times."""
OBSERVATION = (*(f"{part}_{band}" for part in ("psfdepth", "psfsize", "nobs") for band in BANDS), "ebv")
"""Columns of a parent table that say nothing about a galaxy."""


def usable_hosts(sample: pd.DataFrame) -> set[str]:
    """Return the sources into which arcs may be injected: non-lenses that no network was trained on."""
    apart = (sample["label"] == 0) & (sample["split"] != "train")
    return set(sample.loc[apart, "source_id"].astype(str))


def inject_for_tests(
    store: CutoutStore, parent: pd.DataFrame, allowed: Collection[str], n: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], list[str]]:
    """Inject arcs into galaxies, and nothing into the same.

    Parameters
    ----------
    store, parent
        Galaxies with invvar, and the table they were cut from.
    allowed
        Sources that may be hosts.
    n
        Injections wanted; there may be fewer.
    seed
        Of the injections.

    Returns
    -------
    hosts, arcs, null, source_ids
        Hosts, the light that was added to each, each after an injection of zero flux (all shape ``(n, band, y, x)``
        [nanomaggies]), and the hosts' names.
    """
    from legacylens.mocks.injection_run import inject_store
    from legacylens.mocks.population_sets import named_set

    others = set(store.manifest["source_id"].astype(str)) - set(allowed)
    config = named_set("calibrated")
    with tempfile.TemporaryDirectory(prefix="legacylens-shortcuts-") as folder:
        report = inject_store(store, parent, Path(folder) / "mocks", config, n=n, seed=seed, excluded=others)
        truth = report.truth
        with CutoutStore.open(report.out) as mocks:
            pictures = mocks.images(mocks.index_of(truth["source_id"]))
    names = truth["host_source_id"].astype(str).tolist()
    rows = store.index_of(names)
    hosts = store.images(rows)
    null = np.stack(
        [
            _nothing_injected(store.cutout(int(row)), {str(k): v for k, v in entry.items()}, config.injection)
            for row, entry in zip(rows, truth.to_dict("records"), strict=True)
        ]
    )
    return hosts, (pictures - hosts).astype(np.float32), null, names


def _nothing_injected(host: Cutout, truth: dict[str, Any], config: Any) -> NDArray[np.float32]:
    from legacylens.mocks.injection import deflector_of_row, host_psf, inject, source_of_row

    psf = host_psf(config, [float(truth[f"host_psfsize_{band}"]) for band in host.bands], pixscale=host.pixscale)
    rng = np.random.default_rng(int(truth["seed"]))
    injected = inject(
        host,
        deflector_of_row(truth),
        source_of_row(truth, "smooth", rng),
        np.zeros(len(host.bands)),
        psf,
        config=config,
        ebv=float(truth["host_ebv"]),
        rng=rng,
        check=False,
    )
    return injected.image


def shortcut_files(
    checkpoint: str | Path,
    store_path: str | Path,
    sample_path: str | Path,
    out: str | Path,
    *,
    parent_path: str | Path | None = None,
    split: str = "validation",
    injections: int = 200,
    config: ShortcutConfig = DEFAULT_CONFIG,
) -> dict[str, Any]:
    """Test a network and write ``shortcuts.json`` with provenance.

    Parameters
    ----------
    checkpoint
        The network.
    store_path, sample_path
        Cutouts and the sample that says which of them are lenses.
    out
        Folder for the result.
    parent_path
        ``parent.parquet`` or its folder. Without it the tests that need injections or the observation's columns are
        not testable.
    split
        Objects that the network was not trained on: validation. The sealed split is for one look at the end; these
        tests say how well the network does on what they are made on.
    injections
        Arcs injected into non-lenses for the ring and null tests.
    config
        Radii and limits.

    Raises
    ------
    InputError
        If the split is not validation, or has no objects of a class with a cutout.
    """
    from legacylens.scan.scorer import Scorer

    if split != "validation":
        raise InputError(
            f"shortcuts are tested on the validation split, not on {split!r}: the network knows the training split and "
            "the sealed one is for a single look with `legacylens validate report --split sealed`"
        )
    scorer = Scorer(checkpoint, ScanConfig(symmetries=False))
    sample = read_sample(sample_path)
    with CutoutStore.open(store_path) as store:
        preprocessing = scorer.checkpoint.preprocessing
        preprocessing.require_input(
            str(store_path), bands=store.bands, stamp=store.stamp, pixscale=store.description.pixscale
        )
        inputs = _inputs(store, sample.frame, parent_path, split, injections, np.array(preprocessing.noise), config)
    result = run_tests(scorer.logits, inputs, config)
    result |= {
        "split": split,
        "sample_hash": sample.summary["hash"],
        "checkpoint_hash": scorer.checkpoint.fingerprint(),
        "trained_on_this_sample": scorer.checkpoint.sample_hash == sample.summary["hash"],
        "n_injections": 0 if inputs.arcs is None else len(inputs.arcs),
        "not_shown": [
            "A network that passes does not use these shortcuts on these objects. It may use one that nobody thought "
            "of; recall on sealed sky and on lists made in other ways is the test of that.",
            *(
                []
                if scorer.checkpoint.sample_hash == sample.summary["hash"]
                else ["The network was trained on another sample, so some of these objects may have trained it."]
            ),
        ],
    }
    out = Path(out)
    write_json(out / RESULT_NAME, result)
    write_provenance(
        out,
        step="validate shortcuts",
        configuration={"split": split, "injections": injections, **config.model_dump(mode="json")},
        inputs={"checkpoint": checkpoint, "store": store_path, "sample": sample_path},
        results={"verdict": result["verdict"], "tests": {test["test"]: test["verdict"] for test in result["tests"]}},
    )
    return result


def _inputs(
    store: CutoutStore,
    sample: pd.DataFrame,
    parent_path: str | Path | None,
    split: str,
    injections: int,
    noise: NDArray[np.float64],
    config: ShortcutConfig,
) -> TestInputs:
    present = sample[(sample["split"] == split) & sample["source_id"].isin(store.manifest["source_id"])]
    rng = np.random.default_rng([config.seed, 99])
    names = {}
    for label, word in ((1, "lenses"), (0, "non-lenses")):
        of_class = present.loc[present["label"] == label, "source_id"].astype(str).to_numpy()
        if not len(of_class):
            raise InputError(f"the {split} split has no {word} with a cutout in {store.path}")
        names[label] = rng.permutation(of_class)[:MAX_OBJECTS].tolist()
    images = {label: store.images(store.index_of(names[label])) for label in names}
    good = {label: np.isfinite(stamps).reshape(len(stamps), -1).all(axis=1) for label, stamps in images.items()}
    others = [names[0][place] for place in np.flatnonzero(good[0])]
    pictures = images[0][good[0]]
    arcs, null, metadata = None, None, None
    if parent_path is not None:
        path = Path(parent_path)
        parent = read_parquet(path / "parent.parquet" if path.is_dir() else path)
        if injections and store.has_invvar:
            hosts, arcs, null, hosted = inject_for_tests(store, parent, usable_hosts(sample), injections, config.seed)
            # Hosts come first, where the injected light is theirs; a galaxy may be a host more than once.
            keep = [place for place, name in enumerate(others) if name not in set(hosted)]
            pictures = np.concatenate([hosts, pictures[keep]])
            others = hosted + [others[place] for place in keep]
        columns = [name for name in OBSERVATION if name in parent.columns]
        metadata = parent.set_index("source_id")[columns].reindex(others).astype(np.float64).reset_index(drop=True)
    return TestInputs(
        lenses=images[1][good[1]],
        others=pictures,
        pixscale=store.description.pixscale,
        noise=noise,
        metadata=metadata,
        arcs=arcs,
        null=null,
    )
