"""The sample of a whole survey: how long it takes to label, split and draw among millions of parents.

    python benchmarks/sample_scale.py [--parents 4000000] [--brick-fraction 0.01] [--out ...json]

Writes a parent table of galaxies at random over the sky south of +32 (the survey has 43.5 million), and
systems of known lenses on some of them, and builds the sample of Paper IV's recipe from it: 98 non-lenses for each lens
in every split. Peak memory is the largest resident set of the process that builds (``VmHWM``).
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from publish import publish

CHUNK = 500_000


def write_sky(folder: Path, n: int, n_systems: int) -> None:
    rng = np.random.default_rng(1)
    writer = None
    for start in range(0, n, CHUNK):
        m = min(CHUNK, n - start)
        dec = np.degrees(np.arcsin(rng.uniform(-1, np.sin(np.radians(32.0)), m)))
        ra = rng.uniform(0, 360, m)
        row = np.floor((dec + 90) * 4).astype(int)
        column = np.floor(ra * 4 * np.cos(np.radians(dec))).astype(int)
        table = pa.table(
            {
                "source_id": [f"10002_{start + k}_1" for k in range(m)],
                "ra": ra,
                "dec": dec,
                "brickname": np.char.add(np.char.mod("%04dp", column), np.char.mod("%03d", row)),
                "type": rng.choice(["SER", "DEV", "REX", "EXP"], m, p=[0.5, 0.2, 0.2, 0.1]),
                "nobs_z": rng.integers(3, 14, m),
            }
        )
        if writer is None:
            writer = pq.ParquetWriter(folder / "parent.parquet", table.schema, compression="zstd")
            first = table.slice(0, n_systems).to_pandas()
        writer.write_table(table)
    writer.close()
    systems = first[["ra", "dec"]].assign(
        system_id=[f"K{k}" for k in range(len(first))], tier=np.where(np.arange(len(first)) < 1372, 1, 3), grade=""
    )
    pq.write_table(pa.Table.from_pandas(systems), folder / "systems.parquet")


def build(folder: str, fraction: float) -> dict:
    from legacylens.samples.build import make_sample
    from legacylens.samples.config import SPLITS, SampleConfig

    config = SampleConfig(brick_fraction=fraction, negatives_per_positive=98.0, matched_splits=SPLITS)
    start = time.perf_counter()
    summary = make_sample(folder, folder, Path(folder) / f"sample-{fraction}", config)
    seconds = time.perf_counter() - start
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    used = summary["counts"]
    frame = pd.read_parquet(Path(folder) / f"sample-{fraction}/sample.parquet")
    frame = frame[frame["label"].isin([0, 1]) & (frame["split"] != "guard")]
    return {
        "brick_fraction": fraction,
        "seconds": round(seconds, 1),
        "peak_memory_mb": round(peak / 1024),
        "lenses": sum(used[split]["lenses"] for split in SPLITS),
        "non_lenses": sum(used[split]["non_lenses"] for split in SPLITS),
        "bricks_to_cut": int(frame["brickname"].nunique()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parents", type=int, default=4_000_000)
    parser.add_argument("--systems", type=int, default=12_000)
    parser.add_argument("--brick-fraction", type=float, action="append")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--build", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.build:
        print(json.dumps(build(arguments.build[0], float(arguments.build[1]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_sky(Path(folder), arguments.parents, arguments.systems)
        result = {
            "parents": arguments.parents,
            "systems": arguments.systems,
            "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
            "load_average_at_start": round(os.getloadavg()[0], 2),
            "samples": [],
        }
        for fraction in arguments.brick_fraction or [0.05]:
            command = [sys.executable, __file__, "--build", folder, str(fraction)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            result["samples"].append(json.loads(done.stdout))
    publish(result, arguments.out)


if __name__ == "__main__":
    main()
