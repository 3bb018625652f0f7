"""FITS cutouts as users have them, taken apart into the planes of each object.

Understood are: the viewer's resampled layout (one cube with ``BANDS``, then optionally cubes of invvar and a plane of
maskbits, told by ``IMAGETYP``), its ``subimage`` layout (a plane for each brick, band and kind), one plane or one cube
of objects for each band (``BAND``, or the band as extension name), and a bare cube of three planes.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WcsError
from numpy.typing import NDArray

from legacylens.cutouts.planes import Planes, known_bands
from legacylens.errors import FileProblem
from legacylens.survey.bands import ALL_BANDS, BANDS
from legacylens.survey.grid import sky_position, wcs_of_header

NANOMAGGY_NAMES = {"", "nanomaggy", "nanomaggies", "nmgy", "nmaggy", "nanomaggies/pixel", "nanomaggy/pixel"}
"""Values of BUNIT that are taken, in lower case; an absent card is judged by the pixels."""
_IMAGE_HDUS = (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU)
_WCS_CARDS = tuple(
    f"{name}{number}" for name in ("CTYPE", "CRVAL", "CRPIX", "CUNIT", "CDELT", "CD1_", "CD2_") for number in (1, 2)
)
_FETCH_AGAIN = "Fetch the file again."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Plane:
    """One image HDU."""

    kind: str
    """``image``, ``invvar`` or ``maskbits``."""
    bands: tuple[str, ...]
    """Bands of the leading axis of a cube, or the one band of everything; empty if not said."""
    data: NDArray[Any]
    """Pixels, two or three axes."""
    header: Mapping[str, Any]
    """Its cards."""

    @property
    def brick(self) -> str:
        """Brick of the ``subimage`` layout, otherwise empty."""
        return str(self.header.get("BRICK", "")).strip()


def planes_of_fits(path: Path) -> list[Planes]:
    """Read the objects of a FITS file.

    Raises
    ------
    FileProblem
        If the file is not FITS, is cut short, has no image, or its values are not nanomaggies.
    """
    hdus = list(_image_hdus(path))
    images = [hdu for hdu in hdus if hdu.kind == "image"]
    if not images:
        raise FileProblem(path, "no image in it", "Give a cutout with g, r, z images.", reason="no-image")
    _check_units(path, images)
    notes: tuple[str, ...] = ()
    bricks = {hdu.brick for hdu in images if hdu.brick}
    if len(bricks) > 1:
        # In the overlap of bricks the subimage layout has everything twice; the larger piece has the center.
        chosen = max(sorted(bricks), key=lambda name: max(h.data.size for h in images if h.brick == name))
        hdus = [hdu for hdu in hdus if hdu.brick == chosen]
        images = [hdu for hdu in hdus if hdu.kind == "image"]
        notes = (f"of the bricks {', '.join(sorted(bricks))} only {chosen} is used",)
    cubes = [hdu for hdu in images if hdu.data.ndim == 3 and len(hdu.bands) != 1]
    if cubes:
        return [_object_of_cube(path, cubes[0], hdus, notes)]
    return _objects_of_planes(path, images, hdus, notes)


def _image_hdus(path: Path) -> Iterator[_Plane]:
    try:
        # astropy leaves a file open that it cannot read, so it is opened here.
        with path.open("rb") as handle, warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)  # a cut-short file is found below, with its size
            is_gzip = handle.read(2) == b"\x1f\x8b"
            handle.seek(0)
            with fits.open(handle, memmap=False, lazy_load_hdus=False) as hdus:
                _check_length(path, hdus, is_gzip)
                primary = _cards(hdus[0].header)
                for hdu in hdus:
                    if not isinstance(hdu, _IMAGE_HDUS) or hdu.data is None or hdu.data.ndim < 2:
                        continue
                    data = np.squeeze(np.asarray(hdu.data))
                    if data.ndim not in (2, 3):
                        raise FileProblem(
                            path, f"an image with {data.ndim} axes", "Give planes or cubes.", reason="wrong-size"
                        )
                    yield _plane(_cards(hdu.header), data, primary)
    except (OSError, TypeError, ValueError, EOFError, KeyError, IndexError, zlib.error, fits.VerifyError) as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise FileProblem(
            path, f"truncated or damaged FITS ({first_line})", _FETCH_AGAIN, reason="truncated"
        ) from error


def _check_length(path: Path, hdus: fits.HDUList, is_gzip: bool) -> None:
    """Refuse a file that ends before its headers say, naming both sizes."""
    if not hasattr(hdus[-1], "fileinfo"):  # astropy's stand-in for a header that it cannot parse
        raise FileProblem(path, "damaged FITS header", _FETCH_AGAIN, reason="truncated")
    if is_gzip:
        return  # the size of a compressed file says nothing; reading it to the end does
    info = hdus[-1].fileinfo()
    expected, size = info["datLoc"] + info["datSpan"], path.stat().st_size
    if size < expected:
        raise FileProblem(
            path, f"truncated: {size} bytes where its headers announce {expected}", _FETCH_AGAIN, reason="truncated"
        )


def _cards(header: fits.Header) -> dict[str, Any]:
    """Return the cards as a dictionary; a damaged card is an error here, and not wherever it is first looked at."""
    return {card.keyword: card.value for card in header.cards if card.keyword not in ("COMMENT", "HISTORY", "")}


def _plane(header: Mapping[str, Any], data: NDArray[Any], primary: Mapping[str, Any]) -> _Plane:
    name = str(header.get("EXTNAME", "")).strip()
    bands: tuple[str, ...] = ()
    if "BAND" in header:
        bands = known_bands(str(header["BAND"]))
    elif len(name) == 1:
        bands = known_bands(name.lower() if name.lower() in ALL_BANDS else name)
    elif data.ndim == 3 and ("BANDS" in header or "BANDS" in primary):
        bands = known_bands(str(header.get("BANDS", primary.get("BANDS"))))
    elif "FILTER" in header:
        bands = known_bands(str(header["FILTER"])[:1])
    word = f"{header.get('IMAGETYP', '')} {name}".lower()
    if any(part in word for part in ("invvar", "ivar", "inverse")):
        kind = "invvar"
    elif "mask" in word or (not bands and data.ndim == 2 and data.dtype.kind in "iu"):
        kind = "maskbits"
    else:
        kind = "image"
    return _Plane(kind=kind, bands=bands, data=data, header=header)


def _check_units(path: Path, images: list[_Plane]) -> None:
    for hdu in images:
        unit = str(hdu.header.get("BUNIT", "")).strip()
        if unit.lower() not in NANOMAGGY_NAMES:
            raise FileProblem(
                path,
                f"its unit is {unit!r}, not nanomaggies",
                "Convert it to nanomaggies (AB zero point 22.5) and set BUNIT.",
                reason="units",
            )


def _number(header: Mapping[str, Any], card: str) -> float | None:
    """Return the finite number of a card, or None (a damaged header may have text there)."""
    value = header.get(card)
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        return None
    return float(value)


def _pixscale(header: Mapping[str, Any]) -> float | None:
    matrix = [_number(header, f"CD{i}_{j}") or 0.0 for i in (1, 2) for j in (1, 2)]
    area = abs(matrix[0] * matrix[3] - matrix[1] * matrix[2])
    if area == 0.0:
        area = abs((_number(header, "CDELT1") or 0.0) * (_number(header, "CDELT2") or 0.0))
    if area > 0.0 and "CRVAL1" in header:
        return float(3600.0 * np.sqrt(area))
    return next((scale for card in ("PIXSCALE", "PIXSCAL", "SCALE") if (scale := _number(header, card))), None)


def _center(header: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[float, float]:
    """Position [deg] of the central pixel, or of ``RA`` and ``DEC`` cards; NaN without either."""
    position: tuple[float | None, float | None] = (_number(header, "RA"), _number(header, "DEC"))
    if _number(header, "CRVAL1") is not None and ("CD1_1" in header or "CDELT1" in header):
        middle = ((shape[-1] + 1) / 2.0, (shape[-2] + 1) / 2.0)
        if (_number(header, "CRPIX1"), _number(header, "CRPIX2")) == middle:
            position = (_number(header, "CRVAL1"), _number(header, "CRVAL2"))  # as requested from the viewer
        else:
            position = _central_sky(header, shape)
    ra, dec = position
    return (float("nan"), float("nan")) if ra is None or dec is None else (ra % 360.0, dec)


def _central_sky(header: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[float | None, float | None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            ra, dec = sky_position(
                wcs_of_header({card: header[card] for card in _WCS_CARDS if card in header}),
                shape[-1] // 2,
                shape[-2] // 2,
            )
    except (WcsError, ValueError, TypeError, fits.VerifyError):
        return None, None  # a cutout whose WCS is damaged still has its pixels
    return (float(ra[0]), float(dec[0])) if np.isfinite(ra[0]) and np.isfinite(dec[0]) else (None, None)


def _is_from_viewer(header: Mapping[str, Any]) -> bool:
    return "SURVEY" in header and "VERSION" in header


def _object_of_cube(path: Path, cube: _Plane, hdus: list[_Plane], notes: tuple[str, ...]) -> Planes:
    """Return the object of the viewer's resampled layout, or of a bare cube."""
    data = cube.data
    bands = cube.bands
    if not bands:
        axis = next((axis for axis in (0, 2) if data.shape[axis] == len(BANDS)), None)
        if axis is None:
            raise FileProblem(
                path,
                f"a cube of {data.shape} pixels whose header has no BANDS",
                "Write which plane is which, e.g. BANDS = 'grz'.",
                reason="bands",
            )
        bands = BANDS
        notes = (*notes, "no BANDS in its header: the planes were taken as g, r, z")
    data = _bands_first(path, data, bands)
    weights = [hdu for hdu in hdus if hdu.kind == "invvar" and hdu.data.ndim == 3]
    masks = [hdu for hdu in hdus if hdu.kind == "maskbits" and hdu.data.ndim == 2]
    ra, dec = _center(cube.header, data.shape)
    return Planes(
        path=str(path),
        name=path.name.split(".fits")[0],
        images={band: np.asarray(plane, np.float64) for band, plane in zip(bands, data, strict=True)},
        invvars={
            band: np.asarray(plane, np.float64)
            for band, plane in zip(bands, _bands_first(path, weights[0].data, bands), strict=True)
        }
        if weights
        else {},
        maskbits=np.asarray(masks[0].data, np.int32) if masks else None,
        ra=ra,
        dec=dec,
        pixscale=_pixscale(cube.header),
        is_per_coadd_pixel=_is_from_viewer(cube.header),
        notes=notes,
    )


def _bands_first(path: Path, data: NDArray[Any], bands: tuple[str, ...]) -> NDArray[Any]:
    if data.shape[0] == len(bands):
        return data
    if data.shape[-1] == len(bands):
        return np.moveaxis(data, -1, 0)
    raise FileProblem(
        path,
        f"a cube of shape {data.shape} for the bands {''.join(bands)}",
        "Give one plane for each band.",
        reason="wrong-size",
    )


def _objects_of_planes(path: Path, images: list[_Plane], hdus: list[_Plane], notes: tuple[str, ...]) -> list[Planes]:
    """Return the objects of one HDU for each band, which has one object (two axes) or many (three)."""
    by_band = {hdu.bands[0]: hdu for hdu in images if hdu.bands}
    if not by_band:
        shapes = ", ".join(str(hdu.data.shape) for hdu in images)
        raise FileProblem(
            path,
            f"images of shape {shapes} that do not say their band",
            "Write BAND = 'g' (r, z) into each header, or give a cube with BANDS = 'grz'.",
            reason="missing-band" if len(images) < len(BANDS) else "bands",
        )
    lengths = {1 if hdu.data.ndim == 2 else len(hdu.data) for hdu in by_band.values()}
    if len(lengths) != 1 or len({hdu.data.shape for hdu in by_band.values()}) != 1:
        raise FileProblem(
            path,
            f"planes of different shapes {sorted({hdu.data.shape for hdu in by_band.values()})}",
            "Give every band at the same size.",
            reason="wrong-size",
        )
    weights = {hdu.bands[0]: hdu for hdu in hdus if hdu.kind == "invvar" and hdu.bands}
    masks = [hdu for hdu in hdus if hdu.kind == "maskbits"]
    first = next(iter(by_band.values()))
    is_single = first.data.ndim == 2
    stem = path.name.split(".fits")[0]
    ra, dec = _center(first.header, first.data.shape) if is_single else (float("nan"), float("nan"))
    objects = []
    for number in range(lengths.pop()):
        index: tuple[int, ...] = () if is_single else (number,)
        objects.append(
            Planes(
                path=str(path),
                name=stem if is_single else f"{stem}_{number:03d}",
                images={band: np.asarray(hdu.data[index], np.float64) for band, hdu in by_band.items()},
                invvars={
                    band: np.asarray(hdu.data[index], np.float64)
                    for band, hdu in weights.items()
                    if hdu.data.ndim == first.data.ndim
                },
                maskbits=np.asarray(masks[0].data[index], np.int32)
                if masks and masks[0].data.ndim == first.data.ndim
                else None,
                ra=ra,
                dec=dec,
                pixscale=_pixscale(first.header),
                is_per_coadd_pixel=_is_from_viewer(first.header),
                notes=notes,
            )
        )
    return objects
