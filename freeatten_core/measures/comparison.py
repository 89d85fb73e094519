"""`compare`: rows, their losses, intervals and verdicts, as one JSON-ready result."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from freeatten_core.basics.assets import assets
from freeatten_core.basics.devices import DTYPES
from freeatten_core.basics.errors import UsageError, sentence_and_code
from freeatten_core.basics.progress import Watch
from freeatten_core.data.documents import Document, manifest
from freeatten_core.data.selection import Selection, Text, select_texts
from freeatten_core.data.tokenizer import token_bytes, tokenizer_id
from freeatten_core.models.checkpoint import Checkpoint
from freeatten_core.models.decoder import LOSS_TOKENS, Model
from freeatten_core.models.modifiers import window_of
from freeatten_core.models.rows import Row
from freeatten_core.ops.operator import row_statistics
from freeatten_core.results.facts import ResultDict, json_ready, run_facts
from freeatten_core.results.intervals import intervals
from freeatten_core.results.verdicts import SCHEMA, control, judged
from freeatten_core.variants.stages import Stages
from freeatten_core.variants.variant import Variant

from .alignment import FITTED_ON, fitting_cost, modified_copy, needs_temperatures
from .controls import (
    Controls,
    sliding_cost,
    sliding_losses,
    window_variant,
    windowed_cost,
    windowed_losses,
)
from .finite import first_not_finite, no_numbers
from .scoring import Losses, check_swappable, pass_cost, score_texts, scoring_cost, swapped_losses

POSITION_BINS = 64
FAILED = "failed"
"""In the place of a verdict: the row could not be scored, and its `error` says why."""

Control = Literal["restart", "swap"]

Windowed = dict[tuple[Path, Variant], NDArray[np.float32]]
"""Losses of the last half of every text by checkpoints with a window, by folder and variant."""


@dataclass(frozen=True)
class Request:
    """What to compare. Fields as the options of `freeatten compare`."""

    rows: Sequence[Row]
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


@dataclass
class Comparison:
    """The result, and the losses of every token for `--npz`."""

    result: ResultDict
    losses: dict[str, Losses]


class InterruptedComparison(KeyboardInterrupt):
    """Ctrl-C, with the rows that were finished before it in `done`."""

    def __init__(self, done: Comparison) -> None:
        super().__init__()
        self.done = done


def compare(request: Request, watch: Watch | None = None) -> Comparison:
    """Score every row and sum up.

    Returns:
        The result in the schema of `--json` (see docs/results.md), and every token's loss. A row
        that cannot be scored, one of several, has its reason in `error` and no numbers.

    Raises:
        UsageError: no document is long enough.
        InterruptedComparison: Ctrl-C after the first row, with the rows that are whole.
    """
    watch = watch or Watch()
    started = time.perf_counter()
    selections = _select(request)
    if request.control == "swap":
        for selection in selections.values():
            check_swappable(selection.texts)
    fitting = _fitting_texts(request, selections)
    watch.total(_cost(request, selections, fitting))
    entries: list[dict[str, Any]] = []
    losses: dict[str, Losses] = {}
    windowed: Windowed = {}
    stopped: KeyboardInterrupt | None = None
    for row in request.rows:
        tokenizer = tokenizer_id(row.checkpoint.tokenizer)
        selection = selections[tokenizer]
        try:
            entry, row_losses = _score_row(
                request, row, selection, fitting.get(tokenizer, []), windowed, watch
            )
        except KeyboardInterrupt as error:
            if not losses:
                raise
            stopped = error
            break
        except Exception as error:  # a bug is raised again
            sentence = sentence_and_code(error)
            if sentence is None or len(request.rows) == 1:
                raise
            entries.append(_missing(request, row) | {"error": sentence[0]})
            continue
        found = first_not_finite(row_losses, selection.texts)
        entries.append(entry if found is None else entry | {"first_not_finite": found})
        losses[_row_name(row, request.rows)] = row_losses
    result = _header(request, next(iter(selections.values())), time.perf_counter() - started)
    result["tokenizers"] = len(selections)
    if stopped is not None:
        result["partial"] = True
        result["rows_asked"] = len(request.rows)
    if request.by_position:
        result["positions"] = _position_edges(max(request.lengths))
    result["variants"] = entries
    done = Comparison(json_ready(result), losses)
    if stopped is not None:
        raise InterruptedComparison(done) from stopped
    return done


def matches_stored(source: str, documents: Iterable[Document]) -> bool | None:
    """Whether the files scored are those of the stored results; None if none are stored."""
    import json

    stored: dict[str, str] = {}
    for path in sorted((assets() / "results").glob("*.json")):
        text = json.loads(path.read_text(encoding="utf-8")).get("text", {})
        if text.get("source") == source:
            stored |= text.get("manifest", {})
    if not stored:
        return None
    return all(stored.get(name) == digest for name, digest in manifest(documents).items())


def _select(request: Request) -> dict[str, Selection]:
    """Texts for every tokenizer in use, by its id."""
    tokenizers = {
        tokenizer_id(r.checkpoint.tokenizer): r.checkpoint.tokenizer for r in request.rows
    }
    step = math.lcm(*(row.checkpoint.config.train_length for row in request.rows))
    return {
        name: select_texts(
            request.documents,
            tokenizer,
            max(request.lengths),
            request.texts,
            request.seed,
            step=step,
        )
        for name, tokenizer in tokenizers.items()
    }


def _cost(
    request: Request, selections: Mapping[str, Selection], fitting: Mapping[str, list[Text]]
) -> float:
    cost = sum(_row_cost(request, row, selections, fitting) for row in request.rows)
    longest = max(request.lengths)
    for checkpoint in _windowed_rows(request).values():
        texts = len(selections[tokenizer_id(checkpoint.tokenizer)].texts)
        cost += windowed_cost(texts, longest, checkpoint.config.train_length)
    return cost


def _windowed_rows(request: Request) -> dict[tuple[Path, Variant], Checkpoint]:
    """The models with a window that W needs, each once."""
    return {
        (row.checkpoint.folder, variant): row.checkpoint
        for row in request.rows
        if _has_controls(request, row)
        and (variant := window_variant(row.variant)) is not None
        and row.variant.modifier("window") is None
    }


def _has_controls(request: Request, row: Row) -> bool:
    return max(request.lengths) > row.checkpoint.config.train_length


def _row_cost(
    request: Request,
    row: Row,
    selections: Mapping[str, Selection],
    fitting: Mapping[str, list[Text]],
) -> float:
    tokenizer = tokenizer_id(row.checkpoint.tokenizer)
    texts = len(selections[tokenizer].texts)
    trained, longest = row.checkpoint.config.train_length, max(request.lengths)
    cost = scoring_cost(texts, request.lengths, trained)
    cost += fitting_cost(row.variant, trained, fitting.get(tokenizer, []), request.lengths)
    if _has_controls(request, row):
        cost += sliding_cost(texts, longest, trained)
    if request.control == "swap":
        far = [length for length in request.lengths if length > trained]
        cost += 2 * sum(pass_cost(texts * longest // length, length) for length in far)
    if request.dtype != "float32":
        cost += pass_cost(texts, longest)
    return cost


def _score_row(
    request: Request,
    row: Row,
    selection: Selection,
    fitting: Sequence[Text],
    windowed: Windowed,
    watch: Watch,
) -> tuple[dict[str, Any], Losses]:
    trained = row.checkpoint.config.train_length
    model, temperatures = modified_copy(
        row.checkpoint.model,
        row.variant,
        request.lengths,
        fitting,
        device=request.device,
        dtype=DTYPES[request.dtype],
        advance=watch.advance,
    )
    parts: list[Losses] = []
    # a text at a time on a CPU, so that a first result is on screen within seconds
    step = 1 if request.device.type == "cpu" else len(selection.texts)
    for start in range(0, len(selection.texts), step):
        parts.append(
            score_texts(
                model.token_losses,
                selection.texts[start : start + step],
                request.lengths,
                trained,
                device=request.device,
                advance=watch.advance,
            )
        )
        losses = _join(parts)
        entry = _summarise(request, row, selection, losses)
        watch.row(entry, len(losses.restart), len(selection.texts))
    if _has_controls(request, row):
        found = _controls(request, row, model, selection.texts, losses, windowed, watch)
        entry |= control("sliding", found.sliding) | control("window", found.window)
        entry = judged(entry, request.lengths)
    if temperatures is not None:
        entry["temperatures"] = temperatures
    if request.control == "swap":
        entry |= _swap(request, trained, model, selection.texts, watch)
    if request.dtype != "float32":
        entry |= _stability(request, row, model, selection.texts, losses, watch)
    return entry, losses


def _controls(
    request: Request,
    row: Row,
    model: Model,
    texts: Sequence[Text],
    losses: Losses,
    windowed: Windowed,
    watch: Watch,
) -> Controls:
    """S and W of every text; a model with a window is measured once for all rows that need it."""
    longest, trained = losses.longest, losses.train_length
    own = losses.by_length[longest][:, longest // 2 :]

    def against(other: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray((own - other).mean(axis=1, dtype=np.float64))

    device, advance = request.device, watch.advance
    sliding = against(
        sliding_losses(model.token_losses, texts, trained, device=device, advance=advance)
    )
    variant = window_variant(row.variant)
    if variant is None:
        return Controls(sliding, None)
    key = row.checkpoint.folder, variant
    if row.variant.modifier("window") is not None:
        windowed[key] = own
    if key not in windowed:
        plain, _ = modified_copy(
            row.checkpoint.model,
            variant,
            request.lengths,
            device=device,
            dtype=DTYPES[request.dtype],
        )
        windowed[key] = windowed_losses(
            plain.token_losses, texts, trained, device=device, advance=advance
        )
    return Controls(sliding, against(windowed[key]))


def _fitting_texts(request: Request, selections: Mapping[str, Selection]) -> dict[str, list[Text]]:
    """What `align` is fitted on, by the id of every tokenizer of a row that needs it."""
    fitting: dict[str, list[Text]] = {}
    for row in request.rows:
        tokenizer = tokenizer_id(row.checkpoint.tokenizer)
        trained = row.checkpoint.config.train_length
        if tokenizer not in fitting and needs_temperatures(row.variant, trained, request.lengths):
            fitting[tokenizer] = _not_scored(request, row, selections[tokenizer])
    return fitting


def _not_scored(request: Request, row: Row, selection: Selection) -> list[Text]:
    """Texts of files that are not scored."""
    scored = {document.sha256 for document in selection.documents}
    others = [document for document in request.documents if document.sha256 not in scored]
    try:
        drawn = select_texts(
            others, row.checkpoint.tokenizer, max(request.lengths), FITTED_ON, request.seed
        )
    except UsageError:
        raise UsageError(
            f"{row.variant}: every file of {max(request.lengths):,} tokens or more is scored, and "
            f"align is fitted on others; score at most {max(0, selection.qualifying - 1)} texts"
        ) from None
    return drawn.texts


def _summarise(request: Request, row: Row, selection: Selection, losses: Losses) -> dict[str, Any]:
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
    tokens_scored = per_text.shape[0] * max(lengths)
    scored = sum(_scored_bytes(row, text) for text in selection.texts[: len(per_text)])
    bits = [value * tokens_scored / (math.log(2) * scored) for value in loss]
    entry = {
        "variant": str(row.variant),
        "checkpoint": row.checkpoint.name,
        "train_length": trained,
        "uniform_loss": math.log(row.checkpoint.config.vocab_size),
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
        entry["loss_by_position"] = _by_position(losses)
    return judged(entry, lengths)


def _missing(request: Request, row: Row) -> dict[str, Any]:
    """The entry of a row that could not be scored: no number."""
    entry = {
        "variant": str(row.variant),
        "checkpoint": row.checkpoint.name,
        "train_length": row.checkpoint.config.train_length,
        "uniform_loss": math.log(row.checkpoint.config.vocab_size),
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
        entry["loss_by_position"] = [None] * len(_position_edges(max(request.lengths)))
    return entry


def _scored_bytes(row: Row, text: Text) -> int:
    return int(_token_bytes(row.checkpoint)[text.tokens[1:]].sum())


@cache
def _token_bytes(checkpoint: Checkpoint) -> NDArray[np.int64]:
    return token_bytes(checkpoint.tokenizer)


def _position_edges(longest: int) -> list[int]:
    """The last position (from 1) of each bin."""
    bins = math.gcd(longest, POSITION_BINS)
    return [(index + 1) * longest // bins for index in range(bins)]


def _by_position(losses: Losses) -> list[float]:
    bins = len(_position_edges(losses.longest))
    by_token = losses.by_length[losses.longest].mean(axis=0, dtype=np.float64)
    means: list[float] = by_token.reshape(bins, -1).mean(axis=1).tolist()
    return means


def _join(parts: Sequence[Losses]) -> Losses:
    return Losses(
        parts[0].train_length,
        {
            length: np.concatenate([part.by_length[length] for part in parts])
            for length in parts[0].by_length
        },
        np.concatenate([part.restart for part in parts]),
    )


def _swap(
    request: Request, trained: int, model: Model, texts: Sequence[Text], watch: Watch
) -> dict[str, Any]:
    changes = swapped_losses(
        model.token_losses,
        texts,
        request.lengths,
        trained,
        device=request.device,
        advance=watch.advance,
    )
    nothing = np.full(len(texts), np.nan)
    table = np.stack([changes.get(length, nothing) for length in request.lengths], axis=1)
    change, ci95 = intervals(table)
    return {"swap_delta": change, "swap_delta_ci95": ci95}


@torch.inference_mode()
def _stability(
    request: Request, row: Row, model: Model, texts: Sequence[Text], losses: Losses, watch: Watch
) -> dict[str, Any]:
    """Values that are not finite, and how far row sums are from 1 at the longest length."""
    computed, sums, bad_logits = row.variant.computes, [0.0], 0
    summed = _sums_to_one(row.variant)
    window = window_of(row.variant, losses.train_length)

    def observe(_layer: int, query: Tensor, key: Tensor) -> None:
        found = row_statistics(query, key, computed, enable_gqa=True, window=window).row_sum
        sums.append(float((found - 1).abs().nan_to_num(nan=math.inf).max()))

    for text in texts:
        tokens = torch.from_numpy(text.tokens[None, :-1]).to(request.device)
        hidden = model.hidden(tokens, observe=observe if summed else None)
        for part in torch.split(hidden[0], LOSS_TOKENS):
            bad_logits += int((~model.logits(part).isfinite()).sum())
        watch.advance(pass_cost(1, len(text.tokens) - 1))
    bad_losses = sum(int((~np.isfinite(table)).sum()) for table in losses.by_length.values())
    return {
        "nonfinite": {"logits": bad_logits, "losses": bad_losses},
        "row_sum_deviation": max(sums) if summed else None,
    }


def _sums_to_one(variant: Variant) -> bool:
    """Whether rows of what is computed sum to 1, and row statistics are of those rows: a function
    of one's own promises no sum, and `rerope` scores far keys otherwise."""
    computed = variant.computes
    summed = isinstance(computed, Stages) and computed.sums_to_one
    return summed and variant.modifier("rerope") is None


def _header(request: Request, selection: Selection, seconds: float) -> ResultDict:
    train_lengths = [row.checkpoint.config.train_length for row in request.rows]
    tokenizer = request.rows[0].checkpoint.tokenizer
    digest = hashlib.sha256()
    for text in selection.texts:
        digest.update(tokenizer.decode(text.tokens.tolist()).encode())
    return {
        "schema": SCHEMA,
        "train_length": train_lengths[0],
        "lengths": list(request.lengths),
        "texts": len(selection.texts),
        "seed": request.seed,
        "dtype": request.dtype,
        "control": request.control,
        **run_facts(request.device, request.command, seconds),
        "text": {
            "source": request.source,
            "files": selection.files,
            "qualifying": selection.qualifying,
            "repeats": selection.repeats,
            "tokens": len(selection.texts) * max(request.lengths),
            "sha256": digest.hexdigest(),
            "matches_stored": matches_stored(request.source, selection.documents),
            "manifest": manifest(selection.documents),
        },
    }


def _row_name(row: Row, rows: Sequence[Row]) -> str:
    """The variant, with its checkpoint where two rows share the variant."""
    alike = [other for other in rows if other.variant == row.variant]
    return str(row.variant) if len(alike) == 1 else f"{row.variant}@{row.checkpoint.name}"
