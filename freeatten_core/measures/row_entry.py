"""A row of a comparison as the result holds it: losses, Δ, intervals, bits per byte, a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from freeatten_core.data.selection import Text
from freeatten_core.data.tokenizer import token_bytes
from freeatten_core.models.rows import CausalRow, Row
from freeatten_core.results.intervals import intervals
from freeatten_core.results.knee import knee_entry
from freeatten_core.results.verdicts import control, judged

from .finite import no_numbers
from .request import Request
from .scoring import Losses

__all__ = ["FAILED", "missing_entry", "position_edges", "row_entry"]

POSITION_BINS = 64
FAILED = "failed"
"""In the place of a verdict: the row could not be scored, and its `error` says why."""


def row_entry(
    request: Request, row: Row | CausalRow, texts: Sequence[Text], losses: Losses
) -> dict[str, Any]:
    """The entry of a row from the losses of the first of its texts, or of all; no controls yet."""
    lengths, trained = list(request.lengths), losses.train_length
    per_text = np.stack([losses.mean(length) for length in lengths], axis=1)
    deltas = np.stack(
        [
            losses.delta(length) if length >= trained else np.full(len(per_text), np.nan)
            for length in lengths
        ],
        axis=1,
    )
    loss, ci95 = intervals(per_text)
    delta, delta_ci95 = intervals(deltas)
    scored = texts[: len(per_text)]
    nats = [_counted_nats(losses.by_length[length], scored) for length in lengths]
    size = _scored_bytes(row, scored)
    bits = [None if size is None else each / (math.log(2) * size) for each in nats]
    entry = {
        **row.facts,
        "uniform_loss": math.log(row.vocab_size),
        "loss": loss,
        "ci95": ci95,
        "restart_loss": float(losses.restart_mean().mean()),
        "delta": delta,
        "delta_ci95": delta_ci95,
        "bits_per_byte": bits,
        "ratio": loss[-1] / loss[lengths.index(trained)],
        **control("sliding", None),
        **control("window", None),
        "verdict": "unclear",
        "hurts_from": None,
        "loss_by_text": per_text.round(5).tolist(),
        "delta_by_text": deltas.round(5).tolist(),
    }
    if request.by_position:
        entry |= _by_position(losses)
    return judged(entry, lengths)


def missing_entry(request: Request, row: Row | CausalRow) -> dict[str, Any]:
    """The entry of a row that could not be scored: no number."""
    entry = {
        **row.facts,
        "uniform_loss": math.log(row.vocab_size),
        **no_numbers(("loss", "delta"), len(request.lengths)),
        "bits_per_byte": [None] * len(request.lengths),
        **dict.fromkeys(("restart_loss", "ratio", "hurts_from")),
        **control("sliding", None),
        **control("window", None),
        "verdict": FAILED,
        "loss_by_text": [],
        "delta_by_text": [],
    }
    entry["ci95"] = entry.pop("loss_ci95")
    if request.by_position:
        positions = position_edges(max(request.lengths))
        entry["loss_by_position"] = [None] * len(positions)
        entry |= {"knee": None, "knee_ci95": [None, None]}
    return entry


def _counted_nats(losses: NDArray[np.float32], texts: Sequence[Text]) -> float:
    """Of the targets that count, of all texts together."""
    parts = [slice(None) if text.counted is None else slice(*text.counted) for text in texts]
    return sum(
        float(each[part].sum(dtype=np.float64)) for each, part in zip(losses, parts, strict=True)
    )


def _scored_bytes(row: Row | CausalRow, texts: Sequence[Text]) -> int | None:
    """Bytes of the targets that count; None where the tokens are not the text."""
    if row.model.codec.spells and all(text.counted is None for text in texts):
        sizes_of = _token_bytes(row.tokenizer)
        return sum(int(sizes_of[text.tokens[1:]].sum()) for text in texts)
    sizes = [text.bytes for text in texts if text.bytes is not None]
    return sum(sizes) if len(sizes) == len(texts) else None


@cache
def _token_bytes(tokenizer: Tokenizer) -> NDArray[np.int64]:
    return token_bytes(tokenizer)


def position_edges(longest: int) -> list[int]:
    """The last position (from 1) of each bin."""
    bins = math.gcd(longest, POSITION_BINS)
    return [(index + 1) * longest // bins for index in range(bins)]


def _by_position(losses: Losses) -> dict[str, Any]:
    positions = position_edges(losses.longest)
    table = losses.by_length[losses.longest]
    by_text = table.reshape(len(table), len(positions), -1).mean(axis=2, dtype=np.float64)
    means = by_text.mean(axis=0).tolist()
    return {"loss_by_position": means, **knee_entry(positions, by_text)}
