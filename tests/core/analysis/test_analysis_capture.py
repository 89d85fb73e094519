from importlib import import_module

import pytest
import tiny
import torch
from captures import Largest, checkpoint, dense_layer, text
from strategies import amplification, assert_within, refused

from freeatten_core import Variant, row_statistics
from freeatten_core.analysis import AttentionMap, capture, forecast, row_stages
from freeatten_core.basics.errors import UsageError
from freeatten_core.models import forecast as models_forecast
from freeatten_core.models import parts
from freeatten_core.ops.call import Problem
from freeatten_core.variants.stages import Stages

forecast_module = import_module("freeatten_core.analysis.forecast")  # the name is also a function

CHECKPOINTS = [
    *("softmax", "softmax-ls", "lssa", "lssar:p=15", "sigmoid", "relu"),
    "stick-breaking:output=gated",
]


def direct(source, tokens, variant=None):
    """Query and key of every layer, by one plain pass."""
    seen = []
    model = source.model
    if variant is not None:
        model = model.with_modifiers(Variant.parse(variant), len(tokens))
    model.hidden(tokens[None], observe=lambda _, query, key, __: seen.append((query[0], key[0])))
    return seen


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(parts, "CHUNK_SCORES", 1)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("name", CHECKPOINTS)
@pytest.mark.parametrize("kv_heads", [2, 1])
def test_keeps_what_the_model_computes(name, kv_heads):
    source, tokens = checkpoint(name, kv_heads=kv_heads), text(300)
    found = capture(source, tokens)
    assert (found.length, found.heads) == (300, 2)
    assert list(found.layers) == [0, 1]
    assert torch.equal(found.tokens, tokens)
    for layer, (query, key) in zip(found.layers.values(), direct(source, tokens), strict=True):
        torch.testing.assert_close(layer.query, query, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(layer.key, key, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["softmax", "lssar:p=15"])
def test_statistics_are_of_what_is_kept(name, dtype):
    found = capture(checkpoint(name), text(50), dtype=dtype)
    for layer in found.layers.values():
        assert layer.query.dtype == layer.key.dtype == dtype
        expected = row_statistics(layer.query[None].float(), layer.key[None].float(), name)
        for field in ("normaliser", "u_max", "raised", "entropy", "mean_distance", "row_sum"):
            assert getattr(layer.rows, field).shape == (2, 50)
            assert torch.equal(getattr(layer.rows, field), getattr(expected, field)[0])


def test_without_statistics_there_are_none():
    found = capture(checkpoint(), text(20), with_statistics=False)
    assert found.layers[0].rows is None
    with refused(UsageError, ["with_statistics=True"]):
        found.statistics(0)


def test_only_the_layers_wanted_are_computed():
    source, passed = checkpoint(layers=4), []
    tokens = text(20)
    everything = capture(source, tokens)
    hooks = [
        block.mlp.register_forward_hook(lambda *_, index=index: passed.append(index))
        for index, block in enumerate(source.model.blocks)
    ]
    some = capture(source, tokens, layers=[2, 0])
    for hook in hooks:  # the model is every test's
        hook.remove()
    assert list(some.layers) == [0, 2]
    assert torch.equal(some.layers[2].query, everything.layers[2].query)
    assert passed == [0, 1]  # the third block's queries need no more


def test_a_modifier_is_set_for_the_length_of_the_text():
    source, tokens = checkpoint(), text(100)
    plain = capture(source, tokens)
    stretched = capture(source, tokens, variant=Variant.parse("softmax+yarn"))
    assert str(stretched.variant) == "softmax+yarn"
    expected = direct(source, tokens, "softmax+yarn")[1][0]
    torch.testing.assert_close(stretched.layers[1].query, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(plain.layers[1].query, expected, atol=1e-2)
    assert source.model.rope.stretch == 1


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(
    "variant", ["softmax+window", "lssar:p=3+window", "lssa+swap:to=sigmoid+window"]
)
def test_under_a_window_everything_is_of_the_keys_that_it_leaves(variant):
    source, tokens = checkpoint(variant.partition("+")[0]), text(300)
    found = capture(source, tokens, variant=variant)
    vectors = direct(source, tokens, variant)
    for (number, layer), (query, key) in zip(found.layers.items(), vectors, strict=True):
        torch.testing.assert_close(layer.query, query, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(layer.key, key, rtol=1e-4, atol=1e-4)
        wanted = dense_layer(found, number)
        assert int(wanted.visible.sum(-1).max()) == source.config.train_length
        weights = wanted.weights[0]
        kept = layer.query[None], layer.key[None]
        bound = 2e-5 * amplification(*kept, str(found.weighed_by), layer.options)[0]
        assert_within(layer.rows.largest, weights.amax(-1), bound[..., 0])
        assert_within(layer.rows.row_sum, weights.sum(-1), bound[..., 0])
        built = AttentionMap.of(found, number, 1)
        assert_within(built.weights(0, 300, 0, 300), weights[1], bound[1])
        region = built.region(0, 300, 0, 300, cells=300)
        assert (torch.from_numpy(~region.hidden()) == wanted.visible).all()
        row = row_stages(found, number, 1, 200)
        assert row.keys.tolist() == list(range(185, 201))
        assert_within(row.weights, weights[1, 200, 185:201], bound[1, 200])


def test_leaves_the_model_as_it_was():
    source = checkpoint()
    attend = source.model.attend
    capture(source, text(20))
    assert source.model.attend is attend
    assert len(direct(source, text(20))) == 2


def test_the_tokens_are_kept_apart_and_have_labels():
    letters = tiny.tokenizer()
    ids = letters.encode("the quiet river").ids
    tokens = torch.tensor(ids)
    found = capture(checkpoint(), tokens)
    tokens.zero_()
    assert "".join(found.labels(0, found.length)) == "the quiet river"
    assert found.labels(1, 3) == [letters.decode([token]) for token in ids[1:3]]


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("variant", ["softmax", "softmax+swap:to=lssa", "softmax+window"])
def test_progress_reaches_the_whole(variant):
    seen = []
    capture(checkpoint(), text(500), variant=variant, advance=lambda *pair: seen.append(pair))
    done = [part for part, _ in seen]
    assert done == sorted(done)
    assert seen[-1][0] == seen[-1][1]
    assert len({whole for _, whole in seen}) == 1
    assert len(seen) >= 6
    assert done[-2] > 0.9 * done[-1]  # what is told before the end is about what is done


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("after", [1, 3])
def test_an_exception_in_the_progress_cancels(after):
    source, calls = checkpoint(), []

    def cancel(*_):
        calls.append(1)
        if len(calls) == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        capture(source, text(500), advance=cancel)
    assert len(calls) == after
    assert capture(source, text(20)).length == 20


@pytest.mark.parametrize(
    ("tokens", "options", "words"),
    [
        (torch.zeros(0, dtype=torch.long), {}, ["(0,)", "at least 1 token"]),
        (torch.zeros(2, 3, dtype=torch.long), {}, ["(2, 3)", "(length,)"]),
        (torch.zeros(4), {}, ["torch.float32", "token ids"]),
        ([1, 2], {}, ["list", "token ids"]),
        (torch.tensor([1, 300]), {}, ["1 to 300", "0 to 299", "own tokenizer"]),
        (torch.tensor([-1, 3]), {}, ["-1 to 3"]),
        (torch.arange(4), {"layers": [2]}, ["layer is 2", "0 to 1"]),
        (torch.arange(4), {"layers": [-1]}, ["layer is -1"]),
        (torch.arange(4), {"layers": [True]}, ["layer is True"]),
        (torch.arange(4), {"layers": []}, ["no layer", "0 to 1"]),
        (torch.arange(4), {"layers": 0}, ["layers is 0", "a list"]),
        (torch.arange(4), {"layers": iter([0])}, ["layers is <list_iterator", "a list"]),
        (torch.arange(4), {"layers": "0"}, ["layers is '0'", "a list"]),
        (torch.arange(4), {"device": "nowhere"}, ["device is 'nowhere'"]),
        (torch.arange(4), {"variant": "lssa"}, ["lssa", "softmax", "+yarn"]),
        (torch.arange(4), {"dtype": torch.float16}, ["torch.float16", "float32 or bfloat16"]),
        (torch.arange(4), {"variant": Variant.parse("lssa")}, ["lssa", "softmax", "+yarn"]),
        (torch.arange(4), {"variant": "softmax+rerope"}, ["do not show +rerope"]),
    ],
)
def test_what_does_not_fit_is_refused(tokens, options, words):
    with refused(UsageError, words):
        capture(checkpoint(), tokens, **options)


@pytest.mark.parametrize("source", ["softmax", None, tiny.model()], ids=["name", "None", "model"])
def test_only_a_checkpoint_is_captured(source):
    with refused(
        UsageError, ["checkpoint is ", "as load_checkpoint or load_causal_model gives it"]
    ):
        capture(source, text(20))
    with refused(
        UsageError, ["checkpoint is ", "as load_checkpoint or load_causal_model gives it"]
    ):
        forecast(source, 20)


def test_a_variant_may_be_a_name():
    named = capture(checkpoint(), text(20), variant="softmax+yarn")
    assert named.variant == Variant.parse("softmax+yarn")


def test_too_little_memory_is_refused_with_the_numbers(monkeypatch):
    for module in (forecast_module, models_forecast):
        monkeypatch.setattr(module, "available_bytes", lambda _: 20_000_000)
    with refused(UsageError, ["20 tokens in 2 layers needs 0.1 GB", "0.0 GB available on cpu"]):
        capture(checkpoint(), text(20))
    expected = forecast(checkpoint(), 20)
    assert not expected.fits
    assert expected.available == 20_000_000


def test_a_forecast_grows_with_what_is_kept():
    source = checkpoint()
    whole = forecast(source, 1000)
    assert whole.fits
    assert 0 < whole.kept_bytes < whole.bytes
    assert whole.seconds > 0
    kept = capture(source, text(1000))
    tensors = [t for layer in kept.layers.values() for t in (layer.query, layer.key)]
    tensors += [t for layer in kept.layers.values() for t in vars(layer.rows).values()]
    assert whole.kept_bytes == sum(t.numel() * t.element_size() for t in tensors)
    assert forecast(source, 1000, [0]).kept_bytes == whole.kept_bytes / 2
    assert forecast(source, 1000, dtype=torch.bfloat16).kept_bytes < whole.kept_bytes
    assert forecast(source, 1000, with_statistics=False).kept_bytes < whole.kept_bytes
    assert forecast(source, 100_000).seconds > 100 * whole.seconds
    with refused(UsageError, ["length is 0"]):
        forecast(source, 0)


@pytest.mark.parametrize(
    ("rows", "keys", "is_causal"), [(9, 9, True), (4, 9, True), (9, 4, True), (4, 9, False)]
)
@pytest.mark.parametrize("window", [None, 1, 3, 7, 9])
def test_visible_scores_are_the_pairs_that_are_seen(rows, keys, is_causal, window):
    from freeatten_core.ops.call import visible_scores
    from freeatten_core.ops.definitions.staged import visible_keys

    window = window if is_causal else None
    problem = Problem(Stages(), 2, 3, 3, rows, keys, 8, is_causal, window)
    pairs = int(visible_keys(rows, keys, is_causal=is_causal, window=window).sum())
    assert visible_scores(problem) == 6 * pairs


def test_nothing_of_length_by_length_is_made_at_16k_tokens():
    length = 16384
    with Largest() as largest:
        capture(checkpoint("lssar:p=15", heads=1, kv_heads=1), text(length), layers=[0])
    assert largest.elements <= length**2 // 64
    assert largest.bytes <= length**2 // 16
