"""Several models over the same text, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from freeatten_core.basics.progress import Advance, ignore
from freeatten_core.data.documents import Document
from freeatten_core.data.selection import select_prefix
from freeatten_core.models.rows import CausalRow, Row, common_tokenizer

from .capture import Capture, capture

__all__ = ["capture_rows"]


def capture_rows(
    rows: Sequence[Row | CausalRow],
    documents: Sequence[Document],
    tokens: int,
    *,
    seed: int = 0,
    device: str | torch.device = "cpu",
    layers: Sequence[int] | None = None,
    advance: Callable[[str], Advance] = lambda _: ignore,
) -> tuple[list[Capture], str]:
    """One pass of every row over one text of `documents`, and that text's name.

    Args:
        tokens: length of the text.
        seed: which text; one stays the same whatever its length (see `select_prefix`).
        device, layers: as for `capture`.
        advance: gives the progress callback of a row by its name.

    Raises:
        UsageError: no text is long enough, the rows have different tokenizers, too little memory.
    """
    drawn = select_prefix(documents, common_tokenizer(rows), tokens, seed)
    found = [
        capture(
            row.model,
            torch.from_numpy(drawn.tokens),
            variant=row.variant,
            layers=layers,
            device=device,
            advance=advance(row.name),
        )
        for row in rows
    ]
    return found, drawn.name
