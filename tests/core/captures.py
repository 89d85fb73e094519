"""Captures of small random heads, and the dense matrices they stand for."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path

import tiny
import torch
from strategies import dense
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from freeatten_core import Variant, row_statistics
from freeatten_core.analysis import Capture, LayerCapture
from freeatten_core.models.checkpoint import Checkpoint
from freeatten_core.ops.call import ScoreTerms
from freeatten_core.ops.definitions.staged import StageValues

HEADS, KV_HEADS, DIM = 4, 2, 8


@cache
def checkpoint(variant: str = "softmax", **changes: int) -> Checkpoint:
    built = tiny.model(variant, **changes)
    return Checkpoint(f"tiny {variant}", built.config, built, tiny.tokenizer(), Path())


def text(length: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(tiny.CONFIG.vocab_size, (length,), generator=draw)


def random_capture(variant: str, length: int = 40, layers: tuple[int, ...] = (0, 2)) -> Capture:
    """Random float64 queries and keys, grouped, as if a model had made them; the caller's own."""
    made = _random_capture(variant, length, layers)
    return replace(made, layers=deepcopy(made.layers))


@cache
def _random_capture(variant: str, length: int, layers: tuple[int, ...]) -> Capture:
    draw = torch.Generator().manual_seed(length)
    kept = {}
    for layer in layers:
        query = torch.randn(1, HEADS, length, DIM, generator=draw, dtype=torch.float64)
        key = torch.randn(1, KV_HEADS, length, DIM, generator=draw, dtype=torch.float64)
        rows = row_statistics(query, key, variant, enable_gqa=True).map(lambda tensor: tensor[0])
        kept[layer] = LayerCapture(query[0], key[0], rows)
    return Capture(
        name="random",
        variant=Variant.parse(variant),
        train_length=16,
        tokens=text(length),
        tokenizer=tiny.tokenizer(),
        tokenizer_id="letters",
        layers=kept,
        seconds=0.0,
    )


def learned_capture(variant: str) -> Capture:
    """`random_capture` of a model that learned numbers for its scores, with one local layer."""
    plain, steps = random_capture(variant), torch.arange(HEADS, dtype=torch.float64)
    distance = torch.arange(12, dtype=torch.float64)
    bias = torch.cos(steps[:, None] + distance) - 0.1 * distance
    terms = {
        0: ScoreTerms(0.7 + 0.2 * steps, 0.5 ** (steps + 2), bias),
        2: ScoreTerms(distance_bias=bias),
    }
    kept = {}
    for number, layer in plain.layers.items():
        told = replace(layer, terms=terms[number], window=15 if number == 0 else None)
        rows = row_statistics(layer.query[None], layer.key[None], variant, **told.options)
        kept[number] = replace(told, rows=rows.map(lambda tensor: tensor[0]))
    return replace(plain, layers=kept)


def dense_layer(capture: Capture, layer: int) -> StageValues:
    """The reference's matrices, (1, H, L, L)."""
    found = capture.layers[layer]
    variant = str(capture.variant.computes)
    return dense(found.query[None], found.key[None], variant, found.options)


def with_query(capture: Capture, query: Tensor) -> Capture:
    """The same with other queries (H, L, D) in every layer, and the statistics of those."""
    kept = {}
    for number, layer in capture.layers.items():
        rows = row_statistics(query[None], layer.key[None], capture.variant, enable_gqa=True)
        kept[number] = LayerCapture(query, layer.key, rows.map(lambda tensor: tensor[0]))
    return replace(capture, layers=kept)


class Largest(TorchDispatchMode):
    """Records the largest tensor that any operation makes, in elements and in bytes."""

    def __init__(self):
        super().__init__()
        self.elements = self.bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
                self.bytes = max(self.bytes, tensor.numel() * tensor.element_size())
        return result
