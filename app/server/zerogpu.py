"""Long analyses on ZeroGPU, which lends a GPU to a function and not to a server.

There CUDA exists only inside a function that `spaces.GPU` decorated. It runs in a process of its
own, so what it takes and gives is copied, and it can neither report progress nor be cancelled.
Everything else of a server stays on the CPU.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from .analyses import Analyses

if TYPE_CHECKING:
    from torch import Tensor

    from freeatten_core.analysis import Capture
    from freeatten_core.models.rows import CausalRow, Row

    from .jobs import Advance
    from .models import Models
    from .texts import Texts

__all__ = ["LONG", "ZeroGpuAnalyses", "captured"]

LONG = 8192
"""Tokens above which a GPU is asked for. Two cores need some ten seconds for so many, and minutes
for four times as many; a GPU has to be waited for, and a visitor has minutes of it a day."""

OnGpu = Callable[[bytes], bytes]
logger = logging.getLogger("freeatten_app")


def captured(asked: bytes) -> bytes:
    """A pass of a model over a text on the GPU that there is.

    Pickled, since a queue between processes would put bare tensors into shared memory, of which a
    Space has too little.

    Args:
        asked: a `Row`, its tokens, and the layers that are kept.

    Returns:
        The `Capture`, on the CPU.
    """
    from freeatten_core.analysis import capture
    from freeatten_core.basics.devices import choose_device

    row, tokens, layers = pickle.loads(asked)
    made = capture(
        row.model,
        tokens,
        variant=row.variant,
        layers=layers,
        device=choose_device("auto"),
    )
    return pickle.dumps(_on_cpu(made))


class ZeroGpuAnalyses(Analyses):
    """Analyses on the CPU, long ones on a lent GPU where one is to be had."""

    def __init__(self, models: Models, texts: Texts, on_gpu: OnGpu) -> None:
        """Args: on_gpu: `captured`, decorated."""
        super().__init__(models, texts, "cpu")
        self._on_gpu = on_gpu

    def capture(
        self, row: Row | CausalRow, tokens: Tensor, layers: Sequence[int] | None, advance: Advance
    ) -> Capture:
        """A pass of a model over a text."""
        if len(tokens) <= LONG:
            return super().capture(row, tokens, layers, advance)
        try:
            answer = self._on_gpu(pickle.dumps((row, tokens, layers)))
        except Exception as error:  # any type of the lender's; the CPU does it, or says the same
            logger.warning("no GPU for %d tokens, so on the CPU: %s", len(tokens), error)
            return super().capture(row, tokens, layers, advance)
        made: Capture = pickle.loads(answer)
        advance(1, 1)  # whoever has given it up meanwhile gets nothing
        return made


def _on_cpu(capture: Capture) -> Capture:
    layers = {
        layer: replace(
            each,
            query=each.query.cpu(),
            key=each.key.cpu(),
            rows=each.rows and each.rows.map(lambda tensor: tensor.cpu()),
            terms=each.terms.map(lambda tensor: tensor.cpu()),
        )
        for layer, each in capture.layers.items()
    }
    return replace(capture, layers=layers)
