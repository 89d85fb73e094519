"""`compare`: rows, their losses, intervals and verdicts, as one JSON-ready result."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freeatten_core.basics.devices import DTYPES
from freeatten_core.basics.errors import sentence_and_code
from freeatten_core.basics.progress import Watch
from freeatten_core.basics.shards import Shard, shards
from freeatten_core.data.selection import Selection, Text
from freeatten_core.models.interface import LanguageModel
from freeatten_core.models.rows import CausalRow, Row
from freeatten_core.results.ceiling import with_shares
from freeatten_core.results.facts import json_ready
from freeatten_core.results.intervals import intervals
from freeatten_core.results.verdicts import judged, judged_at
from freeatten_core.variants.variant import Variant

from .alignment import modified_copy
from .compared import Comparison, InterruptedComparison
from .comparison_forecast import check_fits, cost, forecast
from .comparison_header import header
from .controls import Others, sliding_losses, window_variant, windowed_losses
from .finite import first_not_finite
from .low_precision import precision_entry
from .request import Control, Drawn, Request, draw_texts
from .row_entry import FAILED, missing_entry, position_edges, row_entry
from .scored import check_known
from .scoring import Losses, Scorer, joined, score_texts, swapped_losses

__all__ = [
    "FAILED",
    "Comparison",
    "Control",
    "InterruptedComparison",
    "Request",
    "compare",
]

Scored = Callable[..., NDArray[np.float32]]
"""`sliding_losses` or `windowed_losses`."""
Windowed = dict[tuple[Path, Variant], NDArray[np.float32]]
"""Losses of the last half of every text by checkpoints with a window, by folder and variant."""


@dataclass
class _Rows:
    """Rows so far."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    losses: dict[str, Losses] = field(default_factory=dict)


def compare(request: Request, watch: Watch | None = None) -> Comparison:
    """Score every row and sum up.

    Returns:
        The result in the schema of `--json` (see docs/results.md), and every token's loss. A row
        that cannot be scored, one of several, has its reason in `error` and no numbers.

    Raises:
        UsageError: no document is long enough, or there is not enough memory, with the numbers.
        InterruptedComparison: a signal after the first row, with the rows that are whole.
    """
    watch = (watch or Watch()).of_all_ranks(request.ranks.count)
    started = time.perf_counter()
    drawn = draw_texts(request)
    check_fits(request, drawn)
    watch.total(cost(request, drawn))
    if watch.seconds is not None:
        seconds = forecast(request, drawn).seconds
        if seconds is not None:
            watch.seconds(seconds)
    rows = _Rows()
    stopped: KeyboardInterrupt | None = None
    try:
        _score_rows(request, drawn, rows, watch)
    except KeyboardInterrupt as error:
        if not rows.losses:
            raise
        stopped = error
    selection = next(iter(drawn.scored.values()))
    result = header(request, selection, time.perf_counter() - started)
    result["tokenizers"] = len(drawn.scored)
    if stopped is not None:
        result["partial"] = True
        result["rows_asked"] = len(request.rows)
    if request.by_position:
        result["positions"] = position_edges(max(request.lengths))
    result["variants"] = rows.entries
    if request.ceiling is not None and stopped is None:
        result = with_shares(result, request.ceiling.source)
    done = Comparison(json_ready(result), rows.losses)
    if stopped is not None:
        raise InterruptedComparison(done, stopped) from stopped
    return done


def _score_rows(request: Request, drawn: Drawn, rows: _Rows, watch: Watch) -> None:
    """Add every row; one of several that fails has an entry without numbers."""
    windowed: Windowed = {}
    for row in request.rows:
        selection = drawn.of(row)
        try:
            entry, losses = _score_row(request, row, selection, drawn.fitting(row), windowed, watch)
        except Exception as error:  # a bug is raised again
            sentence = sentence_and_code(error)
            if sentence is None or len(request.rows) == 1:
                raise
            rows.entries.append(missing_entry(request, row) | {"error": sentence[0]})
            continue
        found = first_not_finite(losses, selection.texts)
        rows.entries.append(entry if found is None else entry | {"first_not_finite": found})
        rows.losses[_row_name(row, request.rows)] = losses


def _score_row(
    request: Request,
    row: Row | CausalRow,
    selection: Selection,
    fitting: Sequence[Text],
    windowed: Windowed,
    watch: Watch,
) -> tuple[dict[str, Any], Losses]:
    trained = row.restart_length
    check_known(row.name, [text.tokens for text in selection.texts], row.vocab_size)
    model, temperatures = _model(request, row, fitting, watch)
    losses = joined(
        request.ranks.shared(
            lambda shard: _scored(
                request, row, model, selection.texts[shard.part(len(selection.texts))], watch
            )
        )
    )
    entry = row_entry(request, row, selection.texts, losses)
    if request.has_controls(row):
        others = _others(request, row, model, selection.texts, losses, windowed, watch)
        entry = judged(entry | others.controls(losses, losses.longest), request.lengths)
        declared = entry.get("declared_length") or 0
        if declared in request.lengths and trained < declared < losses.longest:
            found = others.controls(losses, declared)
            entry["at_declared"] = judged_at(entry | found, request.lengths, declared)
    if temperatures is not None:
        entry["temperatures"] = temperatures
    if request.control == "swap":
        entry |= _swap(request, trained, model, selection.texts, watch)
    if request.dtype != "float32":
        entry |= precision_entry(
            row.variant,
            model,
            selection.texts,
            losses,
            device=request.device,
            advance=watch.advance,
        )
    return entry, losses


def _scored(
    request: Request,
    row: Row | CausalRow,
    model: LanguageModel,
    texts: Sequence[Text],
    watch: Watch,
) -> Losses:
    """Losses of some texts, reported as far as they are."""
    parts: list[Losses] = []
    # a text at a time on a CPU, so that a first result is on screen within seconds
    for shard in shards(len(texts) if request.device.type == "cpu" else 1):
        parts.append(
            score_texts(
                model.token_losses,
                texts,
                request.lengths,
                row.restart_length,
                device=request.device,
                advance=watch.advance,
                shard=shard,
            )
        )
        losses = joined(parts)
        watch.row(row_entry(request, row, texts, losses), len(losses.restart), len(texts))
    return losses


def _over_texts(
    request: Request, scored: Callable[[Shard], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """What every rank scores of its texts, (texts, …)."""
    return np.concatenate(request.ranks.shared(scored))


def _model(
    request: Request, row: Row | CausalRow, fitting: Sequence[Text], watch: Watch
) -> tuple[LanguageModel, dict[int, float] | None]:
    """A row's model as it was asked for, and the temperatures if it has any."""
    return modified_copy(
        row.model,
        row.variant,
        request.lengths,
        fitting,
        device=request.device,
        dtype=DTYPES[request.dtype],
        restart=row.restart_length,
        advance=watch.advance,
    )


def _others(
    request: Request,
    row: Row | CausalRow,
    model: LanguageModel,
    texts: Sequence[Text],
    losses: Losses,
    windowed: Windowed,
    watch: Watch,
) -> Others:
    """What S and W compare with; a model with a window is measured once for all that need it."""
    trained, device, advance = row.restart_length, request.device, watch.advance

    def scored(losses_of: Scored, scorer: Scorer) -> NDArray[np.float32]:
        return _over_texts(
            request,
            lambda shard: losses_of(
                scorer, texts, trained, device=device, advance=advance, shard=shard
            ),
        )

    sliding = scored(sliding_losses, model.token_losses)
    variant = window_variant(row.variant)
    if variant is None or not row.model.takes_window:
        return Others(sliding, None)
    key = row.folder, variant
    if row.variant.modifier("window") is not None:
        windowed[key] = losses.by_length[losses.longest][:, losses.longest // 2 :]
    if key not in windowed:
        windowed[key] = scored(windowed_losses, _changed(request, row, variant).token_losses)
    return Others(sliding, windowed[key])


def _changed(request: Request, row: Row | CausalRow, variant: Variant) -> LanguageModel:
    """A row's weights under the modifiers of a variant that needs no fitting."""
    changed: LanguageModel = modified_copy(
        row.model,
        variant,
        request.lengths,
        device=request.device,
        dtype=DTYPES[request.dtype],
        restart=row.restart_length,
    )[0]
    return changed


def _swap(
    request: Request, trained: int, model: LanguageModel, texts: Sequence[Text], watch: Watch
) -> dict[str, Any]:
    parts = request.ranks.shared(
        lambda shard: swapped_losses(
            model.token_losses,
            texts,
            request.lengths,
            trained,
            device=request.device,
            advance=watch.advance,
            shard=shard,
        )
    )
    nothing = np.full(len(texts), np.nan)
    table = np.stack(
        [
            np.concatenate([part[length] for part in parts]) if length in parts[0] else nothing
            for length in request.lengths
        ],
        axis=1,
    )
    change, ci95 = intervals(table)
    return {"swap_delta": change, "swap_delta_ci95": ci95}


def _row_name(row: Row | CausalRow, rows: Sequence[Row | CausalRow]) -> str:
    """The row's name, with its checkpoint where two rows share it."""
    alike = [other for other in rows if other.name == row.name]
    return row.name if len(alike) == 1 else f"{row.name}@{row.source}"
