"""The learning curve in the terminal: on standard error, within its width."""

import io
import math
import re

import pytest
from freeatten_cli.terminal.bars import progress_bar
from freeatten_cli.terminal.learning import LearningView
from rich.console import Console
from rich.progress import TextColumn

from freeatten_core import Variant
from freeatten_core.basics.progress import about
from freeatten_core.models.forecast import Forecast
from freeatten_core.training.reports import Progress


def progress(step, validation, phase="train"):
    return Progress(phase, step, 100, 3e-3, validation + 0.1, validation, 2048, 1024.0)


def shown(capsys, columns, monkeypatch, entries, out="models/lssa"):
    monkeypatch.setenv("COLUMNS", str(columns))
    view = LearningView(Variant.parse("lssa"))
    for entry in entries:
        view.progress(entry)
    view.finish(out)
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_a_report_says_where_the_run_is_and_what_is_left(capsys, monkeypatch):
    err = shown(capsys, 120, monkeypatch, [progress(40, 3.25)])
    assert err.splitlines()[0] == (
        "lssa train 40/100  lr 0.003  loss 3.3500  validation 3.2500  1,024 tokens/s  120 s left"
    )


def test_after_the_first_steps_their_speed_says_what_is_left(capsys, monkeypatch):
    err = shown(capsys, 120, monkeypatch, [progress(10, math.nan, "start")])
    assert err.splitlines()[0] == "lssa after 10 steps: 1,024 tokens/s, about 3 min left"


def test_the_end_of_a_search_does_not_say_that_nothing_is_left(capsys, monkeypatch):
    err = shown(capsys, 120, monkeypatch, [progress(100, 9.0, "search")])
    assert err.splitlines()[0].endswith("1,024 tokens/s")


def bar_at(*completed):
    """What a bar of 100 shows after so many seconds a step, without a terminal."""
    clock = iter(range(1000))
    bar = progress_bar(
        Console(file=io.StringIO(), width=100), TextColumn("{task.percentage:.0f} %")
    )
    bar.get_time = lambda: float(next(clock))
    task = bar.add_task("scoring", total=None)
    for done in completed:
        bar.update(task, completed=done, total=100)
    console = Console(file=io.StringIO(), width=100)
    console.print(bar.get_renderable())
    return console.file.getvalue().strip()


def test_a_bar_says_what_is_left_when_it_knows():
    for unknown in (bar_at(), bar_at(0)):
        assert "left" not in unknown
        assert "-:--" not in unknown
    assert re.search(r"scoring .* 50 % 0:00:\d\d left$", bar_at(0, 10, 30, 50))


def test_the_curve_is_drawn_at_the_end_with_its_last_value(capsys, monkeypatch):
    err = shown(capsys, 80, monkeypatch, [progress(step, 6 - step / 20) for step in (20, 60, 100)])
    assert "lssa: validation loss (nats per token) by step" in err
    assert "lssa 1.00" in err
    assert "┤" in err
    assert err.endswith("saved models/lssa\n")


def test_the_search_of_learning_rates_is_no_part_of_the_curve(capsys, monkeypatch):
    entries = [progress(10, 9.0, "search"), progress(50, 3.0), progress(100, 2.0)]
    chart = shown(capsys, 80, monkeypatch, entries).split("by step\n")[1]
    assert "3.00┤" in chart
    assert "9.00" not in chart


def test_one_point_is_no_curve(capsys, monkeypatch):
    err = shown(capsys, 80, monkeypatch, [progress(100, 2.0)])
    assert "┤" not in err
    assert "saved models/lssa" in err


@pytest.mark.parametrize("columns", [60, 80])
def test_no_line_is_wider_than_the_terminal(capsys, monkeypatch, columns):
    entries = [progress(step, 6 - step / 20) for step in (20, 60, 100)]
    err = shown(capsys, columns, monkeypatch, entries)
    assert max(map(len, err.splitlines())) <= columns


def test_a_name_with_brackets_is_shown_as_it_is(capsys, monkeypatch):
    assert shown(capsys, 80, monkeypatch, [], out="[red]/lssa").endswith("saved [red]/lssa\n")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.01, "about 1 s"), (40.4, "about 40 s"), (200, "about 3 min"), (9_000, "about 2.5 h")],
)
def test_a_forecast_of_time_has_no_more_digits_than_it_knows(seconds, said):
    assert about(seconds) == said


@pytest.mark.parametrize(("seconds", "time"), [(200.0, " and about 3 min"), (None, "")])
def test_what_a_training_needs_is_said_in_a_line(capsys, seconds, time):
    view = LearningView(Variant.parse("lssa"))
    needed = Forecast(3_400_000_000, 50_000_000, seconds, None)
    view.forecast(needed, 3_210_000)
    assert capsys.readouterr().err == f"lssa, 3.2 million parameters, needs 3.4 GB{time}\n"
    view.forecast(needed, 3_210_000, 2)
    assert "needs 3.4 GB in each of 2 processes" in " ".join(capsys.readouterr().err.split())
