"""What an audit can find: the statistics that show it, when a difference matters, what is said and what to change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from legacylens.realism.compare import Difference

MARGIN = 0.25
"""Size of an effect, in spreads of a statistic, below which nothing has to be put right."""


ROUGHER = 1.4
"""Galaxies of other surveys and depths differ in the roughness of their light by less than this factor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing to be put right."""

    name: str
    """Its name, for programs."""
    says: str
    """What is wrong, in a sentence with numbers."""
    remedy: str
    """What to change."""
    effect: float
    """How far off, in spreads of the statistic."""
    low: float
    """Its lower limit, 95 %."""
    high: float
    """Its upper limit, 95 %."""
    value: float | None = None
    """The statistic in the simulations."""
    expected: float | None = None
    """And where they are compared with."""


CODE_REMEDIES = {
    "units": ("units", "Give nanomaggies per pixel (zero point 22.5); magnitudes and counts have to be converted."),
    "band-order": ("band-order", "Give the planes in the order g, r, z."),
    "no-central-galaxy": (
        "no-galaxies",
        "Put the arcs in front of real galaxies: an arc alone, or blank sky at a wrong position, teaches nothing.",
    ),
    "nan": ("bad-pixels", "Give finite pixels; masked ones have invvar 0."),
    "bands": ("band-order", "Give g, r and z."),
    "missing-band": ("bands", "Give g, r and z of every object."),
    "wrong-shape": ("stamps", "Give square stamps of g, r, z."),
    "wrong-size": ("stamps", "Give stamps of one size, 101 pixels of 0.262 arcsec."),
    "too-small": ("stamps", "Give stamps of at least 10 arcsec, better 101 pixels of 0.262 arcsec."),
}
"""Code of what cannot be measured -> name of the finding and what to do."""


Rule = tuple[str, str, Callable[[Difference], bool], str, str]

SHAPES: tuple[Rule, ...] = (
    (
        "arc_g_r",
        "source-color",
        lambda d: abs(d.median - d.other) > 0.15,
        "arcs have g-r = {0:.2f}, expected {1:.2f}",
        "Take colors of field galaxies at the sources' redshifts; light in an annulus that is not freed from the "
        "galaxy's halo has the galaxy's color.",
    ),
    (
        "psf_preference",
        "psf-width",
        lambda d: abs(d.effect) > MARGIN,
        "log likelihood of a PSF a quarter wider than the arcs' own is {0:.2f}, expected {1:.2f}",
        "Blur the arcs with each band's own PSF (coadd PSF, or a Moffat profile of psfsize_*), once.",
    ),
    (
        "wing_preference",
        "psf-wings",
        lambda d: d.effect > 0.0,
        "log likelihood of the arcs behind a Gaussian PSF over that behind a Moffat one is {0:.2f}, expected {1:.2f}",
        "Use PSFs with wings: a Moffat profile of beta about 3, or the survey's own; no Gaussian.",
    ),
    (
        "arc_roughness",
        "shot-noise",
        lambda d: d.median > ROUGHER * d.other,
        "pixel noise in the arcs is {0:.2f} of that of the sky, expected {1:.2f}",
        "Photon noise of an arc has the variance flux / gain, and a gain of 7,000 to 50,000 electrons/nanomaggy.",
    ),
    (
        "ring_preference",
        "centered-sources",
        # Faint arcs say little either way (near 0); centered ones say yes.
        lambda d: d.effect > 0.0 and d.median > 0.0,
        "log likelihood of sources right behind the center over sources elsewhere is {0:.1f}, expected {1:.1f}",
        "Draw sources uniformly in area behind the lens and keep what is seen; beta = 0 makes rings alone.",
    ),
    (
        "arc_radius",
        "arc-radius",
        lambda d: abs(d.median - d.other) > 0.1,
        "arcs are {0:.2f} arcsec from the galaxy, expected {1:.2f}",
        "Tie Einstein radii to the mass of the galaxy and to both redshifts.",
    ),
)
"""Statistic, finding, whether a difference matters, what is said of it, what to do."""
