"""The verb ``legacylens mocks release``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def mocks_release(
    out: Annotated[Path, typer.Argument(help="Folder of the release.", show_default=False)],
    size: Annotated[
        str, typer.Option("--size", help="tiny, small or medium: 1,100, 6,000 or 30,000 parents.")
    ] = "tiny",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the sky and of the noise.", min=0)] = 1,
    truth: Annotated[
        Path | None, typer.Option("--truth", help="Folder of the truth; OUT-truth by default.", show_default=False)
    ] = None,
    known_lenses: Annotated[
        Path | None,
        typer.Option(
            "--known-lenses", help="List of known lenses; OUT-known-lenses.csv by default.", show_default=False
        ),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", help="Number of processes.", min=1)] = 2,
    lenses: Annotated[
        int | None, typer.Option("--lenses", help="Number of lenses, if not the size's own.", show_default=False, min=0)
    ] = None,
    parents: Annotated[
        float | None,
        typer.Option(
            "--parents", help="Mean number of parents in a brick, if not the size's own.", show_default=False, min=0
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")] = False,
) -> None:
    r"""Write a miniature release whose sky we know, in the exact layout of DR10.

    The truth, and a list of known lenses as the literature would have it, are written beside the release. A run
    that was interrupted goes on where it stopped.

    \b
    Example:
        legacylens mocks release mock/tiny --size tiny --seed 1
    """
    from legacylens.cli.output import show, table
    from legacylens.errors import InputError
    from legacylens.mocks.release import write_mock_release
    from legacylens.mocks.release_config import SIZES, MockReleaseConfig

    if size not in SIZES:
        raise InputError(f"no mock release of size {size!r}: sizes are {', '.join(SIZES)}")
    changes = {"lenses": lenses, "parents_per_brick": parents}
    config = MockReleaseConfig.model_validate(
        {**SIZES[size].model_dump(), **{name: value for name, value in changes.items() if value is not None}}
    )
    summary = write_mock_release(
        out, size=config, seed=seed, truth=truth, known_lenses=known_lenses, workers=workers
    ).as_dict()
    show(summary, as_json, lambda: table("mock release", ("what", "value"), summary.items()))
