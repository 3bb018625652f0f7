"""`compare`: recipes with one budget, one sample, the same seeds, and one table on the sealed cells."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from legacylens.comparison.config import Terms, Variant
from legacylens.comparison.judge import class_of, false_positives_at, false_positives_by_class, note_on, resample
from legacylens.comparison.runs import Scored, do_runs, planned_runs, sealed_objects
from legacylens.cutouts.store import CutoutStore
from legacylens.errors import InputError
from legacylens.files import write_json
from legacylens.provenance import write_provenance
from legacylens.samples.build import Sample, read_sample
from legacylens.validation.sealed import open_sealed

RESULT_NAME = "compare.json"


def compare(
    store: str | Path,
    sample: str | Path,
    variants: Sequence[Variant],
    terms: Terms,
    out: str | Path,
    *,
    baseline: str = "real",
    device: str = "auto",
    description: str = "",
    workers: int = 1,
) -> dict[str, Any]:
    """Train every variant with every seed and judge all of them on the sealed cells.

    Nothing is chosen on the sealed cells: every epoch is chosen on the validation split, every variant that was asked
    for is in the table, and all are scored before the sealed labels are looked at, once, which the ledger of the sample
    records. A comparison that was interrupted goes on where it was.

    Parameters
    ----------
    store, sample
        Cutouts and labels.
    variants
        What is compared.
    terms
        What is the same for all.
    out
        Folder for ``compare.json`` and the runs.
    baseline
        Name of the variant that the others are subtracted from.
    device
        ``auto``, ``cpu`` or ``cuda``.
    description
        On which sky; goes into the checkpoints and the result.
    workers
        Trainings at a time.

    Returns
    -------
    result
        JSON-compatible; what ``compare.json`` holds.

    Raises
    ------
    ConfigurationError, InputError, FileProblem
        If a variant is impossible, the baseline is not among them, or the sample cannot be used.
    """
    out = Path(out)
    if baseline not in [variant.name for variant in variants]:
        raise InputError(
            f"the baseline {baseline!r} is not among {', '.join(variant.name for variant in variants)}; "
            "add it to the recipes or name another one"
        )
    runs = planned_runs(variants, terms, out)
    opened, read = CutoutStore.open(store), read_sample(sample)
    sealed_objects(opened, read.frame)  # refused before hours of training
    scored = do_runs(runs, store, sample, terms, device=device, description=description, workers=workers)
    result = {
        "description": description,
        "baseline": baseline,
        "terms": terms.model_dump(mode="json"),
        **judged(opened, read, Path(sample), scored, variants, terms, baseline),
    }
    write_json(out / RESULT_NAME, result)
    write_provenance(
        out,
        step="compare",
        configuration={
            "terms": terms.model_dump(mode="json"),
            "variants": [v.model_dump(mode="json") for v in variants],
        },
        inputs={"store": store, "sample": sample},
        seeds={f"training-{place}": seed for place, seed in enumerate(terms.seeds)},
        results={"sealed": result["sealed"]},
    )
    return result


def judged(
    store: CutoutStore,
    sample: Sample,
    path: Path,
    scored: Sequence[Scored],
    variants: Sequence[Variant],
    terms: Terms,
    baseline: str,
) -> dict[str, Any]:
    """Return the part of the result that looks at the sealed labels; see `compare`."""
    objects = sealed_objects(store, sample.frame)
    logits = np.array([[_one(scored, variant.name, seed).logits for seed in terms.seeds] for variant in variants])
    opening = open_sealed(
        path if path.is_dir() else path.parent,
        sample_hash=str(sample.summary["hash"]),
        scores_hash=hashlib.sha256(logits.tobytes()).hexdigest(),
        reason=f"comparison of {len(variants)} ways of training with {len(terms.seeds)} seeds; nothing is chosen by it",
    )
    lens = (objects["label"] == 1).to_numpy()
    resampled = resample(
        logits,
        lens,
        objects["cell"],
        terms.fprs,
        replicas=terms.replicas,
        rng=np.random.default_rng(terms.resampling_seed),
    )
    base = [variant.name for variant in variants].index(baseline)
    classes = class_of(objects)
    rows = []
    for place, variant in enumerate(variants):
        own = [_one(scored, variant.name, seed) for seed in terms.seeds]
        rows.append(
            {
                "variant": variant.name,
                "recall": [
                    {
                        "fpr": fpr,
                        **resampled.interval(place, column, terms.confidence).as_dict(),
                        "seeds": resampled.recall[place, :, column].tolist(),
                        "difference": resampled.difference(place, base, column, terms.confidence).as_dict(),
                        "false_positives": false_positives_at(fpr, int((~lens).sum())),
                        "note": note_on(fpr, int((~lens).sum())),
                    }
                    for column, fpr in enumerate(terms.fprs)
                ],
                "classes": false_positives_by_class(logits[place], lens, classes, terms.class_fpr, terms.confidence),
                "counts": own[0].result.counts,
                "network": own[0].result.network,
                "minutes": [one.result.minutes for one in own],
                "images_per_second": [one.result.images_per_second for one in own],
                "best_epoch": [one.result.best_epoch for one in own],
                "validation_recall": [one.result.recall for one in own],
                "phases": [list(one.result.phases) for one in own],
            }
        )
    return {
        "sealed": {
            "lenses": int(lens.sum()),
            "non_lenses": int((~lens).sum()),
            "cells": resampled.n_cells,
            "opening": opening.number,
        },
        "variants": rows,
    }


def _one(scored: Sequence[Scored], variant: str, seed: int) -> Scored:
    return next(one for one in scored if (one.run.variant, one.run.seed) == (variant, seed))
