"""What a population of mock lenses is made of, as one record, and the sets of it that have a name.

``calibrated`` is meant to match the sky, ``broad`` to give a network more than the sky has, and ``arbitrary-flux`` is a
faulty recipe that was in use: it is kept because an instrument that judges simulations must be seen to convict it.

Reference of the numbers: lenses that a ground-based survey can find, of Collett 2015 (ApJ 811, 20; selection for DES),
counts and redshifts of field galaxies, and the deflectors of SLACS (Koopmans et al. 2006; Auger et al. 2010).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from legacylens.errors import InputError
from legacylens.settings import Settings


class DeflectorConfig(Settings):
    """Masses: tied to the magnitude, the redshift and the shape of the host."""

    theta_E: Literal["prescribed", "natural", "independent"] = "prescribed"
    """Where Einstein radii come from. ``prescribed``: the lenses of the set have the log-normal distribution below,
    and each Einstein radius goes to a host that can have it. ``natural``: they follow from the hosts' velocity
    dispersions and the sources' redshifts. ``independent``: uniform between the limits, whatever the host (a fault)."""

    theta_E_median: float = Field(default=1.35, gt=0.2, lt=5.0)
    """Median Einstein radius [arcsec], if prescribed."""

    theta_E_scatter: float = Field(default=0.26, gt=0.01, lt=1.5)
    """Standard deviation of its natural logarithm, if prescribed."""

    theta_E_min: float = Field(default=0.5, ge=0.2, lt=5.0)
    """Smallest Einstein radius [arcsec]."""

    theta_E_max: float = Field(default=4.0, gt=0.3, le=8.0)
    """Largest Einstein radius [arcsec]; beyond, it is a group or a cluster that deflects."""

    sigma_reference: float = Field(default=262.0, gt=100.0, lt=450.0)
    """Median velocity dispersion [km/s] of a red galaxy that is as bright as the median lens host at its redshift."""

    faber_jackson: float = Field(default=0.1, ge=0.0, le=0.3)
    """Decrease of log10(sigma_v) for each magnitude below that brightness; 0.1 is L ~ sigma^4."""

    sigma_scatter: float = Field(default=0.06, gt=0.0, le=0.3)
    """Scatter of log10(sigma_v) at given magnitude and redshift [dex]."""

    q_scatter: float = Field(default=0.1, ge=0.0, le=0.5)
    """Scatter of the axis ratio of the mass around that of the light."""

    phi_scatter: float = Field(default=10.0, ge=0.0, le=90.0)
    """Scatter of the direction of the mass around that of the light [deg]."""

    center_scatter: float = Field(default=0.05, ge=0.0, le=0.5)
    """Scatter of the center of the mass around that of the light, each axis [arcsec]."""

    shear_scatter: float = Field(default=0.035, ge=0.0, le=0.2)
    """Standard deviation of each component of the external shear."""

    @model_validator(mode="after")
    def _ordered(self) -> DeflectorConfig:
        if self.theta_E_min >= self.theta_E_max:
            raise ValueError(f"theta_E_min = {self.theta_E_min} is not below theta_E_max = {self.theta_E_max}")
        return self


class SourceConfig(Settings):
    """Field galaxies behind the hosts, before anything is selected."""

    recipe: Literal["field", "below-lens"] = "field"
    """``field``: drawn as galaxies are. ``below-lens``: a magnitude relative to the lens, the same flux in every band,
    behind the very center (the fault of ``arbitrary-flux``)."""

    counts_slope: float = Field(default=0.4, ge=0.0, le=0.8)
    """Slope of the counts, d log10 N / d mag in r."""

    r_bright: float = Field(default=21.5, gt=15.0, lt=27.0)
    """Brightest source [AB mag in r]."""

    r_faint: float = Field(default=29.0, gt=20.0, le=31.0)
    """Faintest source [AB mag in r]; must be fainter than what can be seen when it is highly magnified."""

    redshift_median: float = Field(default=1.3, gt=0.2, lt=4.0)
    """Median redshift of field galaxies of r = 24 that can be lensed into blue arcs; all galaxies have 0.9."""

    redshift_slope: float = Field(default=0.12, ge=0.0, le=0.5)
    """Its increase for each magnitude."""

    evolved_fraction: float = Field(default=0.33, ge=0.0, le=1.0)
    """Fraction of sources with a strong Balmer break and dust; the rest is young."""

    age_gradient: float = Field(default=0.35, ge=0.0, le=1.0)
    """How much older galaxies are for each unit of redshift below 1.5 (ages are 0 to 1, see `source_colors`)."""

    uv_slope_shift: float = Field(default=0.0, ge=-2.0, le=2.0)
    """Added to the slope of the ultraviolet continuum of all sources: positive is redder."""

    color_scatter: float = Field(default=0.07, ge=0.0, le=1.0)
    """Scatter of each color around that of the template [mag]."""

    radius_kpc: float = Field(default=3.2, gt=0.1, lt=20.0)
    """Median half-light radius at rest-frame magnitude -20 and redshift 1 [kpc]."""

    radius_slope: float = Field(default=0.26, ge=0.0, le=0.6)
    """Decrease of log10(radius) for each magnitude that the source is less luminous."""

    radius_evolution: float = Field(default=1.0, ge=0.0, le=3.0)
    """Radii shrink as (1 + z) to minus this power."""

    radius_scatter: float = Field(default=0.33, gt=0.0, le=1.0)
    """Scatter of log10(radius) [dex]."""

    radius_min: float = Field(default=0.02, ge=0.01, lt=1.0)
    """Smallest half-light radius [arcsec]."""

    radius_max: float = Field(default=2.0, gt=0.1, le=4.0)
    """Largest half-light radius [arcsec]."""

    beta_max: float = Field(default=1.1, gt=0.0, le=3.0)
    """Sources lie uniformly in the disk of this radius around the mass [theta_E]."""

    centered: bool = False
    """Put every source behind the very center (a fault)."""

    below_lens: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0)
    """By how much the unlensed source is fainter than the lens in r, if the recipe is ``below-lens`` [mag]."""

    g_r: float | None = Field(default=None, ge=-2.0, le=4.0)
    """One g-r color for all sources, with ``color_scatter`` around it, in place of the templates' (a fault)."""

    texture: Literal["smooth", "clumpy", "log-normal"] = "smooth"
    """Sersic profiles as they are, with 5 to 30 % of their light in 1 to 6 clumps, or with a random field of log-normal
    brightness (standard deviation 0.3 to 0.6) over them. The flux is that of the profile."""

    @model_validator(mode="after")
    def _ordered(self) -> SourceConfig:
        if self.r_bright >= self.r_faint:
            raise ValueError(f"r_bright = {self.r_bright} is not brighter than r_faint = {self.r_faint}")
        if self.radius_min >= self.radius_max:
            raise ValueError(f"radius_min = {self.radius_min} is not below radius_max = {self.radius_max}")
        if self.recipe == "below-lens" and not self.below_lens:
            raise ValueError("below_lens is empty: give at least one difference in magnitude")
        return self


class SelectionConfig(Settings):
    """Which of all lenses are found, or wanted. The chance is a product of smooth turn-ons."""

    apply: bool = True
    """Select at all. Without it, the first source that is drawn is taken (a fault)."""

    snr: float = Field(default=18.0, ge=0.0, le=1000.0)
    """Signal-to-noise ratio of the arcs, by a matched filter in the best band, at which half of them are found."""

    snr_width: float = Field(default=0.1, gt=0.0, le=2.0)
    """Width of the turn-on in the natural logarithm of that ratio (logistic). Faint sources are so many that a wide
    one would fill the set with arcs that nobody sees."""

    snr_max: float | None = Field(default=None, gt=1.0)
    """Signal-to-noise ratio above which half are left out; none are by default."""

    magnification_min: float = Field(default=3.5, ge=1.0, le=50.0)
    """Smallest total magnification; 4 is a tangential stretch of 3 behind a round lens."""

    resolution: float = Field(default=0.55, ge=0.0, le=5.0)
    """theta_E over the FWHM of the sharpest band at which half of the lenses are told from their hosts."""

    resolution_width: float = Field(default=0.08, gt=0.0, le=2.0)
    """Width of that turn-on (logistic)."""


class HostConfig(Settings):
    """Which galaxies of the parent sample become hosts."""

    matching: Literal["reference", "luminous-red", "none"] = "reference"
    """``reference``: luminous red galaxies, weighted so that their magnitudes, colors, redshifts and sizes are
    distributed as those of known lens hosts, seeing and depth as in the parent sample. ``luminous-red``: the same
    galaxies, unweighted. ``none``: any galaxy (a fault)."""

    weight_limit: float = Field(default=20.0, ge=1.0, le=1000.0)
    """Largest weight of a host over the median weight; keeps a few odd galaxies from being all of the set."""

    color_tolerance: float = Field(default=0.35, gt=0.0, le=2.0)
    """How far from the locus of old galaxies a host may lie in each of g-r and r-z [mag]."""

    luminosity: tuple[float, float] = (-1.5, 1.3)
    """Range of magnitudes relative to the median lens host of its redshift, negative is brighter."""

    redshift: tuple[float, float] = (0.1, 0.95)
    """Range of redshifts."""

    per_host: int = Field(default=1, ge=1, le=1000)
    """How many mocks of a set may have the same host."""

    clear_radius: float = Field(default=8.0, ge=1.0, le=30.0)
    """No pixel within this distance of the host may be masked [arcsec]."""


class InjectionConfig(Settings):
    """How arcs get into the pixels of a host."""

    sky: dict[str, float] = Field(default={"g": 0.117, "r": 0.332, "i": 1.03, "z": 3.16})
    """Brightness of the night sky in each band [nanomaggies/pixel of 0.262 arcsec]: dark sky (22.04, 20.91 and 18.46
    mag/arcsec^2 in g, r, z) with a tenth more for the moon. With a host's invvar it gives the effective gain."""

    moffat_beta: float = Field(default=3.0, ge=2.0, le=6.0)
    """Slope of the Moffat PSF where a host has no pixelized one."""

    shot_noise: bool = True
    """Add the arcs' own photon noise."""

    psf: Literal["host", "gaussian", "one-band-gaussian", "none"] = "host"
    """``host``: each band's own PSF. The others are faults: Gaussians of the same FWHM; one Gaussian of 0.93 arcsec
    for all bands; no blur at all."""

    psf_width_factor: float = Field(default=1.0, gt=0.2, le=5.0)
    """All PSFs are made wider by this (a fault if not 1)."""

    flux_factor: float = Field(default=1.0, ge=0.0, le=1000.0)
    """All source fluxes are multiplied by this after selection (a fault if neither 1 nor, for the null test, 0)."""

    gain: float | None = Field(default=None, gt=0.0)
    """One gain for all hosts and bands [e-/nanomaggy] and white shot noise, in place of the derived gain (a fault)."""


class MockSetConfig(Settings):
    """A whole set of injected mocks."""

    name: str = "calibrated"
    """Name of the set."""

    deflectors: DeflectorConfig = DeflectorConfig()
    """Masses."""

    sources: SourceConfig = SourceConfig()
    """Sources."""

    selection: SelectionConfig = SelectionConfig()
    """Selection."""

    hosts: HostConfig = HostConfig()
    """Hosts."""

    injection: InjectionConfig = InjectionConfig()
    """Pixels."""

    attempts: int = Field(default=150, ge=1, le=10000)
    """Batches of 48 sources that are tried behind a host before it is given up."""

    @property
    def faults(self) -> tuple[str, ...]:
        """What in this configuration is known to be wrong, in words; empty for a set that may be trained on."""
        checks = (
            (self.deflectors.theta_E == "independent", "Einstein radii do not depend on the host"),
            (self.sources.recipe == "below-lens", "sources are a fixed magnitude below the lens, gray and centered"),
            (self.sources.centered, "every source is behind the center"),
            (self.sources.g_r is not None, f"all sources have g-r = {self.sources.g_r}"),
            (not self.selection.apply, "nothing is selected"),
            (self.hosts.matching == "none", "any galaxy is a host"),
            (self.injection.psf != "host", f"PSF: {self.injection.psf}"),
            (self.injection.psf_width_factor != 1, f"PSFs {self.injection.psf_width_factor:g} times as wide"),
            (self.injection.flux_factor not in (0, 1), f"arcs {self.injection.flux_factor:g} times as bright"),
            (self.injection.gain is not None, f"one gain of {self.injection.gain} e-/nanomaggy, white shot noise"),
        )
        return tuple(words for wrong, words in checks if wrong)


SETS: dict[str, MockSetConfig] = {
    "calibrated": MockSetConfig(),
    "broad": MockSetConfig(
        name="broad",
        deflectors=DeflectorConfig(
            theta_E_median=1.4,
            theta_E_scatter=0.45,
            theta_E_max=5.0,
            sigma_scatter=0.12,
            q_scatter=0.15,
            phi_scatter=20.0,
            shear_scatter=0.05,
        ),
        sources=SourceConfig(
            counts_slope=0.32, evolved_fraction=0.45, color_scatter=0.2, radius_scatter=0.45, texture="clumpy"
        ),
        selection=SelectionConfig(snr=9.0, snr_width=0.2, magnification_min=2.0, resolution=0.4),
        hosts=HostConfig(matching="luminous-red", color_tolerance=0.5, luminosity=(-2.0, 1.8), redshift=(0.08, 1.0)),
    ),
    "arbitrary-flux": MockSetConfig(
        name="arbitrary-flux",
        deflectors=DeflectorConfig(theta_E="independent", theta_E_min=0.5, theta_E_max=3.0),
        sources=SourceConfig(recipe="below-lens"),
        selection=SelectionConfig(apply=False),
        hosts=HostConfig(matching="none"),
        injection=InjectionConfig(psf="one-band-gaussian"),
    ),
}
"""The sets that have a name."""


def named_set(name: str) -> MockSetConfig:
    """Return the set of a name.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if name not in SETS:
        raise InputError(f"no set of mocks is called {name!r}: choose from {', '.join(SETS)}")
    return SETS[name]
