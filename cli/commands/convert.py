"""`freeatten convert`: a checkpoint as a folder of the transformers library."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["convert"]


def convert(
    name: Annotated[str, typer.Argument(help="A shipped name, a folder or a hub name.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to make.")],
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing.")] = False,
) -> None:
    """Write a checkpoint for transformers: softmax as a Llama, others as a type of their own."""
    from freeatten_core.models.checkpoint import load_checkpoint
    from freeatten_core.models.transformers_model.config import quiet as without_advice
    from freeatten_core.models.transformers_model.config import require_transformers

    require_transformers()
    import freeatten_core.transformers

    checkpoint = load_checkpoint(name)
    with without_advice():
        freeatten_core.transformers.convert(checkpoint, out)
    if quiet:
        return
    typer.echo(f"{out}: {checkpoint.config.variant}, for AutoModelForCausalLM and AutoTokenizer")
    if str(checkpoint.config.variant) != "softmax":
        typer.echo("Import freeatten_core.transformers before it is loaded.")
