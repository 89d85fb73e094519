"""`freeatten checkpoints`: what is shipped, with what was measured."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

__all__ = ["checkpoints"]


def checkpoints(
    name: Annotated[
        str | None, typer.Argument(help="Show the card of this one: a name, folder or hub name.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The list as JSON, alone on standard output.")
    ] = False,
) -> None:
    """List the shipped checkpoints with their measured tables, or show one's card."""
    if name is not None:
        _show_card(name)
    elif as_json:
        sys.stdout.write(json.dumps(_entries()) + "\n")
    else:
        _print()


def _entries() -> list[dict[str, Any]]:
    from freeatten_core.basics.assets import assets
    from freeatten_core.models.catalogue import shipped
    from freeatten_core.models.format import WEIGHTS, read_config
    from freeatten_core.results.stored import stored_results

    results = stored_results(assets() / "results")
    entries = []
    for name in shipped():
        folder = assets() / "checkpoints" / name
        config = read_config(folder / "config.json")
        measured = {
            stored: (result["lengths"], row)
            for stored, result in results.items()
            for row in result["variants"]
            if row["variant"] == str(config.variant)
        }
        entries.append(
            {
                "name": name,
                "variant": str(config.variant),
                "train_length": config.train_length,
                "bytes": (folder / WEIGHTS).stat().st_size,
                "measured": {
                    stored: {
                        "lengths": lengths,
                        **{key: row[key] for key in ("loss", "delta", "verdict")},
                    }
                    for stored, (lengths, row) in measured.items()
                },
            }
        )
    return entries


def _print() -> None:
    from rich.console import Console
    from rich.text import Text

    from freeatten_core.basics.assets import assets
    from freeatten_core.results.stored import stored_results

    from ..terminal.tables import delta_table, loss_table, text_line

    console = Console()
    for entry in _entries():
        size = entry["bytes"] / 1e6
        console.print(
            f"[bold]{entry['name']}[/]  {entry['variant']}, trained at "
            f"{entry['train_length']} tokens, {size:.1f} MB",
            highlight=False,
        )
    for name, result in stored_results(assets() / "results").items():
        console.print(f"\n[bold]{name}[/], stored result", highlight=False)
        console.print(loss_table(result, console.width))
        console.print(delta_table(result, console.width))
        console.print(Text(text_line(result), style="dim"))


def _show_card(name: str) -> None:
    from rich.console import Console
    from rich.markdown import Markdown

    from freeatten_core.basics.errors import ContentError
    from freeatten_core.models.catalogue import locate
    from freeatten_core.models.format import CARD

    _, folder = locate(name)
    if not (folder / CARD).is_file():
        raise ContentError(f"{folder} has no {CARD}; a checkpoint's folder holds its card there")
    text = (folder / CARD).read_text(encoding="utf-8", errors="replace")
    body = text.split("---\n", 2)[-1] if text.startswith("---\n") else text
    Console().print(Markdown(body))
