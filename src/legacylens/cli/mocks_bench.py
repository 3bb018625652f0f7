"""The verb ``legacylens mocks bench``."""

from __future__ import annotations

from typing import Annotated

import typer


def mocks_bench(
    n: Annotated[int, typer.Option("--n", help="Lenses of the calibrated set.", min=8)] = 512,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the lenses.", min=0)] = 1,
    seconds: Annotated[float, typer.Option("--seconds", help="How long each way is measured in s.", min=0.1)] = 4.0,
    threads: Annotated[
        int, typer.Option("--threads", help="Threads of ours, processes of lenstronomy's best.", min=1)
    ] = 2,
    check: Annotated[
        int, typer.Option("--check", help="Lenses compared with lenstronomy at supersampling 32; 4 s each.", min=0)
    ] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Measure the simulator in one run with lenstronomy: cutouts per second, error of the peak, memory.

    A cutout is three bands of 101 x 101 pixels, lensed, convolved and noisy. Where lenstronomy is not installed, or
    there is no GPU, the numbers that need them are null and the notes say so.

    \b
    Example:
      legacylens mocks bench --json
    """
    from legacylens.cli.output import show, table
    from legacylens.mocks.speed import measure

    report = measure(n=n, seed=seed, seconds=seconds, n_threads=threads, n_check=check)

    def render() -> list[object]:
        rows = [
            ("simulator, cutouts/s", report["cutouts_per_s"], f"{threads} threads"),
            ("simulator, cutouts/s", report["cutouts_per_s_one_thread"], "1 thread"),
            ("simulator, cutouts/s", report["gpu_cutouts_per_s"], "GPU"),
            ("lenstronomy SimulationAPI, cutouts/s", report["lenstronomy_api_per_s"], "1 process"),
            ("the same, convolved on pixels", report.get("lenstronomy_api_coarse_per_s"), "1 process"),
            ("lenstronomy ImageModel, cutouts/s", report["lenstronomy_best_per_s"], f"{threads} processes"),
            ("ratio to SimulationAPI", report["ratio_to_api"], "80 wanted"),
            ("ratio to ImageModel", report["ratio_to_best"], "15 wanted"),
            ("error of the peak, lenstronomy at 32", report["peak_error"], "0.003 allowed"),
            ("error of the peak, our exact code", report["peak_error_exact"], "0.003 allowed"),
            ("memory of 128 lenses, simulator", report["memory_mb_fast"], "MB, 1000 allowed"),
            ("memory of 128 lenses, exact code", report["memory_mb_exact"], "MB, 1000 allowed"),
            ("memory of the libraries alone", report["memory_mb_nothing"], "MB"),
        ]
        return [table("Simulator", ["what", "value", "with"], rows), *report["notes"]]

    show(report, as_json, render)
