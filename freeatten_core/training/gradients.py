"""The gradients of a step: computed anew, or as a replayed CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from freeatten_core.basics.distributed import Ranks
from freeatten_core.ops.call import NO_TERMS, ScoreTerms
from freeatten_core.ops.definitions import staged
from freeatten_core.variants.stages import Computed, Stages

__all__ = [
    "FreshGradients",
    "Loss",
    "LossOf",
    "RankGradients",
    "ReplayedGradients",
    "compiled_attention",
]

Loss = Callable[[Tensor], Tensor]


class FreshGradients:
    """A loss of a batch; calling it leaves the gradients in the parameters' `.grad`.

    A batch is computed in so many equal parts, one after another, as large as memory allows.
    """

    def __init__(self, loss: Loss, parameters: list[nn.Parameter], parts: int = 1) -> None:
        self._loss, self._parameters, self._parts = loss, parameters, parts

    def __call__(self, batch: Tensor) -> Tensor:
        for weight in self._parameters:
            weight.grad = None
        values = [
            self._add(part, is_last=index == self._parts - 1)
            for index, part in enumerate(batch.chunk(self._parts))
        ]
        return torch.stack(values).sum()

    def value(self, batch: Tensor) -> Tensor:
        """The loss alone, in as many parts: as much memory, and what is compiled takes no other
        shape."""
        return torch.stack([self._loss_of(part) for part in batch.chunk(self._parts)]).mean()

    def _loss_of(self, part: Tensor) -> Tensor:
        # under grad mode, so that a compiled loss is not compiled a second time
        return self._loss(part).detach()

    def _add(self, part: Tensor, *, is_last: bool) -> Tensor:
        """Add the gradients of a part's share of the loss, and return that share."""
        del is_last
        value = self._loss(part) / self._parts
        value.backward()  # type: ignore[no-untyped-call]  # no types in PyTorch
        return value.detach()


class RankGradients(FreshGradients):
    """The same over all ranks: each gives its shard of the batch, and has the mean's gradients.

    PyTorch's `DistributedDataParallel` adds the gradients while the backward pass goes on.
    """

    def __init__(self, loss: Loss, model: nn.Module, ranks: Ranks, parts: int = 1) -> None:
        place = [ranks.local] if next(model.parameters()).is_cuda else None
        self._joined = DistributedDataParallel(LossOf(model, loss), device_ids=place)
        self._alone = loss
        super().__init__(self._joined, list(model.parameters()), parts)

    def _loss_of(self, part: Tensor) -> Tensor:
        return self._alone(part).detach()

    def _add(self, part: Tensor, *, is_last: bool) -> Tensor:
        with nullcontext() if is_last else self._joined.no_sync():  # they are added once a step
            return super()._add(part, is_last=is_last)


class LossOf(nn.Module):
    """A loss as the module that joined gradients ask for."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model, self._loss = model, loss

    def forward(self, batch: Tensor) -> Tensor:
        return self._loss(batch)


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
    query: Tensor,
    key: Tensor,
    value: Tensor,
    computed: Computed,
    /,
    *,
    window: int | None = None,
    terms: ScoreTerms = NO_TERMS,
    **_: object,
) -> Tensor:
    """Naive attention, for `torch.compile` to fuse; memory grows with L².

    Its scores are float32 from TF32 products, which are exact for bfloat16 inputs: rounding scores
    to bfloat16 would cost p = 15 its meaning. Plain softmax goes to
    `scaled_dot_product_attention`.
    """
    if query.shape[1] != key.shape[1]:
        groups = query.shape[1] // key.shape[1]
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    if computed == Stages() and terms.is_empty and window is None:
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    with torch.autocast(query.device.type, enabled=False):
        inputs = query.float(), key.float(), value.float()
        given = terms._asdict() | {"window": window}
        mixed = staged.reference_attention(*inputs, computed, **given)
        return mixed.to(value.dtype)
