"""What is undone past the training length is undone exactly, and the result says what it did."""

import copy
import math
import re
from dataclasses import replace
from functools import partial

import causal
import numpy as np
import pytest
import tiny
import torch
import transformers
from strategies import VARIANTS, refused, stages

from freeatten_core import load_causal_model, load_checkpoint
from freeatten_core.basics.errors import ContentError, UsageError
from freeatten_core.basics.progress import Watch
from freeatten_core.data.selection import select_texts
from freeatten_core.measures.ablation import UNDONE, AblateRequest, ablate
from freeatten_core.measures.scoring import score_texts
from freeatten_core.models.rows import CausalRow, Row
from freeatten_core.models.single_heads import DecoderSingleHeads
from freeatten_core.ops.call import Familiar
from freeatten_core.ops.definitions import staged
from freeatten_core.ops.operator import familiar_attention, grouped_attention
from freeatten_core.positions.rope import Rope, rotate

HEADS, KV_HEADS, LENGTH, DIM, TRAINED = 4, 2, 40, 8, 12
ROPE = Rope(DIM, 10_000.0, TRAINED)
CPU = torch.device("cpu")
each_variant = pytest.mark.parametrize("variant", VARIANTS)


def vectors(length=LENGTH):
    """Query, key and value before any rotation, float64."""
    draw = torch.Generator().manual_seed(1)
    return [
        torch.randn(1, heads, length, DIM, generator=draw, dtype=torch.float64)
        for heads in (HEADS, KV_HEADS, KV_HEADS)
    ]


def turned(tensor, positions, rope=ROPE):
    """(B, H, L, D) rotated to positions (L,) in float64."""
    angle = torch.outer(positions.double(), rope.frequencies(512))
    first, second = tensor.chunk(2, dim=-1)
    cos, sin = angle.cos() * rope.temperature, angle.sin() * rope.temperature
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


def row_by_row(variant, factor=lambda _: 1.0, farthest=LENGTH, rope=ROPE):
    """Attention of unrotated vectors by the reference, a row at a time.

    Args:
        factor: what multiplies the score of a row with so many keys.
        farthest: the distance that farther keys are turned as.
    """
    query, key, value = vectors()
    outputs = []
    for row in range(LENGTH):
        distance = row - torch.arange(row + 1)
        keys = turned(key[:, :, : row + 1], -distance.clamp(max=farthest), rope)
        outputs.append(
            staged.reference_attention(
                query[:, :, row : row + 1] * rope.temperature,
                keys,
                value[:, :, : row + 1],
                variant,
                enable_gqa=True,
                head_scale=torch.full((HEADS,), factor(row + 1), dtype=torch.float64),
            )
        )
    return torch.cat(outputs, dim=2)


def other_growth(variant):
    if stages(variant).score in ("length-cosine", "count-cosine"):
        return lambda n: math.log(min(n, TRAINED)) / math.log(n) if n > 1 else 1.0
    return lambda n: math.log(max(n, TRAINED)) / math.log(TRAINED)


def attended(variant, rope=ROPE, **familiar):
    """What a model's attention gives on rotated queries and keys, with far keys made familiar."""
    query, key, value = vectors()
    position = torch.arange(LENGTH)
    query, key = turned(query, position, rope), turned(key, position, rope)
    return familiar_attention(query, key, value, variant, Familiar(rope, **familiar))


# what is undone


@each_variant
@pytest.mark.usefixtures("small_panels")
def test_far_keys_are_scored_as_the_farthest_of_training(variant):
    actual = attended(variant, rotation=True)
    expected = row_by_row(variant, farthest=TRAINED - 1)
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(actual[:, :, :TRAINED], row_by_row(variant)[:, :, :TRAINED])


@each_variant
def test_the_growth_with_the_number_of_keys_is_the_other_one(variant):
    actual = attended(variant, scale=True)
    expected = row_by_row(variant, factor=other_growth(variant))
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(actual[:, :, :TRAINED], row_by_row(variant)[:, :, :TRAINED])


@each_variant
def test_both_are_undone_together(variant):
    actual = attended(variant, rotation=True, scale=True)
    expected = row_by_row(variant, factor=other_growth(variant), farthest=TRAINED - 1)
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-5)


def test_yarn_keeps_its_temperature_when_far_keys_are_turned():
    rope = replace(ROPE, stretch=4.0)
    actual = attended("softmax", rope, rotation=True)
    expected = row_by_row("softmax", farthest=TRAINED - 1, rope=rope)
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-5)


@each_variant
def test_a_window_hides_what_is_older(variant):
    query, key, value = vectors()
    found = grouped_attention(query, key, value, stages(variant), window=TRAINED)
    expected = staged.reference_attention(
        query, key, value, variant, enable_gqa=True, window=TRAINED
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("variant", ["softmax", "lssar:p=15", "sigmoid"])
def test_one_head_is_windowed_and_all_else_is_as_it_was(variant):
    model = tiny.model(variant, layers=3, heads=4, kv_heads=2)
    tokens = torch.randint(300, (1, LENGTH + 1), generator=torch.Generator().manual_seed(2))
    alone = DecoderSingleHeads(model, tokens, TRAINED)
    for layer in range(3):
        for head in range(4):
            calls = []

            def attend(query, key, value, variant, layer=layer, head=head, calls=calls):
                windows = [None] * 4
                if len(calls) == layer:
                    windows[head] = TRAINED
                calls.append(layer)
                outputs = [
                    staged.reference_attention(
                        query, key, value, variant, enable_gqa=True, window=w
                    )
                    for w in windows
                ]
                return torch.stack([outputs[h][:, h] for h in range(4)], dim=1)

            changed = copy.copy(model)
            changed.attend = attend
            expected = changed.token_losses(tokens[:, :-1], tokens[:, 1:], 20)
            found = alone.losses(layer, head, 20)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


# the result


def measured(rows, watch=None, **changes):
    request = {"length": 64, "documents": tiny.documents(4), "texts": 3}
    return ablate(
        AblateRequest(rows=rows, source="texts", command="freeatten ablate", **request | changes),
        watch,
    )


def test_deltas_and_changes_are_those_of_the_passes_themselves(rows):
    texts = select_texts(tiny.documents(4), tiny.tokenizer(), 64, 3, 0).texts
    tokens = torch.from_numpy(np.stack([text.tokens for text in texts]))
    for row, entry in zip(rows, measured(rows)["variants"], strict=True):
        plain = row.checkpoint.model
        model = plain.with_modifiers(row.variant, 64)
        losses = score_texts(model.token_losses, texts, [64], 16, device=CPU)
        intact = losses.by_length[64][:, 32:].mean()
        assert entry["loss"] == pytest.approx(intact, abs=1e-4)
        assert entry["delta"]["intact"] == pytest.approx(losses.delta(64).mean(), abs=1e-4)
        ways = {
            "window": {"window": 16},
            "rotation": {"familiar": Familiar(model.rope, rotation=True)},
            "scale": {"familiar": Familiar(model.rope, scale=True)},
            "rotation+scale": {"familiar": Familiar(model.rope, rotation=True, scale=True)},
        }
        assert list(ways) == list(UNDONE)
        for name, way in ways.items():
            model.attend = partial(grouped_attention, **way)
            changed = model.token_losses(tokens[:, :-1], tokens[:, 1:])[:, 32:].mean()
            wanted = entry["delta"]["intact"] + float(changed) - intact
            assert entry["delta"][name] == pytest.approx(wanted, abs=1e-4)
        assert [(head["layer"], head["head"]) for head in entry["heads"]] == [
            (0, 0), (0, 1), (1, 0), (1, 1),
        ]  # fmt: skip
        for head in entry["heads"]:
            place = head["layer"], head["head"]
            changed = [
                DecoderSingleHeads(plain, each[None], 16).losses(*place, 32) for each in tokens
            ]
            wanted = float(torch.cat(changed).mean()) - intact
            assert head["change"] == pytest.approx(wanted, abs=1e-4)


def test_the_models_are_left_as_they_were(rows):
    attends = [row.checkpoint.model.attend for row in rows]
    measured(rows)
    assert [row.checkpoint.model.attend for row in rows] == attends


def test_single_heads_can_be_left_out(rows):
    assert all("heads" not in entry for entry in measured(rows, heads=False)["variants"])


def test_one_text_has_no_interval(rows):
    (entry, _) = measured(rows, texts=1)["variants"]
    assert entry["loss_ci95"] == [None, None]
    assert list(entry["delta_ci95"].values()) == [[None, None]] * 5
    assert {tuple(head["change_ci95"]) for head in entry["heads"]} == {(None, None)}


def test_the_result_says_what_was_measured(rows):
    result = measured(rows)
    assert (result["length"], result["train_length"], result["texts"]) == (64, 16, 3)
    assert result["text"]["tokens"] == 3 * 32
    assert len(result["text"]["manifest"]) == 3
    assert result["command"] == "freeatten ablate"
    assert [entry["variant"] for entry in result["variants"]] == ["softmax", "lssar:p=15"]


@pytest.mark.parametrize("heads", [True, False])
def test_progress_adds_up_to_what_was_announced(rows, heads):
    totals, done, seen = [], [], []
    watch = Watch(totals.append, done.append, lambda _, n, of: seen.append((n, of)))
    measured(rows, watch, heads=heads)
    assert sum(done) == pytest.approx(sum(totals))
    assert seen == [(1, 3), (2, 3), (3, 3)] * 2


# what is refused


@pytest.mark.parametrize("length", [16, 40])
def test_a_length_without_whole_windows_beyond_the_training_length_is_refused(rows, length):
    with refused(UsageError, [f"--len is {length}", "2 or more times the training length, 16"]):
        measured(rows, length=length)


def test_different_tokenizers_are_refused(rows, tmp_path):
    other = tiny.save(tmp_path / "other", tiny.model(vocab_size=290), tiny.tokenizer(290))
    loaded = load_checkpoint(other)
    with refused(UsageError, ["different tokenizers"]):
        measured([*rows, Row(loaded.config.variant, loaded)])


@pytest.mark.parametrize(
    "name",
    ["nope", "softmax:gate=forget", "ssmax", "sink", "diff", "regulargpt:dilate=4/own"],
)
def test_a_refused_model_is_told_what_its_name_must_not_have(tmp_path, name):
    loaded = load_checkpoint(tiny.save(tmp_path / "mine", tiny.model(name)))
    with pytest.raises(UsageError, match="whose name has no ") as told:
        measured([Row(loaded.config.variant, loaded)])
    words = re.findall(r"\w+", str(told.value).partition("whose name has no ")[2])
    assert any(f":{word}=" in str(loaded.config.variant) for word in words)


def test_rotations_of_the_tests_are_those_of_the_model():
    query = vectors()[0].float()
    position = torch.arange(LENGTH)
    torch.testing.assert_close(
        turned(query.double(), position).float(), rotate(query, *ROPE.table(LENGTH, CPU))
    )


# models of others


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("others")
    names = ("llama", "gemma2", "gpt2", "mistral", "bloom")
    return {name: causal.save(root / name, causal.network(name)) for name in names}


def causal_row(folders, name, declared=16):
    return CausalRow(replace(load_causal_model(str(folders[name])), declared_length=declared), 16)


def test_our_softmax_as_a_llama_has_the_same_table(rows, tmp_path):
    """Under the library's names, with its training length for the declared one."""
    built = rows[0].checkpoint.model
    folder = causal.save_as_llama(tmp_path / "llama", built, tiny.tokenizer())
    llama = CausalRow(replace(load_causal_model(str(folder)), declared_length=16), 16)
    (own, other) = (measured([row])["variants"][0] for row in (rows[0], llama))
    assert other["delta"] == pytest.approx(own["delta"], abs=1e-4)
    assert (own["train_length"], other["declared_length"]) == (16, 16)
    for mine, theirs in zip(own["heads"], other["heads"], strict=True):
        assert (mine["layer"], mine["head"]) == (theirs["layer"], theirs["head"])
        assert theirs["change"] == pytest.approx(mine["change"], abs=1e-4)


def test_one_head_of_grouped_ones_is_windowed_in_one_layer(folders):
    """By the library's own eager attention with a mask of that head's."""
    model = load_causal_model(str(folders["llama"]))
    tokens = torch.randint(2, 300, (1, LENGTH + 1), generator=torch.Generator().manual_seed(2))
    own = transformers.models.llama.modeling_llama.eager_attention_forward

    def attend(module, query, key, value, mask, *others, **options):
        mask = mask.expand(-1, query.shape[1], -1, -1).clone()
        if module.layer_idx == 1:
            far = torch.ones(LENGTH, LENGTH).tril(-TRAINED).bool()
            mask[:, 3].masked_fill_(far, torch.finfo(mask.dtype).min)
        return own(module, query, key, value, mask, *others, **options)

    transformers.AttentionInterface.register("windowed head", attend)
    transformers.AttentionMaskInterface.register(
        "windowed head", transformers.masking_utils.eager_mask
    )
    network = transformers.AutoModelForCausalLM.from_pretrained(
        folders["llama"], attn_implementation="windowed head"
    ).eval()
    with torch.inference_mode():
        logits = network(tokens[:, :-1]).logits[0]
    wanted = torch.nn.functional.cross_entropy(logits, tokens[0, 1:], reduction="none")
    found = model.single_heads(tokens, TRAINED).losses(1, 3)
    torch.testing.assert_close(found[0], wanted, atol=1e-4, rtol=1e-4)
    plain = model.token_losses(tokens[:, :-1], tokens[:, 1:])
    assert (plain[0, TRAINED:] - wanted[TRAINED:]).abs().max() > 1e-3


def test_progress_of_others_adds_up_too(folders):
    totals, done = [], []
    measured([causal_row(folders, "llama")], Watch(totals.append, done.append))
    assert sum(done) == pytest.approx(sum(totals))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gpt2", "what ablate undoes needs one plain rotary embedding, and it has none"),
        ("bloom", "not every layer"),
        ("gemma2", "need scores without a cap or a sink"),
        ("mistral", "see 8 keys at most"),
    ],
)
def test_what_has_nothing_to_undo_is_refused_with_the_reason(folders, name, said):
    with pytest.raises((UsageError, ContentError), match=said):
        measured([causal_row(folders, name)], heads=False)


def test_without_a_declared_length_nothing_is_far(folders):
    with refused(UsageError, ["declares no length beyond which something could be undone"]):
        measured([causal_row(folders, "llama", declared=None)])
