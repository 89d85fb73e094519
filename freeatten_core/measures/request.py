"""What `compare` is asked, and the texts that it draws for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from freeatten_core.basics.distributed import ALONE, Ranks
from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.version import source_digest
from freeatten_core.data.aligned import Cut, select_aligned
from freeatten_core.data.documents import Document
from freeatten_core.data.selection import Selection, Text, select_texts, tokens_digest
from freeatten_core.data.tokenizer import tokenizer_id
from freeatten_core.models.rows import CausalRow, Row, tokenizers_of

from .alignment import FITTED_ON, needs_temperatures
from .scoring import check_swappable

__all__ = ["Control", "Drawn", "Request", "check_ceiling", "draw_texts"]

Control = Literal["restart", "swap"]


@dataclass(frozen=True)
class Request:
    """What to compare. Fields as the options of `freeatten compare`."""

    rows: Sequence[Row | CausalRow]
    lengths: Sequence[int]
    documents: Sequence[Document]
    source: str
    command: str
    texts: int | None = 4
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: str = "float32"
    control: Control = "restart"
    by_position: bool = False
    ceiling: Row | None = None
    """One of the rows, trained at a longer length: how much of its gain do the others reach?"""
    ranks: Ranks = ALONE
    """Each scores its share of the texts, and all have the whole result."""

    def has_controls(self, row: Row | CausalRow) -> bool:
        """Whether a row reads more than its restart, which S and W are about."""
        return max(self.lengths) > row.restart_length


def check_ceiling(ceiling: Row, rows: Sequence[Row | CausalRow], lengths: Sequence[int]) -> None:
    """Whether rows can be measured by what a model gains that was trained at a longer length.

    Args:
        rows: without it.

    Raises:
        UsageError: models of others, other tokenizers, or a training length that is not among the
            lengths or no longer than that of a row.
    """
    name, trained = ceiling.source, ceiling.restart_length
    others = [row.source for row in rows if row.model.train_length is None]
    if others:
        raise UsageError(
            f"--ceiling {name}: nothing tells what {others[0]} was trained on, and the share is of "
            "the gain from there on; compare models of this project"
        )
    if len(tokenizers_of([ceiling, *rows])) > 1:
        raise UsageError(
            f"--ceiling {name}: its tokenizer is not that of every row, so nats per token cannot "
            "be compared; train it on the same text (freeatten train --corpus)"
        )
    longest = max(row.restart_length for row in rows)
    if trained <= longest:
        raise UsageError(
            f"--ceiling {name} was trained at {trained:,} tokens, a row at {longest:,}; the "
            "ceiling's training must be longer"
        )
    if trained not in lengths:
        raise UsageError(
            f"--ceiling {name} was trained at {trained:,} tokens, which are not among the lengths; "
            f"ask for them: --len {','.join(str(each) for each in sorted({*lengths, trained}))}"
        )


@dataclass(frozen=True)
class Drawn:
    """Texts by the id of the tokenizer that cut them."""

    scored: dict[str, Selection]
    fitted: dict[str, list[Text]]
    """What `align` is fitted on: of other files; only where a row needs it."""

    def of(self, row: Row | CausalRow) -> Selection:
        """What a row is scored on."""
        return self.scored[tokenizer_id(row.tokenizer)]

    def fitting(self, row: Row | CausalRow) -> list[Text]:
        """What a row is fitted on, if anything."""
        return self.fitted.get(tokenizer_id(row.tokenizer), [])


def draw_texts(request: Request) -> Drawn:
    """The texts of every tokenizer in use; of several, they begin at the same characters.

    Raises:
        UsageError: no document is long enough, none is left to fit `align` on, there is a single
            one and `--control swap`, there are fewer than ranks, or the ranks differ in what they
            were asked for.
    """
    rows: dict[str, list[Row | CausalRow]] = {}
    for row in request.rows:
        rows.setdefault(tokenizer_id(row.tokenizer), []).append(row)
    step = math.lcm(*(row.restart_length for row in request.rows))
    scored = dict(zip(rows, _selections(request, list(rows.values()), step), strict=True))
    if request.control == "swap":
        for selection in scored.values():
            check_swappable(selection.texts)
    _check_ranks(request, scored)
    fitted: dict[str, list[Text]] = {}
    for row in request.rows:
        tokenizer, trained = tokenizer_id(row.tokenizer), row.restart_length
        if tokenizer not in fitted and needs_temperatures(row.variant, trained, request.lengths):
            fitted[tokenizer] = _not_scored(request, row, scored[tokenizer])
    return Drawn(scored, fitted)


def _check_ranks(request: Request, scored: Mapping[str, Selection]) -> None:
    """Whether every rank has a text, and all have the same ones."""
    ranks = request.ranks
    fewest = min(len(selection.texts) for selection in scored.values())
    ranks.check_enough(fewest, "texts", "--texts")
    ranks.check_agree(
        {
            "rows": [row.name for row in request.rows],
            "seed": request.seed,
            "lengths": list(request.lengths),
            "dtype": request.dtype,
            "control": request.control,
            "tokens": tokens_digest(
                text.tokens for selection in scored.values() for text in selection.texts
            ),
            "text": [
                {"name": document.name, "sha256": document.sha256}
                for selection in scored.values()
                for document in selection.documents
            ],
            "source code": source_digest(),
        }
    )


def _selections(
    request: Request, rows: Sequence[Sequence[Row | CausalRow]], step: int
) -> list[Selection]:
    """The texts of each of the groups of rows that share a tokenizer."""
    drawing = (max(request.lengths), request.texts, request.seed)
    if len(rows) > 1:
        cuts = [Cut(alike[0].tokenizer, _ends(alike, aligned=True)) for alike in rows]
        return select_aligned(request.documents, cuts, *drawing, step=step)
    tokenizer, ends = rows[0][0].tokenizer, _ends(rows[0], aligned=False)
    return [select_texts(request.documents, tokenizer, *drawing, step=step, ends=ends)]


def _ends(
    rows: Sequence[Row | CausalRow], *, aligned: bool
) -> Callable[[str], NDArray[np.int64]] | None:
    """Where tokens end, of rows with one tokenizer; None where it is not asked: what is not the
    text has no bytes, and alone tokens of this project spell theirs."""
    codecs = [row.model.codec for row in rows if not row.model.codec.spells]
    if not codecs:
        return rows[0].model.codec.ends if aligned else None
    return codecs[0].ends if codecs[0].lossless else None


def _not_scored(request: Request, row: Row | CausalRow, selection: Selection) -> list[Text]:
    """Texts of files that are not scored."""
    scored = {document.sha256 for document in selection.documents}
    others = [document for document in request.documents if document.sha256 not in scored]
    try:
        drawn = select_texts(others, row.tokenizer, max(request.lengths), FITTED_ON, request.seed)
    except UsageError:
        raise UsageError(
            f"{row.variant}: every file of {max(request.lengths):,} tokens or more is scored, and "
            f"align is fitted on others; score at most {max(0, selection.qualifying - 1)} texts"
        ) from None
    return drawn.texts
