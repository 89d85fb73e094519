"""A training says what it will take, and what cannot fit is refused before it starts."""

from dataclasses import replace

import pytest
import tiny
import torch
from strategies import refused

from freeatten_core import Variant
from freeatten_core.basics.distributed import Ranks
from freeatten_core.basics.errors import UsageError
from freeatten_core.data.tasks.recall import RecallTask
from freeatten_core.models import forecast as models_forecast
from freeatten_core.training.forecast import check_fits, forecast
from freeatten_core.training.recipe import Recipe
from freeatten_core.training.tasks import train_task

CPU = torch.device("cpu")


def test_the_recipe_of_the_shipped_models_needs_gigabytes():
    assert 2.5e9 < forecast_bytes(Recipe()) < 4.5e9


def forecast_bytes(recipe):
    return models_forecast.training_bytes(recipe.config(Variant()), recipe.batch, compiled=False)[1]


def test_a_forecast_grows_with_the_work():
    short = forecast(tiny.RECIPE, Variant(), CPU)
    long = forecast(replace(tiny.RECIPE, steps=40_000), Variant(), CPU)
    assert short.fits
    assert 0 < short.kept_bytes < short.bytes
    assert long.bytes == short.bytes
    assert long.seconds > 20 * short.seconds > 0


def test_too_little_memory_is_refused_with_the_parts_that_fit(monkeypatch):
    available = forecast_bytes(replace(Recipe(), batch=20))
    monkeypatch.setattr(models_forecast, "available_bytes", lambda _: available)
    needed = forecast_bytes(Recipe()) / 1e9
    words = [
        f"training with 64 windows of 512 tokens at once needs {needed:.1f}",
        f"{available / 1e9:.1f} GB available on cpu; in 4 parts (--parts 4) it is ",
    ]
    with refused(UsageError, words):
        check_fits(Recipe(), Variant(), CPU)
    check_fits(replace(Recipe(), parts=4), Variant(), CPU)
    check_fits(Recipe(), Variant(), CPU, Ranks(1, 4))


def test_a_model_spread_over_ranks_needs_less_and_is_offered(monkeypatch):
    recipe = Recipe(width=96, layers=8, heads=3, mlp_width=288, batch=4, train_length=64)
    two = Ranks(0, 2)
    whole, spread = (forecast(recipe, Variant(), CPU, two, shard=shard) for shard in (False, True))
    kept = whole.kept_bytes / 5 * 4  # weights, gradients and two moments; buffers are the fifth
    # half of it, and the embedding and two layers gathered, with their gradients
    gathered = 8 * (4096 * 96 + 2 * (4 * 96 * 96 + 3 * 96 * 288 + 2 * 96))
    assert spread.kept_bytes == pytest.approx(kept / 2)
    assert whole.bytes - spread.bytes == pytest.approx(whole.kept_bytes - kept / 2 - gathered, 1e-4)
    monkeypatch.setattr(models_forecast, "available_bytes", lambda _: spread.bytes)
    words = [f"it is {spread.bytes / 1e9:.1f} GB", "spread over the ranks (--shard)"]
    with refused(UsageError, words):
        check_fits(recipe, Variant(), CPU, two)
    check_fits(recipe, Variant(), CPU, two, shard=True)


def test_a_model_too_large_for_any_batch_is_refused_before_it_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(models_forecast, "available_bytes", lambda _: 1_000)
    with refused(UsageError, ["0.0 GB available on cpu; train a smaller model"]):
        train_task(
            Variant(),
            RecallTask(keys=4, values=2, fillers=4, pairs=2),
            tmp_path / "mine",
            tiny.RECIPE,
            device=CPU,
            command="freeatten train",
        )
    assert tiny.listing(tmp_path) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_there_is_no_probe():
    assert forecast(tiny.RECIPE, Variant(), torch.device("cuda")).seconds is None
