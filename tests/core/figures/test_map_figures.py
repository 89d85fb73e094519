"""The picture of a map: every cell where it lies, and how far training went."""

import math
import re

import pytest
import torch

from freeatten_core.analysis import AttentionMap
from freeatten_core.figures.map import map_figure


def notes(figure):
    return [note.text for note in figure.layout.annotations]


@pytest.fixture(scope="module")
def attention():
    query, key = torch.randn(2, 80, 8, generator=torch.Generator().manual_seed(0)).unbind()
    return AttentionMap.build(query, key, "lssar:p=3")


@pytest.mark.parametrize("bounds", [(0, 80, 0, 80), (20, 52, 7, 39)])
def test_a_map_shows_every_cell_of_its_region_where_it_lies(attention, bounds):
    region = attention.region(*bounds, cells=16)
    figure = map_figure(region, title="a head")
    (heatmap,) = figure.data
    rows, columns = heatmap.z.shape
    for row in range(rows):
        for column in range(columns):
            first_key = region.key_start + column * region.cell
            last_query = region.query_start + (row + 1) * region.cell - 1
            if first_key <= last_query:
                assert heatmap.z[row, column] == region.codes[row, column]
            else:
                assert math.isnan(heatmap.z[row, column])  # nothing to be seen
    assert heatmap.x0 - heatmap.dx / 2 == region.key_start
    assert heatmap.y0 - heatmap.dy / 2 == region.query_start
    assert heatmap.dx == heatmap.dy == region.cell
    assert (heatmap.zmin, heatmap.zmax) == (0, 255)
    top, left = region.query_edges()[0], region.key_edges()[0]
    assert figure.layout.yaxis.range[1] == top < figure.layout.yaxis.range[0]
    assert figure.layout.xaxis.range[0] == left < figure.layout.xaxis.range[1]
    assert figure.layout.title.text == "<b>a head</b>"
    said = f"a cell is the max of {region.cell} × {region.cell} tokens"
    assert figure.layout.title.subtitle.text == said


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_line_is_drawn_over_the_first_tokens_of_a_map(attention, theme):
    layout = map_figure(attention.region(0, 80, 0, 80), title="a head", theme=theme).layout
    for axis in (layout.xaxis, layout.yaxis):
        assert (axis.zeroline, axis.showgrid) == (False, False)


def test_the_colours_of_a_map_are_labelled_with_their_weights(attention):
    region = attention.region(0, 80, 0, 80)
    (heatmap,) = map_figure(region, title="a head").data
    bar = heatmap.colorbar
    assert len(bar.tickvals) >= 2
    for code, label in zip(bar.tickvals, bar.ticktext, strict=True):
        tens = re.fullmatch(r"10<sup>−(\d+)</sup>", label)
        weight = 10.0 ** -int(tens[1]) if tens else float(label)
        assert region.scale.floor_log2 + code * region.scale.step == pytest.approx(
            math.log2(weight)
        )
    assert bar.title.text == "weight (log scale)"


def test_a_map_says_what_of_and_how_far_training_went(attention):
    region = attention.region(0, 80, 0, 80)
    figure = map_figure(region, title="a head", about="80 tokens of a.py", train_length=32)
    assert figure.layout.title.subtitle.text.startswith("80 tokens of a.py · a cell is the max")
    assert "trained up to here (32 tokens)" in figure.layout.title.subtitle.text.replace(
        "<br>", " "
    )
    assert notes(figure) == ["trained up to here"]
    white = [line for line in figure.layout.shapes if line.line.color == "#ffffff"]
    ends = [(line.x0, line.y0, line.x1, line.y1) for line in white]
    assert ends == [(0, 32, 32, 32), (0, 32, 48, 80)]  # queries after 32; keys 32 back
    for inside in (80, 512, None):
        whole = map_figure(region, title="a head", train_length=inside)
        assert (whole.layout.shapes, whole.layout.annotations) == ((), ())
    near = [attention.region(*bounds) for bounds in ((0, 16, 0, 16), (70, 80, 60, 80))]
    for region in near:
        figure = map_figure(region, title="a head", train_length=32)
        assert "trained" not in figure.layout.title.subtitle.text
        assert (figure.layout.shapes, figure.layout.annotations) == ((), ())
    far = map_figure(attention.region(60, 80, 20, 40), title="a head", train_length=32)
    assert len(far.layout.shapes) == 5
    assert notes(far) == []
