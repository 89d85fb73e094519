"""The error of an attention against the float64 definition."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from freeatten_core.ops.definitions import staged
from freeatten_core.variants.variant import Variant

from .gpu_peers import Peer
from .rounds import Forward, Pass

__all__ = ["Call", "Inputs", "Judge", "relative_error", "worst"]

CHECKED_ROWS = 128
"""How many of the first and of the last rows of one head are compared with the reference."""


@dataclass(frozen=True)
class Call:
    """A pass: what comes before it, not timed, and the pass itself."""

    prepare: Callable[[], Any]
    run: Callable[[Any], object]
    """Takes what `prepare` returned."""


@dataclass(frozen=True)
class Inputs:
    leaves: tuple[Tensor, ...]
    """Query, key and value, which require gradients."""
    grad: Tensor
    """Of the output."""

    def call(self, forward: Forward, pass_name: Pass) -> Call:
        """A pass over these inputs."""
        if pass_name == "forward":
            return Call(_nothing, lambda _: forward(*self.leaves))
        if pass_name == "backward":
            return Call(partial(forward, *self.leaves), self.gradients)
        return Call(_nothing, lambda _: self.gradients(forward(*self.leaves)))

    def gradients(self, output: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(output, self.leaves, self.grad)


def _nothing() -> None: ...


class Judge:
    """Compares one head of a peer's output and gradients with the float64 reference.

    The first and the last rows are compared, and gradients flow from those rows alone: so nothing
    of size L×L is held in float64.
    """

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        length = inputs.grad.shape[2]
        self._spans = [(0, length)]
        if length > 2 * CHECKED_ROWS:
            self._spans = [(0, CHECKED_ROWS), (length - CHECKED_ROWS, length)]
        self._grad = torch.zeros_like(inputs.grad)
        for start, stop in self._spans:
            self._grad[:, :, start:stop] = inputs.grad[:, :, start:stop]
        self._expected: dict[Variant, list[Tensor]] = {}

    def error(self, peer: Peer, pass_name: Pass) -> float:
        """Relative error of what a pass gives."""
        output, *gradients = self._wanted(peer.variant)
        found = peer.forward(*self._inputs.leaves)
        errors = [relative_error(self._rows(found), output)]
        if pass_name == "forward":
            return errors[0]
        given = torch.autograd.grad(found, self._inputs.leaves, self._grad)
        of_gradients = [
            relative_error(_head(grad), wanted)
            for grad, wanted in zip(given, gradients, strict=True)
        ]
        return worst(of_gradients if pass_name == "backward" else errors + of_gradients)

    def _wanted(self, variant: Variant) -> list[Tensor]:
        if variant not in self._expected:
            leaves = [_head(leaf).requires_grad_() for leaf in self._inputs.leaves]
            query, key, value = leaves
            rows = [
                staged.reference_attention(
                    query[:, :, start:stop], key[:, :, :stop], value[:, :, :stop], variant
                )
                for start, stop in self._spans
            ]
            output = torch.cat(rows, dim=2)
            gradients = torch.autograd.grad(output, leaves, self._rows(self._grad))
            self._expected[variant] = [output.detach(), *gradients]
        return self._expected[variant]

    def _rows(self, tensor: Tensor) -> Tensor:
        head = _head(tensor)
        return torch.cat([head[:, :, start:stop] for start, stop in self._spans], dim=2)


def _head(tensor: Tensor) -> Tensor:
    return tensor.detach()[:1, :1].double()


def relative_error(found: Tensor, wanted: Tensor) -> float:
    """`‖found − wanted‖ / ‖wanted‖`; a single token has gradients of zero, found exactly."""
    difference = (found - wanted).norm()
    return float(difference / wanted.norm()) if difference != 0 else 0.0


def worst(errors: Sequence[float]) -> float:
    """The largest; a NaN is worse than any number."""
    return max(errors, key=lambda error: math.inf if math.isnan(error) else error)
