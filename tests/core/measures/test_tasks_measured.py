"""Accuracy of recall: counted right, on the same sequences for every model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from strategies import refused

from freeatten_core import Variant
from freeatten_core.basics.errors import UsageError
from freeatten_core.data.tasks.recall import RecallTask
from freeatten_core.data.tasks.table import RETRIEVED
from freeatten_core.measures import tasks
from freeatten_core.measures.tasks import (
    TaskRequest,
    TaskRow,
    accuracy_by_distance,
    load_task_rows,
    measure_task,
    right_answers,
)
from freeatten_core.models import catalogue
from freeatten_core.models.catalogue import slug
from freeatten_core.models.decoder import Model
from freeatten_core.models.task_checkpoint import TaskCheckpoint
from freeatten_core.training.tasks import RECIPES, train_task

CPU = torch.device("cpu")
TASK = RecallTask(keys=8, values=4, fillers=5, pairs=4)
RECIPE_HERE = replace(
    RECIPES["recall"], train_length=32, width=16, mlp_width=32, vocab_size=TASK.vocab_size
)


class Knowing:
    """Answers from the pairs at most `reach` tokens back, else with a filler."""

    def __init__(self, reach):
        self.reach = reach

    def hidden(self, tokens):
        likeliest = torch.zeros_like(tokens)
        for row, at in (tokens >= TASK.first_query).nonzero().tolist():
            key = int(tokens[row, at]) - TASK.first_query
            for back in range(1, min(at, self.reach) + 1):
                index = int(tokens[row, at - back]) - TASK.first_pair
                if 0 <= index < TASK.keys * TASK.values and index // TASK.values == key:
                    likeliest[row, at] = TASK.first_answer + index % TASK.values
        return torch.nn.functional.one_hot(likeliest, TASK.vocab_size).float()

    def logits(self, hidden):
        return hidden


def test_a_model_that_knows_is_right_everywhere():
    drawn = TASK.draw(64, 6, (0,))
    right = right_answers(Knowing(10**6), drawn, device=CPU)
    assert right.shape == (6, 4)
    assert right.all()


def test_a_model_that_sees_so_far_is_right_so_far():
    drawn = TASK.draw(64, 6, (0,))
    right = right_answers(Knowing(30), drawn, device=CPU)
    assert np.array_equal(right, drawn.distances <= 30)
    assert 0 < right.mean() < 1


def test_accuracy_by_distance_counts_each_query_once():
    drawn = TASK.draw(64, 20, (0,))
    right = right_answers(Knowing(32), drawn, device=CPU)
    near, middle, far, none = accuracy_by_distance(right, drawn.distances, [16, 32, 64, 128])
    assert near["queries"] + middle["queries"] + far["queries"] == 80
    assert (near["accuracy"], middle["accuracy"], far["accuracy"]) == (1.0, 1.0, 0.0)
    assert none == {"queries": 0, "accuracy": None, "ci95": [None, None]}
    wilson = stats.binomtest(0, far["queries"]).proportion_ci(method="wilson")
    assert far["ci95"] == pytest.approx([wilson.low, wilson.high])


# the result


def row(variant="softmax", task=TASK, seed=0):
    config = replace(RECIPE_HERE, vocab_size=task.vocab_size).config(Variant.parse(variant))
    model = Model(config)
    model.initialise(seed, 0.1)
    checkpoint = TaskCheckpoint(variant, config, model.requires_grad_(False), task, None)
    return TaskRow(config.variant, checkpoint)


def measured(*rows, **changes):
    values = {"lengths": [16, 32, 128], "samples": 8, "command": "freeatten retrieve"}
    return measure_task(TaskRequest(rows=rows, **values | changes))


def test_the_result_has_accuracy_with_intervals_over_queries(monkeypatch):
    drawn = {}
    count = tasks.right_answers

    def watched(_, sequences, **options):
        drawn[sequences.tokens.shape[1]] = count(Knowing(40), sequences, device=CPU)
        options["advance"](0.0)
        return drawn[sequences.tokens.shape[1]]

    monkeypatch.setattr(tasks, "right_answers", watched)
    result = measured(row())
    (entry,) = result["variants"]
    for length, mean, bounds in zip(
        [16, 32, 128], entry["accuracy"], entry["accuracy_ci95"], strict=True
    ):
        right = drawn[length]
        assert right.size == 8 * TASK.pairs
        test = stats.binomtest(int(right.sum()), right.size)
        expected = test.proportion_ci(method="wilson")
        assert (mean, *bounds) == pytest.approx((right.mean(), *expected), abs=1e-5)
    assert entry["accuracy"][0] == 1
    assert entry["effective_length"] == 32
    assert entry["accuracy_ci95"][0][0] < 1  # all right is not certain
    assert result["schema"] == 3
    for length, parts, accuracy in zip(
        [16, 32, 128], entry["by_distance"], entry["accuracy"], strict=True
    ):
        assert sum(part["queries"] for part in parts) == drawn[length].size
        right = sum(part["queries"] * (part["accuracy"] or 0) for part in parts)
        assert right / drawn[length].size == pytest.approx(accuracy, abs=1e-5)
    found = [part["accuracy"] for part in entry["by_distance"][-1]]
    assert (found[1], found[3]) == (1.0, 0.0)  # `Knowing` looks 40 tokens back


@pytest.mark.parametrize(("right", "length"), [(1, None), (3, 128)])
def test_what_a_guess_reaches_has_no_effective_length(monkeypatch, right, length):
    """One answer of four is a guess of four values; three are none."""
    answers = np.resize(np.arange(4) < right, (8, TASK.pairs))
    monkeypatch.setattr(tasks, "right_answers", lambda *_, **__: answers)
    (entry,) = measured(row())["variants"]
    assert entry["accuracy"] == [right / 4] * 3
    assert entry["effective_length"] == length


def test_the_result_says_what_was_asked():
    result = measured(row(), row("lssa"))
    assert (result["task"], result["samples"], result["chance"]) == ("recall", 8, 0.25)
    assert (result["lengths"], result["train_length"]) == ([16, 32, 128], 32)
    assert result["distances"] == [16, 32, 64, 128]
    assert result["recall"]["pairs"] == 4
    assert [entry["variant"] for entry in result["variants"]] == ["softmax", "lssa"]
    assert all(
        [len(parts) for parts in entry["by_distance"]] == [4, 4, 4] for entry in result["variants"]
    )


def test_every_model_is_asked_the_same_sequences(monkeypatch):
    seen = []
    count = tasks.right_answers
    monkeypatch.setattr(
        tasks,
        "right_answers",
        lambda model, drawn, **o: seen.append(drawn.tokens.tobytes()) or count(model, drawn, **o),
    )
    measured(row(), row("lssa"))
    assert seen[:3] == seen[3:]
    assert len(set(seen)) == 3


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_that_no_generator_takes_is_refused(seed):
    with refused(UsageError, [f"seed is {seed}"]):
        measured(row(), seed=seed)


def test_the_seed_chooses_the_sequences():
    one, same, other = (measured(row(), seed=seed)["variants"] for seed in (0, 0, 1))
    assert one == same
    assert one[0]["by_distance"] != other[0]["by_distance"]


def test_models_of_different_tasks_are_not_compared():
    other = row(task=replace(TASK, pairs=3))
    with refused(UsageError, ["recall of different sizes", "one at a time"]):
        measured(row(), other)


def test_a_length_too_short_for_the_task_is_refused():
    with refused(UsageError, ["at least 8 tokens", "the length is 7"]):
        measured(row(), lengths=[7, 32])


GATED = "softplus-r:p=3:gate=forget:position=rope@64-none"
SHIPPED_HERE = ("softmax", "stick-breaking:output=gated", GATED)
"""`compare` has rows of the first two."""


@pytest.fixture
def with_passkeys(tmp_path, monkeypatch):
    """What is shipped has passkey models of these variants, which were hardly trained."""
    task = RETRIEVED["passkey"]
    recipe = replace(
        RECIPES["passkey"],
        **{"train_length": task.shortest, "width": 16, "mlp_width": 32, "steps": 2, "batch": 2},
        **{"learning_rates": (1e-3,), "validation_windows": 2},
    )
    (tmp_path / "passkey").mkdir()
    for name in reversed(SHIPPED_HERE):
        out = tmp_path / "passkey" / slug(name)
        train_task(Variant.parse(name), task, out, recipe, device=CPU, command="freeatten train")
    for module in (tasks, catalogue):
        monkeypatch.setattr(module, "assets", lambda: tmp_path)
    return tmp_path


@pytest.mark.usefixtures("with_passkeys")
def test_all_shipped_models_of_a_task_are_rows_whatever_their_names():
    rows = load_task_rows("passkey", None, [])
    assert [str(row.variant) for row in rows] == [*SHIPPED_HERE]
    assert [row.checkpoint.name for row in rows] == [slug(name) for name in SHIPPED_HERE]
    lengths = [rows[0].checkpoint.config.train_length, 64]
    request = TaskRequest(rows=rows, lengths=lengths, command="freeatten retrieve", samples=2)
    accuracies = [row["accuracy"] for row in measure_task(request)["variants"]]
    assert [len(each) for each in accuracies if None not in each] == [2, 2, 2]


@pytest.mark.usefixtures("with_passkeys")
@pytest.mark.parametrize("name", SHIPPED_HERE)
def test_a_shipped_model_of_a_task_is_named_by_its_variant_or_its_folder(name):
    (row,) = load_task_rows("passkey", [Variant.parse(name)], [])
    (same,) = load_task_rows("passkey", None, [slug(name)])
    assert str(row.variant) == str(same.variant) == name
    assert row.checkpoint.name == same.checkpoint.name == slug(name)


@pytest.mark.usefixtures("with_passkeys")
def test_what_is_not_shipped_of_a_task_is_told_with_the_command_that_trains_it():
    says = ["no shipped passkey model of lssar:p=15", "train --task passkey --variant lssar:p=15"]
    with refused(UsageError, says):
        load_task_rows("passkey", [Variant.parse("lssar")], [])
    with refused(UsageError, ["no recall model is shipped", "train --task recall"]):
        load_task_rows("recall", None, [])


def test_a_variant_without_a_model_is_refused():
    with refused(UsageError, ["no shipped recall model of softplus", "train --task recall"]):
        load_task_rows("recall", [Variant.parse("softplus")], [])


def test_without_shipped_models_the_command_to_train_one_is_given(monkeypatch):
    monkeypatch.setattr(tasks, "shipped", lambda _: [])
    with refused(UsageError, ["no recall model is shipped", "train --task recall", "--out"]):
        load_task_rows("recall", None, [])
