"""Training steps per second with threads that spin or sleep while they wait, alone and beside other work.

    python benchmarks/waiting_threads.py [--seconds 15] [--busy 2]

Each way is a process of its own, because the policy is read when torch is loaded. ``--busy`` starts that many processes
that only count, as another user of the machine would.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time

BATCH = 64
WAYS = (("ACTIVE", 2), ("PASSIVE", 2), ("PASSIVE", 1))


def steps(threads: int, seconds: float) -> dict[str, float]:
    """Return cutouts per second of wall clock and of processor time."""
    import torch

    from legacylens.models.registry import build_network

    torch.set_num_threads(threads)
    network = build_network("compact", bands=3, seed=1)
    batch = torch.randn(BATCH, 3, 101, 101, generator=torch.Generator().manual_seed(1))
    network(batch).sum().backward()
    begun, used, n = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - begun < seconds:
        network.zero_grad()
        network(batch).sum().backward()
        n += BATCH
    return {
        "per_second": round(n / (time.perf_counter() - begun), 1),
        "per_processor_second": round(n / (time.process_time() - used), 1),
    }


def count() -> None:
    """Keep a core busy."""
    number = 0
    while True:
        number += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--busy", type=int, default=2)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(steps(arguments.one, arguments.seconds)))
        return
    result = {"command": " ".join(["python", *sys.argv]), "load_average_before": os.getloadavg()[0]}
    for busy in (0, arguments.busy):
        others = [multiprocessing.Process(target=count, daemon=True) for _ in range(busy)]
        for other in others:
            other.start()
        for policy, threads in WAYS:
            run = subprocess.run(
                [sys.executable, __file__, "--one", str(threads), "--seconds", str(arguments.seconds)],
                env={**os.environ, "OMP_WAIT_POLICY": policy},
                check=True,
                capture_output=True,
                text=True,
            )
            result[f"{policy.lower()}, {threads} threads, {busy} other processes"] = json.loads(run.stdout)
        for other in others:
            other.terminate()
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
