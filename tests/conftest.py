"""What all tests share: profiles for Hypothesis, the real data beside the project, quiet numerics."""

from __future__ import annotations

import os
from pathlib import Path

# One thread a process, before NumPy or torch start theirs: two test processes with two threads each on two cores wait
# for one another (training was seen to be forty times slower).
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import pytest
from hypothesis import settings

settings.register_profile("dev", max_examples=25, deadline=None)
settings.register_profile("ci", max_examples=60, deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

TOGETHER = "tests/e2e/"
"""Tests that share a finished search."""

REAL_DATA = Path(os.environ.get("LEGACYLENS_REAL_DATA", Path(__file__).parents[2] / "shared" / "real"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real survey files; the test skips where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real survey files at {REAL_DATA} (set LEGACYLENS_REAL_DATA)")
    return REAL_DATA


def pytest_collection_modifyitems(items):
    """Begin with what takes longest, so that no process is left alone with it at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(TOGETHER))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keep the tests of a file in one process, and all tests of the one finished search in one: it is made once."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return TOGETHER if nodeid.startswith(TOGETHER) else nodeid.partition("::")[0]

    return ByFile(config, log)
