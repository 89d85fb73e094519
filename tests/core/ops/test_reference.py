"""Worked by hand: scores are chosen so that the weights are fractions one can check on paper."""

import math

import pytest
import torch
from strategies import L1_VARIANTS, POWERS, VARIANTS, Call

from freeatten_core.ops.definitions import entmax, staged
from freeatten_core.variants.variant import SHARPENED

IN_RATIO_1_2_3_4 = [0.1, 0.2, 0.3, 0.4]
ABOVE_THE_MEAN = {
    1: [0, 0, 1 / 4, 3 / 4],
    3: [0, 0, 1 / 28, 27 / 28],
    15: [0, 0, 1 / (1 + 3**15), 3**15 / (1 + 3**15)],
}
"""Shares N·a of 0.4, 0.8, 1.2, 1.6 leave u = 0, 0, 0.2, 0.6: powers of 1 : 3."""


def tensor(rows):
    return torch.tensor(rows, dtype=torch.float64)[None, None]


def weights(query, key, variant, **options):
    result = staged.stages(tensor(query), tensor(key), variant, **options)
    return result.weights[0, 0].tolist()


def dot_weights(scores, variant):
    """The weights of one row whose `q·k/√D` are the scores; D = 4."""
    keys = [[score, 0.0, 7.0, 0.0] for score in scores]
    return weights([[2.0, 5.0, 0.0, 0.0]], keys, variant)[0]


def cosine_weights(scores, variant):
    """The weights of one row whose `log D · log N · cos` are the scores; D = 8.

    Lengths differ, because only directions count.
    """
    scale = math.log(8) * math.log(len(scores))
    angles = [math.acos(score / scale) for score in scores]
    keys = [
        [(j + 1) * math.cos(angle), (j + 1) * math.sin(angle), 0, 0, 0, 0, 0, 0]
        for j, angle in enumerate(angles)
    ]
    return weights([[9.0, 0, 0, 0, 0, 0, 0, 0]], keys, variant)[0]


def cosine_weights_of_two(scores, variant):
    """The weights of one row whose `2 cos` are the scores; D = 4, lengths differ."""
    angles = [math.acos(score / 2) for score in scores]
    keys = [
        [(j + 1) * math.cos(angle), (j + 1) * math.sin(angle), 0, 0]
        for j, angle in enumerate(angles)
    ]
    return weights([[9.0, 0, 0, 0]], keys, variant)[0]


def softplus_inverse(value):
    return math.log(math.expm1(value))


LOGS = [math.log(x) for x in (1, 2, 3, 4)]
PLUS = [softplus_inverse(x / 2) for x in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("row", "scores", "variant", "expected"),
    [
        (dot_weights, LOGS, "softmax", IN_RATIO_1_2_3_4),
        (dot_weights, PLUS, "softplus", IN_RATIO_1_2_3_4),
        (cosine_weights, LOGS, "softmax-ls", IN_RATIO_1_2_3_4),
        (cosine_weights, PLUS, "lssa", IN_RATIO_1_2_3_4),
        (cosine_weights_of_two, LOGS, "cosine:s=2", IN_RATIO_1_2_3_4),
        (cosine_weights, PLUS, "lssa-count", [0.5 / 4, 1 / 4, 1.5 / 4, 2 / 4]),
        (dot_weights, [1.0, -2.0, 3.0, 0.0], "relu", [1 / 4, 0, 3 / 4, 0]),
        # sigmoid(log x − log N) is x / (x + N)
        (dot_weights, LOGS, "sigmoid", [1 / 5, 2 / 6, 3 / 7, 4 / 8]),
        (dot_weights, LOGS[:3], "sigmoid", [1 / 4, 2 / 5, 3 / 6]),
        (dot_weights, LOGS, "off-by-one", [1 / 11, 2 / 11, 3 / 11, 4 / 11]),
        # e^s − 1 is −1/2, 0, 1, 2; what lies below 0 divides the row too
        (
            dot_weights,
            [-LOGS[1], 0.0, LOGS[1], LOGS[2]],
            "softpick",
            [0, 0, 1 / (3.5 + 1e-6), 2 / (3.5 + 1e-6)],
        ),
        # s/2 − τ is 3/5 and 4/5 for τ = −0.1: squares of 9/25 and 16/25; the others lie below
        (dot_weights, [1.0, -0.2, -3.0, 1.4], "entmax15", [9 / 25, 0, 0, 16 / 25]),
        # σ(−log 2, −log 4, −log 3) = 1/3, 1/5, 1/4: of 1, 3/4 and 3/5; the own key's score is none
        (
            dot_weights,
            [-LOGS[1], -LOGS[3], -LOGS[2], 9.0],
            "stick-breaking",
            [1 / 5, 3 / 20, 1 / 4, 2 / 5],
        ),
    ],
)
def test_worked_rows(row, scores, variant, expected):
    assert row(scores, variant) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("p", ABOVE_THE_MEAN)
@pytest.mark.parametrize(
    ("row", "scores", "name"),
    [
        (dot_weights, LOGS, "softmax-r"),
        (cosine_weights, LOGS, "softmax-ls-r"),
        (dot_weights, PLUS, "softplus-r"),
        (cosine_weights, PLUS, "lssar"),
    ],
)
def test_sharpening_keeps_what_is_above_the_mean_and_raises_it(row, scores, name, p):
    sharpened = row(scores, f"{name}:p={p}")
    assert sharpened == pytest.approx(ABOVE_THE_MEAN[p], rel=1e-12, abs=0)


@pytest.mark.parametrize("p", ABOVE_THE_MEAN)
def test_sigmoid_is_divided_by_its_sum_before_it_is_sharpened(p):
    """σ(s − log 4) is 1/10, 2/10, 3/10, 4/10 for these s, whose sum is 1."""
    scores = [math.log(4) + math.log(x / (10 - x)) for x in (1, 2, 3, 4)]
    sharpened = dot_weights(scores, f"sigmoid-r:p={p}")
    assert sharpened == pytest.approx(ABOVE_THE_MEAN[p], rel=1e-12, abs=0)
    scores = [math.log(4) + math.log(x / (20 - x)) for x in (1, 2, 3, 4)]  # half of these
    assert dot_weights(scores, f"sigmoid-r:p={p}") == pytest.approx(sharpened, rel=1e-12, abs=0)


@pytest.mark.parametrize(("p", "expected"), [(1, [1, 2, 3]), (3, [1, 8, 27])])
@pytest.mark.parametrize("name", ["softmax-r", "softmax-ls-r"])
def test_with_three_keys_nothing_is_subtracted(name, p, expected):
    row = cosine_weights if "ls" in name else dot_weights
    shares = [x / sum(expected) for x in expected]
    assert row(LOGS[:3], f"{name}:p={p}") == pytest.approx(shares, abs=1e-15)


def test_causal_rows_see_one_key_more_each():
    query = [[2.0, 0.0, 0.0, 0.0]] * 4
    key = [[score, 1.0, 0.0, 0.0] for score in LOGS]
    triangle = [[1, 0, 0, 0], [1 / 3, 2 / 3, 0, 0], [1 / 6, 2 / 6, 3 / 6, 0], IN_RATIO_1_2_3_4]
    for row, expected in zip(weights(query, key, "softmax"), triangle, strict=True):
        assert row == pytest.approx(expected, abs=1e-15)


def test_the_length_scale_follows_the_visible_count():
    """Five LSSA rows over keys with cosine 1, 0, −1, 0.6, 0: row N has scale log 3 · log N."""
    cosines = [1.0, 0.0, -1.0, 0.6, 0.0]
    key = [[1, 0, 0], [0, 2, 0], [-3, 0, 0], [3, 4, 0], [0, 0, 5]]
    rows = weights([[0.5, 0, 0]] * 5, key, "lssa")
    for count in range(1, 6):
        scale = math.log(3) * math.log(count)
        plus = [math.log(1 + math.exp(scale * cosine)) for cosine in cosines[:count]]
        expected = [f / sum(plus) for f in plus] + [0.0] * (5 - count)
        assert rows[count - 1] == pytest.approx(expected, abs=1e-15)


def test_causal_lssar_by_hand():
    """Rows 1–3 have O = 0, rows 4 and 5 subtract the mean."""
    cosines = [1.0, 0.0, -1.0, 0.6, 0.0]
    key = [[1, 0, 0], [0, 2, 0], [-3, 0, 0], [3, 4, 0], [0, 0, 5]]
    for p in (3, 15):
        rows = weights([[0.5, 0, 0]] * 5, key, f"lssar:p={p}")
        for count in range(1, 6):
            scale = math.log(3) * math.log(count)
            plus = [math.log(1 + math.exp(scale * cosine)) for cosine in cosines[:count]]
            offset = 0 if count <= 3 else 1
            raised = [max(0, count * f / sum(plus) - offset) ** p for f in plus]
            expected = [r / sum(raised) for r in raised] + [0.0] * (5 - count)
            assert rows[count - 1] == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_the_output_mixes_the_values():
    keys = tensor([[score, 0.0, 0.0, 0.0] for score in LOGS])
    values = tensor([[1.0, 10.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0]])
    output = staged.reference_attention(tensor([[2.0, 0.0, 0.0, 0.0]]), keys, values, "softmax")
    assert output[0, 0, 0].tolist() == pytest.approx([0.1 + 0.4 + 0.9 + 1.6, 1.0])


def test_options_change_the_score():
    """Scale 2 squares the shares of softmax; a slope of log 2 halves them a token."""
    query, key = [[2.0, 0, 0, 0]], [[score, 0, 0, 0] for score in LOGS]
    scaled = weights(query, key, "softmax", head_scale=torch.tensor([2.0]))[0]
    assert scaled == pytest.approx([1 / 30, 4 / 30, 9 / 30, 16 / 30])
    sloped = weights(query, key, "softmax", distance_slope=torch.tensor([math.log(2)]))[0]
    assert sloped == pytest.approx([x / 49 for x in (1 * 1, 2 * 2, 3 * 4, 4 * 8)])
    assert weights(query, key, "softmax", window=2)[0] == pytest.approx([0, 0, 3 / 7, 4 / 7])


def test_a_bias_by_distance_goes_on_with_its_last_entry():
    """Distances 3, 2, 1, 0; biases 0, log 2, log 5: shares 1·5, 2·5, 3·2, 4·1."""
    query, key = [[2.0, 0, 0, 0]], [[score, 0, 0, 0] for score in LOGS]
    bias = torch.tensor([[0.0, math.log(2), math.log(5)]])
    biased = weights(query, key, "softmax", distance_bias=bias)[0]
    assert biased == pytest.approx([5 / 25, 10 / 25, 6 / 25, 4 / 25])


@pytest.mark.parametrize("variant", L1_VARIANTS)
@pytest.mark.parametrize("equal", ["queries are zero", "keys are zero", "keys are equal"])
def test_a_uniform_row_gives_each_key_the_same(variant, equal):
    query, key, _ = Call(9, 9, dim=4).tensors()
    if equal == "queries are zero":
        query.zero_()
    else:
        key[:] = 0 if equal == "keys are zero" else key[:, :, :1]
    result = staged.stages(query, key, variant)
    expected = result.visible / result.visible.sum(-1, keepdim=True)
    torch.testing.assert_close(result.weights, expected.double().expand(2, 2, 9, 9))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_row_that_sees_no_key_is_zero(variant):
    query, key, value = Call(5, 3).tensors()
    output = staged.reference_attention(query, key, value, variant)
    assert (output[:, :, :2] == 0).all()
    assert output.isfinite().all()


@pytest.mark.parametrize("variant", L1_VARIANTS)
def test_rows_of_l1_variants_sum_to_one(variant):
    query, key, _ = Call(40, 40).tensors()
    sums = staged.stages(query, key, variant).weights.sum(-1)
    torch.testing.assert_close(sums, torch.ones_like(sums))


@pytest.mark.parametrize("p", POWERS)
@pytest.mark.parametrize("name", SHARPENED)
def test_sharpening_is_a_softmax_of_logarithms(name, p):
    """An independent oracle: softmax of `p · log relu(N·a − 1)`."""
    query, key, _ = Call(6, 30).tensors()
    result = staged.stages(query, key, f"{name}:p={p}", is_causal=False)
    logits = p * (30 * result.normalise - 1).clamp(min=0).log()
    torch.testing.assert_close(result.weights, logits.softmax(-1), rtol=1e-10, atol=1e-15)


def test_softplus_keeps_its_accuracy_far_below_zero():
    scores = [-700.0, -60.0, -29.0, -1.0, 0.0, 1.0, 40.0]
    expected = [math.log1p(math.exp(s)) if s < 30 else s for s in scores]
    actual = staged.make_positive("softplus", torch.tensor(scores, dtype=torch.float64)).tolist()
    assert actual == pytest.approx(expected, rel=1e-14, abs=0)


def test_a_vector_without_length_has_no_direction_and_no_gradient():
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, 5e-7]], dtype=torch.float64)
    vectors.requires_grad_()
    direction = staged.unit(vectors)
    assert direction.tolist() == [[0.6, 0.8], [0.0, 0.0], [0.0, 0.5]]
    direction.sum().backward()
    assert vectors.grad[0].tolist() == pytest.approx([0.032, -0.024])
    assert vectors.grad[1:].tolist() == [[0.0, 0.0], [0.0, 0.0]]


def slow_rows():
    """Rows of 4,096 scores on which Newton's method takes many steps: more and more keys, lower and
    lower, so that every step leaves fewer of them above."""
    place = torch.arange(1, 4097, dtype=torch.float64) / 4096
    powers = [1 - place**power for power in (0.25, 0.5, 1.0, 4.0)]
    halving = [
        1 - first * 2.0 ** -(place * 4096).log2().div(2).floor() for first in (0.3, 0.8, 1.2)
    ]
    rows = torch.stack([*powers, *halving])
    rows[:, 0] = 1.0
    return 2 * rows


def test_a_fixed_number_of_steps_finds_the_threshold_of_entmax_in_float64():
    """As many as a GPU, a compiler and vmap take, who are not asked when it is done."""
    scores = slow_rows()
    visible = torch.ones(1, scores.shape[-1], dtype=torch.bool)
    asked = entmax.thresholds(scores[:, None], visible)
    fixed = torch.vmap(lambda row: entmax.thresholds(row[None], visible))(scores)
    torch.testing.assert_close(fixed, asked, rtol=0, atol=1e-14)
    weights = (scores[:, None] / 2 - fixed).clamp(min=0).square()
    torch.testing.assert_close(weights.sum(-1), torch.ones(len(scores), 1).double(),
                               rtol=0, atol=1e-12)  # fmt: skip
