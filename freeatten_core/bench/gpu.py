"""Time, memory and error of attention passes on a GPU, next to SDPA's Flash kernel in the same run.

Passes are those of training: the forward keeps what the backward needs. Repetitions go round all
peers of a shape, so that changes of the clock meet them alike. Every peer is checked, at the very
shape that is timed, against the float64 reference before its time counts.
"""

from __future__ import annotations

import gc
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import metadata
from typing import Any, Protocol, get_args

import torch

from freeatten_core.basics.checks import check_each_positive, check_positive
from freeatten_core.basics.devices import DTYPES
from freeatten_core.basics.errors import UsageError
from freeatten_core.measures.compared import whole_or_part
from freeatten_core.ops.backends import choice
from freeatten_core.ops.definitions import staged
from freeatten_core.results.facts import run_facts

from .gpu_peers import BASELINE, COMPILED_GROUPS, GROUPS, Peer, latency_peers, peers
from .judge import Call, Inputs, Judge, relative_error
from .latency import FLOOR, Setup, measure
from .rounds import (
    DECODE_LENGTHS,
    SCHEMA,
    SHORT_LENGTHS,
    Latency,
    Pass,
    Report,
    Timing,
    check_known,
    check_passes,
    in_rounds,
    operations,
    summarise,
    timed_variants,
)

__all__ = [
    "CudaMeter",
    "GpuRow",
    "GpuSettings",
    "Meter",
    "Shape",
    "gpu_benchmark",
    "gpu_versions",
    "obstacle_in",
]

SECONDS_A_CELL = 0.1
"""A peer is repeated no more once its timed calls took this long together."""
HEAD_START = 4_000_000
"""Cycles, about 2 ms, that the GPU waits before a timed call: by then the host has queued it all,
and the time is the GPU's, not the launches'."""

WRONG = 0.2
"""A relative error from which on a peer computes something else, and its time is not shown. The
dense forms of LSSAR p=15 in bfloat16 reach 0.04, their gradients 0.06."""


@dataclass(frozen=True)
class GpuSettings:
    """What is measured: causal passes over query, key and value (batch, heads, L, dim).

    Raises:
        UsageError: a number below 1, an empty list, an unknown name.
    """

    lengths: tuple[int, ...] = (1024, 2048, 4096, 8192, 16384, 32768)
    dims: tuple[int, ...] = (64, 128)
    heads: int = 16
    tokens: int = 16_384
    """Of all sequences together, which gives the batch: at least one sequence."""
    batch: int | None = None
    """Sequences at every length, in place of `tokens`."""
    variants: str = "lssar:p=15,lssa,softmax"
    passes: tuple[str, ...] = (*get_args(Pass), *get_args(Latency))
    short_lengths: tuple[int, ...] = SHORT_LENGTHS
    """Tokens of the pass `short`, whose batch is 1 unless it is given."""
    decode_lengths: tuple[int, ...] = DECODE_LENGTHS
    """Keys of the one query of the pass `decode`."""
    dtype: str = "bfloat16"
    peers: tuple[str, ...] = GROUPS
    compiled_lengths: tuple[int, ...] | None = None
    """Lengths at which compiled peers are measured, for every shape costs seconds of compilation.
    None is all of up to three lengths, and every second of more."""
    repeat: int = 20

    def __post_init__(self) -> None:
        check_each_positive("lengths", self.lengths, such_as=2048)
        check_each_positive("dims", self.dims, such_as=64)
        check_each_positive("short_lengths", self.short_lengths, such_as=128)
        check_each_positive("decode_lengths", self.decode_lengths, such_as=32768)
        for name in ("heads", "tokens", "repeat"):
            check_positive(name, getattr(self, name))
        if self.batch is not None:
            check_positive("batch", self.batch)
        if self.compiled_lengths:
            check_each_positive("compiled_lengths", self.compiled_lengths, such_as=2048)
        check_passes(self.passes, (*get_args(Pass), *get_args(Latency)))
        check_known("peers", self.peers, GROUPS)
        if self.dtype not in DTYPES:
            raise UsageError(f"dtype is {self.dtype!r}; it can be {', '.join(DTYPES)}")
        timed_variants(self.variants)

    @property
    def compiled_at(self) -> tuple[int, ...]:
        if self.compiled_lengths is not None:
            return self.compiled_lengths
        return self.lengths if len(self.lengths) <= 3 else self.lengths[1::2]

    @property
    def latencies(self) -> dict[Latency, tuple[int, ...]]:
        """The lengths of the latencies that are measured."""
        lengths: dict[Latency, tuple[int, ...]] = {
            "short": self.short_lengths,
            "decode": self.decode_lengths,
        }
        return {kind: lengths[kind] for kind in lengths if kind in self.passes}

    def groups_at(self, length: int) -> list[str]:
        """The groups of peers that are measured at a length."""
        compiles = length in self.compiled_at
        return [name for name in self.peers if compiles or name not in COMPILED_GROUPS]


@dataclass
class GpuRow(Timing):
    """One peer in one pass at one shape; what could not be measured is None, `note` says why."""

    dim: int = 0
    batch: int = 0
    runs: int = 0
    error: float | None = None
    """Relative to the float64 reference: of the output in a forward, the largest of the three
    gradients' in a backward, the larger of the two in both."""


class Meter(Protocol):
    """Measures calls on one device."""

    device: torch.device

    def seconds(self, call: Call) -> float:
        """How long one run takes."""

    def peak_bytes(self, call: Call) -> float:
        """The most memory during a run above that before its preparation."""

    def free_bytes(self) -> float:
        """Memory that a call can have."""


class CudaMeter:
    """Times by CUDA events; memory is what PyTorch's allocator hands out."""

    def __init__(self) -> None:
        self.device = torch.device("cuda")
        self._begin, self._end = _event(), _event()

    def seconds(self, call: Call) -> float:
        state = call.prepare()
        torch.cuda._sleep(HEAD_START)  # type: ignore[no-untyped-call]  # PyTorch gives no types
        self._begin.record()
        call.run(state)
        self._end.record()
        self._end.synchronize()
        return float(self._begin.elapsed_time(self._end)) / 1e3

    def peak_bytes(self, call: Call) -> float:
        before = torch.cuda.memory_allocated()
        state = call.prepare()
        torch.cuda.reset_peak_memory_stats()
        call.run(state)
        return torch.cuda.max_memory_allocated() - before

    def free_bytes(self) -> float:
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info()[0]


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # the same


def gpu_benchmark(
    settings: GpuSettings, meter: Meter, *, command: str, report: Report = lambda _: None
) -> dict[str, Any]:
    """Measure every pass of every peer at every shape.

    Args:
        settings: what to measure.
        meter: measures a call.
        command: what reproduces it.
        report: called with a line of progress.

    Returns:
        `{"schema", "device", "seconds", "versions", "command", "date", "commit", "settings",
        "rows"}`, plain values.

    Raises:
        InterruptedRows: a signal after the first pass at a shape, with the rows that are whole.
    """
    begin = time.monotonic()
    rows: list[GpuRow] = []
    stopped = None
    try:
        for dim in settings.dims:
            for row in _measure_dim(settings, dim, meter, report):
                rows.append(row)  # one by one: a signal leaves what was there
    except KeyboardInterrupt as signal:
        if not rows:
            raise
        stopped = signal
    facts = run_facts(meter.device, command, time.monotonic() - begin)
    result = {
        "schema": SCHEMA,
        **facts,
        "versions": facts["versions"] | gpu_versions(),
        "settings": asdict(settings)
        | {"compiled_lengths": settings.compiled_at, "is_causal": True},
        "rows": [asdict(row) for row in rows],
    }
    return whole_or_part(result, _rows_asked(settings, meter.device), stopped)


def _rows_asked(settings: GpuSettings, device: torch.device) -> int:
    """How many rows a whole result has."""
    variants = timed_variants(settings.variants)
    passes = len(set(settings.passes) & set(get_args(Pass)))
    timed = sum(
        len(peers(variants, settings.groups_at(length), length, device))
        for length in settings.lengths
    )
    waits = sum(
        len(lengths) * len(latency_peers(variants, settings.peers, kind))
        for kind, lengths in settings.latencies.items()
    )
    return len(settings.dims) * (passes * timed + waits)


def gpu_versions() -> dict[str, str | None]:
    """Versions of what lies under PyTorch, and which forwards have the kernel in Gluon, or why
    none has; None where there is none."""
    try:
        triton = metadata.version("triton")
    except metadata.PackageNotFoundError:
        triton = None
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]  # no types
    return {
        "triton": triton,
        "gluon": choice.hopper_state() if triton else None,
        "cuda": torch.version.cuda,
        "cudnn": str(cudnn) if cudnn else None,
    }


# Shapes and inputs


@dataclass(frozen=True)
class Shape:
    batch: int
    heads: int
    length: int
    dim: int
    dtype: torch.dtype

    @classmethod
    def of(cls, settings: GpuSettings, length: int, dim: int) -> Shape:
        batch = settings.batch or max(1, settings.tokens // length)
        return cls(batch, settings.heads, length, dim, DTYPES[settings.dtype])

    @property
    def matrix_bytes(self) -> int:
        """One L×L matrix for every head."""
        return self.batch * self.heads * self.length * self.length * self.dtype.itemsize

    def inputs(self, device: torch.device) -> Inputs:
        draw = torch.Generator(device).manual_seed(0)
        size = (self.batch, self.heads, self.length, self.dim)
        query, key, value, grad = (
            torch.randn(size, generator=draw, device=device).to(self.dtype) for _ in range(4)
        )
        leaves = tuple(tensor.requires_grad_() for tensor in (query, key, value))
        return Inputs(leaves, grad)


def _measure_dim(settings: GpuSettings, dim: int, meter: Meter, report: Report) -> Iterator[GpuRow]:
    if set(settings.passes) & set(get_args(Pass)):
        for length in settings.lengths:
            yield from _measure_shape(settings, Shape.of(settings, length, dim), meter, report)
    for kind, lengths in settings.latencies.items():
        for length in lengths:
            yield from _measure_latency(settings, kind, length, dim, meter, report)


def _measure_shape(
    settings: GpuSettings, shape: Shape, meter: Meter, report: Report
) -> Iterator[GpuRow]:
    # graphs of the last shape; past eight of one function torch.compile gives up
    torch.compiler.reset()
    known = peers(
        timed_variants(settings.variants),
        settings.groups_at(shape.length),
        shape.length,
        meter.device,
    )
    inputs = shape.inputs(meter.device)
    judge = Judge(inputs)
    for pass_name in get_args(Pass):
        if pass_name in settings.passes:
            cells = _Cells(shape, pass_name, meter, inputs, judge, report)
            yield from cells.rows(known, settings.repeat)


@dataclass(frozen=True)
class _Cells:
    """One pass at one shape: a cell for every peer."""

    shape: Shape
    pass_name: Pass
    meter: Meter
    inputs: Inputs
    judge: Judge
    tell: Report

    def rows(self, known: Mapping[str, Peer], repeat: int) -> list[GpuRow]:
        rows = {name: self._first(name, peer) for name, peer in known.items()}
        able = {
            name: partial(self.meter.seconds, self._call(peer))
            for name, peer in known.items()
            if not rows[name].note
        }
        seconds = in_rounds(able, repeat, SECONDS_A_CELL, self._report)
        work = operations(
            batch=self.shape.batch,
            heads=self.shape.heads,
            length=self.shape.length,
            dim=self.shape.dim,
            pass_name=self.pass_name,
        )
        summarise(rows, seconds, baseline=BASELINE, work=work)
        return [replace(row, runs=len(seconds.get(name, ()))) for name, row in rows.items()]

    def _report(self, line: str) -> None:
        shape = self.shape
        self.tell(f"{shape.length:,} tokens, heads of {shape.dim}, {self.pass_name}: {line}")

    def _call(self, peer: Peer) -> Call:
        return self.inputs.call(peer.forward, self.pass_name)

    def _first(self, name: str, peer: Peer) -> GpuRow:
        """The row of a peer before it is timed: its error and memory, or why it cannot run."""
        self._report(name)
        row = GpuRow(
            name,
            self.shape.length,
            dim=self.shape.dim,
            batch=self.shape.batch,
            pass_name=self.pass_name,
        )
        row.note = self._obstacle(peer)
        return row if row.note else _tried(row, partial(self._enter, peer))

    def _enter(self, peer: Peer, row: GpuRow) -> None:
        row.error = self.judge.error(peer, self.pass_name)
        row.peak_mb = self.meter.peak_bytes(self._call(peer)) / 1e6

    def _obstacle(self, peer: Peer) -> str:
        needed = peer.dense_copies.get(self.pass_name, 0) * self.shape.matrix_bytes
        if needed and needed > self.meter.free_bytes():
            return f"out of memory: needs {needed / 1e9:.0f} GB"
        return ""


def _tried(row: GpuRow, enter: Callable[[GpuRow], None]) -> GpuRow:
    """The row with what a first run enters, its error above all, or with why it cannot run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they say is in the error, or harmless
            enter(row)
    except Exception as error:  # Inductor, Triton, cuDNN: any type; the row names it
        row.note = obstacle_in(error)
    else:
        row.note = _wrong(row.error or 0.0)
    if row.note:
        gc.collect()  # what an error's frames held
    return row if math.isfinite(row.error or 0.0) else replace(row, error=None)


# Latencies


def _measure_latency(
    settings: GpuSettings, kind: Latency, length: int, dim: int, meter: Meter, report: Report
) -> list[GpuRow]:
    """Every peer in short calls of a length, or in one query against so many keys."""
    setup = Setup(settings.batch or 1, settings.heads, dim, DTYPES[settings.dtype], meter.device)
    known = latency_peers(timed_variants(settings.variants), settings.peers, kind)

    def tell(line: str) -> None:
        report(f"{length:,} tokens, heads of {dim}, {kind}: {line}")

    def enter(peer: Peer, row: GpuRow) -> None:
        peer.forward(*setup.inputs(kind, FLOOR))
        inputs = setup.inputs(kind, length)
        found = peer.forward(*inputs)
        query, key, value, output = (each[:1, :1].double() for each in (*inputs, found))
        exact = staged.reference_attention(query, key, value, peer.variant)
        row.error = relative_error(output, exact)

    rows = {}
    for name, peer in known.items():
        tell(name)
        row = GpuRow(name, length, pass_name=kind, dim=dim, batch=setup.batch)
        with torch.no_grad():
            rows[name] = _tried(row, partial(enter, peer))
    able = {name: known[name].forward for name, row in rows.items() if not row.note}
    runs = measure(able, rows, setup, baseline=BASELINE, repeat=settings.repeat, report=tell)
    return [replace(row, runs=runs.get(name, 0)) for name, row in rows.items()]


def _wrong(error: float) -> str:
    return "" if error < WRONG else f"wrong result: relative error {error:.2g}"


def obstacle_in(error: Exception) -> str:
    """Why a peer failed, in one short phrase."""
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return "out of memory"
    if "No available kernel" in text or "No viable backend" in text:
        return "no kernel for these inputs"
    if isinstance(error, NotImplementedError | ImportError):  # FlexAttention before torch 2.9
        return f"not supported by torch {torch.__version__.split('+')[0]}"
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return f"failed: {type(error).__name__}: {first}"[:100]
