"""The figure and table of `freeatten field`, by what they hold."""

import pytest
from sample_field import DISTANCES, SHARES, field_result

from freeatten_core.figures.field import field_figure
from freeatten_core.results.field import field_blocks, field_table


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_share_is_drawn_at_its_distance(theme):
    figure = field_figure(field_result(), theme=theme)
    drawn = {tuple(trace.x): None for trace in figure.data}
    assert list(drawn) == [tuple(DISTANCES)]
    wanted = [[100 * share for share in shares] for shares in SHARES.values()]
    assert [list(trace.y) for trace in figure.data] == [pytest.approx(each) for each in wanted]
    notes = " ".join(note.text for note in figure.layout.annotations)
    assert "Softmax (standard): 1,020 ±10" in notes
    assert "softmax+window: 702 ±10" in notes
    assert [shape.y0 for shape in figure.layout.shapes if shape.line.dash == "dot"] == [99]


@pytest.mark.parametrize(("length", "anchor"), [(64, "left"), (512, "right"), (1024, "right")])
def test_where_training_ended_is_told_inside_the_panel(length, anchor):
    result = field_result()
    for row in result["variants"]:
        row["train_length"] = length
    (note,) = (n for n in field_figure(result).layout.annotations if "trained up to" in n.text)
    assert note.xanchor == anchor
    assert note.text.startswith("←") is (anchor == "left")
    assert note.text.endswith("→") is (anchor == "right")


def test_a_row_without_numbers_is_named():
    result = field_result()
    result["variants"][0] |= {
        "field": None,
        "field_ci95": [None, None],
        "share": [None] * 4,
        "share_ci95": [[None, None]] * 4,
    }
    notes = " ".join(note.text for note in field_figure(result).layout.annotations)
    assert "no finite value: Softmax (standard): –" in notes
    assert "| `softmax` | – | – |" in field_table(result)


def test_the_table_has_field_and_near_share():
    assert field_table(field_result()).splitlines() == [
        "|  | receptive field, tokens of 1,024 | % of the gradient within 512 |",
        "| --- | ---: | ---: |",
        "| `softmax` | 1,020 ±10 | 30.0 |",
        "| `softmax+window` | 702 ±10 | 95.0 |",
    ]
    blocks = field_blocks("inside/field", field_result())
    assert "2 texts of Python's standard library" in blocks["inside/field provenance"]
