"""The network that comes with the package, for a user who has none yet."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from legacylens.errors import InputError

DEFAULT_NAME = "default.pt"
"""File in ``legacylens/models/weights``."""


def packaged_checkpoint() -> Path:
    """Return the checkpoint in the package.

    It was trained on the mock sky (its description says so): good for trying the commands out and for sorting,
    no substitute for a network trained on survey images.

    Raises
    ------
    InputError
        If this installation has none.
    """
    # An installed package is a folder for torch and its other dependencies, so a plain path is enough.
    path = Path(str(resources.files("legacylens") / "models" / "weights" / DEFAULT_NAME))
    if not path.is_file():
        raise InputError(
            "no network is packaged with this installation. Train one (`legacylens train SAMPLE STORE --out DIR`) "
            "and give it with --checkpoint DIR/best.pt"
        )
    return path
