"""The verbs ``validate page`` and ``validate saliency``: what a committee reads, and where a network looks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def page(
    validation: Annotated[Path, typer.Argument(help="validation.json, or its folder.")],
    out: Annotated[Path, typer.Option("--out", help="The HTML file; its numbers stand beside it as JSON.")],
    shortcuts: Annotated[Path | None, typer.Option(help="shortcuts.json, or its folder.")] = None,
    controls: Annotated[Path | None, typer.Option(help="Result of validate controls.")] = None,
    completeness: Annotated[Path | None, typer.Option(help="Folder of validate completeness.")] = None,
    contaminants: Annotated[Path | None, typer.Option(help="contaminants.json, or its folder.")] = None,
    gates: Annotated[Path | None, typer.Option(help="Result of samples gates (--json).")] = None,
    store: Annotated[Path | None, typer.Option(help="Cutout store: offenders and saliency are pictured.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="The network: with a store, where it looks is drawn.")] = None,
    title: Annotated[str, typer.Option(help="Title of the page.")] = "Will it work on the sky?",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Write one self-contained HTML page of all that was validated, with a light for each section.

    \b
    Example:
      legacylens validate page sealed/ --shortcuts shortcuts/ --completeness compl/ --out validation.html
    """
    from legacylens.cli.output import show
    from legacylens.plots.validation_page import read_page_inputs, write_page

    inputs = read_page_inputs(
        validation, shortcuts=shortcuts, controls=controls, completeness=completeness, contaminants=contaminants,
        gates=gates, store=store, checkpoint=checkpoint, title=title,
    )  # fmt: skip
    numbers = write_page(out, inputs)
    lights = numbers["lights"]
    result = {"page": str(out), "numbers": str(out.with_suffix(".json")), "lights": lights}
    show(
        result, as_json, lambda: [f"{out}", *(f"{name}: {row['level']}. {row['why']}" for name, row in lights.items())]
    )


def saliency(
    checkpoint: Annotated[Path, typer.Argument(help="The network.")],
    store: Annotated[Path, typer.Argument(help="Cutout store.")],
    source_id: Annotated[list[str], typer.Argument(help="Objects of the store.")],
    out: Annotated[Path, typer.Option("--out", help="The PNG.")],
    patch: Annotated[int, typer.Option(min=1, help="Side of a patch [pixels].")] = 9,
    step: Annotated[int, typer.Option(min=1, help="By how much it is moved [pixels].")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    r"""Draw where a network looks: by how much its logit falls without each patch of a picture.

    \b
    Example:
      legacylens validate saliency train/best.pt cutouts/store 10001_1_1 --out saliency.png
    """
    import numpy as np

    from legacylens.cli.output import show
    from legacylens.cutouts.store import CutoutStore
    from legacylens.files import atomic_path
    from legacylens.plots.validation_saliency import saliency_figure
    from legacylens.scan.config import ScanConfig
    from legacylens.scan.scorer import Scorer
    from legacylens.validation.saliency import occlusion_saliency

    logits = Scorer(checkpoint, ScanConfig(symmetries=False)).logits
    with CutoutStore.open(store) as opened:
        cutouts = [opened.cutout(int(row)) for row in opened.index_of(source_id)]
    maps = [
        occlusion_saliency(logits, cutout.image, np.random.default_rng(1), patch=patch, step=step) for cutout in cutouts
    ]
    with atomic_path(out) as temporary:
        saliency_figure(cutouts, maps).savefig(temporary, format="png", dpi=130)
    rows = [
        {
            "source_id": cutout.source_id,
            "logit": found.logit,
            "largest_fall": float(found.fall.max()),
            "share_1_to_5_arcsec": found.share_within(1.0, 5.0, cutout.pixscale),
        }
        for cutout, found in zip(cutouts, maps, strict=True)
    ]
    show({"picture": str(out), "objects": rows}, as_json, lambda: [f"{out}", *(str(row) for row in rows)])
