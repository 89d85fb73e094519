"""The figure and table of `freeatten longppl`, by what they hold."""

import pytest
from sample_longppl import LOSSES, longppl_result

from freeatten_core.figures.longppl import longppl_figure
from freeatten_core.results.longppl import longppl_blocks, longppl_reading, longppl_warning


def notes(figure):
    return " ".join(note.text for note in figure.layout.annotations)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_row_is_a_point_at_its_two_losses(theme):
    figure = longppl_figure(longppl_result(), theme=theme)
    assert [(trace.y[0], trace.x[0]) for trace in figure.data] == list(LOSSES.values())
    assert figure.data[0].error_y.array == pytest.approx([0.1])
    assert "Softmax (standard) <b>1.80</b>" in notes(figure)
    assert "1.2 % of all" in notes(figure)


def test_a_row_without_numbers_is_named():
    result = longppl_result()
    none = dict.fromkeys(("longppl", "key_loss", "rest_loss", "loss"))
    bounds = {f"{key}_ci95": [None, None] for key in ("longppl", "key_loss", "rest_loss")}
    result["variants"][0] |= none | bounds
    assert "no finite value: Softmax (standard)" in notes(longppl_figure(result))
    assert "| `softmax` | – | – | – |" in longppl_blocks("x", result)["x table"]


def test_the_table_has_longppl_and_both_losses():
    assert longppl_blocks("x", longppl_result())["x table"].splitlines() == [
        "|  | LongPPL | loss on key tokens | loss on the rest |",
        "| --- | ---: | ---: | ---: |",
        "| `softmax` | 6.05 (5.5–6.7) | 1.800 | 2.500 |",
        "| `lssar:p=15` | 3.32 (3.0–3.7) | 1.200 | 2.400 |",
    ]


def test_words_say_how_many_tokens_are_key_and_whether_the_evaluator_can_know():
    result = longppl_result()
    assert "key tokens: 120 of 10,000 (1.2 %)" in longppl_reading(result)
    assert "softmax (long) loses more than 2 nats" in longppl_reading(result)
    assert longppl_warning(result) == ""
    result["evaluator"]["train_length"] = 512
    assert "trained at 512 tokens and reads 4,096" in longppl_warning(result)
