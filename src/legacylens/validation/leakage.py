"""Gates on a sample: the label must not be told by what has nothing to do with lensing.

If lenses come from deeper fields, other bricks or another download than non-lenses, a network learns the field, the
brick or the download, and no validation on the same sample notices. Each gate gives a family of columns to a
classifier, cross-validated by sky cell, and asks how well they tell lenses from non-lenses. Where physics has no say
(depth, seeing, exposures...) the answer must be chance; where it has (magnitude, type: lens galaxies are massive) it
may be better, up to a stated limit. That the gates can fail is shown by planted leaks (`legacylens.validation.leaks`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from astropy import units
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import expit, logit
from scipy.stats import fisher_exact, norm
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import StratifiedGroupKFold

from legacylens.cutouts.store import CutoutStore
from legacylens.errors import InputError
from legacylens.files import iter_parquet
from legacylens.samples.build import read_sample
from legacylens.settings import Settings
from legacylens.survey.bands import BANDS
from legacylens.survey.sphere import match_within
from legacylens.validation.auc import delong
from legacylens.validation.stamps import measure_stamps

Verdict = Literal["pass", "fail", "unclear", "not testable"]

OBSERVING_LIMIT = 0.60
"""Where physics has no say. Chance is 0.5; the room up to 0.6 is for samples of a hundred lenses, whose areas scatter
by 0.03."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A family of columns that must not give the label away."""

    name: str
    """What the family is."""
    limit: float
    """Largest area under the curve that is allowed."""
    why: str
    """Why that much."""


GATES: tuple[Gate, ...] = (
    Gate(name="position", limit=OBSERVING_LIMIT, why="the sky does not know where lists were made"),
    Gate(name="depth", limit=OBSERVING_LIMIT, why="depth is the survey's, not the lens's"),
    Gate(name="seeing", limit=OBSERVING_LIMIT, why="seeing is the survey's, not the lens's"),
    Gate(name="exposures", limit=OBSERVING_LIMIT, why="exposures are the survey's, not the lens's"),
    Gate(name="extinction", limit=OBSERVING_LIMIT, why="dust of the Galaxy is in front of everything"),
    Gate(name="release", limit=OBSERVING_LIMIT, why="both classes come from one release"),
    Gate(name="coordinates", limit=OBSERVING_LIMIT, why="positions of both classes come from one catalog"),
    Gate(name="stamp", limit=OBSERVING_LIMIT, why="both classes are cut in one way"),
    Gate(name="centering", limit=0.70, why="arcs pull the center of light a little, never by a pixel"),
    Gate(name="type", limit=0.75, why="lens galaxies are mostly early types; non-lenses are drawn to match"),
    Gate(name="magnitude", limit=0.85, why="lens galaxies are massive, hence bright and red"),
    Gate(name="shape", limit=0.85, why="lens galaxies are massive, hence large, and arcs blur the fit"),
)
"""The gates, in order."""


class LeakageConfig(Settings):
    """How the gates are measured."""

    folds: int = Field(default=5, ge=2, le=20)
    """Folds of the cross-validation, whole sky cells each."""
    trees: int = Field(default=60, ge=10, le=1000)
    """Trees of the classifier (extremely randomized: quick, and good with a few dozen lenses)."""
    confidence: float = Field(default=0.99, gt=0.5, lt=1)
    """Confidence of the interval of each area. A gate fails if the lower end is above its limit; with a dozen gates
    99 % keeps false alarms below one sample in ten even at the limit, and far below that for an honest sample."""
    min_lenses: int = Field(default=20, ge=5)
    """Fewest lenses with which a gate is tried."""
    max_non_lenses: int = Field(default=20_000, ge=100)
    """Most non-lenses that are looked at; more would make the interval no narrower, the lenses decide it."""
    missing_difference: float = Field(default=0.02, gt=0, lt=1)
    """Largest difference between the classes in the fraction of missing values, if it is significant."""
    duplicate_radius_arcsec: float = Field(default=1.0, gt=0)
    """Two used objects nearer than this [arcsec] are one galaxy."""
    seed: int = 1
    """Of the folds, the classifier and the drawn non-lenses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """What a gate said."""

    gate: str
    """Its name."""
    verdict: Verdict
    """``fail`` if the interval lies above the limit, ``unclear`` if only the value does, else ``pass``."""
    value: float | None
    """Area under the curve, or what the detail says."""
    low: float | None
    """Lower end of its interval."""
    high: float | None
    """Upper end."""
    limit: float
    """The limit."""
    detail: str
    """Which columns, or what was found."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-compatible dictionary."""
        return asdict(self)


def gate_features(objects: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the columns that each gate looks at, as far as ``objects`` has them.

    Parameters
    ----------
    objects
        One row for each object: sample and parent columns, and where there is a cutout store ``stamp_*`` (what its
        manifest says) and ``centroid_x``, ``centroid_y`` [pixel].

    Returns
    -------
    features
        Gate -> numeric table, in the order of ``objects``; gates without a column are absent.
    """
    ra, dec = objects["ra"].to_numpy(np.float64), objects["dec"].to_numpy(np.float64)
    latitude = SkyCoord(ra * units.deg, dec * units.deg).galactic.b.deg
    angle = np.radians(ra)
    features: dict[str, dict[str, Any]] = {
        "position": {"east": np.sin(angle), "north": np.cos(angle), "dec": dec, "latitude": np.abs(latitude)},
        "coordinates": {
            "ra_single": ra == ra.astype(np.float32),
            "dec_single": dec == dec.astype(np.float32),
            "ra_digits": _digits(ra),
            "dec_digits": _digits(dec),
        },
        "type": {name: objects["type"].astype(str).str.strip() == name for name in sorted(set(objects["type"]))},
    }
    columns = {
        "depth": [f"{kind}depth_{band}" for kind in ("psf", "gal") for band in BANDS],
        "seeing": [f"psfsize_{band}" for band in BANDS],
        "exposures": [f"nobs_{band}" for band in BANDS],
        "extinction": ["ebv"],
        "release": ["release"],
        "magnitude": [f"mag_{band}" for band in BANDS],
        "shape": ["shape_r", "sersic", "shape_e1", "shape_e2"],
        "centering": ["centroid_x", "centroid_y"],
    }
    for gate, names in columns.items():
        present = [name for name in names if name in objects.columns]
        if present:
            features[gate] = {name: objects[name] for name in present}
    stamp = [str(name) for name in objects.columns if str(name).startswith("stamp_")]
    if stamp:
        features["stamp"] = {name: _numeric(objects[name]) for name in stamp}
    return {
        gate.name: pd.DataFrame(
            {name: np.asarray(values, dtype=np.float64) for name, values in features[gate.name].items()}
        )
        for gate in GATES
        if gate.name in features
    }


def _digits(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how many decimals the shortest decimal form of each number has: lists round, catalogs do not."""
    return np.array([len(repr(value).partition(".")[2]) for value in values.tolist()], dtype=np.float64)


def _numeric(values: pd.Series) -> NDArray[np.float64]:
    if pd.api.types.is_bool_dtype(values) or pd.api.types.is_numeric_dtype(values):
        return values.to_numpy(np.float64)
    return pd.factorize(values.astype(str), sort=True)[0].astype(np.float64)


def grouped_auc(
    features: NDArray[np.float64], label: NDArray[np.int64], cell: NDArray[np.int64], config: LeakageConfig
) -> tuple[float, float, float]:
    """Return how well features predict a label on unseen sky cells.

    Parameters
    ----------
    features
        Shape (n, k); NaN says missing.
    label
        1 or 0, shape (n,).
    cell
        Sky cells; all objects of a cell are in one fold.
    config
        Folds, confidence, seed.

    Returns
    -------
    value, low, high
        Area under the curve averaged over the folds with the lenses as weights, and its interval: DeLong's variance
        within each fold, on the logit scale. Scores of different folds are never compared.

    Notes
    -----
    Folds share what they are trained on, so their areas err together. The variance is widened as by Nadeau & Bengio
    2003, Machine Learning 52, 239: by 1 + K / (K - 1) for K folds. Without it the interval of a meaningless feature
    misses chance more than four times too often (tested).
    """
    # Below every value: a tree can set what is missing apart.
    lowest = np.nanmin(features, axis=0, initial=0.0)
    filled = np.where(np.isfinite(features), features, lowest - 1.0)
    folds = StratifiedGroupKFold(n_splits=config.folds, shuffle=True, random_state=config.seed)
    areas, variances, weights = [], [], []
    fewest = int(min((label == 1).sum(), (label == 0).sum()))
    for learn, judge in folds.split(features, label, cell):
        lens = label[judge] == 1
        if lens.all() or not lens.any() or len(set(label[learn])) < 2:
            continue
        model = ExtraTreesClassifier(
            config.trees, min_samples_leaf=8, class_weight="balanced", random_state=config.seed
        )
        score = model.fit(filled[learn], label[learn]).predict_proba(filled[judge])[:, 1]
        area, variance = delong(score[lens], score[~lens])
        areas.append(area)
        variances.append(variance)
        weights.append(float(lens.sum()))
    if not areas:
        raise InputError("no fold of sky cells holds both lenses and non-lenses")
    weight = np.array(weights) / np.sum(weights)
    value = float(weight @ areas)
    # Perfectly told classes have no variance to estimate; half a lens out of n stands for it.
    inside = float(np.clip(value, 0.5 / fewest, 1.0 - 0.5 / fewest))
    shared = 1.0 + len(areas) / max(len(areas) - 1, 1)
    variance = max(shared * float(weight**2 @ np.array(variances)), 0.5 / fewest**2)
    error = float(np.sqrt(variance)) / (inside * (1.0 - inside))
    spread = float(norm.ppf(0.5 + 0.5 * config.confidence)) * error
    return value, float(expit(logit(inside) - spread)), float(expit(logit(inside) + spread))


DEFAULT_CONFIG = LeakageConfig()


def run_gates(
    sample: pd.DataFrame,
    parent: pd.DataFrame,
    *,
    split: str = "train",
    stamps: pd.DataFrame | None = None,
    config: LeakageConfig = DEFAULT_CONFIG,
    only: str | None = None,
) -> dict[str, Any]:
    """Run every gate on the labeled objects of a split.

    Parameters
    ----------
    sample
        Columns ``source_id``, ``ra``, ``dec``, ``type``, ``label``, ``split``, ``cell``, ``group``.
    parent
        The survey's columns by ``source_id``.
    split
        Which split; the training split is what a network can learn a leak from.
    stamps
        What is known of each cutout, by ``source_id``: ``stamp_*``, ``centroid_x``, ``centroid_y``, and ``pixels``, a
        hash; objects that are absent have no cutout.
    config
        How the gates are measured.
    only
        The one gate to run, by name; then there is no baseline.

    Returns
    -------
    result
        ``verdict`` (``fail`` if a gate fails), ``gates`` (a dictionary each), ``baseline`` (area that *all* columns
        together reach: what a network must beat before its pixels count), ``n_lenses``, ``n_non_lenses``, ``split``,
        ``configuration``.

    Raises
    ------
    InputError
        If an object of the sample is not in the parent table.
    """
    used = sample[sample["label"].isin([0, 1])]
    absent = ~used["source_id"].isin(parent["source_id"])
    if absent.any():
        raise InputError(f"{int(absent.sum())} objects of the sample are not in the parent table; are both of one run?")
    part = _drawn(used[used["split"] == split].sort_values("source_id"), config)
    extra = [name for name in parent.columns if name not in part.columns or name == "source_id"]
    objects = part.merge(parent[extra], on="source_id", how="left")
    if stamps is not None:
        objects = objects.merge(stamps.assign(has_cutout=1.0), on="source_id", how="left")
    objects = objects.reset_index(drop=True)
    label = objects["label"].to_numpy(np.int64)
    cell = objects["cell"].to_numpy(np.int64)
    features = gate_features(objects)
    results = [_gate(gate, features, label, cell, config) for gate in GATES if only in (None, gate.name)]
    if only in (None, "missingness"):
        results.append(_missingness(objects, features, label, config))
    if only in (None, "duplicates"):
        results.append(_duplicates(used, stamps, config))
    baseline = None
    if only is None and _testable(label, cell, config):
        everything = np.column_stack([table.to_numpy() for table in features.values()])
        baseline = dict(zip(("value", "low", "high"), grouped_auc(everything, label, cell, config), strict=True))
    verdicts = {result.verdict for result in results}
    return {
        "verdict": next((word for word in ("fail", "unclear") if word in verdicts), "pass"),
        "split": split,
        "n_lenses": int((label == 1).sum()),
        "n_non_lenses": int((label == 0).sum()),
        "gates": [result.as_dict() for result in results],
        "baseline": baseline,
        "configuration": config.model_dump(mode="json"),
    }


def _drawn(part: pd.DataFrame, config: LeakageConfig) -> pd.DataFrame:
    others = np.flatnonzero(part["label"].to_numpy() == 0)
    if len(others) <= config.max_non_lenses:
        return part
    rng = np.random.default_rng(config.seed)
    kept = rng.choice(others, config.max_non_lenses, replace=False)
    rows = np.sort(np.concatenate([np.flatnonzero(part["label"].to_numpy() == 1), kept]))
    return part.iloc[rows]


def _testable(label: NDArray[np.int64], cell: NDArray[np.int64], config: LeakageConfig) -> bool:
    enough = min((label == 1).sum(), (label == 0).sum()) >= config.min_lenses
    return bool(enough and len(set(cell[label == 1])) >= config.folds)


def _gate(
    gate: Gate,
    features: Mapping[str, pd.DataFrame],
    label: NDArray[np.int64],
    cell: NDArray[np.int64],
    config: LeakageConfig,
) -> GateResult:
    def untested(why: str) -> GateResult:
        return GateResult(
            gate=gate.name, verdict="not testable", value=None, low=None, high=None, limit=gate.limit, detail=why
        )

    if gate.name not in features:
        return untested("no such columns")
    if not _testable(label, cell, config):
        return untested(
            f"{int((label == 1).sum())} lenses in {len(set(cell[label == 1]))} cells; "
            f"{config.min_lenses} in {config.folds} are needed"
        )
    table = features[gate.name]
    detail = ", ".join(str(name) for name in table.columns)
    if (table.nunique(dropna=False) <= 1).all():
        return GateResult(
            gate=gate.name, verdict="pass", value=0.5, low=0.5, high=0.5, limit=gate.limit, detail=f"{detail}: constant"
        )
    value, low, high = grouped_auc(table.to_numpy(), label, cell, config)
    verdict: Verdict = "fail" if low > gate.limit else "unclear" if value > gate.limit else "pass"
    return GateResult(gate=gate.name, verdict=verdict, value=value, low=low, high=high, limit=gate.limit, detail=detail)


def _missingness(
    objects: pd.DataFrame, features: Mapping[str, pd.DataFrame], label: NDArray[np.int64], config: LeakageConfig
) -> GateResult:
    """Compare the fractions of missing values of the two classes, column by column."""
    tables = [table for gate, table in features.items() if gate not in ("stamp", "centering")]
    missing = pd.concat([table.isna() for table in tables], axis=1)
    if "has_cutout" in objects.columns:
        missing["cutout"] = objects["has_cutout"].isna().to_numpy()
    worst, worst_name, n_bad = 0.0, "", 0
    for name in missing.columns:
        lens, other = missing[name].to_numpy()[label == 1], missing[name].to_numpy()[label == 0]
        if not len(lens) or not len(other):
            continue
        difference = abs(float(lens.mean() - other.mean()))
        table = np.array([[lens.sum(), (~lens).sum()], [other.sum(), (~other).sum()]])
        significant = fisher_exact(table).pvalue < (1.0 - config.confidence) / max(missing.shape[1], 1)
        n_bad += bool(significant and difference > config.missing_difference)
        if difference > worst:
            worst, worst_name = difference, str(name)
    detail = f"largest difference between the classes: {worst:.3f}" + (f" in {worst_name}" if worst_name else "")
    return GateResult(
        gate="missingness",
        verdict="fail" if n_bad else "pass",
        value=worst,
        low=None,
        high=None,
        limit=config.missing_difference,
        detail=detail,
    )


def _duplicates(used: pd.DataFrame, stamps: pd.DataFrame | None, config: LeakageConfig) -> GateResult:
    """Count galaxies and pictures that are used twice, and groups in two splits."""
    inside = used[used["split"].isin(["train", "validation", "sealed"])]
    ra, dec = inside["ra"].to_numpy(np.float64), inside["dec"].to_numpy(np.float64)
    one, other, _ = match_within(ra, dec, ra, dec, config.duplicate_radius_arcsec)
    pairs = int((one < other).sum())
    straddling = int((inside.groupby("group")["split"].nunique() > 1).sum())
    repeated = int(inside["source_id"].duplicated().sum())
    pictures = 0
    if stamps is not None and "pixels" in stamps:
        pictures = int(stamps.loc[stamps["source_id"].isin(inside["source_id"]), "pixels"].duplicated().sum())
    total = pairs + straddling + repeated + pictures
    return GateResult(
        gate="duplicates",
        verdict="fail" if total else "pass",
        value=float(total),
        low=None,
        high=None,
        limit=0.0,
        detail=f"{pairs} pairs within {config.duplicate_radius_arcsec:g} arcsec, {straddling} groups in two splits, "
        f"{repeated} repeated ids, {pictures} repeated pictures",
    )


def gate_files(
    sample_path: str | Path,
    parent_path: str | Path,
    *,
    store: str | Path | None = None,
    split: str = "train",
    config: LeakageConfig = DEFAULT_CONFIG,
) -> dict[str, Any]:
    """Read a sample, its parent table and (where there is one) its cutout store, and run every gate.

    Parameters
    ----------
    sample_path, parent_path
        ``sample.parquet`` and ``parent.parquet``, or the folders that hold them.
    store
        Cutout store.
    split
        Which split.
    config
        How the gates are measured.
    """
    parent_path = Path(parent_path)
    sample = read_sample(sample_path).frame
    named = set(sample.loc[sample["label"].isin([0, 1]), "source_id"])
    blocks = iter_parquet(parent_path / "parent.parquet" if parent_path.is_dir() else parent_path)
    parent = pd.concat([rows[rows["source_id"].isin(named)] for rows in blocks], ignore_index=True)
    stamps = None
    if store is not None:
        used = sample[(sample["split"] == split) & sample["label"].isin([0, 1])]
        wanted = _drawn(used.sort_values("source_id"), config)
        with CutoutStore.open(store) as opened:
            stamps = measure_stamps(opened, wanted["source_id"].tolist())
    return run_gates(sample, parent, split=split, stamps=stamps, config=config)
