"""The figures of `freeatten stability`, by what they hold."""

import json
import math

import pytest
from sample_stability import stability_result

from freeatten_core.figures.stability import length_figure, scale_figure

MAKERS = {"scale": scale_figure, "length": length_figure}
each_figure = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def headings(figure):
    return [note.text for note in figure.layout.annotations]


def panel(figure, key):
    return [trace for trace in figure.data if trace.yaxis == key]


def test_there_is_a_panel_for_every_type_and_form():
    figure = scale_figure(stability_result())
    assert [text.partition("</b>")[0].removeprefix("<b>") for text in headings(figure)] == [
        f"{dtype}, {form}"
        for dtype in ("float16", "float32")
        for form in ("naive", "safe", "kernel")
    ]
    assert len(figure.data) == 2 * 6
    assert list(figure.layout.yaxis.ticktext) == ["softmax", "lssa"]
    assert list(figure.layout.xaxis6.ticktext) == ["×1", "×4"]
    assert [figure.layout[f"yaxis{key}"].showticklabels for key in ("", 2, 3, 4)] == [
        True, False, False, True
    ]  # fmt: skip


def test_cells_are_shaded_by_their_error_or_marked_as_lost():
    errors, lost = panel(scale_figure(stability_result()), "y")
    assert [list(row) for row in errors.z] == [[pytest.approx(math.log10(6e-4)), None], [None] * 2]
    assert [list(row) for row in lost.z] == [[None, 1], [1, 1]]
    assert [list(row) for row in lost.text] == [["6.0e-4", "50%"], ["100%", "100%"]]


def test_an_error_of_zero_has_the_lightest_shade():
    result = stability_result()
    result["variants"][0]["types"]["float16"]["safe"]["error"][-1][0] = 0.0
    errors, _ = panel(scale_figure(result), "y2")
    assert errors.z[0][0] == errors.zmin


def test_trained_inputs_can_be_shown():
    figure = scale_figure(stability_result(), kind="checkpoint")
    assert list(figure.layout.yaxis.ticktext) == ["softmax"]
    assert "queries and keys of the shipped models" in figure.layout.title.subtitle.text.replace(
        "<br>", " "
    )


def test_errors_against_length_are_of_the_guarded_form_and_of_the_worst_kernel():
    lines = panel(length_figure(stability_result(), kind="random"), "y")
    assert [(line.name, tuple(line.x), tuple(line.y)) for line in lines] == [
        ("softmax", (128, 512), (6e-4, 8e-4)),
        ("lssa", (128, 512), (5e-4, 4e-4)),
        ("largest of the kernels", (128, 512), (2e-4, 3e-4)),
    ]


def test_a_line_ends_where_rows_are_lost():
    result = stability_result()
    result["variants"][0]["types"]["float16"]["safe"]["zero"][-1][0] = 0.5
    figure = length_figure(result, kind="random")
    line = panel(figure, "y")[0]
    assert (line.name, tuple(line.y)) == ("softmax, then lost", (6e-4, None))
    assert "softmax, then lost <b>6.0e-4</b>" in headings(figure)


@each_figure
def test_both_themes_have_their_own_paper(make):
    papers = {
        make(stability_result(), theme=theme).layout.meta["background"]
        for theme in ("light", "dark")
    }
    assert len(papers) == 2


@each_figure
def test_figures_are_json(make):
    assert "NaN" not in json.dumps(json.loads(make(stability_result()).to_json()))
