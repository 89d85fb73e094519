"""`freeatten-viz export`: a whole site or none, its numbers the stored and the library's own."""

import argparse
import base64
import inspect
import json
import re
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from bounds import ended
from freeatten_app.main import app
from freeatten_app.site import heads, site
from freeatten_app.tabs import comparison_view
from sample_result import LOSS, sample_result
from typer.testing import CliRunner

from freeatten_core import attention_weights
from freeatten_core.analysis import head_table
from freeatten_core.analysis.same_text import capture_rows
from freeatten_core.basics.assets import assets
from freeatten_core.data.documents import path_documents
from freeatten_core.figures.comparison import comparison_figure
from freeatten_core.results.stored import stored_comparisons, stored_model_comparisons

LENGTH = 512
HOSTILE = "# </script><img src=x onerror=alert(1)> $title ${answer} \\ \u2028\n"
PAGES = {
    "README.md",
    "component.js",
    "index.html",
    "plotly.min.js",
    "site.css",
    "site.js",
}


def viz(*words):
    return CliRunner().invoke(app, list(map(str, words)), env={"COLUMNS": "300"})


def sentence(done):
    """What the panel on standard error says."""
    assert done.stdout == ""
    return " ".join(line.strip("│ ") for line in done.stderr.splitlines() if line.startswith("│"))


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "<b>argparse.py"
    lines = inspect.getsource(argparse).splitlines(keepends=True)[:200]
    path.write_text(HOSTILE.join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def exported(text, tmp_path_factory):
    """A site of short maps, and how the command ended."""
    out = tmp_path_factory.mktemp("new") / "deep" / "site"
    done = viz("export", "--out", out, "--len", "1x", "--text", text)
    assert done.exit_code == 0, done.stderr
    return out, done


def read(out, name):
    """What a data file adds to the page."""
    text = (out / "data" / f"{name}.js").read_text(encoding="ascii")
    found = re.fullmatch(r'\(window\.freeattenData \?\?= \{\}\)\["(.+?)"\] = (.*);\n', text)
    assert found
    assert found[1] == name
    return json.loads(found[2])


def maps(out):
    return [item for choice in read(out, "site")["choices"] for item in choice["maps"]]


# The folder


def test_the_site_is_whole_and_no_file_is_large(exported):
    out, _ = exported
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    shown = stored_comparisons() | stored_model_comparisons()
    data = {site.data_name(name) for name in shown} | {"site", "tokens"}
    assert {"compare-stdlib-16x", "compare-systems-code", "compare-cube-books"} <= data
    data |= {item["file"] for item in maps(out)}
    assert files == PAGES | {f"data/{name}.js" for name in data}
    assert max(path.stat().st_size for path in out.rglob("*")) <= site.FILE_BYTES


def test_size_and_progress_are_told_on_standard_error(exported):
    out, done = exported
    assert done.stdout == ""
    told = re.search(r"up to 12 maps of 512 tokens: at most (\d+) MB in", done.stderr)
    whole = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    assert whole <= int(told[1]) * 1e6
    assert f"open {out / 'index.html'} in a browser" in done.stderr


def test_it_is_a_static_space(exported):
    out, _ = exported
    card = (out / "README.md").read_text(encoding="utf-8")
    front = dict(re.findall(r"^(\w+): (.+)$", card.split("---\n")[1], re.MULTILINE))
    assert front["sdk"] == "static"
    assert front["app_file"] == "index.html"
    assert len(front["short_description"]) <= 60


def test_nothing_is_from_elsewhere_and_no_folder_is_told(exported, text):
    out, _ = exported
    for name in PAGES - {"plotly.min.js", "component.js"}:
        page = (out / name).read_text(encoding="utf-8")
        addresses = re.findall(r"(?:https?:)?//[\w.]+\.\w+", page)
        assert set(addresses) <= {"http://www.w3.org"}, name
    for path in out.rglob("*.*"):
        assert str(text.parent) not in path.read_text(encoding="utf-8"), path


def test_text_and_its_name_stay_text(exported):
    out, _ = exported
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "<b>argparse" not in page
    assert "&lt;b&gt;argparse" in page
    tokens = read(out, "tokens")
    assert len(tokens) == LENGTH
    assert HOSTILE.strip() in "".join(tokens)
    for path in (out / "data").iterdir():
        assert not set("<>&\u2028") & set(path.read_text(encoding="ascii"))


@pytest.mark.parametrize("command", ["export", "space"])
@pytest.mark.parametrize("kind", ["file", "full"])
def test_what_is_there_is_left_alone(kind, command, tmp_path):
    out = tmp_path / "out"
    if kind == "full":
        out.mkdir()
    kept = out / "notes.txt" if kind == "full" else out
    kept.write_text("mine")
    done = viz(command, "--out", out)
    assert done.exit_code == 2
    what = "a file" if kind == "file" else "not empty"
    assert sentence(done) == f"{out} is {what}; name a new or an empty folder"
    assert kept.read_text() == "mine"


def test_a_map_too_large_for_a_space_is_refused_at_once(tmp_path):
    done = viz("export", "--out", tmp_path / "site", "--len", "64x")
    assert done.exit_code == 2
    assert "a map of 32,768 tokens can take" in sentence(done)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (OSError(28, "full"), 1)])
def test_what_ends_early_leaves_nothing(error, code, text, tmp_path, monkeypatch):
    def write(folder, *_):
        (folder / "index.html").write_text("half")
        raise error

    monkeypatch.setattr(site, "write", write)
    done = viz("export", "--out", tmp_path / "site", "--len", "1x", "--text", text)
    assert done.exit_code == code
    assert list(tmp_path.iterdir()) == []


def test_a_text_that_is_too_short_is_a_sentence(tmp_path):
    short = tmp_path / "short.py"
    short.write_text("pass\n")
    done = viz("export", "--out", tmp_path / "site", "--text", short)
    assert done.exit_code == 2
    assert "8192" in sentence(done).replace(",", "")


def test_help_costs_no_torch():
    root = Path(__file__).resolve().parent.parent
    code = (
        f"import runpy, sys; runpy.run_path({str(root / 'conftest.py')!r});"
        "import freeatten_app.main; sys.exit('torch' in sys.modules or 'plotly' in sys.modules)"
    )
    assert ended([sys.executable, "-c", code]).returncode == 0


# The maps


@pytest.fixture(scope="module")
def captures(text):
    found, _ = capture_rows(heads.load(), path_documents(text), LENGTH)
    return {str(capture.variant): capture for capture in found}


def test_every_model_shows_its_first_head_by_each_statistic(exported, captures):
    out, _ = exported
    choices = read(out, "site")["choices"]
    assert [choice["name"] for choice in choices] == [choice.name for choice in heads.CHOICES]
    for choice, shown in zip(heads.CHOICES, choices, strict=True):
        assert [item["variant"] for item in shown["maps"]] == list(heads.VARIANTS)
        for item in shown["maps"]:
            table = {
                f"layer {head.layer}, head {head.head}": head.values[choice.statistic]
                for head in head_table(captures[item["variant"]])
            }
            assert table[item["where"]] == max(table.values())
            assert item["value"] == choice.text(max(table.values()))


def unpacked(packed):
    raw = zlib.decompress(base64.b64decode(packed["arrays"]))
    arrays = {}
    for entry in packed["directory"]:
        size = int(np.prod(entry["shape"]))
        flat = np.frombuffer(raw, np.dtype(entry["dtype"]), size, entry["offset"])
        arrays[entry["name"]] = flat.reshape(entry["shape"])
    return arrays


def test_a_map_holds_the_queries_and_keys_of_its_head(exported, captures):
    out, _ = exported
    item = maps(out)[0]
    layer, head = map(int, re.findall(r"\d+", item["where"]))
    packed = read(out, item["file"])
    arrays, capture = unpacked(packed), captures["softmax"]
    assert packed["metadata"]["train_length"] == capture.train_length
    query, key = (torch.from_numpy(arrays[name].astype(np.float32)) for name in ("query", "key"))
    scores = (query @ key.T) * torch.from_numpy(arrays["scale"].copy())[:, None]
    scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)
    wanted = attention_weights(*(x[None, None] for x in capture.head(layer, head)), "softmax")
    assert torch.allclose(scores.softmax(-1), wanted[0, 0], atol=2e-3)


# The comparison


def changed(figures, name):
    """The dark layout, as the page makes it."""

    def whole(part, other):
        if not isinstance(other, dict):
            return other
        if isinstance(part, list):
            return [whole(each, other[str(at)]) if str(at) in other else each
                    for at, each in enumerate(part)]  # fmt: skip
        return part | {key: whole(part[key], value) for key, value in other.items()}

    return whole(figures["layouts"][name], figures["dark"][name])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_charts_hold_the_stored_numbers(exported, theme):
    out, _ = exported
    stored_result = json.loads((assets() / "results" / "stdlib-16x.json").read_text())
    rows = {row["variant"]: row for row in stored_result["variants"]}
    shown = read(out, "compare-stdlib-16x")
    assert "picked" not in shown
    first = [name for name in comparison_view.MAIN if name in rows]
    for part, names in (("main", first), ("all", list(rows))):
        figures = shown[part]["figures"]
        traces = [trace["y"] for trace in figures["data"]]
        of_lengths = [rows[name][key] for key in ("loss", "delta") for name in names]
        controls = [
            [rows[name]["delta"][-1], rows[name]["sliding_delta"], rows[name]["window_delta"]]
            for name in names
        ]
        assert traces == of_lengths + controls
        for name, options in comparison_view.LAYOUTS.items():
            layout = changed(figures, name) if theme == "dark" else figures["layouts"][name]
            assert layout["xaxis"]["type"] == "log"
            assert "title" not in layout
            drawn = comparison_figure({**stored_result, "variants": [rows[each] for each in names]},
                                      title="", theme=theme, **options)  # fmt: skip
            assert json.loads(drawn.to_json())["data"] == figures["data"]
            there = json.loads(drawn.to_json())["layout"]
            assert {key: layout[key] for key in there if key != "template"} == {
                key: value for key, value in there.items() if key != "template"
            }


@pytest.mark.parametrize(
    ("name", "label", "first"),
    [
        ("systems/code", "Inference-time changes, code", "lssar:p=15+rerope"),
        ("systems/books", "Inference-time changes, books", "lssar:p=15"),
        ("cube/code", "Ablation cube, code", "softplus-r:p=15"),
        ("cube/books", "Ablation cube, books", "softmax-ls"),
    ],
)
def test_of_many_rows_some_are_drawn_first_and_the_tables_have_all(exported, name, label, first):
    out, _ = exported
    assert {"id": name, "label": label} in read(out, "site")["results"]
    rows = stored_comparisons()[name]["variants"]
    shown = read(out, site.data_name(name))
    assert [line["id"] for line in shown["main"]["lines"]] == shown["picked"]
    assert {"softmax", "softmax-ls", "lssa", first} <= set(shown["picked"])
    assert len(shown["picked"]) <= comparison_view.MANY < len(rows)
    assert [line["id"] for line in shown["all"]["lines"]] == [row["variant"] for row in rows]
    assert [len(table["rows"]) for table in shown["all"]["tables"]] == [len(rows)] * 2
    assert not {"tables", "values"} & {*shown["main"]}, "the first screen has those of all rows"
    figures = shown["all"]["figures"]
    of_lengths = [row[key] for key in ("loss", "delta") for row in rows]
    assert [trace["y"] for trace in figures["data"]][: len(of_lengths)] == of_lengths
    assert len(figures["data"]) == len(rows) * (2 if name.startswith("cube/") else 3)
    axis = figures["layouts"]["wide"]["yaxis"]
    assert axis["autorange"] is True
    assert "range" not in axis


def test_of_changes_the_best_is_drawn_first():
    def row(name, last):
        return {"variant": name, "loss": [2.0, last]}

    rows = [row("softmax", 5.0), row("softmax+yarn", 2.3), row("softmax+window", 2.0),
            row("lssa", 4.0), row("lssa+rerope", 4.5), row("relu+pi", 3.0)]  # fmt: skip
    assert comparison_view.best_changes(rows) == ["softmax", "softmax+window", "lssa", "relu+pi"]


def test_rows_that_are_not_shipped_are_choices_and_say_so(exported):
    out, _ = exported
    name = "rows/full/far-code"
    assert {"id": name, "label": "Rows by the full recipe, far-code"} in read(out, "site")[
        "results"
    ]
    shown = read(out, site.data_name(name))
    rows = [row["variant"] for row in stored_comparisons()[name]["variants"]]
    assert [line["id"] for line in shown["all"]["lines"]] == rows
    assert "weights are not shipped" in shown["answer"]
    assert "python tests/measure/rows.py" in shown["command"]
    assert comparison_view.kind_of("rows/later/code").label == "Rows that are not shipped, later"


def test_the_share_of_the_ceiling_is_in_chart_table_and_values(exported):
    out, _ = exported
    shown = read(out, "compare-ceiling-code")["main"]
    stored = stored_comparisons()["ceiling/code"]["variants"]
    drawn = [trace["y"] for trace in shown["figures"]["data"] if trace["yaxis"] == "y4"]
    assert len(drawn) == len(shown["lines"])  # a page counts a line a row in every panel
    shares = [row["ceiling_share"][1] for row in stored if "ceiling_share" in row]
    assert [points[0] for points in drawn] == [*(100 * share for share in shares), None]
    (table,) = [each for each in shown["tables"] if each["caption"].startswith("Share of")]
    assert table["header"] == ["4,096 tokens"]
    assert ["Softmax + length scale", "52.4 (48–57)"] in table["rows"]
    values = [line for line in shown["values"] if line[0] == "ceiling_share"]
    assert [line[3] for line in values] == shares


def test_the_cube_is_not_compared_with_the_shipped_models(exported):
    out, _ = exported
    assert "not with the shipped ones" in read(out, "compare-cube-code")["answer"]
    assert "python tests/measure/cube.py" in read(out, "compare-cube-code")["command"]
    assert "not with the shipped ones" not in read(out, "compare-stdlib-16x")["answer"]


def test_comparisons_take_less_than_an_eighth_of_a_megabyte_each(exported):
    out, _ = exported
    sizes = [path.stat().st_size for path in (out / "data").glob("compare-*.js")]
    assert len(sizes) == len(stored_comparisons() | stored_model_comparisons())
    assert sum(sizes) < 125_000 * len(sizes)  # a page reads the one that is asked for


def test_a_result_whose_rows_are_all_on_the_first_screen_has_them_once(exported):
    out, _ = exported
    shown = read(out, "compare-models-code")
    rows = stored_model_comparisons()["models/code"]["variants"]
    assert len(shown["main"]["lines"]) == len(rows)
    assert "all" not in shown


def test_lines_without_labels_have_a_legend_on_the_page(exported):
    out, _ = exported
    shown = read(out, "compare-stdlib-16x")["main"]
    figures = shown["figures"]
    styles = [(trace["line"]["color"], trace["line"]["dash"]) for trace in figures["data"]]
    drawn = [(line["color"], line["dash"]) for line in shown["lines"]]
    assert drawn * 3 == styles  # loss, Δ, and Δ beside S and W
    assert figures["layouts"]["phone"]["width"] <= 360


def test_the_answer_is_made_from_the_data():
    result = sample_result(["softmax", "relu", "lssar:p=15"])
    assert LOSS["softmax"][-1] - LOSS["softmax"][0] < LOSS["relu"][-1] - LOSS["relu"][0]
    assert comparison_view.answer(result).startswith(
        "At 8,192 tokens the loss of Softmax (standard) and relu is 2.6 nats or more above that at "
        "512; Softplus + re-weighting (LSSAR p=15) stayed within 0.02 of the loss at 512; the "
        "lowest loss there is that of Softplus + re-weighting (LSSAR p=15), "
    )
    alone = comparison_view.answer(sample_result(["lssar:p=15"]))
    assert alone.startswith("At 8,192 tokens Softplus + re-weighting (LSSAR p=15) stayed within")


def test_a_row_that_uses_what_it_reads_is_not_said_to_have_held():
    result = sample_result(["softmax", "softmax-ls", "lssar:p=15"])
    result["variants"][1]["verdict"] = "uses"
    found = comparison_view.answer(result)
    assert "512; Softplus + re-weighting (LSSAR p=15) stayed within" in found
    assert "Softmax + length scale gained from the longer text (Δ, S and W)" in found
    result["variants"][1]["window_delta"] = None
    assert "gained from the longer text (Δ and S)" in comparison_view.answer(result)
    result["variants"][0]["verdict"] = "uses"
    assert "(Δ, S and, where there is one, W)" in comparison_view.answer(result)


def test_a_row_that_breaks_is_marked_apart_from_one_that_is_a_little_worse():
    result = sample_result(["softmax", "softmax-ls"], date="2026-11-27")
    for row, delta in zip(result["variants"], (9.19, 0.18), strict=True):
        row |= {"verdict": "hurts", "delta": [0.0] * 4 + [delta]}
    lines = comparison_view.scored(result)["main"]["lines"]
    assert [line["mark"] for line in lines] == ["▲▲", "▲"]


def test_nonsense_is_said_to_be_none_of_the_rows_language():
    result = sample_result(["softmax", "lssar:p=15"])
    for row in result["variants"]:
        row |= {"uniform_loss": 2.0, "loss": [2.5 + at / 100 for at in range(5)]}
    assert comparison_view.answer(result).startswith("This text is not language to these models")


def test_a_row_below_its_restart_and_not_below_a_window_is_not_shown_as_good():
    result = sample_result(["softmax", "softmax+yarn"])
    result["variants"][1] |= {"verdict": "worse", "sliding_delta": -0.02, "window_delta": 0.3}
    line = comparison_view.comparison("stdlib-16x", _with_provenance(result))["main"]["lines"][1]
    assert line["verdict"] == "worse than a window"
    assert line["controls"] == "S\u00a0−0.02, W\u00a0+0.30"
    assert line["kind"] == "worse"


def _with_provenance(result):
    return result | {"date": "2026-01-01", "commit": None}


def test_second_hand_numbers_say_so(exported):
    out, _ = exported
    paper = read(out, "site")["paper"]
    assert "second-hand" in paper["caption"]
    assert ["LSSAR p=15", "3.19", "3.19", "3.23", "3.32"] in paper["rows"]
    assert "second-hand" in (out / "index.html").read_text(encoding="utf-8")


def test_a_place_that_takes_no_folder_is_a_sentence_before_anything_is_computed(tmp_path):
    (tmp_path / "file").write_text("x")
    done = viz("export", "--out", tmp_path / "file" / "site")
    assert done.exit_code == 2
    why = f"{tmp_path / 'file'} is not a folder that can be written to: Not a directory"
    assert sentence(done) == f"cannot make {tmp_path / 'file' / 'site'}: {why}"
