"""A cutout: the pixels around one source, in nanomaggies, checked when it is made.

Whatever the way a stamp came (cut from a brick, fetched from the viewer, read from a user's file), it becomes a
`Cutout`, and nothing that would fool a network quietly can: values in other units, a band without data, NaN.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from legacylens.errors import PhysicalRangeError
from legacylens.survey.bands import ALL_BANDS, PIXSCALE

CENTER_RADIUS = 8.0
"""Radius around the central pixel [pixel] in which every pixel must have data: 2.1 arcsec, where the deflector is."""

MAX_EMPTY_FRACTION = 0.5
"""Largest fraction of a band's pixels that may be exactly zero (the value of a coadd pixel without exposures)."""

MAX_EMPTY_FRACTION_CENTER = 0.1
"""The same within `CENTER_RADIUS`: beyond it the source itself is missing."""

MAX_UNWEIGHTED_FRACTION_CENTER = 0.5
"""Largest fraction of pixels within `CENTER_RADIUS` with invvar 0, where coadds hold interpolated values."""

MAX_NOISE = 0.5
"""Largest pixel noise that is believed to be in nanomaggies. The survey has 0.002 to 0.05, images in ADU 1 to 100."""

MIN_NOISE = 1e-6
"""Smallest pixel noise that is believed to be in nanomaggies; below it the values are maggies, jansky or a model."""

MAX_BACKGROUND = 20.0
"""Largest median along the border [nanomaggies/pixel]: 16.3 mag/arcsec^2, the halo of a very bright star."""

NOISE_RATIO_RANGE = (0.02, 50.0)
"""Allowed ratio of the noise that the pixels show to the noise that ``invvar`` states."""

_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """Why an array is no cutout of the survey."""

    reason: str
    """A short stable word for counting: ``wrong-shape``, ``off-the-sky``, ``nan``, ``units``..."""
    name: str
    """The quantity that is wrong."""
    value: str
    """What it is."""
    allowed: str
    """What it may be."""
    remedy: str
    """What to do."""

    @property
    def what(self) -> str:
        """The defect in one phrase."""
        return f"{self.name} is {self.value}, allowed is {self.allowed}"


@functools.lru_cache(maxsize=16)
def center_mask(height: int, width: int, radius: float = CENTER_RADIUS) -> NDArray[np.bool_]:
    """Return which pixels of a stamp lie within ``radius`` [pixel] of its center, shape (height, width)."""
    y, x = np.ogrid[:height, :width]
    mask = (x - (width - 1) / 2.0) ** 2 + (y - (height - 1) / 2.0) ** 2 <= radius**2
    mask.flags.writeable = False
    return np.asarray(mask)


def pixel_noise(image: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the noise of each band from differences of pixels two columns apart.

    Parameters
    ----------
    image
        Shape (..., y, x), any unit.

    Returns
    -------
    sigma
        1.4826 x median |difference| / sqrt(2), shape (...): insensitive to the smooth light of galaxies, and little
        to the correlation of neighboring coadd pixels. Every third row is used.
    """
    rows = image[..., ::3, :]
    difference = np.abs(rows[..., 2:] - rows[..., :-2])
    flat = difference.reshape(*difference.shape[:-2], -1)
    return np.asarray(np.median(flat, axis=-1) * (_MAD_TO_SIGMA / np.sqrt(2.0)), dtype=np.float64)


def _border_median(image: NDArray[np.floating]) -> NDArray[np.float64]:
    edges = np.concatenate([image[:, 0, :], image[:, -1, :], image[:, :, 0], image[:, :, -1]], axis=1)
    return np.asarray(np.median(edges, axis=1), dtype=np.float64)


def _band_list(bands: Sequence[str], chosen: NDArray[np.bool_]) -> str:
    return ", ".join(band for band, is_chosen in zip(bands, chosen, strict=True) if is_chosen)


def _shape_defect(
    bands: tuple[str, ...],
    image: NDArray[np.generic],
    invvar: NDArray[np.generic] | None,
    maskbits: NDArray[np.generic] | None,
) -> Defect | None:
    known = tuple(band for band in ALL_BANDS if band in bands)
    if not bands or known != tuple(bands):
        return Defect(
            reason="bands",
            name="bands",
            value=repr(tuple(bands)),
            allowed=f"some of {ALL_BANDS} in this order, each once",
            remedy="Give the image planes in the survey's order and name them.",
        )
    if image.ndim != 3 or image.shape[0] != len(bands) or min(image.shape[1:]) < 3:
        return Defect(
            reason="wrong-shape",
            name="image.shape",
            value=str(image.shape),
            allowed=f"({len(bands)}, y, x) with one plane for each of {''.join(bands)}",
            remedy="Move the band axis to the front.",
        )
    if invvar is not None and invvar.shape != image.shape:
        return Defect(
            reason="wrong-shape",
            name="invvar.shape",
            value=str(invvar.shape),
            allowed=f"the image's {image.shape}",
            remedy="Cut image and invvar from the same pixels.",
        )
    if maskbits is not None and (maskbits.shape != image.shape[1:] or maskbits.dtype.kind not in "iu"):
        return Defect(
            reason="wrong-shape",
            name="maskbits",
            value=f"{maskbits.dtype} {maskbits.shape}",
            allowed=f"integers of shape {image.shape[1:]}",
            remedy="Cut maskbits from the same pixels as the image.",
        )
    return None


def _empty_defect(
    bands: tuple[str, ...], image: NDArray[np.floating], invvar: NDArray[np.floating] | None
) -> Defect | None:
    zero = image == 0.0
    empty = zero.mean(axis=(1, 2))
    center = center_mask(*image.shape[1:])
    if np.all(empty == 1.0):
        return Defect(
            reason="off-the-sky",
            name="image",
            value="zero everywhere",
            allowed="pixels with exposures",
            remedy="The position is off the survey's footprint: leave it out or use another release.",
        )
    missing = empty == 1.0
    if missing.any():
        return Defect(
            reason="missing-band",
            name=f"band {_band_list(bands, missing)}",
            value="zero everywhere",
            allowed="pixels with exposures in every band",
            remedy="There is no exposure in this band here: leave the position out.",
        )
    empty_center = zero[:, center].mean(axis=1)
    if (empty_center > MAX_EMPTY_FRACTION_CENTER).any():
        worst = float(empty_center.max())
        return Defect(
            reason="bad-center",
            name=f"fraction of pixels without data within {CENTER_RADIUS:g} px of the center "
            f"in band {_band_list(bands, empty_center > MAX_EMPTY_FRACTION_CENTER)}",
            value=f"{worst:.2f}",
            allowed=f"<= {MAX_EMPTY_FRACTION_CENTER:g}",
            remedy="The source itself has no data: leave the position out.",
        )
    if invvar is not None:
        unweighted = (invvar[:, center] == 0.0).mean(axis=1)
        if (unweighted > MAX_UNWEIGHTED_FRACTION_CENTER).any():
            return Defect(
                reason="bad-center",
                name=f"fraction of pixels with invvar 0 within {CENTER_RADIUS:g} px of the center "
                f"in band {_band_list(bands, unweighted > MAX_UNWEIGHTED_FRACTION_CENTER)}",
                value=f"{float(unweighted.max()):.2f}",
                allowed=f"<= {MAX_UNWEIGHTED_FRACTION_CENTER:g}",
                remedy="The source is masked in every exposure (saturated, or a defect): leave the position out.",
            )
    if (empty > MAX_EMPTY_FRACTION).any():
        return Defect(
            reason="bad-pixels",
            name=f"fraction of pixels without data in band {_band_list(bands, empty > MAX_EMPTY_FRACTION)}",
            value=f"{float(empty.max()):.2f}",
            allowed=f"<= {MAX_EMPTY_FRACTION:g}",
            remedy="Most of the stamp has no data: leave the position out.",
        )
    return None


def _unit_defect(
    bands: tuple[str, ...], image: NDArray[np.floating], invvar: NDArray[np.floating] | None
) -> Defect | None:
    remedy = "Give nanomaggies per 0.262-arcsec pixel (AB zero point 22.5), sky-subtracted, as the coadds are."
    noise = pixel_noise(image)
    background = np.abs(_border_median(image))
    if (noise > MAX_NOISE).any() or (background > MAX_BACKGROUND).any():
        worst = int(np.argmax(np.maximum(noise / MAX_NOISE, background / MAX_BACKGROUND)))
        return Defect(
            reason="units",
            name=f"pixel noise and border level of band {bands[worst]}",
            value=f"{noise[worst]:.3g} and {background[worst]:.3g}",
            allowed=f"<= {MAX_NOISE:g} and <= {MAX_BACKGROUND:g} nanomaggies (these look like ADU or counts)",
            remedy=remedy,
        )
    too_quiet = (noise > 0) & (noise < MIN_NOISE)
    if too_quiet.any():
        return Defect(
            reason="units",
            name=f"pixel noise of band {_band_list(bands, too_quiet)}",
            value=f"{float(noise[too_quiet].min()):.3g}",
            allowed=f">= {MIN_NOISE:g} nanomaggies (these look like maggies, jansky or a noiseless model)",
            remedy=remedy,
        )
    if invvar is not None:
        for band, sigma, weights in zip(bands, noise, invvar, strict=True):
            used = weights[::3][weights[::3] > 0]
            if len(used) == 0 or sigma == 0:
                continue
            ratio = float(sigma * np.sqrt(np.median(used)))
            if not NOISE_RATIO_RANGE[0] <= ratio <= NOISE_RATIO_RANGE[1]:
                return Defect(
                    reason="units",
                    name=f"noise seen in band {band} over noise stated by invvar",
                    value=f"{ratio:.3g}",
                    allowed=f"{NOISE_RATIO_RANGE[0]:g} to {NOISE_RATIO_RANGE[1]:g}",
                    remedy="Give image in nanomaggies and invvar in 1/nanomaggies^2 of the same pixels.",
                )
    return None


def defect_of(
    bands: tuple[str, ...],
    image: NDArray[np.floating],
    invvar: NDArray[np.floating] | None = None,
    maskbits: NDArray[np.integer] | None = None,
) -> Defect | None:
    """Return the first reason why the arrays are no cutout, or None if they are one.

    Parameters
    ----------
    bands
        Names of the image planes.
    image
        Shape (band, y, x) [nanomaggies].
    invvar
        Shape (band, y, x) [1/nanomaggies^2], or None.
    maskbits
        Shape (y, x), or None.
    """
    defect = _shape_defect(bands, image, invvar, maskbits)
    if defect is not None:
        return defect
    finite = np.isfinite(image)
    if not finite.all():
        center = center_mask(*image.shape[1:])
        return Defect(
            reason="nan",
            name="number of NaN or infinite pixels",
            value=f"{int((~finite).sum())} ({int((~finite[:, center]).sum())} of them at the center)",
            allowed="0",
            remedy="Fetch the cutout again; `decode.mend_nan` replaces a few outer pixels by zero with invvar 0.",
        )
    if invvar is not None and not (np.isfinite(invvar).all() and (invvar >= 0).all()):
        return Defect(
            reason="nan",
            name="invvar",
            value="negative, NaN or infinite in some pixels",
            allowed=">= 0 1/nanomaggies^2",
            remedy="Pixels without data have invvar 0.",
        )
    return _empty_defect(bands, image, invvar) or _unit_defect(bands, image, invvar)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cutout:
    """The pixels around one source.

    Raises
    ------
    PhysicalRangeError
        If the pixels cannot be a cutout of the survey (see `defect_of`), or the position is not on the sphere.
    """

    source_id: str
    """Identity of the source: ``release_brickid_objid``, or the name that a user's file gives."""
    ra: float
    """Right ascension of the source [deg], NaN where the file has no position."""
    dec: float
    """Declination of the source [deg], NaN where the file has no position."""
    bands: tuple[str, ...]
    """Names of the image planes, blue to red."""
    image: NDArray[np.float32]
    """Shape (band, y, x) [nanomaggies/pixel], not corrected for extinction; the source at the central pixel."""
    invvar: NDArray[np.float32] | None = None
    """Shape (band, y, x) [1/nanomaggies^2], 0 where there is no data."""
    maskbits: NDArray[np.int32] | None = None
    """Shape (y, x), bits of `legacylens.survey.maskbits`."""
    pixscale: float = PIXSCALE
    """Pixel scale [arcsec/pixel]."""
    origin: str = ""
    """Brick, URL or file that the pixels came from."""
    notes: tuple[str, ...] = ()
    """What was done to the pixels on the way (cropped, padded, resampled), one sentence each."""

    def __post_init__(self) -> None:
        if not self.source_id:
            raise PhysicalRangeError("source_id", repr(self.source_id), "a name that is not empty")
        if not 0.01 <= self.pixscale <= 10.0:
            raise PhysicalRangeError("pixscale", self.pixscale, "[0.01, 10] arcsec/pixel")
        if not (np.isnan(self.ra) or 0.0 <= self.ra < 360.0) or not (np.isnan(self.dec) or abs(self.dec) <= 90.0):
            raise PhysicalRangeError(
                "(ra, dec)", (self.ra, self.dec), "[0, 360) x [-90, 90] deg", "Give degrees, not hours."
            )
        defect = defect_of(self.bands, self.image, self.invvar, self.maskbits)
        if defect is not None:
            raise PhysicalRangeError(
                f"cutout {self.source_id}: {defect.name}", defect.value, defect.allowed, defect.remedy
            )
        for name, dtype in (("image", np.float32), ("invvar", np.float32), ("maskbits", np.int32)):
            array = getattr(self, name)
            if array is not None:
                object.__setattr__(self, name, np.ascontiguousarray(array, dtype=dtype))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width [pixel]."""
        return self.image.shape[1], self.image.shape[2]

    def plane(self, band: str) -> NDArray[np.float32]:
        """Return the image of one band, shape (y, x)."""
        if band not in self.bands:
            raise PhysicalRangeError(f"band of cutout {self.source_id}", repr(band), f"one of {self.bands}")
        return np.asarray(self.image[self.bands.index(band)])
