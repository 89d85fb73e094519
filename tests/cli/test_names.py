"""Any name that a file can have works as a text, a checkpoint, an output and a function's path."""

import csv
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
from bounds import ended
from freeatten_cli.options import command_line
from terminal import PROCESS, freeatten, process_environment, prose, refusal

from freeatten_core.ops.definitions import own_function

NEAR = Path(__file__).resolve().parents[2] / "examples" / "near.py"
ODD = [
    "two\nlines",
    "[red]brackets[bold]",
    "c++",
    "a@b",
    "C:\\x",
    "a,b",
    "50%20 %{y}",
    "<b>tags<script>&amp;",
    "$(x) `y` 'z' \"q\" ;",
    "naïve 中 ▼",
    "=1",
]


@pytest.fixture(autouse=True)
def as_in_a_new_process(monkeypatch):
    monkeypatch.setattr(own_function, "_allowed", {})


@pytest.fixture(params=ODD)
def odd(request, tmp_path):
    """A folder of an odd name."""
    folder = tmp_path / request.param
    folder.mkdir()
    return folder


def test_an_odd_name_works_wherever_a_name_is_given(odd, trained):
    name = odd.name
    texts = odd / name
    texts.mkdir()
    for index in range(2):
        (texts / f"{index}{name}.txt").write_text(prose(index, 400))
    model = Path(shutil.copytree(trained["softmax"], odd / f"model{name}"))
    function = Path(shutil.copy(NEAR, odd / f"{name}.py"))
    page, table = odd / f"{name}.html", odd / f"{name}.csv"
    words = ["--checkpoint", model, "--checkpoint", f"{model}+swap:to={function}:near"]
    words += ["--text", texts, "--len", "2x", "--html", page, "--csv", table]
    result = freeatten("compare", *words, "--json").result
    assert [row["checkpoint"] for row in result["variants"]] == [str(model)] * 2
    assert result["variants"][1]["variant"] == f"softmax+swap:to={name}.py:near"
    assert result["text"]["source"] == str(texts)
    assert set(result["text"]["manifest"]) == {f"{index}{name}.txt" for index in range(2)}
    with table.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["checkpoint"] for line in lines} == {str(model)}
    assert {line["text_source"] for line in lines} == {str(texts)}
    assert "<script>&amp;" not in page.read_text(encoding="utf-8").split("<body>")[0]
    shown = freeatten("compare", *words)
    assert shown.code == 0, shown.err
    assert f"of {texts} that" in shown.out
    assert f"softmax+swap:to={name}.py:near"[:13] in shown.out


@pytest.mark.parametrize("folder", ["c++", "a,b", "a@b", "C:\\x", "[red]", "two\nlines", "x+yarn"])
def test_a_function_in_an_odd_folder_is_trained_with_and_named(folder, books, tmp_path):
    place = tmp_path / folder
    place.mkdir()
    path = Path(shutil.copy(NEAR, place / "near.py"))
    words = ["--length", "32", "--width", "32", "--layers", "1", "--heads", "1", "--vocab", "320"]
    words += ["--batch", "4", "--lr", "1e-2", "--steps", "2", "--evaluate-every", "2"]
    model = place / "model"
    trained = freeatten(
        "train", "--variant", f"{path}:near", "--text", books, "--out", model, *words
    )
    assert trained.code == 0, trained.err
    for modifiers in ("", "+logn"):
        named = f"{model}@{path}:near{modifiers}"
        done = freeatten("compare", "--checkpoint", named, "--text", books, "--len", "2x", "--json")
        assert done.code == 0, done.err
        assert done.result["variants"][0]["variant"] == f"near.py:near{modifiers}"
    told = refusal(2, "compare", "--checkpoint", f"{model}@{place}/far.py:far", "--text", books)
    assert told.replace(" ", "").startswith(
        f"cannotread{place}/far.py".replace(" ", "").replace("\n", "")
    )


@pytest.mark.parametrize("folder", ["c++", "a+b@c", "x+yarn"])
def test_a_relative_path_with_a_plus_is_no_name_of_a_hub(folder, trained, tmp_path, monkeypatch):
    place = tmp_path / folder
    place.mkdir()
    shutil.copytree(trained["softmax"], place / "judge")
    shutil.copy(NEAR, place / "near.py")
    for index in range(2):
        (place / f"{index}.txt").write_text(prose(index, 400))
    monkeypatch.chdir(tmp_path)
    function = f"{folder}/near.py:near"
    words = ["--length", "32", "--width", "32", "--layers", "1", "--heads", "1", "--batch", "4"]
    words += ["--lr", "1e-2", "--steps", "2", "--text", folder, "--out", f"{folder}/model"]
    tokenizer = ("--tokenizer", f"{folder}/judge")
    assert freeatten("train", "--variant", function, *tokenizer, *words).code == 0
    named = ("--checkpoint", f"{folder}/model@{function}", "--text", folder, "--json")
    judge = ("--evaluator", f"{folder}/model@{function}", "--len", "64", "--truncate", "16")
    for call in (("compare", "--len", "2x"), ("field", "--len", "2x"), ("longppl", *judge)):
        done = freeatten(*call, *named)
        assert done.code == 0, done.err
        assert done.result["variants"][0]["variant"] == "near.py:near"


def test_commas_of_a_path_do_not_end_a_variant_of_a_list(tmp_path):
    (tmp_path / "a,b").mkdir()
    path = shutil.copy(NEAR, tmp_path / "a,b" / "near.py")
    listed = f"softmax, softmax+swap:to={path}:near,softmax+swap:to={path}:near+logn,lssa"
    done = freeatten("compare", "--variants", f"{listed},sofmax")
    assert (done.code, done.sentence) == (2, "unknown variant 'sofmax'; did you mean 'softmax'?")


def test_names_that_are_not_utf_8_cost_no_result(trained, tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    Path(folder).mkdir()
    for index in range(2):
        Path(folder, os.fsdecode(b"t\xe9xt%d.txt" % index)).write_text(prose(index, 400))
    model = str(trained["softmax"])
    files = {kind: Path(f"{folder}/out.{kind}") for kind in ("csv", "html", "npz")}
    words = [word for kind, path in files.items() for word in (f"--{kind}", str(path))]
    done = ended(
        [*PROCESS, "compare", "--checkpoint", model, "--text", folder, "--len", "2x", *words],
        capture_output=True,
        env=process_environment(),
    )
    assert done.returncode == 0, done.stderr
    assert rb"/caf\xe9 that" in done.stdout.replace(b"\n", b" ").replace(b"  ", b" ")
    assert all(path.stat().st_size for path in files.values())
    with files["csv"].open(encoding="utf-8", newline="") as file:
        assert next(csv.DictReader(file))["text_source"] == f"{tmp_path}/caf\\xe9"


def test_a_model_can_be_trained_on_names_that_are_not_utf_8(tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    Path(folder).mkdir()
    for index in range(4):
        Path(folder, os.fsdecode(b"t\xe9xt%d.txt" % index)).write_text(prose(index, 800))
    words = ["--length", "32", "--width", "32", "--layers", "1", "--heads", "1", "--vocab", "320"]
    words += ["--batch", "4", "--lr", "1e-2", "--steps", "2", "--evaluate-every", "2"]
    out = tmp_path / "model"
    call = ["train", "--variant", "softmax", "--text", folder, *words, "--out"]
    done = freeatten(*call, out)
    assert done.code == 0, done.err
    assert r"caf\xe9" in (out / "README.md").read_text(encoding="utf-8")
    assert "needs a path in UTF-8" in refusal(2, *call, f"{folder}/model")
    moved = shutil.copytree(out, f"{folder}/model")
    assert "needs a path in UTF-8" in refusal(2, "compare", "--checkpoint", moved)


@pytest.mark.parametrize(
    "word", ["plain", "two words", "it's", "two\nlines", os.fsdecode(b"caf\xe9"), "naïve", ""]
)
def test_the_command_can_be_typed_again(word, monkeypatch):
    monkeypatch.setattr("sys.argv", ["freeatten", "compare", "--text", word])
    command = command_line()
    assert "\n" not in command
    command.encode()
    if word.isprintable():
        assert shlex.split(command)[-1] == word
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    echoed = command.replace("freeatten", "printf '%s\\0'", 1)
    done = ended([bash, "-c", echoed], capture_output=True, check=True)
    assert done.stdout == b"".join(
        os.fsencode(each) + b"\0" for each in ("compare", "--text", word)
    )


@pytest.mark.parametrize("option", ["--text", "--checkpoint"])
def test_an_empty_name_is_not_the_current_folder(option, trained, books):
    words = {"--checkpoint": trained["softmax"], "--text": books} | {option: ""}
    told = refusal(2, "compare", *(word for pair in words.items() for word in pair))
    assert re.match("'' is no path", told)
