"""One measurement of arcs for real and simulated cutouts alike: a row for each object, a code where there is no number.

The path of a cutout: is it one (`refusal`), sky and PSF (`stack`), the galaxy (`host_light`), the chromatic map
(`chromatic`), the search (`arc_search`), photometry (`arc_photometry`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage
from threadpoolctl import threadpool_limits

from legacylens.cutouts.cutout import Cutout, defect_of
from legacylens.cutouts.store import CutoutStore
from legacylens.errors import InputError
from legacylens.photometry import magnitude
from legacylens.progress import progress_bar
from legacylens.realism.arc_model import ArcModel, arc_model, believed_color
from legacylens.realism.arc_photometry import (
    ArcShape,
    arc_shape,
    arc_width,
    fluxes,
    geometry,
    integrated_snr,
    roughness,
    suited_templates,
    surface_contrast,
)
from legacylens.realism.arc_search import ArcSearch, search_arcs
from legacylens.realism.chromatic import ChromaticMap, chromatic_map
from legacylens.realism.columns import UNITS
from legacylens.realism.host_light import HostLight, fit_host_light, refit_host_light
from legacylens.realism.lens_templates import HALF
from legacylens.realism.measure_config import MeasureConfig
from legacylens.realism.seeing import seeing_of_store
from legacylens.realism.stack import Stack, prepare, radius_map
from legacylens.realism.statement import statement_statistics
from legacylens.survey.bands import BANDS

Array = NDArray[np.float32]

SMALLEST_STAMP = 10.0
"""Least width of a cutout [arcsec]."""
POSSIBLE_FWHM = (0.3, 4.0)
"""Widths of a PSF that are believed [arcsec]."""
CORE_RADIUS = 0.6
"""Radius of the core, where arcs should not be [arcsec]."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stamps:
    """Pixels to be measured, all of one size and scale."""

    names: Sequence[str]
    """``source_id`` of each."""
    images: Array
    """Shape ``(object, 3, y, x)`` [nanomaggies], g, r, z."""
    invvars: Array | None = None
    """Same shape [1/nanomaggies^2]; None: the noise is measured."""
    fwhm: NDArray[np.floating] | None = None
    """FWHM of the PSF, shape ``(object, 3)`` [arcsec]; None: assumed."""
    ra: NDArray[np.floating] | None = None
    """Right ascension [deg]."""
    dec: NDArray[np.floating] | None = None
    """Declination [deg]."""
    pixscale: float = 0.262
    """Pixel [arcsec]."""

    def part(self, index: slice | NDArray[np.int64]) -> Stamps:
        """Return some of the objects."""
        rows = np.arange(len(self.names))[index]
        return Stamps(
            names=[self.names[row] for row in rows],
            images=self.images[rows],
            invvars=None if self.invvars is None else self.invvars[rows],
            fwhm=None if self.fwhm is None else self.fwhm[rows],
            ra=None if self.ra is None else self.ra[rows],
            dec=None if self.dec is None else self.dec[rows],
            pixscale=self.pixscale,
        )


def stamps_of(cutouts: Sequence[Cutout], fwhm: NDArray[np.floating] | None = None) -> Stamps:
    """Return cutouts of one size as stamps; invvar is used if all have one.

    Raises
    ------
    InputError
        If sizes, scales or bands differ: they are named with their counts.
    """
    if not cutouts:
        raise InputError("no cutouts to measure")
    kinds = Counter((cutout.shape, cutout.pixscale, "".join(cutout.bands)) for cutout in cutouts)
    if len(kinds) > 1:
        listed = "; ".join(f"{n} x {shape} {scale:g} arcsec/px {bands}" for (shape, scale, bands), n in kinds.items())
        raise InputError(
            f"cutouts of different size, pixel or bands cannot be compared: {listed}. Give one kind at a time."
        )
    with_invvar = all(cutout.invvar is not None for cutout in cutouts)
    return Stamps(
        names=[cutout.source_id for cutout in cutouts],
        images=np.stack([cutout.image for cutout in cutouts]),
        invvars=np.stack([np.asarray(cutout.invvar) for cutout in cutouts]) if with_invvar else None,
        fwhm=fwhm,
        ra=np.array([cutout.ra for cutout in cutouts]),
        dec=np.array([cutout.dec for cutout in cutouts]),
        pixscale=cutouts[0].pixscale,
    )


def stamps_of_store(store: CutoutStore, size: int = 256) -> Iterator[Stamps]:
    """Iterate over a store in parts; the PSF is that of its manifest or its folder of PSFs (`seeing_of_store`).

    Raises
    ------
    InputError
        If the store has other bands than g, r, z in this order.
    """
    if not set(BANDS) <= set(store.bands):
        raise InputError(f"the store {store.path} has the bands {store.bands}: arcs are measured in {BANDS}")
    planes = [store.bands.index(band) for band in BANDS]
    table = store.manifest
    for start in range(0, len(store), size):
        rows = np.arange(start, min(start + size, len(store)))
        yield Stamps(
            names=table["source_id"].iloc[rows].astype(str).tolist(),
            images=store.images(rows)[:, planes],
            invvars=store.invvars(rows)[:, planes] if store.has_invvar else None,
            fwhm=seeing_of_store(store, rows),
            ra=table["ra"].iloc[rows].to_numpy(np.float64),
            dec=table["dec"].iloc[rows].to_numpy(np.float64),
            pixscale=store.description.pixscale,
        )


def refusals(stamps: Stamps, config: MeasureConfig) -> NDArray[np.object_]:
    """Return why each object cannot be measured, or ``ok``.

    A position without a galaxy is refused: measured as a lens it would give the S/N of nothing.
    """
    n, n_band, height, width = stamps.images.shape
    codes = np.full(n, "ok", dtype=object)
    if n_band != len(BANDS) or height != width:
        codes[:] = "wrong-shape"
        return codes
    if height * stamps.pixscale < SMALLEST_STAMP or height < 2 * HALF + 1:
        codes[:] = "too-small"
        return codes
    for number in range(n):
        invvar = None if stamps.invvars is None else stamps.invvars[number]
        defect = defect_of(BANDS, stamps.images[number], invvar)
        if defect is not None:
            codes[number] = defect.reason
    good = codes == "ok"
    if good.any():
        codes[good] = _center_codes(stamps.images[good], stamps.pixscale, config)
    return codes


def _center_codes(images: Array, pixscale: float, config: MeasureConfig) -> NDArray[np.object_]:
    radius = radius_map(images.shape[-1], pixscale)
    inner, far = radius < 1.0, radius > 0.7 * float(radius[len(radius) // 2, 0])
    sky = np.median(images[:, :, far], axis=2)
    spread = 1.4826 * np.median(np.abs(images[:, :, far] - sky[..., None]), axis=2)
    light = images - sky[..., None, None]
    flux = light[:, :, inner].sum(axis=2)
    snr = flux / (1.4 * spread * np.sqrt(inner.sum()) + 1e-20)
    mag_z = magnitude(flux[:, 2])
    # The brightest place near the middle in z, where galaxies are bright and arcs faint, has to be near the middle.
    near = radius < 2.0 * config.center_offset
    blurred = ndimage.uniform_filter(light[:, 2], (0, 3, 3), mode="constant")
    place = np.where(near, blurred, -np.inf).reshape(len(images), -1).argmax(axis=1)
    offset = radius.ravel()[place]
    central = np.where(radius < config.center_offset, blurred, -np.inf).reshape(len(images), -1).max(axis=1)
    brightest = blurred.reshape(len(images), -1)[np.arange(len(images)), place]
    codes = np.full(len(images), "ok", dtype=object)
    faint = (np.fmax(snr[:, 1], snr[:, 2]) < config.center_snr) | ~(mag_z < config.center_mag)
    # A ring without a galaxy: the middle is fainter than what is around it.
    middle = light[:, 2, radius < 0.5].mean(axis=1)
    around = light[:, 2, (radius > 0.9) & (radius < 1.6)].mean(axis=1)
    hollow = ((offset > config.center_offset) & (central < 0.25 * brightest)) | (middle < 0.6 * around)
    codes[faint | hollow] = "no-central-galaxy"
    # Galaxies fade toward the blue; one that does the contrary has its planes in the other order.
    turned = (flux[:, 0] > 1.3 * flux[:, 2]) & (snr[:, 0] > config.center_snr)
    codes[turned & (magnitude(flux[:, 0]) < config.center_mag) & ~hollow] = "band-order"
    return codes


def measure_stamps(stamps: Stamps, config: MeasureConfig | None = None) -> pd.DataFrame:
    """Measure the arcs of some objects.

    Parameters
    ----------
    stamps
        Cutouts of one size.
    config
        Settings.

    Returns
    -------
    table
        Columns of `columns.UNITS`, one row for each object, in order; the ``null_*`` columns are NaN.
    """
    config = config or MeasureConfig()
    codes = refusals(stamps, config)
    good = np.flatnonzero(codes == "ok")
    n = len(stamps.names)
    values: dict[str, NDArray[np.generic]] = {}
    # Matrices are small: threads of one object wait for each other, and those of other workers, more than they work.
    with threadpool_limits(limits=1, user_api="blas"):
        parts = [_measure(stamps.part(good[k : k + config.batch]), config) for k in range(0, len(good), config.batch)]
    for name in parts[0] if parts else ():
        column = np.full(n, np.nan)
        column[good] = np.concatenate([part[name] for part in parts])
        values[name] = column
    nan = np.full(n, np.nan)
    values |= {
        "source_id": np.array(list(map(str, stamps.names)), dtype=object),
        "code": codes,
        "ra": nan if stamps.ra is None else np.asarray(stamps.ra, np.float64),
        "dec": nan if stamps.dec is None else np.asarray(stamps.dec, np.float64),
        "psf_is_assumed": ~_has_psf(stamps),
        "noise_is_measured": np.full(n, stamps.invvars is None),
        "n_controls": np.zeros(n, dtype=np.int64),
    }
    return pd.DataFrame({name: values.get(name, nan) for name in UNITS})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedArcs:
    """A batch of cutouts with all that was fitted to it; `measure_stamps` turns it into numbers."""

    fwhm: NDArray[np.floating]
    """FWHM of the PSF that was used, shape ``(object, 3)`` [arcsec]."""
    stack: Stack
    """Sky-subtracted, PSF-matched cutouts."""
    host: HostLight
    """The galaxies, fitted beside their arcs."""
    chromatic: ChromaticMap
    """The chromatic maps."""
    search: ArcSearch
    """What was found in them."""
    model: ArcModel
    """The arcs."""
    shape: ArcShape
    """Their apertures."""


def fit_arcs(stamps: Stamps, config: MeasureConfig) -> FittedArcs:
    """Fit galaxies and arcs of cutouts that can be measured (`refusals`), some dozen at a time."""
    given = np.full((len(stamps.names), 3), np.nan) if stamps.fwhm is None else stamps.fwhm
    fwhm = np.where(_has_psf(stamps)[:, None], given, config.default_fwhm)
    stack = prepare(stamps.images, stamps.invvars, fwhm, stamps.pixscale, config)
    host = fit_host_light(stack, config)
    chromatic = chromatic_map(stack, host, config)
    search = search_arcs(stack, chromatic, config)
    host = refit_host_light(stack, host, suited_templates(stack, chromatic, search), config)
    alpha = believed_color(chromatic.alpha)
    for turn in range(config.arc_iterations):
        only_shape = turn < config.arc_iterations - 1
        model = arc_model(stack, host, chromatic, search, config, alpha=alpha, only_shape=only_shape)
        host, alpha = refit_host_light(stack, host, model.shape, config), model.alpha
    shape = arc_shape(stack, host, search, model.shape, config)
    return FittedArcs(fwhm=fwhm, stack=stack, host=host, chromatic=chromatic, search=search, model=model, shape=shape)


def _has_psf(stamps: Stamps) -> NDArray[np.bool_]:
    """Return which objects have a PSF that can be one, in all bands."""
    if stamps.fwhm is None:
        return np.zeros(len(stamps.names), dtype=bool)
    low, high = POSSIBLE_FWHM
    return np.asarray((np.isfinite(stamps.fwhm) & (stamps.fwhm > low) & (stamps.fwhm < high)).all(axis=1))


def _measure(stamps: Stamps, config: MeasureConfig) -> dict[str, NDArray[np.generic]]:
    fitted = fit_arcs(stamps, config)
    stack, host, chromatic, search = fitted.stack, fitted.host, fitted.chromatic, fitted.search
    model, shape = fitted.model, fitted.shape
    flux, error = fluxes(stack, shape, model)
    distance = radius_map(stack.image.shape[-1], stamps.pixscale)
    annulus = (distance >= config.inner_radius) & (distance <= config.outer_radius)
    ring = (distance >= config.inner_radius) & (distance <= 3.0)
    spread = np.where(np.isfinite(chromatic.variance), chromatic.variance, 0.0)
    signal = np.where(np.isfinite(chromatic.variance), chromatic.image - search.neighbors, 0.0)
    host_flux = (host.model * (host.radius < 5.0)[:, None]).sum((2, 3))
    core_flux = (stack.image * (distance < CORE_RADIUS)).sum((2, 3))
    core_mag = magnitude(core_flux)
    host_mag, arc_mag = magnitude(host_flux), magnitude(flux)
    statement_snr, statement_ratio = statement_statistics(stamps.images[:, 1], stamps.pixscale)
    out: dict[str, NDArray[np.generic]] = {
        "arc_score": search.score,
        "peak_snr": search.peak_snr,
        "clean_peak_snr": search.clean_peak_snr,
        "lens_snr": search.lens_snr,
        "capped_snr": search.capped_snr,
        "elongation": search.elongation,
        "n_neighbors": search.n_neighbors,
        "theta_E": search.theta_E,
        "integrated_snr": integrated_snr(chromatic, annulus),
        "aperture_snr": (signal * ring).sum((1, 2)) / np.sqrt((spread * ring).sum((1, 2))),
        **geometry(search, chromatic, stamps.pixscale, config),
        "source_offset": search.beta,
        "arc_width": arc_width(stack, chromatic, search, config),
        "arc_roughness": roughness(stamps.images, shape.aperture, stamps.pixscale, config),
        "psf_preference": model.wider,
        "wing_preference": model.gaussian,
        "ring_preference": model.ring,
        "lens_evidence": model.evidence,
        "core_to_arc": surface_contrast(host, shape),
        "arc_g_r": arc_mag[:, 0] - arc_mag[:, 1],
        "arc_r_z": arc_mag[:, 1] - arc_mag[:, 2],
        "host_g_r": host_mag[:, 0] - host_mag[:, 1],
        "host_r_z": host_mag[:, 1] - host_mag[:, 2],
        "host_radius": _half_light(host.model[:, 1], host.radius),
        "host_q": host.q,
        "host_alpha": chromatic.alpha,
        "core_mag_r": core_mag[:, 1],
        "core_g_r": core_mag[:, 0] - core_mag[:, 1],
        "core_r_z": core_mag[:, 1] - core_mag[:, 2],
        "center_offset": np.hypot(host.x, host.y),
        "block_r": stack.block[:, 1],
        "statement_arc_snr": statement_snr,
        "statement_core_to_arc": statement_ratio,
    }
    for number, band in enumerate(BANDS):
        out[f"arc_flux_{band}"], out[f"arc_flux_error_{band}"] = flux[:, number], error[:, number]
        out[f"arc_mag_{band}"], out[f"host_mag_{band}"] = arc_mag[:, number], host_mag[:, number]
        out[f"sky_{band}"], out[f"noise_{band}"] = stack.sky[:, number], stack.pixel_noise[:, number]
        out[f"noise_ratio_{band}"], out[f"lag_{band}"] = stack.noise_ratio[:, number], stack.lag[:, number]
        out[f"psf_fwhm_{band}"] = fitted.fwhm[:, number]
    return {name: np.asarray(values, dtype=np.float64) for name, values in out.items()}


def _half_light(model: Array, radius: Array) -> NDArray[np.float64]:
    """Return the elliptical radius within which half of a galaxy's light of 5 arcsec lies, PSF not taken off."""
    n = len(model)
    out = np.full(n, np.nan)
    for number in range(n):
        r = radius[number].ravel()
        light = np.where(r < 5.0, np.maximum(model[number].ravel(), 0.0), 0.0)
        order = np.argsort(r)
        growth = np.cumsum(light[order])
        if growth[-1] > 0:
            out[number] = r[order][min(int(np.searchsorted(growth, 0.5 * growth[-1])), len(r) - 1)]
    return out


def measure_parts(
    parts: Iterable[Stamps], total: int, config: MeasureConfig | None = None, *, workers: int = 1
) -> pd.DataFrame:
    """Measure many objects, in worker processes if asked, in order.

    Parameters
    ----------
    parts
        Stamps, some hundred at a time.
    total
        How many objects there are, for the progress bar.
    config
        Settings.
    workers
        Processes; 1 works in this one.
    """
    config = config or MeasureConfig()
    tables = []
    with progress_bar("measuring arcs", total) as bar:
        if workers <= 1:
            for part in parts:
                tables.append(measure_stamps(part, config))
                bar.advance(len(part.names))
        else:
            with ProcessPoolExecutor(workers) as pool:
                waiting = []
                for part in parts:
                    waiting.append(pool.submit(measure_stamps, part, config))
                    if len(waiting) > 2 * workers:
                        tables.append(waiting.pop(0).result())
                        bar.advance(len(tables[-1]))
                for job in waiting:
                    tables.append(job.result())
                    bar.advance(len(tables[-1]))
    if not tables:
        raise InputError("there is nothing to measure: the set is empty")
    return pd.concat(tables, ignore_index=True)


def measure_store(path: str | Path, config: MeasureConfig | None = None, *, workers: int = 1) -> pd.DataFrame:
    """Measure every cutout of a store; see `measure_stamps`."""
    with CutoutStore.open(path) as store:
        return measure_parts(stamps_of_store(store), len(store), config, workers=workers)
