"""The optimizers and schedules of a recipe: what they do to weights, and that a run goes on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from ranks import run_ranks
from safetensors.torch import load_file

from freeatten_core import Variant
from freeatten_core.basics.distributed import Ranks
from freeatten_core.basics.errors import UsageError
from freeatten_core.data.prepared import load_corpus, prepare
from freeatten_core.models.decoder import Model
from freeatten_core.models.format import CURVE, WEIGHTS
from freeatten_core.training.gradients import FreshGradients
from freeatten_core.training.run import train
from freeatten_core.training.updates import Updates

CPU = torch.device("cpu")
MUON = replace(tiny.RECIPE, optimizer="muon", schedule="wsd")
TWO = """
import sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[3])
import conftest, test_optimizers
from freeatten_core.basics.distributed import joined_ranks, started_ranks

torch.set_num_threads(1)
ranks = started_ranks()
with joined_ranks(ranks, torch.device("cpu")):
    test_optimizers.run(Path(sys.argv[1]), Path(sys.argv[2]), ranks=ranks)
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    prepare([str(tiny.write_folder(folder / "one"))], folder / "corpus", vocab_size=300)
    return folder / "corpus"


def run(corpus, out, report=lambda _: None, recipe=MUON, **options):
    given = {"device": CPU, "command": "freeatten train", "report": report, **options}
    return train(Variant.parse("lssar:p=3"), load_corpus(corpus), out, recipe, **given)


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    return run(corpus, tmp_path_factory.mktemp("whole") / "mine")


def curve(out):
    return json.loads((out / CURVE).read_text())["curve"]


def test_a_cosine_falls_slowly_first_and_last_and_wsd_in_the_last_fifth():
    recipe = replace(tiny.RECIPE, warmup=1)
    rates = {
        name: [replace(recipe, schedule=name).learning_rate(step, 1.0, 40) for step in range(41)]
        for name in ("linear", "cosine", "wsd")
    }
    assert [rates[name][40] for name in rates] == [0, 0, 0]
    assert rates["cosine"][20] == pytest.approx(0.5)
    assert rates["cosine"][10] == pytest.approx(0.5 + 0.5**1.5)
    assert rates["wsd"][:33] == pytest.approx([1] * 33)
    assert rates["wsd"][36] == pytest.approx(0.5)
    assert rates["linear"][10] == 0.75


def after_a_step(optimizer):
    """Every weight's change in one step of rate 0.01, without decay, from the same gradients."""
    recipe = replace(tiny.RECIPE, optimizer=optimizer, weight_decay=0.0, warmup=1, clip=1e9)
    model = Model(recipe.config(Variant.parse("fox")))
    model.initialise(0)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    draw = torch.Generator().manual_seed(1)
    for weight in model.parameters():
        weight.grad = torch.randn(weight.shape, generator=draw)
    Updates(model, recipe, 0.01, 1000).apply(0)
    return {name: weight.detach() - before[name] for name, weight in model.named_parameters()}


def test_muon_turns_matrices_alike_in_every_direction_and_leaves_the_rest_to_adamw():
    changes, plain = after_a_step("muon"), after_a_step("adamw")
    for name, change in changes.items():
        within = name.startswith("blocks.") and change.ndim == 2 and ".forget." not in name
        if not within:
            torch.testing.assert_close(change, plain[name], rtol=0, atol=0)
            continue
        # five iterations bring singular values to between 0.7 and 1.2, but for those near 0
        values = torch.linalg.svdvals(change) / (0.01 * 0.2 * max(change.shape) ** 0.5)
        assert values[-3] > 0.5, name
        assert values[0] < 1.3, name


def test_muon_trains_and_says_so(whole):
    about = json.loads((whole / CURVE).read_text())
    assert (about["recipe"]["optimizer"], about["recipe"]["schedule"]) == ("muon", "wsd")
    assert curve(whole)[-1]["validation"] < curve(whole)[0]["validation"] - 0.3


def test_a_stopped_run_of_muon_goes_on_to_the_same_weights(corpus, whole, tmp_path):
    def stop(progress):
        if progress.step == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(corpus, tmp_path / "mine", stop)
    out = run(corpus, tmp_path / "mine")
    assert curve(out) == curve(whole)
    weights, expected = load_file(out / WEIGHTS), load_file(whole / WEIGHTS)
    assert [name for name in weights if not torch.equal(weights[name], expected[name])] == []


def test_two_processes_train_by_muon_what_one_does(corpus, whole, tmp_path):
    assert run_ranks(TWO, [corpus, tmp_path / "mine", Path(__file__).parent]) == [(0, ""), (0, "")]
    for entry, expected in zip(curve(tmp_path / "mine"), curve(whole), strict=True):
        # its iterations multiply in bfloat16, in which the order of a sum is seen
        assert entry == pytest.approx(expected, abs=1e-2)


def test_a_state_of_another_optimizer_is_refused(corpus, tmp_path):
    def stop(progress):
        if progress.step == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(corpus, tmp_path / "mine", stop)
    with pytest.raises(UsageError, match="optimizer was muon and is adamw now"):
        run(corpus, tmp_path / "mine", recipe=replace(MUON, optimizer="adamw"))


def test_muon_of_a_model_in_parts_is_refused(corpus, tmp_path):
    with pytest.raises(UsageError, match="muon cannot go with --shard: its update needs a matrix"):
        run(corpus, tmp_path / "mine", ranks=Ranks(0, 2), shard=True)


def test_a_torch_without_muon_is_told(corpus, tmp_path, monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(UsageError, match=r"muon needs torch 2\.9 or later, this is"):
        run(corpus, tmp_path / "mine")


@pytest.mark.parametrize(("option", "known"), [("optimizer", "muon"), ("schedule", "cosine")])
def test_a_name_that_is_none_is_refused(option, known):
    with pytest.raises(UsageError, match=rf"{option} is 'none'; it must be .*{known}"):
        tiny.RECIPE.changed(**{option: "none"})
    with pytest.raises(UsageError, match=rf"{option} is 'none'; it must be .*{known}"):
        replace(tiny.RECIPE, **{option: "none"})


def test_a_validation_loss_is_computed_in_the_parts_of_training():
    seen = []

    def loss(part):
        seen.append(len(part))
        return part.mean()

    assert FreshGradients(loss, [], parts=4).value(torch.arange(8.0)) == 3.5
    assert seen == [2, 2, 2, 2]
