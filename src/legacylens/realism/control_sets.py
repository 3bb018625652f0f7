"""Sets of simulations whose faults are known: an instrument that does not convict them is worth nothing."""

from __future__ import annotations

from dataclasses import dataclass

from legacylens.mocks.population_sets import SETS, InjectionConfig, MockSetConfig, SourceConfig

RED = 1.15
"""Color g - r of the red sources: that of the galaxies, which was once taken for the arcs'."""
HIGH_SNR = 10.0
"""Factor by which arcs are brighter where the wings of the PSF are at stake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSet:
    """One set of simulations, and what an instrument must say of it."""

    name: str
    """Its name."""
    config: MockSetConfig
    """How it is made."""
    must: str
    """``fail`` or ``pass``."""
    finding: str = ""
    """The finding of an audit that names its fault."""
    any_galaxy: bool = False
    """Hosts are galaxies of any kind."""
    high_snr: bool = False
    """Compared with honest arcs that are `HIGH_SNR` times as bright."""


def _injected(**faults: object) -> MockSetConfig:
    return SETS["calibrated"].model_copy(update={"injection": InjectionConfig.model_validate(faults)})


def _sources(**faults: object) -> MockSetConfig:
    return SETS["calibrated"].model_copy(update={"sources": SourceConfig.model_validate(faults)})


FAULTY = (
    ControlSet(name="arcs-x40", config=_injected(flux_factor=40.0), must="fail", finding="brightness"),
    ControlSet(name="arcs-x2.5", config=_injected(flux_factor=2.5), must="fail", finding="brightness"),
    ControlSet(name="psf-25-wider", config=_injected(psf_width_factor=1.25), must="fail", finding="psf-width"),
    ControlSet(name="no-psf", config=_injected(psf="none"), must="fail", finding="psf-missing"),
    ControlSet(
        name="gaussian-wings",
        config=_injected(psf="gaussian", flux_factor=HIGH_SNR),
        must="fail",
        finding="psf-wings",
        high_snr=True,
    ),
    ControlSet(name="red-sources", config=_sources(g_r=RED), must="fail", finding="source-color"),
    ControlSet(name="gain-150", config=_injected(gain=150.0), must="fail", finding="shot-noise"),
    ControlSet(name="beta-0", config=_sources(centered=True), must="fail", finding="centered-sources"),
    ControlSet(name="random-hosts", config=SETS["calibrated"], must="fail", finding="hosts", any_galaxy=True),
    ControlSet(
        name="arbitrary-flux", config=SETS["arbitrary-flux"], must="fail", finding="brightness", any_galaxy=True
    ),
)
"""Sets that must fail."""

HONEST = (
    ControlSet(name="real-real", config=SETS["calibrated"], must="pass"),
    ControlSet(name="calibrated", config=SETS["calibrated"], must="pass"),
    ControlSet(name="zero-flux", config=_injected(flux_factor=0.0), must="pass"),
)
"""Sets that must pass. On a control sky the real lenses are calibrated ones as well, from other hosts: ``real-real``
compares halves of them, ``calibrated`` compares them with a set made from other seeds."""
