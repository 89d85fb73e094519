"""What `kernels benchmark` runs of the kernel: three variants, each beside its definition."""

from __future__ import annotations

import torch
from kernels.benchmark import Benchmark

HEADS, DIM = 16, 64
LENGTHS = {"cpu": 512}
"""Tokens where the definition, which holds every weight, would take long."""
LENGTH = 2048
SPREAD = 0.25
"""Of the values. Outputs are compared within 0.01, which would say little of smaller ones, and more
than the rounding to float16 of larger ones."""


class CausalAttention(Benchmark):  # type: ignore[misc]  # no types there
    """Time is that of the kernel, `Ref` that of the definition in float32, dense and eager."""

    seed = 0

    def setup(self) -> None:
        shape = (1, HEADS, LENGTHS.get(self.device, LENGTH), DIM)
        dtype = torch.float32 if self.device == "cpu" else torch.float16
        query, key, value = (torch.randn(shape, device=self.device) for _ in range(3))
        self.tensors = [each.to(dtype) for each in (query, key, SPREAD * value)]

    def _attend(self, variant: str) -> None:
        self.out = self.kernel.attention(*self.tensors, variant)

    def _defined(self, variant: str) -> torch.Tensor:
        exact: torch.Tensor = self.kernel.reference_attention(
            *(each.float() for each in self.tensors), variant
        )
        return exact.to(self.out.dtype)

    def benchmark_softmax(self) -> None:
        self._attend("softmax")

    def verify_softmax(self) -> torch.Tensor:
        return self._defined("softmax")

    def benchmark_lssa(self) -> None:
        self._attend("lssa")

    def verify_lssa(self) -> torch.Tensor:
        return self._defined("lssa")

    def benchmark_lssar(self) -> None:
        self._attend("lssar:p=15")

    def verify_lssar(self) -> torch.Tensor:
        return self._defined("lssar:p=15")
