"""Timing in rounds, shared by the CPU and the GPU benchmark."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from freeatten_core.basics.errors import UsageError
from freeatten_core.variants.stages import OwnFunctionName
from freeatten_core.variants.variant import Variant

__all__ = [
    "DECODE_LENGTHS",
    "SCHEMA",
    "SHORT_LENGTHS",
    "Forward",
    "Latency",
    "Pass",
    "Report",
    "Timing",
    "check_known",
    "check_passes",
    "in_rounds",
    "operations",
    "summarise",
    "timed_variants",
]

Forward = Callable[[Tensor, Tensor, Tensor], Tensor]
Report = Callable[[str], None]
SHORT_LENGTHS = (128, 256, 512, 1024)
DECODE_LENGTHS = (32768,)
Pass = Literal["forward", "backward", "both"]
Latency = Literal["short", "decode"]
"""What a caller waits for: a forward of a short text, one query against a cache."""

SCHEMA = 1
WORK: Mapping[Pass | Latency, float] = {
    "forward": 1.0,
    "backward": 2.5,
    "both": 3.5,
    "short": 1.0,
    "decode": 1.0,
}
"""Operations of a pass, as multiples of the forward's: two matrix products against five."""


@dataclass
class Timing:
    """One peer at one length; what could not be measured is None and `note` says why."""

    peer: str
    length: int
    ms: float | None = None
    """Median of the repetitions."""
    gflops: float | None = None
    ratio: float | None = None
    """Time divided by that of BASELINE at this length in this run."""
    peak_mb: float | None = None
    """Most memory above the inputs, output included; 10^6 bytes."""
    note: str = ""
    pass_name: Pass | Latency = "forward"
    floor_ms: float | None = None
    """Of a latency: that of the same call of next to no tokens, see `latency.FLOOR`."""


def operations(
    *, batch: int, heads: int, length: int, dim: int, pass_name: Pass | Latency = "forward"
) -> float:
    """Nominal floating-point operations of a causal pass, the same for every peer.

    `4·B·H·L²·D`, halved because the mask hides half of the scores; 2.5 times that for the
    backward. One query sees all keys, `4·B·H·L·D`.
    """
    rows = 2 if pass_name == "decode" else length
    return 2.0 * WORK[pass_name] * batch * heads * rows * length * dim


def summarise(
    rows: Mapping[str, Timing],
    seconds: Mapping[str, Sequence[float]],
    *,
    baseline: str,
    work: float,
) -> None:
    """Enter median, rate and ratio in the row of every peer that was timed.

    Args:
        rows: by peer.
        seconds: of every repetition, by peer.
        baseline: the peer that the ratio is to.
        work: nominal operations of the call.
    """
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    for name, median in medians.items():
        row = rows[name]
        row.ms = 1e3 * median
        row.gflops = work / median / 1e9
        if baseline in medians:
            row.ratio = median / medians[baseline]


def in_rounds(
    timed: Mapping[str, Callable[[], float]],
    repeat: int,
    limit: float,
    report: Report,
    clock: Callable[[], float] | None = None,
) -> dict[str, list[float]]:
    """Seconds of every repetition of every peer, the peers in turn.

    Args:
        timed: makes one call and returns its seconds.
        repeat: how many rounds.
        limit: seconds after which a peer is repeated no more.
        report: called before every round.
        clock: what the limit counts by, where a repetition takes longer than what it returns; None
            for what it returns.
    """
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    spent = dict.fromkeys(timed, 0.0)
    for turn in range(1, repeat + 1):
        report(f"round {turn}/{repeat}")
        for name, call in timed.items():
            if spent[name] <= limit:
                begin = clock() if clock else 0.0
                seconds[name].append(call())
                spent[name] += clock() - begin if clock else seconds[name][-1]
    return seconds


def check_passes(passes: Sequence[str], legal: Sequence[str]) -> None:
    """At least one, and none but those that a device is measured in."""
    if not passes:
        raise UsageError(f"passes is empty; it can hold {', '.join(legal)}")
    check_known("passes", passes, legal)


def check_known(name: str, values: Sequence[str], legal: Sequence[str]) -> None:
    for value in values:
        if value not in legal:
            raise UsageError(f"{name} holds {value!r}; it can hold {', '.join(legal)}")


def timed_variants(text: str) -> list[Variant]:
    """The variants named, those that the kernels compute: no modifier, no function of one's own."""
    variants = Variant.parse_list(text)
    for variant in variants:
        if variant.modifiers:
            raise UsageError(f"variants holds {variant}; only {variant.trained} can be timed")
        if isinstance(variant.computes, OwnFunctionName):
            raise UsageError(f"variants holds {variant}; only the named variants can be timed")
    return variants
