"""How long a caller waits for a short call, or for one query against a long cache.

Checks, Python and launches count, and every call is waited for before the next. Beside each time
stands that of the same call of FLOOR tokens, which computes next to nothing: where it is half of
the time or more, the launches decide it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .rounds import Forward, Latency, Report, Timing, in_rounds, operations, summarise

__all__ = ["FLOOR", "Setup", "measure"]

FLOOR = 16
"""Tokens, or keys of one query. A multiple of 16, so that Triton compiles nothing more for it."""
BURST = 0.01
"""Seconds of calls one after the other that a repetition is the mean of."""
MOST_CALLS = 100
"""In a burst."""
SECONDS_A_PEER = 1.0
"""A peer is repeated no more once its bursts took this long together."""


@dataclass(frozen=True)
class Setup:
    """What the calls share: causal, without gradients."""

    batch: int
    heads: int
    dim: int
    dtype: torch.dtype
    device: torch.device

    def inputs(self, kind: Latency, length: int) -> tuple[Tensor, Tensor, Tensor]:
        """Query (B, H, L, D), for decode (B, H, 1, D), and key and value (B, H, L, D)."""
        draw = torch.Generator(self.device).manual_seed(0)
        rows = 1 if kind == "decode" else length
        query, key, value = (
            torch.randn(self.batch, self.heads, each, self.dim, generator=draw, device=self.device)
            for each in (rows, length, length)
        )
        return query.to(self.dtype), key.to(self.dtype), value.to(self.dtype)

    def settle(self) -> None:
        """Wait until the device has computed everything."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


@torch.no_grad()
def measure(
    forwards: Mapping[str, Forward],
    rows: Mapping[str, Timing],
    setup: Setup,
    *,
    baseline: str,
    repeat: int,
    report: Report,
) -> dict[str, int]:
    """Enter times, ratios and floors in the rows of the peers that `forwards` holds.

    Args:
        forwards: what can run, called before.
        rows: of one kind and length, by peer; the baseline's is there too.
        setup: of the calls.
        baseline: the peer that ratios are to.
        repeat: how many bursts.
        report: called before every round.

    Returns:
        How many bursts each peer was measured in.
    """
    first = next(iter(rows.values()))
    kind, length = first.pass_name, first.length
    assert kind in ("short", "decode")

    def seconds(tokens: int) -> dict[str, list[float]]:
        inputs = setup.inputs(kind, tokens)
        calls = {name: partial(forward, *inputs) for name, forward in forwards.items()}
        for call in calls.values():
            call()
        timed = {name: partial(_burst, call, setup.settle) for name, call in calls.items()}
        return in_rounds(timed, repeat, SECONDS_A_PEER, report, time.perf_counter)

    work = operations(
        batch=setup.batch, heads=setup.heads, length=length, dim=setup.dim, pass_name=kind
    )
    taken = seconds(length)
    summarise(rows, taken, baseline=baseline, work=work)
    for name, floor in seconds(FLOOR).items():
        rows[name].floor_ms = 1e3 * statistics.median(floor)
    return {name: len(each) for name, each in taken.items()}


def _burst(call: Callable[[], object], settle: Callable[[], None]) -> float:
    """Seconds of a call, the mean of some that follow each other."""
    settle()
    begin = time.perf_counter()
    taken, count = 0.0, 0
    while taken < BURST and count < MOST_CALLS:
        call()
        settle()
        taken = time.perf_counter() - begin
        count += 1
    return taken / count
