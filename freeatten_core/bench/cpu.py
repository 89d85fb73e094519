"""Time and memory of attention forwards on the CPU, next to torch's softmax in the same run.

Repetitions go round all peers, so that other load on the machine meets them alike. Memory is
that of a fresh process: `python -m freeatten_core.benchmark '{…}'` measures one peer. What a
measurement on a GPU shares with it, nominal operations, rows and rounds, is defined here once.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from . import reference
from .arguments import check_list
from .attention import attention
from .comparison import versions
from .errors import UsageError
from .variants import Variant

Forward = Callable[[Tensor, Tensor, Tensor], Tensor]
Report = Callable[[str], None]
Pass = Literal["forward", "backward", "both"]

SCHEMA = 1
WORK: Mapping[Pass, float] = {"forward": 1.0, "backward": 2.5, "both": 3.5}
"""Operations of a pass, as multiples of the forward's: two matrix products against five."""
BASELINE = "sdpa softmax"
SETTLING = 5.0
"""Calls quicker than this many seconds are made twice, see `_settled_seconds`."""
SECONDS_A_PEER = 20.0
"""A peer is repeated no more once its repetitions took this long together."""

NAIVE_COPIES, COMPILED_COPIES = 7, 2
"""How many L×L matrices a head the dense forms hold at their peak: 7.0 and 1.1 measured (2048
tokens, 8 heads of 64)."""

MISSING_COMPILER = "no C++ compiler"


@dataclass(frozen=True)
class Settings:
    """What is measured: causal float32 forwards of query, key and value (batch, heads, L, dim).

    Raises:
        UsageError: a number below 1, no length, an unknown variant.
    """

    lengths: tuple[int, ...] = (2048, 8192)
    heads: int = 8
    batch: int = 1
    dim: int = 64
    variants: str = "lssar:p=15,lssa,softmax"
    repeat: int = 5

    def __post_init__(self) -> None:
        check_each_positive("lengths", self.lengths, such_as=2048)
        for name in ("heads", "batch", "dim", "repeat"):
            check_positive(name, getattr(self, name))
        timed_variants(self.variants)

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


@dataclass
class Row:
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


def operations(
    *, batch: int, heads: int, length: int, dim: int, pass_name: Pass = "forward"
) -> float:
    """Nominal floating-point operations of a causal pass, the same for every peer.

    `4·B·H·L²·D`, halved because the mask hides half of the scores; 2.5 times that for the
    backward.
    """
    return 2.0 * WORK[pass_name] * batch * heads * length * length * dim


def summarise(
    rows: Mapping[str, Row],
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
) -> dict[str, list[float]]:
    """Seconds of every repetition of every peer, the peers in turn.

    Args:
        timed: makes one call and returns its seconds.
        repeat: how many rounds.
        limit: seconds after which a peer is repeated no more.
        report: called before every round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for turn in range(1, repeat + 1):
        report(f"round {turn}/{repeat}")
        for name, call in timed.items():
            if sum(seconds[name]) <= limit:
                seconds[name].append(call())
    return seconds


# What may be asked


def parse_counts(text: str, option: str = "lengths") -> tuple[int, ...]:
    """`2048,8192` as numbers, each once.

    Raises:
        UsageError: something else.
    """
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    for entry in entries:
        if not (entry.isascii() and entry.isdigit()):
            raise UsageError(
                f"{option} holds {entry!r}; give whole numbers with commas, such as 2048,8192"
            )
    return tuple(dict.fromkeys(map(int, entries)))


def check_positive(name: str, value: int) -> None:
    if value < 1:
        raise UsageError(f"{name} is {value}; it must be at least 1")


def check_each_positive(name: str, values: Sequence[int], *, such_as: int) -> None:
    for value in check_list(name, values, f"[{such_as}]"):
        if isinstance(value, bool) or not isinstance(value, int):
            raise UsageError(f"{name} holds {value!r}; every one must be a whole number")
        if value < 1:
            raise UsageError(f"{name} holds {value}; every one must be at least 1")


def timed_variants(text: str) -> list[Variant]:
    """The variants named, those that the kernels compute: no modifier, no function of one's own."""
    variants = Variant.parse_list(text)
    for variant in variants:
        if variant.modifiers:
            raise UsageError(f"variants holds {variant}; only {variant.trained} can be timed")
        if variant.function is not None:
            raise UsageError(f"variants holds {variant}; only the named variants can be timed")
    return variants


# On the CPU


def peers(variants: list[Variant]) -> dict[str, Peer]:
    """Everything that is compared, the baseline first; naive forms are of the first variant."""
    naive = partial(reference.attention, variant=variants[0].trained)
    return {
        BASELINE: Peer(partial(scaled_dot_product_attention, is_causal=True)),
        **{str(each): Peer(partial(attention, variant=each.trained)) for each in variants},
        f"{variants[0]} naive": Peer(naive, NAIVE_COPIES),
        f"{variants[0]} compiled": Peer(
            torch.compile(naive, dynamic=False), COMPILED_COPIES, compiled=True
        ),
    }


@torch.no_grad()
def benchmark(settings: Settings, report: Report = lambda _: None) -> dict[str, Any]:
    """Measure every peer at every length.

    Args:
        settings: what to measure.
        report: called with a line of progress.

    Returns:
        `{"schema", "device", "threads", "settings", "versions", "rows"}`, plain values.
    """
    rows: list[Row] = []
    for length in settings.lengths:
        rows += _measure_length(settings, length, report)
    return {
        "schema": SCHEMA,
        "device": f"cpu, {_processor()}",
        "threads": torch.get_num_threads(),
        "settings": asdict(settings) | {"dtype": "float32", "is_causal": True},
        "versions": versions(),
        "rows": [asdict(row) for row in rows],
    }


def _measure_length(settings: Settings, length: int, report: Report) -> list[Row]:
    known = peers(Variant.parse_list(settings.variants))
    rows = {name: Row(name, length) for name in known}
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


def _obstacle(peer: Peer, settings: Settings, length: int) -> str:
    """Why a peer cannot run here, or nothing."""
    if peer.compiled and not has_compiler():
        return MISSING_COMPILER
    needed = 4 * peer.dense_copies * settings.batch * settings.heads * length * length
    if needed > available_bytes():
        return f"out of memory: needs {needed / 1e9:.0f} GB"
    return ""


def has_compiler() -> bool:
    """Whether torch.compile finds a C++ compiler for the CPU."""
    names = (os.environ.get("CXX", ""), "g++", "clang++", "cl")
    return any(name and shutil.which(name) for name in names)


def available_bytes() -> float:
    """Memory that can be had without swapping; unlimited where the system does not say."""
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * int(line.split()[1])
    return float("inf")


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


# Memory, one process a peer


def _peak_in_fresh_process(settings: Settings, peer: str, length: int) -> tuple[float | None, str]:
    """Peak in MB, and why the peer cannot run (or nothing)."""
    task = json.dumps(asdict(settings) | {"peer": peer, "length": length})
    paths = (str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", ""))
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
def peak_mb(settings: Settings, peer: str, length: int) -> float | None:
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
    print(json.dumps(peak_mb(Settings(**given), name, tokens)))
