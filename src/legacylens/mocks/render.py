"""Images in nanomaggies: galaxies as they are, and as a lens shows them, behind the PSF of each band.

The pixel is counted once: surface brightness times pixel area is convolved with an effective PSF, which contains the
pixel, and sampled at the pixel centers (see `legacylens.mocks.psf`). Flux is normalized in the source plane: an arc is
as bright as its magnification makes it, and nothing is renormalized after lensing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from legacylens.errors import PhysicalRangeError
from legacylens.lensing.frames import select
from legacylens.lensing.lens import Deflector
from legacylens.lensing.ranges import require
from legacylens.lensing.sersic import Sersic
from legacylens.lensing.sources import Source
from legacylens.mocks.deposit import deposit, undo
from legacylens.mocks.profile_image import add_sersic
from legacylens.mocks.psf import Psf, as_psf, good_size
from legacylens.mocks.quadrature import TOLERANCE, lensed_light
from legacylens.survey.bands import PIXSCALE


def checked_fluxes(fluxes: ArrayLike, n_component: int, n_band: int) -> NDArray[np.float64]:
    """Return fluxes of shape ``(component, band)``; one component may be given as ``(band,)``.

    Raises
    ------
    PhysicalRangeError
        If the shape does not fit, or a flux is negative or not finite.
    """
    values = np.asarray(fluxes, dtype=np.float64)
    if values.ndim == 1 and n_component == 1:
        values = values[None]
    if values.shape != (n_component, n_band):
        raise PhysicalRangeError(
            "shape of the fluxes", values.shape, f"({n_component} components, {n_band} bands)", "One flux per PSF band."
        )
    if not np.all(values >= 0) or not np.all(np.isfinite(values)):
        wrong = values[~((values >= 0) & np.isfinite(values))]
        raise PhysicalRangeError("flux", float(wrong[0]), ">= 0 nanomaggies", "Flux is in nanomaggies, not magnitudes.")
    return values


def refuse_wider(source: Source, shape: tuple[int, int], pixscale: float) -> None:
    """Refuse a source that is wider than the image, before lensing.

    Raises
    ------
    PhysicalRangeError
        With its diameter and the limit.
    """
    side = min(shape) * pixscale
    diameter = torch.as_tensor(source.diameter)
    require(
        "diameter of the source",
        diameter,
        diameter <= side,
        f"(0, {side:.4g}] arcsec, the side of the image",
        "Its flux could not be counted; check the unit of its radius, or take a larger image.",
    )


def render_profile(
    components: Sequence[Sersic],
    fluxes: ArrayLike,
    psf: Psf | ArrayLike,
    *,
    shape: tuple[int, int],
    center: tuple[float, float] | None = None,
    pixscale: float = PIXSCALE,
) -> NDArray[np.float64]:
    """Return the image of an unlensed galaxy made of Sersic components.

    Parameters
    ----------
    components
        Sersic profiles with plain numbers as parameters; positions in arcsec relative to ``center``.
    fluxes
        Total flux of each component in each band [nanomaggies], shape ``(component, band)``, or ``(band,)`` for one.
    psf
        Effective PSFs, shape ``(band, k, k)``; a `Psf` that is kept remembers its transforms.
    shape
        Shape (y, x) of the image [pixels].
    center
        Pixel (y, x) of the origin, 0-based and possibly fractional; the middle of the image by default.
    pixscale
        Pixel [arcsec].

    Returns
    -------
    image
        Shape ``(band, y, x)`` [nanomaggies]. Light beyond the edge is lost, light that the PSF brings in from
        outside is there.

    Raises
    ------
    PhysicalRangeError
        If a flux is negative or the PSF is not one.
    """
    psf = as_psf(psf)
    values = checked_fluxes(fluxes, len(components), len(psf.stamps))
    margin = psf.half
    if center is None:
        center = ((shape[0] - 1) / 2, (shape[1] - 1) / 2)
    origin = (center[0] + margin, center[1] + margin)
    padded = (good_size(shape[0] + 2 * margin), good_size(shape[1] + 2 * margin))
    spectrum = np.zeros((len(psf.stamps), padded[0], padded[1] // 2 + 1), dtype=np.complex128)
    for component, flux in zip(components, values, strict=True):
        smooth, core = np.zeros(padded), np.zeros(padded)
        add_sersic(smooth, core, component, center=origin, pixscale=pixscale)
        transform = fft.rfft2(core)
        transform *= undo(padded)
        transform += fft.rfft2(smooth)
        spectrum += flux[:, None, None] * transform
    spectrum *= psf.transform(padded)
    image = fft.irfft2(spectrum, padded)
    return np.asarray(image[:, margin : margin + shape[0], margin : margin + shape[1]])


def render_stars(
    y: ArrayLike,
    x: ArrayLike,
    fluxes: ArrayLike,
    psf: Psf | ArrayLike,
    *,
    shape: tuple[int, int],
) -> NDArray[np.float64]:
    """Return the image of point sources.

    Parameters
    ----------
    y, x
        Positions [pixels], 0-based, shape ``(star,)``.
    fluxes
        Flux of each star in each band [nanomaggies], shape ``(star, band)``.
    psf
        Effective PSFs, shape ``(band, k, k)``.
    shape
        Shape (y, x) of the image [pixels].

    Returns
    -------
    image
        Shape ``(band, y, x)`` [nanomaggies].
    """
    psf = as_psf(psf)
    rows, columns = np.atleast_1d(np.asarray(y, dtype=np.float64)), np.atleast_1d(np.asarray(x, dtype=np.float64))
    values = checked_fluxes(fluxes, len(rows), len(psf.stamps))
    margin = psf.half
    padded = (good_size(shape[0] + 2 * margin), good_size(shape[1] + 2 * margin))
    stars = np.zeros((len(psf.stamps), *padded))
    for row, column, flux in zip(rows, columns, values, strict=True):
        one = np.zeros((8, 8))
        y0, x0 = int(np.floor(row)) - 3, int(np.floor(column)) - 3
        deposit(one, np.array([row - y0]), np.array([column - x0]), np.ones(1))
        bottom, left = y0 + margin, x0 + margin
        ys = slice(max(bottom, 0), max(bottom + 8, 0))
        xs = slice(max(left, 0), max(left + 8, 0))
        part = one[max(-bottom, 0) :, max(-left, 0) :][: padded[0] - ys.start, : padded[1] - xs.start]
        stars[:, ys, xs] += flux[:, None, None] * part
    spectrum = fft.rfft2(stars)
    spectrum *= undo(padded)
    spectrum *= psf.transform(padded)
    return np.asarray(fft.irfft2(spectrum, padded)[:, margin : margin + shape[0], margin : margin + shape[1]])


GROUP = 16
"""Lenses of a batch that are rendered together: a hundred together would need a gigabyte."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArcImage:
    """The lensed images of a source, or of each source of a batch."""

    image: NDArray[np.float64]
    """Convolved image [nanomaggies], shape ``(band, y, x)``, or ``(lens, band, y, x)`` for a batch."""
    magnification: NDArray[np.float64]
    """Total magnification of each component, shape ``(component,)`` or ``(lens, component)``."""
    flux: NDArray[np.float64]
    """Lensed flux before the edge of the image takes any [nanomaggies], shape ``(band,)`` or ``(lens, band)``."""


def render_arcs(
    lens: Deflector,
    source: Source | Sequence[Source],
    fluxes: ArrayLike,
    psf: Psf | ArrayLike,
    *,
    shape: tuple[int, int],
    center: tuple[float, float] | None = None,
    pixscale: float = PIXSCALE,
    tolerance: float = TOLERANCE,
) -> ArcImage:
    """Return the image of a lensed source.

    Parameters
    ----------
    lens
        Deflector with plain numbers as parameters; positions in arcsec relative to ``center``.
    source
        One source or several, of unit flux each, in the same coordinates.
    fluxes
        *Unlensed* total flux of each source in each band [nanomaggies], shape ``(source, band)``, or ``(band,)``
        for one.
    psf
        Effective PSFs, shape ``(band, k, k)``; a `Psf` that is kept remembers its transforms.
    shape
        Shape (y, x) of the image [pixels].
    center
        Pixel (y, x) of the origin, 0-based and possibly fractional; the middle of the image by default.
    pixscale
        Pixel [arcsec].
    tolerance
        Error allowed in one cell of the quadrature, in units of the unlensed flux.

    Returns
    -------
    arcs
        Image, magnification of each source, and the lensed flux in each band: ``magnification @ fluxes``.

    Raises
    ------
    PhysicalRangeError
        If a flux is negative, the PSF is not one, or a source is wider than the image.
    """
    psf = as_psf(psf)
    sources = tuple(source) if isinstance(source, Sequence) else (source,)
    values = checked_fluxes(fluxes, len(sources), len(psf.stamps))
    for one in sources:
        refuse_wider(one, shape, pixscale)
    margin = psf.half
    if center is None:
        center = ((shape[0] - 1) / 2, (shape[1] - 1) / 2)
    origin = (center[0] + margin, center[1] + margin)
    padded = (good_size(shape[0] + 2 * margin), good_size(shape[1] + 2 * margin))
    spectrum = np.zeros((len(psf.stamps), padded[0], padded[1] // 2 + 1), dtype=np.complex128)
    magnification = np.empty(len(sources))
    for k, (one, flux) in enumerate(zip(sources, values, strict=True)):
        smooth, core = (
            light[0].numpy()
            for light in lensed_light(
                lens, one, n_lens=1, shape=padded, origin=origin, pixscale=pixscale, tolerance=tolerance
            )
        )
        magnification[k] = smooth.sum() + core.sum()
        spectrum += flux[:, None, None] * (fft.rfft2(core) * undo(padded) + fft.rfft2(smooth))
    image = fft.irfft2(spectrum * psf.transform(padded), padded)
    return ArcImage(
        image=np.asarray(image[:, margin : margin + shape[0], margin : margin + shape[1]]),
        magnification=magnification,
        flux=magnification @ values,
    )


def render_arcs_batch(
    lens: Deflector,
    sources: Sequence[Source],
    fluxes: ArrayLike,
    psfs: Sequence[Psf] | Psf,
    *,
    n_lens: int,
    shape: tuple[int, int],
    center: tuple[float, float] | None = None,
    pixscale: float = PIXSCALE,
    tolerance: float = TOLERANCE,
    device: torch.device | str = "cpu",
) -> ArcImage:
    """Return the images of a batch of lenses, each with its own source, fluxes and PSF.

    Parameters
    ----------
    lens, sources
        Parameters are numbers or have shape ``(lens,)``, on ``device``.
    fluxes
        Unlensed total fluxes [nanomaggies], shape ``(lens, source, band)``.
    psfs
        The effective PSFs of each lens, or one for all.
    n_lens
        Number of lenses.
    shape, center, pixscale, tolerance
        As for `render_arcs`.
    device
        Where to compute, such as ``"cuda"``.

    Returns
    -------
    arcs
        On the CPU, with a leading axis for the lens.

    Raises
    ------
    PhysicalRangeError
        As `render_arcs` does.
    """
    each = [psfs] * n_lens if isinstance(psfs, Psf) else list(psfs)
    values = np.asarray(fluxes, dtype=np.float64)
    if len(each) != n_lens or values.ndim != 3 or len(values) != n_lens:
        raise PhysicalRangeError(
            "psfs and fluxes", (len(each), values.shape), f"one PSF and (source, band) fluxes for {n_lens} lenses"
        )
    for one in values:
        checked_fluxes(one, len(sources), len(each[0].stamps))
    for source in sources:
        refuse_wider(source, shape, pixscale)
    if center is None:
        center = ((shape[0] - 1) / 2, (shape[1] - 1) / 2)
    parts = []
    for start in range(0, n_lens, GROUP):
        group = slice(start, min(start + GROUP, n_lens))
        index = torch.arange(group.start, group.stop)
        parts.append(
            _render_group(
                select(lens, index),
                [select(source, index) for source in sources],
                values[group],
                each[group],
                shape=shape,
                center=center,
                pixscale=pixscale,
                tolerance=tolerance,
                device=device,
            )
        )
    return ArcImage(
        image=np.concatenate([part.image for part in parts]),
        magnification=np.concatenate([part.magnification for part in parts]),
        flux=np.concatenate([part.flux for part in parts]),
    )


def _render_group(
    lens: Deflector,
    sources: Sequence[Source],
    values: NDArray[np.float64],
    psfs: Sequence[Psf],
    *,
    shape: tuple[int, int],
    center: tuple[float, float],
    pixscale: float,
    tolerance: float,
    device: torch.device | str,
) -> ArcImage:
    """Return the images of some lenses of a batch."""
    margin = max(psf.half for psf in psfs)
    origin = (center[0] + margin, center[1] + margin)
    padded = (good_size(shape[0] + 2 * margin), good_size(shape[1] + 2 * margin))
    unspread = torch.from_numpy(undo(padded)).to(device)
    response = torch.from_numpy(np.stack([psf.transform(padded) for psf in psfs])).to(device)
    flux = torch.from_numpy(values).to(device)
    spectrum = torch.zeros_like(response)
    magnification = []
    for k, source in enumerate(sources):
        smooth, core = lensed_light(
            lens,
            source,
            n_lens=len(psfs),
            shape=padded,
            origin=origin,
            pixscale=pixscale,
            tolerance=tolerance,
            device=device,
        )
        magnification.append((smooth + core).sum((1, 2)))
        light = torch.fft.rfft2(core) * unspread + torch.fft.rfft2(smooth)
        spectrum += flux[:, k, :, None, None] * light[:, None]
    image = torch.fft.irfft2(spectrum * response, s=padded)
    image = image[..., margin : margin + shape[0], margin : margin + shape[1]]
    total = torch.stack(magnification, dim=1)
    return ArcImage(
        image=image.cpu().numpy(),
        magnification=total.cpu().numpy(),
        flux=torch.einsum("ls,lsb->lb", total, flux).cpu().numpy(),
    )
