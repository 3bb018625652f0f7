#!/bin/sh
# Make the environment in .venv/: the package, editable, with what its tests need, at the pinned versions.
# Run again at any time; it changes only what has changed.
set -eu
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"

"$python" - <<'CHECK'
import sys
if sys.version_info < (3, 11):
    sys.exit(f"legacylens needs Python 3.11 or newer, this is {sys.version.split()[0]}: try `make install PYTHON=python3.11`")
CHECK
if [ ! -x .venv/bin/python ]; then
    "$python" -m venv .venv || {
        echo "no environment could be made: on Debian and Ubuntu, install the package python3-venv" >&2
        exit 1
    }
fi
pip="env PIP_DISABLE_PIP_VERSION_CHECK=1 .venv/bin/python -m pip"

# PyTorch first and alone. A machine without an NVIDIA GPU gets the CPU build (some hundred MB): where PyTorch's own
# index of CPU builds can be reached, `2.13.0+cpu` sorts above `2.13.0` and is taken; where it cannot, pip says so and
# goes on with what it finds. A machine with a GPU gets the ordinary build.
if command -v nvidia-smi >/dev/null 2>&1; then
    $pip install --quiet --constraint constraints.txt torch
else
    $pip install --quiet --constraint constraints.txt --retries 1 --timeout 30 \
        --extra-index-url https://download.pytorch.org/whl/cpu torch
fi
$pip install --quiet --constraint constraints.txt --editable ".[dev]"
# Without its dependencies: the catalog in it needs none of them (see pyproject.toml, extra `lenscat`).
$pip install --quiet --constraint constraints.txt --no-deps lenscat
