"""How pixels are prepared for a network: a record without any array code, so that reading it needs no torch.

The record travels inside the checkpoint and every scorer replays it; there is no other way to give pixels to a network
(`legacylens.models.standardize` does the work).
"""

from __future__ import annotations

import json
from typing import Literal, Self

from pydantic import Field, model_validator

from legacylens.errors import FileProblem
from legacylens.settings import Settings


class Preprocessing(Settings):
    """From nanomaggies to the numbers that a network sees.

    The default divides by the *same* scale for every object, so that neither an object's depth nor its brightness is
    hidden in a normalization of its own, colors survive, and a bright arc is compressed but never cut off. The
    published recipe (noise of each stamp, clipped at ten) is ``scale="annulus"``, ``stretch="clip"``.
    """

    bands: tuple[str, ...] = ("g", "r", "z")
    """Bands in the order of the network's input channels."""

    stamp: int = Field(default=101, ge=32, le=512)
    """Side of the cutout [pixels]."""

    pixscale: float = Field(default=0.262, gt=0.0)
    """Size of a pixel [arcsec]."""

    background: Literal["annulus", "none"] = "annulus"
    """Subtract the median of an annulus in each band, or nothing (survey coadds are sky-subtracted already)."""

    annulus: tuple[float, float] = (0.65, 0.95)
    """Inner and outer radius of the annulus, as fractions of half the stamp, so that no other stamp size can inherit
    radii in pixels that were meant for another one."""

    scale: Literal["fixed", "annulus"] = "fixed"
    """Divide by ``noise`` (the same for every object), or by the median absolute deviation in the object's own annulus
    (as published; it hides the depth and lets a crowded surrounding dim the object)."""

    noise: tuple[float, ...] = (0.002, 0.003, 0.008)
    """Noise-like flux of one pixel in each band [nanomaggies]: about the typical sky noise of DR10 coadds."""

    stretch: Literal["asinh", "clip"] = "asinh"
    """``asinh(x / knee)``: linear in the noise, logarithmic in the galaxy. ``clip``: cut off at +-``clip`` (as
    published; it flattens bright arcs)."""

    knee: float = Field(default=3.0, gt=0.0)
    """Where asinh turns from linear to logarithmic [units of the scale]."""

    clip: float = Field(default=10.0, gt=0.0)
    """Where ``stretch="clip"`` cuts off [units of the scale]."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        inner, outer = self.annulus
        if not 0.0 < inner < outer <= 1.0:
            raise ValueError(
                f"annulus {self.annulus} must satisfy 0 < inner < outer <= 1 (fractions of half the stamp)"
            )
        if not self.bands or len(set(self.bands)) != len(self.bands):
            raise ValueError(f"bands {self.bands} must be given once each, and at least one")
        if len(self.noise) != len(self.bands):
            raise ValueError(f"noise has {len(self.noise)} values for the {len(self.bands)} bands {self.bands}")
        if min(self.noise) <= 0.0:
            raise ValueError(f"noise {self.noise} must be positive in every band")
        return self

    def to_json(self) -> str:
        """Return the record as canonical JSON: equal records give equal text."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)

    def require_input(self, source: str, *, bands: tuple[str, ...], stamp: int, pixscale: float) -> None:
        """Refuse pixels for which the network was not trained.

        Parameters
        ----------
        source
            Where the pixels come from; named in the message.
        bands, stamp, pixscale
            Bands in channel order, side of the stamp [pixels] and size of a pixel [arcsec] of the pixels.

        Raises
        ------
        FileProblem
            If any of them differs (``reason="preprocessing-mismatch"``).
        """
        problems = []
        if tuple(bands) != self.bands:
            problems.append(f"bands {','.join(bands)} instead of {','.join(self.bands)}")
        if stamp != self.stamp:
            problems.append(f"stamps of {stamp} instead of {self.stamp} pixels")
        if abs(pixscale - self.pixscale) > 0.01 * self.pixscale:
            problems.append(f'pixels of {pixscale:g}" instead of {self.pixscale:g}"')
        if problems:
            raise FileProblem(
                source,
                "the network was trained on other pixels: " + "; ".join(problems),
                "Cut the targets again with these settings, or use a checkpoint that was trained on such cutouts.",
                reason="preprocessing-mismatch",
            )
