"""Planted leaks: samples that must fail a gate, and honest ones that must pass all of them.

A gate that has never failed shows nothing. Each control takes an honest simulated sample, in which the classes differ
only as physics makes them, and spoils it in one way in which published samples were spoiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from legacylens.survey.bands import BANDS
from legacylens.survey.cells import NSIDE, cell_center
from legacylens.survey.sphere import offset_position
from legacylens.validation.leakage import DEFAULT_CONFIG, LeakageConfig, run_gates


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """What the gates look at."""

    sample: pd.DataFrame
    """One row for each object."""
    parent: pd.DataFrame
    """The survey's columns, in the same order."""
    stamps: pd.DataFrame
    """What is measured on the cutouts, in the same order."""


def honest_tables(rng: np.random.Generator, *, n_lenses: int = 240, n_non_lenses: int = 2400) -> Tables:
    """Return a sample in which lenses differ from non-lenses only by magnitude, size, type and a little centering.

    Sky cells differ in depth, seeing, exposures and extinction, as bricks do, and so does the number of objects in
    them; a lens is as likely in one as in another.
    """
    n, n_cells = n_lenses + n_non_lenses, 80
    cells = rng.choice(12 * NSIDE**2, n_cells, replace=False)
    ra_cell, dec_cell = cell_center(cells, NSIDE)
    weight = rng.gamma(4.0, size=n_cells)
    place = rng.choice(n_cells, n, p=weight / weight.sum())
    ra, dec = offset_position(ra_cell[place], dec_cell[place], *rng.uniform(-500.0, 500.0, (2, n)))
    lens = rng.permutation(np.arange(n) < n_lenses)
    depth, seeing = rng.normal(0, 0.25, n_cells)[place], rng.normal(1.3, 0.12, n_cells)[place]
    exposures = rng.integers(3, 10, n_cells)[place]
    reddening = rng.gamma(2.0, 0.02, n_cells)[place]
    z = np.minimum(rng.normal(18.9, 0.8, n), 20.0) - 0.5 * lens
    color = rng.normal(1.0, 0.25, n) + 0.15 * lens
    source_id = np.array([f"10000_{cells[p]}_{i}" for i, p in enumerate(place)])
    early = rng.random(n) < np.where(lens, 0.75, 0.55)
    sample = pd.DataFrame(
        {
            "source_id": source_id,
            "ra": ra,
            "dec": dec,
            "type": np.where(early, rng.choice(["SER", "DEV"], n), rng.choice(["REX", "EXP"], n)),
            "nobs_z": exposures,
            "label": lens.astype(int),
            "split": "train",
            "cell": cells[place],
            "group": source_id,
        }
    )
    parent = pd.DataFrame(
        {
            "source_id": source_id,
            "release": 10000,
            "nobs_g": exposures,
            "nobs_r": exposures + rng.integers(0, 2, n),
            "ebv": reddening,
            "mag_g": z + 2.0 * color,
            "mag_r": z + color,
            "mag_z": z,
            "shape_r": np.exp(rng.normal(0.2 + 0.2 * lens, 0.4)),
            "sersic": rng.gamma(4.0, 1.0, n),
            **{f"psfsize_{band}": seeing + 0.1 * i + rng.normal(0, 0.02, n) for i, band in enumerate(BANDS)},
            **{f"psfdepth_{band}": 900.0 * np.exp(depth + rng.normal(0, 0.05, n)) for band in BANDS},
        }
    )
    stamps = pd.DataFrame(
        {
            "source_id": source_id,
            "pixels": source_id,
            **{f"stamp_noise_{band}": 0.005 * np.exp(-0.5 * depth + rng.normal(0, 0.05, n)) for band in BANDS},
            **{f"stamp_lag_{band}": rng.normal(0.25, 0.02, n) for band in BANDS},
            "stamp_holes": np.where(rng.random(n) < 0.03, rng.random(n), 0.0),
            "centroid_x": rng.normal(0, 0.3, n) + rng.normal(0, 0.1, n) * lens,
            "centroid_y": rng.normal(0, 0.3, n) + rng.normal(0, 0.1, n) * lens,
        }
    )
    return Tables(sample=sample, parent=parent, stamps=stamps)


def _rows(tables: Tables, keep: Any) -> Tables:
    return Tables(
        sample=tables.sample[keep].reset_index(drop=True),
        parent=tables.parent[keep].reset_index(drop=True),
        stamps=tables.stamps[keep].reset_index(drop=True),
    )


def _changed(tables: Tables, part: str, **columns: Any) -> Tables:
    parts = {name: getattr(tables, name) for name in ("sample", "parent", "stamps")}
    return Tables(**{**parts, part: parts[part].assign(**columns)})


def _lens(tables: Tables) -> Any:
    return tables.sample["label"].to_numpy() == 1


def _footprint(tables: Tables, _rng: np.random.Generator) -> Tables:
    """Cut the non-lenses, and not the lenses, at declinations of -18 and 32 (as happened in a published sample)."""
    return _rows(tables, _lens(tables) | tables.sample["dec"].between(-18.0, 32.0).to_numpy())


def _depth(tables: Tables, _rng: np.random.Generator) -> Tables:
    """Lenses known from deep fields: 0.3 mag deeper."""
    gain = np.where(_lens(tables), 10 ** (0.4 * 2 * 0.3), 1.0)
    return _changed(tables, "parent", **{f"psfdepth_{b}": tables.parent[f"psfdepth_{b}"] * gain for b in BANDS})


def _seeing(tables: Tables, _rng: np.random.Generator) -> Tables:
    """Lenses found where the seeing was 15 percent better."""
    gain = np.where(_lens(tables), 0.85, 1.0)
    return _changed(tables, "parent", **{f"psfsize_{b}": tables.parent[f"psfsize_{b}"] * gain for b in BANDS})


def _exposures(tables: Tables, rng: np.random.Generator) -> Tables:
    """Non-lenses cut at three exposures, lenses not cut but listed where there are many."""
    more = np.where(_lens(tables), rng.integers(1, 5, len(tables.sample)), 0)
    tables = _changed(tables, "sample", nobs_z=tables.sample["nobs_z"] + more)
    return _changed(tables, "parent", **{f"nobs_{b}": tables.parent[f"nobs_{b}"] + more for b in ("g", "r")})


def _extinction(tables: Tables, _rng: np.random.Generator) -> Tables:
    """Lenses from surveys that avoid dust."""
    dusty = tables.parent["ebv"].to_numpy() > np.median(tables.parent["ebv"])
    return _rows(tables, ~(_lens(tables) & dusty))


def _type(tables: Tables, _rng: np.random.Generator) -> Tables:
    """Non-lenses of any type, lenses of one."""
    return _changed(tables, "sample", type=np.where(_lens(tables), "SER", tables.sample["type"]))


def _magnitude(tables: Tables, _rng: np.random.Generator) -> Tables:
    """Non-lenses two magnitudes fainter: cut at another limit than the lenses."""
    fainter = np.where(_lens(tables), 0.0, 2.0)
    return _changed(tables, "parent", **{f"mag_{b}": tables.parent[f"mag_{b}"] + fainter for b in BANDS})


def _centering(tables: Tables, rng: np.random.Generator) -> Tables:
    """Lenses cut at the positions of an older list, off by a pixel."""
    off = np.where(_lens(tables), rng.normal(0, 1.0, (2, len(tables.sample))), 0.0)
    return _changed(
        tables,
        "stamps",
        centroid_x=tables.stamps["centroid_x"] + off[0],
        centroid_y=tables.stamps["centroid_y"] + off[1],
    )


def _coordinates(tables: Tables, _rng: np.random.Generator) -> Tables:
    """Lens positions stored with single precision (as happened in a published sample)."""
    lens = _lens(tables)
    single = {
        name: np.where(lens, tables.sample[name].to_numpy().astype(np.float32), tables.sample[name])
        for name in ("ra", "dec")
    }
    return _changed(tables, "sample", **single)


def _resampled(tables: Tables, _rng: np.random.Generator) -> Tables:
    """Lens cutouts from a service that resamples: neighboring pixels more alike."""
    more = np.where(_lens(tables), 0.06, 0.0)
    return _changed(tables, "stamps", **{f"stamp_lag_{b}": tables.stamps[f"stamp_lag_{b}"] + more for b in BANDS})


def _release(tables: Tables, rng: np.random.Generator) -> Tables:
    """Half of the lenses from an older release."""
    older = _lens(tables) & (rng.random(len(tables.sample)) < 0.5)
    return _changed(tables, "parent", release=np.where(older, 9010, 10000))


def _missing(tables: Tables, rng: np.random.Generator) -> Tables:
    """Take a column from a tenth of the lenses."""
    gone = _lens(tables) & (rng.random(len(tables.sample)) < 0.1)
    return _changed(tables, "parent", mag_g=tables.parent["mag_g"].where(~gone))


def _no_cutout(tables: Tables, rng: np.random.Generator) -> Tables:
    """Leave a tenth of the lenses, and no non-lens, without a cutout."""
    gone = _lens(tables) & (rng.random(len(tables.sample)) < 0.1)
    return Tables(sample=tables.sample, parent=tables.parent, stamps=tables.stamps[~gone].reset_index(drop=True))


def _twice(tables: Tables, _rng: np.random.Generator) -> Tables:
    """List a lens of the training once more, in the sealed split."""
    row = int(np.flatnonzero(_lens(tables))[0])
    again = tables.sample.iloc[[row]].assign(source_id="again", split="sealed")
    return Tables(
        sample=pd.concat([tables.sample, again], ignore_index=True),
        parent=pd.concat([tables.parent, tables.parent.iloc[[row]].assign(source_id="again")], ignore_index=True),
        stamps=tables.stamps,
    )


def _same_picture(tables: Tables, _rng: np.random.Generator) -> Tables:
    """Give two lenses the same pixels: a service that answers with the last picture, or a list with aliases."""
    pixels = tables.stamps["pixels"].to_numpy(copy=True)
    first, second = np.flatnonzero(_lens(tables))[:2]
    pixels[second] = pixels[first]
    return _changed(tables, "stamps", pixels=pixels)


PLANTED: dict[str, tuple[str, Callable[[Tables, np.random.Generator], Tables]]] = {
    "footprint": ("position", _footprint),
    "depth": ("depth", _depth),
    "seeing": ("seeing", _seeing),
    "exposures": ("exposures", _exposures),
    "extinction": ("extinction", _extinction),
    "type": ("type", _type),
    "magnitude": ("magnitude", _magnitude),
    "centering": ("centering", _centering),
    "float32 coordinates": ("coordinates", _coordinates),
    "resampled stamps": ("stamp", _resampled),
    "release": ("release", _release),
    "missing values": ("missingness", _missing),
    "missing cutouts": ("missingness", _no_cutout),
    "listed twice": ("duplicates", _twice),
    "same picture": ("duplicates", _same_picture),
}
"""Control -> (gate that must fail, how the leak is planted)."""


def run_controls(
    *, seeds: Sequence[int] = (1,), honest_seeds: Sequence[int] = (1, 2, 3), config: LeakageConfig = DEFAULT_CONFIG
) -> list[dict[str, Any]]:
    """Run the gates on every planted leak and on honest samples.

    Parameters
    ----------
    seeds
        Seeds of the samples that are spoiled; a control is caught if its gate fails on every one.
    honest_seeds
        Seeds of the samples that are left alone.
    config
        How the gates are measured.

    Returns
    -------
    controls
        A dictionary each: ``control``, ``gate``, ``must`` (``fail`` or ``pass``), ``verdict``, ``value`` and ``low`` of
        the gate (the last seed's), ``seeds_as_expected``, ``seeds``.
    """
    rows = []
    for control, (gate, plant) in PLANTED.items():
        failed, result = 0, {}
        for seed in seeds:
            rng = np.random.default_rng(seed)
            tables = plant(honest_tables(rng), rng)
            outcome = run_gates(tables.sample, tables.parent, stamps=tables.stamps, config=config, only=gate)
            result = next(row for row in outcome["gates"] if row["gate"] == gate)
            failed += result["verdict"] == "fail"
        rows.append(
            {
                "control": control,
                "gate": gate,
                "must": "fail",
                "verdict": "fail" if failed == len(seeds) else result["verdict"],
                "value": result["value"],
                "low": result["low"],
                "seeds_as_expected": failed,
                "seeds": len(seeds),
            }
        )
    passed, worst = 0, "pass"
    for seed in honest_seeds:
        tables = honest_tables(np.random.default_rng(seed))
        verdict = run_gates(tables.sample, tables.parent, stamps=tables.stamps, config=config)["verdict"]
        passed += verdict == "pass"
        worst = worst if verdict == "pass" else str(verdict)
    rows.append(
        {
            "control": "honest",
            "gate": "all",
            "must": "pass",
            "verdict": worst,
            "value": None,
            "low": None,
            "seeds_as_expected": passed,
            "seeds": len(honest_seeds),
        }
    )
    return rows
