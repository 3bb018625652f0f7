"""Bands, pixel scale, stamp size and morphological types of the Legacy Surveys."""

from __future__ import annotations

BANDS = ("g", "r", "z")
"""The bands that every step uses, in the order of the image axis."""

ALL_BANDS = ("g", "r", "i", "z")
"""The optical bands that DR10 may have, blue to red."""

PIXSCALE = 0.262
"""Pixel scale of the coadds [arcsec/pixel]; only at this scale are viewer cutouts in nanomaggies per pixel."""

STAMP = 101
"""Side of a cutout [pixel]: 26.5 arcsec, as in Huang et al. 2020, 2021, Storfer et al. 2024, Inchausti et al. 2025."""

TYPES = ("PSF", "REX", "EXP", "DEV", "SER", "DUP")
"""Tractor's morphological types since DR9 (earlier releases: SIMP and COMP in place of REX and SER)."""
