"""The chart in the terminal: as wide as asked, legible without colour."""

import sys
from itertools import pairwise

import pytest
from freeatten_cli.terminal.chart import distinct, line_chart, loss_chart
from sample_result import LOSS, sample_result


@pytest.mark.parametrize("width", [40, 60, 80, 140])
def test_fits_and_shows_every_length_and_variant(width):
    text = loss_chart(sample_result(), width, color=False)
    assert max(map(len, text.split("\n"))) <= width
    assert all(tick in text for tick in ("512", "1,024", "2,048", "4,096", "8,192"))
    legend = text[text.index("8,192") :]
    assert all(f"{name} {losses[-1]:.2f}" in legend for name, losses in LOSS.items())
    assert "9.94┤" in text


def test_doublings_are_equally_far_apart():
    axis = next(
        line for line in loss_chart(sample_result(), 80, color=False).split("\n") if "└" in line
    )
    ticks = [column for column, char in enumerate(axis) if char in "┬┼"]
    steps = [after - before for before, after in pairwise(ticks)]
    assert len(ticks) == 5
    assert max(steps) - min(steps) <= 1


def test_no_color_is_obeyed(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[38;2;" in loss_chart(sample_result(), 60)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in loss_chart(sample_result(), 60)
    assert "\x1b" in loss_chart(sample_result(), 60, color=True)


def test_colour_paints_no_background():
    assert "\x1b[48" not in loss_chart(sample_result(), 60, color=True)


def test_signs_tell_lines_apart_without_colour():
    text = loss_chart(sample_result(), 80, color=False)
    assert all(text.count(sign) > 1 for sign in "●■◆○□◇")
    assert "▲ lssar:p=15 2.25*" in text
    assert text.endswith("* lies behind another line")
    assert "behind" not in loss_chart(sample_result(["lssar:p=15"]), 80, color=False)


def test_a_variant_trained_twice_gets_two_signs():
    result = sample_result(["relu", "relu"])
    result["variants"][1]["checkpoint"] = "mine"
    legend = loss_chart(result, 80, color=False).splitlines()[-2:]
    assert "◇ relu [relu]" in legend[0] + legend[1]
    assert "relu [mine]" in legend[0] + legend[1]
    assert "◇ relu [mine]" not in legend[0] + legend[1]


def test_missing_numbers():
    result = sample_result(["softmax", "relu"])
    result["variants"][0]["loss"][2:] = [None] * 3
    result["variants"][1]["loss"] = [None] * 5
    text = loss_chart(result, 60, color=False)
    assert "● softmax –" in text
    assert "◇ relu –" in text
    result["variants"] = result["variants"][1:]
    assert "no finite value to draw" in loss_chart(result, 60, color=False)


def test_one_length():
    assert "512" in loss_chart(sample_result(lengths=[512]), 60, color=False)


def test_charts_do_not_leak_into_each_other():
    first = loss_chart(sample_result(["relu"]), 60, color=False)
    loss_chart(sample_result(["sigmoid"]), 100, color=False)
    assert loss_chart(sample_result(["relu"]), 60, color=False) == first


def test_a_learning_curve_has_a_linear_axis():
    steps = list(range(0, 1001, 100))
    text = line_chart(
        {"lssar:p=15": (steps, [3 - s / 1000 for s in steps])}, "curve", 60, color=False
    )
    assert text.startswith("curve\n")
    assert all(tick in text for tick in ("250", "500", "1,000", "lssar:p=15 2.00"))


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([1.0, 1.5, 2.0], ["1.00", "1.50", "2.00"]),
        ([4.541, 4.542, 4.543], ["4.541", "4.542", "4.543"]),
        ([4.54, 4.54, 4.5404], ["4.5400", "4.5400", "4.5404"]),
        ([-0.001, 0.5, 1.001], ["0.00", "0.50", "1.00"]),
        ([-0.001, 0.0, 0.001], ["-0.001", "0.000", "0.001"]),
    ],
)
def test_labels_tell_numbers_apart_and_zero_has_no_sign(values, labels):
    assert distinct(values) == labels


@pytest.mark.parametrize("ys", [(4.5401, 4.5409), (-0.004, 1.0), (-3e-7, 4e-7)])
def test_an_axis_repeats_no_label(ys):
    text = line_chart({"softmax": ((0, 1), ys)}, "loss by step", 60, color=False)
    left = [line.split("┤")[0].strip() for line in text.split("\n") if "┤" in line]
    assert len(set(left)) == len(left) == 5
    assert "-0.00" not in left
    below = text.split("\n")[-2].split()  # between two steps there is no third
    assert below == ["0", "1"]


def test_a_flat_line_is_drawn():
    assert "┤" in line_chart({"relu": ([1, 2], [1.0, 1.0])}, "flat", 60, color=False)


def test_without_plotext_the_rest_still_works(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotext", None)
    assert "no chart" in loss_chart(sample_result(), 60)
