"""What a joined result of rows says in a table."""

from freeatten_core.results.rows import row_blocks, row_table


def _run(variant, last, window, seed=0):
    row = {"loss": [3.6, last], "delta": [0.0, last - 3.6], "sliding_delta": last - 3.59,
           "window_delta": window}  # fmt: skip
    recipe = {"steps": 2000, "batch": 64, "train_length": 512}
    return {"variant": variant, "cell": f"{variant}.{seed}", "seed": seed, "recipe": recipe,
            "commit": "0123456789abcdef", "books": row}  # fmt: skip


RESULT = {
    "runs": [_run("softmax", 6.1, 2.5), _run("fox", 3.5, -0.02), _run("fox", 3.52, -0.04, 1),
             _run("stick-breaking", 3.51, None)],
    "failed": [{"variant": "nope", "cell": "nope.0", "reason": "freeatten train ended with 1"}],
    "text": {"books": {"texts": 14, "dtype": "float32"}, "code": {"texts": 24, "dtype": "float32"}},
    "device": "a GPU", "date": "2026-01-01", "versions": {"torch": "2.11"},
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
    for run in books_alone["runs"]:
        run["code"] = run["books"]
    blocks = row_blocks("rows/runs", books_alone)
    assert list(blocks) == ["rows/runs books", "rows/runs code", "rows/runs provenance"]
    assert blocks["rows/runs provenance"].endswith("24 files of the standard library and 14 books")
