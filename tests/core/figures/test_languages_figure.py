"""The figure and tables of `freeatten languages`, by what they hold."""

import pytest
from sample_languages import CHANCES, SHARES, failed, languages_result

from freeatten_core.basics.errors import ContentError
from freeatten_core.figures.languages import languages_figure
from freeatten_core.results.languages import (
    joined_languages,
    language_blocks,
    languages_reading,
    score_table,
    within_table,
)


def notes(figure):
    return " ".join(note.text for note in figure.layout.annotations)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_share_is_drawn_in_the_middle_of_its_lengths(theme):
    figure = languages_figure(languages_result(), theme=theme)
    wanted = [[100 * share for share in shares] for _ in CHANCES for shares in SHARES.values()]
    assert [list(trace.y) for trace in figure.data] == [pytest.approx(each) for each in wanted]
    assert {tuple(trace.x) for trace in figure.data} == {(10.5, 30.5, 50.5, 70.5)}
    assert "LSSAR p=15) <b>80</b>" in notes(figure)
    for heading in ("Parity check</b> (a guess: 50 %)", "arithmetic</b> (a guess: 20 %)"):
        assert heading in notes(figure)


def test_a_guess_and_the_trained_length_are_marked_in_every_panel():
    shapes = languages_figure(languages_result()).layout.shapes
    assert [shape.y0 for shape in shapes if shape.line.dash == "dot"] == [50, 20]
    assert [shape.x0 for shape in shapes if shape.line.dash == "dash"] == [40, 40]


def test_a_row_that_failed_is_named_and_not_drawn():
    result = languages_result()
    result["variants"][0]["languages"][0] = failed("parity-check")
    figure = languages_figure(result)
    assert list(figure.data[0].y) == [None] * 4
    assert "no finite value: Softmax (standard)" in notes(figure)
    assert "| `softmax` | – | 55.0 (45–65) |" in score_table(result)


def test_one_seed_has_an_interval_and_several_their_range():
    assert "| `lssar:p=15` | 85.0 (75–95) |" in score_table(languages_result(2))
    assert "| `lssar:p=15` | 85.0 (83.0–87.0) |" in score_table(languages_result(1))
    assert "range over 2 seeds" in languages_reading(languages_result(2))
    assert "of one seed" in languages_reading(languages_result(1))


def test_headings_say_which_lengths_and_what_a_guess_has():
    result = languages_result()
    heading = "% right at 41–80 | parity check, of 50 | modular arithmetic, of 20"
    assert heading in score_table(result)
    assert "% right at 1–40" in within_table(result)
    assert "| `softmax` | 98.0 | 98.0 |" in within_table(result)
    blocks = language_blocks("languages/suite", result)
    assert set(blocks) == {
        f"languages/suite {part}" for part in ("picture", "score", "within", "provenance")
    }


def with_layers(layers, variants=("softmax",)):
    result = languages_result()
    rows = [row for row in result["variants"] if row["variant"] in variants]
    recipe = {**result["recipe"], "layers": layers}
    return {**result, "recipe": recipe, "variants": rows, "command": f"of {layers}"}


def test_models_of_other_depths_are_joined_and_say_their_layers():
    joined = joined_languages([with_layers(1), with_layers(4), with_layers(2, ("lssar:p=15",))])
    assert "| `softmax [1 layer]` | 55.0 (45–65) |" in score_table(joined)
    assert "| `softmax [4 layers]` | 55.0 (45–65) |" in score_table(joined)
    assert "1, 2 or 4 layers of 64" in languages_reading(joined)
    assert joined["command"] == "of 1 && of 4 && of 2"


@pytest.mark.parametrize(
    ("key", "value"), [("samples", 8), ("recipe", {"steps": 3, "layers": 2, "width": 64})]
)
def test_what_was_measured_otherwise_is_not_joined(key, value):
    with pytest.raises(ContentError, match=f"differ in {key} cannot be joined"):
        joined_languages([with_layers(1), {**with_layers(2), key: value}])
