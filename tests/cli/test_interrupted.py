"""A signal between two rows: in every command the rows that are finished are shown and written."""

import csv
import importlib
import json
import shlex
import signal

import pytest
from terminal import freeatten, listing

from freeatten_core.results.format import partial_text
from freeatten_core.results.stability import unmeasured

TEXT = ("--len", "2x", "--texts", "2")
COMMANDS = {
    "retrieve": ("copying._measure", ("--len", "64", "--samples", "2")),
    "field": ("field._measure", TEXT),
    "longppl": ("longppl._measure", ("--len", "64", "--truncate", "16")),
    "ablate": ("ablation._measure", (*TEXT, "--no-heads")),
    "entropy": ("heads._measure", TEXT),
}
"""By command, what measures a row, and options."""
PART = "stopped: 1 of 2 rows, the rest was not finished"


@pytest.fixture
def second_row_raises(monkeypatch):
    def arrange(place, error):
        name, function = place.split(".")
        module = importlib.import_module(f"freeatten_core.measures.{name}")
        measure, rows = getattr(module, function), []

        def failing(request, row, *rest, **options):
            rows.append(row)
            if len(rows) == 2:
                raise error
            return measure(request, row, *rest, **options)

        monkeypatch.setattr(module, function, failing)

    return arrange


@pytest.fixture
def rows(trained):
    """Words for two rows, the first `lssar:p=15`."""
    return [word for folder in trained.values() for word in ("--checkpoint", folder)]


def words_of(command, rows, books):
    judge = ("--evaluator", rows[1]) if command == "longppl" else ()
    return (command, *judge, *rows, "--text", books, *COMMANDS[command][1])


@pytest.mark.parametrize("command", COMMANDS)
def test_a_signal_keeps_the_rows_that_are_finished(
    command, rows, books, tmp_path, second_row_raises
):
    words, outputs = words_of(command, rows, books), ("--csv", tmp_path / "x.csv", "--json")
    whole = freeatten(*words, *outputs).result
    (tmp_path / "x.csv").unlink()
    second_row_raises(COMMANDS[command][0], KeyboardInterrupt(signal.SIGTERM))
    done = freeatten(*words, *outputs)
    assert done.code == 143
    assert done.sentence == "stopped; what was finished is given: 1 of 2 rows"
    assert done.result["variants"] == whole["variants"][:1]
    assert (done.result["partial"], done.result["rows_asked"]) == (True, 2)
    assert "partial" not in whole
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        assert {line["variant"] for line in csv.DictReader(file)} == {"lssar:p=15"}
    assert listing(tmp_path) == ["x.csv"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_part_is_shown_and_drawn_as_a_part(command, rows, books, tmp_path, second_row_raises):
    page = tmp_path / "x.html"
    second_row_raises(COMMANDS[command][0], KeyboardInterrupt())
    done = freeatten(*words_of(command, rows, books), "--html", page)
    assert done.code == 130
    assert PART in done.out
    assert PART in page.read_text(encoding="utf-8")


def test_languages_that_are_finished_are_given_and_the_training_says_what_it_kept(
    tmp_path, monkeypatch
):
    from freeatten_core.measures import languages

    train = languages.trained_task
    stopped = KeyboardInterrupt()
    stopped.add_note("stopped; step 2 is kept, and the same command goes on from there")

    def stopping(variant, *arguments, **options):
        if str(variant) == "softmax-ls":
            raise stopped
        return train(variant, *arguments, **options)

    monkeypatch.setattr(languages, "trained_task", stopping)
    sizes = shlex.split("--steps 2 --batch 4 --width 8 --layers 1 --heads 1 --samples 1")
    words = ("languages", "--out", tmp_path / "models", "--languages", "parity-check", *sizes)
    done = freeatten(*words, "--variants", "softmax,softmax-ls", "--json")
    assert done.code == 130
    assert done.sentence.startswith("stopped; step 2 is kept")
    assert [row["variant"] for row in done.result["variants"]] == ["softmax"]
    assert partial_text(done.result) == PART


BENCH = shlex.split(
    "bench --device cpu --heads 1 --dim 8 --repeat 1 --variants lssa --lengths 5,16 "
    "--passes forward"
)
STABILITY = shlex.split(
    "stability --variants softmax,softplus,lssar:p=15 --lengths 8 --scales 1 --dtypes float32"
)


@pytest.fixture
def second_call_raises(monkeypatch):
    """The second call of a function of a module ends in a signal."""

    def arrange(place, name, error):
        module, calls = importlib.import_module(place), []
        function = getattr(module, name)

        def failing(*arguments):
            calls.append(arguments)
            if len(calls) == arrange.at:
                raise error
            return function(*arguments)

        monkeypatch.setattr(module, name, failing)

    arrange.at = 2
    return arrange


@pytest.fixture
def quick_bench(monkeypatch):
    from freeatten_core.bench import cpu

    monkeypatch.setattr(cpu, "_peak_in_fresh_process", lambda *_: (1.0, ""))
    monkeypatch.setattr(cpu, "has_compiler", lambda: False)


@pytest.mark.usefixtures("quick_bench")
def test_lengths_that_a_benchmark_finished_are_given(tmp_path, second_call_raises):
    whole = freeatten(*BENCH, "--json").result
    before = tmp_path / "before.json"
    before.write_text(json.dumps(whole), encoding="utf-8")
    second_call_raises(
        "freeatten_core.bench.cpu", "_measure_length", KeyboardInterrupt(signal.SIGTERM)
    )
    done = freeatten(*BENCH, "--json", "--csv", tmp_path / "x.csv", "--against", before)
    assert done.code == 143
    assert done.sentence == "stopped; what was finished is given: 4 of 8 rows"
    assert (done.result["partial"], done.result["rows_asked"]) == (True, len(whole["rows"]))
    assert [row["length"] for row in done.result["rows"]] == [5] * 4
    assert {change["length"] for change in done.result["against"]["changes"]} == {5}
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        assert [line["length"] for line in csv.DictReader(file)] == ["5"] * 4


@pytest.mark.usefixtures("quick_bench")
def test_a_part_of_a_benchmark_is_shown_and_drawn_as_a_part(tmp_path, second_call_raises):
    page = tmp_path / "x.html"
    words = [*BENCH[:-1], "short,forward"]
    second_call_raises("freeatten_core.bench.cpu", "_measure_latency", KeyboardInterrupt())
    done = freeatten(*words, "--html", page)
    assert done.code == 130
    said = "stopped: 10 of 16 rows, the rest was not finished"
    assert said in done.out
    assert said in page.read_text(encoding="utf-8")


@pytest.mark.usefixtures("quick_bench")
def test_a_benchmark_of_which_nothing_is_finished_gives_nothing(second_call_raises):
    second_call_raises.at = 1
    second_call_raises("freeatten_core.bench.cpu", "_measure_length", KeyboardInterrupt())
    done = freeatten(*BENCH, "--json")
    assert (done.code, done.out) == (130, "")


def test_variants_whose_stability_is_measured_are_given(tmp_path, second_call_raises):
    page = tmp_path / "x.html"
    words = [*STABILITY, "--inputs", "random"]
    whole = freeatten(*words, "--json").result
    second_call_raises(
        "freeatten_core.bench.stability", "_entry", KeyboardInterrupt(signal.SIGTERM)
    )
    done = freeatten(*words, "--json", "--csv", tmp_path / "x.csv", "--html", page)
    assert done.code == 143
    assert done.sentence == "stopped; what was finished is given: 1 of 3 rows"
    assert done.result["variants"] == whole["variants"][:1]
    assert (done.result["partial"], done.result["rows_asked"]) == (True, 3)
    assert "stopped: 1 of 3 rows, the rest was not finished" in page.read_text(encoding="utf-8")
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        assert {line["variant"] for line in csv.DictReader(file)} == {"softmax"}


def test_a_part_does_not_say_that_models_it_did_not_reach_are_not_shipped(second_call_raises):
    second_call_raises.at = 5
    second_call_raises("freeatten_core.bench.stability", "_entry", KeyboardInterrupt())
    done = freeatten(*STABILITY)
    assert done.code == 130
    assert "stopped: 4 of 5 rows, the rest was not finished" in done.out
    assert "no shipped model" not in done.out


@pytest.mark.parametrize(
    ("measured", "without"), [(["softmax"], []), (["softmax", "lssar:p=15"], ["softplus"])]
)
def test_of_a_part_variants_before_the_last_are_told_to_have_no_model(measured, without):
    entries = [{"inputs": "checkpoint", "variant": name} for name in measured]
    settings = {"variants": ["softmax", "softplus", "lssar:p=15", "lssa"]}
    assert unmeasured({"variants": entries, "settings": settings, "partial": True}) == without
