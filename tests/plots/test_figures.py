"""Figures: what is drawn is what the results say."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest

from legacylens.plots.figures import histogram_figure, recall_figure, sky_figure, waterfall_figure
from legacylens.plots.style import INK, SPLIT_COLORS, svg_of
from legacylens.survey.cells import cell_center


def _points(axes):
    """Markers of the table's rows: (x, y, filled)."""
    lines = [line for line in axes.lines if line.get_marker() == "o"]
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0]), line.get_markerfacecolor()) for line in lines]


def test_recall_figure_draws_the_table_on_a_logarithmic_axis(parts):
    result = parts["validation"]
    axes = recall_figure(result).axes[0]
    assert axes.get_xscale() == "log"
    rows = [row for row in result["recall"] if row["fpr"] > 0]
    points = _points(axes)
    assert [(x, y) for x, y, _ in points] == [(row["fpr"], row["recall"]) for row in rows]
    assert [face != "none" for _, _, face in points] == [row["measurable"] for row in rows]
    band = axes.collections[0]
    assert band.get_paths()[0].vertices[:, 1].max() <= 1.0


def test_histogram_figure_draws_fractions(parts):
    result = parts["validation"]
    axes = histogram_figure(result).axes[0]
    assert axes.get_yscale() == "log"
    values = [patch.get_data().values for patch in axes.patches if patch.get_fill()]
    np.testing.assert_allclose([value.sum() for value in values], 1.0)


def test_waterfall_figure_draws_every_step():
    axes = waterfall_figure([("rows", 100_000), ("parent", 1200), ("candidates", 0)]).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["rows", "parent", "candidates"]
    assert [text.get_text() for text in axes.texts] == ["100,000", "1,200", "0"]


def test_sky_figure_of_a_field_across_ra_zero(parts):
    sample = parts["sample"].frame
    axes = sky_figure(sample, 1024).axes[0]
    assert np.ptp(axes.get_xlim()) < 3  # not 360 degrees wide
    assert axes.xaxis_inverted()  # east to the left
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [label.split(" ")[0] for label in labels[:3]] == ["train", "validation", "sealed"]
    n_cells = sum(len(part.get_paths()) for part in axes.collections[:-1])
    assert n_cells == sample["cell"].nunique()
    assert len(axes.collections[-1].get_offsets()) == (sample["label"] == 1).sum()


def test_sky_figure_of_the_whole_sky():
    cells = np.arange(0, 12 * 32**2, 7)
    ra, dec = cell_center(cells, 32)
    sample = pd.DataFrame(
        {"cell": cells, "ra": ra, "dec": dec, "label": 0, "split": np.resize(list(SPLIT_COLORS), len(cells))}
    )
    axes = sky_figure(sample, 32).axes[0]
    assert axes.name == "mollweide"
    assert sum(len(part.get_offsets()) for part in axes.collections) == len(cells)


@pytest.mark.parametrize("make", [lambda parts: recall_figure(parts["validation"]),
                                  lambda parts: sky_figure(parts["sample"].frame, 1024)])  # fmt: skip
def test_pictures_follow_the_reader_from_light_to_dark_and_are_the_same_twice(parts, make):
    text = svg_of(make(parts))
    ElementTree.fromstring(text)  # ours, not a stranger's: whole XML
    assert INK not in text
    assert "currentColor" in text
    assert "prefers-color-scheme:dark" in text
    assert text == svg_of(make(parts))
