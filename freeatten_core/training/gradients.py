"""The gradients of a step: computed anew, or as a replayed CUDA graph."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from freeatten_core.ops.definitions import staged
from freeatten_core.variants.stages import Computed, Stages

__all__ = ["FreshGradients", "ReplayedGradients", "compiled_attention"]


class FreshGradients:
    """A loss of a batch; calling it leaves the gradients in the parameters' `.grad`."""

    def __init__(self, loss: Callable[[Tensor], Tensor], parameters: list[nn.Parameter]) -> None:
        self._loss, self._parameters = loss, parameters

    def __call__(self, batch: Tensor) -> Tensor:
        for weight in self._parameters:
            weight.grad = None
        value = self._loss(batch)
        value.backward()  # type: ignore[no-untyped-call]  # no types in PyTorch
        return value.detach()


class ReplayedGradients(FreshGradients):
    """The same as a CUDA graph: launched from Python, a step at 512 tokens waits for the launches.

    Every batch has the shape of the first.
    """

    _graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, batch: Tensor) -> Tensor:
        if self._graph is None:
            self._capture(batch)
        assert self._graph is not None
        self._batch.copy_(batch)
        self._graph.replay()
        return self._value.clone()

    def _capture(self, batch: Tensor) -> None:
        self._batch = batch.clone()
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # no types in PyTorch
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # what is compiled or allocated once must not be captured
            for _ in range(3):
                super().__call__(self._batch)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._value = super().__call__(self._batch)


def compiled_attention(
    query: Tensor, key: Tensor, value: Tensor, computed: Computed, /, **_: object
) -> Tensor:
    """Naive attention, for `torch.compile` to fuse; memory grows with L².

    Its scores are float32 from TF32 products, which are exact for bfloat16 inputs: rounding scores
    to bfloat16 would cost p = 15 its meaning. Plain softmax goes to
    `scaled_dot_product_attention`.
    """
    if query.shape[1] != key.shape[1]:
        groups = query.shape[1] // key.shape[1]
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    if computed == Stages():
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    with torch.autocast(query.device.type, enabled=False):
        mixed = staged.reference_attention(query.float(), key.float(), value.float(), computed)
        return mixed.to(value.dtype)
