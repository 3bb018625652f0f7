"""The simulator beside lenstronomy in one run: cutouts per second, error of the peak, memory of a batch.

    python benchmarks/mock_speed.py [--n 384] [--seconds 3] [--check 3] [--out benchmarks/results/mock_speed-DATE.json]

The same as ``legacylens mocks bench --json``, with the date, the machine and the command written beside the numbers.
On other lenses, or on a machine with something else to do, the numbers differ; ratios within one run differ least.

ours                    SIE with shear, a Sersic source, three bands, PSFs of a bank, noise of the sky and of the arcs;
lenstronomy_api         its SimulationAPI in one process, each band traced (4 x 4 rays a pixel) and convolved by itself;
lenstronomy_api_coarse  the same, convolved on the survey's pixels: faster, and wrong by a per cent of the peak or more;
lenstronomy_best        its ImageModel with rays traced once for all bands, scaled, convolved on pixels by FFT, made
                        noisy by NumPy, in as many processes as we have threads;
peak_error              against lenstronomy at 32 x 32 rays a pixel with the PSF as fine, then averaged over pixels.
"""

import argparse
import datetime
import platform
import sys
from pathlib import Path

import torch
from publish import publish

from legacylens.mocks.speed import measure


def processor() -> str:
    """Return the name of the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=384)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--check", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "command": f"python benchmarks/mock_speed.py {' '.join(sys.argv[1:])}".strip(),
        "processor": processor(),
        "python": platform.python_version(),
        **measure(
            n=arguments.n,
            seed=arguments.seed,
            seconds=arguments.seconds,
            n_threads=arguments.threads,
            n_check=arguments.check,
        ),
    }
    publish(result, arguments.out)


if __name__ == "__main__":
    main()
