"""Which heads are worth a look: ranked by what they do, each with its number in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .capture import Capture
from .reach import reach
from .rows import SINK_LENGTH, head_table

__all__ = ["Finding", "findings", "repeated"]

BLOCK = 64
"""Tokens of the block that is read twice, at most."""
SHOWN = 3
"""Heads of a kind."""


@dataclass(frozen=True)
class Finding:
    """A head, and what makes it one of the first of its kind."""

    kind: str
    layer: int
    head: int
    score: float
    sentence: str


def repeated(tokens: Tensor) -> Tensor:
    """The first tokens of a text twice: a head that copies reads what followed the first time.

    Args:
        tokens: (L,), at least 4.
    """
    block = tokens[: min(BLOCK, len(tokens) // 2)]
    return torch.cat([block, block])


def findings(capture: Capture, twice: Capture) -> list[Finding]:
    """The first heads of every kind, those that changed most beyond training first.

    Args:
        capture: of any text.
        twice: of the same model over `repeated` tokens.

    Raises:
        UsageError: a capture without statistics.
    """
    kinds = [_changed(capture), _sinks(capture), _previous(twice), _copying(twice)]
    return [
        each
        for found in kinds
        for each in sorted(found, key=lambda one: -one.score)[:SHOWN]
        if each.score > 0
    ]


def _changed(capture: Capture) -> Iterator[Finding]:
    trained = capture.train_length
    if trained is None or capture.length < 2 * trained:
        return
    tables = head_table(capture, trained // 2, trained), head_table(capture, trained)
    for before, after in zip(*tables, strict=True):
        old, new = (each.values["relative_entropy"] for each in (before, after))
        said = f"H / log N is {old:.2f} up to {trained:,} tokens and {new:.2f} beyond"
        yield Finding("changed beyond training", before.layer, before.head, abs(new - old), said)


def _sinks(capture: Capture) -> Iterator[Finding]:
    if capture.length < SINK_LENGTH:
        return
    for each in head_table(capture):
        said = f"the first token gets {each.sink or 0:.0%} of the weight of the first rows"
        yield Finding("sink", each.layer, each.head, each.sink or 0, said)


def _previous(twice: Capture) -> Iterator[Finding]:
    for layer, head, share in _shares(twice, 1):
        said = f"the token before gets {share:.0%} of the weight"
        yield Finding("previous token", layer, head, share, said)


def _copying(twice: Capture) -> Iterator[Finding]:
    for layer, head, share in _shares(twice, twice.length // 2 - 1):
        said = f"of a block read twice, what followed the first time gets {share:.0%} of the weight"
        yield Finding("induction-like", layer, head, share, said)


def _shares(twice: Capture, distance: int) -> Iterator[tuple[int, int, float]]:
    """Of every head, the share of the weight so many tokens back, in the second block."""
    half = twice.length // 2
    for layer in twice.layers:
        found = reach(twice, layer, half, 2 * half).by_distance[:, distance]
        yield from ((layer, head, share) for head, share in enumerate(found.tolist()))
