"""How fast stamps are cut out of a real-size brick, and read from the store.

    python benchmarks/cut_bricks.py [--targets 200] [--out benchmarks/results/cut_bricks.json]

Writes one brick of 3600 x 3600 pixels as legacypipe compresses it (RICE in tiles of 100 x 100 with quantized floats for
image and invvar, HCOMPRESS for maskbits, GZIP for psfsize) and compares, on one core:

ours        `cut_targets` as a user runs it: image, invvar, maskbits, psfsize, checksums, validation, the store on disk;
open        astropy opening each file again for each target and slicing ``.data`` (measured for a few targets, scaled);
section     the same with astropy's ``.section``, which decompresses only what it needs (measured, scaled);
unpack      the decompression alone of the tiles that the stamps touch, with fitsio: what no reader can undercut.

Then random and sequential reads of a store of some thousand cutouts.
"""

import argparse
import cProfile
import hashlib
import json
import os
import platform
import pstats
import tempfile
import time
from pathlib import Path

import astropy
import fitsio
import numpy as np
import pandas as pd
from astropy.io import fits
from astropy.table import Table
from scipy.ndimage import gaussian_filter

from legacylens.cutouts.bricks import cut_targets
from legacylens.cutouts.coadd import CoaddFile
from legacylens.cutouts.writer import write_store
from legacylens.survey.grid import brick_wcs, grid_header, sky_position
from legacylens.survey.release import Release

SIDE = 3600
NAME = "1500p000"
CENTER = (150.0625, 0.125)
COMPRESSION = {
    "image": "[compress R 100,100; qz -1e-4]",
    "invvar": "[compress R 100,100; qz 16]",
    "maskbits": "[compress H 100,100]",
    "psfsize": "[compress G 100,100; qz 0]",
}
FILES = [(kind, band) for kind in ("image", "invvar") for band in "grz"] + [("maskbits", None)]


def write_brick(root: Path) -> Release:
    release = Release(root=str(root))
    rng = np.random.default_rng(0)
    half = 0.125
    row = (NAME, 1, 0, 0, 0, *CENTER, CENTER[0] - half, CENTER[0] + half, CENTER[1] - half, CENTER[1] + half)
    names = ["BRICKNAME", "BRICKID", "BRICKQ", "BRICKROW", "BRICKCOL", "RA", "DEC", "RA1", "RA2", "DEC1", "DEC2"]
    Table(rows=[row], names=names).write(root / "survey-bricks.fits.gz")
    header = grid_header(*CENTER, SIDE, SIDE)
    cards = [{"name": card, "value": header[card]} for card in header]
    folder = Path(release.brick_folder(NAME))
    folder.mkdir(parents=True)
    y, x = np.mgrid[-30:31, -30:31]
    galaxies = [(*rng.integers(30, SIDE - 30, 2), 0.01 * rng.pareto(1.5)) for _ in range(3000)]
    # Inverse variance steps where chips overlap, and varies with the pixels' own noise.
    chips = gaussian_filter(rng.normal(size=(SIDE, SIDE)), 50) > 0
    lines = []
    for kind in ("image", "invvar", "psfsize", "maskbits"):
        for band in "grz" if kind != "maskbits" else (None,):
            match kind:
                case "image":
                    pixels = gaussian_filter(rng.normal(0, 0.006, (SIDE, SIDE)), 0.5)
                    for column, line, flux in galaxies:
                        pixels[line - 30 : line + 31, column - 30 : column + 31] += flux * np.exp(-np.hypot(x, y) / 3)
                case "invvar":
                    pixels = 6e4 * (1 + 0.5 * chips) + rng.normal(0, 200, (SIDE, SIDE))
                case "psfsize":
                    pixels = 1.1 + 0.1 * chips
                case _:
                    pixels = (gaussian_filter(rng.normal(size=(SIDE, SIDE)), 20) > 0.03) * 2
            path = Path(release.coadd_path(NAME, kind, band))
            with fitsio.FITS(f"{path}{COMPRESSION[kind]}", "rw") as out:
                out.write(np.asarray(pixels, np.int32 if kind == "maskbits" else np.float32), header=cards)
            lines.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()} *{path.name}\n")
    Path(release.checksum_path(NAME)).write_text("".join(lines))
    return release


def targets_in_brick(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    x, y = rng.uniform(83, SIDE - 84, (2, n))
    ra, dec = sky_position(brick_wcs(*CENTER, SIDE, SIDE), x, y)
    return pd.DataFrame({"source_id": [f"s{k:04d}" for k in range(n)], "ra": ra, "dec": dec, "brickname": NAME})


def corners(targets: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    x, y = brick_wcs(*CENTER, SIDE, SIDE).all_world2pix(targets["ra"], targets["dec"], 0)
    return np.floor(x + 0.5).astype(np.int64) - 50, np.floor(y + 0.5).astype(np.int64) - 50


def open_per_target(release: Release, targets: pd.DataFrame, use_section: bool) -> float:
    """Seconds for one target, all seven files."""
    started = time.perf_counter()
    for x0, y0 in zip(*corners(targets), strict=True):
        for kind, band in FILES:
            with fits.open(release.coadd_path(NAME, kind, band)) as hdus:
                pixels = hdus[1].section if use_section else hdus[1].data
                np.array(pixels[y0 : y0 + 101, x0 : x0 + 101])
    return (time.perf_counter() - started) / len(targets)


def unpack(release: Release, targets: pd.DataFrame) -> float:
    x0, y0 = corners(targets)
    started = time.perf_counter()
    for kind, band in FILES:
        path = release.coadd_path(NAME, kind, band)
        with CoaddFile(path, Path(path)) as file:
            file._tiles_under(x0, y0, 101, np.int32 if kind == "maskbits" else np.float32)
    return time.perf_counter() - started


def best(function, repeats: int = 3) -> float:
    return min(function() for _ in range(repeats))


def cut_once(release: Release, targets: pd.DataFrame, folder: Path) -> float:
    started = time.perf_counter()
    cut_targets(release, targets, folder / f"store-{time.monotonic_ns()}")
    return time.perf_counter() - started


def profile_of(release: Release, targets: pd.DataFrame, folder: Path) -> list[dict]:
    profiler = cProfile.Profile()
    profiler.runcall(cut_once, release, targets, folder)
    rows = pstats.Stats(profiler).stats.items()
    top = sorted(rows, key=lambda item: -item[1][2])[:8]
    return [
        {"function": f"{Path(file).name}:{name}", "calls": calls, "own_seconds": round(own, 3)}
        for (file, _, name), (_, calls, own, _, _) in top
    ]


def store_reads(folder: Path, n: int) -> dict:
    rng = np.random.default_rng(2)
    images = rng.normal(0, 0.005, (n, 3, 101, 101)).astype(np.float32)
    table = pd.DataFrame({"source_id": [f"s{k}" for k in range(n)]})
    started = time.perf_counter()
    store = write_store(folder / "random", table, images, images**2, np.zeros((n, 101, 101), np.int32))
    written = time.perf_counter() - started

    def random_one_by_one() -> float:
        order = np.random.default_rng(3).permutation(n)
        started = time.perf_counter()
        for index in order:
            store.images([index])
        return (time.perf_counter() - started) / n

    def random_batches() -> float:
        order = np.random.default_rng(4).permutation(n)
        started = time.perf_counter()
        for start in range(0, n, 64):
            store.images(order[start : start + 64])
        return (time.perf_counter() - started) / n

    def sequential() -> float:
        started = time.perf_counter()
        for _ in store.batches(256):
            pass
        return (time.perf_counter() - started) / n

    size = store.size_on_disk()
    return {
        "cutouts": n,
        "random_one_by_one_per_s": round(1 / best(random_one_by_one)),
        "random_batches_of_64_per_s": round(1 / best(random_batches)),
        "sequential_batches_of_256_per_s": round(1 / best(sequential)),
        "written_per_s": round(n / written),
        "bytes_per_cutout": round(size / n),
        "bytes_per_cutout_image_only": 3 * 101 * 101 * 4,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", type=int, default=200)
    parser.add_argument("--store", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "cut_bricks.json")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        release = write_brick(folder)
        targets = targets_in_brick(options.targets)
        n = len(targets)
        sizes = {p.name: p.stat().st_size for p in sorted(Path(release.brick_folder(NAME)).glob("*.fz"))}
        ours = best(lambda: cut_once(release, targets, folder))
        naive = open_per_target(release, targets.iloc[:3], use_section=False) * n
        section = open_per_target(release, targets.iloc[:20], use_section=True) * n
        floor = best(lambda: unpack(release, targets))
        result = {
            "targets": n,
            "files_read": len(FILES) + 3,
            "brick_megabytes": round(sum(sizes.values()) / 1e6, 1),
            "seconds_ours": round(ours, 3),
            "seconds_astropy_open_per_target": round(naive, 1),
            "seconds_astropy_section_per_target": round(section, 2),
            "seconds_decompression_alone": round(floor, 3),
            "times_faster_than_open": round(naive / ours, 1),
            "times_faster_than_section": round(section / ours, 1),
            "share_of_decompression": round(floor / ours, 2),
            "profile_own_time": profile_of(release, targets, folder),
            "store": store_reads(folder, options.store),
            "machine": f"one core of {platform.machine()}, {os.cpu_count()} cores in all",
            "versions": {"numpy": np.__version__, "astropy": astropy.__version__, "fitsio": fitsio.__version__},
            "command": "python benchmarks/cut_bricks.py",
        }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
