"""Galaxies seen by Hubble, read from the files of GalSim's RealGalaxy and made into sources that can be lensed.

A picture still has the PSF of Hubble in it, a tenth of an arcsec. Dividing it out altogether would divide by nothing:
the telescope passes no detail beyond its resolution. So the PSF is *replaced* by the narrowest Gaussian that raises no
wave number by more than `MAX_GAIN`; where an image has no PSF, it is used as it is. Noise would be lensed as if it were
a part of the galaxy: what lies outside of the galaxy's own pixels is faded out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray
from scipy import fft, ndimage

from legacylens.errors import FileProblem, PhysicalRangeError
from legacylens.lensing.pixels import Picture, picture
from legacylens.photometry import flux_of_magnitude

MAX_GAIN = 3.0
"""By how much a wave number may be raised when the PSF is replaced."""
SEGMENT_SIGMA = 1.5
"""Smoothing of the image in which the galaxy's pixels are found [pixels]."""
SEGMENT_THRESHOLD = 3.0
"""How far above the noise they are there [sigma]."""
FADE = 3.0
"""Width of the edge beyond which the image is faded out [pixels]."""
FAINTEST = 40.0
"""A magnitude beyond this, or not a number, means that there is none."""
HSC_BANDS = ("g", "r", "i", "z", "y")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HstGalaxy:
    """A galaxy as Hubble saw it."""

    name: str
    """Name within its catalog."""
    image: NDArray[np.float64]
    """F814W image, sky subtracted, shape ``(y, x)``."""
    psf: NDArray[np.float64] | None
    """PSF on the same pixels, sum 1; None where the catalog has none."""
    pixscale: float
    """Pixel [arcsec]."""
    noise: float
    """Standard deviation of the sky in a pixel, in the unit of the image."""
    mag_f814w: float
    """AB magnitude in F814W."""
    magnitudes: Mapping[str, float]
    """Measured AB magnitudes by band (HSC), empty where there are none."""
    redshift: float
    """Photometric redshift, NaN where there is none."""

    @property
    def signal_to_noise(self) -> float:
        """Flux of the galaxy's own pixels over the noise in them."""
        own = own_pixels(self)
        return float(self.image[own].sum() / (self.noise * np.sqrt(own.sum())))

    def fluxes(self, bands: Sequence[str]) -> NDArray[np.float64]:
        """Return the measured flux in each band [nanomaggies].

        Raises
        ------
        PhysicalRangeError
            If a band was not measured; a color is never made up here.
        """
        missing = [band for band in bands if band not in self.magnitudes]
        if missing:
            raise PhysicalRangeError(
                f"bands of {self.name}",
                ", ".join(missing),
                f"the measured bands ({', '.join(self.magnitudes) or 'none'})",
                "Give the fluxes yourself.",
            )
        return flux_of_magnitude([self.magnitudes[band] for band in bands])


def read_hst_sources(folder: str | Path) -> list[HstGalaxy]:
    """Read all galaxies of a folder with GalSim RealGalaxy files.

    Parameters
    ----------
    folder
        Has a table named like ``catalog.fits`` or ``real_galaxy_catalog_23.5.fits``. Images are found by the table's
        ``GAL_FILENAME`` and ``GAL_HDU`` (and ``PSF_...``), or, in a subset that has been repacked, by ``EXTNAME`` in
        ``real_galaxy_images.fits`` and ``real_galaxy_PSF_images.fits``.

    Raises
    ------
    FileProblem
        If there is no catalog, or it names no images, or an image is absent.
    """
    folder = Path(folder)
    for path in [*sorted(folder.glob("*catalog.fits")), *sorted(folder.glob("*catalog*.fits"))]:
        table = Table.read(path)
        if "GAL_FILENAME" in table.colnames:
            return _from_galsim(folder, path, table)
        if "EXTNAME" in table.colnames:
            return _from_names(folder, path, table)
    raise FileProblem(
        folder,
        "no catalog of HST galaxies (*catalog*.fits with GAL_FILENAME or EXTNAME)",
        "Give the folder that galsim_download_cosmos made.",
        reason="missing",
    )


def _from_galsim(folder: Path, path: Path, table: Table) -> list[HstGalaxy]:
    galaxies = []
    opened: dict[str, fits.HDUList | None] = {}
    try:
        for row in table:
            image = _image(folder, path, opened, _text(row["GAL_FILENAME"]), int(row["GAL_HDU"]), required=True)
            psf = _image(folder, path, opened, _text(row["PSF_FILENAME"]), int(row["PSF_HDU"]), required=False)
            galaxies.append(_galaxy(_text(row["IDENT"]), row, image, psf))
    finally:
        for hdus in opened.values():
            if hdus is not None:
                hdus.close()
    return galaxies


def _from_names(folder: Path, path: Path, table: Table) -> list[HstGalaxy]:
    galaxies = []
    opened: dict[str, fits.HDUList | None] = {}
    try:
        for row in table:
            name = _text(row["EXTNAME"])
            image = _image(folder, path, opened, "real_galaxy_images.fits", name, required=True)
            psf = _image(folder, path, opened, "real_galaxy_PSF_images.fits", name, required=False)
            galaxies.append(_galaxy(name, row, image, psf))
    finally:
        for hdus in opened.values():
            if hdus is not None:
                hdus.close()
    return galaxies


def _text(value: object) -> str:
    return value.decode().strip() if isinstance(value, bytes) else str(value).strip()


def _number(value: object) -> float:
    """Return a table entry as a float; astropy masks those that are not numbers."""
    return float(np.ma.filled(np.ma.asarray(value, dtype=np.float64), np.nan))


def _image(
    folder: Path,
    catalog: Path,
    opened: dict[str, fits.HDUList | None],
    name: str,
    extension: int | str,
    *,
    required: bool,
) -> NDArray[np.float64] | None:
    if name not in opened:
        path = folder / name
        opened[name] = fits.open(path) if path.is_file() else None
    hdus = opened[name]
    if hdus is None:
        if required:
            raise FileProblem(
                folder / name, f"named by {catalog.name} but absent", "Put it beside its catalog.", reason="missing"
            )
        return None
    try:
        return np.asarray(hdus[extension].data, dtype=np.float64)
    except (KeyError, IndexError, OSError, TypeError) as error:
        raise FileProblem(
            folder / name,
            f"extension {extension}, named by {catalog.name}, is not readable ({error})",
            "Download the file again.",
            reason="truncated",
        ) from error


def _galaxy(name: str, row: Table.Row, image: NDArray[np.float64] | None, psf: NDArray[np.float64] | None) -> HstGalaxy:
    if image is None:
        raise FileProblem(name, "no image", "Drop it from the catalog.", reason="missing")
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    # The catalog's noise belongs to a field, not to this image (it is three times too large for some).
    noise = 1.4826 * float(np.median(np.abs(border - np.median(border))))
    names = row.colnames
    magnitudes = {b: _number(row[f"HSC_{b}"]) for b in HSC_BANDS if f"HSC_{b}" in names}
    return HstGalaxy(
        name=name,
        image=image,
        psf=None if psf is None else psf / psf.sum(),
        pixscale=float(row["PIXEL_SCALE"]),
        noise=noise,
        mag_f814w=float(row["MAG"]),
        magnitudes={band: mag for band, mag in magnitudes.items() if 0 < mag < FAINTEST},
        redshift=_number(row["ZPHOT"]) if "ZPHOT" in names else float("nan"),
    )


def own_pixels(galaxy: HstGalaxy) -> NDArray[np.bool_]:
    """Return which pixels belong to the galaxy: connected to its middle and above the noise."""
    kernel_noise = galaxy.noise / (2 * np.sqrt(np.pi) * SEGMENT_SIGMA)
    above = ndimage.gaussian_filter(galaxy.image, SEGMENT_SIGMA) > SEGMENT_THRESHOLD * kernel_noise
    labels, n = ndimage.label(above)
    middle = np.array(galaxy.image.shape) / 2 - 0.5
    if n == 0:
        raise PhysicalRangeError(
            f"brightness of {galaxy.name}", float(galaxy.image.max() / galaxy.noise), "a pixel above the noise"
        )
    distance = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    nearest = tuple(distance[:, int(middle[0]), int(middle[1])])
    return np.asarray(labels == labels[nearest])


def half_light_radius(galaxy: HstGalaxy) -> float:
    """Return the radius around the center of light that holds half of the light of the galaxy's own pixels [arcsec]."""
    light = np.where(own_pixels(galaxy), galaxy.image, 0.0)
    y, x = np.indices(light.shape)
    center_y, center_x = (light * y).sum() / light.sum(), (light * x).sum() / light.sum()
    distance = np.hypot(y - center_y, x - center_x).ravel()
    order = np.argsort(distance)
    growth = np.cumsum(light.ravel()[order]) / light.sum()
    return float(distance[order][np.searchsorted(growth, 0.5)] * galaxy.pixscale)


def sharpened(
    image: NDArray[np.float64], psf: NDArray[np.float64], *, max_gain: float = MAX_GAIN
) -> tuple[NDArray[np.float64], float]:
    """Return an image whose PSF has been replaced by the narrowest Gaussian that is well posed.

    Parameters
    ----------
    image
        Shape ``(y, x)``.
    psf
        Its PSF on the same pixels, sum 1, centered on the middle of its array.
    max_gain
        By how much a wave number may be raised.

    Returns
    -------
    image
        Same shape.
    fwhm
        FWHM of the Gaussian that its point sources now are [pixels].

    Raises
    ------
    PhysicalRangeError
        If no Gaussian up to twice as wide as the PSF will do: then the PSF has zeros where it should not.
    """
    margin = max(psf.shape) // 2
    shape = tuple(fft.next_fast_len(side + 2 * margin) for side in image.shape)
    star = np.zeros(shape)
    star[: psf.shape[0], : psf.shape[1]] = psf
    ky, kx = fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])
    # The middle of the array is the star's place, as in GalSim; for an even width it lies between two pixels.
    shift = np.exp(2j * np.pi * (ky * (psf.shape[0] - 1) / 2 + kx * (psf.shape[1] - 1) / 2))
    response = fft.rfft2(star) * shift
    k2 = ky**2 + kx**2
    width = np.sqrt((star > star.max() / 2).sum() * 4 / np.pi)  # FWHM of a round PSF of that half-height area
    for fwhm in np.arange(0.5, 2.0, 0.05) * width:
        target = np.exp(-2 * np.pi**2 * k2 * (fwhm / 2.354820045) ** 2)
        if np.all(target <= max_gain * np.abs(response)):
            change = np.divide(target, response, out=np.zeros_like(response), where=np.abs(response) > 0)
            padded = np.pad(image, [(0, s - n) for s, n in zip(shape, image.shape, strict=True)])
            return np.asarray(fft.irfft2(fft.rfft2(padded) * change, shape)[: image.shape[0], : image.shape[1]]), float(
                fwhm
            )
    raise PhysicalRangeError(
        "gain of the deconvolution", "more", f"<= {max_gain}", "Use the image without deconvolution."
    )


def lensable(galaxy: HstGalaxy, *, phi: float = 0.0, x: float = 0.0, y: float = 0.0, zoom: float = 1.0) -> Picture:
    """Return a galaxy as a source of unit flux: its PSF narrowed where it has one, its surroundings faded out.

    Parameters
    ----------
    galaxy
        The galaxy.
    phi, x, y
        How it is turned [rad] and where it is put [arcsec].
    zoom
        How many times larger it is than on the sky of the catalog, > 0; 0.5 for a galaxy farther away.
    """
    own = own_pixels(galaxy)
    image = galaxy.image if galaxy.psf is None else sharpened(galaxy.image, galaxy.psf)[0]
    fade = ndimage.gaussian_filter(
        ndimage.binary_dilation(own, iterations=int(2 * FADE)).astype(np.float64), FADE, mode="constant"
    )
    return picture(image * fade, pixscale=galaxy.pixscale * zoom, phi=phi, x=x, y=y)
