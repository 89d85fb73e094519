"""The `freeatten` command: one module a subcommand, imports inside them."""

from __future__ import annotations

import typer

from . import compare, train
from .failures import guarded

app = typer.Typer(
    name="freeatten",
    help="How does attention behave as the context grows?",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


@app.callback()
def root() -> None:
    """How does attention behave as the context grows?"""


app.command("compare")(guarded(compare.compare))
app.command("train")(guarded(train.train))


def main() -> None:
    app()
