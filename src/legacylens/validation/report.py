"""`validate`: everything that scores say about a split of a sample, as one JSON-compatible dictionary."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from legacylens.errors import FileProblem, InputError
from legacylens.files import read_parquet, sha256_of_text, to_json, write_json
from legacylens.provenance import write_provenance
from legacylens.samples.build import SAMPLE_NAME, read_sample, sample_hash
from legacylens.samples.config import SPLITS
from legacylens.validation.auc import auc_with_interval
from legacylens.validation.bootstrap import block_bootstrap
from legacylens.validation.budget import recommend_threshold
from legacylens.validation.config import ValidationConfig
from legacylens.validation.holdouts import by_list, by_unit, known_to_training
from legacylens.validation.intervals import binomial_interval
from legacylens.validation.probability import calibrate
from legacylens.validation.purity import survey_expectation
from legacylens.validation.recall import RecallPoint, challenge_rates, recall_at_fpr, roc_curve
from legacylens.validation.sealed import open_sealed
from legacylens.validation.tail import extrapolate

RESULT_NAME = "validation.json"
DEFAULT_CONFIG = ValidationConfig()


def ranking_column(scores: pd.DataFrame) -> str:
    """Return the column that ranks objects: ``logit`` if there is one, because probabilities round to ties near 1."""
    for name in ("logit", "score"):
        if name in scores.columns:
            return name
    raise InputError(
        f"the scores have neither a column logit nor score, only {', '.join(map(str, scores.columns))}; name the "
        "column that ranks logit, or score the cutouts with `legacylens scan`"
    )


def scores_hash(scores: pd.DataFrame) -> str:
    """Return a SHA-256 over (source_id, ranking score): the same in any order of the rows."""
    column = ranking_column(scores)
    ordered = scores[["source_id", column]].sort_values("source_id")
    digest = hashlib.sha256("\n".join(ordered["source_id"].astype(str)).encode())
    digest.update(ordered[column].to_numpy("<f8").tobytes())
    return digest.hexdigest()


def check_scores(scores: pd.DataFrame) -> str:
    """Refuse scores that do not say whose they are; return the column that ranks.

    Raises
    ------
    InputError
        If there is no id, an id is missing or repeated, or there is no score.
    """
    if "source_id" not in scores.columns:
        raise InputError("the scores have no column source_id; score the cutouts with `legacylens scan`")
    column = ranking_column(scores)
    if len(scores) == 0:
        raise InputError("the table of scores is empty; score the cutouts with `legacylens scan`")
    nameless = scores["source_id"].isna() | (scores["source_id"].astype(str).str.strip() == "")
    if nameless.any():
        raise InputError(
            f"{int(nameless.sum())} of {len(scores)} scores have no source_id; a score without an object is worth "
            "nothing, score the cutouts again"
        )
    repeated = scores["source_id"].duplicated()
    if repeated.any():
        example = scores.loc[repeated, "source_id"].iloc[0]
        raise InputError(
            f"{int(repeated.sum())} objects are scored twice, e.g. {example!r}; keep one score for each source_id"
        )
    return column


def join_scores(
    scores: pd.DataFrame, sample: pd.DataFrame, split: str, config: ValidationConfig = DEFAULT_CONFIG
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the labeled objects of a split with a finite score, and what was left out.

    Parameters
    ----------
    scores
        Columns ``source_id`` and ``logit`` or ``score``.
    sample
        Columns ``source_id``, ``label``, ``split`` and any others, which are kept.
    split
        ``train``, ``validation`` or ``sealed``.
    config
        How many may be left out.

    Returns
    -------
    joined
        Rows of the sample with the ranking score in a column ``value``.
    counts
        ``lenses``, ``non_lenses``: with a score; ``missing_*`` without one; ``nan_*`` with one that is not finite;
        ``scored_elsewhere``: scores that belong to no labeled object of this split; ``in_trained_bricks``: objects left
        out because training has one in their brick (only with ``whole_bricks``).

    Raises
    ------
    InputError
        If there are no ids, ids are repeated, or too many scores are missing or not finite.
    """
    if split not in SPLITS:
        raise InputError(f"no split {split!r}; there are {', '.join(SPLITS)}")
    column = check_scores(scores)
    part = sample[(sample["split"] == split) & sample["label"].isin([0, 1])]
    beside_training = 0
    if config.whole_bricks:
        shared = known_to_training(sample, part, "brick")
        beside_training, part = int(shared.sum()), part[~shared]
    part = part.sort_values("source_id")  # so that sums round alike in any order of the rows
    values = scores.set_index("source_id")[column].astype(np.float64)
    joined = part.assign(value=values.reindex(part["source_id"]).to_numpy())
    present = joined["source_id"].isin(values.index).to_numpy()
    finite = np.isfinite(joined["value"].to_numpy())
    lens = (joined["label"] == 1).to_numpy()
    counts = {
        "lenses": int((lens & finite).sum()),
        "non_lenses": int((~lens & finite).sum()),
        "missing_lenses": int((lens & ~present).sum()),
        "missing_non_lenses": int((~lens & ~present).sum()),
        "nan_lenses": int((lens & present & ~finite).sum()),
        "nan_non_lenses": int((~lens & present & ~finite).sum()),
        "scored_elsewhere": int((~scores["source_id"].isin(part["source_id"])).sum()),
        "in_trained_bricks": beside_training,
    }
    n = len(joined)
    n_missing = counts["missing_lenses"] + counts["missing_non_lenses"]
    n_nan = counts["nan_lenses"] + counts["nan_non_lenses"]
    if n and n_missing > config.max_missing_fraction * n:
        raise InputError(
            f"{n_missing} of {n} labeled objects of the {split} split have no score, more than "
            f"{config.max_missing_fraction:.1%}; score the whole parent sample, and check that both are of one run"
        )
    if n_nan > config.max_nan_fraction * n:
        raise InputError(
            f"{n_nan} of {n} scores of the {split} split are not finite numbers, more than "
            f"{config.max_nan_fraction:.1%}; look for masked or NaN pixels in their cutouts and score again"
        )
    beside = f" ({beside_training} objects lie in bricks that training knows)" if beside_training else ""
    for name, singular in (("lenses", "lens"), ("non_lenses", "non-lens")):
        if counts[name] == 0:
            raise InputError(
                f"the {split} split has no {singular} with a score{beside}; recall and false-positive rate need both "
                "classes. Score the whole store, or give the sample cells that hold some (`legacylens samples build`)"
            )
    return joined[finite], counts


def validate(
    scores: pd.DataFrame,
    sample: pd.DataFrame,
    split: str = "validation",
    config: ValidationConfig = DEFAULT_CONFIG,
) -> dict[str, Any]:
    """Judge scores on one split of a sample.

    Parameters
    ----------
    scores
        Columns ``source_id`` and ``logit`` or ``score``; higher means more lens-like.
    sample
        Columns ``source_id``, ``label``, ``split``, ``grade``, ``type``.
    split
        ``train``, ``validation`` or ``sealed``. The ledger of the sealed split is kept by `validate_files`.
    config
        What is measured.

    Returns
    -------
    result
        JSON-compatible. ``recall``: a row for each false-positive rate with exact intervals, what stands behind it,
        ``survey`` (what it means for one), ``sky`` (the interval by resampled sky cells) and ``tail`` (the
        extrapolated threshold of a rate that cannot be measured), None where they do not apply. Further ``roc``,
        ``challenge``, ``by_grade``, ``by_channel``, ``by_list``, ``by_held_out`` (lenses of lists that training did not
        see), ``by_unit`` (cells and bricks that training knows and does not), ``by_type``, ``by_contaminant``
        (non-lenses that people have rejected), ``recommended`` (the threshold for a budget of inspections),
        ``calibration``, ``lens_values`` (score of each lens, for comparisons), ``histogram``, ``counts``, ``not_shown``
        (sentences), hashes, ``configuration`` and, last, ``auc``.

    Raises
    ------
    InputError
        See `join_scores`.
    """
    joined, counts = join_scores(scores, sample, split, config)
    value = joined["value"].to_numpy()
    lens = joined["label"].to_numpy() == 1
    positives, negatives = value[lens], value[~lens]
    points = recall_at_fpr(positives, negatives, config.fprs, confidence=config.confidence)
    unscored = counts["missing_lenses"] + counts["nan_lenses"]
    sky = _sky_intervals(joined, lens, value, config)
    weak = [point.fpr_target for point in points if not point.measurable]
    tails = {tail.fpr_target: tail for tail in extrapolate(positives, negatives, weak, confidence=config.confidence)}
    rows = []
    for point in points:
        row = point.as_dict()
        row["recall_of_all"] = point.n_recovered / (point.n_lenses + unscored)
        row["survey"] = survey_expectation(
            point, prevalence=config.prevalence, parent_size=config.parent_size, confidence=config.confidence
        ).as_dict()
        row["sky"] = sky.get(point.fpr_target)
        tail = tails.get(point.fpr_target)
        row["tail"] = tail.as_dict() if tail is not None else None
        rows.append(row)
    units = by_unit(joined, sample, points, config.confidence) if split != "train" else []
    area = auc_with_interval(positives, negatives, config.confidence)
    definition = {
        "split": split,
        "sample_hash": sample_hash(sample),
        "ranked_by": ranking_column(scores),
        "configuration": config.model_dump(mode="json"),
    }
    return {
        **definition,
        "scores_hash": scores_hash(scores),
        "definition_hash": sha256_of_text(to_json(definition)),
        "counts": counts,
        "recall": rows,
        "challenge": challenge_rates(positives, negatives),
        "by_grade": _by_class(joined[lens], "grade", points, config.confidence),
        "by_channel": _by_class(joined[lens], "channel", points, config.confidence),
        "by_list": by_list(joined[lens], points, config.confidence),
        "by_unit": units,
        "by_held_out": _by_class(_where(joined[lens], "held_out"), "held_out", points, config.confidence),
        "by_type": _by_class(joined[~lens], "type", points, config.confidence),
        "recommended": recommend_threshold(
            positives,
            negatives,
            config.budget,
            prevalence=config.prevalence,
            parent_size=config.parent_size,
            confidence=config.confidence,
        ),
        "calibration": _calibration(joined, lens, value, config),
        "lens_values": dict(zip(joined["source_id"][lens].astype(str), positives.tolist(), strict=True)),
        "by_contaminant": _by_class(_where(joined[~lens], "contaminant"), "contaminant", points, config.confidence),
        "histogram": _histogram(positives, negatives, config.histogram_bins),
        "roc": roc_curve(positives, negatives, points=config.curve_points, confidence=config.confidence).as_dict(),
        "not_shown": _not_shown(points, counts, config, units),
        "auc": {"value": area.value, "low": area.low, "high": area.high},
    }


def _sky_intervals(
    joined: pd.DataFrame, lens: NDArray[np.bool_], value: NDArray[np.float64], config: ValidationConfig
) -> dict[float, dict[str, Any]]:
    """Return the interval by resampled sky cells of each rate; none if there is only one cell or none is asked for."""
    if config.replicas == 0 or "cell" not in joined.columns or joined["cell"].nunique() < 2:
        return {}
    intervals = block_bootstrap(
        value,
        lens,
        joined["cell"].to_numpy(np.int64),
        config.fprs,
        replicas=config.replicas,
        confidence=config.confidence,
        rng=np.random.default_rng(config.seed),
    )
    return {interval.fpr_target: interval.as_dict() for interval in intervals}


def _where(joined: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the rows that have something in a column; all of them go if the column is absent."""
    return joined[joined[column].astype(bool)] if column in joined.columns else joined.iloc[:0]


def _calibration(
    joined: pd.DataFrame, lens: NDArray[np.bool_], value: NDArray[np.float64], config: ValidationConfig
) -> dict[str, Any]:
    """Return the calibration, or why there is none."""
    if "cell" not in joined.columns:
        return {"method": None, "note": "the sample has no sky cells"}
    try:
        found = calibrate(
            value,
            lens,
            joined["cell"].to_numpy(np.int64),
            prevalence=config.prevalence,
            confidence=config.confidence,
            seed=config.seed,
        )
    except InputError as refusal:
        return {"method": None, "note": str(refusal)}
    return {**found, "note": ""}


def _by_class(joined: pd.DataFrame, column: str, points: list[RecallPoint], confidence: float) -> list[dict[str, Any]]:
    """Return the fraction selected at each threshold, for each value of a column."""
    rows: list[dict[str, Any]] = []
    if column not in joined.columns:
        return rows
    for name, part in joined.groupby(column, sort=True):
        values = part["value"].to_numpy()
        for point in points:
            selected = int((values >= point.threshold).sum())
            low, high = binomial_interval(selected, len(values), confidence)
            rows.append(
                {
                    column: str(name),
                    "fpr_target": point.fpr_target,
                    "n": len(values),
                    "selected": selected,
                    "fraction": selected / len(values),
                    "low": float(low),
                    "high": float(high),
                }
            )
    return rows


def _histogram(positives: NDArray[np.float64], negatives: NDArray[np.float64], bins: int) -> dict[str, Any]:
    edges = np.histogram_bin_edges(np.concatenate([positives, negatives]), bins=bins)
    return {
        "edges": edges.tolist(),
        "lenses": np.histogram(positives, edges)[0].tolist(),
        "non_lenses": np.histogram(negatives, edges)[0].tolist(),
    }


def _not_shown(
    points: list[RecallPoint], counts: dict[str, int], config: ValidationConfig, units: list[dict[str, Any]]
) -> list[str]:
    """Say what a reader must not take from these numbers."""
    hidden = config.prevalence * counts["non_lenses"]
    sentences = [
        "Recall on known lenses is not completeness: the known ones were found by searches that prefer what is easy "
        "to find, and this network learned from lists of the same origin.",
        "Non-lenses are objects that no list names. Lenses that nobody has found yet stand among them and count as "
        f"false positives when they score high; at {config.prevalence:g} lenses for each object that is about "
        f"{hidden:.2g} of the {counts['non_lenses']:,} here.",
        "Purity and list length assume that the survey's objects are like the non-lenses of this split.",
        "Exact intervals count objects as independent; neighbors share depth, seeing and artifacts. The interval by "
        "resampled sky cells does not, where there are enough cells; the wider of the two is the one to quote.",
    ]
    weak = [f"{point.fpr_target:g}" for point in points if not point.measurable]
    if weak:
        sentences.append(
            f"At a false-positive rate of {', '.join(weak)} fewer than 20 false positives stand behind the threshold: "
            "the value is shown, but it is not a measurement."
        )
    for unit in ("cell", "brick"):
        shared = next((row["shared"] for row in units if row["unit"] == unit), None)
        if shared is not None and shared["lenses"] + shared["non_lenses"]:
            sentences.append(
                f"{shared['lenses']} lenses and {shared['non_lenses']:,} non-lenses of this split lie in a {unit} that "
                "training knows, with the same exposures; by_unit has the recall of the others alone"
                + (", and whole_bricks judges no others." if unit == "brick" else ".")
            )
    unscored = counts["missing_lenses"] + counts["nan_lenses"]
    if unscored:
        sentences.append(
            f"{unscored} known lens{'es' if unscored != 1 else ''} of this split could not be scored: missed in "
            "recall_of_all, left out of recall."
        )
    return sentences


def validate_files(
    scores_path: str | Path,
    sample_path: str | Path,
    out: str | Path,
    *,
    split: str = "validation",
    config: ValidationConfig = DEFAULT_CONFIG,
    reopen: str | None = None,
) -> dict[str, Any]:
    """Judge a table of scores on a sample, write ``validation.json`` and provenance, and keep the ledger.

    Parameters
    ----------
    scores_path
        ``scores.parquet``, or the folder that holds it.
    sample_path
        ``sample.parquet``, or the folder that holds it.
    out
        Folder for the result.
    split
        The split to judge on; ``sealed`` writes a line into the ledger beside the sample.
    config
        What is measured.
    reopen
        Why the sealed split is opened again with other scores.

    Returns
    -------
    result
        As from `validate`; for the sealed split with ``opening``.
    """
    scores_path, sample_path = Path(scores_path), Path(sample_path)
    scores_path = scores_path / "scores.parquet" if scores_path.is_dir() else scores_path
    sample_path = sample_path / SAMPLE_NAME if sample_path.is_dir() else sample_path
    scores = read_parquet(scores_path)
    sample = read_sample(sample_path)
    if split == "sealed":
        # Refused input must not cost an opening, and a result must not be seen before the ledger has its line.
        join_scores(scores, sample.frame, split, config)
        opening = open_sealed(
            sample_path.parent,
            sample_hash=sample.summary["hash"],
            scores_hash=scores_hash(scores),
            reason=reopen,
        )
        result = validate(scores, sample.frame, split, config)
        result["opening"] = {"number": opening.number, "ledger": opening.ledger}
        if opening.number > 1:
            result["not_shown"].append(
                f"The sealed split has judged {opening.number} different sets of scores; whoever chose among them by "
                "these numbers should expect less on new sky."
            )
    else:
        result = validate(scores, sample.frame, split, config)
    out = Path(out)
    write_json(out / RESULT_NAME, result)
    write_provenance(
        out,
        step="validate",
        configuration={"split": split, **config.model_dump(mode="json")},
        inputs={"scores": scores_path, "sample": sample_path},
        results={"recall": result["recall"], "auc": result["auc"]},
    )
    return result


def read_result(path: str | Path) -> dict[str, Any]:
    """Read a ``validation.json``, or that of a folder.

    Raises
    ------
    FileProblem
        If it is missing or not one.
    """
    path = Path(path)
    path = path / RESULT_NAME if path.is_dir() else path
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        for name in ("sample_hash", "definition_hash", "scores_hash", "recall", "lens_values"):
            result[name]
    except FileNotFoundError:
        raise FileProblem(
            path, "no such validation", "Make one with `legacylens validate report`.", reason="missing"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise FileProblem(path, f"not a validation ({error!r})", "Make it again.", reason="broken") from error
    return dict(result)
