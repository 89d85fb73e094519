"""Verdicts in words, and what they must not leave out."""

import pytest
from sample_result import sample_result, sample_row, without_intervals

from freeatten_core.results.comparison import no_language_text, verdict_text
from freeatten_core.results.format import control_text


def row(verdict, **changes):
    return sample_row("softmax-ls") | {"verdict": verdict, "hurts_from": None} | changes


WORDS = {
    "uses": "uses the longer context",
    "no better": "no better than a window",
    "worse": "worse than a window",
    "harmless": "harmless",
    "hurts": "hurts",
    "unclear": "unclear",
    None: "–",
}


@pytest.mark.parametrize(("verdict", "words"), WORDS.items())
def test_every_verdict_has_words(verdict, words):
    assert verdict_text(row(verdict, window_delta_ci95=[-0.2, -0.1])) == words


def test_from_where_it_hurts():
    assert verdict_text(row("hurts", hurts_from=4096)) == "hurts from 4,096 tokens"


@pytest.mark.parametrize("verdict", ["harmless", "unclear"])
def test_a_row_that_loses_to_a_window_says_so_whatever_its_restart_says(verdict):
    assert verdict_text(row(verdict, window_delta_ci95=[0.3, 0.5])).endswith(
        f"{verdict}, yet worse than a window"
    )
    for level in ([0.001, 0.019], [-0.1, 0.3], [None, None], None):
        assert verdict_text(row(verdict, window_delta_ci95=level)) == verdict


def test_without_the_controls_nothing_is_said_to_use():
    assert "S and W, the controls, were not measured" in verdict_text(row("not controlled"))


def test_one_text_is_too_few():
    (single,) = without_intervals({"variants": [row("unclear")]})["variants"]
    assert verdict_text(single) == "no verdict from one text; two are needed"
    assert verdict_text(single | {"delta": [0, None]}) == "unclear"


def test_a_control_is_given_with_its_interval_or_as_missing():
    given = row("uses", sliding_delta=-0.043, sliding_delta_ci95=[-0.05, -0.036])
    assert control_text(given, "sliding") == "−0.043 ±0.007"
    assert control_text(row("uses", window_delta=None, window_delta_ci95=None), "window") == "–"


def test_a_text_that_every_row_reads_worse_than_guessing_is_called_no_language():
    result = sample_result(["softmax", "lssar:p=15"])
    assert no_language_text(result) == ""  # stored before the loss of guessing was
    for row in result["variants"]:
        row["uniform_loss"] = 6.0
    assert no_language_text(result) == ""
    for row in result["variants"]:
        row["loss"] = [6.3 + loss for loss in row["loss"]]
    assert no_language_text(result).startswith("This text is not language to these models: every")
    assert "above 6.00, that of guessing" in no_language_text(result)
    result["variants"][1]["loss"][2] = 5.9
    assert no_language_text(result) == ""
    alone = sample_result(["softmax"])
    alone["variants"][0] |= {"loss": [None] * 5, "uniform_loss": 6.0}
    assert no_language_text(alone) == ""
