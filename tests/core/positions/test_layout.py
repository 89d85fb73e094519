"""Which position every layer and head has, and how that is typed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import refused

from freeatten_core.basics.errors import UsageError
from freeatten_core.positions.alibi import slopes
from freeatten_core.positions.layout import ROTARY, LayerLayout, Layout
from freeatten_core.positions.table import POSITIONS

alone = st.sampled_from([kind for kind, each in POSITIONS.items() if each.doubles]).map(
    lambda k: [k]
)
together = [kind for kind, each in POSITIONS.items() if not each.doubles]
kinds = alone | st.lists(st.sampled_from(together), min_size=1, max_size=3)
windows = st.none() | st.integers(1, 1 << 20)


@st.composite
def texts(draw):
    def layer():
        window = draw(windows)
        return "/".join(draw(kinds)) + ("" if window is None else f"@{window}")

    return "-".join(layer() for _ in range(draw(st.integers(1, 4))))


def test_slopes_of_eight_heads_are_the_paper_s():
    """arXiv 2108.12409, section 3: 1/2, 1/4, …, 1/256."""
    assert slopes(8) == tuple(2.0**-power for power in range(1, 9))
    assert slopes(16)[:2] == pytest.approx((2**-0.5, 2**-1))


@given(texts())
def test_str_parses_back(text):
    parsed = Layout.parse(text)
    assert Layout.parse(str(parsed)) == parsed
    assert parsed.of_model(8, 6) == Layout.parse(str(parsed)).of_model(8, 6)


@pytest.mark.parametrize(
    ("typed", "canonical"),
    [
        ("rope", "rope"),
        ("none-none", "none"),
        ("rope@8-none-rope@8-none", "rope@8-none"),
        ("rope@8-rope@8-none", "rope@8-rope@8-none"),
        ("alibi/alibi", "alibi"),
    ],
)
def test_what_only_begins_again_is_said_once(typed, canonical):
    assert str(Layout.parse(typed)) == canonical


def test_a_name_that_says_nothing_is_rotary_throughout():
    assert Layout.parse("rope") == ROTARY
    assert [each.kinds for each in ROTARY.of_model(2, 3)] == [("rope",) * 3] * 2


def test_layers_begin_again_from_the_lowest_up():
    found = Layout.parse("rope@128-rope@128-none").of_model(5, 2)
    assert [each.window for each in found] == [128, 128, None, 128, 128]
    turned, still = ("rope", "rope"), (None, None)
    assert [each.rotations for each in found] == [turned, turned, still, turned, turned]


@pytest.mark.parametrize(
    ("text", "heads", "wanted"),
    [
        ("alibi/none", 4, ["alibi", "alibi", "none", "none"]),
        ("alibi/none", 3, ["alibi", "alibi", "none"]),
        ("rope/none/alibi", 3, ["rope", "none", "alibi"]),
    ],
)
def test_kinds_share_out_the_heads(text, heads, wanted):
    (layer,) = Layout.parse(text).of_model(1, heads)
    assert list(layer.kinds) == wanted
    falling = [slope for kind, slope in zip(layer.kinds, layer.slopes, strict=True) if slope]
    assert tuple(falling) == slopes(wanted.count("alibi"))


REFUSED = {
    "alib": ["'alib'", "did you mean 'alibi'"],
    "": ["unknown position ''", "known: rope, alibi, none, clex"],
    "rope@": ["the window is ''", "1 to 1048576"],
    "rope@0": ["the window is '0'"],
    "rope@9999999": ["the window is '9999999'"],
    "rope@-none": ["the window is ''"],
    "rope@12x": ["the window is '12x'"],
    "rope--none": ["unknown position ''"],
    "none/": ["unknown position ''"],
    "pope/none": ["pope doubles", "all heads of a layer", "pope-none"],
    "rope@٣": ["the window is '٣'"],
}


@pytest.mark.parametrize(("text", "words"), REFUSED.items(), ids=str)
def test_what_is_no_position_is_refused(text, words):
    with refused(UsageError, ["position", *words]):
        Layout.parse(text)


def test_more_than_a_model_has_is_refused():
    with refused(UsageError, ["names 3 layers", "the model has 2"]):
        Layout.parse("rope-none-alibi").of_model(2, 4)
    with refused(UsageError, ["alibi/none", "1 heads"]):
        LayerLayout(("alibi", "none")).of_heads(1)


@pytest.mark.parametrize(
    ("text", "far"),
    [("rope", True), ("rope/none", True), ("rope@9-rope", True), ("rope@9-none", False),
     ("alibi", False), ("random", True), ("clex", False), ("yarn-none", False)],
)  # fmt: skip
def test_whether_the_turning_of_far_keys_can_be_scaled(text, far):
    assert Layout.parse(text).scales_far_keys is far
