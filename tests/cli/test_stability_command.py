"""`freeatten stability`: tables, JSON, CSV, chart, refusals."""

import csv
import io
import json

import pytest
from freeatten_cli.commands.stability import views
from rich.console import Console
from sample_stability import stability_result
from terminal import freeatten, listing, refusal

TINY = [
    *("stability", "--variants", "softmax,lssa", "--lengths", "8,24", "--scales", "1,16"),
    *("--dtypes", "float16", "--inputs", "random"),
]


def shown(result, width=80):
    console = Console(width=width, record=True, file=io.StringIO())
    for view in views(result):
        console.print(view, highlight=False)
    return console.export_text()


def test_json_stands_alone_on_standard_output():
    done = freeatten(*TINY, "--json")
    assert done.code == 0
    result = done.result
    assert [entry["variant"] for entry in result["variants"]] == ["softmax", "lssa"]
    assert result["command"] == "freeatten " + " ".join([*TINY, "--json"])


def test_tables_fit_80_columns_and_say_how_to_read_them():
    done = freeatten(*TINY, columns=80)
    lines = done.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "float16, random queries and keys: error of the output, scale 1"
    text = " ".join(done.out.split())
    for words in (
        "naive: the formulas as written, in that type",
        "lost: the scale of query and key from which some row is, at 24 tokens",
        "Random queries and keys: largest error of a gradient, 24 tokens, scale 1",
        "again: freeatten stability --variants",
    ):
        assert words in text
    (row,) = [line.split() for line in lines[1:6] if line.startswith("softmax")]
    assert row[-3:] == ["16", "–", "–"]  # e^s overflows at scale 16, with max-subtraction not


def test_both_kinds_of_inputs_have_their_tables():
    text = shown(stability_result())
    assert max(map(len, text.splitlines())) <= 80
    titles = [line for line in text.splitlines() if "error of" in line]
    assert titles == [
        "float16, random queries and keys: error of the output, scale 1",
        "float32, random queries and keys: error of the output, scale 1",
        "Random queries and keys: largest error of a gradient, 512 tokens, scale 1",
        "float16, queries and keys of the shipped models: error of the output, scale 1",
        "float32, queries and keys of the shipped models: error of the output, scale 1",
        "Queries and keys of the shipped models: largest error of a gradient, 512 tokens,",
    ]
    assert "softmax 5.0e-4 6.0e-4 6.0e-4 8.0e-4 2.0e-4 3.0e-4 4 – –" in " ".join(text.split())
    assert "no shipped model of lssa: random inputs alone" in text


def test_the_longest_names_of_all_types_fit_80_columns():
    result = stability_result()
    result["settings"]["dtypes"] = ["float16", "bfloat16", "float32"]
    for entry in result["variants"]:
        entry["variant"] = "softmax-ls-r:p=15"
        entry["types"]["bfloat16"] = entry["types"]["float16"]
    lines = shown(result).splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line for line in lines if line.startswith("softmax-ls-r:p=15")]
    assert len(rows) == 12
    assert not any("…" in row for row in rows)


def test_csv_and_chart_are_written(tmp_path):
    table, page = tmp_path / "cells.csv", tmp_path / "chart.html"
    assert freeatten(*TINY, "--csv", table, "--html", page).code == 0
    with table.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * 2 * 2 * 3
    assert {line["form"] for line in lines} == {"naive", "safe", "kernel"}
    lost = [line for line in lines if float(line["nonfinite"]) > 0]
    assert lost
    assert {line["error"] for line in lost} == {""}
    assert "What do growing queries and keys cost?" in page.read_text(encoding="utf-8")


def test_shipped_models_read_a_text(tmp_path):
    text = tmp_path / "story.txt"
    text.write_text("the grey cat keeps a small boat by the river. " * 20)
    words = ["--variants", "lssa", "--lengths", "24", "--dtypes", "float32", "--scales", "1"]
    done = freeatten("stability", *words, "--text", text, "--inputs", "checkpoint", "--json")
    (entry,) = done.result["variants"]
    assert (entry["inputs"], entry["checkpoint"]) == ("checkpoint", "lssa")
    assert done.result["text"]["name"] == "story.txt"


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--lengths", "0", "lengths holds 0; every one must be at least 1"),
        (
            "--lengths",
            "2k",
            "lengths holds '2k'; give whole numbers with commas, such as 2048,8192",
        ),
        ("--scales", "-1", "scales holds -1; every one must be above 0"),
        ("--scales", "big", "scales is 'big'; give numbers with commas, such as 1,4,16"),
        (
            "--dtypes",
            "float8",
            "dtypes holds 'float8'; it can hold float32, bfloat16, float16",
        ),
        ("--inputs", "trained", "--inputs is 'trained'; it can be random, checkpoint, both"),
        ("--variants", "sofmax", "unknown variant 'sofmax'; did you mean 'softmax'?"),
        (
            "--variants",
            "softmax+yarn",
            "variants holds softmax+yarn; +yarn changes a model, not the attention operator, so "
            "only softmax can be measured",
        ),
        ("--device", "tpu", "device is 'tpu'; it can be auto, cpu or cuda"),
    ],
)
def test_a_wrong_call_is_one_sentence(option, value, sentence):
    assert refusal(2, *TINY, option, value) == sentence


def test_a_seed_that_no_generator_takes_is_refused():
    sentence = refusal(2, *TINY, "--seed", str(1 << 64))
    assert sentence.startswith("seed is 18446744073709551616; it must be a whole number from 0 to")


def test_what_cannot_be_written_is_refused_before_anything_is_measured(tmp_path):
    assert refusal(2, *TINY, "--csv", tmp_path / "cells.txt") == (
        f"--csv {tmp_path / 'cells.txt'}: the name must end in .csv"
    )
    assert listing(tmp_path) == []


def test_a_scale_beyond_float16_leaves_nothing(tmp_path):
    sentence = refusal(2, *TINY, "--scales", "1e6", "--csv", tmp_path / "cells.csv")
    assert sentence.startswith("scales holds 1e+06; the largest number of query and key would be")
    assert listing(tmp_path) == []


def test_a_text_that_is_not_there_is_refused():
    words = ["--inputs", "both", "--text", "no-such-text"]
    assert refusal(2, *TINY, *words).startswith("no text at no-such-text")


def test_json_has_no_number_that_json_lacks():
    done = freeatten(*TINY, "--json")
    assert "NaN" not in done.out
    assert json.loads(done.out)["variants"][0]["types"]["float16"]["naive"]["error"][-1][-1] is None
