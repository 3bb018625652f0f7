"""The columns of DR10 sweep files, in order, with type and unit (DR10 files page)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

OPTICAL = ("G", "R", "I", "Z")
WISE = ("W1", "W2", "W3", "W4")
NMGY, IVAR = "nanomaggy", "1/nanomaggy^2"

Column = tuple[str, str, str]


def _each(stem: str, bands: tuple[str, ...], dtype: str, unit: str = "") -> list[Column]:
    return [(f"{stem}_{band}", dtype, unit) for band in bands]


SWEEP_COLUMNS: tuple[Column, ...] = (
    ("RELEASE", "i2", ""),
    ("BRICKID", "i4", ""),
    ("BRICKNAME", "S8", ""),
    ("OBJID", "i4", ""),
    ("TYPE", "S3", ""),
    ("RA", "f8", "deg"),
    ("DEC", "f8", "deg"),
    ("RA_IVAR", "f4", "1/deg^2"),
    ("DEC_IVAR", "f4", "1/deg^2"),
    ("DCHISQ", "5f4", ""),
    ("EBV", "f4", "mag"),
    *_each("FLUX", OPTICAL, "f4", NMGY),
    *_each("FLUX", WISE, "f4", NMGY),
    *_each("FLUX_IVAR", OPTICAL, "f4", IVAR),
    *_each("FLUX_IVAR", WISE, "f4", IVAR),
    *_each("MW_TRANSMISSION", OPTICAL, "f4"),
    *_each("MW_TRANSMISSION", WISE, "f4"),
    *_each("NOBS", OPTICAL, "i2"),
    *_each("NOBS", WISE, "i2"),
    *_each("RCHISQ", OPTICAL, "f4"),
    *_each("RCHISQ", WISE, "f4"),
    *_each("FRACFLUX", OPTICAL, "f4"),
    *_each("FRACFLUX", WISE, "f4"),
    *_each("FRACMASKED", OPTICAL, "f4"),
    *_each("FRACIN", OPTICAL, "f4"),
    *_each("ANYMASK", OPTICAL, "i2"),
    *_each("ALLMASK", OPTICAL, "i2"),
    *_each("WISEMASK", ("W1", "W2"), "u1"),
    *_each("PSFSIZE", OPTICAL, "f4", "arcsec"),
    *_each("PSFDEPTH", OPTICAL, "f4", IVAR),
    *_each("GALDEPTH", OPTICAL, "f4", IVAR),
    *_each("PSFDEPTH", ("W1", "W2"), "f4", IVAR),
    ("WISE_COADD_ID", "S8", ""),
    ("SHAPE_R", "f4", "arcsec"),
    ("SHAPE_R_IVAR", "f4", "1/arcsec^2"),
    ("SHAPE_E1", "f4", ""),
    ("SHAPE_E1_IVAR", "f4", ""),
    ("SHAPE_E2", "f4", ""),
    ("SHAPE_E2_IVAR", "f4", ""),
    *_each("FIBERFLUX", OPTICAL, "f4", NMGY),
    *_each("FIBERTOTFLUX", OPTICAL, "f4", NMGY),
    ("REF_CAT", "S2", ""),
    ("REF_ID", "i8", ""),
    ("REF_EPOCH", "f4", "yr"),
    ("GAIA_PHOT_G_MEAN_MAG", "f4", "mag"),
    ("GAIA_PHOT_G_MEAN_FLUX_OVER_ERROR", "f4", ""),
    ("GAIA_PHOT_BP_MEAN_MAG", "f4", "mag"),
    ("GAIA_PHOT_BP_MEAN_FLUX_OVER_ERROR", "f4", ""),
    ("GAIA_PHOT_RP_MEAN_MAG", "f4", "mag"),
    ("GAIA_PHOT_RP_MEAN_FLUX_OVER_ERROR", "f4", ""),
    ("GAIA_ASTROMETRIC_EXCESS_NOISE", "f4", ""),
    ("GAIA_DUPLICATED_SOURCE", "?", ""),
    ("GAIA_PHOT_BP_RP_EXCESS_FACTOR", "f4", ""),
    ("GAIA_ASTROMETRIC_SIGMA5D_MAX", "f4", "mas"),
    ("GAIA_ASTROMETRIC_PARAMS_SOLVED", "u1", ""),
    ("PARALLAX", "f4", "mas"),
    ("PARALLAX_IVAR", "f4", "1/mas^2"),
    ("PMRA", "f4", "mas/yr"),
    ("PMRA_IVAR", "f4", "1/(mas/yr)^2"),
    ("PMDEC", "f4", "mas/yr"),
    ("PMDEC_IVAR", "f4", "1/(mas/yr)^2"),
    ("MASKBITS", "i4", ""),
    ("FITBITS", "i2", ""),
    ("SERSIC", "f4", ""),
    ("SERSIC_IVAR", "f4", ""),
)
"""(name, NumPy type, unit)."""

UNITS: dict[str, str] = {name: unit for name, _, unit in SWEEP_COLUMNS}


def record_type() -> np.dtype[np.void]:
    """Return the NumPy type of a row."""
    fields = [(name, dtype[1:], (5,)) if dtype[0] == "5" else (name, dtype) for name, dtype, _ in SWEEP_COLUMNS]
    return np.dtype(fields)


def to_records(frame: pd.DataFrame) -> NDArray[np.void]:
    """Return rows as the file has them; columns that ``frame`` (lower case) lacks are zero or empty."""
    rows = np.zeros(len(frame), dtype=record_type())
    for name, dtype, _ in SWEEP_COLUMNS:
        column = name.lower()
        if column not in frame:
            continue
        values = frame[column]
        if dtype[0] == "5":
            rows[name] = np.stack(values.to_list()) if len(frame) else np.empty((0, 5))
        elif dtype[0] == "S":
            rows[name] = np.array([str(value).encode() for value in values], dtype=dtype)
        else:
            rows[name] = values.to_numpy()
    return rows
