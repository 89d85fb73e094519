"""What `freeatten stability` measures, on inputs whose answer is known."""

import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import refused

from freeatten_core import Variant, load_checkpoint
from freeatten_core.analysis import capture
from freeatten_core.basics.errors import UsageError
from freeatten_core.bench import stability as module
from freeatten_core.bench.stability import (
    FORMS,
    KINDS,
    NAMED,
    ROWS,
    TENSORS,
    Source,
    StabilitySettings,
    flat,
    in_every_type,
    measure,
    parse_scales,
    significant,
    sources,
)
from freeatten_core.data.documents import Document
from freeatten_core.ops.definitions import staged
from freeatten_core.variants.variant import PLAIN, SHARPENED

CPU = torch.device("cpu")
SMALL = StabilitySettings(
    variants="softmax,lssa",
    lengths=(8, 40),
    scales=(1, 16),
    dtypes=("float16",),
    inputs=("random",),
)
MEASURES = {
    "error", "nonfinite", "zero",
    *(f"{name}_gradient_{what}" for name in TENSORS for what in ("norm", "error")),
}  # fmt: skip
STORY = Document("story.txt", "the grey cat keeps a small boat by the river in the morning. " * 12)


def measured(settings=SMALL, documents=(), report=lambda _: None):
    return measure(
        settings, documents, source="story.txt", device=CPU, command="freeatten", report=report
    )


def source(length=40, dim=8, variant="softmax"):
    draw = torch.Generator().manual_seed(1)
    tensors = (torch.randn(1, length, dim, generator=draw) for _ in range(4))
    return Source("random", Variant.parse(variant), None, *tensors)


def tables(result, variant, dtype="float16", form="safe"):
    (entry,) = (entry for entry in result["variants"] if entry["variant"] == variant)
    return entry["types"][dtype][form]


# The result


def test_the_result_is_json_and_says_what_it_is_of():
    result = json.loads(json.dumps(measured(), allow_nan=False))
    assert set(result) == {
        "schema", "device", "seconds", "versions", "command", "date", "commit", "settings", "text",
        "variants",
    }  # fmt: skip
    assert (result["schema"], result["device"], result["command"]) == (1, "cpu", "freeatten")
    assert result["settings"] == {
        "variants": ["softmax", "lssa"],
        "lengths": [8, 40],
        "scales": [1, 16],
        "dtypes": ["float16"],
        "inputs": ["random"],
        "seed": 0,
        "rows": ROWS,
    }
    assert result["text"] is None


def test_every_number_is_a_table_of_lengths_and_scales():
    for entry in measured()["variants"]:
        assert (entry["inputs"], entry["checkpoint"]) == ("random", None)
        assert set(entry["types"]) == {"float16"}
        assert set(entry["types"]["float16"]) == set(FORMS) == {"naive", "safe", "kernel"}
        found = [entry["lowest_score"], entry["largest_score"], entry["query_gradient_norm"]]
        for form in entry["types"]["float16"].values():
            assert set(form) == MEASURES
            found += form.values()
        for table in found:
            assert [len(row) for row in table] == [2, 2]


def test_csv_has_a_line_for_every_number_type_form_and_cell():
    result = measured()
    lines = list(flat(result))
    assert len(lines) == 2 * 2 * 2 * 3
    line = next(
        each
        for each in lines
        if (each["variant"], each["length"], each["scale"], each["form"]) == ("lssa", 40, 1, "safe")
    )
    assert line["error"] == tables(result, "lssa")["error"][1][0]
    assert line["key_gradient_norm_float64"] == result["variants"][1]["key_gradient_norm"][1][0]
    assert all(each.keys() == line.keys() for each in lines)


def test_every_named_variant_is_measured_by_default():
    known = {variant.trained for variant in PLAIN.values()}
    known |= {Variant.parse(f"{name}:p=15") for name in SHARPENED}
    assert known | {Variant.parse("lssar:p=3")} == set(StabilitySettings().chosen)
    assert len(NAMED.split(",")) == len(StabilitySettings().chosen)


def test_progress_names_variant_inputs_and_length():
    lines = []
    measured(report=lines.append)
    assert lines[0] == "softmax, random inputs: 8 tokens"


# Worked values


def test_scores_of_dot_products_grow_by_the_square_and_cosines_stay():
    found = {entry["variant"]: entry for entry in measured()["variants"]}
    once, more = found["softmax"]["largest_score"][1]
    assert more == pytest.approx(256 * once, rel=0.01)
    once, more = found["lssa"]["largest_score"][1]
    assert more == once
    # no cosine is above 1, no row sees more than 40 keys, heads are 64 wide
    assert abs(once) <= math.log(64) * math.log(40)


def test_an_exponential_overflows_without_its_maximum_and_not_with_it():
    result = measured()
    assert result["variants"][0]["largest_score"][1][1] > 88.8  # beyond e^11.09 and e^88.7
    naive, safe = (tables(result, "softmax", form=form) for form in ("naive", "safe"))
    assert naive["error"][1] == [pytest.approx(5e-4, abs=3e-4), None]
    assert naive["nonfinite"][1] == [0, 1]
    assert safe["nonfinite"] == [[0, 0], [0, 0]]
    assert all(value is not None for row in safe["query_gradient_norm"] for value in row)
    assert naive["query_gradient_norm"][1][1] is None


def test_errors_are_of_the_size_of_the_types_roundings():
    settings = replace(SMALL, dtypes=("float16", "bfloat16", "float32"), scales=(1,))
    result = measured(settings)
    for dtype, epsilon in (("float16", 2**-11), ("bfloat16", 2**-8), ("float32", 2**-24)):
        for form in ("safe", "kernel"):
            error = tables(result, "softmax", dtype, form)["error"][1][0]
            assert epsilon / 10 < error < 10 * epsilon


def test_a_known_difference_has_its_relative_error():
    wanted = [torch.full((1, 1, 2, 3), 2.0, dtype=torch.float64) for _ in range(4)]
    found = [1.1 * wanted[0], wanted[1], 0.5 * wanted[2], wanted[3] * torch.inf]
    compared = module._compare(found, wanted)
    assert compared["error"] == 0.1
    assert (compared["nonfinite"], compared["zero"]) == (0, 0)
    assert [compared[f"{name}_gradient_error"] for name in TENSORS] == [0, 0.5, None]
    assert compared["query_gradient_norm"] == significant(2 * math.sqrt(6))
    assert compared["value_gradient_norm"] is None


def test_rows_that_are_not_finite_and_zeros_by_mistake_are_counted():
    wanted = torch.ones(1, 1, 4, 3, dtype=torch.float64)
    wanted[0, 0, 3] = 0
    found = wanted.clone()
    found[0, 0, 0, 1] = torch.nan
    found[0, 0, 1] = 0
    compared = module._compare([found] * 4, [wanted] * 4)
    # the last row is zero in float64 too
    assert (compared["error"], compared["nonfinite"], compared["zero"]) == (None, 0.25, 0.25)


def test_no_error_is_relative_to_a_gradient_that_vanished():
    wanted = [torch.ones(1, 1, 2, 3, dtype=torch.float64)] * 3 + [
        torch.full((1, 1, 2, 3), 1e-20, dtype=torch.float64)
    ]
    compared = module._compare([1e-3 + tensor for tensor in wanted], wanted)
    assert compared["key_gradient_error"] == 0.001
    assert compared["value_gradient_error"] is None
    assert compared["value_gradient_norm"] is not None


@given(st.floats(-1e300, 1e300))
def test_numbers_keep_three_digits(value):
    kept = significant(value)
    assert kept == pytest.approx(value, rel=5.1e-3)
    assert float(f"{kept:.2e}") == kept


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.7976e308])
def test_what_json_cannot_hold_is_none(value):
    assert significant(value) is None


# Inputs


@given(st.lists(st.floats(-60_000, 60_000, width=32), min_size=1, max_size=20))
def test_inputs_are_the_same_numbers_in_every_type(values):
    rounded = in_every_type(torch.tensor(values))
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        assert torch.equal(rounded.to(dtype).double(), rounded)


def test_the_last_rows_are_those_of_the_whole_text():
    inputs = source(length=50).at(50, 2.0)
    assert inputs.query.shape == (1, 1, ROWS, 8)
    assert inputs.key.shape == inputs.value.shape == (1, 1, 50, 8)
    whole = in_every_type(2 * source(length=50).query)[None]
    complete = staged.reference_attention(whole, inputs.key, inputs.value, "lssa")
    found = inputs.passes(staged.reference_attention, Variant.parse("lssa"), torch.float64)[0]
    torch.testing.assert_close(found, complete[:, :, -ROWS:])


def test_a_short_text_has_all_its_rows():
    inputs = source().at(5, 1.0)
    assert inputs.query.shape == inputs.key.shape == (1, 1, 5, 8)


def test_shorter_lengths_are_the_first_tokens_of_the_longest():
    long, short = source().at(40, 1.0), source().at(33, 1.0)
    assert torch.equal(short.key, long.key[:, :, :33])


def test_a_scale_beyond_float16_is_refused():
    with refused(UsageError, ["scales holds 65536", "float16 ends at 65504"]):
        source().at(40, 65536.0)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, True, "0", None], ids=str)
def test_a_seed_that_no_generator_takes_is_refused(seed):
    with refused(UsageError, [f"seed is {seed!r}", f"from 0 to {2**64 - 1}"]):
        StabilitySettings(seed=seed)
    assert StabilitySettings(seed=2**64 - 1).seed == 2**64 - 1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"lengths": 128}, ["lengths is 128", "a list"]),
        ({"lengths": (128.0,)}, ["lengths holds 128.0", "a whole number"]),
        ({"lengths": (True,)}, ["lengths holds True"]),
        ({"scales": 4}, ["scales is 4", "a list"]),
        ({"scales": ("4",)}, ["scales holds '4'", "a number"]),
        ({"dtypes": "float16"}, ["dtypes is 'float16'", "a list"]),
        ({"variants": ["softmax"]}, ["variants is a list", "names with commas"]),
    ],
)
def test_settings_of_another_type_are_named(wrong, words):
    with refused(UsageError, words):
        StabilitySettings(**wrong)


def test_the_seed_decides_random_inputs():
    def first(seed):
        found, _ = next(sources(replace(SMALL, seed=seed), (), CPU, print))
        return found.query

    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))


def test_trained_queries_and_keys_are_of_each_layers_head_with_the_largest_score():
    settings = replace(SMALL, variants="lssa,softplus", inputs=KINDS, lengths=(60,))
    *random, (trained, text) = sources(settings, [STORY], CPU, lambda _: None)
    assert [str(found.variant) for found, _ in random] == ["lssa", "softplus"]
    assert (trained.kind, trained.checkpoint, str(trained.variant)) == (
        "checkpoint", "lssa", "lssa"
    )  # fmt: skip
    assert [each.name for each in text.texts] == ["story.txt"]
    seen = capture(load_checkpoint("lssa"), torch.from_numpy(text.texts[0].tokens))
    assert trained.query.shape == (len(seen.layers), 60, 64)
    for layer in seen.layers:
        heads = [seen.head(layer, head) for head in range(seen.heads)]
        largest = [largest_cosine(query, key) for query, key in heads]
        assert largest_cosine(trained.query[layer], trained.key[layer]) == max(largest)


def largest_cosine(query, key):
    """In a row's own scale, log N, of the last rows; (L, D) each."""
    cosines = torch.nn.functional.cosine_similarity(query[:, None], key[None], dim=-1)
    scaled = cosines * torch.arange(1, len(query) + 1).log()[:, None]
    visible = torch.ones_like(scaled, dtype=torch.bool).tril()
    return float(scaled[-ROWS:][visible[-ROWS:]].max())


def test_what_checkpoints_read_is_in_the_result():
    settings = replace(SMALL, variants="lssa", inputs=("checkpoint",), lengths=(20,), scales=(1,))
    result = measured(settings, [STORY])
    assert result["text"] == {
        "source": "story.txt",
        "name": "story.txt",
        "manifest": {"story.txt": STORY.sha256},
    }
    (entry,) = result["variants"]
    assert (entry["inputs"], entry["checkpoint"]) == ("checkpoint", "lssa")
    assert 0 < tables(result, "lssa", form="kernel")["error"][0][0] < 1e-3


def test_a_text_that_is_too_short_is_refused():
    settings = replace(SMALL, variants="lssa", inputs=("checkpoint",), lengths=(5000,))
    with refused(UsageError, ["story.txt", "tokens"]):
        measured(settings, [STORY])


# Settings


def test_lengths_and_scales_are_in_order_and_once():
    settings = replace(SMALL, lengths=(40, 8, 40), scales=(16, 1, 16))
    assert (settings.lengths, settings.scales) == ((8, 40), (1, 16))


def test_scales_are_numbers_with_commas():
    assert parse_scales("1, 4,0.5,") == (1, 4, 0.5)
    with refused(UsageError, ["scales is '1;4'", "1,4,16"]):
        parse_scales("1;4")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lengths": ()}, ["lengths", "at least one"]),
        ({"lengths": (0,)}, ["lengths holds 0", "at least 1"]),
        ({"scales": ()}, ["scales", "at least one"]),
        ({"scales": (0,)}, ["scales holds 0", "above 0"]),
        ({"scales": (-1,)}, ["scales holds -1", "above 0"]),
        ({"scales": (math.inf,)}, ["scales holds inf"]),
        ({"scales": (math.nan,)}, ["scales holds nan"]),
        ({"dtypes": ()}, ["dtypes", "float32, bfloat16, float16"]),
        ({"dtypes": ("float64",)}, ["'float64'", "float32, bfloat16, float16"]),
        ({"inputs": ("trained",)}, ["'trained'", "random, checkpoint"]),
        ({"variants": "sofmax"}, ["'sofmax'", "softmax"]),
        ({"variants": "softmax+yarn"}, ["+yarn", "only softmax"]),
        (
            {"variants": "softplus", "inputs": ("checkpoint",)},
            ["no shipped checkpoint of softplus", "inputs random", "lssar-p15"],
        ),
    ],
)
def test_settings_out_of_range_are_refused(change, words):
    with refused(UsageError, words):
        replace(SMALL, **change)
