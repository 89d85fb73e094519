"""Time and memory of attention forwards on the CPU, next to torch's softmax in the same run.

Repetitions go round all peers, so that other load on the machine meets them alike. Memory is
that of a fresh process: `python -m freeatten_core.bench.cpu '{…}'` measures one peer.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from freeatten_core.basics.checks import check_each_positive, check_positive
from freeatten_core.basics.memory import available_bytes
from freeatten_core.measures.compared import whole_or_part
from freeatten_core.ops.definitions import staged
from freeatten_core.ops.operator import attention
from freeatten_core.results.facts import run_facts
from freeatten_core.variants.variant import Variant

from .latency import Setup, measure
from .rounds import (
    DECODE_LENGTHS,
    SCHEMA,
    SHORT_LENGTHS,
    Forward,
    Latency,
    Report,
    Timing,
    check_passes,
    in_rounds,
    operations,
    summarise,
    timed_variants,
)

__all__ = ["CpuSettings", "Peer", "benchmark", "has_compiler", "peak_mb", "peers"]

BASELINE = "sdpa softmax"
PASSES = ("forward", *get_args(Latency))
SETTLING = 5.0
"""Calls quicker than this many seconds are made twice, see `_settled_seconds`."""
SECONDS_A_PEER = 20.0
"""A peer is repeated no more once its repetitions took this long together."""

NAIVE_COPIES, COMPILED_COPIES = 7, 2
"""How many L×L matrices a head the dense forms hold at their peak: 7.0 and 1.1 measured (2048
tokens, 8 heads of 64)."""

MISSING_COMPILER = "no C++ compiler"


@dataclass(frozen=True)
class CpuSettings:
    """What is measured: causal float32 forwards of query, key and value (batch, heads, L, dim).

    Raises:
        UsageError: a number below 1, no length, an unknown variant.
    """

    lengths: tuple[int, ...] = (2048, 8192)
    heads: int = 8
    batch: int = 1
    dim: int = 64
    variants: str = "lssar:p=15,lssa,softmax"
    passes: tuple[str, ...] = PASSES
    short_lengths: tuple[int, ...] = SHORT_LENGTHS
    """Tokens of the pass `short`."""
    decode_lengths: tuple[int, ...] = DECODE_LENGTHS
    """Keys of the one query of the pass `decode`."""
    repeat: int = 5

    def __post_init__(self) -> None:
        check_each_positive("lengths", self.lengths, such_as=2048)
        check_each_positive("short_lengths", self.short_lengths, such_as=128)
        check_each_positive("decode_lengths", self.decode_lengths, such_as=32768)
        check_passes(self.passes, PASSES)
        for name in ("heads", "batch", "dim", "repeat"):
            check_positive(name, getattr(self, name))
        timed_variants(self.variants)

    @property
    def latencies(self) -> dict[Latency, tuple[int, ...]]:
        """The lengths of the latencies that are measured."""
        lengths: dict[Latency, tuple[int, ...]] = {
            "short": self.short_lengths,
            "decode": self.decode_lengths,
        }
        return {kind: lengths[kind] for kind in lengths if kind in self.passes}

    def inputs(self, length: int) -> tuple[Tensor, Tensor, Tensor]:
        draw = torch.Generator().manual_seed(0)
        shape = (self.batch, self.heads, length, self.dim)
        query, key, value = (torch.randn(shape, generator=draw) for _ in range(3))
        return query, key, value


@dataclass(frozen=True)
class Peer:
    forward: Forward
    dense_copies: int = 0
    """How many L×L matrices a head it holds at its peak."""
    compiled: bool = False


def peers(variants: list[Variant]) -> dict[str, Peer]:
    """Everything that is compared, the baseline first; naive forms are of the first variant."""
    naive = partial(staged.reference_attention, variant=variants[0].trained)
    return {
        BASELINE: Peer(partial(scaled_dot_product_attention, is_causal=True)),
        **{str(each): Peer(partial(attention, variant=each.trained)) for each in variants},
        f"{variants[0]} naive": Peer(naive, NAIVE_COPIES),
        f"{variants[0]} compiled": Peer(
            _compiled_when_called(naive), COMPILED_COPIES, compiled=True
        ),
    }


def _compiled_when_called(function: Forward) -> Forward:
    """A process that measures another peer does not load the compiler, which takes four seconds."""

    @cache
    def compiled() -> Forward:
        return torch.compile(function, dynamic=False)

    def forward(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return compiled()(query, key, value)

    return forward


@torch.no_grad()
def benchmark(
    settings: CpuSettings, *, command: str, report: Report = lambda _: None
) -> dict[str, Any]:
    """Measure every peer at every length.

    Args:
        settings: what to measure.
        command: what reproduces it.
        report: called with a line of progress.

    Returns:
        `{"schema", "device", "threads", "seconds", "versions", "command", "date", "commit",
        "settings", "rows"}`, plain values.

    Raises:
        InterruptedRows: a signal after the first length, with the rows that are whole.
    """
    begin = time.monotonic()
    rows: list[Timing] = []
    stopped = None
    try:
        for found in _measured(settings, report):
            rows += found
    except KeyboardInterrupt as signal:
        if not rows:
            raise
        stopped = signal
    facts = run_facts(torch.device("cpu"), command, time.monotonic() - begin)
    result = {
        "schema": SCHEMA,
        **facts,
        "device": f"cpu, {_processor()}",
        "threads": torch.get_num_threads(),
        "settings": asdict(settings) | {"dtype": "float32", "is_causal": True},
        "rows": [asdict(row) for row in rows],
    }
    return whole_or_part(result, _rows_asked(settings), stopped)


def _measured(settings: CpuSettings, report: Report) -> Iterator[list[Timing]]:
    """The rows of every pass at every length: their ratios are to one baseline."""
    if "forward" in settings.passes:
        for length in settings.lengths:
            yield _measure_length(settings, length, report)
    for kind, lengths in settings.latencies.items():
        for length in lengths:
            yield _measure_latency(settings, kind, length, report)


def _rows_asked(settings: CpuSettings) -> int:
    """How many rows a whole result has."""
    waits = sum(
        len(lengths) * len(_latency_forwards(settings, kind))
        for kind, lengths in settings.latencies.items()
    )
    forwards = len(settings.lengths) * len(peers(Variant.parse_list(settings.variants)))
    return waits + (forwards if "forward" in settings.passes else 0)


def _latency_forwards(settings: CpuSettings, kind: Latency) -> dict[str, Forward]:
    variants = [each.trained for each in timed_variants(settings.variants)]
    causal = kind == "short"  # one query sees every key, and PyTorch aligns its mask top-left
    return {
        BASELINE: partial(scaled_dot_product_attention, is_causal=causal),
        **{str(each): partial(attention, variant=each) for each in variants},
    }


def _measure_latency(
    settings: CpuSettings, kind: Latency, length: int, report: Report
) -> list[Timing]:
    forwards = _latency_forwards(settings, kind)
    rows = {name: Timing(name, length, pass_name=kind) for name in forwards}
    cpu = torch.device("cpu")
    measure(
        forwards,
        rows,
        Setup(settings.batch, settings.heads, settings.dim, torch.float32, cpu),
        baseline=BASELINE,
        repeat=settings.repeat,
        report=lambda line: report(f"{length} tokens, {kind}: {line}"),
    )
    return list(rows.values())


def _measure_length(settings: CpuSettings, length: int, report: Report) -> list[Timing]:
    known = peers(Variant.parse_list(settings.variants))
    rows = {name: Timing(name, length) for name in known}
    for name, row in rows.items():
        report(f"{length} tokens: memory of {name}")
        row.note = _obstacle(known[name], settings, length)
        if not row.note:
            row.peak_mb, row.note = _peak_in_fresh_process(settings, name, length)
    able = {name: peer.forward for name, peer in known.items() if not rows[name].note}
    if not able:
        return list(rows.values())
    inputs = settings.inputs(length)
    report(f"{length} tokens: warm-up")
    for forward in able.values():
        forward(*inputs)
    seconds = in_rounds(
        {name: partial(_settled_seconds, forward, inputs) for name, forward in able.items()},
        settings.repeat,
        SECONDS_A_PEER,
        lambda line: report(f"{length} tokens: {line}"),
    )
    work = operations(batch=settings.batch, heads=settings.heads, length=length, dim=settings.dim)
    summarise(rows, seconds, baseline=BASELINE, work=work)
    for name, taken in seconds.items():
        if len(taken) < settings.repeat:
            rows[name].note = f"{len(taken)} of {settings.repeat} runs"
    return list(rows.values())


def _settled_seconds(forward: Forward, inputs: tuple[Tensor, Tensor, Tensor]) -> float:
    """Seconds of a call; a quick one is made twice, and the second counts.

    After a peer that filled gigabytes, LSSAR at 8192 tokens took 2.27 times as long as softmax in
    the first call and 1.80 in the second.
    """
    taken = _seconds(forward, inputs)
    return _seconds(forward, inputs) if taken < SETTLING else taken


def _seconds(forward: Forward, inputs: tuple[Tensor, Tensor, Tensor]) -> float:
    begin = time.perf_counter()
    forward(*inputs)
    return time.perf_counter() - begin


# What cannot run


def _obstacle(peer: Peer, settings: CpuSettings, length: int) -> str:
    """Why a peer cannot run here, or nothing."""
    if peer.compiled and not has_compiler():
        return MISSING_COMPILER
    needed = 4 * peer.dense_copies * settings.batch * settings.heads * length * length
    available = available_bytes(torch.device("cpu"))
    if available is not None and needed > available:
        return f"out of memory: needs {needed / 1e9:.0f} GB"
    return ""


def has_compiler() -> bool:
    """Whether torch.compile finds a C++ compiler for the CPU."""
    names = (os.environ.get("CXX", ""), "g++", "clang++", "cl")
    return any(name and shutil.which(name) for name in names)


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


# Memory, one process a peer


def _peak_in_fresh_process(
    settings: CpuSettings, peer: str, length: int
) -> tuple[float | None, str]:
    """Peak in MB, and why the peer cannot run (or nothing)."""
    task = json.dumps(asdict(settings) | {"peer": peer, "length": length})
    paths = (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", ""))
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        # glibc then returns every large tensor to the system when it is freed
        "MALLOC_MMAP_THRESHOLD_": "65536",
    }
    done = subprocess.run(
        [sys.executable, "-m", __name__, task],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        peak = json.loads(done.stdout.splitlines()[-1])
        return peak, ""
    if done.returncode < 0 or "DefaultCPUAllocator" in done.stderr or "MemoryError" in done.stderr:
        return None, "out of memory"
    errors = [line for line in done.stderr.splitlines() if "Error: " in line]
    return None, f"failed: {(errors or [f'exit code {done.returncode}'])[-1][:100]}"


@torch.no_grad()
def peak_mb(settings: CpuSettings, peer: str, length: int) -> float | None:
    """Most resident memory during one forward above that before it; None where not known."""
    chosen = peers(Variant.parse_list(settings.variants))[peer]
    inputs = settings.inputs(length)
    warm = length if chosen.compiled else min(length, 64)  # loads code, which is no tensor
    chosen.forward(*(x[:, :, :warm] for x in inputs))
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # peak = present, Linux
    except OSError:
        return None
    before = _resident("VmRSS")
    output = chosen.forward(*inputs)
    peak = _resident("VmHWM") - before
    del output
    return peak / 1e6


def _resident(field: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return 1024.0 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    name, tokens = given.pop("peer"), given.pop("length")
    print(json.dumps(peak_mb(CpuSettings(**given), name, tokens)))
