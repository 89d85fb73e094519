"""The share of the ceiling's gain: by values, where it is none, and how it is drawn."""

import copy

import pytest
from sample_result import sample_result

from freeatten_core.figures.comparison import comparison_drawing, comparison_figure
from freeatten_core.results.ceiling import (
    ceiling_entry,
    ceiling_text,
    share_lengths,
    with_own_shares,
    with_shares,
)

LENGTHS = [512, 1024, 2048, 4096]


def entry(loss, by_text=None, trained=512):
    row = {"variant": "softmax", "checkpoint": "x", "train_length": trained, "loss": loss}
    return row if by_text is None else row | {"loss_by_text": by_text}


CEILING = entry([3.0, 2.8, 2.5, 2.6], trained=2048)


def test_a_share_is_the_gain_since_the_training_length_by_that_of_the_ceiling():
    found = ceiling_entry(entry([3.1, 3.05, 2.9, 2.0]), CEILING, LENGTHS)
    # (3.1 − 3.05) / (3.1 − 2.8) and (3.1 − 2.9) / (3.1 − 2.5); beyond 2,048 there is no ceiling
    assert found["ceiling_share"][1:3] == pytest.approx([1 / 6, 1 / 3])
    assert [found["ceiling_share"][at] for at in (0, 3)] == [None, None]
    assert found["ceiling_share_ci95"] == [[None, None]] * 4


def test_a_row_that_loses_has_a_negative_share_and_one_as_low_as_the_ceiling_all():
    loses = ceiling_entry(entry([3.0, 3.1, 3.5, 4.0]), CEILING, LENGTHS)
    assert loses["ceiling_share"][1:3] == pytest.approx([-0.5, -1.0])
    reaches = ceiling_entry(entry([3.3, 2.8, 2.5, 2.6]), CEILING, LENGTHS)
    assert reaches["ceiling_share"][1:3] == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("ceiling", [[2.0, 3.1, 3.2, 3.0], [None] * 4, [float("nan")] * 4])
def test_there_is_no_share_of_a_ceiling_that_is_no_lower(ceiling):
    found = ceiling_entry(entry([3.1, 3.0, 2.9, 2.0]), entry(ceiling, trained=2048), LENGTHS)
    assert found["ceiling_share"] == [None] * 4


def test_the_interval_is_of_draws_of_texts_and_holds_every_text_s_share():
    ceiling = entry([3.0, 1.0], [[3.0, 1.0]] * 3, 1024)
    alike = ceiling_entry(entry([2.0, 1.5], [[2.0, 1.5]] * 3), ceiling, [512, 1024])
    assert alike["ceiling_share_ci95"][1] == pytest.approx([0.5, 0.5])
    apart = entry([2.0, 1.5], [[2.0, 1.8], [2.0, 1.5], [2.0, 1.2]])
    # three texts: with 1/27 each, draws of only the first or only the last are the extremes
    found = ceiling_entry(apart, ceiling, [512, 1024])["ceiling_share_ci95"][1]
    assert found == pytest.approx([0.2, 0.8])


def test_without_a_gain_of_the_ceiling_in_every_draw_there_is_no_interval():
    ceiling = entry([3.0, 1.5], [[3.0, 2.2], [3.0, 0.8]], 1024)
    row = entry([2.0, 1.5], [[2.0, 1.5]] * 2)
    found = ceiling_entry(row, ceiling, [512, 1024])
    assert found["ceiling_share"][1] == pytest.approx(1.0)
    assert found["ceiling_share_ci95"][1] == [None, None]


def measured():
    result = copy.deepcopy(sample_result(["softmax", "softmax-ls"]))
    above = copy.deepcopy(result["variants"][1])
    above |= {"variant": "softmax", "checkpoint": "long", "train_length": 4096}
    above["loss"] = [2.5, 2.0, 2.0, 2.0, 2.4]
    return with_shares({**result, "variants": [*result["variants"], above]}, "long")


def test_the_result_names_its_ceiling_which_has_no_share():
    result = measured()
    assert result["ceiling"] == {"variant": "softmax", "checkpoint": "long", "train_length": 4096}
    assert "ceiling_share" not in result["variants"][2]
    shares = result["variants"][1]["ceiling_share"]
    found = [shares[result["lengths"].index(length)] for length in share_lengths(result)]
    # (2.262 − 2.156) / (2.262 − 2.0)
    assert found == pytest.approx([0.374, 0.485, 0.405], abs=5e-4)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("by_position", [False, True])
def test_the_picture_has_a_panel_of_shares_below(theme, by_position):
    result = measured()
    if by_position:
        result["positions"] = [128 * (at + 1) for at in range(64)]
        for row in result["variants"]:
            row["loss_by_position"] = [3.0 - at / 64 for at in range(64)]
    figure = comparison_figure(result, theme=theme, by_position=by_position)
    shares = [trace for trace in figure.data if trace.yaxis == "y4"]
    assert [list(trace.x) for trace in shares] == [[1024, 2048, 4096]] * 3
    assert list(shares[2].y) == [None] * 3  # the ceiling itself, which a page counts as a row
    assert list(shares[1].y) == pytest.approx([37.405, 48.473, 40.458], abs=1e-3)
    low, high = figure.layout.yaxis4.range  # softmax, at −581, does not set the scale
    assert (low, high) == pytest.approx((-59, 109))
    domains = [axis.domain for axis in figure.select_yaxes()]
    assert len(domains) == 4 + by_position
    lowest = [domain for domain in domains if domain[0] == 0]
    assert len(lowest) == 1  # nothing else is drawn over it
    stacked = comparison_figure(result, theme=theme, by_position=by_position, stacked=True)
    assert [trace.y for trace in stacked.data if trace.yaxis == "y4"] == [
        trace.y for trace in shares
    ]


def test_what_is_far_off_the_axis_of_shares_says_so_in_whole_percent():
    drawing = comparison_drawing(measured())
    labels = [note["text"] for note in drawing["layout"]["annotations"] if note["xref"] == "x4"]
    # (2.294 − 4.619) / (2.294 − 2.0), 2.0 the ceiling's loss at 4,096 tokens
    assert "Softmax (standard) [softmax] <b>↓ −791</b>" in labels
    assert "Softmax + length scale <b>40</b>" in labels


def test_ceilings_of_their_own_variants_are_named_as_such():
    result = sample_result(["softmax", "softmax-ls", "relu"])
    above = {"softmax-ls": {"lengths": [8192], "loss": [2.1], "train_length": 8192}}
    found = with_own_shares(result, above)
    assert [row.get("ceiling_share") for row in found["variants"]] == [
        None,
        [None, None, None, None, pytest.approx((2.262 - 2.207) / (2.262 - 2.1))],
        None,
    ]
    assert share_lengths(found) == [8192]
    assert ceiling_text(found) == "the same variant trained at 8,192 tokens"
    (note,) = [
        note["text"]
        for note in comparison_drawing(found)["layout"]["annotations"]
        if "Share of the ceiling" in note["text"]
    ]
    assert "as that of the same variant trained at 8,192 tokens" in note.replace("<br>", " ")


def test_a_row_has_the_share_of_its_own_ceiling_whatever_that_of_another_was_trained_at():
    result = sample_result(["softmax", "softmax-ls", "relu"])
    losses = {row["variant"]: row["loss"] for row in result["variants"]}
    above = {
        "softmax": {"lengths": [2048, 4096], "loss": [2.1, 2.0], "train_length": 2048},
        "softmax-ls": {"lengths": [4096, 8192], "loss": [2.2, 2.1], "train_length": 8192},
    }
    found = with_own_shares(result, above)

    def shares(variant, ceiling):
        return [
            None
            if loss is None
            else pytest.approx((losses[variant][0] - own) / (losses[variant][0] - loss))
            for own, loss in zip(losses[variant], ceiling, strict=True)
        ]

    assert result["lengths"] == [512, 1024, 2048, 4096, 8192]
    assert [row.get("ceiling_share") for row in found["variants"]] == [
        shares("softmax", [None, None, 2.1, None, None]),
        shares("softmax-ls", [None, None, None, 2.2, 2.1]),
        None,
    ]
    trained = [row.get("ceiling_train_length") for row in found["variants"]]
    assert trained == [2048, 8192, None]
    assert share_lengths(found) == [2048, 4096, 8192]
    assert ceiling_text(found) == "the same variant trained at 2,048 or 8,192 tokens"
    first = found | {"variants": found["variants"][:1]}
    assert ceiling_text(first) == "the same variant trained at 2,048 tokens"
