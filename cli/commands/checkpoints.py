"""`freeatten checkpoints`: what is shipped, with what was measured."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

__all__ = ["checkpoints"]

TEXT = "text"
"""Of `--task`: models that read text."""
MEASURED = ("loss", "delta", "verdict", "accuracy", "effective_length")
"""What the list as JSON has of every result, as far as that has it."""


def checkpoints(
    name: Annotated[
        str | None, typer.Argument(help="Show the card of this one: a name, folder or hub name.")
    ] = None,
    task: Annotated[
        str,
        typer.Option(
            help="text: those that read text. Or those of a task that freeatten retrieve "
            "measures: recall, passkey, …"
        ),
    ] = TEXT,
    as_json: Annotated[
        bool, typer.Option("--json", help="The list as JSON, alone on standard output.")
    ] = False,
) -> None:
    """List the shipped checkpoints with their measured tables, or show one's card."""
    from freeatten_core.data.tasks.table import RETRIEVED
    from freeatten_core.models.catalogue import MODELS

    from ..options import check_choice

    check_choice("task", task, (TEXT, *RETRIEVED))
    kind = MODELS if task == TEXT else task
    if name is not None:
        _show_card(name, kind)
    elif as_json:
        sys.stdout.write(json.dumps(_entries(kind)) + "\n")
    else:
        _print(kind)


def _entries(kind: str) -> list[dict[str, Any]]:
    from freeatten_core.basics.assets import assets
    from freeatten_core.models.catalogue import shipped
    from freeatten_core.models.format import WEIGHTS, read_config

    results = _results(kind)
    entries = []
    for name in shipped(kind):
        folder = assets() / kind / name
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
                        **{key: row[key] for key in MEASURED if key in row},
                    }
                    for stored, (lengths, row) in measured.items()
                },
            }
        )
    return entries


def _results(kind: str) -> dict[str, dict[str, Any]]:
    """Stored results of what is shipped of a kind, by name: its rows, with modifiers too, and no
    others."""
    from freeatten_core.basics.assets import assets
    from freeatten_core.models.catalogue import MODELS, shipped, slug
    from freeatten_core.results.stored import stored_results, stored_retrievals

    folder, names = assets() / "results", shipped(kind)
    if kind == MODELS:
        results = stored_results(folder)
    else:
        results = {name: each for name, each in stored_retrievals(folder).items() if name == kind}
    kept = {
        name: [row for row in each["variants"] if slug(row["variant"]) in names]
        for name, each in results.items()
    }
    if kind != MODELS:  # the first of a variant is the shipped one, others are other seeds
        kept = {
            name: [*{row["variant"]: row for row in reversed(rows)}.values()][::-1]
            for name, rows in kept.items()
        }
    return {name: {**results[name], "variants": rows} for name, rows in kept.items() if rows}


def _print(kind: str) -> None:
    from rich.console import Console
    from rich.text import Text

    from freeatten_core.models.catalogue import MODELS
    from freeatten_core.results.retrieval import retrieval_samples

    from ..terminal.retrieval import accuracy_table
    from ..terminal.tables import delta_table, loss_table, text_line

    console = Console()
    entries = _entries(kind)
    for entry in entries:
        console.print(
            f"[bold]{entry['name']}[/]  {entry['variant']}, trained at "
            f"{entry['train_length']} tokens, {_size(entry['bytes'])}",
            highlight=False,
        )
    if not entries:
        console.print(_none_shipped(kind))
    if kind == MODELS and (of_tasks := _of_tasks()):
        console.print(Text(of_tasks, style="dim"))
    for name, result in _results(kind).items():
        console.print(f"\n[bold]{name}[/], stored result", highlight=False)
        if kind == MODELS:
            console.print(loss_table(result, console.width))
            console.print(delta_table(result, console.width))
            console.print(Text(text_line(result), style="dim"))
        else:
            console.print(accuracy_table(result, console.width))
            console.print(Text(retrieval_samples(result), style="dim"))


def _none_shipped(kind: str) -> str:
    """That there is none, and what makes one."""
    from freeatten_core.models.catalogue import MODELS

    if kind == MODELS:
        return "No model that reads text is shipped; freeatten train makes one."
    return f"No {kind} model is shipped; freeatten train --task {kind} makes one."


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def _of_tasks() -> str:
    """Of which tasks models are shipped besides, and how many."""
    from freeatten_core.data.tasks.table import RETRIEVED
    from freeatten_core.models.catalogue import shipped

    counts = {task: len(shipped(task)) for task in RETRIEVED}
    named = ", ".join(f"{task} {number}" for task, number in counts.items() if number)
    return f"Besides, of tasks (--task): {named}" if named else ""


def _show_card(name: str, kind: str) -> None:
    from rich.console import Console
    from rich.markdown import Markdown

    from freeatten_core.basics.errors import ContentError
    from freeatten_core.models.catalogue import locate
    from freeatten_core.models.format import CARD

    _, folder = locate(name, kind)
    if not (folder / CARD).is_file():
        raise ContentError(f"{folder} has no {CARD}; a checkpoint's folder holds its card there")
    text = (folder / CARD).read_text(encoding="utf-8", errors="replace")
    body = text.split("---\n", 2)[-1] if text.startswith("---\n") else text
    Console().print(Markdown(body))
