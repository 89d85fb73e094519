"""What is foreseen is what is taken: memory against the growth of a process of its own."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from strategies import refused

from freeatten_core import Variant
from freeatten_core.basics.errors import UsageError
from freeatten_core.models import forecast
from freeatten_core.models.config import ModelConfig
from freeatten_core.models.decoder import Model

CPU = torch.device("cpu")
GROWTH = """
import sys
from pathlib import Path
import torch
from freeatten_core import Variant
from freeatten_core.models import forecast
from freeatten_core.models.config import ModelConfig
from freeatten_core.models.decoder import Model

torch.set_num_threads(1)

def grown():
    lines = Path("/proc/self/status").read_text().splitlines()  # ru_maxrss begins at the parent's
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

def train(model, tokens):
    optimizer = torch.optim.AdamW(model.parameters())
    model.token_losses(tokens, tokens).mean().backward()
    optimizer.step()
    model.token_losses(tokens, tokens).mean().backward()  # beside the moments

def score(model, tokens):
    with torch.inference_mode():
        model.token_losses(tokens, tokens)

def made(config):
    model = Model(config)
    model.initialise(0)
    return model

kind, variant = sys.argv[1:3]
length, width, layers, vocabulary, batch = map(int, sys.argv[3:])
work = {"train": train, "score": score}[kind]
variant = Variant.parse(variant)
shape = dict(layers=layers, heads=2, kv_heads=2, mlp_width=3 * width, rope_base=1e4)
config = ModelConfig(variant, length, vocabulary, width, **shape)
work(made(ModelConfig(variant, 16, 64, 32, **shape)), torch.zeros(1, 16, dtype=torch.long))
before = grown()
work(made(config), torch.zeros(batch, length, dtype=torch.long))
if kind == "train":
    foreseen = forecast.training_bytes(config, batch, compiled=False)[1]
else:
    weights = 4 * forecast.parameter_count(config)
    foreseen = weights + forecast.scoring_bytes(config, variant, batch * length, length)
print((grown() - before) / foreseen)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
@pytest.mark.parametrize(
    "work",
    [
        ("score", "softmax", 4096, 128, 1, 8192, 1),
        ("train", "lssar:p=15", 256, 128, 2, 4096, 8),
    ],
    ids=lambda work: work[0],
)
def test_memory_foreseen_is_memory_taken(work):
    command = [sys.executable, "-c", GROWTH, *map(str, work)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert 0.6 < float(done.stdout) < 1.15


@pytest.mark.parametrize("changes", [{}, {"kv_heads": 1}, {"layers": 5, "vocab_size": 77}])
def test_parameters_are_counted_without_making_them(changes):
    config = replace(tiny.CONFIG, **changes)
    made = sum(weight.numel() for weight in Model(config).parameters())
    assert forecast.parameter_count(config) == made


def test_a_function_of_ones_own_is_taken_to_need_the_square_of_the_length():
    own = Variant(function="mine.py:attend")
    config = ModelConfig(Variant(), 16, 64, 32, 1, 2, 2, 64, 1e4)
    plain = forecast.scoring_bytes(config, Variant(), 4096, 4096)
    assert forecast.scoring_bytes(config, own, 4096, 4096) >= plain + 4 * 4096**2


def test_what_does_not_fit_is_refused_with_the_numbers_and_the_remedy(monkeypatch):
    monkeypatch.setattr(forecast, "available_bytes", lambda _: 2_000_000_000)
    forecast.check_memory("sleeping", 2_000_000_000, CPU, str)
    words = ["sleeping needs 3.5 GB, 2.0 GB available on cpu; 2000000000"]
    with refused(UsageError, words):
        forecast.check_memory("sleeping", 3_500_000_000, CPU, str)
    monkeypatch.setattr(forecast, "available_bytes", lambda _: None)
    forecast.check_memory("sleeping", 10**18, CPU, str)


def test_a_pass_takes_its_tokens_and_its_scores():
    rates = forecast.Rates(token=2.0, score=0.5)
    assert rates.of_pass(4, 60) == 4 * 2 + 60 * 0.5


def test_a_probe_gives_times_above_zero():
    config = tiny.CONFIG
    model = tiny.model()
    rates = forecast.probe(config.shapes[0], config.variant.computes, 64, CPU, model.hidden)
    assert rates.token > 0
    assert rates.score > 0
