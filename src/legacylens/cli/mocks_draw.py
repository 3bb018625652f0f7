"""The verb ``legacylens mocks draw``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import pandas as pd

    from legacylens.cutouts.cutout import Cutout


def mocks_draw(
    hosts: Annotated[
        Path,
        typer.Argument(help="Store of cutouts, or a file or folder of stamps (FITS, npz).", show_default=False),
    ],
    out: Annotated[Path, typer.Option("--out", help="PNG of the contact sheet.")] = Path("mocks.png"),
    parent: Annotated[
        Path | None, typer.Option("--parent", help="parent.parquet of the store; not needed for stamps in files.")
    ] = None,
    sources: Annotated[
        Path | None,
        typer.Option("--sources", help="Folder of HST galaxies (GalSim RealGalaxy) to lens, in place of profiles."),
    ] = None,
    name: Annotated[str, typer.Option("--set", help="calibrated, broad or arbitrary-flux.")] = "calibrated",
    n: Annotated[int, typer.Option("--n", help="Number of mocks.", min=1)] = 8,
    seed: Annotated[int, typer.Option("--seed", help="Seed.", min=0)] = 1,
    psfsize: Annotated[
        str, typer.Option("--psfsize", help="FWHM in g, r, z for stamps in files in arcsec.")
    ] = "1.25,1.10,1.00",
    ebv: Annotated[float, typer.Option("--ebv", help="Reddening E(B-V) for stamps in files in mag.", min=0.0)] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Draw hosts with and without an arc, in color and in each band, with magnification, magnitudes and S/N.

    Stamps in files have no seeing, often no invvar: give --psfsize; the invvar is measured from their sky, and said.

    \b
    Example:
      legacylens mocks draw des-lrg/ --sources hst-cosmos/ --n 8 --out sheet.png
      legacylens mocks draw cutouts/ --parent parent/parent.parquet --set broad --out broad.png
    """
    from legacylens.cli.output import show, table
    from legacylens.mocks.draw import draw_mocks
    from legacylens.mocks.hst_sources import read_hst_sources
    from legacylens.mocks.population_sets import named_set
    from legacylens.plots.population import mock_sheet

    config = named_set(name)
    if (hosts / "store.json").exists():
        cutouts, rows, notes = _from_store(hosts, parent, name, n, seed)
    else:
        cutouts, rows, notes = _from_files(hosts, psfsize, ebv)
    mocks, skipped = draw_mocks(
        cutouts, rows, config, n=n, seed=seed, sources=read_hst_sources(sources) if sources else ()
    )
    sheet = mock_sheet(mocks, out)
    bands = ("g", "r", "z")
    keys = ("theta_E", "z_l", "z_s", "magnification", *(f"source_mag_{b}" for b in bands))
    keys = (*keys, *(f"arc_mag_{b}" for b in bands), *(f"snr_{b}" for b in bands))
    listed = [
        {"host": m.host.source_id, "source": m.source, **{key: float(m.truth[key]) for key in keys}} for m in mocks
    ]
    result = {"sheet": str(sheet), "set": name, "mocks": listed, "skipped": skipped, "notes": notes}

    def render() -> list[object]:
        rows = [
            (
                m.host.source_id,
                m.source,
                *(f"{m.truth[key]:.2f}" for key in ("theta_E", "z_l", "z_s", "magnification")),
                *(
                    " ".join(f"{m.truth[f'{part}_{b}']:.{d}f}" for b in bands)
                    for part, d in (("source_mag", 2), ("arc_mag", 2), ("snr", 0))
                ),
            )
            for m in mocks
        ]
        header = ["host", "source", "theta_E", "z_l", "z_s", "mu", "unlensed g r z", "lensed g r z", "S/N g r z"]
        parts: list[object] = [table("Mocks: arcsec, AB magnitudes, matched-filter S/N", header, rows)]
        if skipped:
            parts.append("not made: " + ", ".join(f"{reason} {number}" for reason, number in skipped.items()))
        return [*parts, *notes, f"sheet: {sheet}"]

    show(result, as_json, render)


def _from_store(
    path: Path, parent: Path | None, name: str, n: int, seed: int
) -> tuple[list[Cutout], pd.DataFrame, list[str]]:
    """Return some hosts of a store with their rows, chosen as the set chooses."""
    import numpy as np

    from legacylens.cutouts.store import CutoutStore
    from legacylens.errors import InputError
    from legacylens.files import read_parquet
    from legacylens.mocks.host_matching import match_hosts
    from legacylens.mocks.hosts import choose_candidates, host_table, sky_noise
    from legacylens.mocks.population_sets import named_set
    from legacylens.survey.bands import BANDS

    if parent is None:
        raise InputError(f"{path} is a store: give the parent table that it was cut from with --parent")
    store, frame = CutoutStore.open(path), read_parquet(parent)
    frame = frame[frame["source_id"].astype(str).isin(set(store.manifest["source_id"].astype(str)))]
    if not len(frame):
        raise InputError(f"none of the sources of {parent} is in the store {path}")
    config = named_set(name)
    candidates, _ = choose_candidates(host_table(frame), config.hosts)
    if not len(candidates):
        raise InputError(f"none of {len(frame)} galaxies can be a host of the set {name!r}")
    share = match_hosts(candidates, config).share
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0, 2]))
    order = rng.choice(len(candidates), size=min(4 * n, int((share > 0).sum())), replace=False, p=share)
    rows = candidates.iloc[order].reset_index(drop=True)
    cutouts = [store.cutout(int(place)) for place in store.index_of(rows["source_id"])]
    noise = np.array([sky_noise(cutout) for cutout in cutouts])
    for number, band in enumerate(BANDS):
        rows[f"sigma_{band}"] = noise[:, number]
    return cutouts, rows, []


def _from_files(path: Path, psfsize: str, ebv: float) -> tuple[list[Cutout], pd.DataFrame, list[str]]:
    """Return the stamps of files with rows measured on them."""
    import pandas as pd

    from legacylens.cutouts.decode import decode_files
    from legacylens.errors import InputError
    from legacylens.mocks.measured_hosts import ADDED_NOTE, measured_host, with_measured_invvar

    try:
        sizes = [float(part) for part in psfsize.split(",")]
    except ValueError:
        sizes = []
    if len(sizes) != 3 or not all(0.3 < size < 5.0 for size in sizes):
        raise InputError(f"--psfsize {psfsize!r}: give the FWHM in g, r and z as three numbers of 0.3 to 5 arcsec")
    decoded = decode_files([path])
    if not decoded.cutouts:
        problems = "; ".join(str(problem) for problem in decoded.problems)
        raise InputError(f"{path} holds no stamp that can be a host. {problems}")
    cutouts = [with_measured_invvar(cutout) for cutout in decoded.cutouts]
    rows = pd.concat([measured_host(cutout, sizes, ebv) for cutout in cutouts], ignore_index=True)
    notes = [
        f"seeing taken as {psfsize} arcsec in g, r, z, E(B-V) as {ebv:g}; redshifts of hosts are from their colors",
        *sorted({note for cutout in cutouts for note in cutout.notes}),
    ]
    if any(ADDED_NOTE in cutout.notes for cutout in cutouts):
        notes.append("so the gain rests on an assumed sky brightness and the measured noise, good to 50 %")
    return cutouts, rows, notes
