"""The verb ``legacylens mocks inject``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def mocks_inject(
    store: Annotated[Path, typer.Argument(help="Store of cutouts with invvar.", show_default=False)],
    parent: Annotated[Path, typer.Argument(help="parent.parquet that the store was cut from.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Folder of the new store.", show_default=False)],
    name: Annotated[str, typer.Option("--set", help="calibrated, broad or arbitrary-flux.")] = "calibrated",
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file with a whole set, in place of a named one.")
    ] = None,
    n: Annotated[int, typer.Option("--n", help="Number of mocks.", min=1)] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the set.", min=0)] = 1,
    per_host: Annotated[
        int | None, typer.Option("--per-host", help="Mocks that may share a host, if not the set's own.", min=1)
    ] = None,
    exclude: Annotated[
        Path | None,
        typer.Option("--exclude", help="Parquet table: sources that are no hosts (with a label: those not 0)."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", help="With --exclude SAMPLE: hosts from this split only; train for training sets."),
    ] = None,
    psf: Annotated[
        Path | None,
        typer.Option("--psf", help="Folder of coadd PSFs, SOURCE_ID.fits; Moffat profiles where there are none."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Inject lensed arcs into galaxies of a store; write a new store with the truth beside it.

    Hosts are luminous red galaxies weighted to the hosts of known lenses. Those near an edge or masked are skipped and
    counted. Flux is checked, band by band: what was added is magnification times source flux within 1 %.

    \b
    Example:
      legacylens mocks inject cutouts/ parent/parent.parquet --set calibrated --n 1000 --seed 1 --out mocks/calibrated
    """
    import pandas as pd

    from legacylens.cli.output import show, table
    from legacylens.config.load import load_record
    from legacylens.cutouts.store import CutoutStore
    from legacylens.files import read_parquet
    from legacylens.mocks.injection_run import inject_store
    from legacylens.mocks.population_sets import MockSetConfig, named_set
    from legacylens.mocks.psf_files import psf_folder

    chosen = named_set(name) if config is None else load_record(MockSetConfig, config)
    if per_host is not None:
        chosen = chosen.model_copy(update={"hosts": chosen.hosts.model_copy(update={"per_host": per_host})})
    excluded: set[str] = set()
    if exclude is not None:
        rows = read_parquet(exclude / "sample.parquet" if exclude.is_dir() else exclude)
        unwanted = rows["label"] != 0 if "label" in rows else pd.Series(True, index=rows.index)
        if split is not None and "split" in rows:
            unwanted |= rows["split"] != split
        excluded = set(rows.loc[unwanted, "source_id"].astype(str))
    elif split is not None:
        raise typer.BadParameter("--split needs --exclude SAMPLE, the table that says which galaxy is in which split")
    report = inject_store(
        CutoutStore.open(store),
        read_parquet(parent),
        out,
        chosen,
        n=n,
        seed=seed,
        excluded=excluded,
        psf_of=psf_folder(psf),
    )
    result = report.as_dict()

    def render() -> list[object]:
        parts: list[object] = [
            table(
                f"Set {chosen.name}: 16, 50, 84 per cent, and those of the reference",
                ["quantity", "p16", "p50", "p84", "ref 16", "ref 50", "ref 84"],
                [
                    (
                        quantity,
                        *(row.get(key) for key in ("p16", "p50", "p84")),
                        *(row.get(f"reference_{key}") for key in ("p16", "p50", "p84")),
                    )
                    for quantity, row in result["summary"].items()
                    if quantity != "correlation"
                ],
            ),
            table("Not made", ["reason", "mocks"], report.skipped.items()),
            f"{report.made:,} of {report.asked:,} mocks in {report.out}; "
            f"{report.hosts.left:,} of {report.hosts.given:,} galaxies could be hosts, "
            f"as varied as {report.effective_hosts:.0f} equally likely ones",
        ]
        if report.faults:
            parts.append("This set is faulty on purpose: " + "; ".join(report.faults))
        return parts

    show(result, as_json, render)
