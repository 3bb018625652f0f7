"""Between a file and a cutout: the planes of one object, brought to the survey's grid and size.

What the viewer's numbers mean
    The viewer interpolates the coadds: at any pixel scale, a cutout of it has nanomaggies per *0.262-arcsec* pixel.
    (Measured on three cutouts at 0.10 to 0.14 arcsec/pixel: at a lag of one coadd pixel their noise is 0.002 to 0.004
    nanomaggies in g, which is that of a coadd. If the values were per small pixel, the images would be 1.3 to 2.1 mag
    shallower than the survey.) Bringing such a cutout to the grid therefore *averages* small pixels. Images whose
    values are per pixel of their own are *summed* instead. Either way the light of a source is conserved.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from legacylens.cutouts.cutout import Cutout, center_mask, defect_of
from legacylens.errors import FileProblem
from legacylens.survey.bands import ALL_BANDS, PIXSCALE
from legacylens.survey.maskbits import mask_value

SCALE_TOLERANCE = 0.01
"""Relative difference of pixel scales that is not worth a resampling: half a pixel at the edge of a stamp."""
SCALE_RANGE = (0.05, 0.30)
"""Pixel scales [arcsec] that can stand for the survey's: coarser images have lost what a ground-based arc needs."""
MIN_SIDE = 75
"""Smallest image [pixel of 0.262 arcsec] that is padded to a stamp: 19.7 arcsec, 55 % of the stamp's area."""
MAX_NAN_FRACTION = 0.05
"""Largest fraction of NaN pixels that are mended."""
NO_DATA_BITS = mask_value("NPRIMARY", "ALLMASK_G", "ALLMASK_R", "ALLMASK_Z")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Planes:
    """What a file says about one object."""

    path: str
    """The file."""
    name: str
    """The object."""
    images: dict[str, NDArray[np.float64]]
    """Band -> image, shape (y, x)."""
    invvars: dict[str, NDArray[np.float64]]
    """Band -> inverse variance, empty if the file has none."""
    maskbits: NDArray[np.int32] | None = None
    """Shape (y, x), or None."""
    ra: float = float("nan")
    """Position of the object [deg], NaN if the file does not say."""
    dec: float = float("nan")
    """The same."""
    pixscale: float | None = None
    """Pixel scale [arcsec], None if the file does not say."""
    is_per_coadd_pixel: bool = True
    """Whether the values are per 0.262-arcsec pixel whatever the pixel scale, as the viewer's are."""
    notes: tuple[str, ...] = ()
    """What had to be assumed or was left out."""

    def problem(self, what: str, remedy: str, reason: str) -> FileProblem:
        """Return the error for something wrong with this object."""
        is_file = Path(self.path).name.startswith(f"{self.name}.")
        return FileProblem(self.path, what if is_file else f"{self.name}: {what}", remedy, reason=reason)


def standard_cutout(planes: Planes, bands: tuple[str, ...], stamp: int) -> Cutout:
    """Bring the planes of an object to the survey's bands, pixel scale and stamp size.

    Parameters
    ----------
    planes
        What the file says.
    bands
        Bands of the result.
    stamp
        Side of the result [pixel], odd.

    Raises
    ------
    FileProblem
        If a band is missing, the image is too small, of another scale or not in nanomaggies, or has no data.
    """
    missing = [band for band in bands if band not in planes.images]
    if missing:
        present = ", ".join(sorted(planes.images, key=str)) or "none"
        raise planes.problem(
            f"no {', '.join(missing)} band (it has {present})",
            f"Give a cutout with {', '.join(bands)}, e.g. bands={''.join(bands)} in the viewer's URL.",
            "missing-band",
        )
    notes = list(planes.notes)
    unused = [band for band in planes.images if band not in bands]
    if unused:
        notes.append(f"bands {', '.join(unused)} are not used")
    image = np.stack([planes.images[band] for band in bands])
    has_invvar = all(band in planes.invvars for band in bands)
    invvar = np.stack([planes.invvars[band] for band in bands]) if has_invvar else None
    maskbits = planes.maskbits
    if invvar is not None and invvar.shape != image.shape:
        raise planes.problem(
            f"invvar of {invvar.shape[1:]} pixels for an image of {image.shape[1:]}", "Fetch both again.", "wrong-size"
        )
    if maskbits is not None and maskbits.shape != image.shape[1:]:
        raise planes.problem(
            f"maskbits of {maskbits.shape} pixels for an image of {image.shape[1:]}", "Fetch both again.", "wrong-size"
        )
    image, invvar, note = mend_nan(planes, image, invvar)
    notes += note
    if _looks_like_psf(image):
        raise planes.problem(
            "each plane sums to 1: this is a PSF, not a cutout", "Give the image of the source.", "psf"
        )
    image, invvar, maskbits, note = _to_scale(planes, image, invvar, maskbits)
    notes += note
    image, invvar, maskbits, note = _to_stamp(planes, image, invvar, maskbits, stamp)
    notes += note
    image32 = np.ascontiguousarray(image, dtype=np.float32)
    invvar32 = None if invvar is None else np.ascontiguousarray(invvar, dtype=np.float32)
    defect = defect_of(bands, image32, invvar32, maskbits)
    if defect is not None:
        raise planes.problem(defect.what, defect.remedy, defect.reason)
    return Cutout(
        source_id=planes.name,
        ra=planes.ra,
        dec=planes.dec,
        bands=bands,
        image=image32,
        invvar=invvar32,
        maskbits=maskbits,
        origin=planes.path,
        notes=tuple(notes),
    )


def mend_nan(
    planes: Planes, image: NDArray[np.float64], invvar: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, list[str]]:
    """Replace a few NaN pixels away from the center by zero with invvar 0, the survey's way of saying "no data".

    Raises
    ------
    FileProblem
        If more than `MAX_NAN_FRACTION` of the pixels are NaN, or one at the center is.
    """
    bad = ~np.isfinite(image)
    notes = []
    if bad.any():
        n_center = int(bad[:, center_mask(*image.shape[1:])].sum())
        if n_center or bad.mean() > MAX_NAN_FRACTION:
            raise planes.problem(
                f"{int(bad.sum())} pixels are NaN or infinite, {n_center} of them at the center",
                f"Fetch it again; up to {MAX_NAN_FRACTION:.0%} of NaN pixels away from the center are mended.",
                "nan",
            )
        image = np.where(bad, 0.0, image)
        notes.append(f"{int(bad.sum())} NaN pixels were set to zero")
    if invvar is not None:
        invvar = np.where(np.isfinite(invvar) & ~bad, invvar, 0.0)
    return image, invvar, notes


def _looks_like_psf(image: NDArray[np.float64]) -> bool:
    """Return whether the planes sum to one and peak at their center, as those of a PSF do."""
    height, width = image.shape[1:]
    peak = [np.unravel_index(int(np.argmax(plane)), plane.shape) for plane in image]
    is_central = all(abs(y - height // 2) <= 1 and abs(x - width // 2) <= 1 for y, x in peak)
    return is_central and bool((np.abs(image.sum(axis=(1, 2)) - 1.0) < 0.02).all())


def overlap_matrix(n_in: int, scale_in: float, n_out: int, scale_out: float) -> NDArray[np.float64]:
    """Return how much of each input pixel lies in each output pixel along one axis, both centered on each other.

    Parameters
    ----------
    n_in, n_out
        Pixels along the axis.
    scale_in, scale_out
        Pixel sizes, one unit.

    Returns
    -------
    overlap
        Shape (n_out, n_in), in input pixels; a row sums to scale_out / scale_in where the input covers the pixel.
    """
    edges_in = (np.arange(n_in + 1) - n_in / 2.0) * scale_in
    edges_out = (np.arange(n_out + 1) - n_out / 2.0) * scale_out
    low = np.maximum(edges_out[:-1, None], edges_in[None, :-1])
    high = np.minimum(edges_out[1:, None], edges_in[None, 1:])
    return np.asarray(np.clip(high - low, 0.0, None) / scale_in)


def _to_scale(
    planes: Planes,
    image: NDArray[np.float64],
    invvar: NDArray[np.float64] | None,
    maskbits: NDArray[np.int32] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, NDArray[np.int32] | None, list[str]]:
    """Rebin to 0.262 arcsec/pixel by exact overlap of the square pixels, which conserves the light."""
    scale = planes.pixscale
    if scale is None:
        return image, invvar, maskbits, [f"no pixel scale in the file: {PIXSCALE} arcsec assumed"]
    if abs(scale / PIXSCALE - 1.0) < 1e-4:
        return image, invvar, maskbits, []
    if abs(scale / PIXSCALE - 1.0) <= SCALE_TOLERANCE:
        return image, invvar, maskbits, [f"pixels of {scale:.4g} arcsec were taken as {PIXSCALE}"]
    if not SCALE_RANGE[0] <= scale <= SCALE_RANGE[1]:
        raise planes.problem(
            f"pixels of {scale:.4g} arcsec",
            f"Give a cutout at {PIXSCALE} arcsec/pixel ({SCALE_RANGE[0]:g} to {SCALE_RANGE[1]:g} can be rebinned).",
            "wrong-scale",
        )
    ratio = scale / PIXSCALE
    # Only pixels that the input covers whole; the odd number keeps the center at the center of a pixel.
    counts = [int(np.floor(length * ratio + 1e-9)) for length in image.shape[1:]]
    counts = [count - 1 + count % 2 for count in counts]
    rows, columns = (
        overlap_matrix(length, scale, count, PIXSCALE) for length, count in zip(image.shape[1:], counts, strict=True)
    )
    norm = ratio**2 if planes.is_per_coadd_pixel else 1.0
    rebinned = np.einsum("Yy,byx,Xx->bYX", rows, image, columns, optimize=True) * norm
    verb = "averaged" if planes.is_per_coadd_pixel else "summed"
    notes = [f"pixels of {scale:.4g} arcsec were {verb} to {PIXSCALE} arcsec: noise and PSF differ from a coadd's"]
    if invvar is not None:
        notes.append("invvar was left out, because interpolated pixels do not have independent noise")
    if maskbits is not None:
        notes.append("maskbits were left out, because they cannot be rebinned")
    return rebinned, None, None, notes


def _to_stamp(
    planes: Planes,
    image: NDArray[np.float64],
    invvar: NDArray[np.float64] | None,
    maskbits: NDArray[np.int32] | None,
    stamp: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, NDArray[np.int32] | None, list[str]]:
    """Crop or pad around the center."""
    height, width = image.shape[1:]
    if min(height, width) < min(MIN_SIDE, stamp):
        raise planes.problem(
            f"{height} x {width} pixels of {PIXSCALE} arcsec are too small",
            f"Give a cutout of {stamp} x {stamp} pixels (size={stamp} in the viewer's URL).",
            "wrong-size",
        )
    if (height, width) == (stamp, stamp):
        return image, invvar, maskbits, []
    y, x = _window(height, stamp), _window(width, stamp)
    notes = []
    if height > stamp or width > stamp:
        notes.append(f"cropped from {height} x {width} to {stamp} x {stamp} pixels")
    if height < stamp or width < stamp:
        notes.append(f"padded from {height} x {width} to {stamp} x {stamp} pixels with zeros")
        if invvar is not None:
            notes.append("invvar is 0 in the padding")

    def fitted(array: NDArray[np.generic], fill: int) -> NDArray[np.generic]:
        out = np.full((*array.shape[:-2], stamp, stamp), fill, dtype=array.dtype)
        out[..., y[1], x[1]] = array[..., y[0], x[0]]
        return out

    return (
        np.asarray(fitted(image, 0), dtype=np.float64),
        None if invvar is None else np.asarray(fitted(invvar, 0), dtype=np.float64),
        None if maskbits is None else np.asarray(fitted(maskbits, NO_DATA_BITS), dtype=np.int32),
        notes,
    )


def _window(length: int, stamp: int) -> tuple[slice, slice]:
    """Return the slices (of the input, of the stamp) that put the input's central pixel at the stamp's.

    With an even number of pixels the one after the middle is central, where the viewer has the requested position.
    """
    start = length // 2 - stamp // 2
    low, high = max(start, 0), min(start + stamp, length)
    return slice(low, high), slice(low - start, high - start)


def with_unique_names(cutouts: list[Cutout]) -> list[Cutout]:
    """Return the cutouts with a number added to names that occurred before."""
    seen: dict[str, int] = {}
    taken = {cutout.source_id for cutout in cutouts}
    unique = []
    for cutout in cutouts:
        name = cutout.source_id
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            number = seen[name]
            while f"{name}_{number}" in taken:
                number += 1
            taken.add(f"{name}_{number}")
            cutout = replace(cutout, source_id=f"{name}_{number}")
        unique.append(cutout)
    return unique


def known_bands(text: str) -> tuple[str, ...]:
    """Return the bands that a text names, one for each letter ("grz", "g, r, z"); Y and u are other cameras' bands."""
    return tuple(letter if letter in ALL_BANDS else letter.upper() for letter in text if letter.isalpha())
