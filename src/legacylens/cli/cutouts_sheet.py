"""The verb ``cutouts sheet``: what is in a store, to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def sheet(
    store: Annotated[Path, typer.Argument(help="Cutout store.")],
    out: Annotated[Path, typer.Option("--out", help="PNG to write; more pages get -02, -03...")],
    scores: Annotated[Path | None, typer.Option(help="scores.parquet, or its folder: highest first.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most cutouts.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Draw the cutouts of a store as contact sheets, as the survey's viewer colors them.

    \b
    Example:
      legacylens cutouts sheet lenses/ --out lenses.png
      legacylens cutouts sheet cutouts/ --scores scores/ --limit 60 --out best.png
    """
    import numpy as np

    from legacylens.cli.output import show
    from legacylens.cutouts.store import CutoutStore
    from legacylens.errors import InputError
    from legacylens.files import read_parquet
    from legacylens.plots.sheets import contact_sheet

    per_page = 60
    with CutoutStore.open(store) as opened:
        manifest = opened.manifest
        order = np.arange(len(manifest))
        captions = manifest["source_id"].astype(str)
        if scores is not None:
            table = read_parquet(scores / "scores.parquet" if scores.is_dir() else scores)
            name = next((column for column in ("score", "logit") if column in table), None)
            if name is None or "source_id" not in table:
                raise InputError(
                    f"{scores} has the columns {', '.join(map(str, table.columns))}: source_id, score needed"
                )
            value = manifest["source_id"].map(table.drop_duplicates("source_id").set_index("source_id")[name])
            rank = manifest["source_id"].map(
                table.drop_duplicates("source_id").set_index("source_id")["logit" if "logit" in table else name]
            )
            order = order[rank.notna().to_numpy()]
            order = order[np.argsort(-rank.to_numpy()[order], kind="stable")]
            captions = captions + [f"\n{name} {each:.3f}" for each in value]
        order = order[:limit]
        if len(order) == 0:
            raise InputError(
                f"{store} has no cutout to draw" + ("" if scores is None else f" with a score in {scores}")
            )
        pages = []
        for start in range(0, len(order), per_page):
            rows = order[start : start + per_page]
            path = out if start == 0 else out.with_stem(f"{out.stem}-{start // per_page + 1:02d}")
            cutouts = [opened.cutout(int(row)) for row in rows]
            pages.append(str(contact_sheet(cutouts, captions.iloc[rows].tolist(), path, columns=10)))
    result = {"store": str(store), "cutouts": len(manifest), "drawn": len(order), "pages": pages}
    show(result, as_json, lambda: [f"{len(order):,} of {len(manifest):,} cutouts in", *pages])
