"""Strong lenses of a mock sky: deflectors with a prescribed Einstein radius, sources drawn first and selected after.

Magnitude and magnification of a lensed source are tied by selection: the faint ones are seen only where they are
highly magnified. So sources come from the parent counts (d log N / dm = 0.35), uniform in area, and only those whose
arcs reach the wanted signal-to-noise ratio are kept. The Einstein radius is kept from its own distribution; a
deflector of that Einstein radius gets its velocity dispersion from its luminosity.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr

from legacylens.lensing.cosmology import einstein_radius
from legacylens.lensing.lens import Lens
from legacylens.lensing.sersic import Sersic as SersicSource
from legacylens.lensing.shear import Shear
from legacylens.lensing.sie import SIE
from legacylens.mocks.conditions import Conditions, moffat_transfer
from legacylens.mocks.galaxies import Galaxy, red_galaxy
from legacylens.mocks.noise import aperture_factor
from legacylens.mocks.stellar_populations import fluxes
from legacylens.survey.bands import BANDS, PIXSCALE

THETA_E_MEDIAN, THETA_E_SCATTER = 1.35, 0.27
"""Log-normal distribution of Einstein radii [arcsec]: 0.9 to 2.2 at 5 and 95 per cent."""
SIGMA_OF_BRIGHT_RED = 255.0
"""Velocity dispersion of a red galaxy of three characteristic luminosities [km/s]."""
FABER_JACKSON = 0.1
"""d log sigma / d mag: luminosity goes as the fourth power."""
SIGMA_SCATTER = 0.06
"""Scatter of log sigma at given luminosity [dex]."""
SOURCE_SLOPE = 0.35
"""Slope of the counts of unlensed sources, d log N / d mag."""
SOURCE_MAGNITUDES = (21.5, 27.0)
"""Range of unlensed r magnitudes."""
TURN_ON = (17.0, 3.0)
"""S/N at which half of the arcs are seen, and width of the turn-on."""
TURN_OFF = (62.0, 6.0)
"""S/N above which arcs are left out, and width: brighter ones are known already and easy."""
LEAST_MAGNIFICATION = (3.0, 0.4)
"""Total magnification from which arcs are taken for arcs, and width of the turn-on."""
COARSE = 84
"""Pixels of the coarse grid on which candidates are judged."""
BATCH = 40
"""Sources tried at a time."""
PATIENCE = 6
"""Batches that are tried behind one deflector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StrongLens:
    """A deflector with a source behind it. Angles are those of the image plane: x right, y up, from the host."""

    host: Galaxy
    """The lens galaxy."""
    theta_E: float
    """Einstein radius on the intermediate axis [arcsec]."""
    q: float
    """Axis ratio of the mass."""
    phi: float
    """Direction of the mass's major axis, from +x toward +y [radian]."""
    x: float
    """Center of the mass [arcsec]."""
    y: float
    """Center of the mass [arcsec]."""
    gamma1: float
    """External shear."""
    gamma2: float
    """External shear."""
    sigma_v: float
    """Velocity dispersion [km/s]."""
    z_source: float
    """Redshift of the source."""
    source_flux: tuple[float, float, float]
    """Unlensed flux in g, r, z without Galactic extinction [nanomaggies]."""
    source_radius: float
    """Half-light radius on the intermediate axis [arcsec]."""
    source_n: float
    """Sersic index."""
    source_q: float
    """Axis ratio."""
    source_phi: float
    """Direction of the major axis [radian]."""
    source_x: float
    """Place [arcsec]."""
    source_y: float
    """Place [arcsec]."""
    expected_snr: float
    """S/N of the arcs in the best band when they were selected."""

    @property
    def deflector(self) -> Lens:
        """The mass."""
        return Lens(
            deflectors=(
                SIE(theta_E=self.theta_E, q=self.q, phi=self.phi, x=self.x, y=self.y),
                Shear(gamma1=self.gamma1, gamma2=self.gamma2, x=self.x, y=self.y),
            )
        )

    @property
    def source(self) -> SersicSource:
        """The source's light, of unit flux."""
        return SersicSource(
            r_e=self.source_radius,
            n=self.source_n,
            q=self.source_q,
            phi=self.source_phi,
            x=self.source_x,
            y=self.source_y,
        )


def _host(rng: np.random.Generator, fwhm: float) -> tuple[Galaxy, float, float, float]:
    """Draw a host whose Einstein radius follows the prescribed distribution; return it, sigma_v, z_source, theta_E."""
    hosts, sigma, z_source, theta = [], [], [], []
    for _ in range(60):
        host = red_galaxy(rng, mean_redshift=0.58, brighter=0.25)
        offset = host.extra["luminosity_offset_mag"]
        hosts.append(host)
        sigma.append(SIGMA_OF_BRIGHT_RED * 10.0 ** (-FABER_JACKSON * offset + SIGMA_SCATTER * rng.standard_normal()))
        z_source.append(max(float(rng.lognormal(np.log(1.75), 0.36)), host.redshift + 0.35))
        theta.append(float(einstein_radius(sigma[-1], host.redshift, z_source[-1])))
    log_theta = np.log(theta)
    wanted = np.exp(-0.5 * ((log_theta - np.log(THETA_E_MEDIAN)) / THETA_E_SCATTER) ** 2)
    wanted *= _rise(np.array(theta) / fwhm, 0.6, 0.12)
    # Dividing by the density of what was drawn leaves the wanted distribution.
    width = max(1.06 * float(np.std(log_theta)) * len(theta) ** -0.2, 1e-3)
    density = np.exp(-0.5 * ((log_theta[:, None] - log_theta[None]) / width) ** 2).sum(axis=1)
    red = np.array([22.5 - 2.5 * np.log10(host.flux[2]) < 19.75 for host in hosts])
    weight = wanted / density * red + 1e-12
    chosen = int(rng.choice(len(hosts), p=weight / weight.sum()))
    return hosts[chosen], sigma[chosen], z_source[chosen], theta[chosen]


def _deflector(rng: np.random.Generator, fwhm: float) -> StrongLens:
    """Draw a deflector whose source is still to be found."""
    host, sigma_v, z_source, theta = _host(rng, fwhm)
    gamma = rng.normal(0.0, 0.035, 2)
    center = rng.normal(0.0, 0.03, 2)
    return StrongLens(
        host=replace(host, kind="lens host"),
        theta_E=theta,
        q=float(np.clip(host.q + rng.normal(0.0, 0.1), 0.3, 0.97)),
        phi=float(host.pa + 0.5 * np.pi + np.radians(10.0) * rng.standard_normal()),
        x=float(center[0]),
        y=float(center[1]),
        gamma1=float(gamma[0]),
        gamma2=float(gamma[1]),
        sigma_v=float(sigma_v),
        z_source=float(z_source),
        source_flux=(0.0, 0.0, 0.0),
        source_radius=0.1,
        source_n=1.0,
        source_q=1.0,
        source_phi=0.0,
        source_x=0.0,
        source_y=0.0,
        expected_snr=0.0,
    )


def _candidates(rng: np.random.Generator, lens: StrongLens) -> list[StrongLens]:
    """Draw sources from the parent population behind a deflector."""
    low, high = (10.0 ** (SOURCE_SLOPE * m) for m in SOURCE_MAGNITUDES)
    magnitudes = np.log10(low + rng.uniform(size=BATCH) * (high - low)) / SOURCE_SLOPE
    beta = 1.0 * lens.theta_E * np.sqrt(rng.uniform(size=BATCH))
    angle = rng.uniform(0.0, 2.0 * np.pi, BATCH)
    radius = np.clip(0.30 * 10.0 ** (-0.10 * (magnitudes - 24.0)) * rng.lognormal(0.0, 0.45, BATCH), 0.05, 1.2)
    dusty = rng.uniform(size=BATCH) < 0.22
    g_r = np.where(dusty, rng.normal(0.55, 0.30, BATCH), rng.normal(-0.02, 0.17, BATCH))
    r_z = 0.22 + 0.5 * g_r + rng.normal(0.0, 0.18, BATCH)
    n = np.clip(rng.normal(1.0, 0.35, BATCH), 0.5, 2.5)
    q = np.clip(1.0 - rng.rayleigh(0.3, BATCH), 0.2, 1.0)
    phi = rng.uniform(0.0, np.pi, BATCH)
    drawn = []
    for k in range(BATCH):
        flux = fluxes(float(magnitudes[k]), float(g_r[k]), float(r_z[k]))
        drawn.append(
            replace(
                lens,
                source_flux=(float(flux[0]), float(flux[1]), float(flux[2])),
                source_radius=float(radius[k]),
                source_n=float(n[k]),
                source_q=float(q[k]),
                source_phi=float(phi[k]),
                source_x=float(lens.x + beta[k] * np.cos(angle[k])),
                source_y=float(lens.y + beta[k] * np.sin(angle[k])),
            )
        )
    return drawn


def _rise(x: NDArray[np.float64], middle: float, width: float) -> NDArray[np.float64]:
    return np.asarray(ndtr((x - middle) / width))


def _coarse_grid(half: float) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    axis = (np.arange(COARSE) - 0.5 * (COARSE - 1)) * (2.0 * half / COARSE)
    return np.meshgrid(axis, axis)[0], np.meshgrid(axis, axis)[1], float(2.0 * half / COARSE)


def judge(
    candidates: list[StrongLens], conditions: Conditions
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return how well the arcs of sources behind one deflector can be seen.

    Parameters
    ----------
    candidates
        Lenses that differ only in their source.
    conditions
        Depth and seeing.

    Returns
    -------
    snr
        Matched-filter S/N in the best band.
    magnification
        Lensed over unlensed flux.
    resolution
        Length over which the arcs are stretched in units of the seeing: magnification times source radius over FWHM.

    Notes
    -----
    On a coarse grid, good to some per cent; the exact value is computed once the lens has been drawn into its brick.
    Noise is that of the sky and of the host's light, times the aperture factor of the coadd's correlation.
    """
    lens = candidates[0]
    x, y, step = _coarse_grid(2.6 * lens.theta_E + 2.0)
    tensor_x, tensor_y = torch.from_numpy(x)[None], torch.from_numpy(y)[None]
    alpha_x, alpha_y = lens.deflector.deflection(tensor_x, tensor_y)
    beta_x, beta_y = x - alpha_x[0].numpy(), y - alpha_y[0].numpy()
    light = np.stack([_unit_sersic(c, beta_x, beta_y) for c in candidates]) * step**2
    host = np.exp(-7.67 * ((x**2 + y**2 + 0.05) / lens.host.radius**2) ** 0.125)
    host /= host.sum()
    k = 2.0 * np.pi * np.hypot(np.fft.fftfreq(COARSE, step)[:, None], np.fft.rfftfreq(COARSE, step)[None, :])
    spectra, host_spectrum = np.fft.rfft2(light), np.fft.rfft2(host)
    best = np.zeros(len(candidates))
    for number, band in enumerate(BANDS):
        if band not in conditions.bands:
            continue
        seen = conditions.bands[band]
        transfer = moffat_transfer(k, seen.fwhm, seen.beta)
        through = conditions.transmission(band)
        flux = np.array([c.source_flux[number] for c in candidates]) * through
        arcs = np.fft.irfft2(spectra * transfer, (COARSE, COARSE)) * flux[:, None, None]
        glow = np.fft.irfft2(host_spectrum * transfer, (COARSE, COARSE)) * lens.host.flux[number] * through
        variance = seen.sigma**2 * (1.0 + np.maximum(glow, 0.0) * (PIXSCALE / step) ** 2 / seen.sky)
        snr = np.sqrt((arcs**2 / variance).sum(axis=(1, 2))) * (PIXSCALE / step) / aperture_factor()
        best = np.maximum(best, snr)
    magnification = light.sum(axis=(1, 2))
    fwhm = float(np.median([seen.fwhm for seen in conditions.bands.values()]))
    resolution = magnification * np.array([c.source_radius for c in candidates]) / fwhm
    return best, magnification, resolution


def _unit_sersic(lens: StrongLens, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    return lens.source.brightness(torch.from_numpy(x)[None], torch.from_numpy(y)[None])[0].numpy()


def draw_lens(rng: np.random.Generator, conditions: Conditions, attempts: int = 60) -> StrongLens | None:
    """Draw a lens whose arcs can be seen under these conditions, host at the origin.

    Parameters
    ----------
    rng
        Random generator.
    conditions
        Depth and seeing of the patch.
    attempts
        Batches of sources that are tried before giving up.

    Returns
    -------
    lens
        A lens; None if no source was bright enough in all attempts.
    """
    fwhm = float(np.median([seen.fwhm for seen in conditions.bands.values()]))
    deflector = _deflector(rng, fwhm)
    for attempt in range(attempts):
        if attempt % PATIENCE == PATIENCE - 1:
            deflector = _deflector(rng, fwhm)
        candidates = _candidates(rng, deflector)
        snr, magnification, resolution = judge(candidates, conditions)
        chance = _rise(snr, *TURN_ON) * (1.0 - _rise(snr, *TURN_OFF))
        # Collett 2015 (ApJ 811, 20): magnified at least three times, and stretched to more than the seeing.
        chance *= _rise(magnification, *LEAST_MAGNIFICATION) * (resolution > 1.0)
        kept = np.flatnonzero(rng.uniform(size=BATCH) < chance)
        if len(kept):
            return replace(candidates[int(kept[0])], expected_snr=float(snr[kept[0]]))
    return None
