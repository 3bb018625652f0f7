"""How long it takes to merge 40,000 catalog rows into systems, and whether their order matters.

    python benchmarks/merge_systems.py [--published FOLDER] [--out benchmarks/results/merge_systems.json]

The rows are those of the installed lenscat and, with ``--published``, of the published candidate lists; rows of lenscat
under another name, displaced by 0.3 arcsec, fill up to 40,000. They are merged as they come, reversed, and in
``--orders`` random orders; the tables of systems and entries must be equal, cell by cell.
"""

import argparse
import os
import platform
import time
from pathlib import Path

import numpy as np
import pandas as pd
from publish import publish

from legacylens.catalog.published import read_lenscat, read_published
from legacylens.catalog.systems import merge_systems
from legacylens.survey.sphere import offset_position


def rows(published: Path | None, n: int) -> tuple[pd.DataFrame, dict[str, int]]:
    lists = [read_lenscat(), *(read_published(published) if published else [])]
    real = pd.concat([each.entries for each in lists], ignore_index=True)
    rng = np.random.default_rng(1)
    again = real.iloc[rng.choice(len(real), max(0, n - len(real)), replace=True)].copy()
    again["ra"], again["dec"] = offset_position(again["ra"], again["dec"], *rng.normal(0, 0.3, (2, len(again))))
    again["source"], again["row"] = "again", np.arange(1, len(again) + 1)
    table = pd.concat([real, again], ignore_index=True).iloc[:n]
    return table, {str(name): int(count) for name, count in table["source"].value_counts().items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--published", type=Path)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--orders", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    table, sources = rows(arguments.published, arguments.rows)
    seconds, first = [], None
    orders = [table, table.iloc[::-1], *(table.sample(frac=1.0, random_state=k) for k in range(arguments.orders))]
    for frame in orders:
        wall, processor = time.perf_counter(), time.process_time()
        merged = merge_systems(frame, 3.0)
        seconds.append((time.perf_counter() - wall, time.process_time() - processor))
        if first is None:
            first = merged
        pd.testing.assert_frame_equal(first.systems, merged.systems)
        pd.testing.assert_frame_equal(first.entries, merged.entries)
    result = {
        "rows": len(table),
        "sources": sources,
        "systems": len(first.systems),
        "orders_with_the_same_result": len(orders),
        "seconds_wall": [round(wall, 2) for wall, _ in seconds],
        "seconds_processor": [round(processor, 2) for _, processor in seconds],
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "python": platform.python_version(),
        "load_average_at_start": round(os.getloadavg()[0], 2),
    }
    publish(result, arguments.out)


if __name__ == "__main__":
    main()
