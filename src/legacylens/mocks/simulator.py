"""Lensed, convolved, noisy cutouts by the thousand: SIE, shear and a Sersic source, in single precision.

It is `legacylens.mocks.render` with everything that does not change the picture left out: rays are traced once for all
bands in a window around the images (`legacylens.mocks.fast_light`), and PSFs are transformed once for all cutouts.
What is left is mostly noise to be drawn and Fourier transforms. Lenses are simulated in chunks that fit the cache of a
core, on one thread for each core; the result depends on the generator alone, not on the number of threads.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from legacylens.errors import PhysicalRangeError
from legacylens.lensing.lens import Lens
from legacylens.lensing.sersic import Sersic
from legacylens.lensing.shear import Shear
from legacylens.lensing.sie import SIE
from legacylens.mocks.fast_light import DEGREE, EDGE, Parameters, coefficients, half_window, lensed_light
from legacylens.mocks.psf import Psf, good_size
from legacylens.mocks.render import refuse_wider
from legacylens.survey.bands import PIXSCALE, STAMP

MIDDLE = STAMP // 2
"""Pixel on which coordinates have their origin."""
WINDOWS = (16, 20, 24, 28, 32, 40, MIDDLE, MIDDLE + 12)
"""Half widths of the windows in which rays are traced [pixels]; each lens gets the first that holds its images. The
last reaches beyond the image, from where the PSF brings light in."""
CHUNK = 32
"""Lenses simulated together; their arrays fit in the cache of a core."""


@dataclass(frozen=True, slots=True, eq=False)
class PsfBank:
    """The PSFs of many places, with their transforms; made once for all simulations."""

    psfs: Sequence[Psf]
    """One `Psf` (all bands) for each place, all of the same shape."""
    _transforms: dict[tuple[int, int, str], torch.Tensor] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        shapes = {psf.stamps.shape for psf in self.psfs}
        if len(shapes) != 1:
            raise PhysicalRangeError("shapes of the PSFs", sorted(shapes), "one and the same", "Crop them alike.")

    @property
    def n_band(self) -> int:
        """Number of bands."""
        return len(self.psfs[0].stamps)

    @property
    def half(self) -> int:
        """Half width of the PSFs [pixels]."""
        return self.psfs[0].half

    def transform(self, n: int, shift: int, device: torch.device) -> torch.Tensor:
        """Return the real FFTs, shape ``(psf, band, n, n // 2 + 1)``, with the star on pixel ``(shift, shift)``."""
        key = (n, shift, str(device))
        if key not in self._transforms:
            stamps = np.stack([psf.stamps for psf in self.psfs])
            padded = np.zeros((*stamps.shape[:2], n, n))
            padded[..., : stamps.shape[2], : stamps.shape[3]] = stamps
            padded = np.roll(padded, (shift - self.half, shift - self.half), (2, 3))
            self._transforms[key] = torch.from_numpy(np.fft.rfft2(padded).astype(np.complex64)).to(device)
        return self._transforms[key]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Simulated:
    """Simulated cutouts."""

    images: NDArray[np.float32]
    """Shape ``(lens, band, y, x)`` [nanomaggies]; the origin of coordinates is the middle pixel."""
    magnification: NDArray[np.float64]
    """Total magnification, shape ``(lens,)``."""


def _tensors(p: Parameters) -> dict[str, torch.Tensor]:
    return {f.name: torch.tensor(np.asarray(getattr(p, f.name), dtype=np.float64)) for f in fields(p)}


def lens_of(p: Parameters) -> Lens:
    """Return the lenses of a batch for the exact code; unphysical parameters are refused here."""
    t = _tensors(p)
    sie = SIE(theta_E=t["theta_E"], q=t["q"], phi=t["phi"], x=t["x"], y=t["y"])
    return Lens(deflectors=(sie, Shear(gamma1=t["gamma1"], gamma2=t["gamma2"])))


def source_of(p: Parameters) -> Sersic:
    """Return the sources of a batch for the exact code; unphysical parameters are refused here."""
    t = _tensors(p)
    return Sersic(r_e=t["r_e"], n=t["n"], q=t["source_q"], phi=t["source_phi"], x=t["source_x"], y=t["source_y"])


def _checked(p: Parameters) -> int:
    """Return the number of lenses; refuse what is unphysical or does not fit together."""
    shapes = {np.shape(getattr(p, f.name)) for f in fields(p)}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise PhysicalRangeError("shapes of the parameters", sorted(shapes), "one and the same, (lens,)")
    lens_of(p)
    refuse_wider(source_of(p), (STAMP, STAMP), PIXSCALE)
    return len(p.theta_E)


def simulate(
    parameters: Parameters,
    fluxes: ArrayLike,
    bank: PsfBank,
    psf_index: ArrayLike,
    *,
    sigma: ArrayLike | None,
    gain: ArrayLike | None = None,
    rng: np.random.Generator,
    n_threads: int = 1,
    device: str = "cpu",
) -> Simulated:
    """Return lensed, convolved and noisy cutouts of the survey's shape.

    Parameters
    ----------
    parameters
        Lenses and sources.
    fluxes
        Unlensed flux of each source [nanomaggies], shape ``(lens, band)``.
    bank
        PSFs.
    psf_index
        Which of them each lens has, shape ``(lens,)``.
    sigma
        Standard deviation of the sky in a pixel [nanomaggies], shape ``(lens, band)``; None for no noise at all.
    gain
        Photo-electrons in a nanomaggy, shape ``(lens, band)``, for the shot noise of the arcs; None for none.
    rng
        Source of the noise.
    n_threads
        Threads on the CPU, each on chunks of its own.
    device
        Where to compute; on a GPU all lenses with the same window are one chunk.

    Returns
    -------
    simulated
        Images and magnifications.

    Raises
    ------
    PhysicalRangeError
        If a parameter is unphysical, or shapes do not fit.
    """
    n_lens = _checked(parameters)
    each = {"fluxes": np.asarray(fluxes, dtype=np.float32)}
    if sigma is not None:
        each["sigma"] = np.asarray(sigma, dtype=np.float32)
    if gain is not None:
        each["gain"] = np.asarray(gain, dtype=np.float32)
    for name, values in each.items():
        if values.shape != (n_lens, bank.n_band):
            raise PhysicalRangeError(f"shape of {name}", values.shape, f"({n_lens} lenses, {bank.n_band} bands)")
        good = (values > 0 if name == "gain" else values >= 0) & np.isfinite(values)
        if not good.all():
            allowed = "> 0 e-/nanomaggy" if name == "gain" else ">= 0 nanomaggies"
            raise PhysicalRangeError(name, float(values[~good][0]), allowed, "Fluxes are nanomaggies, not magnitudes.")
    places = np.asarray(psf_index, dtype=np.int64)
    if places.shape != (n_lens,):
        raise PhysicalRangeError("shape of psf_index", places.shape, f"({n_lens} lenses,)")
    if n_lens and not (places.min() >= 0 and places.max() < len(bank.psfs)):
        raise PhysicalRangeError(
            "psf_index", int(max(places.max(), -places.min())), f"0 to {len(bank.psfs) - 1}, the PSFs of the bank"
        )
    where = torch.device(device)
    numbers = coefficients(parameters).to(where)
    per_band = {name: torch.from_numpy(values).to(where)[:, :, None, None] for name, values in each.items()}
    index = torch.as_tensor(places, device=where)
    windows = np.searchsorted(WINDOWS, np.minimum(half_window(parameters), WINDOWS[-1]))
    order = np.argsort(windows, kind="stable")
    size = CHUNK if where.type == "cpu" else n_lens
    chunks = [
        order[windows[order] == w][start : start + size]
        for w in np.unique(windows)
        for start in range(0, int((windows == w).sum()), size)
    ]
    seeds = rng.integers(2**62, size=len(chunks))
    images = np.empty((n_lens, bank.n_band, STAMP, STAMP), dtype=np.float32)
    magnification = np.empty(n_lens)

    def work(number: int) -> None:
        chosen = torch.from_numpy(chunks[number]).to(where)
        picture, mu = _chunk(
            numbers[chosen],
            {name: values[chosen] for name, values in per_band.items()},
            bank,
            index[chosen],
            WINDOWS[windows[chunks[number][0]]],
            int(seeds[number]),
        )
        images[chunks[number]] = picture.cpu().numpy()
        magnification[chunks[number]] = mu.cpu().numpy()

    if n_threads == 1 or where.type != "cpu":
        for number in range(len(chunks)):
            work(number)
    else:
        # Each thread keeps its operations to itself: they are too small to be split further.
        with ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(work, range(len(chunks))))
    return Simulated(images=images, magnification=magnification)


@functools.lru_cache(maxsize=32)
def _undo(n: int, device: torch.device) -> torch.Tensor:
    """Return what undoes the quartic B-spline in the real FFT of an image of n x n pixels."""
    kernel_y, kernel_x = np.sinc(np.fft.fftfreq(n)) ** (DEGREE + 1), np.sinc(np.fft.rfftfreq(n)) ** (DEGREE + 1)
    return torch.from_numpy((1 / (kernel_y[:, None] * kernel_x)).astype(np.complex64)).to(device)


def _chunk(
    numbers: torch.Tensor,
    per_band: dict[str, torch.Tensor],
    bank: PsfBank,
    index: torch.Tensor,
    half: int,
    seed: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images, shape ``(lens, band, y, x)``, and magnifications of a few lenses with the same window."""
    smooth, core = lensed_light(numbers, half)
    # Light within the window, spread by the PSF, must not come around the edge of the transform into the image.
    n = good_size(max(half + EDGE + bank.half + MIDDLE + 1, STAMP))
    spectrum = torch.fft.rfft2(core, s=(n, n)).mul_(_undo(n, numbers.device)).add_(torch.fft.rfft2(smooth, s=(n, n)))
    product = bank.transform(n, MIDDLE - half - EDGE, numbers.device)[index].mul_(spectrum[:, None])
    image = torch.fft.irfft2(product, s=(n, n))[..., :STAMP, :STAMP] * per_band["fluxes"]
    magnification = smooth.sum((1, 2)) + core.sum((1, 2))
    if "sigma" not in per_band:
        return image, magnification
    generator = torch.Generator(device=numbers.device).manual_seed(seed)
    noise = torch.empty_like(image).normal_(generator=generator)
    if "gain" in per_band:
        variance = image.clamp(min=0).div_(per_band["gain"]).add_(per_band["sigma"] ** 2)
        return image.addcmul_(noise, variance.sqrt_()), magnification
    return image.addcmul_(noise, per_band["sigma"]), magnification
