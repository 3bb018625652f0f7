"""The images of one brick, as a coadd pipeline would leave them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from legacylens.mocks.conditions import coverage
from legacylens.mocks.layout import MockBrick, image_size
from legacylens.mocks.noise import aperture_factor, coadd_noise
from legacylens.mocks.patch import PatchContent, generator
from legacylens.mocks.psf import Psf, moffat_psfs
from legacylens.mocks.release_config import MockReleaseConfig
from legacylens.mocks.render import render_arcs
from legacylens.mocks.scene import Scene
from legacylens.mocks.sky import Points, Streak
from legacylens.mocks.star_masks import add_halos_and_spikes, mask_galaxy, mask_stars, saturate
from legacylens.mocks.strong_lenses import StrongLens
from legacylens.survey.bands import BANDS, PIXSCALE
from legacylens.survey.grid import brick_wcs, pixel_position, sky_position
from legacylens.survey.maskbits import mask_value

ARC_STAMP = 81
"""Side of the stamp of a lens's arcs [pixel]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arcs:
    """The arcs of one lens on the pixels of one brick."""

    number: int
    """Number of the lens within its patch."""
    left: int
    """Column of the stamp's first pixel in the brick."""
    bottom: int
    """Row of the stamp's first pixel in the brick."""
    image: NDArray[np.float32]
    """Arcs alone, through seeing and dust, (band, y, x) [nanomaggies]."""
    magnification: float
    """Lensed over unlensed flux."""
    snr: NDArray[np.float64]
    """Matched-filter S/N in g, r, z against the noise of the sky and of all light in these pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrickImages:
    """Images of a brick, by band."""

    image: dict[str, NDArray[np.float32]]
    """[nanomaggies/pixel]"""
    invvar: dict[str, NDArray[np.float32]]
    """[1/nanomaggies^2]"""
    nexp: dict[str, NDArray[np.int16]]
    """Number of exposures."""
    psfsize: dict[str, NDArray[np.float32]]
    """Seeing [arcsec], 0 where nothing was observed."""
    maskbits: NDArray[np.int32]
    """Bits of `legacylens.survey.maskbits`."""
    wcs: WCS
    """Pixel grid."""
    arcs: tuple[Arcs, ...]
    """Arcs of the lenses in the image."""


def _affine(content: PatchContent, wcs: WCS, width: int, height: int) -> NDArray[np.float64]:
    """Return the matrix (2, 3) from brick pixels (x, y, 1) to the patch's plane (east, north) [arcsec]."""
    x = np.array([0.0, width - 1.0, 0.0, width - 1.0])
    y = np.array([0.0, 0.0, height - 1.0, height - 1.0])
    east, north = content.to_plane(*sky_position(wcs, x, y))
    design = np.stack([x, y, np.ones(4)], axis=1)
    return np.asarray(np.linalg.lstsq(design, np.stack([east, north], axis=1), rcond=None)[0].T)


def _white(content: PatchContent, seed: int, band: int, border: int) -> NDArray[np.float32]:
    """Return the white noise of the patch's own grid, which its bricks share as they share their exposures."""
    frame = content.frame
    shape = (
        int(np.ceil((frame.north[1] - frame.north[0]) / PIXSCALE)) + border,
        int(np.ceil((frame.east[1] - frame.east[0]) / PIXSCALE)) + border,
    )
    return generator(seed, "noise", content.patch.number, band).standard_normal(shape, dtype=np.float32)


def _on_brick(
    white: NDArray[np.float32],
    content: PatchContent,
    affine: NDArray[np.float64],
    width: int,
    height: int,
    fresh: np.random.Generator,
) -> NDArray[np.float32]:
    """Return the patch's white noise on a brick's pixels: the nearest sample, never the same one twice."""
    x, y = np.arange(width), np.arange(height)[:, None]
    # A quarter of a pixel keeps grids that differ by half a pixel from flipping between two neighbors.
    column = (content.frame.east[1] - (affine[0, 0] * x + affine[0, 1] * y + affine[0, 2])) / PIXSCALE + 0.25
    row = (affine[1, 0] * x + affine[1, 1] * y + affine[1, 2] - content.frame.north[0]) / PIXSCALE + 0.25
    columns, rows = np.floor(column).astype(np.int32), np.floor(row).astype(np.int32)
    noise = white[np.clip(rows, 0, white.shape[0] - 1), np.clip(columns, 0, white.shape[1] - 1)]
    twice = np.zeros(noise.shape, dtype=bool)
    twice[:, 1:] |= (columns[:, 1:] == columns[:, :-1]) & (rows[:, 1:] == rows[:, :-1])
    twice[1:] |= (columns[1:] == columns[:-1]) & (rows[1:] == rows[:-1])
    noise[twice] = fresh.standard_normal(int(twice.sum()), dtype=np.float32)
    return np.asarray(noise)


def _pixels(
    content: PatchContent, wcs: WCS, east: NDArray[np.float64], north: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if len(east) == 0:
        return np.empty(0), np.empty(0)
    return pixel_position(wcs, *content.to_sky(east, north))


def draw_arcs(lens: StrongLens, number: int, x: float, y: float, psf: Psf, transmission: NDArray[np.float64]) -> Arcs:
    """Render the arcs of a lens whose host stands at pixel (x, y)."""
    left, bottom = round(x) - ARC_STAMP // 2, round(y) - ARC_STAMP // 2
    arcs = render_arcs(
        lens.deflector,
        lens.source,
        np.asarray(lens.source_flux) * transmission,
        psf,
        shape=(ARC_STAMP, ARC_STAMP),
        center=(y - bottom, x - left),
    )
    return Arcs(
        number=number,
        left=left,
        bottom=bottom,
        image=np.asarray(arcs.image, dtype=np.float32),
        magnification=float(arcs.magnification[0]),
        snr=np.zeros(3),
    )


def _window(arcs: Arcs, shape: tuple[int, int]) -> tuple[slice, slice, slice, slice] | None:
    n = ARC_STAMP
    left, bottom = max(arcs.left, 0), max(arcs.bottom, 0)
    right, top = min(arcs.left + n, shape[1]), min(arcs.bottom + n, shape[0])
    if left >= right or bottom >= top:
        return None
    return (
        slice(bottom, top),
        slice(left, right),
        slice(bottom - arcs.bottom, top - arcs.bottom),
        slice(left - arcs.left, right - arcs.left),
    )


def _streak(
    image: NDArray[np.float32], streak: Streak, east: NDArray[np.float32], north: NDArray[np.float32], sigma: float
) -> None:
    u, v = east - np.float32(streak.east), north - np.float32(streak.north)
    cos, sin = np.float32(np.cos(streak.angle)), np.float32(np.sin(streak.angle))
    across = (u * sin - v * cos) / np.float32(streak.width)
    near = (np.abs(across) < 5.0) & (np.abs(u * cos + v * sin) < streak.half_length)
    image[near] += np.float32(streak.height * sigma) * np.exp(-0.5 * across[near] ** 2)


def _primary(mock: MockBrick, wcs: WCS, width: int, height: int) -> NDArray[np.bool_]:
    """Return which pixels lie in the brick's unique area."""
    x, y = np.arange(width), np.arange(height)
    ra, _ = sky_position(wcs, x, np.full(width, 0.5 * (height - 1)))
    _, dec = sky_position(wcs, np.full(height, 0.5 * (width - 1)), y)
    brick = mock.brick
    away = (ra - brick.ra + 180.0) % 360.0 - 180.0
    half = 0.5 * (brick.ra2 - brick.ra1)
    return np.asarray(((dec >= brick.dec1) & (dec < brick.dec2))[:, None] & ((away >= -half) & (away < half))[None, :])


def draw_brick(content: PatchContent, mock: MockBrick, config: MockReleaseConfig, seed: int) -> BrickImages:
    """Draw the images of one brick of a patch."""
    width, height = image_size(mock.brick, config.border)
    wcs = brick_wcs(mock.brick.ra, mock.brick.dec, width, height)
    conditions, sky = content.conditions, content.sky
    bands = [band for band in BANDS if band in conditions.bands]
    transmission = np.array([conditions.transmission(band) for band in BANDS])
    affine = _affine(content, wcs, width, height)
    columns, rows = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    east = np.asarray(affine[0, 0] * columns + affine[0, 1] * rows + affine[0, 2], dtype=np.float32)
    north = np.asarray(affine[1, 0] * columns + affine[1, 1] * rows + affine[1, 2], dtype=np.float32)

    scene = Scene(width, height)
    galaxies = [*sky.galaxies, *(lens.host for lens in content.lenses)]
    gx, gy = _pixels(content, wcs, np.array([g.east for g in galaxies]), np.array([g.north for g in galaxies]))
    for galaxy, x, y in zip(galaxies, gx, gy, strict=True):
        scene.add_galaxy(galaxy, float(x), float(y), transmission)
    fx, fy = _pixels(content, wcs, sky.faint.east, sky.faint.north)
    scene.add_faint(sky.faint, fx, fy, transmission)
    sx, sy = _pixels(content, wcs, sky.stars.east, sky.stars.north)
    scene.add_stars(sky.stars, sx, sy, transmission)

    psf = Psf(
        moffat_psfs(
            [conditions.bands[b].fwhm if b in conditions.bands else 1.3 for b in BANDS],
            [conditions.bands[b].beta if b in conditions.bands else 3.0 for b in BANDS],
        )
    )
    first_host = len(sky.galaxies)
    arcs = [
        draw_arcs(lens, k, float(gx[first_host + k]), float(gy[first_host + k]), psf, transmission)
        for k, lens in enumerate(content.lenses)
        if -60 < gx[first_host + k] < width + 60 and -60 < gy[first_host + k] < height + 60
    ]

    maskbits = np.where(_primary(mock, wcs, width, height), 0, mask_value("NPRIMARY")).astype(np.int32)
    mask_stars(maskbits, sky.stars, sx, sy)
    for galaxy, x, y in zip(galaxies, gx, gy, strict=True):
        mask_galaxy(maskbits, galaxy, float(x), float(y))

    fresh = generator(seed, "noise", content.patch.number, 9, mock.brick.brickid)
    image, invvar, nexp, psfsize = {}, {}, {}, {}
    snr = {k: np.zeros(3) for k in range(len(arcs))}
    for band in bands:
        number, seen = BANDS.index(band), conditions.bands[band]
        model = scene.observed(number, seen)
        add_halos_and_spikes(model, number, sky.stars.flux[:, number] * transmission[number], sx, sy)
        for arc in arcs:
            window = _window(arc, model.shape)
            if window is not None:
                model[window[0], window[1]] += arc.image[number][window[2], window[3]]
        nexp[band], invvar[band] = coverage(seen, east, north, conditions.edge)
        white = _on_brick(_white(content, seed, number, 8), content, affine, width, height, fresh)
        noisy = model + coadd_noise(white, invvar[band], model, seen.sky) + np.float32(seen.pedestal)
        for streak in sky.streaks:
            if streak.band == number:
                _streak(noisy, streak, east, north, seen.sigma)
        _bad_spots(fresh, band, invvar[band], maskbits)
        noisy[nexp[band] == 0] = 0.0
        image[band] = np.asarray(noisy, dtype=np.float32)
        psfsize[band] = np.where(nexp[band] > 0, np.float32(seen.fwhm), np.float32(0.0))
        for k, arc in enumerate(arcs):
            window = _window(arc, model.shape)
            if window is not None:
                clean, weight = arc.image[number][window[2], window[3]], invvar[band][window[0], window[1]]
                light = np.maximum(model[window[0], window[1]], 0.0)
                power = np.sum(clean.astype(np.float64) ** 2 * weight / (1.0 + light / seen.sky))
                snr[k][number] = np.sqrt(power) / aperture_factor()
    saturate(image, invvar, maskbits, _through(sky.stars, transmission), sx, sy)
    if content.patch.bailed_out:
        maskbits[:, : int(0.6 * width)] |= np.int32(mask_value("BAILOUT"))
    return BrickImages(
        image=image,
        invvar=invvar,
        nexp=nexp,
        psfsize=psfsize,
        maskbits=maskbits,
        wcs=wcs,
        arcs=tuple(
            Arcs(
                number=a.number,
                left=a.left,
                bottom=a.bottom,
                image=a.image,
                magnification=a.magnification,
                snr=snr[k],
            )
            for k, a in enumerate(arcs)
        ),
    )


def _through(stars: Points, transmission: NDArray[np.float64]) -> Points:
    return Points(
        east=stars.east,
        north=stars.north,
        flux=stars.flux * transmission,
        radius=stars.radius,
        n=stars.n,
        q=stars.q,
        pa=stars.pa,
    )


def _bad_spots(rng: np.random.Generator, band: str, invvar: NDArray[np.float32], maskbits: NDArray[np.int32]) -> None:
    """Mask a few spots that are bad in every exposure."""
    height, width = invvar.shape
    for _ in range(int(rng.poisson(5.0))):
        x, y, n = int(rng.integers(width)), int(rng.integers(height)), int(rng.integers(2, 7))
        spot = (slice(y, y + n), slice(x, x + int(rng.integers(1, 5))))
        invvar[spot] = 0.0
        maskbits[spot] |= np.int32(mask_value(f"ALLMASK_{band.upper()}"))
