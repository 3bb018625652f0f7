"""The ``legacylens`` command: its verbs stand in the order of the data.

Exit codes: 0 done, 1 failed, 2 bad usage or input, 130 interrupted.
Nothing here, nor at the top of a verb's module, imports more than typer: ``--help`` answers at once.
"""

from __future__ import annotations

import errno
import inspect
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from legacylens import __version__
from legacylens.cli import (
    candidates,
    compare,
    contaminants,
    cutouts,
    cutouts_fetch,
    cutouts_rehearse,
    cutouts_sheet,
    ensemble,
    known_lenses,
    learning_curve,
    mocks_bench,
    mocks_draw,
    mocks_inject,
    mocks_population,
    mocks_release,
    parent,
    realism,
    realism_calibrate,
    run,
    samples,
    scan,
    score,
    train,
    validate,
    validate_compare,
    validate_completeness,
    validate_contaminants,
    validate_map,
    validate_page,
    validate_shortcuts,
)
from legacylens.errors import LegacylensError

EXAMPLE_MARK = chr(92) + "b"
"""What stands before an example in a docstring."""

EPILOG = "Exit codes: 0 done, 1 failed, 2 bad usage or input, 130 interrupted (run again: finished work is kept)."

ORDER = (
    "quickstart",
    "run",
    "known-lenses",
    "contaminants",
    "parent",
    "cutouts",
    "mocks",
    "realism",
    "samples",
    "train",
    "compare",
    "learning-curve",
    "validate",
    "scan",
    "score",
    "ensemble",
    "candidates",
)
"""The verbs as ``--help`` lists them: the whole way first, then the steps in the order of the data."""


class InDataOrder(TyperGroup):
    """Lists the verbs in the order of the data (Typer lists groups after all commands)."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the verbs in `ORDER`; one that is not named there comes last."""
        return sorted(super().list_commands(ctx), key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


app = typer.Typer(
    name="legacylens",
    cls=InDataOrder,
    help="Find strong gravitational lenses in the DESI Legacy Imaging Surveys, and know how far to trust the answer.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"legacylens {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Find strong gravitational lenses in the DESI Legacy Imaging Surveys."""


cutouts.app.command("fetch")(cutouts_fetch.fetch)
cutouts.app.command("rehearse")(cutouts_rehearse.rehearse)
cutouts.app.command("sheet")(cutouts_sheet.sheet)

mocks = typer.Typer(no_args_is_help=True, help="Make a sky whose truth is known, and lenses in survey units.")
mocks.command("release")(mocks_release.mocks_release)
mocks.command("inject")(mocks_inject.mocks_inject)
mocks.command("draw")(mocks_draw.mocks_draw)
mocks.command("population")(mocks_population.mocks_population)
mocks.command("bench")(mocks_bench.mocks_bench)

realism.app.command("calibrate")(realism_calibrate.calibrate)

sample_verbs = typer.Typer(no_args_is_help=True, help="Label the parent sample and split it by sky cell.")
sample_verbs.command("build")(samples.samples)
sample_verbs.command("suspicious")(samples.suspicious)
sample_verbs.command("leave-one-out")(samples.leave_one_out)
sample_verbs.command("gates")(samples.gates)
sample_verbs.command("controls")(samples.controls)

validate_verbs = typer.Typer(no_args_is_help=True, help="Measure what a finder finds, before the survey is scanned.")
validate_verbs.command("report")(validate.validate)
validate_verbs.command("compare")(validate_compare.compare)
validate_verbs.command("contaminants")(validate_contaminants.contaminants)
validate_verbs.command("completeness")(validate_completeness.completeness)
validate_verbs.command("map")(validate_map.completeness_sky)
validate_verbs.command("shortcuts")(validate_shortcuts.shortcuts)
validate_verbs.command("controls")(validate_shortcuts.controls)
validate_verbs.command("saliency")(validate_page.saliency)
validate_verbs.command("page")(validate_page.page)

app.command("run")(run.run)
app.command("quickstart")(run.quickstart)
app.command("known-lenses")(known_lenses.known_lenses)
app.command("contaminants")(contaminants.contaminants)
app.command("parent")(parent.parent)
app.add_typer(cutouts.app, name="cutouts")
app.add_typer(mocks, name="mocks")
app.add_typer(realism.app, name="realism")
app.add_typer(sample_verbs, name="samples")
app.command("train")(train.train)
app.command("compare")(compare.compare)
app.command("learning-curve")(learning_curve.learning_curve)
app.add_typer(validate_verbs, name="validate")
app.command("scan")(scan.scan)
app.command("score")(score.score)
app.command("ensemble")(ensemble.ensemble)
app.command("candidates")(candidates.candidates)


def _readable(docstring: str) -> str:
    """Return a docstring as help: paragraphs flow, and the lines of an example stay as they are.

    Typer keeps the lines of a paragraph behind a backspace character; our docstrings write it as a backslash and a b.
    """
    paragraphs = inspect.cleandoc(docstring).split("\n\n")
    marked = [(text.startswith(EXAMPLE_MARK), text.removeprefix(EXAMPLE_MARK).lstrip("\n")) for text in paragraphs]
    return "\n\n".join(f"\b\n{text}" if is_example else " ".join(text.split()) for is_example, text in marked)


def _explain(group: typer.Typer) -> None:
    """Give every verb the help that its docstring holds."""
    for command in group.registered_commands:
        if command.callback is not None and command.callback.__doc__:
            command.help = _readable(command.callback.__doc__)
    for member in group.registered_groups:
        if member.typer_instance is not None:
            _explain(member.typer_instance)


_explain(app)


def main() -> None:
    """Run the command line and exit with a documented code."""
    try:
        app()
    except LegacylensError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        sys.stderr.write(
            f"error: no space left on the disk while writing {error.filename or 'a file'}. "
            "Free some space and run the same command: what was finished is kept.\n"
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
