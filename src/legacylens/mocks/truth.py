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
from legacylens.photometry import magnitude
from legacylens.survey.bands import BANDS

LENS_UNITS: dict[str, str] = {
    "ra": "deg",
    "dec": "deg",
    "theta_E": "arcsec",
    "mass_phi": "rad",
    "mass_x": "arcsec",
    "mass_y": "arcsec",
    "sigma_v": "km/s",
    "source_radius": "arcsec",
    "source_phi": "rad",
    "source_x": "arcsec",
    "source_y": "arcsec",
    "host_radius": "arcsec",
    "host_pa": "rad",
    **{f"{part}_mag_{band}": "AB mag" for part in ("source", "lensed", "host") for band in BANDS},
    "ebv": "mag",
    **{f"psfsize_{band}": "arcsec" for band in BANDS},
}
"""Units of the columns of ``lenses.parquet`` that have one."""

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
    content: PatchContent, mock: MockBrick, images: BrickImages, rows: pd.DataFrame, seed: int
) -> pd.DataFrame:
    """Return the truth of the lenses that a brick owns, one row for each."""
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
        records.append(
            {
                "source_id": source_id,
                "brickname": owner,
                "patch": content.patch.number,
                "number": number,
                "seed": seed,
                "ra": float(ra),
                "dec": float(dec),
                "host_type": kind,
                "z_lens": lens.host.redshift,
                "z_source": lens.z_source,
                "sigma_v": lens.sigma_v,
                "theta_E": lens.theta_E,
                "mass_q": lens.q,
                "mass_phi": lens.phi,
                "mass_x": lens.x,
                "mass_y": lens.y,
                "gamma1": lens.gamma1,
                "gamma2": lens.gamma2,
                "source_radius": lens.source_radius,
                "source_n": lens.source_n,
                "source_q": lens.source_q,
                "source_phi": lens.source_phi,
                "source_x": lens.source_x,
                "source_y": lens.source_y,
                "magnification": drawn.magnification,
                "expected_snr": lens.expected_snr,
                "arc_snr": float(drawn.snr.max()),
                "arc_rows": int(arc_rows.get(number, 0)),
                "host_radius": lens.host.radius,
                "host_n": lens.host.n,
                "host_q": lens.host.q,
                "host_pa": lens.host.pa,
                "host_components": _components(lens.host),
                "ebv": content.conditions.ebv,
                **{f"arc_snr_{band}": float(drawn.snr[k]) for k, band in enumerate(BANDS)},
                **{f"source_mag_{band}": float(magnitude(lens.source_flux[k])) for k, band in enumerate(BANDS)},
                **{
                    f"lensed_mag_{band}": float(magnitude(lens.source_flux[k] * drawn.magnification))
                    for k, band in enumerate(BANDS)
                },
                **{f"host_mag_{band}": float(magnitude(lens.host.flux[k])) for k, band in enumerate(BANDS)},
                **{
                    f"psfsize_{band}": content.conditions.bands[band].fwhm
                    if band in content.conditions.bands
                    else np.nan
                    for band in BANDS
                },
            }
        )
    return pd.DataFrame(records)


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
