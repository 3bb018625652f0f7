"""Configurations to start from: the quickstart's, and two that `legacylens run --example` prints."""

from __future__ import annotations

from importlib import resources

from legacylens.config.load import record_from
from legacylens.config.search import SearchConfig
from legacylens.errors import InputError
from legacylens.mocks.release_config import SIZES

EXAMPLES = ("mock", "survey")
"""Names of the files in ``templates/``."""


def example_text(name: str) -> str:
    """Return an example configuration, with comments.

    Raises
    ------
    InputError
        If there is no such example.
    """
    if name not in EXAMPLES:
        raise InputError(f"no example {name!r}: there are {', '.join(EXAMPLES)}")
    return resources.files("legacylens.search").joinpath("templates", f"{name}.toml").read_text(encoding="utf-8")


def quickstart_config(*, size: str, seed: int, workers: int) -> SearchConfig:
    """Return the configuration of the quickstart: a mock sky, and a small network trained for minutes.

    Raises
    ------
    InputError
        If there is no such size.
    """
    if size not in SIZES:
        raise InputError(f"size = {size!r}: choose one of {', '.join(SIZES)}")
    return record_from(
        SearchConfig,
        {
            "name": f"quickstart-{size}",
            "workers": workers,
            "mock": {"size": size, "seed": seed},
            # The mock sky has its own list of known lenses; the real ones lie elsewhere.
            "known_lenses": {"lenscat": False},
            # The mock list has lenscat's two grades only; "probable" is tier 3. The seed was chosen before any network
            # was trained, so that the few cells of the tiny sky split into 50, 20 and 30 percent of the objects.
            "samples": {"worst_tier": 3, "train_fraction": 0.5, "validation_fraction": 0.2, "split_seed": 25},
            "candidates": {"top_n": 100},
            "report": {"title": f"A search of the {size} mock sky"},
        },
        "the quickstart",
    )
