"""A checkpoint that is trained on."""

from dataclasses import replace

import pytest
import tiny
import torch

from freeatten_core import load_checkpoint
from freeatten_core.basics.errors import UsageError
from freeatten_core.data.prepared import load_corpus, prepare
from freeatten_core.training.run import train
from freeatten_core.training.sharding import drawn_anew
from freeatten_core.training.start import Start
from freeatten_core.variants.variant import Variant

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    prepare([str(tiny.write_folder(folder / "one"))], folder / "corpus", vocab_size=300)
    return load_corpus(folder / "corpus")


def trained(texts, out, name, steps=6, start=None, rate=1e-2):
    recipe = replace(tiny.RECIPE, steps=steps, warmup=1, evaluate_every=2, learning_rates=(rate,))
    given = {"device": CPU, "command": "freeatten train", "start": start}
    return load_checkpoint(train(Variant.parse(name), texts, out, recipe, **given))


@pytest.fixture(scope="module")
def softmax(texts, tmp_path_factory):
    return trained(texts, tmp_path_factory.mktemp("first") / "softmax", "softmax", steps=30)


def test_it_begins_with_the_weights_and_draws_what_they_lack(softmax):
    built, plain = tiny.model("fox"), tiny.model("fox")
    start = Start.of(softmax)
    drawn_anew(plain, 3, 0.02)
    drawn_anew(built, 3, 0.02, replace(start, model=tiny.model("softmax", seed=8)))
    other = dict(tiny.model("softmax", seed=8).named_parameters())
    drawn = dict(plain.named_parameters())
    assert set(drawn) - set(other)
    for name, weight in built.named_parameters():
        assert torch.equal(weight, other.get(name, drawn[name]))


def test_a_first_step_without_a_rate_to_speak_of_leaves_its_losses(texts, softmax, tmp_path):
    went_on = trained(texts, tmp_path / "on", "softmax", 2, Start.of(softmax), rate=1e-9)
    anew = trained(texts, tmp_path / "anew", "softmax", 2, rate=1e-9)
    was = softmax.curve()["curve"][-1]["validation"]
    assert went_on.curve()["curve"][0]["validation"] == pytest.approx(was, abs=0.01)
    assert anew.curve()["curve"][0]["validation"] > was + 0.5


def test_what_it_began_with_is_in_the_curve_and_the_card(texts, softmax, tmp_path):
    made = trained(texts, tmp_path / "made", "clex", 2, Start.of(softmax))
    assert made.curve()["from"] == Start.of(softmax).about
    card = (made.folder / "README.md").read_text(encoding="utf-8")
    assert f"started from the weights of {softmax.name};" in card


def test_the_state_of_a_run_that_began_otherwise_is_refused(texts, softmax, tmp_path):
    recipe = replace(tiny.RECIPE, steps=4, evaluate_every=2, save_every=2, warmup=1)
    given = {"device": CPU, "command": "freeatten train"}

    def stop(progress):
        if progress.phase == "train" and progress.step == 4:
            raise KeyboardInterrupt

    out = tmp_path / "made"
    variant = Variant.parse("softmax")
    with pytest.raises(KeyboardInterrupt):
        train(variant, texts, out, recipe, **given, report=stop, start=Start.of(softmax))
    with pytest.raises(UsageError, match="is the state of another run: from was"):
        train(variant, texts, out, recipe, **given)


@pytest.mark.parametrize("name", ["softmax-ls", "softmax:gate=forget", "clex", "pope", "nope"])
def test_other_names_begin_as_softmax(softmax, name):
    Start.of(softmax).check(replace(softmax.config, variant=Variant.parse(name), train_length=40))


def test_another_size_is_refused(softmax):
    said = f"{softmax.name} has width 16, and 32 is asked for; what is trained on keeps its size"
    with pytest.raises(UsageError) as refused:
        Start.of(softmax).check(replace(softmax.config, width=32))
    assert str(refused.value) == said


def test_a_gate_has_no_place_in_softmax(softmax):
    gated = replace(Start.of(softmax), model=tiny.model("fox"))
    with pytest.raises(UsageError, match=r"blocks\.0\.attention\.forget\.weight softmax has no"):
        gated.check(replace(gated.model.config, variant=Variant.parse("softmax")))
