"""The images of one brick, as a coadd pipeline would leave them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from legacylens.mocks.arcs import Arcs, draw_arcs
from legacylens.mocks.conditions import coverage
from legacylens.mocks.galaxies import Galaxy
from legacylens.mocks.layout import MockBrick, image_size
from legacylens.mocks.noise import coadd_noise
from legacylens.mocks.patch import PatchContent, generator
from legacylens.mocks.psf import Psf, moffat_psfs
from legacylens.mocks.release_config import MockReleaseConfig
from legacylens.mocks.scene import Scene
from legacylens.mocks.sky import Streak
from legacylens.mocks.star_masks import add_halos_and_spikes, mask_galaxy, mask_stars, saturate
from legacylens.survey.bands import BANDS, PIXSCALE
from legacylens.survey.grid import brick_wcs, pixel_position, sky_position
from legacylens.survey.maskbits import mask_value

Array = NDArray[np.float64]
Mask = NDArray[np.int32]

BAILED_OUT_PART = 0.6
"""Part of a brick's width whose fit is given up in a bailed-out brick."""


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


def _white(content: PatchContent, seed: int, band: int, border: int = 8) -> NDArray[np.float32]:
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
    affine: Array,
    shape: tuple[int, int],
    fresh: np.random.Generator,
) -> NDArray[np.float32]:
    """Return the patch's white noise on a brick's pixels: the nearest sample, never the same one twice."""
    height, width = shape
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """Pixels of everything in a patch on the grid of a brick."""

    galaxies: tuple[Galaxy, ...]
    """Galaxies, then lens hosts."""
    galaxy: tuple[Array, Array]
    """Pixels (x, y) of the galaxies."""
    faint: tuple[Array, Array]
    """Pixels of the faint galaxies."""
    stars: tuple[Array, Array]
    """Pixels of the stars."""


def _places(content: PatchContent, wcs: WCS) -> _Places:
    sky = content.sky
    galaxies = (*sky.galaxies, *(lens.host for lens in content.lenses))
    return _Places(
        galaxies=galaxies,
        galaxy=_pixels(content, wcs, np.array([g.east for g in galaxies]), np.array([g.north for g in galaxies])),
        faint=_pixels(content, wcs, sky.faint.east, sky.faint.north),
        stars=_pixels(content, wcs, sky.stars.east, sky.stars.north),
    )


def _scene(content: PatchContent, places: _Places, transmission: Array, shape: tuple[int, int]) -> Scene:
    """Put all light but the arcs on the fine grid."""
    scene = Scene(shape[1], shape[0])
    for galaxy, x, y in zip(places.galaxies, *places.galaxy, strict=True):
        scene.add_galaxy(galaxy, float(x), float(y), transmission)
    scene.add_faint(content.sky.faint, *places.faint, transmission)
    scene.add_stars(content.sky.stars, *places.stars, transmission)
    return scene


def _all_arcs(content: PatchContent, places: _Places, transmission: Array, shape: tuple[int, int]) -> list[Arcs]:
    """Render the arcs of every lens that can be seen in the image."""
    bands = content.conditions.bands
    # A band without images still needs a PSF; its arcs are rendered and never used.
    seen = [bands.get(band, next(iter(bands.values()))) for band in BANDS]
    psf = Psf(moffat_psfs([s.fwhm for s in seen], [s.beta for s in seen]))
    first = len(content.sky.galaxies)
    arcs = []
    for number, lens in enumerate(content.lenses):
        x, y = float(places.galaxy[0][first + number]), float(places.galaxy[1][first + number])
        if -60 < x < shape[1] + 60 and -60 < y < shape[0] + 60:
            arcs.append(draw_arcs(lens, number, x, y, psf, transmission))
    return arcs


def _initial_mask(content: PatchContent, mock: MockBrick, places: _Places, wcs: WCS, shape: tuple[int, int]) -> Mask:
    """Return the mask of what is known before the images are: the unique area, bright stars, large galaxies."""
    primary = _primary(mock, wcs, shape[1], shape[0])
    mask = np.where(primary, 0, mask_value("NPRIMARY")).astype(np.int32)
    mask_stars(mask, content.sky.stars, *places.stars)
    for galaxy, x, y in zip(places.galaxies, *places.galaxy, strict=True):
        mask_galaxy(mask, galaxy, float(x), float(y))
    if content.patch.bailed_out:
        mask[:, : int(BAILED_OUT_PART * shape[1])] |= np.int32(mask_value("BAILOUT"))
    return mask


def draw_brick(content: PatchContent, mock: MockBrick, config: MockReleaseConfig, seed: int) -> BrickImages:
    """Draw the images of one brick of a patch.

    Parameters
    ----------
    content
        The patch.
    mock
        One of its bricks.
    config
        Contents of the release.
    seed
        Seed of the release.
    """
    width, height = image_size(mock.brick, config.border)
    shape = (height, width)
    wcs = brick_wcs(mock.brick.ra, mock.brick.dec, width, height)
    conditions = content.conditions
    transmission = np.array([conditions.transmission(band) for band in BANDS])
    affine = _affine(content, wcs, width, height)
    columns, rows = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    east = np.asarray(affine[0, 0] * columns + affine[0, 1] * rows + affine[0, 2], dtype=np.float32)
    north = np.asarray(affine[1, 0] * columns + affine[1, 1] * rows + affine[1, 2], dtype=np.float32)
    places = _places(content, wcs)
    scene = _scene(content, places, transmission, shape)
    arcs = _all_arcs(content, places, transmission, shape)
    maskbits = _initial_mask(content, mock, places, wcs, shape)

    fresh = generator(seed, "noise", content.patch.number, 9, mock.brick.brickid)
    image: dict[str, NDArray[np.float32]] = {}
    invvar: dict[str, NDArray[np.float32]] = {}
    nexp: dict[str, NDArray[np.int16]] = {}
    psfsize: dict[str, NDArray[np.float32]] = {}
    snr = np.zeros((len(arcs), 3))
    for band, seen in conditions.bands.items():
        number = BANDS.index(band)
        model = scene.observed(number, seen)
        add_halos_and_spikes(model, number, content.sky.stars.flux[:, number] * transmission[number], *places.stars)
        for arc in arcs:
            arc.add_to(model, number)
        nexp[band], invvar[band] = coverage(seen, east, north, conditions.edge)
        white = _on_brick(_white(content, seed, number), content, affine, shape, fresh)
        noisy = model + coadd_noise(white, invvar[band], model, seen.sky) + np.float32(seen.pedestal)
        for streak in content.sky.streaks:
            if streak.band == number:
                _streak(noisy, streak, east, north, seen.sigma)
        _bad_spots(fresh, band, invvar[band], maskbits)
        noisy[nexp[band] == 0] = 0.0
        image[band] = np.asarray(noisy, dtype=np.float32)
        psfsize[band] = np.where(nexp[band] > 0, np.float32(seen.fwhm), np.float32(0.0))
        snr[:, number] = [arc.matched_snr(number, model, invvar[band], seen.sky) for arc in arcs]
    saturate(image, invvar, maskbits, content.sky.stars.flux * transmission, *places.stars)
    return BrickImages(
        image=image,
        invvar=invvar,
        nexp=nexp,
        psfsize=psfsize,
        maskbits=maskbits,
        wcs=wcs,
        arcs=tuple(replace(arc, snr=of_arc) for arc, of_arc in zip(arcs, snr, strict=True)),
    )


def _bad_spots(rng: np.random.Generator, band: str, invvar: NDArray[np.float32], maskbits: NDArray[np.int32]) -> None:
    """Mask a few spots that are bad in every exposure."""
    height, width = invvar.shape
    for _ in range(int(rng.poisson(5.0))):
        x, y, n = int(rng.integers(width)), int(rng.integers(height)), int(rng.integers(2, 7))
        spot = (slice(y, y + n), slice(x, x + int(rng.integers(1, 5))))
        invvar[spot] = 0.0
        maskbits[spot] |= np.int32(mask_value(f"ALLMASK_{band.upper()}"))
