"""The same lenses by lenstronomy: how fast it is as its users run it, and what it draws when time does not matter.

Its Sersic profile has an approximate b_n; with the radius and the brightness given here it is exactly ours.
"""

from __future__ import annotations

import importlib.metadata
import multiprocessing
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from typing import Any

import numpy as np
from lenstronomy.Data.imaging_data import ImageData
from lenstronomy.Data.psf import PSF
from lenstronomy.ImSim.image_model import ImageModel
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.LightModel.light_model import LightModel
from lenstronomy.SimulationAPI.sim_api import SimAPI
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from legacylens.lensing.sersic import central_brightness, sersic_b
from legacylens.mocks.fast_light import Parameters
from legacylens.mocks.population_summary import MEDIAN_CONDITIONS
from legacylens.mocks.psf import PSF_SIZE
from legacylens.mocks.speed_lenses import ROUNDS, SpeedLenses
from legacylens.survey.bands import BANDS, PIXSCALE, STAMP

SUPERSAMPLING = 4
"""Rays along a side of a pixel where its speed is measured; its users take 3 to 5."""
LENSES, SOURCES = ["SIE", "SHEAR"], ["SERSIC_ELLIPSE"]


def version() -> str:
    """Return the version of lenstronomy."""
    return importlib.metadata.version("lenstronomy")


@contextmanager
def _its_warnings_ignored() -> Iterator[None]:
    """Ignore what NumPy says about lenstronomy's own calls of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`axes` should not be `None`", DeprecationWarning)
        yield


def lens_kwargs(p: Parameters, i: int) -> list[dict[str, float]]:
    """Return a lens in lenstronomy's words."""
    e = (1 - p.q[i]) / (1 + p.q[i])
    sie = {
        "theta_E": p.theta_E[i],
        "e1": e * np.cos(2 * p.phi[i]),
        "e2": e * np.sin(2 * p.phi[i]),
        "center_x": p.x[i],
        "center_y": p.y[i],
    }
    return [sie, {"gamma1": p.gamma1[i], "gamma2": p.gamma2[i], "ra_0": 0.0, "dec_0": 0.0}]


def source_kwargs(p: Parameters, i: int) -> list[dict[str, float]]:
    """Return a source of unit flux in lenstronomy's words."""
    n, e = float(p.n[i]), (1 - p.source_q[i]) / (1 + p.source_q[i])
    b = 1.9992 * n - 0.3271
    return [
        {
            "amp": central_brightness(n) / p.r_e[i] ** 2 * np.exp(-b),
            "R_sersic": p.r_e[i] * (b / sersic_b(n)) ** n,
            "n_sersic": n,
            "e1": e * np.cos(2 * p.source_phi[i]),
            "e2": e * np.sin(2 * p.source_phi[i]),
            "center_x": p.source_x[i],
            "center_y": p.source_y[i],
        }
    ]


def _model(n_pixel: int, psf: PSF, numerics: dict[str, Any]) -> ImageModel:
    data = ImageData(
        image_data=np.zeros((n_pixel, n_pixel)),
        ra_at_xy_0=-(n_pixel // 2) * PIXSCALE,
        dec_at_xy_0=-(n_pixel // 2) * PIXSCALE,
        transform_pix2angle=np.eye(2) * PIXSCALE,
        background_rms=1.0,
        exposure_time=1.0,
    )
    return ImageModel(
        data,
        psf,
        lens_model_class=LensModel(LENSES),
        source_model_class=LightModel(SOURCES),
        kwargs_numerics=numerics,
    )


def optical_psf(n_pixel: int, fwhm: float, supersampling: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a Moffat PSF on a fine grid, and the same as a survey would measure it: averaged over pixels.

    Returns
    -------
    optical
        Shape ``(n_pixel * supersampling + 1, ...)``: one more than rays along a side, so that there is a middle.
    effective
        Shape ``(n_pixel, n_pixel)``, sum 1.
    """
    os = supersampling
    fine = (np.arange(n_pixel * os + 1) - n_pixel * os / 2) / os
    alpha = fwhm / PIXSCALE / (2 * np.sqrt(2 ** (1 / 3) - 1))
    optical = (1 + (fine[:, None] ** 2 + fine**2) / alpha**2) ** -3.0
    optical /= optical.sum()
    box = np.ones(os + 1) / os
    box[[0, -1]] /= 2
    rows = np.apply_along_axis(np.convolve, 1, optical, box, "same")
    effective = np.apply_along_axis(np.convolve, 0, rows, box, "same")[os // 2 :: os, os // 2 :: os]
    return optical, np.asarray(effective / effective.sum())


def sharp_image(
    p: Parameters, *, half: int, fwhm: float, supersampling: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the image of the first lens as lenstronomy draws it with fine rays and a fine PSF, and the effective PSF.

    Pixels are averaged after the convolution with the optical PSF: the pixel enters once.

    Returns
    -------
    image, effective
        Of unit unlensed flux, shape ``(2 half + 1, 2 half + 1)`` each.
    """
    n_pixel = 2 * half + 1
    optical, effective = optical_psf(n_pixel, fwhm, supersampling)
    psf = PSF(
        psf_type="PIXEL",
        kernel_point_source=optical,
        point_source_supersampling_factor=supersampling,
        kernel_point_source_normalisation=True,
    )
    with _its_warnings_ignored():
        image = _model(n_pixel, psf, _numerics(supersampling, fine=True)).image(lens_kwargs(p, 0), source_kwargs(p, 0))
    return np.asarray(image), effective


def coarse_image(p: Parameters, *, half: int, fwhm: float) -> NDArray[np.float64]:
    """Return the image of the first lens convolved on the survey's pixels, after averaging: the pixel enters twice."""
    n_pixel = 2 * half + 1
    _, effective = optical_psf(n_pixel, fwhm, 32)
    psf = PSF(psf_type="PIXEL", kernel_point_source=effective)
    with _its_warnings_ignored():
        model = _model(n_pixel, psf, _numerics(SUPERSAMPLING, fine=False))
        return np.asarray(model.image(lens_kwargs(p, 0), source_kwargs(p, 0)))


def _numerics(supersampling: int, *, fine: bool) -> dict[str, Any]:
    numerics: dict[str, Any] = {"supersampling_factor": supersampling, "supersampling_convolution": fine}
    # By default only 5 pixels of the PSF are convolved finely.
    return {**numerics, "supersampling_kernel_size": None} if fine else numerics


def _amplitude(source: list[dict[str, float]], flux: float) -> list[dict[str, float]]:
    return [{**source[0], "amp": source[0]["amp"] * flux}]


def api_rate(lenses: SpeedLenses, *, seconds: float, fine: bool) -> float:
    """Return cutouts per second of the SimulationAPI in one process: each band traced, convolved, made noisy by itself.

    Its objects are made once, with one PSF for each band, before the clock starts; its users make them for each PSF.

    Parameters
    ----------
    fine
        Convolve on the fine grid of the rays, so that the pixel enters once; or on the survey's pixels, which is faster
        and wrong by a per cent of the peak or more.
    """
    bands = []
    for number, band in enumerate(BANDS):
        if fine:
            kernel, _ = optical_psf(PSF_SIZE, MEDIAN_CONDITIONS[band][1], SUPERSAMPLING)
        else:
            kernel = lenses.bank.psfs[0].stamps[number]
        api = SimAPI(
            STAMP,
            {
                "pixel_scale": PIXSCALE,
                "exposure_time": 500.0,
                "magnitude_zero_point": 22.5,
                "read_noise": 7.0,
                "ccd_gain": 4.0,
                "sky_brightness": 21.0,
                "seeing": 1.3,
                "num_exposures": 3,
                "psf_type": "PIXEL",
                "kernel_point_source": kernel,
                "point_source_supersampling_factor": SUPERSAMPLING if fine else 1,
            },
            {"lens_model_list": LENSES, "source_light_model_list": SOURCES},
        )
        bands.append((number, api, api.image_model_class(_numerics(SUPERSAMPLING, fine=fine))))
    p = lenses.parameters
    kwargs = [(lens_kwargs(p, i), source_kwargs(p, i)) for i in range(len(lenses.fluxes))]

    def once(i: int) -> None:
        for number, api, model in bands:
            image = model.image(kwargs[i][0], _amplitude(kwargs[i][1], lenses.fluxes[i, number]))
            image += api.noise_for_model(image)

    with _its_warnings_ignored():
        return max(_round_rates(once, len(kwargs), seconds))


def _round_rates(once: Callable[[int], None], n: int, seconds: float) -> list[float]:
    """Return calls per second in each round, going through ``n`` lenses again and again."""
    rates, i = [], 0
    for _ in range(ROUNDS):
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds / ROUNDS or done < 1:
            once(i % n)
            done, i = done + 1, i + 1
        rates.append(done / (time.perf_counter() - start))
    return rates


def best_rate(lenses: SpeedLenses, *, seconds: float, n_processes: int) -> float:
    """Return cutouts per second of its ImageModel at its best: rays traced once for all bands, in several processes."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(n_processes)
    psfs = lenses.bank.psfs[0].stamps
    work = (lenses.parameters, lenses.fluxes, lenses.sigma, lenses.gain, psfs, seconds)
    with context.Pool(n_processes, initializer=_meet, initargs=(barrier,)) as pool:
        rates = pool.map(_best, [work] * n_processes, chunksize=1)
    return float(np.max(np.sum(rates, axis=0)))


_barrier: list[Barrier] = []


def _meet(barrier: Barrier) -> None:
    _barrier.append(barrier)


def _best(work: tuple[Parameters, Any, Any, Any, Any, float]) -> list[float]:
    p, fluxes, sigma, gain, psfs, seconds = work
    model = _model(STAMP, PSF(psf_type="NONE"), _numerics(SUPERSAMPLING, fine=False))
    kwargs = [(lens_kwargs(p, i), source_kwargs(p, i)) for i in range(len(fluxes))]
    rng = np.random.default_rng(0)

    def once(i: int) -> None:
        light = model.image(*kwargs[i], unconvolved=True)
        image = np.stack([fftconvolve(light, psf, mode="same") for psf in psfs]) * fluxes[i][:, None, None]
        variance = sigma[i][:, None, None] ** 2 + np.maximum(image, 0) / gain[i][:, None, None]
        image += np.sqrt(variance) * rng.standard_normal(image.shape)

    once(0)
    _barrier[-1].wait(timeout=120)  # so that all processes are measured while the others work
    return _round_rates(once, len(kwargs), seconds)
