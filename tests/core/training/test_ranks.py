"""A training by several processes is that of one, and survives the loss of any of them."""

import json
import signal

import pytest
import tiny
import torch
from ranks import run_ranks
from safetensors.torch import load_file

from freeatten_core import Variant
from freeatten_core.basics.distributed import Ranks, check_gpus, rank_device, started_ranks
from freeatten_core.basics.errors import UsageError
from freeatten_core.data.prepared import load_corpus, prepare
from freeatten_core.models.format import CURVE, WEIGHTS
from freeatten_core.training.run import train

TRAINING = """
import dataclasses, os, signal, sys
from pathlib import Path
import torch
import conftest, tiny
from freeatten_core import Variant
from freeatten_core.basics.distributed import joined_ranks, started_ranks
from freeatten_core.data.prepared import load_corpus
from freeatten_core.training.run import train

torch.set_num_threads(1)
corpus, out, killed_at, shard = sys.argv[1:]
ranks = started_ranks()
device = torch.device("cpu")

def report(progress):
    if ranks.index == 1 and progress.step == int(killed_at):
        os.kill(os.getpid(), signal.SIGKILL)

try:
    with joined_ranks(ranks, device):
        train(
            Variant.parse("lssar:p=3"),
            load_corpus(Path(corpus)),
            Path(out),
            dataclasses.replace(tiny.RECIPE, parts=2),
            device=device,
            command="freeatten train",
            report=report,
            ranks=ranks,
            shard=shard == "shard",
        )
except (RuntimeError, ValueError) as error:
    sys.exit(str(error))
"""
SPEAKING = """
import sys
import torch
import conftest
from freeatten_core.basics.distributed import joined_ranks, started_ranks

ranks = started_ranks()
try:
    with joined_ranks(ranks, torch.device("cpu")):
        assert ranks.mean(torch.tensor([1.0, 3.0]) * (1 + ranks.index)).tolist() == [1.5, 4.5]
        assert ranks.gathered(["a", "b"][ranks.index]) == ["a", "b"]
        ranks.check_agree({"seed": 0})
        ranks.check_agree({"seed": ranks.index, "variant": "lssa"})
except ValueError as error:
    sys.exit(str(error))
"""
DISAGREEING = "the ranks were asked for different things: seed is 0 on rank 0 and 1 on rank 1"
CPU = torch.device("cpu")
RECIPE = tiny.RECIPE.changed(parts=2)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    sources = [tiny.write_folder(folder / "one"), tiny.write_folder(folder / "two", files=5)]
    prepare([str(source) for source in sources], folder / "corpus", vocab_size=300)
    return folder / "corpus"


def alone(corpus, out, report=lambda _: None, **options):
    variant, texts = Variant.parse("lssar:p=3"), load_corpus(corpus)
    command = "freeatten train"
    return train(variant, texts, out, RECIPE, device=CPU, command=command, report=report, **options)


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    return alone(corpus, tmp_path_factory.mktemp("whole") / "mine")


def same_training(out, whole):
    """Losses and weights but for the order in which gradients are added."""
    curves = [json.loads((each / CURVE).read_text())["curve"] for each in (out, whole)]
    assert [entry["step"] for entry in curves[0]] == [10, 20, 30, 40]
    for entry, expected in zip(*curves, strict=True):
        assert entry == pytest.approx(expected, abs=2e-5)
    weights, expected = (load_file(each / WEIGHTS) for each in (out, whole))
    for name, weight in weights.items():
        # one step of the float16 that they are stored in, near 1
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=1e-3)


def test_a_lost_rank_ends_the_run_and_one_process_goes_on_where_two_were(corpus, whole, tmp_path):
    out = tmp_path / "mine"
    (survivor, said), (killed, _) = run_ranks(TRAINING, [corpus, out, 30, "shard"])
    assert killed == -signal.SIGKILL
    assert survivor == 1
    kept = "step 20 is kept, and the same command goes on from there"
    assert said.strip() == f"another of the ranks has ended; stopped; {kept}"
    assert not out.exists()
    same_training(alone(corpus, out), whole)


@pytest.mark.parametrize("kind", ["whole", "shard"])
def test_two_processes_go_on_where_one_was(corpus, whole, tmp_path, kind):
    def stop(progress):
        if progress.step == 30:
            raise KeyboardInterrupt

    out = tmp_path / "mine"
    with pytest.raises(KeyboardInterrupt):
        alone(corpus, out, stop)
    assert run_ranks(TRAINING, [corpus, out, 0, kind]) == [(0, ""), (0, "")]
    same_training(out, whole)
    about = json.loads((out / CURVE).read_text())
    assert (about["ranks"], about["shard"]) == (2, kind == "shard")
    assert tiny.listing(tmp_path) == ["mine"]


def test_ranks_speak_to_each_other_and_one_of_them_tells_of_a_failure():
    codes, said = zip(*run_ranks(SPEAKING, []), strict=True)
    assert codes == (1, 1)
    assert sorted(each.strip().removeprefix("rank 1: ") for each in said) == ["", DISAGREEING]


def test_one_process_has_nobody_to_share_a_model_with(corpus, tmp_path):
    with pytest.raises(UsageError, match="--shard spreads a model over several processes"):
        alone(corpus, tmp_path / "mine", shard=True)


def test_a_process_alone_is_the_only_rank(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert started_ranks() == Ranks()
    assert Ranks().gathered(3) == [3]
    assert Ranks().mean(torch.tensor(3.0)) == 3.0
    assert rank_device(Ranks(), CPU) == CPU


def test_variables_that_torchrun_did_not_set_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(UsageError, match="the variable WORLD_SIZE is 'two'; torchrun sets it"):
        started_ranks()


def test_more_ranks_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: True)
    with pytest.raises(UsageError, match="rank 1 is number 1 on its machine, which has 1 GPUs"):
        rank_device(Ranks(1, 2, 1), torch.device("cuda"))
    with pytest.raises(UsageError, match="--gpus is 2, and torch sees 1 here; ask for 1 at most"):
        check_gpus(2, torch.device("cuda"))
    check_gpus(2, CPU)
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: False)
    for refused in (
        lambda: rank_device(Ranks(1, 2, 1), torch.device("cuda")),
        lambda: check_gpus(2, torch.device("cuda")),
    ):
        with pytest.raises(UsageError, match="no NCCL"):
            refused()


def test_a_batch_in_parts_is_trained_as_a_whole_one(corpus, whole, tmp_path):
    variant, texts = Variant.parse("lssar:p=3"), load_corpus(corpus)
    out = train(variant, texts, tmp_path / "mine", tiny.RECIPE, device=CPU, command="")
    same_training(out, whole)
