"""Which other brick to take a stamp from that is not whole in the target's own.

The grids of neighboring bricks are gnomonic about different centers, so their pixels do not line up, and a stamp that
reaches over an edge cannot be completed from the neighbor without resampling, which `legacylens.cutouts.bricks` never
does. Bricks overlap on purpose, however: in DR10 by some 165 pixels, so the 101-pixel stamp of every source is whole
in its own brick. Where it is not (larger stamps, other geometries), it comes from the neighbor in which it is whole
and deepest inside. If no brick holds it whole, it is padded with zeros (invvar 0, mask bits as for pixels that no
exposure covers, their number in the manifest's ``padded``) or refused: `CutoutConfig.edge`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from legacylens.cutouts.coadd import PixelGrid
from legacylens.cutouts.stamps import CutoutConfig, brick_grid, whole_margin
from legacylens.errors import FileProblem
from legacylens.survey.bricks import BrickTable
from legacylens.survey.grid import pixel_position
from legacylens.survey.release import Release

MARGIN_ARCSEC = 90.0
"""How far beyond its unique area a brick's image may reach: 82 pixels of 0.262 arcsec in DR10, and to spare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A brick to try for a stamp."""

    brickname: str
    """The brick."""
    pad: bool
    """Whether the stamp may reach over its edge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighborhood:
    """Finds the bricks for stamps at the edge of their own; remembers the grids it has looked at."""

    release: Release
    """Where the bricks are."""
    table: BrickTable
    """All bricks."""
    config: CutoutConfig
    """What is cut."""
    _grids: dict[str, PixelGrid | None] = field(default_factory=dict)

    def _grid(self, brickname: str) -> PixelGrid | None:
        if brickname not in self._grids:
            try:
                self._grids[brickname] = brick_grid(self.release, brickname, self.config.bands)
            except FileProblem:
                self._grids[brickname] = None  # a brick without a readable image is no neighbor to anyone
        return self._grids[brickname]

    def attempts(self, ra: float, dec: float, own: str) -> list[Attempt]:
        """Return the bricks to try, best first.

        Parameters
        ----------
        ra, dec
            Position [deg].
        own
            Name of the target's brick, in which the stamp is known not to be whole.

        Returns
        -------
        attempts
            The neighbors in which the stamp is whole, deepest inside first; then, if padding is allowed, the bricks
            that have its central pixel, the most complete stamp first. Ties are broken by name.
        """
        whole: list[tuple[int, str]] = []
        partial: list[tuple[int, str]] = []
        rows = self.table.near(ra, dec, MARGIN_ARCSEC)
        for name in sorted({own, *(str(name) for name in self.table.frame["brickname"].iloc[rows])}):
            grid = self._grid(name)
            if grid is None:
                continue
            margin = int(whole_margin(grid, *pixel_position(grid.wcs(), ra, dec), self.config.stamp)[0])
            if margin >= 0 and name != own:
                whole.append((-margin, name))
            elif -(self.config.stamp // 2) <= margin < 0:
                partial.append((-margin, name))
        found = [Attempt(brickname=name, pad=False) for _, name in sorted(whole)]
        if self.config.edge == "pad":
            found += [Attempt(brickname=name, pad=True) for _, name in sorted(partial)]
        return found
