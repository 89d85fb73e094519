"""The `freeatten-viz` command: slow imports inside its subcommands."""

from __future__ import annotations

from typing import Annotated

import typer

from . import export, serve, space
from .failures import guarded, unwind_when_terminated
from .server import environment

app = typer.Typer(
    name="freeatten-viz",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            number = version("freeatten")
        except PackageNotFoundError:
            number = "(a checkout, not installed)"
        typer.echo(f"freeatten-viz {number}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """freeatten in the browser. Start with: freeatten-viz serve"""


app.command("serve")(guarded(serve.serve))
app.command("export")(guarded(export.export))
app.command("space")(guarded(space.space))


def main() -> None:
    """The console script."""
    environment.open_streams()
    unwind_when_terminated()
    app()
