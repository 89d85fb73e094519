"""The `freeatten-viz` command: slow imports inside its subcommands."""

from __future__ import annotations

import typer

from . import export, serve, space
from .failures import guarded, unwind_when_terminated

app = typer.Typer(
    name="freeatten-viz",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root() -> None:
    """freeatten in the browser. Start with: freeatten-viz serve"""


app.command("serve")(guarded(serve.serve))
app.command("export")(guarded(export.export))
app.command("space")(guarded(space.space))


def main() -> None:
    """The console script."""
    unwind_when_terminated()
    app()
