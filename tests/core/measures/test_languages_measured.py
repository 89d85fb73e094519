"""The language suite: counted right, on the same strings for every model, trained once."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from strategies import refused

from freeatten_core import Variant
from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.basics.progress import Watch
from freeatten_core.data.tasks.languages import ASKS, LANGUAGES
from freeatten_core.measures import languages as measured
from freeatten_core.measures.languages import (
    LanguagesRequest,
    accuracy_of_lengths,
    measure_languages,
)
from freeatten_core.training.tasks import RECIPES

CPU = torch.device("cpu")
QUICK = replace(
    RECIPES["parity-check"],
    train_length=9,
    width=16,
    layers=1,
    heads=1,
    kv_heads=1,
    mlp_width=16,
    batch=8,
    steps=4,
    evaluate_every=2,
    validation_windows=8,
)


class Automaton:
    """Answers as the language defines for strings of at most `reach` symbols, else class 0; every
    token that is no answer is likelier to it."""

    def __init__(self, task, reach=10**6):
        self.task, self.reach = task, reach

    def hidden(self, tokens):
        likeliest = torch.full_like(tokens, self.task.first_answer)
        for row, word in enumerate(tokens.tolist()):
            size = word.index(ASKS)
            if size <= self.reach:
                (state,) = self.task.states(np.array([word[:size]]))[:, -1]
                likeliest[row, size] = self.task.first_answer + int(state)
        scores = torch.nn.functional.one_hot(likeliest, self.task.vocab_size).float()
        scores[:, :, : self.task.first_answer] = 9.0
        return scores

    def logits(self, hidden):
        return hidden


@pytest.mark.parametrize("name", LANGUAGES)
def test_what_goes_on_as_the_automaton_is_right_everywhere(name):
    task = LANGUAGES[name]
    right = accuracy_of_lengths(Automaton(task), task, [1, 7, 30], 5, (0,), device=CPU)
    assert right.shape == (3, 5)
    assert right.all()


def test_what_tracks_so_far_is_right_so_far():
    task = LANGUAGES["cycle-navigation"]
    right = accuracy_of_lengths(Automaton(task, 10), task, [5, 10, 20], 400, (0,), device=CPU)
    assert right[:2].all()
    assert right[2].mean() == pytest.approx(task.chance, abs=0.06)


def request(out, **changes):
    values = {
        "variants": [Variant.parse("softmax"), Variant.parse("lssa")],
        "out": out,
        "command": "freeatten languages",
        "languages": ("parity-check",),
        "recipe": QUICK,
        "longest": 20,
        "samples": 2,
    }
    return LanguagesRequest(**values | changes)


def test_a_score_is_the_mean_beyond_what_was_trained_on(tmp_path, monkeypatch):
    task = LANGUAGES["parity-check"]
    right = {}

    def known(_model, _task, lengths, *_, **_options):
        chosen = np.array(lengths)[:, None] <= [8, 12]
        right.update(zip(lengths, chosen, strict=True))
        return chosen

    monkeypatch.setattr(measured, "accuracy_of_lengths", known)
    result = measure_languages(request(tmp_path, variants=[Variant()]))
    ((cell,),) = (row["languages"] for row in result["variants"])
    assert result["lengths"] == [4, 8, 12, 16, 20]
    assert cell["within"] == 1
    assert cell["accuracy"] == pytest.approx(4 / 24, abs=1e-6)  # 9 to 12, one of two strings
    test = stats.binomtest(4, 24).proportion_ci(method="wilson")
    assert cell["accuracy_ci95"] == pytest.approx([test.low, test.high], abs=1e-6)
    assert cell["accuracy_by_seed"] == [cell["accuracy"]]
    assert cell["accuracy_by_length"] == [1, 1, 0.5, 0, 0]
    assert sorted(right) == list(range(1, 21))
    assert result["languages"] == {"parity-check": task.chance}


def test_models_are_trained_once_and_asked_the_same_strings(tmp_path, monkeypatch):
    asked, trained = [], []
    count, train = measured.accuracy_of_lengths, measured.trained_task
    monkeypatch.setattr(
        measured,
        "accuracy_of_lengths",
        lambda model, task, lengths, samples, key, **options: (
            asked.append(key) or count(model, task, lengths, samples, key, **options)
        ),
    )

    def counted(*arguments, report, **options):
        return train(*arguments, report=lambda at: trained.append(at.step) or report(at), **options)

    monkeypatch.setattr(measured, "trained_task", counted)
    first = measure_languages(request(tmp_path))
    assert asked[:5] == asked[5:]
    assert trained == [2, 4, 2, 4]
    again = measure_languages(request(tmp_path))
    assert trained == [2, 4, 2, 4]  # nothing new
    assert again["variants"] == first["variants"]


def test_a_modifier_acts_on_the_model_of_its_variant(tmp_path):
    both = [Variant.parse("softmax"), Variant.parse("softmax+window")]
    result = measure_languages(request(tmp_path, variants=both, samples=8))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["softmax.parity-check.0"]
    assert [row["variant"] for row in result["variants"]] == ["softmax", "softmax+window"]


def test_a_model_that_was_trained_otherwise_is_refused_with_what_differs(tmp_path):
    measure_languages(request(tmp_path))
    with refused(UsageError, ["softmax.parity-check.0", "steps was 4 and is 6 now"]):
        measure_languages(request(tmp_path, recipe=replace(QUICK, steps=6)))


def test_a_model_that_was_trained_otherwise_is_refused_before_anything_is_trained(tmp_path):
    measure_languages(request(tmp_path, variants=[Variant()]))
    both = [Variant.parse("sigmoid"), Variant()]
    with refused(UsageError, ["softmax.parity-check.0 was trained in another way"]):
        measure_languages(request(tmp_path, variants=both, recipe=replace(QUICK, steps=6)))
    assert [path.name for path in tmp_path.iterdir()] == ["softmax.parity-check.0"]


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_trained(tmp_path):
    (tmp_path / "file").write_text("x")
    with refused(UsageError, ["cannot make", "file is not a folder that can be written to"]):
        measure_languages(request(tmp_path / "file" / "models"))


def test_a_model_that_cannot_be_asked_is_marked_and_the_others_stand(tmp_path, monkeypatch):
    count, asked = measured.accuracy_of_lengths, []

    def failing(*arguments, **options):
        asked.append(arguments)
        if len(asked) == 1:
            raise UsageError("no more than 64 tokens")
        return count(*arguments, **options)

    monkeypatch.setattr(measured, "accuracy_of_lengths", failing)
    failed, good = measure_languages(request(tmp_path))["variants"]
    assert failed["error"] == "parity-check: seed 0: no more than 64 tokens"
    assert good["languages"][0]["accuracy"] is not None


def test_a_training_that_diverges_is_marked_and_the_others_stand(tmp_path, monkeypatch):
    train = measured.trained_task

    def diverging(variant, *arguments, **options):
        if str(variant) == "softmax":
            raise ContentError("softmax diverged")
        return train(variant, *arguments, **options)

    monkeypatch.setattr(measured, "trained_task", diverging)
    failed, good = measure_languages(request(tmp_path))["variants"]
    assert failed["languages"][0]["accuracy"] is None
    assert failed["error"] == "parity-check: seed 0: softmax diverged"
    assert good["languages"][0]["accuracy"] is not None
    assert "error" not in good


def test_seeds_are_models_of_their_own(tmp_path):
    result = measure_languages(request(tmp_path, variants=[Variant()], seeds=2, samples=30))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["softmax.parity-check.0", "softmax.parity-check.1"]
    ((cell,),) = (row["languages"] for row in result["variants"])
    assert cell["accuracy"] == pytest.approx(np.mean(cell["accuracy_by_seed"]), abs=1e-6)
    assert len(cell["accuracy_by_seed"]) == 2


def test_progress_ends_at_the_whole(tmp_path):
    done, whole = [], []
    measure_languages(request(tmp_path), Watch(total=whole.append, advance=done.append))
    assert sum(done) == pytest.approx(whole[0])


def test_nothing_beyond_what_is_trained_on_is_refused(tmp_path):
    with refused(UsageError, ["has 8 symbols", "longer than those trained on, 8"]):
        measure_languages(request(tmp_path, longest=8))


def test_seeds_that_go_too_far_are_refused_before_anything_is_trained(tmp_path):
    with refused(UsageError, [f"seed is {2**64}"]):
        measure_languages(request(tmp_path, seeds=2, recipe=replace(QUICK, seed=2**64 - 1)))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_language_is_told_which_there_are(tmp_path):
    with refused(UsageError, ["no language 'dyck'", "parity-check"]):
        measure_languages(request(tmp_path, languages=("dyck",)))
