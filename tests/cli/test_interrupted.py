"""A signal between two rows: in every command the rows that are finished are shown and written."""

import csv
import importlib
import shlex
import signal

import pytest
from terminal import freeatten, listing

from freeatten_core.results.format import partial_text

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
