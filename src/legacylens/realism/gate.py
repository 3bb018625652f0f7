"""The gate: tests with margins set before, an interval for each, and a verdict that is never a pass for lack of data.

A test passes if its whole interval is inside of its margin, fails if its whole interval is outside, and is underpowered
otherwise: then it says how many objects would decide. Beside every value stands that of two halves of the real set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from legacylens.errors import InputError
from legacylens.realism.compare import (
    ARC_STATISTICS,
    HOST_STATISTICS,
    NOISE_STATISTICS,
    ONE_SIDED,
    PIXEL_STATISTICS,
    Difference,
    area,
    column,
    differences,
    features,
    holm,
    two_sample_auc,
)
from legacylens.realism.embedding import SIDE, embed, thumbnails
from legacylens.realism.gate_config import GateConfig

PASS, FAIL, UNDERPOWERED, NOT_RUN = "pass", "fail", "underpowered", "not run"
FEWEST = 50
"""Objects of each set without which nothing is tested."""
NEIGHBORS = 5
"""Real lenses among which another is at home."""
SHARED = 1.8
"""Lenses share their neighbors: densities of equal sets scatter by this many times what independent counts would."""
LARGEST = 1_000_000
"""No more objects than this are asked for."""
SPLITS = {"calibrate": (0.0, 0.5), "gate": (0.5, 0.75), "test": (0.75, 1.0), "all": (0.0, 1.0)}
"""Parts of the real set."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """A measured set as a gate takes it."""

    table: pd.DataFrame
    """Measured rows."""
    embedding: NDArray[np.float64] | None = None
    """Scattering coefficients, shape ``(object, coefficient)``; None if cutouts are too small."""
    pixels: NDArray[np.float64] | None = None
    """What the small network looks at, shape ``(object, pixel)``; None if cutouts are too small."""

    def part(self, rows: NDArray[np.int64]) -> Sample:
        """Return some of them."""
        return Sample(
            table=self.table.iloc[rows].reset_index(drop=True),
            embedding=None if self.embedding is None else self.embedding[rows],
            pixels=None if self.pixels is None else self.pixels[rows],
        )

    def joined(self, other: Sample) -> Sample:
        """Return both together."""
        both = [None if a is None or b is None else np.concatenate([a, b]) for a, b in self._arrays(other)]
        return Sample(table=pd.concat([self.table, other.table], ignore_index=True), embedding=both[0], pixels=both[1])

    def _arrays(self, other: Sample) -> tuple[tuple[NDArray[np.float64] | None, NDArray[np.float64] | None], ...]:
        return (self.embedding, other.embedding), (self.pixels, other.pixels)

    def __len__(self) -> int:
        return len(self.table)


def sample_of(table: pd.DataFrame, images: NDArray[np.float32]) -> Sample:
    """Return the measured objects of a set as a sample.

    Parameters
    ----------
    table
        Rows of `measure.measure_stamps`.
    images
        Their cutouts, shape ``(object, 3, y, x)`` [nanomaggies].
    """
    good = np.flatnonzero((table["code"] == "ok").to_numpy())
    rows = table.iloc[good].reset_index(drop=True)
    if images.shape[-1] < SIDE or not len(rows):
        return Sample(table=rows)
    noise = rows[["noise_g", "noise_r", "noise_z"]].to_numpy(np.float64)
    return Sample(table=rows, embedding=embed(images[good], noise), pixels=thumbnails(images[good], noise))


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """One test."""

    test: str
    """Its name."""
    value: float | None
    """What was measured."""
    low: float | None
    """Lower limit, 95 %."""
    high: float | None
    """Upper limit, 95 %."""
    margin: float
    """Limit that was set before."""
    verdict: str
    """``pass``, ``fail``, ``underpowered`` or ``not run``."""
    real_real: float | None = None
    """The same of two halves of the real set."""
    needed: int | None = None
    """Objects of each set that would decide, if underpowered."""
    note: str = ""
    """Why it was not run, or what it is made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """All tests and the verdict."""

    verdict: str
    """``fail`` if any test fails, else ``underpowered`` if any is, else ``pass``."""
    n_sims: int
    """Simulations."""
    n_real: int
    """Real lenses."""
    tests: tuple[TestResult, ...]
    """Every test."""
    notes: tuple[str, ...] = field(default=())
    """What to know beside."""
    refused: dict[str, dict[str, int]] = field(default_factory=dict)
    """Set -> reason -> objects that could not be measured."""

    def as_dict(self) -> dict[str, Any]:
        """Return the result as a JSON document."""
        return asdict(self)


def split_of(names: Sequence[str], split: str) -> NDArray[np.bool_]:
    """Return which objects belong to a split: by a hash of their names, so that nobody can choose.

    Raises
    ------
    InputError
        If there is no such split.
    """
    if split not in SPLITS:
        raise InputError(f"no split is called {split!r}: choose from {', '.join(SPLITS)}")
    low, high = SPLITS[split]
    place = [int.from_bytes(hashlib.sha256(f"gate {name}".encode()).digest()[:8]) / 2.0**64 for name in names]
    return (np.array(place) >= low) & (np.array(place) < high)


def judge(
    name: str, value: float, error: float, margin: float, n: int, *, real_real: float | None = None, note: str = ""
) -> TestResult:
    """Return the verdict on a value that should be less than a margin.

    Parameters
    ----------
    name
        Of the test.
    value, error
        Measured, and its standard error with ``n`` objects.
    margin
        Limit.
    n
        Objects of the smaller set.
    real_real
        The same of two real halves.
    note
        To be shown.
    """
    low, high = value - ONE_SIDED * error, value + ONE_SIDED * error
    verdict = PASS if high <= margin else FAIL if low > margin else UNDERPOWERED
    needed = None
    if verdict == UNDERPOWERED:
        room = max(abs(margin - value), 1e-3)
        needed = int(min(np.ceil(n * (ONE_SIDED * error / room) ** 2), LARGEST))
    return TestResult(
        test=name,
        value=value,
        low=low,
        high=high,
        margin=margin,
        verdict=verdict,
        real_real=real_real,
        needed=needed,
        note=note,
    )


def gate(
    sims: Sample,
    real: Sample,
    config: GateConfig,
    *,
    null: Sample | None = None,
    zero: Sample | None = None,
    notes: Sequence[str] = (),
) -> Gate:
    """Test simulations against real lenses.

    Parameters
    ----------
    sims, real
        The sets; sets that share galaxies are refused.
    config
        Margins.
    null
        Galaxies without arcs of the same survey; needed by the functional test and that of zero flux.
    zero
        Simulations of zero flux.
    notes
        To be shown.

    Raises
    ------
    InputError
        If a set has fewer than `FEWEST` measured objects, or both share galaxies.
    """
    for what, sample in (("simulations", sims), ("real lenses", real)):
        if len(sample) < FEWEST:
            raise InputError(
                f"{len(sample)} measured {what} are too few for any test: at least {FEWEST} are needed, {config.n} for "
                "the margins that are set"
            )
    own, theirs = _galaxies(sims), _galaxies(real)
    if own & theirs:
        raise InputError(
            f"{len(own & theirs)} galaxies are in both sets: they would agree for that reason. Make the simulations "
            "from other galaxies."
        )
    rng = np.random.default_rng(config.folds_seed)
    order = rng.permutation(len(real))
    halves = (real.part(order[: len(real) // 2]), real.part(order[len(real) // 2 :]))
    tests = _statistics(sims, real, halves, config)
    tests += _classifiers(sims, real, halves, config)
    tests += _coverage(sims, real, halves, config)
    tests.append(_zero_flux(zero, null, config))
    tests.append(_functional(sims, real, null, config))
    verdicts = {item.verdict for item in tests}
    verdict = FAIL if FAIL in verdicts else UNDERPOWERED if UNDERPOWERED in verdicts else PASS
    return Gate(verdict=verdict, n_sims=len(sims), n_real=len(real), tests=tuple(tests), notes=tuple(notes))


def _galaxies(sample: Sample) -> set[str]:
    return set(sample.table["source_id"].astype(str).str.split("_lens").str[0])


def _statistics(sims: Sample, real: Sample, halves: tuple[Sample, Sample], config: GateConfig) -> list[TestResult]:
    tests: list[TestResult] = []
    n = min(len(sims), len(real))
    for kind, names, margin in (
        ("arc", (*ARC_STATISTICS, *PIXEL_STATISTICS), config.smd),
        ("host", HOST_STATISTICS, config.smd_host),
        ("noise", NOISE_STATISTICS, config.smd_noise),
    ):
        own = {item.name: item for item in differences(halves[0].table, halves[1].table, names)}
        found = differences(sims.table, real.table, names)
        tests += [
            judge(f"{kind} {d.name}", abs(d.effect), d.error, margin, n, real_real=_size(own.get(d.name)))
            for d in found
        ]
        if kind == "arc":
            tests.append(_distances(found, own, config, n))
    return tests


def _size(item: Difference | None) -> float | None:
    return None if item is None else abs(item.effect)


def _distances(found: list[Difference], own: dict[str, Difference], config: GateConfig, n: int) -> TestResult:
    """Return the test on the largest Kolmogorov-Smirnov distance; one beyond the margin has to be significant."""
    worst = max(found, key=lambda item: item.distance)
    corrected = dict(zip((item.name for item in found), holm([item.p for item in found]), strict=True))
    error = 0.5 * float(np.sqrt(1.0 / worst.n + 1.0 / worst.m))
    other = max((item.distance for item in own.values()), default=None)
    result = judge("arc Kolmogorov-Smirnov", worst.distance, error, config.ks, n, real_real=other, note=worst.name)
    if result.verdict == FAIL and corrected[worst.name] > config.significance:
        return replace(result, verdict=UNDERPOWERED, needed=2 * n)
    return result


def _classifiers(sims: Sample, real: Sample, halves: tuple[Sample, Sample], config: GateConfig) -> list[TestResult]:
    n = min(len(sims), len(real))
    seed = config.folds_seed
    names = (*ARC_STATISTICS, *PIXEL_STATISTICS)

    def run(name: str, margin: float, vectors: list[NDArray[np.float64]], estimator: object | None) -> TestResult:
        value, error = two_sample_auc(vectors[0], vectors[1], seed, estimator)
        own = two_sample_auc(vectors[2], vectors[3], seed, estimator)[0] if config.real_real else None
        return judge(name, value, error, margin, n, real_real=own)

    samples = (sims, real, *halves)
    tests = [run("classifier statistics", config.auc_statistics, [features(s.table, names) for s in samples], None)]
    embedded = [s.embedding for s in samples if s.embedding is not None]
    pixels = [s.pixels for s in samples if s.pixels is not None]
    if len(embedded) < len(samples) or len(pixels) < len(samples):
        note = f"cutouts of at least {SIDE} pixels are needed"
        tests.append(_not_run("classifier embedding", config.auc_embedding, note))
        tests.append(_not_run("classifier network", config.auc_network, note))
        return tests
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=500))
    tests.append(run("classifier embedding", config.auc_embedding, embedded, probe))
    network = make_pipeline(
        StandardScaler(),
        PCA(40, random_state=seed),
        MLPClassifier((16,), alpha=3.0, max_iter=30, random_state=seed, early_stopping=True, n_iter_no_change=5),
    )
    tests.append(run("classifier network", config.auc_network, pixels, network))
    return tests


def _not_run(name: str, margin: float, note: str) -> TestResult:
    return TestResult(test=name, value=None, low=None, high=None, margin=margin, verdict=NOT_RUN, note=note)


def _coverage(sims: Sample, real: Sample, halves: tuple[Sample, Sample], config: GateConfig) -> list[TestResult]:
    """Return coverage and density (Naeem et al. 2020, k = 5) and effective sample size, as what is missing from 1."""
    names = (*ARC_STATISTICS, *HOST_STATISTICS)
    n = min(len(sims), len(real))
    value, error = _covered(features(sims.table, names), features(real.table, names))
    own, _ = _covered(features(halves[0].table, names), features(halves[1].table, names))
    density, spread = _density(features(sims.table, names), features(real.table, names))
    halved, _ = _density(features(halves[0].table, names), features(halves[1].table, names))
    share = _effective_share(features(sims.table, names), features(real.table, names))
    return [
        judge("not covered", 1.0 - value, error, 1.0 - config.coverage, n, real_real=1.0 - own),
        judge("density off 1", abs(density - 1.0), spread, config.density, n, real_real=abs(halved - 1.0)),
        judge("effective sample lost", 1.0 - share, 0.03, 1.0 - config.effective, n),
    ]


def _places(sims: NDArray[np.float64], real: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both sets in units of the real one's spread, far ones at its edge."""
    center, scale = np.median(real, axis=0), np.maximum(real.std(axis=0), 1e-9)
    return np.clip((sims - center) / scale, -4, 4), np.clip((real - center) / scale, -4, 4)


def _reach(real: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance of each real lens to the fifth nearest other one."""
    return np.asarray(cKDTree(real).query(real, k=min(NEIGHBORS + 1, len(real) - 1))[0])[:, -1]


def _covered(sims: NDArray[np.float64], real: NDArray[np.float64]) -> tuple[float, float]:
    a, b = _places(sims, real)
    radius = _reach(b) * (len(b) / max(len(a), 1)) ** (1.0 / b.shape[1])
    value = float((np.asarray(cKDTree(a).query(b)[0]) <= radius).mean())
    return value, float(np.sqrt(max(value * (1.0 - value), 0.01) / len(b)))


def _density(sims: NDArray[np.float64], real: NDArray[np.float64]) -> tuple[float, float]:
    """Return how many simulations there are around a real lens, over what equal sets would have, and its error."""
    a, b = _places(sims, real)
    counts = np.asarray(cKDTree(a).query_ball_point(b, _reach(b), return_length=True), dtype=np.float64)
    counts *= len(b) / (NEIGHBORS * len(a))
    return float(counts.mean()), float(SHARED * counts.std(ddof=1) / np.sqrt(len(counts)))


def _effective_share(sims: NDArray[np.float64], real: NDArray[np.float64]) -> float:
    """Return the effective sample size over the number of simulations that are weighted to the real lenses."""
    x = np.concatenate([sims, real])
    y = np.concatenate([np.zeros(len(sims)), np.ones(len(real))])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=500)).fit(x, y)
    chance = np.clip(model.predict_proba(sims)[:, 1], 1e-6, 1.0 - 1e-6)
    weight = np.minimum(chance / (1.0 - chance), 10.0)
    return float(weight.sum() ** 2 / (weight**2).sum() / len(weight))


def _zero_flux(zero: Sample | None, null: Sample | None, config: GateConfig) -> TestResult:
    name = "zero flux"
    if zero is None or null is None or min(len(zero), len(null)) < FEWEST:
        return _not_run(name, config.auc_zero, "needs simulations of zero flux (--zero-flux) and galaxies (--null)")
    value, error = area(column(zero.table, "arc_score"), column(null.table, "arc_score"))
    n = min(len(zero), len(null))
    return judge(name, 0.5 + abs(value - 0.5), error, config.auc_zero, n)


def _functional(sims: Sample, real: Sample, null: Sample | None, config: GateConfig) -> TestResult:
    """Return how much less of the real lenses is found by a finder that was trained on simulations."""
    name = "functional recall lost"
    if null is None or min(len(null), len(real)) < 4 * FEWEST:
        return _not_run(name, config.functional, f"needs {4 * FEWEST} real lenses and galaxies without arcs (--null)")
    names = (*ARC_STATISTICS, *PIXEL_STATISTICS)
    lost, errors = [], []
    rng = np.random.default_rng(config.folds_seed)
    for _ in range(5):
        r, z = rng.permutation(len(real)), rng.permutation(len(null))
        lenses, galaxies = features(real.table, names)[r], features(null.table, names)[z]
        own, kept = np.array_split(lenses, 2)
        train, judged = np.array_split(galaxies, 2)
        fake = features(sims.table, names)[rng.permutation(len(sims))[: len(own)]]
        recalls = [_recall(positives, train, kept, judged) for positives in (own, fake)]
        lost.append(recalls[0] - recalls[1])
        errors.append(np.sqrt(recalls[0] * (1.0 - recalls[0]) / len(kept)))
    note = "a classifier of the statistics at a false-positive rate of 1 %"
    return judge(
        name, float(np.mean(lost)), float(np.mean(errors)), config.functional, min(len(sims), len(real)), note=note
    )


def _recall(
    positives: NDArray[np.float64],
    negatives: NDArray[np.float64],
    lenses: NDArray[np.float64],
    galaxies: NDArray[np.float64],
) -> float:
    x = np.concatenate([positives, negatives])
    y = np.concatenate([np.ones(len(positives)), np.zeros(len(negatives))])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=500)).fit(x, y)
    limit = np.quantile(model.decision_function(galaxies), 0.99)
    return float((model.decision_function(lenses) > limit).mean())
