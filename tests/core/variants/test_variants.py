import copy
import dataclasses
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import refused

from freeatten_core import Variant
from freeatten_core.basics.errors import UsageError
from freeatten_core.variants.stages import OwnFunctionName, Stages, stages_of
from freeatten_core.variants.variant import PLAIN, SHARPENED, SOURCES, Modifier

STAGES = {
    "softmax": ("dot", "exp", "l1", None),
    "softmax-ls": ("length-cosine", "exp", "l1", None),
    "lssa": ("length-cosine", "softplus", "l1", None),
    "lssar:p=15": ("length-cosine", "softplus", "l1", 15),
    "lssar:p=3": ("length-cosine", "softplus", "l1", 3),
    "sigmoid": ("dot-log-n", "sigmoid", "none", None),
    "relu": ("dot", "relu", "count", None),
    "softmax-r:p=2": ("dot", "exp", "l1", 2),
    "softmax-ls-r:p=64": ("length-cosine", "exp", "l1", 64),
    "softplus": ("dot", "softplus", "l1", None),
    "softplus-r:p=1": ("dot", "softplus", "l1", 1),
    "lssa-count": ("length-cosine", "softplus", "count", None),
    "stick-breaking": ("dot", "sigmoid", "stick-breaking", None),
    "cosine:s=128": ("cosine", "exp", "l1", None, 128.0),
    "cosine:s=32": ("cosine", "exp", "l1", None, 32.0),
    "off-by-one": ("dot", "exp", "off-by-one", None),
    "softpick": ("dot", "softpick", "absolute", None),
    "entmax15": ("dot", "entmax15", "l1", None),
    "sigmoid-r:p=15": ("dot-log-n", "sigmoid", "l1", 15),
}

powers = st.integers(1, 64)


@st.composite
def variants(draw):
    normalise = draw(st.sampled_from(["l1", "count", "none"]))
    score = draw(st.sampled_from(["dot", "length-cosine", "cosine", "dot-log-n"]))
    variant = Variant(
        score=score,
        positivity=draw(st.sampled_from(["exp", "softplus", "sigmoid", "relu"])),
        normalise=normalise,
        sharpen=draw(st.none() | powers) if normalise == "l1" else None,
        scale=draw(st.sampled_from([0.5, 32.0, 128.0])) if score == "cosine" else None,
    )
    return Variant.parse(f"{variant}+yarn") if draw(st.booleans()) else variant


@pytest.mark.parametrize(("name", "stages"), STAGES.items())
def test_a_name_stands_for_four_stages(name, stages):
    score, positivity, normalise, sharpen, *scale = stages
    written = Variant(score, positivity, normalise, sharpen, scale=scale[0] if scale else None)
    assert Variant.parse(name) == written
    assert str(written) == name


def test_the_table_above_holds_every_name():
    assert {name.split(":")[0] for name in STAGES} == {*PLAIN, *SHARPENED} == {*SOURCES}


@pytest.mark.parametrize("name", SHARPENED)
def test_p_is_15_unless_given_and_is_always_shown(name):
    assert Variant.parse(name).computes.sharpen == 15
    assert str(Variant.parse(name)) == f"{name}:p=15"


@given(variants())
def test_str_parses_back(variant):
    assert Variant.parse(str(variant)) == variant


@given(variants())
def test_stages_written_out_are_the_named_variant(variant):
    stages = variant.computes
    power = "" if stages.sharpen is None else f":p={stages.sharpen}"
    scale = "" if stages.scale is None else f":s={stages.scale}"
    text = (
        f"stages:score={stages.score}:positivity={stages.positivity}"
        f":normalise={stages.normalise}{scale}{power}"
    )
    assert Variant.parse(text) == variant.trained


@given(variants(), variants())
def test_equal_stages_are_equal_values(one, other):
    assert (one == other) == (dataclasses.astuple(one) == dataclasses.astuple(other))
    assert (one == other) == (str(one) == str(other))
    if one == other:
        assert hash(one) == hash(other)


def test_a_variant_cannot_be_changed():
    variant = Variant.parse("lssar")
    with pytest.raises(dataclasses.FrozenInstanceError):
        variant.modifiers = ()
    with pytest.raises(dataclasses.FrozenInstanceError):
        variant.computes.sharpen = 3


def test_a_variant_is_its_own_parse():
    variant = Variant.parse("lssar:p=3")
    assert Variant.parse(variant) is variant


def test_spaces_around_a_name_do_not_matter():
    assert Variant.parse(" lssar:p=3 ") == Variant.parse("lssar:p=3")


def test_a_modifier_is_kept_apart_from_the_stages():
    variant = Variant.parse("softmax+yarn")
    assert str(variant) == "softmax+yarn"
    assert variant != Variant.parse("softmax")
    assert variant.computes == Variant.parse("softmax").computes
    assert str(Variant.parse("lssar+yarn")) == "lssar:p=15+yarn"


def test_stick_breaking_goes_by_the_order_of_keys_and_has_no_other_position_unless_told():
    plain = Variant.parse("stick-breaking")
    assert plain == Variant.parse("stick-breaking:position=none") == PLAIN["stick-breaking"]
    assert str(plain) == "stick-breaking"
    assert not plain.setting.position.is_rotary
    told = Variant.parse("stick-breaking:position=rope")
    assert told.setting.position.is_rotary
    assert str(told) == "stick-breaking:position=rope"
    assert Variant.parse(str(told)) == told != plain
    assert Variant.of(plain.computes) == plain


def test_lists_split_on_commas_in_order_without_repeats():
    parsed = Variant.parse_list("lssar:p=3, softmax,softmax+yarn,lssar,lssar:p=15,")
    assert [str(variant) for variant in parsed] == [
        "lssar:p=3",
        "softmax",
        "softmax+yarn",
        "lssar:p=15",
    ]


@pytest.mark.parametrize("names", [None, ["softmax", "lssa"], b"softmax", 5], ids=repr)
def test_a_list_is_a_string_of_names(names):
    with pytest.raises(UsageError, match=f"variants is a {type(names).__name__}; it must be names"):
        Variant.parse_list(names)


@pytest.mark.parametrize("modifiers", ["yarn", ("yarn",), None, [Modifier("yarn")], 5], ids=repr)
def test_modifiers_are_values_in_a_tuple(modifiers):
    with pytest.raises(UsageError, match="it must be a tuple of Modifier"):
        Variant(modifiers=modifiers)


def test_a_function_is_a_name():
    with pytest.raises(UsageError, match="function is 5; write the file and the function in it"):
        Variant(function=5)


@pytest.mark.parametrize("text", ["", " ", ",", " , "])
def test_an_empty_list_is_refused(text):
    with pytest.raises(ValueError, match="no variant given; name at least one, such as lssar:p=15"):
        Variant.parse_list(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sofmax", ["'sofmax'", "did you mean 'softmax'"]),
        ("LSSAR", ["'LSSAR'", "did you mean 'lssar'"]),
        ("lsar:p=3", ["'lsar'", "did you mean 'lssar'"]),
        ("xyz", ["'xyz'", *PLAIN, *SHARPENED]),
        ("", ["''", *PLAIN, *SHARPENED]),
        ("lssar:p=0", ["'lssar:p=0'", "p is '0'", "from 1 to 64"]),
        ("lssar:p=65", ["p is '65'", "from 1 to 64"]),
        ("lssar:p=1.5", ["p is '1.5'", "whole number from 1 to 64"]),
        ("lssar:p=-3", ["p is '-3'", "from 1 to 64"]),
        ("lssar:p=³", ["p is '³'", "from 1 to 64"]),
        ("lssar:p=", ["'lssar:p='", "p", "whole number from 1 to 64"]),
        ("lssar:p", ["'p'", "key=value"]),
        ("lssar:", ["''", "key=value"]),
        ("lssar:p=3:p=3", ["'lssar:p=3:p=3'", "'p=3'", "appears once"]),
        ("lssar:q=3", ["'lssar:q=3'", "does not take 'q'", "sink, dilate, heads, p"]),
        ("lssa:p=3", ["lssa does not take 'p'", "takes position, gate, output"]),
        ("my.py:f:p=3", ["my.py:f does not take 'p'", "takes no option"]),
        ("stages:scores=dot", ["'scores'", "score, positivity, normalise, p, s"]),
        ("stages:score=cos", ["score is 'cos'", "dot, length-cosine, dim-cosine"]),
        ("stages:normalise=count:p=3", ["normalise='l1'", "normalise is 'count'"]),
        ("cosine:s=", ["s is ''", "as in cosine:s=32"]),
        ("cosine:s=-1", ["s is -1", "above 0"]),
        ("cosine:p=3", ["cosine does not take 'p'", "sink, dilate, heads, s"]),
        ("stages:score=dot:s=3", ["s is 3.0", "only the score 'cosine'"]),
        ("softmax+yam", ["unknown modifier 'yam'", "did you mean 'yarn'"]),
        ("softmax+", ["unknown modifier ''", "yarn"]),
        ("softmax+pi:factor=2", ["pi does not take 'factor'", "no option"]),
        ("softmax+yarn:factor=2", ["yarn does not take 'factor'", "it takes ramp"]),
        ("softmax+yarn:ramp=pairs", ["ramp is 'pairs'", "turns or dims"]),
        ("softmax+yarn+yarn", ["yarn", "once"]),
    ],
)
def test_an_error_names_the_value_and_what_is_legal(text, words):
    with refused(UsageError, words):
        Variant.parse(text)


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ({"score": "cos"}, ["score is 'cos'", "dot, length-cosine, dim-cosine"]),
        ({"positivity": "tanh"}, ["positivity is 'tanh'", "exp, softplus, sigmoid, relu"]),
        ({"normalise": "l2"}, ["normalise is 'l2'", "l1, off-by-one, absolute, count, none"]),
        ({"sharpen": 0}, ["p is 0", "from 1 to 64"]),
        ({"sharpen": 65}, ["p is 65", "from 1 to 64"]),
        ({"sharpen": 1.5}, ["p is 1.5", "whole number", "from 1 to 64"]),
        ({"sharpen": True}, ["p is True", "whole number"]),
        ({"sharpen": "3"}, ["p is '3'", "whole number"]),
        ({"normalise": "none", "sharpen": 3}, ["normalise='l1'", "normalise is 'none'"]),
        ({"normalise": "off-by-one", "positivity": "relu"}, ["needs positivity='exp'", "'relu'"]),
        ({"normalise": "absolute"}, ["needs positivity='softpick'", "positivity is 'exp'"]),
        ({"positivity": "softpick"}, ["needs normalise='absolute'", "normalise is 'l1'"]),
        (
            {"positivity": "entmax15", "normalise": "count"},
            ["needs normalise='l1'", "normalise is 'count'"],
        ),
        ({"positivity": "entmax15", "sharpen": 3}, ["entmax15", "a threshold of its own"]),
        ({"score": "cosine"}, ["s is None", "a number above 0, at most 10000"]),
        ({"score": "cosine", "scale": 0.0}, ["s is 0", "above 0"]),
        ({"score": "cosine", "scale": float("nan")}, ["s is nan", "above 0"]),
        ({"score": "cosine", "scale": 1e5}, ["s is 100000", "at most 10000"]),
        ({"score": "cosine", "scale": True}, ["s is True", "must be a number"]),
        ({"scale": 2.0}, ["s is 2.0", "only the score 'cosine'", "score is 'dot'"]),
        ({"setting": "forget"}, ["setting is 'forget'", "it must be a Setting"]),
        ({"normalise": "stick-breaking"}, ["needs positivity='sigmoid'", "positivity is 'exp'"]),
        (
            {"positivity": "sigmoid", "normalise": "stick-breaking", "sharpen": 3},
            ["normalise='l1'", "normalise is 'stick-breaking'"],
        ),
    ],
)
def test_illegal_stages_are_refused(stages, words):
    with refused(UsageError, words):
        Variant(**stages)


@pytest.mark.parametrize("value", [None, 3, ["softmax"]])
def test_only_a_name_or_a_variant_can_be_parsed(value):
    with pytest.raises(TypeError, match=f"variant is a {type(value).__name__}; it must be a name"):
        Variant.parse(value)


def test_of_a_function_no_stage_can_be_read():
    variant = Variant(function="near.py:near")
    assert variant.computes == OwnFunctionName("near.py:near")
    for stage in ("score", "positivity", "normalise", "sharpen"):
        assert not hasattr(variant, stage)
        assert not hasattr(variant.computes, stage)
    with pytest.raises(UsageError, match=r"near\.py:near is one's own function.*no stages"):
        stages_of(variant.computes)


def test_of_a_swap_the_stages_are_those_that_are_computed():
    variant = Variant.parse("lssar:p=15+swap:to=softmax")
    assert variant.computes == Stages()
    assert not hasattr(variant, "sharpen")


@pytest.mark.parametrize(
    "name", ["lssar:p=3", "softmax+swap:to=near.py:near+ntk", "near.py:near", "relu+window"]
)
def test_copies_are_equal(name):
    variant = Variant.parse(name)
    assert pickle.loads(pickle.dumps(variant)) == copy.deepcopy(variant) == variant
    assert eval(repr(variant)) == variant


PATHS = ["near.py", "c++/near.py", "a,b/near.py", "C:\\x.py", "a@b/near.py", "two\nlines.py"]
PATHS += ["a=b:p=3/near.py", "x+yarn/near.py", "[red]%20.py", "+.py"]


@pytest.mark.parametrize("path", PATHS)
def test_the_path_of_a_function_can_hold_any_character(path):
    function = f"{path}:near"
    assert Variant.parse(function) == Variant(function=function)
    named = Variant.parse(f"{function}+ntk+swap:to=lssar:p=3")
    assert (str(named.trained), str(named.computes)) == (function, "lssar:p=3")
    swapped = Variant.parse(f"softmax+swap:to={function}+logn")
    assert (swapped.computes, swapped.modifiers[1].name) == (OwnFunctionName(function), "logn")
    for variant in (named, swapped):
        assert Variant.parse(str(variant)) == variant


def test_a_comma_ends_a_name_unless_it_is_of_a_file_that_exists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a,b.py").write_text("")
    listed = Variant.parse_list("softmax, a,b.py:f,lssa+swap:to=a,b.py:f+ntk,relu")
    wanted = ["softmax", "a,b.py:f", "lssa+swap:to=a,b.py:f+ntk", "relu"]
    assert list(map(str, listed)) == wanted
    with pytest.raises(UsageError, match="unknown variant 'c'"):
        Variant.parse_list("c,d.py:f")
