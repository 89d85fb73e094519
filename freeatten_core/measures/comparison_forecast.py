"""What a comparison will take, before it runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from freeatten_core.basics.devices import DTYPES
from freeatten_core.basics.errors import sentence_and_code
from freeatten_core.basics.memory import available_bytes
from freeatten_core.models.forecast import (
    Forecast,
    Rates,
    check_memory,
    probe,
)
from freeatten_core.models.rows import CausalRow, Row
from freeatten_core.variants.variant import Variant

from .alignment import fitting_cost
from .controls import sliding_cost, window_variant, windowed_cost
from .low_precision import precision_cost
from .request import Drawn, Request
from .scoring import pass_cost, scoring_cost, windows_at_once

__all__ = ["check_fits", "cost", "forecast"]


def forecast(request: Request, drawn: Drawn) -> Forecast:
    """Memory and time of a comparison; takes the time of a short text for every row itself.

    The time is rough: that of the longest pass, which most of it is, scaled to all passes.
    """
    texts = max(len(selection.texts) for selection in drawn.scored.values())
    kept, peak = _bytes(request, texts, request.lengths)
    return Forecast(peak, kept, _seconds(request, drawn), available_bytes(request.device))


def check_fits(request: Request, drawn: Drawn) -> None:
    """Whether a comparison fits in memory.

    Raises:
        UsageError: it does not; with the numbers, and a length that does if one is left.
    """
    texts = max(len(selection.texts) for selection in drawn.scored.values())
    longest = max(request.lengths)

    def remedy(available: int) -> str:
        for length in sorted(request.lengths, reverse=True):
            shorter = [each for each in request.lengths if each <= length]
            needed = _bytes(request, texts, shorter)[1]
            if needed <= available:
                return f"up to {length:,} tokens (--len {length}) it is {needed / 1e9:.1f} GB"
        return "compare smaller models, or on a machine with more memory"

    work = f"comparing {texts} texts of {longest:,} tokens"
    check_memory(work, _bytes(request, texts, request.lengths)[1], request.device, remedy)


def _bytes(request: Request, texts: int, lengths: Iterable[int]) -> tuple[int, int]:
    """Every token's losses, which stay, and the peak of the largest pass."""
    lengths = list(lengths)
    longest = max(lengths)
    # at every length and restarted, and those of one row a second time while its texts are joined
    kept = 4 * (len(request.rows) + 1) * texts * longest * (len(lengths) + 2)
    dtype = DTYPES[request.dtype]
    largest = 0
    for row in request.rows:
        for length in lengths:
            tokens = length * min(
                windows_at_once(request.device, length), texts * longest // length
            )
            found = row.model.scoring_bytes(row.variant, tokens, length, request.device, dtype)
            largest = max(largest, found)
    return kept, kept + largest


def _seconds(request: Request, drawn: Drawn) -> float | None:
    """Every row's cost in units of its longest pass, of which a probe gives the seconds."""
    whole, longest = 0.0, max(request.lengths)
    for row in request.rows:
        if not row.model.layers:
            return None  # its own code decides what a pass takes
        try:
            rates = _probed(request, row)
        except Exception as error:  # a bug is raised again
            if sentence_and_code(error) is None:
                raise
            return None  # the row fails when it is scored, and says so there
        passes = _row_cost(request, row, drawn) / pass_cost(1, longest)
        whole += passes * rates.of_pass(longest, row.model.score_count(longest))
    return whole


def _probed(request: Request, row: Row | CausalRow) -> Rates:
    """Rates of a row's model, scored."""
    device = request.device
    model = row.model.on(device, DTYPES[request.dtype])

    def score(text: Tensor) -> Tensor:
        return model.token_losses(text, text)

    shape = next(iter(model.layers.values()))
    return probe(shape, row.variant.computes, max(request.lengths), device, score)


def cost(request: Request, drawn: Drawn) -> float:
    """What `compare` reports to `advance` in all."""
    whole = sum(_row_cost(request, row, drawn) for row in request.rows)
    longest = max(request.lengths)
    for row in _windowed_rows(request).values():
        whole += windowed_cost(len(drawn.of(row).texts), longest, row.restart_length)
    return whole


def _windowed_rows(request: Request) -> dict[tuple[Path, Variant], Row | CausalRow]:
    """A row for each of the models with a window that W needs."""
    return {
        (row.folder, variant): row
        for row in request.rows
        if request.has_controls(row)
        and row.model.takes_window
        and (variant := window_variant(row.variant)) is not None
        and row.variant.modifier("window") is None
    }


def _row_cost(request: Request, row: Row | CausalRow, drawn: Drawn) -> float:
    texts = len(drawn.of(row).texts)
    trained, longest = row.restart_length, max(request.lengths)
    whole = scoring_cost(texts, request.lengths, trained)
    whole += fitting_cost(row.variant, trained, drawn.fitting(row), request.lengths)
    if request.has_controls(row):
        whole += sliding_cost(texts, longest, trained)
    if request.control == "swap":
        far = [length for length in request.lengths if length > trained]
        whole += 2 * sum(pass_cost(texts * longest // length, length) for length in far)
    if request.dtype != "float32":
        whole += precision_cost(row.variant, row.model, texts, longest)
    return whole
