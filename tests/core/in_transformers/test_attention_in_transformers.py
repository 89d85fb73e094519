"""This project's attention in models of the transformers library, as their own one is."""

import causal
import pytest
import torch
import transformers
from transformers import DynamicCache

import freeatten_core.transformers
from freeatten_core import attention
from freeatten_core.basics.errors import UsageError
from freeatten_core.ops.definitions import staged
from freeatten_core.transformers import masks

TOKENS = torch.randint(0, 300, (2, 40), generator=torch.Generator().manual_seed(1))
NAMES = ("freeatten:softmax", "freeatten:lssar:p=15", "freeatten:sigmoid")
CHUNKS = (slice(0, 17), slice(17, 18), slice(18, 30), slice(30, 40))


@pytest.fixture(autouse=True)
def quiet():
    transformers.logging.set_verbosity_error()


def made(name="llama", attention="freeatten:lssar:p=15", **changes):
    return causal.network(name, attention, **changes)


@torch.no_grad()
def logits(model, tokens=TOKENS, **options):
    return model(tokens, use_cache=False, **options).logits


# What is computed


WHOLE = tuple({*causal.ARCHITECTURES} - {*causal.BYPASSING} - {"gemma2", "gpt_oss"})
"""Those whose attention has neither a cap nor a sink."""


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_softmax_here_is_the_models_own(name):
    own, here = causal.network(name, "eager"), made(name, "freeatten:softmax")
    torch.testing.assert_close(logits(here), logits(own), rtol=1e-5, atol=2e-5)


def with_reference(variant):
    """An attention of the library's that is the definition in float64."""

    def attend(_module, query, key, value, attention_mask, **_):
        groups = query.shape[1] // key.shape[1]
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
        window = attention_mask.window
        mixed = staged.reference_attention(query, key, value, variant, window=window)
        return mixed.transpose(1, 2).contiguous(), None

    name = f"definition of {variant}"
    transformers.AttentionInterface.register(name, attend)
    transformers.AttentionMaskInterface.register(name, masks.seen_keys)
    return name


def loss_and_gradients(model):
    model.zero_grad()
    loss = model(TOKENS, labels=TOKENS, use_cache=False).loss
    loss.backward()
    return loss.detach(), [weight.grad.clone() for weight in model.parameters()]


@pytest.mark.parametrize("architecture", ["llama", "mistral"])
@pytest.mark.parametrize("name", NAMES)
def test_training_is_that_of_the_definition(name, architecture):
    model = made(architecture, name).double().train()
    loss, gradients = loss_and_gradients(model)
    model.set_attn_implementation(with_reference(name.removeprefix("freeatten:")))
    wanted, of_definition = loss_and_gradients(model)
    torch.testing.assert_close(loss, wanted, rtol=1e-12, atol=1e-12)
    for one, other in zip(gradients, of_definition, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


def test_gradient_checkpointing_changes_nothing():
    model = made().train()
    loss, gradients = loss_and_gradients(model)
    model.gradient_checkpointing_enable()
    again, recomputed = loss_and_gradients(model)
    assert torch.equal(loss, again)
    assert all(map(torch.equal, gradients, recomputed))


def test_autocast_trains_in_its_type():
    model = made().train()
    with torch.autocast("cpu", torch.bfloat16):
        loss, gradients = loss_and_gradients(model)
    wanted, _ = loss_and_gradients(model)
    torch.testing.assert_close(loss, wanted, rtol=2e-2, atol=2e-2)
    assert all(grad.dtype == torch.float32 and grad.isfinite().all() for grad in gradients)


@pytest.mark.parametrize("architecture", ["llama", "mistral"])
@pytest.mark.parametrize("name", NAMES)
def test_a_text_read_in_parts_is_the_text_read_whole(name, architecture):
    model = made(architecture, name).double()
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        parts = [model(TOKENS[:, each], past_key_values=cache).logits for each in CHUNKS]
    torch.testing.assert_close(torch.cat(parts, 1), logits(model), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("architecture", ["llama", "mistral"])
def test_what_is_generated_with_a_cache_is_what_is_without(architecture):
    model = made(architecture)
    options = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    with_cache, without = (
        model.generate(TOKENS[:, :10], use_cache=cache, **options) for cache in (True, False)
    )
    assert torch.equal(with_cache, without)


def test_padding_on_the_right_is_seen_by_nothing():
    mask = torch.ones_like(TOKENS)
    mask[0, 25:] = 0
    model = made()
    whole, padded = logits(model), logits(model, attention_mask=mask)
    assert torch.equal(padded[0, :25], whole[0, :25])
    assert torch.equal(padded[1], whole[1])
    other = TOKENS.clone()
    other[0, 25:] = 7
    assert torch.equal(logits(model, other, attention_mask=mask)[0, :25], whole[0, :25])


def test_a_compiled_model_gives_the_same():
    torch.compiler.reset()
    model = made()
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        found = compiled(TOKENS, use_cache=False).logits
    torch.testing.assert_close(found, logits(model))


def test_a_trainer_lowers_the_loss(tmp_path):
    model = made()
    texts = [{"input_ids": row, "labels": row} for row in TOKENS]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=6, per_device_train_batch_size=2, learning_rate=3e-3,
        gradient_checkpointing=True, report_to=[], save_strategy="no", use_cpu=True, seed=0,
        disable_tqdm=True, logging_strategy="no",
    )  # fmt: skip
    before = model(TOKENS, labels=TOKENS).loss.item()
    transformers.Trainer(model, arguments, train_dataset=texts).train()
    with torch.no_grad():
        assert model.eval()(TOKENS, labels=TOKENS).loss.item() < before - 0.1


# Names


def test_every_named_variant_is_an_implementation():
    known = transformers.AttentionInterface().valid_keys()
    for name in ("softmax", "lssa", "lssar", "lssar:p=1", "softmax-ls-r:p=64", "sigmoid"):
        assert f"freeatten:{name}" in known
    query, key, value = (torch.randn(1, 2, 9, 8) for _ in range(3))
    mask = masks.seen_keys(1, 9, 9, mask_function=lambda _b, _h, row, other: other <= row)
    attend = transformers.AttentionInterface()["freeatten:lssar"]
    output, _ = attend(torch.nn.Identity(), query, key, value, mask)
    assert torch.equal(output.transpose(1, 2), attention(query, key, value, "lssar:p=15"))


def test_others_are_registered_by_name():
    name = freeatten_core.transformers.register(
        "stages:score=dot:positivity=softplus:normalise=count"
    )
    assert name == "freeatten:stages:score=dot:positivity=softplus:normalise=count"
    assert logits(made(attention=name)).isfinite().all()


@pytest.mark.parametrize(
    ("name", "said"),
    [("lsar", "unknown variant 'lsar'; did you mean 'lssar'"), ("softmax+yarn", "changes a model")],
)
def test_what_is_no_attention_is_not_registered(name, said):
    with pytest.raises(ValueError, match=said):
        freeatten_core.transformers.register(name)


def test_the_library_refuses_a_name_that_nobody_registered():
    with pytest.raises(ValueError, match="freeatten:lsar"):
        made(attention="freeatten:lsar")


# What would be wrong is refused


def left_padded():
    mask = torch.ones_like(TOKENS)
    mask[1, :3] = 0
    return {"attention_mask": mask}


def packed():
    return {"position_ids": torch.cat([torch.arange(20), torch.arange(20)]).expand(2, -1)}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (left_padded(), "padding before tokens"),
        (packed() | {"use_cache": False}, "packed texts"),
        (packed(), "several texts are packed"),
        ({"attention_mask": torch.ones(2, 1, 40, 40)}, "such as a 4-D one"),
        ({"attention_mask": torch.ones(2, 40, 40)}, "attention_mask has 3 dimensions"),
        ({"cu_seq_lens_q": torch.tensor([0, 20, 40])}, "several texts are packed"),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_rows_that_are_not_one_text_from_its_beginning_are_refused(options, said, training):
    with pytest.raises(UsageError, match=said):
        made().train(training)(TOKENS, **options)


def test_texts_padded_on_the_right_are_not_continued():
    mask = torch.ones_like(TOKENS)
    mask[0, 30:] = 0
    with pytest.raises(UsageError, match="padding before tokens"):
        made().generate(TOKENS, attention_mask=mask, max_new_tokens=2, pad_token_id=0)


def test_a_static_cache_is_refused():
    with pytest.raises(UsageError, match="caches that grow"):
        made().generate(
            TOKENS[:, :9], max_new_tokens=2, cache_implementation="static", pad_token_id=0
        )


def test_dropout_of_weights_is_refused_in_training_alone():
    model = made(attention_dropout=0.1)
    assert logits(model).isfinite().all()
    with pytest.raises(UsageError, match=r"set attention_dropout from 0\.1 to 0"):
        model.train()(TOKENS)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gemma2", "a cap of the scores"),
        ("gpt_oss", "a sink"),
        ("bloom", "computes its attention itself"),
    ],
)
def test_what_the_attention_does_not_know_is_refused(name, said):
    with pytest.raises(UsageError, match=said):
        made(name)(TOKENS)


def test_an_architecture_that_takes_no_name_is_no_silent_softmax():
    for name in ("gptj", "falcon"):
        with pytest.raises(KeyError, match="freeatten:lssar"):
            made(name)(TOKENS)


@pytest.mark.parametrize(
    "rule",
    [
        lambda _b, _h, row, other: (other <= row) & (row // 8 == other // 8),
        lambda _b, _h, row, other: (other <= row) | (other < 5),
        lambda _b, _h, row, other: (other <= row) & (other != 3),
        lambda _b, _h, row, other: (other <= row) | (row >= 0),
        lambda batch, _h, row, other: (other <= row) & ((batch == 0) | (other != 1)),
    ],
    ids=["chunks", "prefix", "a key left out", "all", "one text of two"],
)
def test_a_rule_that_is_not_causal_is_refused(rule):
    with pytest.raises(UsageError, match="causal rows, whole or with one window"):
        masks.seen_keys(2, 40, 40, mask_function=rule)


@pytest.mark.parametrize(
    ("q_length", "q_offset", "kv_offset"), [(40, 0, 0), (1, 39, 0), (5, 35, 28)]
)
def test_the_window_is_read_off_the_rule(q_length, q_offset, kv_offset, monkeypatch):
    monkeypatch.setattr(masks, "PANEL_ROWS", 7)

    def rule(_batch, _head, row, other):
        return (other <= row) & (other > row - 8)

    keys = 40 - kv_offset
    seen = masks.seen_keys(2, q_length, keys, q_offset, kv_offset, mask_function=rule)
    assert (seen.rows, seen.keys, seen.window) == (q_length, keys, 8)


def test_a_rule_is_remembered_by_what_it_says(monkeypatch):
    read = []
    monkeypatch.setattr(masks, "_window", lambda rule, *_: read.append(rule))

    def windowed(size):
        return lambda _b, _h, row, other: (other <= row) & (other > row - size)

    masks._remembered.cache_clear()
    for size in (8, 8, 9, torch.tensor(8), torch.tensor(8)):
        masks.seen_keys(1, 40, 40, mask_function=windowed(size))
    assert len(read) == 4  # 8, 9, and every tensor, which may hold anything
    masks._remembered.cache_clear()
