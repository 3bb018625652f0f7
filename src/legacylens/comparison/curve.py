"""`learning_curve`: recall against the number of lenses, of non-lenses, and with and without augmentation."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from legacylens.comparison.config import Terms, Variant
from legacylens.comparison.fit import LEAST_POINTS, curve_band, fit_curve
from legacylens.comparison.judge import Resampled, false_positives_at, note_on, resample
from legacylens.comparison.runs import do_runs, planned_runs, sealed_objects
from legacylens.cutouts.store import CutoutStore
from legacylens.errors import InputError
from legacylens.files import write_json
from legacylens.provenance import write_provenance
from legacylens.samples.build import read_sample
from legacylens.training.recipe import merged, recipe_values
from legacylens.validation.sealed import open_sealed

RESULT_NAME = "learning-curve.json"
PREDICTED = (200, 500, 1000, 2000, 5000)
"""Numbers of lenses at which the fitted curve is read off, beyond the measured ones too."""
FITTED_REPLICAS = 200


def points_of(
    recipes: Sequence[str], positives: Sequence[int], ratios: Sequence[float], n_others: int
) -> list[dict[str, Any]]:
    """Return the trainings of a curve: every number of lenses at the largest ratio, every ratio at most lenses.

    Parameters
    ----------
    recipes
        ``real``, ``augmented``, ...: each has a curve of its own.
    positives
        Numbers of lenses.
    ratios
        Non-lenses for each lens.
    n_others
        Non-lenses that there are; of several ratios that ask for more, one is left, which takes all.
    """
    most = max(positives)
    possible = sorted({min(ratio, n_others / most) for ratio in ratios})
    pairs = [(n, max(ratios)) for n in positives] + [(most, ratio) for ratio in possible[:-1]]
    return [
        {"recipe": recipe, "positives": n, "negative_ratio": ratio}
        for recipe in recipes
        for n, ratio in sorted(set(pairs))
    ]


def learning_curve(
    store: str | Path,
    sample: str | Path,
    terms: Terms,
    out: str | Path,
    *,
    recipes: Sequence[str] = ("augmented",),
    positives: Sequence[int | None],
    ratios: Sequence[float],
    device: str = "auto",
    description: str = "",
    workers: int = 1,
) -> dict[str, Any]:
    """Train with parts of the sample and judge all networks on the sealed cells; see `compare.compare`.

    Parts are nested: fewer lenses are always among more. All trainings have the same budget.

    Parameters
    ----------
    store, sample
        Cutouts and labels.
    terms
        What is the same for all.
    out
        Folder for ``learning-curve.json`` and the runs.
    recipes
        Each has a curve of its own.
    positives
        Numbers of training lenses; None: all that there are.
    ratios
        Non-lenses for each lens.
    device, description, workers
        As for `compare.compare`.

    Raises
    ------
    InputError, FileProblem
        If the sample has fewer lenses than asked for, or cannot be used.
    """
    out = Path(out)
    read = read_sample(sample)
    opened = CutoutStore.open(store)
    objects = sealed_objects(opened, read.frame)
    in_training = read.frame[
        (read.frame["split"] == "train") & read.frame["source_id"].isin(opened.manifest["source_id"])
    ]
    n_lenses, n_others = (int((in_training["label"] == label).sum()) for label in (1, 0))
    numbers = sorted({n_lenses if n is None else n for n in positives})
    if max(numbers) > n_lenses:
        raise InputError(
            f"a curve up to {max(numbers)} lenses is asked for, but the training split has {n_lenses} with a cutout; "
            "lower --positives, or give the training split more of the sky"
        )
    points = points_of(recipes, numbers, ratios, n_others)
    variants = [
        Variant(
            name=f"{point['recipe']} {point['positives']} x {point['negative_ratio']:g}",
            values=merged(
                recipe_values(point["recipe"]),
                {"positives": point["positives"], "negative_ratio": point["negative_ratio"]},
            ),
        )
        for point in points
    ]
    runs = planned_runs(variants, terms, out)
    scored = do_runs(runs, store, sample, terms, device=device, description=description, workers=workers)
    by_run = {(one.run.variant, one.run.seed): one for one in scored}
    logits = np.array([[by_run[variant.name, seed].logits for seed in terms.seeds] for variant in variants])
    folder = Path(sample) if Path(sample).is_dir() else Path(sample).parent
    opening = open_sealed(
        folder,
        sample_hash=str(read.summary["hash"]),
        scores_hash=hashlib.sha256(logits.tobytes()).hexdigest(),
        reason=f"learning curve of {len(points)} points with {len(terms.seeds)} seeds; nothing is chosen by it",
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
    for place, (point, variant) in enumerate(zip(points, variants, strict=True)):
        counts = by_run[variant.name, terms.seeds[0]].result.counts
        point["non_lenses"] = counts["train non-lenses"]
        # The ratio that there was: a sample may not have as many non-lenses as were asked for.
        point["ratio"] = counts["train non-lenses"] / counts["train lenses"]
        point["recall"] = [
            {
                "fpr": fpr,
                **resampled.interval(place, column, terms.confidence).as_dict(),
                "seeds": resampled.recall[place, :, column].tolist(),
                "false_positives": false_positives_at(fpr, int((~lens).sum())),
                "note": note_on(fpr, int((~lens).sum())),
            }
            for column, fpr in enumerate(terms.fprs)
        ]
    result = {
        "description": description,
        "terms": terms.model_dump(mode="json"),
        "available": {"lenses": n_lenses, "non_lenses": n_others},
        "sealed": {
            "lenses": int(lens.sum()),
            "non_lenses": int((~lens).sum()),
            "cells": resampled.n_cells,
            "opening": opening.number,
        },
        "points": points,
        "fits": [
            fit
            for recipe in recipes
            for column, fpr in enumerate(terms.fprs)
            if (fit := _fit(points, resampled, recipe, max(ratios), column, fpr, terms.confidence)) is not None
        ],
    }
    write_json(out / RESULT_NAME, result)
    write_provenance(
        out,
        step="learning-curve",
        configuration={
            "terms": terms.model_dump(mode="json"),
            "recipes": list(recipes),
            "positives": numbers,
            "ratios": list(ratios),
        },
        inputs={"store": store, "sample": sample},
        seeds={f"training-{place}": seed for place, seed in enumerate(terms.seeds)},
        results={"sealed": result["sealed"]},
    )
    return result


def _fit(
    points: list[dict[str, Any]],
    resampled: Resampled,
    recipe: str,
    ratio: float,
    column: int,
    fpr: float,
    confidence: float,
) -> dict[str, Any] | None:
    """Return the curve of a recipe at one rate; None if there are too few numbers of lenses."""
    places = [
        place for place, point in enumerate(points) if point["recipe"] == recipe and point["negative_ratio"] == ratio
    ]
    n = np.array([points[place]["positives"] for place in places])
    if len(n) < LEAST_POINTS:
        return None
    means = resampled.recall[places, :, column].mean(axis=1)
    curve = fit_curve(n, means)
    grid = np.unique(np.concatenate([np.geomspace(n.min(), max(PREDICTED), 40), PREDICTED]).round()).astype(int)
    draws = resampled.replicas[:FITTED_REPLICAS][:, places, column]
    low, high = curve_band(n, draws, grid, confidence)
    expected = curve.recall(grid)
    lines = [
        {"positives": int(at), "recall": float(e), "low": float(a), "high": float(b), "measured": bool(at <= n.max())}
        for at, e, a, b in zip(grid, expected, low, high, strict=True)
    ]
    return {
        "recipe": recipe,
        "fpr": fpr,
        "ceiling": curve.ceiling,
        "loss": curve.loss,
        "exponent": curve.exponent,
        "curve": lines,
        "predicted": [line for line in lines if line["positives"] in PREDICTED],
    }
