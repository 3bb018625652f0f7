"""Files of one brick: compressed coadds, the Tractor catalog, checksums; a folder is there whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import fitsio
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from legacylens.files import atomic_path, sha256_of_file, write_text
from legacylens.mocks.brick_images import BrickImages
from legacylens.mocks.layout import MockBrick
from legacylens.mocks.sweep_columns import UNITS, to_records
from legacylens.survey.grid import grid_header
from legacylens.survey.maskbits import MASKBITS
from legacylens.survey.release import Release

TILE = 100
"""Side of the tiles that are compressed one by one [pixel]."""
IMAGE_STEP = 1e-4
"""Quantization of the images [nanomaggies], as in the survey: a tenth of the smallest sigma and less."""

Card = dict[str, Any]


def _tile(shape: tuple[int, ...]) -> list[int]:
    """Return a tile size that leaves no sliver below four pixels at the edge, which the compressor refuses."""
    sizes = []
    for n in shape:
        size = TILE
        while size < n and 0 < n % size < 4:
            size += 1
        sizes.append(min(size, n))
    return sizes


def _header(mock: MockBrick, shape: tuple[int, ...], kind: str, band: str | None, unit: str) -> list[Card]:
    brick = mock.brick
    cards: list[Card] = [
        {"name": "SURVEY", "value": "LegacySurvey", "comment": "The LegacySurveys"},
        {"name": "SURVEYDR", "value": "DR10", "comment": "Data release"},
        {"name": "BRICKNAM", "value": brick.brickname, "comment": "Brick RRRr[pm]DDd"},
        {"name": "BRICKID", "value": brick.brickid, "comment": "Brick id"},
        {"name": "RAMIN", "value": brick.ra1, "comment": "Brick RA min (deg)"},
        {"name": "RAMAX", "value": brick.ra2, "comment": "Brick RA max (deg)"},
        {"name": "DECMIN", "value": brick.dec1, "comment": "Brick Dec min (deg)"},
        {"name": "DECMAX", "value": brick.dec2, "comment": "Brick Dec max (deg)"},
        {"name": "BRICKRA", "value": brick.ra, "comment": "Brick center RA (deg)"},
        {"name": "BRICKDEC", "value": brick.dec, "comment": "Brick center Dec (deg)"},
        {"name": "BRICK", "value": brick.brickname, "comment": "Brick name"},
        {"name": "IMTYPE", "value": kind, "comment": "Image type"},
    ]
    if band is not None:
        cards.append({"name": "FILTER", "value": band, "comment": "Band of this image"})
        cards.append({"name": "BAND", "value": band, "comment": "Band of this image"})
        cards.append({"name": "MAGZERO", "value": 22.5, "comment": "Magnitude zeropoint"})
    if unit:
        cards.append({"name": "BUNIT", "value": unit, "comment": "AB mag = 22.5 - 2.5*log10(nanomaggy)"})
    grid = grid_header(brick.ra, brick.dec, shape[1], shape[0])
    return [*cards, *({"name": card.keyword, "value": card.value, "comment": card.comment} for card in grid.cards)]


def _write(path: Path, image: NDArray[np.generic], cards: list[Card], kind: str, seed: int) -> None:
    tile = _tile(image.shape)
    with fitsio.FITS(str(path), "rw", clobber=True) as file:
        options: dict[str, object] = {"header": cards, "extname": kind.upper(), "tile_dims": tile}
        if kind == "image":
            # Zeros, which mark pixels without data, stay exactly zero under this kind of dithering.
            file.write(
                image,
                compress="RICE",
                qlevel=-IMAGE_STEP,
                qmethod="SUBTRACTIVE_DITHER_2",
                dither_seed=1 + seed % 10000,
                **options,
            )
        elif image.dtype.kind == "f":
            file.write(image, compress="GZIP", qlevel=0, **options)
        else:
            file.write(image, compress="HCOMPRESS", **options)


UNIT_OF = {"image": "nanomaggy", "invvar": "1/nanomaggy^2", "psfsize": "arcsec", "nexp": ""}
"""Unit of each kind of coadd."""


def checksum_text(paths: list[Path]) -> str:
    """Return the lines that ``sha256sum`` would print for files of one folder."""
    return "".join(f"{sha256_of_file(path)}  {path.name}\n" for path in sorted(paths))


def write_coadds(release: Release, mock: MockBrick, images: BrickImages) -> None:
    """Write the coadds of a brick, its folder last of all."""
    name = mock.brick.brickname
    folder = Path(release.brick_folder(name))
    if folder.exists():
        shutil.rmtree(folder)
    with atomic_path(folder) as temporary:
        temporary.mkdir()

        def place(kind: str, band: str | None) -> Path:
            return temporary / Path(release.coadd_path(name, kind, band)).name

        planes: dict[str, Any] = {
            "image": images.image,
            "invvar": images.invvar,
            "psfsize": images.psfsize,
            "nexp": images.nexp,
        }
        for kind, of_band in planes.items():
            for band, plane in of_band.items():
                cards = _header(mock, plane.shape, kind, band, UNIT_OF[kind])
                _write(place(kind, band), plane, cards, kind, mock.brick.brickid)
        cards = _header(mock, images.maskbits.shape, "maskbits", None, "")
        for bit in MASKBITS.values():
            cards.append({"name": f"MB_{bit.bit}", "value": bit.name, "comment": bit.description[:40]})
        _write(place("maskbits", None), images.maskbits, cards, "maskbits", mock.brick.brickid)
        text = checksum_text([path for path in temporary.iterdir() if path.suffix == ".fz"])
        write_text(temporary / Path(release.checksum_path(name)).name, text)


def tractor_path(release: Release, brickname: str) -> Path:
    """Return the path of a brick's Tractor catalog."""
    return Path(release.root) / release.region / "tractor" / brickname[:3] / f"tractor-{brickname}.fits"


def write_rows(path: Path, rows: pd.DataFrame, *, lower: bool = False) -> None:
    """Write catalog rows with the columns, types and units of the survey's files."""
    records = to_records(rows)
    names = records.dtype.names or ()
    with atomic_path(path) as temporary:
        fitsio.write(
            str(temporary),
            records,
            names=[name.lower() if lower else name for name in names],
            units=[UNITS[name] for name in names],
            extname="CATALOG" if lower else "SWEEP",
            clobber=True,
        )


def is_complete(release: Release, brickname: str) -> bool:
    """Whether a brick was written whole."""
    return Path(release.checksum_path(brickname)).is_file()
