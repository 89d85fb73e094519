"""A model that accelerate spread is scored and looked into as the one in main memory.

Parts lie on disk here and are fetched by the hooks that put them on several GPUs elsewhere.
"""

from __future__ import annotations

from dataclasses import replace

import causal
import pytest
import tiny
import torch

from freeatten_core import load_causal_model, loss_by_length
from freeatten_core.analysis import capture
from freeatten_core.basics.errors import ContentError
from freeatten_core.measures.ablation import AblateRequest, ablate
from freeatten_core.measures.comparison import Request, compare
from freeatten_core.measures.copying import CopyRequest, copy_retrieval
from freeatten_core.measures.heads import SurveyRequest, survey
from freeatten_core.models.rows import CausalRow, types_of
from freeatten_core.models.transformers_model import config
from freeatten_core.variants.variant import Variant

TOKENS = torch.randint(2, 300, (1, 129), generator=torch.Generator().manual_seed(1))
ON_DISK = {
    "model.embed_tokens": "cpu",
    "model.layers.0": "cpu",
    "model.layers.1": "disk",
    "model.norm": "disk",
    "model.rotary_emb": "cpu",
    "lm_head": "disk",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return causal.save(tmp_path_factory.mktemp("models") / "llama", causal.network("llama"))


@pytest.fixture(scope="module")
def models(folder):
    whole = load_causal_model(str(folder))
    return whole, load_causal_model(str(folder), device_map=ON_DISK)


def test_parts_lie_where_they_were_put(models):
    whole, spread = models
    assert (whole.spread, spread.spread) == ({}, ON_DISK)
    assert {name for name, each in spread.network.named_parameters() if each.is_meta}
    assert spread.on(torch.device("cpu")) is spread
    assert spread.takes_window
    assert spread.maps_refused is None


@pytest.mark.parametrize("modifiers", ["", "+yarn", "+window", "+logn", "+swap:to=lssa"])
def test_losses_are_those_of_the_whole_model(modifiers, models):
    variant = Variant.parse(f"softmax{modifiers}")
    whole, spread = (each.with_modifiers(variant, 128, 16) for each in models)
    found, wanted = (each.token_losses(TOKENS[:, :-1], TOKENS[:, 1:]) for each in (spread, whole))
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-6)


def test_every_header_says_the_type_that_computed(folder):
    """A model that is spread stays in its type, whatever a measure asks for."""
    halved = load_causal_model(str(folder), device_map=ON_DISK, dtype=torch.bfloat16)
    row = CausalRow(replace(halved, maps_refused=None), 16)  # in its type weights differ by 0.002
    given = {"rows": [row], "documents": tiny.documents(4, 3000), "source": "x", "command": "c"}
    results = [
        ablate(AblateRequest(length=256, texts=1, heads=False, **given)),
        survey(SurveyRequest(length=64, **given)),
        copy_retrieval(CopyRequest(lengths=[64], block=8, samples=1, **given)),
        compare(Request(lengths=[16, 32], texts=1, **given)).result,
    ]
    assert [result["dtype"] for result in results] == ["bfloat16"] * 4
    assert types_of([CausalRow(load_causal_model(str(folder)), 16), row]) == "float32, bfloat16"


def test_lengths_and_captures_are_too(models):
    whole, spread = models
    found, wanted = (loss_by_length(each, TOKENS, [32, 128]) for each in (spread, whole))
    assert found == pytest.approx(wanted, abs=1e-6)
    seen, expected = (capture(each, TOKENS[0]) for each in (spread, whole))
    for layer in expected.layers:
        torch.testing.assert_close(seen.layers[layer].query, expected.layers[layer].query)
        torch.testing.assert_close(
            seen.layers[layer].rows.entropy, expected.layers[layer].rows.entropy
        )


def test_in_bfloat16_losses_are_those_of_the_whole_model_and_every_layer_takes_a_window(
    folder, models
):
    model = load_causal_model(str(folder), device_map="auto", dtype=torch.bfloat16)
    assert model.network.dtype == torch.bfloat16
    assert model.takes_window
    found, wanted = (
        each.token_losses(TOKENS[:, :-1], TOKENS[:, 1:]) for each in (model, models[0])
    )
    assert found.dtype == torch.float32
    # bfloat16 has steps of 1/32 between 4 and 8
    torch.testing.assert_close(found, wanted, rtol=0, atol=1 / 32)


def test_what_no_device_holds_is_refused_with_the_numbers(folder, monkeypatch):
    monkeypatch.setattr(config, "_of_all_devices", lambda: 10_000)
    with pytest.raises(ContentError, match=r"parameters and needs .* GB in bfloat16; 0.0 GB are"):
        load_causal_model(str(folder), device_map="auto", dtype=torch.bfloat16)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_gpus_it_is_tried_scored_and_looked_into(folder, models):
    spread = load_causal_model(str(folder), device_map="auto")
    # on one GPU it is not spread, only there
    assert {each.device.type for each in spread.network.parameters()} == {"cuda"}
    assert spread.maps_refused is None
    wanted = loss_by_length(models[0], TOKENS, [32, 128])
    assert loss_by_length(spread, TOKENS, [32, 128]) == pytest.approx(wanted, abs=1e-4)
