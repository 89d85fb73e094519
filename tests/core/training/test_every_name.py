"""A model of any named variant can be trained, saved and read."""

from dataclasses import replace

import pytest
import tiny
import torch

from freeatten_core import Variant, load_checkpoint
from freeatten_core.data.prepared import load_corpus, prepare
from freeatten_core.training.run import train
from freeatten_core.variants.setting import SHORT_NAMES
from freeatten_core.variants.variant import PLAIN, SHARPENED


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    prepare([str(tiny.write_folder(folder / "one"))], folder / "corpus", vocab_size=300)
    return load_corpus(folder / "corpus")


@pytest.mark.parametrize(
    "name",
    [
        *PLAIN,
        *SHARPENED,
        *SHORT_NAMES,
        "lssar:p=3:gate=forget:output=gated",
        "softmax-ls:position=rope/none@9",
    ],
)
def test_a_few_steps_lower_the_loss_and_the_checkpoint_is_read(texts, tmp_path, name):
    variant = Variant.parse(name)
    recipe = replace(tiny.RECIPE, steps=6, evaluate_every=2, warmup=1)
    cpu = torch.device("cpu")
    made = train(variant, texts, tmp_path / "made", recipe, device=cpu, command="freeatten train")
    read = load_checkpoint(made)
    losses = [point["validation"] for point in read.curve()["curve"]]
    assert losses[-1] < losses[0]
    assert read.config.variant == variant
    assert read.model(torch.arange(9)[None]).isfinite().all()
