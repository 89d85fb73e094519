"""Why the loss rises past the training length: the same pass, with one thing undone at a time.

A key is *far* when it is farther back than any that the model met in training, `L − 1` tokens; of a
model of others, farther than any within the length that it declares.
Three things are new to a row that sees far keys, and each can be undone in every head at once:

- `window`: far keys are hidden, each head sees its last `L` tokens. All three are undone.
- `rotation`: far keys stay, turned by the rotary embedding as if `L − 1` tokens away.
- `scale`: the factor log N of `length-cosine` scores stops at log L. For other scores the other
  way round: a row of N > L keys has its scores multiplied by log N / log L. The bias −log N of
  `dot-log-n` scores (`sigmoid`) is left as it is and goes on falling.

What is left after `rotation` comes of the number of keys. The window is also set for single
heads, which says which of them the loss rises by. Heads are not independent: what single heads
give need not add up to what all give.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.progress import Watch
from freeatten_core.data.documents import Document, manifest
from freeatten_core.data.selection import Selection, Text, select_texts
from freeatten_core.models.interface import LanguageModel, Undone
from freeatten_core.models.rows import CausalRow, Row, common_tokenizer, types_of
from freeatten_core.positions.scalings import Scaling
from freeatten_core.results.facts import ResultDict, run_facts
from freeatten_core.results.intervals import interval, intervals
from freeatten_core.variants.stages import OwnFunctionName

from .each_row import each_row
from .finite import check_finite
from .scoring import pass_cost, score_texts, scoring_cost

__all__ = ["UNDONE", "AblateRequest", "ablate"]

SCHEMA = 1
UNDONE: tuple[Undone, ...] = get_args(Undone)
"""What is undone in every head, by its key in the result."""


@dataclass(frozen=True)
class AblateRequest:
    """What to measure. Fields as the options of `freeatten ablate`."""

    rows: Sequence[Row | CausalRow]
    length: int
    documents: Sequence[Document]
    source: str
    command: str
    texts: int = 4
    heads: bool = True
    """Whether every head is windowed on its own too."""
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def ablate(request: AblateRequest, watch: Watch | None = None) -> ResultDict:
    """Measure every row on the same texts.

    Returns:
        The result in the schema of `--json` (see docs/results.md).

    Raises:
        UsageError: a length that is not a multiple of every training length, or that is one;
            rows with different tokenizers; no text that is long enough.
        InterruptedRows: a signal after the first row, with the rows that are whole.
    """
    watch = watch or Watch()
    started = time.perf_counter()
    _check_request(request)
    step = math.lcm(*map(_known, request.rows))
    selection = select_texts(
        request.documents,
        request.rows[0].tokenizer,
        request.length,
        request.texts,
        request.seed,
        step=step,
    )
    watch.total(sum(_cost(request, row, len(selection.texts)) for row in request.rows))
    rows = each_row(
        request.rows,
        lambda row: _measure(request, row, selection.texts, watch),
        lambda row: _missing(request, row),
    )
    facts = run_facts(request.device, request.command, time.perf_counter() - started)
    return rows.result(_header(request, selection) | facts)


# Measuring


def _check_request(request: AblateRequest) -> None:
    common_tokenizer(request.rows)
    for row in request.rows:
        if isinstance(row.variant.computes, OwnFunctionName):
            raise UsageError(
                f"{row.variant} computes a function of one's own, which sees all keys at once: "
                "nothing can be hidden from a head of it; freeatten compare, entropy and map "
                "take it"
            )
        if not row.variant.setting.is_plainly_rotary:
            raise UsageError(
                f"{row.variant}: what is undone here is new to rotary layers that see all keys and "
                "learn nothing of scores; take a row whose name has no position, gate, scale, "
                "sink or heads"
            )
        beyond = [each for each in row.variant.modifiers if each.name not in get_args(Scaling)]
        if beyond:
            raise UsageError(
                f"{row.variant}: what {beyond[0].name} does and what is undone here are not "
                "independent; take a row without it"
            )
        known = _known(row)
        if request.length % known or request.length == known:
            kind = "declared" if row.model.train_length is None else "training"
            raise UsageError(
                f"--len is {request.length}; it must be 2 or more times the {kind} length, "
                f"{known}, because what lies beyond that is undone"
            )
        for what in UNDONE:
            row.model.undoing(what, row.variant, request.length)  # refused before a text is scored


def _known(row: Row | CausalRow) -> int:
    """Tokens back that a row has met.

    Raises:
        UsageError: nothing tells.
    """
    known = row.model.known_length
    if known is None:
        raise UsageError(f"{row.name} declares no length beyond which something could be undone")
    return known


def _passes(request: AblateRequest, row: Row | CausalRow) -> float:
    """Whole passes over a text, the intact one left out; a pass of two rotations counts twice."""
    model = row.model
    alone = sum(shape.heads * model.head_share(layer) for layer, shape in model.layers.items())
    return len(UNDONE) + 2 + (1 + alone if request.heads else 0)


def _cost(request: AblateRequest, row: Row | CausalRow, texts: int) -> float:
    undoing = _passes(request, row) * pass_cost(texts, request.length)
    return scoring_cost(texts, [request.length], _known(row)) + undoing


def _measure(
    request: AblateRequest, row: Row | CausalRow, texts: Sequence[Text], watch: Watch
) -> dict[str, Any]:
    model = row.model.on(request.device, torch.float32)
    found: dict[str, list[float]] = {}
    for done, text in enumerate(texts, start=1):
        for name, value in _measure_text(request, row, model, text, watch.advance):
            found.setdefault(name, []).append(value)
        entry = _summarise(row, {name: np.array(values) for name, values in found.items()})
        watch.row(entry, done, len(texts))
    return entry


def _measure_text(
    request: AblateRequest,
    row: Row | CausalRow,
    model: LanguageModel,
    text: Text,
    advance: Callable[[float], None],
) -> Iterator[tuple[str, float]]:
    """Mean loss of the text's last half: intact, restarted, and with everything undone."""
    length, known = request.length, _known(row)
    intact = model.with_modifiers(row.variant, length)
    losses = score_texts(
        intact.token_losses, [text], [length], known, device=request.device, advance=advance
    )
    check_finite(torch.from_numpy(losses.by_length[length]), [text.name], length)
    loss = float(losses.by_length[length][0, length // 2 :].mean(dtype=np.float64))
    yield "intact", loss
    yield "restart", loss - float(losses.delta(length)[0])
    tokens = torch.from_numpy(text.tokens)[None].to(request.device)
    for what in UNDONE:
        changed = model.undoing(what, row.variant, length)
        with torch.inference_mode():
            found = changed.token_losses(tokens[:, :-1], tokens[:, 1:], length // 2)
        check_finite(found, [text.name], length, length // 2)
        advance((1 + what.startswith("rotation")) * pass_cost(1, length))
        yield what, float(found.double().mean())
    if request.heads:
        yield from _single_heads(intact, tokens, known, advance)


@torch.inference_mode()
def _single_heads(
    model: LanguageModel, tokens: Tensor, known: int, advance: Callable[[float], None]
) -> Iterator[tuple[str, float]]:
    length = tokens.shape[1] - 1
    alone = model.single_heads(tokens, known)
    advance(pass_cost(1, length))
    for layer, shape in model.layers.items():
        for head in range(shape.heads):
            found = alone.losses(layer, head, length // 2)
            advance(model.head_share(layer) * pass_cost(1, length))
            yield f"{layer}.{head}", float(found.double().mean())


def _summarise(row: Row | CausalRow, found: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    """An entry from the losses by text of everything measured."""
    entry = _facts(row)
    entry["loss"], *entry["loss_ci95"] = interval(found["intact"])
    whole = ("intact", *UNDONE)
    values, ranges = intervals(np.stack([found[n] - found["restart"] for n in whole], axis=1))
    entry["delta"] = dict(zip(whole, values, strict=True))
    entry["delta_ci95"] = dict(zip(whole, ranges, strict=True))
    heads = [name for name in found if "." in name]
    if heads:
        values, ranges = intervals(np.stack([found[n] - found["intact"] for n in heads], axis=1))
        entry["heads"] = [
            {"layer": layer, "head": head, "change": value, "change_ci95": bounds}
            for (layer, head), value, bounds in zip(
                (map(int, name.split(".")) for name in heads), values, ranges, strict=True
            )
        ]
    return entry


def _facts(row: Row | CausalRow) -> dict[str, Any]:
    """What is known of a row before it is scored."""
    form = {} if row.form is None else {"form": row.form}
    return {"variant": row.name, "checkpoint": row.source, **_lengths(row), **form}


def _lengths(row: Row | CausalRow) -> dict[str, int]:
    """How far back it knows keys, by the name of what tells."""
    name = "declared_length" if row.model.train_length is None else "train_length"
    return {name: _known(row)}


def _missing(request: AblateRequest, row: Row | CausalRow) -> dict[str, Any]:
    """The entry of a row that could not be measured."""
    whole = ("intact", *UNDONE)
    entry = _facts(row) | {
        "loss": None,
        "loss_ci95": [None, None],
        "delta": dict.fromkeys(whole),
        "delta_ci95": {name: [None, None] for name in whole},
    }
    return entry | ({"heads": []} if request.heads else {})


def _header(request: AblateRequest, selection: Selection) -> ResultDict:
    return {
        "schema": SCHEMA,
        **_lengths(request.rows[0]),
        "length": request.length,
        "texts": len(selection.texts),
        "seed": request.seed,
        "dtype": types_of(request.rows),
        "text": {
            **selection.facts(request.source),
            "tokens": len(selection.texts) * request.length // 2,
            "sha256": selection.digest,
            "manifest": manifest(selection.documents),
        },
    }
