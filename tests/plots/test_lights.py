"""Lights: each can be red, amber and green, by the stated rule."""

import pytest

from legacylens.plots.lights import counts_light, sample_light, trust_light


def _row(fpr, recall_low, measurable):
    return {"fpr_target": fpr, "fpr": fpr, "recall_low": recall_low, "measurable": measurable}


def _validation(*rows, split="sealed", number=1):
    return {"split": split, "recall": list(rows), "opening": {"number": number}}


GOOD = (_row(0.1, 0.8, True), _row(0.01, 0.5, True), _row(1e-4, 0.0, False))


@pytest.mark.parametrize(
    ("validation", "level"),
    [
        (_validation(*GOOD), "green"),
        (_validation(*GOOD, number=2), "amber"),
        (_validation(*GOOD, split="validation"), "amber"),
        (_validation(_row(0.1, 0.8, True), _row(0.01, 0.5, False)), "amber"),
        (_validation(_row(0.1, 0.09, True), _row(0.01, 0.5, False)), "red"),
        (None, "red"),
    ],
)
def test_trust(validation, level):
    assert trust_light(validation).level == level


@pytest.mark.parametrize(
    ("parent", "scored", "level"), [(1000, 1000, "green"), (1000, 985, "amber"), (1000, 940, "red"), (0, 0, "red")]
)
def test_counts(parent, scored, level):
    assert counts_light(parent, scored).level == level


@pytest.mark.parametrize(
    ("verdicts", "level"),
    [
        (["pass", "pass"], "green"),
        (["pass", "unclear"], "amber"),
        (["not testable", "pass"], "amber"),
        (["unclear", "fail"], "red"),
    ],
)
def test_sample(verdicts, level):
    gates = {"gates": [{"gate": f"g{i}", "verdict": verdict} for i, verdict in enumerate(verdicts)]}
    assert sample_light(gates).level == level
    assert sample_light(None).level == "amber"
