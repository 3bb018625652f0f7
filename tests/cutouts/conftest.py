"""A release of a few small bricks whose every pixel is known, in the survey's layout and compression."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import fitsio
import numpy as np
import pandas as pd
import pytest
from astropy.table import Table

from legacylens.survey.grid import brick_wcs, grid_header, sky_position
from legacylens.survey.release import Release

WIDTH_DEG = 0.03
LOSSLESS = "[compress G 100,100; qz 0]"
# As legacypipe writes them.
SURVEY_COMPRESSION = {
    "image": "[compress R 100,100; qz -1e-4]",
    "invvar": "[compress R 100,100; qz 16]",
    "maskbits": "[compress H 100,100]",
    "psfsize": LOSSLESS,
}


@dataclass
class KnownRelease:
    """Bricks along the equator, 0.03 degrees (412 pixels) wide, whose images reach ``margin`` pixels further."""

    root: Path
    names: tuple[str, ...] = ("0100p000", "0101p000")
    margin: int = 60
    compression: dict[str, str] = field(default_factory=lambda: dict.fromkeys(SURVEY_COMPRESSION, LOSSLESS))

    @property
    def side(self) -> int:
        return round(WIDTH_DEG * 3600 / 0.262) + 2 * self.margin

    def center(self, name: str) -> tuple[float, float]:
        return 10.0 + WIDTH_DEG * (self.names.index(name) + 0.5), 0.0

    def pixels(self, name: str, kind: str, band: str = "g") -> np.ndarray:
        """Every pixel tells its brick, band, row and column."""
        y, x = np.mgrid[: self.side, : self.side]
        number = self.names.index(name) * 10 + "grz".index(band)
        code = (y * 7919 + x * 104729 + number * 17) % 1009
        match kind:
            case "image":
                return ((code + 1) / 1e5).astype(np.float32)
            case "invvar":
                return (1e5 + code).astype(np.float32)
            case "maskbits":
                return (code % 3 * 2).astype(np.int32)
            case "psfsize":
                return (1.0 + number / 10 + x / 1e4).astype(np.float32)
        raise ValueError(kind)

    def files(self) -> list[tuple[str, str | None]]:
        return [(kind, band) for kind in ("image", "invvar", "psfsize") for band in "grz"] + [("maskbits", None)]

    def path(self, name: str, kind: str, band: str | None = None) -> Path:
        return Path(self.release.coadd_path(name, kind, band))

    @property
    def release(self) -> Release:
        return Release(root=str(self.root))

    def write(self) -> KnownRelease:
        self.write_table()
        for name in self.names:
            for kind, band in self.files():
                self.write_file(name, kind, band, self.pixels(name, kind, band or "g"))
            self.write_checksums(name)
        return self

    def write_table(self) -> None:
        rows = []
        for number, name in enumerate(self.names):
            ra, dec = self.center(name)
            half = WIDTH_DEG / 2
            rows.append((name, number + 1, 0, 0, number, ra, dec, ra - half, ra + half, dec - half, dec + half))
        columns = ["BRICKNAME", "BRICKID", "BRICKQ", "BRICKROW", "BRICKCOL", "RA", "DEC", "RA1", "RA2", "DEC1", "DEC2"]
        self.root.mkdir(parents=True, exist_ok=True)
        Table(rows=rows, names=columns).write(self.root / "survey-bricks.fits.gz", overwrite=True)

    def write_file(self, name: str, kind: str, band: str | None, pixels: np.ndarray, center=None) -> None:
        path = self.path(name, kind, band)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        header = grid_header(*(center or self.center(name)), pixels.shape[1], pixels.shape[0])
        with fitsio.FITS(f"{path}{self.compression[kind]}", "rw") as out:
            out.write(pixels, header=[{"name": card, "value": header[card]} for card in header])

    def write_checksums(self, name: str) -> None:
        folder = Path(self.release.brick_folder(name))
        lines = [
            f"{hashlib.sha256(path.read_bytes()).hexdigest()} *south/coadd/{name[:3]}/{name}/{path.name}\n"
            for path in sorted(folder.glob("*.fz"))
        ]
        Path(self.release.checksum_path(name)).write_text("".join(lines))

    def target(self, name: str, x: float, y: float, source_id: str | None = None) -> dict[str, object]:
        """A source at a pixel position (0-based) of a brick."""
        ra, dec = sky_position(brick_wcs(*self.center(name), self.side, self.side), x, y)
        return {
            "source_id": source_id or f"{name}_{x:g}_{y:g}",
            "ra": float(ra[0]),
            "dec": float(dec[0]),
            "brickname": name,
        }

    def targets(self, n: int, seed: int = 0) -> pd.DataFrame:
        """Sources at random places where the stamp is whole."""
        rng = np.random.default_rng(seed)
        rows = [
            self.target(self.names[k % len(self.names)], *rng.uniform(60, self.side - 61, 2).round(2), f"s{k:03d}")
            for k in range(n)
        ]
        return pd.DataFrame(rows)


@pytest.fixture(scope="session")
def shared_release(tmp_path_factory):
    """A `KnownRelease` that no test changes."""
    return KnownRelease(tmp_path_factory.mktemp("shared") / "release").write()


@pytest.fixture
def known_release(tmp_path, shared_release):
    """Return a function that writes a `KnownRelease`, and with the defaults copies it, which is faster."""

    def write(**changes) -> KnownRelease:
        release = KnownRelease(tmp_path / "release", **changes)
        if changes:
            return release.write()
        shutil.copytree(shared_release.root, release.root, dirs_exist_ok=True)
        return release

    return write
