"""What the subcommands share: options, which model, which text, one pass over it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from freeatten_core.analysis import Capture
    from freeatten_core.models.rows import CausalRow, Row

__all__ = [
    "DEFAULT_VARIANTS",
    "TEXT",
    "AsJson",
    "Checkpoints",
    "Device",
    "Head",
    "Html",
    "Layer",
    "Length",
    "LengthOfFour",
    "LengthOfOne",
    "Png",
    "Quiet",
    "SeedOfText",
    "SeedOfTexts",
    "Svg",
    "TextSource",
    "Variants",
    "announce_conversions",
    "any_rows_of",
    "captures",
    "check_choice",
    "command_line",
    "layer_of",
    "length_of",
    "progress",
    "rows_of",
]

DEFAULT_VARIANTS = "softmax,softmax-ls,lssa,lssar:p=15"
"""Of commands that would take long with everything that is shipped."""
QUIET = "No progress and no provisional lines; the result and warnings alone."
DEVICE = "auto (the first GPU, if there is one), cpu or cuda."
TEXT = "stdlib, prose, a file or folder, or - for standard input."
HEAD_HELP = "Head, from 0."
LAYER_HELP = "Layer, from 0; by default the third with attention, or the last of fewer."
LENGTH_HELP = "Tokens of text: 4x the training length, or a number such as 2048."
OF_OTHERS = " By default {usual}; of a model of others, up to 2048 of what it declares."

Variants = Annotated[str | None, typer.Option(help="Shipped variants, with commas.")]
Checkpoints = Annotated[
    list[str] | None, typer.Option(help="A folder, shipped name or hub name; repeatable.")
]
Layer = Annotated[int | None, typer.Option(min=0, help=LAYER_HELP)]
Head = Annotated[int, typer.Option(min=0, help=HEAD_HELP)]
Length = Annotated[str, typer.Option("--len", help=LENGTH_HELP)]
LengthOfFour = Annotated[
    str | None, typer.Option("--len", help=LENGTH_HELP + OF_OTHERS.format(usual="4x"))
]
LengthOfOne = Annotated[
    str | None, typer.Option("--len", help=LENGTH_HELP + OF_OTHERS.format(usual="1x"))
]
TextSource = Annotated[str, typer.Option(help=TEXT)]
SeedOfText = Annotated[int, typer.Option(min=0, help="Which text, and where in it.")]
SeedOfTexts = Annotated[int, typer.Option(min=0, help="Which texts, and where in them.")]
Device = Annotated[str, typer.Option(help=DEVICE)]
Quiet = Annotated[bool, typer.Option("--quiet", help=QUIET)]
AsJson = Annotated[
    bool, typer.Option("--json", help="The result as JSON, alone on standard output.")
]
Html = Annotated[Path | None, typer.Option(help="Write the chart as one HTML file.")]
Png = Annotated[Path | None, typer.Option(help="Write the chart as PNG.")]
Svg = Annotated[Path | None, typer.Option(help="Write the chart as SVG.")]


def rows_of(variants: str | None, checkpoints: Sequence[str] | None, default: str) -> list[Row]:
    """Shipped variants and given checkpoints; the default variants when neither is named."""
    from freeatten_core.models.rows import load_own_rows
    from freeatten_core.variants.variant import Variant

    names = default if variants is None and not checkpoints else variants
    return load_own_rows([] if names is None else Variant.parse_list(names), checkpoints or [])


def any_rows_of(
    variants: str | None, checkpoints: Sequence[str] | None, default: str
) -> list[Row | CausalRow]:
    """As `rows_of`, models of others among the checkpoints too."""
    from freeatten_core.basics.lengths import default_restart
    from freeatten_core.models.rows import load_scored_rows
    from freeatten_core.variants.variant import Variant

    announce_conversions(checkpoints or [])
    names = default if variants is None and not checkpoints else variants
    return load_scored_rows(
        [] if names is None else Variant.parse_list(names),
        checkpoints or [],
        lambda declared: default_restart(declared, None),
    )


def layer_of(layer: int | None, rows: Sequence[Row | CausalRow]) -> int:
    """The layer asked for, or the default one: the third with attention, the last of fewer; of
    rows that can be looked into, as the others fail by themselves.

    Raises:
        ContentError: none can.
    """
    from freeatten_core.basics.errors import ContentError

    if layer is not None:
        return layer
    known = [set(row.model.layers) for row in rows if row.model.maps_refused is None]
    if not known:
        raise ContentError(rows[0].model.maps_refused)
    common = sorted(set.intersection(*known))
    return common[:3][-1] if common else 0


def length_of(asked: str | None, rows: Sequence[Row | CausalRow], usual: str) -> int:
    """Tokens of text: as asked, else the usual times the training length, or up to 2048 of what
    models of others declare.

    Raises:
        UsageError: not a length, or × without a training length.
    """
    from freeatten_core.basics.lengths import tokens_of

    trained = [row.model.train_length for row in rows if row.model.train_length is not None]
    if asked is None and not trained:
        return min(row.restart_length for row in rows)
    return tokens_of(asked or usual, trained[0] if trained else None)


def announce_conversions(checkpoints: Iterable[str]) -> None:
    """Say of every GGUF file that is about to be converted where it goes and how large it gets."""
    from freeatten_core.models.rows import split_modifiers
    from freeatten_core.models.transformers_model import conversion_of

    for source in checkpoints:
        if said := conversion_of(split_modifiers(source)[0]):
            typer.echo(said, err=True)


def captures(
    rows: Sequence[Row | CausalRow],
    *,
    text: str,
    length: int,
    seed: int,
    device: str,
    layers: Sequence[int] | None = None,
    quiet: bool = False,
    fail: Callable[[int, str], None] | None = None,
) -> tuple[list[Capture], str]:
    """One pass of every row over the same text, with progress; and the name of that text.

    Args:
        fail: as for `capture_rows`.

    Raises:
        UsageError: a text that is too short, rows with different tokenizers, too little memory.
    """
    from freeatten_core.analysis.same_text import capture_rows
    from freeatten_core.basics.devices import choose_device
    from freeatten_core.data.documents import evaluation_documents

    chosen = choose_device(device)
    documents = evaluation_documents(text, sys.stdin)
    with progress(quiet) as advance:
        return capture_rows(
            rows,
            documents,
            length,
            seed=seed,
            device=chosen,
            layers=layers,
            advance=advance,
            fail=fail,
        )


@contextmanager
def progress(quiet: bool = False) -> Iterator[Callable[[str], Callable[[float, float], None]]]:
    """Gives a function from a name to a progress callback, each a bar on standard error.

    Args:
        quiet: draw none.
    """
    from rich.console import Console

    from .terminal.bars import progress_bar

    with progress_bar(Console(stderr=True, quiet=quiet)) as bar:

        def advance(name: str) -> Callable[[float, float], None]:
            task = bar.add_task(name, total=None)
            return lambda done, whole: bar.update(task, completed=done, total=whole)

        yield advance


def command_line() -> str:
    """This call, as it can be typed again."""
    return " ".join(map(_quoted, ["freeatten", *sys.argv[1:]]))


def _quoted(word: str) -> str:
    """A word for a shell; line ends and bytes that are no UTF-8 as `$'\\xe9'`."""
    if word.isprintable():
        return shlex.quote(word)
    shown = (_escaped(character) for character in word)
    return f"$'{''.join(shown)}'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def check_choice(option: str, value: str, legal: tuple[str, ...]) -> None:
    """Refuse a value that an option does not have.

    Raises:
        UsageError: says what it can be.
    """
    from freeatten_core.basics.errors import UsageError

    if value not in legal:
        raise UsageError(f"--{option} is {value!r}; it can be {', '.join(legal)}")
