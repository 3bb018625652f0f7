"""An arc put into the pixels of a galaxy: as bright as lensing makes it, blurred, reddened, with its own photon noise.

The host keeps its sky, its noise and its neighbors; what is added is the light of the arc and nothing else but the
noise of that light, passed through the same filter as the coadd's. A source of zero flux returns the host bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from legacylens.cutouts.cutout import Cutout
from legacylens.errors import PhysicalRangeError, ProcessError
from legacylens.lensing.cosmology import distances
from legacylens.lensing.lens import Deflector, Lens
from legacylens.lensing.sersic import Sersic
from legacylens.lensing.shear import Shear
from legacylens.lensing.sie import SIE
from legacylens.lensing.sources import Source
from legacylens.mocks.gain import band_gains, sky_of
from legacylens.mocks.hosts import unusable_pixels
from legacylens.mocks.noise import PIXEL_SIGMA, aperture_factor, correlate
from legacylens.mocks.population import generator
from legacylens.mocks.population_sets import InjectionConfig, SourceConfig
from legacylens.mocks.psf import PSF_SIZE, Psf, moffat_psf
from legacylens.mocks.render import render_arcs
from legacylens.mocks.source_models import clumpy, with_texture
from legacylens.photometry import flux_of_magnitude, mw_transmission

CLOSURE = 0.01
"""How far the flux that was added may be from magnification times source flux."""
LOST = 0.005
"""Largest part of an arc that may fall on pixels into which nothing may be injected, or beyond the edge."""
ONE_BAND_FWHM = 0.93
"""FWHM of the faulty PSF that is a Gaussian of 1.5 pixels in every band [arcsec]."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Injected:
    """A host with an arc."""

    image: NDArray[np.float32]
    """Shape ``(band, y, x)`` [nanomaggies]."""
    invvar: NDArray[np.float32]
    """The host's, lowered by the photon noise of the arc [1/nanomaggies^2]."""
    arcs: NDArray[np.float64]
    """The arc alone, noise-free, where it was injected, shape ``(band, y, x)`` [nanomaggies]."""
    magnification: float
    """Lensed over unlensed flux, of all parts of the source together."""
    flux: NDArray[np.float64]
    """Magnification times unlensed flux through the Galaxy's dust, shape ``(band,)`` [nanomaggies]."""
    snr: NDArray[np.float64]
    """Signal-to-noise ratio of a matched filter in each band, shape ``(band,)``: noise of the sky, of the host's light
    and of the arc, times the aperture factor of the coadd's correlation."""
    gain: NDArray[np.float64]
    """Effective gain of each band, shape ``(band,)`` [e-/nanomaggy]."""
    closure: NDArray[np.float64]
    """Flux in the noise-free difference to the host over ``flux``, shape ``(band,)``; 1 where there is no flux."""

    @property
    def lost(self) -> float:
        """Largest part of the flux of a band that could not be injected."""
        return float(np.max(1.0 - self.closure, initial=0.0))


def gaussian_psf(fwhm_arcsec: float, *, pixscale: float, size: int = PSF_SIZE) -> NDArray[np.float64]:
    """Return a Gaussian PSF of sum 1; no survey has one, the sets with faults do."""
    offset = (np.arange(size) - size // 2) * pixscale
    sigma = fwhm_arcsec / (2.0 * np.sqrt(2.0 * np.log(2.0)))
    psf = np.exp(-0.5 * (offset[:, None] ** 2 + offset**2) / sigma**2)
    return np.asarray(psf / psf.sum())


def host_psf(
    config: InjectionConfig,
    psfsize: Sequence[float],
    *,
    pixscale: float,
    stamps: ArrayLike | None = None,
) -> Psf:
    """Return the PSF of each band of a host.

    Parameters
    ----------
    config
        Which kind.
    psfsize
        FWHM of each band, that band's own [arcsec].
    pixscale
        Pixel [arcsec].
    stamps
        Pixelized PSFs, shape ``(band, k, k)``, used as they are where given; the survey's contain the pixel response.

    Raises
    ------
    PhysicalRangeError
        If a PSF is not one (`psf.Psf`), or there is not one for each band.
    """
    if stamps is not None and len(np.asarray(stamps)) != len(psfsize):
        raise PhysicalRangeError(
            "number of PSFs", len(np.asarray(stamps)), f"{len(psfsize)}, one for each band", "Give all bands."
        )
    factor = config.psf_width_factor
    if config.psf == "none":
        point = np.zeros((len(psfsize), PSF_SIZE, PSF_SIZE))
        point[:, PSF_SIZE // 2, PSF_SIZE // 2] = 1.0
        return Psf(point)
    if config.psf == "one-band-gaussian":
        return Psf(np.stack([gaussian_psf(factor * ONE_BAND_FWHM, pixscale=pixscale)] * len(psfsize)))
    if config.psf == "gaussian":
        return Psf(np.stack([gaussian_psf(factor * float(fwhm), pixscale=pixscale) for fwhm in psfsize]))
    if stamps is not None and factor == 1:
        return Psf(np.asarray(stamps))
    return Psf(np.stack([moffat_psf(factor * float(fwhm), config.moffat_beta, pixscale=pixscale) for fwhm in psfsize]))


def inject(
    host: Cutout,
    lens: Deflector,
    source: Source | Sequence[Source],
    fluxes: ArrayLike,
    psf: Psf,
    *,
    config: InjectionConfig,
    ebv: float,
    rng: np.random.Generator,
    check: bool = True,
) -> Injected:
    """Put the lensed images of a source into a host.

    Parameters
    ----------
    host
        A galaxy with invvar; the lens's coordinates have their origin in the middle of its central pixel.
    lens, source
        As for `render.render_arcs`.
    fluxes
        Unlensed flux without Galactic extinction, shape ``(source, band)`` or ``(band,)`` [nanomaggies].
    psf
        PSF of each band.
    config
        Sky, noise, and faults if any.
    ebv
        Galactic reddening E(B-V) in front of the source [mag].
    rng
        Decides the photon noise.
    check
        Refuse an arc that falls on masked pixels or beyond the edge; otherwise `Injected.lost` tells.

    Raises
    ------
    PhysicalRangeError
        If the host has no invvar or an impossible gain, a flux is negative, the PSF none, the source wider than the
        stamp, or (with ``check``) part of the arc falls on pixels that may not be touched.
    """
    gains = band_gains(host, config.sky)
    if not 0.0 <= ebv < 10.0:
        raise PhysicalRangeError("ebv", ebv, "[0, 10) mag", "Use the EBV column of the catalog.")
    invvar = np.asarray(host.invvar, dtype=np.float64)
    transmission = np.array([float(mw_transmission(ebv, band)) for band in host.bands])
    unlensed = np.atleast_2d(np.asarray(fluxes, dtype=np.float64)) * transmission * config.flux_factor
    drawn = render_arcs(lens, source, unlensed, psf, shape=host.shape, pixscale=host.pixscale)
    usable = ~unusable_pixels(host)
    # Not clipped at zero: pictures of real galaxies have negative noise, which belongs to their flux.
    arcs = np.where(usable, drawn.image, 0.0)
    sky = sky_of(host, config.sky)[:, None, None]
    # 1/invvar = sky / gain, so the arc's photons have the variance arc / gain = arc / (sky invvar).
    photons = np.divide(
        np.maximum(arcs, 0.0),
        sky * invvar if config.gain is None else config.gain,
        out=np.zeros_like(arcs),
        where=usable,
    )
    noise = np.zeros_like(arcs)
    if config.shot_noise:
        noise = np.where(usable, photon_noise(photons, rng, correlated=config.gain is None), 0.0)
    clean = _added(host.image, arcs)
    new_invvar = np.divide(invvar, 1.0 + photons * invvar)
    flux = np.asarray(drawn.flux, dtype=np.float64).reshape(-1)
    total = (clean.astype(np.float64) - host.image).sum((1, 2))
    closure = np.divide(total, flux, out=np.ones_like(flux), where=flux > 0)
    weight = 1.0 / (1.0 + (np.maximum(host.image, 0.0) + np.maximum(arcs, 0.0)) / sky)
    snr = np.sqrt((arcs**2 * invvar * weight * usable).sum((1, 2))) / aperture_factor()
    unlensed_total = float(unlensed.sum())
    result = Injected(
        image=_added(host.image, arcs + noise),
        invvar=np.where(photons > 0, new_invvar, invvar).astype(np.float32),
        arcs=arcs,
        magnification=float(flux.sum() / unlensed_total) if unlensed_total > 0 else float(np.mean(drawn.magnification)),
        flux=flux,
        snr=snr,
        gain=gains if config.gain is None else np.full(len(gains), config.gain),
        closure=closure,
    )
    if check and result.lost > LOST:
        raise PhysicalRangeError(
            f"part of the arc outside of the good pixels of host {host.source_id}",
            f"{result.lost:.3f}",
            f"[0, {LOST:g}]",
            "Choose a host without masked pixels near it, or a smaller Einstein radius.",
        )
    return result


def photon_noise(
    variance: NDArray[np.float64], rng: np.random.Generator, *, correlated: bool = True
) -> NDArray[np.float64]:
    """Return noise of a variance, filtered as a coadd filters the noise of its exposures.

    Parameters
    ----------
    variance
        Variance in the sense of 1/invvar, shape ``(band, y, x)`` [nanomaggies^2]; a pixel of a coadd has 0.83 of it.
    rng
        Random generator.
    correlated
        Whether neighbors are correlated; white noise of the full variance otherwise (a fault).
    """
    noise = rng.standard_normal(variance.shape) * np.sqrt(variance)
    if not correlated:
        return noise
    return np.stack([correlate(white.astype(np.float32)) for white in noise]).astype(np.float64) * PIXEL_SIGMA


def _added(image: NDArray[np.float32], light: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return image plus light; where there is no light not a bit changes, not even the sign of a zero."""
    return np.asarray(np.where(light != 0, (image + light).astype(np.float32), image))


def require_closure(name: str, bands: Sequence[str], injected: Injected) -> None:
    """Refuse an injection whose flux is not magnification times source flux.

    Raises
    ------
    ProcessError
        If any band is off by more than `CLOSURE`; that is a fault of this code, not of the input.
    """
    wrong = np.abs(injected.closure - 1.0) > CLOSURE
    if wrong.any() or not np.isfinite(injected.closure).all():
        number = int(np.argmax(np.abs(injected.closure - 1.0)))
        raise ProcessError(
            f"{name}: the flux that was added in {bands[number]} is {injected.closure[number]:.4f} of magnification "
            f"times source flux, allowed is 1 +- {CLOSURE:g}. Nothing of this set should be used; please report it."
        )


def deflector_of_row(row: Mapping[str, Any]) -> Lens:
    """Return the mass of one row of a table of lenses."""
    x, y = float(row["mass_x"]), float(row["mass_y"])
    return Lens(
        deflectors=(
            SIE(theta_E=float(row["theta_E"]), q=float(row["mass_q"]), phi=float(row["mass_phi"]), x=x, y=y),
            Shear(gamma1=float(row["gamma1"]), gamma2=float(row["gamma2"]), x=x, y=y),
        )
    )


def source_of_row(row: Mapping[str, Any], texture: str, rng: np.random.Generator) -> Source:
    """Return the source of one row of a table of lenses.

    Parameters
    ----------
    row
        Columns ``source_r_e``, ``source_n``, ``source_q``, ``source_phi``, ``source_x``, ``source_y``.
    texture
        ``smooth``, ``clumpy`` or ``log-normal``.
    rng
        Decides about the clumps, or the field.
    """
    base = Sersic(
        r_e=float(row["source_r_e"]),
        n=float(row["source_n"]),
        q=float(row["source_q"]),
        phi=float(row["source_phi"]),
        x=float(row["source_x"]),
        y=float(row["source_y"]),
    )
    if texture == "smooth":
        return base
    if texture == "log-normal":
        return with_texture(base, sd=float(rng.uniform(0.3, 0.6)), rng=rng)
    radius = float(np.clip(rng.uniform(0.05, 0.3) * base.r_e, 0.01, 0.08))
    return clumpy(
        base, n_clumps=int(rng.integers(1, 7)), fraction=float(rng.uniform(0.05, 0.3)), clump_radius=radius, rng=rng
    )


def fluxes_of_row(row: Mapping[str, Any], bands: Sequence[str]) -> NDArray[np.float64]:
    """Return the unlensed flux of a lens's source without extinction, shape ``(band,)`` [nanomaggies]."""
    missing = [band for band in bands if f"source_mag_{band}" not in row]
    if missing:
        raise PhysicalRangeError(
            f"source magnitude in {', '.join(missing)}", None, "one for each band of the host", "Cut g, r, z only."
        )
    return flux_of_magnitude([float(row[f"source_mag_{band}"]) for band in bands])


def inject_row(
    host: Cutout,
    row: Mapping[str, Any],
    psf: Psf,
    *,
    sources: SourceConfig,
    config: InjectionConfig,
    ebv: float,
    seed: int,
    source: Source | None = None,
    check: bool = True,
) -> Injected:
    """Put the lens of one table row into a host; its texture and noise come from the seed.

    Parameters
    ----------
    host
        The galaxy.
    row
        Columns of `population.LENS_UNITS`.
    psf
        PSF of each band of the host.
    sources, config
        Of the set.
    ebv
        Galactic reddening [mag].
    seed
        Seed of this mock.
    source
        What is lensed; by default the Sersic profile of the row.
    check
        As for `inject`.

    Raises
    ------
    PhysicalRangeError
        As `inject`, or if the source is not behind the lens.
    """
    distances().ratio(float(row["z_l"]), float(row["z_s"]))
    return inject(
        host,
        deflector_of_row(row),
        source or source_of_row(row, sources.texture, generator(seed, "texture")),
        fluxes_of_row(row, host.bands),
        psf,
        config=config,
        ebv=ebv,
        rng=generator(seed, "noise"),
        check=check,
    )
