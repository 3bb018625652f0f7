"""How fast, and in how much memory, the parent sample is selected from one sweep of the survey's size.

    python benchmarks/parent_sweep.py [--gigabytes 1.5] [--out benchmarks/results/parent_sweep.json]

Writes one synthetic sweep with all the columns of DR10 in their types (the types of sources in the proportions of DR10,
magnitudes down to z = 23), then measures in processes of their own, page cache warm:

ours        `build_parent` as a user runs it: cuts, counts, checksum, parent table on disk;
unchecked   the same without the checksum;
fitsio      the same columns of all rows with fitsio, without any selection (whole and in memory);
read        the bytes of the file, nothing else: what no reader can undercut.

Peak memory is the largest resident set of the process (``VmHWM``), Python and its libraries included.
"""

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from publish import publish

CHUNK = 100_000
SHARES = {b"PSF": 0.55, b"REX": 0.25, b"EXP": 0.10, b"DEV": 0.05, b"SER": 0.04, b"DUP": 0.01}


def write_sweep(path: Path, gigabytes: float) -> int:
    """Write a sweep block by block, so that the writer needs no more memory than the reader."""
    from astropy.io import fits

    from legacylens.mocks.sweep_columns import SWEEP_COLUMNS

    dtype = np.dtype([(name, kind) for name, kind, _ in SWEEP_COLUMNS])
    n_rows = int(gigabytes * 1e9 / dtype.itemsize)
    header = fits.BinTableHDU(np.zeros(1, dtype)).header
    header["NAXIS2"] = n_rows
    rng = np.random.default_rng(10)
    with path.open("wb") as handle:
        handle.write(fits.PrimaryHDU().header.tostring().encode())
        handle.write(header.tostring().encode())
        for start in range(0, n_rows, CHUNK):
            n = min(CHUNK, n_rows - start)
            rows = np.zeros(n, dtype)
            rows["RELEASE"] = 10002
            rows["BRICKID"] = 300_000 + np.arange(start, start + n) // 5_000
            rows["BRICKNAME"] = np.char.mod("1126p%03d", (np.arange(start, start + n) // 5_000) % 1000).astype("S8")
            rows["OBJID"] = np.arange(start, start + n) % 5_000
            rows["TYPE"] = rng.choice(list(SHARES), n, p=list(SHARES.values()))
            rows["RA"], rows["DEC"] = rng.uniform(110, 115, n), rng.uniform(20, 25, n)
            rows["EBV"] = rng.uniform(0, 0.1, n)
            flux = 10 ** (-0.4 * (23 - 5 * rng.power(4, n)[::-1] - 22.5)) / 4
            for band, color in zip("GRIZ", (0.2, 0.6, 0.8, 1.0), strict=True):
                rows[f"FLUX_{band}"] = color * flux
                rows[f"MW_TRANSMISSION_{band}"] = 0.9
                rows[f"NOBS_{band}"] = rng.integers(1, 9, n)
                rows[f"PSFSIZE_{band}"] = 1.2
            rows["MASKBITS"] = np.where(rng.random(n) < 0.05, 2, 0)
            handle.write(rows.astype(dtype.newbyteorder(">")).tobytes())
        handle.write(b"\0" * (-handle.tell() % 2880))
    return n_rows


def measure(kind: str, path: str, folder: str) -> dict[str, float]:
    """Run one way of reading; called in a process of its own."""
    start = time.perf_counter()
    selected = 0
    if kind in ("ours", "unchecked"):
        from legacylens.catalog.parent import ParentCuts
        from legacylens.catalog.parent_build import build_parent

        report = build_parent([path], ParentCuts(), Path(folder) / kind, verify=kind == "ours")
        selected = report.selected
    elif kind == "fitsio":
        import fitsio

        from legacylens.catalog.sweeps import COLUMNS

        fitsio.read(path, columns=[name.upper() for name in COLUMNS])
    else:
        with Path(path).open("rb") as handle:
            while handle.read(48 * 2**20):
                pass
    seconds = time.perf_counter() - start
    # Not ru_maxrss: a child process inherits that from its parent until it has grown beyond it.
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    return {
        "seconds": round(seconds, 2),
        "peak_memory_mb": round(peak / 1024),
        "selected": selected,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sweep-110p020-115p025.fits"
        n_rows = write_sweep(path, arguments.gigabytes)
        digest = hashlib.sha256()
        with path.open("rb") as handle:
            while block := handle.read(1 << 24):
                digest.update(block)
        (Path(folder) / "sweep.sha256sum").write_text(f"{digest.hexdigest()}  {path.name}\n")
        result = {
            "bytes": path.stat().st_size,
            "rows": n_rows,
            "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
            "python": platform.python_version(),
            "load_average_at_start": round(os.getloadavg()[0], 2),
        }
        for kind in ("read", "ours", "unchecked", "fitsio"):
            command = [sys.executable, __file__, "--measure", kind, str(path), folder]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            result[kind] = json.loads(done.stdout)
    publish(result, arguments.out)


if __name__ == "__main__":
    main()
