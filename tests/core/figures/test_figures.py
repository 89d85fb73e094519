"""The figures, by what they hold: complete from a result alone, missing numbers included."""

import json
import math
import re
import sys
from itertools import pairwise

import pytest
from bounds import ended
from sample_models import FORMS, models_result
from sample_result import (
    DELTA,
    LENGTHS,
    LOSS,
    sample_curves,
    sample_result,
    with_positions,
    without_intervals,
)

from freeatten_core.figures import comparison
from freeatten_core.figures.canvas import look_of
from freeatten_core.figures.colours import contrast, legible
from freeatten_core.figures.learning import curve_figure
from freeatten_core.figures.lines import LINE_HEIGHT
from freeatten_core.figures.styles import _MODIFIED, STYLES, row_styles, style_of
from freeatten_core.results import format as wording
from freeatten_core.results.format import half_width, number, signed, with_half_width
from freeatten_core.results.stored import stored_comparisons

MAIN = ("softmax", "softmax+yarn", "softmax-ls", "lssar:p=15")


def panel(figure, key):
    return [trace for trace in figure.data if trace.yaxis == key]


def texts(figure):
    return [note.text for note in figure.layout.annotations]


def test_both_panels_hold_every_variant_at_every_length():
    figure = comparison.comparison_figure(sample_result())
    for key, table in (("y", LOSS), ("y2", DELTA)):
        traces = panel(figure, key)
        assert [tuple(trace.y) for trace in traces] == list(table.values())
        assert all(tuple(trace.x) == LENGTHS for trace in traces)


def test_names_are_shown_as_they_are_and_not_as_markup():
    name, source = "<b>a&amp;b</b>.py:f", "<i>books</i>"
    result = sample_result(["softmax"])
    result["variants"][0]["variant"] = name
    result["text"]["source"] = source
    figure = comparison.comparison_figure(result)
    shown = " ".join([figure.layout.title.text, figure.layout.title.subtitle.text, *texts(figure)])
    assert "&lt;b&gt;a&amp;amp;b&lt;/b&gt;.py:f" in shown
    assert "of &lt;i&gt;books&lt;/i&gt;" in shown
    assert name not in shown
    assert source not in shown


def test_length_axes_are_log_with_a_tick_at_every_length():
    figure = comparison.comparison_figure(sample_result())
    for axis in (figure.layout.xaxis, figure.layout.xaxis2):
        assert axis.type == "log"
        assert axis.ticktext == ("512", "1,024", "2,048", "4,096", "8,192")
        assert axis.range[0] < math.log10(512) < math.log10(8192) < axis.range[1]


def test_intervals_are_whiskers_and_may_be_missing():
    trace = comparison.comparison_figure(sample_result(["softmax"])).data[0]
    assert trace.error_y.array == pytest.approx([0.11] * 5)
    plain = comparison.comparison_figure(without_intervals(sample_result()))
    assert all(trace.error_y.array is None for trace in plain.data)
    assert "interval" not in plain.layout.title.subtitle.text


def test_lines_are_labelled_at_their_ends_instead_of_a_legend():
    figure = comparison.comparison_figure(sample_result(MAIN))
    assert figure.layout.showlegend is False
    assert "Softmax (standard) <b>4.92</b>" in texts(figure)
    assert "Softplus + re-weighting<br>(LSSAR p=15) <b>+0.232</b>" in texts(figure)


def test_delta_is_zoomed_and_what_is_off_the_scale_says_so():
    figure = comparison.comparison_figure(sample_result())
    low, high = figure.layout.yaxis2.range
    assert low < min(DELTA["lssar:p=15"])
    assert max(DELTA["lssar:p=15"]) < high < 0.5
    assert "Softmax (standard) <b>↑ +3.08</b>" in texts(figure)
    assert any("off the scale" in text for text in texts(figure))
    assert any("0: same as forgetting everything older than 512" in text for text in texts(figure))


def test_nothing_is_off_the_scale_when_all_are_far_from_zero():
    figure = comparison.comparison_figure(sample_result(["softmax"]))
    assert figure.layout.yaxis2.range[1] > 3.08
    assert not any("off the scale" in text for text in texts(figure))


def test_training_length_is_marked_in_both_panels():
    shapes = comparison.comparison_figure(sample_result()).layout.shapes
    marks = [shape for shape in shapes if shape.line.dash == "dash"]
    assert [(mark.x0, mark.x1) for mark in marks] == [(512, 512)] * 2


def test_losses_near_guessing_are_seen_against_it():
    result = sample_result()
    for row in result["variants"]:
        row["uniform_loss"] = 20.0
    far = comparison.comparison_figure(result)
    assert not [shape for shape in far.layout.shapes if shape.y0 == shape.y1 == 20.0]
    for row in result["variants"]:
        row["loss"] = [loss + 15 for loss in row["loss"]]
    near = comparison.comparison_figure(result)
    assert [(shape.xref, shape.yref) for shape in near.layout.shapes if shape.y0 == 20.0] == [
        ("x domain", "y")
    ]
    low, high = near.layout.yaxis.range
    assert low < 20.0 < high
    assert any("guessing" in note.text for note in near.layout.annotations)


def test_what_marks_near_each_other_say_stands_one_below_the_other():
    result = models_result()
    result["variants"][0] |= {"declared_length": 1024}
    result["variants"][1] |= {"declared_length": 2048}
    figure = comparison.comparison_figure(result)
    notes = [each for each in figure.layout.annotations if re.search("^←|→$", each.text)]
    assert [(note.x, note.yshift) for note in notes] == [
        (math.log10(length), -16 * at) for at, length in enumerate((512, 1024, 2048))
    ]
    assert [note.text for note in notes[1:]] == ["← declared", "declared →"]


def test_rows_of_several_lengths_are_titled_and_explained_together():
    result = models_result()
    result["variants"][0]["restart_length"] = 1024
    figure = comparison.comparison_figure(result)
    assert figure.layout.title.text == "<b>Asked to read 2,048 tokens: which model breaks?</b>"
    assert any("older than 512 or 1,024 tokens" in text for text in texts(figure))
    said = figure.layout.title.subtitle.text.replace("<br>", " ")
    assert all(f"{form}: {name}" in said for name, form in FORMS.items())


def test_two_texts_have_no_intervals():
    result = sample_result()
    assert any(trace.error_y.array for trace in comparison.comparison_figure(result).data)
    result["texts"] = 2
    figure = comparison.comparison_figure(result)
    assert not any(trace.error_y.array for trace in figure.data)
    assert "2 texts: no intervals" in figure.layout.title.subtitle.text


def test_where_this_projects_models_stand_beside_others_the_mark_is_theirs():
    said = "← this project's models: trained up to here"
    assert said in texts(comparison.comparison_figure(models_result()))


def test_title_is_made_from_the_data():
    assert comparison.comparison_title(sample_result()) == (
        "Trained on 512 tokens, asked to read 8,192: which attention breaks?"
    )
    alone = comparison.comparison_title(sample_result(["lssar:p=15"]))
    assert alone.endswith("does Softplus + re-weighting (LSSAR p=15) hold?")
    subtitle = comparison.comparison_figure(sample_result()).layout.title.subtitle.text
    assert subtitle.startswith("4 texts of Python's standard library")
    assert subtitle.endswith("cpu, float32")


def test_missing_numbers_break_lines_and_are_named():
    result = sample_result(["softmax", "relu"])
    first, second = result["variants"]
    first["loss"][-1] = first["delta"][-1] = first["ci95"][-1] = None
    second["loss"] = second["delta"] = [None] * 5
    second["ci95"] = second["delta_ci95"] = [[None, None]] * 5
    figure = comparison.comparison_figure(result)
    assert figure.data[0].y[-1] is None
    assert "Softmax (standard) <b>4.62</b>" in texts(figure)
    assert texts(figure).count("no finite value: relu") == 2
    assert "NaN" not in json.dumps(json.loads(figure.to_json()))


@pytest.mark.parametrize("variants", [["relu"], MAIN])
@pytest.mark.parametrize("missing", [False, True])
def test_one_length_is_one_panel(variants, missing):
    result = sample_result(variants, lengths=[512])
    if missing:
        for row in result["variants"]:
            row["loss"] = [None]
    figure = comparison.comparison_figure(result)
    assert {trace.yaxis for trace in figure.data} == {"y"}
    low, high = figure.layout.xaxis.range
    assert low < math.log10(512) < high


def panel_height(figure):
    margin, (low, high) = figure.layout.margin, figure.layout.yaxis.domain
    return (figure.layout.height - margin.t - margin.b) * (high - low)


def boxes(figure, key):
    """Upper and lower edge of every end label, in pixels, from its place and its lines."""
    low, high = figure.layout[f"yaxis{key}"].range
    found = []
    for note in figure.layout.annotations:
        if note.xref != f"x{key}" or not re.search(r"<b>[↑↓+−\d ]", note.text):
            continue
        height = LINE_HEIGHT * (note.text.count("<br>") + 1)
        if note.showarrow:
            centre = (high - note.y) / (high - low) * panel_height(figure) + note.ay
        else:
            centre = -note.yshift
        found.append((centre - height / 2, centre + height / 2))
    return sorted(found)


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize(
    "result",
    [sample_result(), sample_result(MAIN), stored_comparisons()["systems/code"]],
    ids=["eight", "four", "twenty-three"],
)
def test_end_labels_never_overlap_and_stay_beside_their_panel(result, stacked):
    figure = comparison.comparison_figure(result, stacked=stacked)
    for key in ("", "2"):
        edges = boxes(figure, key)
        assert len(edges) == len(result["variants"])
        for (_, lower), (upper, _) in pairwise(edges):
            assert upper >= lower
        assert edges[0][0] >= 0
        assert edges[-1][1] <= panel_height(figure) + 1


def test_long_labels_are_broken_and_widen_the_figure():
    name = "stages:score=count-cosine:positivity=relu:normalise=none+swap:to=lssar:p=15"
    result = sample_result(["relu", "softmax"])
    result["variants"][0]["variant"] = name
    usual, wide = (comparison.comparison_figure(each) for each in (sample_result(MAIN), result))
    (label, *_) = [text for text in texts(wide) if text.startswith("stages")]
    lines = label.split("<br>")
    assert "".join(lines).partition(" <b>")[0] == name
    assert max(map(len, lines)) < 60
    room = wide.layout.margin.r
    assert room > usual.layout.margin.r
    assert wide.layout.width - usual.layout.width == 2 * (room - usual.layout.margin.r)
    assert room > max(6.5 * len(re.sub("<.*?>", "", line)) for line in lines)


def test_a_variant_looks_the_same_in_every_figure():
    alone = comparison.comparison_figure(sample_result(["lssar:p=15"])).data[0].line
    among = comparison.comparison_figure(sample_result()).data[5].line
    curve = curve_figure(sample_curves(["lssar:p=15"])).data[-1].line
    assert alone.color == among.color == curve.color == STYLES["lssar:p=15"].color
    looks = {(style.color, style.dash, style.marker) for style in STYLES.values()}
    assert len(looks) == len(STYLES)
    assert len({style.color for style in STYLES.values()}) == len(STYLES)


@pytest.mark.parametrize("name", ["stdlib-16x", "systems/code", "cube/code"])
def test_rows_of_a_stored_result_look_different(name):
    rows = stored_comparisons()[name]["variants"]
    styles = [style_of(row["variant"]) for row in rows]
    assert len({(style.color, style.dash, style.marker) for style in styles}) == len(rows)
    assert len({(style.color, style.dash, style.sign) for style in styles}) == len(rows)
    assert len({style.label for style in styles}) == len(rows)


def test_modified_rows_have_colours_of_their_own():
    rows = stored_comparisons()["systems/code"]["variants"]
    colors = {row["variant"]: style_of(row["variant"]).color for row in rows}
    assert len(set(colors.values())) == len(rows)


def test_a_variant_trained_twice_gets_two_symbols_and_the_first_keeps_its_own():
    rows = [{"variant": "softmax", "checkpoint": f"run-{seed}"} for seed in range(4)]
    found = row_styles([*rows, {"variant": "lssa"}])
    assert found[0] == STYLES["softmax"]
    assert found[4].color == STYLES["lssa"].color
    for part in ("marker", "sign", "color"):
        assert len({getattr(style, part) for style in found}) == 5
    result = sample_result(["relu", "relu"])
    result["variants"][1]["checkpoint"] = "mine"
    first, second = panel(comparison.comparison_figure(result), "y")
    assert first.marker.symbol != second.marker.symbol


def test_panels_without_labels_leave_no_room_for_them():
    drawn = [
        comparison.comparison_figure(sample_result(), labels=labels) for labels in (True, False)
    ]
    gaps = [each.layout.xaxis2.domain[0] - each.layout.xaxis.domain[1] for each in drawn]
    assert gaps[1] < gaps[0] / 2


def luminance(color):
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (byte / 255 for byte in bytes.fromhex(color[1:]))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_colour_is_legible_on_the_page(theme):
    page = luminance(look_of(theme).paper)
    shown = {row["variant"] for each in stored_comparisons().values() for row in each["variants"]}
    own = {f"{base}+{modifier}" for base in STYLES for modifier in _MODIFIED}
    for style in map(style_of, shown | own | {"mine.py:f", "softmax+logn+swap:to=relu"}):
        high, low = sorted([page, luminance(style.color)], reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 2.9, style.label


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_label_can_be_read_and_its_line_keeps_its_colour(theme):
    paper = look_of(theme).paper
    drawings = [
        comparison.comparison_drawing(result, theme=theme)
        for result in stored_comparisons().values()
    ]
    notes = [note for each in drawings for note in each["layout"]["annotations"]]
    labels = [note for note in notes if "color" in note.get("font", {})]
    assert min(contrast(note["font"]["color"], paper) for note in labels) >= 4.5
    lines = {trace["line"]["color"] for each in drawings for trace in each["data"]}
    assert lines >= {note["arrowcolor"] for note in labels if note.get("showarrow")}
    assert min(contrast(color, paper) for color in lines) < 4


def test_a_colour_changes_no_more_than_text_needs():
    assert legible("#1f2328", "#ffffff") == "#1f2328"
    for color in ("#d55e00", "#2a9fd6", "#7f7f7f", "#8a3ffc"):
        for paper in ("#ffffff", "#14171c"):
            found = legible(color, paper)
            assert found == color or 4.5 <= contrast(found, paper) < 4.8
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


def test_themes_differ_in_text_and_are_clear():
    light = comparison.comparison_figure(sample_result(), theme="light")
    dark = comparison.comparison_figure(sample_result(), theme="dark")
    assert light.layout.font.color != dark.layout.font.color
    assert light.layout.paper_bgcolor == dark.layout.paper_bgcolor == "rgba(0,0,0,0)"
    with pytest.raises(ValueError, match="theme is 'blue'"):
        comparison.comparison_figure(sample_result(), theme="blue")


def test_stacked_panels_lie_above_each_other():
    layout = comparison.comparison_figure(sample_result(), stacked=True, width=720).layout
    assert layout.xaxis.domain == layout.xaxis2.domain == (0, 1)
    assert layout.yaxis2.domain[1] < layout.yaxis.domain[0]


def test_a_figure_for_a_phone_leaves_title_and_labels_to_the_page():
    result = sample_result(MAIN)
    wide = comparison.comparison_figure(result)
    slim = comparison.comparison_figure(result, title="", width=340, stacked=True, labels=False)
    assert slim.layout.title.text is None
    assert slim.layout.margin.r < 20
    assert not any("Softmax (standard)" in text for text in texts(slim))
    assert [trace.y for trace in slim.data] == [trace.y for trace in wide.data]
    longest_line = max(len(line) for text in texts(slim) for line in text.split("<br>"))
    assert longest_line < 50


def test_loss_by_position():
    result = with_positions(sample_result(MAIN))
    figure = comparison.position_figure(result)
    assert len(figure.data) == 4
    assert tuple(figure.data[0].x) == tuple(result["positions"])
    assert figure.layout.xaxis.type == "log"
    assert "512" in figure.layout.xaxis.ticktext
    with pytest.raises(ValueError, match="--by position"):
        comparison.position_figure(sample_result())


def test_the_knee_is_marked_on_its_line():
    result = with_positions(sample_result(MAIN))
    for row, knee in zip(result["variants"], (512, None, 64, 8192), strict=True):
        row |= {"knee": knee, "knee_ci95": [None, None]}
    for trace, row in zip(comparison.position_figure(result).data, result["variants"], strict=True):
        marked = [x for x, size in zip(trace.x, trace.marker.size, strict=True) if size]
        assert marked == ([] if row["knee"] is None else [row["knee"]])


def test_loss_by_position_stands_below_loss_and_delta():
    result = with_positions(sample_result(MAIN))
    alone, both = comparison.comparison_figure(result), comparison.position_figure(result)
    figure = comparison.comparison_figure(result, by_position=True)
    assert [trace.y for trace in figure.data] == [trace.y for trace in (*alone.data, *both.data)]
    assert {trace.yaxis for trace in figure.data[-4:]} == {"y3"}
    assert figure.layout.yaxis3.domain[1] < figure.layout.yaxis.domain[0]
    assert tuple(figure.layout.xaxis3.domain) == (0, 1)
    assert figure.layout.height > alone.layout.height + 300
    headings = [text for text in texts(figure) if text.startswith("<b>Loss</b>")]
    assert len(headings) == 2


def test_learning_curves_start_above_the_frame():
    curves = sample_curves()
    curves["relu"] = [{"step": 100, "loss": None, "validation": None}]
    figure = curve_figure(curves)
    assert figure.layout.yaxis.range[1] < curves["softmax"][0]["validation"]
    assert "no finite value: relu" in texts(figure)
    assert curve_figure({"softmax": []}).layout.title.text


def test_rows_of_one_variant_are_told_apart_by_checkpoint():
    result = sample_result(["relu", "relu"])
    result["variants"][1]["checkpoint"] = "mine"
    assert wording.row_names(result["variants"]) == ["relu [relu]", "relu [mine]"]


def test_numbers():
    assert number(None) == number(math.nan) == signed(math.inf) == "–"
    assert (signed(0.0), signed(-0.03), signed(0.2)) == (
        "0",
        "−0.030",
        "+0.200",
    )
    assert half_width([1.0, None]) is None
    assert with_half_width("2.000", [1.0, 3.0]) == "2.000 ±1.000"


def test_names_cost_no_plotly():
    code = "import sys, freeatten_core.figures.comparison; sys.exit('plotly' in sys.modules)"
    assert ended([sys.executable, "-c", code]).returncode == 0
