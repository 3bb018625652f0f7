"""Running a network on cutouts: the one way from pixels to logits, for training and for every scorer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

from legacylens.errors import InputError
from legacylens.models.network import Network
from legacylens.models.preprocessing import Preprocessing
from legacylens.models.registry import network_spec
from legacylens.models.standardize import standardize
from legacylens.models.symmetry import ORDER, transform

Precision = Literal["auto", "fp32", "bf16"]


def supports_bf16() -> bool:
    """Return whether this processor computes in bfloat16; others emulate it, slowly."""
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is None:  # torch before 2.9
        check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return bool(check is not None and check())
    found = capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """Where and in which number format a network runs."""

    device: torch.device
    """Processor."""

    bf16: bool
    """Whether convolutions are computed in bfloat16; a logit then has an error of about 0.01."""

    memory_format: torch.memory_format
    """Layout of images in memory, the faster one for the network."""

    @classmethod
    def choose(cls, network: str, *, device: str = "auto", precision: Precision = "auto") -> Self:
        """Choose for a network.

        Parameters
        ----------
        network
            Name in the registry.
        device
            ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or as torch names devices.
        precision
            ``auto``: bfloat16 where the processor computes in it, else float32.

        Raises
        ------
        InputError
            If there is no such device.
        """
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            target = torch.device(device)
        except RuntimeError as error:
            raise InputError(f"{device!r} is no device; use auto, cpu or cuda") from error
        if target.type == "cuda" and not torch.cuda.is_available():
            raise InputError(f"device {device!r} was asked for, but this PyTorch sees no GPU; use auto or cpu")
        able = target.type == "cuda" or supports_bf16()
        return cls(
            device=target,
            bf16=precision == "bf16" or (precision == "auto" and able),
            memory_format=torch.channels_last if network_spec(network).channels_last else torch.contiguous_format,
        )

    def place(self, network: Network) -> Network:
        """Move a network there."""
        moved: Network = network.to(self.device).to(memory_format=self.memory_format)  # type: ignore[call-overload]
        return moved

    def forward(self, network: Network, images: Tensor, preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
        """Prepare cutouts, run the network once and return its features, ``(n, features)``, and logits, ``(n,)``."""
        prepared = standardize(images.to(self.device, non_blocking=True), preprocessing)
        return self._run(network, prepared)

    def _run(self, network: Network, prepared: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            features = network.features(prepared.contiguous(memory_format=self.memory_format))
        # The last layer in float32: a bfloat16 logit has three digits, and the best candidates would be tied.
        features = features.float()
        logits: Tensor = network.head(features)
        return features, logits.squeeze(1)

    def logits(
        self, network: Network, images: Tensor, preprocessing: Preprocessing, *, symmetries: bool = False
    ) -> Tensor:
        """Prepare cutouts and run the network.

        Parameters
        ----------
        network
            Placed by `place`.
        images
            ``(n, band, y, x)`` [nanomaggies].
        preprocessing
            The record that the network was trained with.
        symmetries
            Average the logit over the eight symmetries of the square.

        Returns
        -------
        logits
            ``(n,)`` float32; NaN for an object with a pixel that is not finite.
        """
        prepared = standardize(images.to(self.device, non_blocking=True), preprocessing)
        elements = range(ORDER) if symmetries else range(1)
        total = torch.zeros(len(images), device=self.device)
        for element in elements:
            total = total + self._run(network, transform(prepared, element))[1]
        return total / len(elements)
