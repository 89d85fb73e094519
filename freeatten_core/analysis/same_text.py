"""Several models over the same text, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from freeatten_core.basics.errors import sentence_and_code
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
    fail: Callable[[int, str], None] | None = None,
) -> tuple[list[Capture], str]:
    """One pass of every row over one text of `documents`, and that text's name.

    Args:
        tokens: length of the text.
        seed: which text; one stays the same whatever its length (see `select_prefix`).
        device, layers: as for `capture`.
        advance: gives the progress callback of a row by its name.
        fail: told which of several rows cannot be captured and why, and the others stand. Where
            it is None, or none stands, that ends all.

    Raises:
        ContentError: a row that fails, as for `capture`.
        UsageError: no text is long enough, the rows have different tokenizers, too little memory.
    """
    drawn = select_prefix(documents, common_tokenizer(rows), tokens, seed)
    found: list[Capture] = []
    for index, row in enumerate(rows):
        try:
            seen = capture(
                row.model,
                torch.from_numpy(drawn.tokens),
                variant=row.variant,
                layers=layers,
                device=device,
                advance=advance(row.name),
            )
        except Exception as error:  # a bug is raised again
            sentence = sentence_and_code(error)
            none_stands = not found and index == len(rows) - 1
            if sentence is None or fail is None or none_stands:
                raise
            fail(index, sentence[0])
        else:
            found.append(seen)
    return found, drawn.name
