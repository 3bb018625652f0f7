"""One coadd file of a brick: its pixel grid, and only those of its tiles that are asked for.

The survey compresses coadds in tiles of 100 x 100 pixels. Decompression is what reading costs, so every tile that some
stamp touches is decompressed once and the others not at all: for 200 stamps out of 3600 x 3600 pixels about half of
the tiles, for a thousand all of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fitsio
import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from legacylens.errors import FileProblem
from legacylens.survey.bands import PIXSCALE
from legacylens.survey.grid import wcs_of_header

GRID_CARDS = ("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CD1_1", "CD1_2", "CD2_1", "CD2_2")
_FETCH_AGAIN = "Fetch the file again and run again: what is in the store is kept."


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelGrid:
    """Where the pixels of a coadd are on the sky."""

    height: int
    """Rows."""
    width: int
    """Columns."""
    cards: tuple[tuple[str, str | float], ...]
    """The WCS cards of `GRID_CARDS`."""

    def wcs(self) -> WCS:
        """Return the astropy WCS."""
        return wcs_of_header(dict(self.cards))


class CoaddFile:
    """A compressed coadd, open for reading; use it as a context manager.

    Parameters
    ----------
    name
        The file as the user knows it (a path or URL), for messages.
    local
        Where its bytes are.

    Raises
    ------
    FileProblem
        If it is not FITS, cut short, or has no image in extension 1.
    """

    def __init__(self, name: str, local: Path) -> None:
        self.name = name
        self._local = local
        self._check_magic()
        try:
            self._fits = fitsio.FITS(str(local))
        except OSError as error:
            raise self._broken(error) from error
        try:
            self._image = self._fits[1]
            info = self._image.get_info()
            header = self._image.read_header()
        except OSError as error:
            self._fits.close()
            raise self._broken(error) from error
        self._header: dict[str, Any] = {str(card["name"]): card["value"] for card in header.records() if card["name"]}
        if info.get("ndims") != 2:
            self._fits.close()
            raise FileProblem(
                name,
                "extension 1 is not a two-dimensional image",
                "Give the survey's own coadd.",
                reason="other-format",
            )
        size = local.stat().st_size
        if size < info["data_end"]:
            self._fits.close()
            raise FileProblem(name, f"cut short: {size} bytes of {info['data_end']}", _FETCH_AGAIN, reason="truncated")
        height, width = (int(length) for length in info["dims"])
        self.shape = (height, width)
        self._tile = (int(self._header.get("ZTILE2", 1)), int(self._header.get("ZTILE1", width)))

    def _check_magic(self) -> None:
        with self._local.open("rb") as handle:
            magic = handle.read(6)
        if len(magic) < 6:
            raise FileProblem(self.name, "an empty file", _FETCH_AGAIN, reason="truncated")
        if magic != b"SIMPLE":
            raise FileProblem(self.name, f"not FITS: it starts with {magic!r}", _FETCH_AGAIN, reason="not-fits")

    def _broken(self, error: Exception) -> FileProblem:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return FileProblem(self.name, f"cannot be read ({first_line})", _FETCH_AGAIN, reason="truncated")

    def __enter__(self) -> CoaddFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._fits.close()

    def grid(self) -> PixelGrid:
        """Return the pixel grid.

        Raises
        ------
        FileProblem
            If the header has no WCS, or the pixels are not 0.262 arcsec wide.
        """
        missing = [card for card in GRID_CARDS if card not in self._header]
        if missing:
            raise FileProblem(
                self.name, f"no {', '.join(missing)} in its header", "Give the survey's own coadd.", reason="no-wcs"
            )
        scale = 3600.0 * np.sqrt(
            abs(self._header["CD1_1"] * self._header["CD2_2"] - self._header["CD1_2"] * self._header["CD2_1"])
        )
        if not abs(scale / PIXSCALE - 1.0) < 1e-3:
            raise FileProblem(
                self.name,
                f"pixels of {scale:.4f} arcsec where the survey has {PIXSCALE}",
                "Give the survey's own coadd.",
                reason="wrong-scale",
            )
        return PixelGrid(
            height=self.shape[0], width=self.shape[1], cards=tuple((card, self._header[card]) for card in GRID_CARDS)
        )

    def data_release(self) -> int | None:
        """Return the number of the data release that the header states (10 for DR10), None if it states none."""
        for card in ("LSDR", "DRVERSIO"):
            stated = re.fullmatch(r"(?:DR)?(\d+)(?:\.\d+)?", str(self._header.get(card, "")).strip(), re.IGNORECASE)
            if stated:
                number = int(stated[1])  # DRVERSIO is DR3, or since DR7 the RELEASE of the catalogs: 10002
                return number // 1000 if number >= 1000 else number
        return None

    def has_pixels_of(self, grid: PixelGrid) -> bool:
        """Whether the file has the size of ``grid`` and, where its header states a WCS, the same pixels."""
        if self.shape != (grid.height, grid.width):
            return False
        for card, value in grid.cards:
            mine = self._header.get(card, value)
            # Numbers may differ in the last digits of their text.
            same = mine == value if isinstance(mine, str) or isinstance(value, str) else abs(mine - value) < 1e-9
            if not same:
                return False
        return True

    def windows(self, x0: NDArray[np.int64], y0: NDArray[np.int64], side: int, dtype: type[np.generic]) -> NDArray[Any]:
        """Return square windows, zero outside of the image.

        Parameters
        ----------
        x0, y0
            First column and row of each window [pixel]; a window may reach over the edge.
        side
            Width and height [pixel].
        dtype
            Element type of the result.

        Returns
        -------
        windows
            Shape (n, side, side): the pixels as they are in the file, never interpolated.

        Raises
        ------
        FileProblem
            If a tile cannot be decompressed.
        """
        height, width = self.shape
        pixels = self._tiles_under(x0, y0, side, dtype)
        out = np.zeros((len(x0), side, side), dtype=dtype)
        for row, (x, y) in enumerate(zip(x0.tolist(), y0.tolist(), strict=True)):
            left, right, low, high = max(x, 0), min(x + side, width), max(y, 0), min(y + side, height)
            if left < right and low < high:
                out[row, low - y : high - y, left - x : right - x] = pixels[low:high, left:right]
        return out

    def _tiles_under(
        self, x0: NDArray[np.int64], y0: NDArray[np.int64], side: int, dtype: type[np.generic]
    ) -> NDArray[Any]:
        """Return the image with the tiles under the windows filled in, and zeros elsewhere."""
        height, width = self.shape
        tile_height, tile_width = self._tile
        needed = np.zeros((-(-height // tile_height), -(-width // tile_width)), dtype=bool)
        for x, y in zip(x0.tolist(), y0.tolist(), strict=True):
            needed[
                max(y, 0) // tile_height : max(y + side - 1, -1) // tile_height + 1,
                max(x, 0) // tile_width : max(x + side - 1, -1) // tile_width + 1,
            ] = True
        pixels = np.zeros(self.shape, dtype=dtype)
        try:
            for rows, columns in _rectangles(needed):
                top, right = min(rows[1] * tile_height, height), min(columns[1] * tile_width, width)
                low, left = rows[0] * tile_height, columns[0] * tile_width
                pixels[low:top, left:right] = self._image[low:top, left:right]
        except (OSError, ValueError, RuntimeError) as error:
            raise self._broken(error) from error
        return pixels


def _rectangles(needed: NDArray[np.bool_]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return rectangles ((row, end row), (column, end column)) that cover the needed tiles, each once, and no other."""
    found: list[tuple[tuple[int, int], tuple[int, int]]] = []
    row = 0
    while row < len(needed):
        end = row + 1
        while end < len(needed) and np.array_equal(needed[end], needed[row]):
            end += 1
        edges = np.flatnonzero(np.diff(np.concatenate([[0], needed[row].astype(np.int8), [0]])))
        found += [((row, end), (int(a), int(b))) for a, b in zip(edges[::2], edges[1::2], strict=True)]
        row = end
    return found
