"""`freeatten train`: a checkpoint that can be compared, a killed run that goes on."""

import json
import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest
from bounds import ended, started
from freeatten_cli.terminal import learning
from terminal import (
    PROCESS,
    QUICK,
    SIZES,
    Done,
    freeatten,
    listing,
    process_environment,
    prose,
    refusal,
)

from freeatten_core.data import prepared
from freeatten_core.models.format import FILES
from freeatten_core.training import state


def train(books: Path, out: Path, *words: str | Path, variant: str = "lssa") -> Done:
    return freeatten("train", "--variant", variant, "--text", books, "--out", out, *QUICK, *words)


def train_refused(code: int, books: Path, out: Path, *words: str, variant: str = "lssa") -> str:
    given = ["--variant", variant, "--text", books, "--out", out, *QUICK, *words]
    return refusal(code, "train", *given)


@pytest.fixture
def interrupted(monkeypatch):
    """Ctrl-C at the report of one step; afterwards, calls run to their end."""

    def run(step: int, *arguments, **options) -> Done:
        show = learning.LearningView.progress

        def stop(self, progress):
            show(self, progress)
            if (progress.phase, progress.step) == ("train", step):
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(learning.LearningView, "progress", stop)
            return train(*arguments, **options)

    return run


def test_a_run_makes_a_checkpoint_that_compare_takes(books, tmp_path):
    out = tmp_path / "new" / "model"
    done = train(books, out)
    assert (done.code, done.out) == (0, "")
    assert listing(out) == sorted(FILES)
    assert listing(out.parent) == ["model"]  # neither state nor prepared text is left
    words = ("--checkpoint", out, "--text", books, "--len", "4x", "--json")
    compared = freeatten("compare", *words)
    assert compared.code == 0
    (row,) = compared.result["variants"]
    assert (row["variant"], row["train_length"]) == ("lssa", 32)
    assert row["loss"][0] < 5.5  # below the entropy of 320 equal tokens, 5.77


def test_what_made_it_is_in_the_curve_the_config_and_the_card(books, tmp_path):
    out = tmp_path / "model"
    train(books, out, "--seed", "3", variant="lssar:p=3")
    config = json.loads((out / "config.json").read_text())
    assert {key: config[key] for key in ("variant", "train_length", "width", "seed", "steps")} == {
        "variant": "lssar:p=3",
        "train_length": 32,
        "width": 32,
        "seed": 3,
        "steps": 12,
    }
    curve = json.loads((out / "curve.json").read_text())
    assert [point["step"] for point in curve["curve"]] == [4, 8, 12]
    assert (curve["learning_rate"], curve["searched"]) == (0.01, {})
    assert curve["text"]["sources"][0]["documents"] == [f"{index}.txt" for index in range(8)]
    program, *words = shlex.split(curve["command"])
    assert (program, words[:3]) == ("freeatten", ["train", "--variant", "lssar:p=3"])
    card = (out / "README.md").read_text(encoding="utf-8")
    assert curve["command"] in card
    assert "# freeatten: `lssar:p=3`" in card


def test_the_card_says_nothing_that_was_not_so(books, tmp_path):
    out = tmp_path / "model"
    train(books, out)  # 12 steps, so that the recipe's 300 steps of warm-up were 3; one rate
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "| warmup | 3 |" in card
    assert "search_steps" not in card
    assert "project's own" not in card
    assert "license" not in card  # that is for whoever trained it to say


def test_an_interrupted_run_goes_on_to_the_same_weights(books, tmp_path, interrupted):
    whole, out = tmp_path / "whole", tmp_path / "model"
    assert train(books, whole).code == 0
    stopped = interrupted(8, books, out)
    assert (stopped.code, stopped.out) == (130, "")
    assert stopped.sentence == "stopped; step 4 is kept, and the same command goes on from there"
    assert listing(tmp_path) == [".model.corpus", f".model.{state.STATE}", "whole"]
    again = train(books, out)
    assert again.code == 0
    assert "train 4/12" not in again.err  # not from the beginning
    assert "train 8/12" in again.err
    assert listing(tmp_path) == ["model", "whole"]
    weights = [(folder / "model.safetensors").read_bytes() for folder in (whole, out)]
    assert weights[0] == weights[1]
    curves = [json.loads((folder / "curve.json").read_text())["curve"] for folder in (whole, out)]
    assert curves[0] == curves[1]


NOT_UTF8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""Python then takes ASCII for files that name no encoding."""


def test_a_terminated_run_says_what_is_kept_and_leaves_nothing_else(books, tmp_path):
    out = tmp_path / "model"
    words = ["--variant", "lssa", "--text", books, "--out", out, *QUICK, "--steps", "1000000"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    call = [*PROCESS, "train", *map(str, words)]
    with started(call, **pipes, env=process_environment()) as process:
        assert any(" train 8/" in line for line in process.stderr)
        process.terminate()
        err = " ".join(line.strip("│ \n") for line in process.stderr)
        assert process.stdout.read() == ""
    assert process.returncode == 128 + signal.SIGTERM
    assert re.search(r"stopped; step [\d,]+ is kept, and the same command goes on from there", err)
    assert "Traceback" not in err
    assert listing(tmp_path) == [".model.corpus", f".model.{state.STATE}"]


def test_a_run_ends_whole_in_a_locale_that_is_not_utf8(books, tmp_path):
    words = ["--variant", "lssa", "--text", books, "--out", tmp_path / "model", *QUICK]
    done = ended(
        [*PROCESS, "train", *map(str, words)],
        capture_output=True,
        env=process_environment() | NOT_UTF8,
    )
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    assert "Δ is the loss minus" in (tmp_path / "model" / "README.md").read_text(encoding="utf-8")


def test_the_state_of_another_run_is_refused(books, tmp_path, interrupted):
    out = tmp_path / "model"
    interrupted(8, books, out)
    sentence = train_refused(2, books, out, "--seed", "9")
    assert "is the state of another run: seed was 0 and is 9 now; finish that run" in sentence


def copied(books: Path, folder: Path) -> Path:
    """A folder of the same name and the same file names, of other texts."""
    other = folder / books.name
    other.mkdir(parents=True)
    for path in books.iterdir():
        (other / path.name).write_text(path.read_text().replace("cat", "owl"))
    return other


@pytest.mark.parametrize("where", ["state", "corpus"])
def test_a_run_does_not_go_on_with_other_texts_of_the_same_name(
    books, tmp_path, interrupted, where
):
    out, other = tmp_path / "model", copied(books, tmp_path / "b")
    words = ("--corpus", str(tmp_path / "kept")) if where == "corpus" else ()
    interrupted(8, books, out, *words)
    before = listing(tmp_path)
    sentence = train_refused(2, other, out, *words)
    assert "sha256 of books was" in sentence
    assert listing(tmp_path) == before
    assert train(books, out, *words).code == 0  # nothing of it was lost


@pytest.mark.parametrize("kept", ["--corpus", None])
def test_text_cut_by_another_vocabulary_is_not_taken(books, tmp_path, interrupted, kept):
    words = (kept, str(tmp_path / "corpus")) if kept else ()
    interrupted(8, books, tmp_path / "model", *words)
    sentence = train_refused(2, books, tmp_path / "model", *words, "--vocab", "400")
    assert "vocab_size was 320 and is 400 now" in sentence


def test_a_size_is_a_recipe_that_other_options_change(books, tmp_path):
    words = "--size small --layers 1 --length 32 --vocab 320 --batch 4 --steps 2"
    out = ("--variant", "lssa", "--text", books, "--out", tmp_path / "model")
    done = freeatten("train", *out, *shlex.split(words))
    assert done.code == 0
    assert "2.0 million parameters" in done.err  # 13 · 384² + 320 · 384, and norms
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert [config[key] for key in ("layers", "width", "heads")] == [1, 384, 6]
    assert json.loads((tmp_path / "model" / "curve.json").read_text())["learning_rate"] == 3e-3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--size", "huge", "--text", "stdlib"), "--size is 'huge'; it can be small, medium"),
        (("--size", "small", "--task", "recall"), "--size is for --task text"),
    ],
)
def test_a_size_that_is_none_is_refused(tmp_path, words, said):
    out = ("--variant", "lssa", "--out", tmp_path / "model")
    assert said in refusal(2, "train", *out, *words)


def test_recall_does_not_go_on_where_text_was(books, tmp_path, interrupted):
    out = tmp_path / "model"
    interrupted(8, books, out)
    words = ("--task", "recall", "--variant", "lssa", "--out", out, "--steps", "4", "--lr", "1e-2")
    sentence = refusal(2, "train", *words)
    assert "is the state of another run: task was missing and is {'kind': 'recall'" in sentence


def test_a_folder_made_meanwhile_is_left_alone(books, tmp_path, monkeypatch):
    out = tmp_path / "model"
    show = learning.LearningView.progress

    def meddle(self, progress):
        show(self, progress)
        if progress.step == 12:
            out.mkdir()
            (out / "notes.txt").write_text("years of work")

    monkeypatch.setattr(learning.LearningView, "progress", meddle)
    done = train(books, out)
    assert (done.code, done.out) == (1, "")
    assert f"saved {tmp_path / 'model-2'}" in done.err
    assert "is left as it is; what was made is whole in" in done.sentence
    assert listing(out) == ["notes.txt"]
    assert listing(tmp_path / "model-2") == sorted(FILES)
    assert listing(tmp_path) == ["model", "model-2"]


def test_of_several_learning_rates_the_best_is_used_and_all_are_kept(books, tmp_path):
    out = tmp_path / "model"
    done = train(books, out, "--lr", "1e-5,1e-2", "--search-steps", "6")
    assert done.code == 0
    assert "search 6/6  lr 1e-05" in done.err
    assert "search 6/6  lr 0.01" in done.err
    curve = json.loads((out / "curve.json").read_text())
    assert list(curve["searched"]) == ["1e-05", "0.01"]
    assert curve["searched"]["0.01"] < curve["searched"]["1e-05"]
    assert curve["learning_rate"] == 0.01
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "the best of short runs of 6 steps" in card
    assert "| search_steps | 6 |" in card


def test_text_of_a_call_that_failed_is_not_trained_on(books, tmp_path):
    short, out = tmp_path / "short", tmp_path / "model"
    short.mkdir()
    (short / "0.txt").write_text("a few words")
    assert "no file of short is 33 tokens long" in train_refused(2, short, out)
    assert train(books, out).code == 0
    sources = json.loads((out / "curve.json").read_text())["text"]["sources"]
    assert [source["source"] for source in sources] == ["books"]


def test_a_kept_corpus_is_prepared_once(books, tmp_path, monkeypatch):
    corpus = ("--corpus", tmp_path / "corpus")
    assert "tokenizer: " in train(books, tmp_path / "one", *corpus).err
    monkeypatch.setattr(prepared, "_prepare", lambda *_: pytest.fail("prepared again"))
    done = train(books, tmp_path / "two", *corpus, variant="relu")
    assert done.code == 0
    assert listing(tmp_path) == ["corpus", "one", "two"]


def test_the_tokenizer_of_a_checkpoint_is_taken_and_losses_are_then_in_its_tokens(books, tmp_path):
    first, out, corpus = (tmp_path / name for name in ("first", "second", "corpus"))
    train(books, first)
    other = tmp_path / "other"
    other.mkdir()
    (other / "0.txt").write_text(prose(1, 4000))
    at = QUICK.index("--vocab")
    words = [*QUICK[:at], *QUICK[at + 2 :], "--tokenizer", first, "--corpus", corpus]
    done = freeatten("train", "--variant", "relu", "--text", other, "--out", out, *words)
    assert (done.code, done.out) == (0, "")
    assert "tokenizer: " not in done.err  # none was learned
    assert (out / "tokenizer.json").read_bytes() == (first / "tokenizer.json").read_bytes()
    words = ("--checkpoint", first, "--checkpoint", out, "--text", books, "--len", "2x", "--json")
    assert freeatten("compare", *words).result["tokenizers"] == 1


def test_a_corpus_of_another_tokenizer_is_not_taken(books, tmp_path):
    corpus = ("--corpus", str(tmp_path / "corpus"))
    assert train(books, tmp_path / "one", *corpus).code == 0
    words = ["--variant", "lssa", "--text", books, "--out", tmp_path / "two", *corpus]
    sentence = refusal(2, "train", *words, "--tokenizer", "softmax")
    assert "prepared otherwise: tokenizer was " in sentence


def test_a_tokenizer_is_either_taken_or_learned(books, tmp_path):
    said = train_refused(2, books, tmp_path / "model", "--tokenizer", "softmax")
    assert said == (
        "--vocab 320 is of a tokenizer to be learned, --tokenizer takes that of softmax; leave "
        "one of them out"
    )


def test_a_checkpoint_is_trained_on_in_its_size_and_tokens(books, tmp_path):
    first, out = tmp_path / "first", tmp_path / "second"
    train(books, first, variant="softmax")
    words = ["--text", books, "--out", out, "--lr", "1e-3", "--steps", "4", "--batch", "4"]
    done = freeatten("train", "--variant", "clex", "--from", first, *words)
    assert (done.code, done.out) == (0, "")
    assert (out / "tokenizer.json").read_bytes() == (first / "tokenizer.json").read_bytes()
    before, after = (json.loads((each / "config.json").read_text()) for each in (first, out))
    assert after["variant"] == "softmax:position=clex"
    for key in ("width", "layers", "heads", "mlp_width", "vocab_size", "train_length"):
        assert after[key] == before[key]
    began = json.loads((out / "curve.json").read_text())
    assert began["from"]["checkpoint"] == str(first)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--vocab", "300"), "leave out --size, --vocab and --tokenizer"),
        (("--tokenizer", "softmax"), "leave out --size, --vocab and --tokenizer"),
        (("--size", "small"), "leave out --size, --vocab and --tokenizer"),
        (("--width", "96"), "softmax has width 192, and 96 is asked for"),
        (("--from", "softmaks"), "no checkpoint 'softmaks'"),
    ],
)
def test_what_a_checkpoint_to_train_on_rules_out(books, tmp_path, words, said):
    given = ("--variant", "clex", "--from", "softmax", "--text", books, "--out", tmp_path / "out")
    assert said in refusal(2, "train", *given, *words)
    assert not (tmp_path / "out").exists()


def test_a_task_has_no_checkpoint_to_train_on(tmp_path):
    given = ("--variant", "softmax", "--task", "passkey", "--out", tmp_path / "out")
    assert "--from are for --task text" in refusal(2, "train", *given, "--from", "softmax")


def test_a_kept_corpus_of_other_text_is_refused(books, tmp_path):
    corpus = ("--corpus", str(tmp_path / "corpus"))
    assert train(books, tmp_path / "one", *corpus).code == 0
    other = tmp_path / "other"
    other.mkdir()
    (other / "0.txt").write_text(prose(0, 400))
    sentence = train_refused(2, other, tmp_path / "two", *corpus)
    assert f"{tmp_path / 'corpus'} keeps text that was prepared otherwise" in sentence
    assert "source was books and is other now" in sentence


WRONG = {
    "--lr 0": ["lr is '0'", "between 0 and 1"],
    "--lr abc": ["lr is 'abc'", "such as 1e-3,3e-3"],
    "--lr 1e-3,": ["lr is '1e-3,'"],
    "--lr nan": ["lr is 'nan'"],
    "--heads 3": ["width is 32 with 3 heads"],
    "--length 5000": ["no file of books is 5001 tokens long"],
    "--length 4": ["--length", "8"],
    "--steps 0": ["--steps", "1"],
    "--vocab 100": ["--vocab", "256"],
    "--seed 18446744073709551616": [
        "seed is 18446744073709551616",
        "from 0 to 18446744073709551615",
    ],
    "--device tpu": ["device is 'tpu'", "auto, cpu or cuda"],
}


@pytest.mark.parametrize("option", WRONG)
def test_a_wrong_option_is_refused_with_its_value(books, tmp_path, option):
    out = tmp_path / "model"
    sentence = train_refused(2, books, out, *option.split(" "))
    for words in WRONG[option]:
        assert words in sentence
    assert not out.exists()


@pytest.fixture
def unprepared(monkeypatch):
    """Reading the training text fails the test."""
    monkeypatch.setattr(prepared, "prepared", lambda *_, **__: pytest.fail("text was prepared"))


@pytest.mark.usefixtures("unprepared")
@pytest.mark.parametrize(
    ("variant", "says"),
    [
        ("lsar", "did you mean 'lssar'?"),
        ("lssar:p=0", "p is '0'"),
        ("softmax+yarn", "softmax+yarn is for inference; train softmax"),
    ],
)
def test_a_variant_that_cannot_be_trained_is_refused_at_once(books, tmp_path, variant, says):
    assert says in train_refused(2, books, tmp_path / "model", variant=variant)
    assert listing(tmp_path) == []


@pytest.mark.usefixtures("unprepared")
def test_an_output_that_exists_is_refused_at_once(books, model):
    assert train_refused(2, books, model) == f"{model} exists; name a folder that does not"


def test_missing_text_and_text_that_repeats_the_standard_library_are_refused(tmp_path):
    sentence = train_refused(2, tmp_path / "nowhere", tmp_path / "model")
    assert f"no text at {tmp_path / 'nowhere'}" in sentence
    copy = tmp_path / "shlex_copy.py"
    copy.write_text(Path(shlex.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    sentence = train_refused_text(copy, tmp_path / "model")
    assert f"every file of {copy} repeats the standard library" in sentence
    assert "shlex_copy.py is a near copy of shlex.py" in sentence
    assert listing(tmp_path) == ["shlex_copy.py"]


def test_missing_text_is_told_before_anything_is_timed(books, tmp_path):
    for texts in (["--text", tmp_path / "nowhere"], ["--text", books, "--text", "package"]):
        done = freeatten("train", "--variant", "lssa", *texts, "--out", tmp_path / "m", *SIZES)
        assert done.code == 2
        assert "no text at" in done.sentence
        assert "million parameters" not in done.err


def train_refused_text(text: Path, out: Path) -> str:
    """What is said about a text after which nothing was prepared."""
    done = freeatten("train", "--variant", "lssa", "--text", text, "--out", out, *SIZES)
    assert done.code == 2
    return done.sentence


def test_a_batch_must_be_shared_evenly(books, tmp_path):
    sentence = train_refused(2, books, tmp_path / "m", "--text", str(books), "--batch", "3")
    assert sentence.startswith("batch is 3; it must be a multiple of the 2 text sources")
