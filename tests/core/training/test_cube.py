"""The cube's cells, and one result made of single runs."""

import copy

import pytest
from strategies import refused, stages

from freeatten_core import Variant
from freeatten_core.basics.errors import ContentError
from freeatten_core.results import cube
from freeatten_core.results.comparison import provenance
from freeatten_core.results.cube import joined
from freeatten_core.results.format import source_name
from freeatten_core.results.stored import stored_comparisons
from freeatten_core.training.cube import Cell, cells

LENGTHS = [512, 1024, 2048, 4096, 8192]


def part(variant, values, **more):
    result = {"lengths": LENGTHS, "seed": 0, "dtype": "float32", "command": "freeatten compare",
              "text": {"source": "stdlib", "sha256": "a", "manifest": {}}, **more}  # fmt: skip
    row = {"variant": variant, "train_length": 512} | values
    return result | {"variants": [row]}


def run(variant, seed=0, last=4.8):
    delta = [0.0, 1.0, 2.0, 2.5, last - 2]
    losses = {"loss": [2.4, 3.0, 4.0, 4.5, last], "delta": delta, "restart_loss": 2.3,
              "delta_ci95": [[each - 0.1, each + 0.1] for each in delta],
              "loss_by_text": [[1.0] * 5]}  # fmt: skip
    header = {"texts": 24, "train_length": 512, "device": "a GPU", "date": "2026-01-01",
              "versions": {"torch": "2.11"}, "commit": "0123456789abcdef"}  # fmt: skip
    recipe = {"steps": 2000, "batch": 64, "train_length": 512}
    return {
        "cell": Cell(Variant.parse(variant), seed).name,
        "seed": seed,
        "curve": {"recipe": recipe, "learning_rate": 0.008, "command": "freeatten train",
                  "curve": [{"validation": 2.9}]},
        "code": part(variant, losses, **header),
        "books": part(variant, losses, texts=14),
        "copy": part(variant, {"gain": [1.0, 0.5, 0.1, 0.0, 0.0]}, samples=32),
    }  # fmt: skip


def lines(markdown):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines()]


def test_the_cube_is_positivity_by_score_by_sharpening():
    found = {stages(name) for name in cube.CUBE}
    assert {(v.positivity, v.score, v.sharpen, v.normalise) for v in found} == {
        (positivity, score, p, "l1")
        for positivity in ("exp", "softplus")
        for score in ("dot", "length-cosine")
        for p in (None, 3, 15)
    }


def test_every_other_cell_differs_from_one_of_the_cube_in_one_thing():
    baselines = [stages(name) for name in ("softmax", "softmax-ls", "lssa", "lssar:p=15")]
    for name in cube.FACTORED:
        variant = stages(name)
        assert any(
            (variant.positivity, variant.sharpen, variant.normalise)
            == (one.positivity, one.sharpen, one.normalise)
            and one.score == "length-cosine"
            for one in baselines
        )
    assert {cell.seed for cell in cells() if cell.variant == Variant.parse("lssa")} == {0, 1, 2}
    assert [cell.train_length for cell in cells()].count(4096) == 1


def test_names_are_different_and_fit_for_a_folder():
    names = [cell.name for cell in cells()]
    assert len(set(names)) == len(names) == 33
    assert not [name for name in names if set(name) & set(":=/ ")]


def test_options_remake_a_cell():
    assert Cell(Variant.parse("lssar:p=15"), 2).options == [
        *("--variant", "lssar:p=15", "--steps", "2000", "--lr", "0.004,0.008"),
        *("--search-steps", "200", "--seed", "2"),
    ]
    ceiling = Cell(Variant(), train_length=4096)
    assert ceiling.options[-4:] == ["--length", "4096", "--batch", "8"]


def test_joining_keeps_every_run_and_leaves_out_single_texts():
    result = joined([run("softmax"), run("softmax", seed=1, last=4.6), run("lssar:p=15")])
    assert [each["cell"] for each in result["runs"]] == ["softmax.0", "softmax.1", "lssar-p15.0"]
    assert "loss_by_text" not in result["runs"][0]["code"]
    assert result["text"]["books"]["texts"] == 14
    table = lines(cube.cell_table(result))
    assert table[2] == [
        "`softmax`", "2", "2.400", "4.000", "4.700", "+2.60 to +2.80", "+2.60 to +2.80", "+0.50",
    ]  # fmt: skip
    assert table[3][:2] == ["`lssar:p=15`", "1"]
    assert [line[1] for line in lines(cube.spread_table(result))[2:]] == ["0", "1", "0"]
    assert "3 runs, 2,000 steps each, 32,768 tokens a step, a GPU" in cube.provenance(result)


def test_some_parts_of_runs_are_joined_alone():
    result = joined([run("fox"), run("stick-breaking")], ("code", "books"))
    assert list(result["text"]) == ["code", "books"]
    assert [each["variant"] for each in result["runs"]] == ["fox", "stick-breaking"]
    assert all("copy" not in each for each in result["runs"])


def test_the_cube_is_a_comparison_of_the_first_runs_of_seed_0():
    longer = run("softmax") | {"cell": "softmax-4096.0"}
    longer["curve"] = longer["curve"] | {"recipe": {"train_length": 4096}}
    for text in ("code", "books"):
        longer[text] = longer[text] | {"lengths": [4096, 8192]}
    runs = [run("softmax", seed=1), run("lssa", last=4.7), run("lssa"), longer, run("softmax"),
            run("relu", seed=2)]  # fmt: skip
    found = cube.comparison(joined(runs), "books")
    assert [(row["variant"], row["checkpoint"]) for row in found["variants"]] == [
        ("softmax", "softmax.0"),
        ("lssa", "lssa.0"),
    ]
    assert [row["loss"][-1] for row in found["variants"]] == [4.8, 4.7]
    assert (found["lengths"], found["train_length"], found["texts"]) == (LENGTHS, 512, 14)
    assert (found["text"]["tokens"], found["text"]["qualifying"]) == (14 * 8192, None)
    assert (found["device"], found["date"], found["dtype"]) == ("a GPU", "2026-01-01", "float32")


def test_the_stored_cube_has_every_key_of_a_comparison():
    known = stored_comparisons()
    measured = known["systems/code"]
    for text in ("code", "books"):
        found = known[f"cube/{text}"]
        assert set(found) == set(measured)
        assert set(found["text"]) == set(measured["text"])
        for row in found["variants"]:
            by_text = {"sliding_delta_by_text", "window_delta_by_text"}
            assert set(row) == set(measured["variants"][0]) | by_text
            assert len(row["loss"]) == len(row["delta_ci95"]) == len(found["lengths"])
        assert {"softmax", "softmax-ls", "lssa", "lssar:p=15"} <= {
            row["variant"] for row in found["variants"]
        }
        told = f"{found['texts']} texts of {source_name(found['text']['source'])}, "
        assert provenance(found).startswith(told)


@pytest.mark.parametrize("name", ["code", "books", "copy"])
def test_runs_on_different_texts_are_not_joined(name):
    other = copy.deepcopy(run("lssa"))
    other[name]["text"]["sha256"] = "b"
    with refused(ContentError, ["lssa.0", name]):
        joined([run("softmax"), other])


def test_the_figure_has_a_line_for_every_run_in_its_panel():
    pytest.importorskip("plotly", reason="a figure is drawn by Plotly")
    from freeatten_core.figures.cube import cube_figure

    runs = [run(name, last=4.0 + index / 10) for index, name in enumerate(cube.CUBE)]
    figure = cube_figure(joined([*runs, run("softmax", seed=1)]))
    assert len(figure.data) == 13
    by_axis = {trace.yaxis: 0 for trace in figure.data}
    for trace in figure.data:
        by_axis[trace.yaxis] += 1
    assert by_axis == {"y": 4, "y2": 3, "y3": 3, "y4": 3}
    first = next(trace for trace in figure.data if trace.yaxis == "y2")
    assert list(first.x) == LENGTHS
    assert first.y[-1] == runs[cube.CUBE.index("softmax-ls")]["code"]["variants"][0]["loss"][-1]
