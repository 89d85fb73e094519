"""Every head of several models over several texts: means by head, position and length.

Attention is causal, so a text's first ℓ tokens are read as a text of ℓ tokens is. "At length ℓ"
means the rows ℓ/2…ℓ: those whose loss `compare` measures Δ by, in the text's first window.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from freeatten_core.analysis.capture import Capture, capture
from freeatten_core.analysis.reach import doubling_edges, reach
from freeatten_core.analysis.rows import (
    SINK_LENGTH,
    STATISTICS,
    Name,
    Statistic,
    by_position,
    head_table,
    sink_rate,
    uniform_rule_share,
)
from freeatten_core.basics.distributed import ALONE, Ranks
from freeatten_core.basics.errors import UsageError
from freeatten_core.basics.progress import Advance, Meter, ignore
from freeatten_core.basics.shards import Shard
from freeatten_core.basics.version import source_digest
from freeatten_core.data.documents import Document, manifest
from freeatten_core.data.selection import Selection, Text, select_one, select_texts
from freeatten_core.models.rows import CausalRow, Row, common_tokenizer, types_of
from freeatten_core.results.facts import ResultDict, run_facts
from freeatten_core.results.intervals import intervals

from .by_token import token_losses
from .each_row import each_row
from .finite import check_finite, no_numbers
from .scoring import pass_cost

__all__ = ["LOSS", "SurveyRequest", "lengths_of", "survey"]

SCHEMA = 2
POINTS = 64
BY_LENGTH: Sequence[Name] = (
    "entropy",
    "relative_entropy",
    "effective_tokens",
    "largest",
    "first",
    "mean_distance",
    "zeros",
)
"""The statistics that are given by length; `REACH` is added."""
REACH = ("far", "received")

LOSS: Literal["loss"] = "loss"
"""The one statistic that is of a whole model and not of its heads."""
LOSS_SHOWN = Statistic("loss", "nats per token", "how badly the next token is predicted")

Values = NDArray[np.float64]


@dataclass(frozen=True)
class SurveyRequest:
    """What to look at. Fields as the options of `freeatten entropy`."""

    rows: Sequence[Row | CausalRow]
    documents: Sequence[Document]
    source: str
    length: int
    command: str
    statistic: Name | Literal["loss"] = "relative_entropy"
    """What is given by position; with `loss` nothing of the heads is."""
    place: tuple[int, int] | None = None
    """Layer and head whose curve is given by position; None for the mean of all."""
    layers: Sequence[int] | None = None
    """Which are looked at; None for all with attention."""
    texts: int = 1
    by_length: bool = False
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    ranks: Ranks = ALONE
    """Who looks at a part of the texts, within `joined_ranks`; all get the result."""


def survey(
    request: SurveyRequest, advance: Callable[[str], Advance] = lambda _: ignore
) -> ResultDict:
    """Pass every text through every row.

    Args:
        advance: gives the progress callback of a pass by what it is of.

    Returns:
        The result in the schema of `--json` (see docs/results.md).

    Raises:
        UsageError: no text is long enough, rows with different tokenizers, too little memory, a
            head that a row does not have, fewer texts than ranks, or ranks that were asked for
            different things.
        ContentError: the only row has values that are not finite.
        InterruptedRows: a signal after the first row, with the rows that are whole.
    """
    started = time.perf_counter()
    _check_place(request)
    tokenizer = common_tokenizer(request.rows)
    drawn = _drawn(request, tokenizer)
    _check_ranks(request, drawn)
    measure = _measure_loss if request.statistic == LOSS else _measure
    missing = _missing_loss if request.statistic == LOSS else _missing
    rows = each_row(
        request.rows,
        lambda row: measure(request, row, drawn.texts, advance),
        lambda row: missing(request, row),
    )
    text = {
        **drawn.facts(request.source),
        "names": [text.name for text in drawn.texts],
        "manifest": manifest(drawn.documents),
    }
    facts = run_facts(request.device, request.command, time.perf_counter() - started)
    return rows.result(_header(request, len(drawn.texts), text) | facts)


def _drawn(request: SurveyRequest, tokenizer: Tokenizer) -> Selection:
    """One text is that of `map` and `stages`, several are those of `compare`."""
    if request.texts == 1:
        return select_one(request.documents, tokenizer, request.length, request.seed)
    return select_texts(
        request.documents, tokenizer, request.length - 1, request.texts, request.seed
    )


def _check_place(request: SurveyRequest) -> None:
    if request.place is None:
        return
    layer, head = request.place
    for row in request.rows:
        known = row.model.layers
        if row.model.maps_refused is None and (layer not in known or head >= known[layer].heads):
            raise UsageError(
                f"layer {layer}, head {head} is not in {row.name}, which has attention in layers "
                f"{_listed(known)} and heads 0 to {max(each.heads for each in known.values()) - 1}"
            )


def _check_ranks(request: SurveyRequest, drawn: Selection) -> None:
    """Whether every rank has a text, and all were asked for the same."""
    request.ranks.check_enough(len(drawn.texts), "texts", "--texts")
    request.ranks.check_agree(
        {
            "rows": [row.name for row in request.rows],
            "seed": request.seed,
            "length": request.length,
            "statistic": request.statistic,
            "head": list(request.place or ()),
            "layers": list(request.layers or ()),
            "by length": request.by_length,
            "tokens": drawn.digest,
            "text": [
                {"name": document.name, "sha256": document.sha256} for document in drawn.documents
            ],
            "source code": source_digest(),
        }
    )


def _listed(numbers: Iterable[int]) -> str:
    """`0 to 4`, or all of them where some are missing."""
    found = sorted(numbers)
    whole = found == list(range(found[0], found[-1] + 1))
    return f"{found[0]} to {found[-1]}" if whole else ", ".join(map(str, found))


def lengths_of(length: int, train_length: int) -> list[int]:
    """1×, 2×, 4×, … up to a length; the length itself when it is below 1×."""
    found = [train_length]
    while 2 * found[-1] <= length:
        found.append(2 * found[-1])
    return found if train_length <= length else [length]


def _header(request: SurveyRequest, texts: int, text: Mapping[str, Any]) -> ResultDict:
    shown = LOSS_SHOWN if request.statistic == LOSS else STATISTICS[request.statistic]
    edges = _edges(request)
    header: dict[str, Any] = {
        "schema": SCHEMA,
        **request.rows[0].lengths,
        "length": request.length,
        "texts": texts,
        "seed": request.seed,
        "dtype": types_of(request.rows),
        "text": text,
        "statistic": request.statistic,
        "label": shown.label,
        "unit": shown.unit,
        "meaning": shown.meaning,
        "positions": [(a + b - 1) / 2 for a, b in pairwise(edges)],
    }
    if request.place is not None:
        header |= {"layer": request.place[0], "head": request.place[1]}
    if request.by_length:
        lengths = _lengths(request)
        header |= {"lengths": lengths, "distances": doubling_edges(lengths[-1])}
    return header


def _edges(request: SurveyRequest) -> list[int]:
    """Where the stretches of rows begin; the last row of a text predicts nothing of it."""
    rows = request.length - (request.statistic == LOSS)
    count = min(POINTS, rows)
    return [index * rows // count for index in range(count + 1)]


def _lengths(request: SurveyRequest) -> list[int]:
    return lengths_of(request.length, request.rows[0].restart_length)


def _measure(
    request: SurveyRequest,
    row: Row | CausalRow,
    texts: Sequence[Text],
    advance: Callable[[str], Advance],
) -> dict[str, Any]:
    parts = request.ranks.shared(lambda shard: _measure_texts(request, row, texts, shard, advance))
    heads = parts[0][0]
    stacked = {
        key: np.stack([value for _, found in parts for value in found[key]]) for key in parts[0][1]
    }
    return _summarise(request, row, heads, stacked)


def _measure_loss(
    request: SurveyRequest,
    row: Row | CausalRow,
    texts: Sequence[Text],
    advance: Callable[[str], Advance],
) -> dict[str, Any]:
    model = row.model.on(request.device, torch.float32).with_modifiers(row.variant, request.length)

    def scored(shard: Shard) -> list[Values]:
        found = []
        for text in texts[shard.part(len(texts))]:
            meter = Meter(pass_cost(1, request.length - 1), advance(row.name))
            losses = token_losses(
                model.token_losses,
                torch.from_numpy(text.tokens),
                device=request.device,
                advance=meter.add,
            )
            check_finite(torch.from_numpy(losses)[None], [text.name], request.length - 1)
            found.append(losses.astype(np.float64))
        return found

    losses = np.stack([each for part in request.ranks.shared(scored) for each in part])
    means = [float(losses[:, start:end].mean()) for start, end in pairwise(_edges(request))]
    return {**row.facts, "loss": float(losses.mean()), "by_position": means}


def _missing(request: SurveyRequest, row: Row | CausalRow) -> dict[str, Any]:
    """The entry of a row that could not be looked into."""
    entry: dict[str, Any] = {
        **row.facts,
        "heads": [],
        "sink_rate": None,
        "uniform_rule": None,
        "by_position": [None] * (len(_edges(request)) - 1),
    }
    if request.by_length:
        lengths = _lengths(request)
        entry["by_length"] = no_numbers((*BY_LENGTH, *REACH), len(lengths))
        entry["by_distance"] = [[None] * len(doubling_edges(lengths[-1])) for _ in lengths]
    return entry


def _missing_loss(request: SurveyRequest, row: Row | CausalRow) -> dict[str, Any]:
    """The entry of a row that could not be scored."""
    return {**row.facts, "loss": None, "by_position": [None] * (len(_edges(request)) - 1)}


def _measure_texts(
    request: SurveyRequest,
    row: Row | CausalRow,
    texts: Sequence[Text],
    shard: Shard,
    advance: Callable[[str], Advance],
) -> tuple[list[tuple[int, int]], dict[str, list[Values]]]:
    """The heads, and every array of theirs by its name, for each of the shard's texts."""
    found: dict[str, list[Values]] = {}
    heads: list[tuple[int, int]] = []
    for at in range(len(texts))[shard.part(len(texts))]:
        name = row.name + (f", text {at + 1} of {len(texts)}" if len(texts) > 1 else "")
        seen = capture(
            row.model,
            torch.from_numpy(texts[at].tokens),
            variant=row.variant,
            layers=request.layers,
            device=request.device,
            advance=advance(name),
        )
        heads = [(layer, head) for layer in seen.layers for head in range(seen.heads)]
        for key, value in _measure_text(request, seen, row.restart_length):
            found.setdefault(key, []).append(value)
    return heads, found


def _measure_text(
    request: SurveyRequest, seen: Capture, far_from: int
) -> Iterator[tuple[str, Values]]:
    """Arrays by head (layers · H), with further dimensions where there is more than one number."""
    table = head_table(seen)
    for name in STATISTICS:
        yield name, np.array([head.values[name] for head in table])
    if seen.length >= SINK_LENGTH:
        yield "sink", np.array([head.sink for head in table])
        yield "sink_rate", np.array(sink_rate(seen).share)
    yield "uniform_rule", np.array(uniform_rule_share(seen).share)
    layers = seen.layers if request.place is None else [request.place[0]]
    name = cast("Name", request.statistic)
    curves = torch.cat([by_position(seen, name, layer, POINTS)[1] for layer in layers])
    if request.place is not None:
        curves = curves[request.place[1] :][:1]
    yield "by_position", curves.double().cpu().numpy()
    if request.by_length:
        yield from _by_length(seen, _lengths(request), far_from)


def _by_length(
    seen: Capture, lengths: Sequence[int], far_from: int
) -> Iterator[tuple[str, Values]]:
    """Arrays heads × lengths; `length by_distance` heads × lengths × bins."""
    bins = len(doubling_edges(lengths[-1]))
    tables = [head_table(seen, length // 2, length) for length in lengths]
    for name in BY_LENGTH:
        columns = [[head.values[name] for head in table] for table in tables]
        yield f"length {name}", np.array(columns).T
    far, received, distance = [], [], []
    for length in lengths:
        found = [reach(seen, layer, length // 2, length) for layer in seen.layers]
        far.append(torch.cat([each.beyond(far_from) for each in found]))
        received.append(torch.cat([each.received for each in found]))
        shares = torch.cat([each.doublings() for each in found])
        distance.append(torch.nn.functional.pad(shares, (0, bins - shares.shape[-1])))
    for measure, parts in (("far", far), ("received", received), ("by_distance", distance)):
        yield f"length {measure}", torch.stack(parts, dim=1).numpy()


def _summarise(
    request: SurveyRequest,
    row: Row | CausalRow,
    heads: Sequence[tuple[int, int]],
    found: Mapping[str, Values],
) -> dict[str, Any]:
    """An entry from arrays whose first dimension is the text, and whose next is that of `heads`."""
    entry: dict[str, Any] = {
        **row.facts,
        "heads": [_head(place, index, found) for index, place in enumerate(heads)],
        "sink_rate": float(found["sink_rate"].mean()) if "sink_rate" in found else None,
        "uniform_rule": float(found["uniform_rule"].mean()),
        "by_position": _nanmean(found["by_position"], (0, 1)).tolist(),
    }
    if request.by_length:
        by_length: dict[str, Any] = {}
        for measure in _length_names(found):
            by_length[measure], by_length[f"{measure}_ci95"] = intervals(
                _nanmean(found[f"length {measure}"], 1)
            )
        entry["by_length"] = by_length
        entry["by_distance"] = found["length by_distance"].mean(axis=(0, 1)).tolist()
    return entry


def _head(place: tuple[int, int], index: int, found: Mapping[str, Values]) -> dict[str, Any]:
    """Means of one head, by layer and number, over texts."""
    layer, head = place
    sink = float(found["sink"][:, index].mean()) if "sink" in found else None
    entry: dict[str, Any] = {"layer": layer, "head": head, "sink": sink}
    entry |= {name: float(_nanmean(found[name][:, index], 0)) for name in STATISTICS}
    if "length far" in found:
        entry["by_length"] = {
            name: _nanmean(found[f"length {name}"][:, index], 0).tolist()
            for name in _length_names(found)
        }
    return entry


def _length_names(found: Mapping[str, Values]) -> list[str]:
    names = [key.removeprefix("length ") for key in found if key.startswith("length ")]
    return [name for name in names if name != "by_distance"]


def _nanmean(values: Values, axes: int | tuple[int, ...]) -> Values:
    """The mean of what is not NaN; NaN, without a warning, where all is."""
    known = ~np.isnan(values)
    total, count = np.where(known, values, 0.0).sum(axis=axes), known.sum(axis=axes)
    return np.asarray(np.where(count == 0, np.nan, total / np.maximum(count, 1)))
