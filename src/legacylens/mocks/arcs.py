"""The arcs of a lens on the pixels of a brick, and their signal-to-noise ratio there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from legacylens.mocks.noise import aperture_factor
from legacylens.mocks.psf import Psf
from legacylens.mocks.render import render_arcs
from legacylens.mocks.strong_lenses import StrongLens

STAMP = 81
"""Side of the stamp of a lens's arcs [pixel]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arcs:
    """The arcs of one lens on the pixels of one brick."""

    number: int
    """Number of the lens within its patch."""
    left: int
    """Column of the stamp's first pixel in the brick."""
    bottom: int
    """Row of the stamp's first pixel in the brick."""
    image: NDArray[np.float32]
    """Arcs alone, through seeing and dust, (band, y, x) [nanomaggies]."""
    magnification: float
    """Lensed over unlensed flux."""
    snr: NDArray[np.float64]
    """Matched-filter S/N in g, r, z; zero until it is measured in the finished images."""

    def window(self, shape: tuple[int, ...]) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
        """Return the stamp's place in an image of a shape and the part of the stamp that lies in it."""
        left, bottom = max(self.left, 0), max(self.bottom, 0)
        right, top = min(self.left + STAMP, shape[1]), min(self.bottom + STAMP, shape[0])
        if left >= right or bottom >= top:
            return None
        return (
            (slice(bottom, top), slice(left, right)),
            (slice(bottom - self.bottom, top - self.bottom), slice(left - self.left, right - self.left)),
        )

    def add_to(self, image: NDArray[np.float32], band: int) -> None:
        """Add the arcs to an image of a band."""
        window = self.window(image.shape)
        if window is not None:
            image[window[0]] += self.image[band][window[1]]

    def matched_snr(self, band: int, model: NDArray[np.float32], invvar: NDArray[np.float32], sky: float) -> float:
        """Return the S/N of the arcs for a filter of their own shape.

        Parameters
        ----------
        band
            Band number.
        model
            All light of the brick in this band [nanomaggies/pixel].
        invvar
            Inverse variance of the sky noise [1/nanomaggies^2]; masked pixels, 0, do not count.
        sky
            Sky brightness that made ``invvar`` [nanomaggies/pixel].
        """
        window = self.window(model.shape)
        if window is None:
            return 0.0
        clean = self.image[band][window[1]].astype(np.float64)
        weight = invvar[window[0]] / (1.0 + np.maximum(model[window[0]], 0.0) / sky)
        return float(np.sqrt(np.sum(clean**2 * weight)) / aperture_factor())


def draw_arcs(lens: StrongLens, number: int, x: float, y: float, psf: Psf, transmission: NDArray[np.float64]) -> Arcs:
    """Render the arcs of a lens whose host stands at pixel (x, y).

    Parameters
    ----------
    lens
        Deflector and source.
    number
        Its number within the patch.
    x, y
        Pixel of the host.
    psf
        PSF of each band.
    transmission
        Light let through by the Galaxy's dust in each band.
    """
    left, bottom = round(x) - STAMP // 2, round(y) - STAMP // 2
    arcs = render_arcs(
        lens.deflector,
        lens.source,
        lens.source_flux * transmission,
        psf,
        shape=(STAMP, STAMP),
        center=(y - bottom, x - left),
    )
    return Arcs(
        number=number,
        left=left,
        bottom=bottom,
        image=np.asarray(arcs.image, dtype=np.float32),
        magnification=float(arcs.magnification[0]),
        snr=np.zeros(3),
    )
