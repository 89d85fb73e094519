"""Figures and Markdown of `freeatten retrieve`, by what they hold."""

import json
import math
import re

import plotly.graph_objects as go
import pytest
from sample_retrieval import ACCURACY, GAIN, LENGTHS, copy_result, recall_result

from freeatten_core.figures.retrieval import grid_drawing, retrieval_figure
from freeatten_core.results import cards
from freeatten_core.results import format as wording
from freeatten_core.results.retrieval import (
    accuracy_table,
    control_table,
    distance_table,
    gain_table,
    retrieval_provenance,
)

RESULTS = [copy_result, recall_result]

BOLD, LINE_HEIGHT, LENGTHS_HEIGHT = 13 * 0.65, 17, 70
"""Of a bold letter and a line of a name, and of a grid's upright lengths with their title; pixels
as browsers draw them."""


def notes(figure):
    return [note.text for note in figure.layout.annotations]


def test_the_gain_of_every_variant_is_drawn_at_every_length():
    figure = retrieval_figure(copy_result())
    assert [tuple(trace.y) for trace in figure.data] == list(GAIN.values())
    assert all(tuple(trace.x) == LENGTHS for trace in figure.data)
    assert figure.data[0].error_y.array == pytest.approx([0.05] * 4)
    assert "Softmax (standard) <b>+0.02</b>" in notes(figure)
    low, high = figure.layout.yaxis.range
    assert low < -0.019 < 2.54 < high


def test_accuracy_is_drawn_in_percent():
    figure = retrieval_figure(recall_result())
    drawn = [value for trace in figure.data for value in trace.y]
    wanted = [100 * value for values in ACCURACY.values() for value in values]
    assert drawn == pytest.approx(wanted)
    bars = figure.data[0].error_y
    row = recall_result()["variants"][0]
    for at, (share, (low, high)) in enumerate(
        zip(row["accuracy"], row["accuracy_ci95"], strict=True)
    ):
        assert (bars.arrayminus[at], bars.array[at]) == pytest.approx(
            (100 * (share - low), 100 * (high - share))
        )
    assert bars.array[0] == 0  # all were right: nothing above 100 %
    assert bars.arrayminus[0] > 2
    assert bars.symmetric is False
    assert figure.data[0].hovertext[0].endswith("100.0 (97.1–100.0) % right")
    assert any("a guess: 6.2 %" in text for text in notes(figure))


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_a_grid_has_every_distance_at_every_length(columns):
    result = recall_result()
    figure = go.Figure(grid_drawing(result, columns=columns))
    assert len(figure.data) == 2
    for drawn, row in zip(figure.data, result["variants"], strict=True):
        for at, parts in enumerate(row["by_distance"]):
            assert [line[at] for line in drawn.z] == [part["accuracy"] for part in parts]
            asked = [f"{100 * p['accuracy']:.0f}" if p["queries"] else "" for p in parts]
            assert [line[at] for line in drawn.text] == asked
    assert figure.layout.xaxis.ticktext == ("256", "512", "1,024", "2,048")
    assert figure.layout.yaxis.ticktext == ("≤ 128", "≤ 256", "≤ 2,048")
    expected = "2,048 tokens, up to 2,048 back: 10.0 (6–16) % of 125 queries"
    assert figure.data[0].hovertext[2][3] == expected
    # trained on 256: behind the first of the columns
    assert [shape.x0 for shape in figure.layout.shapes] == [0.5, 0.5]


@pytest.mark.parametrize(("width", "columns"), [(360, 2), (616, 3), (1280, 4)])
def test_long_names_of_grids_lie_on_no_other_grid_and_not_on_its_lengths(width, columns):
    result = recall_result()
    row = result["variants"][0]
    name = "softplus-r:p=3:gate=forget:position=rope@64-none"
    result["variants"] = [
        {**row, "variant": name, "checkpoint": f"forgetting/softplus-gate-{at}"} for at in range(9)
    ]
    figure = go.Figure(grid_drawing(result, width=width, columns=columns))
    layout = figure.layout
    across = layout.width - layout.margin.l - layout.margin.r
    down = layout.height - layout.margin.t - layout.margin.b
    tall = [axis.domain for axis in figure.select_yaxes()]
    room = across * layout.xaxis.domain[1]
    for at, note in enumerate(layout.annotations):
        lines = re.sub("</?b>", "", note.text).split("<br>")
        assert "".join(lines).replace(" ", "").startswith(name.replace(" ", ""))
        pieces = [part for line in lines for part in re.split("(?=[+:[])|(?<=[-=/])", line)]
        assert max(map(len, lines)) * BOLD <= max(room, max(map(len, pieces)) * BOLD)
        if at >= columns:
            gap = (tall[at - columns][0] - tall[at][1]) * down
            assert gap >= LENGTHS_HEIGHT + LINE_HEIGHT * len(lines) - 1


@pytest.mark.parametrize("result", RESULTS)
def test_the_length_axis_is_log_and_the_training_length_marked(result):
    result = result()
    figure = retrieval_figure(result)
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.xaxis.ticktext == ("256", "512", "1,024", "2,048")
    (mark,) = (shape for shape in figure.layout.shapes if shape.line.dash)
    assert (mark.x0, mark.x1) == (result["train_length"],) * 2
    (note,) = (n for n in figure.layout.annotations if n.text == "← trained up to here")
    assert note.x == pytest.approx(math.log10(result["train_length"]))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("result", RESULTS)
def test_the_line_at_zero_is_as_quiet_as_the_axes(result, theme):
    axis = retrieval_figure(result(), theme=theme).layout.yaxis
    assert axis.zerolinecolor == axis.tickcolor


@pytest.mark.parametrize("result", RESULTS)
def test_a_training_length_off_the_axis_is_not_marked(result):
    figure = retrieval_figure(
        result() | {"variants": [r | {"train_length": 64} for r in result()["variants"]]}
    )
    assert [shape for shape in figure.layout.shapes if shape.line.dash] == []


@pytest.mark.parametrize("result", RESULTS)
def test_missing_intervals_and_numbers_are_left_out(result):
    result = result()
    key = "gain" if result["task"] == "copy" else "accuracy"
    for row in result["variants"]:
        row[f"{key}_ci95"] = [[None, None]] * 4
        row[key][-1] = None
    figure = retrieval_figure(result)
    assert all(trace.error_y.array is None for trace in figure.data)
    assert all(trace.y[-1] is None for trace in figure.data)
    assert "NaN" not in json.dumps(json.loads(figure.to_json()))


@pytest.mark.parametrize("result", RESULTS)
def test_both_themes_have_their_own_paper(result):
    papers = {
        retrieval_figure(result(), theme=theme).layout.meta["background"]
        for theme in ("light", "dark")
    }
    assert len(papers) == 2


def test_markdown_tables_hold_the_numbers():
    gain = gain_table(copy_result()).splitlines()
    assert gain[0] == "| gain | 256 | 1× (512) | 2× (1,024) | 4× (2,048) | effective length |"
    assert gain[3].startswith("| `lssar:p=15` | +2.540 ±0.050 |")
    assert gain[3].endswith("| −0.019 ±0.050 | 512 |")
    assert "| 6.380 ±0.400 |" in control_table(copy_result())
    accuracy = accuracy_table(recall_result()).splitlines()
    assert accuracy[2] == (
        "| `softmax` | 100.0 (97.1–100.0) | 99.8 (97.1–100.0) | 46.7 (38–55) | 10.2 (6–17) | 512 |"
    )
    distance = distance_table(recall_result()).splitlines()
    assert distance[0] == "| % right at 2,048, distance | ≤ 128 | ≤ 256 | ≤ 2,048 |"
    assert distance[2] == "| `softmax` | 100.0 (44–100) | – | 10.0 (6–16) |"


@pytest.mark.parametrize("result", RESULTS)
def test_the_provenance_holds_what_repeats_it(result):
    line = retrieval_provenance(result())
    assert "8 s" in line  # samples, or sequences
    assert line.endswith(
        f"torch 2.13.0, Python 3.11.7, 2026-01-02, commit {'ab' * 5}: `{result()['command']}`"
    )


def test_a_card_shows_the_rows_of_its_own_variant():
    about = {
        "task": recall_result()["recall"],
        "recipe": {"train_length": 256, "search_steps": 5},
        "curve": [{"step": 10, "validation": 0.01}],
        "learning_rate": 1e-3,
        "searched": {},
        "seconds": 20.0,
        "device": "cpu",
        "torch": "2.13.0",
        "command": "freeatten train --task recall",
    }
    from freeatten_core import Variant

    card = cards.task_card(Variant.parse("softmax"), about, recall_result())
    assert "| `softmax` | 100.0 (97.1–100.0) |" in card
    assert "lssar" not in card
    other = cards.task_card(Variant.parse("relu"), about, recall_result())
    assert "Nothing has been stored" in other


def test_shares_without_a_number_are_a_dash():
    assert wording.percent(None) == wording.MISSING
    assert wording.percent_range(None, [None, None]) == wording.MISSING
    assert wording.percent_range(0.5, None) == "50.0"
