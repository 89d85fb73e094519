"""Why the loss rises past the training length: the same pass, with one thing undone at a time.

A key is *far* when it is farther back than any that the model met in training, `L − 1` tokens.
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

import copy
import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.progress import Watch
from freeatten_core.data.documents import Document, manifest
from freeatten_core.data.selection import Selection, Text, select_texts
from freeatten_core.models.config import ModelConfig
from freeatten_core.models.decoder import Model
from freeatten_core.models.rows import Row, common_tokenizer
from freeatten_core.ops.call import Attend, Familiar
from freeatten_core.positions.scalings import Scaling
from freeatten_core.results.facts import ResultDict, json_ready, run_facts
from freeatten_core.results.intervals import interval, intervals
from freeatten_core.variants.stages import Computed, OwnFunctionName

from .finite import check_finite, each_row
from .scoring import pass_cost, score_texts, scoring_cost

__all__ = ["AblateRequest", "SingleHeads", "ablate", "attempts"]

SCHEMA = 1
UNDONE = ("window", "rotation", "scale", "rotation+scale")
"""What is undone in every head, by its key in the result."""


@dataclass(frozen=True)
class AblateRequest:
    """What to measure. Fields as the options of `freeatten ablate`."""

    rows: Sequence[Row]
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
    """
    watch = watch or Watch()
    started = time.perf_counter()
    _check_request(request)
    step = math.lcm(*(row.checkpoint.config.train_length for row in request.rows))
    selection = select_texts(
        request.documents,
        request.rows[0].checkpoint.tokenizer,
        request.length,
        request.texts,
        request.seed,
        step=step,
    )
    watch.total(sum(_cost(request, row, len(selection.texts)) for row in request.rows))
    entries = each_row(
        request.rows,
        lambda row: _measure(request, row, selection.texts, watch),
        lambda row: _missing(request, row),
    )
    facts = run_facts(request.device, request.command, time.perf_counter() - started)
    return dict(json_ready(_header(request, selection) | facts | {"variants": entries}))


# What can be undone


class SingleHeads:
    """Losses of one text with one head windowed at a time.

    What lies below that head's layer, and the layer's other heads, are computed once.
    """

    def __init__(self, model: Model, tokens: Tensor, window: int) -> None:
        """tokens (1, L + 1)."""
        self.window, self._model, self._targets = window, copy.copy(model), tokens[:, 1:]
        self._places = model.places(tokens.shape[1] - 1, tokens.device)
        self._hidden = [model.embedding(tokens[:, :-1])]
        self._mixed: list[Tensor] = []
        for layer in range(model.config.layers):
            self._hidden.append(self._layer(layer, self._hidden[-1], self._remember))

    def losses(self, layer: int, head: int, start: int = 0) -> Tensor:
        """Nats per target (1, L − start) with one head windowed."""

        def attend(
            query: Tensor, key: Tensor, value: Tensor, computed: Computed, /, **_: Any
        ) -> Tensor:
            shared = head // (query.shape[1] // key.shape[1])
            mixed = self._mixed[layer].clone()
            alone = query[:, [head]], key[:, [shared]], value[:, [shared]]
            mixed[:, head] = self._model.attend(*alone, computed, window=self.window)[:, 0]
            return mixed

        hidden = self._layer(layer, self._hidden[layer], attend)
        for above in range(layer + 1, self._model.config.layers):
            hidden = self._layer(above, hidden, self._model.attend)
        final = self._model.final_norm(hidden[:, start:])
        return self._model.losses_of(final, self._targets[:, start:])

    def _remember(
        self, query: Tensor, key: Tensor, value: Tensor, computed: Computed, /, **_: Any
    ) -> Tensor:
        self._mixed.append(self._model.attend(query, key, value, computed))
        return self._mixed[-1]

    def _layer(self, layer: int, hidden: Tensor, attend: Attend) -> Tensor:
        return self._model.layer(layer, hidden, self._places, attend)


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
        if not row.variant.setting.is_rotary:
            raise UsageError(
                f"{row.variant}: what is undone here is new to rotary layers that see all keys and "
                "learn nothing of scores; take a row whose name has no position, gate, scale or "
                "sink"
            )
        beyond = [each for each in row.variant.modifiers if each.name not in get_args(Scaling)]
        if beyond:
            raise UsageError(
                f"{row.variant}: what {beyond[0].name} does and what is undone here are not "
                "independent; take a row without it"
            )
        trained = row.checkpoint.config.train_length
        if request.length % trained or request.length == trained:
            raise UsageError(
                f"--len is {request.length}; it must be 2 or more times the training length, "
                f"{trained}, because what lies beyond that is undone"
            )


def _passes(request: AblateRequest, row: Row) -> float:
    """Whole passes over a text, the intact one left out; a pass of two rotations counts twice."""
    config = row.checkpoint.config
    alone = config.heads * sum(map(_share, [config] * config.layers, range(config.layers)))
    return len(UNDONE) + 2 + (1 + alone if request.heads else 0)


def _share(config: ModelConfig, layer: int) -> float:
    """Of a pass, what windowing one head of a layer takes."""
    return (config.layers - layer) / config.layers


def _cost(request: AblateRequest, row: Row, texts: int) -> float:
    trained = row.checkpoint.config.train_length
    undoing = _passes(request, row) * pass_cost(texts, request.length)
    return scoring_cost(texts, [request.length], trained) + undoing


def _measure(
    request: AblateRequest, row: Row, texts: Sequence[Text], watch: Watch
) -> dict[str, Any]:
    # a copy: `to` changes the weights in place, and they are the caller's checkpoint's
    model = row.checkpoint.model.with_modifiers(row.variant, request.length)
    model = copy.deepcopy(model).to(request.device)
    found: dict[str, list[float]] = {}
    for done, text in enumerate(texts, start=1):
        for name, value in _measure_text(request, row, model, text, watch.advance):
            found.setdefault(name, []).append(value)
        entry = _summarise(row, {name: np.array(values) for name, values in found.items()})
        watch.row(entry, done, len(texts))
    return entry


def _measure_text(
    request: AblateRequest, row: Row, model: Model, text: Text, advance: Callable[[float], None]
) -> Iterator[tuple[str, float]]:
    """Mean loss of the text's last half: intact, restarted, and with everything undone."""
    length, trained = request.length, row.checkpoint.config.train_length
    losses = score_texts(
        model.token_losses, [text], [length], trained, device=request.device, advance=advance
    )
    check_finite(torch.from_numpy(losses.by_length[length]), [text.name], length)
    intact = float(losses.by_length[length][0, length // 2 :].mean(dtype=np.float64))
    yield "intact", intact
    yield "restart", intact - float(losses.delta(length)[0])
    tokens = torch.from_numpy(text.tokens)[None].to(request.device)
    for name, attend in attempts(model):
        changed = copy.copy(model)
        changed.attend = attend
        with torch.inference_mode():
            found = changed.token_losses(tokens[:, :-1], tokens[:, 1:], length // 2)
        check_finite(found, [text.name], length, length // 2)
        advance((1 + name.startswith("rotation")) * pass_cost(1, length))
        yield name, float(found.double().mean())
    if request.heads:
        yield from _single_heads(request, row, model, tokens, advance)


@torch.inference_mode()
def _single_heads(
    request: AblateRequest,
    row: Row,
    model: Model,
    tokens: Tensor,
    advance: Callable[[float], None],
) -> Iterator[tuple[str, float]]:
    config, length = row.checkpoint.config, request.length
    alone = SingleHeads(model, tokens, config.train_length)
    advance(pass_cost(1, length))
    for layer, head in np.ndindex(config.layers, config.heads):
        found = alone.losses(layer, head, length // 2)
        advance(_share(config, layer) * pass_cost(1, length))
        yield f"{layer}.{head}", float(found.double().mean())


def attempts(model: Model) -> Iterator[tuple[str, Attend]]:
    """By name, the model's attention with a thing undone in every head."""
    rope = model.rope
    yield "window", partial(model.attend, window=rope.train_length)
    for name in UNDONE[1:]:
        parts = name.split("+")
        familiar = Familiar(rope, rotation="rotation" in parts, scale="scale" in parts)
        yield name, partial(model.attend, familiar=familiar)


def _summarise(row: Row, found: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    """An entry from the losses by text of everything measured."""
    entry: dict[str, Any] = {
        "variant": str(row.variant),
        "checkpoint": row.checkpoint.name,
        "train_length": row.checkpoint.config.train_length,
    }
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


def _missing(request: AblateRequest, row: Row) -> dict[str, Any]:
    """The entry of a row that could not be measured."""
    whole = ("intact", *UNDONE)
    entry: dict[str, Any] = {
        "variant": str(row.variant),
        "checkpoint": row.checkpoint.name,
        "train_length": row.checkpoint.config.train_length,
        "loss": None,
        "loss_ci95": [None, None],
        "delta": dict.fromkeys(whole),
        "delta_ci95": {name: [None, None] for name in whole},
    }
    return entry | ({"heads": []} if request.heads else {})


def _header(request: AblateRequest, selection: Selection) -> ResultDict:
    digest = hashlib.sha256()
    for text in selection.texts:
        digest.update(text.tokens.tobytes())
    return {
        "schema": SCHEMA,
        "train_length": request.rows[0].checkpoint.config.train_length,
        "length": request.length,
        "texts": len(selection.texts),
        "seed": request.seed,
        "dtype": "float32",
        "text": {
            "source": request.source,
            "files": selection.files,
            "qualifying": selection.qualifying,
            "repeats": selection.repeats,
            "tokens": len(selection.texts) * request.length // 2,
            "sha256": digest.hexdigest(),
            "manifest": manifest(selection.documents),
        },
    }
