"""`freeatten map`, `entropy` and `stages`: what they print is what the library computes."""

import csv
import json
import re

import pytest
import torch
from freeatten_cli.terminal.map_cells import HIDDEN, picture, token_grid
from terminal import freeatten, refusal

from freeatten_core import load_checkpoint
from freeatten_core.analysis import AttentionMap, by_position, capture, head_table
from freeatten_core.data.documents import path_documents
from freeatten_core.data.selection import select_prefix
from freeatten_core.ops.definitions import staged

LENGTH = 96
HEAD = ("--layer", "0", "--head", "0")
VARIANT = "lssar:p=15"
"""What `model` was trained with."""


@pytest.fixture
def seen(model, books):
    """The capture that the commands make of the same text."""
    return captured(model, books)


def captured(model, books, variant=None):
    checkpoint = load_checkpoint(model)
    drawn = select_prefix(path_documents(books), checkpoint.tokenizer, LENGTH, 0)
    return capture(checkpoint, torch.from_numpy(drawn.tokens), variant=variant)


@pytest.fixture
def dense(seen):
    """The whole weight matrix, by the reference."""
    query, key = seen.head(0, 0)
    stages = staged.stages(query[None, None].double(), key[None, None].double(), seen.variant)
    return stages.weights[0, 0]


def inside(command, model, books, *words, **settings):
    where = ("--checkpoint", model, "--text", books, "--len", str(LENGTH))
    done = freeatten(command, *where, *words, **settings)
    assert done.code == 0, done.err
    return done


def test_a_map_as_json_holds_the_weights_of_the_region(model, books, dense):
    words = (*HEAD, "--query", "40:60", "--key", "10:30", "--json")
    result = inside("map", model, books, *words).result
    assert (result["query_start"], result["key_start"], result["cell"]) == (40, 10, 1)
    assert result["exact"]
    wanted = dense[40:60, 10:30]
    assert torch.allclose(torch.tensor(result["weights"]).double(), wanted, atol=1e-4, rtol=1e-3)


def test_a_map_as_csv_has_a_line_a_visible_cell(model, books, dense, tmp_path):
    path = tmp_path / "map.csv"
    inside("map", model, books, *HEAD, "--query", "5:9", "--key", "0:4", "--csv", path)
    lines = list(csv.DictReader(path.open()))
    assert len(lines) == 16
    for line in lines:
        weight = dense[int(line["query"]), int(line["key"])]
        assert float(line["weight"]) == pytest.approx(float(weight), abs=1e-4)


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_map_fits_the_window(model, books, columns):
    out = inside("map", model, books, *HEAD, columns=columns).out
    assert max(map(len, out.splitlines())) <= columns
    assert "again: freeatten map" in out.replace("\n", " ")


def test_a_close_map_shows_the_query_tokens(model, books, seen):
    out = inside("map", model, books, *HEAD, "--query", "30:34", "--key", "20:34", columns=100).out
    for label in seen.labels(30, 34):
        assert label.strip()[:12] in out


@pytest.mark.parametrize("command", ["map", "stages"])
def test_the_default_layer_is_one_that_the_model_has(model, books, command):
    assert "layer 0, head 0" in inside(command, model, books).out


def test_the_default_layer_is_the_third_of_many(books):
    words = ["--checkpoint", "lssa", "--text", books, "--len", "64"]
    done = freeatten("stages", *words, "--json")
    assert done.result["layer"] == 2


def test_a_page_is_one_file_that_fetches_nothing(model, trained, books, tmp_path):
    path = tmp_path / "map.html"
    other = ("--checkpoint", trained["softmax"])
    inside("map", model, books, *other, *HEAD, "--html", path)
    page = path.read_text()
    assert "lssar:p=15" in page
    assert "softmax" in page
    assert 'src="http' not in page
    assert [file.name for file in tmp_path.iterdir()] == ["map.html"]


def test_maps_of_one_variant_are_told_apart_by_their_checkpoints(model, books, tmp_path):
    import shutil

    again, path = shutil.copytree(model, tmp_path / "again"), tmp_path / "map.html"
    inside("map", model, books, "--checkpoint", again, *HEAD, "--html", path)
    page = path.read_text(encoding="utf-8")
    assert f"lssar:p=15 [{model}]" in page
    assert f"lssar:p=15 [{again}]" in page


def test_the_strongest_keys_are_of_the_keys_that_are_shown(model, books, dense):
    out = inside("map", model, books, *HEAD, "--query", "40:50", "--key", "10:20", columns=200).out
    row = dense[49, 10:20]
    listed = re.findall(r" at (\d+): ", out[out.index("strongest for") :].split("\n")[0])[1:]
    assert [int(key) for key in listed] == [
        10 + key for key in row.topk(5).indices.tolist() if row[key] > 0
    ]


def test_several_models_are_shown_one_below_the_other(model, trained, books, tmp_path):
    words = ("--checkpoint", trained["softmax"], *HEAD, "--html", tmp_path / "map.html")
    out = inside("map", model, books, *words).out
    assert [out.count(f"{name}, layer 0, head 0") for name in ("lssar:p=15", "softmax")] == [1, 1]
    assert out.count("again: ") == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "without --html one map is shown"),
        (("--json",), "--json holds one map"),
        (("--html", "map.html", "--csv", "map.csv"), "--csv holds one map"),
        (("--html", "map.html", "--png", "map.png"), "--png holds one map"),
    ],
)
def test_a_second_model_is_not_left_out_in_silence(model, trained, tmp_path, words, says):
    words = [tmp_path / word if word.startswith("map") else word for word in words]
    said = refusal(
        2, "map", "--checkpoint", model, "--checkpoint", trained["softmax"], *map(str, words)
    )
    assert says in said
    assert "--checkpoint is given 2 times" in said
    assert list(tmp_path.iterdir()) == []


def test_entropy_as_json_holds_the_head_means(model, books, seen):
    result = inside("entropy", model, books, "--json").result
    (entry,) = result["variants"]
    for head, wanted in zip(entry["heads"], head_table(seen), strict=True):
        assert head["relative_entropy"] == pytest.approx(
            wanted.values["relative_entropy"], abs=1e-5
        )
    assert len(result["positions"]) == len(entry["by_position"])


def test_entropy_draws_the_curve_of_one_head(model, books, seen):
    (entry,) = inside("entropy", model, books, *HEAD, "--json").result["variants"]
    wanted = by_position(seen, "relative_entropy", 0, 64)[1][0]
    found = [torch.nan if value is None else value for value in entry["by_position"]]
    assert torch.allclose(torch.tensor(found), wanted.float(), atol=1e-5, equal_nan=True)
    assert "by position, layer 0, head 0" in inside("entropy", model, books, *HEAD).out


def test_entropy_lists_heads_by_any_statistic(model, books):
    done = inside("entropy", model, books, "--statistic", "largest", "--top", "1")
    assert "largest weight" in done.out
    assert "heads have a sink" in done.out


def test_entropy_as_csv_has_a_line_a_head(model, trained, books, tmp_path):
    path = tmp_path / "heads.csv"
    inside("entropy", model, books, "--checkpoint", trained["softmax"], "--csv", path)
    assert [line["variant"] for line in csv.DictReader(path.open())] == ["lssar:p=15", "softmax"]


def test_one_variant_from_two_checkpoints_keeps_two_curves(model, books, tmp_path):
    import shutil

    again = shutil.copytree(model, tmp_path / "again")
    out = inside("entropy", model, books, "--checkpoint", again).out
    for name in (f"lssar:p=15 [{model}]", f"lssar:p=15 [{again}]"):
        assert out.count(name) == 2  # above its table, and in the chart's legend


@pytest.mark.parametrize(
    ("command", "words", "title"),
    [
        ("entropy", (), "H / log N at 96 tokens"),
        ("entropy", ("--by", "length", "--statistic", "largest"), "Largest weight at 96 tokens"),
        ("stages", HEAD, "lssar:p=15, layer 0, head 0: from score to weight"),
    ],
)
def test_pictures_as_pages(model, books, tmp_path, command, words, title):
    path = tmp_path / "picture.html"
    inside(command, model, books, *words, "--html", path)
    assert f"<title>{title}</title>" in path.read_text(encoding="utf-8")
    told = refusal(2, command, "--checkpoint", model, "--svg", tmp_path / "a.png")
    assert "the name must end in .svg" in told


def test_entropy_by_length_is_of_the_last_half_of_the_rows(model, books, seen):
    result = inside("entropy", model, books, "--by", "length", "--json").result
    assert result["lengths"] == [32, 64]
    (entry,) = result["variants"]
    for at, length in enumerate(result["lengths"]):
        means = [head.values["largest"] for head in head_table(seen, length // 2, length)]
        assert entry["by_length"]["largest"][at] == pytest.approx(sum(means) / len(means), abs=1e-5)
    out = inside("entropy", model, books, "--by", "length", "--texts", "2").out
    for words in ("96 tokens of 2 texts of", "share on far tokens", "share on the key read most"):
        assert words in " ".join(out.split())


def test_entropy_of_several_texts_is_their_mean(model, books):
    one, two, both = (
        inside("entropy", model, books, "--texts", count, "--json").result for count in "123"
    )
    assert [len(r["text"]["names"]) for r in (one, two, both)] == [1, 2, 3]
    assert both["text"]["names"][:2] == two["text"]["names"]
    first, mean = (r["variants"][0]["heads"][0]["entropy"] for r in (one, two))
    assert first != mean


def test_stages_as_json_are_those_of_the_reference(model, books, dense):
    result = inside("stages", model, books, *HEAD, "--position", "50", "--json").result
    assert result["visible"] == 51
    wanted = dense[50, :51]
    assert torch.allclose(torch.tensor(result["weight"]).double(), wanted, atol=1e-5)
    assert sum(result["weight"]) == pytest.approx(1)


def test_stages_take_another_power(model, books):
    sharp = inside("stages", model, books, *HEAD, "--power", "64", "--json").result
    flat = inside("stages", model, books, *HEAD, "--power", "1", "--json").result
    assert (sharp["variant"], flat["variant"]) == ("lssar:p=64", "lssar:p=1")
    assert max(sharp["weight"]) > max(flat["weight"])


STAGES = ["key", "token", "score", "positivity", "normalise", "weight"]


def test_stages_have_the_same_columns_and_values_in_every_form(model, books, tmp_path):
    path = tmp_path / "stages.csv"
    words = (*HEAD, "--position", "50", "--csv", path)
    result = inside("stages", model, books, *words, "--json").result
    lines = list(csv.DictReader(path.open(encoding="utf-8")))
    assert list(lines[0]) == STAGES
    for name in ("key", "score", "positivity", "normalise", "weight"):
        assert [float(line[name]) for line in lines] == pytest.approx(result[name])
    assert [line["token"] for line in lines] == result["token"]
    out = inside("stages", model, books, *HEAD, "--position", "50", columns=120).out
    heading, strongest = out.splitlines()[1:3]
    assert heading.split() == STAGES
    at = max(range(51), key=lambda key: result["weight"][key])
    assert strongest.split()[0] == str(at)
    assert float(strongest.split()[-2]) == pytest.approx(result["normalise"][at], rel=1e-3)
    assert float(strongest.split()[-1]) == pytest.approx(result["weight"][at], rel=1e-3)


def test_stages_of_a_swap_are_of_what_computes(model, books):
    source = f"{model}+swap:to=sigmoid"
    where = ("--checkpoint", source, "--text", books, "--len", str(LENGTH), *HEAD)
    done = freeatten("stages", *where, "--json")
    assert done.code == 0, done.err
    assert done.result["variant"] == "sigmoid"
    assert done.result["weight"] == done.result["normalise"] == done.result["positivity"]
    assert "sharpening needs normalise='l1'" in refusal(
        2, "stages", *map(str, where), "--power", "3"
    )


def test_under_a_window_all_is_of_the_last_keys_alone(model, books, tmp_path):
    source, position, path = f"{model}+window", 50, tmp_path / "map.csv"
    checkpoint = load_checkpoint(model)
    window = checkpoint.config.train_length
    drawn = select_prefix(path_documents(books), checkpoint.tokenizer, LENGTH, 0)
    found = capture(checkpoint, torch.from_numpy(drawn.tokens), variant=f"{VARIANT}+window")
    query, key = (each.double()[None, None] for each in found.head(0, 0))
    wanted = staged.stages(query, key, VARIANT, window=window)
    weights = wanted.weights[0, 0]

    row = inside("stages", source, books, *HEAD, "--position", str(position), "--json").result
    assert row["key"] == list(range(position + 1 - window, position + 1))
    assert row["weight"] == pytest.approx(weights[position, row["key"]].tolist(), abs=1e-5)

    words = (*HEAD, "--query", "40:60", "--key", "10:60", "--csv", path, "--json")
    shown = torch.tensor(inside("map", source, books, *words).result["weights"]).double()
    assert torch.allclose(shown, weights[40:60, 10:60], atol=1e-4, rtol=1e-3)
    cells = [(int(line["query"]), int(line["key"])) for line in csv.DictReader(path.open())]
    seen = wanted.visible[40:60, 10:60].nonzero() + torch.tensor([40, 10])
    assert cells == [tuple(cell) for cell in seen.tolist()]

    (entry,) = inside("entropy", source, books, "--json").result["variants"]
    assert entry["variant"] == f"{VARIANT}+window"
    first = next(iter(head_table(captured(model, books, f"{VARIANT}+window"))))
    assert entry["heads"][0]["largest"] == pytest.approx(first.values["largest"], abs=1e-5)


@pytest.mark.parametrize("window", [None, 5])
def test_what_a_query_does_not_see_has_a_colour_of_its_own(window):
    built = AttentionMap.build(*torch.randn(2, 20, 8), "softmax", window=window)
    region = built.region(0, 20, 0, 20, cells=20)
    hidden = int(region.hidden().sum())
    assert hidden == (190 if window is None else 190 + 120)
    grid = token_grid(region, (["q"] * 20, ["k"] * 20), color=True)
    assert sum(HIDDEN in str(span.style) for span in grid.spans) == hidden
    halves = [str(span.style) for span in picture(region, color=True).spans]
    assert sum(style.count(HIDDEN) for style in halves) == hidden


@pytest.mark.parametrize(("swapped", "told"), [("softmax", False), ("lssar:p=3", True)])
def test_the_rule_for_uniform_rows_is_told_of_what_sharpens(trained, books, swapped, told):
    name = "lssar:p=15" if swapped == "softmax" else "softmax"
    source = f"{trained[name]}+swap:to={swapped}"
    done = freeatten("entropy", "--checkpoint", source, "--text", books, "--len", str(LENGTH))
    assert done.code == 0, done.err
    assert ("near-uniform rule" in done.out) is told


def test_the_columns_of_a_list_of_heads_are_named_as_in_json(model, books):
    done = inside("entropy", model, books, "--statistic", "largest", "--top", "1")
    assert "layer head largest mean_distance" in " ".join(done.out.split())


def test_stages_print_the_strongest_keys_first(model, books):
    out = inside("stages", model, books, *HEAD, "--top", "3").out
    assert "N = 96 visible keys" in out
    assert "the other 93 keys" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("map", "--query", "9:3"), "0 <= start < stop <= 96"),
        (("map", "--key", "90:97"), "0 <= start < stop <= 96"),
        (("map", "--query", "0:10", "--key", "10:40"), "the last one here is at 9"),
        (("map", "--layer", "7"), "layer"),
        (("map", "--head", "7"), "head is 7"),
        (("map", "--pool", "median"), "it can be max or mean"),
        (("map", "--html", "/nowhere/map.html"), "does not exist"),
        (("entropy", "--statistic", "entrop"), "did you mean 'entropy'"),
        (("entropy", "--len", "0"), "--len is '0'"),
        (("entropy", "--by", "width"), "--by is 'width'; it can be length"),
        (("entropy", "--layer", "0"), "--layer is given without --head"),
        (("entropy", "--layer", "0", "--head", "7"), "layer 0, head 7 is not in"),
        (("entropy", *HEAD, "--by", "length"), "--by length is of all heads"),
        (("stages", "--position", "96"), "position"),
        (("stages", "--last", "500"), "last"),
    ],
)
def test_bad_input_gets_one_sentence(model, books, words, says):
    command, *options = words
    default = () if command == "entropy" or "--layer" in options else ("--layer", "0")
    length = () if "--len" in options else ("--len", str(LENGTH))
    done = freeatten(command, "--checkpoint", model, "--text", books, *length, *default, *options)
    assert (done.code, done.out) == (2, "")
    assert says in done.sentence


def test_a_text_too_short_is_refused_with_what_would_fit(model, books):
    done = freeatten("entropy", "--checkpoint", model, "--text", books, "--len", "100000")
    assert done.code == 2
    assert "too short" in done.sentence


def test_json_has_no_number_that_json_lacks(model, books):
    for command in ("map", "entropy", "stages"):
        layer = () if command == "entropy" else ("--layer", "0")
        json.loads(inside(command, model, books, *layer, "--json").out, parse_constant=pytest.fail)
