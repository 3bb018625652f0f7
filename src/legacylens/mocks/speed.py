"""How fast the simulator is, how right, and how large: beside lenstronomy in one run, on the same lenses.

The lenses are those of the calibrated set, behind PSFs of the median conditions of DR10 with a twentieth of scatter.
All makers of pictures are asked for the same: three bands of 101 x 101 pixels, lensed, convolved and noisy. What is
prepared once for many lenses (transforms of PSFs, the objects of lenstronomy) is prepared before the clock starts.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from legacylens.mocks.fast_light import Parameters, half_window
from legacylens.mocks.population_summary import MEDIAN_CONDITIONS
from legacylens.mocks.psf import Psf, moffat_psfs
from legacylens.mocks.render import render_arcs_batch
from legacylens.mocks.simulator import PsfBank, lens_of, simulate, source_of
from legacylens.mocks.speed_lenses import ROUNDS, SpeedLenses, select_parameters, speed_lenses
from legacylens.survey.bands import BANDS, PIXSCALE, STAMP

BATCH = 128
"""Lenses whose pictures are held in memory together."""
CHECKED = 25
"""Half width of the part of an image in which it is compared with lenstronomy's [pixels]."""


def our_rate(lenses: SpeedLenses, *, seconds: float, n_threads: int, device: str = "cpu") -> float:
    """Return cutouts per second, in the best round through all lenses: the least disturbed by what else is running."""
    rng = np.random.default_rng(0)

    def once() -> None:
        simulate(
            lenses.parameters,
            lenses.fluxes,
            lenses.bank,
            lenses.psf_index,
            sigma=lenses.sigma,
            gain=lenses.gain,
            rng=rng,
            n_threads=n_threads,
            device=device,
        )

    once()
    times: list[float] = []
    while sum(times) < seconds or len(times) < ROUNDS:
        start = time.perf_counter()
        once()
        times.append(time.perf_counter() - start)
    return len(lenses.fluxes) / min(times)


def exact_error(lenses: SpeedLenses) -> float:
    """Return the worst error of any pixel, over the peak of its band, against our exact code."""
    worst = 0.0
    for start in range(0, len(lenses.fluxes), 32):
        part = lenses.part(slice(start, start + 32))
        exact = render_arcs_batch(
            lens_of(part.parameters),
            [source_of(part.parameters)],
            part.fluxes[:, None],
            [part.bank.psfs[place] for place in part.psf_index],
            n_lens=len(part.fluxes),
            shape=(STAMP, STAMP),
            tolerance=5e-5,
        ).image
        off = np.abs(_clean(part) - exact).max((2, 3)) / exact.max((2, 3))
        worst = max(worst, float(off.max()))
    return worst


def _clean(lenses: SpeedLenses) -> NDArray[np.float32]:
    """Return the images without noise."""
    rng = np.random.default_rng(0)
    return simulate(lenses.parameters, lenses.fluxes, lenses.bank, lenses.psf_index, sigma=None, rng=rng).images


def lenstronomy_error(lenses: SpeedLenses, n: int) -> tuple[float, float, float]:
    """Return the worst error of the first lenses that fit in a window, against lenstronomy at supersampling 32.

    Returns
    -------
    ours, fine, coarse
        Error over the peak: ours, and that of lenstronomy as its speed is measured, convolved finely or on pixels.
    """
    from legacylens.mocks.speed_lenstronomy import SUPERSAMPLING, coarse_image, sharp_image

    inside = np.flatnonzero(half_window(lenses.parameters) <= CHECKED)[:n]
    errors = []
    fwhm = MEDIAN_CONDITIONS["r"][1]
    for number in inside:
        one = select_parameters(lenses.parameters, np.array([number]))
        reference, effective = sharp_image(one, half=CHECKED, fwhm=fwhm, supersampling=32)
        fine, _ = sharp_image(one, half=CHECKED, fwhm=fwhm, supersampling=SUPERSAMPLING)
        coarse = coarse_image(one, half=CHECKED, fwhm=fwhm)
        image = simulate(one, [[1.0]], PsfBank([Psf(effective)]), [0], sigma=None, rng=np.random.default_rng(0)).images[
            0, 0
        ]
        middle = slice(STAMP // 2 - CHECKED, STAMP // 2 + CHECKED + 1)
        images = (image[middle, middle], fine, coarse)
        errors.append([np.abs(picture - reference).max() / reference.max() for picture in images])
    ours, theirs, coarsely = np.max(errors, axis=0)
    return float(ours), float(theirs), float(coarsely)


def peak_memory(kind: str, n_threads: int, seed: int) -> float:
    """Return the largest resident memory of a process that simulates a batch of 128 [MB], libraries included.

    Parameters
    ----------
    kind
        ``fast``, ``exact`` (the double-precision renderer), ``both`` one after the other, or ``nothing`` (the
        libraries alone).
    """
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return float(pool.apply(_peak_memory, (kind, n_threads, seed)))


def _peak_memory(kind: str, n_threads: int, seed: int) -> float:
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    n = BATCH
    parameters = Parameters(
        theta_E=rng.uniform(0.7, 2.5, n),
        q=rng.uniform(0.5, 1.0, n),
        phi=rng.uniform(0, np.pi, n),
        x=np.zeros(n),
        y=np.zeros(n),
        gamma1=rng.normal(0, 0.03, n),
        gamma2=rng.normal(0, 0.03, n),
        r_e=rng.uniform(0.05, 0.6, n),
        n=rng.uniform(0.7, 2.0, n),
        source_q=rng.uniform(0.4, 1.0, n),
        source_phi=rng.uniform(0, np.pi, n),
        source_x=rng.uniform(-0.5, 0.5, n),
        source_y=rng.uniform(-0.5, 0.5, n),
    )
    fluxes = np.full((n, 3), 0.3)
    psfs = [Psf(moffat_psfs([1.5, 1.35, 1.25 + 0.001 * number])) for number in range(n)]
    if kind in ("fast", "both"):
        sigma = np.full((n, 3), 0.003)
        simulate(
            parameters,
            fluxes,
            PsfBank(psfs),
            np.arange(n),
            sigma=sigma,
            gain=1 / sigma**2,
            rng=rng,
            n_threads=n_threads,
        )
    if kind in ("exact", "both"):
        render_arcs_batch(
            lens_of(parameters), [source_of(parameters)], fluxes[:, None], psfs, n_lens=n, shape=(STAMP, STAMP)
        )
    # Not ru_maxrss: a child inherits that from its parent until it has grown beyond it.
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def measure(*, n: int, seed: int, seconds: float, n_threads: int, n_check: int) -> dict[str, Any]:
    """Measure everything in one run.

    Parameters
    ----------
    n
        Lenses.
    seed
        Seed of the lenses.
    seconds
        How long each maker of pictures is measured.
    n_threads
        Threads of ours, and processes of lenstronomy's fast way.
    n_check
        Lenses that are compared with lenstronomy at supersampling 32.

    Returns
    -------
    report
        ``cutouts_per_s``; ``lenstronomy_api_per_s``, ``lenstronomy_best_per_s`` and ``peak_error`` (None where
        lenstronomy is absent, with the reason in ``notes``); ratios, memory, and what it was measured on.
    """
    lenses = speed_lenses(n, seed)
    load = os.getloadavg()[0]
    notes = [
        "peak_error: worst pixel against lenstronomy at supersampling 32, over the peak, pixel counted once",
        "peak_error_exact: worst pixel of any band against our own exact code, over the peak of the band",
        "lenstronomy_api: PSF on the fine grid, the pixel counted once",
        "lenstronomy_api_coarse and lenstronomy_best: PSF on the survey's pixels, faster, the pixel counted twice",
    ]
    report: dict[str, Any] = {
        "cutouts_per_s": our_rate(lenses, seconds=seconds, n_threads=n_threads),
        "lenstronomy_api_per_s": None,
        "lenstronomy_best_per_s": None,
        "peak_error": None,
        "peak_error_lenstronomy": None,
        "ratio_to_api": None,
        "ratio_to_best": None,
    }
    if importlib.util.find_spec("lenstronomy") is None:
        notes.append("lenstronomy is not installed, so nothing is compared with it: pip install lenstronomy")
    else:
        from legacylens.mocks.speed_lenstronomy import api_rate, best_rate, version

        report["lenstronomy_version"] = version()
        report["lenstronomy_api_per_s"] = api_rate(lenses, seconds=seconds, fine=True)
        report["lenstronomy_api_coarse_per_s"] = api_rate(lenses, seconds=seconds, fine=False)
        report["lenstronomy_best_per_s"] = best_rate(lenses, seconds=seconds, n_processes=n_threads)
        report["ratio_to_api"] = report["cutouts_per_s"] / report["lenstronomy_api_per_s"]
        report["ratio_to_best"] = report["cutouts_per_s"] / report["lenstronomy_best_per_s"]
    report["cutouts_per_s_one_thread"] = our_rate(lenses, seconds=seconds / 2, n_threads=1)
    report["gpu_cutouts_per_s"] = None
    if torch.cuda.is_available():
        report["gpu"] = torch.cuda.get_device_name()
        report["gpu_cutouts_per_s"] = our_rate(lenses, seconds=seconds, n_threads=1, device="cuda")
    else:
        notes.append("no GPU at hand: the speed on one was not seen")
    if report["lenstronomy_api_per_s"] is not None and n_check:
        errors = lenstronomy_error(lenses, n_check)
        report |= dict(
            zip(("peak_error", "peak_error_lenstronomy", "peak_error_lenstronomy_coarse"), errors, strict=True)
        )
        report["checked_lenses"] = n_check
    report["peak_error_exact"] = exact_error(lenses.part(slice(0, min(n, 128))))
    for kind in ("nothing", "fast", "exact"):
        report[f"memory_mb_{kind}"] = round(peak_memory(kind, n_threads, seed))
    notes.append(f"memory: largest resident set of a process that simulates {BATCH} lenses, libraries included")
    return report | {
        "n_lenses": n,
        "seed": seed,
        "seconds": seconds,
        "threads": n_threads,
        "cores": os.cpu_count(),
        "load_average_before": round(load, 2),
        "torch": torch.__version__,
        "pixels": f"{len(BANDS)} bands of {STAMP} x {STAMP}, {PIXSCALE} arcsec",
        "notes": notes,
    }
