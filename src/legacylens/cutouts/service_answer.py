"""Is the answer what was asked for? Looked for in its bytes and header cards, never in its status.

Every check names its finding with a stable word (`legacylens.errors.FileProblem.reason`). `RETRY` and `FINAL` say
what the fetch loop does about each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from legacylens.cutouts.cutout import defect_of
from legacylens.cutouts.service_fits import CardValue, Hdu, describe, looks_like_fits, read_hdus
from legacylens.cutouts.service_request import ServiceRequest
from legacylens.errors import FileProblem
from legacylens.survey.bands import PIXSCALE

RETRY: Mapping[str, str] = {
    "timeout": "no whole answer within the time limit",
    "connection": "the connection was refused, reset or never made",
    "truncated": "the answer ended too early",
    "rate-limited": "the service asked to wait (429)",
    "server-error": "the service failed (5xx)",
    "not-fits": "HTML, text or other bytes where FITS belongs, whatever the status",
    "not-jpeg": "HTML, text or other bytes where a JPEG belongs",
    "other-layout": "FITS with other extensions than asked for",
    "other-bands": "other bands than asked for",
    "other-size": "another size than asked for",
    "other-position": "pixels of another place of the sky",
    "other-scale": "another pixel scale or orientation than asked for",
    "other-layer": "pixels of another layer or data release",
    "too-large": "more bytes than the request can give",
}
"""Reason -> meaning, of what may go well when asked again."""

FINAL: Mapping[str, str] = {
    "off-the-sky": "no exposures at this position",
    "missing-band": "no exposures in one of the bands",
    "over-edge": "no brick holds the whole stamp",
    "missing-invvar": "the service has no inverse variances here",
    "missing-maskbits": "the service has no mask bits here",
    "missing-psf": "no exposure with a PSF model covers the position",
    "refused": "the service refuses the request (4xx)",
    "unknown-layer": "the service has no such layer",
    "bad-position": "not a position on the sphere",
    "ambiguous-position": "one source_id with two positions",
    "bad-center": "too few pixels with data at the center",
    "bad-pixels": "too few pixels with data",
    "nan": "NaN or infinite pixels",
    "units": "pixels that are not in nanomaggies",
    "bad-psf": "a PSF that is not finite, not positive or not centered",
}
"""Reason -> meaning, of what stays as it is when asked again."""

ABSENT = ("missing-band", "missing-invvar", "missing-maskbits", "missing-psf")
"""Reasons that an answer cut short between two images would give too."""

UNPLACED = ("off-the-sky", "missing-psf")
"""Reasons that are given in words, which do not tell what position they are about."""

SCALE_TOLERANCE = 1e-3
"""Largest relative error of the pixel scale, and of each element of the rotation."""

_DR = re.compile(r"dr(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A gnomonic pixel grid with north up and east to the left."""

    ra: float
    """Tangent point [deg]."""
    dec: float
    """Tangent point [deg]."""
    x: float
    """Column of the tangent point, 0-based."""
    y: float
    """Row of the tangent point, 0-based."""

    def pixel(self, ra: float, dec: float) -> tuple[float, float]:
        """Return the 0-based column and row of a position [deg], NaN on the far side of the sky.

        Calabretta & Greisen 2002, A&A 395, 1077, sec. 5.1.3; checked against wcslib in the tests. Their library is
        not used here because several threads check answers at a time.
        """
        dra, dec1, dec0 = np.radians(ra - self.ra), np.radians(dec), np.radians(self.dec)
        cosine = np.sin(dec0) * np.sin(dec1) + np.cos(dec0) * np.cos(dec1) * np.cos(dra)
        if cosine <= 0:
            return float("nan"), float("nan")
        scale = 3600.0 / PIXSCALE
        east = np.degrees(np.cos(dec1) * np.sin(dra) / cosine)
        north = np.degrees((np.cos(dec0) * np.sin(dec1) - np.sin(dec0) * np.cos(dec1) * np.cos(dra)) / cosine)
        return float(self.x - east * scale), float(self.y + north * scale)

    def position(self, x: float, y: float) -> tuple[float, float]:
        """Return the position [deg] of a 0-based column and row."""
        east, north = np.radians((self.x - x) * PIXSCALE / 3600.0), np.radians((y - self.y) * PIXSCALE / 3600.0)
        dec0 = np.radians(self.dec)
        down = np.cos(dec0) - north * np.sin(dec0)
        dec = np.arctan2(np.sin(dec0) + north * np.cos(dec0), np.hypot(east, down))
        return float((self.ra + np.degrees(np.arctan2(east, down))) % 360.0), float(np.degrees(dec))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """The pixels of one position, checked."""

    image: NDArray[np.float32]
    """Shape (band, y, x) [nanomaggies]."""
    invvar: NDArray[np.float32] | None
    """Shape (band, y, x) [1/nanomaggies^2]."""
    maskbits: NDArray[np.int32] | None
    """Shape (y, x)."""
    brickname: str
    """The brick that the pixels are of; "" for resampled stamps, which may mix bricks."""
    x0: int
    """Column of the stamp's first pixel in the brick; -1 for resampled stamps."""
    y0: int
    """Row of the stamp's first pixel in the brick; -1 for resampled stamps."""
    dx: float
    """Column of the source minus that of the central pixel [pixel]."""
    dy: float
    """Row of the source minus that of the central pixel [pixel]."""
    center_ra: float
    """Center of the central pixel [deg]."""
    center_dec: float
    """Center of the central pixel [deg]."""
    version: str
    """Survey and version that the service states, e.g. ``DECaLS DR9-south``."""


def require_answer(url: str, status: int, body: bytes, magic: bytes) -> None:
    """Explain an answer that does not start as it must.

    Raises
    ------
    FileProblem
        With the reason that the text or, for want of anything better, the status suggests.
    """
    if body.startswith(magic):
        return
    text = body[:4000].decode("utf-8", "replace").lower()
    said = f"status {status}, {describe(body)}"
    if status == 429:
        raise FileProblem(
            url, f"the service asks to wait ({said})", "Lower the rate, or fetch later.", reason="rate-limited"
        )
    if "no such layer" in text:
        raise FileProblem(
            url,
            f"the service does not know the layer ({said})",
            "Give a layer that the viewer's menu has, e.g. ls-dr10.",
            reason="unknown-layer",
        )
    if "no overlap" in text or "nooverlap" in text:
        raise FileProblem(
            url,
            f"no exposures at this position ({said})",
            "The position is off the layer's footprint: leave it out or use another layer.",
            reason="off-the-sky",
        )
    if "no ccds overlapping" in text:
        raise FileProblem(
            url,
            f"no exposure covers the position ({said})",
            "There is no PSF here: leave it out or use psfsize of the sweeps.",
            reason="missing-psf",
        )
    if status >= 500:
        raise FileProblem(
            url,
            f"the service failed ({said})",
            "Fetch later; if the same positions fail again, they may be off the footprint.",
            reason="server-error",
        )
    if 400 <= status < 500:
        raise FileProblem(
            url, f"the service refuses the request ({said})", "Check the address and the position.", reason="refused"
        )
    reason = "not-jpeg" if magic.startswith(b"\xff") else "not-fits"
    raise FileProblem(url, f"an answer that is no {reason[4:].upper()} ({said})", "Fetch later.", reason=reason)


def read_answer(url: str, status: int, body: bytes) -> list[Hdu]:
    """Return the extensions of a FITS answer.

    Raises
    ------
    FileProblem
        If it is no whole FITS file.
    """
    if not looks_like_fits(body):
        require_answer(url, status, body, b"SIMPLE  =")
    return read_hdus(url, body)


def grid_of(url: str, header: Mapping[str, CardValue]) -> Grid:
    """Return the pixel grid of an image, after comparing its scale and orientation with the survey's.

    Raises
    ------
    FileProblem
        If the image has another projection, scale or orientation (``other-scale``): its pixels would not be in
        nanomaggies per 0.262-arcsec pixel.
    """
    step = PIXSCALE / 3600.0
    try:
        kinds = (str(header["CTYPE1"]).strip(), str(header["CTYPE2"]).strip())
        matrix = np.array([float(header.get(f"CD{i}_{j}", 0.0)) for i in (1, 2) for j in (1, 2)])
        grid = Grid(
            ra=float(header["CRVAL1"]),
            dec=float(header["CRVAL2"]),
            x=float(header["CRPIX1"]) - 1.0,
            y=float(header["CRPIX2"]) - 1.0,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FileProblem(url, f"an image without coordinates ({error})", "Ask again.", reason="other-scale") from error
    if kinds != ("RA---TAN", "DEC--TAN") or not np.abs(matrix / step - [-1, 0, 0, 1]).max() <= SCALE_TOLERANCE:
        raise FileProblem(
            url,
            f"projection {'/'.join(kinds)} with the matrix {(matrix * 3600).round(4).tolist()} arcsec "
            f"where gnomonic {PIXSCALE} arcsec, north up, belongs",
            "Ask again: only at this scale are the pixels in nanomaggies.",
            reason="other-scale",
        )
    return grid


def check_layer(url: str, request: ServiceRequest, hdu: Hdu) -> str:
    """Return the survey and version of an image, after comparing them with the layer that was asked for.

    Raises
    ------
    FileProblem
        If the image is a model or residual, is of another data release, or states other units.
    """
    remedy = "Ask again, and see that the whole address reaches the service."
    expected = next((kind for kind in ("model", "resid") if request.layer.endswith(f"-{kind}")), "image")
    kind = hdu.text("IMAGETYP") or expected
    version = f"{hdu.text('SURVEY')} {hdu.text('VERSION')}".strip()
    asked, got = _DR.search(request.layer), _DR.search(hdu.text("VERSION"))
    # The layer ls-dr10 is DR9 in the north.
    allowed = {asked[1], "9"} if asked and request.layer == "ls-dr10" else {asked[1]} if asked else set()
    if kind.lower() != expected or (got and allowed and got[1] not in allowed):
        raise FileProblem(
            url, f"{kind} of {version!r} where layer {request.layer} was asked for", remedy, reason="other-layer"
        )
    if got and asked and got[1] != asked[1] and "south" in hdu.text("VERSION").lower():
        raise FileProblem(
            url, f"{version!r}, but {request.layer} has DR9 in the north only", remedy, reason="other-layer"
        )
    unit = hdu.text("BUNIT").lower()
    if unit and "nanomag" not in unit and "nmgy" not in unit:
        raise FileProblem(url, f"pixels in {unit!r}", "Only nanomaggies can be used.", reason="units")
    return version


def check_pixels(
    url: str,
    bands: tuple[str, ...],
    image: NDArray[np.float32],
    invvar: NDArray[np.float32] | None,
    maskbits: NDArray[np.int32] | None = None,
) -> None:
    """Refuse pixels that are no cutout of the survey.

    Raises
    ------
    FileProblem
        With the reason that `legacylens.cutouts.cutout.defect_of` gives.
    """
    defect = defect_of(bands, image, invvar, maskbits)
    if defect is not None:
        raise FileProblem(url, defect.what, defect.remedy, reason=defect.reason)
