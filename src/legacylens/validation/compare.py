"""Two networks on the same lenses: compared pair by pair, and not at all if anything but the scores differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scipy.stats import binomtest

from legacylens.errors import InputError


def compare_results(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Compare two validations of the same split of the same sample.

    Parameters
    ----------
    first, second
        As from `legacylens.validation.report.validate`.

    Returns
    -------
    comparison
        ``rows`` for each false-positive rate: both recalls, ``only_first``, ``only_second`` (lenses that one finds and
        the other does not, each at its own threshold), ``p_value`` (exact McNemar test), ``better`` (``first``,
        ``second`` or ``neither``), ``measurable``. A rate that cannot be measured decides nothing.

    Raises
    ------
    InputError
        If sample, split or definition differ: then the numbers do not measure the same.
    """
    different = [
        word
        for name, word in (("sample_hash", "samples"), ("split", "splits"), ("definition_hash", "definitions"))
        if first[name] != second[name]
    ]
    if different:
        raise InputError(
            f"the validations have different {' and '.join(different)} "
            f"({', '.join(str(result['definition_hash'])[:12] for result in (first, second))}): their numbers do not "
            "measure the same. Validate both scores on one sample with one configuration"
        )
    a, b = dict(first["lens_values"]), dict(second["lens_values"])
    common = sorted(set(a) & set(b))
    rows = []
    for one, two in zip(first["recall"], second["recall"], strict=True):
        found_a = {name for name in common if a[name] >= one["threshold"]}
        found_b = {name for name in common if b[name] >= two["threshold"]}
        only_a, only_b = len(found_a - found_b), len(found_b - found_a)
        p_value = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
        measurable = bool(one["measurable"] and two["measurable"])
        sure = measurable and p_value < 0.05
        rows.append(
            {
                "fpr_target": one["fpr_target"],
                "recall_first": one["recall"],
                "recall_second": two["recall"],
                "only_first": only_a,
                "only_second": only_b,
                "n_common": len(common),
                "p_value": p_value,
                "measurable": measurable,
                "better": "neither" if not sure else "first" if only_a > only_b else "second",
            }
        )
    return {
        "sample_hash": first["sample_hash"],
        "split": first["split"],
        "definition_hash": first["definition_hash"],
        "scores": [first["scores_hash"], second["scores_hash"]],
        "same_scores": first["scores_hash"] == second["scores_hash"],
        "rows": rows,
        "not_shown": [
            "The test counts lenses that one finds and the other does not, with both thresholds as they are; that "
            "thresholds were measured on the same non-lenses adds uncertainty that it does not have.",
            "Of several networks compared on one split, the best is partly luck: judge it again on sealed sky.",
        ],
    }
