"""Positions and gates as options of a name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import refused

from freeatten_core import Variant, attention
from freeatten_core.basics.errors import UsageError
from freeatten_core.models.catalogue import slug
from freeatten_core.variants.setting import PLAIN_SETTING, SHORT_NAMES


@pytest.mark.parametrize(("short", "long"), SHORT_NAMES.items())
def test_short_names_print_in_the_long_form(short, long):
    assert str(Variant.parse(short)) == long
    assert Variant.parse(short) == Variant.parse(long)


def test_a_short_name_takes_what_it_does_not_say():
    assert str(Variant.parse("fox:position=rope@8-none")) == (
        "softmax:gate=forget:position=rope@8-none"
    )


@given(
    st.sampled_from(["softmax", "lssar:p=3", "softplus-r:p=2", "stages:score=dim-cosine"]),
    st.sampled_from(["", ":scale=log-n", ":scale=log-n-bias"]),
    st.sampled_from(["", ":gate=forget"]),
    st.sampled_from(["", ":output=gated"]),
    st.sampled_from(["", ":position=alibi/none", ":position=rope@128-none"]),
)
def test_str_parses_back(name, scale, gate, output, position):
    if scale and "cosine" in Variant.parse(name).computes.score:
        scale = ""
    variant = Variant.parse(name + position + output + gate + scale)
    assert Variant.parse(str(variant)) == variant
    assert str(variant).endswith(scale + gate + output + position)
    assert variant.computes == Variant.parse(name).computes
    assert variant.trained == variant
    if variant.setting != PLAIN_SETTING:
        assert variant != Variant.parse(name)


def test_modifiers_keep_positions_and_gates():
    variant = Variant.parse("fox+window")
    assert str(variant) == "softmax:gate=forget:position=none+window"
    assert variant.trained == Variant.parse("fox")
    assert variant.with_modifiers(()) == Variant.parse("fox")
    swapped = Variant.parse("fox+swap:to=lssa")
    assert swapped.setting == Variant.parse("fox").setting
    assert swapped.computes == Variant.parse("lssa").computes


def test_a_folder_can_have_the_name():
    assert slug("softmax:position=rope@128-alibi/none") == "softmax-positionrope128-alibi_none"


REFUSED = {
    "softmax:position=alib": ["'alib'", "'alibi'"],
    "softmax:gate=remember": ["gate is 'remember'", "forget"],
    "softmax:output=closed": ["output is 'closed'", "gated"],
    "relu:gate=forget": ["relu:gate=forget", "divided by its sum (l1)"],
    "sigmoid:gate=forget": ["divided by its sum (l1)"],
    "entmax15:gate=forget": ["the weights of a whole row at once"],
    "softmax:positions=none": ["does not take 'positions'", "position, gate, output"],
    "my.py:f:position=none": ["my.py:f", "does not take 'position'", "no option"],
    "nope+yarn": ["yarn changes how far keys are rotated", "none are"],
    "softmax:position=rope@128-none+ntk": ["ntk changes how far keys are rotated"],
    "clex+yarn": ["yarn changes how far keys are rotated", "as they were trained to be"],
    "softmax:position=yarn+clex-start": ["clex-start changes how far keys are rotated"],
    "softmax-ls:position=pope": ["pope doubles the size", "length-cosine", "such as dot"],
    "pope+swap:to=lssa": ["pope doubles the size", "length-cosine"],
    "pope+ntk": ["ntk changes how far keys are rotated"],
    "softmax:gate=forget+rerope": ["rerope turns far keys in every layer", "no forget gate"],
    "softmax:position=rope/none+rerope": ["rerope turns far keys in every layer and head"],
    "softmax+swap:to=fox": ["swap puts in an attention", "write swap:to=softmax"],
    "fox+swap:to=relu": ["divided by its sum (l1)"],
    "softmax:scale=big": ["scale is 'big'", "log-n, log-n-bias, adaptive"],
    "lssa:scale=log-n": ["lssa:scale=log-n", "the score length-cosine does not depend on"],
    "cosine:s=9:scale=adaptive": ["the score cosine does not depend on"],
    "relu:scale=log-n": ["changes no ratio between relu's weights"],
    "softmax:scale=adaptive:position=rope-alibi": ["heads without ALiBi", "alibi/none"],
    "ssmax+swap:to=softmax-ls": ["does not depend on their length"],
    "softmax:sink=learned": ["softmax:sink=learned", "write off-by-one:sink=learned"],
    "sink:gate=forget": ["divided by its sum (l1)"],
    "off-by-one:sink=deep": ["sink is 'deep'", "learned"],
    "sink+swap:to=softmax": ["a sink is the one more key of off-by-one"],
    "sink+rerope": ["rerope turns far keys", "or sink"],
    "softmax:heads=sum": ["heads is 'sum'", "difference"],
    "diff+rerope": ["rerope turns far keys", "no difference of two"],
    "ssmax+rerope": ["rerope turns far keys", "forget gate, learned scale or sink"],
}


@pytest.mark.parametrize(("name", "words"), REFUSED.items(), ids=REFUSED)
def test_what_cannot_be_is_refused_with_the_reason(name, words):
    with refused(UsageError, words):
        Variant.parse(name)


def test_the_operator_takes_positions_as_arguments():
    with refused(ValueError, ["softmax:position=alibi", "make a model", "pass softmax"]):
        attention(None, None, None, "alibi")
