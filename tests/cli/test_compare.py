"""`freeatten compare`: what it prints and writes, and what it refuses."""

import csv
import errno
import hashlib
import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from bounds import ended, started
from freeatten_cli import exports
from safetensors.torch import load, save_file
from terminal import PROCESS, SHORT, Done, freeatten, listing, process_environment, prose, refusal

from freeatten_core import load_checkpoint, loss_by_length
from freeatten_core.basics import files
from freeatten_core.data.tokenizer import encode
from freeatten_core.measures import comparison
from freeatten_core.measures.scoring import score_texts
from freeatten_core.models.format import FILES
from freeatten_core.results.verdicts import Verdict

HEADER = {
    "schema": int,
    "train_length": int,
    "lengths": list,
    "texts": int,
    "seed": int,
    "dtype": str,
    "control": str,
    "device": str,
    "seconds": float,
    "versions": dict,
    "command": str,
    "date": str,
    "commit": str | None,
    "text": dict,
    "tokenizers": int,
    "variants": list,
}
TEXT = {
    "source": str,
    "files": int,
    "qualifying": int,
    "repeats": int,
    "tokens": int,
    "sha256": str,
    "matches_stored": bool | None,
    "manifest": dict,
}
ROW = {
    "variant": str,
    "checkpoint": str,
    "train_length": int,
    "uniform_loss": float,
    "loss": list,
    "ci95": list,
    "restart_loss": float,
    "delta": list,
    "delta_ci95": list,
    "bits_per_byte": list,
    "ratio": float,
    "sliding_delta": float,
    "sliding_delta_ci95": list,
    "sliding_delta_by_text": list,
    "window_delta": float,
    "window_delta_ci95": list,
    "window_delta_by_text": list,
    "verdict": str,
    "hurts_from": int | None,
    "loss_by_text": list,
    "delta_by_text": list,
}
EVERY_OUTPUT = ("html", "png", "svg", "csv", "npz")


def compare(model: Path, *words: str | Path, **options) -> Done:
    return freeatten("compare", "--checkpoint", model, *words, **options)


def result_of(model: Path, *words: str | Path, **options) -> dict:
    done = compare(model, *words, "--json", **options)
    assert done.code == 0, done.err
    return done.result


def assert_fields(found: dict, wanted: dict) -> None:
    assert list(found) == list(wanted)
    for key, kind in wanted.items():
        assert isinstance(found[key], kind), f"{key} is {found[key]!r}"


@pytest.fixture
def exact(model, tmp_path):
    """A text of exactly 129 tokens, so that what is scored at 4x is all of it."""
    words = prose(99, 400).split(" ")
    tokenizer = load_checkpoint(model).tokenizer
    texts = (" ".join(words[:count]) for count in range(len(words)))
    text = next(text for text in texts if len(encode(tokenizer, text)) == 129)
    (tmp_path / "exact.txt").write_text(text)
    return tmp_path / "exact.txt"


# The result as JSON


def test_json_stands_alone_on_standard_output_with_every_key_of_its_schema(model, books):
    done = compare(model, "--text", books, "--len", "4x", "--texts", "3", "--json")
    assert done.code == 0
    result = done.result
    assert_fields(result, HEADER)
    assert_fields(result["text"], TEXT)
    assert {"freeatten", "torch", "python"} == set(result["versions"])
    assert (result["schema"], result["train_length"], result["lengths"]) == (2, 32, [32, 64, 128])
    assert (result["texts"], result["seed"], result["tokenizers"]) == (3, 0, 1)
    assert (result["device"], result["dtype"], result["control"]) == ("cpu", "float32", "restart")
    text = result["text"]
    assert (text["source"], text["files"], text["qualifying"]) == (str(books), 8, 8)
    assert (text["tokens"], text["matches_stored"]) == (3 * 128, None)
    assert len(text["manifest"]) == 3
    for name, digest in text["manifest"].items():
        assert hashlib.sha256((books / name).read_bytes()).hexdigest() == digest
    (row,) = result["variants"]
    assert_fields(row, ROW)
    assert (row["variant"], row["checkpoint"], row["train_length"]) == (
        "lssar:p=15",
        str(model),
        32,
    )
    for key in ("loss", "ci95", "delta", "delta_ci95", "bits_per_byte"):
        assert len(row[key]) == 3
    assert (row["delta"][0], row["delta_ci95"][0]) == (0, [0, 0])
    assert row["ratio"] == pytest.approx(row["loss"][-1] / row["loss"][0], abs=1e-5)
    assert row["verdict"] in get_args(Verdict)
    assert np.mean(row["loss_by_text"], axis=0) == pytest.approx(row["loss"], abs=1e-4)
    assert np.mean(row["delta_by_text"], axis=0) == pytest.approx(row["delta"], abs=1e-4)
    for mean, (low, high) in zip(row["loss"], row["ci95"], strict=True):
        assert low < mean < high


def test_progress_goes_to_standard_error_with_provisional_rows(model, books):
    done = compare(model, "--text", books, "--len", "2x", "--texts", "3", "--json")
    first, *_, last = done.err.strip().splitlines()
    assert re.fullmatch(
        r"lssar:p=15  32: \d\.\d{3}  64: \d\.\d{3}  \(provisional: 1 of 3 texts\)", first
    )
    losses = "  ".join(
        f"{length}: {loss:.3f}"
        for length, loss in zip([32, 64], done.result["variants"][0]["loss"], strict=True)
    )
    assert last == f"lssar:p=15  {losses}"


def test_the_losses_are_those_of_the_library_on_the_same_text(model, exact):
    result = result_of(model, "--text", exact, "--len", "4x")
    text, (row,) = exact.read_text(), result["variants"]
    wanted = loss_by_length(load_checkpoint(model), [text], [32, 64, 128])
    assert row["loss"] == pytest.approx(wanted[0].tolist(), abs=1e-5)
    assert result["text"]["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    first = load_checkpoint(model).tokenizer.decode(
        [int(encode(load_checkpoint(model).tokenizer, text)[0])]
    )
    scored = len(text.encode()) - len(first.encode())  # the first token is read and not scored
    bits = wanted[0] * 128 / (math.log(2) * scored)
    assert row["bits_per_byte"] == pytest.approx(bits.tolist(), abs=1e-5)


def test_one_text_has_no_interval_and_no_verdict(model, exact):
    (row,) = result_of(model, "--text", exact, "--len", "2x")["variants"]
    assert row["ci95"] == [[None, None]] * 2
    assert (row["verdict"], row["hurts_from"]) == ("unclear", None)


def test_the_seed_chooses_the_texts(model, books):
    words = ("--text", books, "--len", "4x", "--texts", "2")
    first, again, other = (
        result_of(model, *words, "--seed", seed)["text"]["sha256"] for seed in "001"
    )
    assert first == again != other


def test_rows_of_two_checkpoints_are_scored_on_the_same_text(trained, books):
    folders = list(trained.values())
    words = ("--text", books, "--len", "128", "--texts", "2")
    both = result_of(folders[0], "--checkpoint", folders[1], *words)
    assert [row["variant"] for row in both["variants"]] == list(trained)
    assert [row["checkpoint"] for row in both["variants"]] == list(map(str, folders))
    alone = result_of(folders[1], *words)
    assert alone["variants"][0]["loss"] == both["variants"][1]["loss"]
    assert alone["text"] == both["text"]


def test_a_checkpoint_named_twice_is_one_row(model, books):
    result = result_of(model, "--checkpoint", model, "--text", books, "--len", "1x")
    assert len(result["variants"]) == 1


def test_lengths_in_tokens_and_lists(model, books):
    def lengths(text: str) -> list[int]:
        return result_of(model, "--text", books, "--len", text, "--texts", "1")["lengths"]

    assert lengths("1x") == [32]
    assert lengths("256") == [32, 64, 128, 256]
    assert lengths("1x,4x") == lengths("4x, 32") == lengths("128,32") == [32, 128]


def test_by_position(model, books):
    result = result_of(model, "--text", books, "--len", "4x", "--by", "position")
    (row,) = result["variants"]
    assert list(result)[-2:] == ["positions", "variants"]
    assert result["positions"] == list(range(2, 129, 2))
    assert len(row["loss_by_position"]) == 64
    assert np.mean(row["loss_by_position"]) == pytest.approx(row["loss"][-1], abs=1e-4)
    assert {row["knee"], *row["knee_ci95"]} <= {2, 4, 8, 16, 32, 64, 128}


def test_swap_control(model, books):
    result = result_of(model, "--text", books, "--len", "4x", "--control", "swap")
    assert result["control"] == "swap"
    (row,) = result["variants"]
    assert list(row)[-2:] == ["swap_delta", "swap_delta_ci95"]
    assert row["swap_delta"][0] is None
    assert all(isinstance(change, float) for change in row["swap_delta"][1:])
    shown = compare(model, "--text", books, "--len", "4x", "--control", "swap")
    assert "Swap, loss change when everything older is another text" in shown.out


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_low_precision_reports_stability(model, books, dtype):
    words = ("--text", books, "--len", "2x", "--dtype", dtype)
    result = result_of(model, *words)
    (row,) = result["variants"]
    assert result["dtype"] == dtype
    assert row["nonfinite"] == {"logits": 0, "losses": 0}
    assert 0 <= row["row_sum_deviation"] < 0.05
    out = compare(model, *words).out
    assert f"not finite in {dtype}: nothing" in out
    assert "largest deviation of a row sum from 1: lssar:p=15" in out


# Where the text comes from


def test_a_file_a_folder_and_standard_input_are_texts(model, exact):
    (exact.parent / ".hidden").write_text("not read")
    (exact.parent / "picture.png").write_bytes(b"\x89PNG\0\0")
    of_file = result_of(model, "--text", exact, "--len", "4x")
    of_folder = result_of(model, "--text", exact.parent, "--len", "4x")
    of_stdin = result_of(model, "--text", "-", "--len", "4x", stdin=exact.read_text())
    assert of_file["variants"][0]["loss"] == of_folder["variants"][0]["loss"]
    assert of_file["variants"][0]["loss"] == of_stdin["variants"][0]["loss"]
    assert [r["text"]["files"] for r in (of_file, of_folder, of_stdin)] == [1, 1, 1]
    assert list(of_folder["text"]["manifest"]) == ["exact.txt"]
    assert (of_stdin["text"]["source"], list(of_stdin["text"]["manifest"])) == (
        "-",
        ["standard input"],
    )


def test_prose_is_the_help_of_python(model):
    result = result_of(model, "--text", "prose", "--len", "2x", "--texts", "2")
    assert result["text"]["source"] == "prose"
    assert all(name.startswith("pydoc/") for name in result["text"]["manifest"])


def test_the_shipped_models_on_the_standard_library():
    words = ("--len", "2x", "--texts", "1", "--variants", "lssar:p=15,softmax+yarn")
    done = freeatten("compare", *words, "--json")
    assert done.code == 0, done.err
    result = done.result
    assert (result["lengths"], result["text"]["source"]) == ([512, 1024], "stdlib")
    assert isinstance(result["text"]["matches_stored"], bool)
    rows = {row["variant"]: row for row in result["variants"]}
    assert {name: row["checkpoint"] for name, row in rows.items()} == {
        "lssar:p=15": "lssar-p15",
        "softmax+yarn": "softmax",
    }
    for row in rows.values():  # trained, and not broken at twice the length
        assert max(row["loss"]) < 4.0
        assert row["bits_per_byte"][0] < 2.0


def warned(folder: Path, model: Path, tmp_path: Path) -> Done:
    """A comparison on `folder/soup/pot.py` by a checkpoint that lists the package Soup."""
    source = folder / "soup" / "pot.py"
    source.parent.mkdir(parents=True)
    source.write_text(prose(1, 400))
    own = tmp_path / "own"
    shutil.copytree(model, own)
    curve = json.loads((own / "curve.json").read_text())
    soup = {"name": "Soup", "version": "1.0", "licence": "MIT", "modules": ["soup"]}
    curve["text"]["sources"][0]["packages"] = [soup]
    (own / "curve.json").write_text(json.dumps(curve))
    done = compare(own, "--text", source, "--len", "2x", "--json")
    assert done.code == 0, done.err
    assert done.result["texts"] == 1
    return done


def test_texts_that_are_not_known_are_warned_of(model, tmp_path):
    own = shutil.copytree(model, tmp_path / "own")
    curve = json.loads((own / "curve.json").read_text()) | {"text": {"sha256": "ab" * 32}}
    (own / "curve.json").write_text(json.dumps(curve))
    (tmp_path / "one.py").write_text(prose(1, 400))
    done = compare(own, "--text", tmp_path / "one.py", "--len", "2x", "--json")
    assert done.result["texts"] == 1
    assert f"warning: whether {own} was trained on {tmp_path / 'one.py'} is not known" in done.err


def test_text_that_the_model_was_trained_on_is_warned_of(model, tmp_path):
    done = warned(tmp_path / "[red]" / "site-packages", model, tmp_path)
    assert f"warning: {tmp_path}/[red]/site-packages/soup/pot.py belongs to Soup" in done.err


def test_other_text_is_not_warned_of(model, tmp_path):
    assert "warning" not in warned(tmp_path / "elsewhere", model, tmp_path).err


@pytest.mark.parametrize("curve", [{}, {"text": []}, {"text": {"sources": [{"packages": [1]}]}}])
def test_a_curve_of_another_making_is_no_obstacle(broken, books, curve):
    (broken / "curve.json").write_text(json.dumps(curve))
    assert compare(broken, "--text", books, "--len", "2x").code == 0


# What is printed


def test_the_view_has_tables_chart_verdict_text_and_command(model, books):
    done = compare(model, "--text", books, "--len", "4x", "--texts", "2")
    assert done.code == 0
    for part in (
        "Mean loss, nats per token, by context length",
        "Δ, loss minus that of the same model that forgets",
        "trained up to 32 tokens",
        "At 128 tokens",
        "lower is better",
        "2 texts from 8 files",
        "256 tokens scored at every length",
        "cpu, float32, seed 0",
    ):
        assert part in done.out
    command = f"freeatten compare --checkpoint {model} --text {books} --len 4x --texts 2"
    assert f"again: {command}\n" in done.out


def test_the_printed_command_gives_the_same_losses(model, tmp_path):
    folder = tmp_path / "two words; and a 'quote'"
    folder.mkdir()
    for index in range(3):
        (folder / f"{index}.txt").write_text(prose(index, 400))
    words = ("--text", folder, "--len", "1x,4x", "--texts", "2", "--seed", "5")
    npz = [tmp_path / "first.npz", tmp_path / "second.npz"]
    first = compare(model, *words, "--npz", npz[0])
    command = next(line for line in first.out.splitlines() if line.startswith("again: "))
    program, *again = shlex.split(command.removeprefix("again: "))
    assert program == "freeatten"
    second = freeatten(*[str(npz[1]) if word == str(npz[0]) else word for word in again])
    assert second.code == 0
    with np.load(npz[0]) as one, np.load(npz[1]) as two:
        assert set(one) == set(two) == {f"lssar:p=15/{what}" for what in ("32", "128", "restart")}
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])


@pytest.mark.parametrize("columns", [60, 80])
def test_no_line_is_wider_than_the_terminal(trained, books, columns):
    one, two = trained.values()
    words = ("--checkpoint", two, "--text", books, "--len", "8x", "--texts", "2")
    for more in ([], ["--control", "swap", "--dtype", "bfloat16", "--by", "position"]):
        done = compare(one, *words, *more, columns=columns)
        assert done.code == 0
        assert max(map(len, done.out.splitlines())) <= columns
        assert max(map(len, done.err.splitlines())) <= columns


def test_no_color_is_obeyed(model, books):
    words = ("--text", books, "--len", "4x", "--texts", "2")
    colors = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    assert "\x1b[38;2;" in compare(model, *words, env=colors).out
    assert "\x1b[3" not in compare(model, *words, env=colors | {"NO_COLOR": "1"}).out


# Files


@pytest.fixture(scope="session")
def browser():
    """Whether PNG and SVG can be drawn; where the tests must all run, they have to be."""
    from choreographer.browsers.chromium import Chromium

    if Chromium.find_browser(skip_local=False) is None and not os.environ.get("CI"):
        pytest.skip("no Chromium, which PNG and SVG need")


def test_every_file_asked_for_is_written(model, books, tmp_path):
    paths = {kind: tmp_path / f"result.{kind}" for kind in ("html", "csv", "npz")}
    options = [word for kind, path in paths.items() for word in (f"--{kind}", path)]
    result = result_of(model, "--text", books, "--len", "4x", "--texts", "3", *options)
    assert listing(tmp_path) == ["result.csv", "result.html", "result.npz"]
    page = paths["html"].read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "Plotly.newPlot" in page
    with paths["csv"].open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [int(line["length"]) for line in lines] == result["lengths"]
    assert [float(line["loss"]) for line in lines] == result["variants"][0]["loss"]
    with np.load(paths["npz"]) as arrays:
        assert {name: array.shape for name, array in arrays.items()} == {
            f"lssar:p=15/{what}": (3, 128) for what in ("32", "64", "128", "restart")
        }
        means = [arrays[f"lssar:p=15/{length}"].mean() for length in (32, 64, 128)]
    assert means == pytest.approx(result["variants"][0]["loss"], abs=1e-4)


@pytest.mark.usefixtures("browser")
def test_pictures_are_written(model, books, tmp_path):
    png, svg = tmp_path / "chart.png", tmp_path / "chart.svg"
    done = compare(model, "--text", books, "--len", "4x", "--png", png, "--svg", svg)
    assert done.code == 0, done.err
    assert png.read_bytes().startswith(b"\x89PNG")
    assert svg.read_text(encoding="utf-8").startswith("<svg")
    assert listing(tmp_path) == ["chart.png", "chart.svg"]


def test_with_by_position_terminal_and_page_have_the_positions_too(model, books, tmp_path):
    shown = []
    for more in ([], ["--by", "position"]):
        page = tmp_path / f"{len(more)}.html"
        done = compare(model, "--text", books, "--len", "4x", "--html", page, *more)
        assert done.code == 0, done.err
        shown.append((done.out, page.read_text(encoding="utf-8")))
    for out, page in shown:
        assert "Mean loss by context length" in out
        assert "against context length" in page
    plain, also = shown
    assert not any("by position in" in plain[0] or "against position" in text for text in plain)
    assert "Mean loss by position in 128 tokens" in also[0]
    assert "Knee of the loss by position" in also[0]
    assert "Knee" not in plain[0]
    assert "against position in one long pass" in also[1]


@pytest.fixture
def no_browser(monkeypatch):
    monkeypatch.setattr(
        "choreographer.browsers.chromium.Chromium.find_browser", lambda **_options: None
    )


@pytest.mark.parametrize("fails", ["html", "csv", "npz"])
def test_an_output_that_fails_takes_no_other_along(model, books, tmp_path, monkeypatch, fails):
    paths = {kind: tmp_path / f"result.{kind}" for kind in ("html", "csv", "npz")}
    write = {"html": "save_figure", "csv": "save_csv"}
    if fails == "npz":
        monkeypatch.setattr(np, "savez_compressed", disk_full)
    else:
        monkeypatch.setattr(exports, write[fails], disk_full)
    options = [word for kind, path in paths.items() for word in (f"--{kind}", path)]
    done = compare(model, "--text", books, "--len", "2x", *options)
    assert done.code == 1
    assert "No space left on device" in done.sentence
    assert "Mean loss" in done.out
    assert listing(tmp_path) == sorted(p.name for kind, p in paths.items() if kind != fails)


def test_a_reader_that_leaves_costs_no_file(model, books, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    table = tmp_path / "x.csv"
    words = ["--checkpoint", str(model), "--text", str(books), "--len", "2x", "--csv", str(table)]
    done = ended(
        [*PROCESS, "compare", *words],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        env=process_environment(),
    )
    os.close(writing)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert table.read_text(encoding="utf-8").startswith("variant,")


# What is refused before anything is scored


@pytest.mark.usefixtures("unscored", "no_browser")
@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_picture_without_a_browser_is_refused_before_scoring(model, books, tmp_path, kind):
    words = ("--text", books, "--csv", tmp_path / "x.csv", f"--{kind}", tmp_path / f"x.{kind}")
    assert "no Chromium or Chrome was found" in compare_refused(1, model, *words)
    assert listing(tmp_path) == []


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc on this system")
@pytest.mark.usefixtures("unscored")
def test_a_folder_that_takes_no_file_is_refused_before_scoring(model, books):
    told = compare_refused(2, model, "--text", books, "--html", "/proc/x.html")
    assert told.startswith("cannot write /proc/x.html: ")


@pytest.fixture
def unscored(monkeypatch):
    """Scoring a text fails the test."""

    def score(*_args, **_options):
        pytest.fail("a text was scored before the call was refused")

    monkeypatch.setattr(comparison, "score_texts", score)


def compare_refused(code: int, model: Path | str, *words: str | Path, **options) -> str:
    return refusal(code, "compare", "--checkpoint", model, *words, **options)


WRONG_OPTIONS = {
    "--len 0x": ["'0x' is not a length", "16x"],
    "--len abc": ["'abc' is not a length", "16x, 8192 or 1x,4x,16x"],
    "--len 0.5x": ["'0.5x' is not a length"],
    "--len -4": ["'-4' is not a length"],
    "--len 3x,16x": ["96 tokens do not divide the longest, 512"],
    "--len 100": ["100", "not a multiple of the training length 32", "96 would be"],
    "--len 16,64": ["16 tokens are less than the training length, 32"],
    "--texts 0": ["--texts", "1"],
    "--seed -1": ["--seed", "0"],
    "--device tpu": ["device is 'tpu'", "auto, cpu or cuda"],
    "--dtype int8": ["--dtype is 'int8'", "float32, bfloat16, float16"],
    "--control x": ["--control is 'x'", "restart, swap"],
    "--by x": ["--by is 'x'", "position"],
    "--variants sofmax": ["unknown variant 'sofmax'", "did you mean 'softmax'?"],
    "--variants lssar:p=99": ["p is '99'", "from 1 to 64"],
    "--variants lssar:p=7": ["no shipped checkpoint of lssar:p=7", "freeatten train"],
    "--variants softmax+yam": ["unknown modifier 'yam'", "did you mean 'yarn'?"],
    "--variants ,": ["no variant given"],
    "--text nowhere": ["no text at nowhere", "stdlib, prose, or - for standard input"],
    "--text ~nobody-here/notes": ["no text at ~nobody-here/notes"],
}


@pytest.mark.usefixtures("unscored")
@pytest.mark.parametrize("option", WRONG_OPTIONS)
def test_a_wrong_option_is_refused_with_its_value_and_what_is_legal(model, books, option):
    sentence = compare_refused(2, model, "--text", books, *option.split(" "))
    for words in WRONG_OPTIONS[option]:
        assert words in sentence


@pytest.mark.usefixtures("unscored")
def test_a_gpu_that_is_not_there_is_refused(model, books, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    sentence = compare_refused(2, model, "--text", books, "--device", "cuda")
    assert sentence == "device is 'cuda', and torch sees no GPU here; use cpu"


@pytest.mark.usefixtures("unscored")
def test_swap_needs_two_texts(model, exact):
    words = ("--text", exact, "--len", "2x", "--control", "swap")
    assert "needs at least 2" in compare_refused(2, model, *words)


# Checkpoints


@pytest.mark.usefixtures("unscored")
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gpt2", ["no checkpoint 'gpt2'", "the Hugging Face hub did not give it: no way to gpt2"]),
        ("lssar-p51", ["no checkpoint 'lssar-p51'", "did you mean 'lssar-p15'?"]),
        ("no/such/folder", ["no checkpoint 'no/such/folder'"]),
        ("~nobody-here/model", ["no checkpoint '~nobody-here/model'"]),
    ],
)
def test_an_unknown_checkpoint_is_refused_with_the_nearest(books, monkeypatch, name, says):
    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    sentence = compare_refused(2, name, "--text", books)
    for words in says:
        assert words in sentence


def offline(repository: str, **_options) -> str:
    raise ConnectionError(f"no way to {repository}\nand a page of details")


@pytest.mark.usefixtures("unscored")
def test_a_hub_that_gives_nothing_is_one_sentence(books, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    sentence = compare_refused(2, "somebody/model", "--text", books)
    assert "no way to somebody/model" in sentence
    assert "page of details" not in sentence


@pytest.mark.usefixtures("unscored")
def test_a_model_that_is_no_language_model_is_refused_before_its_weights_are_fetched(
    books, monkeypatch, tmp_path
):
    fetched = []

    def download(_repository: str, allow_patterns: list[str], **_: object) -> str:
        fetched.extend(allow_patterns)
        (tmp_path / "config.json").write_text('{"model_type": "vit", "hidden_size": 12}')
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    sentence = compare_refused(1, "google/vit", "--text", books)
    assert "google/vit is a vit; only causal language models are read" in sentence
    assert "config.json" in fetched
    assert not any(".safetensors" in name and "index" not in name for name in fetched)


@pytest.fixture
def broken(model, tmp_path):
    """A copy of a checkpoint, to be broken."""
    return Path(shutil.copytree(model, tmp_path / "broken"))


@pytest.mark.usefixtures("unscored")
@pytest.mark.parametrize("name", FILES)
def test_a_folder_that_lacks_a_file_is_refused(broken, books, name):
    (broken / name).unlink()
    sentence = compare_refused(1, broken, "--text", books)
    assert sentence == f"checkpoint {broken} lacks {name}; it needs {', '.join(FILES)}"


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def pickled(path: Path) -> None:
    torch.save(load(path.read_bytes()), path)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def extra(path: Path) -> None:
    save_file(load(path.read_bytes()) | {"extra.weight": torch.zeros(2)}, path)


def missing(path: Path) -> None:
    tensors = load(path.read_bytes())
    tensors.pop("final_norm.weight")
    save_file(tensors, path)


def misshapen(path: Path) -> None:
    tensors = load(path.read_bytes())
    save_file(tensors | {"final_norm.weight": tensors["final_norm.weight"][:-1].clone()}, path)


def not_finite(path: Path) -> None:
    tensors = load(path.read_bytes())
    tensors["final_norm.weight"][0] = math.nan
    save_file(tensors, path)


@pytest.mark.usefixtures("unscored")
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (truncated, "is not a whole safetensors file"),
        (pickled, "is not a whole safetensors file"),
        (empty, "is not a whole safetensors file"),
        (extra, "has an extra extra.weight; it must hold exactly the model's tensors"),
        (missing, "lacks final_norm.weight; it must hold exactly the model's tensors"),
        (misshapen, "final_norm.weight has shape (31,); the config asks for (32,)"),
        (not_finite, "holds weights that are not finite"),
    ],
)
def test_damaged_weights_are_refused(broken, books, damage, says):
    damage(broken / "model.safetensors")
    sentence = compare_refused(1, broken, "--text", books)
    assert says in sentence
    assert str(broken / "model.safetensors") in sentence


@pytest.mark.usefixtures("unscored")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"layers": 10**12}, "layers is 1000000000000; it must be from 1 to 1024"),
        ({"width": -32}, "width is -32; it must be from 1"),
        ({"vocab_size": 10**12}, "vocab_size is 1000000000000"),
        ({"train_length": 0}, "train_length is 0; it must be from 1"),
        ({"heads": 5}, "heads must divide half the width"),
        ({"heads": True}, "heads is True; it must be a whole number"),
        ({"width": "32"}, "width is '32'; it must be a whole number"),
        ({"layers": 2}, "lacks blocks.1."),
        ({"variant": "lsar"}, "did you mean 'lssar'?"),
        ({"variant": None}, "variant is not one"),
        ({"position": "absolute"}, "position is 'absolute'"),
        ({"position": {"kind": "rope", "base": -1}}, "the RoPE base is -1"),
        ({"format": 3}, "format is 3; this reads formats 1 and 2"),
        ({"format": 2}, "position is {'kind': 'rope', 'base': 10000.0}; its kind must be 'layers'"),
    ],
)
def test_an_absurd_config_is_refused(broken, books, change, says):
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | change))
    assert says in compare_refused(1, broken, "--text", books)


@pytest.mark.usefixtures("unscored")
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "curve.json"])
@pytest.mark.parametrize("content", ["{", "[1]", "\0\xff", "[" * 100_000])
def test_a_file_that_is_not_json_of_its_kind_is_refused(broken, books, name, content):
    (broken / name).write_text(content, encoding="latin-1")
    assert str(broken / name) in compare_refused(1, broken, "--text", books)


# Text


@pytest.mark.usefixtures("unscored")
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty; it must hold text"),
        (b" \n\t\n", "is empty; it must hold text"),
        (b"\x7fELF\0\0\0", "is binary; it must be UTF-8 text"),
        ("caf\xe9 ".encode("latin-1") * 500, "is not UTF-8 text: byte 3 is not valid"),
    ],
)
def test_a_file_that_is_no_text_is_refused(model, tmp_path, content, says):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    assert compare_refused(1, model, "--text", path) == f"{path} {says}"


@pytest.mark.usefixtures("unscored")
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "standard input is empty; pipe a text into it"),
        (b"\x7fELF\0\0\0", "standard input is binary; it must be UTF-8 text"),
        ("caf\xe9 ".encode("latin-1"), "standard input is not UTF-8 text: byte 3 is not valid"),
    ],
)
def test_standard_input_that_is_no_text_is_refused(model, content, says):
    assert compare_refused(1, model, "--text", "-", stdin=content) == says


@pytest.mark.usefixtures("unscored")
def test_a_folder_without_text_is_refused(model, tmp_path):
    (tmp_path / "picture.png").write_bytes(b"\0")
    sentence = compare_refused(2, model, "--text", tmp_path)
    assert sentence == f"no text in the folder {tmp_path}: no file in it is UTF-8 text"


@pytest.mark.usefixtures("unscored")
def test_a_text_too_short_is_told_its_length_and_what_would_fit(model, exact):
    sentence = compare_refused(2, model, "--text", exact, "--len", "16x")
    assert sentence == (
        "the text is too short: exact.txt has 129 tokens and 513 are needed; "
        "give a longer text, or --len 128 or less"
    )


def test_what_is_said_to_fit_fits(model, exact):
    exact.write_text(exact.read_text() + "x")  # 130 or 131 tokens: not a multiple of 32, plus 1
    sentence = compare_refused(2, model, "--text", exact, "--len", "16x")
    fits = re.search(r"--len (\d+) or less", sentence)
    assert fits
    assert compare(model, "--text", exact, "--len", fits[1]).code == 0


@pytest.mark.usefixtures("unscored")
def test_where_no_length_would_fit_none_is_offered(model):
    sentence = compare_refused(2, model, "--text", "-", "--len", "1x", stdin="a b")
    assert sentence.startswith("the text is too short: standard input has ")
    assert sentence.endswith("tokens and 33 are needed; give a longer text")


# Outputs


@pytest.mark.usefixtures("unscored")
@pytest.mark.parametrize("kind", EVERY_OUTPUT)
def test_an_output_that_cannot_be_written_is_refused_before_scoring(model, books, tmp_path, kind):
    def refused(path: Path) -> str:
        return compare_refused(2, model, "--text", books, f"--{kind}", path)

    missing_folder = tmp_path / "nowhere" / f"x.{kind}"
    assert f"the folder {missing_folder.parent} does not exist" in refused(missing_folder)
    folder = tmp_path / f"folder.{kind}"
    folder.mkdir()
    assert f"cannot write {folder}: it is a folder" in refused(folder)
    for wrong in ("x.pdf", "x"):
        assert f"the name must end in .{kind}" in refused(tmp_path / wrong)
    assert listing(tmp_path) == [folder.name]


@pytest.mark.usefixtures("unscored")
def test_a_read_only_folder_is_refused_before_scoring(model, books, tmp_path, monkeypatch):
    monkeypatch.setattr(files.os, "access", lambda *_: False)  # root may write anywhere
    sentence = compare_refused(2, model, "--text", books, "--csv", tmp_path / "x.csv")
    assert sentence == f"cannot write {tmp_path / 'x.csv'}: the folder {tmp_path} is not writable"


def disk_full(*_args, **_options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def half_written(self, text: str, **_options):
    with self.open("w", encoding="utf-8") as file:
        file.write(text[: len(text) // 2])
    disk_full()


@pytest.mark.parametrize("kind", ["html", "csv", "npz"])
def test_a_full_disk_is_a_failure_that_leaves_what_was_there(
    model, books, tmp_path, monkeypatch, kind
):
    path = tmp_path / f"x.{kind}"
    path.write_text("old")
    monkeypatch.setattr(Path, "write_text", half_written)
    monkeypatch.setattr(np, "savez_compressed", disk_full)
    monkeypatch.setattr(exports.csv.DictWriter, "writerows", disk_full)
    done = compare(model, "--text", books, "--len", "2x", "--texts", "1", f"--{kind}", path)
    assert done.code == 1
    assert done.sentence == f"cannot write {path}: No space left on device"
    assert "Mean loss" in done.out  # what was measured is not lost with the file
    assert listing(tmp_path) == [path.name]
    assert path.read_text() == "old"


# What stops a comparison on its way


@pytest.fixture
def stops(monkeypatch):
    """Scoring the second text raises the error given."""

    def arrange(error: BaseException) -> None:
        score, texts = score_texts, []

        def failing(*args, **options):
            texts.append(args)
            if len(texts) > 1:
                raise error
            return score(*args, **options)

        monkeypatch.setattr(comparison, "score_texts", failing)

    return arrange


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (KeyboardInterrupt(), 130, "stopped; nothing half-written was left"),
        (MemoryError(), 1, "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 1, "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), 1, "out of memory"),
    ],
)
def test_what_stops_scoring_is_one_sentence_and_leaves_no_file(
    model, books, tmp_path, stops, error, code, says
):
    stops(error)
    outputs = ("--csv", tmp_path / "x.csv", "--npz", tmp_path / "x.npz")
    done = compare(model, "--text", books, "--len", "2x", *outputs, "--html", tmp_path / "x.html")
    assert (done.code, done.out) == (code, "")
    assert done.sentence.startswith(says)
    assert listing(tmp_path) == []


@pytest.fixture
def two_rows(trained):
    """Words for a comparison of two rows, the first `lssar:p=15`."""
    return [word for folder in trained.values() for word in ("--checkpoint", folder)]


@pytest.fixture
def second_row_raises(monkeypatch):
    """Scoring the second row raises the error given."""

    def arrange(error: BaseException) -> None:
        score, rows = comparison._score_row, []

        def failing(*args, **options):
            rows.append(args)
            if len(rows) == 2:
                raise error
            return score(*args, **options)

        monkeypatch.setattr(comparison, "_score_row", failing)

    return arrange


@pytest.mark.parametrize(
    ("stopped", "code"), [(KeyboardInterrupt(), 130), (KeyboardInterrupt(signal.SIGTERM), 143)]
)
def test_a_signal_keeps_the_rows_that_are_finished(
    two_rows, books, tmp_path, model, second_row_raises, stopped, code
):
    words = ("--text", books, "--len", "2x", "--texts", "2")
    whole = result_of(model, *words)
    outputs = ("--csv", tmp_path / "x.csv", "--npz", tmp_path / "x.npz")
    second_row_raises(stopped)
    done = freeatten("compare", *two_rows, *words, *outputs, "--json")
    assert done.code == code
    assert done.sentence == "stopped; what was finished is given: 1 of 2 rows"
    assert done.result["variants"] == whole["variants"]
    assert (done.result["partial"], done.result["rows_asked"]) == (True, 2)
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        assert {line["partial"] for line in csv.DictReader(file)} == {"True"}
    assert listing(tmp_path) == ["x.csv", "x.npz"]


def test_a_part_is_shown_and_drawn_as_a_part(two_rows, books, tmp_path, second_row_raises):
    page, said = tmp_path / "x.html", "stopped: 1 of 2 rows, the rest was not finished"
    second_row_raises(KeyboardInterrupt())
    shown = freeatten("compare", *two_rows, "--text", books, "--len", "2x", "--html", page)
    assert said in shown.out
    assert said in page.read_text(encoding="utf-8")
    assert "partial" not in freeatten("compare", *two_rows, "--text", books, "--len", "2x").out


def test_a_row_that_fails_is_marked_and_the_others_stand(two_rows, model, books, tmp_path):
    words = ("--text", books, "--len", "8x", "--texts", "2")
    table, page = tmp_path / "x.csv", tmp_path / "x.html"
    alone = result_of(model, *words)
    function = tmp_path / "short.py"
    function.write_text(SHORT)
    broken = f"{model}+swap:to={function}:short"
    call = ("compare", "--checkpoint", broken, *two_rows, *words, "--csv", table, "--html", page)
    done = freeatten(*call, "--json")
    assert done.code == 1
    assert "lssar:p=15+swap:to=short.py:short: failed: short.py:short failed" in done.sentence
    failed, first, second = done.result["variants"]
    assert (first, second["variant"]) == (alone["variants"][0], "softmax")
    assert failed["verdict"] == "failed"
    assert failed["error"].endswith("RuntimeError: no more than 64 tokens (short.py, line 11)")
    assert failed["loss"] == [None] * 4
    with table.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["error"] for line in lines[:4]} == {failed["error"]}
    assert {line["error"] for line in lines[4:]} == {""}
    shown = freeatten(*call)
    assert "failed: short.py:short failed on query" in shown.out
    found = set(listing(tmp_path)) - {"__pycache__"}  # Python's own, unless it was told not to
    assert found == {"short.py", "x.csv", "x.html"}


def test_what_is_not_finite_is_named_with_its_place(model, books, tmp_path):
    function = tmp_path / "nan.py"
    function.write_text(SHORT)
    row = f"{model}+swap:to={function}:broken"
    words = ("compare", "--checkpoint", row, "--text", books, "--len", "8x", "--texts", "2")
    done = freeatten(*words, "--csv", tmp_path / "x.csv", "--json")
    assert done.code == 1
    (entry,) = done.result["variants"]
    text = next(iter(done.result["text"]["manifest"]))
    assert entry["first_not_finite"] == {
        "length": 128,
        "text": text,
        "position": 81,
        "losses": 2 * (2 * (128 - 80) + (256 - 80)),
    }
    where = f"not finite: 544 losses, the first at 128 tokens: target 81 of the text from {text}"
    assert where in done.sentence
    assert where in freeatten(*words).out
    assert f",128,{text},81," in (tmp_path / "x.csv").read_text(encoding="utf-8")


def test_a_file_that_repeats_another_is_said_to_be_left_out(model, books, tmp_path):
    for name in ("0.txt", "1.txt"):
        shutil.copy(books / name, tmp_path / name)
    shutil.copy(books / "0.txt", tmp_path / "again.txt")
    result = result_of(model, "--text", tmp_path, "--len", "2x")
    text = result["text"]
    assert (result["texts"], text["files"], text["qualifying"], text["repeats"]) == (2, 3, 2, 1)
    shown = compare(model, "--text", tmp_path, "--len", "2x")
    assert "(3 files in all; 1 of them repeats another's text and is left out)" in shown.out


def test_a_bug_in_scoring_keeps_its_traceback(model, books, stops):
    stops(ValueError("operands could not be broadcast together"))
    with pytest.raises(ValueError, match="could not be broadcast"):
        compare(model, "--text", books, "--len", "2x")


def test_ctrl_c_while_it_scores_is_130(model, tmp_path):
    folder = tmp_path / "text"
    folder.mkdir()
    for index in range(60):
        (folder / f"{index}.txt").write_text(prose(index, 2400))
    page = tmp_path / "x.html"
    words = ["--text", str(folder), "--len", "64x", "--texts", "60", "--html", str(page)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    call = [*PROCESS, "compare", "--checkpoint", str(model), *words]
    with started(call, **pipes, env=process_environment() | {"COLUMNS": "500"}) as process:
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert "(provisional: 1 of 60 texts)" in first + err
    assert (process.returncode, out) == (130, "")
    assert "stopped; nothing half-written was left" in err
    assert "Traceback" not in err
    assert listing(tmp_path) == ["text"]
