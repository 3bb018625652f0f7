"""One finished search of a tiny mock sky, for all tests that need one."""

import shutil

import pytest

from legacylens.search.engine import run_steps
from legacylens.search.examples import quickstart_config
from legacylens.search.steps import SearchPlan
from legacylens.search.whole import search


@pytest.fixture(scope="session")
def whole_way(tmp_path_factory):
    """A finished search; its truth was taken away before anything downstream of the mock sky ran."""
    folder = tmp_path_factory.mktemp("whole-way")
    config = quickstart_config(size="tiny", seed=3, workers=2)
    plan = SearchPlan(config, folder / "search")
    run_steps(plan.steps()[:1], folder / "search")
    # The mocks step is finished, so it will not run again; whatever needed the truth would now fail.
    shutil.move(plan.folder("mocks") / "truth", folder / "truth")
    result = search(config, folder / "search")
    return plan, result, folder / "truth"
