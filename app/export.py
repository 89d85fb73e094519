"""`freeatten-viz export`: the instrument as a folder that needs no server."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["export"]


def export(
    out: Annotated[Path, typer.Option(help="A new or empty folder.")],
    len_: Annotated[
        str, typer.Option("--len", help="Tokens of the maps: 16x the training length, or 8192.")
    ] = "16x",
    text: Annotated[
        str, typer.Option(help="What the maps are of: stdlib, prose, a file or folder, or -.")
    ] = "stdlib",
) -> None:
    """Write a static site: the stored comparison and zoomable maps. Open its index.html."""
    from rich.console import Console

    from freeatten_core.basics.files import replacing_folder
    from freeatten_core.basics.lengths import parse_lengths
    from freeatten_core.data.documents import evaluation_documents

    from .server import environment
    from .site import heads, site

    site.check_folder(out)
    rows = heads.load()
    length = max(parse_lengths(len_, [row.checkpoint.config.train_length for row in rows]))
    documents = evaluation_documents(text, sys.stdin)
    console = Console(stderr=True)
    say = partial(environment.say, error=True)
    sizes = site.forecast(rows, length)
    say(
        f"up to {sizes.maps} maps of {length:,} tokens: at most {sizes.whole / 1e6:.0f} MB in "
        f"{out}, no file above {sizes.largest / 1e6:.1f} MB"
    )
    # folders of this machine are nobody's business on a page that may be published
    words = ["--out", out.resolve().name, "--len", len_, "--text", Path(text).name]
    command = shlex.join(["freeatten-viz", "export", *words])
    with replacing_folder(out) as folder:
        with _progress(console) as advance:
            seen = heads.look(rows, documents, length, advance)
            site.write(folder, seen, command, advance)
        written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    say(f"wrote {written / 1e6:.0f} MB; open {out / 'index.html'} in a browser")


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str], Callable[[float, float], None]]]:
    """Gives a function from a name to a progress callback, each a bar."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as bar:

        def advance(name: str) -> Callable[[float, float], None]:
            task = bar.add_task(name, total=None)
            return lambda done, whole: bar.update(task, completed=done, total=whole)

        yield advance
