"""Pixelized PSFs in files as the survey's viewer gives them (``coadd-psf``): one image for each band."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from legacylens.errors import FileProblem
from legacylens.mocks.psf import Psf
from legacylens.survey.bands import BANDS


def read_psf(path: str | Path, bands: tuple[str, ...] = BANDS) -> NDArray[np.float64]:
    """Read the PSF of each band.

    Parameters
    ----------
    path
        FITS file with one square image for each band, named by ``BAND`` in its header.
    bands
        Bands that are wanted, in order.

    Returns
    -------
    stamps
        Shape ``(band, k, k)``, sum 1 each; they contain the pixel response, as the survey's models do.

    Raises
    ------
    FileProblem
        If the file cannot be read, lacks a band, or holds no PSF.
    PhysicalRangeError
        If an image is no PSF: negative wings, not square, a sum far from 1.
    """
    path = Path(path)
    try:
        with fits.open(path) as hdus:
            images = {
                str(hdu.header["BAND"]).strip().lower(): np.asarray(hdu.data, dtype=np.float64)
                for hdu in hdus
                if hdu.data is not None and "BAND" in hdu.header
            }
    except FileNotFoundError:
        raise FileProblem(path, "no such file", "Check the path.", reason="missing") from None
    except (OSError, TypeError, ValueError) as error:
        raise FileProblem(
            path, f"not a readable FITS file ({error})", "Download it again.", reason="not-fits"
        ) from error
    missing = [band for band in bands if band not in images]
    if missing:
        raise FileProblem(
            path,
            f"no PSF image with BAND = {', '.join(missing)} in its header (found {', '.join(images) or 'none'})",
            "Ask the viewer's coadd-psf for all bands.",
            reason="missing-band",
        )
    return Psf(np.stack([images[band] for band in bands])).stamps


def psf_folder(folder: str | Path | None) -> Callable[[str], NDArray[np.float64] | None]:
    """Return a function that gives the PSFs of a source from ``SOURCE_ID.fits`` in a folder, None where there are none.

    Raises
    ------
    FileProblem
        If the folder does not exist.
    """
    if folder is None:
        return lambda _: None
    place = Path(folder)
    if not place.is_dir():
        raise FileProblem(place, "no such folder of PSFs", "Check the path.", reason="missing")

    def find(source_id: str) -> NDArray[np.float64] | None:
        path = place / f"{source_id}.fits"
        return read_psf(path) if path.exists() else None

    return find
