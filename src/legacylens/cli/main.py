"""The ``legacylens`` command: its verbs stand in the order of the data.

Exit codes: 0 done, 1 failed, 2 bad usage or input, 130 interrupted.
Nothing here, nor at the top of a verb's module, imports more than typer: ``--help`` answers at once.
"""

from __future__ import annotations

import errno
import sys
from typing import Annotated

import typer

from legacylens import __version__
from legacylens.cli import known_lenses, parent, run
from legacylens.errors import LegacylensError

EPILOG = "Exit codes: 0 done, 1 failed, 2 bad usage or input, 130 interrupted (run again: finished work is kept)."

app = typer.Typer(
    name="legacylens",
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


app.command("run")(run.run)
app.command("quickstart")(run.quickstart)
app.command("known-lenses")(known_lenses.known_lenses)
app.command("parent")(parent.parent)


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
