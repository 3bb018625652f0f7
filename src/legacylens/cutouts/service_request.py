"""What is asked of the cutout service: settings, and the URL of every request.

The service has silent defaults (layer ``ls-dr9``, 256 pixels, all bands of the layer), so nothing is left to them:
layer, bands, size and pixel scale stand in every URL. Sources: the viewer's ``map/views.py`` and ``map/urls.py``
(repository legacysurvey/imagine).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

from pydantic import Field, field_validator, model_validator

from legacylens.errors import InputError
from legacylens.settings import Settings
from legacylens.survey.bands import ALL_BANDS, BANDS, PIXSCALE, STAMP

VIEWER_URL = "https://www.legacysurvey.org/viewer/"
"""The public service."""

LAYER_BANDS = {
    "ls-dr10": "griz",
    "ls-dr10-south": "griz",
    "ls-dr9": "grz",
    "ls-dr9-south": "grz",
    "ls-dr9-north": "grz",
    "ls-dr8": "grz",
    "ls-dr8-south": "grz",
    "ls-dr8-north": "grz",
}
"""Bands of the image layers that are known here; other layers are asked for as they are."""

SUBIMAGE_MARGIN = 2
"""Pixels asked for beyond the stamp on each side in the ``subimage`` layout: the service cuts around the position to
a pixel, and the stamp is taken around the pixel that holds the source."""

Product = Literal["cutout", "psf", "jpeg"]
"""What can be fetched for a position."""


class ServiceConfig(Settings):
    """What to fetch."""

    url: str = VIEWER_URL
    """Base address of the viewer."""
    layer: str = "ls-dr10"
    """Image layer. ``ls-dr10`` is DR10 in the south and DR9 (BASS, MzLS; no i) in the north of the galactic plane at
    dec >= 32.375; ``ls-dr10-south`` is DR10 alone."""
    bands: tuple[str, ...] = BANDS
    """Image planes, blue to red; every one must have data."""
    stamp: int = Field(default=STAMP, ge=9, le=999)
    """Side of a stamp [pixel], odd; pixels are 0.262 arcsec, the only scale with nanomaggies per pixel."""
    layout: Literal["subimage", "resampled"] = "subimage"
    """``subimage``: the pixels of the coadds, as bricks have them. ``resampled``: interpolated once more, centered on
    the position to a fraction of a pixel, with ``invvar`` counted twice to four times where bricks overlap."""
    invvar: bool = True
    """Fetch inverse variances."""
    maskbits: bool = True
    """Fetch mask bits; the ``subimage`` layout takes a second request for them."""
    psf: bool = False
    """Fetch the mean PSF of the exposures at each position, a request of its own."""
    jpeg: bool = False
    """Fetch a color picture of each position, a request of its own."""
    jpeg_size: int = Field(default=256, ge=16, le=3000)
    """Side of the picture [pixel]."""
    jpeg_pixscale: float = Field(default=PIXSCALE, ge=0.05, le=30.0)
    """Pixel scale of the picture [arcsec/pixel]."""

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return url if url.endswith("/") else url + "/"

    @field_validator("bands")
    @classmethod
    def _bands_in_order(cls, bands: tuple[str, ...]) -> tuple[str, ...]:
        if not bands or bands != tuple(band for band in ALL_BANDS if band in bands):
            raise ValueError(f"must be some of {', '.join(ALL_BANDS)}, in this order, each once")
        return bands

    @field_validator("stamp")
    @classmethod
    def _odd(cls, stamp: int) -> int:
        if stamp % 2 == 0:
            raise ValueError("must be odd")
        return stamp

    @model_validator(mode="after")
    def _layer_has_bands(self) -> ServiceConfig:
        if not self.layer or not self.layer.replace("-", "").replace(".", "").isalnum():
            raise ValueError(f"layer {self.layer!r} is not the name of a layer")
        known = LAYER_BANDS.get(self.layer)
        lacking = [band for band in self.bands if known is not None and band not in known]
        if lacking:
            # The service would not refuse: it would drop the whole list and send its default bands.
            raise ValueError(f"layer {self.layer} has the bands {known}, not {', '.join(lacking)}")
        return self

    @property
    def products(self) -> tuple[Product, ...]:
        """What is fetched for each position, in this order."""
        psf: tuple[Product, ...] = ("psf",) if self.psf else ()
        jpeg: tuple[Product, ...] = ("jpeg",) if self.jpeg else ()
        return ("cutout", *psf, *jpeg)

    @property
    def requests_per_position(self) -> int:
        """Requests that a position takes when all goes well."""
        return len(self.products) + int(self.layout == "subimage" and self.maskbits)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRequest:
    """One request."""

    kind: Literal["subimage", "resampled", "maskbits", "psf", "jpeg"]
    """What is asked for; says how the answer is checked."""
    ra: float
    """Position [deg]."""
    dec: float
    """Position [deg]."""
    layer: str
    """Image layer."""
    bands: tuple[str, ...]
    """Bands."""
    size: int
    """Side [pixel]."""
    pixscale: float
    """Pixel scale [arcsec/pixel]."""
    flags: tuple[str, ...] = ()
    """Parameters whose presence alone counts: invvar, maskbits, subimage."""

    @property
    def max_bytes(self) -> int:
        """More bytes than any true answer has: image and invvar of four bricks, and a megabyte of headers."""
        return (1 << 20) + 4 * 2 * 8 * len(self.bands) * (max(self.size, 256) + 8) ** 2

    def url(self, base: str) -> str:
        """Return the address below ``base``.

        Positions carry nine decimals (4e-6 arcsec): a service that gets five returns another subpixel center.
        """
        endpoint = {"psf": "coadd-psf/", "jpeg": "jpeg-cutout"}.get(self.kind, "fits-cutout")
        query = urlencode(
            {
                "ra": f"{self.ra:.9f}",
                "dec": f"{self.dec:.9f}",
                "layer": self.layer,
                "bands": "".join(self.bands),
                "size": self.size,
                "pixscale": f"{self.pixscale:g}",
            }
        )
        return f"{base}{endpoint}?{query}" + "".join(f"&{flag}" for flag in self.flags)


def cutout_request(config: ServiceConfig, ra: float, dec: float) -> ServiceRequest:
    """Return the request for the pixels around a position [deg]."""
    _require_position(ra, dec)
    flags = ["invvar"] if config.invvar else []
    size = config.stamp
    if config.layout == "subimage":
        flags.append("subimage")
        size += 2 * SUBIMAGE_MARGIN
    elif config.maskbits:
        flags.append("maskbits")
    return ServiceRequest(
        kind=config.layout,
        ra=ra,
        dec=dec,
        layer=config.layer,
        bands=config.bands,
        size=size,
        pixscale=PIXSCALE,
        flags=tuple(flags),
    )


def maskbits_request(config: ServiceConfig, ra: float, dec: float) -> ServiceRequest:
    """Return the request for mask bits on the grid of a ``subimage`` stamp.

    Parameters
    ----------
    config
        What is fetched.
    ra, dec
        Center of the stamp's central pixel [deg], so that the pixels of the answer fall on those of the brick.
    """
    _require_position(ra, dec)
    return ServiceRequest(
        kind="maskbits",
        ra=ra,
        dec=dec,
        layer=config.layer,
        bands=config.bands[:1],
        size=config.stamp,
        pixscale=PIXSCALE,
        flags=("maskbits",),
    )


def psf_request(config: ServiceConfig, ra: float, dec: float) -> ServiceRequest:
    """Return the request for the mean PSF at a position [deg]; its size is the service's choice."""
    _require_position(ra, dec)
    return ServiceRequest(
        kind="psf", ra=ra, dec=dec, layer=config.layer, bands=config.bands, size=config.stamp, pixscale=PIXSCALE
    )


def jpeg_request(config: ServiceConfig, ra: float, dec: float) -> ServiceRequest:
    """Return the request for a color picture centered on a position [deg]."""
    _require_position(ra, dec)
    return ServiceRequest(
        kind="jpeg",
        ra=ra,
        dec=dec,
        layer=config.layer,
        bands=config.bands,
        size=config.jpeg_size,
        pixscale=config.jpeg_pixscale,
    )


def _require_position(ra: float, dec: float) -> None:
    if not (0.0 <= ra < 360.0 and -90.0 <= dec <= 90.0):
        raise InputError(f"({ra}, {dec}) is no position: ra in [0, 360), dec in [-90, 90] deg")
