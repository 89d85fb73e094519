"""What several processes measure is what one does."""

import json
from pathlib import Path

import pytest
import tiny
from ranks import run_ranks
from strategies import refused

from freeatten_core import load_checkpoint
from freeatten_core.basics.distributed import Ranks
from freeatten_core.basics.errors import UsageError
from freeatten_core.data.tasks.recall import RecallTask
from freeatten_core.measures.comparison import compare
from freeatten_core.measures.copying import CopyRequest, copy_retrieval
from freeatten_core.measures.heads import SurveyRequest, survey
from freeatten_core.measures.request import Request
from freeatten_core.measures.tasks import TaskRequest, TaskRow, measure_task
from freeatten_core.models.rows import Row
from freeatten_core.models.task_checkpoint import TaskCheckpoint

MEASURING = """
import json, sys
from pathlib import Path
import torch
import conftest
sys.path.insert(0, sys.argv[3])
from test_shared import MEASURES
from freeatten_core.basics.distributed import joined_ranks, started_ranks

torch.set_num_threads(1)
folder, out = map(Path, sys.argv[1:3])
ranks = started_ranks()
with joined_ranks(ranks, torch.device("cpu")):
    for name, measured in MEASURES.items():
        (out / f"{name}-{ranks.index}.json").write_text(json.dumps(measured(folder, ranks)))
"""
TASK = RecallTask(keys=8, values=4, fillers=5, pairs=4)


def rows(folder):
    checkpoint = load_checkpoint(folder)
    return [Row(checkpoint.config.variant, checkpoint)]


# three of everything, so that the two ranks have unlike shares


def compared(folder, ranks, seed=0):
    request = Request(
        rows=rows(folder),
        lengths=(16, 32, 64),
        documents=tiny.documents(6),
        source="my texts",
        command="freeatten compare",
        texts=3,
        control="swap",
        by_position=True,
        seed=seed,
        ranks=ranks,
    )
    return compare(request).result


def copied(folder, ranks, seed=0):
    request = CopyRequest(
        rows=rows(folder),
        lengths=(32, 64, 128),
        block=8,
        documents=tiny.documents(6),
        source="my texts",
        command="freeatten retrieve",
        samples=3,
        seed=seed,
        ranks=ranks,
    )
    return copy_retrieval(request)


def answered(folder, ranks, seed=0):
    del folder
    model = tiny.model("lssar", seed=1, vocab_size=TASK.vocab_size)
    checkpoint = TaskCheckpoint("mine", model.config, model, TASK, None)
    row = TaskRow(model.config.variant, checkpoint)
    return measure_task(TaskRequest([row], (32, 64), "freeatten retrieve", 3, seed, ranks=ranks))


def surveyed(folder, ranks, seed=0):
    request = SurveyRequest(
        rows=rows(folder),
        documents=tiny.documents(6),
        source="my texts",
        length=100,
        command="freeatten entropy",
        texts=3,
        by_length=True,
        seed=seed,
        ranks=ranks,
    )
    return survey(request)


MEASURES = {"compare": compared, "copy": copied, "recall": answered, "entropy": surveyed}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.save(tmp_path_factory.mktemp("checkpoints") / "lssar", tiny.model("lssar"))


@pytest.fixture(scope="module")
def of_two(folder, tmp_path_factory):
    """What each of two ranks has of every measure, by its name."""
    out = tmp_path_factory.mktemp("results")
    ended = run_ranks(MEASURING, [folder, out, Path(__file__).parent])
    assert [code for code, _ in ended] == [0, 0], ended
    return {
        name: [json.loads((out / f"{name}-{rank}.json").read_text()) for rank in (0, 1)]
        for name in MEASURES
    }


def numbers(value):
    """Every number of a result, in its order, but for times."""
    if isinstance(value, dict):
        return [each for key in value if key != "seconds" for each in numbers(value[key])]
    if isinstance(value, list):
        return [each for item in value for each in numbers(item)]
    return [value] if isinstance(value, int | float) else []


@pytest.mark.parametrize("name", MEASURES)
def test_two_ranks_have_the_result_of_one_process(folder, of_two, name):
    expected = numbers(MEASURES[name](folder, Ranks()))
    assert len(expected) > 20
    for result in of_two[name]:
        assert numbers(result) == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_a_comparison_shares_its_controls_too(of_two):
    row = of_two["compare"][1]["variants"][0]
    assert {"delta", "sliding_delta", "window_delta", "swap_delta"} <= set(row)


@pytest.mark.parametrize(
    ("name", "things", "option"),
    [
        ("compare", "texts", "--texts"),
        ("copy", "samples", "--samples"),
        ("recall", "samples", "--samples"),
        ("entropy", "texts", "--texts"),
    ],
)
def test_a_rank_with_nothing_to_measure_is_refused(folder, name, things, option):
    with refused(UsageError, [f"4 ranks need 4 {things} or more, not 3", option]):
        MEASURES[name](folder, Ranks(0, 4))


class AskedError(Exception):
    """What a rank was asked for, before it measures."""


class Asked(Ranks):
    """One of two ranks, which stops where it tells the other what it was asked for."""

    def check_agree(self, value):
        raise AskedError(value)


class Gathered(Ranks):
    """One of two ranks, which has what both were asked for."""

    def gathered(self, value):
        return value


def asked(folder, name, seed):
    with pytest.raises(AskedError) as told:
        MEASURES[name](folder, Asked(0, 2), seed=seed)
    return told.value.args[0]


@pytest.mark.parametrize("name", MEASURES)
def test_ranks_with_unlike_seeds_are_refused_by_name(folder, name):
    first, second, again = (asked(folder, name, seed) for seed in (0, 1, 0))
    with refused(UsageError, ["different things: ", "seed is 0 on rank 0 and 1 on rank 1"]):
        Gathered(0, 2).check_agree([first, second])
    Gathered(0, 2).check_agree([first, again])


@pytest.mark.parametrize("name", ["compare", "copy", "entropy"])
def test_ranks_that_drew_unlike_tokens_are_refused(folder, name):
    first, second = (asked(folder, name, seed) for seed in (0, 1))
    with refused(UsageError, ["different things: tokens is "]):
        Gathered(0, 2).check_agree([first, {**first, "tokens": second["tokens"]}])
