"""The `bench` command: table, JSON, picture, refusals."""

import csv
import io
import json
import sys
from functools import partial

import pytest
import torch
from bounds import ended
from freeatten_cli.commands.bench import gpu_settings, tables
from freeatten_cli.main import app
from rich.console import Console
from sample_speed import RATIOS, sample_speed
from terminal import BOOTSTRAP, freeatten, process_environment, refusal
from typer.testing import CliRunner

from freeatten_core.basics import devices
from freeatten_core.bench import cpu as module
from freeatten_core.bench import gpu as gpu_benchmark
from freeatten_core.bench import latency

SMALL = ["bench", "--heads", "2", "--dim", "8", "--repeat", "1"]
TINY = [*SMALL, "--lengths", "5,16", "--passes", "forward"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "_peak_in_fresh_process", lambda *_: (1.0, ""))
    monkeypatch.setattr(module, "has_compiler", lambda: False)
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setenv("COLUMNS", "80")


def run(*words):
    return CliRunner().invoke(app, list(words))


def test_json_stands_alone_on_standard_output():
    result = run(*TINY, "--json", "--variants", "lssa")
    assert result.exit_code == 0
    rows = json.loads(result.stdout)["rows"]
    assert [row["peer"] for row in rows[:4]] == [
        "sdpa softmax",
        "lssa",
        "lssa naive",
        "lssa compiled",
    ]


def test_csv_has_a_line_for_everything_timed(tmp_path):
    path = tmp_path / "bench.csv"
    done = freeatten(*TINY, "--json", "--csv", path)
    lines = list(csv.DictReader(path.open(encoding="utf-8")))
    assert [(line["peer"], int(line["length"])) for line in lines] == [
        (row["peer"], row["length"]) for row in done.result["rows"]
    ]
    assert {(line["heads"], line["dtype"]) for line in lines} == {("2", "float32")}
    assert float(lines[0]["ratio"]) == 1


def test_the_table_fits_80_columns_and_says_what_was_measured():
    result = run(*TINY)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for words in (
        "Causal attention forward, float32, batch 1, 2 heads of 8",
        f"torch {torch.__version__}",
        "threads",
        "lssar:p=15 naive",
        "no C++ compiler",
    ):
        assert words in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--lengths", "0", "at least 1"),
        ("--lengths", "2k", "whole numbers"),
        ("--heads", "0", "heads is 0"),
        ("--variants", "sofmax", "did you mean"),
    ],
)
def test_a_wrong_call_is_one_sentence(option, value, words):
    result = run(*TINY, option, value)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.replace("│", " ").split())
    assert result.stdout == ""


def test_the_cpu_takes_one_head_size_and_no_option_of_a_gpu():
    assert refusal(2, *TINY, "--dim", "64,128") == (
        "dim is '64,128'; on the CPU it is one head size, such as 64"
    )
    for option in ("dtype", "peers", "compiled-lengths"):
        assert refusal(2, *TINY, "--device", "cpu", f"--{option}", "none") == (
            f"--{option} is for a GPU; on the CPU float32 forwards are timed"
        )


def test_a_picture_is_written(tmp_path):
    path = tmp_path / "speed.html"
    done = freeatten(*TINY, "--variants", "lssa", "--html", path)
    assert done.code == 0
    assert "relative to sdpa softmax" in path.read_text(encoding="utf-8")


def test_a_picture_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path):
    path = tmp_path / "nowhere" / "speed.html"
    sentence = refusal(2, *TINY, "--html", str(path))
    assert sentence == f"cannot write {path}: the folder {path.parent} does not exist"


@pytest.fixture
def few_tokens(monkeypatch):
    """Latencies of short calls, each of which takes a millisecond."""
    settings = partial(module.CpuSettings, short_lengths=(16, 24), decode_lengths=(64,))
    monkeypatch.setattr(module, "CpuSettings", settings)
    monkeypatch.setattr(latency, "_burst", lambda *_: 1e-3)


@pytest.mark.usefixtures("few_tokens")
def test_what_a_caller_waits_for_has_tables_that_tell_what_the_launches_decide():
    done = run(*SMALL, "--passes", "short,decode")
    assert done.exit_code == 0
    text = " ".join(done.stdout.split())
    assert max(map(len, done.stdout.splitlines())) <= 80
    for words in ("Causal attention latency, float32", "latency of one query, float32", "floor"):
        assert words in text
    assert done.stdout.count("1.00  launches") == 3 * 4  # a floor as high as the time


@pytest.mark.usefixtures("few_tokens")
def test_latencies_are_compared_with_an_earlier_run(tmp_path):
    words = [*SMALL, "--passes", "decode", "--variants", "lssa"]
    before = json.loads(run(*words, "--json").stdout)
    for row in before["rows"]:
        row["ratio"] /= 1 if row["peer"].startswith("sdpa") else 1000
    path = tmp_path / "before.json"
    path.write_text(json.dumps(before), encoding="utf-8")
    done = run(*words, "--against", str(path))
    assert "1 slower, most lssa decode at 64 tokens and heads of 8" in " ".join(done.stdout.split())


# On a GPU


class Meter:
    """Every call takes a millisecond and a megabyte."""

    device = torch.device("cpu")

    def seconds(self, call):
        call.run(call.prepare())
        return 1e-3

    def peak_bytes(self, _call):
        return 1e6

    def free_bytes(self):
        return 1e12


@pytest.fixture
def gpu(monkeypatch):
    """A GPU is there, and is this machine's processor."""
    monkeypatch.setattr(devices, "choose_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(gpu_benchmark, "CudaMeter", Meter)


GPU = [
    "bench", "--lengths", "8", "--heads", "2", "--dim", "4,8", "--batch", "1", "--repeat", "1",
    "--dtype", "float32", "--peers", "naive", "--passes", "forward,backward,both",
]  # fmt: skip


@pytest.mark.usefixtures("gpu")
def test_a_gpu_is_measured_in_every_pass():
    result = freeatten(*GPU, "--json").result
    assert result["command"].startswith("freeatten bench --lengths 8")
    assert [row["peer"] for row in result["rows"][:5]] == [
        "sdpa flash",
        "lssar:p=15",
        "lssa",
        "softmax",
        "lssar:p=15 naive",
    ]
    assert {(row["pass_name"], row["dim"]) for row in result["rows"]} == {
        (pass_name, dim) for pass_name in ("forward", "backward", "both") for dim in (4, 8)
    }
    assert {row["ms"] for row in result["rows"]} == {1.0}


@pytest.mark.usefixtures("gpu")
def test_there_is_a_table_for_every_pass_and_head_size():
    done = freeatten(*GPU, "--passes", "forward,both", columns=80)
    assert done.code == 0
    text = " ".join(done.out.split())
    for words in ("forward, float32", "forward + backward, float32", "heads of 4", "heads of 8"):
        assert words in text
    assert done.out.count("tokens  ") == 4


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        (
            "--passes",
            "sideways",
            "passes holds 'sideways'; it can hold forward, backward, both, short, decode",
        ),
        ("--peers", "flash", "peers holds 'flash'; it can hold cudnn, flex, compiled, naive"),
        ("--dtype", "int8", "dtype is 'int8'; it can be float32, bfloat16, float16"),
        ("--compiled-lengths", "1k", "compiled-lengths holds '1k'; give whole numbers"),
        ("--dim", "0", "dims holds 0; every one must be at least 1"),
        ("--lengths", "", "lengths is empty; give at least one"),
    ],
)
def test_a_wrong_call_on_a_gpu_is_one_sentence(option, value, words):
    assert refusal(2, *GPU, option, value).startswith(words)


def test_options_become_settings():
    settings = gpu_settings(
        {
            "lengths": "1024,2048",
            "dim": "64",
            "passes": "both,forward",
            "peers": "none",
            "compiled_lengths": "none",
            "repeat": 3,
        }
    )
    assert settings == gpu_benchmark.GpuSettings(
        lengths=(1024, 2048),
        dims=(64,),
        passes=("both", "forward"),
        peers=(),
        compiled_lengths=(),
        repeat=3,
    )
    assert gpu_settings({}) == gpu_benchmark.GpuSettings()
    assert gpu_settings({"compiled_lengths": "512"}).compiled_lengths == (512,)


def test_the_tables_of_a_gpu_fit_80_columns():
    console = Console(width=80, file=io.StringIO())
    for table in tables(sample_speed()):
        console.print(table)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    for words in (*RATIOS, "TFLOP/s", "NVIDIA H200", "out of memory: needs 181 GB"):
        assert words in " ".join(text.split())


def test_measuring_loads_nothing_that_draws():
    code = (
        "import freeatten_cli.commands.bench, freeatten_core.bench.gpu\n"
        "import freeatten_core.results.speed\n"
        "print([name for name in ('plotly', 'plotext', 'kaleido') if name in sys.modules])"
    )
    done = ended(
        [sys.executable, "-c", BOOTSTRAP + code],
        capture_output=True,
        text=True,
        check=True,
        env=process_environment(),
    )
    assert done.stdout == "[]\n"


def test_an_earlier_run_tells_what_got_slower(tmp_path):
    before = json.loads(run(*TINY, "--json", "--variants", "lssa").stdout)
    for row in before["rows"]:
        row["ratio"] = row["ratio"] and row["ratio"] / (
            1 if row["peer"].startswith("sdpa") else 1000
        )
    path = tmp_path / "before.json"
    path.write_text(json.dumps(before), encoding="utf-8")
    done = run(*TINY, "--variants", "lssa", "--against", str(path))
    assert done.exit_code == 0
    assert "slower, most lssa" in " ".join(done.stdout.split())
    assert "Another device" not in done.stdout
    path.write_text(json.dumps(before | {"device": "cpu, [another]"}), encoding="utf-8")
    other = run(*TINY, "--variants", "lssa", "--against", str(path))
    assert f"cpu, [another] then, {before['device']} now" in " ".join(other.stdout.split())


def test_an_earlier_run_that_is_not_one_is_refused_before_anything_is_timed(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "benchmark", lambda *_, **__: pytest.fail("it was measured"))
    said = refusal(2, *TINY, "--against", tmp_path / "none.json")
    assert "--against is" in said
    assert "cannot be read" in said
