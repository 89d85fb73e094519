"""LongPPL: perplexity on the tokens that far context decides.

After Fang et al. (arXiv 2410.23771; their code: github.com/PKU-ML/LongPPL, `longppl/longppl.py`).
An evaluator scores every token with all that stands before it and with the last tokens alone. A
token is *key* where `ℓ_short − ℓ_full > 2` and `ℓ_full < 2` nats: far context told it. LongPPL is
the exponential of a judged model's mean loss on the key tokens, with all before them in view.

What a token's short context is, as there: a quarter of a truncation's tokens at a time share one
start, so each has the truncation's tokens before it and at most a quarter more. Tokens that stand
too near the start of a text to be truncated are not judged.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.basics.progress import Watch
from freeatten_core.data.documents import Document, manifest
from freeatten_core.data.selection import Selection, select_texts
from freeatten_core.models.rows import CausalRow, Row, common_tokenizer, types_of
from freeatten_core.results.facts import ResultDict, run_facts
from freeatten_core.results.intervals import resampled

from .each_row import each_row
from .finite import check_finite
from .scoring import Advance, Scorer, pass_cost, score_windows, stacked

__all__ = [
    "LongPplRequest",
    "Truncation",
    "full_losses",
    "key_tokens",
    "measure_longppl",
    "short_losses",
]

SCHEMA = 1
GAIN, KNOWN = 2.0, 2.0
"""Nats: what far context gains a key token at least, and its loss with it at most."""
SHARED = 4
"""A truncation's tokens by those that share a start; 4,096 and 1,024 in the source."""

Values = NDArray[np.float32]
Marks = NDArray[np.bool_]


@dataclass(frozen=True)
class Truncation:
    """How short the short context is."""

    tokens: int

    @property
    def stride(self) -> int:
        """Tokens that share a start."""
        return max(1, self.tokens // SHARED)

    @property
    def window(self) -> int:
        return self.tokens + self.stride - 1

    def starts(self, length: int) -> list[int]:
        """Of the windows of a text; the last one first, which others overlap."""
        return [length - self.window, *range(0, length - self.window, self.stride)]


@dataclass(frozen=True)
class LongPplRequest:
    """What to measure. Fields as the options of `freeatten longppl`."""

    rows: Sequence[Row | CausalRow]
    evaluator: Row | CausalRow
    documents: Sequence[Document]
    source: str
    length: int
    command: str
    truncation: int = 512
    texts: int = 8
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def measure_longppl(request: LongPplRequest, watch: Watch | None = None) -> ResultDict:
    """Let the evaluator find the key tokens, and score every row on them and on the rest.

    Returns:
        The result in the schema of `--json` (see docs/results.md).

    Raises:
        UsageError: no text is long enough, a truncation that is not shorter than the texts, or
            rows with other tokenizers than the evaluator's.
        ContentError: the evaluator's losses are not finite.
        InterruptedRows: a signal after the first row, with the rows that are whole.
    """
    watch = watch or Watch()
    started = time.perf_counter()
    cut = Truncation(request.truncation)
    if cut.window >= request.length:
        raise UsageError(
            f"the truncation is {cut.tokens:,} tokens, with those that share a start "
            f"{cut.window:,}; it must be less than the {request.length:,} of a text"
        )
    drawn = select_texts(
        request.documents,
        common_tokenizer([request.evaluator, *request.rows]),
        request.length,
        request.texts,
        request.seed,
    )
    tokens, names = stacked(drawn.texts), [text.name for text in drawn.texts]
    whole = pass_cost(len(tokens), request.length)
    windows = len(tokens) * len(cut.starts(request.length))
    watch.total(pass_cost(windows, cut.window) + whole * (1 + len(request.rows)))
    scorer = _scorer(request.evaluator, request)
    device, advance = request.device, watch.advance
    full = full_losses(scorer, tokens, device=device, advance=advance)
    short = short_losses(scorer, tokens, cut, device=device, advance=advance)
    _check_evaluator(full, short, names, cut)
    marks = key_tokens(short, full, cut)
    rows = each_row(
        request.rows,
        lambda row: _measure(request, row, tokens, names, marks, cut, watch),
        _missing,
    )
    header = _header(request, cut, drawn, marks) | run_facts(
        request.device, request.command, time.perf_counter() - started
    )
    return rows.result(header)


def full_losses(
    scorer: Scorer, tokens: Tensor, *, device: torch.device, advance: Advance = lambda _: None
) -> Values:
    """Nats per target with all that stands before it, (texts, M), of tokens (texts, M + 1)."""
    length = tokens.shape[1] - 1
    losses = np.empty((len(tokens), length), dtype=np.float32)
    for text, _, part in score_windows(scorer, tokens, length, [0], 0, device, advance):
        losses[text] = part
    return losses


def short_losses(
    scorer: Scorer,
    tokens: Tensor,
    cut: Truncation,
    *,
    device: torch.device,
    advance: Advance = lambda _: None,
) -> Values:
    """Nats per target with its last tokens alone, (texts, M); NaN where there are not as many."""
    length, first = tokens.shape[1] - 1, cut.tokens - 1
    losses = np.full((len(tokens), length), np.nan, dtype=np.float32)
    starts = cut.starts(length)
    scored = score_windows(scorer, tokens, cut.window, starts, first, device, advance)
    for text, start, part in scored:
        losses[text, start + first : start + cut.window] = part
    return losses


def key_tokens(short: Values, full: Values, cut: Truncation) -> Marks:
    """Which targets are key, (texts, M); never those without a short context."""
    judged = np.arange(full.shape[1]) >= cut.tokens - 1
    return np.asarray(judged & (short - full > GAIN) & (full < KNOWN))


def _measure(
    request: LongPplRequest,
    row: Row | CausalRow,
    tokens: Tensor,
    names: Sequence[str],
    marks: Marks,
    cut: Truncation,
    watch: Watch,
) -> dict[str, Any]:
    scorer = _scorer(row, request)
    losses = full_losses(scorer, tokens, device=request.device, advance=watch.advance)
    check_finite(torch.from_numpy(losses), names, request.length)
    judged = losses[:, cut.tokens - 1 :]
    keys = marks[:, cut.tokens - 1 :]
    key_loss, bounds = _pooled(judged, keys)
    rest_loss, rest_bounds = _pooled(judged, ~keys)
    entry = {
        **row.facts,
        "longppl": None if key_loss is None else math.exp(key_loss),
        "longppl_ci95": [None if each is None else math.exp(each) for each in bounds],
        "key_loss": key_loss,
        "key_loss_ci95": bounds,
        "rest_loss": rest_loss,
        "rest_loss_ci95": rest_bounds,
        "loss": float(judged.mean(dtype=np.float64)),
    }
    watch.row(entry, len(tokens), len(tokens))
    return entry


def _pooled(losses: Values, chosen: Marks) -> tuple[float | None, list[float | None]]:
    """The mean of the chosen tokens of all texts, and its interval over texts."""
    counts = chosen.sum(axis=1)
    if not counts.sum():
        return None, [None, None]
    sums = np.where(chosen, losses, 0).sum(axis=1, dtype=np.float64)
    mean = float(sums.sum() / counts.sum())
    if len(counts) < 2:
        return mean, [None, None]
    drawn = resampled(len(counts))
    of_draws = counts[drawn].sum(axis=1)
    means = sums[drawn].sum(axis=1)[of_draws > 0] / of_draws[of_draws > 0]
    low, high = np.percentile(means, [2.5, 97.5])
    return mean, [float(low), float(high)]


def _scorer(row: Row | CausalRow, request: LongPplRequest) -> Scorer:
    row.model.check_length(request.length)
    model = row.model.on(request.device, torch.float32)
    return model.with_modifiers(row.variant, request.length, row.restart_length).token_losses


def _check_evaluator(full: Values, short: Values, names: Sequence[str], cut: Truncation) -> None:
    """Whether all losses are finite that key tokens are found by; no comparison with NaN is."""
    first = cut.tokens - 1
    try:
        check_finite(torch.from_numpy(full), names, full.shape[1])
        check_finite(torch.from_numpy(short[:, first:]), names, cut.tokens, first)
    except ContentError as error:
        raise ContentError(f"the evaluator: {error}") from error


def _missing(row: Row | CausalRow) -> dict[str, Any]:
    """The entry of a row that could not be measured."""
    keys = ("longppl", "key_loss", "rest_loss")
    return {
        **row.facts,
        **dict.fromkeys((*keys, "loss")),
        **{f"{key}_ci95": [None, None] for key in keys},
    }


def _header(request: LongPplRequest, cut: Truncation, drawn: Selection, marks: Marks) -> ResultDict:
    judged = marks[:, cut.tokens - 1 :]
    return {
        "schema": SCHEMA,
        **request.rows[0].lengths,
        "length": request.length,
        "truncation": cut.tokens,
        "stride": cut.stride,
        "gain": GAIN,
        "known": KNOWN,
        "evaluator": request.evaluator.facts,
        "texts": len(marks),
        "tokens": judged.size,
        "key_tokens": int(judged.sum()),
        "seed": request.seed,
        "dtype": types_of([request.evaluator, *request.rows]),
        "text": {
            **drawn.facts(request.source),
            "manifest": manifest(drawn.documents),
        },
    }
