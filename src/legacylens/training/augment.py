"""Changes to cutouts during training, the same for lenses and non-lenses.

Every function takes fluxes ``(n, band, y, x)`` [nanomaggies] and a seeded generator, and never looks at a label: what
an operation does depends on the seed and on the place in the batch alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from legacylens.models.preprocessing import Preprocessing
from legacylens.models.symmetry import ORDER, transform
from legacylens.photometry import EXTINCTION_COEFFICIENT
from legacylens.training.config import Augmentation
from legacylens.training.noise import correlate


def change_flux(
    images: Tensor,
    *,
    brightness: float,
    color: float,
    extinction: float = 0.0,
    bands: tuple[str, ...] = (),
    generator: torch.Generator,
) -> Tensor:
    """Multiply by a common factor, a factor of each band and a reddening, normal in magnitude."""
    n, n_bands = images.shape[:2]
    mag = torch.randn(n, 1, generator=generator) * brightness + torch.randn(n, n_bands, generator=generator) * color
    if extinction:
        coefficients = torch.tensor([EXTINCTION_COEFFICIENT[band] for band in bands])
        mag = mag + torch.randn(n, 1, generator=generator) * extinction * coefficients
    return images * (10.0 ** (-0.4 * mag))[:, :, None, None]


def shift(images: Tensor, *, most: int, subpixel: float, generator: torch.Generator) -> Tensor:
    """Shift each cutout by up to ``most`` pixels in each direction.

    A share ``subpixel`` of them by any amount, with bilinear interpolation; the others by whole pixels, which keeps
    the noise as it is. What comes in at an edge is the mirror image of what is there.
    """
    n, _, ny, nx = images.shape
    amounts = (torch.rand(n, 2, generator=generator) * 2.0 - 1.0) * (most + 0.5)
    continuous = torch.rand(n, generator=generator) < subpixel
    amounts = torch.where(continuous[:, None], amounts.clamp(-most, most), amounts.round().clamp(-most, most))
    whole = amounts.floor().to(torch.int64)
    fractions = (amounts - whole).tolist()
    starts = (whole + most).tolist()
    padded = functional.pad(images, (most, most + 1, most, most + 1), mode="reflect")
    shifted = []
    # One cutout at a time: slices are three times faster than gathering every pixel of the batch by its index.
    for image, (row, column), (down, right) in zip(padded, starts, fractions, strict=True):
        part = image[:, row : row + ny + 1, column : column + nx + 1]
        rows = torch.lerp(part[:, :-1], part[:, 1:], down) if down else part[:, :-1]
        shifted.append(torch.lerp(rows[..., :-1], rows[..., 1:], right) if right else rows[..., :-1])
    return torch.stack(shifted)


def rotate(images: Tensor, *, share: float, step: float, zoom: float, generator: torch.Generator) -> Tensor:
    """Rotate a share of the cutouts about their center and change their scale; edges are mirrored.

    Parameters
    ----------
    images
        ``(n, band, y, x)`` [nanomaggies].
    share
        Share of them.
    step
        Rotate by multiples of this [degree]; 0: by any angle.
    zoom
        Scale factors are uniform in ``[1 - zoom, 1 + zoom]``; surface brightness is kept, as in nature.
    generator
        Random generator.
    """
    n = len(images)
    chosen = torch.nonzero(torch.rand(n, generator=generator) < share).flatten()
    angle = torch.rand(n, generator=generator) * 360.0
    angle = torch.deg2rad((angle / step).floor() * step if step else angle)
    scale = 1.0 + zoom * (2.0 * torch.rand(n, generator=generator) - 1.0)
    if not len(chosen):
        return images
    cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
    zero = torch.zeros(n)
    matrix = torch.stack([cosine, -sine, zero, sine, cosine, zero], dim=1).reshape(n, 2, 3)[chosen]
    part = images[chosen]
    grid = functional.affine_grid(matrix, list(part.shape), align_corners=False)
    turned = functional.grid_sample(part, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return images.index_copy(0, chosen, turned)


def turn(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Apply to each cutout one of the eight symmetries of the square."""
    elements = torch.randint(0, ORDER, (len(images),), generator=generator)
    result = torch.empty_like(images)
    for element in range(ORDER):
        members = torch.nonzero(elements == element).flatten()
        if len(members):
            result[members] = transform(images[members], element)
    return result


def _gaussian(sigma: Tensor, radius: int) -> Tensor:
    """Return normalized kernels, ``(n, 2 * radius + 1)``; a sigma of zero gives a delta function."""
    x = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (x / sigma.clamp(min=1e-3)[:, None]) ** 2)
    return kernel / kernel.sum(dim=1, keepdim=True)


def _smooth(images: Tensor, sigma: Tensor, most: float) -> Tensor:
    """Convolve each image of ``(n, band, y, x)`` with a Gaussian of its own sigma [pixels]."""
    n, bands, ny, _ = images.shape
    radius = max(math.ceil(3.0 * most), 1)
    kernels = _gaussian(sigma, radius).repeat_interleave(bands, dim=0)
    planes = functional.pad(images, (radius,) * 4, mode="reflect").reshape(1, n * bands, ny + 2 * radius, -1)
    planes = functional.conv2d(planes, kernels[:, None, :, None], groups=n * bands)
    planes = functional.conv2d(planes, kernels[:, None, None, :], groups=n * bands)
    return planes.reshape(images.shape)


def blur(images: Tensor, *, most: float, generator: torch.Generator) -> Tensor:
    """Worsen the seeing: convolve with a Gaussian whose sigma is uniform in ``[0, most]`` pixels."""
    return _smooth(images, torch.rand(len(images), generator=generator) * most, most)


def add_noise(
    images: Tensor, *, most: float, scale: tuple[float, ...], correlated: bool = False, generator: torch.Generator
) -> Tensor:
    """Add noise whose sigma is uniform in ``[0, most]`` times ``scale`` of the band [nanomaggies].

    ``correlated``: between pixels as the noise of the survey's coadds is, at the same sigma.
    """
    n, size = len(images), images[0].numel()
    sigma = torch.rand(n, generator=generator)[:, None] * most * torch.tensor(scale)
    # Normal numbers are the most expensive part of a batch. A pool of them, entered at a random place by each cutout,
    # costs a quarter; two cutouts of a batch may share numbers, at different pixels and with another sigma.
    pool = torch.randn(max(n // 4, 2) * size, generator=generator)
    starts = torch.randint(0, len(pool) - size + 1, (n,), generator=generator).tolist()
    noise = torch.stack([pool[start : start + size] for start in starts]).reshape(images.shape)
    return images.addcmul(correlate(noise) if correlated else noise, sigma[:, :, None, None])


def crop(images: Tensor, *, share: float, size: float, generator: torch.Generator) -> Tensor:
    """Enlarge a window of a share of the cutouts to the whole stamp.

    Parameters
    ----------
    images
        ``(n, band, y, x)`` [nanomaggies].
    share
        Share of them.
    size
        Largest part of the side that is cut away; the window is anywhere, and holds the center as long as this is at
        most a half. Surface brightness is kept.
    generator
        Random generator.
    """
    n = len(images)
    chosen = torch.nonzero(torch.rand(n, generator=generator) < share).flatten()
    cut = torch.rand(n, generator=generator) * size
    places = torch.rand(n, 2, generator=generator) * 2.0 - 1.0
    if not len(chosen):
        return images
    zero = torch.zeros(n)
    window = torch.stack([1.0 - cut, zero, places[:, 0] * cut, zero, 1.0 - cut, places[:, 1] * cut], dim=1)
    part = images[chosen]
    grid = functional.affine_grid(window.reshape(n, 2, 3)[chosen], list(part.shape), align_corners=False)
    enlarged = functional.grid_sample(part, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return images.index_copy(0, chosen, enlarged)


def erase(images: Tensor, *, share: float, size: float, generator: torch.Generator) -> Tensor:
    """Set a square somewhere in a share of the cutouts to the level of the sky, zero."""
    n, _, ny, nx = images.shape
    chosen = torch.rand(n, generator=generator) < share
    sides = (torch.rand(n, generator=generator) * size * ny).ceil().to(torch.int64).clamp(min=1)
    centers = (torch.rand(n, 2, generator=generator) * torch.tensor([ny, nx])).to(torch.int64)
    result = images.clone()
    for number in torch.nonzero(chosen).flatten().tolist():
        half = int(sides[number]) // 2
        row, column = centers[number].tolist()
        result[number, :, max(row - half, 0) : row + half + 1, max(column - half, 0) : column + half + 1] = 0.0
    return result


def mix(
    images: Tensor, targets: Tensor, *, share: float, same_class: bool = False, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Average a share of the cutouts with others of the batch, and their targets alike (Zhang et al. 2018).

    Parameters
    ----------
    images
        ``(n, band, y, x)``.
    targets
        ``(n,)`` in [0, 1].
    share
        Share of the cutouts, the same for both classes.
    same_class
        Mix lenses with other lenses and non-lenses with other non-lenses, which leaves the targets as they are.
    generator
        Random generator. The weight of the partner is uniform in [0, 1/2].
    """
    n = len(images)
    partner = torch.randperm(n, generator=generator)
    if same_class:
        shuffled, partner = partner, torch.empty_like(partner)
        for is_lens in (False, True):
            members = torch.nonzero((targets > 0.5) == is_lens).flatten()
            partner[members] = shuffled[(targets[shuffled] > 0.5) == is_lens]
    weight = torch.rand(n, generator=generator) * 0.5
    weight = torch.where(torch.rand(n, generator=generator) < share, weight, torch.zeros(n))
    mixed = torch.lerp(images, images[partner], weight[:, None, None, None])
    return mixed, torch.lerp(targets, targets[partner], weight)


def augment(
    images: Tensor, augmentation: Augmentation, *, preprocessing: Preprocessing, generator: torch.Generator
) -> Tensor:
    """Apply the switched-on changes to the images; mixing, which changes targets too, is `mix`.

    Parameters
    ----------
    images
        ``(n, band, y, x)`` [nanomaggies], on the CPU.
    augmentation
        Which, and how strong.
    preprocessing
        Says the bands and their noise-like flux.
    generator
        Random generator; its state decides everything.
    """
    a = augmentation
    if a.brightness or a.color or a.extinction:
        images = change_flux(
            images,
            brightness=a.brightness,
            color=a.color,
            extinction=a.extinction,
            bands=preprocessing.bands,
            generator=generator,
        )
    if a.rotate:
        images = rotate(images, share=a.rotate, step=a.rotate_step, zoom=a.zoom, generator=generator)
    if a.crop:
        images = crop(images, share=a.crop, size=a.crop_size, generator=generator)
    if a.shift:
        images = shift(images, most=a.shift, subpixel=a.subpixel, generator=generator)
    if a.symmetries:
        images = turn(images, generator=generator)
    if a.blur:
        images = blur(images, most=a.blur, generator=generator)
    if a.noise:
        images = add_noise(
            images,
            most=a.noise,
            scale=preprocessing.noise,
            correlated=a.noise_correlation == "survey",
            generator=generator,
        )
    if a.erase:
        images = erase(images, share=a.erase, size=a.erase_size, generator=generator)
    return images
