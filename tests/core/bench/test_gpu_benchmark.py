"""What `freeatten bench` measures on a GPU, by its real loop on a CPU; never a speed."""

import json
import math
import time
from dataclasses import replace
from functools import partial

import pytest
import torch
from strategies import refused

from freeatten_core import Variant
from freeatten_core.basics.errors import UsageError
from freeatten_core.bench import gpu as module
from freeatten_core.bench import gpu_peers
from freeatten_core.bench import judge as judge_module
from freeatten_core.bench.gpu import GpuSettings, Shape, gpu_benchmark
from freeatten_core.bench.gpu_peers import BASELINE, Peer
from freeatten_core.bench.judge import Judge, worst
from freeatten_core.bench.rounds import operations
from freeatten_core.ops.definitions import staged

TINY = GpuSettings(
    lengths=(5, 16), dims=(4, 8), heads=2, tokens=32, dtype="float32", peers=("naive",), repeat=2,
    passes=("forward", "backward", "both"),
)  # fmt: skip
ONE = replace(TINY, lengths=(16,), dims=(8,))
PEERS = [BASELINE, "lssar:p=15", "lssa", "softmax", "lssar:p=15 naive"]
PASSES = ("forward", "backward", "both")
MEASURES = ("ms", "gflops", "ratio", "peak_mb", "error")


class Stopwatch:
    """Stands in for events and for the allocator's counts: every peak is 1 MB."""

    device = torch.device("cpu")

    def __init__(self, free=math.inf):
        self.free = free

    def seconds(self, call):
        state = call.prepare()
        begin = time.perf_counter()
        call.run(state)
        return time.perf_counter() - begin

    def peak_bytes(self, call):
        call.run(call.prepare())
        return 1e6

    def free_bytes(self):
        return self.free


def measured(settings=ONE, meter=None, report=lambda _: None):
    return gpu_benchmark(settings, meter or Stopwatch(), command="freeatten bench", report=report)


def row(result, peer, pass_name="forward", length=16, dim=8):
    key = (peer, pass_name, length, dim)
    names = ("peer", "pass_name", "length", "dim")
    (found,) = [r for r in result["rows"] if tuple(r[name] for name in names) == key]
    return found


def with_peers(monkeypatch, **changed):
    """The usual peers, with some forwards replaced; names have _ for spaces."""
    usual = gpu_peers.peers

    def peers(*arguments):
        known = usual(*arguments)
        for name, forward in changed.items():
            peer = name.replace("_", " ")
            known[peer] = replace(known[peer], forward=forward)
        return known

    monkeypatch.setattr(module, "peers", peers)


def test_every_peer_is_measured_in_every_pass_at_every_shape(monkeypatch):
    monkeypatch.setattr(module, "SECONDS_A_CELL", math.inf)  # a busy machine would end it early
    result = measured(TINY)
    assert [(r["dim"], r["length"], r["pass_name"], r["peer"]) for r in result["rows"]] == [
        (dim, length, pass_name, peer)
        for dim in (4, 8)
        for length in (5, 16)
        for pass_name in PASSES
        for peer in PEERS
    ]
    for r in result["rows"]:
        assert all(r[measure] > 0 for measure in MEASURES)
        assert (r["note"], r["runs"], r["peak_mb"]) == ("", 2, 1)


def test_the_result_is_json_and_says_what_it_is_of():
    result = json.loads(json.dumps(measured(TINY), allow_nan=False))
    assert set(result) == {
        "schema", "device", "seconds", "versions", "command", "date", "commit", "settings", "rows"
    }  # fmt: skip
    assert result["schema"] == 1
    assert result["device"] == "cpu"
    assert result["command"] == "freeatten bench"
    assert {"torch", "python", "triton", "cuda", "cudnn"} <= set(result["versions"])
    assert result["settings"]["passes"] == list(PASSES)
    assert result["settings"]["compiled_lengths"] == [5, 16]
    assert result["settings"]["is_causal"] is True
    assert set(result["rows"][0]) == {
        "peer", "length", *MEASURES, "note", "dim", "batch", "pass_name", "runs", "floor_ms"
    }  # fmt: skip


def test_numbers_of_a_row_agree_with_each_other():
    result = measured(TINY)
    for r in result["rows"]:
        baseline = row(result, BASELINE, r["pass_name"], r["length"], r["dim"])
        assert math.isclose(r["ratio"], r["ms"] / baseline["ms"])
        work = 4 * r["batch"] * 2 * r["length"] ** 2 * r["dim"] / 2
        work *= {"forward": 1, "backward": 2.5, "both": 3.5}[r["pass_name"]]
        assert math.isclose(r["gflops"], work / (r["ms"] / 1e3) / 1e9)


def test_both_is_a_forward_and_a_backward():
    shape = {"batch": 3, "heads": 2, "length": 10, "dim": 4}
    passes = [operations(**shape, pass_name=pass_name) for pass_name in PASSES]
    assert passes[0] + passes[1] == passes[2]
    assert passes[0] == 2 * 3 * 2 * 10 * 10 * 4


@pytest.mark.parametrize(
    ("settings", "batches"),
    [
        (TINY, [6, 2]),
        (replace(TINY, tokens=8), [1, 1]),
        (replace(TINY, batch=3), [3, 3]),
    ],
)
def test_the_batch_fills_the_tokens_with_at_least_one_sequence(settings, batches):
    assert [Shape.of(settings, length, 8).batch for length in settings.lengths] == batches


# Passes


def inputs(length=6):
    return Shape(1, 2, length, 4, torch.float64).inputs(torch.device("cpu"))


def test_a_forward_keeps_what_the_backward_needs():
    given, found = inputs(), []
    call = given.call(lambda *x: found.append(staged.reference_attention(*x, "lssa")), "forward")
    call.run(call.prepare())
    assert found[0].requires_grad


def test_a_backward_leaves_its_forward_to_the_preparation():
    given = inputs()
    calls = []

    def forward(*leaves):
        calls.append("forward")
        return staged.reference_attention(*leaves, "lssa")

    call = given.call(forward, "backward")
    state = call.prepare()
    assert calls == ["forward"]
    gradients = call.run(state)
    assert calls == ["forward"]
    both = given.call(forward, "both")
    assert both.prepare() is None
    expected = both.run(None)
    assert calls == ["forward"] * 2
    for gradient, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=0, atol=0)


# What cannot run


def test_a_peer_that_fails_says_why_and_leaves_the_rest(monkeypatch):
    def fail(*_):
        raise RuntimeError("\n something is\nwrong")

    with_peers(monkeypatch, lssa=fail)
    result = measured()
    failed = row(result, "lssa")
    assert failed["note"] == "failed: RuntimeError: something is"
    assert all(failed[measure] is None for measure in MEASURES)
    assert failed["runs"] == 0
    assert row(result, "softmax")["ratio"] > 0


def test_without_the_baseline_there_are_times_and_no_ratios(monkeypatch):
    def fail(*_):
        raise RuntimeError("No available kernel. Aborting execution.")

    with_peers(monkeypatch, sdpa_flash=fail)
    result = measured()
    assert row(result, BASELINE)["note"] == "no kernel for these inputs"
    assert row(result, "lssa")["ms"] > 0
    assert row(result, "lssa")["ratio"] is None


def test_a_gradient_that_fails_leaves_the_forward(monkeypatch):
    with_peers(monkeypatch, lssa=lambda *x: staged.reference_attention(*x, "lssa").detach())
    result = measured()
    assert row(result, "lssa")["ms"] > 0
    for pass_name in ("backward", "both"):
        assert row(result, "lssa", pass_name)["note"].startswith("failed: RuntimeError")


@pytest.mark.parametrize(
    ("error", "phrase"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "out of memory"),
        (MemoryError(), "out of memory"),
        (RuntimeError("No viable backend for it"), "no kernel for these inputs"),
        (ImportError("AuxRequest"), f"not supported by torch {torch.__version__.split('+')[0]}"),
        (ValueError(""), "failed: ValueError: "),
    ],
)
def test_failures_are_short_phrases(error, phrase):
    assert module.obstacle_in(error) == phrase
    assert len(module.obstacle_in(RuntimeError("long " * 100))) <= 100


def test_what_would_not_fit_is_not_run(monkeypatch):
    def never(*_):
        raise AssertionError("was run")

    # one L×L matrix of every head is 4,096 bytes at 16 tokens
    with_peers(monkeypatch, **{"lssar:p=15_naive": never})
    result = measured(meter=Stopwatch(free=42_000))
    for pass_name in PASSES:
        assert row(result, "lssar:p=15 naive", pass_name)["note"].startswith("out of memory: needs")
        assert row(result, "lssar:p=15", pass_name)["ms"] > 0


def test_a_dense_backward_needs_more_than_its_forward():
    result = measured(meter=Stopwatch(free=45_000))
    assert row(result, "lssar:p=15 naive", "forward")["ms"] > 0
    assert row(result, "lssar:p=15 naive", "backward")["note"].startswith("out of memory")


# Is it what it says?


@pytest.mark.parametrize("other", ["softmax", "lssar:p=3", "lssa"])
def test_a_peer_that_computes_something_else_is_not_timed(monkeypatch, other):
    with_peers(monkeypatch, **{"lssar:p=15": partial(staged.reference_attention, variant=other)})
    for r in measured(replace(ONE, lengths=(40,)))["rows"]:
        if r["peer"] == "lssar:p=15":
            assert r["note"].startswith("wrong result: relative error ")
            assert r["error"] > module.WRONG
            assert r["ms"] is None


def test_a_result_that_is_not_finite_is_wrong(monkeypatch):
    with_peers(monkeypatch, lssa=lambda query, *_: query * torch.nan)
    found = row(measured(), "lssa")
    assert found["note"] == "wrong result: relative error nan"
    assert (found["error"], found["ms"]) == (None, None)


def test_wrong_gradients_of_a_right_output_are_wrong(monkeypatch):
    def half(query, key, value):
        right = staged.reference_attention(query, key, value, "lssa")
        return right.detach() / 2 + right / 2

    with_peers(monkeypatch, lssa=half)
    result = measured()
    assert row(result, "lssa")["note"] == ""
    assert row(result, "lssa", "backward")["error"] == pytest.approx(0.5, rel=1e-3)
    assert row(result, "lssa", "both")["note"] == "wrong result: relative error 0.5"


@pytest.mark.parametrize("length", [1, 11, 24, 25, 90])
@pytest.mark.parametrize("pass_name", PASSES)
def test_the_reference_itself_has_no_error(monkeypatch, length, pass_name):
    monkeypatch.setattr(judge_module, "CHECKED_ROWS", 12)
    judge = Judge(inputs(length))
    variant = Variant.parse("lssar:p=3")
    peer = Peer(partial(staged.reference_attention, variant=variant), variant)
    assert judge.error(peer, pass_name) < 1e-12


def test_only_the_first_and_last_rows_are_judged(monkeypatch):
    monkeypatch.setattr(judge_module, "CHECKED_ROWS", 4)
    variant = Variant.parse("lssa")

    def spoiled(query, key, value, row):
        output = staged.reference_attention(query, key, value, variant)
        keep = torch.ones(output.shape[2], 1, dtype=output.dtype)
        keep[row] = 0
        return output * keep

    judge = Judge(inputs(30))
    errors = [judge.error(Peer(partial(spoiled, row=row), variant), "both") for row in range(30)]
    assert [row for row, error in enumerate(errors) if error > 1e-6] == [
        0, 1, 2, 3, 26, 27, 28, 29
    ]  # fmt: skip


def test_the_worst_error_may_be_no_number():
    assert worst([0.1, 0.3, 0.2]) == 0.3
    assert math.isnan(worst([0.1, math.nan, 0.2]))


# What a caller waits for

WAITS = replace(
    ONE, passes=("short", "decode"), short_lengths=(5, 20), decode_lengths=(40,), peers=("cudnn",)
)


def test_latencies_are_of_one_sequence_and_of_the_operators_alone():
    result = measured(WAITS)
    assert [(r["pass_name"], r["length"], r["peer"]) for r in result["rows"]] == [
        (kind, length, peer)
        for kind, length in (("short", 5), ("short", 20), ("decode", 40))
        for peer in (BASELINE, "sdpa cudnn", *PEERS[1:4])
    ]
    for r in result["rows"]:
        assert r["batch"] == 1
        if r["peer"] != "sdpa cudnn":  # which no CPU has
            assert (r["note"], r["runs"]) == ("", 2)
            assert 0 <= r["error"] < 1e-5
            assert r["floor_ms"] > 0
    assert measured(replace(WAITS, batch=3))["rows"][0]["batch"] == 3


def test_a_latency_of_something_else_is_not_timed(monkeypatch):
    usual = gpu_peers.latency_peers

    def peers(*arguments):
        known = usual(*arguments)
        wrong = partial(staged.reference_attention, variant="softmax")
        return known | {"lssa": replace(known["lssa"], forward=wrong)}

    monkeypatch.setattr(module, "latency_peers", peers)
    found = row(measured(replace(WAITS, decode_lengths=(400,))), "lssa", "decode", 400)
    assert found["note"].startswith("wrong result: relative error ")
    assert (found["ms"], found["floor_ms"], found["runs"]) == (None, None, 0)


# Rounds


def test_a_slow_peer_is_repeated_less_and_the_row_says_so(monkeypatch):
    monkeypatch.setattr(module, "SECONDS_A_CELL", 0.0)
    assert {r["runs"] for r in measured()["rows"]} == {1}


def test_repetitions_go_round_the_peers(monkeypatch):
    order = []

    def told(name, forward):
        def call(*leaves):
            order.append(name)
            return forward(*leaves)

        return call

    forwards = {
        name: partial(staged.reference_attention, variant=name) for name in ("lssa", "softmax")
    }
    with_peers(monkeypatch, **{name: told(name, forward) for name, forward in forwards.items()})
    measured(replace(ONE, passes=("forward",), repeat=3))
    assert order[-6:] == ["lssa", "softmax"] * 3


def test_progress_names_shape_pass_and_peer():
    lines = []
    measured(report=lines.append)
    assert "16 tokens, heads of 8, backward: lssar:p=15 naive" in lines
    assert "16 tokens, heads of 8, both: round 2/2" in lines


# Settings


def test_every_second_of_many_lengths_is_compiled():
    assert GpuSettings().compiled_at == (2048, 8192, 32768)
    assert GpuSettings(lengths=(512, 1024)).compiled_at == (512, 1024)
    chosen = GpuSettings(compiled_lengths=(1024,))
    assert "flex" in chosen.groups_at(1024)
    assert chosen.groups_at(2048) == ["cudnn", "naive"]
    assert GpuSettings(compiled_lengths=()).groups_at(2048) == ["cudnn", "naive"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lengths": (0,)}, ["lengths holds 0", "at least 1"]),
        ({"lengths": ()}, ["lengths", "at least one"]),
        ({"dims": ()}, ["dims", "at least one"]),
        ({"dims": (64, -1)}, ["dims holds -1", "at least 1"]),
        ({"heads": 0}, ["heads is 0", "at least 1"]),
        ({"tokens": 0}, ["tokens is 0", "at least 1"]),
        ({"batch": 0}, ["batch is 0", "at least 1"]),
        ({"repeat": 0}, ["repeat is 0", "at least 1"]),
        ({"passes": ()}, ["passes", "forward, backward, both, short, decode"]),
        ({"passes": ("forwards",)}, ["'forwards'", "forward, backward, both, short, decode"]),
        ({"short_lengths": (0,)}, ["short_lengths holds 0", "at least 1"]),
        ({"decode_lengths": ()}, ["decode_lengths", "at least one"]),
        ({"peers": ("cuddn",)}, ["'cuddn'", "cudnn, flex, compiled, naive"]),
        ({"dtype": "float64"}, ["'float64'", "float32, bfloat16, float16"]),
        ({"compiled_lengths": (0,)}, ["compiled_lengths holds 0", "at least 1"]),
        ({"variants": "sofmax"}, ["'sofmax'", "softmax"]),
        ({"variants": "softmax+yarn"}, ["softmax+yarn", "only softmax"]),
    ],
)
def test_settings_out_of_range_are_refused(change, words):
    with refused(UsageError, words):
        GpuSettings(**change)
