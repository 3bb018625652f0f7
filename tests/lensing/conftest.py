import runpy
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def oracle():
    """The constants of ``oracle.py``, by name."""
    return runpy.run_path(str(Path(__file__).with_name("oracle.py")))
