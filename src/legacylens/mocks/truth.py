"""The truth about a mock sky: tables that live outside of the release, so that nothing reads them by mistake."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pandas as pd

from legacylens.mocks.brick_images import BrickImages
from legacylens.mocks.galaxies import Galaxy
from legacylens.mocks.layout import MockBrick
from legacylens.mocks.patch import PatchContent
from legacylens.mocks.population import LENS_UNITS
from legacylens.photometry import magnitude
from legacylens.survey.bands import BANDS

TRUTH_UNITS: dict[str, str] = {
    "source_id": "",
    "brickname": "",
    "patch": "",
    "number": "",
    "release_seed": "",
    "seed": "",
    "set": "",
    "ra": "deg",
    "dec": "deg",
    **LENS_UNITS,
    "magnification": "",
    **{f"arc_mag_{band}": "AB mag" for band in BANDS},
    **{f"snr_{band}": "" for band in BANDS},
    "snr": "",
    "contrast": "",
    "arc_rows": "",
    "host_type": "",
    **{f"host_mag_{band}": "AB mag" for band in BANDS},
    "host_radius": "arcsec",
    "host_n": "",
    "host_q": "",
    "host_phi": "rad",
    "host_components": "",
    "ebv": "mag",
    **{f"psfsize_{band}": "arcsec" for band in BANDS},
    **{f"sigma_{band}": "nanomaggy/pixel" for band in BANDS},
}
"""Columns of ``lenses.parquet`` and their units.

``source_id`` is the catalog row of the host, ``number`` the lens within its patch; a lens is made again from the
configuration, ``release_seed`` and ``patch``. Magnitudes are without Galactic extinction. ``snr_*`` is that of a
matched filter in the finished images, ``snr`` the best of them, ``contrast`` the largest brightness of the arcs over
the host in g, ``arc_rows`` how many catalog rows are pieces of the arcs. ``host_radius`` and ``host_phi`` follow the
conventions of lenses (intermediate axis; from +x toward +y)."""

GALAXY_UNITS: dict[str, str] = {
    "ra": "deg",
    "dec": "deg",
    "radius": "arcsec",
    "pa": "rad",
    **{f"mag_{band}": "AB mag" for band in BANDS},
}
"""Units of the columns of ``galaxies.parquet`` that have one."""


def _components(galaxy: Galaxy) -> str:
    """Return the components of a galaxy as JSON, from which it can be painted again."""
    parts = [
        {"shape": type(light.shape).__name__, "flux": light.flux, **dataclasses.asdict(light.shape)}  # type: ignore[call-overload]
        for light in galaxy.lights
    ]
    dust = None if galaxy.dust is None else dataclasses.asdict(galaxy.dust)
    return json.dumps({"lights": parts, "dust": dust})


def _owner(content: PatchContent, east: float, north: float) -> str | None:
    (ra,), (dec,) = content.to_sky(east, north)
    for mock in content.patch.bricks:
        away = (ra - mock.brick.ra + 180.0) % 360.0 - 180.0
        half = 0.5 * (mock.brick.ra2 - mock.brick.ra1)
        if -half <= away < half and mock.brick.dec1 <= dec < mock.brick.dec2:
            return mock.brick.brickname
    return None


def _source_ids(rows: pd.DataFrame, column: str) -> dict[int, tuple[str, str]]:
    """Return number in the patch -> (source_id, type) of the catalog row that holds it."""
    known = rows[(rows[column] >= 0) & (rows["kind"] != "arc")]
    ids = known["release"].astype(str) + "_" + known["brickid"].astype(str) + "_" + known["objid"].astype(str)
    return {int(k): (str(i), str(t)) for k, i, t in zip(known[column], ids, known["type"], strict=True)}


def lens_truth(
    content: PatchContent,
    mock: MockBrick,
    images: BrickImages,
    rows: pd.DataFrame,
    *,
    seed: int,
    population: str,
) -> pd.DataFrame:
    """Return the truth of the lenses that a brick owns, one row for each.

    Parameters
    ----------
    content
        The patch.
    mock
        The brick.
    images
        Its images, with the arcs as they were drawn.
    rows
        Its catalog rows.
    seed
        Seed of the release.
    population
        Name of the set that the lenses belong to.
    """
    found = _source_ids(rows, "lens")
    arcs = {a.number: a for a in images.arcs}
    arc_rows = rows[rows["kind"] == "arc"]["lens"].value_counts()
    records: list[dict[str, Any]] = []
    for number, (lens, owner) in enumerate(zip(content.lenses, content.lens_bricks, strict=True)):
        if owner != mock.brick.brickname:
            continue
        drawn = arcs[number]
        (ra,), (dec,) = content.to_sky(lens.host.east, lens.host.north)
        source_id, kind = found.get(number, ("", ""))
        conditions = content.conditions
        record: dict[str, Any] = {
            "source_id": source_id,
            "brickname": owner,
            "patch": content.patch.number,
            "number": number,
            "release_seed": seed,
            "seed": lens.seed,
            "set": population,
            "ra": float(ra),
            "dec": float(dec),
            **lens.row,
            "magnification": drawn.magnification,
            "snr": float(drawn.snr.max()),
            "contrast": lens.contrast,
            "arc_rows": int(arc_rows.get(number, 0)),
            "host_type": kind,
            "host_radius": lens.host.radius * float(np.sqrt(lens.host.q)),
            "host_n": lens.host.n,
            "host_q": lens.host.q,
            "host_phi": (lens.host.pa + 0.5 * np.pi) % np.pi,
            "host_components": _components(lens.host),
            "ebv": conditions.ebv,
        }
        for k, band in enumerate(BANDS):
            record[f"arc_mag_{band}"] = float(magnitude(lens.source_flux[k] * drawn.magnification))
            record[f"snr_{band}"] = float(drawn.snr[k])
            record[f"host_mag_{band}"] = float(magnitude(lens.host.flux[k]))
            record[f"psfsize_{band}"] = conditions.bands[band].fwhm
            record[f"sigma_{band}"] = conditions.bands[band].sigma
        records.append(record)
    return pd.DataFrame(records, columns=list(TRUTH_UNITS))


def galaxy_truth(content: PatchContent, mock: MockBrick, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the truth of the structured galaxies that a brick owns, lens hosts left out."""
    found = _source_ids(rows, "galaxy")
    records: list[dict[str, Any]] = []
    for number, galaxy in enumerate(content.sky.galaxies):
        if _owner(content, galaxy.east, galaxy.north) != mock.brick.brickname:
            continue
        (ra,), (dec,) = content.to_sky(galaxy.east, galaxy.north)
        source_id, kind = found.get(number, ("", ""))
        records.append(
            {
                "source_id": source_id,
                "brickname": mock.brick.brickname,
                "patch": content.patch.number,
                "number": number,
                "kind": galaxy.kind,
                "type": kind,
                "ra": float(ra),
                "dec": float(dec),
                "redshift": galaxy.redshift,
                "radius": galaxy.radius,
                "n": galaxy.n,
                "q": galaxy.q,
                "pa": galaxy.pa,
                "companion_of": galaxy.group,
                "components": _components(galaxy),
                **{f"mag_{band}": float(magnitude(galaxy.flux[k])) for k, band in enumerate(BANDS)},
            }
        )
    return pd.DataFrame(records)
