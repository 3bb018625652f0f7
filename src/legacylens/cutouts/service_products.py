"""What is fetched beside the cutouts: the mean PSF of the exposures, and color pictures.

::

    STORE/
      psf/<source_id>.fits     one image for each band, header card BAND
      psf/quarantine.parquet
      jpeg/<source_id>.jpg     as the service sent it
      jpeg/quarantine.parquet
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from PIL import Image

from legacylens.cutouts.service_answer import read_answer, require_answer
from legacylens.cutouts.service_request import ServiceRequest
from legacylens.errors import FileProblem, InputError
from legacylens.files import atomic_path

JPEG_MAGIC = b"\xff\xd8\xff"
SUFFIXES = {"psf": ".fits", "jpeg": ".jpg"}
MAX_OFF_CENTER = 1.5
"""Farthest that the peak of a PSF may lie from the middle of its image [pixel]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Psf:
    """The PSF of each band at one position: the mean of the exposures' PSFEx models, weighted by their depth.

    It is not the PSF of the coadd, which Lanczos resampling widens a little. The pixels are the camera's (DECam: 0.26
    arcsec), and each band may have its own size.
    """

    planes: Mapping[str, NDArray[np.float64]]
    """Band -> image, odd sides, sum 1, the brightest pixel in the middle."""
    centroids: Mapping[str, tuple[float, float]]
    """Band -> offset (x, y) of the centroid of the core from the middle [pixel]."""


def product_path(store: str | Path, product: str, source_id: str) -> Path:
    """Return where the PSF or picture of a source lies beside a store.

    Raises
    ------
    InputError
        If the name of the source is too long for a file.
    """
    name = quote(source_id, safe=" +,=@") + SUFFIXES[product]
    if len(name) > 200:
        raise InputError(f"source_id {source_id[:60]}... is too long for the name of a file: give shorter names")
    return Path(store) / product / name


def read_psf_answer(url: str, request: ServiceRequest, status: int, body: bytes) -> Psf:
    """Read an answer of the PSF service: one image a band, the first perhaps in the primary header.

    Raises
    ------
    FileProblem
        If it is not what was asked for.
    """
    planes = {}
    for hdu in read_answer(url, status, body):
        if hdu.data is None:
            continue
        band = hdu.text("BAND")
        if hdu.data.ndim != 2 or band in planes:
            raise FileProblem(
                url, f"an image of shape {hdu.data.shape} for band {band!r}", "Ask again.", reason="other-layout"
            )
        planes[band] = np.asarray(hdu.data, dtype=np.float64)
    if set(planes) != set(request.bands):
        is_part = set(planes) < set(request.bands)
        raise FileProblem(
            url,
            f"PSFs of bands {''.join(planes) or 'none'} where {''.join(request.bands)} were asked for",
            "There is no exposure in a band here." if is_part else f"See that layer {request.layer} has these bands.",
            reason="missing-psf" if is_part else "other-bands",
        )
    return psf_of(url, {band: planes[band] for band in request.bands})


def psf_of(url: str, planes: Mapping[str, NDArray[np.float64]]) -> Psf:
    """Center and normalize the PSF of each band.

    The brightest pixel is moved to the middle by whole pixels, so nothing is interpolated; what is left of the offset
    is in `Psf.centroids`.

    Raises
    ------
    FileProblem
        If a plane is not finite, has no flux, or has its peak far from the middle (``bad-psf``).
    """
    centered, centroids = {}, {}
    for band, plane in planes.items():
        total = float(plane.sum()) if np.isfinite(plane).all() else float("nan")
        if not total > 0 or min(plane.shape) < 5:
            raise _bad_psf(url, f"PSF of band {band} with shape {plane.shape} and sum {total}")
        row, column = (int(place) for place in np.unravel_index(int(plane.argmax()), plane.shape))
        middle_y, middle_x = (plane.shape[0] - 1) / 2.0, (plane.shape[1] - 1) / 2.0
        if max(abs(row - middle_y), abs(column - middle_x)) > MAX_OFF_CENTER:
            raise _bad_psf(url, f"PSF of band {band} with its peak at ({column}, {row}) of {plane.shape[::-1]}")
        half = min(row, column, plane.shape[0] - 1 - row, plane.shape[1] - 1 - column)
        cut = plane[row - half : row + half + 1, column - half : column + half + 1]
        centered[band] = cut / cut.sum()
        core = np.clip(cut[max(half - 3, 0) : half + 4, max(half - 3, 0) : half + 4], 0.0, None)
        offset = np.arange(len(core)) - (len(core) - 1) / 2.0
        centroids[band] = (
            float((core.sum(axis=0) * offset).sum() / core.sum()),
            float((core.sum(axis=1) * offset).sum() / core.sum()),
        )
    return Psf(planes=centered, centroids=centroids)


def _bad_psf(url: str, what: str) -> FileProblem:
    return FileProblem(url, what, "Leave the position out, or use psfsize of the sweeps.", reason="bad-psf")


def write_psf(path: Path, psf: Psf, *, origin: str) -> None:
    """Write a PSF as FITS, one image a band, atomically."""
    primary = fits.PrimaryHDU()
    primary.header["BANDS"] = "".join(psf.planes)
    primary.header["COMMENT"] = f"from {origin}"
    hdus = [primary]
    for band, plane in psf.planes.items():
        hdu = fits.ImageHDU(plane.astype(np.float32), name=f"PSF_{band}")
        hdu.header["BAND"] = band
        hdu.header["XOFF"] = (round(psf.centroids[band][0], 4), "centroid of the core, from the middle [pixel]")
        hdu.header["YOFF"] = (round(psf.centroids[band][1], 4), "centroid of the core, from the middle [pixel]")
        hdus.append(hdu)
    with atomic_path(path) as temporary:
        fits.HDUList(hdus).writeto(temporary)


def read_psf(store: str | Path, source_id: str) -> Psf:
    """Read the PSF of a source beside a store.

    Raises
    ------
    FileProblem
        If there is none; the quarantine table in the folder may say why.
    """
    path = product_path(store, "psf", source_id)
    if not path.exists():
        raise FileProblem(
            path, "no such PSF", "Fetch with psf = true; see quarantine.parquet beside it.", reason="missing"
        )
    body = path.read_bytes()
    planes = {hdu.text("BAND"): np.asarray(hdu.data, np.float64) for hdu in read_answer(str(path), 200, body)
              if hdu.data is not None}  # fmt: skip
    return psf_of(str(path), planes)


def check_jpeg(url: str, request: ServiceRequest, status: int, body: bytes) -> None:
    """Refuse an answer that is not the picture that was asked for.

    Raises
    ------
    FileProblem
        If it is no JPEG, was cut short, has another size, or is blank as pictures off the footprint are.
    """
    require_answer(url, status, body, JPEG_MAGIC)
    if not body.rstrip(b"\x00").endswith(b"\xff\xd9"):
        raise FileProblem(url, f"a JPEG without its end after {len(body)} bytes", "Ask again.", reason="truncated")
    try:
        with Image.open(io.BytesIO(body)) as picture:
            size = picture.size
            pixels = np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise FileProblem(url, f"a JPEG that cannot be decoded ({error})", "Ask again.", reason="truncated") from error
    if size != (request.size, request.size):
        raise FileProblem(
            url,
            f"a picture of {size[0]} x {size[1]} pixels where {request.size} were asked for",
            "Ask again, with a smaller size if it was cut down: the service clips sizes without a word.",
            reason="other-size",
        )
    if (pixels == pixels[0, 0]).all():
        raise FileProblem(
            url,
            "a blank picture, as the service sends off the footprint",
            "The position is off the layer's footprint: leave it out or use another layer.",
            reason="off-the-sky",
        )
