"""`freeatten variants`: whatever can be typed is listed, once, beside what pictures call it."""

import re
from typing import get_args

import pytest
from freeatten_cli.terminal.glossary import MODIFIER_OPTIONS, STAGES
from terminal import freeatten

from freeatten_core.figures.styles import STYLES, style_of
from freeatten_core.positions.table import POSITIONS
from freeatten_core.variants.setting import OPTIONS, SHORT_NAMES, Gate, Heads, Output, Scale, Sink
from freeatten_core.variants.variant import (
    MODIFIERS,
    PLAIN,
    SHARPENED,
    Normalise,
    Positivity,
    Score,
    Variant,
)


@pytest.fixture(scope="module")
def found():
    return freeatten("variants", "--json").result


def test_every_variant_and_modifier_is_listed_and_can_be_typed(found):
    names = [each["name"] for each in found["variants"]]
    assert names == [str(Variant.parse(name)) for name in (*PLAIN, *SHARPENED)]
    assert [each["name"] for each in found["modifiers"]] == [f"+{name}" for name in MODIFIERS]
    for each in found["modifiers"]:
        option = each["option"] or ""
        given = {
            "by=largest|entropy": ":by=entropy",
            "ramp=turns|dims": ":ramp=dims",
            "to=VARIANT": ":to=sigmoid",
            "": "",
        }[option]
        assert Variant.parse(f"softmax{each['name']}{given}").modifiers
    assert set(MODIFIER_OPTIONS) <= set(MODIFIERS)


@pytest.mark.parametrize(
    ("stage", "values"), [("score", Score), ("positivity", Positivity), ("normalise", Normalise)]
)
def test_every_value_of_a_stage_has_a_line(found, stage, values):
    assert tuple(STAGES[stage]) == get_args(values)
    listed = [each["value"] for each in found["stages"] if each["stage"] == stage]
    assert tuple(listed) == get_args(values)


def test_every_option_that_is_trained_has_a_line(found):
    trained = [each["option"] for each in found["options"] if each["meaning"].startswith("trained")]
    assert {re.fullmatch(r":(\w+)=.+", option)[1] for option in trained} == set(OPTIONS)
    assert len(trained) == len(set(trained))


@pytest.mark.parametrize(
    ("option", "values"),
    [("gate", Gate), ("output", Output), ("scale", Scale), ("sink", Sink), ("heads", Heads)],
)
def test_every_value_of_an_option_that_is_trained_has_a_line(found, option, values):
    listed = [each["option"] for each in found["options"]]
    wanted = [f":{option}={value}" for value in get_args(values)]
    assert [each for each in listed if each.startswith(f":{option}=")] == wanted


def test_every_position_and_short_name_has_a_line_and_can_be_typed(found):
    assert [each["name"] for each in found["positions"]] == list(POSITIONS)
    for each in found["positions"]:
        assert Variant.parse(f"softmax:position={each['name']}").setting
        assert each["meaning"]
        assert each["source"]
    short = {each["name"]: each["variant"] for each in found["short_names"]}
    assert short == {name: str(Variant.parse(name)) for name in SHORT_NAMES}


def test_names_in_pictures_stand_beside_the_names_that_are_typed(found):
    shown = {each["name"]: each["label"] for each in (*found["variants"], *found["labels"])}
    for name in STYLES:
        assert shown.get(name, name) == style_of(name).label.replace("<br>", " ")
    assert shown["softmax+yarn"] == "Softmax + YaRN"


def test_what_is_shipped_is_marked(found):
    shipped = [each for entry in found["variants"] for each in entry["shipped"]]
    assert sorted(shipped) == sorted(
        entry["variant"] for entry in freeatten("checkpoints", "--json").result
    )


@pytest.mark.parametrize("columns", [80, 140])
def test_the_tables_fit_and_say_the_same(found, columns):
    out = freeatten("variants", columns=columns).out
    assert max(map(len, out.splitlines())) <= columns
    for each in (*found["variants"], *found["modifiers"], *found["short_names"]):
        assert each["name"] in out
    for each in found["positions"]:
        assert re.search(rf"^{each['name']} ", out, re.MULTILINE)
