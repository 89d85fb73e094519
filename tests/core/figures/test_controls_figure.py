"""Δ beside S and W in the pictures of comparisons: every number at its place, or why it is none."""

from itertools import pairwise

import pytest
from sample_result import sample_result

from freeatten_core.figures.comparison import comparison_drawing
from freeatten_core.figures.lines import label_height
from freeatten_core.results.stored import stored_comparisons

MAIN = ("softmax", "softmax+yarn", "softmax-ls", "lssar:p=15")
CONTROLS = ("sliding_delta", "window_delta")


def points(drawing):
    return [trace for trace in drawing["data"] if trace["yaxis"] == "y5"]


def notes(drawing):
    return [note for note in drawing["layout"]["annotations"] if note["xref"] == "x5 domain"]


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_row_has_a_point_for_each_with_its_interval(stacked, labels, theme):
    result = sample_result(MAIN)
    drawing = comparison_drawing(result, stacked=stacked, labels=labels, theme=theme)
    found = points(drawing)
    assert [trace["y"] for trace in found] == [
        [row["delta"][-1], *(row[key] for key in CONTROLS)] for row in result["variants"]
    ]
    assert found[0]["error_y"]["array"] == pytest.approx([0.012] * 3)
    groups = list(zip(*(trace["x"] for trace in found), strict=True))
    assert [[round(x) for x in group] for group in groups] == [[1] * 4, [2] * 4, [3] * 4]
    assert all(left < right for group in groups for left, right in pairwise(group))
    assert drawing["layout"]["xaxis5"]["domain"][0] == 0
    bottom = drawing["layout"]["yaxis5"]["domain"]
    assert bottom[0] == 0  # nothing is drawn over it
    assert bottom[1] < drawing["layout"]["yaxis2"]["domain"][0]
    assert found[1]["hovertext"][1] == (
        "Softmax + YaRN<br>S +0.881 ±0.012, against the same model sliding"
    )


def test_names_stand_beside_with_the_numbers_and_what_is_off_the_scale_says_so():
    drawing = comparison_drawing(sample_result(MAIN))
    _, *names = notes(drawing)
    assert [name["text"] for name in names] == [
        "● Softmax (standard) <b>S\u00a0↑\u00a0+3.09, W\u00a0↑\u00a0+3.10</b>",
        "■ Softmax + YaRN <b>S\u00a0↑\u00a0+0.88, W\u00a0↑\u00a0+0.89</b>",
        "◆ Softmax + length scale <b>S\u00a0+0.181, W\u00a0+0.191</b>",
        "▲ Softplus + re-weighting<br>(LSSAR p=15) <b>S\u00a0+0.242, W\u00a0+0.252</b>",
    ]


def test_what_has_no_window_or_was_not_measured_says_which():
    result = sample_result(MAIN)
    first, second, *_ = result["variants"]
    first |= {"window_delta": None, "window_delta_ci95": None}
    for key in CONTROLS:
        second |= {key: None, f"{key}_ci95": None}
    drawing = comparison_drawing(result)
    _, *names = notes(drawing)
    assert "W\u00a0–" in names[0]["text"]
    assert "S and W unmeasured" in names[1]["text"]
    assert points(drawing)[0]["y"][2] is None


def test_where_no_row_has_either_the_panel_of_delta_says_so():
    result = sample_result(MAIN)
    said = "S and W, the controls, are unmeasured"
    assert said not in str(comparison_drawing(result)["layout"])
    for row in result["variants"]:
        for key in CONTROLS:
            row |= {key: None, f"{key}_ci95": None}
    drawing = comparison_drawing(result)
    assert said in str(drawing["layout"])
    assert not points(drawing)
    assert "xaxis5" not in drawing["layout"]


@pytest.mark.parametrize("width", [640, 1100, 1280])
def test_names_of_many_rows_stand_below_each_other_within_the_figure(width):
    result = stored_comparisons()["systems/code"]
    drawing = comparison_drawing(result, width=width, stacked=width == 640)
    _, *names = notes(drawing)
    assert len(names) == len(result["variants"])
    for above, below in pairwise(names):
        gap = above["yshift"] - below["yshift"]
        assert gap >= (label_height(above["text"]) + label_height(below["text"])) / 2
    layout = drawing["layout"]
    low, high = layout["yaxis5"]["domain"]
    margin = layout["margin"]
    height = (layout["height"] - margin["t"] - margin["b"]) * (high - low)
    assert -names[-1]["yshift"] + label_height(names[-1]["text"]) / 2 <= height + 1
    assert layout["xaxis5"]["domain"][1] >= 0.5
