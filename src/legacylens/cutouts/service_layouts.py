"""Both layouts in which the service sends pixels, each checked against what was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from legacylens.cutouts.service_answer import Grid, Stamp, check_layer, grid_of, read_answer
from legacylens.cutouts.service_fits import Hdu
from legacylens.cutouts.service_request import ServiceRequest
from legacylens.errors import FileProblem

CENTER_TOLERANCE = 0.1
"""Largest offset of a resampled stamp's center from the position [pixel]."""

DECLINATION_ROW = 0.25
"""Height of a brick [deg]."""


def read_resampled(url: str, request: ServiceRequest, status: int, body: bytes) -> Stamp:
    """Read an answer in the default layout: a cube on a grid around the position, then invvar, then mask bits.

    Raises
    ------
    FileProblem
        If any of it is not what was asked for; see `service_answer`.
    """
    planes = _planes_of(url, read_answer(url, status, body))
    image = planes.get("image")
    if image is None:
        raise FileProblem(url, "an answer without an image", "Ask again.", reason="other-layout")
    version = check_layer(url, request, image)
    _require_bands(url, request, image)
    pixels = _cube(url, request, image)
    grid = grid_of(url, image.header)
    middle = (request.size - 1) / 2.0
    x, y = grid.pixel(request.ra, request.dec)
    if not np.hypot(x - middle, y - middle) <= CENTER_TOLERANCE:
        raise _elsewhere(url, request, grid)
    invvar = None
    if "invvar" in request.flags:
        if "invvar" not in planes:
            raise FileProblem(
                url, "no inverse variances in the answer", "Fetch without invvar.", reason="missing-invvar"
            )
        invvar = _cube(url, request, planes["invvar"]).astype(np.float32)
    maskbits = None
    if "maskbits" in request.flags:
        if "maskbits" not in planes:
            raise FileProblem(url, "no mask bits in the answer", "Fetch without maskbits.", reason="missing-maskbits")
        maskbits = _plane(url, request, planes["maskbits"]).astype(np.int32)
    return Stamp(
        image=pixels.astype(np.float32),
        invvar=invvar,
        maskbits=maskbits,
        brickname="",
        x0=-1,
        y0=-1,
        dx=x - middle,
        dy=y - middle,
        center_ra=request.ra,
        center_dec=request.dec,
        version=version,
    )


def _planes_of(url: str, hdus: Sequence[Hdu]) -> dict[str, Hdu]:
    """Sort the images of an answer by their kind; the first is the image, whatever it calls itself."""
    planes: dict[str, Hdu] = {}
    for hdu in hdus:
        if hdu.data is None:
            continue
        kind = hdu.text("IMAGETYP").lower()
        name = "image" if not planes else kind
        if name in planes or (planes and name not in ("invvar", "maskbits")):
            raise FileProblem(url, f"an extension {kind!r} too many", "Ask again.", reason="other-layout")
        planes[name] = hdu
    return planes


def _require_bands(url: str, request: ServiceRequest, hdu: Hdu) -> None:
    got = hdu.text("BANDS") or "".join(
        hdu.text(f"BAND{place}") for place in range(len(request.bands) + 2) if f"BAND{place}" in hdu.header
    )
    if got != "".join(request.bands):
        raise FileProblem(
            url,
            f"bands {got or 'without names'} where {''.join(request.bands)} were asked for",
            f"See that layer {request.layer} has these bands: the service drops a list with one that it has not.",
            reason="other-bands",
        )


def _require_shape(url: str, got: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if got != expected:
        raise FileProblem(
            url,
            f"an image of shape {got} where {expected} was asked for",
            "Ask again, with a smaller size if it was cut down: the service clips sizes without a word.",
            reason="other-size",
        )


def _cube(url: str, request: ServiceRequest, hdu: Hdu) -> NDArray[np.generic]:
    data = np.asarray(hdu.data)
    cube = data[None] if data.ndim == 2 and len(request.bands) == 1 else data
    _require_shape(url, cube.shape, (len(request.bands), request.size, request.size))
    return cube


def _plane(url: str, request: ServiceRequest, hdu: Hdu) -> NDArray[np.generic]:
    data = np.asarray(hdu.data)
    plane = data[0] if data.ndim == 3 and len(data) == 1 else data
    _require_shape(url, plane.shape, (request.size, request.size))
    if plane.dtype.kind == "f" and not np.array_equal(plane, np.rint(plane)):
        raise FileProblem(url, "mask bits that are no integers", "Ask again.", reason="other-layout")
    return plane


def _elsewhere(url: str, request: ServiceRequest, grid: Grid) -> FileProblem:
    return FileProblem(
        url,
        f"pixels of a field whose tangent point is ({grid.ra:.6f}, {grid.dec:.6f}), off the position that was asked "
        f"for ({request.ra:.6f}, {request.dec:.6f})",
        "Ask again: a cache or proxy may mix up requests.",
        reason="other-position",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """What a ``subimage`` answer has of one brick."""

    grid: Grid
    version: str
    corner: tuple[int, int]
    """Column and row of the piece's first pixel in the brick."""
    shape: tuple[int, int]
    image: dict[str, NDArray[np.generic]]
    invvar: dict[str, NDArray[np.generic]]

    def holds(self, column: int, row: int, stamp: int) -> bool:
        """Whether the whole stamp around a pixel is in the piece."""
        half = stamp // 2
        height, width = self.shape
        return half <= column < width - half and half <= row < height - half

    def is_cut_by_edge(self, column: int, row: int, stamp: int) -> bool:
        """Whether all that is lacking of a stamp lies beyond the edges of the brick."""
        half = stamp // 2
        # The tangent point is the center of the brick, which gives the brick's size.
        tangent = (self.grid.x + self.corner[0], self.grid.y + self.corner[1])
        for place, pixel in enumerate((column, row)):
            side = self.shape[1 - place]
            at_start = self.corner[place] <= 0
            at_end = self.corner[place] + side >= 2.0 * tangent[place]
            if (pixel < half and not at_start) or (pixel >= side - half and not at_end):
                return False
        return True


def _pieces(url: str, request: ServiceRequest, hdus: Sequence[Hdu]) -> dict[tuple[str, str], _Piece]:
    """Sort the images of an answer by brick; northern and southern survey have bricks of the same names."""
    pieces: dict[tuple[str, str], _Piece] = {}
    for hdu in hdus:
        if hdu.data is None:
            continue
        brick, band, kind = hdu.text("BRICK"), hdu.text("BAND"), hdu.text("IMAGETYP").lower()
        if not brick or not band or hdu.data.ndim != 2:
            raise FileProblem(
                url,
                "an extension without brick and band where pieces of bricks were asked for",
                "Ask again; the layer may not have the subimage layout: try layout resampled.",
                reason="other-layout",
            )
        if band not in request.bands:
            raise FileProblem(
                url,
                f"band {band} where {''.join(request.bands)} were asked for",
                f"See that layer {request.layer} has these bands: the service drops a list with one that it has not.",
                reason="other-bands",
            )
        version = check_layer(url, request, hdu) if kind != "invvar" else ""
        grid = grid_of(url, hdu.header)
        corner = (_whole(url, hdu, "BRICK_X0"), _whole(url, hdu, "BRICK_Y0"))
        shape = (hdu.data.shape[0], hdu.data.shape[1])
        piece = pieces.setdefault(
            (brick, hdu.text("VERSION")),
            _Piece(grid=grid, version=version, corner=corner, shape=shape, image={}, invvar={}),
        )
        planes = piece.invvar if kind == "invvar" else piece.image
        if band in planes or (piece.grid, piece.shape) != (grid, shape):
            raise FileProblem(
                url, f"images of brick {brick} that do not belong together", "Ask again.", reason="other-layout"
            )
        planes[band] = hdu.data
    return pieces


def _whole(url: str, hdu: Hdu, name: str) -> int:
    value = hdu.header.get(name)
    if not isinstance(value, int):
        raise FileProblem(url, f"an extension with {name} = {value!r}", "Ask again.", reason="other-layout")
    return value


def _owner_order(piece: _Piece, ra: float, dec: float) -> tuple[bool, float]:
    """Order pieces so that the brick which owns the position comes first.

    Bricks of a row are equally wide, so of those whose row holds the position the one with the nearest center in right
    ascension owns it.
    """
    is_other_row = not -DECLINATION_ROW / 2 <= dec - piece.grid.dec < DECLINATION_ROW / 2
    east = (ra - piece.grid.ra + 180.0) % 360.0 - 180.0
    # On the border itself the brick that begins there is the owner.
    return is_other_row, abs(east) - (1e-9 if east < 0 else 0.0)


def read_subimage(url: str, request: ServiceRequest, status: int, body: bytes, stamp: int) -> Stamp:
    """Read an answer in the ``subimage`` layout: for every brick and band an image and its invvar, never resampled.

    The stamp is taken from the brick that owns the position, around the pixel that holds it, as
    `legacylens.cutouts.stamps` cuts it; from a neighbor if only that holds the stamp whole.

    Parameters
    ----------
    url, request, status, body
        Address, request and answer.
    stamp
        Side of the stamp [pixel].

    Raises
    ------
    FileProblem
        If any of it is not what was asked for; see `service_answer`.
    """
    pieces = _pieces(url, request, read_answer(url, status, body))
    if not pieces:
        raise FileProblem(
            url,
            "no brick of the layer has pixels here",
            "The position is off the layer's footprint: leave it out or use another layer.",
            reason="off-the-sky",
        )
    over_edge: FileProblem | None = None
    for (brickname, _), piece in sorted(
        pieces.items(), key=lambda item: _owner_order(item[1], request.ra, request.dec)
    ):
        x, y = piece.grid.pixel(request.ra, request.dec)
        column, row = _central_pixel(url, request, piece, x, y)
        if not piece.holds(column, row, stamp):
            if not piece.is_cut_by_edge(column, row, stamp):
                raise FileProblem(
                    url,
                    f"a piece of {piece.shape[1]} x {piece.shape[0]} pixels of brick {brickname}, which has more, "
                    f"where {request.size} were asked for",
                    "Ask again, with a smaller size: the service clips sizes without a word.",
                    reason="other-size",
                )
            over_edge = over_edge or FileProblem(
                url,
                f"the {stamp}-pixel stamp reaches over the edge of brick {brickname}",
                "Fetch in the resampled layout, or a smaller stamp.",
                reason="over-edge",
            )
            continue
        return _stamp_of(url, request, brickname, piece, (x, y), (column, row), stamp)
    raise over_edge or FileProblem(url, "no piece holds the stamp", "Use bricks.", reason="over-edge")


def _central_pixel(url: str, request: ServiceRequest, piece: _Piece, x: float, y: float) -> tuple[int, int]:
    """Return the pixel that holds the position; it is beyond the piece only where the brick ends."""
    if not max(abs(x), abs(y)) < 1e6:  # NaN on the far side of the sky
        raise _elsewhere(url, request, piece.grid)
    column, row = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
    if not piece.holds(column, row, 1) and not piece.is_cut_by_edge(column, row, 1):
        raise _elsewhere(url, request, piece.grid)
    return column, row


def _stamp_of(
    url: str,
    request: ServiceRequest,
    brickname: str,
    piece: _Piece,
    source: tuple[float, float],
    center: tuple[int, int],
    stamp: int,
) -> Stamp:
    """Cut the stamp out of a piece that holds it; another brick's pixels never replace a band that this one lacks."""
    lacking = [band for band in request.bands if band not in piece.image]
    if lacking:
        raise FileProblem(
            url,
            f"brick {brickname} has no image in {', '.join(lacking)}",
            "There is no exposure in this band here: leave the position out.",
            reason="missing-band",
        )
    wants_invvar = "invvar" in request.flags
    if wants_invvar and any(band not in piece.invvar for band in request.bands):
        raise FileProblem(
            url, f"brick {brickname} came without invvar", "Fetch without invvar.", reason="missing-invvar"
        )
    half = stamp // 2
    (column, row), (x, y) = center, source
    window = (slice(row - half, row + half + 1), slice(column - half, column + half + 1))

    def cube(planes: Mapping[str, NDArray[np.generic]]) -> NDArray[np.float32]:
        return np.stack([planes[band][window] for band in request.bands]).astype(np.float32)

    center_ra, center_dec = piece.grid.position(column, row)
    return Stamp(
        image=cube(piece.image),
        invvar=cube(piece.invvar) if wants_invvar else None,
        maskbits=None,
        brickname=brickname,
        x0=piece.corner[0] + column - half,
        y0=piece.corner[1] + row - half,
        dx=x - column,
        dy=y - row,
        center_ra=center_ra,
        center_dec=center_dec,
        version=piece.version,
    )
