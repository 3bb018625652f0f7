"""The page of a gate: the verdict, and every test with its margin, interval and the value of two real halves."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from legacylens.plots.realism import Section, write_page
from legacylens.plots.style import figure_uri, house_style
from legacylens.realism.gate import Gate

COLORS = {"pass": "#009E73", "fail": "#D55E00", "underpowered": "#E69F00"}


def gate_figure(result: Gate) -> Figure:
    """Return the interval of every test over its margin; a pass is wholly left of 1."""
    tests = [test for test in result.tests if test.value is not None]
    with house_style():
        figure = Figure(figsize=(7.0, 0.24 * len(tests) + 0.8), layout="constrained")
        axis = figure.subplots()
        for row, test in enumerate(tests):
            low, value, high = ((number or 0.0) / test.margin for number in (test.low, test.value, test.high))
            color = COLORS.get(test.verdict, "gray")
            axis.plot([max(low, 0.0), min(high, 6.0)], [row, row], color=color)
            axis.plot([min(value, 6.0)], [row], "o", color=color, markersize=4)
            if test.real_real is not None:
                axis.plot([min(test.real_real / test.margin, 6.0)], [row], "|", color="black", markersize=8)
        axis.axvline(1.0, color="black", linewidth=0.8)
        axis.set_yticks(range(len(tests)), [test.test for test in tests], fontsize=7)
        axis.invert_yaxis()
        axis.set_xlabel("value over margin (line: 95 %; black tick: two halves of the real set)")
    return figure


def write_gate_page(path: Path, sims: str, result: Gate) -> Path:
    """Write the page of ``realism gate``."""
    lead = (
        f"Verdict: {result.verdict}, from {result.n_sims} simulations and {result.n_real} real lenses. "
        "A test passes if its whole interval is within its margin."
    )
    rows = [(t.test, t.value, t.low, t.high, t.margin, t.real_real, t.verdict, t.needed, t.note) for t in result.tests]
    sections = [
        Section(heading="All tests", paragraphs=result.notes, figures=[figure_uri(gate_figure(result))]),
        Section(
            heading="Numbers",
            header=("test", "value", "at least", "at most", "margin", "real-real", "verdict", "objects needed", "note"),
            rows=rows,
        ),
    ]
    return write_page(path, f"Gate for {sims}", lead, sections, result.as_dict())
