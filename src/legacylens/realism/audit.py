"""What is wrong with a set of simulations, in the order in which it should be put right.

Every check compares one property with that of real lenses, or with the published populations as this instrument would
measure them. What arcs that are too bright do to every other statistic is not blamed on anything else: shapes are
compared with arcs that are as bright.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from legacylens.errors import FileProblem, InputError
from legacylens.realism.audit_rules import CODE_REMEDIES, MARGIN, SHAPES, Finding
from legacylens.realism.columns import CODES
from legacylens.realism.compare import (
    CORE_STATISTICS,
    HOST_STATISTICS,
    Difference,
    column,
    difference,
    features,
    matched_ratio,
    two_sample_auc,
)
from legacylens.realism.inputs import MeasuredSet
from legacylens.realism.reference import PUBLISHED_ERROR, STATEMENT, Reference, packaged_reference, true_factor

FEWEST = 30
"""Measured simulations without which nothing but units is judged."""
HOST_MARGIN = 0.5
"""The same for galaxies: the published hosts are a mix of selections."""
BRIGHTNESS_MARGIN = 1.25
"""Factor of brightness that need not be put right."""
SEEN = 5.0
"""S/N of the best lens template above which an arc is seen."""
FEW, NONE = 0.4, 0.15
"""If fewer of the simulations than this show an arc, that is said; if fewer than that, there are none (galaxies without
arcs: 0.08)."""
PUBLISHED_SHOWING = 0.71
"""The same of lenses of the published populations."""
LAGS = (0.05, 0.45)
"""Correlation of neighboring sky pixels in coadds and in cutouts of the viewer."""
NOISE_RATIO = (0.75, 1.15)
"""Noise of a coadd's pixel over 1/sqrt(invvar)."""
LEAKAGE_MARGIN = 0.65
"""Area under the ROC curve of the core alone above which a network need not look at arcs."""
CENTERED_OFFSET = 0.05
"""Galaxies that are all within this of the middle were put there [arcsec]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brightness:
    """By what factor arcs are too bright (above 1) or too faint."""

    value: float
    """In front of galaxies as bright."""
    low: float
    """Lower end of the 95 % interval, from sets drawn again."""
    high: float
    """Upper end."""
    measured: float
    """Before it was corrected for what very bright arcs lose to their galaxies."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Audit:
    """Result of an audit."""

    sims: str
    """The set."""
    compared_with: str
    """What it was compared with."""
    objects: int
    """Simulations given."""
    measured: int
    """Of them measured."""
    refused: dict[str, int]
    """Reason -> simulations that could not be measured."""
    brightness: Brightness | None
    """None where too few could be measured."""
    findings: tuple[Finding, ...]
    """Largest effect first."""
    checks: tuple[dict[str, Any], ...]
    """Every statistic that was compared."""
    notes: tuple[str, ...] = field(default=())
    """What to know beside."""

    def as_dict(self) -> dict[str, Any]:
        """Return the result as a JSON document."""
        return {
            "set": self.sims,
            "compared_with": self.compared_with,
            "objects": self.objects,
            "measured": self.measured,
            "refused": self.refused,
            "brightness_factor": None if self.brightness is None else asdict(self.brightness),
            "findings": [asdict(finding) for finding in self.findings],
            "checks": list(self.checks),
            "notes": list(self.notes),
        }


def audit_refused(problem: FileProblem, path: str | Path) -> Audit:
    """Return the audit of a set of which nothing could be read.

    Raises
    ------
    FileProblem
        Again, if the fault is in the file and not in the simulations.
    """
    if problem.reason not in CODE_REMEDIES:
        raise problem
    name, remedy = CODE_REMEDIES[problem.reason]
    finding = Finding(name=name, says=problem.what, remedy=remedy, effect=10.0, low=10.0, high=10.0)
    return Audit(
        sims=str(path),
        compared_with="nothing: no simulation could be measured",
        objects=0,
        measured=0,
        refused={problem.reason: 1},
        brightness=None,
        findings=(finding,),
        checks=(),
    )


def audit(
    sims: MeasuredSet, *, real: MeasuredSet | None = None, null: MeasuredSet | None = None, seed: int = 1
) -> Audit:
    """Judge a measured set of simulations.

    Parameters
    ----------
    sims
        The set.
    real
        Real lenses, measured in the same way; the published populations by default.
    null
        Galaxies without arcs from the survey of the real lenses, for the core alone.
    seed
        Of the bootstrap and the folds.

    Raises
    ------
    InputError
        If real and simulated sets share objects, or the real set is too small.
    """
    reference = packaged_reference()
    good = sims.measured
    findings = _refusals(sims)
    notes = _notes(sims, good)
    others = _others(real, reference)
    shared = _shared(good, real)
    if shared:
        raise InputError(
            f"{shared} simulations are made from galaxies of the real set: a comparison with themselves. "
            "Leave those out of one of the sets."
        )
    compared = STATEMENT if real is None else f"{len(others)} measured real lenses of {real.path}"
    checks: list[dict[str, Any]] = []
    brightness = None
    if len(good) >= FEWEST:
        rng = np.random.default_rng(seed)
        brightness = brightness_factor(good, others, rng)
        findings += _unseen(good, notes)
        alike = _as_bright(others, brightness, reference, real, notes)
        found, checks = _compared(good, others, alike, brightness, real is not None, notes)
        findings += found + _noise(good, others if real is not None else None)
        findings += _core(good, null.measured if null is not None else reference.galaxies, null is not None, seed)
    else:
        notes.append(f"{len(good)} measured simulations are too few to compare: give at least {FEWEST}, better 400.")
    return Audit(
        sims=str(sims.path),
        compared_with=compared,
        objects=len(sims.table),
        measured=len(good),
        refused=sims.refused,
        brightness=brightness,
        findings=tuple(sorted(findings, key=lambda item: -item.effect)),
        checks=tuple(checks),
        notes=tuple(notes),
    )


def brightness_factor(sims: pd.DataFrame, others: pd.DataFrame, rng: np.random.Generator) -> Brightness:
    """Return by what factor arcs are too bright, in r, at the same magnitude of the galaxy."""
    ratio, low, high = matched_ratio(sims, others, "arc_flux_r", rng)
    return Brightness(value=true_factor(ratio), low=true_factor(low), high=true_factor(high), measured=ratio)


def _unseen(good: pd.DataFrame, notes: list[str]) -> list[Finding]:
    """Return a finding if most simulations show no arc: then nothing else that is said of arcs means anything."""
    share = float((good["lens_snr"] > SEEN).mean())
    if share > FEW:
        return []
    notes.append("Few arcs are seen: factor of brightness, colors and shapes are those of noise and of neighbors.")
    if share > NONE:
        return []
    return [
        Finding(
            name="no-arcs",
            says=f"an arc is seen (S/N above {SEEN:g}) in {100 * share:.0f} % of the simulations, among published "
            f"lenses in {100 * PUBLISHED_SHOWING:.0f} %",
            remedy="Keep sources whose arcs would be noticed: faint ones only where they are highly magnified.",
            effect=4.0 * (1.0 - share / PUBLISHED_SHOWING),
            low=4.0 * (1.0 - NONE / PUBLISHED_SHOWING),
            high=4.0,
            value=share,
            expected=PUBLISHED_SHOWING,
        )
    ]


def _others(real: MeasuredSet | None, reference: Reference) -> pd.DataFrame:
    if real is None:
        return reference.at(1.0)
    if len(real.measured) < FEWEST:
        raise InputError(
            f"{len(real.measured)} measured real lenses are too few to compare with: give at least {FEWEST}, better "
            "400, or none (then the published populations are taken)"
        )
    return real.measured


def _shared(good: pd.DataFrame, real: MeasuredSet | None) -> int:
    if real is None:
        return 0
    own = good["source_id"].astype(str).str.split("_lens").str[0]
    theirs = set(real.measured["source_id"].astype(str).str.split("_lens").str[0])
    return int(own.isin(theirs).sum())


def _notes(sims: MeasuredSet, good: pd.DataFrame) -> list[str]:
    notes = list(sims.problems)
    if len(good) and bool(good["psf_is_assumed"].all()):
        notes.append("The PSF of the simulations is not known: the survey's medians were assumed for it.")
    if len(good) and bool(good["noise_is_measured"].all()):
        notes.append("There is no invvar: the noise was measured on the sky of each cutout.")
    return notes


def _refusals(sims: MeasuredSet) -> list[Finding]:
    findings = []
    total = max(len(sims.measured) + sum(sims.refused.values()), 1)
    for code, number in sims.refused.items():
        share = min(number / total, 1.0)
        if code in CODE_REMEDIES and share > 0.05:
            name, remedy = CODE_REMEDIES[code]
            says = f"{number} of {total} simulations cannot be measured: {CODES[code]}"
            findings.append(
                Finding(name=name, says=says, remedy=remedy, effect=10.0 * share, low=10.0 * share, high=10.0 * share)
            )
    return findings


def _as_bright(
    others: pd.DataFrame,
    brightness: Brightness,
    reference: Reference,
    real: MeasuredSet | None,
    notes: list[str],
) -> pd.DataFrame:
    """Return lenses whose arcs are about as bright as the simulated ones, for shapes."""
    if real is not None and 1.0 / 1.7 < brightness.value < 1.7:
        return others
    if brightness.value >= 1.7:
        notes.append(
            "Arcs are so bright that shapes and noise are compared with published lenses made about as bright."
        )
    return reference.at(brightness.value)


def _compared(
    good: pd.DataFrame,
    others: pd.DataFrame,
    alike: pd.DataFrame,
    brightness: Brightness,
    from_real: bool,
    notes: list[str],
) -> tuple[list[Finding], list[dict[str, Any]]]:
    findings, checks = [], []
    margin = BRIGHTNESS_MARGIN if from_real else BRIGHTNESS_MARGIN * 10.0 ** (0.4 * PUBLISHED_ERROR) / 1.1
    if brightness.low > margin or brightness.high < 1.0 / margin:
        spread = float(np.std(np.log10(np.maximum(others["arc_flux_r"].to_numpy(np.float64), 1e-2))))
        scale = max(spread, 0.1)
        size = [abs(float(np.log10(value))) / scale for value in (brightness.value, brightness.low, brightness.high)]
        word = "bright" if brightness.value > 1.0 else "faint"
        factor = brightness.value if brightness.value > 1.0 else 1.0 / brightness.value
        findings.append(
            Finding(
                name="brightness",
                says=f"arcs are {factor:.1f} times too {word} for their galaxies "
                f"(factor {brightness.value:.2f}, 95 % from {brightness.low:.2f} to {brightness.high:.2f})",
                remedy=f"Divide the sources' fluxes by {brightness.value:.2f}: unlensed sources of r = 23 to 25.5, "
                "about 5.6 mag below the lens, then select what is seen.",
                effect=size[0],
                low=min(size[1:]),
                high=max(size[1:]),
                value=brightness.value,
                expected=1.0,
            )
        )
    # The reference is as bright only to the nearest of its levels, and statistics of bright arcs are precise.
    margin = MARGIN if brightness.value < 1.7 else 2.0 * MARGIN
    for name, finding, matters, says, remedy in SHAPES:
        item = difference(name, column(good, name), column(alike, name))
        if item is None:
            continue
        checks.append(_check(item))
        if item.low > margin and matters(item):
            named = finding
            if finding == "psf-width" and item.effect < 0.0 and _sharp(good, alike):
                named, remedy = "psf-missing", "Blur the arcs: they have not been through any PSF. " + remedy
            findings.append(_finding(named, item, says, remedy))
    if any(item.name == "psf-missing" for item in findings):
        # Light that no PSF has blurred is rough and has no wings: one cause, one finding.
        findings = [item for item in findings if item.name not in ("shot-noise", "psf-wings")]
    if brightness.value < 1.0 and any(_hides_light(item) for item in findings):
        # What looks like a part of its galaxy loses light to it: one cause, one finding.
        findings = [item for item in findings if item.name != "brightness"]
        notes.append(
            "Rings, and arcs of a galaxy's color, are taken for galaxies in part: arcs are brighter than said."
        )
    for name in HOST_STATISTICS:
        item = difference(name, column(good, name), column(alike, name))
        if item is not None:
            checks.append(_check(item))
    hosts = [item for item in checks if item["statistic"] in HOST_STATISTICS]
    worst = max(hosts, key=lambda item: item["low"], default=None)
    if worst is not None and worst["low"] > HOST_MARGIN:
        findings.append(
            Finding(
                name="hosts",
                says=f"galaxies are not lens hosts: {worst['statistic']} is {worst['median']:.2f}, expected "
                f"{worst['expected']:.2f}",
                remedy="Take luminous red galaxies, weighted to hosts of known lenses in magnitude, colors and size.",
                effect=abs(worst["effect"]),
                low=worst["low"],
                high=worst["high"],
                value=worst["median"],
                expected=worst["expected"],
            )
        )
    return findings, checks


def _hides_light(item: Finding) -> bool:
    """Return whether a fault makes arcs look like a part of their galaxies."""
    redder = item.name == "source-color" and (item.value or 0.0) > (item.expected or 0.0)
    return redder or item.name == "centered-sources"


def _sharp(good: pd.DataFrame, alike: pd.DataFrame) -> bool:
    """Return whether arcs have structure finer than any PSF: light that changes from pixel to pixel."""
    item = difference("arc_roughness", column(good, "arc_roughness"), column(alike, "arc_roughness"))
    return item is not None and item.effect > 0.0 and item.low > MARGIN


def _finding(name: str, item: Difference, says: str, remedy: str) -> Finding:
    return Finding(
        name=name,
        says=says.format(item.median, item.other),
        remedy=remedy,
        effect=abs(item.effect),
        low=item.low,
        high=item.high,
        value=item.median,
        expected=item.other,
    )


def _check(item: Difference) -> dict[str, Any]:
    return {
        "statistic": item.name,
        "median": item.median,
        "expected": item.other,
        "effect": item.effect,
        "low": item.low,
        "high": item.high,
        "n": item.n,
        "m": item.m,
    }


def _noise(good: pd.DataFrame, real: pd.DataFrame | None) -> list[Finding]:
    """Return findings on the sky: level against invvar, and correlation."""
    findings = []
    for band in "grz":
        ratio = float(np.nanmedian(good[f"noise_ratio_{band}"])) if good[f"noise_ratio_{band}"].notna().any() else None
        if ratio is not None and not NOISE_RATIO[0] < ratio < NOISE_RATIO[1]:
            findings.append(
                Finding(
                    name="noise-level",
                    says=f"sky pixels in {band} scatter by {ratio:.2f} of 1/sqrt(invvar), in coadds it is 0.91",
                    remedy="Add noise of the variance 1/invvar, once, or give the invvar of the noise that is there.",
                    effect=abs(float(np.log(ratio / 0.91))) / 0.15,
                    low=0.0,
                    high=0.0,
                    value=ratio,
                    expected=0.91,
                )
            )
            break
    lag = float(np.nanmedian(good["lag_r"]))
    expected = 0.2 if real is None else float(np.nanmedian(real["lag_r"]))
    low, high = LAGS if real is None else (expected - 0.08, expected + 0.08)
    if not low < lag < high:
        findings.append(
            Finding(
                name="noise-correlation",
                says=f"neighboring sky pixels are correlated by {lag:.2f}, in the survey by {expected:.2f}",
                remedy="Inject into real cutouts, or pass white noise through the coadd's interpolation kernel.",
                effect=abs(lag - expected) / 0.08,
                low=0.0,
                high=0.0,
                value=lag,
                expected=expected,
            )
        )
    return findings


def _core(good: pd.DataFrame, galaxies: pd.DataFrame, from_null: bool, seed: int) -> list[Finding]:
    """Return findings on what the core gives away without the arc."""
    findings = []
    offset = float(np.nanpercentile(good["center_offset"], 90.0))
    if offset < CENTERED_OFFSET:
        findings.append(
            Finding(
                name="core-leakage",
                says=f"nine of ten galaxies are within {offset:.3f} arcsec of the stamp's middle: they were put there",
                remedy="Leave galaxies where the survey's pixels have them, within half a pixel of the middle.",
                effect=1.0,
                low=1.0,
                high=1.0,
                value=offset,
                expected=0.1,
            )
        )
    if from_null and len(galaxies) >= FEWEST:
        names = [name for name in CORE_STATISTICS if name in galaxies]
        value, error = two_sample_auc(features(good, names), features(galaxies, names), seed)
        if value - 1.645 * error > LEAKAGE_MARGIN:
            findings.append(
                Finding(
                    name="core-leakage",
                    says=f"the core alone tells simulations from galaxies without arcs (area under the ROC curve "
                    f"{value:.2f}): a network will not look at arcs",
                    remedy="Draw hosts as the galaxies without arcs are drawn, or match those to the hosts.",
                    effect=2.0 * (value - 0.5) / 0.5,
                    low=2.0 * (value - 1.645 * error - 0.5) / 0.5,
                    high=2.0 * (value + 1.645 * error - 0.5) / 0.5,
                    value=value,
                    expected=0.5,
                )
            )
    return findings
