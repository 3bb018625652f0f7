"""Galaxies that can be lenses: a host table from the parent sample, and which of its rows look like lens hosts.

A network that is trained on arcs around any galaxy learns to tell luminous red galaxies from the others. So hosts are
luminous red galaxies; `host_matching` weights them to the distribution of known lens hosts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from legacylens.cutouts.cutout import Cutout, center_mask
from legacylens.errors import InputError, PhysicalRangeError
from legacylens.mocks.conditions import noise_pixels
from legacylens.mocks.host_locus import host_colors, host_mag_r, luminosity_offset
from legacylens.mocks.population_sets import HostConfig
from legacylens.survey.bands import BANDS
from legacylens.survey.maskbits import mask_value

HOST_UNITS: dict[str, str] = {
    "source_id": "",
    "ra": "deg",
    "dec": "deg",
    **{f"mag_{band}": "AB mag" for band in BANDS},
    "ebv": "mag",
    "radius": "arcsec",
    "q": "",
    "phi": "rad",
    "z": "",
    "z_error": "",
    "z_kind": "",
    "luminosity_offset": "mag",
    **{f"psfsize_{band}": "arcsec" for band in BANDS},
    **{f"sigma_{band}": "nanomaggy/pixel" for band in BANDS},
}
"""Columns of a host table and their units. ``mag_*`` are corrected for Galactic extinction; ``phi`` is the direction of
the major axis from +x (columns) toward +y (rows); ``q`` is 1 where the fit is round; ``z_kind`` says where the redshift
is from; ``luminosity_offset`` is relative to the median lens host; ``sigma_*`` is the sky noise, 1/sqrt(invvar)."""

REDSHIFT_COLUMNS = (("z_spec", ""), ("z_phot_median", "z_phot_std"), ("z_phot_mean", "z_phot_std"), ("z_phot", ""))
"""Columns of a parent table in which a redshift is looked for, with that of its error, best first."""
PHOTO_Z_ERROR = 0.03
"""Error of a photometric redshift without one, times 1 + z."""
COLOR_ERROR = {"g_r": 0.16, "r_z": 0.07}
"""Scatter of old galaxies around the locus [mag], where redshifts are estimated from colors."""
MAGNITUDE_ERROR = 0.7
"""Scatter of their magnitudes around those of lens hosts [mag]."""
Z_GRID = np.linspace(0.03, 1.05, 205)
UNUSABLE_BITS = ("BRIGHT", "SATUR_G", "SATUR_R", "SATUR_Z", "ALLMASK_G", "ALLMASK_R", "ALLMASK_Z", "GALAXY", "CLUSTER")
"""Mask bits of pixels near which nothing is injected."""


def estimate_redshift(
    mag_g: ArrayLike, mag_r: ArrayLike, mag_z: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return redshift and error of luminous red galaxies from their colors and brightness.

    Parameters
    ----------
    mag_g, mag_r, mag_z
        Magnitudes corrected for Galactic extinction.

    Returns
    -------
    z, error
        Mean and standard deviation of the posterior on the locus of old galaxies, with a wide prior on the luminosity;
        NaN where a magnitude is. On 1,600 known lenses, whose colors contain arcs, it is within 0.06 (1 + z) of the
        survey's photometric redshift for two of three (see tests).
    """
    g, r, z = (np.atleast_1d(np.asarray(mag, dtype=np.float64)) for mag in (mag_g, mag_r, mag_z))
    locus = (*host_colors(Z_GRID), host_mag_r(Z_GRID))
    chi2 = (
        ((g - r)[:, None] - locus[0]) ** 2 / COLOR_ERROR["g_r"] ** 2
        + ((r - z)[:, None] - locus[1]) ** 2 / COLOR_ERROR["r_z"] ** 2
        + (r[:, None] - locus[2]) ** 2 / MAGNITUDE_ERROR**2
    )
    weight = np.exp(-0.5 * (chi2 - chi2.min(axis=1, keepdims=True)))
    weight /= weight.sum(axis=1, keepdims=True)
    mean = weight @ Z_GRID
    variance = weight @ Z_GRID**2 - mean**2
    return mean, np.sqrt(np.maximum(variance, 0.0) + (0.02 * (1.0 + mean)) ** 2)


def _redshifts(parent: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.object_]]:
    mags = [parent[f"mag_{band}"].to_numpy(np.float64) for band in BANDS]
    z, error = estimate_redshift(*mags)
    kind = np.full(len(parent), "colors", dtype=object)
    for name, error_name in reversed(REDSHIFT_COLUMNS):
        if name not in parent:
            continue
        given = parent[name].to_numpy(np.float64)
        good = (given > 0.0) & (given < 3.0)
        own = np.full(len(parent), 0.0005 if name == "z_spec" else PHOTO_Z_ERROR) * (1.0 + given)
        if error_name and error_name in parent:
            stated = parent[error_name].to_numpy(np.float64)
            own = np.where(stated > 0.0, stated, own)
        z, error = np.where(good, given, z), np.where(good, own, error)
        kind[good] = name
    return z, error, kind


def host_table(parent: pd.DataFrame) -> pd.DataFrame:
    """Return the host table of a parent sample.

    Parameters
    ----------
    parent
        Parent table of `catalog.parent`: ``source_id``, positions, ``mag_*``, ``ebv``, ``shape_r``, ``shape_e1``,
        ``shape_e2``, ``psfsize_*``, ``psfdepth_*``; a redshift in one of `REDSHIFT_COLUMNS` is used where there is one.

    Returns
    -------
    hosts
        Columns of `HOST_UNITS`, one row for each parent, in order. ``sigma_*`` is estimated from the depth; it
        is measured on the pixels once a host is chosen.

    Raises
    ------
    InputError
        If columns are missing.
    """
    needed = ["source_id", "ra", "dec", "ebv", "shape_r", "shape_e1", "shape_e2"]
    needed += [f"{part}_{band}" for part in ("mag", "psfsize", "psfdepth") for band in BANDS]
    missing = [name for name in needed if name not in parent]
    if missing:
        raise InputError(
            f"the parent table lacks {', '.join(missing)}: hosts cannot be chosen without them. "
            "Use a parent.parquet of `legacylens parent` on sweeps of DR9 or later."
        )
    z, error, kind = _redshifts(parent)
    e1, e2 = parent["shape_e1"].to_numpy(np.float64), parent["shape_e2"].to_numpy(np.float64)
    e = np.minimum(np.hypot(e1, e2), 0.95)
    hosts = parent[["source_id", "ra", "dec", *(f"mag_{band}" for band in BANDS), "ebv"]].reset_index(drop=True)
    q = (1.0 - e) / (1.0 + e)
    # Tractor's shape_r is the major axis; radii here are on the intermediate one.
    hosts["radius"] = np.maximum(parent["shape_r"].to_numpy(np.float64) * np.sqrt(q), 0.05)
    # The position angle runs from north through east; columns run toward the west.
    hosts["q"], hosts["phi"] = q, (0.5 * np.arctan2(e2, e1) + 0.5 * np.pi) % np.pi
    hosts["z"], hosts["z_error"], hosts["z_kind"] = z, error, kind.astype(str)
    hosts["luminosity_offset"] = luminosity_offset(hosts["mag_r"], z)
    for band in BANDS:
        hosts[f"psfsize_{band}"] = parent[f"psfsize_{band}"].to_numpy(np.float64)
    for band in BANDS:
        depth = parent[f"psfdepth_{band}"].to_numpy(np.float64)
        spread = np.sqrt(noise_pixels(1.0, 3.0)) * hosts[f"psfsize_{band}"].to_numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            hosts[f"sigma_{band}"] = np.where(depth > 0, 1.0 / np.sqrt(depth) / spread, np.nan)
    return hosts


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCounts:
    """What became of the galaxies that were looked at as hosts."""

    given: int
    """Galaxies in the table."""
    removed: Mapping[str, int]
    """Reason -> galaxies that it removed, in the order of the tests."""
    left: int
    """Galaxies that can be hosts."""


def choose_candidates(hosts: pd.DataFrame, config: HostConfig) -> tuple[pd.DataFrame, HostCounts]:
    """Return the rows of a host table that can be hosts of a set.

    Parameters
    ----------
    hosts
        Host table.
    config
        Which galaxies are wanted.

    Returns
    -------
    candidates
        Rows that pass, with a fresh index.
    counts
        What every test removed; NaN never passes.
    """
    measured = [f"{part}_{band}" for part in ("mag", "psfsize", "sigma") for band in BANDS]
    tests: list[tuple[str, NDArray[np.bool_]]] = [
        (
            "seeing",
            np.asarray((hosts[[f"psfsize_{band}" for band in BANDS]].to_numpy(np.float64) > 0.3).all(axis=1)),
        ),
        ("no-measurement", np.isfinite(hosts[[*measured, "z", "radius", "ebv"]].to_numpy(np.float64)).all(axis=1)),
    ]
    if config.matching != "none":
        z = hosts["z"].to_numpy(np.float64)
        g_r = (hosts["mag_g"] - hosts["mag_r"]).to_numpy(np.float64)
        r_z = (hosts["mag_r"] - hosts["mag_z"]).to_numpy(np.float64)
        locus = host_colors(z)
        offset = hosts["luminosity_offset"].to_numpy(np.float64)
        tests += [
            ("redshift", (z > config.redshift[0]) & (z < config.redshift[1])),
            (
                "not-red",
                (np.abs(g_r - locus[0]) < config.color_tolerance) & (np.abs(r_z - locus[1]) < config.color_tolerance),
            ),
            ("luminosity", (offset > config.luminosity[0]) & (offset < config.luminosity[1])),
        ]
    passed = np.ones(len(hosts), dtype=bool)
    removed: dict[str, int] = {}
    for reason, good in tests:
        removed[reason] = int((passed & ~good).sum())
        passed &= good
    counts = HostCounts(given=len(hosts), removed=removed, left=int(passed.sum()))
    return hosts[passed].reset_index(drop=True), counts


def unusable_pixels(cutout: Cutout) -> NDArray[np.bool_]:
    """Return the pixels of each band into which nothing may be injected, shape ``(band, y, x)``."""
    invvar = _invvar(cutout)
    bad = invvar <= 0
    if cutout.maskbits is not None:
        bad = bad | ((cutout.maskbits & mask_value(*UNUSABLE_BITS)) != 0)
    return np.asarray(bad)


def _invvar(cutout: Cutout) -> NDArray[np.float32]:
    if cutout.invvar is None:
        raise PhysicalRangeError(
            f"invvar of host {cutout.source_id}",
            None,
            "one for each pixel [1/nanomaggies^2]",
            "Cut the store with invvar, or measure it with hosts.with_measured_invvar and say so: without it "
            "neither the gain nor the noise of an arc is known.",
        )
    return cutout.invvar


def why_unusable(cutout: Cutout, clear_radius: float) -> str:
    """Return why a cutout cannot be a host: ``edge``, ``masked``, or nothing if it can.

    Parameters
    ----------
    cutout
        The galaxy.
    clear_radius
        Radius around it in which every pixel must be good [arcsec].
    """
    invvar = _invvar(cutout)
    radius = clear_radius / cutout.pixscale
    if 2.0 * radius + 1.0 > min(cutout.shape):
        return "edge"
    near = center_mask(*cutout.shape, radius)
    # Pixels without any exposure are zero in coadds; masked ones hold interpolated values.
    if ((invvar == 0) & (cutout.image == 0))[:, near].any():
        return "edge"
    return "masked" if unusable_pixels(cutout)[:, near].any() else ""


def sky_noise(cutout: Cutout) -> NDArray[np.float64]:
    """Return the sky noise of each band from the invvar, 1/sqrt(median) of the good pixels [nanomaggies/pixel]."""
    noise = np.full(len(cutout.bands), np.nan)
    for number, plane in enumerate(_invvar(cutout)):
        good = plane[plane > 0]
        if good.size:
            noise[number] = 1.0 / np.sqrt(float(np.median(good)))
    return noise
