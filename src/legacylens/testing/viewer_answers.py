"""What the stand-in viewer answers when nothing goes wrong, with the silent habits of the real one.

Layouts and header cards follow the viewer's ``map/views.py`` (repository legacysurvey/imagine); those of the
``subimage`` layout and of the PSFs were compared with answers of the real service (DR9), those of the resampled
layout were not.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from legacylens.cutouts.rgb import rgb
from legacylens.survey.bands import PIXSCALE
from legacylens.testing.viewer_sky import Piece, Sky, TanGrid, is_north, vectors

DEFAULT_LAYER = "ls-dr9"
DEFAULT_SIZE = 256
MAX_SIZE = 3000
PSF_PIXELS = 63

LAYERS: Mapping[str, tuple[int, str]] = {
    "ls-dr10": (10, "griz"),
    "ls-dr10-south": (10, "griz"),
    "ls-dr9": (9, "grz"),
    "ls-dr9-south": (9, "grz"),
    "ls-dr9-north": (9, "grz"),
}
"""Layer -> data release and bands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer: status, type and bytes."""

    status: int
    """Status of HTTP."""
    content_type: str
    """Type of the content."""
    body: bytes
    """The bytes."""
    seams: tuple[int, ...] = ()
    """Where one image ends and the next begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request as the service understands it, which may differ from what was meant."""

    kind: str
    """fits, jpeg or psf."""
    ra: float
    """Position [deg]."""
    dec: float
    """Position [deg]."""
    layer: str
    """Layer."""
    bands: tuple[str, ...]
    """Bands."""
    width: int
    """Columns."""
    height: int
    """Rows."""
    pixscale: float
    """Pixel scale [arcsec/pixel]."""
    flags: frozenset[str]
    """invvar, maskbits, subimage."""

    @property
    def key(self) -> str:
        """What tells requests apart."""
        kind = "maskbits" if "maskbits" in self.flags and "invvar" not in self.flags else self.kind
        return f"{kind} {self.ra:.7f} {self.dec:.7f}"


def text(status: int, words: str) -> Reply:
    """Return an answer of plain text."""
    return Reply(status=status, content_type="text/plain", body=words.encode())


def page(status: int, title: str) -> Reply:
    """Return a page of HTML."""
    body = f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    return Reply(status=status, content_type="text/html", body=body.encode())


def understand(target: str, max_size: int = MAX_SIZE, drop: Sequence[str] = ()) -> Question | Reply:
    """Return the question that a request target asks, or the answer to one that is none.

    Parameters
    ----------
    target
        Path and query.
    max_size
        Sides are clipped to this [pixel], without a word.
    drop
        Parameters that get lost on the way.
    """
    parts = urlsplit(target)
    fields: dict[str, Any] = {
        name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items() if name not in drop
    }
    kind = {
        "fits-cutout": "fits", "cutout.fits": "fits", "jpeg-cutout": "jpeg", "cutout.jpg": "jpeg", "coadd-psf": "psf",
    }.get(parts.path.strip("/").removeprefix("viewer/"))  # fmt: skip
    if kind is None:
        return page(404, "Not Found")
    try:
        ra, dec = float(fields["ra"]), float(fields["dec"])
        size = int(fields.get("size", DEFAULT_SIZE))
        width, height = int(fields.get("width", size)), int(fields.get("height", size))
        pixscale = float(fields.get("pixscale", PIXSCALE))
    except (KeyError, ValueError):
        return text(400, "bad ra, dec, size or pixscale")
    layer = fields.get("layer", DEFAULT_LAYER)
    if layer not in LAYERS:
        return text(200, "no such layer")
    known = LAYERS[layer][1]
    bands = fields.get("bands", "")
    if not bands or any(band not in known for band in bands):
        bands = known  # one bad character and the list is forgotten
    return Question(
        kind=kind,
        ra=ra,
        dec=dec,
        layer=layer,
        bands=tuple(bands),
        width=min(width, max_size),
        height=min(height, max_size),
        pixscale=pixscale,
        flags=frozenset(name for name in ("invvar", "maskbits", "subimage") if name in fields),
    )


def reply_to(sky: Sky, question: Question) -> Reply:
    """Return the answer to a question."""
    if question.kind == "psf":
        return _psf(sky, question)
    pieces = sky.pieces(question.ra, question.dec, question.width, question.height)
    covered = [piece for piece in pieces if any(sky.covers(piece.brick, band) for band in question.bands)]
    if not covered:
        if question.kind == "fits":
            return text(500, "Server error: no overlap")
        return _jpeg(np.zeros((question.height, question.width, 3), np.uint8))
    if question.kind == "jpeg":
        image, _ = _resampled(sky, question, covered)
        return _jpeg(rgb(image, question.bands)[::-1])
    if "subimage" in question.flags:
        return _subimage(sky, question, covered)
    return _cube(sky, question, covered)


def _value(value: str | float) -> str:
    """Return the value of a header card as the standard writes it."""
    if isinstance(value, bool):
        return f"{'T' if value else 'F':>20}"
    if isinstance(value, str):
        return f"'{value:<8}'"
    return f"{value!r:>20}".upper()


def _fits(hdus: Sequence[tuple[Mapping[str, Any], NDArray[np.generic] | None]]) -> Reply:
    blocks: list[bytes] = []
    seams = []
    for place, (cards, data) in enumerate(hdus):
        seams.append(sum(len(block) for block in blocks))
        header: dict[str, Any] = {"SIMPLE": True} if place == 0 else {"XTENSION": "IMAGE"}
        header["BITPIX"] = 8 if data is None else {"f": -32, "i": 32}[data.dtype.kind]
        shape = () if data is None else data.shape
        header["NAXIS"] = len(shape)
        header |= {f"NAXIS{axis}": side for axis, side in enumerate(reversed(shape), start=1)}
        header |= {"EXTEND": True} if place == 0 else {"PCOUNT": 0, "GCOUNT": 1}
        header |= cards
        lines = "".join(f"{name:<8}= {_value(value):<70}" for name, value in header.items()) + f"{'END':<80}"
        blocks.append((lines + " " * (-len(lines) % 2880)).encode())
        if data is not None:
            raw = data.astype(">f4" if data.dtype.kind == "f" else ">i4").tobytes()
            blocks += [raw, bytes(-len(raw) % 2880)]
    return Reply(status=200, content_type="image/fits", body=b"".join(blocks), seams=tuple(seams))


def _wcs_cards(grid: TanGrid) -> dict[str, Any]:
    step = grid.pixscale / 3600.0
    return {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": grid.ra, "CRVAL2": grid.dec, "CRPIX1": grid.x + 1.0,
        "CRPIX2": grid.y + 1.0, "CD1_1": -step, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": step,
        "IMAGEW": float(grid.width), "IMAGEH": float(grid.height),
    }  # fmt: skip


def _release_of(question: Question) -> tuple[int, dict[str, Any]]:
    release = LAYERS[question.layer][0]
    if question.layer == "ls-dr10" and is_north(question.ra, question.dec):
        return 9, {"SURVEY": "BASS MzLS", "VERSION": "DR9-north", "IMAGETYP": "image"}
    side = "north" if question.layer.endswith("north") else "south"
    return release, {"SURVEY": "DECaLS", "VERSION": f"DR{release}-{side}", "IMAGETYP": "image"}


def _subimage(sky: Sky, question: Question, covered: Sequence[Piece]) -> Reply:
    release, cards = _release_of(question)
    hdus: list[tuple[Mapping[str, Any], NDArray[np.generic] | None]] = [(cards, None)]
    for piece in covered:
        grid = piece.brick.grid(piece.x0, piece.y0, piece.width, piece.height)
        points = grid.vectors()
        bands = tuple(band for band in question.bands if sky.covers(piece.brick, band))
        images, invvars = sky.brightness(points, bands, release=release), sky.inverse_variance(points, bands)
        for band, image, invvar in zip(bands, images, invvars, strict=True):
            place = {
                "BRICK": piece.brick.name, "BRICK_X0": piece.x0, "BRICK_Y0": piece.y0, "BAND": band, **_wcs_cards(grid),
            }  # fmt: skip
            hdus.append(({**cards, **place}, image))
            hdus.append(({**cards, **place, "IMAGETYP": "invvar"}, invvar))
    return _fits(hdus)


def _grid(question: Question) -> TanGrid:
    return TanGrid(
        ra=question.ra,
        dec=question.dec,
        x=(question.width - 1) / 2.0,
        y=(question.height - 1) / 2.0,
        width=question.width,
        height=question.height,
        pixscale=question.pixscale,
    )


def _resampled(
    sky: Sky, question: Question, covered: Sequence[Piece]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return image and invvar on the grid of the question, zero where no brick has exposures.

    The image is the mean of the bricks that overlap and invvar their sum, although they hold the same exposures.
    """
    grid = _grid(question)
    points = grid.vectors()
    release, _ = _release_of(question)
    image = sky.brightness(points, question.bands, release=release)
    invvar = sky.inverse_variance(points, question.bands) if "invvar" in question.flags else np.ones_like(image)
    times = np.zeros(image.shape, np.float32)
    for piece in covered:
        x, y = piece.brick.grid().pixels(points)
        inside = (x >= -0.5) & (x < 3599.5) & (y >= -0.5) & (y < 3599.5)
        for plane, band in enumerate(question.bands):
            if sky.covers(piece.brick, band):
                times[plane] += inside
    return image * (times > 0), invvar * times


def _cube(sky: Sky, question: Question, covered: Sequence[Piece]) -> Reply:
    image, invvar = _resampled(sky, question, covered)
    _, cards = _release_of(question)
    shared = {
        **cards,
        "BANDS": "".join(question.bands),
        **{f"BAND{place}": band for place, band in enumerate(question.bands)},
        **_wcs_cards(_grid(question)),
    }
    is_plane = len(question.bands) == 1
    hdus: list[tuple[Mapping[str, Any], NDArray[np.generic] | None]] = [(shared, image[0] if is_plane else image)]
    # At coarser scales the service works on binned images, which have neither.
    if question.pixscale < 2.0 * PIXSCALE:
        if "invvar" in question.flags:
            hdus.append(({**shared, "IMAGETYP": "invvar"}, invvar[0] if is_plane else invvar))
        if "maskbits" in question.flags:
            hdus.append(({**_wcs_cards(_grid(question)), "IMAGETYP": "maskbits"}, _mask_bits(sky, question, covered)))
    return _fits(hdus)


def _mask_bits(sky: Sky, question: Question, covered: Sequence[Piece]) -> NDArray[np.int32]:
    """Return the bits of the brick pixel nearest to each pixel of the question."""
    points = _grid(question).vectors()
    bits = np.zeros(points.shape[:-1], np.int32)
    filled = np.zeros(bits.shape, bool)
    for piece in covered:
        x, y = piece.brick.grid().pixels(points)
        column, row = np.floor(x + 0.5).astype(int), np.floor(y + 0.5).astype(int)
        new = ~filled & (column >= 0) & (column < 3600) & (row >= 0) & (row < 3600)
        if not new.any():
            continue
        x0, y0 = int(column[new].min()), int(row[new].min())
        window = piece.brick.grid(x0, y0, int(column[new].max()) - x0 + 1, int(row[new].max()) - y0 + 1)
        bits[new] = sky.mask_bits(window.vectors())[row[new] - y0, column[new] - x0]
        filled |= new
    return bits


def _jpeg(picture: NDArray[np.uint8]) -> Reply:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "JPEG", quality=85)
    return Reply(status=200, content_type="image/jpeg", body=buffer.getvalue())


@functools.lru_cache(maxsize=64)
def _gaussian(sigma: float) -> NDArray[np.float32]:
    offset = np.arange(PSF_PIXELS) - (PSF_PIXELS - 1) / 2.0
    plane = np.exp(-(offset[:, None] ** 2 + offset**2) / (2.0 * sigma**2))
    return np.asarray(plane / plane.sum(), dtype=np.float32)


def _psf(sky: Sky, question: Question) -> Reply:
    own = sky.pieces(question.ra, question.dec, 1, 1)
    bands = [band for band in question.bands if own and sky.covers(own[0].brick, band)]
    if not bands:
        return text(200, "no CCDs overlapping")
    slow = float(np.sin(vectors(question.ra, question.dec) @ np.array([40.0, 30.0, 20.0])))
    hdus: list[tuple[Mapping[str, Any], NDArray[np.generic] | None]] = []
    for place, band in enumerate(bands):
        cards: dict[str, Any] = {"BAND": band}
        if place == 0:
            cards = {"BANDS": "".join(bands), **{f"BAND{n}": each for n, each in enumerate(bands)}, **cards}
        hdus.append((cards, _gaussian(round(2.0 + 0.3 * slow - 0.1 * "griz".index(band), 1))))
    return _fits(hdus)
