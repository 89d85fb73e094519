"""What a comparison will take, before it runs."""

from __future__ import annotations

from pathlib import Path

from freeatten_core.models.rows import CausalRow, Row
from freeatten_core.variants.variant import Variant

from .alignment import fitting_cost
from .controls import sliding_cost, window_variant, windowed_cost
from .request import Drawn, Request
from .scoring import pass_cost, scoring_cost


def cost(request: Request, drawn: Drawn) -> float:
    """What `compare` reports to `advance` in all."""
    whole = sum(_row_cost(request, row, drawn) for row in request.rows)
    longest = max(request.lengths)
    for row in _windowed_rows(request).values():
        whole += windowed_cost(len(drawn.of(row).texts), longest, row.restart_length)
    for other in request.rows:
        if (
            isinstance(other, CausalRow)
            and other.model.takes_window
            and request.has_controls(other)
        ):
            whole += windowed_cost(len(drawn.of(other).texts), longest, other.restart_length)
    return whole


def _windowed_rows(request: Request) -> dict[tuple[Path, Variant], Row]:
    """A row of this project for each of the models with a window that W needs."""
    return {
        (row.checkpoint.folder, variant): row
        for row in request.rows
        if isinstance(row, Row)
        and request.has_controls(row)
        and (variant := window_variant(row.variant)) is not None
        and row.variant.modifier("window") is None
    }


def _row_cost(request: Request, row: Row | CausalRow, drawn: Drawn) -> float:
    texts = len(drawn.of(row).texts)
    trained, longest = row.restart_length, max(request.lengths)
    whole = scoring_cost(texts, request.lengths, trained)
    if isinstance(row, Row):
        whole += fitting_cost(row.variant, trained, drawn.fitting(row), request.lengths)
    if request.has_controls(row):
        whole += sliding_cost(texts, longest, trained)
    if request.control == "swap":
        far = [length for length in request.lengths if length > trained]
        whole += 2 * sum(pass_cost(texts * longest // length, length) for length in far)
    if request.dtype != "float32" and isinstance(row, Row):
        whole += pass_cost(texts, longest)
    return whole
