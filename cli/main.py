"""The `freeatten` command: one module a subcommand, slow imports inside them."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Annotated

import typer

from freeatten_core.basics.errors import FAILURE, interruption, reason_of
from freeatten_core.basics.signals import unwind_when_signalled
from freeatten_core.basics.version import version_line

from .commands import (
    ablate,
    bench,
    checkpoints,
    compare,
    convert,
    entropy,
    field,
    kernels,
    languages,
    longppl,
    map,
    report,
    retrieve,
    stability,
    stages,
    train,
    variants,
)
from .terminal.failures import guarded, stop
from .terminal.streams import discard_output, prepare

__all__ = ["main", "root"]

app = typer.Typer(
    name="freeatten",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(version_line("freeatten"))
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """How does attention behave as the context grows? Start with: freeatten compare --len 16x"""


app.command("compare")(guarded(compare.compare))
app.command("checkpoints")(guarded(checkpoints.checkpoints))
app.command("map")(guarded(map.attention_map))
app.command("entropy")(guarded(entropy.entropy))
app.command("ablate")(guarded(ablate.ablate))
app.command("stages")(guarded(stages.stages))
app.command("retrieve")(guarded(retrieve.retrieve))
app.command("field")(guarded(field.field))
app.command("languages")(guarded(languages.languages))
app.command("longppl")(guarded(longppl.longppl))
app.command("convert")(guarded(convert.convert))
app.command("kernels")(guarded(kernels.kernels))
app.command("variants")(guarded(variants.variants))
app.command("train")(guarded(train.train))
app.command("bench")(guarded(bench.bench))
app.command("stability")(guarded(stability.stability))
app.command("report")(guarded(report.report))


def main() -> None:
    """Run a command, and exit as it ends."""
    unwind_when_signalled()
    code = _code()
    try:
        sys.stdout.flush()
    except OSError:  # said already, and the interpreter would write it again
        discard_output()
    sys.exit(code)


def _code() -> int | str | None:
    """The exit code of a command that ends as `typer` ends it."""
    try:
        prepare()
        app()
    except SystemExit as ended:
        return ended.code
    except KeyboardInterrupt as error:  # before or after the part that is guarded
        return _stopped(*interruption(error))
    except OSError as error:  # of the help or the version, which no command guards
        return _stopped(f"standard output: {reason_of(error)}", FAILURE)
    return 0


def _stopped(message: str, code: int) -> int:
    """The code, after the reason was said as far as anybody still listens."""
    with suppress(typer.Exit):
        stop(message, code)
    return code
