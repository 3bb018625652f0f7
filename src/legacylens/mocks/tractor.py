"""Catalog rows as the survey's fit would make them: measured fluxes with noise, types, shapes, depths, flags."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from legacylens.mocks.brick_images import BrickImages
from legacylens.mocks.conditions import BandConditions, noise_pixels
from legacylens.mocks.layout import MockBrick
from legacylens.mocks.noise import aperture_factor
from legacylens.mocks.patch import PatchContent
from legacylens.photometry import EXTINCTION_COEFFICIENT, mw_transmission
from legacylens.survey.bands import BANDS, PIXSCALE
from legacylens.survey.grid import sky_position
from legacylens.survey.maskbits import mask_value

RELEASE = 10002
"""RELEASE of DR10.1 (DECam)."""
DETECTION = 6.0
"""S/N of the best band from which a source is in the catalog."""
BLEND = 0.75
"""Sources closer than this many seeing widths are one."""
GALAXY_NOISE_RADIUS = 0.75
"""An exponential of half-light radius R adds 4 pi (0.75 R)^2 to the noise area."""
WISE_EXTINCTION = {"w1": 0.184, "w2": 0.113, "w3": 0.0241, "w4": 0.00910}
"""A / E(B-V) in the WISE bands (DR10 catalog page)."""
WISE_SIGMA = {"w1": 0.5, "w2": 1.4, "w3": 20.0, "w4": 250.0}
"""Typical flux error in the WISE bands [nanomaggies]."""
FITBITS = {"FORCED_POINTSOURCE": 1, "HIT_SERSIC_LIMIT": 8, "BRIGHT": 32, "MEDIUM": 64, "GAIA": 128, "LARGEGALAXY": 512}

Array = NDArray[np.float64]


def _merged(sources: pd.DataFrame, radius: float) -> pd.DataFrame:
    """Return sources in which those closer than ``radius`` [pixel] have become the brighter one."""
    flux_columns = [f"flux_{band}" for band in BANDS]
    places = sources[["x", "y"]].to_numpy(np.float64)
    flux = sources[flux_columns].to_numpy(np.float64)
    order = np.argsort(-flux[:, 2], kind="stable")
    tree = cKDTree(places)
    alive = np.ones(len(sources), dtype=bool)
    close = tree.query_ball_point(places, radius)
    for index in order:
        if not alive[index]:
            continue
        for other in close[index]:
            if other != index and alive[other] and flux[other, 2] <= flux[index, 2]:
                alive[other] = False
                flux[index] += flux[other]
    merged = sources.copy()
    merged[flux_columns] = flux
    return merged[alive].reset_index(drop=True)


def _at(image: NDArray[np.generic] | None, rows: NDArray[np.int64], columns: NDArray[np.int64], n: int) -> Array:
    return np.zeros(n) if image is None else np.asarray(image[rows, columns], dtype=np.float64)


def _noise_area(seen: BandConditions, radius: Array) -> Array:
    """Return the noise pixels of sources of half-light radius ``radius`` [arcsec]."""
    return noise_pixels(seen.fwhm, seen.beta) + 4.0 * np.pi * (GALAXY_NOISE_RADIUS * radius / PIXSCALE) ** 2


def _types(rng: np.random.Generator, sources: pd.DataFrame, snr: Array, masked: NDArray[np.bool_]) -> list[str]:
    """Return the model that the fit would settle on."""
    chosen = []
    for kind, radius, n, q, s, forced in zip(
        sources["kind"], sources["radius"], sources["n"], sources["q"], snr, masked, strict=True
    ):
        u = rng.uniform()
        if kind == "star" or forced or radius == 0.0:
            chosen.append("PSF")
        elif s * radius < 5.0 + 3.0 * u:
            chosen.append("PSF" if s * radius < 3.0 + 2.0 * u else "REX")
        elif s < 30.0 + 30.0 * u:
            chosen.append("REX" if q > 0.5 or u < 0.5 else "EXP")
        elif s < 90.0 + 60.0 * u:
            chosen.append(("DEV" if n > 2.2 else "EXP") if u < 0.8 else "REX")
        elif n > 2.2:
            chosen.append("SER" if u < 0.66 else "DEV")
        else:
            chosen.append("SER" if u < 0.5 or n > 1.4 else "EXP")
    return chosen


def measure(
    content: PatchContent,
    mock: MockBrick,
    images: BrickImages,
    sources: pd.DataFrame,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return the catalog rows of the sources in a brick's unique area.

    Parameters
    ----------
    content
        The patch.
    mock
        The brick.
    images
        Its images, for masks and depths.
    sources
        See `legacylens.mocks.sources.source_table`.
    rng
        Random generator of the catalog.

    Returns
    -------
    rows
        Lower-case columns of `legacylens.mocks.sweep_columns`, and ``kind``, ``galaxy``, ``lens`` of the truth.
    """
    height, width = images.maskbits.shape
    bands = content.conditions.bands
    fwhm = float(np.median([seen.fwhm for seen in bands.values()]))
    inside = sources["x"].between(0, width - 1) & sources["y"].between(0, height - 1)
    sources = _merged(sources[inside].reset_index(drop=True), BLEND * fwhm / PIXSCALE)
    columns = np.round(sources["x"].to_numpy(np.float64)).astype(np.int64)
    rows = np.round(sources["y"].to_numpy(np.float64)).astype(np.int64)
    ra, dec = sky_position(images.wcs, sources["x"].to_numpy(), sources["y"].to_numpy())
    n = len(sources)
    radius = sources["radius"].to_numpy(np.float64)
    maskbits = images.maskbits[rows, columns]

    out: dict[str, object] = {}
    noise, snr = np.ones((n, 3)), np.zeros((n, 3))
    for number, band in enumerate(BANDS):
        flux = sources[f"flux_{band}"].to_numpy(np.float64)
        invvar = _local_depth(images.invvar.get(band), rows, columns, n)
        nobs = _at(images.nexp.get(band), rows, columns, n)
        if band in bands:
            seen = bands[band]
            area = _noise_area(seen, radius)
            deep = np.divide(1.0, invvar, out=np.full(n, np.inf), where=invvar > 0)
            noise[:, number] = np.sqrt(area * deep * aperture_factor() ** 2 + np.maximum(flux, 0) * deep / seen.sky)
            psf_area = noise_pixels(seen.fwhm, seen.beta)
            gal_area = float(_noise_area(seen, np.array([0.45]))[0])
            size = np.where(nobs > 0, seen.fwhm, 0.0)
        else:
            noise[:, number] = np.inf
            psf_area = gal_area = 1.0
            size = np.zeros(n)
        snr[:, number] = np.divide(flux, noise[:, number])
        out[f"nobs_{band}"] = nobs.astype(np.int16)
        out[f"psfsize_{band}"] = size
        out[f"psfdepth_{band}"] = invvar / psf_area
        out[f"galdepth_{band}"] = invvar / gal_area
        allmask = (maskbits & mask_value(f"ALLMASK_{band.upper()}")) > 0
        out[f"allmask_{band}"] = np.where(allmask, 2, 0).astype(np.int16)
        out[f"anymask_{band}"] = np.where(allmask | (rng.uniform(size=n) < 0.04), 2, 0).astype(np.int16)

    best = snr.max(axis=1)
    common = 1.0 + 0.012 * rng.standard_normal(n)
    for number, band in enumerate(BANDS):
        flux = sources[f"flux_{band}"].to_numpy(np.float64)
        observed = np.isfinite(noise[:, number])
        scatter = rng.standard_normal(n)
        measured = flux * common * (1.0 + 0.006 * rng.standard_normal(n))
        measured += np.where(observed, noise[:, number], 0.0) * scatter
        out[f"flux_{band}"] = np.where(observed, measured, 0.0)
        out[f"flux_ivar_{band}"] = np.where(observed, noise[:, number] ** -2.0, 0.0)
        out[f"rchisq_{band}"] = np.where(observed, rng.gamma(80.0, 1.0 / 80.0, n) + 1e-4 * best, 0.0)
        out[f"fracmasked_{band}"] = np.where(observed, rng.beta(0.5, 12.0, n), 0.0)
        out[f"fracin_{band}"] = np.where(observed, 1.0 - 0.02 * rng.uniform(size=n), 0.0)
        in_fiber, all_in_fiber, frac = _neighbors(sources, flux, fwhm)
        out[f"fracflux_{band}"] = np.where(observed, frac, 0.0)
        out[f"fiberflux_{band}"] = np.where(observed, in_fiber, 0.0)
        out[f"fibertotflux_{band}"] = np.where(observed, all_in_fiber, 0.0)

    forced = (maskbits & mask_value("BRIGHT", "GALAXY", "CLUSTER")) > 0
    kinds = _types(rng, sources, best, forced & (radius < 8.0))
    out["type"] = kinds
    out.update(_shapes(rng, sources, kinds, best))
    spread = fwhm / 2.355 / np.maximum(best, 1.0) / 3600.0
    cos_dec = np.cos(np.radians(dec))
    out["ra"] = (ra + spread * rng.standard_normal(n) / cos_dec) % 360.0
    out["dec"] = dec + spread * rng.standard_normal(n)
    out["ra_ivar"], out["dec_ivar"] = spread**-2.0, spread**-2.0
    out["maskbits"] = maskbits & ~np.int32(mask_value("NPRIMARY"))
    out["dchisq"] = list(_dchisq(rng, kinds, best))
    gaia = 22.5 - 2.5 * np.log10(np.maximum(sources["flux_r"].to_numpy(np.float64), 1e-6))
    out.update(_reference(rng, sources["kind"].to_numpy() == "star", gaia))
    fitbits = np.where(forced, FITBITS["FORCED_POINTSOURCE"], 0)
    out["fitbits"] = (fitbits | np.where((sources["kind"] == "star") & (gaia < 20.5), FITBITS["GAIA"], 0)).astype(
        np.int16
    )
    table = pd.DataFrame(out)
    for name in ("kind", "galaxy", "lens"):
        table[name] = sources[name].to_numpy()
    brick = mock.brick
    away = (table["ra"] - brick.ra + 180.0) % 360.0 - 180.0
    half = 0.5 * (brick.ra2 - brick.ra1)
    primary = (away >= -half) & (away < half) & (table["dec"] >= brick.dec1) & (table["dec"] < brick.dec2)
    observed_at_all = np.any(np.stack([np.asarray(out[f"nobs_{band}"]) > 0 for band in BANDS]), axis=0)
    kept = table[primary & (best > DETECTION) & observed_at_all]
    kept = _with_duplicates(rng, kept)
    return _finished(rng, kept, content, mock)


def _local_depth(
    invvar: NDArray[np.float32] | None, rows: NDArray[np.int64], columns: NDArray[np.int64], n: int
) -> Array:
    """Return the invvar around each source: the median of nine pixels 3 apart, so that one bad pixel is no hole."""
    if invvar is None:
        return np.zeros(n)
    height, width = invvar.shape
    around = [
        invvar[np.clip(rows + dy, 0, height - 1), np.clip(columns + dx, 0, width - 1)]
        for dy in (-3, 0, 3)
        for dx in (-3, 0, 3)
    ]
    return np.asarray(np.median(np.stack(around), axis=0), dtype=np.float64)


def _neighbors(sources: pd.DataFrame, flux: Array, fwhm: float) -> tuple[Array, Array, Array]:
    """Return flux in a 1.5 arcsec fiber from the source and from all, and the weighted share of the others."""
    places = sources[["x", "y"]].to_numpy(np.float64) * PIXSCALE
    radius = sources["radius"].to_numpy(np.float64)
    # A Gaussian of the fiber's seeing and of the source stands for its light.
    width2 = 0.18 + (0.6 * radius) ** 2
    own = flux * (1.0 - np.exp(-0.5 * 0.75**2 / width2))
    pairs = cKDTree(places).query_pairs(8.0, output_type="ndarray")
    total, others = own.copy(), np.zeros(len(flux))
    blur2 = (fwhm / 2.355) ** 2
    for first, second in (pairs.T, pairs.T[::-1]) if len(pairs) else ():
        distance2 = np.sum((places[first] - places[second]) ** 2, axis=1)
        np.add.at(total, first, own[second] * np.exp(-0.5 * distance2 / width2[second]))
        weight = np.exp(-0.5 * distance2 / (2.0 * blur2 + width2[first] + width2[second]))
        np.add.at(others, first, flux[second] * weight)
    share = others / np.maximum(np.abs(flux), 1e-6)
    return own, total, np.minimum(share, 50.0)


def _shapes(rng: np.random.Generator, sources: pd.DataFrame, kinds: list[str], snr: Array) -> dict[str, Array]:
    n = len(sources)
    kind = np.array(kinds)
    extended, round_ = kind != "PSF", kind == "REX"
    error = 1.5 / np.maximum(snr, 3.0) + 0.015
    radius = sources["radius"].to_numpy(np.float64) * np.exp(error * rng.standard_normal(n))
    q, pa = sources["q"].to_numpy(np.float64), sources["pa"].to_numpy(np.float64)
    size = (1.0 - q) / (1.0 + q)
    e1 = size * np.cos(2.0 * pa) + error * rng.standard_normal(n)
    e2 = size * np.sin(2.0 * pa) + error * rng.standard_normal(n)
    limit = np.maximum(np.hypot(e1, e2) / 0.98, 1.0)
    shaped = extended & ~round_
    index = sources["n"].to_numpy(np.float64) * np.exp(2.0 * error * rng.standard_normal(n))
    index = np.select([kind == "SER", kind == "DEV", kind == "PSF"], [np.clip(index, 0.5, 6.0), 4.0, 0.0], 1.0)
    return {
        "shape_r": np.where(extended, np.maximum(radius, 0.02), 0.0),
        "shape_e1": np.where(shaped, e1 / limit, 0.0),
        "shape_e2": np.where(shaped, e2 / limit, 0.0),
        "shape_r_ivar": np.where(extended, (error * np.maximum(radius, 0.05)) ** -2.0, 0.0),
        "shape_e1_ivar": np.where(shaped, error**-2.0, 0.0),
        "shape_e2_ivar": np.where(shaped, error**-2.0, 0.0),
        "sersic": index,
        "sersic_ivar": np.where(kind == "SER", (2.0 * error * np.maximum(index, 0.5)) ** -2.0, 0.0),
    }


def _dchisq(rng: np.random.Generator, kinds: list[str], snr: Array) -> NDArray[np.float32]:
    """Return chi-square improvements of PSF, REX, DEV, EXP, SER; the chosen model's is the largest."""
    order = {"PSF": 0, "REX": 1, "DEV": 2, "EXP": 3, "SER": 4}
    full = snr**2
    values = np.tile(full[:, None], (1, 5)) * (1.0 - np.abs(rng.normal(0.0, 0.02, (len(kinds), 5))))
    for row, kind in enumerate(kinds):
        values[row, order[kind]] = full[row]
        if kind == "PSF":
            values[row, 2:] = 0.0
        elif kind != "SER" and snr[row] < 100.0:
            values[row, 4] = 0.0
    return np.asarray(values, dtype=np.float32)


def _reference(rng: np.random.Generator, star: NDArray[np.bool_], gaia: Array) -> dict[str, object]:
    n = len(star)
    listed = star & (gaia < 20.7)
    error = np.where(listed, 0.05 + 10.0 ** (0.25 * (np.clip(gaia, 12.0, 21.0) - 20.7)), 1.0)
    return {
        "ref_cat": np.where(listed, "GE", ""),
        "ref_id": np.where(listed, rng.integers(10**17, 10**18, n), 0),
        "ref_epoch": np.where(listed, 2016.0, 0.0),
        "gaia_phot_g_mean_mag": np.where(listed, gaia, 0.0),
        "gaia_phot_g_mean_flux_over_error": np.where(listed, 1.0 / error * 50.0, 0.0),
        "gaia_phot_bp_mean_mag": np.where(listed, gaia + 0.4, 0.0),
        "gaia_phot_rp_mean_mag": np.where(listed, gaia - 0.5, 0.0),
        "gaia_astrometric_params_solved": np.where(listed, 31, 0).astype(np.uint8),
        "parallax": np.where(listed, np.abs(rng.normal(0.6, 0.5, n)), 0.0),
        "parallax_ivar": np.where(listed, error**-2.0, 0.0),
        "pmra": np.where(listed, rng.normal(-2.0, 6.0, n), 0.0),
        "pmra_ivar": np.where(listed, error**-2.0, 0.0),
        "pmdec": np.where(listed, rng.normal(-4.0, 6.0, n), 0.0),
        "pmdec_ivar": np.where(listed, error**-2.0, 0.0),
    }


def _with_duplicates(rng: np.random.Generator, rows: pd.DataFrame) -> pd.DataFrame:
    """Add DUP rows: Gaia entries at places that a galaxy's model already explains; they have no optical flux."""
    able = np.flatnonzero(rows["type"].isin(["SER", "DEV"]).to_numpy())
    if len(able) == 0:
        return rows
    chosen = rng.choice(able, size=min(2, len(able)), replace=False)
    twins = rows.iloc[np.sort(chosen)].copy()
    twins["type"], twins["ref_cat"], twins["ref_id"] = "DUP", "GE", rng.integers(10**17, 10**18, len(twins))
    zero = [
        c for c in twins.columns if c.startswith(("flux_", "shape_", "fiberflux_", "fracflux_", "rchisq_", "sersic"))
    ]
    twins[zero] = 0.0
    twins["galaxy"], twins["lens"], twins["kind"] = -1, -1, "duplicate"
    return pd.concat([rows, twins], ignore_index=True)


def _finished(rng: np.random.Generator, rows: pd.DataFrame, content: PatchContent, mock: MockBrick) -> pd.DataFrame:
    """Return the rows with numbers, what is the same for a whole brick, the infrared, and a failed fit."""
    rows = rows.iloc[rng.permutation(len(rows))].reset_index(drop=True)
    n = len(rows)
    rows["release"], rows["brickid"], rows["brickname"] = RELEASE, mock.brick.brickid, mock.brick.brickname
    rows["objid"] = np.arange(n)
    ebv = content.conditions.ebv * (1.0 + 0.02 * np.sin(np.arange(n)))
    rows["ebv"] = ebv
    for band in EXTINCTION_COEFFICIENT:
        rows[f"mw_transmission_{band}"] = mw_transmission(content.conditions.ebv, band)
    flux_z = rows["flux_z"].to_numpy(np.float64)
    for number, (band, coefficient) in enumerate(WISE_EXTINCTION.items()):
        sigma = WISE_SIGMA[band]
        rows[f"mw_transmission_{band}"] = 10.0 ** (-0.4 * coefficient * content.conditions.ebv)
        rows[f"flux_{band}"] = flux_z * (1.6, 1.1, 0.8, 0.7)[number] + sigma * rng.standard_normal(n)
        rows[f"flux_ivar_{band}"] = sigma**-2.0
        rows[f"nobs_{band}"] = (120, 118, 14, 14)[number]
        rows[f"rchisq_{band}"] = 1.0
        rows[f"fracflux_{band}"] = rows["fracflux_z"]
    rows["psfdepth_w1"], rows["psfdepth_w2"] = WISE_SIGMA["w1"] ** -2.0, WISE_SIGMA["w2"] ** -2.0
    rows["wise_coadd_id"] = (
        f"{int(mock.brick.ra * 10):04d}{'m' if mock.brick.dec < 0 else 'p'}{int(abs(mock.brick.dec) * 10):03d}"
    )
    if content.patch.bailed_out:
        failed = (rows["maskbits"].to_numpy() & mask_value("BAILOUT")) > 0
        rows.loc[failed & (rows["objid"].to_numpy() % 3 > 0), ["ra", "dec"]] = 0.0
        lost = [c for c in rows.columns if c.startswith(("flux_", "shape_", "sersic", "ra_ivar", "dec_ivar"))]
        rows.loc[failed & (rows["ra"] == 0.0), lost] = 0.0
    return rows
