"""`freeatten languages` prints what is measured, trains once, and refuses in a sentence."""

import csv
import shlex

import pytest
from terminal import freeatten, listing, refusal

SMALL = shlex.split(
    "--variants softmax,lssa --languages parity-check,even-pairs --steps 2 --batch 4 --width 8 "
    "--layers 1 --heads 1 --longest 60 --samples 1"
)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder of hardly trained models."""
    folder = tmp_path_factory.mktemp("languages") / "models"
    assert freeatten("languages", "--out", folder, *SMALL, "--json").code == 0
    return folder


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_it_prints_both_tables_within_the_window(models, columns):
    done = freeatten("languages", "--out", models, *SMALL, columns=columns)
    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= columns
    for words in ("% right, 41 to 60", "% right, 1 to 40", "lssa", "again: freeatten languages"):
        assert words in done.out


def test_json_csv_and_picture_say_the_same(models, tmp_path):
    lines, page = tmp_path / "lines.csv", tmp_path / "page.html"
    words = ("--json", "--csv", lines, "--html", page)
    result = freeatten("languages", "--out", models, *SMALL, *words).result
    found = list(csv.DictReader(lines.open()))
    assert len(found) == 2 * 2 * 3
    first, cell = found[0], result["variants"][0]["languages"][0]
    assert float(first["accuracy"]) == cell["accuracy_by_length"][0]
    assert (first["from"], first["to"]) == ("1", "20")
    assert "Parity check" in page.read_text()


def test_its_models_are_checkpoints_of_the_task(models):
    assert listing(models) == [
        f"{variant}.{language}.0"
        for variant in ("lssa", "softmax")
        for language in ("even-pairs", "parity-check")
    ]
    sentence = refusal(2, "compare", "--checkpoint", models / "softmax.parity-check.0")
    assert "trained on a task and reads no text" in sentence


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--languages", "dyck"], "no language 'dyck'"),
        (["--longest", "40"], "longer than those trained on, 40"),
        (["--steps", "3"], "trained in another way: steps was 2 and is 3 now"),
        (["--variants", "softmx"], "softmx"),
        (["--csv", "lines.txt"], "must end in .csv"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(models, words, says):
    assert says in refusal(2, "languages", "--out", models, *SMALL, *words)


def test_quiet_gives_the_result_alone(models):
    loud, quiet = (
        freeatten("languages", "--out", models, *SMALL, "--json", *more)
        for more in ((), ("--quiet",))
    )
    assert quiet.err == ""
    assert "% right beyond" in loud.err
    assert quiet.result["variants"] == loud.result["variants"]
