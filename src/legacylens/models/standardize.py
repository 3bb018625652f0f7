"""Replay a preprocessing record on a batch of cutouts."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from legacylens.errors import InputError
from legacylens.models.preprocessing import Preprocessing

MIN_ANNULUS_PIXELS = 100
"""Below this a median of the sky means little; a record that selects fewer pixels is a mistake."""


@functools.lru_cache(maxsize=16)
def annulus_pixels(stamp: int, inner: float, outer: float) -> Tensor:
    """Return the flat indices of pixels between two radii.

    Of a stamp with an odd side every second row and column is used: a quarter of the pixels gives the median to 0.04
    sigma in a quarter of the time, and the choice is symmetric about the center, as everything about a stamp should be.

    Parameters
    ----------
    stamp
        Side of the stamp [pixels].
    inner, outer
        Radii as fractions of half the stamp.

    Returns
    -------
    indices
        int64, into the flattened ``(y, x)`` stamp.

    Raises
    ------
    InputError
        If fewer than `MIN_ANNULUS_PIXELS` pixels are selected.
    """
    half = stamp / 2.0
    offset = torch.arange(stamp, dtype=torch.float64) - (stamp - 1) / 2.0
    radius = torch.hypot(offset[:, None], offset[None, :]) / half
    chosen = (radius >= inner) & (radius < outer)
    if stamp % 2:
        even = offset % 2 == 0
        chosen &= even[:, None] & even[None, :]
    indices = torch.nonzero(chosen.flatten()).flatten()
    if len(indices) < MIN_ANNULUS_PIXELS:
        raise InputError(
            f"the annulus {inner:g}-{outer:g} of half a stamp of {stamp} pixels holds {len(indices)} pixels; "
            f"at least {MIN_ANNULUS_PIXELS} are needed. Widen preprocessing.annulus."
        )
    return indices


def standardize(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Turn cutouts into network input.

    Parameters
    ----------
    images
        ``(n, band, y, x)`` [nanomaggies], bands in the order of the record.
    preprocessing
        The record, from the checkpoint when scoring.

    Returns
    -------
    prepared
        ``(n, band, y, x)`` float32, dimensionless. A pixel that is not finite makes its whole object NaN, so that a
        score can never be made from a hole.

    Raises
    ------
    InputError
        If the shape is not what the record says.
    """
    expected = (len(preprocessing.bands), preprocessing.stamp, preprocessing.stamp)
    if images.ndim != 4 or tuple(images.shape[1:]) != expected:
        raise InputError(
            f"images have shape {tuple(images.shape)}; the network takes (n, {', '.join(map(str, expected))}): "
            f"bands {','.join(preprocessing.bands)} and stamps of {preprocessing.stamp} pixels"
        )
    images = images.to(torch.float32)
    noise = torch.tensor(preprocessing.noise, dtype=torch.float32, device=images.device)
    scaled = images / noise[:, None, None]
    if preprocessing.background == "annulus" or preprocessing.scale == "annulus":
        indices = annulus_pixels(preprocessing.stamp, *preprocessing.annulus).to(images.device)
        sky = scaled.flatten(2)[:, :, indices]
        level = sky.median(dim=2, keepdim=True).values
        if preprocessing.background == "annulus":
            scaled -= level[..., None]
        if preprocessing.scale == "annulus":
            deviation = (sky - level).abs().median(dim=2).values
            # A blank annulus (all pixels equal) has no noise of its own; the fixed scale stands in for it.
            deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
            scaled /= deviation[..., None, None]
    prepared = (
        _asinh(scaled, preprocessing.knee)
        if preprocessing.stretch == "asinh"
        else scaled.clamp_(-preprocessing.clip, preprocessing.clip)
    )
    # A sum is finite only if every term is, and costs a tenth of looking at each pixel.
    whole = torch.isfinite(images.sum(dim=(1, 2, 3)))
    prepared[~whole] = torch.nan
    return prepared


def _asinh(x: Tensor, knee: float) -> Tensor:
    """Return ``asinh(x / knee)``; ``x`` is overwritten.

    By its definition, because torch.asinh is not vectorized on CPUs (3 times slower; the error is 1e-7), and in place,
    because fresh pages for every intermediate result take longer than the arithmetic.
    """
    x /= knee
    root = x.square().add_(1.0).sqrt_()
    return root.add_(x.abs()).log_().copysign_(x)


def clipped_fraction(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return, per object and band, the fraction of pixels at the clipping limit (zero for a stretch without one).

    Watched per class and magnitude: a recipe that cuts off the arcs of bright lenses shows here before it shows in
    the recall.
    """
    prepared = standardize(images, preprocessing)
    if preprocessing.stretch != "clip":
        return torch.zeros(prepared.shape[:2])
    return (prepared.abs() >= preprocessing.clip).to(torch.float32).mean(dim=(2, 3))
