"""What a joined result of rows says in a table."""

from dataclasses import replace

import pytest

from freeatten_core.figures.ceiling import shares_drawing
from freeatten_core.figures.learning import curve_drawing
from freeatten_core.figures.placement import placed_labels
from freeatten_core.figures.rows import rows_drawing, rows_figure, short_label
from freeatten_core.results.rows import (
    all_rows_blocks,
    ceiling_shares,
    learning_curves,
    recipe_rows,
    row_blocks,
    row_comparisons,
    row_table,
)


def _run(variant, last, window, seed=0):
    row = {"lengths": [512, 8192], "loss": [3.6, last], "delta": [0.0, last - 3.6],
           "sliding_delta": last - 3.59, "window_delta": window,
           "verdict": "uses" if last < 3.6 else "hurts"}  # fmt: skip
    recipe = {"steps": 2000, "batch": 64, "train_length": 512}
    return {"variant": variant, "cell": f"{variant}.{seed}", "seed": seed, "recipe": recipe,
            "commit": "0123456789abcdef", "books": row, "code": row}  # fmt: skip


RESULT = {
    "runs": [_run("softmax", 6.1, 2.5), _run("fox", 3.5, -0.02), _run("fox", 3.52, -0.04, 1),
             _run("stick-breaking", 3.51, None)],
    "failed": [{"variant": "nope", "cell": "nope.0", "reason": "freeatten train ended with 1"}],
    "text": {"books": {"texts": 14, "dtype": "float32"}, "code": {"texts": 24, "dtype": "float32"}},
    "train_length": 512, "device": "a GPU", "date": "2026-01-01", "versions": {"torch": "2.11"},
}  # fmt: skip


def test_the_least_loss_at_16x_comes_first_and_what_failed_last():
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in row_table(RESULT, "books").splitlines()[2:]
    ]
    assert [line[:4] for line in lines[:3]] == [
        ["`fox`", "2", "3.600", "3.510"],
        ["`stick-breaking`", "1", "3.600", "3.510"],
        ["`softmax`", "1", "3.600", "6.100"],
    ]
    assert lines[0][4:] == ["−0.100 to −0.080", "−0.090 to −0.070", "−0.040 to −0.020"]
    assert lines[1][6] == "–"
    assert lines[3][:2] == ["`nope`", "freeatten train ended with 1"]


def test_blocks_say_how_rows_were_made():
    books_alone = RESULT | {"text": {"books": RESULT["text"]["books"],
                                     "code": RESULT["text"]["code"]}}  # fmt: skip
    blocks = row_blocks("rows/runs", books_alone)
    assert list(blocks) == ["rows/runs books", "rows/runs code", "rows/runs provenance"]
    assert blocks["rows/runs provenance"].endswith("24 files of the standard library and 14 books")


def _run_of_64(variant, trained=512):
    run = _run(variant, 3.5, -0.02)
    row = {**run["books"], "lengths": [512, 8192, 32768], "loss": [3.6, 3.5, 3.4],
           "delta": [0.0, -0.1, -0.2]}  # fmt: skip
    return run | {"books": row, "recipe": run["recipe"] | {"train_length": trained}}


def test_64_times_has_columns_of_its_own_and_a_ceiling_is_no_row():
    result = RESULT | {"runs": [_run_of_64("fox"), _run_of_64("softmax", 8192)], "failed": []}
    header, _, *lines = row_table(result, "books").splitlines()
    assert header == "|  | runs | loss 1× | 16× | 64× | Δ 16× | Δ 64× | S | W |"
    assert lines == ["| `fox` | 1 | 3.600 | 3.500 | 3.400 | −0.100 | −0.200 | −0.090 | −0.020 |"]


def test_a_column_tells_how_many_numbers_the_weights_of_a_row_are():
    given = {"fox": 3_187_587}
    header, _, *lines = row_table(RESULT, "code", given).splitlines()
    assert header.startswith("|  | parameters, M | runs | loss 1× |")
    assert [line.split(" | ")[1] for line in lines if line.startswith("| `fox`")] == ["3.188"]
    header, _, first, *_ = all_rows_blocks(_placed(), given)["rows/all table"].splitlines()
    assert "| told of in | parameters, M | runs |" in header
    assert first.startswith("| `fox` | [rows](rows.md#on-code) | 3.188 | 2 |")


def _placed():
    cube = RESULT | {"runs": [_run("softmax", 6.2, None), _run("lssa", 4.1, None)]}
    other = _run("softmax", 1.0, None)
    full = RESULT | {"runs": [other | {"recipe": other["recipe"] | {"steps": 20_000}}]}
    return recipe_rows({"cube/runs": cube, "rows/runs": RESULT, "rows/full": full}, 2000)


def test_runs_of_one_recipe_are_joined_wherever_they_are_stored():
    rows = {row.variant: row for row in _placed()}
    assert list(rows) == ["fox", "stick-breaking", "lssa", "softmax"]
    assert rows["softmax"].results == ("cube/runs", "rows/runs")
    assert rows["softmax"].loss("code", 16) == pytest.approx(6.15)
    assert rows["softmax"].deltas("code") == pytest.approx([2.6, 2.5])
    assert rows["fox"].uses("code")
    assert not rows["softmax"].uses("code")
    (first, *_, last) = all_rows_blocks(_placed())["rows/all table"].splitlines()[2:]
    assert first.startswith("| `fox` | [rows](rows.md#on-code) | 2 | 3.600 | 3.510 | −0.100 to")
    assert "[the cube](softplus.md#the-cube), [rows](rows.md#on-code) | 2" in last


@pytest.mark.parametrize("text", ["code", "books"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_row_stands_at_its_loss_and_its_delta(text, theme):
    rows = [row for row in _placed() if row.variant != "fox"]
    figure = rows_figure(rows, text=text, theme=theme)
    assert [trace.x[0] for trace in figure.data] == pytest.approx([3.6] * 3)
    # asinh(Δ / 0.02) is the axis: its ticks say what is meant
    axis = figure.layout.yaxis
    ticks = dict(zip(axis.ticktext, axis.tickvals, strict=True))
    assert ticks["0"] == 0
    assert ticks["+2.00"] < figure.data[2].y[0] < ticks["+5.00"]
    assert ticks["−0.10"] < figure.data[0].y[0] < ticks["−0.05"]
    assert [trace.marker.symbol for trace in figure.data] == ["circle", *["circle-open"] * 2]
    assert {note.text for note in figure.layout.annotations} >= {"stick-breaking", "lssa"}


def test_rows_with_a_gate_and_local_layers_have_squares_and_short_labels():
    local = "position=rope@128-rope@128-none-rope@128-none"
    names = [f"lssa:gate=forget:output=gated:{local}", "lssar:p=3:gate=forget", "sigmoid"]
    rows = [replace(row, variant=name) for row, name in zip(_placed(), names, strict=False)]
    drawn = rows_drawing(rows)
    symbols = [trace["marker"]["symbol"].removesuffix("-open") for trace in drawn["data"]]
    assert symbols == ["square", "circle", "circle"]
    shown = {note["text"] for note in drawn["layout"]["annotations"]}
    assert {"lssa + gated output", "lssar:p=3 + gate", "sigmoid"} <= shown
    assert drawn["data"][0]["name"] == "lssa + gate + gated output + local"


def test_where_there_is_little_room_the_best_rows_and_the_well_known_ones_are_named():
    rows = [
        replace(row, variant="sink") if row.variant == "lssa" and not row.uses("code") else row
        for row in _placed()
    ]
    narrow, wide = (
        {note["text"] for note in rows_drawing(rows, width=width)["layout"]["annotations"]}
        for width in (640, 1200)
    )
    assert {"fox", "softmax"} <= narrow
    assert wide - narrow == {"sink"}


def test_where_there_is_little_room_ticks_have_no_digits_that_say_nothing():
    axis = rows_drawing(_placed(), width=340, labels=False)["layout"]["yaxis"]
    named = ["−0.1", "−0.05", "−0.02", "0", "+0.02", "+0.05", "+0.1", "+0.2", "+0.5"]
    assert axis["ticktext"] == [*named, "+1", "+2", "+5", "+10"]


def test_long_names_are_shortened_and_stay_different():
    local = "position=rope@128-rope@128-none-rope@128-none"
    assert short_label(f"softplus-r:p=3:gate=forget:{local}") == "softplus-r:p=3 + gate + local"
    assert short_label("lssar:p=3:gate=forget") == "lssar:p=3 + gate"
    assert short_label("softmax-ls:position=alibi/none") == "softmax-ls + alibi/none"


def test_no_label_lies_on_another_or_on_a_point():
    points = [(300 + 7 * (at % 6), 200 + 5 * (at // 6)) for at in range(24)]
    boxes = placed_labels(points, [60 + 3 * at for at in range(24)], 15, (900, 500))
    for at, box in enumerate(boxes):
        assert box.within(900, 500)
        assert not any(box.meets(other) for other in boxes[:at])
        assert not any(abs(box.x - x) < 30 and abs(box.y - y) < 7.5 for x, y in points)


def test_no_stroke_passes_through_a_label():
    points = [(100, 200), (150, 198), (400, 200)]
    strokes = [((0, 200), (900, 200)), ((150, 100), (150, 260))]
    for box in placed_labels(points, [90, 90, 90], 15, (900, 500), strokes=strokes):
        assert not any(box.crossed(*stroke) for stroke in strokes)


def test_a_row_without_s_is_not_filled():
    run = _run("fox", 3.5, None)
    for part in ("code", "books"):
        run[part] = {key: each for key, each in run[part].items() if "sliding" not in key}
    (row,) = recipe_rows({"cube/runs": RESULT | {"runs": [run]}}, 2000)
    assert run["code"]["verdict"] == "uses"
    assert not row.uses("code")


# The share of the ceiling, over runs


def _with_ceiling():
    above = _run_of_64("fox", trained=8192)
    row = {**above["books"], "lengths": [8192], "loss": [3.4], "delta": [0.0]}
    above |= {"books": row, "code": {**row, "loss": [3.5]}}
    return RESULT | {"runs": [*RESULT["runs"], above]}


def _ceiling_of(variant, trained, loss, seed=0):
    run = _run_of_64(variant, trained) | {"seed": seed}
    row = {**run["books"], "lengths": [8192, 32768], "loss": [loss, loss], "delta": [0.0, 0.0]}
    return run | {"books": row, "code": row}


def _compared_run(variant):
    """With what a comparison needs of it."""
    run, pairs = _run_of_64(variant), {"delta_ci95": [[0.0, 0.0], [-0.2, 0.0], [-0.3, -0.1]]}
    pairs |= {name: [-0.1, 0.0] for name in ("sliding_delta_ci95", "window_delta_ci95")}
    row = {**run["code"], "lengths": [512, 8192, 32768], "loss": [3.6, 3.5, 3.4], **pairs,
           "delta": [0.0, -0.1, -0.2], "variant": variant, "train_length": 512}  # fmt: skip
    return run | {"code": row, "train_command": "freeatten train"}


def test_every_row_has_the_share_of_its_own_ceiling_the_longest_of_the_lowest_seed():
    rows = [_compared_run(name) for name in ("fox", "softmax", "relu")]
    above = [_ceiling_of("fox", 8192, 3.35), _ceiling_of("softmax", 32768, 3.1),
             _ceiling_of("softmax", 32768, 3.2, 1), _ceiling_of("softmax", 8192, 3)]  # fmt: skip
    text = {"code": RESULT["text"]["code"] | {"seed": 0, "source": "code", "sha256": "0"}}
    found = row_comparisons(RESULT | {"runs": [*rows, *above], "text": text})["code"]
    shares = {row["variant"]: row.get("ceiling_share") for row in found["variants"]}
    assert shares == {
        "fox": [None, pytest.approx(0.1 / 0.25), None],
        "softmax": [None, pytest.approx(0.1 / 0.5), pytest.approx(0.2 / 0.5)],
        "relu": None,
    }


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("labels", [False, True])
def test_shares_of_the_ceiling_stand_at_their_mean_with_their_range(theme, labels):
    # at 1× 3.6; two runs with 3.5 and 3.52 at 16×, the ceiling with 3.5 on code, 3.4 on books
    found = ceiling_shares(_with_ceiling())
    assert found == {"fox": {"code": pytest.approx([1, 0.8]), "books": pytest.approx([0.5, 0.4])}}
    drawing = shares_drawing(_with_ceiling(), theme=theme, labels=labels)
    (trace,) = drawing["data"]
    assert trace["y"] == pytest.approx([90, 45])
    assert trace["error_y"]["array"] == pytest.approx([10, 5])
    assert trace["error_y"]["arrayminus"] == pytest.approx([10, 5])
    assert trace["mode"] == "markers"
    names = [note["text"] for note in drawing["layout"]["annotations"] if "fox" in note["text"]]
    assert [name.split("<br>")[1] for name in names] == (
        ["<b>code 80 to 100, books 40 to 50</b>"] if labels else []
    )
    assert drawing["layout"]["xaxis"]["ticktext"] == ["code", "books"]


def test_shares_below_the_axis_say_so():
    result = _with_ceiling()
    *_, above = result["runs"]
    broken = [run for run in result["runs"] if run["variant"] == "softmax"]
    drawing = shares_drawing(result | {"runs": [*broken, above | {"variant": "softmax"}]})
    (name,) = [note["text"] for note in drawing["layout"]["annotations"] if "code" in note["text"]]
    assert "<b>code ↓ −2,500, books ↓ −1,250</b>" in name
    low, _ = drawing["layout"]["yaxis"]["range"]
    assert low > -100


def test_curves_are_those_of_the_first_runs_that_have_them():
    first, *rest = RESULT["runs"]
    curve = {"step": [500, 1000], "loss": [4.0, 3.0], "validation": [4.1, 3.1]}
    found = learning_curves(RESULT | {"runs": [first | {"curve": curve}, *rest]})
    points = [{"step": 500, "validation": 4.1}, {"step": 1000, "validation": 3.1}]
    assert found == {"softmax": points}
    assert learning_curves(RESULT) == {}
    drawing = curve_drawing(found, title="", labels=False)
    assert [trace["y"] for trace in drawing["data"]] == [[4.1, 3.1]]
