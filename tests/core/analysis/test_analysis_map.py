import json
from unittest.mock import patch

import numpy as np
import pytest
import torch
from captures import Largest, dense_layer, learned_capture, random_capture
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import VARIANTS, amplification, dense, refused, stages

from freeatten_core import row_statistics
from freeatten_core.analysis import AttentionMap, ByteScale, difference
from freeatten_core.analysis.map import pyramid, tiles
from freeatten_core.analysis.map.recipe import RECIPE
from freeatten_core.basics.errors import UsageError
from freeatten_core.ops.call import ScoreTerms

each_variant = pytest.mark.parametrize("variant", VARIANTS)
each_pool = pytest.mark.parametrize("pool", ["max", "mean"])
POOLS = st.sampled_from(["max", "mean"])
SHAPES = [
    (70, 70, True),
    (70, 70, False),
    (33, 90, True),
    (90, 33, True),
    (1, 1, True),
    (5, 2, False),
]


@pytest.fixture
def small_panels(monkeypatch):
    """Cut even short maps into many strips, panels and tiles."""
    monkeypatch.setattr(pyramid, "ROWS", 16)
    monkeypatch.setattr(pyramid, "KEYS", 8)
    monkeypatch.setattr(tiles, "TILE", 50)


def vectors(query_length, key_length, dim=8, seed=0, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    shapes = ((query_length, dim), (key_length, dim))
    return [torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype) for shape in shapes]


def dense_weights(query, key, variant, is_causal=True):
    result = dense(query[None, None], key[None, None], variant, {"is_causal": is_causal})
    return result.weights[0, 0], result.visible


def pooled(weights, visible, cell, pool):
    """Cells from the origin, (⌈Lq / cell⌉, ⌈Lk / cell⌉)."""
    pad = (0, -weights.shape[1] % cell, 0, -weights.shape[0] % cell)
    tall, wide = (size // cell for size in torch.nn.functional.pad(weights, pad).shape)

    def cells(matrix):
        return torch.nn.functional.pad(matrix, pad).view(tall, cell, wide, cell)

    if pool == "max":
        return cells(weights).amax((1, 3))
    return cells(weights).sum((1, 3)) / cells(visible.double()).sum((1, 3)).clamp(min=1)


def assert_within_one_step(codes, weights, scale):
    exact = 255 * (np.log2(np.maximum(weights, 1e-300)) - scale.floor_log2)
    exact = np.clip(exact / (scale.top_log2 - scale.floor_log2), 0, 255)
    assert codes.dtype == np.uint8
    assert codes.shape == exact.shape
    assert np.abs(codes - exact).max() <= 0.5 + 1e-3


@pytest.mark.usefixtures("small_panels")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@each_pool
@each_variant
def test_every_tile_is_the_pooled_dense_matrix(variant, pool, shape):
    query_length, key_length, is_causal = shape
    is_causal = is_causal or stages(variant).needs_order
    query, key = vectors(query_length, key_length)
    built = AttentionMap.build(query, key, variant, is_causal=is_causal, pool=pool)
    weights, visible = dense_weights(query, key, variant, is_causal)
    assert next(iter(built.levels)) == 4
    assert next(reversed(built.levels.values())).shape == (1, 1)
    for cell, codes in built.levels.items():
        expected = pooled(weights, visible, cell, pool).numpy()
        assert_within_one_step(codes, expected, built.scale)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@each_variant
def test_a_preview_is_the_pooled_last_rows_of_every_cell(variant, shape):
    query_length, key_length, is_causal = shape
    is_causal = is_causal or stages(variant).needs_order
    query, key = vectors(query_length, key_length)
    built = AttentionMap.build(query, key, variant, is_causal=is_causal, far_view=False)
    found = built.preview(cells=5)
    weights, visible = dense_weights(query, key, variant, is_causal)
    rows = torch.arange(query_length)
    if found.cell > built.base:
        ends = ((rows // found.cell + 1) * found.cell).clamp(max=-(-query_length // 4) * 4)
        weights = weights.masked_fill((rows < ends - built.base)[:, None], 0)
        assert not built.has_far_view
    expected = pooled(weights, visible, found.cell, "max").numpy()
    assert_within_one_step(found.codes, expected, found.scale)
    whole = built.region(0, query_length, 0, key_length, 5)
    assert (found.codes <= whole.codes).all()
    assert (built.preview(cells=5).codes == whole.codes).all()  # it is there in full now


def test_a_far_view_is_made_when_it_is_first_seen():
    query, key = vectors(200, 200)
    at_once = AttentionMap.build(query, key, "lssar:p=15")
    later = AttentionMap.build(query, key, "lssar:p=15", far_view=False)
    assert (at_once.has_far_view, later.has_far_view) == (True, False)
    assert not later.needs_far_view(10, 40, 5, 30, cells=32)
    later.region(10, 40, 5, 30, cells=32)
    later.weights(10, 11, 0, 200)
    assert not later.has_far_view
    assert later.needs_far_view(0, 200, 0, 200, cells=32)
    assert later.far_view_bytes == sum(codes.nbytes for codes in at_once.levels.values())
    seen = later.region(0, 200, 0, 200, cells=32)
    assert later.has_far_view
    assert (seen.codes == at_once.region(0, 200, 0, 200, cells=32).codes).all()


@settings(max_examples=150)
@given(st.data(), st.sampled_from(VARIANTS), st.booleans(), POOLS)
def test_any_region_is_the_dense_one(data, variant, is_causal, pool):
    query_length, key_length = (data.draw(st.integers(1, 60)) for _ in range(2))
    is_causal = is_causal or stages(variant).needs_order
    query, key = vectors(query_length, key_length)
    built = AttentionMap.build(query, key, variant, is_causal=is_causal, pool=pool)
    q0, k0 = (data.draw(st.integers(0, size - 1)) for size in (query_length, key_length))
    q1, k1 = (
        data.draw(st.integers(q0 + 1, query_length)),
        data.draw(st.integers(k0 + 1, key_length)),
    )
    cells = data.draw(st.integers(1, 70))
    with patch.object(tiles, "TILE", data.draw(st.integers(1, 400))):
        region = built.region(q0, q1, k0, k1, cells)
        exact = built.weights(q0, q1, k0, k1)
    weights, visible = dense_weights(query, key, variant, is_causal)
    torch.testing.assert_close(exact, weights[q0:q1, k0:k1], rtol=1e-7, atol=1e-9)

    assert max(region.codes.shape) <= cells + 1
    assert region.cell == 1 or max(q1 - q0, k1 - k0) > cells * region.cell // 2
    queries, keys = region.query_edges(), region.key_edges()
    assert queries[0] <= q0 < queries[1] or region.cell == 1
    assert queries[-2] < q1 <= queries[-1] <= query_length
    assert keys[0] <= k0 < keys[1]
    assert keys[-2] < k1 <= keys[-1] <= key_length
    top, left = region.query_start // region.cell, region.key_start // region.cell
    rows, columns = region.codes.shape
    expected = pooled(weights, visible, region.cell, pool)
    expected = expected[top : top + rows, left : left + columns].numpy()
    assert_within_one_step(region.codes, expected, region.scale)
    assert region.exact == (region.cell < 4)
    if region.exact:
        assert region.weights.dtype == np.float32
        np.testing.assert_allclose(region.values(), expected, rtol=1e-6, atol=1e-8)


@each_variant
def test_float32_weights_are_within_the_rounding_that_sharpening_amplifies(variant):
    query, key = vectors(80, 80, dim=32, dtype=torch.float32)
    built = AttentionMap.build(query, key, variant)
    assert built.weights(0, 80, 0, 80).dtype == torch.float32
    expected, _ = dense_weights(query, key, variant)
    allowed = 2e-6 * amplification(query[None, None], key[None, None], variant, {})[0, 0]
    assert ((built.weights(0, 80, 0, 80).double() - expected).abs() <= allowed).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_narrower_vectors_are_computed_in_float32(dtype):
    query, key = vectors(50, 50, dtype=dtype)
    built = AttentionMap.build(query, key, "lssar:p=3")
    expected, _ = dense_weights(query.double(), key.double(), "lssar:p=3")
    torch.testing.assert_close(built.weights(0, 50, 0, 50).double(), expected, rtol=0, atol=1e-4)


@each_pool
def test_a_longer_map_starts_with_larger_cells(pool, monkeypatch):
    monkeypatch.setattr(pyramid, "BASE_SIDE", 8)
    monkeypatch.setattr(pyramid, "ROWS", 4)
    query, key = vectors(100, 100)
    built = AttentionMap.build(query, key, "lssar", pool=pool)
    assert list(built.levels) == [16, 32, 64, 128]
    weights, visible = dense_weights(query, key, "lssar")
    for cells, cell, exact in ((100, 1, True), (13, 8, True), (12, 16, False)):
        region = built.region(0, 100, 0, 100, cells)
        assert (region.cell, region.exact) == (cell, exact)
        expected = pooled(weights, visible, cell, pool).numpy()
        assert_within_one_step(region.codes, expected, region.scale)


@pytest.mark.parametrize("variant", ["relu", "lssa-count", "stages:positivity=relu:normalise=none"])
def test_the_scale_reaches_the_largest_weight(variant):
    query, _ = vectors(40, 40, dim=64)
    built = AttentionMap.build(query, query, variant)
    largest = float(built.weights(0, 40, 0, 40).max())
    assert largest > 1
    assert 2 ** (built.scale.top_log2 - 1) < largest <= 2**built.scale.top_log2


@pytest.mark.parametrize("variant", ["softmax", "lssar", "sigmoid"])
def test_byte_255_is_weight_1_and_byte_0_is_the_floor(variant):
    built = AttentionMap.build(*vectors(40, 40), variant)
    assert built.scale == ByteScale(0.0, -24.0)
    weights = torch.tensor([1.0, 2.0**-24, 2.0**-30, 0.0, 2.0**-12])
    codes = built.scale.encode(weights).numpy()
    assert codes.tolist() == [255, 0, 0, 0, 128]
    assert built.scale.decode(codes)[[0, 1]].tolist() == [1.0, 0.0]
    assert built.scale.octaves(codes)[[0, 1]].tolist() == [0.0, -24.0]


@given(st.integers(0, 255), st.integers(0, 9))
def test_a_byte_decodes_to_what_it_encodes(code, top):
    scale = ByteScale(top_log2=float(top))
    weight = scale.decode(np.asarray([code], dtype=np.uint8))
    assert scale.encode(torch.from_numpy(weight)).item() == code


def test_of_a_capture_has_the_head_its_statistics_and_its_text():
    capture = random_capture("lssar:p=15")
    built = AttentionMap.of(capture, 2, 3)
    expected = dense_layer(capture, 2).weights[0, 3]
    torch.testing.assert_close(built.weights(0, 40, 0, 40).double(), expected, rtol=1e-3, atol=1e-4)
    rows = row_statistics(*(x[None, None] for x in capture.head(2, 3)), capture.variant)
    torch.testing.assert_close(built.rows.entropy, rows.entropy[0, 0])
    assert (built.layer, built.head, built.tokenizer_id) == (2, 3, "letters")
    assert torch.equal(built.tokens, capture.tokens)
    with refused(UsageError, ["head is 4", "0 to 3"]):
        AttentionMap.of(capture, 2, 4)


@pytest.mark.parametrize("name", ["query", "key", "tokens"])
def test_a_map_is_made_of_tensors(name):
    query, key = vectors(8, 8)
    given = {"query": query, "key": key, "tokens": None} | {name: [1.0] * 8}
    with refused(UsageError, [f"{name} is a list; it must be a tensor"]):
        AttentionMap.build(variant="softmax", **given)


@each_variant
def test_the_strongest_keys_of_a_row(variant):
    query, key = vectors(40, 40)
    built = AttentionMap.build(query, key, variant)
    row = dense_weights(query, key, variant)[0][30]
    found = built.strongest(30, 5)
    values, keys = row.topk(5)
    assert [key for key, _ in found] == [key for key in keys.tolist() if row[key] > 0]
    assert [value for _, value in found] == pytest.approx([v for v in values.tolist() if v > 0])
    assert len(built.strongest(0)) <= 1
    with refused(UsageError, ["position is 40", "0 to 39"]):
        built.strongest(40)


BOUNDS = ["0 <= start < stop <= 40"]


@pytest.mark.parametrize("name", ["query", "key"])
@pytest.mark.parametrize(
    ("start", "stop", "words"),
    [
        (3, 3, ["3:3", "empty"]),
        (0, 0, ["0:0", "empty"]),
        (9, 2, ["9:2", "reversed"]),
        (0, 41, ["0:41", "outside"]),
        (-1, 10, ["-1:10", "outside"]),
        (50, 60, ["50:60", "outside"]),
        (1.5, 3, ["1.5:3", "whole"]),
        (0, "9", ["0:9", "whole"]),
        (None, 4, ["None:4", "whole"]),
        (False, True, ["False:True", "whole"]),
        (float("nan"), 3, ["nan:3", "whole"]),
    ],
)
def test_a_region_that_is_not_one_is_refused_with_the_bounds(name, start, stop, words):
    built = AttentionMap.build(*vectors(40, 40), "softmax")
    ranges = [(start, stop), (0, 40)] if name == "query" else [(0, 40), (start, stop)]
    for ask in (built.region, built.weights):
        with refused(UsageError, [f"the {name} range is", *words, *BOUNDS]):
            ask(*ranges[0], *ranges[1])


@pytest.mark.parametrize("cells", [0, -1, 4097, 2.5, None, True])
def test_cells_out_of_range_are_refused(cells):
    built = AttentionMap.build(*vectors(40, 40), "softmax")
    with refused(UsageError, [f"cells is {cells}", "from 1 to 4096"]):
        built.region(0, 40, 0, 40, cells)


def test_whole_numbers_of_any_type_are_taken():
    built = AttentionMap.build(*vectors(40, 40), "softmax")
    region = built.region(np.int32(3), np.int64(9), 0, np.uint8(4))
    assert region.codes.shape == (6, 4)


def test_wrong_arguments_of_build_are_refused():
    query, key = vectors(40, 40)
    with refused(UsageError, ["pool is 'median'", "max, mean"]):
        AttentionMap.build(query, key, "softmax", pool="median")
    with refused(UsageError, ["tokens has shape (39,)", "(40,)"]):
        AttentionMap.build(query, key, "softmax", tokens=torch.zeros(39))
    with refused(ValueError, ["head size 4"]):
        AttentionMap.build(query, key[:, :4], "softmax")
    with refused(ValueError, ["+yarn"]):
        AttentionMap.build(query, key, "softmax+yarn")


def test_progress_reaches_the_whole_and_an_exception_in_it_cancels():
    seen = []
    AttentionMap.build(*vectors(300, 300), "lssar", advance=lambda *pair: seen.append(pair))
    done = [part for part, _ in seen]
    assert done == sorted(done)
    assert seen[-1][0] == seen[-1][1]
    assert len(seen) > 3

    def cancel(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        AttentionMap.build(*vectors(300, 300), "lssar", advance=cancel)


@pytest.fixture
def text_maps():
    """Maps of one text, by variant."""
    tokens = torch.arange(100)

    def build(variant, **changes):
        options = {"tokens": tokens, "tokenizer_id": "a"} | changes
        length = changes.pop("length", 100)
        options.pop("length", None)
        return AttentionMap.build(*vectors(length, length), variant, **options)

    return build


@pytest.mark.parametrize("pair", [("softmax", "lssar"), ("lssa", "relu"), ("softmax", "sigmoid")])
def test_a_difference_is_that_of_the_dense_matrices(text_maps, pair):
    first, second = (text_maps(name) for name in pair)
    query, key = vectors(100, 100)
    dense_pair = [dense_weights(query, key, name) for name in pair]
    near = difference(first, second, 30, 80, 10, 60)
    expected = [weights[30:80, 10:60].numpy() for weights, _ in dense_pair]
    np.testing.assert_allclose(near.weights, expected[0] - expected[1], atol=1e-6)
    octaves = [np.log2(np.maximum(weights, 2.0**-24)) for weights in expected]
    np.testing.assert_allclose(near.octaves, octaves[0] - octaves[1], atol=1e-4)

    far = difference(first, second, 0, 100, 0, 100, cells=25)
    assert far.weights is None
    steps = first.scale.step + second.scale.step
    octaves = [
        np.log2(np.maximum(pooled(*found, 4, "max").numpy(), 2.0**-24)) for found in dense_pair
    ]
    assert np.abs(far.octaves - (octaves[0] - octaves[1])).max() <= steps
    assert not difference(first, first, 0, 100, 0, 100).octaves.any()


def test_maps_of_other_texts_are_not_compared(text_maps):
    first = text_maps("softmax")
    area = (0, 10, 0, 10)
    with refused(UsageError, ["tokenizers differ", "a and b"]):
        difference(first, text_maps("lssa", tokenizer_id="b"), *area)
    with refused(UsageError, ["same tokens"]):
        difference(first, text_maps("lssa", tokens=torch.arange(100) + 1), *area)
    with refused(UsageError, ["same tokens"]):
        difference(first, text_maps("lssa", tokens=None), *area)
    with refused(UsageError, ["100×100 and 50×50"]):
        difference(first, text_maps("lssa", length=50, tokens=torch.arange(50)), *area)
    with refused(UsageError, ["the max of a cell", "the mean"]):
        difference(first, text_maps("lssa", pool="mean"), *area)
    with refused(UsageError, ["key range is 10:0", "reversed"]):
        difference(first, first, 0, 10, 10, 0)


@pytest.mark.parametrize("is_causal", [True, False])
@each_variant
def test_a_payload_gives_the_weights_back(variant, is_causal):
    query, key = vectors(60, 75)
    is_causal = is_causal or stages(variant).needs_order
    built = AttentionMap.build(query, key, variant, is_causal=is_causal)
    payload = built.to_payload()
    half = [payload.arrays[name].astype(float) for name in ("query", "key")]
    assert {array.dtype for array in half} == {np.dtype(float)}
    assert payload.arrays["query"].dtype == np.float16
    assert np.abs(half[0]).max() <= 1
    # exactly the weights of the rounded vectors
    rounded = [torch.from_numpy(x) * 2.0 ** np.ceil(np.log2(float(y.abs().max())))
               for x, y in zip(half, (query, key), strict=True)]  # fmt: skip
    torch.testing.assert_close(rounded[0], query, rtol=1e-3, atol=1e-3)
    expected, visible = dense_weights(*rounded, variant, is_causal)
    options = {"is_causal": is_causal}
    vectors_4d = [x[None, None] for x in rounded]
    allowed = 3e-6 * amplification(*vectors_4d, variant, options)[0, 0] * max(1, expected.max())
    actual = torch.from_numpy(payload.weights(0, 60, 0, 75))
    assert ((actual - expected).abs() <= allowed).all()
    part = payload.weights(20, 50, 3, 9)
    np.testing.assert_allclose(part, actual[20:50, 3:9], rtol=1e-9, atol=1e-12)
    scale = ByteScale(payload.metadata["top_log2"], payload.metadata["floor_log2"])
    for cell in payload.metadata["cells"]:
        tiles = pooled(actual, visible, cell, "max")
        codes = scale.encode(tiles).numpy().astype(int)
        assert np.abs(codes - payload.arrays[f"level_{cell}"]).max() <= 1


LEARNED = {
    "window": (ScoreTerms(), 9),
    "scale and slope": (ScoreTerms(torch.tensor([1.7]), torch.tensor([0.2])), None),
    "bias": (ScoreTerms(distance_bias=torch.linspace(1, -1, 12)[None]), None),
    "all": (
        ScoreTerms(torch.tensor([-0.8]), torch.tensor([0.1]), torch.linspace(1, -1, 12)[None]),
        30,
    ),
}


@pytest.mark.usefixtures("small_panels")
@pytest.mark.parametrize(("terms", "window"), LEARNED.values(), ids=LEARNED.keys())
@pytest.mark.parametrize("shape", [(70, 70), (33, 90), (90, 33)], ids=str)
@each_pool
@pytest.mark.parametrize("variant", ["softmax", "lssar:p=3", "sigmoid", "relu"])
def test_learned_numbers_are_in_every_tile_and_in_the_payload(variant, pool, shape, terms, window):
    assert_map_is_dense(variant, pool, shape, terms, window)


@pytest.mark.usefixtures("small_panels")
@pytest.mark.parametrize("shape", [(70, 70), (33, 90), (90, 33)], ids=str)
@each_pool
@pytest.mark.parametrize("variant", ["softmax", "lssar:p=3"])
def test_what_is_forgotten_is_in_every_tile_and_in_the_payload(variant, pool, shape):
    decay = -torch.linspace(0, 6, shape[1]).square()[None, None]
    assert_map_is_dense(variant, pool, shape, ScoreTerms(decay=decay), None)


def assert_map_is_dense(variant, pool, shape, terms, window):
    query, key = vectors(*shape)
    built = AttentionMap.build(query, key, variant, pool=pool, terms=terms, window=window)
    options = {"window": window, **terms._asdict()}
    result = dense(query[None, None], key[None, None], variant, options)
    weights, visible = result.weights[0, 0], result.visible
    for cell, codes in built.levels.items():
        assert_within_one_step(codes, pooled(weights, visible, cell, pool).numpy(), built.scale)
    np.testing.assert_allclose(built.weights(0, shape[0], 0, shape[1]), weights, atol=1e-9)
    part = built.region(3, 30, 2, 29, cells=14)
    expected = pooled(weights, visible, 2, pool)[1:15, 1:15]
    np.testing.assert_allclose(part.weights, expected, rtol=1e-5, atol=1e-7)
    payload = built.to_payload().weights(0, shape[0], 0, shape[1])
    np.testing.assert_allclose(payload, weights, rtol=0.02, atol=0.02 * float(weights.max()))


def test_a_map_of_a_capture_has_its_learned_numbers_and_its_window():
    capture = learned_capture("lssar:p=3")
    for layer in capture.layers:
        built = AttentionMap.of(capture, layer, 3)
        expected = dense_layer(capture, layer).weights[0, 3]
        np.testing.assert_allclose(built.weights(0, 40, 0, 40), expected, atol=1e-4)


def test_a_payload_is_plain_arrays_and_json(text_maps):
    built = text_maps("lssar:p=3", layer=2, head=1)
    payload = built.to_payload()
    types = {name: array.dtype.name for name, array in payload.arrays.items()}
    assert types["last"] == types["tokens"] == "int32"
    assert {types[name] for name in ("query", "key")} == {"float16"}
    assert {types[f"level_{cell}"] for cell in built.levels} == {"uint8"}
    assert {types[name] for name in types if name.startswith("rows_")} == {"float32"}
    assert {types[name] for name in (*RECIPE, "key_scale")} == {"float32"}
    metadata = json.loads(json.dumps(payload.metadata))
    assert metadata["variant"] == "lssar:p=3"
    assert (metadata["power"], metadata["layer"], metadata["head"]) == (3, 2, 1)
    assert metadata["cells"] == list(built.levels)


def test_a_payload_can_leave_fine_levels_out(text_maps):
    payload = text_maps("softmax").to_payload(finest_cell=16)
    assert payload.metadata["cells"] == [16, 32, 64, 128]
    assert "level_4" not in payload.arrays
    with refused(UsageError, ["finest_cell is 5", "4, 8, 16"]):
        text_maps("softmax").to_payload(finest_cell=5)


def test_vectors_beyond_float16_have_a_payload():
    query, key = vectors(30, 30)
    payload = AttentionMap.build(query * 1e6, key * 1e-6, "softmax").to_payload()
    expected, _ = dense_weights(query, key, "softmax")
    np.testing.assert_allclose(payload.weights(0, 30, 0, 30), expected, atol=5e-3)


@pytest.mark.parametrize(
    ("pool", "variant"),
    [
        ("mean", "lssar:p=15"),
        ("max", "softmax"),
        # many seconds each: neither pool knows the variant
        pytest.param("max", "lssar:p=15", marks=pytest.mark.slow),
        pytest.param("mean", "softmax", marks=pytest.mark.slow),
    ],
)
def test_nothing_of_length_by_length_is_made_at_16k_tokens(variant, pool):
    length = 16384
    query, key = vectors(length, length, dim=4, dtype=torch.float32)
    with Largest() as largest:
        built = AttentionMap.build(query, key, variant, pool=pool)
        built.region(0, length, 0, length)
        built.region(length - 700, length, 0, 700)
        built.strongest(length - 1)
    assert built.levels[4].nbytes == length**2 // 16
    assert largest.elements <= length**2 // 16
    assert largest.bytes <= length**2 // 16
