"""What `freeatten bench` measures and how it says what it cannot measure; never a speed."""

import json
import math
from dataclasses import replace

import pytest
import torch
from strategies import refused

from freeatten_core.basics.checks import parse_counts
from freeatten_core.basics.errors import UsageError
from freeatten_core.bench import cpu as module
from freeatten_core.bench import latency
from freeatten_core.bench.cpu import BASELINE, MISSING_COMPILER, CpuSettings
from freeatten_core.bench.rounds import Timing
from freeatten_core.variants.variant import Variant

TINY = CpuSettings(lengths=(5, 16), heads=2, dim=8, passes=("forward",), repeat=2)
WAITS = CpuSettings(
    heads=2,
    dim=8,
    passes=("short", "decode"),
    short_lengths=(5, 20),
    decode_lengths=(40,),
    repeat=2,
)
PEERS = [
    BASELINE,
    "lssar:p=15",
    "lssa",
    "softmax",
    "lssar:p=15 naive",
    "lssar:p=15 compiled",
]
MEASURES = ("ms", "gflops", "ratio", "peak_mb")


@pytest.fixture
def quick(monkeypatch):
    """No other process, no compiler run; every peer's memory is 1 MB."""
    monkeypatch.setattr(module, "_peak_in_fresh_process", lambda *_: (1.0, ""))
    monkeypatch.setattr(module, "has_compiler", lambda: True)
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)


def benchmark(settings, report=lambda _: None):
    return module.benchmark(settings, command="freeatten bench", report=report)


def row(result, peer, length=16):
    (found,) = [r for r in result["rows"] if (r["peer"], r["length"]) == (peer, length)]
    return found


@pytest.mark.usefixtures("quick")
def test_every_peer_is_measured_at_every_length():
    result = benchmark(TINY)
    assert [(r["length"], r["peer"]) for r in result["rows"]] == [
        (length, peer) for length in (5, 16) for peer in PEERS
    ]
    for r in result["rows"]:
        assert all(r[measure] > 0 for measure in MEASURES)
        assert r["note"] == ""


@pytest.mark.usefixtures("quick")
def test_the_result_is_json_and_says_what_it_is_of():
    result = json.loads(json.dumps(benchmark(TINY)))
    assert set(result) == {
        "schema", "device", "threads", "seconds", "versions", "command", "date", "commit",
        "settings", "rows",
    }  # fmt: skip
    assert result["command"] == "freeatten bench"
    assert result["schema"] == 1
    assert result["device"].startswith("cpu")
    assert result["threads"] == torch.get_num_threads()
    assert result["versions"]["torch"] == torch.__version__
    assert result["settings"]["lengths"] == [5, 16]
    assert set(result["rows"][0]) == {
        "peer", "length", *MEASURES, "note", "pass_name", "floor_ms"
    }  # fmt: skip


@pytest.mark.usefixtures("quick")
def test_numbers_of_a_row_agree_with_each_other():
    result = benchmark(TINY)
    for length in TINY.lengths:
        baseline = row(result, BASELINE, length)
        assert baseline["ratio"] == 1
        for peer in PEERS:
            r = row(result, peer, length)
            assert math.isclose(r["ratio"], r["ms"] / baseline["ms"])
            operations = 4 * 2 * length**2 * 8 / 2
            assert math.isclose(r["gflops"], operations / (r["ms"] / 1e3) / 1e9)


def test_every_peer_computes_attention():
    query, key, value = TINY.inputs(16)
    named = module.peers(Variant.parse_list("softmax"))
    expected = named[BASELINE].forward(query, key, value)
    for name in ("softmax", "softmax naive"):
        torch.testing.assert_close(named[name].forward(query, key, value), expected)


@pytest.mark.usefixtures("quick")
def test_without_a_compiler_its_cell_says_so_and_the_others_are_measured(monkeypatch):
    monkeypatch.setattr(module, "has_compiler", lambda: False)
    result = benchmark(TINY)
    compiled = row(result, PEERS[-1])
    assert compiled["note"] == MISSING_COMPILER
    assert all(compiled[measure] is None for measure in MEASURES)
    assert row(result, PEERS[-2])["ms"] > 0


def test_a_compiler_is_looked_for(monkeypatch):
    monkeypatch.setattr(module.shutil, "which", lambda _: None)
    assert not module.has_compiler()
    monkeypatch.setattr(module.shutil, "which", lambda name: name if name == "my-c++" else None)
    monkeypatch.setenv("CXX", "my-c++")
    assert module.has_compiler()


@pytest.mark.usefixtures("quick")
def test_what_would_not_fit_is_not_run(monkeypatch):
    monkeypatch.setattr(module, "available_bytes", lambda _: 10_000)
    result = benchmark(TINY)
    assert row(result, "lssar:p=15 naive")["note"].startswith("out of memory")
    assert row(result, "lssar:p=15 naive", 5)["ms"] > 0
    assert row(result, "lssar:p=15")["ms"] > 0


@pytest.mark.usefixtures("quick")
def test_a_peer_that_fails_says_why_and_leaves_the_rest(monkeypatch):
    def peak(_settings, peer, _length):
        return (None, "failed: reason") if peer == BASELINE else (1.0, "")

    monkeypatch.setattr(module, "_peak_in_fresh_process", peak)
    result = benchmark(TINY)
    assert row(result, BASELINE)["note"] == "failed: reason"
    assert row(result, BASELINE)["ms"] is None
    assert row(result, "lssa")["ms"] > 0
    assert row(result, "lssa")["ratio"] is None


@pytest.mark.usefixtures("quick")
def test_a_slow_peer_is_repeated_less_and_says_so(monkeypatch):
    monkeypatch.setattr(module, "SECONDS_A_PEER", 0.0)
    result = benchmark(TINY)
    assert {r["note"] for r in result["rows"]} == {"1 of 2 runs"}


@pytest.mark.usefixtures("quick")
def test_progress_names_lengths_and_peers():
    lines = []
    benchmark(TINY, lines.append)
    assert all(any(f"of {peer}" in line for line in lines) for peer in PEERS)
    assert "16 tokens: round 2/2" in lines


# What a caller waits for


@pytest.mark.usefixtures("quick")
def test_latencies_are_of_the_operators_at_their_own_lengths():
    result = benchmark(WAITS)
    assert [(r["pass_name"], r["length"], r["peer"]) for r in result["rows"]] == [
        (kind, length, peer)
        for kind, length in (("short", 5), ("short", 20), ("decode", 40))
        for peer in PEERS[:4]
    ]
    for r in result["rows"]:
        assert r["floor_ms"] > 0
        assert math.isclose(r["ratio"], r["ms"] / row(result, BASELINE, r["length"])["ms"])
        operations = 4 * 2 * r["length"] * 8
        operations *= r["length"] / 2 if r["pass_name"] == "short" else 1
        assert math.isclose(r["gflops"], operations / (r["ms"] / 1e3) / 1e9)


@pytest.mark.parametrize("kind", ["short", "decode"])
def test_peers_of_a_latency_compute_the_same(kind, monkeypatch):
    """One query sees every key, of PyTorch's attention too."""
    found = {}

    def measure(forwards, rows, setup, **_):
        inputs = setup.inputs(kind, 40)
        assert inputs[0].shape == (1, 2, 1 if kind == "decode" else 40, 8)
        found.update({name: forward(*inputs) for name, forward in forwards.items()})
        return dict.fromkeys(rows, 1)

    monkeypatch.setattr(module, "measure", measure)
    benchmark(replace(WAITS, passes=(kind,), short_lengths=(40,), variants="softmax"))
    torch.testing.assert_close(found["softmax"], found[BASELINE])


def test_a_call_is_waited_for_in_bursts(monkeypatch):
    clock = iter(0.004 * step for step in range(100))
    monkeypatch.setattr(latency.time, "perf_counter", lambda: next(clock))
    said = []
    taken = latency._burst(lambda: said.append("call"), lambda: said.append("settled"))
    assert said == ["settled", *["call", "settled"] * 3]  # until 10 ms have passed
    assert math.isclose(taken, 0.004)


def test_a_quick_peer_is_repeated_no_more_once_its_bursts_took_the_limit(monkeypatch):
    """The bursts, not the call that each is the mean of."""
    clock = [0.0]
    monkeypatch.setattr(latency.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(latency, "SECONDS_A_PEER", 0.02)

    def forward(query, *_):
        clock[0] += 0.004
        return query

    rows = {BASELINE: Timing(BASELINE, 16, pass_name="short")}
    setup = latency.Setup(1, 1, 8, torch.float32, torch.device("cpu"))
    given = {"baseline": BASELINE, "repeat": 9, "report": lambda _: None}
    assert latency.measure({BASELINE: forward}, rows, setup, **given) == {BASELINE: 2}


def test_memory_of_a_dense_form_is_that_of_its_matrices():
    settings = CpuSettings(lengths=(1024,), heads=2, variants="lssa")
    matrix = 2 * 1024**2 * 4 / 1e6
    naive, note = module._peak_in_fresh_process(settings, "lssa naive", 1024)
    assert note == ""
    if naive is None:
        pytest.skip("this system does not tell the peak of resident memory")
    assert 3 * matrix < naive < 1.2 * module.NAIVE_COPIES * matrix


@pytest.mark.parametrize(
    ("dim", "peer", "note"),
    [
        (1 << 40, "lssa", "out of memory"),
        (4, "no such peer", "failed: KeyError: 'no such peer'"),
    ],
)
def test_a_process_that_fails_says_why(dim, peer, note):
    settings = CpuSettings(lengths=(4,), variants="lssa", dim=dim)
    assert module._peak_in_fresh_process(settings, peer, 4) == (None, note)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lengths": (0,)}, ["lengths", "0", "at least 1"]),
        ({"lengths": ()}, ["lengths", "at least one"]),
        ({"short_lengths": (0,)}, ["short_lengths", "0", "at least 1"]),
        ({"decode_lengths": ()}, ["decode_lengths", "at least one"]),
        ({"passes": ()}, ["passes is empty", "forward, short, decode"]),
        ({"passes": ("backward",)}, ["'backward'", "forward, short, decode"]),
        ({"heads": 0}, ["heads is 0", "at least 1"]),
        ({"batch": -1}, ["batch is -1", "at least 1"]),
        ({"dim": 0}, ["dim is 0", "at least 1"]),
        ({"repeat": 0}, ["repeat is 0", "at least 1"]),
    ],
)
def test_settings_out_of_range_are_refused(change, words):
    with refused(UsageError, words):
        CpuSettings(**change)


def test_an_unknown_variant_is_refused():
    with refused(UsageError, ["'sofmax'", "softmax"]):
        CpuSettings(variants="sofmax")


def test_lengths_are_numbers_with_commas():
    assert parse_counts("2048, 8192,2048,") == (2048, 8192)


@pytest.mark.parametrize("text", ["2k", "1.5", "-3", "²"])
def test_other_lengths_are_refused(text):
    with refused(UsageError, [repr(text), "such as 2048,8192"]):
        parse_counts(text)


def test_a_modifier_cannot_be_timed():
    with pytest.raises(UsageError, match=r"softmax\+yarn; only softmax"):
        CpuSettings(lengths=(8,), variants="softmax+yarn")
