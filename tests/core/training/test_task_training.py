"""The recall task: every query can be answered, and models of it are saved and loaded strictly."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import refused

from freeatten_core import Variant, load_checkpoint
from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.basics.shards import Shard, shards
from freeatten_core.data.tasks.recall import RecallTask
from freeatten_core.data.tasks.table import RETRIEVED
from freeatten_core.data.tasks.task import TEST, TRAINING, UNSCORED
from freeatten_core.models.format import CARD, CONFIG, TASK_FILES, WEIGHTS
from freeatten_core.models.task_checkpoint import load_task, read_task_sizes
from freeatten_core.training.tasks import RECIPES, TaskBatches, train_task

CPU = torch.device("cpu")
SMALL = RecallTask(keys=4, values=2, fillers=4, pairs=2)
QUICK = replace(
    RECIPES["recall"],
    train_length=16,
    width=16,
    mlp_width=32,
    batch=8,
    steps=20,
    learning_rates=(1e-2,),
    evaluate_every=10,
    validation_windows=8,
    save_every=10,
)


# the sequences


@st.composite
def asked(draws):
    """A task, a length that it fits, and a key."""
    keys = draws(st.integers(1, 12))
    task = RecallTask(
        keys=keys,
        values=draws(st.integers(1, 5)),
        fillers=draws(st.integers(1, 7)),
        pairs=draws(st.integers(1, keys)),
    )
    length = task.shortest + draws(st.integers(0, 50))
    return task, length, tuple(draws(st.lists(st.integers(0, 99), min_size=1, max_size=3)))


def pair_of(task, token):
    """(key, value) of a pair's token, else None."""
    index = token - task.first_pair
    inside = 0 <= index < task.keys * task.values
    return divmod(index, task.values) if inside else None


@given(asked())
def test_every_querys_answer_stands_before_it_as_far_back_as_told(given_task):
    task, length, key = given_task
    drawn = task.draw(length, 3, key)
    for row in range(3):
        tokens = drawn.tokens[row]
        for at, answer, distance in zip(
            drawn.queries[row], drawn.answers[row], drawn.distances[row], strict=True
        ):
            queried = tokens[at] - task.first_query
            assert 0 < distance <= at
            assert pair_of(task, tokens[at - distance]) == (queried, answer - task.first_answer)


@given(asked())
def test_a_sequence_holds_each_pair_and_each_query_once_and_filler(given_task):
    task, length, key = given_task
    for tokens in task.draw(length, 3, key).tokens:
        pairs = [pair_of(task, token) for token in tokens if pair_of(task, token)]
        queries = [token - task.first_query for token in tokens if token >= task.first_query]
        assert len({shown for shown, _ in pairs}) == len(pairs) == task.pairs
        assert sorted(queries) == sorted(shown for shown, _ in pairs)
        assert (tokens < task.fillers).sum() == length - 2 * task.pairs
        assert (tokens >= 0).all()
        assert (tokens < task.first_answer).all()  # an answer is never shown


@given(asked())
def test_sequences_depend_on_the_arguments_alone(given_task):
    task, length, key = given_task
    one, same = task.draw(length, 2, key), task.draw(length, 2, key)
    assert np.array_equal(one.tokens, same.tokens)
    assert np.array_equal(one.answers, same.answers)


@given(asked())
def test_only_queries_are_scored(given_task):
    task, length, key = given_task
    drawn = task.draw(length, 2, key)
    targets = drawn.targets()
    scored = np.argwhere(targets != UNSCORED)
    assert np.array_equal(scored[:, 1].reshape(2, -1), drawn.queries)
    assert np.array_equal(targets[targets != UNSCORED].reshape(2, -1), drawn.answers)


def test_training_never_sees_what_is_tested():
    keys = [(0, part, index) for part in (TRAINING, TEST) for index in (256, 4096)]
    tokens = {RecallTask().draw(256, 1, key).tokens.tobytes() for key in keys}
    assert len(tokens) == 4


def test_every_length_asks_as_much():
    task = RecallTask()
    counts = {task.draw(length, 2, (0,)).queries.shape for length in (128, 256, 4096)}
    assert counts == {(2, task.pairs)}


def test_a_length_that_cannot_hold_pairs_and_queries_is_refused():
    assert SMALL.draw(4, 1, (0,)).tokens.shape == (1, 4)
    with refused(UsageError, ["2 pairs needs at least 4 tokens", "the length is 3"]):
        SMALL.draw(3, 1, (0,))


# training


def test_every_variant_reads_the_same_batches():
    one, same = (TaskBatches(SMALL, QUICK, CPU) for _ in range(2))
    for step in (0, 300, 7):
        assert torch.equal(one.training(step), same.training(step))
    assert not torch.equal(one.training(0), one.training(1))
    other = TaskBatches(SMALL, replace(QUICK, seed=1), CPU)
    assert not torch.equal(one.training(0), other.training(0))


def test_shards_together_read_exactly_what_one_reads():
    whole = TaskBatches(SMALL, QUICK, CPU)
    parts = [TaskBatches(SMALL, QUICK, CPU, shard) for shard in shards(4)]
    assert torch.equal(torch.cat([each.training(3) for each in parts]), whole.training(3))
    (expected,) = whole.validation()
    assert torch.equal(torch.cat([each.validation()[0] for each in parts]), expected)
    with refused(UsageError, ["batch is 8", "a multiple of 3"]):
        TaskBatches(SMALL, QUICK, CPU, Shard(0, 3))


def test_a_batch_is_tokens_and_targets():
    batches = TaskBatches(SMALL, QUICK, CPU)
    tokens, targets = batches.split(batches.training(3))
    assert (tokens.shape, targets.shape) == ((8, 16), (8, 16))
    assert (targets != UNSCORED).sum() == 8 * SMALL.pairs


def trained(out, variant="softmax", recipe=QUICK):
    return train_task(
        Variant.parse(variant), SMALL, out, recipe, device=CPU, command="freeatten train"
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("recall") / "mine")


def test_a_model_learns_to_recall(tmp_path):
    recipe = replace(QUICK, batch=32, steps=200, width=32, mlp_width=64, evaluate_every=100)
    model = load_task(trained(tmp_path / "mine", recipe=recipe), "recall").model
    drawn = SMALL.draw(16, 50, (0, TEST, 0))
    logits = model(torch.from_numpy(drawn.tokens)).argmax(dim=-1).numpy()
    right = np.take_along_axis(logits, drawn.queries, axis=1) == drawn.answers
    assert right.mean() > 0.95


def test_a_checkpoint_of_the_task_has_no_tokenizer_and_says_what_it_is(saved):
    assert tiny.listing(saved) == sorted(TASK_FILES)
    config = json.loads((saved / CONFIG).read_text())
    assert config["task"] == {"kind": "recall", "keys": 4, "values": 2, "fillers": 4, "pairs": 2}
    card = (saved / CARD).read_text()
    assert "associative recall" in card
    assert "freeatten train" in card
    assert "nats per query" in card


def test_a_saved_model_loads_as_it_was(saved):
    loaded = load_task(saved, "recall")
    assert (loaded.task, loaded.config.variant) == (SMALL, Variant())
    assert (loaded.config.train_length, loaded.config.vocab_size) == (16, SMALL.vocab_size)
    assert not any(weight.requires_grad for weight in loaded.model.parameters())


@pytest.mark.parametrize("kind", sorted(RETRIEVED))
def test_every_task_trains_and_its_model_says_what_it_is(kind, tmp_path):
    task = replace(RETRIEVED[kind], **{"mqar": {"vocabulary": 64, "pairs": 4}}.get(kind, {}))
    recipe = replace(QUICK, steps=2, evaluate_every=2, train_length=task.shortest)
    out = train_task(
        Variant(), task, tmp_path / "mine", recipe, device=CPU, command="freeatten train"
    )
    loaded = load_task(out, kind)
    assert loaded.task == task
    assert json.loads((out / CONFIG).read_text())["task"]["kind"] == kind
    card = (out / CARD).read_text()
    assert f"data/tasks/{kind.replace('-', '_')}.py" in card
    assert "{" not in card.split("## How it was made")[0]  # every size is filled in
    with refused(ContentError, ["the task's", "is 0; it must be a whole number"]):
        sizes = loaded.task.as_json()
        read_task_sizes(out / CONFIG, sizes | {list(sizes)[-1]: 0}, kind)


def test_nothing_but_the_checkpoint_is_left(tmp_path):
    trained(tmp_path / "mine", "lssar:p=3")
    assert tiny.listing(tmp_path) == ["mine"]


def test_a_training_length_too_short_for_the_task_is_refused(tmp_path):
    with refused(UsageError, ["at least 4 tokens", "the length is 2"]):
        trained(tmp_path / "mine", recipe=replace(QUICK, train_length=2))
    assert tiny.listing(tmp_path) == []


# what is refused


def test_a_model_of_the_task_is_refused_where_text_is_read(saved):
    with refused(UsageError, [str(saved), "reads no text", "freeatten retrieve --task recall"]):
        load_checkpoint(saved)


def test_a_model_of_text_is_refused_for_the_task(tmp_path):
    folder = tiny.save(tmp_path / "text")
    with refused(UsageError, [str(folder), "trained on text", "--task copy"]):
        load_task(folder, "recall")


@pytest.mark.parametrize("name", TASK_FILES)
def test_a_missing_file_is_named_with_those_needed(tmp_path, name):
    folder = trained(tmp_path / "mine")
    (folder / name).unlink()
    with refused(ContentError, [f"lacks {name}", *TASK_FILES]):
        load_task(folder, "recall")


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("recall", ["task is 'recall'", "an object"]),
        ({}, ["task is {}", "it must be like"]),
        ({**SMALL.as_json(), "kind": "sort"}, ["'sort'", "it must be like"]),
        ({**SMALL.as_json(), "more": 1}, ["'more'", "it must be like"]),
        ({**SMALL.as_json(), "keys": 0}, ["keys is 0", "from 1 to 65536"]),
        ({**SMALL.as_json(), "values": 10**12}, ["values is 1000000000000"]),
        ({**SMALL.as_json(), "pairs": True}, ["pairs is True", "a whole number"]),
        ({**SMALL.as_json(), "pairs": 5}, ["5 pairs of different keys, and 4 keys"]),
        ({**SMALL.as_json(), "fillers": 9}, ["the task has 23 tokens, the model 18"]),
    ],
    ids=str,
)
def test_a_task_that_is_none_is_refused(tmp_path, task, words):
    folder = trained(tmp_path / "mine")
    config = json.loads((folder / CONFIG).read_text()) | {"task": task}
    (folder / CONFIG).write_text(json.dumps(config))
    with refused(ContentError, words):
        load_task(folder, "recall")


def test_a_model_of_another_task_is_refused_by_name(saved):
    with refused(UsageError, [str(saved), "trained on the recall task", "not on parity-check"]):
        load_task(saved, "parity-check")


def test_weights_are_read_as_strictly_as_those_of_text(tmp_path):
    folder = trained(tmp_path / "mine")
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-1])
    with refused(ContentError, ["is not a whole safetensors file"]):
        load_task(folder, "recall")
