"""How arcs are measured: radii, thresholds and floors, each with its unit."""

from __future__ import annotations

from pydantic import Field

from legacylens.settings import Settings


class MeasureConfig(Settings):
    """Settings of `legacylens.realism.measure`."""

    half_width: float = Field(default=7.4, ge=5.0, le=12.0)
    """Half width of the part of a cutout in which the galaxy is modeled [arcsec]."""

    sky_radius: float = Field(default=9.0, ge=6.0, le=20.0)
    """Beyond this radius the sky and its noise are measured [arcsec]."""

    inner_radius: float = Field(default=0.8, gt=0.0, lt=2.0)
    """Arcs are looked for outside of this radius [arcsec]."""

    outer_radius: float = Field(default=4.2, gt=2.0, le=6.0)
    """And inside of this one [arcsec]."""

    default_fwhm: tuple[float, float, float] = (1.5, 1.37, 1.3)
    """FWHM of the PSF in g, r, z [arcsec] where neither the manifest nor the caller gives one (medians of DR10)."""

    moffat_beta: float = Field(default=3.0, ge=2.0, le=6.0)
    """Slope of the PSF's wings."""

    model_error: float = Field(default=0.025, ge=0.0, lt=0.5)
    """Part of the galaxy's light that its model may be wrong by; keeps residuals of bright cores from being arcs."""

    color_spread: float = Field(default=0.0, ge=0.0, le=2.0)
    """How far the color of red neighbors may be from the galaxy's, as a ratio of fluxes; arcs differ by more."""

    neighbor_error: float = Field(default=0.12, ge=0.0, lt=1.0)
    """The same for a neighbor that was fitted and removed."""

    mask_snr: float = Field(default=3.0, gt=1.0, le=10.0)
    """Residuals above this S/N (filtered with the PSF) are left out of the fit of the galaxy, and the fit repeated."""

    iterations: int = Field(default=3, ge=1, le=10)
    """How often the galaxy is fitted."""

    arc_iterations: int = Field(default=2, ge=1, le=10)
    """How often the arc is modeled and the galaxy fitted beside it."""

    saturation: float = Field(default=0.3, ge=0.0, le=2.0)
    """Part of its own brightness by which a feature is trusted in the score: bright neighbors count for no more."""

    neighbor_preference: float = Field(default=1.2, ge=1.0, le=3.0)
    """A feature is a neighbor if one compact galaxy explains its S/N this many times better than lensed images do."""

    neighbors: int = Field(default=3, ge=0, le=10)
    """How many neighbors are removed at most."""

    segment_snr: float = Field(default=2.5, gt=1.0, le=10.0)
    """Pixels of the filtered chromatic map above this S/N belong to segments of the arc."""

    center_snr: float = Field(default=12.0, gt=0.0)
    """S/N within 1 arcsec in r or z that a central galaxy must have."""

    center_mag: float = Field(default=22.0, gt=15.0, lt=30.0)
    """Faintest magnitude within 1 arcsec in z that a central galaxy may have [AB mag]."""

    center_offset: float = Field(default=1.5, gt=0.0, lt=5.0)
    """How far from the middle of the cutout it may be [arcsec]."""

    batch: int = Field(default=32, ge=1, le=1024)
    """Cutouts measured at a time."""
