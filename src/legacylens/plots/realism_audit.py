"""The page of an audit: what is wrong, what to change first, every statistic that was compared, some of the cutouts."""

from __future__ import annotations

from pathlib import Path

from legacylens.plots.realism import Section, distribution_figure, gallery_of, write_page
from legacylens.plots.style import figure_uri
from legacylens.realism.audit import Audit
from legacylens.realism.inputs import MeasuredSet
from legacylens.realism.reference import packaged_reference

SHOWN = (
    "arc_mag_g",
    "arc_g_r",
    "lens_snr",
    "arc_width",
    "arc_roughness",
    "wing_preference",
    "arc_radius",
    "host_mag_r",
    "lag_r",
)
"""Statistics whose distributions are drawn."""


def write_audit_page(path: Path, result: Audit, measured: MeasuredSet | None) -> Path:
    """Write the page of ``realism audit``.

    Parameters
    ----------
    path
        The HTML file.
    result
        The audit.
    measured
        The simulations, if any could be read.
    """
    if result.brightness is None:
        lead = "No brightness could be measured."
    else:
        b = result.brightness
        lead = f"Arcs are {b.value:.2f} times as bright as expected (95 %: {b.low:.2f} to {b.high:.2f})."
    lead += f" {len(result.findings)} things to change." if result.findings else " Nothing has to be changed."
    refused = ", ".join(f"{number} {reason}" for reason, number in result.refused.items())
    counts = f"{result.measured} of {result.objects} simulations were measured" + (
        f"; not: {refused}." if refused else "."
    )
    sections = [
        Section(
            heading="What to change, in this order",
            paragraphs=[counts, result.compared_with, *result.notes],
            header=("finding", "effect", "from", "to", "what", "remedy"),
            rows=[(f.name, f.effect, f.low, f.high, f.says, f.remedy) for f in result.findings],
        ),
        Section(
            heading="Everything that was compared",
            paragraphs=[
                "An effect is a difference in spreads of the statistic, by ranks; it matters above 0.25 (galaxies 0.5)."
            ],
            header=("statistic", "simulations", "expected", "effect", "at least", "at most"),
            rows=[
                (c["statistic"], c["median"], c["expected"], c["effect"], c["low"], c["high"]) for c in result.checks
            ],
        ),
    ]
    if measured is not None and len(measured.measured):
        tables = {"simulations": measured.measured, "published populations": packaged_reference().at(1.0)}
        figure = distribution_figure(tables, [name for name in SHOWN if name in tables["published populations"]])
        sections.append(Section(heading="Distributions", figures=[figure_uri(figure)]))
        sections.append(Section(heading="The first of them", pictures=gallery_of(measured)))
    return write_page(path, f"Audit of {result.sims}", lead, sections, result.as_dict())
