"""What the kernels of stick-breaking compute, by the names of the uses."""

from __future__ import annotations

from collections.abc import Callable

import torch
import triton
from torch import Tensor

from ...call import LOG2_E, NO_TERMS, Problem, ScoreTerms, visible_scores
from ...row_statistics import RowStatistics
from . import stick_statistics, sticks
from .layout import readable, tile_width
from .statistics import FIELDS

__all__ = ["attention", "attention_backward", "row_statistics"]

ROWS, KEYS, WARPS = 64, 64, 4
"""Forward and backward, 16 heads of 64 and 128, 4,096 tokens, bfloat16 (H200): 0.487 and 0.711 ms;
with 32 keys 0.642 and 0.784, with 32 rows 0.634 and 0.934, with 128 rows and 8 warps 0.604 and
0.810."""
WIDE_ROWS, WIDE_KEYS = 32, 32
"""Of float32, and of heads wider than 128, for which they were not compared with others. Forward
and backward in float32, 4 heads of 64 and 128, 2,048 tokens (H200): 0.736 and 0.981 ms; with 64
rows 1.08 and 4.81, with 16 rows 0.720 and 0.767, whose values were not compared on a GPU."""
CARRIED = 1 << 24
"""Numbers carried from the query's sweep to the key's at once, 64 MB: rows are cut for it. With a
quarter 0.514 and 0.786 ms, with half, twice or four times as many as above (0.491, 0.711)."""


class _Launch:
    """What the kernels of one call share."""

    def __init__(self, query: Tensor, key: Tensor, value: Tensor, window: int | None) -> None:
        """query (B, H, Lq, D), key (B, Hkv, Lk, D), value (B, Hkv, Lk, Dv)."""
        self.query, self.key, self.value = map(readable, (query, key, value))
        batch, heads, self.query_length, dim = query.shape
        self.kv_heads, self.key_length = key.shape[1:3]
        self.pairs, self.key_pairs = batch * heads, batch * self.kv_heads
        self.sizes = (
            self.pairs,
            heads,
            heads // self.kv_heads,
            self.query_length,
            self.key_length,
            window or 0,
            LOG2_E / dim**0.5,
        )
        wide = query.dtype == torch.float32 or max(dim, value.shape[-1]) > 128
        self.rows, self.keys = (WIDE_ROWS, WIDE_KEYS) if wide else (ROWS, KEYS)
        self.scores = {
            "HAS_WINDOW": window is not None,
            "DIM": dim,
            "BLOCK_DIM": tile_width(dim),
            "ROWS": self.rows,
            "KEYS": self.keys,
            "num_warps": WARPS,
        }
        self.options = self.scores | {
            "VALUE_DIM": value.shape[-1],
            "BLOCK_VALUE": tile_width(value.shape[-1]),
        }

    @property
    def strides(self) -> tuple[int, ...]:
        """Of batch, head and token, of query, key and value."""
        return *self.query.stride()[:3], *self.key.stride()[:3], *self.value.stride()[:3]

    def forward(self) -> tuple[Tensor, Tensor]:
        output = self.value.new_empty(*self.query.shape[:3], self.value.shape[-1])
        rest = output.new_empty(self.query.shape[:3], dtype=torch.float32)
        grid = (self.pairs * triton.cdiv(self.query_length, self.rows),)
        sticks.stick_forward_kernel[grid](
            self.query, self.key, self.value, output, rest, *self.strides, *self.sizes,
            **self.options,
        )  # fmt: skip
        return output, rest

    def describe(self) -> Tensor:
        """`FIELDS` of every row, (len(FIELDS), B, H, Lq); the values are not read."""
        shape = len(FIELDS), *self.query.shape[:3]
        described = self.query.new_empty(shape, dtype=torch.float32)
        grid = (self.pairs * triton.cdiv(self.query_length, self.rows),)
        stick_statistics.stick_statistics_kernel[grid](
            self.query, self.key, described, *self.strides[:6], *self.sizes, **self.scores
        )
        return described

    def backward(self, rest: Tensor, grad_output: Tensor) -> tuple[Tensor, ...]:
        """Gradients of query, key and value: rows in parts, each carried to its keys."""
        grad_output = grad_output.contiguous()
        grad_query = torch.empty_like(self.query, memory_format=torch.contiguous_format)
        grad_key, grad_value = (
            torch.zeros(x.shape, dtype=torch.float32, device=x.device)
            for x in (self.key, self.value)
        )
        self._add_rest(grad_value, rest, grad_output)
        blocks = triton.cdiv(self.key_length, self.keys)
        step = max(1, CARRIED // (2 * self.pairs * blocks * self.rows)) * self.rows
        for first in range(0, self.query_length, step):
            stop = min(self.query_length, first + step)
            carries = rest.new_zeros(2, self.pairs, blocks, stop - first)
            carries[0] = -torch.inf
            grid = (self.pairs * triton.cdiv(stop - first, self.rows),)
            part = *self.sizes, first, stop
            shared = *self.strides, *part
            sticks.stick_carry_kernel[grid](
                self.query, self.key, carries, *self.strides[:6], *part, **self.scores
            )
            sticks.stick_query_kernel[grid](
                self.query, self.key, self.value, rest, grad_output, grad_query, carries, *shared,
                **self.options,
            )  # fmt: skip
            sticks.stick_key_kernel[(self.key_pairs * blocks,)](
                self.query, self.key, self.value, grad_output, carries, grad_key, grad_value,
                *shared, **self.options,
            )  # fmt: skip
        return grad_query, grad_key.to(self.key.dtype), grad_value.to(self.value.dtype)

    def _add_rest(self, grad_value: Tensor, rest: Tensor, grad_output: Tensor) -> None:
        """What rows leave goes to the values of their own keys, the last ones."""
        shape = (len(rest), self.kv_heads, -1, *grad_output.shape[2:])
        given = (rest[..., None] * grad_output).view(shape).sum(2)
        both = min(self.query_length, self.key_length)
        grad_value[:, :, self.key_length - both :] += given[:, :, self.query_length - both :]


def attention(
    problem: Problem, query: Tensor, key: Tensor, value: Tensor, terms: ScoreTerms = NO_TERMS
) -> tuple[Tensor, Tensor]:
    """Output (B, H, Lq, Dv) of a checked call without terms, and scalars (5, B, H, Lq): what is
    left to every row's own key, and zeros."""
    del terms
    with torch.cuda.device_of(query):  # type: ignore[no-untyped-call]  # no types in PyTorch
        output, rest = _Launch(query, key, value, problem.window).forward()
    scalars = rest.new_zeros(5, *rest.shape)
    scalars[0] = rest
    return output, scalars


def attention_backward(
    problem: Problem,
    grad_output: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    output: Tensor,
    scalars: Tensor,
    terms: ScoreTerms = NO_TERMS,
    *,
    by_distance: bool = False,
) -> tuple[Tensor, Tensor, Tensor, ScoreTerms]:
    """Gradients of query, key and value, contiguous; there are no terms."""
    del output, terms, by_distance
    with torch.cuda.device_of(query):  # type: ignore[no-untyped-call]  # no types in PyTorch
        launch = _Launch(query, key, value, problem.window)
        grad_query, grad_key, grad_value = launch.backward(scalars[0], grad_output)
    return grad_query, grad_key, grad_value, NO_TERMS


@torch.no_grad()
def row_statistics(
    problem: Problem,
    query: Tensor,
    key: Tensor,
    terms: ScoreTerms = NO_TERMS,
    advance: Callable[[int], None] = lambda _: None,
) -> RowStatistics:
    """Row statistics of query (B, H, Lq, D) against key (B, Hkv, Lk, D), of a call without terms.

    Args:
        advance: called once, with the number of scores of the whole call.
    """
    del terms
    with torch.cuda.device_of(query):  # type: ignore[no-untyped-call]  # no types in PyTorch
        described = _Launch(query, key, key, problem.window).describe()
    fields = dict(zip(FIELDS, described, strict=True))
    one = torch.ones_like(described[0])
    advance(visible_scores(problem))
    return RowStatistics(
        normaliser=one, u_max=fields["largest"], offset=one - one, raised=one, **fields
    )
