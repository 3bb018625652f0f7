"""How every figure looks: colors that a color-blind reader can tell apart, on paper and on a dark screen alike."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

LENS, NON_LENS, BAND = "#D55E00", "#0072B2", "#56B4E9"
"""Colors of the classes and of confidence bands (Okabe & Ito 2008)."""

SPLIT_COLORS = {"train": "#0072B2", "validation": "#E69F00", "sealed": "#009E73", "guard": "#999999"}

INK = "#010203"
"""Stands for the color of the text around the figure: an SVG has it replaced by ``currentColor``."""

_RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10.0,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": "#808080",
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.hashsalt": "legacylens",  # otherwise every run gives other ids, and the same report is never the same file
    "svg.fonttype": "path",
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the house style within the block."""
    with mpl.rc_context(_RC):
        yield


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure of ``width`` x ``height`` inches and its axes; no window system is asked for one."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def svg_of(figure: Figure) -> str:
    """Return a figure as SVG text that is light on dark where the reader's screen is dark."""
    buffer = io.StringIO()
    with mpl.rc_context(_RC):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    style = (
        "<style>svg{color:#1c1e21}@media(prefers-color-scheme:dark){svg{color:#e4e6ea}}"
        "@media print{svg{color:#1c1e21}}</style>"
    )
    start = text.index("<svg")
    head = text.index(">", start) + 1
    return text[start:head] + style + text[head:].replace(INK, "currentColor")


def data_uri(content: bytes, kind: str) -> str:
    """Return bytes as a ``data:`` URI of a MIME type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def figure_uri(figure: Figure) -> str:
    """Return a figure as a ``data:`` URI."""
    return data_uri(svg_of(figure).encode(), "image/svg+xml")
