"""What `entropy`, `stages` and `ablate` draw: every number of their results, at its place."""

import json
import re
from itertools import pairwise

import pytest
from sample_inside import ablate_result, survey_result

from freeatten_core.figures.analysis import ablate_figure, stages_figure, survey_figure
from freeatten_core.figures.lines import text_width
from freeatten_core.results.ablation import UNDONE_TITLES


def by_position():
    """A result as the command gives it: the statistic by position too."""
    result = survey_result() | {
        "statistic": "relative_entropy",
        "label": "H / log N",
        "unit": "",
        "meaning": "1 is an even spread",
        "length": 8192,
        "positions": [100.0, 2000.0, 8000.0],
    }
    rows = [
        row | {"by_position": [0.5, None, at / 10]} for at, row in enumerate(result["variants"])
    ]
    return result | {"variants": rows}


def stages_result():
    return {
        "variant": "lssa",
        "layer": 1,
        "head": 2,
        "position": 3,
        "text": "a<b>.py",
        "visible": 4,
        "key": [0, 1, 2, 3],
        "token": ["<s>", "\n", "if", "x"],
        "score": [0.5, -1.0, 2.0, 0.0],
        "positivity": [0.9, 0.3, 2.1, 0.7],
        "normalise": [0.225, 0.075, 0.525, 0.175],
        "weight": [0.225, 0.075, 0.525, 0.175],
    }


FIGURES = {
    "survey": lambda theme="light": survey_figure(by_position(), theme=theme),
    "ablate": lambda theme="light": ablate_figure(ablate_result(), theme=theme),
    "stages": lambda theme="light": stages_figure(stages_result(), theme=theme),
}


@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES)
def test_every_figure_is_json_and_has_both_papers(make):
    papers = {make(theme).layout.meta["background"] for theme in ("light", "dark")}
    assert len(papers) == 2
    json.loads(make().to_json())


def test_a_statistic_is_drawn_by_position_and_against_length():
    result = by_position()
    figure = survey_figure(result)
    rows = result["variants"]
    left = [trace for trace in figure.data if trace.yaxis == "y"]
    right = [trace for trace in figure.data if trace.yaxis == "y2"]
    assert [list(trace.y) for trace in left] == [row["by_position"] for row in rows]
    name = result["statistic"]
    assert [list(trace.y) for trace in right] == [row["by_length"][name] for row in rows]
    del result["lengths"]
    assert {trace.yaxis for trace in survey_figure(result).data} == {"y"}


def test_everything_undone_is_a_point_with_its_number():
    result = ablate_result()
    figure = ablate_figure(result)
    rows = result["variants"]
    points = {trace.name: trace for trace in figure.data if trace.type == "scatter"}
    for key, title in UNDONE_TITLES.items():
        assert list(points[title].x) == [row["delta"][key] for row in rows]
    places = [y for trace in points.values() for y in trace.y]
    assert len(set(places)) == len(rows) * len(UNDONE_TITLES)
    assert figure.layout.showlegend
    grids = [trace for trace in figure.data if trace.type == "heatmap"]
    assert len(grids) == len(rows)
    for row in rows:
        del row["heads"]
    assert all(trace.type == "scatter" for trace in ablate_figure(result).data)


def test_what_is_not_finite_is_left_out_of_a_picture():
    result = ablate_result()
    row = result["variants"][0]
    row["delta"] = dict.fromkeys(row["delta"])
    row["delta_ci95"] = dict.fromkeys(row["delta_ci95"])
    row["heads"][0]["change"] = None
    figure = ablate_figure(result)
    others = len(result["variants"]) - 1
    numbers = [note for note in figure.layout.annotations if note.xref == "x" and note.xshift == 7]
    assert len(numbers) == others * len(UNDONE_TITLES)


def test_panels_of_many_rows_do_not_overlap():
    result = ablate_result()
    rows = [row | {"variant": f"own_{at}.py:f"} for at in range(12) for row in result["variants"]]
    layout = ablate_figure({**result, "variants": rows}).layout
    axes = [layout[f"yaxis{at or ''}"] for at in (0, *range(2, len(rows) + 2))]
    domains = sorted({axis.domain for axis in axes})
    area = layout.height - layout.margin.t - layout.margin.b
    for (_, high), (low, _) in pairwise(domains):
        assert (low - high) * area > 60  # room for a heading and an axis
    low, high = axes[0].domain
    assert (high - low) * area / len(rows) > 80
    assert len(axes[0].ticktext) == len(rows)


def test_every_stage_is_drawn_with_the_keys_that_weigh_most():
    result = stages_result()
    figure = stages_figure(result)
    tips = [list(trace.y) for trace in figure.data if trace.mode == "markers"]
    assert tips == [
        result["score"],
        result["positivity"],
        [4 * value for value in result["normalise"]],
        result["weight"],
    ]
    (listed,) = [note.text for note in figure.layout.annotations if "largest" in note.text]
    assert listed.split("<br>")[1:3] == ["'if' at 2 <b>0.525</b>", "'&lt;s&gt;' at 0 <b>0.225</b>"]
    assert "a&lt;b&gt;.py" in figure.layout.title.subtitle.text.replace("&#x27;", "'")


@pytest.mark.parametrize(
    "name",
    [
        "softmax:gate=forget:position=rope@128-rope@128-none-rope@128-none+window",
        "softmax:heads=difference+yarn",
        "entmax15:scale=adaptive:position=alibi/none",
    ],
)
def test_a_long_name_is_whole_above_its_heads(name):
    result = ablate_result()
    for row in result["variants"]:
        row["variant"] = name
    figure = ablate_figure(result)
    low, high = figure.layout.xaxis2.domain
    plotted = figure.layout.width - figure.layout.margin.l - figure.layout.margin.r
    headings = [n.text for n in figure.layout.annotations if n.text.startswith("<b>softmax:")]
    headings += [n.text for n in figure.layout.annotations if n.text.startswith("<b>entmax15:")]
    assert len(headings) == 2
    for heading in headings:
        lines = re.fullmatch("<b>(.*)</b>", heading)[1].split("<br>")
        assert "".join(lines).startswith(name)
        assert max(map(text_width, lines)) < (high - low) * plotted
