"""Does a network look at arcs? Ten tests on its scores of changed pictures, each with interval, limit and verdict.

A network may rank a validation split perfectly by something that only *this* sample has: brighter cores, companions,
the noise of a careless injection, the depth of the fields where lenses were looked for. Each test takes the arc away
and keeps one such thing, or keeps the arc and takes one away. That every test can fail is shown on networks that were
trained to cheat, that it does not fail for nothing on honest ones (`legacylens.validation.shortcut_controls`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from scipy.stats import norm, spearmanr

from legacylens.errors import InputError
from legacylens.settings import Settings
from legacylens.validation import shortcut_edits as edits
from legacylens.validation.auc import auc_with_interval
from legacylens.validation.intervals import binomial_interval

Logits = Callable[[NDArray[np.float32]], NDArray[np.floating]]
"""Images ``(n, band, y, x)`` [nanomaggies] to logits ``(n,)``: `legacylens.scan.scorer.Scorer.logits`."""
Verdict = Literal["pass", "fail", "unclear", "not testable"]


class ShortcutConfig(Settings):
    """Radii and limits of the tests."""

    core: float = Field(default=1.0, gt=0)
    """Radius of the core, within which no arc is told from the galaxy at the survey's seeing [arcsec]."""
    arcs: tuple[float, float] = (1.0, 5.0)
    """Radii between which arcs are [arcsec]; published candidates have 1.5 to 5."""
    shift: int = Field(default=2, ge=1, le=10)
    """By how much pictures are moved in the centering test [pixels]."""
    confidence: float = Field(default=0.99, gt=0.5, lt=1)
    """Of every interval. With ten tests, 99 % keeps false alarms rare for a network that is right at a limit."""
    limit_auc: float = Field(default=0.70, gt=0.5, lt=1)
    """Largest area under the curve that lenses may reach without their arcs. Not 0.5: lens galaxies are massive, so
    brightness and color say a little, and removing a ring of pixels leaves a trace of what was in it."""
    limit_profile: float = Field(default=0.75, gt=0.5, lt=1)
    """The same for radial profiles, in which a wide arc with its counter image leaves a trace."""
    limit_kept: float = Field(default=0.35, gt=0, lt=1)
    """Largest fraction of the selected lenses that may still be selected without their arcs."""
    limit_null: float = Field(default=0.60, gt=0.5, lt=1)
    """Largest area under the curve between a galaxy and the same with an injection of zero flux."""
    limit_ring: float = Field(default=0.40, gt=0, lt=0.5)
    """Largest fraction of galaxies that score higher with a ring of the same light than with the arc itself."""
    limit_dropout: float = Field(default=0.65, gt=0.5, lt=1)
    """Smallest area under the curve without color, and without any one band."""
    limit_metadata: float = Field(default=0.35, gt=0, lt=1)
    """Largest rank correlation of the scores of non-lenses with depth, seeing and the like."""
    limit_shift: float = Field(default=0.65, gt=0.5, lt=1)
    """Largest area under the curve between pictures and the same moved."""
    min_objects: int = Field(default=30, ge=5)
    """Fewest objects of a class with which a test is tried."""
    seed: int = 1
    """Of the noise that fills what is taken away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestInputs:
    """What the tests are made on: objects that the network was not trained on."""

    __test__ = False

    lenses: NDArray[np.float32]
    """Shape ``(n, band, y, x)`` [nanomaggies]."""
    others: NDArray[np.float32]
    """Non-lenses, the same shape with another n."""
    pixscale: float
    """[arcsec]."""
    noise: NDArray[np.float64]
    """Typical noise of each band [nanomaggies], shape (band,): the unit in which bands are averaged."""
    metadata: pd.DataFrame | None = None
    """Numeric columns that the observation decides and the galaxy does not, one row for each of ``others``."""
    arcs: NDArray[np.float32] | None = None
    """Light that injection would add to the first of ``others``, same order [nanomaggies]."""
    null: NDArray[np.float32] | None = None
    """The first of ``others`` after an injection of zero flux, same order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """What a test said."""

    __test__ = False

    test: str
    """Its name."""
    verdict: Verdict
    """``fail`` if the whole interval is on the wrong side of the limit, ``unclear`` if only the value is."""
    value: float | None
    """What the detail says."""
    low: float | None
    """Lower end of its interval."""
    high: float | None
    """Upper end."""
    limit: float
    """The limit."""
    wrong: Literal["above", "below"]
    """On which side of the limit a network fails."""
    detail: str
    """What was measured, on how many objects."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-compatible dictionary."""
        return asdict(self)


def _judged(
    test: str,
    value: tuple[float, float, float],
    limit: float,
    detail: str,
    *,
    wrong: Literal["above", "below"] = "above",
) -> TestResult:
    middle, low, high = value
    beyond = low > limit if wrong == "above" else high < limit
    outside = middle > limit if wrong == "above" else middle < limit
    return TestResult(
        test=test,
        verdict="fail" if beyond else "unclear" if outside else "pass",
        value=middle,
        low=low,
        high=high,
        limit=limit,
        wrong=wrong,
        detail=detail,
    )


def _untested(test: str, limit: float, why: str, *, wrong: Literal["above", "below"] = "above") -> TestResult:
    return TestResult(
        test=test, verdict="not testable", value=None, low=None, high=None, limit=limit, wrong=wrong, detail=why
    )


class _Bench:
    """The network, its inputs and what every test needs."""

    def __init__(self, logits: Logits, inputs: TestInputs, config: ShortcutConfig) -> None:
        self.inputs, self.config = inputs, config
        self._logits = logits
        self.lenses = self.logits(inputs.lenses)
        self.others = self.logits(inputs.others)

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        values = np.asarray(self._logits(np.ascontiguousarray(images)), dtype=np.float64)
        if not np.isfinite(values).all():
            raise InputError(
                f"{int((~np.isfinite(values)).sum())} of {len(values)} test pictures have no finite score; leave "
                "out cutouts with masked or NaN pixels"
            )
        return values

    def rng(self, stream: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, stream])

    def area(self, lenses: NDArray[np.float64], others: NDArray[np.float64]) -> tuple[float, float, float]:
        auc = auc_with_interval(lenses, others, self.config.confidence)
        return auc.value, auc.low, auc.high

    def both(self, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> tuple[float, float, float]:
        return self.area(self.logits(change(self.inputs.lenses)), self.logits(change(self.inputs.others)))


def _core(bench: _Bench) -> TestResult:
    radius, rng = bench.config.core, bench.rng(1)
    scale = bench.inputs.pixscale
    profile = edits.typical_profile(bench.inputs.others, radius, scale)
    value = bench.both(lambda images: edits.core_only(images, radius, scale, rng, profile))
    detail = f"AUC of what is within {radius:g} arcsec, with the typical galaxy around it"
    return _judged("core only", value, bench.config.limit_auc, detail)


def _profile(bench: _Bench) -> TestResult:
    rng = bench.rng(2)
    value = bench.both(lambda images: edits.profile_only(images, rng))
    detail = "AUC of radial profiles (lower tenth of each ring, without arcs), with noise"
    return _judged("radial profile only", value, bench.config.limit_profile, detail)


def _masked(bench: _Bench) -> TestResult:
    (inner, outer), rng = bench.config.arcs, bench.rng(3)
    value = bench.both(lambda images: edits.arcs_masked(images, inner, outer, bench.inputs.pixscale, rng))
    detail = f"AUC with sky in place of everything from {inner:g} to {outer:g} arcsec"
    return _judged("arc masked", value, bench.config.limit_auc, detail)


def _suppressed(bench: _Bench) -> TestResult:
    (inner, outer), limit = bench.config.arcs, bench.config.limit_kept
    n = len(bench.others)
    allowed = max(int(0.01 * n), min(20, n // 10))
    threshold = float(np.sort(bench.others)[n - allowed])
    chosen = bench.lenses >= threshold
    n_chosen = int(chosen.sum())
    if n_chosen < min(bench.config.min_objects, 20):
        return _untested("arc suppressed", limit, f"only {n_chosen} lenses are selected with {allowed} false positives")
    quiet = edits.arcs_suppressed(bench.inputs.lenses[chosen], inner, outer, bench.inputs.pixscale, bench.rng(4))
    kept = int((bench.logits(quiet) >= threshold).sum())
    low, high = binomial_interval(kept, n_chosen, bench.config.confidence)
    detail = f"{kept} of {n_chosen} lenses selected (with {allowed} of {n} non-lenses) still are, the arc smoothed away"
    return _judged("arc suppressed", (kept / n_chosen, float(low), float(high)), limit, detail)


def _too_few(injected: NDArray[np.float32] | None, bench: _Bench, words: str) -> str:
    return f"{0 if injected is None else len(injected)} galaxies {words}, {bench.config.min_objects} are needed"


def _null(bench: _Bench) -> TestResult:
    null, limit = bench.inputs.null, bench.config.limit_null
    if null is None or len(null) < bench.config.min_objects:
        return _untested("null injection", limit, _too_few(null, bench, "with an injection of zero flux"))
    before = bench.others[: len(null)]
    value = bench.area(bench.logits(null), before)
    return _judged(
        "null injection", value, limit, f"AUC of {len(null)} galaxies with an arc of zero flux over the same"
    )


def _ring(bench: _Bench) -> TestResult:
    arcs, limit = bench.inputs.arcs, bench.config.limit_ring
    if arcs is None or len(arcs) < bench.config.min_objects:
        return _untested("ring counterfactual", limit, _too_few(arcs, bench, "with an injected arc"))
    hosts = bench.inputs.others[: len(arcs)]
    with_arc = bench.logits(hosts + arcs)
    with_ring = bench.logits((hosts + edits.radial_mean(arcs)).astype(np.float32))
    # Galaxies whose score an arc does not move say nothing: their arc is lost in the noise.
    moved = np.maximum(with_arc, with_ring) > bench.others[: len(arcs)] + 0.5 * float(np.std(bench.others))
    n = int(moved.sum())
    if n < bench.config.min_objects:
        return _untested(
            "ring counterfactual", limit, f"arc or ring move the score of only {n} of {len(arcs)} galaxies"
        )
    higher = int((with_ring >= with_arc)[moved].sum())
    low, high = binomial_interval(higher, n, bench.config.confidence)
    detail = f"{higher} of {n} galaxies score at least as high with the arc's light spread into a ring as with the arc"
    return _judged("ring counterfactual", (higher / n, float(low), float(high)), limit, detail)


def _color(bench: _Bench) -> TestResult:
    everything = np.concatenate([bench.inputs.lenses, bench.inputs.others])
    gray = bench.logits(edits.without_color(everything, bench.inputs.noise))
    n = len(bench.lenses)
    detail = "AUC with the same picture in every band"
    return _judged("color dropout", bench.area(gray[:n], gray[n:]), bench.config.limit_dropout, detail, wrong="below")


def _band(bench: _Bench) -> TestResult:
    everything = np.concatenate([bench.inputs.lenses, bench.inputs.others])
    n, bands = len(bench.lenses), everything.shape[1]
    if bands < 2:
        return _untested("band dropout", bench.config.limit_dropout, "there is only one band", wrong="below")
    areas = []
    for band in range(bands):
        logits = bench.logits(edits.without_band(everything, band))
        areas.append(bench.area(logits[:n], logits[n:]))
    worst = int(np.argmin([area[0] for area in areas]))
    detail = f"AUC with band number {worst + 1}, the worst of {bands}, made of the others"
    return _judged("band dropout", areas[worst], bench.config.limit_dropout, detail, wrong="below")


def _metadata(bench: _Bench) -> TestResult:
    table, limit = bench.inputs.metadata, bench.config.limit_metadata
    if table is None:
        return _untested("metadata only", limit, "no columns of the observation")
    found: list[tuple[float, int, str]] = []
    for name in table.columns:
        values = table[name].to_numpy(np.float64)
        good = np.isfinite(values)
        if good.sum() >= bench.config.min_objects and len(np.unique(values[good])) > 1:
            found.append(
                (abs(float(spearmanr(values[good], bench.others[good]).statistic)), int(good.sum()), str(name))
            )
    if not found:
        return _untested("metadata only", limit, "no column of the observation varies")
    value, n, name = max(found)
    # Fisher's z, its error for ranks after Bonett & Wright 2000; the largest of several columns is judged as such.
    tail = (1.0 - bench.config.confidence) / (2.0 * len(found))
    spread = float(norm.isf(tail)) * float(np.sqrt((1.0 + 0.5 * value**2) / (n - 3)))
    z = float(np.arctanh(min(value, 1.0 - 1e-12)))
    detail = f"rank correlation of the scores of {n} non-lenses with {name}, the largest of {len(found)} columns"
    return _judged(
        "metadata only", (value, float(np.tanh(max(z - spread, 0.0))), float(np.tanh(z + spread))), limit, detail
    )


def _centering(bench: _Bench) -> TestResult:
    step = bench.config.shift
    moves = [(dy, dx) for dy in (-step, 0, step) for dx in (-step, 0, step) if (dy, dx) != (0, 0)]

    def moved(images: NDArray[np.float32]) -> NDArray[np.float64]:
        # Each picture in one direction, all directions in turn: every object counts once.
        turned = np.stack([edits.shifted(image, *moves[place % len(moves)]) for place, image in enumerate(images)])
        return bench.logits(turned)

    others = bench.area(moved(bench.inputs.others), bench.others)
    lenses = bench.area(bench.lenses, moved(bench.inputs.lenses))
    value, words = (others, "non-lenses moved, over the same") if others[0] >= lenses[0] else (
        lenses, "lenses over the same moved")  # fmt: skip
    return _judged("centering", value, bench.config.limit_shift, f"AUC of {words}, by {step} pixels")


TESTS: Mapping[str, Callable[[_Bench], TestResult]] = {
    "core only": _core,
    "radial profile only": _profile,
    "arc masked": _masked,
    "arc suppressed": _suppressed,
    "null injection": _null,
    "ring counterfactual": _ring,
    "color dropout": _color,
    "band dropout": _band,
    "metadata only": _metadata,
    "centering": _centering,
}
"""The tests by name, in order."""
DEFAULT_CONFIG = ShortcutConfig()


def run_tests(
    logits: Logits, inputs: TestInputs, config: ShortcutConfig = DEFAULT_CONFIG, *, only: str | None = None
) -> dict[str, Any]:
    """Test whether a network looks at arcs.

    Parameters
    ----------
    logits
        The network with its preprocessing.
    inputs
        Objects that it was not trained on.
    config
        Radii and limits.
    only
        The one test to make, by name.

    Returns
    -------
    result
        ``verdict`` (``fail`` if a test fails), ``tests`` (a dictionary each), ``baseline`` (area under the curve on
        the unchanged pictures), ``n_lenses``, ``n_non_lenses``, ``configuration``.

    Raises
    ------
    InputError
        If there is no such test, or pictures have no finite score.

    Notes
    -----
    A network that does not tell the classes apart on the unchanged pictures has nothing to cheat with; all is then
    "not testable" rather than passed.
    """
    if only is not None and only not in TESTS:
        raise InputError(f"no shortcut test is called {only!r}; there are {', '.join(TESTS)}")
    chosen = {name: test for name, test in TESTS.items() if only in (None, name)}
    few = min(len(inputs.lenses), len(inputs.others))
    results: list[TestResult] = []
    baseline = None
    if few < config.min_objects:
        why = f"{len(inputs.lenses)} lenses and {len(inputs.others)} non-lenses, {config.min_objects} of each needed"
        results = [_untested(name, float("nan"), why) for name in chosen]
    else:
        bench = _Bench(logits, inputs, config)
        area = bench.area(bench.lenses, bench.others)
        baseline = dict(zip(("value", "low", "high"), area, strict=True))
        if area[1] < 0.6:
            why = f"the network hardly tells the classes apart (AUC {area[0]:.2f}): there is nothing to test"
            results = [_untested(name, float("nan"), why) for name in chosen]
        else:
            results = [test(bench) for test in chosen.values()]
    verdicts = [result.verdict for result in results]
    overall = next((word for word in ("fail", "unclear", "pass") if word in verdicts), "not testable")
    return {
        "verdict": overall,
        "n_lenses": len(inputs.lenses),
        "n_non_lenses": len(inputs.others),
        "baseline": baseline,
        "tests": [
            {**result.as_dict(), "limit": None if np.isnan(result.limit) else result.limit} for result in results
        ],
        "configuration": config.model_dump(mode="json"),
    }
