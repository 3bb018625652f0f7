"""The noise-free image of a brick: all light is put on a fine grid and blurred once, band by band.

The grid has half the survey's pixel. The PSF is an effective one, which contains the pixel's response, so the blurred
scene is *sampled* at the pixel centers and not averaged over pixels. Sampling happens in Fourier space, where a seeing
of four pixels leaves nothing beyond the coarse grid's limit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from legacylens.mocks.conditions import BandConditions, moffat_transfer
from legacylens.mocks.galaxies import Galaxy
from legacylens.mocks.morphology import SOFTENING, paint, sersic_b
from legacylens.mocks.sky import Points
from legacylens.survey.bands import PIXSCALE

OVERSAMPLING = 2
FINE = PIXSCALE / OVERSAMPLING
"""Pixel of the fine grid [arcsec]."""
MARGIN = 64
"""Border around the image [pixel], from which the PSF brings light in and into which it may wrap around."""
KERNEL = 4
"""Half width of the interpolation kernel of point sources [fine pixel]."""


class Scene:
    """Light above the atmosphere on the fine grid of a brick, in g, r, z.

    Parameters
    ----------
    width, height
        Size of the brick's image [pixel].
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._nx = fft.next_fast_len(width + 2 * MARGIN, real=True)
        self._ny = fft.next_fast_len(height + 2 * MARGIN, real=True)
        self._nx += self._nx % 2
        self._ny += self._ny % 2
        self.light = np.zeros((3, OVERSAMPLING * self._ny, OVERSAMPLING * self._nx), dtype=np.float32)

    def _fine(self, pixel: float) -> float:
        return OVERSAMPLING * (pixel + MARGIN)

    def _box(self, x: float, y: float, half: int) -> tuple[slice, slice, slice, slice] | None:
        """Return where a stamp around fine position (x, y) lies in the grid, and which part of it that is."""
        x0, y0 = int(np.floor(x + 0.5)) - half, int(np.floor(y + 0.5)) - half
        n = 2 * half + 1
        left, bottom = max(x0, 0), max(y0, 0)
        right, top = min(x0 + n, self.light.shape[2]), min(y0 + n, self.light.shape[1])
        if left >= right or bottom >= top:
            return None
        return slice(bottom, top), slice(left, right), slice(bottom - y0, top - y0), slice(left - x0, right - x0)

    def add_galaxy(self, galaxy: Galaxy, x: float, y: float, transmission: NDArray[np.float64]) -> None:
        """Add a galaxy at pixel (x, y) behind the dust of the Galaxy, ``transmission`` (3,)."""
        fine_x, fine_y = self._fine(x), self._fine(y)
        half = int(np.ceil(galaxy.extent / FINE))
        box = self._box(fine_x, fine_y, half)
        if box is None:
            return
        offset_x, offset_y = np.floor(fine_x + 0.5) - fine_x, np.floor(fine_y + 0.5) - fine_y
        axis = np.arange(-half, half + 1, dtype=np.float32)
        plane_x = ((axis + np.float32(offset_x)) * np.float32(FINE))[None, :]
        plane_y = ((axis + np.float32(offset_y)) * np.float32(FINE))[:, None]
        images = paint(galaxy.lights, galaxy.dust, plane_x, plane_y)
        rows, columns, part_rows, part_columns = box
        self.light[:, rows, columns] += images[:, part_rows, part_columns] * transmission[:, None, None].astype(
            np.float32
        )

    def add_faint(
        self,
        points: Points,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        transmission: NDArray[np.float64],
        half: int = 34,
    ) -> None:
        """Add many small Sersic galaxies at pixels (x, y), on stamps of one size."""
        flux = points.flux * transmission
        axis = np.arange(-half, half + 1, dtype=np.float32)
        for start in range(0, len(points), 128):
            some = slice(start, start + 128)
            fine_x, fine_y = self._fine_many(x[some]), self._fine_many(y[some])
            u = (axis[None, :] + (np.floor(fine_x + 0.5) - fine_x)[:, None]).astype(np.float32) * np.float32(FINE)
            v = (axis[None, :] + (np.floor(fine_y + 0.5) - fine_y)[:, None]).astype(np.float32) * np.float32(FINE)
            stamps = _sersic_stamps(u[:, None, :], v[:, :, None], points, some)
            for stamp, f, place_x, place_y in zip(stamps, flux[some], fine_x, fine_y, strict=True):
                box = self._box(float(place_x), float(place_y), half)
                if box is None:
                    continue
                rows, columns, part_rows, part_columns = box
                piece = stamp[part_rows, part_columns]
                self.light[:, rows, columns] += f[:, None, None].astype(np.float32) * piece

    def _fine_many(self, pixel: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(OVERSAMPLING * (pixel + MARGIN))

    def add_stars(
        self, points: Points, x: NDArray[np.float64], y: NDArray[np.float64], transmission: NDArray[np.float64]
    ) -> None:
        """Add point sources at pixels (x, y), interpolated by a Lanczos kernel, which the seeing makes exact."""
        taps = np.arange(-KERNEL, KERNEL + 1)
        for flux, px, py in zip(points.flux * transmission, x, y, strict=True):
            fine_x, fine_y = self._fine(float(px)), self._fine(float(py))
            box = self._box(fine_x, fine_y, KERNEL)
            if box is None:
                continue
            kernel_x = _lanczos(taps + np.floor(fine_x + 0.5) - fine_x)
            kernel_y = _lanczos(taps + np.floor(fine_y + 0.5) - fine_y)
            stamp = np.outer(kernel_y / kernel_y.sum(), kernel_x / kernel_x.sum())
            rows, columns, part_rows, part_columns = box
            piece = stamp[part_rows, part_columns]
            self.light[:, rows, columns] += (flux[:, None, None] * piece).astype(np.float32)

    def observed(self, band: int, conditions: BandConditions) -> NDArray[np.float32]:
        """Return the image of one band through the atmosphere, (y, x) [nanomaggies/pixel]."""
        ny, nx = self._ny, self._nx
        spectrum = fft.rfft2(self.light[band])
        low = np.concatenate([spectrum[: ny // 2, : nx // 2 + 1], spectrum[-(ny // 2) :, : nx // 2 + 1]])
        ky = 2.0 * np.pi * np.fft.fftfreq(ny)[:, None] / PIXSCALE
        kx = 2.0 * np.pi * np.fft.rfftfreq(nx)[None, :] / PIXSCALE
        k = np.hypot(kx, ky)
        table_k = np.linspace(0.0, float(k.max()), 4096)
        table = moffat_transfer(table_k, conditions.fwhm, conditions.beta)
        low *= np.interp(k.ravel(), table_k, table).reshape(k.shape).astype(np.float32)
        image = fft.irfft2(low, (ny, nx))
        return np.asarray(image[MARGIN : MARGIN + self.height, MARGIN : MARGIN + self.width], dtype=np.float32)


def _lanczos(offset: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = np.abs(offset) < KERNEL
    return np.asarray(np.where(inside, np.sinc(offset) * np.sinc(offset / KERNEL), 0.0))


def _sersic_stamps(u: NDArray[np.float32], v: NDArray[np.float32], points: Points, some: slice) -> NDArray[np.float32]:
    def column(values: NDArray[np.float64]) -> NDArray[np.float32]:
        return np.asarray(values[some], dtype=np.float32)[:, None, None]

    cos, sin = np.cos(column(points.pa)), np.sin(column(points.pa))
    along, across = v * cos - u * sin, (-u * cos - v * sin) / column(points.q)
    square = (along**2 + across**2 + np.float32(SOFTENING**2)) / column(points.radius) ** 2
    b = np.array([sersic_b(float(n)) for n in points.n[some]], dtype=np.float32)[:, None, None]
    stamps = np.exp(-b * square ** (0.5 / column(points.n)))
    return np.asarray(stamps / stamps.sum(axis=(1, 2), keepdims=True), dtype=np.float32)
