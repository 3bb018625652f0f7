"""A random catalog of a mock release, in the columns of the survey's: points with what the coadds say at each.

The survey makes its own from the same coadds (files page of DR10; Myers et al. 2023, AJ 165, 50). The columns that only
serve the assignment of fibers are left out.
"""

from __future__ import annotations

from pathlib import Path

import fitsio
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from legacylens.files import atomic_path
from legacylens.mocks.conditions import noise_pixels
from legacylens.survey.bands import ALL_BANDS
from legacylens.survey.bricks import BrickTable
from legacylens.survey.cells import cell_of
from legacylens.survey.grid import pixel_position, wcs_of_header
from legacylens.survey.release import Release

_BANDS = [band.upper() for band in ALL_BANDS]
DTYPE = np.dtype(
    [
        ("RELEASE", "i2"), ("BRICKID", "i4"), ("BRICKNAME", "S8"), ("BRICK_OBJID", "i4"), ("RA", "f8"), ("DEC", "f8"),
        *[(f"NOBS_{band}", "i2") for band in _BANDS],
        *[(f"PSFDEPTH_{band}", "f4") for band in _BANDS],
        *[(f"GALDEPTH_{band}", "f4") for band in _BANDS],
        ("PSFDEPTH_W1", "f4"), ("PSFDEPTH_W2", "f4"),
        *[(f"PSFSIZE_{band}", "f4") for band in _BANDS],
        *[(f"APFLUX_{band}", "f4") for band in _BANDS],
        *[(f"APFLUX_IVAR_{band}", "f4") for band in _BANDS],
        ("MASKBITS", "i4"), ("WISEMASK_W1", "u1"), ("WISEMASK_W2", "u1"), ("EBV", "f4"), ("PHOTSYS", "S1"),
        ("HPXPIXEL", "i8"), ("TARGETID", "i8"),
    ]
)  # fmt: skip
"""Columns of ``randoms-1-*.fits`` with their types, up to those for fibers."""
GALAXY_FACTOR = 0.6
"""Galaxy depth over point-source depth, for the column alone: nothing here reads it."""


def write_randoms(release: Release, path: str | Path, *, density: float, rng: np.random.Generator) -> int:
    """Write random points over the bricks of a mock release.

    Parameters
    ----------
    release
        On disk, with nexp, psfsize, invvar and maskbits coadds.
    path
        The FITS file.
    density
        Points for each square degree.
    rng
        Of the positions and of their order.

    Returns
    -------
    n
        Points written.
    """
    with fits.open(release.local(release.summary_path())) as hdus:
        summary = hdus[1].data
        names = {name.lower(): name for name in summary.columns.names}
        reddening = {
            str(name).strip(): float(ebv)
            for name, ebv in zip(summary[names["brickname"]], summary[names["ebv"]], strict=True)
        }
    bricks = BrickTable.read(release)
    parts = [_points(release, bricks, name, ebv, density, rng) for name, ebv in sorted(reddening.items())]
    points = np.concatenate(parts)
    points = points[rng.permutation(len(points))]
    with atomic_path(path) as temporary, fitsio.FITS(str(temporary), "rw", clobber=True) as file:
        file.write(points, extname="RANDOMS", header={"DENSITY": density, "DR": "mock", "SEED": 1})
    return len(points)


def _points(
    release: Release, bricks: BrickTable, name: str, ebv: float, density: float, rng: np.random.Generator
) -> NDArray[np.void]:
    brick = bricks[name]
    lowest, highest = np.sin(np.radians([brick.dec1, brick.dec2]))
    width = (brick.ra2 - brick.ra1) % 360.0
    area = np.degrees(highest - lowest) * width
    n = int(rng.poisson(density * area))
    points = np.zeros(n, dtype=DTYPE)
    points["RA"] = np.sort(brick.ra1 + width * rng.random(n)) % 360.0
    points["DEC"] = np.degrees(np.arcsin(rng.uniform(lowest, highest, n)))
    points["RELEASE"], points["BRICKID"], points["BRICKNAME"] = 10002, brick.brickid, name
    points["BRICK_OBJID"] = np.arange(n)
    points["EBV"], points["PHOTSYS"] = ebv, b"S"
    points["HPXPIXEL"] = cell_of(points["RA"], points["DEC"], 64) if n else 0
    maskbits, header = _plane(release, name, "maskbits", None)
    x, y = (np.rint(axis).astype(int) for axis in pixel_position(wcs_of_header(header), points["RA"], points["DEC"]))
    points["MASKBITS"] = maskbits[y, x]
    for band in ALL_BANDS:
        if not release.has(release.coadd_path(name, "nexp", band)):
            continue  # as in the survey, a band without images leaves zeros
        nexp, size, invvar = (_plane(release, name, kind, band)[0][y, x] for kind in ("nexp", "psfsize", "invvar"))
        upper = band.upper()
        points[f"NOBS_{upper}"], points[f"PSFSIZE_{upper}"] = nexp, size
        pixels = np.array([noise_pixels(float(fwhm), 3.0) if fwhm > 0 else np.inf for fwhm in size])
        points[f"PSFDEPTH_{upper}"] = invvar / pixels
        points[f"GALDEPTH_{upper}"] = GALAXY_FACTOR * points[f"PSFDEPTH_{upper}"]
        points[f"APFLUX_IVAR_{upper}"] = points[f"PSFDEPTH_{upper}"]
    return points


def _plane(release: Release, name: str, kind: str, band: str | None) -> tuple[NDArray[np.generic], fits.Header]:
    with fits.open(release.local(release.coadd_path(name, kind, band))) as hdus:
        image = next(hdu for hdu in hdus if hdu.data is not None)
        return np.asarray(image.data), image.header
