"""Figures and Markdown of docs/inside.md, by what they hold."""

import json
import math

import pytest
from sample_inside import (
    BY_DISTANCE,
    DISTANCES,
    HEADS,
    LENGTHS,
    MEASURES,
    ablate_result,
    survey_result,
)
from sample_models import FORMS, LARGE, SMALL, heads_result

from freeatten_core.figures.heads import (
    distance_figure,
    entropy_figure,
    far_figure,
    heads_figure,
)
from freeatten_core.results.ablation import (
    ablation_heads_table,
    ablation_provenance,
    ablation_table,
)
from freeatten_core.results.heads import far_table, measure_table, sink_table, survey_provenance


def heads(theme="light"):
    return heads_figure(survey_result(), ablate_result(), theme=theme)


def far(theme="light"):
    return far_figure([heads_result(SMALL), heads_result(LARGE)], theme=theme)


MAKERS = {
    "entropy": lambda theme: entropy_figure(survey_result(), theme=theme),
    "distance": lambda theme: distance_figure(survey_result(), theme=theme),
    "heads": heads,
    "far": far,
}
each_figure = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def texts(figure):
    return [note.text for note in figure.layout.annotations]


def panel(figure, key):
    return [trace for trace in figure.data if trace.yaxis == key]


def test_entropy_is_drawn_with_its_intervals_and_the_even_spread():
    figure = entropy_figure(survey_result())
    even, *lines = panel(figure, "y")
    assert list(even.y) == pytest.approx([math.log(0.75 * length) for length in LENGTHS])
    assert [tuple(line.y) for line in lines] == list(MEASURES["entropy"].values())
    shares = panel(figure, "y2")
    assert [tuple(line.y) for line in shares] == list(MEASURES["relative_entropy"].values())
    for line in [*lines, *shares]:
        assert tuple(line.x) == LENGTHS
        assert line.error_y.array == pytest.approx([0.1] * 3)


def test_distance_is_drawn_at_both_ends_up_to_what_rows_can_see():
    figure = distance_figure(survey_result())
    for key, at, bins in (("y", 0, 10), ("y2", -1, 12)):
        for line in panel(figure, key):
            assert list(line.x) == [edge + 1 for edge in DISTANCES[:bins]]
            assert list(line.y) == pytest.approx([100 * s for s in BY_DISTANCE[at][:bins]])
    assert "<b>Rows 256 to 512</b>" in texts(figure)
    assert "<b>Rows 1,024 to 2,048</b>" in texts(figure)
    ranges = figure.layout.yaxis.range, figure.layout.yaxis2.range
    assert ranges[0] == ranges[1]
    said = "the point at 2,048 is the share of what lies 1,024 to 2,047 tokens back"
    assert said in figure.layout.title.subtitle.text.replace("<br>", " ")


def test_every_head_has_its_far_share_above_and_its_change_below():
    figure = heads()
    far, changes = figure.data[0], figure.data[1]
    assert [cell for line in far.z for cell in line] == [head["far"] for head in HEADS]
    assert list(far.text[0]) == ["99 %", "40 %"]
    assert list(changes.text[1]) == ["−0.050", "−0.100"]
    strength = [cell for line in changes.z for cell in line]
    assert strength == pytest.approx([0.25 / 0.481, 0, 0.05 / 0.481, 0.1 / 0.481])
    assert len(figure.data) == 4  # two variants


@pytest.mark.parametrize("make", [entropy_figure, distance_figure])
def test_the_training_length_is_marked_in_both_panels(make):
    figure = make(survey_result())
    marks = [shape.x0 for shape in figure.layout.shapes if shape.line.dash]
    assert marks == [512, 512]
    assert sum("trained up to here" in text for text in texts(figure)) == 2


@each_figure
def test_both_themes_have_their_own_paper(make):
    papers = {make(theme).layout.meta["background"] for theme in ("light", "dark")}
    assert len(papers) == 2


@each_figure
def test_figures_are_json(make):
    assert "NaN" not in json.dumps(json.loads(make("light").to_json()))


def test_one_text_draws_no_interval():
    result = survey_result()
    for row in result["variants"]:
        for name in MEASURES:
            row["by_length"][f"{name}_ci95"] = [[None, None]] * 3
    assert all(trace.error_y.array is None for trace in entropy_figure(result).data)


# the tables


def test_measures_are_tables_by_length():
    lines = measure_table(survey_result(), "entropy").splitlines()
    assert lines[0] == "| entropy (nats) | 1× (512) | 2× (1,024) | 4× (2,048) |"
    assert lines[2] == "| `softmax` | 2.90 ±0.10 | 4.20 ±0.10 | 5.10 ±0.10 |"
    assert "| 55 ±0 |" in measure_table(survey_result(), "mean_distance")


def test_the_table_of_sinks_counts_heads_and_names_the_strongest():
    lines = sink_table(survey_result()).splitlines()
    assert lines[0] == (
        "| sinks | heads with a sink, T = 64 | strongest of them | most on one key, 1× (512) | "
        "most on one key, 4× (2,048) |"
    )
    assert lines[2] == "| `softmax` | 1 of 4 | 0.1: 0.350 | 0.1: 0.300 | 0.1: 0.150 |"


def test_the_table_of_far_tokens_follows_the_heads_that_were_local():
    lines = far_table(survey_result()).splitlines()
    assert "local at 1× (512)" in lines[0]
    # 8 and 12 tokens at 1×: local; their shares on far tokens are 0.99 and 0.05
    assert lines[2] == "| `softmax` | 2 | 1 | 2: 0.520 | 0.0 0.990, 1.1 0.600, 0.1 0.400 |"


def test_the_tables_of_what_is_undone():
    lines = ablation_table(ablate_result()).splitlines()
    assert lines[0] == (
        "| Δ at 2,048 | as it is | far keys hidden | known rotation | other scale | both |"
    )
    assert lines[2].startswith("| `softmax` | +0.481 ±0.030 | −0.023 ±0.030 | −0.042 ±0.030 |")
    lines = ablation_heads_table(ablate_result()).splitlines()
    assert lines[3] == (
        "| `lssar:p=15` | 0.0: −0.250 ±0.020 | 1.1: −0.100 ±0.020 | 1.0: −0.050 ±0.020 |"
    )


def test_provenances_hold_what_repeats_them():
    made = f"cpu, float32, torch 2.13.0, Python 3.11.7, 2026-01-02, commit {'ab' * 5}: "
    assert survey_provenance(survey_result()) == (
        "6 texts of Python's standard library (ast.py, csv.py); " + made
        + "`freeatten entropy --len 4x --by length`"
    )  # fmt: skip
    assert ablation_provenance(ablate_result()) == (
        "6 texts of Python's standard library, the last 1,024 of 2,048 tokens of each scored; "
        + made + "`freeatten ablate --len 4x`"
    )  # fmt: skip


def test_far_shares_of_models_stand_where_their_heads_are():
    figure = far()
    assert [list(map(list, cells.z)) for cells in figure.data] == [[[0.99, 0.4], [0.05, 0.6]]] * 2
    assert list(figure.data[0].text[1]) == ["5 %", "60 %"]
    said = figure.layout.title.subtitle.text.replace("<br>", " ")
    assert all(f"{form}: {name}" in said for name, form in FORMS.items())
    assert "512 or more tokens back, rows 1,024 to 2,048" in said
