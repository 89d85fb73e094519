"""Tables that fit: whole, then broken into lines, then with what is left out named."""

import io

import pytest
from freeatten_cli.terminal.fitted import Column, FittedTable
from rich.console import Console

VALUES = [Column(f"head {at}", [f"+{at}.123 ±0.045", "–"]) for at in range(4)]
NAMES = [Column("", ["softmax", "lssar:p=15"], left=True)]


def shown(width, **changes):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(FittedTable(NAMES, VALUES, **changes))
    return console.file.getvalue()


@pytest.mark.parametrize("width", [120, 60, 50, 40, 30, 20])
@pytest.mark.parametrize("first_go", [True, False])
def test_every_number_that_is_shown_is_whole_and_every_other_column_named(width, first_go):
    text = shown(width, first_go=first_go)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    table, _, note = text.partition("left out")
    left_out = [at for at in range(4) if f"head {at}" in " ".join(note.split())]
    kept = [at for at in range(4) if f"+{at}.123" in table]
    assert sorted(kept + left_out) == [0, 1, 2, 3]
    assert kept
    assert bool(left_out) == (width < 38)  # a name, and four numbers of six with a gap
    if left_out:
        assert (max(kept) == 3) is first_go
        assert "--json" in note


def test_with_room_a_cell_is_on_one_line():
    assert "+2.123 ±0.045" in shown(120)
    assert "+2.123 ±0.045" not in shown(60)  # below each other


def test_a_name_without_room_is_cut_before_the_last_number():
    text = shown(14)
    assert "+3" in text or "+0" in text


def test_the_title_stands_on_the_first_line():
    assert shown(120, title="Δ at 128 tokens").splitlines()[0] == "Δ at 128 tokens"
