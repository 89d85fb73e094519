"""The `freeatten-viz` command: slow imports inside its subcommands."""

from __future__ import annotations

from typing import Annotated

import typer

from freeatten_core.basics.signals import unwind_when_signalled
from freeatten_core.basics.version import version_line

from . import export, serve, space
from .failures import guarded
from .server import environment

app = typer.Typer(
    name="freeatten-viz",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(version_line("freeatten-viz"))
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
    unwind_when_signalled()
    app()
