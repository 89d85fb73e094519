"""The receptive field of a model: how far back a text's tokens change what it says next.

After Chi et al. (arXiv 2212.10356): `s_m = ‖∂z_n / ∂e_m‖`, n the last position, e_m the embedding
of token m; the field is the least r for which the last r tokens have 0.99 of `Σ_m s_m`, a mean
over texts. z_n is taken to be the loss of the token that follows, so that a direction counts as
much as it changes the prediction. Attention weights say what a head reads; this says what of it
reaches the output of the whole model, through every layer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.basics.precision import without_autocast
from freeatten_core.basics.progress import Watch
from freeatten_core.data.documents import Document, manifest
from freeatten_core.data.selection import Text, select_texts
from freeatten_core.models.config import ModelConfig
from freeatten_core.models.decoder import Model
from freeatten_core.models.forecast import check_memory, on_device, training_bytes
from freeatten_core.models.rows import Row, common_tokenizer
from freeatten_core.positions.layout import Layout
from freeatten_core.positions.table import POSITIONS
from freeatten_core.results.facts import ResultDict, run_facts
from freeatten_core.results.intervals import interval, intervals
from freeatten_core.variants.variant import Variant

from .each_row import each_row
from .finite import no_numbers
from .scoring import pass_cost

__all__ = ["SHARE", "FieldRequest", "distances_of", "measure_field", "receptive_field", "shares"]

SCHEMA = 1
SHARE = 0.99
BACKWARD = 4
"""The cost of a text in forward passes: each layer is run once more for its gradient."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class FieldRequest:
    """What to measure. Fields as the options of `freeatten field`."""

    rows: Sequence[Row]
    documents: Sequence[Document]
    source: str
    length: int
    command: str
    texts: int = 8
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def measure_field(request: FieldRequest, watch: Watch | None = None) -> ResultDict:
    """Take the gradient of every text's last loss, in every row.

    Memory is that of one layer's gradient and of every layer's hidden states, for one text.

    Returns:
        The result in the schema of `--json` (see docs/results.md).

    Raises:
        UsageError: no text is long enough, rows with different tokenizers, too little memory.
        InterruptedRows: a signal after the first row, with the rows that are whole.
    """
    watch = watch or Watch()
    started = time.perf_counter()
    drawn = select_texts(
        request.documents,
        common_tokenizer(request.rows),
        request.length,
        request.texts,
        request.seed,
    )
    for row in request.rows:
        _check_fits(row.checkpoint.config, request)
    watch.total(len(request.rows) * len(drawn.texts) * BACKWARD * pass_cost(1, request.length))
    rows = each_row(
        request.rows,
        lambda row: _measure(request, row, drawn.texts, watch),
        lambda row: _missing(request, row),
    )
    header = {
        "schema": SCHEMA,
        "train_length": request.rows[0].checkpoint.config.train_length,
        "length": request.length,
        "share": SHARE,
        "distances": distances_of(request.length),
        "texts": len(drawn.texts),
        "seed": request.seed,
        "dtype": "float32",
        "text": {
            **drawn.facts(request.source),
            "manifest": manifest(drawn.documents),
        },
        **run_facts(request.device, request.command, time.perf_counter() - started),
    }
    return rows.result(header)


def shares(model: Model, tokens: Tensor, target: int) -> Values:
    """Each token's share `s_m / Σ s`, float64 (L,), from the last token back to the first.

    Args:
        model: on the device of `tokens`.
        tokens: (L,) int64.
        target: the token that follows.
    """
    embedded: list[Tensor] = []

    def leaf(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        embedded.append(output.detach().requires_grad_())
        return embedded[0]

    recomputed = Model.__new__(Model)
    recomputed.__dict__.update(model.__dict__)
    # every layer of this copy keeps its input alone and is run again for its gradient; mypy knows
    # no method that one object has for itself
    recomputed.layer = partial(checkpoint, model.layer, use_reentrant=False)  # type: ignore[method-assign]
    hook = model.embedding.register_forward_hook(leaf)
    try:
        with torch.enable_grad(), without_autocast():
            last = recomputed.hidden(tokens[None])[:, -1]
            goal = torch.tensor([target], device=tokens.device)
            loss = nn.functional.cross_entropy(model.logits(last).float(), goal)
            (gradient,) = torch.autograd.grad(loss, embedded)
    finally:
        hook.remove()
    norms = gradient[0].double().norm(dim=-1).flip(0).cpu().numpy()
    return np.asarray(norms / norms.sum())


def receptive_field(shares: Values, share: float = SHARE) -> int:
    """The least number of last tokens that have that share."""
    return int(np.searchsorted(shares.cumsum(), share * shares.sum())) + 1


def distances_of(length: int) -> list[int]:
    """1, 2, 4, … tokens, and the length."""
    found = [1]
    while 2 * found[-1] < length:
        found.append(2 * found[-1])
    return sorted({*found, length})


def _measure(
    request: FieldRequest, row: Row, texts: Sequence[Text], watch: Watch
) -> dict[str, Any]:
    if row.variant.modifier("rerope") is not None:
        raise UsageError(f"{row.variant}: rerope has no gradient, which a field is measured by")
    model = row.checkpoint.model.with_modifiers(row.variant, request.length)
    model = on_device(model, request.device)
    at = np.array(distances_of(request.length)) - 1
    fields, reached = list[float](), list[Values]()
    for text in texts:
        tokens = torch.from_numpy(text.tokens[:-1]).to(request.device)
        found = shares(model, tokens, int(text.tokens[-1]))
        if not np.isfinite(found).all():
            raise ContentError(
                f"not finite: the gradient of the last loss at {request.length:,} tokens of the "
                f"text from {text.name}"
            )
        fields.append(receptive_field(found))
        reached.append(found.cumsum()[at])
        watch.advance(BACKWARD * pass_cost(1, request.length))
        entry = _entry(row, np.array(fields), np.stack(reached))
        watch.row(entry, len(fields), len(texts))
    return entry


def _entry(row: Row, fields: Values, reached: Values) -> dict[str, Any]:
    mean, low, high = interval(fields)
    share, share_ci95 = intervals(reached)
    return {
        "variant": str(row.variant),
        "checkpoint": row.checkpoint.name,
        "train_length": row.checkpoint.config.train_length,
        "field": mean,
        "field_ci95": [low, high],
        "field_by_text": fields.tolist(),
        "share": share,
        "share_ci95": share_ci95,
    }


def _missing(request: FieldRequest, row: Row) -> dict[str, Any]:
    """The entry of a row that could not be measured."""
    return {
        "variant": str(row.variant),
        "checkpoint": row.checkpoint.name,
        "train_length": row.checkpoint.config.train_length,
        "field": None,
        "field_ci95": [None, None],
        "field_by_text": [],
        **no_numbers(["share"], len(distances_of(request.length))),
    }


def _check_fits(config: ModelConfig, request: FieldRequest) -> None:
    """Whether one layer's training step and the others' inputs fit in memory."""
    _, peak = training_bytes(_one_layer(config, request.length), 1, compiled=False)
    needed = peak + 4 * config.layers * request.length * config.width
    check_memory(
        f"the gradient of a text of {request.length:,} tokens",
        needed,
        request.device,
        lambda _: "take a shorter text (--len)",
    )


def _one_layer(config: ModelConfig, length: int) -> ModelConfig:
    """A model with one layer as the largest of its own, whose text has so many tokens."""
    setting = config.variant.setting
    largest = max(setting.position.layers, key=lambda each: POSITIONS[each.kinds[0]].doubles)
    alone = replace(setting, position=Layout((largest,)), dilate=None)
    variant = Variant.of(config.variant.computes, setting=alone)
    return replace(config, variant=variant, layers=1, slopes=None, train_length=length)
