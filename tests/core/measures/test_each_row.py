"""Rows one by one: what fails or is interrupted does not take the others along."""

import signal

import pytest
from strategies import refused

from freeatten_core.basics.errors import ContentError, interruption
from freeatten_core.measures.compared import InterruptedRows
from freeatten_core.measures.each_row import each_row
from freeatten_core.results.format import partial_text, troubles

ROWS = ("first", "second", "third")


def measured(*ends):
    """`each_row` where every row has its name, or raises what is named for it."""

    def measure(row):
        error = dict(ends).get(row)
        if error is not None:
            raise error
        return {"variant": row}

    return each_row(ROWS, measure, lambda row: {"variant": row})


def test_the_whole_has_every_row_and_is_no_part():
    assert measured().result({"schema": 1}) == {
        "schema": 1,
        "variants": [{"variant": row} for row in ROWS],
    }


def test_a_row_that_fails_has_its_reason_and_the_others_stand():
    result = measured(("second", ContentError("not finite"))).result({})
    assert result["variants"][1] == {"variant": "second", "error": "not finite"}
    assert [row["variant"] for row in result["variants"]] == list(ROWS)


def test_the_only_row_fails_with_its_own_error():
    with refused(ContentError, ["not finite"]):
        each_row(["alone"], lambda _: _raise(ContentError("not finite")), dict)


def test_a_bug_is_raised():
    with pytest.raises(ZeroDivisionError):
        measured(("second", ZeroDivisionError()))


@pytest.mark.parametrize(
    ("stopped", "code"),
    [(KeyboardInterrupt(), 130), (KeyboardInterrupt(signal.SIGTERM), 143)],
)
def test_rows_before_a_signal_are_a_part_that_says_so(stopped, code):
    rows = measured(("third", stopped))
    with pytest.raises(InterruptedRows) as found:
        rows.result({"schema": 1})
    assert found.value.result == {
        "schema": 1,
        "partial": True,
        "rows_asked": 3,
        "variants": [{"variant": "first"}, {"variant": "second"}],
    }
    said = "stopped; what was finished is given: 2 of 3 rows"
    assert interruption(found.value) == (said, code)


def test_a_row_that_failed_before_a_signal_is_not_told_to_be_finished():
    rows = measured(("second", ContentError("not finite")), ("third", KeyboardInterrupt()))
    with pytest.raises(InterruptedRows) as found:
        rows.result({})
    said = "stopped; what was finished is given: 1 of 3 rows, 1 failed"
    assert interruption(found.value) == (said, 130)
    assert troubles(found.value.result) == [
        "stopped: 1 of 3 rows, 1 failed, the rest was not finished",
        "second: failed: not finite",
    ]


def test_an_error_against_float64_is_no_failure():
    rows = [{"error": 3e-4}, {"error": None}]
    result = {"rows": rows, "partial": True, "rows_asked": 8}
    assert partial_text(result) == "stopped: 2 of 8 rows, the rest was not finished"


def test_what_a_signal_says_of_a_training_is_kept():
    stopped = KeyboardInterrupt()
    stopped.add_note("stopped; step 40 is kept")
    with pytest.raises(InterruptedRows) as found:
        measured(("second", stopped)).result({})
    assert interruption(found.value) == ("stopped; step 40 is kept", 130)


@pytest.mark.parametrize("before", [(), (("first", ContentError("not finite")),)])
def test_a_signal_before_any_numbers_gives_nothing(before):
    at = "second" if before else "first"
    with pytest.raises(KeyboardInterrupt) as found:
        measured(*before, (at, KeyboardInterrupt()))
    assert not isinstance(found.value, InterruptedRows)


def _raise(error):
    raise error
