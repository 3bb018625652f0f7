"""What a catalog can find in a patch: every galaxy, star and arc as an entry with its true light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from legacylens.mocks.arcs import Arcs
from legacylens.mocks.brick_images import BrickImages
from legacylens.mocks.patch import PatchContent
from legacylens.survey.bands import BANDS, PIXSCALE

ARC_ROW_SNR = 15.0
"""S/N from which a fit may split an arc off its host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArcPiece:
    """A bright part of an arc that the fit takes for a source of its own."""

    x: float
    """Pixel in the brick."""
    y: float
    """Pixel in the brick."""
    share: float
    """Part of the arcs' flux in it."""


def arc_pieces(rng: np.random.Generator, arcs: Arcs, host_x: float, host_y: float) -> list[ArcPiece]:
    """Return the pieces of a lens's arcs that become sources of their own: none, one or two.

    Parameters
    ----------
    rng
        Random generator.
    arcs
        The arcs on the brick's pixels.
    host_x, host_y
        Pixel of the host.
    """
    best = int(np.argmax(arcs.snr))
    if arcs.snr[best] < ARC_ROW_SNR:
        return []
    image = arcs.image[best].astype(np.float64)
    y, x = np.indices(image.shape)
    away = np.hypot(x + arcs.left - host_x, y + arcs.bottom - host_y) * PIXSCALE
    pieces = []
    for chance, share in ((0.55, rng.uniform(0.3, 0.6)), (0.30, rng.uniform(0.1, 0.25))):
        search = np.where((away > 1.0) & (away < 6.0), image, 0.0)
        peak = np.unravel_index(int(np.argmax(search)), image.shape)
        if image[peak] <= 0:
            break
        if rng.uniform() < chance:
            pieces.append(ArcPiece(x=float(peak[1] + arcs.left), y=float(peak[0] + arcs.bottom), share=float(share)))
        image[np.hypot(x - peak[1], y - peak[0]) * PIXSCALE < 2.0] = 0.0
    return pieces


def source_table(content: PatchContent, images: BrickImages, rng: np.random.Generator) -> pd.DataFrame:
    """Return the true sources of a patch as they appear in one brick.

    Returns
    -------
    table
        Columns ``x``, ``y`` [pixel], ``flux_g``, ``flux_r``, ``flux_z`` (through the Galaxy's dust) [nanomaggies],
        ``radius`` [arcsec], ``n``, ``q``, ``pa`` [radian], ``kind``, ``galaxy`` (number within the patch; lens hosts
        follow the galaxies) and ``lens`` (number within the patch), -1 where none.
    """
    sky = content.sky
    galaxies = [*sky.galaxies, *(lens.host for lens in content.lenses)]
    arcs = {a.number: a for a in images.arcs}
    columns: dict[str, list[np.ndarray]] = {
        name: [] for name in ("east", "north", "flux", "radius", "n", "q", "pa", "kind", "galaxy", "lens")
    }

    def add(**parts: object) -> None:
        for name, values in parts.items():
            columns[name].append(np.asarray(values))

    first = len(sky.galaxies)
    if galaxies:
        add(
            east=[g.east for g in galaxies],
            north=[g.north for g in galaxies],
            flux=np.stack([g.flux for g in galaxies]),
            radius=[g.radius for g in galaxies],
            n=[g.n for g in galaxies],
            q=[g.q for g in galaxies],
            pa=[g.pa for g in galaxies],
            kind=[g.kind for g in galaxies],
            galaxy=np.arange(len(galaxies)),
            lens=[k - first if k >= first else -1 for k in range(len(galaxies))],
        )
    for points, kind in ((sky.faint, "faint"), (sky.stars, "star")):
        none = np.full(len(points), -1)
        add(
            east=points.east,
            north=points.north,
            flux=points.flux.reshape(-1, 3),
            radius=points.radius,
            n=points.n,
            q=points.q,
            pa=points.pa,
            kind=np.full(len(points), kind),
            galaxy=none,
            lens=none,
        )
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    ra, dec = content.to_sky(joined["east"], joined["north"])
    x, y = images.wcs.all_world2pix(ra, dec, 0)
    transmission = np.array([content.conditions.transmission(band) for band in BANDS])
    table = pd.DataFrame({name: joined[name] for name in ("radius", "n", "q", "pa", "kind", "galaxy", "lens")})
    table["x"], table["y"] = x, y
    for number, band in enumerate(BANDS):
        table[f"flux_{band}"] = joined["flux"][:, number] * transmission[number]
    return _with_arcs(table, arcs, rng)


def _with_arcs(table: pd.DataFrame, arcs: dict[int, Arcs], rng: np.random.Generator) -> pd.DataFrame:
    """Blend the arcs into their hosts, except for what becomes a source of its own."""
    pieces: list[dict[str, Any]] = []
    flux_columns = [f"flux_{band}" for band in BANDS]
    places = table[["x", "y"]].to_numpy(np.float64)
    flux = table[flux_columns].to_numpy(np.float64)
    for row, number in enumerate(table["lens"].to_list()):
        if number not in arcs:
            continue
        arc_flux = arcs[number].image.sum(axis=(1, 2), dtype=np.float64)
        found = arc_pieces(rng, arcs[number], float(places[row, 0]), float(places[row, 1]))
        blended = (1.0 - sum(piece.share for piece in found)) * float(rng.uniform(0.35, 0.85))
        flux[row] += blended * arc_flux
        pieces.extend(
            {
                "radius": float(rng.choice([0.0, 0.35, 0.6])),
                "n": 1.0,
                "q": 0.6,
                "pa": float(rng.uniform(0, np.pi)),
                "kind": "arc",
                "galaxy": -1,
                "lens": number,
                "x": piece.x,
                "y": piece.y,
                **dict(zip(flux_columns, (piece.share * arc_flux).tolist(), strict=True)),
            }
            for piece in found
        )
    table[flux_columns] = flux
    return pd.concat([table, pd.DataFrame(pieces)], ignore_index=True) if pieces else table
