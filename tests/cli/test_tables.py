"""What compare prints, at several widths."""

import io

import pytest
from freeatten_cli.terminal import tables
from rich.console import Console
from sample_result import LENGTHS, LOSS, sample_result, without_intervals


def printed(renderable, width, *, color=False):
    console = Console(
        width=width,
        file=io.StringIO(),
        force_terminal=color,
        color_system="truecolor" if color else None,
        _environ={},
    )
    console.print(renderable)
    return console.file.getvalue()


def view(result, width, **options):
    return printed(tables.comparison_view(result, width, **options), width)


def line_of(text, name):
    return next(line for line in text.split("\n") if line.startswith(name))


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_nothing_is_cut_at_any_width(width):
    text = view(sample_result(), width)
    assert max(map(len, text.split("\n"))) <= width
    assert "…" not in text
    for name, losses in LOSS.items():
        assert f"{losses[-1]:.3f}" in line_of(text, f"{name} ")


def test_wide_tables_have_intervals_bits_and_ratio():
    text = view(sample_result(), 120)
    line = line_of(text, "softmax-ls")
    assert "2.207 ±0.110" in line
    assert line.split()[-2:] == ["0.927", "0.98"]
    assert "left out" not in text


def test_narrow_tables_say_what_they_leave_out():
    text = view(sample_result(), 60)
    assert "the ± intervals" in text
    assert "2.207 ±" not in text
    narrow = printed(tables.loss_table(sample_result(), 44), 44)
    assert "16×" in narrow
    assert "1× is 512 tokens" in narrow


def test_very_narrow_tables_keep_the_ends():
    lengths = [512 * 2**power for power in range(5)]
    assert tuple(lengths) == LENGTHS
    text = printed(tables.loss_table(sample_result(), 34), 34)
    assert line_of(text, "relu").split()[1] == "2.402"
    assert line_of(text, "relu").split()[-1] == "6.874"
    assert "left out" in text


def test_lowest_loss_of_each_length_is_bold():
    text = printed(tables.loss_table(sample_result(), 80), 80, color=True)
    assert "\x1b[1m2.207 ±0.110\x1b[0m" in text
    assert "\x1b[1m2.252" not in text


def test_delta_is_marked_only_where_the_interval_excludes_zero_and_is_not_harmless():
    text = printed(tables.delta_table(sample_result(), 80), 80)
    line = line_of(text, "lssar:p=15")
    assert "▼−0.030" in line
    assert " +0.007" in line
    assert "▲+0.232" in line
    assert line.split()[1] == "0"
    harmless = sample_result(["lssar:p=15"])
    harmless["variants"][0]["delta_ci95"][-1] = [0.0002, 0.0018]
    assert "▲+0.232" not in printed(tables.delta_table(harmless, 80), 80)
    alone = printed(tables.delta_table(without_intervals(sample_result()), 80), 80)
    assert "▲" not in alone
    assert "±" not in alone


def test_delta_colours():
    text = printed(tables.delta_table(sample_result(["lssar:p=15"]), 100), 100, color=True)
    assert "\x1b[36m▼−0.030" in text
    assert "\x1b[31m▲+0.232" in text
    assert "\x1b[36m▲" not in text


def test_missing_numbers_are_dashes():
    result = sample_result(["softmax", "relu"])
    row = result["variants"][1]
    for key in ("loss", "delta"):
        row[key] = [None] * 5
    row |= {"ci95": [[None, None]] * 5, "delta_ci95": [[None, None]] * 5, "ratio": None}
    row |= {"bits_per_byte": [None] * 5, "verdict": None}
    text = view(result, 120)
    assert line_of(text, "relu").split()[1:] == ["–"] * 7
    assert "None" not in text
    assert "nan" not in text


def test_the_verdict_stands_with_what_it_rests_on():
    result = sample_result(["softmax-ls"])
    result["variants"][0] |= {"verdict": "worse", "window_delta": None, "window_delta_ci95": None}
    head, line = printed(tables.verdict_table(result, 100), 100).splitlines()[1:3]
    assert head.split() == ["Δ", "S", "W"]
    assert line.split("  ")[1].strip() == "worse than a window"
    assert line.split()[-5:] == ["+0.171", "±0.012", "+0.181", "±0.012", "–"]


def test_a_verdict_is_whole_in_a_narrow_window():
    result = sample_result(["softmax-ls", "lssar:p=15"])
    text = printed(tables.verdict_table(result, 60), 60)
    assert line_of(text, "softmax-ls").split()[-3:] == ["+0.171", "+0.181", "+0.191"]
    assert "hurts from 4,096 tokens" in text
    assert max(map(len, text.splitlines())) <= 60


def test_text_line():
    result = sample_result()
    assert tables.text_line(result) == (
        "4 texts from 108 files of Python's standard library that are at least 8,193 tokens long "
        "(601 files in all), 32,768 tokens scored at every length; these are the files of the "
        "stored results"
    )
    result["text"]["matches_stored"] = False
    assert tables.text_line(result).endswith("these are not the files of the stored results")
    result["text"] |= {"matches_stored": None, "source": "book.txt", "files": 1, "qualifying": 1}
    line = tables.text_line(result | {"texts": 1})
    assert line.startswith("1 text from 1 file of book.txt that is at least 8,193 tokens")
    assert "stored" not in line


def test_swap_and_number_lines_only_when_present():
    result = sample_result(["softmax", "lssar:p=15"], dtype="bfloat16")
    assert "Swap" not in view(result, 80)
    assert tables.number_lines(result) == []
    for row in result["variants"]:
        row |= {"swap_delta": [0.0, 0.1, 0.2, 0.3, None], "swap_delta_ci95": [[0.0, 0.0]] * 5}
        row |= {"nonfinite": {"logits": 0, "losses": 0}, "row_sum_deviation": 1e-4}
    result["variants"][1]["row_sum_deviation"] = None
    assert tables.number_lines(result) == [
        "not finite in bfloat16: nothing",
        "largest deviation of a row sum from 1: softmax 1.0e-04",
    ]
    result["variants"][0]["nonfinite"] = {"logits": 1200, "losses": 3}
    assert "softmax 1,200 logits and 3 losses" in tables.number_lines(result)[0]
    assert "Swap" in view(result, 80)


def test_the_view_ends_with_the_command():
    text = view(sample_result(), 80, chart="CHART")
    assert text.rstrip().endswith("again: freeatten compare --len 16x")
    assert "CHART" in text
    assert "forgetting everything older than 512 tokens" in text.replace("\n", " ")


def test_only_the_training_length_has_no_delta():
    text = view(sample_result(lengths=[512]), 80)
    assert "Δ" not in text
    assert "hurts" not in text
    assert "ratio" not in text


def test_long_checkpoint_names_do_not_cut_numbers():
    result = sample_result(["relu", "relu"])
    result["variants"][1]["checkpoint"] = "/home/somebody/experiments/2026/long-runs/relu-4"
    text = view(result, 60)
    assert max(map(len, text.split("\n"))) <= 60
    assert "relu [/home/so…-runs/relu-4]" in text
    assert all(line.split()[-1] == "6.874" for line in text.split("\n")[2:4])
