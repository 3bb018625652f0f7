"""Changes to cutouts during training, the same for lenses and non-lenses.

Every function takes fluxes ``(n, band, y, x)`` [nanomaggies] and a seeded generator, and never looks at a label.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from legacylens.models.symmetry import ORDER, transform
from legacylens.training.config import Augmentation


def change_flux(images: Tensor, *, brightness: float, color: float, generator: torch.Generator) -> Tensor:
    """Multiply by a common and a per-band factor, normal in magnitude."""
    n, bands = images.shape[:2]
    common = torch.randn(n, 1, generator=generator) * brightness
    own = torch.randn(n, bands, generator=generator) * color
    factor = 10.0 ** (-0.4 * (common + own))
    return images * factor[:, :, None, None]


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


def turn(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Apply to each cutout one of the eight symmetries of the square."""
    elements = torch.randint(0, ORDER, (len(images),), generator=generator)
    result = torch.empty_like(images)
    for element in range(ORDER):
        members = torch.nonzero(elements == element).flatten()
        if len(members):
            result[members] = transform(images[members], element)
    return result


def add_noise(images: Tensor, *, most: float, scale: tuple[float, ...], generator: torch.Generator) -> Tensor:
    """Add white noise whose sigma is uniform in ``[0, most]`` times ``scale`` of the band [nanomaggies]."""
    n, size = len(images), images[0].numel()
    sigma = torch.rand(n, generator=generator)[:, None] * most * torch.tensor(scale)
    # Normal numbers are the most expensive part of a batch. A pool of them, entered at a random place by each cutout,
    # costs a quarter; two cutouts of a batch may share numbers, at different pixels and with another sigma.
    pool = torch.randn(max(n // 4, 2) * size, generator=generator)
    starts = torch.randint(0, len(pool) - size + 1, (n,), generator=generator).tolist()
    noise = torch.stack([pool[start : start + size] for start in starts]).reshape(images.shape)
    return images.addcmul(noise, sigma[:, :, None, None])


def augment(
    images: Tensor, augmentation: Augmentation, *, noise: tuple[float, ...], generator: torch.Generator
) -> Tensor:
    """Apply the switched-on changes.

    Parameters
    ----------
    images
        ``(n, band, y, x)`` [nanomaggies], on the CPU.
    augmentation
        Which, and how strong.
    noise
        Noise-like flux in each band [nanomaggies], from the preprocessing record.
    generator
        Random generator; its state decides everything.
    """
    if augmentation.brightness or augmentation.color:
        images = change_flux(images, brightness=augmentation.brightness, color=augmentation.color, generator=generator)
    if augmentation.shift:
        images = shift(images, most=augmentation.shift, subpixel=augmentation.subpixel, generator=generator)
    if augmentation.symmetries:
        images = turn(images, generator=generator)
    if augmentation.noise:
        images = add_noise(images, most=augmentation.noise, scale=noise, generator=generator)
    return images
