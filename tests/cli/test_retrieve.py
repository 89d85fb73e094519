"""`freeatten retrieve` prints what the library measures, and bad input is a sentence."""

import csv
import json
import shlex

import pytest
from terminal import freeatten, listing, refusal

from freeatten_core import load_checkpoint
from freeatten_core.data.documents import path_documents
from freeatten_core.measures.copying import CopyRequest, copy_retrieval
from freeatten_core.models.rows import Row

LENGTHS = [16, 32, 64, 128]
LITTLE = shlex.split(
    "--length 64 --width 16 --layers 1 --heads 1 --batch 4 --lr 1e-2 --steps 4 --evaluate-every 2"
)


@pytest.fixture(scope="session")
def recalling(tmp_path_factory):
    """Checkpoint folders of two variants of the recall task, hardly trained."""
    folder = tmp_path_factory.mktemp("recalling")
    folders = {"softmax": folder / "softmax", "lssa": folder / "lssa"}
    for variant, out in folders.items():
        done = freeatten("train", "--task", "recall", "--variant", variant, "--out", out, *LITTLE)
        assert done.code == 0, done.err
    return folders


def copied(model, books, *words, **settings):
    where = ("--checkpoint", model, "--text", books, "--len", "4x", "--samples", "3")
    done = freeatten("retrieve", *where, *words, **settings)
    assert done.code == 0, done.err
    return done


def recalled(recalling, *words, **settings):
    models = [word for path in recalling.values() for word in ("--checkpoint", path)]
    where = ("--task", "recall", *models, "--len", "2x", "--samples", "3")
    done = freeatten("retrieve", *where, *words, **settings)
    assert done.code == 0, done.err
    return done


# copying


def test_copying_as_json_is_what_the_library_measures(model, books):
    result = copied(model, books, "--json").result
    checkpoint = load_checkpoint(model)
    request = CopyRequest(
        rows=[Row(checkpoint.config.variant, checkpoint)],
        lengths=LENGTHS,
        block=8,
        documents=path_documents(books),
        source=str(books),
        command="freeatten retrieve",
        samples=3,
    )
    wanted = copy_retrieval(request)
    assert (result["lengths"], result["block"], result["samples"]) == (LENGTHS, 8, 3)
    assert result["text"] == wanted["text"]
    (entry,), (expected,) = result["variants"], wanted["variants"]
    for key in ("gain", "loss", "control"):
        assert entry[key] == pytest.approx(expected[key], abs=1e-4)


def test_copying_prints_gain_control_chart_and_how_to_repeat_it(model, books):
    done = copied(model, books, "--block", "5")
    for words in (
        "Gain from copying",
        "without its first copy",
        "┊ trained up to 32 tokens",
        "a block of 5 tokens",
        "3 samples of",
        "again: freeatten retrieve",
    ):
        assert words in done.out
    assert "lssar:p=15  16: " in done.err  # the row as it was measured
    assert "effective length" in copied(model, books, columns=120).out


@pytest.mark.parametrize("columns", [50, 80, 120])
@pytest.mark.parametrize("task", ["copy", "recall"])
def test_it_fits_the_window(model, books, recalling, columns, task):
    run = copied(model, books, columns=columns) if task == "copy" else None
    out = (run or recalled(recalling, columns=columns)).out
    assert max(map(len, out.splitlines())) <= columns


def test_the_seed_chooses_the_samples(model, books):
    one, same, other = (
        copied(model, books, "--json", "--seed", seed).result for seed in ("0", "0", "1")
    )
    assert one["variants"] == same["variants"]
    assert one["text"]["sha256"] != other["text"]["sha256"]


# recall


def test_recall_as_json(recalling):
    result = recalled(recalling, "--json").result
    assert (result["task"], result["lengths"], result["samples"]) == ("recall", [32, 64, 128], 3)
    assert [row["variant"] for row in result["variants"]] == ["softmax", "lssa"]
    assert all(0 <= value <= 1 for row in result["variants"] for value in row["accuracy"])
    assert result["distances"] == [32, 64, 128]


def test_recall_prints_accuracy_distance_chart_and_how_to_repeat_it(recalling):
    out = recalled(recalling).out
    for words in (
        "% of queries answered right",
        "by the distance to the answer",
        "┊ trained up to 64 tokens",
        "a guess is right in 6.2 %",
        "again: freeatten retrieve --task recall",
    ):
        assert words in out


def test_recall_shows_distance_only_beyond_the_training_length(recalling):
    assert "distance to the answer" not in recalled(recalling, "--len", "1x").out


@pytest.mark.parametrize("task", ["flip-flop", "passkey", "forgetting"])
def test_other_tasks_are_trained_and_measured_by_their_names(task, tmp_path):
    model = tmp_path / "model"
    done = freeatten("train", "--task", task, "--variant", "lssa", "--out", model, *LITTLE)
    assert done.code == 0, done.err
    words = ("--task", task, "--checkpoint", model, "--len", "64,128", "--samples", "2")
    result = freeatten("retrieve", *words, "--json").result
    assert (result["task"], result["lengths"][-1]) == (task, 128)
    assert result[task]["kind"] == task
    shown = freeatten("retrieve", *words, "--html", tmp_path / "page.html")
    assert "a guess is right in" in shown.out
    assert "Does it" in (tmp_path / "page.html").read_text()


# files


@pytest.mark.parametrize("task", ["copy", "recall"])
def test_csv_has_a_line_a_variant_and_length(model, books, recalling, task, tmp_path):
    path = tmp_path / "lines.csv"
    if task == "copy":
        result = copied(model, books, "--json", "--csv", path).result
    else:
        result = recalled(recalling, "--json", "--csv", path).result
    lines = list(csv.DictReader(path.open()))
    assert len(lines) == len(result["variants"]) * len(result["lengths"])
    key = "gain" if task == "copy" else "accuracy"
    for line in lines:
        (row,) = (row for row in result["variants"] if row["variant"] == line["variant"])
        index = result["lengths"].index(int(line["length"]))
        low, high = row[f"{key}_ci95"][index]
        assert [float(line[k]) for k in (key, f"{key}_low", f"{key}_high")] == [
            row[key][index],
            low,
            high,
        ]


@pytest.mark.parametrize("task", ["copy", "recall"])
def test_the_chart_is_a_page_of_one_file(model, books, recalling, task, tmp_path):
    path = tmp_path / "chart.html"
    if task == "copy":
        copied(model, books, "--html", path)
    else:
        recalled(recalling, "--html", path)
    page = path.read_text()
    assert ("copy" if task == "copy" else "pairs") in page
    assert ' src="http' not in page  # an attribute; the library's own code names hosts too
    assert listing(tmp_path) == ["chart.html"]


# what is refused


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--task", "sort"), "--task is 'sort'; it can be copy, recall, mqar"),
        (("--len", "0"), "--len '0'"),
        (("--len", "15"), "15 tokens cannot hold a block of 8 twice"),
        (("--block", "40"), "a block of 40 twice"),
        (("--len", "9000x"), "the text is too short"),
        (("--html", "chart.png"), "must end in .html"),
        (("--csv", "/nowhere/lines.csv"), "does not exist"),
        (("--variants", "softplus"), "no shipped checkpoint of softplus"),
    ],
)
def test_bad_input_for_copying_gets_one_sentence(model, books, words, says):
    assert says in refusal(2, "retrieve", "--checkpoint", model, "--text", books, *words)


def test_a_single_file_is_refused(model, books):
    sentence = refusal(2, "retrieve", "--checkpoint", model, "--text", books / "0.txt")
    assert "at least 2 files" in sentence


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--text", "stdlib"), "--text is for --task copy"),
        (("--block", "8"), "--block is for --task copy"),
        (("--len", "20"), "recall of 16 pairs needs at least 32 tokens; the length is 20"),
        (("--variants", "softplus"), "no shipped recall model of softplus"),
        (("--task", "mqar"), "was trained on the recall task, not on mqar"),
    ],
)
def test_bad_input_for_recall_gets_one_sentence(recalling, words, says):
    where = ("--task", "recall", "--checkpoint", recalling["softmax"])
    assert says in refusal(2, "retrieve", *where, *words)


def test_a_model_of_the_other_task_is_refused(model, books, recalling):
    sentence = refusal(2, "retrieve", "--checkpoint", recalling["softmax"], "--text", books)
    assert "freeatten retrieve --task recall measures it" in sentence
    sentence = refusal(2, "compare", "--checkpoint", recalling["softmax"], "--text", books)
    assert "reads no text" in sentence
    sentence = refusal(2, "retrieve", "--task", "recall", "--checkpoint", model)
    assert "was trained on text" in sentence


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--task", "recall", "--text", "packages"), "--tokenizer and --from are for --task text"),
        (("--task", "recall", "--vocab", "300"), "--text, --corpus, --vocab, --tokenizer and"),
        (("--task", "sort"), "--task is 'sort'; it can be text, recall"),
        ((), "--text is missing"),
        (("--task", "recall", "--length", "16"), "needs at least 32 tokens"),
    ],
)
def test_bad_input_for_training_gets_one_sentence(tmp_path, words, says):
    out = tmp_path / "mine"
    assert says in refusal(2, "train", "--variant", "softmax", "--out", out, *words)
    assert listing(tmp_path) == []


def test_json_has_no_number_that_json_lacks(model, books, recalling):
    for done in (
        copied(model, books, "--json", "--samples", "1"),
        recalled(recalling, "--json", "--samples", "1"),
    ):
        json.loads(done.out, parse_constant=pytest.fail)
